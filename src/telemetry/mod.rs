//! What is seen of requests: one event at the end of each; metrics, access log and books are derived
//! from it. Never blocks a request, never fails one; what it cannot keep is counted.

mod access_fields;
mod access_line;
pub mod access_log;
pub mod admin_meters;
pub mod brownout_meters;
pub mod candidate_meters;
mod durations;
mod ending;
pub mod event;
pub mod families;
#[cfg(test)]
pub(crate) mod fixture;
pub mod guard_meters;
mod json_line;
pub mod labels;
pub(crate) mod lane;
mod meters;
pub mod metrics;
pub mod move_meters;
pub mod pulse;
mod refusals;
mod registry;
pub mod standing_meters;
pub mod wall_time;
mod writers;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::policy::moment::Moment;
use crate::policy::trace_context::TraceRules;
use event::RequestEvent;
use metrics::Metrics;

/// Whoever keeps events: the access log, the books.
pub trait EventSink: Send + Sync {
    /// Takes a share of the event, or drops and counts it. Never blocks, never fails.
    fn offer(&self, event: &RequestEvent);

    /// Opens files anew, after somebody has moved them aside. Returns at once.
    fn reopen(&self) {}

    /// Takes nothing more and writes what is there; false when that took longer than `within`.
    fn close(&self, within: Duration) -> bool;
}

/// What the pulse counts in.
const A_SECOND: Duration = Duration::from_secs(1);

/// Everything that is seen. Shared by all threads.
pub struct Telemetry {
    /// The counters, also those of connections, reloads and handshakes.
    pub metrics: Arc<Metrics>,
    sinks: Vec<Box<dyn EventSink>>,
    trace_rules: Option<TraceRules>,
}

impl Telemetry {
    /// Counts in `metrics` and offers every event to `sinks`. Starts the thread that ends the seconds of the pulse; it does
    /// nothing else, so that no slow disk can hold it up, and ends with the metrics.
    ///
    /// # Errors
    /// The operating system has no thread left.
    pub fn start(metrics: Arc<Metrics>, sinks: Vec<Box<dyn EventSink>>) -> io::Result<Self> {
        let watched = Arc::downgrade(&metrics);
        std::thread::Builder::new().name("metrics-upkeep".into()).spawn(move || {
            let began = Instant::now();
            while let Some(metrics) = watched.upgrade() {
                metrics.pulse.tick(Moment::at(began.elapsed()));
                drop(metrics);
                std::thread::sleep(A_SECOND);
            }
        })?;
        Ok(Self { metrics, sinks, trace_rules: None })
    }

    /// Has every request belong to a trace. One of the sinks takes them.
    #[must_use]
    pub fn traced(mut self, rules: Option<TraceRules>) -> Self {
        self.trace_rules = rules;
        self
    }

    /// How requests are traced, where they are.
    pub fn trace_rules(&self) -> Option<&TraceRules> {
        self.trace_rules.as_ref()
    }

    /// The end of a request. The one place where metrics, access log and books learn of it; costs
    /// some atomic additions and a place on this thread's sheets of the log and the books, and cannot fail.
    pub fn record(&self, mut event: RequestEvent) {
        self.metrics.request(&event);
        event.cut_to_size();
        for sink in &self.sinks {
            sink.offer(&event);
        }
    }

    /// Opens log files anew, after somebody has moved them aside (SIGHUP). Returns at once.
    pub fn reopen(&self) {
        for sink in &self.sinks {
            sink.reopen();
        }
    }

    /// Writes everything that is still on its way; false when that took longer than `within`, which
    /// is for all sinks together. Events that come later are dropped and counted.
    pub fn close(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut all = true;
        for sink in &self.sinks {
            all &= sink.close(deadline.saturating_duration_since(Instant::now()));
        }
        all
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").field("sinks", &self.sinks.len()).finish_non_exhaustive()
    }
}
