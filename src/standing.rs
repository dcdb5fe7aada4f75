//! The task that judges cells: ten times a second it has [`Judge`] look at what requests have counted, says in the log
//! what has changed, keeps a report for the admin pages, and writes down what a restart must not forget. It decides
//! nothing.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::clock::Clock;
use crate::config::time::show_moment;
use crate::live::Live;
use crate::policy::code::Code;
use crate::policy::moment::Moment;
use crate::policy::protection::judge::{Judge, LOOK_EVERY, Look, Report};
use crate::policy::protection::levers::board::LeverBoard;
use crate::policy::protection::observing::Alarm;
use crate::readiness::{NoteReady, Readiness, Reason};
use crate::standing_file;
use crate::state_file::Ownership;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::wall_time::unix_seconds;

/// How often a report is made.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// How often it is written down while a cell comes back or an endpoint is out: a ramp's period, so that no step is lost. A
/// process that is upgraded saves nothing any more once its successor reads: what is younger than this is judged anew.
const SAVE_WHILE_BUSY: Duration = Duration::from_secs(5);

/// How often at other times: a third of what a ramp goes on with.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// A folder that does not take it holds nobody's stop up.
const LAST_SAVE: Duration = Duration::from_secs(2);

/// Cells that a note on readiness names; the others are on `/cells`.
const NOTED: usize = 8;

/// What the task looks at and writes to.
pub struct Standing {
    /// What serves.
    pub live: Arc<Live>,
    /// What operators have pulled.
    pub levers: Arc<LeverBoard>,
    /// The clock by which requests are counted.
    pub clock: Clock,
    /// Where changes are counted, and reports kept.
    pub metrics: Arc<Metrics>,
    /// Where it is noted that something only watches.
    pub readiness: Arc<Readiness>,
    /// The state folder, and whether it is ours to write.
    pub state: (PathBuf, Arc<Ownership>),
}

/// The task between two looks.
struct Judging {
    given: Standing,
    judge: Judge,
    reported: Option<Moment>,
    /// When a save was begun last.
    saved: Moment,
    /// The save that was begun last. A folder may hang, and nobody waits for it but the end of the process.
    saving: Option<JoinHandle<()>>,
    note: Option<(String, NoteReady)>,
}

impl Standing {
    /// Judges as long as the process lives, from where the one before was. `stopping` comes when the process is to end; what
    /// it gives is kept until it is written down how far that is.
    pub async fn judge<T>(self, stopping: impl Future<Output = T>) {
        let (saved, told) = standing_file::load(&self.state.0);
        if let Some(error) = told {
            tracing::warn!(error, "what was judged of cells cannot be read; it is judged anew");
        }
        let saved_at = self.clock.now();
        let mut judging = Judging {
            given: self,
            judge: Judge::restored(saved),
            reported: None,
            saved: saved_at,
            saving: None,
            note: None,
        };
        let mut turns = tokio::time::interval(LOOK_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut planned = Instant::now();
        let (mut stopping, mut stops) = (pin!(stopping), false);
        loop {
            tokio::select! {
                _ = turns.tick() => {}
                holding = &mut stopping, if !stops => {
                    stops = true;
                    let _ = tokio::time::timeout(LAST_SAVE, judging.save_last()).await;
                    drop(holding);
                }
            }
            let late = planned.elapsed();
            planned = Instant::now() + LOOK_EVERY;
            judging.look(late);
        }
    }
}

impl Judging {
    fn look(&mut self, late: Duration) {
        let (snapshot, levers) = (self.given.live.pin(), self.given.levers.read());
        let now = self.given.clock.now();
        let look = Look { snapshot: &snapshot, levers: levers.as_deref(), late, now, now_secs: now_secs() };
        for change in self.judge.look(&look, &mut fastrand::f64) {
            self.given.metrics.standing.changed(&change);
            if change.is_bad() {
                tracing::warn!("{change}");
            } else {
                tracing::info!("{change}");
            }
        }
        if self.reported.is_none_or(|at| now.since(at) >= REPORT_EVERY) {
            self.reported = Some(now);
            let report = self.judge.report(&snapshot, now);
            self.alarm(&report);
            self.given.metrics.standing.report(report);
        }
        let every = if self.judge.is_busy() { SAVE_WHILE_BUSY } else { SAVE_EVERY };
        let is_saving = self.saving.as_ref().is_some_and(|saving| !saving.is_finished());
        if now.since(self.saved) >= every && !is_saving {
            self.saved = now;
            self.save();
        }
    }

    /// Notes which cells are only watched although they should not be.
    fn alarm(&mut self, report: &Report) {
        let cells = report.cells.iter().filter_map(|cell| Some((cell.cell.as_str(), cell.alarm?)));
        let lines: Vec<String> = report
            .alarm
            .map(|alarm| ("verdicts", alarm))
            .into_iter()
            .chain(cells)
            .map(|(cell, alarm)| match alarm {
                Alarm::Overdue(until) => format!("{cell}, which was meant until {}", show_moment(until)),
                Alarm::WouldAct(_) => format!("{cell}, where it would have acted for more than a minute"),
            })
            .collect();
        let told = lines.iter().take(NOTED).cloned().collect::<Vec<_>>().join("; ");
        if lines.is_empty() {
            self.note = None;
        } else if self.note.as_ref().is_none_or(|(before, _)| *before != told) {
            tracing::warn!(code = %Code::ObservingOnly, "protections that only watch: {told}");
            let note = self.given.readiness.note(Reason::Observing { told: told.clone() });
            self.note = Some((told, note));
        }
    }

    /// Begins to write it down.
    fn save(&mut self) {
        let saved = self.judge.saved(&self.given.live.pin(), self.given.clock.now(), now_secs());
        let (state_dir, state) = self.given.state.clone();
        self.saving = Some(tokio::task::spawn_blocking(move || {
            if let Some(Err(error)) = state.write_beside(|| standing_file::save(&state_dir, &saved)) {
                tracing::warn!(%error, "what was judged of cells not saved; a restart would judge anew");
            }
        }));
    }

    /// Writes down how it stands now, behind the save that is under way.
    async fn save_last(&mut self) {
        self.saving_ended().await;
        self.save();
        self.saving_ended().await;
    }

    async fn saving_ended(&mut self) {
        if let Some(saving) = &mut self.saving {
            // The panic hook has said it where it has panicked.
            let _ = saving.await;
            self.saving = None;
        }
    }
}

fn now_secs() -> u64 {
    u64::try_from(unix_seconds(SystemTime::now())).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::telemetry::fixture::snapshot;

    /// Lets so many looks come and go.
    async fn let_pass(looks: u32) {
        for _ in 0..looks {
            tokio::time::advance(LOOK_EVERY).await;
            // The task that judges has its turn.
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_state_folder_that_hangs_keeps_no_cell_from_being_looked_at_and_no_process_from_ending() {
        let folder = tempfile::tempdir().unwrap();
        let looks = |of: Duration| u32::try_from(of.as_millis() / LOOK_EVERY.as_millis()).unwrap() + 1;
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().max_blocking_threads(1).start_paused(true).build().unwrap();
        runtime.block_on(async {
            // Takes the only thread that may wait for a disk, for as long as `hangs` lives.
            let (hangs, hung) = std::sync::mpsc::sync_channel::<()>(1);
            tokio::task::spawn_blocking(move || hung.recv());
            let (stop, stopping) = oneshot::channel();
            let metrics = Arc::new(Metrics::new());
            let standing = Standing {
                live: Arc::new(Live::new(snapshot(1))),
                levers: Arc::default(),
                clock: Clock::begin(),
                metrics: Arc::clone(&metrics),
                readiness: Arc::default(),
                state: (folder.path().into(), Arc::default()),
            };
            tokio::spawn(standing.judge(stopping));
            // A save is due meanwhile, and the next one.
            for _ in 0..2 {
                let before = metrics.standing.last();
                let_pass(looks(SAVE_EVERY)).await;
                assert!(!Arc::ptr_eq(&before, &metrics.standing.last()), "a report is made each second");
            }
            let before = metrics.standing.last();
            let_pass(looks(REPORT_EVERY)).await;
            assert!(!Arc::ptr_eq(&before, &metrics.standing.last()), "also behind the saves");
            let held = Arc::new(());
            stop.send(Arc::clone(&held)).unwrap();
            let_pass(looks(LAST_SAVE)).await;
            assert_eq!(Arc::strong_count(&held), 1, "the end waits no longer than it may");
            drop(hangs);
        });
    }
}
