//! What is counted of requests beside a candidate: by cell, on one side. Written by requests, in atomics that lock
//! nobody out; taken by whoever looks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::ids::CellIndex;
use super::super::protection::histogram::{BUCKETS, bucket, floor};

/// How a request ended, as far as it says something of its cell and of the generation that served it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The cell that it went to, or would have gone to.
    pub cell: Option<CellIndex>,
    /// How.
    pub ending: Ending,
    /// To the first byte of the answer, or to the moment at which the client had waited long enough. Of a failure it says
    /// nothing.
    pub latency: Option<Duration>,
}

/// How a request ended, as far as that says something of its cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its client has nothing to complain of.
    Served,
    /// The cell answered 4xx: by the account's own doing, or because it knows neither the account nor the host.
    Denied,
    /// Its client saw it fail because of the cell or of us.
    Failed,
    /// The same, and there was no connection to the cell: whoever had asked would have met that.
    Unreached,
    /// It was decided that no cell gets it.
    Refused,
}

impl Ending {
    /// Whether its client saw it fail because of the cell or of us.
    pub const fn is_failed(self) -> bool {
        match self {
            Self::Served | Self::Denied => false,
            Self::Failed | Self::Unreached | Self::Refused => true,
        }
    }
}

/// By [`CellIndex`].
#[derive(Debug)]
pub struct Counts(Box<[Cell]>);

#[derive(Debug)]
struct Cell {
    requests: AtomicU64,
    failed: AtomicU64,
    unreached: AtomicU64,
    refused: AtomicU64,
    denied: AtomicU64,
    served_accounts: AtomicU64,
    denied_accounts: AtomicU64,
    failing_accounts: AtomicU64,
    latencies: [AtomicU64; BUCKETS],
}

/// What was counted of one cell on one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellStats {
    /// All of them.
    pub requests: u64,
    /// Those whose clients saw them fail, because of the cell or of us.
    pub failed: u64,
    /// Those among the failed that found no connection to the cell.
    pub unreached: u64,
    /// Those among the failed that the candidate refuses, and that go to the cell without it.
    pub refused: u64,
    /// Those that the cell answered with 4xx.
    pub denied: u64,
    /// Accounts with a request that was served, with one that was denied, and with one that failed: a bit each, by hash, of
    /// 64.
    pub served_accounts: u64,
    /// See there.
    pub denied_accounts: u64,
    /// See there.
    pub failing_accounts: u64,
    /// Latencies, by bucket.
    latencies: [u64; BUCKETS],
}

impl Default for CellStats {
    fn default() -> Self {
        Self {
            requests: 0,
            failed: 0,
            unreached: 0,
            refused: 0,
            denied: 0,
            served_accounts: 0,
            denied_accounts: 0,
            failing_accounts: 0,
            latencies: [0; BUCKETS],
        }
    }
}

impl Counts {
    /// Nothing yet, of so many cells.
    pub fn new(cells: usize) -> Self {
        let cell = |_| Cell {
            requests: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            unreached: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            served_accounts: AtomicU64::new(0),
            denied_accounts: AtomicU64::new(0),
            failing_accounts: AtomicU64::new(0),
            latencies: [const { AtomicU64::new(0) }; BUCKETS],
        };
        Self((0..cells).map(cell).collect())
    }

    /// Counts a request of `cell`, by an account with this hash.
    pub fn count(&self, cell: CellIndex, account: u64, sample: &Sample) {
        let Some(cell) = self.0.get(usize::from(cell.0)) else { return };
        let add = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        add(&cell.requests);
        let accounts = match sample.ending {
            Ending::Served => &cell.served_accounts,
            Ending::Denied => &cell.denied_accounts,
            Ending::Failed | Ending::Unreached | Ending::Refused => &cell.failing_accounts,
        };
        accounts.fetch_or(bit(account), Ordering::Relaxed);
        if sample.ending.is_failed() {
            add(&cell.failed);
        }
        match sample.ending {
            Ending::Denied => add(&cell.denied),
            Ending::Unreached => add(&cell.unreached),
            Ending::Refused => add(&cell.refused),
            Ending::Served | Ending::Failed => 0,
        };
        if let Some(latency) = sample.latency {
            add(&cell.latencies[bucket(latency)]);
        }
    }

    /// Takes what was counted, by cell.
    pub fn take(&self) -> impl Iterator<Item = CellStats> {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        self.0.iter().map(move |cell| CellStats {
            requests: take(&cell.requests),
            failed: take(&cell.failed),
            unreached: take(&cell.unreached),
            refused: take(&cell.refused),
            denied: take(&cell.denied),
            served_accounts: take(&cell.served_accounts),
            denied_accounts: take(&cell.denied_accounts),
            failing_accounts: take(&cell.failing_accounts),
            latencies: cell.latencies.each_ref().map(take),
        })
    }
}

impl CellStats {
    /// Adds what was counted later.
    pub fn add(&mut self, later: &Self) {
        self.requests += later.requests;
        self.failed += later.failed;
        self.unreached += later.unreached;
        self.refused += later.refused;
        self.denied += later.denied;
        self.served_accounts |= later.served_accounts;
        self.denied_accounts |= later.denied_accounts;
        self.failing_accounts |= later.failing_accounts;
        for (all, more) in self.latencies.iter_mut().zip(&later.latencies) {
            *all += more;
        }
    }

    /// How many latencies there are.
    pub fn latencies(&self) -> u64 {
        self.latencies.iter().sum()
    }

    /// The bounds of the bucket with the latency of this rank, from 1; those of the last one beyond.
    pub fn latency_at(&self, rank: u64) -> (Duration, Duration) {
        let mut before = 0;
        let mut last = 0;
        for (at, count) in self.latencies.iter().enumerate().filter(|(_, count)| **count > 0) {
            last = at;
            before += count;
            if before >= rank {
                break;
            }
        }
        (floor(last), floor(last + 1))
    }
}

/// The upper six bits choose: the lower ones have chosen the share.
const fn bit(account: u64) -> u64 {
    // Spread anew, for the accounts of a share have all of their upper bits in one small range.
    1 << (super::hash_number(account) >> 58)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a cell whose requests had these latencies.
    fn stats(latencies: impl IntoIterator<Item = Duration>) -> CellStats {
        let counts = Counts::new(1);
        for latency in latencies {
            let latency = Some(latency);
            counts.count(CellIndex(0), 1, &Sample { cell: None, ending: Ending::Served, latency });
        }
        counts.take().next().unwrap_or_default()
    }

    #[test]
    fn a_latency_lies_between_the_bounds_of_its_bucket() {
        for micros in [256, 257, 319, 320, 1_000, 80_000, 1_500_000, 60_000_000, 268_000_000] {
            let latency = Duration::from_micros(micros);
            let (from, to) = stats([latency]).latency_at(1);
            assert!(from <= latency && latency < to, "{latency:?} in {from:?} to {to:?}");
            assert!(to.as_secs_f64() / from.as_secs_f64() < 1.26, "{from:?} to {to:?}");
        }
        assert_eq!((bucket(Duration::ZERO), bucket(Duration::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn ranks_are_found_in_order() {
        let stats = stats((1..=100).map(Duration::from_millis));
        assert_eq!(stats.latencies(), 100);
        let within = |rank, millis| {
            let (from, to) = stats.latency_at(rank);
            assert!((from..to).contains(&Duration::from_millis(millis)), "{rank}: {from:?} to {to:?}");
        };
        within(1, 1);
        within(50, 50);
        within(90, 90);
        within(1_000, 100);
    }
}
