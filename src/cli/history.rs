//! `cellgate history`: the configurations that have served, who put them in force, when and why; and how two differ.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::json;

use super::audit::{Source, people, plain};
use super::form::Form;
use super::{OK, complain, print, print_line};
use crate::config::time::show_moment;
use crate::config::{self, Config, Sources};
use crate::history::{Entry, find, history};
use crate::load::Place;
use crate::{last_good, start};

/// Say which configurations have served, who put them in force, when and why.
///
/// The number is that of the line of the audit trail. Generations count from 1 in each process.
///
/// Exit codes: 0 printed, 1 not to be read, 64 wrong arguments.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    form: Form,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what changed from one to another: accounts by movement, cells, hosts, dates
    Diff(Difference),
}

#[derive(Debug, clap::Args)]
struct Difference {
    /// Number of the one before
    a: u64,
    /// Number of the one after
    b: u64,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    form: Form,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        None => list(&args.source.state_dir, args.form.is_json())?,
        Some(Command::Diff(args)) => difference(args)?,
    }
    Ok(OK.into())
}

/// The files of an entry, as of the configuration folder that nobody reads here.
pub(super) fn sources(state_dir: &Path, number: u64) -> anyhow::Result<(Sources, i64)> {
    let kept = find(state_dir, number)?;
    read(&kept.path)
}

/// The files that a file of the state folder holds, and since when they were good.
pub(super) fn read(path: &Path) -> anyhow::Result<(Sources, i64)> {
    let saved = last_good::read(path).context("reading what was kept")?;
    let at = i64::try_from(saved.saved_at).unwrap_or(i64::MAX);
    Ok((start::to_sources(&Place::from("(history)"), saved.files), at))
}

fn list(state_dir: &Path, as_json: bool) -> anyhow::Result<()> {
    let history = history(state_dir)?;
    if as_json {
        let entries: Vec<_> = history.entries.iter().map(as_value).collect();
        print_line(&json!({ "trail_is_whole": history.is_whole, "history": entries }).to_string())?;
        return Ok(());
    }
    if history.entries.is_empty() {
        bail!(
            "nothing is kept in {}: name the state folder of the proxy with --state-dir",
            state_dir.join(crate::history::FOLDER).display()
        );
    }
    let mut text = "number  gen  when                  by           who / why / what changed\n".to_owned();
    for entry in &history.entries {
        text.push_str(&one_line(entry));
    }
    print(text.as_bytes())?;
    if !history.is_whole {
        complain(
            "cellgate: the audit trail is broken, so who, why and what may be false: see cellgate audit verify",
        );
    }
    Ok(())
}

fn one_line(entry: &Entry) -> String {
    let at = show_moment(i64::try_from(entry.kept.saved_at).unwrap_or(i64::MAX));
    let record = entry.line.as_ref().map(|line| &line.record);
    let generation = record.and_then(|record| record.to.as_ref()).map(|to| to.generation.to_string());
    let by = record.and_then(|record| record.trigger.clone());
    let mut said: Vec<String> = Vec::new();
    match record {
        None => said.push("the audit trail has nothing on it (any more)".to_owned()),
        Some(record) => {
            said.extend(people(record));
            said.extend(record.why.as_ref().map(|why| format!("{why:?}")));
            said.extend(record.changes.clone());
        }
    }
    format!(
        "{:>6}  {:>3}  {at}  {:<11}  {}\n",
        entry.kept.number,
        generation.unwrap_or_default(),
        plain(&by.unwrap_or_default()),
        plain(&said.join(" / ")),
    )
}

fn as_value(entry: &Entry) -> serde_json::Value {
    let kept = &entry.kept;
    json!({
        "number": kept.number, "hash": kept.hash, "since": kept.saved_at, "bytes": kept.bytes,
        "line": entry.line.as_ref().map(crate::trail::Line::to_json),
    })
}

fn difference(args: &Difference) -> anyhow::Result<()> {
    let state_dir = &args.source.state_dir;
    let (before, after) = (parsed(state_dir, args.a)?, parsed(state_dir, args.b)?);
    let difference = config::diff(&before, &after).to_string();
    if args.form.is_json() {
        let changes: Vec<&str> = difference.split("; ").collect();
        let is_same = before.hash == after.hash;
        print_line(&json!({ "from": args.a, "to": args.b, "same": is_same, "changes": changes }).to_string())
    } else {
        let lines = difference.split("; ").map(|line| format!("  {line}\n"));
        print(format!("{} -> {}\n{}", args.a, args.b, lines.collect::<String>()).as_bytes())
    }
}

/// Judged as of when it served: what has expired since did not then.
fn parsed(state_dir: &Path, number: u64) -> anyhow::Result<Config> {
    let (sources, then) = sources(state_dir, number)?;
    config::parse_for_deciding(&sources, then).map_err(|problems| {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        anyhow::anyhow!("this version of cellgate finds problems in {number}: {first}")
    })
}
