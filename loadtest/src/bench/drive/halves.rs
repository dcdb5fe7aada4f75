//! Latencies, apart for each half second: what is bad for a moment does not vanish among what was good for long.

use std::time::Duration;

use crate::load::Histogram;

/// One histogram for each half second of the window in which something was due.
#[derive(Clone, Debug, Default)]
pub(super) struct Halves(Vec<Histogram>);

impl Halves {
    /// Counts the latency of a request that was due so long after the window began.
    pub(super) fn add(&mut self, offset: Duration, latency: Duration) {
        // A run is an hour at most.
        let half = offset.as_secs() as usize * 2 + usize::from(offset.subsec_millis() >= 500);
        if self.0.len() <= half {
            self.0.resize_with(half + 1, Histogram::default);
        }
        self.0[half].add(latency);
    }

    /// All of them.
    pub(super) fn whole(&self) -> Histogram {
        self.0.iter().fold(Histogram::default(), |mut whole, half| {
            whole.merge(half);
            whole
        })
    }

    /// The p99 of the half second that has the longest, in microseconds; none where nothing was counted.
    pub(super) fn worst_p99_us(&self) -> Option<u64> {
        self.0.iter().map(|half| half.quantile_us(0.99)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_half_second_is_seen_where_the_whole_looks_good() {
        let mut halves = Halves::default();
        assert_eq!((halves.worst_p99_us(), halves.whole().latency().count), (None, 0));
        let ms = Duration::from_millis;
        // A request each millisecond of two seconds takes 100 us, and ten of the third half second take 200.
        for offset in 0..2_000 {
            let slow = (1_400..1_410).contains(&offset);
            halves.add(ms(offset), Duration::from_micros(if slow { 200 } else { 100 }));
        }
        assert_eq!(halves.worst_p99_us(), Some(200));
        let whole = halves.whole().latency();
        assert_eq!((whole.count, whole.p99_us, whole.max_us), (2_000, 100, 200));
    }

    #[test]
    fn the_last_moment_of_a_half_second_is_not_in_the_next() {
        let mut halves = Halves::default();
        for (offset, us) in [(0, 1), (499, 2), (500, 3), (999, 4), (1_000, 5)] {
            halves.add(Duration::from_millis(offset), Duration::from_micros(us));
        }
        let slowest: Vec<u64> = halves.0.iter().map(|half| half.latency().max_us).collect();
        assert_eq!(slowest, [2, 4, 5]);
    }
}
