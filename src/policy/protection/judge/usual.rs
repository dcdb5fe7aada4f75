//! How slow the answers of a cell usually are. Seconds in which the cell is sick, by whatever sign, do not say what is
//! usual: who learns from them calls an outage usual after minutes, and nobody sees any more that it is slow. What
//! stays so for hours is followed, for it is what the cell is like now.

use std::time::Duration;

/// Weight of a second in what is usual: about the last minutes.
const WEIGHT: f64 = 0.01;

/// Of so many seconds what is usual is the plain mean, whatever they are like: nothing is known before.
const FIRST_SECONDS: u32 = 60;

/// So many times what is usual, and so much longer, is slow: what `cellgate top` marks, for less nobody feels.
const SLOW_TIMES: u32 = 2;
const SLOW_BY: Duration = Duration::from_millis(50);

/// By this part what is usual rises in a second in which the cell is sick, so that it doubles in an hour: what is ten times
/// slower is usual after two to three hours, and ten minutes of it raise what is usual by an eighth.
const RISE: f64 = std::f64::consts::LN_2 / 3_600.0;

/// See the file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usual {
    p95: Option<Duration>,
    /// Seconds that it was learned from, up to the first ones.
    seconds: u32,
}

impl Usual {
    /// As it was before a restart.
    pub(super) fn restored(p95: Option<Duration>) -> Self {
        Self { p95, seconds: if p95.is_some() { FIRST_SECONDS } else { 0 } }
    }

    /// The 95th percentile of the first byte, where it was seen.
    pub(super) const fn p95(&self) -> Option<Duration> {
        self.p95
    }

    /// Takes in what it is in a second. `is_sick` is what others say of the cell: a verdict, or its limit.
    pub(super) fn learn(&mut self, now: Duration, is_sick: bool) {
        let Some(usual) = self.p95 else {
            if !is_sick {
                *self = Self { p95: Some(now), seconds: 1 };
            }
            return;
        };
        let is_known = self.seconds >= FIRST_SECONDS;
        let is_slow = is_known && now > usual * SLOW_TIMES && now > usual + SLOW_BY;
        if is_sick || is_slow {
            // What is quicker while it is sick is not what it is like either: errors come early.
            self.p95 = Some(usual.mul_f64(1.0 + RISE).min(now.max(usual)));
            return;
        }
        self.seconds = (self.seconds + 1).min(FIRST_SECONDS);
        let weight = if is_known { WEIGHT } else { 1.0 / f64::from(self.seconds) };
        self.p95 = Some(usual.mul_f64(1.0 - weight) + now.mul_f64(weight));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Duration = Duration::from_millis(20);
    const SLOW: Duration = Duration::from_millis(500);

    /// So many seconds like this; what is usual then, in milliseconds.
    fn after(usual: &mut Usual, seconds: u32, now: Duration, is_sick: bool) -> u128 {
        (0..seconds).for_each(|_| usual.learn(now, is_sick));
        usual.p95().map_or(0, |usual| usual.as_millis())
    }

    #[test]
    fn what_is_slow_for_minutes_does_not_become_usual_and_what_is_so_for_hours_does() {
        let mut usual = Usual::default();
        after(&mut usual, 120, WELL, false);
        assert_eq!(after(&mut usual, 600, SLOW, false), 22);
        assert_eq!(after(&mut usual, 600, WELL, false), 20);
        let hours = (1..12).find(|_| after(&mut usual, 3_600, SLOW, false) > 400);
        assert_eq!(hours, Some(4), "from 20 ms to 250 in 3.6 hours, and from there in minutes");
    }

    #[test]
    fn what_others_call_sick_is_not_learned_however_it_answers() {
        let little_slower = WELL * 3 / 2;
        for now in [WELL / 10, little_slower, SLOW] {
            let mut usual = Usual::default();
            assert_eq!(after(&mut usual, 300, now, true), 0, "nothing is known before");
            after(&mut usual, 120, WELL, false);
            let known = after(&mut usual, 300, now, true);
            assert!((20..=21).contains(&known), "{known} ms after {now:?}");
        }
    }

    #[test]
    fn what_changes_by_less_than_anybody_feels_is_followed_in_minutes() {
        let mut usual = Usual::default();
        after(&mut usual, 120, WELL, false);
        assert_eq!(after(&mut usual, 600, WELL * 3, false), 59, "40 ms more");
        assert_eq!(after(&mut usual, 600, WELL / 2, false), 10);
    }

    #[test]
    fn one_odd_answer_at_the_start_is_not_what_is_usual() {
        let mut usual = Usual::default();
        after(&mut usual, 1, Duration::from_millis(1), false);
        let known = after(&mut usual, 59, SLOW, false);
        assert!(known > 480, "{known} ms");
        let mut restored = Usual::restored(Some(WELL));
        assert_eq!(after(&mut restored, 60, SLOW, false), 20, "what was saved is known");
    }
}
