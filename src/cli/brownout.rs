//! `cellgate brownout`: what is in force and what comes next, and the end of one at once.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use serde_json::{Value, json};

use super::admin_socket::ask;
use super::audit::plain;
use super::books_source::BooksSource;
use super::form::Form;
use super::levers::{Why, ask_for};
use super::{
    ConfigFolder, OK, USAGE, brownout_members, brownout_plan, complain, deciding, now, print, print_line,
};
use crate::audit::brownouts;
use crate::config::time::{parse_moment_with_offset, show_moment};
use crate::policy::brownout::Window;
use crate::policy::brownout::status::{Status, statuses};
use crate::policy::protection::levers::{ALL_BROWNOUTS, Lever};

/// An admin plane that answers at all answers within a second; a million accounts are counted in that.
const WITHIN: Duration = Duration::from_secs(5);

/// Say what is refused on purpose, and end that at once.
///
/// Brownouts are written in cellgate.yaml; `cellgate plan` says whom a change of them concerns.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Plan(brownout_plan::Args),
    Effect(Effect),
    Cancel(Cancel),
}

/// Say what is in force, what comes next, and for how many accounts; of one brownout, for which.
///
/// Of the files of the folder, as a dry run; or of a running cellgate, which also knows what is cancelled.
#[derive(Debug, clap::Args)]
struct List {
    /// List the accounts of this one, and by which exemption some are spared
    #[arg(value_name = "ID", conflicts_with = "socket")]
    id: Option<String>,
    /// Say who enters and who leaves it, compared with the files of this folder
    #[arg(long, value_name = "DIR", requires = "id")]
    against: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFolder,
    /// At this moment, such as 2026-11-24T14:00:00Z, in place of now
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "socket")]
    at: Option<i64>,
    /// Ask the running cellgate behind this admin socket
    #[arg(long, value_name = "PATH", conflicts_with = "folder")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
}

/// Say what brownouts did: whom they met, and how many of these have stopped calling the legacy hosts since.
///
/// From the books in the state folder, window by window; of one brownout, account by account. Gone is who has not come for
/// longer than usual; it takes two days until that can be said of anybody.
///
/// Exit codes: 0 printed (also when there is nothing), 1 the books cannot be read, 64 wrong arguments.
#[derive(Debug, clap::Args)]
struct Effect {
    /// List the accounts that this one met
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// Where the books stand.
    #[command(flatten)]
    books: BooksSource,
    #[command(flatten)]
    form: Form,
}

/// End a brownout, or all of them, at once and without a reload.
///
/// It is a lever: `cellgate levers` lists it, a restart keeps it, and it ends after a day. What is to be over for good is
/// taken out of cellgate.yaml by then.
///
/// Exit codes: 0 it is cancelled, 1 it is not, 64 wrong words.
#[derive(Debug, clap::Args)]
struct Cancel {
    /// Its id, or `all`
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    why: Why,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::List(args) => list(args),
        Command::Plan(args) => brownout_plan::run(args),
        Command::Effect(args) => effect(args),
        Command::Cancel(args) => cancel(args),
    }
}

fn cancel(args: &Cancel) -> anyhow::Result<ExitCode> {
    match Lever::parse(&format!("brownout cancel {}", args.id)) {
        Ok(lever) => ask_for(&lever, &args.why),
        Err(error) => {
            complain(&format!("cellgate: {error}; `{ALL_BROWNOUTS}` cancels every one"));
            Ok(USAGE.into())
        }
    }
}

fn effect(args: &Effect) -> anyhow::Result<ExitCode> {
    let now = now();
    let list = match &args.id {
        Some(id) => brownouts::accounts(args.books.source(), id, now)?,
        None => brownouts::list(&brownouts::read(args.books.source(), now)?),
    };
    let text = if args.form.is_json() { list.json().context("writing JSON")? } else { list.table(now) };
    print(text.as_bytes())?;
    Ok(OK.into())
}

/// Whom one is about.
fn accounts(args: &List, id: &str) -> anyhow::Result<ExitCode> {
    let other = args.against.clone().map(|folder| ConfigFolder { folder, boot: None });
    let Some(snapshot) = deciding(&args.config, args.form)? else { return Ok(USAGE.into()) };
    let before = match other.as_ref().map(|other| deciding(other, args.form)).transpose()? {
        Some(None) => return Ok(USAGE.into()),
        before => before.flatten(),
    };
    let Some(lines) = brownout_members::lines(&snapshot, before.as_ref(), id, args.at.unwrap_or_else(now))
    else {
        let known: Vec<&str> = snapshot.brownouts.all.iter().map(|brownout| brownout.id.as_str()).collect();
        let known = if known.is_empty() { "none is written".to_owned() } else { known.join(", ") };
        complain(&format!("cellgate: there is no brownout {id:?}: {known}"));
        return Ok(USAGE.into());
    };
    if args.form.is_json() {
        print_line(&brownout_members::as_value(id, &lines).to_string())?;
    } else {
        print(plain_lines(&brownout_members::as_text(&lines)).as_bytes())?;
    }
    Ok(OK.into())
}

/// Reasons are written by people: no character of them does anything to a terminal.
fn plain_lines(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", plain(line))).collect()
}

fn list(args: &List) -> anyhow::Result<ExitCode> {
    if let Some(id) = &args.id {
        return accounts(args, id);
    }
    let said = match &args.socket {
        Some(socket) => {
            let answer = ask(socket, "GET /brownouts", WITHIN)?;
            let said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            Some(said)
                .filter(|said| answer.is_ok && said["brownouts"].is_array())
                .with_context(|| format!("{} does not answer as cellgate does", socket.display()))?
        }
        None => {
            let Some(snapshot) = deciding(&args.config, args.form)? else { return Ok(USAGE.into()) };
            let statuses = statuses(&snapshot, args.at.unwrap_or_else(now), |_| false);
            json!({ "brownouts": statuses.iter().map(as_value).collect::<Vec<_>>() })
        }
    };
    if args.form.is_json() {
        print_line(&said.to_string())?;
    } else {
        let brownouts = said["brownouts"].as_array().map(Vec::as_slice).unwrap_or_default();
        print(as_text(brownouts).as_bytes())?;
    }
    Ok(OK.into())
}

/// As `/brownouts` has it.
fn as_value(status: &Status) -> Value {
    let window = |window: Option<Window>| {
        window.map(|Window { start, end }| json!({ "start": show_moment(start), "end": show_moment(end) }))
    };
    json!({
        "id": status.id.as_str(),
        "mode": status.mode.as_str(),
        "in_force": status.is_in_force(),
        "cancelled": status.is_cancelled,
        "share": status.share.to_string(),
        "accounts": status.accounts,
        "exempt": status.exempt,
        "window": window(status.window),
        "next": window(status.next),
    })
}

fn as_text(brownouts: &[Value]) -> String {
    if brownouts.is_empty() {
        return "No brownout is written.\n".to_owned();
    }
    let rows = brownouts.iter().map(|brownout| {
        let text = |key: &str| plain(brownout[key].as_str().unwrap_or("?"));
        let number = |key: &str| brownout[key].as_u64().unwrap_or(0).to_string();
        let window = |key: &str| {
            let at = |end: &str| brownout[key][end].as_str().map(plain);
            at("start")
                .zip(at("end"))
                .map_or_else(|| "-".to_owned(), |(start, end)| format!("{start} to {end}"))
        };
        let is = |key: &str| brownout[key].as_bool().unwrap_or(false);
        let now = match (is("cancelled"), is("in_force")) {
            (true, _) => "CANCELLED".to_owned(),
            (false, true) => window("window"),
            (false, false) => "-".to_owned(),
        };
        [text("id"), text("mode"), text("share"), number("accounts"), number("exempt"), now, window("next")]
    });
    let heads = ["ID", "MODE", "SHARE", "ACCOUNTS", "EXEMPT", "IN FORCE", "NEXT"].map(str::to_owned);
    let rows: Vec<[String; 7]> = [heads].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let line = |row: &[String; 7]| {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(column, cell)| format!("{cell:<width$}", width = width(column)))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

pub(super) fn moment(text: &str) -> Result<i64, String> {
    parse_moment_with_offset(text).ok_or_else(|| "expected a moment such as 2026-11-24T14:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_what_is_in_force_and_what_comes() {
        let window = json!({ "start": "2026-11-24T14:00:00Z", "end": "2026-11-24T15:00:00Z" });
        let of = |id: &str, in_force: bool, cancelled: bool| {
            json!({ "id": id, "mode": "hard", "in_force": in_force, "cancelled": cancelled, "share": "10%",
                    "accounts": 12, "exempt": 3, "window": window, "next": null })
        };
        let expect = "\
ID    MODE  SHARE  ACCOUNTS  EXEMPT  IN FORCE                                      NEXT
bo-1  hard  10%    12        3       2026-11-24T14:00:00Z to 2026-11-24T15:00:00Z  -
bo-2  hard  10%    12        3       CANCELLED                                     -
";
        assert_eq!(as_text(&[of("bo-1", true, false), of("bo-2", false, true)]), expect);
        assert_eq!(as_text(&[]), "No brownout is written.\n");
    }
}
