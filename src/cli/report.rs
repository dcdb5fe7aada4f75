//! `cellgate report`: who still uses the legacy hosts.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use super::{ConfigFolder, OK, complain, print};
use crate::audit::report::{Question, read};
use crate::audit::{json, recipes, render};
use crate::config;
use crate::load;
use crate::policy::ids::AccountId;
use crate::telemetry::wall_time::unix_seconds;

/// Who still uses the legacy hosts, from the books in the state folder. Works while the proxy runs.
///
/// Exit codes: 0 printed (also when there is nothing to report), 1 the books cannot be read, 64 wrong
/// arguments.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// The proxy's state folder
    #[arg(long, value_name = "DIR", default_value = "state")]
    pub state_dir: PathBuf,
    /// Its clients.yaml says what the owners of clients have to change.
    #[command(flatten)]
    pub config: ConfigFolder,
    /// How far to look back: a number and a unit (30m, 24h, 7d, 4w); counts whole hours
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = parse_since)]
    pub since: Duration,
    /// Only this account, with every client and surface
    #[arg(long, value_name = "ID", value_parser = parse_account)]
    pub account: Option<AccountId>,
    /// Also accounts that were not seen in that time, as far as the books know them (200 days)
    #[arg(long)]
    pub all: bool,
    /// How to print it
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub output: Output,
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
}

/// Prints the report to standard output.
///
/// # Errors
/// The books cannot be read, or standard output not be written.
pub fn run(args: &ReportArgs) -> Result<ExitCode> {
    print(&text(args, unix_seconds(SystemTime::now()))?)?;
    Ok(OK.into())
}

fn text(args: &ReportArgs, now: i64) -> Result<Vec<u8>> {
    let back = i64::try_from(args.since.as_secs()).unwrap_or(i64::MAX);
    let since = now.saturating_sub(back).max(0);
    let question = Question { since, account: args.account, all: args.all, now };
    let mut report = read(&args.state_dir, question)?;
    // Of the table, it is what one account is shown.
    if args.account.is_some() || args.output == Output::Json {
        match config::parse_all(&load::load(args.config.place()), now) {
            Ok((_, routing)) => recipes::add(&mut report, &config::compile(routing, None)),
            Err(problems) => complain(&format!(
                "What the owners of clients have to change is left out: the configuration in {} has problems. The \
                 first of {}: {}. --config names another folder",
                args.config.folder.display(),
                problems.len(),
                problems.first().map(ToString::to_string).unwrap_or_default()
            )),
        }
    }
    match args.output {
        Output::Table => Ok(render::table(&report, now).into_bytes()),
        Output::Json => Ok(json::print(&report).context("writing JSON")?.into_bytes()),
        Output::Csv => render::csv(&report).context("writing CSV"),
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
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        report: ReportArgs,
    }

    fn parse(line: &str) -> Result<ReportArgs, clap::Error> {
        Command::try_parse_from(line.split(' ')).map(|command| command.report)
    }

    #[test]
    fn times_have_a_number_and_a_unit() {
        for (since, seconds) in [("30m", 1800), ("24h", 86_400), ("7d", 604_800), ("4w", 2_419_200)] {
            let args = parse(&format!("report --since {since}")).unwrap();
            assert_eq!(args.since, Duration::from_secs(seconds), "{since}");
        }
        for since in ["7", "d", "0d", "-1d", "+1d", "1.5d", "7 d", "7y", "7ü", "99999999999999999999d"] {
            let error = Command::try_parse_from(["report", "--since", since]).unwrap_err();
            assert!(error.to_string().contains("number and a unit") || since == "-1d", "{since}: {error}");
        }
    }

    #[test]
    fn arguments_have_defaults_and_are_checked() {
        let args = parse("report").unwrap();
        assert_eq!((args.state_dir, args.account, args.output), ("state".into(), None, Output::Table));
        let args = parse("report --account 5 -o json --state-dir /var/lib/cellgate").unwrap();
        assert_eq!((args.account.map(AccountId::value), args.output), (Some(5), Output::Json));
        assert!(parse("report --account 05").is_err());
        assert!(parse("report --output yaml").is_err());
    }

    #[test]
    fn a_missing_file_is_an_error_with_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut args = parse("report").unwrap();
        args.state_dir = folder.path().into();
        let error = text(&args, 0).unwrap_err();
        assert!(error.to_string().contains("--state-dir"), "{error:#}");
    }
}
