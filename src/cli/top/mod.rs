//! `cellgate top`: what the console shows, in a terminal, for the day when only ssh works. It asks `GET /live` and changes nothing.
//!
//! Four parts: what is known ([`document`], [`fleet`], [`rows`]), what is looked at ([`view`], [`keys`]), the picture of both
//! ([`draw`]), all three plain; and the shell around them, which has the terminal, the clock and the threads that ask ([`shell`],
//! [`asking`]). Why: docs/decisions/0028-top.md.

mod asking;
mod changes;
mod commands;
mod detail;
mod document;
mod draw;
mod fleet;
mod header;
mod help;
mod keys;
mod page;
mod paste;
mod rows;
#[cfg(test)]
mod sample;
mod screens;
mod shell;
mod table;
#[cfg(test)]
mod tests;
mod view;
mod words;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use ratatui::crossterm::terminal;

use super::admin_socket::Door;
use super::form::Form;
use super::moves::replicas::Declared;
use super::{FAILED, OK, USAGE, complain, print, print_line, span};
use crate::policy::code::Code;
use crate::policy::protection::levers::known::Unknown;
use draw::Look;
use fleet::{Answers, Fleet};
use view::{Top, View};

/// More often says nothing new: what is live is judged once a second.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// More seldom is no look at anything that is live.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

/// Width of a page for a ticket, where no terminal says another.
const PRINTED_WIDTH: u16 = 120;

/// Narrower than this a printed page says nothing; wider has no use for it.
const PRINTED_WIDTHS: std::ops::RangeInclusive<u16> = 40..=300;

/// Show what happens now, in a terminal: cells, what they answer and why they stand as they do, levers, reloads.
///
/// It asks once a second and changes nothing: `c` says the command for what is selected. Where its output is no terminal it prints
/// one page, as with --once. Exit codes: 0 it was ended, or everybody has answered; 1 somebody has not; 64 wrong arguments, or a
/// cell that nobody has.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The admin socket
    #[arg(long, value_name = "PATH", default_value = "state/admin.sock", conflicts_with_all = ["given", "replicas"])]
    socket: PathBuf,
    #[command(flatten)]
    replicas: Declared,
    /// Time between two questions, 1s to 60s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Print one page as plain text
    #[arg(long)]
    once: bool,
    /// Open this cell
    #[arg(long, value_name = "NAME")]
    cell: Option<String>,
    #[command(flatten)]
    form: Form,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = span(text)?;
    let fits = (SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&interval);
    fits.then_some(interval).ok_or_else(|| "expected 1s to 60s".to_owned())
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut doors = match args.replicas.doors() {
        Ok(doors) => doors,
        Err(problems) => {
            args.form.tell(&problems)?;
            return Ok(USAGE.into());
        }
    };
    if doors.is_empty() {
        doors.push((args.socket.display().to_string().into(), Door::Unix(args.socket.clone())));
    }
    if args.form.is_json() {
        return as_json(&doors);
    }
    let is_terminal = io::stdout().is_terminal();
    let is_plain = args.once || !is_terminal;
    let view = View { open: args.cell.clone(), is_printed: is_plain || is_dumb(), ..View::default() };
    let mut top = Top { fleet: Fleet::new(doors), view };
    if is_plain {
        return once(&mut top);
    }
    if is_dumb() {
        return over_and_over(&mut top, args.interval);
    }
    anyhow::ensure!(
        io::stdin().is_terminal(),
        "standard input is no terminal, so that no key can be read; use --once to print one page"
    );
    shell::show(top, look(), args.interval).context("showing it on this terminal")?;
    Ok(OK.into())
}

/// The documents as they are, a line each.
fn as_json(doors: &[(Box<str>, Door)]) -> anyhow::Result<ExitCode> {
    let mut code = OK;
    for ((name, _), said) in doors.iter().zip(asking::all(doors)) {
        let document = said.and_then(|body| {
            let document: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
            let is_one = document["version"].is_u64();
            is_one.then_some(document).ok_or_else(|| "it does not answer as cellgate does".to_owned())
        });
        match document {
            Ok(document) => print_line(&document.to_string())?,
            Err(why) => {
                complain(&silence(name, &why));
                code = FAILED;
            }
        }
    }
    Ok(code.into())
}

/// That a replica has not answered, and why.
fn silence(name: &str, why: &str) -> String {
    format!("cellgate: {name}: {why} [{}]", Code::NobodyAnswers)
}

/// One page.
fn once(top: &mut Top) -> anyhow::Result<ExitCode> {
    asking::hear_all(&mut top.fleet);
    let silent: Vec<String> = (top.fleet.replicas.iter())
        .filter_map(|replica| match &replica.answers {
            Answers::No { why, .. } => Some(silence(&replica.name, why)),
            Answers::NotYet | Answers::Yes => None,
        })
        .collect();
    if silent.is_empty()
        && let Some(unknown) = unknown(top)
    {
        complain(&format!("cellgate: --cell: {unknown}"));
        return Ok(USAGE.into());
    }
    if silent.len() < top.fleet.replicas.len() {
        print(draw::text(top, SystemTime::now(), look(), printed_width()).as_bytes())?;
    }
    if silent.is_empty() {
        return Ok(OK.into());
    }
    complain(&silent.join("\n"));
    Ok(FAILED.into())
}

/// The cell that is to be opened, where none of those who have answered has it.
fn unknown(top: &Top) -> Option<Unknown> {
    let name = top.view.open.as_ref()?;
    let cells = top.fleet.shown().flat_map(|(_, document)| &document.cells);
    let known: BTreeSet<String> = cells.map(|cell| cell.name.to_string()).collect();
    let known = known.into_iter().collect::<Vec<_>>();
    (!known.contains(name)).then(|| Unknown { what: "cell", name: name.clone(), known })
}

/// A page after the other, for a terminal that can do nothing else.
fn over_and_over(top: &mut Top, every: Duration) -> anyhow::Result<ExitCode> {
    loop {
        asking::hear_all(&mut top.fleet);
        print(format!("{}\n", draw::text(top, SystemTime::now(), look(), printed_width())).as_bytes())?;
        std::thread::sleep(every);
    }
}

fn printed_width() -> u16 {
    let of_terminal = || terminal::size().ok().filter(|_| io::stdout().is_terminal()).map(|(width, _)| width);
    let told = || std::env::var("COLUMNS").ok()?.parse().ok();
    let width = of_terminal().or_else(told).unwrap_or(PRINTED_WIDTH);
    width.clamp(*PRINTED_WIDTHS.start(), *PRINTED_WIDTHS.end())
}

/// It can only write lines, or nobody says what it can.
fn is_dumb() -> bool {
    std::env::var("TERM").map_or(true, |term| term.is_empty() || term == "dumb")
}

/// What the environment says of the terminal (POSIX's order of locale variables; <https://no-color.org>).
fn look() -> Look {
    let told = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(told).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    let has_utf8 = locale.contains("utf-8") || locale.contains("utf8");
    Look { has_utf8, has_colour: told("NO_COLOR").is_none() }
}
