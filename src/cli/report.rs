//! `cellgate report`: who still uses the legacy hosts.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use super::books_source::BooksSource;
use super::incident::{self, incident, parse_moment};
use super::{ConfigFolder, OK, USAGE, changes, complain, print, progress};
use crate::audit::fleet::{Fleet, State};
use crate::audit::html::{Place, Reader};
use crate::audit::report::{Question, Report};
use crate::audit::survey::{self, DETAILED, Host};
use crate::audit::unknown_clients;
use crate::audit::views::{self, List, View};
use crate::audit::{account, headline, html, json, markdown, recipes, render};
use crate::config;
use crate::load;
use crate::policy::ids::AccountId;
use crate::policy::legacy_use::verdict::Verdict;
use crate::policy::snapshot::Snapshot;
use crate::telemetry::wall_time::unix_seconds;

/// Who still uses the legacy hosts, from the books in the state folder. Works while the proxy runs.
///
/// Exit codes: 0 printed (also when there is nothing to report), 1 the books cannot be read, 64 wrong
/// arguments. With --exit-code: 0 nobody is left, 2 somebody is, 3 somebody is and the sunset is past, 4 nobody was seen, but
/// the books are not complete enough to believe it.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// What to list; without it, all accounts
    #[arg(value_name = "LIST")]
    pub view: Option<ListArg>,
    /// Where the books stand.
    #[command(flatten)]
    pub books: BooksSource,
    /// Its schedules have the dates, and its clients.yaml says what the owners of clients have to change.
    #[command(flatten)]
    pub config: ConfigFolder,
    /// How far to look back: a number and a unit (30m, 24h, 7d, 4w); counts whole days, in UTC [default: 7d]
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    pub since: Option<Duration>,
    /// Only this account, with every client and surface
    #[arg(long, value_name = "ID", value_parser = parse_account)]
    pub account: Option<AccountId>,
    /// Also accounts that were not seen in that time, as far as the books know them (200 days)
    #[arg(long)]
    pub all: bool,
    /// How to print it
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub output: Output,
    /// Tell by the exit code how it stands
    #[arg(long)]
    pub exit_code: bool,
    /// When an incident began, in UTC: 2026-04-09T10:04Z
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
    pub from: Option<i64>,
    /// When it ended
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
    pub to: Option<i64>,
    /// The shared cell was down for all of that time, whatever the books saw of it
    #[arg(long)]
    pub shared_was_down: bool,
}

/// What to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListArg {
    /// What moves the host most: client families with what they call
    Integrations,
    /// Accounts that came for the first time in the last seven days
    New,
    /// Accounts that were ready to be cut and came back
    Returned,
    /// Requests that name no account, or one without a row
    Unattributed,
    /// Programs that clients.yaml does not know, by the name that they give themselves
    Clients,
    /// What an incident (--from, --to) took from whom, on all hosts
    Impact,
    /// Calls of an incident (--from, --to) that may have to be made again
    Lost,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// For programs; has a version
    Json,
    /// For spreadsheets; one line an account
    Csv,
    /// For issues and chat
    Markdown,
    /// One page for a browser, which needs nothing else
    Html,
}

/// How far a report looks back where nobody says it.
const SINCE: Duration = Duration::from_secs(7 * 86_400);

/// Somebody is left; somebody is and the sunset is past; nobody was seen, but who knows.
const LEFT: u8 = 2;
const LATE: u8 = 3;
const UNSURE: u8 = 4;

/// Prints the report to standard output.
///
/// # Errors
/// The books cannot be read, or standard output not be written.
pub fn run(args: &ReportArgs) -> Result<ExitCode> {
    let now = unix_seconds(SystemTime::now());
    let wrong = wrong(args);
    if !wrong.is_empty() {
        complain(&wrong.iter().map(|wrong| format!("cellgate: {wrong}")).collect::<Vec<_>>().join("\n"));
        return Ok(USAGE.into());
    }
    if let Some(of @ (ListArg::Impact | ListArg::Lost)) = args.view {
        print(&incident(args, of, now)?)?;
        return Ok(OK.into());
    }
    if args.view == Some(ListArg::Clients) {
        print(&printed(&unknown_clients::list(args.books.source(), args.since(now))?, args.output, now)?)?;
        return Ok(OK.into());
    }
    let asked = Asked::read(args, now)?;
    print(&asked.text(args, now)?)?;
    let code = match args.account {
        // Of somebody who is not known nothing is known, least of all that it is gone.
        Some(_) if asked.fleet.accounts.is_empty() => UNSURE,
        _ => exit_code(&asked.fleet),
    };
    Ok(if args.exit_code { code } else { OK }.into())
}

/// Every reason why there is no such report.
fn wrong(args: &ReportArgs) -> Vec<String> {
    if let Some(of @ (ListArg::Impact | ListArg::Lost)) = args.view {
        return incident::wrong(args, of);
    }
    let mut wrong = Vec::new();
    if args.from.is_some() || args.to.is_some() || args.shared_was_down {
        wrong.push(
            "--from, --to and --shared-was-down are of an incident: `report impact` and `report lost`; --since says how \
             far any other report looks back"
                .to_owned(),
        );
    }
    if args.view == Some(ListArg::Clients) && (args.account.is_some() || args.exit_code) {
        wrong.push(
            "`report clients` is of all accounts, and says nothing of how the host stands: leave --account and --exit-code out"
                .to_owned(),
        );
    }
    if args.view.is_some() && matches!(args.output, Output::Markdown | Output::Html) {
        wrong
            .push("a list is printed as table, json or csv; without it, the page has all of them".to_owned());
    }
    wrong
}

impl ReportArgs {
    /// Unix seconds.
    fn since(&self, now: i64) -> i64 {
        let back = i64::try_from(self.since.unwrap_or(SINCE).as_secs()).unwrap_or(i64::MAX);
        now.saturating_sub(back).max(0)
    }
}

/// What was read.
struct Asked {
    report: Report,
    fleet: Fleet,
}

impl Asked {
    fn read(args: &ReportArgs, now: i64) -> Result<Self> {
        let question = Question { since: args.since(now), account: args.account, all: args.all, now };
        let snapshot = configured(&args.config, now);
        let (report, mut fleet) =
            survey::configured(args.books.source(), snapshot.as_ref(), question, DETAILED)?;
        fleet.changes = args.books.state_dir().map(|of| changes::read(of, complain)).unwrap_or_default();
        Ok(Self { report, fleet })
    }

    fn text(&self, args: &ReportArgs, now: i64) -> Result<Vec<u8>> {
        let Self { report, fleet } = self;
        let view = match args.view {
            Some(ListArg::Integrations) => View::Integrations,
            Some(ListArg::New) => View::New,
            Some(ListArg::Returned) => View::Returned,
            Some(ListArg::Unattributed) => View::Unattributed,
            // These are answered without any of this.
            Some(ListArg::Clients | ListArg::Impact | ListArg::Lost) | None => {
                return self.accounts(args, now);
            }
        };
        printed(&views::list(view, fleet, report), args.output, now)
    }

    fn accounts(&self, args: &ReportArgs, now: i64) -> Result<Vec<u8>> {
        let Self { report, fleet } = self;
        match args.output {
            Output::Table if args.account.is_some() => {
                let integrations = fleet.accounts.first().map(|of| views::integrations_of(of, now));
                Ok((render::table(report, now) + &integrations.unwrap_or_default()).into_bytes())
            }
            Output::Table => {
                Ok(format!("{}\n{}", headline::lines(fleet), render::table(report, now)).into_bytes())
            }
            Output::Json => Ok(json::print(report, fleet, usize::MAX).context("writing JSON")?.into_bytes()),
            Output::Csv => render::csv(report).context("writing CSV"),
            Output::Markdown => Ok(match args.account {
                Some(id) => account::markdown(fleet, id.value()),
                None => markdown::print(fleet),
            }
            .into_bytes()),
            Output::Html => Ok(match args.account {
                Some(id) => html::account_page(fleet, id.value(), Reader::Operator(Place::File)),
                None => html::page(fleet, Place::File),
            }
            .into_bytes()),
        }
    }
}

/// A list, in one of the forms that lists have.
pub(super) fn printed(list: &List, output: Output, now: i64) -> Result<Vec<u8>> {
    match output {
        Output::Json => Ok(list.json().context("writing JSON")?.into_bytes()),
        Output::Csv => list.csv().context("writing CSV"),
        // The last two are refused as arguments.
        Output::Table | Output::Markdown | Output::Html => Ok(list.table(now).into_bytes()),
    }
}

/// What is in force by the files; where it has problems, that is said and the report goes without.
pub(super) fn configured(config: &ConfigFolder, now: i64) -> Option<Snapshot> {
    match config::parse_all(&load::load(config.place()), now) {
        Ok((_, routing)) => Some(config::compile(routing, None)),
        Err(problems) => {
            complain(&format!(
                "Dates, addresses, who is cut or has no cell of its own, and what the owners of clients have to change are left out: the configuration in {} \
                 has problems. The first of {}: {}. --config names another folder",
                config.folder.display(),
                problems.len(),
                problems.first().map(ToString::to_string).unwrap_or_default()
            ));
            None
        }
    }
}

/// How the legacy hosts stand, each account in detail, with addresses and recipes where there is a configuration.
pub(super) fn fleet(books: &BooksSource, snapshot: Option<&Snapshot>, now: i64) -> Result<Fleet> {
    let host = Host { detailed: usize::MAX, ..snapshot.map(Host::of).unwrap_or_default() };
    let _busy = progress::busy("reading the books");
    let mut fleet = survey::read(books.source(), &host, None, now)?;
    if let Some(snapshot) = snapshot {
        recipes::add_to_fleet(&mut fleet, snapshot);
    }
    Ok(fleet)
}

fn exit_code(fleet: &Fleet) -> u8 {
    let left = fleet.coming() + fleet.count(Verdict::Quiet) + fleet.not_migrated() + fleet.unattributed > 0;
    match fleet.state() {
        State::Zero => OK,
        State::PastSunset if left => LATE,
        _ if left => LEFT,
        _ => UNSURE,
    }
}

pub(super) fn parse_account(text: &str) -> Result<AccountId, String> {
    AccountId::parse(text.as_bytes()).map_err(|error| format!("an account id {error}"))
}

fn parse_since(text: &str) -> Result<Duration, String> {
    let expected = || "expected a whole number and a unit: 30m, 24h, 7d or 4w".to_owned();
    let unit = text.chars().next_back().ok_or_else(expected)?;
    let seconds: u64 = match unit {
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(expected()),
    };
    let number = &text[..text.len() - unit.len_utf8()];
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(expected());
    }
    let number: u64 = number.parse().map_err(|_| expected())?;
    match number.checked_mul(seconds) {
        Some(0) | None => Err(expected()),
        Some(seconds) => Ok(Duration::from_secs(seconds)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::audit::fleet::{BooksCoverage, Count};
    use crate::audit::shelf::Source;
    use crate::policy::legacy_use::forecast::Forecast;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        report: ReportArgs,
    }

    pub fn parse(line: &str) -> Result<ReportArgs, clap::Error> {
        Command::try_parse_from(line.split(' ')).map(|command| command.report)
    }

    #[test]
    fn times_have_a_number_and_a_unit() {
        for (since, seconds) in [("30m", 1800), ("24h", 86_400), ("7d", 604_800), ("4w", 2_419_200)] {
            let args = parse(&format!("report --since {since}")).unwrap();
            assert_eq!(args.since, Some(Duration::from_secs(seconds)), "{since}");
        }
        for since in ["7", "d", "0d", "-1d", "+1d", "1.5d", "7 d", "7y", "7ü", "99999999999999999999d"] {
            let error = Command::try_parse_from(["report", "--since", since]).unwrap_err();
            assert!(error.to_string().contains("number and a unit") || since == "-1d", "{since}: {error}");
        }
    }

    #[test]
    fn what_a_report_does_not_use_is_refused() {
        for (line, expect) in [
            ("report", None),
            ("report integrations -o csv", None),
            ("report integrations -o html", Some("table, json or csv")),
            ("report --from 2026-04-09T10:04Z", Some("of an incident")),
            ("report new --shared-was-down", Some("of an incident")),
            ("report lost", Some("say when it was")),
        ] {
            let said = wrong(&parse(line).unwrap());
            assert_eq!(said.len(), usize::from(expect.is_some()), "{line}: {said:?}");
            assert!(said.iter().all(|said| said.contains(expect.unwrap_or_default())), "{line}: {said:?}");
        }
    }

    #[test]
    fn how_it_stands_is_an_exit_code() {
        let now = 1_795_168_800;
        let mut fleet = Fleet {
            generated_at: now,
            hosts: Vec::new(),
            deprecated_since: None,
            sunset_at: Some(now + 1),
            coverage: BooksCoverage { share: 1.0, days: 36, gaps: Vec::new() },
            verdicts: [(Verdict::Ready, Count { now: 7, week_ago: None })].into(),
            requests: 0,
            unattributed: 0,
            days: Vec::new(),
            forecast: Forecast::TooEarly(0),
            clients: Vec::new(),
            integrations: Vec::new(),
            accounts: Vec::new(),
            new_accounts: Vec::new(),
            returned: Vec::new(),
            brownouts: Vec::new(),
            changes: Vec::new(),
        };
        assert_eq!(exit_code(&fleet), OK);
        fleet.coverage.share = 0.9;
        assert_eq!(exit_code(&fleet), UNSURE, "nobody was seen by books that were not kept");
        fleet.verdicts.insert(Verdict::Unknown, Count { now: 1, week_ago: None });
        fleet.coverage.share = 1.0;
        assert_eq!(exit_code(&fleet), UNSURE);
        for verdict in [Verdict::Quiet, Verdict::Active, Verdict::Fading, Verdict::Returned] {
            let mut fleet = fleet.clone();
            fleet.verdicts.insert(verdict, Count { now: 1, week_ago: None });
            assert_eq!(exit_code(&fleet), LEFT);
            fleet.sunset_at = Some(now);
            assert_eq!(exit_code(&fleet), LATE);
        }
        fleet.unattributed = 1;
        assert_eq!(exit_code(&fleet), LEFT, "it may be anybody's");
    }

    #[test]
    fn arguments_have_defaults_and_are_checked() {
        let args = parse("report").unwrap();
        assert!(matches!(args.books.source(), Source::Folder(folder) if *folder == *Path::new("state")));
        assert_eq!((args.account, args.output), (None, Output::Table));
        let args = parse("report --account 5 -o json --state-dir /var/lib/cellgate").unwrap();
        assert_eq!((args.account.map(AccountId::value), args.output), (Some(5), Output::Json));
        assert!(parse("report --account 05").is_err());
        assert!(parse("report --output yaml").is_err());
        let args = parse("report --database books.conn --database-ca ca.pem").unwrap();
        assert!(matches!(args.books.source(), Source::Database(of) if of.ca_file.is_some()));
        assert!(parse("report --database books.conn --state-dir state").is_err());
        assert!(parse("report --database-ca ca.pem").is_err());
    }

    #[test]
    fn a_missing_file_is_an_error_with_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let args = parse(&format!("report --state-dir {}", folder.path().display())).unwrap();
        let error = Asked::read(&args, 0).err().unwrap();
        assert!(error.to_string().contains("--state-dir"), "{error:#}");
    }
}
