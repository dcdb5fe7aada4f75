//! What an operator says that a cell takes at most, in requests a second. Nothing is limited where nobody says so, and
//! who is refused is told to come again when there is room for all who were.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::super::moment::Moment;
use super::judge::LOOK_EVERY;
use super::pace::{BURST, Pace};
use super::priority::Priority;
use super::retry_after::{LEAST_SPREAD_SECS, Refusals, retry_after_secs, spread_secs};

/// Weight of a look in how many are refused a second: about the last second.
const LATELY: f64 = 0.1;

/// Before this nobody should come again, in seconds.
const BASE_SECS: u32 = 1;

/// One for each cell; outlives reloads.
#[derive(Debug)]
pub struct Cap {
    pace: Pace,
    /// Since the last look.
    refused: AtomicU32,
    /// Lately, in requests a second, as bits of a float.
    refused_rps: AtomicU64,
    spread_secs: AtomicU32,
}

impl Default for Cap {
    fn default() -> Self {
        Self {
            pace: Pace::unlimited(),
            refused: AtomicU32::new(0),
            refused_rps: AtomicU64::new(0.0f64.to_bits()),
            spread_secs: AtomicU32::new(LEAST_SPREAD_SECS),
        }
    }
}

impl Cap {
    /// From now on so many requests a second; as many as come where it is `None`. Each [`LOOK_EVERY`].
    pub(super) fn look(&self, rate: Option<u32>, now: Moment) {
        let rate = rate.map_or(f64::INFINITY, f64::from);
        self.pace.set(rate, BURST, now);
        let refused = f64::from(self.refused.swap(0, Ordering::Relaxed)) / LOOK_EVERY.as_secs_f64();
        let before = f64::from_bits(self.refused_rps.load(Ordering::Relaxed));
        let refused_rps = before + (refused - before) * LATELY;
        self.refused_rps.store(refused_rps.to_bits(), Ordering::Relaxed);
        // Whoever comes again is served at the rate, and takes the place of others who then are not: so it is the least.
        let spread = spread_secs(Refusals { refused_rps, spare_rps: rate, base_secs: BASE_SECS });
        self.spread_secs.store(spread, Ordering::Relaxed);
    }

    /// Whether a request may go now.
    ///
    /// # Errors
    /// No, and when to come again, in seconds. `random` is even over 0..2^32.
    pub fn ask(&self, now: Moment, priority: Priority, random: u32) -> Result<(), u32> {
        if self.pace.try_take(now, priority) {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(retry_after_secs(BASE_SECS, self.spread_secs.load(Ordering::Relaxed), random))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_holds_at_once_says_when_to_come_again_and_ends() {
        let (cap, mut random) = (Cap::default(), fastrand::Rng::with_seed(5));
        // A hundred a second for ten seconds, in looks of ten; capped at ten from the second on, until the ninth.
        let (mut went, mut after) = ([0; 10], Vec::new());
        for millis in 0..10_000u64 {
            let now = Moment::START + std::time::Duration::from_millis(millis);
            if millis % 100 == 0 {
                let capped = (1_000..9_000).contains(&millis);
                cap.look(capped.then_some(10), now);
            }
            if millis % 10 == 0 {
                match cap.ask(now, Priority::Api, random.u32(..)) {
                    Ok(()) => went[(millis / 1_000) as usize] += 1,
                    Err(secs) => after.push((millis, secs)),
                }
            }
        }
        assert_eq!((went[0], went[9]), (100, 100), "{went:?}");
        assert!(went[1..9].iter().all(|went| (10..=11).contains(went)), "{went:?}");
        // Ninety a second are refused: those of five seconds need 45 at ten a second.
        let late: Vec<u32> = after.iter().filter(|(at, _)| *at > 6_000).map(|(_, secs)| *secs).collect();
        assert!(late.iter().all(|secs| (1..=46).contains(secs)), "{late:?}");
        assert!(late.iter().any(|secs| *secs > 30), "{late:?}");
    }
}
