//! What requests write of an endpoint, and what is taken of it ten times a second. Relaxed atomics: no lock, no
//! clock, no order between counters. A request that is counted half in one look and half in the next changes no
//! judgement.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::super::super::columns::hash_number;
use super::super::super::ids::AccountId;
use super::super::histogram::{Histogram, Latencies, take};
use super::AttemptEnd;
use super::gate::{Gate, Ticket};

/// Places for failing accounts, by hash: three of three are in places of their own 95 times of 100.
pub(super) const PLACES: usize = 64;

/// One endpoint, as requests see it. Shared by all that ask it, and kept over reloads while its address is the same.
#[derive(Debug, Default)]
pub struct Watch {
    ends: [AtomicU32; AttemptEnd::ALL.len()],
    /// Failures that a request may have caused, by account.
    failing: Places,
    /// Without an answer since the last answer, of whatever status.
    pub(super) local_run: AtomicU32,
    /// Without a connection since the last connection.
    unconnected_run: AtomicU32,
    /// Answers of a gateway since the last other answer.
    pub(super) gateway_run: AtomicU32,
    /// Whose failures both runs are made of, a bit a place.
    run_accounts: AtomicU64,
    first_bytes: Histogram,
    pub(super) gate: Gate,
}

#[derive(Debug)]
struct Places([AtomicU32; PLACES]);

/// What came since the last time, and the runs as they are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    ends: [u32; AttemptEnd::ALL.len()],
    pub(super) failing: [u32; PLACES],
    pub(super) local_run: u32,
    pub(super) unconnected_run: u32,
    pub(super) gateway_run: u32,
    pub(super) run_accounts: u32,
    /// To the first byte of answers below 500.
    pub first_bytes: Latencies,
}

impl Watch {
    /// Nothing yet, and open to all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts an attempt that has ended, if the endpoint was neither taken out nor let back since it began.
    /// `first_byte` is how long its answer took to begin; `account` is whose it was, where that is known, and all
    /// others are one. Five atomic operations for an answer, three of them only read; six for a failure.
    pub fn record(
        &self,
        ticket: Ticket,
        end: AttemptEnd,
        first_byte: Option<Duration>,
        account: Option<AccountId>,
    ) {
        if ticket != self.ticket() {
            return;
        }
        add(&self.ends[end as usize]);
        match end {
            AttemptEnd::Answered | AttemptEnd::AppError | AttemptEnd::Pushback => self.end_runs(),
            AttemptEnd::Gateway => {
                self.end_local_run();
                add(&self.gateway_run);
                self.blame(account);
            }
            AttemptEnd::Unconnected => {
                add(&self.unconnected_run);
                add(&self.local_run);
            }
            AttemptEnd::Broken => {
                self.unconnected_run.store(0, Ordering::Relaxed);
                add(&self.local_run);
                self.blame(account);
            }
        }
        // How fast a failure comes says nothing of how long an answer takes.
        if let (AttemptEnd::Answered, Some(first_byte)) = (end, first_byte) {
            self.first_bytes.record(first_byte);
        }
    }

    /// What came since the last time.
    pub fn take(&self) -> Taken {
        let now = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        let ends = self.ends.each_ref().map(take);
        let blamed = [AttemptEnd::Gateway, AttemptEnd::Broken].iter().any(|end| ends[*end as usize] > 0);
        Taken {
            ends,
            // Nearly always there is nothing to be looked for.
            failing: if blamed { self.failing.0.each_ref().map(take) } else { [0; PLACES] },
            local_run: now(&self.local_run),
            unconnected_run: now(&self.unconnected_run),
            gateway_run: now(&self.gateway_run),
            run_accounts: self.run_accounts.load(Ordering::Relaxed).count_ones(),
            first_bytes: self.first_bytes.take(),
        }
    }

    /// Runs end: with an answer, and when the endpoint is let back.
    pub(super) fn end_runs(&self) {
        let local = self.end_local_run();
        if end_run(&self.gateway_run) || local {
            self.run_accounts.store(0, Ordering::Relaxed);
        }
    }

    fn end_local_run(&self) -> bool {
        let ended = end_run(&self.local_run);
        if ended {
            self.unconnected_run.store(0, Ordering::Relaxed);
        }
        ended
    }

    fn blame(&self, account: Option<AccountId>) {
        let place = place(account);
        add(&self.failing.0[place]);
        self.run_accounts.fetch_or(1 << place, Ordering::Relaxed);
    }
}

impl Default for Places {
    fn default() -> Self {
        Self([const { AtomicU32::new(0) }; PLACES])
    }
}

impl Taken {
    /// How many attempts ended so.
    pub const fn count(&self, end: AttemptEnd) -> u32 {
        self.ends[end as usize]
    }

    /// All attempts.
    pub fn attempts(&self) -> u32 {
        self.ends.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

fn add(counter: &AtomicU32) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Whether there was one. A run is nothing nearly always, and what is not written stays in the caches of all cores.
fn end_run(run: &AtomicU32) -> bool {
    let ended = run.load(Ordering::Relaxed) > 0;
    if ended {
        run.store(0, Ordering::Relaxed);
    }
    ended
}

fn place(account: Option<AccountId>) -> usize {
    let hash = hash_number(account.map_or(0, AccountId::value));
    usize::try_from(hash % PLACES as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::gate::Published;
    use super::*;
    use AttemptEnd::{Answered, AppError, Broken, Gateway, Pushback, Unconnected};

    #[test]
    fn runs_end_with_what_shows_that_they_are_over() {
        let check = |ends: &[AttemptEnd], expect: (u32, u32, u32, u32)| {
            let watch = Watch::new();
            for (number, end) in ends.iter().enumerate() {
                // Three accounts, which are in three places.
                watch.record(watch.ticket(), *end, None, AccountId::from_value(1 + number as u64 % 3));
            }
            let taken = watch.take();
            assert_eq!(taken.attempts(), u32::try_from(ends.len()).expect("a short list"));
            let runs = (taken.local_run, taken.unconnected_run, taken.gateway_run, taken.run_accounts);
            assert_eq!(runs, expect, "{ends:?}");
            assert_eq!(watch.take().attempts(), 0, "what was taken is gone");
            assert_eq!(watch.take().local_run, expect.0, "and a run goes on");
        };
        check(&[Broken, Unconnected, Unconnected], (3, 2, 0, 1));
        check(&[Unconnected, Unconnected, Broken], (3, 0, 0, 1));
        check(&[Unconnected, Gateway, Unconnected], (1, 1, 1, 1));
        check(&[Gateway, Broken, Gateway], (0, 0, 2, 3));
        check(&[Broken, Broken, Broken, Gateway], (0, 0, 1, 3));
        for answer in [Answered, AppError, Pushback] {
            check(&[Gateway, Broken, Unconnected, answer], (0, 0, 0, 0));
            check(&[answer, Gateway, Broken, answer, Unconnected], (1, 1, 0, 0));
        }
    }

    #[test]
    fn what_began_before_a_change_says_nothing_after_it() {
        let watch = Watch::new();
        let before = watch.ticket();
        watch.gate.change(Published::Closed);
        watch.gate.change(Published::Open);
        watch.record(before, Broken, None, None);
        assert_eq!((watch.take().attempts(), watch.take().local_run), (0, 0));
        watch.record(watch.ticket(), Broken, None, None);
        assert_eq!((watch.take().attempts(), watch.take().local_run), (1, 1));
    }

    #[test]
    fn only_answers_have_a_latency_and_only_what_a_request_can_cause_has_an_account() {
        for end in AttemptEnd::ALL {
            let watch = Watch::new();
            watch.record(watch.ticket(), end, Some(Duration::from_millis(3)), None);
            let taken = watch.take();
            assert_eq!(taken.count(end), 1);
            assert_eq!(taken.first_bytes.count(), u64::from(end == Answered), "{end:?}");
            let blamed: u32 = taken.failing.iter().sum();
            assert_eq!(blamed, u32::from(matches!(end, Gateway | Broken)), "{end:?}");
        }
    }
}
