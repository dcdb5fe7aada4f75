//! An operator's override, as the reload task holds it: taken, shown, written down, and ended when its time is over.
//! [`approval::break_glass`](crate::approval::break_glass) says what it may do.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Reloader;
use super::journal::Journal;
use super::outcome::{Asked, BREAK_GLASS as GUARD, Objection, Taken};
use super::retired::Retired;
use crate::approval::break_glass::{self, Aim, Override, OverrideError};
use crate::break_glass_file;
use crate::config::{Sources, rollback};
use crate::history;
use crate::last_good;
use crate::load::Place;
use crate::policy::access::Asker;
use crate::policy::code::Code;
use crate::readiness::{NoteReady, Readiness, Reason};
use crate::start::to_sources;
use crate::state_file::Ownership;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::wall_time::unix_seconds;

/// The override in force, if there is one.
pub struct BreakGlass {
    asked: Option<Override>,
    note: Option<NoteReady>,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
}

impl BreakGlass {
    /// As the state folder has it.
    pub fn load(state_dir: &Path, readiness: Arc<Readiness>, metrics: Arc<Metrics>, now: i64) -> Self {
        let mut this = Self { asked: None, note: None, readiness, metrics };
        this.show(break_glass_file::load(state_dir).filter(|asked| asked.holds(now)));
        this
    }

    /// What is in force at `now` (seconds since the Unix epoch).
    pub fn in_force(&self, now: i64) -> Option<&Override> {
        self.asked.as_ref().filter(|asked| asked.holds(now))
    }

    /// Returns when the override is over; never where there is none.
    pub async fn over(&self) {
        let Some(asked) = &self.asked else { return std::future::pending().await };
        let left = asked.until.saturating_sub(unix_seconds(SystemTime::now()));
        // The wall clock counts here, and may be set: a minute is how late the end is noticed then.
        let left = u64::try_from(left).unwrap_or(0).min(60);
        tokio::time::sleep(Duration::from_secs(left)).await;
    }

    /// Takes it away when its time is over, and says whether it is.
    pub fn expire(&mut self, now: i64) -> bool {
        let over = self.asked.take_if(|asked| !asked.holds(now));
        if let Some(asked) = &over {
            tracing::warn!(%asked, "the override is over");
            self.show(None);
        }
        over.is_some()
    }

    /// Does what an operator asks: into the audit trail first, then into the state folder, then in force.
    ///
    /// # Errors
    /// Nothing has changed.
    pub fn take(
        &mut self,
        asked: Asked,
        journal: &Journal,
        state: &Ownership,
        state_dir: &Path,
        now: i64,
    ) -> Result<Taken, Objection> {
        let refused = |what: String, hint: &str| Objection {
            guard: GUARD.to_owned(),
            what,
            hint: Some(hint.to_owned()),
        };
        let wrong = |error: OverrideError| refused(error.to_string(), "ask again");
        let before = self.in_force(now).cloned();
        let (by, next, told) = match asked {
            Asked::Begin { aim, reason, by, lasts } => {
                let aim = [Aim::Keep, Aim::Restore].into_iter().find(|known| known.as_str() == aim);
                let aim = aim.ok_or_else(|| refused("it has no aim".to_owned(), "it is keep or restore"))?;
                claimed(&by).map_err(wrong)?;
                let next = Override::new(aim, &reason, &by.to_string(), lasts, now).map_err(wrong)?;
                let told = match &before {
                    Some(before) => format!("{next} (in place of: {before})"),
                    None => next.to_string(),
                };
                (by, Some(next), told)
            }
            Asked::End { by, reason } => {
                claimed(&by).map_err(wrong)?;
                let before = before.as_ref().ok_or_else(|| {
                    refused("there is no override to end".to_owned(), "nothing is to be done")
                })?;
                (by, None, before.ended(reason.as_deref()).map_err(wrong)?)
            }
        };
        let write = || {
            journal.override_by(&by, &told, now)?;
            break_glass_file::save(state_dir, next.as_ref()).map_err(|error| {
                let what = format!("it cannot be put down: {error}");
                // The line before says that it came about.
                let not = if next.is_some() { "not in force" } else { "not ended" };
                if let Err(objection) = journal.override_by(&by, &format!("{not}, for {what}: {told}"), now) {
                    let reason = objection.what;
                    tracing::error!(code = %Code::TrailGap,
                        reason,
                        "the audit trail has an override, or its end, that did not come about"
                    );
                }
                refused(what, "make the state folder writable")
            })
        };
        let elsewhere =
            || refused("another process has the state folder by now".to_owned(), "ask the one that serves");
        state.write(write).unwrap_or_else(|| Err(elsewhere()))?;
        tracing::error!(%by, told, "BREAK GLASS");
        let replaced = before.filter(|_| next.is_some()).map(|before| before.to_string());
        self.show(next);
        Ok(Taken { told, replaced })
    }

    fn show(&mut self, asked: Option<Override>) {
        let reason = |asked: &Override| Reason::BreakGlass { told: asked.to_string() };
        self.note = asked.as_ref().map(|asked| self.readiness.note(reason(asked)));
        self.metrics.guards.break_glass(asked.as_ref().map(|asked| asked.until));
        self.asked = asked;
    }
}

impl Reloader {
    /// Takes what an operator has decided.
    pub(super) fn break_glass(&mut self, asked: Asked, retired: &mut Retired) -> Result<Taken, Objection> {
        let now = unix_seconds(SystemTime::now());
        let Self { break_glass, journal, state, boot, .. } = self;
        let taken = break_glass.take(asked, journal, state, &boot.state_dir, now)?;
        if self.break_glass.in_force(now).is_some_and(|asked| asked.keeps(now)) {
            self.withdraw("an operator keeps what serves", retired);
        }
        self.withdraw_overridden(retired);
        Ok(taken)
    }
}

/// Whom a caller names, as it is written down.
fn claimed(by: &Asker) -> Result<(), OverrideError> {
    by.claimed.as_deref().map(break_glass::name_of).transpose().map(drop)
}

/// Why what is offered does not serve while an override keeps what serves.
pub fn kept_out(asked: &Override) -> Objection {
    let hint = "it comes in when that is over; cellgate break-glass end ends it before";
    Objection { guard: GUARD.to_owned(), what: asked.to_string(), hint: Some(hint.to_owned()) }
}

/// Whether a configuration has served here before, or is what `cellgate rollback` makes of one that has: that with every
/// account where it is now.
pub fn restores(place: &Place, state_dir: &Path, hash: &str, now: i64) -> bool {
    let kept = history::list(state_dir).unwrap_or_default();
    if kept.iter().any(|kept| kept.hash == hash) {
        return true;
    }
    // What a note says is believed by nobody: it is done once more, and compared.
    let number = history::note(&place.folder, hash).and_then(|note| note.restores);
    let Some(kept) = number.and_then(|number| kept.into_iter().find(|kept| kept.number == number)) else {
        return false;
    };
    let sources = |path: &Path| -> Option<Sources> {
        let saved = last_good::read(path).ok()?;
        Some(to_sources(place, saved.files))
    };
    let (older, live) = (sources(&kept.path), sources(&state_dir.join(last_good::FILE_NAME)));
    let rolled_back = older.zip(live).and_then(|(older, live)| rollback(&older, &live, now).ok());
    rolled_back.is_some_and(|rolled_back| *rolled_back.hash == *hash)
}
