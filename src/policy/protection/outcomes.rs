//! What became of the requests of one cell: written by requests in atomics, taken by whoever looks.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::super::columns::hash_number;
use super::super::ids::AccountId;
use super::histogram::{Histogram, Latencies, take};
use super::standing::Outcome;

/// See the file.
#[derive(Debug, Default)]
pub struct Outcomes {
    served: AtomicU32,
    pushed_back: AtomicU32,
    failed: AtomicU32,
    /// A bit each, by hash, of 64.
    failing_accounts: AtomicU64,
    first_bytes: Histogram,
}

/// What came since the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Came {
    /// The cell answered, and not that it cannot.
    pub served: u32,
    /// It said that it has too much to do.
    pub pushed_back: u32,
    /// No answer, or one that says that the cell cannot.
    pub failed: u32,
    /// Accounts of the failed, a bit each, by hash, of 64.
    pub failing_accounts: u64,
    /// Of what was served.
    pub first_bytes: Latencies,
}

impl Outcomes {
    pub(super) fn count(&self, outcome: Outcome, account: Option<AccountId>, first_byte: Option<Duration>) {
        let counter = match outcome {
            Outcome::Served => &self.served,
            Outcome::PushedBack => &self.pushed_back,
            Outcome::Failed => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if outcome == Outcome::Failed {
            let place = account.map_or(0, |account| hash_number(account.value()) % 64);
            self.failing_accounts.fetch_or(1 << place, Ordering::Relaxed);
        }
        if let (Outcome::Served, Some(first_byte)) = (outcome, first_byte) {
            self.first_bytes.record(first_byte);
        }
    }

    pub(super) fn take(&self) -> Came {
        Came {
            served: take(&self.served),
            pushed_back: take(&self.pushed_back),
            failed: take(&self.failed),
            failing_accounts: self.failing_accounts.swap(0, Ordering::Relaxed),
            first_bytes: self.first_bytes.take(),
        }
    }
}

impl Came {
    /// Adds what came later.
    pub fn add(&mut self, later: &Self) {
        self.served += later.served;
        self.pushed_back += later.pushed_back;
        self.failed += later.failed;
        self.failing_accounts |= later.failing_accounts;
        self.first_bytes.add(&later.first_bytes);
    }
}
