//! What a start is told, and what it tells: where the configuration is, what guards may know of traffic, and how it
//! came in force.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use rustix::system::uname;

use super::{Options, Shared};
use crate::approval_files::Approvers;
use crate::audit::report::{self, ReportError};
use crate::config::{self, Boot};
use crate::levers::Keeper;
use crate::load::Place;
use crate::policy::code::Code;
use crate::policy::ids::AccountId;
use crate::policy::snapshot::Snapshot;
use crate::readiness::{Reason, first};
use crate::reload::BreakGlass;
use crate::reload::journal::Journal;
use crate::reload::outcome::{ReloadOutcome, ReloadReport, Trigger};
use crate::start::{self, Given, Why};
use crate::state_file;
use crate::state_volume;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::wall_time::unix_seconds;

/// A week has every kind of day in it.
const GUARDED_DAYS: i64 = 7;

impl Options {
    /// As `start` wants it.
    pub fn given(&self) -> Given {
        let place = Place { folder: self.config.clone(), boot: self.boot.clone() };
        Given { place, state_dir: self.state_dir.clone(), bootstrap: self.bootstrap }
    }
}

/// What an operator has decided alone, as the state folder has it.
pub(super) fn broken_glass(shared: &Shared) -> BreakGlass {
    let (readiness, metrics) = (Arc::clone(&shared.readiness), Arc::clone(&shared.metrics));
    BreakGlass::load(&shared.boot.state_dir, readiness, metrics, unix_seconds(SystemTime::now()))
}

impl Shared {
    /// Who keeps the levers, with those in force that the state folder has.
    pub(super) fn keeper(&self, journal: Journal, now: i64) -> Keeper {
        Keeper::begin(
            Arc::clone(&self.levers),
            journal,
            (Arc::clone(&self.state), self.boot.state_dir.clone()),
            super::source(&self.live),
            Arc::clone(&self.readiness),
            now,
        )
    }
}

/// Who can let through what guards refuse. Lines that let nobody sign are told.
pub(super) fn approvers(boot: &Boot) -> Approvers {
    let (approvers, problems) = Approvers::new(boot.guards.approvals.clone());
    for problem in &problems {
        tracing::error!(%problem, "this line of the allowed signers lets nobody approve a change");
    }
    approvers
}

/// What the books say of the days that guards weigh a change by.
pub fn requests_of(state_dir: &Path, now: SystemTime) -> Option<Vec<(AccountId, u64)>> {
    let since = unix_seconds(now) - GUARDED_DAYS * 86_400;
    match report::requests_by_account(state_dir, since) {
        Ok(requests) => Some(requests),
        Err(ReportError::Missing(_)) => None,
        Err(error) => {
            tracing::warn!(%error, "guards cannot weigh this change by its traffic");
            None
        }
    }
}

/// How the configuration of the start came in force.
pub(super) fn start_report(
    fallback: &Option<start::Fallback>,
    snapshot: &Snapshot,
    now: SystemTime,
) -> ReloadReport {
    let outcome = match fallback {
        Some(start::Fallback { why: Why::Rejected(problems), .. }) => {
            ReloadOutcome::Rejected(crate::reload::views(problems))
        }
        Some(start::Fallback { why: Why::Kept(asked), .. }) => {
            ReloadOutcome::Refused(vec![crate::reload::kept_out(asked)], None)
        }
        Some(start::Fallback { why: Why::Refused(objections, missing), .. }) => {
            ReloadOutcome::Refused(crate::reload::refusals(objections, missing.clone()), None)
        }
        Some(start::Fallback { why: Why::RolledBack(one), .. }) => {
            ReloadOutcome::RolledBack { hash: one.hash.clone(), reasons: one.reasons.clone() }
        }
        Some(start::Fallback { why: Why::Unwritten(what), .. }) => {
            ReloadOutcome::Refused(vec![crate::reload::unwritten(what.clone())], None)
        }
        None => ReloadOutcome::Applied { generation: snapshot.generation },
    };
    ReloadReport { trigger: Trigger::Start, at: now, outcome, loaded_at: now }
}

/// Why what serves is not what the files say, on `/readyz`. Only bad files make it too old: what an operator keeps, or a
/// trial has taken back, is no accident.
pub(super) fn reason_of(fallback: &start::Fallback, boot: &Boot) -> Reason {
    match &fallback.why {
        Why::Kept(asked) => Reason::Kept { told: asked.to_string() },
        Why::RolledBack(one) => {
            let cause = one.reasons.first().cloned().unwrap_or_default();
            Reason::RolledBack { hash: one.hash.to_string(), cause }
        }
        why @ (Why::Rejected(_) | Why::Refused(..) | Why::Unwritten(_)) => Reason::LastGood {
            written: fallback.written,
            max_age: boot.max_last_good_age,
            cause: first(&why.lines()),
        },
    }
}

/// A panic ends one task and not the process, so it must not go unseen.
pub(super) fn count_panics(metrics: &Arc<Metrics>) {
    let metrics = Arc::downgrade(metrics);
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if let Some(metrics) = metrics.upgrade() {
            metrics.panicked();
        }
        tracing::error!(code = %Code::Panicked, %panic, "a task of cellgate has panicked; report this");
        report(panic);
    }));
}

/// The name by which this replica is among the first that a new configuration is tried on, or not; and which its books have in
/// the database of a fleet, where they have no other.
pub(super) fn replica(boot: &Boot) -> String {
    let configured = boot.apply.as_ref().and_then(|apply| apply.replica.as_deref());
    // Not from /proc, of which a sandboxed service sees processes alone (`ProcSubset=pid` of systemd).
    configured.map_or_else(|| uname().nodename().to_string_lossy().into_owned(), str::to_owned)
}

/// Some digits that tell this state folder from any other, also from that of a machine of the same name. They are kept in it:
/// what was counted here goes on here, whatever the replica is called.
pub(super) fn folder_digits(state_dir: &Path) -> String {
    const FILE: &str = "replica.id";
    let is_whole = |text: &String| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(known) = std::fs::read_to_string(state_dir.join(FILE)).ok().filter(is_whole) {
        return known;
    }
    let digits = format!("{:08x}", fastrand::u32(..));
    if let Err(error) = state_file::replace(state_dir, FILE, digits.as_bytes()) {
        tracing::warn!(%error, "the digits of this state folder cannot be kept: after a restart its books are another replica's");
    }
    digits
}

/// Makes the state folder where it is not there, and refuses one that others can write.
pub(super) fn prepare_state_dir(state_dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let name = || format!("state folder {}", state_dir.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir).with_context(|| {
        format!("making the {}: choose a folder that this user may write (state_dir in boot.yaml)", name())
    })?;
    let mode = state_dir.metadata().with_context(name)?.mode();
    anyhow::ensure!(
        mode & 0o022 == 0,
        "the {} can be written by others (mode {:o}): chmod go-w it, for what is in it is believed at the next start",
        name(),
        mode & 0o777,
    );
    Ok(())
}

/// Says in the log and on the page of metrics where what is kept there will be lost. The replica serves all the same: one
/// that forgets is better than none.
pub(super) fn say_whether_state_lasts(state_dir: &Path, metrics: &Metrics) {
    let found = state_volume::look(state_dir);
    metrics.state_ephemeral(matches!(found, Ok(Some(_))));
    let folder = state_dir.display();
    match found {
        Ok(None) => {}
        Ok(Some(ephemeral)) => {
            tracing::warn!(code = %Code::StateDoesNotLast, %folder, "the state folder does not last: {ephemeral}; {}", state_volume::WAY_OUT);
        }
        Err(error) => tracing::warn!(%folder, %error, "whether the state folder lasts is not known"),
    }
}

/// The configuration folder, and the folders of certificates outside it.
pub(super) fn watched_folders(folder: &Path, sources: &config::Sources) -> Vec<PathBuf> {
    let outside = sources.files.keys().filter_map(|path| {
        let parent = folder.join(&**path).parent()?.canonicalize().ok()?;
        let real = folder.canonicalize().ok()?;
        (!parent.starts_with(real)).then_some(parent)
    });
    let mut folders: Vec<PathBuf> = outside.collect();
    folders.push(folder.to_owned());
    folders.sort();
    folders.dedup();
    folders
}
