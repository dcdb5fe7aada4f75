//! `cellgate plan`: what a configuration would change, what guards have against it, and which recorded requests would be
//! decided differently. Nothing is changed. Exit code 0 for no change, 2 for changes, 3 for refused ones.

mod standing;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::Serialize;
use standing::Standing;

use super::{ConfigFolder, OK, USAGE, admin_socket, complain, form, now, print, print_line, print_problems};
use crate::app::{Options, requests_of};
use crate::config::plan::{By, Plan, PlanView, Verdict, code_span};
use crate::config::{self, Boot, Config, Problem, Sources};
use crate::last_good::LastGoodError;
use crate::load::{self, Place};
use crate::replay::{self, Replayed};
use crate::start::{self, Base, Given};

/// There are changes, and no guard refuses them.
const CHANGES: u8 = 2;
/// A guard refuses the changes, or something else keeps them out.
pub(super) const REFUSED: u8 = 3;

/// Most bytes of a recording: a day of a busy replica's access log; more is a matter of `head`.
const MAX_RECORDING: u64 = 1024 * 1024 * 1024;

/// A process that is asked what it serves answers at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lines of differing requests in the text; `--output json` has more.
const SHOWN: usize = 20;

/// Say what a configuration would change, before it serves.
///
/// Exit code: 0 nothing would change, 2 something would (also by approvals that lie in the folder), 3 it would be refused,
/// by a guard, an override, or because it was rolled back before; 64 the configuration has problems.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFolder,
    /// Compare with this configuration folder, and with the same boot.yaml where --boot names one
    #[arg(long, value_name = "DIR", conflicts_with = "state_dir")]
    against: Option<PathBuf>,
    /// Compare with what served last by this state folder; without --against, the one that boot.yaml names
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Make sure that the running cellgate behind this admin socket serves what is compared with
    #[arg(long, value_name = "FILE", conflicts_with = "against")]
    socket: Option<PathBuf>,
    /// Requests to decide under both: a file of access log lines, or - for the standard input. Without it, a built-in
    /// sample of real shapes
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// How to report
    #[arg(long, short, value_enum, default_value_t)]
    output: PlanOutput,
}

/// For a terminal, for programs, or for a review.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum PlanOutput {
    /// For a terminal
    #[default]
    Text,
    /// For programs; `cellgate approve --plan` reads it
    Json,
    /// For a review
    Markdown,
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    plan: PlanView<'a>,
    standing: &'a Standing,
    replayed: Option<&'a Replayed>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let recording = recording(args.replay.as_deref())?;
    if let Some(state_dir) = args.state_dir.as_deref().filter(|state_dir| !state_dir.is_dir()) {
        bail!(
            "--state-dir {}: there is no such folder; expected one that cellgate serves from",
            state_dir.display()
        );
    }
    let options = Options {
        config: args.config.folder.clone(),
        boot: args.config.boot.clone(),
        bootstrap: false,
        state_dir: args.state_dir.clone(),
    };
    let given = options.given();
    let (boot, config) = match config::parse_all(&load::load(given.place.clone()), now()) {
        Ok(parsed) => parsed,
        Err(problems) => return wrong(args.output, &problems),
    };
    let boot = match &args.state_dir {
        Some(state_dir) => boot.in_state_dir(state_dir),
        None => boot,
    };
    let base = match base(args, &given, &boot, &config)? {
        Ok(base) => base,
        Err(code) => return Ok(code),
    };
    if let Some(socket) = &args.socket {
        serves(socket, &base.config)?;
    }
    let plan = start::plan(&given, By::Running, &base, (&boot, &config), &|folder| {
        requests_of(folder, std::time::SystemTime::now())
    });
    let has_state = args.against.is_none();
    let standing = Standing::find(&given, (&boot, &base.boot.guards), &config, &plan, has_state, now());
    let at = u64::try_from(now()).unwrap_or(0);
    let before = config::compile(base.config, None);
    let after = config::compile(config, None);
    let replayed = replay::replay(recording.lines(), &before, &after, at);
    if let (Some(path), 0) = (&args.replay, replayed.requests) {
        let lines = replayed.unreadable;
        bail!(
            "--replay {}: no request in it ({lines} other lines); expected lines of the access log",
            path.display()
        );
    }
    report(args.output, &plan, &standing, Some((&replayed, told(&replayed, args.replay.is_none()))))?;
    Ok(code(standing.ends(plan.verdict())))
}

/// What is compared with. Where there is none, that has been told, and the exit code is here.
fn base(args: &Args, given: &Given, boot: &Boot, config: &Config) -> anyhow::Result<Result<Base, ExitCode>> {
    if let Some(folder) = &args.against {
        // Both as if they lay where the files of the plan lie: paths that are the same words are the same.
        let read = load::load(Place { folder: folder.clone(), ..args.config.place() });
        let sources = Sources { folder: given.place.folder.clone(), ..read };
        return Ok(match config::parse_all(&sources, now()) {
            Ok((boot, config)) => Ok(Base { boot, config }),
            Err(problems) => {
                complain(&format!("cellgate: the configuration in {} (--against) is bad:", folder.display()));
                Err(wrong(args.output, &there(problems, folder, &given.place.folder))?)
            }
        });
    }
    match start::base(&given.place, &boot.state_dir, Some(config)) {
        Ok((base, _)) => Ok(Ok(base)),
        Err(error @ LastGoodError::Absent(_)) => from_nothing(args, given, boot, config, &error).map(Err),
        Err(error) => Err(error).context("reading what serves"),
    }
}

/// Problems of a folder that was read as if it were another: what was tried was tried there, and its own option names it.
fn there(problems: Vec<Problem>, folder: &Path, read_as: &Path) -> Vec<Problem> {
    let tried = |folder: &Path| format!("tried {}/", folder.display());
    let said = |hint: &str| {
        hint.replace(&tried(read_as), &tried(folder)).replace("--config DIR names", "--against DIR names")
    };
    let said = |problem: Problem| {
        let hint = problem.hint.as_deref().map(said).map(String::into_boxed_str);
        Problem { hint, ..problem }
    };
    problems.into_iter().map(said).collect()
}

fn code(verdict: Verdict) -> ExitCode {
    ExitCode::from(match verdict {
        Verdict::Nothing => OK,
        Verdict::Changes => CHANGES,
        Verdict::Refused => REFUSED,
    })
}

fn wrong(output: PlanOutput, problems: &[Problem]) -> anyhow::Result<ExitCode> {
    match output {
        PlanOutput::Json => print_line(&form::as_value(problems).to_string())?,
        PlanOutput::Text | PlanOutput::Markdown => print_problems(problems),
    }
    Ok(USAGE.into())
}

/// A plan of a replica that has served nothing yet: only approvals or `--bootstrap` let it begin. No request has been decided
/// there, so none is compared.
fn from_nothing(
    args: &Args,
    given: &Given,
    boot: &Boot,
    config: &Config,
    why: &LastGoodError,
) -> anyhow::Result<ExitCode> {
    let plan = Plan::from_nothing(&boot.guards, false, why, config);
    let standing = Standing::find(given, (boot, &boot.guards), config, &plan, true, now());
    report(args.output, &plan, &standing, None)?;
    complain(
        "cellgate: nothing has served from this state folder; --against DIR compares with another folder",
    );
    Ok(code(standing.ends(plan.verdict())))
}

/// `replayed` with its words for people.
fn report(
    output: PlanOutput,
    plan: &Plan,
    standing: &Standing,
    replayed: Option<(&Replayed, String)>,
) -> anyhow::Result<()> {
    let told = replayed.as_ref().map_or("", |(_, told)| told);
    match output {
        PlanOutput::Text => {
            let standing: String = standing.lines().iter().map(|line| format!("{line}\n")).collect();
            print(format!("{}{standing}{told}", plan.to_text()).as_bytes())
        }
        PlanOutput::Markdown => {
            let standing: String =
                standing.lines().iter().map(|line| format!("- {}\n", code_span(line))).collect();
            let told: String = told.lines().map(|line| format!("    {line}\n")).collect();
            print(format!("{}\n{standing}\n{told}", plan.to_markdown()).as_bytes())
        }
        PlanOutput::Json => {
            let replayed = replayed.map(|(replayed, _)| replayed);
            let answer = Answer { plan: plan.view(), standing, replayed };
            print_line(&serde_json::to_string_pretty(&answer).context("writing the plan")?)
        }
    }
}

/// Makes sure that a running process serves what was compared with.
fn serves(socket: &Path, base: &Config) -> anyhow::Result<()> {
    let answer = admin_socket::ask(socket, "GET /config", PATIENCE)?;
    let view: serde_json::Value = serde_json::from_str(&answer.body).context("reading what it serves")?;
    let hash = view["hash"].as_str().unwrap_or("nothing that it names");
    anyhow::ensure!(
        *hash == *base.hash,
        "the running cellgate serves {hash} and the state folder holds {}: name the state folder of that process with \
         --state-dir",
        base.hash
    );
    Ok(())
}

fn recording(path: Option<&Path>) -> anyhow::Result<String> {
    let Some(path) = path else { return Ok(replay::SAMPLE.to_owned()) };
    let mut text = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_RECORDING).read_to_end(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_RECORDING).read_to_end(&mut text))
    };
    read.with_context(|| format!("--replay {}", path.display()))?;
    // Paths are not text for sure, and a log is escaped.
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn told(replayed: &Replayed, sample: bool) -> String {
    let Replayed { requests, unreadable, different, differences } = replayed;
    let of = if sample { "of the built-in sample" } else { "recorded" };
    let mut text = format!("\n{requests} requests {of} decided under both: {different} differ.\n");
    if *unreadable > 0 {
        text.push_str(&format!("{unreadable} lines are no requests in JSON, as the access log has them.\n"));
    }
    for difference in differences.iter().take(SHOWN) {
        let replay::Difference { request, count, before, after } = difference;
        text.push_str(&format!("  {count} x {request}\n      {before} -> {after}\n"));
    }
    if differences.len() > SHOWN {
        text.push_str(&format!("  and {} kinds more: --output json has them\n", differences.len() - SHOWN));
    }
    text
}
