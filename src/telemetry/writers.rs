//! The metric handles of the two writers, the access log and the books: what they wrote and what they lost.

use metrics::{Counter, Gauge};

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
    /// Legacy requests that found the queue full: missing in the books.
    pub queue_full: Counter,
    /// Legacy requests counted without detail because a window had too many different keys.
    pub overflow: Counter,
    /// Legacy requests of windows that could not be written before the process ended.
    pub lost: Counter,
    /// Windows written.
    pub flushed: Counter,
    /// Attempts that failed; the window is kept and tried again.
    pub failed: Counter,
    /// Unix time of the last window written.
    pub last_flush: Gauge,
}
