//! `cellgate audit`: whether the audit trail is whole, and what it says. Works while the proxy runs, and on copies.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::ensure;
use clap::Subcommand;
use serde_json::json;

use super::form::Form;
use super::{FAILED, OK, complain, print, print_line};
use crate::approval::Digest;
use crate::policy::line::is_deceptive;
use crate::trail::check::{Break, Checked, Checker};
use crate::trail::{self, Head, Line, Record, Version, files};

/// Check the audit trail, or show what it says
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Verify(Verify),
    Show(Show),
}

/// Say whether every line of the audit trail is there as it was written, or the first place where not.
///
/// Whoever can write the files can write the whole chain anew. What tells then is a head that was kept elsewhere: each
/// reload logs one ("head of the audit trail"), and --contains asks for it.
///
/// Exit codes: 0 whole, 1 broken or not to be read, 64 wrong arguments.
#[derive(Debug, clap::Args)]
struct Verify {
    #[command(flatten)]
    source: Source,
    /// Files of the trail, oldest first, in place of those in the state folder
    #[arg(value_name = "FILE", conflicts_with = "state_dir")]
    files: Vec<PathBuf>,
    /// Also ask for the line with this digest, a head that was kept elsewhere
    #[arg(long, value_name = "SHA256", value_parser = head)]
    contains: Option<String>,
    #[command(flatten)]
    form: Form,
}

/// Show the last lines of the audit trail.
///
/// Exit codes: 0 shown, 1 not to be read, 64 wrong arguments.
#[derive(Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    source: Source,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: usize,
    #[command(flatten)]
    form: Form,
}

/// Whose trail or history.
#[derive(Debug, clap::Args)]
pub(super) struct Source {
    /// The proxy's state folder
    #[arg(long, value_name = "DIR", default_value = "state")]
    pub(super) state_dir: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Verify(args) => verify(args),
        Command::Show(args) => show(args),
    }
}

fn verify(args: &Verify) -> anyhow::Result<ExitCode> {
    let (files, whole) = match args.files.as_slice() {
        [] => (there(&args.source.state_dir)?, true),
        files => (files.to_vec(), false),
    };
    let checked = trail::check(&files, Checker::looking_for(args.contains.clone()), whole, |_| {})?;
    let missed = args.contains.as_ref().filter(|_| !checked.contains);
    let is_good = checked.broken.is_none() && missed.is_none() && checked.lines > 0;
    if args.form.is_json() {
        print_line(&json(&checked, files.len(), args.contains.is_some()).to_string())?;
    } else if let Some(broken) = &checked.broken {
        complain(&told(broken, &checked));
    } else if checked.lines == 0 {
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        complain(&format!(
            "cellgate: the audit trail has no line: {}\n  Each start writes one before it serves, so these files were emptied, or \
             the disk was full at the first start. Compare with the heads in the logs (\"head of the audit trail\").",
            files.join(", ")
        ));
    } else if let Some(missed) = missed {
        complain(&format!(
            "cellgate: the audit trail has no line with sha256 {missed}\n  \
             Its {} lines fit each other, so its end was cut off or all of it was written anew, or this is another \
             trail. Keep a copy of the files, and compare with the heads in the logs of this process.",
            checked.lines
        ));
    } else {
        print(praised(&checked, files.len()).as_bytes())?;
    }
    Ok(if is_good { OK } else { FAILED }.into())
}

/// The digest of a line, as logs have it.
fn head(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    Digest::parse(&text)
        .map(|_| text)
        .ok_or_else(|| "expected 64 hex digits, as a log line has them".to_owned())
}

fn there(state_dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let files = files::all(state_dir)?;
    ensure!(
        !files.is_empty(),
        "there is no audit trail in {}: name the state folder of the proxy with --state-dir; if this is it, the trail was \
         taken away",
        state_dir.display()
    );
    Ok(files)
}

fn praised(checked: &Checked, files: usize) -> String {
    let (first, head) = (checked.first.unwrap_or_default(), checked.head.as_ref());
    let last = checked.last_at.as_deref().unwrap_or_default();
    let mut text = format!(
        "The audit trail is whole: {} lines in {files} file{}, from line {first} to line {} of {}.\n",
        checked.lines,
        if files == 1 { "" } else { "s" },
        head.map_or(0, |head| head.seq),
        plain(last),
    );
    if first > 1 {
        text.push_str("Older lines were dropped, because there is a bound, or were not given.\n");
    }
    for place in &checked.torn {
        text.push_str(&format!(
            "{place}: its writer died within this line. It is kept, and a line after it says so.\n"
        ));
    }
    if let Some(rest) = &checked.rest {
        text.push_str(&format!("{}: a line is being written, or its writer died within it.\n", rest.place));
    }
    if let Some(Head { seq, sha256 }) = head {
        text.push_str(&format!(
            "Head: line {seq}, sha256 {sha256}\nWhoever can write the files can write all of them anew: keep this head \
             where they cannot write, and ask for it later with --contains.\n"
        ));
    }
    text
}

fn told(broken: &Break, checked: &Checked) -> String {
    let Break { file, line, what, expected, found } = broken;
    let more = match checked.breaks {
        1 => "It is the only such place.".to_owned(),
        all => format!("It is the first of {all} such places."),
    };
    let said = if checked.told { " cellgate has noticed, and says so in a line after it." } else { "" };
    format!(
        "cellgate: THE AUDIT TRAIL IS BROKEN at {file}:{line}\n  {what}\n  expected: {expected}\n  found:    {found}\n  \
         {more}{said}\nSomething else than cellgate has changed these files. Copy them away before anything else, look \
         who has access to the folder, and compare with the heads in the logs (\"head of the audit trail\"): every line up \
         to a head that you kept can be checked in a copy with --contains. cellgate goes on writing behind the break."
    )
}

fn json(checked: &Checked, files: usize, asked: bool) -> serde_json::Value {
    let broken = checked.broken.as_ref().map(|broken| {
        let Break { file, line, what, expected, found } = broken;
        json!({ "file": file, "line": line, "what": what, "expected": expected, "found": found })
    });
    json!({
        "whole": checked.broken.is_none() && checked.lines > 0, "files": files, "lines": checked.lines, "first": checked.first,
        "head": checked.head.as_ref().map(|head| json!({ "seq": head.seq, "sha256": head.sha256 })),
        "broken": broken, "breaks": checked.breaks, "torn": checked.torn,
        "unfinished": checked.rest.as_ref().map(|rest| &rest.place),
        "contains": asked.then_some(checked.contains),
    })
}

fn show(args: &Show) -> anyhow::Result<ExitCode> {
    let files = there(&args.source.state_dir)?;
    let mut last: VecDeque<Line> = VecDeque::new();
    let checked = trail::check(&files, Checker::default(), true, |line| {
        if last.len() >= args.last {
            last.pop_front();
        }
        if args.last > 0 {
            last.push_back(line.clone());
        }
    })?;
    let shown = last.iter().map(|line| match args.form.is_json() {
        true => format!("{}\n", line.to_json()),
        false => format!("{}\n", one_line(line)),
    });
    print(shown.collect::<String>().as_bytes())?;
    if checked.broken.is_some() {
        complain(
            "cellgate: the audit trail is broken, so this may not be what happened: see cellgate audit verify",
        );
    }
    Ok(OK.into())
}

fn one_line(line: &Line) -> String {
    let record = &line.record;
    let mut parts = vec![format!("{:>6}  {}  {:<13}", line.head.seq, plain(&line.at), record.event.as_str())];
    let mut add = |name: &str, value: Option<String>| {
        parts.extend(value.map(|value| format!("{name}{}", plain(&value))));
    };
    add("", record.outcome.clone());
    add("by ", record.trigger.clone());
    people(record).into_iter().for_each(|part| add("", Some(part)));
    add("from ", record.from.as_ref().map(short));
    add("to ", record.to.as_ref().map(short));
    add("candidate ", record.candidate.as_deref().map(|hash| hash.get(..12).unwrap_or(hash).to_owned()));
    add("restores ", record.restores.map(|number| number.to_string()));
    add("plan ", record.plan.clone());
    add("why: ", record.why.as_ref().map(|why| format!("{why:?}")));
    // Names and values in these are people's words, too.
    add("changes: ", record.changes.as_ref().map(|changes| format!("{changes:?}")));
    let reasons: Vec<String> = record.reasons.iter().map(|reason| format!("{reason:?}")).collect();
    add("reasons: ", (!reasons.is_empty()).then(|| reasons.join(" | ")));
    parts.join("  ")
}

/// Who stands behind a line. What was checked comes first, and a claim stands in quotes that it cannot end, so that no claim
/// reads like an approval.
pub(super) fn people(record: &Record) -> Vec<String> {
    let mut people = Vec::new();
    people.extend(record.caller.as_ref().map(|caller| format!("asked by {caller}")));
    if !record.approved_by.is_empty() {
        people.push(format!("approved by {}", record.approved_by.join(", ")));
    }
    people.extend(record.author.as_ref().map(|author| format!("author {author:?}")));
    if !record.who.is_empty() {
        let claimed: Vec<String> = record.who.iter().map(|who| format!("{who:?}")).collect();
        people.push(format!("who (claimed) {}", claimed.join(", ")));
    }
    people
}

fn short(version: &Version) -> String {
    let hash = version.hash.get(..12).unwrap_or(&version.hash);
    format!("generation {} ({hash})", version.generation)
}

/// As one line that cannot do anything to a terminal: some of it was written by people.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|char| if is_deceptive(char) { ' ' } else { char }).collect()
}
