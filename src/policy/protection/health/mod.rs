//! Whether an endpoint is well: what requests see of it, what active checks say, and a state machine that takes it out
//! and lets it back. Plain data: no socket, no clock, no task.
//!
//! - [`Watch`]: what requests write and read, in atomics.
//! - [`Health`]: one endpoint's state, stepped ten times a second by whoever owns it, on a [`Look`].
//! - [`trip`]: the numbers that take an endpoint out.
//! - [`checks`]: when an active check is due, and what its answer means.
//! - [`usable_set`]: which endpoints of a cell may be asked, when most of them are out as well.
//!
//! **One account's poison ejects nobody.** A query that kills its worker, or runs into every time limit, does so
//! wherever it goes. So failures that an account may have brought about count only if several accounts have them, and
//! what is compared is without the account that has most. A connection that cannot be made is nobody's query: it
//! counts whoever asks, so that a dead endpoint is found where one account asks alone.
//!
//! **What all have is nobody's.** Runs of failures must be longer where failures are usual, here or at the siblings;
//! a share of failures below a half must be far above the siblings'; and whoever judges the network can freeze
//! ejections.

pub mod checks;
mod gate;
mod pace;
mod set;
mod state;
mod transition;
pub mod trip;
mod watch;
mod window;

use std::time::Duration;

pub use gate::{Entry, Probe, Ticket, Usable};
pub use set::{
    FAIL_OPEN_SHARE, Member, Panic, TRICKLE_LEAST_PER_SECOND, TRICKLE_SHARE, UsableSet, usable_set,
};
pub use state::{Health, Look, Saved};
pub use transition::{Held, HeldBy, Reason, State, Transition};
pub use trip::{Evidence, Siblings, Summary, TripRules};
pub use watch::{Taken, Watch};

/// How one attempt at an endpoint ended, as far as that says something of its health. What is ours (no port or file
/// descriptor left) and what is the client's (it went away) is no end at all and is not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptEnd {
    /// An answer below 500.
    Answered,
    /// A 5xx that is the application's own: a bug is in all replicas, and ejecting them one by one is an outage.
    AppError,
    /// 429, or 503 with Retry-After: it is well and has enough to do, which is the business of limits.
    Pushback,
    /// 502, 503 or 504 without Retry-After: something at the endpoint says that what is behind it is gone.
    Gateway,
    /// No connection: refused, not in time, TLS or HTTP/2 not agreed. No byte of a request has left, so no request has
    /// caused it.
    Unconnected,
    /// The connection was there, and broke or fell silent: reset, half an answer, too late. A request may have caused
    /// it.
    Broken,
}

impl AttemptEnd {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Answered, Self::AppError, Self::Pushback, Self::Gateway, Self::Unconnected, Self::Broken];

    /// Of an answer. A 503 with Retry-After is the only gateway status that is said by somebody who is there.
    pub const fn of_status(status: u16, has_retry_after: bool) -> Self {
        match status {
            429 => Self::Pushback,
            503 if has_retry_after => Self::Pushback,
            502..=504 => Self::Gateway,
            500.. => Self::AppError,
            _ => Self::Answered,
        }
    }

    /// Whether it speaks against the endpoint.
    pub const fn is_failure(self) -> bool {
        match self {
            Self::Answered | Self::AppError | Self::Pushback => false,
            Self::Gateway | Self::Unconnected | Self::Broken => true,
        }
    }

    /// Label of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::AppError => "app_error",
            Self::Pushback => "pushback",
            Self::Gateway => "gateway",
            Self::Unconnected => "unconnected",
            Self::Broken => "broken",
        }
    }
}

/// When an endpoint is taken out and let back.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthRules {
    /// What takes it out, of what requests see.
    pub trip: TripRules,
    /// The first ejection takes so long; each further one twice the one before.
    pub ejection_first: Duration,
    /// No ejection is longer, before its jitter.
    pub ejection_most: Duration,
    /// A random part of so much is added, 0 to 1: endpoints that went together do not come back together.
    pub ejection_jitter: f64,
    /// One ejection is forgotten for each such time that the endpoint was in.
    pub forgive_after: Duration,
    /// So many active checks in a row must fail for it to be down.
    pub fall: u32,
    /// And so many pass for it to be up.
    pub rise: u32,
}

/// Finagle's first backoff: a process that restarts is back within it, or within the next.
const EJECTION_FIRST: Duration = Duration::from_secs(5);

/// Envoy's `max_ejection_time` and Finagle's longest: what is repaired is noticed within the patience of who repaired
/// it.
const EJECTION_MOST: Duration = Duration::from_secs(300);

/// Envoy has none by default, and its users see all endpoints return in the same second.
const EJECTION_JITTER: f64 = 0.5;

/// As long as a flapping endpoint needs to be seen flapping twice.
const FORGIVE_AFTER: Duration = Duration::from_secs(60);

/// HAProxy's `fall`.
const FALL: u32 = 3;

/// HAProxy's `rise`.
const RISE: u32 = 2;

impl Default for HealthRules {
    fn default() -> Self {
        Self {
            trip: TripRules::default(),
            ejection_first: EJECTION_FIRST,
            ejection_most: EJECTION_MOST,
            ejection_jitter: EJECTION_JITTER,
            forgive_after: FORGIVE_AFTER,
            fall: FALL,
            rise: RISE,
        }
    }
}

impl HealthRules {
    /// Ejections that are remembered: one more would make none longer, and would only take longer to forget.
    fn most_times(&self) -> u32 {
        let doublings =
            self.ejection_most.as_secs_f64() / self.ejection_first.as_secs_f64().max(f64::EPSILON);
        1 + doublings.max(1.0).log2().ceil() as u32
    }

    /// How long the endpoint is out for the `times`th time, from 1; `random` is of 0 to 1.
    fn ejection(&self, times: u32, random: f64) -> Duration {
        let doubled = self.ejection_first.saturating_mul(1 << times.saturating_sub(1).min(31));
        let jitter = self.ejection_jitter.clamp(0.0, 1.0) * random.clamp(0.0, 1.0);
        doubled.min(self.ejection_most).mul_f64(1.0 + jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whose_failure_it_is() {
        let table = [
            (101, false, AttemptEnd::Answered),
            (200, false, AttemptEnd::Answered),
            (404, true, AttemptEnd::Answered),
            (429, false, AttemptEnd::Pushback),
            (429, true, AttemptEnd::Pushback),
            (499, false, AttemptEnd::Answered),
            (500, false, AttemptEnd::AppError),
            (500, true, AttemptEnd::AppError),
            (501, false, AttemptEnd::AppError),
            (502, false, AttemptEnd::Gateway),
            (502, true, AttemptEnd::Gateway),
            (503, false, AttemptEnd::Gateway),
            (503, true, AttemptEnd::Pushback),
            (504, false, AttemptEnd::Gateway),
            (505, false, AttemptEnd::AppError),
            (599, false, AttemptEnd::AppError),
        ];
        for (status, has_retry_after, expect) in table {
            assert_eq!(AttemptEnd::of_status(status, has_retry_after), expect, "{status} {has_retry_after}");
        }
        for (at, end) in AttemptEnd::ALL.into_iter().enumerate() {
            assert_eq!(end as usize, at, "{}", end.as_str());
        }
    }

    #[test]
    fn ejections_double_up_to_the_most_and_are_spread() {
        let rules = HealthRules::default();
        let seconds = |times, random| rules.ejection(times, random).as_secs_f64();
        let table =
            [(0, 5.0), (1, 5.0), (2, 10.0), (3, 20.0), (6, 160.0), (7, 300.0), (8, 300.0), (u32::MAX, 300.0)];
        for (times, expect) in table {
            assert_eq!(seconds(times, 0.0), expect, "{times}");
            assert_eq!(seconds(times, 1.0), expect * 1.5, "{times}");
        }
        assert_eq!(seconds(1, f64::NAN.max(0.0)), 5.0);
        assert_eq!(rules.most_times(), 7);
        let odd = HealthRules { ejection_first: Duration::ZERO, ..rules };
        assert_eq!(odd.ejection(40, 1.0), Duration::ZERO);
    }
}
