//! What requests read of a ramp: a rate, and who goes first within it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::super::super::moment::Moment;
use super::super::cut::Cut;
use super::super::pace::{BURST, Pace};
use super::super::priority::Priority;
use super::super::shed::Shed;

/// One for each cell; outlives reloads.
#[derive(Debug)]
pub struct Envelope {
    pace: Pace,
    cut: AtomicU64,
    /// The part of the cell's concurrency that goes with the rate, as bits of a float.
    fraction: AtomicU64,
    /// Nothing goes but what finds out whether the cell is back.
    only_probes: AtomicBool,
    /// Requests that asked while there was a limit, by class.
    offered: [AtomicU64; 4],
    admitted: AtomicU64,
}

/// So many times the rate pass the choice by class. With once the rate, what happens to come unevenly would
/// leave it unused; what is too much is refused by the rate itself.
const CHOSEN: f64 = 2.0;

/// Requests that may come at once beyond the one that is due, where the rate has room for them: as many as come
/// together by chance at a small replica, half of them for the first class.
const BURST_REQUESTS: f64 = 5.0;

/// What a burst may be at most, as a part of a second's worth.
const LARGEST_BURST: f64 = 0.1;

/// What a second may have beyond the rate, as a part of it.
const OVER: f64 = 0.02;

/// What came since it was last asked.
pub(super) struct Came {
    pub offered: [u64; 4],
    pub admitted: u64,
}

impl Default for Envelope {
    fn default() -> Self {
        Self {
            pace: Pace::unlimited(),
            cut: AtomicU64::new(Cut::ALL.bits()),
            fraction: AtomicU64::new(1.0f64.to_bits()),
            only_probes: AtomicBool::new(false),
            offered: [const { AtomicU64::new(0) }; 4],
            admitted: AtomicU64::new(0),
        }
    }
}

impl Envelope {
    /// Whether a request may go to the cell. `ticket` is drawn for each request, so that all accounts of a
    /// class lose the same part. One load where the cell is not ramping.
    pub fn admits(&self, priority: Priority, ticket: u32, now: Moment) -> bool {
        if self.pace.is_unlimited() {
            return true;
        }
        self.offered[priority as usize].fetch_add(1, Ordering::Relaxed);
        let cut = Cut::from_bits(self.cut.load(Ordering::Relaxed));
        let admitted = cut.holds(priority, ticket) && self.pace.try_take(now, priority);
        if admitted {
            self.admitted.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// Requests a second that this replica lets through evenly; infinity where it does not limit.
    pub fn rate(&self) -> f64 {
        self.pace.rate()
    }

    /// The part of the cell's concurrency that may be used, from 0 to 1: what stands in a cell that does not
    /// answer is limited with the rate.
    pub fn fraction(&self) -> f64 {
        f64::from_bits(self.fraction.load(Ordering::Relaxed))
    }

    /// What a request is told that it does not admit. Where what it admits only finds out whether the cell is back, that
    /// is gone as far as anybody knows, and nobody must be told that it comes back.
    pub fn refusal(&self) -> Shed {
        if self.only_probes.load(Ordering::Relaxed) { Shed::CellDown } else { Shed::Recovering }
    }

    pub(super) fn take_counts(&self) -> Came {
        let took = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        Came {
            offered: std::array::from_fn(|class| took(&self.offered[class])),
            admitted: took(&self.admitted),
        }
    }

    pub(super) fn publish(
        &self,
        (rate, only_probes): (f64, bool),
        fraction: f64,
        offered: &[f64; 4],
        now: Moment,
    ) {
        self.only_probes.store(only_probes, Ordering::Relaxed);
        self.cut.store(Cut::of(offered, rate * CHOSEN).bits(), Ordering::Relaxed);
        self.fraction.store(fraction.clamp(0.0, 1.0).to_bits(), Ordering::Relaxed);
        let (rate, burst) = with_burst(rate);
        self.pace.set(rate, burst, now);
    }
}

/// A rate, and how much earlier than due a request may be, such that no second has more than this rate, 2 % and
/// one request. At a small rate 2 % is no request, and without any burst half of what comes by chance at just
/// that rate would be refused: so a burst is paid for with some of the rate.
fn with_burst(rate: f64) -> (f64, Duration) {
    if rate <= 0.0 || !rate.is_finite() {
        return (rate, BURST);
    }
    let part = (BURST_REQUESTS / rate).clamp(OVER, LARGEST_BURST);
    let even = 1.0 + OVER - part;
    (rate * even, Duration::from_secs_f64(part / even))
}
