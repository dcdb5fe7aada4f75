//! `cellgate move advance` and `cellgate move status`: how far moves are, what they wait for, and the next state of those
//! that wait for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::super::{OK, now, print};
use super::announce::span;
use super::replicas::{self, Declared, Named};
use super::{Folder, Stop, WAITING, listed, way, writing};
use crate::config::advance::{Next, Reason, Standing, Waiting, advance, lagging, open, standing};
use crate::config::moving;
use crate::config::{Config, Problem, Sources};
use crate::policy::ids::AccountId;
use crate::policy::moves::MoveState;

/// Accounts whose wait is told one by one; the others wait for the same.
const SHOWN: usize = 20;

/// Write the next state of moves, where every replica has the present one and, before the flip, no write of the account
/// under way at its old cell.
///
/// Exit codes: 0 all are flipped and every replica has it, 2 deploy what was written, or wait, and run it again, 3 refused, 64 wrong arguments or
/// a folder with problems.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Accounts to carry on, an id or a prefix a line [default: all that are on their way]
    #[arg(long, value_name = "FILE")]
    accounts: Option<PathBuf>,
    /// Accounts that are held at once; the next ones begin when these are flipped
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Go on until all are flipped and every replica has it, or this time is up
    #[arg(long, value_name = "SPAN", value_parser = span)]
    wait: Option<Duration>,
    /// Time between two questions to the replicas
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = span)]
    every: Duration,
    /// Say what would be written, and write nothing
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    #[command(flatten)]
    place: Folder,
    #[command(flatten)]
    replicas: Declared,
}

/// Say how far moves are, and what they wait for. Exit codes: 0 none is on its way, 2 some are.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    #[command(flatten)]
    place: Folder,
    #[command(flatten)]
    replicas: Declared,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Stop> {
    let replicas = args.replicas.all()?;
    if replicas.is_empty() {
        let none = Waiting { replica: "".into(), reason: Reason::NoReplica };
        return Err(Stop::Refused(format!(
            "{none} (or --replicas FILE); one that is left out may still write"
        )));
    }
    let until = args.wait.map(|wait| Instant::now() + wait);
    let (mut accounts, mut said) = (None, String::new());
    loop {
        let step = step(args, &replicas, &mut accounts)?;
        if step.said != said {
            print(format!("{}\n", step.said).as_bytes())?;
            said = step.said;
        }
        match (step.end, until) {
            (End::Settled, _) => return Ok(OK.into()),
            (End::Open, Some(until)) if Instant::now() < until => std::thread::sleep(args.every),
            (End::Open, _) => return Ok(WAITING.into()),
        }
    }
}

/// How a step leaves the moves.
enum End {
    /// Some are on their way, or some replica does not have the last flip.
    Open,
    /// All are flipped, and every replica has it.
    Settled,
}

struct Step {
    end: End,
    said: String,
}

/// Looks once, asks once, and writes what may be written.
fn step(args: &Args, replicas: &[Named], accounts: &mut Option<Vec<AccountId>>) -> Result<Step, Stop> {
    let _lock = writing::lock(args.place.path())?;
    let (sources, config) = args.place.read()?;
    whole(&sources)?;
    if accounts.is_none() {
        *accounts = Some(chosen(args, &config)?);
    }
    let of = |account: &AccountId| standing(&config, *account);
    let moves: Vec<Standing> = accounts.iter().flatten().filter_map(of).collect();
    let batch = batch(&moves, args.batch);
    let asked = replicas::reported(replicas);
    if batch.is_empty() {
        return Ok(flipped(&config, moves.len(), &lagging(&config.hash, &asked)));
    }
    let (mut publish, mut waits) = (Vec::new(), Vec::new());
    for (of, next) in batch.iter().zip(advance(&config.hash, &batch, &asked)) {
        match next {
            Next::Publish(state) => publish.push((of.clone(), state)),
            Next::Wait(reasons) => waits.extend(reasons),
            Next::Done => {}
        }
    }
    let mut said = String::new();
    if !publish.is_empty() {
        let changed = moving::carry_on(&sources, &publish, now()).map_err(Stop::refused)?;
        let what = states(publish.iter().map(|(of, state)| (of, *state)));
        let folder = args.place.path().display();
        if args.dry_run {
            said.push_str(&format!("Would be written:\n{what}"));
        } else {
            args.place.write(&sources, &changed)?;
            let files = changed.files.join(", ");
            said.push_str(&format!("Written ({files}):\n{what}Deploy {folder}, and run this again.\n"));
        }
    }
    said.push_str(&waiting(&waits));
    let left = moves.iter().filter(|of| of.state != MoveState::Flipped).count();
    said.push_str(&format!("{left} of {} accounts are not flipped yet.", moves.len()));
    Ok(Step { end: End::Open, said })
}

/// A file that cannot be read here is part of what replicas have hashed: no comparison could ever hold.
fn whole(sources: &Sources) -> Result<(), Stop> {
    let unread = sources.files.iter().filter_map(|(name, text)| {
        let unreadable = text.as_ref().err()?;
        let what =
            format!("the file {}, and the hash that replicas are asked for is over it too", unreadable.what);
        let expected = "the files as replicas have them: run this where they can be read";
        Some(Problem::in_file(name, what, expected))
    });
    let unread: Vec<Problem> = unread.collect();
    if unread.is_empty() { Ok(()) } else { Err(Stop::Problems(unread)) }
}

fn chosen(args: &Args, config: &Config) -> Result<Vec<AccountId>, Stop> {
    let Some(file) = &args.accounts else {
        return Ok(open(config).into_iter().map(|of| of.account).collect());
    };
    let name = file.display().to_string();
    let accounts = listed(file, config)?;
    let not_announced = accounts.iter().filter(|of| standing(config, of.account).is_none());
    let not_announced: Vec<Problem> = not_announced
        .map(|of| {
            let what = format!("account {} is not on its way", of.account);
            let expected = "an account that cellgate move --accounts FILE --to CELL has announced";
            Problem::in_file(&name, what, expected).at_line(of.line)
        })
        .collect();
    if not_announced.is_empty() {
        Ok(accounts.iter().map(|of| of.account).collect())
    } else {
        Err(Stop::refused(not_announced))
    }
}

/// Those that are held, which are to be ended first, and then as many more as may be held at once.
fn batch(moves: &[Standing], most: u32) -> Vec<Standing> {
    let of = |state| moves.iter().filter(move |of| of.state == state);
    let held: Vec<Standing> = of(MoveState::Holding).cloned().collect();
    if held.is_empty() { of(MoveState::Prepare).take(most as usize).cloned().collect() } else { held }
}

fn flipped(config: &Config, accounts: usize, lagging: &[Waiting]) -> Step {
    let all = match accounts {
        0 => "No account is on its way.".to_owned(),
        accounts => format!("All {accounts} accounts are flipped."),
    };
    let hash = config.hash.get(..12).unwrap_or_default();
    match lagging {
        [] => Step { end: End::Settled, said: format!("{all} Every replica has {hash}….") },
        some => {
            let said =
                format!("{all} Replicas without it still hold their writes: deploy it.\n{}", waiting(some));
            Step { end: End::Open, said }
        }
    }
}

/// Each reason once, and what to do about it.
fn waiting(waits: &[Waiting]) -> String {
    let lines: BTreeSet<String> = waits.iter().map(|of| format!("Waiting: {of}.\n")).collect();
    let mut text: String = lines.iter().take(SHOWN).map(String::as_str).collect();
    if lines.len() > SHOWN {
        text.push_str(&format!("Waiting: for {} more like these.\n", lines.len() - SHOWN));
    }
    let any = |is: fn(&Reason) -> bool| waits.iter().any(|of| is(&of.reason));
    for (holds, advice) in [
        (any(|reason| matches!(reason, Reason::Silent(_))), SILENT),
        (any(|reason| matches!(reason, Reason::OtherFiles { .. })), OTHER_FILES),
        (any(|reason| matches!(reason, Reason::Unnamed(_) | Reason::Contradicts(_))), LIES),
        (any(|reason| matches!(reason, Reason::Writes { .. })), WRITES),
    ] {
        if holds {
            text.push_str(&format!("  {advice}\n"));
        }
    }
    text
}

const SILENT: &str = "A replica that does not answer may still write. Bring it back, or end it and leave it out (docs/moves.md).";
const OTHER_FILES: &str =
    "Deploy this folder to it, or wait until it is there; its /config says what it refused.";
const LIES: &str = "Same files and another answer: is the address that replica's, and all of one version?";
const WRITES: &str = "They end by themselves, or are cut after moves.drain.";

/// `  us-mt -> us1: 500 holding`, and the accounts where there are few.
fn states<'s>(moves: impl Iterator<Item = (&'s Standing, MoveState)>) -> String {
    let mut by: BTreeMap<(&str, &str, MoveState), Vec<AccountId>> = BTreeMap::new();
    for (of, state) in moves {
        by.entry((&of.from, &of.to, state)).or_default().push(of.account);
    }
    let line = |((from, to, state), accounts): (&(&str, &str, MoveState), &Vec<AccountId>)| {
        let named: Vec<String> = accounts.iter().take(SHOWN).map(ToString::to_string).collect();
        let more = if accounts.len() > SHOWN { ", …" } else { "" };
        let (state, named) = (state.as_str(), named.join(", "));
        format!("  {from} -> {to}: {} {state} ({named}{more})\n", accounts.len())
    };
    by.iter().map(line).collect()
}

pub(super) fn status(args: &Status) -> Result<ExitCode, Stop> {
    let replicas = args.replicas.all()?;
    let (sources, config) = args.place.read()?;
    let moves = open(&config);
    if moves.is_empty() {
        print(b"No account is on its way.\n")?;
        return Ok(OK.into());
    }
    let mut text = states(moves.iter().map(|of| (of, of.state)));
    if replicas.is_empty() {
        text.push_str(
            "No replica was asked: --replica NAME=ADDRESS for each of them says what the moves wait for.\n",
        );
    } else {
        whole(&sources)?;
        let asked = replicas::reported(&replicas);
        let mut waits = Vec::new();
        for (of, next) in moves.iter().zip(advance(&config.hash, &moves, &asked)) {
            match next {
                Next::Publish(state) => {
                    text.push_str(&format!("Ready for {}: {}\n", state.as_str(), way(of)));
                }
                Next::Wait(reasons) => waits.extend(reasons),
                Next::Done => {}
            }
        }
        text.push_str(&waiting(&waits));
    }
    print(text.as_bytes())?;
    Ok(WAITING.into())
}
