//! The monotonic clock of the process as `policy` counts it: one beginning for all who ask.

use std::time::Duration;

use tokio::time::Instant;

use crate::policy::moment::Moment;

/// A clock that has begun.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

/// When it begins there was something before: a rate that was never asked has waited for longer than any burst.
const BEFORE: Duration = Duration::from_secs(3_600);

impl Clock {
    /// Begins now. In tests with paused time it stands as that does.
    pub fn begin() -> Self {
        Self(Instant::now())
    }

    /// Now.
    pub fn now(self) -> Moment {
        self.at(Instant::now())
    }

    /// When that was. Whoever has read a clock needs not read another.
    pub fn at(self, instant: Instant) -> Moment {
        Moment::at(BEFORE + instant.saturating_duration_since(self.0))
    }
}
