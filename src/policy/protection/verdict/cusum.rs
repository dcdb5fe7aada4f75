//! How evidence of many seconds is added up: a one-sided CUSUM (Page 1954; NIST/SEMATECH e-Handbook 6.3.2.3), and with
//! what it is fed where things are counted instead of timed.

/// What is taken off in each second, in standard deviations: half of the smallest change that is looked for, 1.
pub const SLACK: f64 = 0.5;

/// Where a change is certain. By Siegmund's approximation a series that is normal and independent comes here once in
/// 12 days, and a change of two deviations takes 8.6 s, of three 5.2 s. Latency is neither, so expect three to ten
/// times as many false ones; against those a verdict about more than one endpoint wants many at once.
pub const CERTAIN: f64 = 12.0;

/// Where a change is likely enough to count beside others that are certain, and too likely to call the endpoint fine.
/// In peace a series is above it in `exp(-2 * SLACK * LEANING)`, 5 %, of all seconds.
pub const LEANING: f64 = 3.0;

/// What one second can say at most, for and against: a single pause of any length is no change.
pub const MOST: f64 = 4.0;

/// A sum goes no higher, so that a fault of an hour is over half a minute after its end.
const HIGHEST: f64 = 2.0 * CERTAIN;

/// `S = max(0, S + z - k)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cusum(f64);

impl Cusum {
    /// Adds a second: how many deviations too high it was.
    pub fn add(&mut self, z: f64) {
        self.add_evidence(z.clamp(-MOST, MOST) - SLACK);
    }

    /// Adds a second: by how much the logarithm of the likelihood of the change has grown. With such steps the sum
    /// gets from 0 to `h` by chance no more often than every `e^h` seconds (Lorden 1971), so that [`CERTAIN`] holds
    /// for it too.
    pub fn add_evidence(&mut self, likelihood: f64) {
        self.0 = (self.0 + likelihood.clamp(-MOST, MOST)).clamp(0.0, HIGHEST);
    }

    /// The sum.
    pub const fn sum(self) -> f64 {
        self.0
    }

    /// Whether it has changed.
    pub fn is_certain(self) -> bool {
        self.0 >= CERTAIN
    }

    /// Whether it may have changed.
    pub fn is_leaning(self) -> bool {
        self.0 >= LEANING
    }

    /// Forgets what was added.
    pub const fn reset(&mut self) {
        self.0 = 0.0;
    }
}

/// By how much the logarithm of the likelihood of `sick` against `usual` grows when `part` of `whole` are bad. Both
/// rates are between 0 and 1, ends excluded.
pub fn evidence(part: u32, whole: u32, usual: f64, sick: f64) -> f64 {
    let good = f64::from(whole.saturating_sub(part));
    f64::from(part) * (sick / usual).ln() + good * ((1.0 - sick) / (1.0 - usual)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds_until_certain(z: f64) -> Option<u32> {
        let mut sum = Cusum::default();
        (1..1_000).find(|_| {
            sum.add(z);
            sum.is_certain()
        })
    }

    #[test]
    fn larger_changes_are_certain_earlier_and_half_a_deviation_never() {
        let table =
            [(0.0, None), (0.5, None), (1.0, Some(24)), (2.0, Some(8)), (4.0, Some(4)), (99.0, Some(4))];
        for (z, expect) in table {
            assert_eq!(seconds_until_certain(z), expect, "{z}");
        }
    }

    #[test]
    fn one_second_is_never_certain_and_a_long_fault_is_soon_over() {
        let mut sum = Cusum::default();
        sum.add(1e9);
        assert!(!sum.is_certain() && sum.is_leaning());
        (0..100_000).for_each(|_| sum.add(4.0));
        let peace = (0..1_000)
            .take_while(|_| {
                sum.add(0.0);
                sum.is_certain()
            })
            .count();
        assert!((20..30).contains(&peace), "{peace} s");
    }

    #[test]
    fn what_is_as_usual_speaks_against_a_change() {
        for (part, whole, positive) in [(0, 100, false), (1, 100, false), (20, 100, true), (5, 10, true)] {
            assert_eq!(evidence(part, whole, 0.01, 0.2) > 0.0, positive, "{part} of {whole}");
        }
    }
}
