//! The task that judges cells: ten times a second it has [`Judge`] look at what requests have counted, says in the log
//! what has changed, keeps a report for the admin pages, and writes down what a restart must not forget. It decides
//! nothing.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

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

/// How often it is written down while a cell comes back: a ramp's period, so that no step is lost.
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
    saved: Moment,
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
                    let _ = tokio::time::timeout(LAST_SAVE, judging.save()).await;
                    drop(holding);
                }
            }
            let late = planned.elapsed();
            planned = Instant::now() + LOOK_EVERY;
            judging.look(late).await;
        }
    }
}

impl Judging {
    async fn look(&mut self, late: Duration) {
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
        if now.since(self.saved) >= every {
            self.saved = now;
            self.save().await;
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

    async fn save(&self) {
        let saved = self.judge.saved(&self.given.live.pin(), self.given.clock.now(), now_secs());
        let (state_dir, state) = self.given.state.clone();
        let save = move || state.write_beside(|| standing_file::save(&state_dir, &saved));
        if let Ok(Some(Err(error))) = tokio::task::spawn_blocking(save).await {
            tracing::warn!(%error, "what was judged of cells not saved; a restart would judge anew");
        }
    }
}

fn now_secs() -> u64 {
    u64::try_from(unix_seconds(SystemTime::now())).unwrap_or(0)
}
