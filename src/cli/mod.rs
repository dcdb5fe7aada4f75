//! The command line: one file a command. Arguments are parsed here, decisions are made elsewhere, and
//! what a person reads is printed here and nowhere else.

mod admin_door;
mod admin_socket;
mod approve;
mod audit;
mod books;
mod books_source;
mod break_glass;
mod brownout;
mod brownout_members;
mod brownout_plan;
pub(crate) mod changes;
mod check;
mod codes;
mod completions;
mod console;
mod credentials;
mod drill;
mod explain;
mod fingerprint;
mod form;
mod healthz;
mod history;
mod import;
mod incident;
mod init;
mod levers;
mod man;
mod moves;
mod outreach;
mod plan;
mod progress;
mod report;
mod rollback;
mod schema;
mod serve;
mod signals;
mod steps;
mod token;
mod top;
mod upgrade;
mod webhook;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::config::time::parse_duration;
use crate::load::Place;
use crate::policy::protection::levers::LeverKind;

/// Everything is well.
pub const OK: u8 = 0;
/// It failed while running.
pub const FAILED: u8 = 1;
/// The command line or the configuration is wrong (`EX_USAGE` of sysexits.h).
pub const USAGE: u8 = 64;

/// Edge proxy that takes every request to its account's own cell.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Import(import::Args),
    /// Serve until SIGTERM or Ctrl-C
    Serve(serve::Args),
    /// Read the configuration and report every problem in it
    Check(check::Args),
    Plan(plan::Args),
    /// Approve a plan with an SSH key
    Approve(approve::Args),
    BreakGlass(break_glass::Args),
    /// Let a cell take no more than so much, for a time
    #[command(override_usage = "cellgate cap cell NAME in_flight NUMBER --reason TEXT [--for TIME]\n       \
                          cellgate cap cell NAME rps NUMBER --reason TEXT [--for TIME]")]
    Cap(levers::Pull),
    /// Refuse a part of some requests at once, for a time
    #[command(
        override_usage = "cellgate shed PERCENT% [cell NAME] [account ID] [client FAMILY] [class NAME] --reason TEXT \
                          [--for TIME]"
    )]
    Shed(levers::Pull),
    /// Send nothing new to an endpoint, a group, a zone or a cell, for a time
    #[command(override_usage = "cellgate drain endpoint ADDRESS --reason TEXT [--for TIME]\n       \
                          cellgate drain group CELL ZONE ...\n       cellgate drain zone NAME ...\n       \
                          cellgate drain cell NAME ...")]
    Drain(levers::Pull),
    /// Drain a zone in all cells and ask what is open there to leave, for a time
    #[command(override_usage = "cellgate evacuate zone NAME --reason TEXT [--for TIME]")]
    Evacuate(levers::Pull),
    /// Ask a cell that comes back at this rate and no other, for a time
    #[command(override_usage = "cellgate ramp set cell NAME rps NUMBER --reason TEXT [--for TIME]")]
    Ramp(levers::Pull),
    /// Let new requests of a cell or an account wait some seconds in place of failing, for a time
    #[command(override_usage = "cellgate hold cell NAME [writes] --reason TEXT [--for TIME]\n       \
                          cellgate hold account ID [writes] --reason TEXT [--for TIME]")]
    Hold(levers::Pull),
    /// Turn a protection off, let it watch, or enforce it, for a time
    #[command(
        override_usage = "cellgate policy set NAME off|observe|enforce [cell NAME] --reason TEXT [--for TIME]\n\n\
                          NAME: bulkhead, health, limit, queue, failover, recovery, verdict"
    )]
    Policy(levers::Pull),
    Brownout(brownout::Args),
    Levers(levers::List),
    Release(levers::Release),
    Drill(drill::Args),
    /// Say what would happen to a request, and why
    Explain(explain::Args),
    /// Say who still uses the legacy hosts
    Report(report::ReportArgs),
    Books(books::Args),
    Outreach(outreach::Args),
    Console(console::Args),
    /// Ask a running cellgate whether it is ready
    Healthz(healthz::Args),
    Top(top::Args),
    Upgrade(upgrade::Args),
    Token(token::Args),
    /// Check the audit trail of starts and reloads, or show what it says
    Audit(audit::Args),
    /// Say which configurations have served, who put them in force, when and why
    History(history::Args),
    /// Say what is on trial, and what each cell does with it and without it
    Steps(steps::Args),
    /// Write an older configuration into a new folder, with every account left where it is
    Rollback(rollback::Args),
    Move(moves::Args),
    /// Print the fingerprint of a token read from standard input, for credentials.csv
    Fingerprint(fingerprint::Args),
    /// Make the table of known credentials from what replicas have learned
    Credentials(credentials::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Man(man::Args),
    Help(codes::Args),
}

/// Where the configuration is.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigFolder {
    /// Configuration folder, with boot.yaml and cellgate.yaml
    #[arg(long = "config", value_name = "DIR", default_value = "config")]
    pub folder: PathBuf,
    /// boot.yaml, where it is not in the configuration folder: whoever replaces the folder does not replace the guards
    #[arg(long, value_name = "FILE")]
    pub boot: Option<PathBuf>,
}

impl ConfigFolder {
    /// The same for whoever reads it.
    pub fn place(&self) -> Place {
        Place { folder: self.folder.clone(), boot: self.boot.clone() }
    }
}

/// Parses the command line and runs it. Help and version are answers; what cannot be parsed is [`USAGE`].
pub fn run() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => cli.run(),
        Err(error) => {
            // A terminal that cannot be written to leaves nobody to tell.
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { USAGE } else { OK })
        }
    }
}

impl Cli {
    /// Runs the command and says how it ended, in words on standard error and as exit code.
    pub fn run(self) -> ExitCode {
        let ended = match self.command {
            Command::Init(args) => init::run(&args),
            Command::Import(args) => import::run(&args),
            Command::Serve(args) => serve::run(&args),
            Command::Check(args) => check::run(&args),
            Command::Plan(args) => plan::run(&args),
            Command::Approve(args) => approve::run(&args),
            Command::BreakGlass(args) => break_glass::run(&args),
            Command::Cap(args) => levers::pull(LeverKind::Cap, &args),
            Command::Shed(args) => levers::pull(LeverKind::Shed, &args),
            Command::Drain(args) => levers::pull(LeverKind::Drain, &args),
            Command::Evacuate(args) => levers::pull(LeverKind::Evacuate, &args),
            Command::Ramp(args) => levers::pull(LeverKind::Ramp, &args),
            Command::Hold(args) => levers::pull(LeverKind::Hold, &args),
            Command::Policy(args) => levers::pull(LeverKind::Policy, &args),
            Command::Brownout(args) => brownout::run(&args),
            Command::Levers(args) => levers::list(&args),
            Command::Release(args) => levers::release(&args),
            Command::Drill(args) => drill::run(&args),
            Command::Explain(args) => explain::run(&args),
            Command::Report(args) => report::run(&args),
            Command::Books(args) => books::run(&args),
            Command::Outreach(args) => outreach::run(&args),
            Command::Console(args) => console::run(&args),
            Command::Healthz(args) => healthz::run(&args),
            Command::Top(args) => top::run(&args),
            Command::Upgrade(args) => upgrade::run(&args),
            Command::Token(args) => token::run(&args),
            Command::Audit(args) => audit::run(&args),
            Command::History(args) => history::run(&args),
            Command::Steps(args) => steps::run(&args),
            Command::Rollback(args) => rollback::run(&args),
            Command::Move(args) => moves::run(&args),
            Command::Fingerprint(args) => fingerprint::run(&args),
            Command::Credentials(args) => credentials::run(&args),
            Command::Schema(args) => schema::run(&args),
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(&args),
            Command::Help(args) => codes::run(&args),
        };
        ended.unwrap_or_else(|error| {
            complain(&codes::told(&error));
            ExitCode::from(FAILED)
        })
    }
}

/// Seconds since the Unix epoch.
fn now() -> i64 {
    crate::telemetry::wall_time::unix_seconds(std::time::SystemTime::now())
}

/// A time on the command line, such as `500ms`, `10s` or `5m`.
fn span(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Some(Duration::ZERO) => Err("expected more than no time at all (500ms, 10s, 5m, 2h)".to_owned()),
        Some(span) => Ok(span),
        None => Err("expected a whole number with a unit (500ms, 10s, 5m, 2h)".to_owned()),
    }
}

/// What is in force by the files of a folder, to decide about a request; where they have problems, these are told.
fn deciding(
    config: &ConfigFolder,
    form: form::Form,
) -> anyhow::Result<Option<crate::policy::snapshot::Snapshot>> {
    match crate::config::parse_for_deciding(&crate::load::load(config.place()), now()) {
        Ok(config) => Ok(Some(crate::config::compile(config, None))),
        Err(problems) => form.tell(&problems).map(|()| None),
    }
}

/// Prints problems, one a line, and how many there are.
fn print_problems(problems: &[crate::config::Problem]) {
    let mut lines: Vec<String> = problems.iter().map(in_colours).collect();
    lines.push(match problems.len() {
        1 => "1 problem. Nothing was changed.".to_owned(),
        count => format!("{count} problems. Nothing was changed."),
    });
    if let Some(problem) = problems.first() {
        lines.push(format!("What a code means: cellgate help {}", problem.code));
    }
    complain(&lines.join("\n"));
}

/// Writes an answer to standard output. A reader that has gone away (`| head`) has seen enough.
fn print(answer: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(answer).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("writing to standard output")
        }
        _ => Ok(()),
    }
}

/// The same for a line.
fn print_line(line: &str) -> anyhow::Result<()> {
    print(format!("{line}\n").as_bytes())
}

/// A problem with its place and its code in colours, for [`complain`].
fn in_colours(problem: &crate::config::Problem) -> String {
    let (text, code) = (problem.to_string(), format!("[{}]", problem.code));
    let place = text.find(": ").unwrap_or_default();
    let (place, rest) = text.split_at(place);
    let rest = rest.strip_suffix(code.as_str()).unwrap_or(rest);
    format!("{PLACE}{place}{PLACE:#}{rest}{CODE}{code}{CODE:#}")
}

/// Where something is wrong.
const PLACE: Style = Style::new().bold();

/// What is wrong, by its number.
const CODE: Style = AnsiColor::Red.on_default();

/// Writes lines to standard error. Colours in them stay only where somebody sees them: on a terminal, and as NO_COLOR,
/// CLICOLOR and CLICOLOR_FORCE say. Where nobody reads the lines there is nobody to tell, either.
fn complain(lines: &str) {
    let _ = anstream::AutoStream::auto(io::stderr().lock()).write_all(format!("{lines}\n").as_bytes());
}
