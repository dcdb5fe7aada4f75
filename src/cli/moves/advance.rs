//! `cellgate move advance` and `cellgate move status`: how far moves are, what they wait for, and the next state of those
//! that wait for nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::super::form::Form;
use super::super::plan::REFUSED;
use super::super::{OK, complain, now, print, print_line, span};
use super::replicas::{self, Declared, Named};
use super::told::{Asked, End, Ended, Look, Open, Step, Waits};
use super::{Folder, Stop, WAITING, listed, writing};
use crate::config::advance::{Next, Reason, Replica, Standing, Waiting, advance, lagging, open, standing};
use crate::config::moving::{self, FORGOTTEN, Listed};
use crate::config::{Config, Problem, Sources};
use crate::policy::code::Code;
use crate::policy::ids::AccountId;
use crate::policy::moves::MoveState;

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
    #[command(flatten)]
    pub(super) form: Form,
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
    #[command(flatten)]
    pub(super) form: Form,
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
    let (mut chosen, mut said, mut written) = (None, String::new(), BTreeSet::new());
    loop {
        let has_time = until.is_some_and(|until| Instant::now() < until);
        let step = match step(args, &replicas, &mut chosen) {
            // Whoever changes the folder will be done with it, and then it is looked at anew.
            Err(Stop::Busy(why)) if has_time => Step::Unread(format!("Waiting: {why}.")),
            Err(Stop::Folder(problems)) if has_time => {
                Step::Unread(half_changed(args.place.path(), &problems))
            }
            step => step?,
        };
        written.extend(step.written().iter().cloned());
        let (end, words) = (step.end(), step.to_string());
        let is_last = end != End::Open || !has_time;
        match args.form.is_json() {
            true if is_last => print_line(&step.to_json(&written).to_string())?,
            _ if words == said => {}
            // The object is for the end, and people may look on.
            true => complain(&words),
            false => print_line(&words)?,
        }
        said = words;
        match end {
            End::Settled => return Ok(OK.into()),
            End::TakenBack => return Ok(REFUSED.into()),
            End::Open if has_time => std::thread::sleep(args.every),
            End::Open => return Ok(WAITING.into()),
        }
    }
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
    let all = chosen.len();
    let batch = batch(&fates.open, args.batch);
    let asked = replicas::reported(replicas)?;
    let folder = args.place.path().display().to_string();
    if batch.is_empty() {
        let Fates { flipped, taken_back, .. } = fates;
        let lagging = lagging(&config.hash, &asked).into_iter().collect();
        return Ok(Step::Ended(Ended { folder, hash: config.hash, flipped, taken_back, lagging }));
    }
    let (published, waits) = nexts(&batch, &config.hash, &asked);
    let left = fates.open.len();
    let (is_dry, goes_on) = (args.dry_run, args.wait.is_some());
    let mut open =
        Open { folder, hash: config.hash, files: Vec::new(), published, is_dry, goes_on, waits, left, all };
    if !open.published.is_empty() {
        let publish: Vec<(Standing, MoveState)> =
            open.published.iter().map(|of| (of.clone(), of.state)).collect();
        let changed = moving::carry_on(&sources, &publish, now()).map_err(Stop::Against)?;
        if !is_dry {
            args.place.write(&sources, &changed)?;
            let is_flipped = |of: &&Standing| of.state == MoveState::Flipped;
            open.left -= open.published.iter().filter(is_flipped).count();
            open.hash = changed.config.hash;
        }
        open.files = changed.files;
    }
    Ok(Step::Open(open))
}

/// The moves whose next state may be written, in that state; and what the others wait for.
fn nexts(moves: &[Standing], hash: &str, asked: &[Replica]) -> (Vec<Standing>, Waits) {
    let (mut ready, mut waits) = (Vec::new(), Vec::new());
    for (of, next) in moves.iter().zip(advance(hash, moves, asked)) {
        match next {
            Next::Publish(state) => ready.push(Standing { state, ..of.clone() }),
            Next::Wait(reasons) => waits.extend(reasons),
            Next::Done => {}
        }
    }
    (ready, waits.into_iter().collect())
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
        Some(Problem::in_file(Code::FileNotRead, name, what, expected))
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
        not_on_its_way.push(Problem::in_file(Code::NotMoving, &name, what, expected).at_line(line));
    }
    if not_on_its_way.is_empty() { Ok(chosen) } else { Err(Stop::Against(not_on_its_way)) }
}

/// Those that are held, which are to be ended first, and then as many more as may be held at once.
fn batch(moves: &[Standing], most: u32) -> Vec<Standing> {
    let of = |state| moves.iter().filter(move |of| of.state == state);
    let held: Vec<Standing> = of(MoveState::Holding).cloned().collect();
    if held.is_empty() { of(MoveState::Prepare).take(most as usize).cloned().collect() } else { held }
}

/// How many requests wait at each replica where any does.
fn held(asked: &[Replica]) -> Vec<(Box<str>, u64)> {
    let at = |replica: &Replica| {
        let said = replica.said.as_ref().ok()?;
        let held: u64 = said.moves.values().map(|of| of.waiting).sum();
        (held > 0).then(|| (replica.name.clone(), held))
    };
    asked.iter().filter_map(at).collect()
}

pub(super) fn status(args: &Status) -> Result<ExitCode, Stop> {
    let replicas = args.replicas.all()?;
    let (sources, config) = args.place.read()?;
    let moves = open(&config);
    let asked = match replicas.as_slice() {
        [] => None,
        some => {
            whole(&sources)?;
            let asked = replicas::reported(some)?;
            let (ready, waits) = match moves.is_empty() {
                true => (Vec::new(), lagging(&config.hash, &asked).into_iter().collect()),
                false => nexts(&moves, &config.hash, &asked),
            };
            Some(Asked { held: held(&asked), ready, waits })
        }
    };
    let look = Look { folder: args.place.path().display().to_string(), hash: config.hash, moves, asked };
    match args.form.is_json() {
        true => print_line(&look.to_json().to_string())?,
        false => print(look.to_string().as_bytes())?,
    }
    Ok(if look.is_settled() { OK } else { WAITING }.into())
}
