//! Latencies as counts in buckets: written by requests in atomics, taken and added up by whoever looks.
//!
//! Buckets lie four to an octave, so that a latency is known to an eighth either way. Sums, quantiles and the judgement
//! on them are plain numbers; this file has no opinion on what is slow.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// From 256 microseconds on, two neighbours a fifth apart, up to 268 seconds: beyond every time limit on an answer.
pub const BUCKETS: usize = 80;

/// The first bucket that has a floor: 2^8 microseconds. What is faster counts as that fast.
const FIRST_OCTAVE: usize = 8;

/// What requests write.
#[derive(Debug)]
pub struct Histogram([AtomicU32; BUCKETS]);

/// What was taken of a [`Histogram`], and sums of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latencies([u32; BUCKETS]);

impl Histogram {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; BUCKETS])
    }

    /// Counts one.
    pub fn record(&self, latency: Duration) {
        self.0[bucket(latency)].fetch_add(1, Ordering::Relaxed);
    }

    /// What came since the last time.
    pub fn take(&self) -> Latencies {
        Latencies(self.0.each_ref().map(take))
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    /// None.
    pub const NONE: Self = Self([0; BUCKETS]);

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.iter().copied().map(u64::from).sum()
    }

    /// Counts one.
    pub fn record(&mut self, latency: Duration) {
        self.add_in(bucket(latency), 1);
    }

    /// Adds so many in one bucket; one that is beyond the last counts in none.
    pub fn add_in(&mut self, bucket: usize, count: u32) {
        if let Some(sum) = self.0.get_mut(bucket) {
            *sum = sum.saturating_add(count);
        }
    }

    /// The buckets that have some, and how many.
    pub fn counted(&self) -> impl Iterator<Item = (usize, u32)> {
        self.0.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }

    /// Adds those of another time or place.
    pub fn add(&mut self, others: &Self) {
        for (all, more) in self.0.iter_mut().zip(&others.0) {
            *all = all.saturating_add(*more);
        }
    }

    /// Between which bounds the latency of this rank lies, the fastest being 1; those of the slowest beyond. `None`
    /// where there are none.
    pub fn at_rank(&self, rank: u64) -> Option<(Duration, Duration)> {
        let mut before = 0;
        let mut found = None;
        for (at, count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            found = Some((floor(at), floor(at + 1)));
            before += u64::from(*count);
            if before >= rank {
                break;
            }
        }
        found
    }

    /// Half of them took no longer. Where it lies in its bucket is told by its rank there: what compares two medians sees
    /// less than the fifth between two buckets. `None` where there are none.
    pub fn middle(&self) -> Option<Duration> {
        let rank = self.count().div_ceil(2);
        let mut before = 0;
        for (at, count) in self.0.iter().map(|count| u64::from(*count)).enumerate() {
            if before + count >= rank && count > 0 {
                let part = (rank - before) as f64 / count as f64;
                return Some(floor(at) + (floor(at + 1) - floor(at)).mul_f64(part));
            }
            before += count;
        }
        None
    }

    /// Between which values the true median lies, this many standard deviations of its order statistic to each side
    /// (the rank of a median is binomial). With 0 both are the median. Values are middles of buckets.
    pub fn median(&self, deviations: f64) -> Option<(Duration, Duration)> {
        let n = self.count() as f64;
        let half = deviations * n.sqrt() / 2.0;
        // Saturates at the ends of the type, which no number of requests reaches.
        let at = |rank: f64| self.at_rank(rank.round().max(1.0) as u64).map(|(from, to)| (from + to) / 2);
        at(n / 2.0 - half).zip(at(n / 2.0 + half))
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::NONE
    }
}

/// Takes a counter. Most are empty, and what is not written stays in the caches of those who write.
pub fn take(counter: &AtomicU32) -> u32 {
    match counter.load(Ordering::Relaxed) {
        0 => 0,
        _ => counter.swap(0, Ordering::Relaxed),
    }
}

/// The bucket of a latency.
pub fn bucket(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
    let octave = micros.ilog2() as usize;
    let Some(octaves) = octave.checked_sub(FIRST_OCTAVE) else { return 0 };
    let quarter = usize::try_from(micros >> (octave - 2) & 0b11).unwrap_or(0);
    (octaves * 4 + quarter).min(BUCKETS - 1)
}

/// The shortest latency of a bucket.
pub fn floor(bucket: usize) -> Duration {
    let (octaves, quarter) = (bucket / 4, bucket as u64 % 4);
    Duration::from_micros((4 + quarter) << (FIRST_OCTAVE + octaves - 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(millis: impl IntoIterator<Item = u64>) -> Latencies {
        let histogram = Histogram::new();
        millis.into_iter().for_each(|millis| histogram.record(Duration::from_millis(millis)));
        let taken = histogram.take();
        assert_eq!(histogram.take(), Latencies::NONE, "what was taken is gone");
        taken
    }

    #[test]
    fn a_latency_lies_between_the_bounds_of_its_bucket() {
        for millis in [1, 3, 80, 1_500, 60_000, 268_000] {
            let latency = Duration::from_millis(millis);
            let (from, to) = latencies([millis]).at_rank(1).expect("one was recorded");
            assert!(from <= latency && latency < to, "{latency:?} in {from:?} to {to:?}");
            assert!(to.as_secs_f64() / from.as_secs_f64() < 1.26, "{from:?} to {to:?}");
        }
        assert_eq!((bucket(Duration::ZERO), bucket(Duration::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn a_median_is_known_better_the_more_there_are() {
        let check = |count: u64, deviations: f64, least: u64, most: u64| {
            let spread = latencies((0..count).map(|at| 1 + at * 1_000 / count));
            let (from, to) = spread.median(deviations).expect("there are some");
            let near = |found: Duration, millis: u64| {
                let ratio = found.as_secs_f64() * 1_000.0 / millis as f64;
                assert!((0.8..1.25).contains(&ratio), "{found:?}, not {millis} ms, of {count}");
            };
            near(from, least);
            near(to, most);
        };
        check(20, 0.0, 500, 500);
        // The 3rd and the 17th.
        check(20, 3.0, 101, 801);
        check(10_000, 3.0, 485, 515);
        assert_eq!(Latencies::NONE.median(3.0), None);
    }

    #[test]
    fn a_middle_moves_by_less_than_a_bucket() {
        assert_eq!(Latencies::NONE.middle(), None);
        let (mut last, mut moved) = (Duration::ZERO, 0);
        // 80 ms and 95 ms lie in one bucket.
        for millis in 80..95 {
            let middle = latencies((0..101).map(|at| millis - 50 + at)).middle().expect("there are some");
            assert!(middle.abs_diff(Duration::from_millis(millis)) < Duration::from_millis(3), "{middle:?}");
            moved += u32::from(middle > last);
            last = middle;
        }
        assert_eq!(moved, 15);
    }

    #[test]
    fn sums_hold_both() {
        let mut both = latencies([10, 10, 10]);
        both.add(&latencies([1_000, 1_000]));
        assert_eq!(both.count(), 5);
        let (slow, _) = both.at_rank(4).expect("there are five");
        assert!(slow > Duration::from_millis(800), "{slow:?}");
    }
}
