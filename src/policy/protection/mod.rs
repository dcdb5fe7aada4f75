//! What keeps cells standing: how much of a cell may be asked at once, which of its endpoints are well, where load
//! goes that has lost its group, how a cell comes back, and whether it is the cell that is sick or the network.
//!
//! State machines and counters with `now` passed in; requests count, one task judges (docs/decisions/0016-standing.md).
//! Nothing here is async, and nothing reads a clock.

pub mod bulkhead;
pub mod cap;
pub mod concurrency;
pub mod cut;
pub mod endpoint_load;
pub mod failover;
pub mod fullness;
pub mod gate;
pub mod group_load;
pub mod health;
pub mod histogram;
pub mod judge;
pub mod levers;
pub mod modes;
pub mod observed;
pub mod observing;
pub mod outcomes;
pub mod pace;
pub mod policies;
pub mod priority;
pub mod queue;
pub mod ramp;
pub mod retry_after;
pub mod shares;
pub mod shed;
pub mod standing;
pub mod verdict;
pub mod watching;
pub mod would;

use std::num::NonZeroU32;

use super::guard::Mode;
use health::checks::{Check, CheckRules};
use modes::Modes;
use policies::Policy;

/// What is one for all cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Protection {
    /// Replicas that share declared capacities.
    pub replicas: NonZeroU32,
    /// Whether it is told a sick cell from a sick network.
    pub verdict: Mode,
    /// Until when that may be observe, in seconds since the Unix epoch.
    pub observe_until: Option<i64>,
}

/// What a cell says of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CellProtection {
    /// What each part does.
    pub modes: Modes,
    /// Until when any of them may be observe, in seconds since the Unix epoch.
    pub observe_until: Option<i64>,
    /// How its endpoints are checked, where they are.
    pub check: Option<Check>,
}

impl CellProtection {
    /// The checks that are made. Where health is off nobody would look at them.
    pub fn checks(&self) -> Option<&CheckRules> {
        let check = self.check.as_ref().filter(|_| self.modes.of(Policy::Health) != Mode::Off);
        check.map(|check| &check.rules)
    }

    /// Whether its endpoints are checked actively.
    pub fn is_checked(&self) -> bool {
        self.checks().is_some()
    }
}

impl Default for Protection {
    fn default() -> Self {
        Self { replicas: NonZeroU32::MIN, verdict: Mode::Enforce, observe_until: None }
    }
}
