//! Whether so many ask at once that they must have waited, while nobody served them.

use std::collections::VecDeque;
use std::time::Duration;

/// More than so many times the capacity is asked only by a crowd. Less: what a cell is declared to bear is a careful
/// number, and its demand is even only on average.
const CROWD: f64 = 1.25;

/// Ten requests more than that are a page of a browser, at a cell that has few.
const LEAST: f64 = 10.0;

/// What comes in some seconds by chance differs by three times the root of it, once in a thousand times.
const IN_SECONDS: f64 = 3.0;

/// Within a look of a tenth of a second, of which there are a thousand in two minutes, it has to be clearer. A crowd is.
const IN_A_LOOK: f64 = 5.0;

/// Looks are counted together over so long. When this process has slept, what came meanwhile comes at once, and is no crowd
/// where it is little for the time that has passed: it takes less than this to be worked off.
const COUNTED: Duration = Duration::from_secs(3);

/// A look that comes so late says that this process has slept: looks are a tenth of a second apart.
const SLEPT: Duration = Duration::from_millis(250);

/// So many requests a second are a crowd, before a cell of this capacity.
pub(super) fn crowd_rps(capacity: f64) -> f64 {
    most_by_chance(capacity * CROWD, IN_SECONDS)
}

/// What asked in the last seconds: how many in how long, by look.
#[derive(Debug, Default)]
pub(super) struct Asking(VecDeque<(u64, Duration)>);

impl Asking {
    /// So many asked since the look before, which was so long ago.
    pub(super) fn add(&mut self, count: u64, passed: Duration) {
        self.0.push_back((count, passed));
        let long =
            |looks: &VecDeque<(u64, Duration)>| looks.iter().skip(1).map(|look| look.1).sum::<Duration>();
        while long(&self.0) >= COUNTED {
            self.0.pop_front();
        }
    }

    /// Whether a crowd asks of a cell of this capacity.
    pub(super) fn is_crowd(&self, capacity: f64) -> bool {
        let is_over = |(count, passed): (u64, Duration), deviations| {
            count as f64 > most_by_chance(capacity * CROWD * passed.as_secs_f64(), deviations)
        };
        let add = |sum: (u64, Duration), look: &(u64, Duration)| (sum.0 + look.0, sum.1 + look.1);
        let has_slept = self.0.iter().any(|(_, passed)| *passed >= SLEPT);
        let at_once = self.0.back().is_some_and(|look| !has_slept && is_over(*look, IN_A_LOOK));
        at_once || is_over(self.0.iter().fold(Default::default(), add), IN_SECONDS)
    }
}

fn most_by_chance(mean: f64, deviations: f64) -> f64 {
    mean + (deviations * mean.sqrt()).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_more_than_comes_by_chance_or_comes_late() {
        // Of a capacity; looks, as (how often, how many asked, after how many milliseconds); whether that is a crowd.
        type Looks = &'static [(u32, u64, u64)];
        let table: [(f64, Looks, bool); 12] = [
            // A page of a browser, at a cell for one request a second.
            (1.0, &[(1, 10, 100)], false),
            (1.0, &[(20, 1, 100)], true),
            (1_000.0, &[(30, 100, 100)], false),
            (1_000.0, &[(30, 100, 100), (1, 150, 100)], false),
            (1_000.0, &[(30, 124, 100)], false),
            (1_000.0, &[(30, 135, 100)], true),
            (1_000.0, &[(30, 100, 100), (1, 190, 100)], true),
            (1_000.0, &[(1, 1_000, 100)], true),
            // This process has slept, and what came meanwhile comes at once, or in three looks.
            (1_000.0, &[(30, 100, 100), (1, 20, 1_500), (1, 1_600, 100)], false),
            (1_000.0, &[(30, 100, 100), (1, 20, 1_500), (3, 600, 100), (1, 100, 100)], false),
            // And a crowd comes after it.
            (1_000.0, &[(30, 100, 100), (1, 20, 1_500), (4, 1_000, 100)], true),
            (1_000.0, &[(1, 1_600, 1_500)], false),
        ];
        for (capacity, looks, expected) in table {
            let mut asking = Asking::default();
            for (times, count, millis) in looks {
                (0..*times).for_each(|_| asking.add(*count, Duration::from_millis(*millis)));
            }
            assert_eq!(asking.is_crowd(capacity), expected, "{looks:?} of {capacity}");
        }
    }
}
