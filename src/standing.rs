//! The task that judges cells: ten times a second it has [`Judge`] look at what requests have counted, says in the log
//! what has changed, and keeps a report for the admin pages. It decides nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, MissedTickBehavior};

use crate::clock::Clock;
use crate::live::Live;
use crate::policy::protection::judge::{Judge, LOOK_EVERY, Look};
use crate::policy::protection::levers::board::LeverBoard;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::wall_time::unix_seconds;

/// How often a report is made.
const REPORT_EVERY: Duration = Duration::from_secs(1);

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
}

impl Standing {
    /// Judges as long as the process lives.
    pub async fn judge(self) {
        let mut judge = Judge::default();
        let mut turns = tokio::time::interval(LOOK_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut planned, mut reported) = (Instant::now(), None);
        loop {
            let turn = turns.tick().await;
            let late = Instant::now().saturating_duration_since(planned.max(turn));
            planned = Instant::now() + LOOK_EVERY;
            let (snapshot, levers) = (self.live.pin(), self.levers.read());
            let now = self.clock.now();
            let now_secs = u64::try_from(unix_seconds(SystemTime::now())).unwrap_or(0);
            let look = Look { snapshot: &snapshot, levers: levers.as_deref(), late, now, now_secs };
            for change in judge.look(&look, &mut fastrand::f64) {
                self.metrics.standing.changed(&change);
                if change.is_bad() {
                    tracing::warn!("{change}");
                } else {
                    tracing::info!("{change}");
                }
            }
            if reported.is_none_or(|at| now.since(at) >= REPORT_EVERY) {
                reported = Some(now);
                self.metrics.standing.report(judge.report(&snapshot, now));
            }
        }
    }
}
