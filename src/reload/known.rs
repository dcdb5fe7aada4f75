//! What a reload knows before it reads: what is on trial, and what was taken back or refused before.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use super::Reloader;
use super::outcome::{BREAK_GLASS, Pushed, ReloadOutcome, Trigger};
use super::prepare::Lifted;
use crate::config::guard::{self, Guard};
use crate::config::{self, Config};
use crate::policy::code::Code;
use crate::policy::ids::Generation;
use crate::policy::snapshot::Snapshot;
use crate::readiness::{NoteReady, Reason, and_more, first};
use crate::rolled_back::{Memory, RolledBack};
use crate::telemetry::wall_time::unix_seconds;

/// What a reload must know of candidates before it reads.
pub(super) struct Known {
    pub trigger: Trigger,
    pub staged: Option<Arc<Snapshot>>,
    pub pushed: Option<Arc<Pushed>>,
    /// Who has let in what is on trial, against guards.
    pub lifted: Option<Lifted>,
    pub memory: Memory,
    pub issued: Generation,
}

impl Known {
    /// What there is to say of files with this hash without a closer look: they stand already.
    pub(super) fn answer(&self, hash: &str) -> Option<ReloadOutcome> {
        let staged = self.staged.as_ref().filter(|staged| *staged.hash == *hash);
        let staged = staged.filter(|_| !self.trigger.is_at_once())?;
        let pushed = Arc::clone(self.pushed.as_ref()?);
        Some(ReloadOutcome::Staged { generation: staged.generation, pushed })
    }

    /// What there is to say of files that were taken back before. Those that differ from such in rows alone are the same
    /// push with moves beside it.
    pub(super) fn taken_back(&self, live: &Snapshot, offered: &Config) -> Option<ReloadOutcome> {
        if self.trigger.is_again() {
            return None;
        }
        let with_other_rows = || self.memory.find_rest(&offered.rest).filter(|_| live.rest != offered.rest);
        let known = self.memory.find(&offered.hash).or_else(with_other_rows)?;
        Some(ReloadOutcome::RolledBack { hash: offered.hash.clone(), reasons: known.reasons.clone() })
    }

    /// Whether these files are what is on trial, and have moves of accounts besides.
    pub(super) fn goes_on_in(&self, offered: &Config) -> bool {
        let diff = self.staged.as_ref().map(|staged| config::diff(&**staged, offered));
        diff.is_some_and(|diff| diff.is_about_moves() && !diff.is_mixed())
    }

    /// Who has let these files in before, moves aside: what was approved for a trial is not refused to it for moves that have
    /// come since, and those are not held up by it.
    pub(super) fn lifted_in(&self, offered: &Config) -> Option<Lifted> {
        let is_on_trial = self.staged.as_ref().is_some_and(|staged| staged.hash == offered.hash);
        self.lifted.clone().filter(|_| is_on_trial || self.goes_on_in(offered))
    }

    /// Whoever has it come in force at once has said that moves and the rest belong together.
    pub(super) fn is_at_once(&self) -> bool {
        self.trigger.is_at_once()
    }

    /// A number that no generation has had.
    pub(super) fn numbered(&self, mut next: Snapshot) -> Snapshot {
        next.generation = next.generation.max(self.issued.next());
        next
    }
}

/// A start that serves the last good configuration instead of the files.
pub struct FellBack {
    /// Shows it, and why.
    pub note: NoteReady,
    /// When what serves was last known to be good.
    pub written: SystemTime,
}

/// Longest text of a problem on readiness: two lines of a terminal. `cellgate check` and /config have all of it.
const LONGEST_CAUSE: usize = 240;

/// What there is to say of files that were not let in.
fn kept_out(outcome: &ReloadOutcome, at: SystemTime) -> Option<Reason> {
    match outcome {
        ReloadOutcome::Refused(objections, _) => {
            let guards: BTreeSet<&str> = objections.iter().map(|objection| &*objection.guard).collect();
            Some(Reason::Refused { guards: guards.into_iter().collect::<Vec<_>>().join(", ") })
        }
        ReloadOutcome::Rejected(problems) => {
            let (one, more) = (problems.first()?, problems.len() - 1);
            let mut cause: String = one.to_string();
            if let Some((end, _)) = cause.char_indices().nth(LONGEST_CAUSE) {
                cause.truncate(end);
                cause.push('…');
            }
            Some(Reason::Rejected { at, cause: and_more(&cause, more), place: and_more(&one.place(), more) })
        }
        ReloadOutcome::Unchanged
        | ReloadOutcome::NeedsRestart(_)
        | ReloadOutcome::Applied { .. }
        | ReloadOutcome::Staged { .. }
        | ReloadOutcome::RolledBack { .. } => None,
    }
}

impl Reloader {
    /// Shows that the files are what was taken back.
    pub(super) fn note_rolled_back(&mut self, hash: &str, reasons: &[String]) {
        let cause = reasons.first().cloned().unwrap_or_default();
        let note = Reason::RolledBack { hash: hash.to_owned(), cause };
        // What a start has fallen back from is said by the note of that.
        self.staging.note = self.fallback.is_none().then(|| self.staging.readiness.note(note));
    }

    /// Shows whether the last reload, that of `at`, was refused or rejected, and why. What a start has fallen back from is said by
    /// the note of that.
    pub(super) fn note_kept_out(&mut self, outcome: &ReloadOutcome, at: SystemTime) {
        self.note_fallback(outcome);
        let reason = kept_out(outcome, at).filter(|_| self.fallback.is_none());
        self.kept_out = reason.map(|reason| self.staging.readiness.note(reason));
    }

    /// Says anew why what serves is not what the files say, where a start has fallen back: an override that was the reason may
    /// be over, and the files may be bad in another way.
    fn note_fallback(&mut self, outcome: &ReloadOutcome) {
        let (max_age, readiness) = (self.boot.max_last_good_age, &self.staging.readiness);
        let Some(fell_back) = &mut self.fallback else { return };
        let last_good = |cause: String| Reason::LastGood { written: fell_back.written, max_age, cause };
        let cause = |lines: Vec<String>| last_good(first(&lines));
        let reason = match outcome {
            ReloadOutcome::Applied { .. } | ReloadOutcome::Staged { .. } | ReloadOutcome::Unchanged => return,
            ReloadOutcome::RolledBack { hash, reasons } => {
                Reason::RolledBack { hash: hash.to_string(), cause: first(reasons) }
            }
            ReloadOutcome::Refused(objections, _) => {
                match objections.iter().find(|objection| objection.guard == BREAK_GLASS) {
                    Some(kept) => Reason::Kept { told: kept.what.clone() },
                    None => cause(objections.iter().map(ToString::to_string).collect()),
                }
            }
            ReloadOutcome::Rejected(problems) => cause(problems.iter().map(ToString::to_string).collect()),
            ReloadOutcome::NeedsRestart(fields) => {
                last_good(format!("boot.yaml: {} differ, which needs a restart", fields.join(", ")))
            }
        };
        fell_back.note = readiness.note(reason);
    }

    /// Files that mix moves with what they cannot come without: a restart is no way to have them serve.
    pub(super) fn remember_mixed(&mut self, hash: Box<str>, objections: &[guard::Objection]) {
        if self.staging.memory.is_mixed(&hash) {
            return;
        }
        let mixed = objections.iter().filter(|objection| objection.guard == Guard::Mixed);
        let reasons = mixed.map(|objection| objection.what.clone()).collect();
        let at = unix_seconds(SystemTime::now());
        self.staging.memory.add(RolledBack { hash, at, reasons, rest: None, is_mixed: true });
        self.remember();
    }

    /// Writes the memory down.
    pub(super) fn remember(&self) {
        let saved = self.state.write(|| self.staging.memory.save(&self.boot.state_dir));
        if let Some(Err(error)) = saved {
            tracing::error!(code = %Code::RolledBackForgotten, %error, "a restart will not know which configurations were rolled back");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::reload::outcome::{Objection, ProblemView};

    fn problem(line: u64, what: &str) -> ProblemView {
        let (file, code) = (Some("accounts.csv".to_owned()), Some("E0300".to_owned()));
        ProblemView { file, line: Some(line), what: what.to_owned(), code, ..ProblemView::default() }
    }

    #[test]
    fn files_that_are_rejected_are_told_by_their_first_problem_and_at_a_bounded_length() {
        let at = SystemTime::UNIX_EPOCH;
        let told = |problems: Vec<ProblemView>| match kept_out(&ReloadOutcome::Rejected(problems), at) {
            Some(Reason::Rejected { at: told_at, cause, place }) if told_at == at => (cause, place),
            other => unreachable!("{other:?}"),
        };
        let (cause, place) = told(vec![problem(3, "account 4711 stands twice")]);
        assert_eq!(cause, "accounts.csv:3: account 4711 stands twice [E0300]");
        assert_eq!(place, "accounts.csv:3 [E0300]");
        let (cause, place) = told(vec![problem(3, &"é".repeat(100_000)), problem(4, "b"), problem(5, "c")]);
        assert!(cause.ends_with("é… (and 2 more)"), "{cause}");
        assert_eq!(cause.chars().count(), LONGEST_CAUSE + "… (and 2 more)".chars().count());
        assert_eq!(place, "accounts.csv:3 [E0300] (and 2 more)");
        let nowhere = ProblemView { what: "cellgate failed".into(), ..ProblemView::default() };
        assert_eq!(told(vec![nowhere]).1, "no file");
    }

    #[test]
    fn what_was_let_in_or_found_nothing_to_do_is_nothing_to_tell() {
        let objection = |guard: &str| Objection { guard: guard.into(), what: String::new(), hint: None };
        let refused = ReloadOutcome::Refused(["shrink", "removal", "shrink"].map(objection).into(), None);
        let guards = Reason::Refused { guards: "removal, shrink".into() };
        assert_eq!(kept_out(&refused, SystemTime::UNIX_EPOCH), Some(guards));
        for good in [ReloadOutcome::Unchanged, ReloadOutcome::Applied { generation: Generation(2) }] {
            assert_eq!(kept_out(&good, SystemTime::UNIX_EPOCH), None);
        }
    }
}
