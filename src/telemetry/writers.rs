//! The metric handles of those that write files: what the access log and the books wrote and lost, and where the audit
//! trail ends.

use metrics::{Counter, Gauge};

use super::families;
use super::registry::Registry;

/// Handles of the access log: lines written, lost because the queue was full, lost on writing; requests that have none
/// because of their path, or by chance.
#[derive(Clone, Debug)]
pub struct AccessLogMeters {
    pub(super) lines: Counter,
    pub(super) excluded: Counter,
    pub(super) sampled_out: Counter,
    pub(super) queue_full: Counter,
    pub(super) unwritten: Counter,
}

/// Handles of the spans: what the collector has taken, what was lost on the way, and where it stands.
#[derive(Clone, Debug)]
pub struct SpanMeters {
    /// Spans that the collector has.
    pub exported: Counter,
    /// Spans that it did not take.
    pub failed: Counter,
    /// Requests whose spans found the queue full.
    pub queue_full: Counter,
    /// Failed requests beyond those that are kept each second.
    pub over_rate: Counter,
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

/// Handles of shipping the books to the database of a fleet.
#[derive(Clone, Debug)]
pub struct ShipmentMeters {
    /// Windows that it has taken.
    pub shipped: Counter,
    /// Windows that it will never get.
    pub given_up: Counter,
    /// Attempts that failed.
    pub failed: Counter,
    /// Windows that wait for it.
    pub waiting: Gauge,
    /// Unix time up to which it has them.
    pub last_shipment: Gauge,
}

/// What is shown of the audit trail.
#[derive(Clone, Debug)]
pub struct TrailMeters {
    /// Number of its last line.
    head: Gauge,
    /// When that was written.
    last_entry: Gauge,
}

impl AccessLogMeters {
    pub(super) fn new(registry: &Registry) -> Self {
        let dropped = |reason| registry.counter(&families::ACCESS_LOG_DROPPED, &[("reason", reason)]);
        let left_out = |reason| registry.counter(&families::ACCESS_LOG_LEFT_OUT, &[("reason", reason)]);
        Self {
            lines: registry.counter(&families::ACCESS_LOG_LINES, &[]),
            excluded: left_out("path"),
            sampled_out: left_out("sample"),
            queue_full: dropped("queue"),
            unwritten: dropped("write"),
        }
    }
}

impl SpanMeters {
    pub(super) fn new(registry: &Registry) -> Self {
        let dropped = |reason| registry.counter(&families::SPANS_DROPPED, &[("reason", reason)]);
        Self {
            exported: registry.counter(&families::SPANS_EXPORTED, &[]),
            failed: dropped("collector"),
            queue_full: dropped("queue"),
            over_rate: dropped("rate"),
        }
    }
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

impl ShipmentMeters {
    pub(super) fn new(registry: &Registry) -> Self {
        let windows = |result| registry.counter(&families::SHIPMENTS_WINDOWS, &[("result", result)]);
        Self {
            shipped: windows("shipped"),
            given_up: windows("given_up"),
            failed: registry.counter(&families::SHIPMENTS_FAILED, &[]),
            waiting: registry.gauge(&families::SHIPMENTS_WAITING, &[]),
            last_shipment: registry.gauge(&families::SHIPMENTS_LAST, &[]),
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
