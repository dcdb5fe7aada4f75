//! `cellgate move advance` and `cellgate move status`: how far moves are, what they wait for, and the next state of those
//! that wait for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::super::plan::REFUSED;
use super::super::{OK, now, print, span};
use super::replicas::{self, Declared, Named};
use super::{Folder, Stop, WAITING, listed, writing};
use crate::config::advance::{Next, Reason, Replica, Standing, Waiting, advance, lagging, open, standing};
use crate::config::moving::{self, FORGOTTEN, Listed};
use crate::config::{Config, Problem, Sources};
use crate::policy::ids::AccountId;
use crate::policy::moves::MoveState;

/// Accounts whose wait is told one by one; the others wait for the same.
const SHOWN: usize = 20;

/// Write the next state of moves, where every replica has the present one and, before the flip, no write of the account
/// under way at its old cell.
///
/// Exit codes: 0 all are flipped and every replica has it, 2 deploy what was written, or wait, and run it again, 3 refused
/// (nothing was written), or some were taken back meanwhile, 64 wrong arguments or a folder with problems.
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

/// Say how far moves are, and what they wait for.
///
/// Exit codes: 0 none is on its way, and every replica that was asked has these files, 2 otherwise, 3 two replicas are one, 64
/// wrong arguments or a folder with problems.
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
    let (mut chosen, mut said) = (None, String::new());
    loop {
        let has_time = until.is_some_and(|until| Instant::now() < until);
        let step = match step(args, &replicas, &mut chosen) {
            // Whoever changes the folder will be done with it, and then it is looked at anew.
            Err(Stop::Busy(why)) if has_time => Step { end: End::Open, said: format!("Waiting: {why}.") },
            Err(Stop::Folder(problems)) if has_time => {
                Step { end: End::Open, said: half_changed(args.place.path(), &problems) }
            }
            step => step?,
        };
        if step.said != said {
            print(format!("{}\n", step.said).as_bytes())?;
            said = step.said;
        }
        match step.end {
            End::Settled => return Ok(OK.into()),
            End::TakenBack => return Ok(REFUSED.into()),
            End::Open if has_time => std::thread::sleep(args.every),
            End::Open => return Ok(WAITING.into()),
        }
    }
}

/// How a step leaves the moves.
enum End {
    /// Some are on their way, or some replica does not have the last flip.
    Open,
    /// All are flipped, and every replica has it.
    Settled,
    /// None is on its way, and some were taken back by somebody else.
    TakenBack,
}

struct Step {
    end: End,
    said: String,
}

/// An account of this run, and which move of it is meant.
struct Chosen {
    account: AccountId,
    epoch: u32,
}

/// What has become of the accounts of a run.
#[derive(Default)]
struct Fates {
    open: Vec<Standing>,
    flipped: Vec<Standing>,
    taken_back: Vec<AccountId>,
}

impl Fates {
    fn new(config: &Config, chosen: &[Chosen]) -> Self {
        let mut fates = Self::default();
        for Chosen { account, epoch } in chosen {
            match standing(config, *account) {
                Some(of) if of.state != MoveState::Flipped => fates.open.push(of),
                Some(of) if of.epoch >= *epoch => fates.flipped.push(of),
                Some(_) | None => fates.taken_back.push(*account),
            }
        }
        fates
    }
}

/// Looks once, asks once, and writes what may be written.
fn step(args: &Args, replicas: &[Named], chosen: &mut Option<Vec<Chosen>>) -> Result<Step, Stop> {
    let _lock = writing::lock(args.place.path())?;
    let (sources, config) = args.place.read()?;
    whole(&sources)?;
    let chosen = match chosen {
        Some(chosen) => chosen,
        none => none.insert(choose(args, &config)?),
    };
    let fates = Fates::new(&config, chosen);
    let batch = batch(&fates.open, args.batch);
    let asked = replicas::reported(replicas)?;
    if batch.is_empty() {
        return Ok(ended(&config, &fates, &lagging(&config.hash, &asked)));
    }
    let (mut publish, mut waits) = (Vec::new(), Vec::new());
    for (of, next) in batch.iter().zip(advance(&config.hash, &batch, &asked)) {
        match next {
            Next::Publish(state) => publish.push((of.clone(), state)),
            Next::Wait(reasons) => waits.extend(reasons),
            Next::Done => {}
        }
    }
    let (mut said, mut left) = (String::new(), fates.open.len());
    if !publish.is_empty() {
        let changed = moving::carry_on(&sources, &publish, now()).map_err(Stop::refused)?;
        let what = states(publish.iter().map(|(of, state)| (of, *state)));
        let folder = args.place.path().display();
        if args.dry_run {
            said.push_str(&format!("Would be written:\n{what}"));
        } else {
            args.place.write(&sources, &changed)?;
            let files = changed.files.join(", ");
            let then = if args.wait.is_some() { "this waits for it" } else { "and run this again" };
            said.push_str(&format!("Written ({files}):\n{what}Deploy {folder}, {then}.\n"));
            left -= publish.iter().filter(|(_, state)| *state == MoveState::Flipped).count();
        }
    }
    said.push_str(&waiting(&waits));
    said.push_str(&match (left, chosen.len()) {
        (0, _) => "All are flipped as soon as every replica has it.".to_owned(),
        (left, all) => format!("{left} of {all} accounts are not flipped yet."),
    });
    Ok(Step { end: End::Open, said })
}

/// What is waited for where the folder cannot be believed as it is.
fn half_changed(folder: &Path, problems: &[Problem]) -> String {
    let first = problems.first().map(ToString::to_string).unwrap_or_default();
    let count = match problems.len() {
        1 => "a problem".to_owned(),
        many => format!("{many} problems, the first"),
    };
    format!(
        "Waiting: {} has {count}: {first}\n  Perhaps it is being changed; it is looked at again.",
        folder.display()
    )
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
    if unread.is_empty() { Ok(()) } else { Err(Stop::Folder(unread)) }
}

/// The accounts of this run: those of the file, or all that are on their way.
fn choose(args: &Args, config: &Config) -> Result<Vec<Chosen>, Stop> {
    let meant = |of: Standing| Chosen { account: of.account, epoch: of.epoch };
    let Some(file) = &args.accounts else {
        return Ok(open(config).into_iter().map(meant).collect());
    };
    let name = file.display().to_string();
    let (mut chosen, mut not_on_its_way) = (Vec::new(), Vec::new());
    for Listed { account, line } in listed(file, config)? {
        let what = match standing(config, account) {
            None => format!("account {account} is not on its way"),
            Some(of) if of.state == MoveState::Flipped && &*of.from == FORGOTTEN => {
                format!(
                    "account {account} is not on its way: it is in {}, and its last move was taken back or its old cell is no more",
                    of.to
                )
            }
            Some(of) => {
                chosen.push(meant(of));
                continue;
            }
        };
        let expected = "an account that cellgate move --accounts FILE --to CELL has announced";
        not_on_its_way.push(Problem::in_file(&name, what, expected).at_line(line));
    }
    if not_on_its_way.is_empty() { Ok(chosen) } else { Err(Stop::refused(not_on_its_way)) }
}

/// Those that are held, which are to be ended first, and then as many more as may be held at once.
fn batch(moves: &[Standing], most: u32) -> Vec<Standing> {
    let of = |state| moves.iter().filter(move |of| of.state == state);
    let held: Vec<Standing> = of(MoveState::Holding).cloned().collect();
    if held.is_empty() { of(MoveState::Prepare).take(most as usize).cloned().collect() } else { held }
}

/// Where none is on its way: where the accounts are, and whether every replica knows.
fn ended(config: &Config, fates: &Fates, lagging: &[Waiting]) -> Step {
    let (flipped, gone) = (fates.flipped.len(), fates.taken_back.len());
    let mut said = match (flipped, gone) {
        (0, 0) => "No account is on its way.\n".to_owned(),
        (1, 0) => "The account is flipped:\n".to_owned(),
        (all, 0) => format!("All {all} accounts are flipped:\n"),
        (some, gone) => format!("{some} of {} accounts are flipped:\n", some + gone),
    };
    said.push_str(&states(fates.flipped.iter().map(|of| (of, of.state))));
    if gone > 0 {
        said.push_str(&format!("Taken back meanwhile, and not moved: {}.\n", some_of(&fates.taken_back)));
    }
    let hash = config.hash.get(..12).unwrap_or_default();
    let end = match (lagging, gone) {
        ([], 0) => End::Settled,
        ([], _) => End::TakenBack,
        (_, _) => End::Open,
    };
    if lagging.is_empty() {
        said.push_str(&format!("Every replica has {hash}…."));
    } else {
        let lag = waiting(lagging);
        said.push_str(&format!(
            "Replicas without {hash}… may still hold their writes: deploy it.\n{}",
            lag.trim_end()
        ));
    }
    Step { end, said }
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
        (any(|reason| matches!(reason, Reason::Predecessors(_))), PREDECESSORS),
        (any(|reason| matches!(reason, Reason::Unnamed(_) | Reason::Contradicts(_))), LIES),
        (any(|reason| matches!(reason, Reason::Writes { .. })), WRITES),
    ] {
        if holds {
            text.push_str(&format!("  {advice}\n"));
        }
    }
    text
}

const SILENT: &str = "A replica that does not answer may still write. See that the address is its admin door and bring it back, or end it and \
                      leave it out (docs/moves.md).";
const OTHER_FILES: &str =
    "Deploy this folder to it, or wait until it is there; its /config says what it refused.";
const PREDECESSORS: &str = "After an upgrade, nobody counts what the old process still has under way. It ends by itself within its drain.deadline; two \
                            SIGTERM end it at once and cut what it has.";
const LIES: &str = "Same files and another answer: is the address that replica's, and all of one version?";
const WRITES: &str = "They end by themselves, or are cut after moves.drain.";

/// `  us-mt -> us1: 500 holding`, and the accounts where there are few.
fn states<'s>(moves: impl Iterator<Item = (&'s Standing, MoveState)>) -> String {
    let mut by: BTreeMap<(&str, &str, MoveState), Vec<AccountId>> = BTreeMap::new();
    for (of, state) in moves {
        by.entry((&of.from, &of.to, state)).or_default().push(of.account);
    }
    let line = |((from, to, state), accounts): (&(&str, &str, MoveState), &Vec<AccountId>)| {
        format!("  {from} -> {to}: {} {} ({})\n", accounts.len(), state.as_str(), some_of(accounts))
    };
    by.iter().map(line).collect()
}

/// `1001, 1002`, and not too many of them.
fn some_of(accounts: &[AccountId]) -> String {
    let named: Vec<String> = accounts.iter().take(SHOWN).map(ToString::to_string).collect();
    format!("{}{}", named.join(", "), if accounts.len() > SHOWN { ", …" } else { "" })
}

/// How many requests wait at each replica, where any does.
fn held(asked: &[Replica]) -> String {
    let at = |replica: &Replica| {
        let said = replica.said.as_ref().ok()?;
        let held: u64 = said.moves.values().map(|of| of.waiting).sum();
        (held > 0).then(|| format!("Requests held now at replica {}: {held}.\n", replica.name))
    };
    asked.iter().filter_map(at).collect()
}

pub(super) fn status(args: &Status) -> Result<ExitCode, Stop> {
    let replicas = args.replicas.all()?;
    let (sources, config) = args.place.read()?;
    let moves = open(&config);
    let mut text = match moves.as_slice() {
        [] => "No account is on its way.\n".to_owned(),
        some => states(some.iter().map(|of| (of, of.state))),
    };
    let (mut ready, mut waits) = (Vec::new(), Vec::new());
    if replicas.is_empty() {
        text.push_str(NOT_ASKED);
    } else {
        whole(&sources)?;
        let asked = replicas::reported(&replicas)?;
        text.push_str(&held(&asked));
        for (of, next) in moves.iter().zip(advance(&config.hash, &moves, &asked)) {
            match next {
                Next::Publish(state) => ready.push((of, state)),
                Next::Wait(reasons) => waits.extend(reasons),
                Next::Done => {}
            }
        }
        if moves.is_empty() {
            waits = lagging(&config.hash, &asked);
        }
    }
    if !ready.is_empty() {
        text.push_str(&format!(
            "Ready, to be written by cellgate move advance:\n{}",
            states(ready.into_iter())
        ));
    }
    text.push_str(&waiting(&waits));
    print(text.as_bytes())?;
    Ok(if moves.is_empty() && waits.is_empty() { OK } else { WAITING }.into())
}

const NOT_ASKED: &str = "No replica was asked: --replicas FILE, or --replica NAME=ADDRESS for each of them, says what they have and \
                         wait for.\n";
