//! How often something may be: so many at once, and one more each so often. Time is an argument.

use std::time::{Duration, Instant};

/// A bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many at once; at least one.
    pub burst: u32,
    /// How long until one more may be.
    pub every: Duration,
}

/// What is left of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowance {
    /// When all of it will be there again.
    full_at: Option<Instant>,
}

/// Failures to say who one is, at one door, that are answered with 401. Nobody mistypes ten times a minute; whoever guesses at
/// 256 bits is told to wait. A good token is always let in, so that nobody can be locked out by the failures of others.
pub const FAILURES: Rate = Rate { burst: 20, every: Duration::from_secs(3) };

/// Changes of one caller by token or certificate. An operator pulls a handful of levers within a minute, and a script that
/// drains a zone endpoint by endpoint some dozens; a loop is stopped.
pub const CHANGES: Rate = Rate { burst: 30, every: Duration::from_secs(2) };

/// Lines of the audit trail about what one caller, or nobody known at one door, could not do: at some 400 bytes each the
/// 144 of a day take five years to fill the trail's 128 MiB. What is left out is counted in the next line.
pub const LINES: Rate = Rate { burst: 20, every: Duration::from_secs(600) };

impl Allowance {
    /// Takes one.
    ///
    /// # Errors
    /// There is none; how long until there is.
    pub fn spend(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        let debt = full_at.saturating_duration_since(now);
        let most = rate.every * rate.burst.saturating_sub(1);
        if debt > most {
            return Err(debt - most);
        }
        self.full_at = Some(full_at + rate.every);
        Ok(())
    }

    /// Whether all of it is there.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_one_more_each_so_often() {
        let rate = Rate { burst: 3, every: Duration::from_secs(10) };
        let (mut allowance, begin) = (Allowance::default(), Instant::now());
        let mut spend = |seconds| allowance.spend(rate, begin + Duration::from_secs(seconds));
        assert_eq!([spend(0), spend(0), spend(0)], [Ok(()); 3]);
        assert_eq!(spend(0), Err(Duration::from_secs(10)));
        assert_eq!(spend(4), Err(Duration::from_secs(6)), "what is refused costs nothing");
        assert_eq!((spend(10), spend(10).is_err()), (Ok(()), true));
        assert_eq!([spend(1_000), spend(1_000), spend(1_000)], [Ok(()); 3]);
        assert!(spend(1_000).is_err(), "it never holds more than its burst");
        assert!(!allowance.is_full(begin + Duration::from_secs(1_029)));
        assert!(allowance.is_full(begin + Duration::from_secs(1_030)));
    }
}
