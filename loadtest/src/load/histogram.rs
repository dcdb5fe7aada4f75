//! A histogram of times from a microsecond to days, with an error below one percent at any size.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Counts of times, exact to the microsecond below 256, to under one percent above.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum_us: u128,
    max_us: u64,
}

/// The usual points of a distribution, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Arithmetic mean.
    pub mean_us: u64,
    /// Median.
    pub p50_us: u64,
    /// 90 of 100 were as fast or faster.
    pub p90_us: u64,
    /// 99 of 100.
    pub p99_us: u64,
    /// 999 of 1000.
    pub p999_us: u64,
    /// The slowest, exactly.
    pub max_us: u64,
}

impl Histogram {
    /// Counts one time.
    pub fn add(&mut self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let index = index(us);
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] += 1;
        self.total += 1;
        self.sum_us += u128::from(us);
        self.max_us = self.max_us.max(us);
    }

    /// Adds all of another's counts.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.sum_us += other.sum_us;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// The time that `share` (0 to 1) of all were as fast as or faster, in microseconds; 0 if there are none.
    pub fn quantile_us(&self, share: f64) -> u64 {
        // Exact up to 2^53 counts, more than any run has.
        let rank = (share * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return highest(index).min(self.max_us);
            }
        }
        self.max_us
    }

    /// The usual points.
    pub fn latency(&self) -> Latency {
        let mean = self.sum_us.checked_div(u128::from(self.total)).unwrap_or(0);
        Latency {
            count: self.total,
            mean_us: u64::try_from(mean).unwrap_or(u64::MAX),
            p50_us: self.quantile_us(0.5),
            p90_us: self.quantile_us(0.9),
            p99_us: self.quantile_us(0.99),
            p999_us: self.quantile_us(0.999),
            max_us: self.max_us,
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for us in [self.p50_us, self.p90_us, self.p99_us, self.p999_us, self.max_us] {
            let ms = us as f64 / 1_000.0;
            write!(f, "{ms:>10.2}")?;
        }
        Ok(())
    }
}

/// Times below this many microseconds have a bucket each.
const EXACT: u64 = 2 * STEPS;

/// Buckets between one power of two and the next: 1/128 is the largest error.
const STEPS: u64 = 128;

/// Below [`EXACT`] the value itself; above, the top eight bits and how far they were shifted.
fn index(us: u64) -> usize {
    let shift = (u64::BITS - us.leading_zeros()).saturating_sub(EXACT.ilog2());
    (u64::from(shift) * STEPS + (us >> shift)) as usize // At most 57 * 128 + 255.
}

/// The largest value in a bucket.
fn highest(index: usize) -> u64 {
    let index = index as u64;
    if index < EXACT {
        return index;
    }
    let shift = index / STEPS - 1;
    let top = index - shift * STEPS;
    (((u128::from(top) + 1) << shift) - 1).min(u128::from(u64::MAX)) as u64 // Just bounded.
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_bucket_less_than_one_percent_wide() {
        let values = (0..600).chain((0..64).flat_map(|bit| {
            let power = 1u64 << bit;
            [power - 1, power, power + power / 3]
        }));
        for value in values {
            let highest = highest(index(value));
            assert!(highest >= value, "{value} -> {highest}");
            assert!(highest - value <= value / 128, "{value} -> {highest}");
            if highest < u64::MAX {
                assert_eq!(index(highest + 1), index(value) + 1, "{value}");
            }
        }
        assert_eq!(highest(index(u64::MAX)), u64::MAX);
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let mut histogram = Histogram::default();
        for us in (1..=200).rev() {
            histogram.add(Duration::from_micros(us));
        }
        let latency = histogram.latency();
        assert_eq!((latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us), (100, 180, 198, 200));
        assert_eq!((latency.count, latency.mean_us, latency.max_us), (200, 100, 200));
    }

    #[test]
    fn no_time_at_all_is_zero() {
        assert_eq!(Histogram::default().latency(), Latency::default());
    }

    #[test]
    fn merged_counts_are_those_of_both() {
        let (mut one, mut both) = (Histogram::default(), Histogram::default());
        let mut other = Histogram::default();
        for us in [1, 500, 1_000_000] {
            one.add(Duration::from_micros(us));
            other.add(Duration::from_micros(us * 3));
            both.add(Duration::from_micros(us));
            both.add(Duration::from_micros(us * 3));
        }
        one.merge(&other);
        assert_eq!(one.latency(), both.latency());
    }
}
