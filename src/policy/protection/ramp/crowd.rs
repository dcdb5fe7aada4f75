//! Whether so many ask at once that they must have waited, while nobody served them.

use std::time::Duration;

/// More than so many times the capacity is asked only by a crowd. Less: what a cell is declared to bear is a careful
/// number, and its demand is even only on average.
const CROWD: f64 = 1.25;

/// Ten requests more than that are a page of a browser, at a cell that has few.
const LEAST: f64 = 10.0;

/// What comes in a second by chance differs by three times the root of it, once in a thousand seconds.
const IN_A_SECOND: f64 = 3.0;

/// Within a look of a tenth of a second, of which there are a thousand in two minutes, it has to be clearer. A crowd is.
const IN_A_LOOK: f64 = 5.0;

/// So many requests a second are a crowd, before a cell of this capacity.
pub(super) fn crowd_rps(capacity: f64) -> f64 {
    most_by_chance(capacity * CROWD, IN_A_SECOND)
}

/// Whether a crowd asks: `offered` a second, and in this look so many in so long.
pub(super) fn is_crowd(capacity: f64, offered: f64, asked: (u64, Duration)) -> bool {
    let (count, passed) = asked;
    offered > crowd_rps(capacity)
        || count as f64 > most_by_chance(capacity * CROWD * passed.as_secs_f64(), IN_A_LOOK)
}

fn most_by_chance(mean: f64, deviations: f64) -> f64 {
    mean + (deviations * mean.sqrt()).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_more_than_comes_by_chance() {
        let look = Duration::from_millis(100);
        for (capacity, offered, count, expected) in [
            // A page of a browser, at a cell for one request a second.
            (1.0, 10.0, 10, false),
            (1.0, 12.0, 1, true),
            (1_000.0, 1_000.0, 150, false),
            (1_000.0, 1_300.0, 150, false),
            (1_000.0, 1_400.0, 150, true),
            (1_000.0, 0.0, 190, true),
        ] {
            let found = is_crowd(capacity, offered, (count, look));
            assert_eq!(found, expected, "{offered} a second and {count} at once of {capacity}");
        }
    }
}
