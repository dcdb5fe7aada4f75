//! What is assumed of cells and of their clients where the configuration says nothing.

use std::time::Duration;

use super::model::ModelRules;

/// What is assumed. Each of these is a guess about somebody's system, so all are printed with a report.
#[derive(Clone, Debug, PartialEq)]
pub struct DrillRules {
    /// Half of the requests of a warm group that has little to do are answered within this time.
    pub service_median: Duration,
    /// What is left of a group's speed after a restart, of 1, and for how long.
    pub cold: (f64, Duration),
    /// What a group bears, in parts of its `capacity_rps`.
    pub bears: f64,
    /// Seconds of work that wait in a group before it thrashes.
    pub collapse_secs: f64,
    /// What is left of its speed then, of 1.
    pub collapsed_factor: f64,
    /// Seconds of work that wait in a group before it refuses more.
    pub queue_secs: f64,
    /// How long a client waits for an answer.
    pub patience: Duration,
    /// The part of the clients that comes again when `Retry-After` says so, and not when it likes.
    pub honours: f64,
}

/// A page of a web application; the mean of what `loadtest` measures at its example cells.
const SERVICE_MEDIAN: Duration = Duration::from_millis(50);

/// A third of its speed for a minute: what empty caches and pools cost (the figures of the ramp's acceptance test).
const COLD: (f64, Duration) = (0.3, Duration::from_secs(60));

/// A tenth more than declared: a group at exactly what it bears has a queue without end, so whoever measures what to
/// declare stays below that.
const BEARS: f64 = 1.1;

/// Half a second of work in a queue: the point at which threads and memory of common servers are used up.
const COLLAPSE_SECS: f64 = 0.5;

/// A group that thrashes does two fifths of its work (as in the overload tests).
const COLLAPSED_FACTOR: f64 = 0.4;

/// Listen queues and worker queues of common servers hold some seconds.
const QUEUE_SECS: f64 = 2.0;

/// What SDKs have as their default, of those that have one; browsers wait longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Programs that were written with care; the others have a loop.
const HONOURS: f64 = 0.5;

/// Even a small group has a queue of its own before it thrashes: else chance alone would bring it down.
const LEAST_COLLAPSE_QUEUE: f64 = 30.0;

/// Sigma of service times: one in twenty takes more than 2.3 times the median.
const SPREAD: f64 = 0.5;

impl Default for DrillRules {
    fn default() -> Self {
        Self {
            service_median: SERVICE_MEDIAN,
            cold: COLD,
            bears: BEARS,
            collapse_secs: COLLAPSE_SECS,
            collapsed_factor: COLLAPSED_FACTOR,
            queue_secs: QUEUE_SECS,
            patience: PATIENCE,
            honours: HONOURS,
        }
    }
}

impl DrillRules {
    /// A group that is declared to bear so many requests a second.
    pub(super) fn model(&self, declared: f64) -> ModelRules {
        let bears = declared * self.bears;
        let collapse = (bears * self.collapse_secs).max(LEAST_COLLAPSE_QUEUE);
        let queue = (bears * self.queue_secs).max(collapse * 2.0);
        ModelRules {
            capacity_rps: bears,
            service_median: self.service_median,
            service_spread: SPREAD,
            // Truncates to whole requests.
            queue_limit: queue as usize,
            collapse_queue: collapse as usize,
            collapsed_factor: self.collapsed_factor,
            cold: Some(self.cold),
            // Who leaves is known to us; the group does the work nevertheless.
            client_timeout: None,
        }
    }
}
