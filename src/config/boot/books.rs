//! `books` of `boot.yaml`: how much a killed process may lose, and how long what is counted may wait for its files.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::default;
use crate::config::raw;
use crate::config::slot::At;

/// How the books are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Books {
    /// How long a window is: what a killed process loses at most.
    pub window: Duration,
    /// Size of the spool.
    pub spool_bytes: u64,
}

/// Below a second each write is nothing but overhead; beyond five minutes a report is behind what people look at.
const WINDOWS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);

/// From a full window on the least of eight segments, to what a replica of a very busy fleet fills in a day.
const SPOOLS: RangeInclusive<u64> = 4 * 1024 * 1024..=16 * 1024 * 1024 * 1024;

pub(super) fn read(raw: raw::Books, at: &At<'_>) -> Books {
    let mut raw = at.open(raw);
    Books {
        window: raw.window(at).duration(WINDOWS).or(default::BOOKS_WINDOW),
        spool_bytes: raw.spool_bytes(at).number(SPOOLS).or(default::SPOOL_BYTES),
    }
}

pub(super) fn note_changes(before: Books, after: Books, note: &mut impl FnMut(bool, &str)) {
    note(before.window != after.window, "books.window");
    note(before.spool_bytes != after.spool_bytes, "books.spool_bytes");
}
