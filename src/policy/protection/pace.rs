//! A rate that many threads ask at once: the generic cell rate algorithm (ITU-T I.371, annex A) in one atomic word.
//! Not a queue: who is refused is refused.
//!
//! What is kept is when the next request would be due if all came evenly. Who comes earlier than that by no
//! more than the burst goes through; each moves the due time on by one interval. Nothing is filled up by a
//! timer, and a process that was suspended for an hour finds one burst, not an hour's worth.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::moment::Moment;
use super::priority::Priority;

/// How much earlier than due a request may be: 2 % of a second, so that no second has more than 1.02 times the
/// rate and one request.
pub const BURST: Duration = Duration::from_millis(20);

/// One of so many parts of a burst is left to [`Priority::Critical`]: a third, so that there is a request or
/// two in it even where bursts are small. Nobody's rate is less for it, only the burst of the others.
const CRITICAL_PART: u64 = 3;

/// The interval of a rate that lets everybody through.
const UNLIMITED: u64 = 0;

/// The interval of a rate that lets nobody through.
const CLOSED: u64 = u64::MAX;

/// Nanoseconds of a second.
const SECOND: f64 = 1e9;

/// A rate that can be changed while it is asked. In any second it lets through at most the rate, and a burst or one
/// request more.
#[derive(Debug)]
pub struct Pace {
    /// When the next request would be due, in nanoseconds of [`Moment`].
    due: AtomicU64,
    /// Between two requests, in nanoseconds.
    interval: AtomicU64,
    /// How much earlier than due a request may be, in nanoseconds.
    burst: AtomicU64,
}

impl Pace {
    /// Lets everybody through, at the price of one load.
    pub const fn unlimited() -> Self {
        Self::with_interval(UNLIMITED)
    }

    /// Lets nobody through.
    pub const fn closed() -> Self {
        Self::with_interval(CLOSED)
    }

    const fn with_interval(interval: u64) -> Self {
        Self {
            due: AtomicU64::new(0),
            interval: AtomicU64::new(interval),
            burst: AtomicU64::new(BURST.as_nanos() as u64),
        }
    }

    /// From now on so many requests a second, and so much earlier than due: no window has more than the rate
    /// times its length and `burst`, and one request. Infinity is unlimited; 0, and what is no number, lets
    /// nobody through. For one caller at a time.
    pub fn set(&self, rate: f64, burst: Duration, now: Moment) {
        let interval = interval_of(rate);
        let burst = Moment::at(burst).nanos();
        let before = self.interval.swap(interval, Ordering::Relaxed);
        self.burst.store(burst, Ordering::Relaxed);
        if interval != UNLIMITED && interval < before {
            // A request that was let through at one an hour is no hour's wait at a hundred a second.
            let latest = now.nanos().saturating_add(burst.saturating_add(interval));
            self.due.fetch_min(latest, Ordering::Relaxed);
        }
    }

    /// Whether everybody goes through.
    pub fn is_unlimited(&self) -> bool {
        self.interval.load(Ordering::Relaxed) == UNLIMITED
    }

    /// Whether nobody does.
    pub fn is_closed(&self) -> bool {
        self.interval.load(Ordering::Relaxed) == CLOSED
    }

    /// Requests a second.
    pub fn rate(&self) -> f64 {
        match self.interval.load(Ordering::Relaxed) {
            UNLIMITED => f64::INFINITY,
            CLOSED => 0.0,
            interval => SECOND / interval as f64,
        }
    }

    /// Whether a request may go now; it is counted if so.
    pub fn try_take(&self, now: Moment, priority: Priority) -> bool {
        let interval = self.interval.load(Ordering::Relaxed);
        if interval == UNLIMITED || interval == CLOSED {
            return interval == UNLIMITED;
        }
        let early = self.burst.load(Ordering::Relaxed);
        let early = match priority {
            Priority::Critical => early,
            _ => early - early / CRITICAL_PART,
        };
        let next = |due: u64| {
            let from = due.max(now.nanos());
            (from - now.nanos() <= early).then(|| from.saturating_add(interval))
        };
        self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    /// Counts a request that goes anyhow, so that those who ask find less. More than a burst is not remembered:
    /// who has no part in the excess does not wait for it to be worked off.
    pub fn charge(&self, now: Moment) {
        let interval = self.interval.load(Ordering::Relaxed);
        if interval == UNLIMITED || interval == CLOSED {
            return;
        }
        let latest = now.nanos().saturating_add(self.burst.load(Ordering::Relaxed).saturating_add(interval));
        let next = |due: u64| {
            let moved = due.max(now.nanos()).saturating_add(interval).min(latest);
            (moved > due).then_some(moved)
        };
        // Refused where nothing is left to be taken away.
        let _ = self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

/// Rounded up: rather a request less than one more.
fn interval_of(rate: f64) -> u64 {
    if rate == f64::INFINITY {
        return UNLIMITED;
    }
    let interval = (SECOND / rate).ceil();
    // Less than one request in 584 years, and what is no number.
    if rate <= 0.0 || !interval.is_finite() || interval >= u64::MAX as f64 { CLOSED } else { interval as u64 }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const ALL: [Priority; 4] = Priority::ALL;

    fn seconds(seconds: f64) -> Moment {
        Moment::at(Duration::from_secs_f64(seconds))
    }

    #[test]
    fn no_second_has_more_than_the_rate_and_a_fiftieth() {
        for seed in 0..60 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let rate = 10f64.powf(rng.f64() * 4.0 - 0.5);
            let pace = Pace::closed();
            pace.set(rate, BURST, Moment::START);
            // Gaps of all sizes: nothing for a while, then as many at once as come.
            let (mut now, mut last, mut all) = (Moment::START, VecDeque::new(), 0u64);
            let end = 20_000.0f64.min(4.0 * rate * 10.0) as u64;
            for _ in 0..end {
                let mean = Duration::from_secs_f64(rng.f64().powi(4) * 8.0 / rate);
                now = now + if rng.u8(..3) == 0 { Duration::ZERO } else { mean };
                while last.front().is_some_and(|first| now.since(*first) >= Duration::from_secs(1)) {
                    last.pop_front();
                }
                if pace.try_take(now, ALL[rng.usize(..4)]) {
                    last.push_back(now);
                    all += 1;
                }
                let most = rate * 1.02 + 1.0;
                assert!(last.len() as f64 <= most, "seed {seed}: {} of {rate}", last.len());
            }
            assert!(all > 0, "seed {seed}: nobody went");
        }
    }

    #[test]
    fn what_is_asked_all_the_time_is_used_up() {
        for rate in [0.5, 3.0, 40.0, 113.3, 5_000.0] {
            let pace = Pace::closed();
            pace.set(rate, BURST, Moment::START);
            let asks = (0..200_000u64).map(|at| Moment::from_nanos(at * 100_000));
            let taken = asks.filter(|now| pace.try_take(*now, Priority::Bulk)).count();
            let expected = rate * 20.0;
            assert!((taken as f64 - expected).abs() <= expected * 0.02 + 1.0, "{taken} of {expected}");
        }
    }

    #[test]
    fn the_ends_are_nothing_and_everything() {
        let cases = [(0.0, 0), (-1.0, 0), (f64::NAN, 0), (1e-300, 0), (1e-3, 1), (f64::INFINITY, 1_000)];
        for (rate, expected) in cases {
            let pace = Pace::unlimited();
            pace.set(rate, BURST, seconds(5.0));
            let taken = (0..1_000).filter(|_| pace.try_take(seconds(5.0), Priority::Api)).count();
            assert_eq!(taken, expected, "{rate}");
        }
    }

    #[test]
    fn a_rate_that_rises_is_not_held_up_by_what_went_before() {
        let pace = Pace::closed();
        pace.set(1e-3, BURST, Moment::START);
        assert!(pace.try_take(Moment::START, Priority::Api));
        assert!(!pace.try_take(seconds(900.0), Priority::Api));
        pace.set(1_000.0, BURST, seconds(900.0));
        assert!(!pace.try_take(seconds(900.0), Priority::Critical), "the burst is not given again");
        assert!(pace.try_take(seconds(900.022), Priority::Api));
        pace.set(0.0, BURST, seconds(901.0));
        assert!(!pace.try_take(seconds(999.0), Priority::Critical));
    }

    #[test]
    fn the_last_of_a_burst_is_for_the_first_class() {
        let pace = Pace::closed();
        pace.set(1_000.0, BURST, Moment::START);
        let take = |priority| (0..100).filter(|_| pace.try_take(Moment::START, priority)).count();
        assert_eq!([take(Priority::Bulk), take(Priority::Interactive), take(Priority::Critical)], [14, 0, 7]);
    }

    #[test]
    fn who_goes_anyhow_takes_from_those_who_ask() {
        let pace = Pace::closed();
        pace.set(100.0, Duration::from_millis(150), Moment::START);
        let mut asked = 0;
        for at in 0..10_000u64 {
            let now = Moment::from_nanos(at * 1_000_000);
            if at % 16 == 0 {
                pace.charge(now);
            }
            asked += usize::from(pace.try_take(now, Priority::Api));
        }
        // 62.5 of 100 go anyhow, for ten seconds.
        assert!((370..=395).contains(&asked), "{asked}");
        (0..10_000).for_each(|_| pace.charge(seconds(10.0)));
        assert!(pace.try_take(seconds(10.16), Priority::Critical), "the excess is not worked off");
    }

    #[test]
    fn threads_get_no_more_than_one_would() {
        let pace = Pace::closed();
        pace.set(10_000.0, BURST, Moment::START);
        let take =
            || (0..2_000u64).filter(|at| pace.try_take(Moment::from_nanos(at * 50_000), ALL[0])).count();
        let taken: usize = std::thread::scope(|scope| {
            let threads = [scope.spawn(take), scope.spawn(take), scope.spawn(take)];
            threads.map(|thread| thread.join().expect("nothing panics there")).into_iter().sum()
        });
        // A tenth of a second and a burst.
        assert!((1_000..=1_200).contains(&taken), "{taken}");
    }
}
