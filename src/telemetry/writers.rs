//! The metric handles of those that write files: what the access log and the books wrote and lost, and where the audit
//! trail ends.

use metrics::{Counter, Gauge};

use super::families;
use super::registry::Registry;

/// Handles of the access log: lines written, lost because the queue was full, lost on writing.
#[derive(Clone, Debug)]
pub struct AccessLogMeters {
    pub(super) lines: Counter,
    pub(super) queue_full: Counter,
    pub(super) unwritten: Counter,
}

/// Handles of the books.
#[derive(Clone, Debug)]
pub struct BooksMeters {
    /// Legacy requests counted for their account and not told apart further: too many different ones.
    pub without_detail: Counter,
    /// Requests on cell hosts of accounts that a window had no place for: missing in the weights of guards.
    pub cell_hosts: Counter,
    /// Legacy requests that came after the books were closed, or could be written nowhere before the process ended.
    pub lost: Counter,
    /// Windows written.
    pub flushed: Counter,
    /// Attempts that failed; the window is kept and tried again.
    pub failed: Counter,
    /// Unix time of the last window written.
    pub last_flush: Gauge,
    /// Windows that wait to be written.
    pub waiting: Gauge,
}

/// What is shown of the audit trail.
#[derive(Clone, Debug)]
pub struct TrailMeters {
    /// Number of its last line.
    head: Gauge,
    /// When that was written.
    last_entry: Gauge,
}

impl BooksMeters {
    pub(super) fn new(registry: &Registry) -> Self {
        let dropped = |reason| registry.counter(&families::BOOKS_DROPPED, &[("reason", reason)]);
        let flushes = |result| registry.counter(&families::BOOKS_FLUSHES, &[("result", result)]);
        Self {
            without_detail: dropped("detail"),
            cell_hosts: dropped("cell_hosts"),
            lost: dropped("lost"),
            flushed: flushes("ok"),
            failed: flushes("failed"),
            last_flush: registry.gauge(&families::BOOKS_LAST_FLUSH, &[]),
            waiting: registry.gauge(&families::BOOKS_WAITING, &[]),
        }
    }
}

impl TrailMeters {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            head: registry.gauge(&families::TRAIL_HEAD, &[]),
            last_entry: registry.gauge(&families::TRAIL_LAST_ENTRY, &[]),
        }
    }

    /// It ends with line `seq`, written at `at` (Unix seconds); both 0 where there is none.
    pub fn ends(&self, seq: u64, at: i64) {
        self.head.set(seq as f64);
        self.last_entry.set(at as f64);
    }
}
