//! What a start serves: the configuration files, or, when they are bad or guards object to them, the last
//! good configuration. A start is no way round a guard: the files are held against what served last.
//!
//! A thin shell over `load`, `config` and `last_good`: it reads and chooses, and decides nothing about
//! what is in the files.

mod told;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::approval::break_glass::Override;
use crate::approval_files::{Approved, Approvers};
use crate::break_glass_file;
use crate::compiled_file;
use crate::config::compiled::Compiled;
use crate::config::guard::{Guard, Guards, Objection};
use crate::config::plan::{Boots, By, Plan, Requests, Verdict};
use crate::config::{self, BOOT_FILE, Boot, Config, Problem, ROUTING_FILE, Sources};
use crate::last_good::{self, LastGood, LastGoodError};
use crate::load::{self, Place};
use crate::policy::snapshot::Snapshot;
use crate::rolled_back::{Memory, RolledBack};
pub use told::Changed;

/// What a start is given.
#[derive(Clone, Debug)]
pub struct Given {
    /// Where the configuration is.
    pub place: Place,
    /// Replaces the state folder that `boot.yaml` names; it is where the last good configuration is looked for when
    /// `boot.yaml` itself is bad.
    pub state_dir: Option<PathBuf>,
    /// Whoever starts it says that there is nothing to compare with, and that this is the beginning.
    pub bootstrap: bool,
}

/// What a state folder's books say.
pub type RequestsIn<'a> = &'a dyn Fn(&Path) -> Requests;

/// A configuration that can be served.
#[derive(Debug)]
pub struct Started {
    /// What needs a restart to change.
    pub boot: Boot,
    /// The rest.
    pub config: Config,
    /// What both were made of.
    pub sources: Sources,
    /// Set when this is not what the files say.
    pub fallback: Option<Fallback>,
    /// What guards that only watch would have refused.
    pub observed: Vec<Objection>,
    /// Approvals that have let it through what guards refuse; to be put down as used before it serves.
    pub approved: Option<Approved>,
    /// There was nothing to compare it with, and somebody said that this is the beginning.
    pub bootstrapped: bool,
    /// What it changes, where it is not what served last.
    pub changed: Option<Changed>,
    /// The files are good, and are not served yet: they differ from what served last, and come in force in steps.
    pub in_steps: bool,
}

/// Why the last good configuration is served.
#[derive(Debug)]
pub struct Fallback {
    /// When it was last known to be good.
    pub written: SystemTime,
    /// What is wrong with the files.
    pub why: Why,
}

/// Why the files are not served.
#[derive(Debug)]
pub enum Why {
    /// They have problems: all of them.
    Rejected(Vec<Problem>),
    /// They are well formed, and an operator keeps what served before.
    Kept(Box<Override>),
    /// They are well formed, and guards object; and why approvals have not lifted that.
    Refused(Vec<Objection>, Vec<String>),
    /// They were put on trial and taken back.
    RolledBack(Box<RolledBack>),
    /// They are good, and what must be on the disk before they serve cannot be written.
    Unwritten(String),
}

/// Nothing can be served.
#[derive(Debug, thiserror::Error)]
#[error("the configuration in {} has {} and there is nothing to fall back to", .folder.display(), .why.count())]
pub struct CannotStart {
    /// The configuration folder.
    pub folder: PathBuf,
    /// Everything that is wrong with it.
    pub why: Why,
    /// Why the last good configuration cannot serve either.
    #[source]
    pub last_good: LastGoodError,
}

/// Reads the folder, holds it against what served last, or falls back to that.
///
/// # Errors
/// [`CannotStart`].
pub fn start(given: &Given, now: i64, requests: RequestsIn<'_>) -> Result<Started, CannotStart> {
    let sources = load::load(given.place.clone());
    let (boot, config) = match compiled_file::parse_all(&sources, given.state_dir.as_deref(), None, now) {
        Ok(parsed) => parsed,
        Err(problems) => {
            let boot = config::parse_boot(&sources).ok();
            let base = base(&given.place, &state_dir(given, boot.as_ref()), None);
            return fall_back(given, base, boot, Why::Rejected(problems));
        }
    };
    let state_dir = state_dir(given, Some(&boot));
    let boot = boot.in_state_dir(&state_dir);
    let base = base(&given.place, &boot.state_dir, Some(&config));
    let differs = base.as_ref().is_ok_and(|(base, _)| base.config.hash != config.hash);
    let kept = break_glass_file::load(&boot.state_dir).filter(|asked| differs && asked.keeps(now));
    if let Some(kept) = kept {
        return fall_back(given, base, None, Why::Kept(Box::new(kept)));
    }
    let (mut plan, bootstrapped) = match &base {
        Ok((base, _)) => (plan(given, By::Starting, base, (&boot, &config), requests), false),
        Err(error) => (Plan::from_nothing(&boot.guards, given.bootstrap, error, &config), given.bootstrap),
    };
    let mixed = plan.objections.extract_if(.., |objection| objection.guard == Guard::Mixed);
    let mixed = mixed.filter(Objection::refuses).last();
    let memory = Memory::load(&boot.state_dir);
    let is_mixed = mixed.is_some() && plan.verdict() != Verdict::Refused;
    if let Some(one) = memory.find(&config.hash).filter(|_| differs && !is_mixed) {
        return fall_back(given, base, Some(boot), Why::RolledBack(Box::new(one.clone())));
    }
    let mut approved = None;
    if plan.verdict() == Verdict::Refused {
        let rules = base.as_ref().map_or(&boot.guards, |(base, _)| &base.boot.guards);
        match approve(given, (&boot, rules), &config, &plan, now) {
            Ok(enough) => approved = Some(enough),
            Err(missing) => return fall_back(given, base, None, Why::Refused(plan.objections, missing)),
        }
    }
    match (base, mixed.filter(|_| approved.is_none())) {
        (Ok(base), Some(mixed)) => {
            moves_first(given, base, boot, (sources, config), (plan.objections, mixed), &memory)
        }
        // What served last serves, until the reload task has had a look: by the same way as any other push.
        (Ok((Base { config, .. }, (sources, _))), _)
            if differs
                && boot.apply.is_some()
                && !plan.diff.is_about_moves()
                && (approved.is_none() || plan.is_reloadable()) =>
        {
            Ok(Started { in_steps: true, ..Started::of(boot, config, sources) })
        }
        _ => {
            let changed = differs.then(|| Changed::of(&plan));
            let observed = plan.objections;
            Ok(Started { observed, approved, bootstrapped, changed, ..Started::of(boot, config, sources) })
        }
    }
}

/// Files that move accounts and change other things as well. Accounts that have moved while nothing ran here must not stay
/// behind, and the rest must not get round its trial: what served last serves with the moves, and the rest comes in steps.
///
/// Where the moves cannot come without the rest, the whole serves, for others may have it. But not where this very push was
/// refused here while the process ran: then nobody has let its accounts move.
fn moves_first(
    given: &Given,
    (base, kept): (Base, Kept),
    boot: Boot,
    (sources, config): (Sources, Config),
    (observed, mut mixed): (Vec<Objection>, Objection),
    memory: &Memory,
) -> Result<Started, CannotStart> {
    let why = match with_moves(&base, &kept, &boot, (&sources, &config)) {
        Ok((sources, served)) => {
            tracing::warn!(
                hash = &*config.hash,
                "the files mix moves of accounts with other changes: the moves are in force, the rest comes in steps"
            );
            return Ok(Started { in_steps: true, observed, ..Started::of(boot, served, sources) });
        }
        Err(why) => why,
    };
    mixed.what.push_str(&format!("; the moves cannot come first: {why}"));
    if let Some(one) = memory.find(&config.hash) {
        return fall_back(given, Ok((base, kept)), Some(boot), Why::RolledBack(Box::new(one.clone())));
    }
    if memory.is_mixed(&config.hash) {
        return fall_back(given, Ok((base, kept)), Some(boot), Why::Refused(vec![mixed], Vec::new()));
    }
    tracing::warn!(%mixed, "the files serve whole, for accounts that have moved must not be left behind");
    Ok(Started { observed, ..Started::of(boot, config, sources) })
}

/// What served last with the moves of the files.
fn with_moves(
    base: &Base,
    (kept, written): &Kept,
    boot: &Boot,
    (sources, config): (&Sources, &Config),
) -> Result<(Sources, Config), String> {
    let alone =
        config::moves_alone(kept.clone(), &base.config, sources, config).map_err(|why| why.to_string())?;
    // As of when it was good, as for the base.
    let then = written.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let then = i64::try_from(then).unwrap_or(i64::MAX);
    let parsed = compiled_file::parse_all(&alone.sources, Some(&boot.state_dir), None, then);
    let (_, served) =
        parsed.map_err(|problems| problems.first().map(ToString::to_string).unwrap_or_default())?;
    alone.check(&served).map_err(|why| why.to_string())?;
    Ok((alone.sources, served))
}

/// Whether people have let it through. Who may is as strict as both boot files say, where one of them came in the push.
///
/// # Errors
/// Why they have not, a line each; empty where nobody may.
pub fn approve(
    given: &Given,
    (boot, before): (&Boot, &Guards),
    config: &Config,
    plan: &Plan,
    now: i64,
) -> Result<Approved, Vec<String>> {
    let guards = if given.place.boot.is_some() { boot.guards.clone() } else { boot.guards.stricter(before) };
    let (approvers, problems) = Approvers::new(guards.approvals);
    let author = config.change.author.as_deref();
    approvers.judge(&given.place.folder, &boot.state_dir, plan, author, now).map_err(|mut missing| {
        missing.extend(problems.iter().map(ToString::to_string));
        missing
    })
}

/// Keeps what serves in the state folder, for later starts: the files, and their tables compiled.
///
/// # Errors
/// [`LastGoodError::Io`]; what was there before is still there.
pub fn keep(state_dir: &Path, sources: &Sources, serves: &Snapshot, now: i64) -> Result<(), LastGoodError> {
    last_good::save(state_dir, &to_last_good(sources, &serves.hash, now))?;
    if let Err(error) = compiled_file::save(state_dir, &Compiled::of(serves)) {
        tracing::warn!(%error, "compiled tables not saved; the next start reads the files, which takes longer");
    }
    Ok(())
}

/// What to save once a configuration serves.
pub fn to_last_good<'s>(sources: &'s Sources, hash: &str, now: i64) -> LastGood<&'s [u8]> {
    let named = [(BOOT_FILE, &sources.boot), (ROUTING_FILE, &sources.routing)];
    let files = named.into_iter().chain(sources.files.iter().map(|(path, text)| (&**path, text)));
    let files = files.filter_map(|(path, text)| Some((path.to_owned(), text.as_deref().ok()?)));
    LastGood { saved_at: u64::try_from(now).unwrap_or(0), hash: hash.to_owned(), files: files.collect() }
}

/// What a configuration is compared with.
#[derive(Debug)]
pub struct Base {
    /// What needs a restart to change.
    pub boot: Boot,
    /// The rest.
    pub config: Config,
}

/// What it was made of, and when it was last known to be good.
pub type Kept = (Sources, SystemTime);

/// What a state folder says served last.
///
/// `read` is a configuration whose tables need not be read again where they are the same.
///
/// # Errors
/// [`LastGoodError`]; also where this version of cellgate finds problems in it.
pub fn base(place: &Place, state_dir: &Path, read: Option<&Config>) -> Result<(Base, Kept), LastGoodError> {
    let LastGood { saved_at, files, .. } = last_good::load(state_dir)?;
    let sources = to_sources(place, files);
    // Judged as of when it was good: a certificate that has expired since is better than none.
    let then = i64::try_from(saved_at).unwrap_or(i64::MAX);
    let damaged = |_| LastGoodError::Damaged {
        path: state_dir.join(last_good::FILE_NAME),
        reason: "this version of cellgate finds problems in it",
    };
    let (boot, config) =
        compiled_file::parse_all(&sources, Some(state_dir), read.map(Compiled::of_config), then)
            .map_err(damaged)?;
    let boot = boot.in_state_dir(state_dir);
    let written = SystemTime::UNIX_EPOCH + Duration::from_secs(saved_at);
    Ok((Base { boot, config }, (sources, written)))
}

/// What would change, and what guards have against it.
pub fn plan(
    given: &Given,
    by: By,
    base: &Base,
    (boot, config): (&Boot, &Config),
    requests: RequestsIn<'_>,
) -> Plan {
    let boots = Boots { before: &base.boot, after: boot, is_pushed: given.place.boot.is_none(), by };
    Plan::of_start(boots, &base.config, config, requests(&boot.state_dir))
}

/// The last good configuration after all, where what stands against the files was found when they were about to serve.
///
/// # Errors
/// [`CannotStart`].
pub fn fall_back_late(given: &Given, boot: &Boot, why: Why) -> Result<Started, CannotStart> {
    fall_back(given, base(&given.place, &boot.state_dir, None), Some(boot.clone()), why)
}

fn fall_back(
    given: &Given,
    base: Result<(Base, Kept), LastGoodError>,
    boot: Option<Boot>,
    why: Why,
) -> Result<Started, CannotStart> {
    match base {
        Ok((Base { boot: old, config }, (sources, written))) => {
            let boot = boot.map_or_else(|| old.clone(), |boot| guarded(boot, &old, given));
            let fallback = Some(Fallback { written, why });
            Ok(Started { fallback, ..Started::of(boot, config, sources) })
        }
        Err(last_good) => Err(CannotStart { folder: given.place.folder.clone(), why, last_good }),
    }
}

/// A new boot file beside the old configuration. The guards in it must not become weaker by a push that is broken.
fn guarded(mut boot: Boot, old: &Boot, given: &Given) -> Boot {
    if given.place.boot.is_none() {
        boot.guards = boot.guards.stricter(&old.guards);
    }
    boot.in_state_dir(&old.state_dir)
}

fn state_dir(given: &Given, boot: Option<&Boot>) -> PathBuf {
    match (&given.state_dir, boot) {
        (Some(given), _) => given.clone(),
        (None, Some(boot)) => boot.state_dir.clone(),
        (None, None) => given.place.folder.join(config::boot::default::STATE_DIR),
    }
}

impl Started {
    /// With nothing to be said of it.
    fn of(boot: Boot, config: Config, sources: Sources) -> Self {
        Self {
            boot,
            config,
            sources,
            fallback: None,
            observed: Vec::new(),
            approved: None,
            bootstrapped: false,
            changed: None,
            in_steps: false,
        }
    }
}

/// The files of a configuration that was saved, as if they were read from `place`.
pub fn to_sources(place: &Place, mut files: BTreeMap<String, Vec<u8>>) -> Sources {
    let missing = || config::Unreadable {
        what: "is missing from the last good configuration".into(),
        expected: "a whole configuration".into(),
    };
    Sources {
        folder: place.folder.clone(),
        boot_file: place.boot.clone(),
        boot: files.remove(BOOT_FILE).ok_or_else(missing),
        routing: files.remove(ROUTING_FILE).ok_or_else(missing),
        files: files.into_iter().map(|(path, content)| (path.into(), Ok(content))).collect(),
    }
}
