//! What a restart and an upgrade must not forget of what was judged: a cell that comes back goes on where it was, and is
//! not asked for everything because a process began anew. Plain data; how it is written down is a shell's.

use std::time::Duration;

use super::super::super::ids::Label;
use super::super::concurrency::SavedLimit;
use super::super::failover::SavedGroup;
use super::super::verdict::endpoint::SavedEndpoint;
use super::super::{health, ramp};

/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    /// By cell.
    pub cells: Vec<SavedCell>,
    /// What is usual of endpoints, for the detector.
    pub usual: Vec<SavedEndpoint>,
    /// For how long a verdict would have been heeded at most, where verdicts are observed and that is an alarm.
    pub would_act: Option<Duration>,
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedCell {
    /// Its name.
    pub cell: Label,
    /// How it comes back. An operator's rate is not in it: the lever is.
    pub ramp: ramp::Saved,
    /// How much it takes at once.
    pub limit: SavedLimit,
    /// Its usual 95th percentile.
    pub usual_p95: Option<Duration>,
    /// Requests a second that were served while things were well.
    pub good_rate: f64,
    /// Its groups, by zone.
    pub groups: Vec<(Label, SavedGroup)>,
    /// How much each of them takes at once, by zone.
    pub group_limits: Vec<(Label, SavedLimit)>,
    /// Its endpoints, by key.
    pub endpoints: Vec<(Box<str>, health::Saved)>,
    /// For how long what is observed would have acted at most, where that is an alarm.
    pub would_act: Option<Duration>,
}
