//! What a ramp is told, and what it says of itself.

use std::time::Duration;

use super::super::super::moment::Moment;
use super::judge::{Period, Verdict};

/// What was seen of a cell since the look before, at this replica.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Look {
    /// Requests a second that the cell is declared to bear, for all replicas together.
    pub declared: Option<f64>,
    /// Endpoints that may be used now, in all of its groups.
    pub usable: u32,
    /// Requests that ended well: the cell answered, and not that it cannot.
    pub succeeded: u64,
    /// Requests that did not: no answer, or one that says that the cell cannot (502, 503, 504).
    pub failed: u64,
    /// Accounts of the failed, a bit each, by hash, of 64.
    pub failing_accounts: u64,
    /// One of several groups serves what it is asked: what fails is another group, and its load can be moved. Then
    /// failures are no fall of the cell.
    pub group_serves: bool,
    /// 95th percentile of the answers of the last period or so.
    pub p95: Option<Duration>,
    /// What that is when the cell is well.
    pub baseline: Option<Duration>,
    /// What waits for the cell here, as a part of its concurrency limit.
    pub queue_share: f64,
}

/// Where a cell is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It gets nothing.
    Down,
    /// It gets the first rate, until one period of it is well.
    Probing,
    /// It gets more by steps.
    Ramping,
    /// It gets its whole capacity, and more by steps where that was learned; everything, once no more than that is asked.
    Full,
}

impl Phase {
    /// Whether nothing goes to it but what finds out whether it is back, if anything does.
    pub const fn only_probes(self) -> bool {
        matches!(self, Self::Down | Self::Probing)
    }

    /// Name in metrics and on the status page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Probing => "probing",
            Self::Ramping => "ramping",
            Self::Full => "full",
        }
    }
}

/// Why a phase was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No endpoint was usable for a while.
    NoEndpoint,
    /// Half of the requests failed, of several accounts.
    CellFails,
    /// There is an endpoint again.
    EndpointBack,
    /// The same, and nobody knows what the cell bears: only the other limits hold.
    CapacityUnknown,
    /// A period of the first rate was well.
    ProbesPassed,
    /// The rate has reached the capacity.
    CapacityReached,
    /// The rate was more than anybody asked for, for so long that all who were sent away have come back.
    NobodyWaits,
    /// It hurt when it had its whole capacity.
    Hurt,
    /// A process began with the cell, and a crowd has waited for it.
    Crowd,
    /// An operator's rate has ended, and was less than the capacity.
    PinEnded,
}

impl Reason {
    /// Name in metrics and on the status page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoEndpoint => "no_endpoint",
            Self::CellFails => "cell_fails",
            Self::EndpointBack => "endpoint_back",
            Self::CapacityUnknown => "capacity_unknown",
            Self::ProbesPassed => "probes_passed",
            Self::CapacityReached => "capacity_reached",
            Self::NobodyWaits => "nobody_waits",
            Self::Hurt => "hurt",
            Self::Crowd => "crowd",
            Self::PinEnded => "pin_ended",
        }
    }
}

/// A cell has changed its phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// Before.
    pub from: Phase,
    /// Since now.
    pub to: Phase,
    /// Why.
    pub reason: Reason,
    /// When.
    pub at: Moment,
    /// What was counted when it was decided.
    pub evidence: Evidence,
}

/// Where a capacity comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// It stands in the configuration.
    Declared,
    /// The best rate of the last minutes before the fall.
    Learned,
    /// Nothing is known: there is no ramp.
    #[default]
    Unknown,
}

impl Source {
    /// Name in metrics and on the status page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Learned => "learned",
            Self::Unknown => "unknown",
        }
    }
}

/// The numbers behind a ramp; rates are this replica's, in requests a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// What it ramps up to.
    pub capacity: Option<f64>,
    /// Where that comes from.
    pub source: Source,
    /// The rate that is let through now; infinity where nothing is limited.
    pub rate: f64,
    /// What asks.
    pub offered: f64,
    /// The period that was judged last.
    pub period: Period,
    /// What it said.
    pub verdict: Option<Verdict>,
    /// Until when the rate does not grow.
    pub held_until: Option<Moment>,
    /// Until when an operator's rate holds.
    pub pinned_until: Option<Moment>,
    /// Requests that ended in the last seconds, those of them that failed, and of how many accounts (of 64 at
    /// most): what a fall is judged by.
    pub recent: (u64, u64, u32),
}

/// An operator's word: this rate, whatever is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pin {
    /// Requests a second for all replicas together.
    pub rate: f64,
    /// When it ends.
    pub until: Moment,
}

/// What a new process needs to go on where this one was. Rates are for all replicas together, so that their
/// number may change meanwhile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Saved {
    /// When, in seconds since the Unix epoch.
    pub at_secs: u64,
    /// See there.
    pub phase: Phase,
    /// Whether nothing is limited any more.
    pub lifted: bool,
    /// Requests a second.
    pub rate: f64,
    /// What the cell was able to do before it fell.
    pub learned: Option<f64>,
    /// An operator's rate, and when it ends, in seconds since the Unix epoch.
    pub pin: Option<(f64, u64)>,
}
