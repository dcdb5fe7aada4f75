//! A candidate on trial: waits for its turn, serves its shares one after the other, is looked at every second, and ends
//! by serving everybody or by being taken back. What serves is not touched until then.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::known::Known;
use super::moves_first::Aside;
use super::outcome::{CellReport, Counted, Objection, ReloadInbox, ReloadOutcome, StagedReport, Trigger};
use super::prepare::{Lifted, Ready};
use super::retired::Retired;
use super::{Reloader, refusals, serving, warn_of};
use crate::config::Sources;
use crate::config::apply::{Apply, Step};
use crate::live::Live;
use crate::policy::canary::judge::Seen;
use crate::policy::canary::{Candidate, CellStats, Salt, has_replica};
use crate::policy::code::Code;
use crate::policy::ids::{Generation, Label};
use crate::policy::snapshot::Snapshot;
use crate::readiness::{NoteReady, Readiness, Reason};
use crate::rolled_back::{Memory, RolledBack};
use crate::telemetry::wall_time::unix_seconds;

/// How often a candidate is looked at. A wrong push must be undone within ten seconds: a handful of failures, this,
/// and room for what is slow to fail.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the reload task knows of candidates.
pub struct Staging {
    pub(super) standing: Option<Staged>,
    /// What was taken back.
    pub(super) memory: Memory,
    /// The name by which this replica is among the first or not.
    pub(super) replica: String,
    pub(super) readiness: Arc<Readiness>,
    /// Held while the files are what was taken back.
    pub(super) note: Option<NoteReady>,
    /// The last number that was given to a generation: those of candidates that were taken back are not used again.
    pub(super) issued: Generation,
    /// While the moves of a push come in force: the rest of it is still to be looked at.
    pub(super) rest: Option<Aside>,
}

/// The candidate.
pub(super) struct Staged {
    pub(super) ready: Ready,
    pub(super) trigger: Trigger,
    /// The line of the trail that announced it.
    pub(super) number: Option<u64>,
    /// `None` while it waits for its turn.
    pub(super) candidate: Option<Arc<Candidate>>,
    /// Position of the step that it is in, or of the first while it waits.
    pub(super) step: usize,
    pub(super) seen: Seen,
    /// When the step, or the waiting, ends.
    pub(super) ends: Instant,
    pub(super) next_look: Instant,
    pub(super) since: SystemTime,
    pub(super) note: NoteReady,
}

impl Staging {
    /// Nothing stands yet.
    pub fn new(state_dir: &Path, replica: String, readiness: Arc<Readiness>) -> Self {
        let memory = Memory::load(state_dir);
        let issued = Generation::default();
        Self { standing: None, memory, replica, readiness, note: None, issued, rest: None }
    }

    /// Returns when the candidate is to be looked at; never while there is none.
    pub(super) async fn due(&self) {
        match &self.standing {
            Some(staged) => tokio::time::sleep_until(staged.next_look).await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn known(&self, trigger: Trigger) -> Known {
        // One that is put aside while moves come in force is as good as standing.
        let aside = || self.rest.as_ref().and_then(|aside| aside.trial.as_ref());
        let trial = self.standing.as_ref().or_else(aside).map(|staged| &staged.ready);
        Known {
            trigger,
            staged: trial.map(|ready| Arc::clone(&ready.next)),
            pushed: trial.map(|ready| Arc::clone(&ready.pushed)),
            lifted: trial.and_then(|ready| ready.lifted.clone()),
            memory: self.memory.clone(),
            issued: self.issued,
        }
    }
}

/// Serves this in place of what was to serve and could not be written down: before there is a reloader, and before the
/// first request.
pub fn serve_first(live: &Live, snapshot: Arc<Snapshot>) {
    #[expect(clippy::disallowed_methods, reason = "there is no task yet that swaps, and nothing serves")]
    live.replace(snapshot);
}

impl Reloader {
    /// In which steps it goes; `None` is at once. Moves of accounts are never a canary: half of them would send the
    /// writes of one account to two cells, and taking them back would send them backwards.
    pub(super) fn steps_of(&self, trigger: Trigger, ready: &Ready) -> Option<&Apply> {
        self.boot
            .apply
            .as_ref()
            .filter(|_| !trigger.is_at_once() && !ready.has_served && !ready.plan.diff.is_about_moves())
    }

    /// Announces the candidate and lets it begin, or wait for its turn.
    pub(super) fn stage(
        &mut self,
        trigger: Trigger,
        ready: Ready,
        now: i64,
        retired: &mut Retired,
    ) -> ReloadOutcome {
        let Some(apply) = self.boot.apply.clone() else { return ReloadOutcome::Unchanged };
        let next = Arc::clone(&ready.next);
        let number = match self.intend(trigger, &ready, now) {
            Ok(number) => number,
            Err(objection) => return ReloadOutcome::Refused(vec![objection], Some(ready.pushed)),
        };
        self.withdraw("another push has taken its place", retired);
        let before = self.staging.rest.take().and_then(|aside| aside.trial);
        self.staging.issued = next.generation;
        self.metrics.prepare(&next);
        // Last, so that the one that serves most is found first and never pushed out by candidates.
        self.metrics.prepare(&self.live.pin());
        let (generation, pushed) = (next.generation, Arc::clone(&ready.pushed));
        let note = Reason::Staged { generation: generation.0, hash: next.hash.to_string() };
        let note = self.staging.readiness.note(note);
        if let Some(before) = before {
            self.go_on(before, ready, number, note, retired);
            return ReloadOutcome::Staged { generation, pushed };
        }
        let salt = Salt::of(&next.hash);
        let waits =
            apply.first_replicas.filter(|first| !has_replica(first.share, salt, &self.staging.replica));
        let now = Instant::now();
        self.staging.standing = Some(Staged {
            ready,
            trigger,
            number,
            candidate: None,
            step: 0,
            seen: Seen::default(),
            ends: now + waits.map_or(Duration::ZERO, |first| first.delay),
            next_look: now + LOOK_EVERY,
            since: SystemTime::now(),
            note,
        });
        match waits {
            Some(first) => {
                let (replica, delay) = (&self.staging.replica, first.delay);
                tracing::info!(%generation, replica, ?delay, "the new configuration waits for the first replicas");
            }
            None => self.begin(0),
        }
        ReloadOutcome::Staged { generation, pushed }
    }

    /// Lets the candidate serve the share of a step.
    fn begin(&mut self, step: usize) {
        let Some((Step { share, bake }, of)) = self.step(step) else { return };
        let Some(staged) = &mut self.staging.standing else { return };
        let next = &staged.ready.next;
        let candidate = match &staged.candidate {
            Some(candidate) => candidate.with_share(share),
            None => Candidate::new(Arc::clone(next), &self.live.pin(), share),
        };
        let candidate = Arc::new(candidate);
        staged.candidate = Some(Arc::clone(&candidate));
        staged.step = step;
        staged.ends = Instant::now() + bake;
        let (number, generation) = (step + 1, next.generation);
        tracing::info!(%generation, hash = &*next.hash, %share, step = number, of, ?bake, "a step of the new configuration");
        self.metrics.candidate.stands(Some((share.ratio(), number)));
        self.stand(Some(candidate));
    }

    /// Looks at the candidate, and does what follows.
    pub(super) async fn look(&mut self, inbox: &ReloadInbox, retired: &mut Retired) {
        if self.is_predecessor() {
            // A successor begins anew with what served; two on trial would be two more than anybody looks at.
            self.withdraw("another process serves by now", retired);
            self.report(inbox);
            return;
        }
        let Some(Apply { rules, .. }) = self.boot.apply else { return };
        let Some(staged) = &mut self.staging.standing else { return };
        staged.next_look = Instant::now() + LOOK_EVERY;
        if let Some(candidate) = &staged.candidate {
            staged.seen.add(candidate.look());
        }
        let reasons = staged.seen.judge(rules);
        let is_over = Instant::now() >= staged.ends;
        let next = if staged.candidate.is_some() { staged.step + 1 } else { 0 };
        if !reasons.is_empty() {
            let line = |(cell, reason)| format!("cell {cell}: {reason}");
            self.roll_back(reasons.into_iter().map(line).collect(), inbox, retired);
        } else if is_over && self.step(next).is_some() {
            self.begin(next);
        } else if is_over {
            self.finish(inbox, retired).await;
        }
        self.report(inbox);
    }

    /// The last step is over: the candidate serves everybody.
    async fn finish(&mut self, inbox: &ReloadInbox, retired: &mut Retired) {
        let Some(staged) = self.staging.standing.take() else { return };
        // From the swap on it is no candidate any more, and nobody must read that it serves a share.
        self.report(inbox);
        let Staged { ready, trigger, number, seen, note, .. } = staged;
        drop(note);
        let (generation, now) = (ready.next.generation, SystemTime::now());
        let (requests, failed) = seen.moved();
        tracing::info!(%generation, requests, failed, "nothing speaks against the new configuration");
        let candidate = Arc::clone(&ready.next);
        let outcome = match self.use_approvals(&ready, unix_seconds(now)) {
            Ok(()) => self.put_in_force(ready.next, ready.sources, number, retired).await,
            Err(objections) => {
                self.stand(None);
                retired.add(candidate);
                ReloadOutcome::Refused(objections, Some(ready.pushed))
            }
        };
        self.metrics.candidate.stands(None);
        self.tell(trigger, outcome, now, inbox);
    }

    /// Takes the candidate back. What serves has never stopped to.
    fn roll_back(&mut self, reasons: Vec<String>, inbox: &ReloadInbox, retired: &mut Retired) {
        let Some(staged) = self.staging.standing.take() else { return };
        // First of all.
        self.stand(None);
        // Whoever hears of the outcome must read of no candidate any more, here or beside readiness.
        self.report(inbox);
        let Staged { ready, trigger, since, note, .. } = staged;
        drop(note);
        let (hash, generation) = (ready.next.hash.clone(), ready.next.generation);
        let rest = Some(ready.next.rest.clone()).filter(|rest| *rest != self.live.pin().rest);
        let (now, after) = (SystemTime::now(), since.elapsed().unwrap_or_default());
        for reason in &reasons {
            tracing::error!(code = %Code::RolledBack, %generation, %hash, reason, ?after, "the new configuration is rolled back");
        }
        if let Err(objections) = self.use_approvals(&ready, unix_seconds(now)) {
            tracing::warn!(?objections, "its approvals are not put down as used");
        }
        retired.add(ready.next);
        self.metrics.candidate.stands(None);
        self.note_rolled_back(&hash, &reasons);
        self.staging.memory.add(RolledBack {
            hash: hash.clone(),
            at: unix_seconds(now),
            reasons: reasons.clone(),
            rest,
            is_mixed: false,
        });
        self.remember();
        let loaded_at = inbox.last.borrow().loaded_at;
        self.tell(trigger, ReloadOutcome::RolledBack { hash, reasons }, loaded_at, inbox);
    }

    /// Takes a candidate away that only an override has let in; that is over.
    pub(super) fn withdraw_overridden(&mut self, retired: &mut Retired) {
        let lifted = self.staging.standing.as_ref().and_then(|staged| staged.ready.lifted.as_ref());
        if matches!(lifted, Some(Lifted::Overridden(_))) {
            self.withdraw("the override that let it in is over", retired);
        }
    }

    /// Takes the candidate away, where one stands, and not because of what it did.
    pub(super) fn withdraw(&mut self, why: &str, retired: &mut Retired) {
        let Some(staged) = self.staging.standing.take() else { return };
        self.stand(None);
        self.end(staged, why, retired);
    }

    /// Says that a trial is over before it was whole.
    pub(super) fn end(&mut self, staged: Staged, why: &str, retired: &mut Retired) {
        let next = staged.ready.next;
        tracing::warn!(generation = %next.generation, why, "the new configuration is withdrawn before it was whole");
        self.metrics.candidate.stands(None);
        let (state, journal, stable) = (&self.state, &self.journal, self.live.pin());
        let (candidate, now) = (serving(&next), unix_seconds(SystemTime::now()));
        state.write(|| journal.withdrawn(staged.trigger, candidate, serving(&stable), why, now));
        retired.add(next);
    }

    /// A generation is in force; whatever was said against the files is over.
    pub(super) fn settled(&mut self, applied: Option<&Snapshot>) {
        self.staging.note = None;
        let Some(applied) = applied else { return };
        self.staging.issued = self.staging.issued.max(applied.generation);
        if self.staging.memory.forget(&applied.hash) {
            self.remember();
        }
    }

    /// What stands, for those who look.
    pub(super) fn report(&self, inbox: &ReloadInbox) {
        let report = self.staging.standing.as_ref().map(|staged| {
            let next = &staged.ready.next;
            let (requests, failed) = staged.seen.moved();
            let left = staged.ends.saturating_duration_since(Instant::now());
            Arc::new(StagedReport {
                generation: next.generation,
                hash: next.hash.clone(),
                share: staged.candidate.as_ref().map(|candidate| candidate.share.to_string()),
                step: staged.step + 1,
                steps: self.boot.apply.as_ref().map_or(0, |apply| apply.steps.len()),
                since: staged.since,
                ends: SystemTime::now() + left,
                requests,
                failed,
                cells: staged.seen.cells().map(cell_report).collect(),
                beside: self.live.pin().generation,
            })
        });
        // Receivers live in the admin plane; without one nobody looks.
        let _ = inbox.staged.send(report);
    }

    /// Puts down the approvals of a change as used: when it serves everybody, or never will. A candidate that was
    /// withdrawn on the way has not used them, or a restart would need new ones for the same push.
    pub(super) fn use_approvals(&self, ready: &Ready, now: i64) -> Result<(), Vec<Objection>> {
        let Some(Lifted::Approved(approved)) = &ready.lifted else { return Ok(()) };
        let why = match self.state.write(|| approved.remember(&self.boot.state_dir, now)) {
            Some(Ok(())) => {
                tracing::warn!(by = %approved.by(), "a change that guards refuse is approved");
                return Ok(());
            }
            Some(Err(error)) => error.to_string(),
            None => "another process has the state folder by now, and it alone can use approvals".to_owned(),
        };
        Err(refusals(&ready.plan.objections, vec![why]))
    }

    /// The swap, and what follows it. Cannot fail.
    pub(super) async fn put_in_force(
        &mut self,
        next: Arc<Snapshot>,
        sources: Sources,
        number: Option<u64>,
        retired: &mut Retired,
    ) -> ReloadOutcome {
        let (before, generation) = (self.live.pin(), next.generation);
        self.metrics.prepare(&next);
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the task that swaps, after all that can fail"
        )]
        self.live.replace(next);
        retired.add(before);
        let serves = self.live.pin();
        self.settled(Some(&serves));
        warn_of(&self.boot.guards.remarks(&serves));
        self.serve_files(sources, number).await;
        ReloadOutcome::Applied { generation }
    }

    pub(super) fn stand(&self, candidate: Option<Arc<Candidate>>) {
        #[expect(clippy::disallowed_methods, reason = "this is the task that lets a candidate stand")]
        self.live.try_out(candidate);
    }

    /// A step, and how many there are.
    fn step(&self, position: usize) -> Option<(Step, usize)> {
        let steps = &self.boot.apply.as_ref()?.steps;
        steps.get(position).map(|step| (*step, steps.len()))
    }
}

fn cell_report((cell, (with, without)): (&Label, &(CellStats, CellStats))) -> CellReport {
    let counted = |of: &CellStats| Counted { requests: of.requests, failed: of.failed, denied: of.denied };
    CellReport { cell: cell.clone(), with: counted(with), without: counted(without) }
}
