//! The last ten seconds of an endpoint, in buckets of one, and what is left of them without the one account that fails
//! most. Sums only; [`trip`](super::trip) judges.

use super::super::super::moment::Moment;
use super::AttemptEnd;
use super::watch::{PLACES, Taken};

/// As Linkerd's breaker has: long enough for fifty requests of a quiet endpoint, short enough that one that was ill is
/// not held against it.
const SECONDS: usize = 10;

/// See the file.
#[derive(Debug)]
pub(super) struct Window([Second; SECONDS]);

#[derive(Clone, Copy, Debug)]
struct Second {
    /// Since the beginning of time.
    number: u64,
    attempts: u64,
    unconnected: u64,
    of_accounts: u64,
    failing: [u32; PLACES],
}

/// The sums of a [`Window`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Attempts, without failures that were set aside.
    pub(super) attempts: u64,
    /// Those of them that failed.
    pub(super) failed: u64,
    /// Failures that may be one account's own doing.
    pub(super) set_aside: u64,
    /// Accounts among the failures that an account may have caused, of 64 at most.
    pub(super) accounts: u32,
}

impl Second {
    const NONE: Self = Self { number: 0, attempts: 0, unconnected: 0, of_accounts: 0, failing: [0; PLACES] };
}

impl Window {
    pub(super) const fn new() -> Self {
        Self([Second::NONE; SECONDS])
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// Adds what came just before `now`.
    pub(super) fn add(&mut self, taken: &Taken, now: Moment) {
        let number = second(now);
        let at = usize::try_from(number % SECONDS as u64).unwrap_or(0);
        let bucket = &mut self.0[at];
        if bucket.number != number {
            *bucket = Second { number, ..Second::NONE };
        }
        bucket.attempts += u64::from(taken.attempts());
        bucket.unconnected += u64::from(taken.count(AttemptEnd::Unconnected));
        bucket.of_accounts += taken.failing.iter().copied().map(u64::from).sum::<u64>();
        for (all, more) in bucket.failing.iter_mut().zip(&taken.failing) {
            *all = all.saturating_add(*more);
        }
    }

    /// The sums as of `now`. Without three accounts, or however many the rules ask for, failures that an account may
    /// have caused are set aside; with them, those of the one that has most are, for its share may be all there is.
    pub(super) fn sums(&self, now: Moment, least_accounts: u32) -> Sums {
        let oldest = (second(now) + 1).saturating_sub(SECONDS as u64);
        let mut failing = [0u64; PLACES];
        let (mut attempts, mut unconnected, mut of_accounts) = (0, 0, 0);
        for bucket in self.0.iter().filter(|bucket| bucket.number >= oldest && bucket.attempts > 0) {
            attempts += bucket.attempts;
            unconnected += bucket.unconnected;
            of_accounts += bucket.of_accounts;
            if bucket.of_accounts == 0 {
                // Nearly always, of five hundred endpoints ten times a second.
                continue;
            }
            for (all, more) in failing.iter_mut().zip(&bucket.failing) {
                *all += u64::from(*more);
            }
        }
        let accounts = failing.iter().map(|count| u32::from(*count > 0)).sum();
        let set_aside = match accounts >= least_accounts {
            true => failing.into_iter().max().unwrap_or(0),
            false => of_accounts,
        };
        Sums {
            attempts: attempts.saturating_sub(set_aside),
            failed: unconnected + of_accounts - set_aside,
            set_aside,
            accounts,
        }
    }
}

fn second(moment: Moment) -> u64 {
    moment.since(Moment::START).as_secs()
}

#[cfg(test)]
mod tests {
    use super::super::super::super::ids::AccountId;
    use std::time::Duration;

    use super::super::Watch;
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::START + Duration::from_millis(millis)
    }

    /// So many of each end, for accounts from 1 on in turn.
    fn taken(ends: &[(AttemptEnd, u64)], accounts: u64) -> Taken {
        let watch = Watch::new();
        for (end, count) in ends {
            (0..*count).for_each(|number| {
                watch.record(watch.ticket(), *end, None, AccountId::from_value(1 + number % accounts))
            });
        }
        watch.take()
    }

    #[test]
    fn what_is_older_than_ten_seconds_is_gone() {
        let mut window = Window::new();
        let one = taken(&[(AttemptEnd::Unconnected, 1)], 1);
        for millis in (0..20_000).step_by(100) {
            window.add(&one, at(millis));
        }
        let failed = |millis| window.sums(at(millis), 3).failed;
        assert_eq!(failed(19_900), 100);
        assert_eq!(failed(20_000), 90, "the eleventh second begins");
        assert_eq!(failed(28_999), 10);
        assert_eq!(failed(29_000), 0);
        assert_eq!(failed(1_000_000), 0);
    }

    #[test]
    fn failures_of_few_accounts_and_of_the_worst_are_set_aside() {
        use AttemptEnd::{Answered, Broken, Gateway, Unconnected};
        let check = |parts: &[(&[(AttemptEnd, u64)], u64)], expect: (u64, u64, u64)| {
            let mut window = Window::new();
            parts.iter().for_each(|(ends, accounts)| window.add(&taken(ends, *accounts), at(0)));
            let sums = window.sums(at(0), 3);
            assert_eq!((sums.attempts, sums.failed, sums.set_aside), expect, "{parts:?}");
        };
        check(&[(&[(Answered, 10), (Broken, 30)], 1)], (10, 0, 30));
        check(&[(&[(Answered, 10), (Gateway, 30)], 2)], (10, 0, 30));
        check(&[(&[(Answered, 10), (Gateway, 30)], 3)], (30, 20, 10));
        // One account's thirty beside three others with one each.
        check(&[(&[(Answered, 67), (Broken, 30)], 1), (&[(Gateway, 3)], 3)], (69, 2, 31));
        // A connection that cannot be made is nobody's doing.
        check(&[(&[(Unconnected, 30), (Answered, 1)], 1)], (31, 30, 0));
        check(&[(&[(Unconnected, 5), (Broken, 5)], 1)], (5, 5, 5));
    }
}
