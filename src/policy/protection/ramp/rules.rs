//! What may be changed of a ramp, with the reasons of what it is otherwise.

use std::num::NonZeroU32;
use std::time::Duration;

/// What may be changed of a ramp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RampRules {
    /// The first rate, as a part of the capacity. 1 %: a cell with cold caches bears that, and it is a hundred
    /// seconds to all.
    pub start_share: f64,
    /// The first rate is no less than this for all replicas together, in requests a second.
    pub start_rate: f64,
    /// How long a rate is tried. 5 s: longer than most answers take.
    pub period: Duration,
    /// By this a rate is multiplied when it did good. 1.25: from 1 % to all in 21 periods, and never over a
    /// collapse by more than a quarter.
    pub growth: f64,
    /// By this when it hurt.
    pub shrink: f64,
    /// So many periods it does not grow after that.
    pub hold_periods: u32,
    /// Which part of the requests must succeed.
    pub least_success: f64,
    /// How many times the usual 95th percentile is too slow.
    pub slower: f64,
    /// What may wait at most, as a part of the concurrency limit.
    pub fullest_queue: f64,
    /// Which part of the rate must be asked for, or else it proves nothing. RFC 7661 has a half for a
    /// congestion window; a fifth is what the numbers of a small replica vary by.
    pub used: f64,
    /// Where less than that is asked for so long, and all is well, nobody waits any more. Twice the longest
    /// `Retry-After` that is sent (60 s): who was sent away has come back by then. For as long a process that starts
    /// looks for a crowd.
    pub quiet_after: Duration,
    /// How long a cell without a usable endpoint is not down yet, and over how long failures are counted.
    pub down_after: Duration,
    /// Which part of the requests must fail for a cell to be down,
    pub down_failed: f64,
    /// of at least so many,
    pub down_least: u64,
    /// and of so many accounts: one account's broken integration is not the cell's fall.
    pub down_accounts: u32,
    /// How old a state may be to go on with it. 3 min: an upgrade or a crash, not an absence in which a crowd
    /// gathers.
    pub saved_for: Duration,
    /// How many replicas share a declared capacity; as configured.
    pub replicas: NonZeroU32,
}

impl Default for RampRules {
    fn default() -> Self {
        Self {
            start_share: 0.01,
            start_rate: 1.0,
            period: Duration::from_secs(5),
            growth: 1.25,
            shrink: 0.5,
            hold_periods: 2,
            least_success: 0.99,
            slower: 1.5,
            fullest_queue: 0.5,
            used: 0.8,
            quiet_after: Duration::from_secs(120),
            down_after: Duration::from_secs(3),
            down_failed: 0.5,
            down_least: 20,
            down_accounts: 3,
            saved_for: Duration::from_secs(180),
            replicas: NonZeroU32::MIN,
        }
    }
}

impl RampRules {
    /// The first rate of a replica, for its part of a capacity.
    pub(super) fn first_rate(&self, capacity: f64) -> f64 {
        let least = self.start_rate / f64::from(self.replicas.get());
        (capacity * self.start_share).max(least).min(capacity.max(least))
    }
}
