//! One task owns reloading: file change, signal and admin call are events to it.
//!
//! `read -> parse -> plan -> guards, or approvals -> compile -> write intent -> swap -> outcome`. Everything before the swap
//! can fail and changes nothing; nothing after it can. What cannot be written down is not swapped.

mod break_glass;
mod follow;
pub mod journal;
mod known;
mod moves_first;
pub mod outcome;
mod prepare;
mod repeats;
mod retired;
mod said;
mod staged;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use crate::approval_files::Approvers;
use crate::config::plan::Requests;
use crate::config::{Boot, Sources};
use crate::live::Live;
use crate::load::Place;
use crate::policy::code::Code;
use crate::policy::snapshot::Snapshot;
use crate::readiness::{NoteReady, Readiness, Reason};
use crate::state_file::Ownership;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::wall_time::unix_seconds;
use crate::trail::Version;
use crate::{history, last_good, quiet, start};
pub use break_glass::{BreakGlass, kept_out, restores};
pub use journal::unwritten;
use journal::{Intent, Journal};
pub use known::FellBack;
use outcome::{
    OverrideRequest, ProblemView, ReloadInbox, ReloadOutcome, ReloadReport, StaleGeneration, Trigger,
};
use prepare::{Lifted, Prepared, Ready, Refused, prepare};
use retired::Retired;
use said::log;
pub use said::{note_objections, refusals, views, warn_of};
pub use staged::{Staging, serve_first};
pub use watch::Watch;

/// A deployment writes several files; the reload waits until they have been quiet for this long.
const SETTLE: Duration = Duration::from_millis(200);

/// But no longer than this: a folder in which something writes all the time is reloaded anyway.
const SETTLE_AT_MOST: Duration = Duration::from_secs(2);

/// After the moves of a push the rest of it is looked at, and files may change meanwhile; whoever deploys without end has
/// the next event.
const MOST_PARTS: usize = 3;

/// Signals waiting to be acted on; more than one says nothing new.
pub const QUEUED_SIGNALS: usize = 1;

/// The task's state.
pub struct Reloader {
    /// Where the configuration is.
    pub place: Place,
    /// The state folder that the command line has chosen; the file cannot change it.
    pub state_dir: Option<PathBuf>,
    /// What the process was started with; a difference needs a restart.
    pub boot: Boot,
    /// Where the swap happens.
    pub live: Arc<Live>,
    /// Where outcomes are counted.
    pub metrics: Arc<Metrics>,
    /// Where changes and outcomes are written down.
    pub journal: Journal,
    /// Whether this process writes in the state folder: a predecessor goes on reloading while it drains, and
    /// leaves the writing to its successor.
    pub state: Arc<Ownership>,
    /// Held while the last good configuration serves instead of the files.
    pub fallback: Option<FellBack>,
    /// Held while what serves is not kept for later starts.
    pub unsaved: Option<NoteReady>,
    /// Held while the last reload is one that was refused or rejected.
    pub kept_out: Option<NoteReady>,
    /// Who can let through what guards refuse; as of the start of the process.
    pub approvers: Arc<Approvers>,
    /// What an operator has decided alone.
    pub break_glass: BreakGlass,
    /// Requests by account of the last days, for guards that weigh a change by its traffic.
    pub requests: RequestsOf,
    /// The candidate that is on trial, where one is.
    pub staging: Staging,
    /// Of a predecessor: the hash of what its successor serves and it cannot.
    pub not_followed: Option<Box<str>>,
    /// Who has asked for the reload under way, where somebody has.
    pub caller: Option<Box<str>>,
}

/// As [`start::RequestsIn`], for a task of its own.
pub type RequestsOf = Arc<dyn Fn(&Path) -> Requests + Send + Sync>;

impl Reloader {
    /// Serves events until nobody can send signals any more.
    pub async fn run(mut self, mut inbox: ReloadInbox, mut signals: mpsc::Receiver<()>, mut watch: Watch) {
        let mut retired = Retired::default();
        // The admin plane of a predecessor ends when its successor serves; it goes on following that one.
        let mut has_admin = true;
        loop {
            tokio::select! {
                () = retired.freed() => {}
                () = self.staging.due() => self.look(&inbox, &mut retired).await,
                () = self.successor_due() => {
                    self.follow(Trigger::FileChange, &inbox, &mut retired).await;
                }
                request = inbox.requests.recv(), if has_admin => {
                    let Some(request) = request else {
                        has_admin = false;
                        continue;
                    };
                    let current = self.live.pin().generation;
                    if request.expected.is_some_and(|expected| expected != current) {
                        // A caller who has gone away does not want the answer.
                        let _ = request.reply.send(Err(StaleGeneration { current }));
                        continue;
                    }
                    self.caller = Some(request.caller);
                    let outcome = self.reload(request.trigger, &inbox, &mut retired).await;
                    self.caller = None;
                    let _ = request.reply.send(Ok(outcome));
                }
                asked = inbox.overrides.recv(), if has_admin => {
                    let Some(OverrideRequest { asked, reply }) = asked else {
                        has_admin = false;
                        continue;
                    };
                    self.caller = Some(asked.by().caller.clone());
                    let answer = match self.break_glass(asked, &mut retired) {
                        Ok(taken) => Ok((taken, self.reload(Trigger::Admin, &inbox, &mut retired).await)),
                        Err(objection) => Err(objection),
                    };
                    self.caller = None;
                    let _ = reply.send(answer);
                }
                () = self.break_glass.over() => {
                    // Whatever it has kept out may come in now.
                    if self.break_glass.expire(unix_seconds(SystemTime::now())) {
                        self.withdraw_overridden(&mut retired);
                        self.reload(Trigger::FileChange, &inbox, &mut retired).await;
                    }
                }
                signal = signals.recv() => {
                    if signal.is_none() { break }
                    self.reload(Trigger::Signal, &inbox, &mut retired).await;
                }
                () = watch.changed() => {
                    // Whoever sends a signal says that the files are whole, and is not kept waiting for more of them.
                    let trigger = tokio::select! {
                        () = watch.settled(SETTLE, SETTLE_AT_MOST) => Trigger::FileChange,
                        Some(()) = signals.recv() => Trigger::Signal,
                    };
                    self.reload(trigger, &inbox, &mut retired).await;
                }
            }
        }
        self.withdraw("the process ends", &mut retired);
    }

    async fn reload(
        &mut self,
        trigger: Trigger,
        inbox: &ReloadInbox,
        retired: &mut Retired,
    ) -> ReloadOutcome {
        if self.is_predecessor() {
            return self.follow(trigger, inbox, retired).await;
        }
        let mut outcome = self.reload_once(trigger, inbox, retired).await;
        for _ in 0..MOST_PARTS {
            if !self.staging.has_rest() {
                break;
            }
            outcome = self.reload_once(trigger, inbox, retired).await;
        }
        self.let_go("it did not go on with the moves in it", retired);
        outcome
    }

    async fn reload_once(
        &mut self,
        trigger: Trigger,
        inbox: &ReloadInbox,
        retired: &mut Retired,
    ) -> ReloadOutcome {
        self.journal.look(&self.state);
        let (place, requests) = (self.place.clone(), Arc::clone(&self.requests));
        let approvers = Arc::clone(&self.approvers);
        let (state_dir, boot, live) = (self.state_dir.clone(), self.boot.clone(), self.live.pin());
        // A million rows take a while to parse, and requests must not notice.
        let asked = self.break_glass.in_force(unix_seconds(SystemTime::now())).cloned();
        let known = self.staging.known(trigger);
        let prepare = move || {
            let say = (&*approvers, asked.as_ref());
            prepare(&place, state_dir.as_deref(), (&boot, &live), &*requests, say, &known)
        };
        let prepared = quiet::run(prepare).await;
        let now = SystemTime::now();
        let last = Arc::clone(&inbox.last.borrow());
        let loaded_at = last.loaded_at;
        let (outcome, loaded_at) = match prepared {
            Some(Prepared::Ready(ready)) => {
                let outcome = self.apply(trigger, *ready, unix_seconds(now), retired).await;
                let applied = matches!(outcome, ReloadOutcome::Applied { .. });
                (outcome, if applied { now } else { loaded_at })
            }
            Some(Prepared::Unchanged { sources }) => {
                // The files may be good again without a change: they are what the last good ones were.
                if self.fallback.is_some() || self.unsaved.is_some() {
                    self.serve_files(sources, None).await;
                }
                self.withdraw("the files say again what serves", retired);
                self.settled(None);
                (ReloadOutcome::Unchanged, loaded_at)
            }
            Some(Prepared::Not(outcome)) => {
                if let ReloadOutcome::RolledBack { hash, reasons } = &outcome {
                    self.withdraw("the files say what was taken back before", retired);
                    self.note_rolled_back(hash, reasons);
                }
                (outcome, loaded_at)
            }
            Some(Prepared::Refused(Refused { objections, missing, mixed, pushed })) => {
                note_objections(&self.metrics, &objections);
                if let Some(hash) = mixed {
                    self.remember_mixed(hash, &objections);
                }
                (ReloadOutcome::Refused(refusals(&objections, missing), Some(pushed)), loaded_at)
            }
            None => {
                self.metrics.panicked();
                let what =
                    "cellgate failed while it read the configuration; report this with the files".to_owned();
                let view = ProblemView { what, ..ProblemView::default() };
                (ReloadOutcome::Rejected(vec![view]), loaded_at)
            }
        };
        let is_news = trigger != Trigger::FileChange || outcome.is_news_after(&last.outcome);
        self.note_kept_out(&outcome, if is_news { now } else { last.at });
        self.report(inbox);
        if !is_news {
            // An editor's backup file, or a look without an event: nobody asked, nothing to tell.
            return outcome;
        }
        self.tell(trigger, outcome.clone(), loaded_at, inbox);
        outcome
    }

    /// Says to everybody how a reload has ended. `loaded_at` is when what serves was put in force.
    fn tell(&mut self, trigger: Trigger, outcome: ReloadOutcome, loaded_at: SystemTime, inbox: &ReloadInbox) {
        let now = SystemTime::now();
        log(trigger, &outcome);
        self.metrics.reload(outcome.label(), now);
        let serving = serving(&self.live.pin());
        let (state, journal) = (&self.state, &self.journal);
        let asked = (trigger, self.caller.as_deref());
        state.write(|| journal.outcome(asked, &outcome, serving, unix_seconds(now)));
        inbox.tell(ReloadReport { trigger, at: now, outcome, loaded_at });
    }

    /// Puts a generation in force. Until the swap everything can fail, and changes nothing.
    async fn apply(
        &mut self,
        trigger: Trigger,
        ready: Ready,
        now: i64,
        retired: &mut Retired,
    ) -> ReloadOutcome {
        note_objections(&self.metrics, &ready.plan.objections);
        if self.steps_of(trigger, &ready).is_some() {
            return self.stage(trigger, ready, now, retired);
        }
        let number = match self.intend(trigger, &ready, now) {
            Ok(number) => number,
            Err(objection) => return ReloadOutcome::Refused(vec![objection], Some(ready.pushed)),
        };
        // Not before: a trail that cannot be written must not cost them.
        if let Err(objections) = self.use_approvals(&ready, now) {
            return ReloadOutcome::Refused(objections, Some(ready.pushed));
        }
        match ready.rest {
            Some(rest) => self.put_aside(rest, retired),
            None => self.withdraw("another push serves in its place", retired),
        }
        self.put_in_force(ready.next, ready.sources, number, retired).await
    }

    /// Writes down what is about to be swapped, and gives the number of that line. A predecessor that drains has
    /// none: its successor, which reads the same files, writes for both.
    fn intend(
        &mut self,
        trigger: Trigger,
        ready: &Ready,
        now: i64,
    ) -> Result<Option<u64>, outcome::Objection> {
        let Ready { next, plan, pushed, lifted, .. } = ready;
        let mut said = pushed.said.clone();
        said.who.extend(lifted.as_ref().and_then(Lifted::overridden_by));
        let approved_by = lifted.as_ref().map(Lifted::approved_by).unwrap_or_default();
        let (from, to) = (serving(&self.live.pin()), serving(next));
        let (changes, plan) = (&*plan.diff.to_string(), &*plan.digest());
        let caller = self.caller.as_deref();
        let change =
            Intent { trigger, caller, from, to, changes, plan, said: &said, approved_by: &approved_by };
        let (state, journal) = (&self.state, &self.journal);
        let written = state.write(|| journal.intent(&change, now)).transpose()?;
        Ok(written.map(|head| head.seq))
    }

    /// The files are in force, not what was kept of earlier ones. `number` is that of the line that says so.
    async fn serve_files(&mut self, sources: Sources, number: Option<u64>) {
        self.fallback = None;
        self.metrics.serving_last_good(None);
        let (state, state_dir, serves) =
            (Arc::clone(&self.state), self.boot.state_dir.clone(), self.live.pin());
        let now = unix_seconds(SystemTime::now());
        let keep = move || {
            state.write(|| {
                start::keep(&state_dir, &sources, &serves, now)?;
                keep_in_history(&state_dir, number);
                Ok::<(), last_good::LastGoodError>(())
            })
        };
        self.unsaved = match quiet::run(keep).await {
            Some(Some(Err(error))) => Some(unsaved(&self.staging.readiness, &error)),
            _ => None,
        };
    }
}

/// Says that what serves is not kept for later starts, until the note is dropped.
pub fn unsaved(readiness: &Arc<Readiness>, error: &last_good::LastGoodError) -> NoteReady {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    let what = [error.to_string()].into_iter().chain(cause).collect::<Vec<_>>().join(": ");
    tracing::error!(code = %Code::NotSaved,
        error = what,
        "the configuration serves, but a restart would not find it if the files went bad"
    );
    readiness.note(Reason::Unwritten { what })
}

/// Keeps the last good configuration that was just saved as what line `number` of the trail has put in force.
pub fn keep_in_history(state_dir: &Path, number: Option<u64>) {
    let kept = number.map_or(Ok(()), |number| history::keep(state_dir, number));
    if let Err(error) = kept {
        tracing::error!(code = %Code::NotSaved, %error, "the configuration serves, but `cellgate rollback` will not find it");
    }
}

fn serving(snapshot: &Snapshot) -> Version {
    journal::version(snapshot.generation, &snapshot.hash)
}
