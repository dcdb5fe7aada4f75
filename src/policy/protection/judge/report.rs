//! What a status page shows of a cell, with the numbers that decisions were made from. Plain data, made once a second.

use std::time::Duration;

use super::super::super::ids::Label;
use super::super::super::moment::Moment;
use super::super::super::snapshot::{Endpoint, EndpointAddress, Group};
use super::super::concurrency::Why;
use super::super::failover::GroupEvidence;
use super::super::health::{Health, Panic, State, Summary};
use super::super::observing::Alarm;
use super::super::ramp::{self, Phase};
use super::super::verdict::{CLEARS_AFTER, Evidence, Held, Verdict};
use super::super::would::WouldHave;

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By cell.
    pub cells: Vec<CellReport>,
    /// What stands, the strongest first.
    pub verdicts: Vec<VerdictReport>,
    /// Why somebody should look at verdicts that nobody heeds.
    pub alarm: Option<Alarm>,
    /// For how long one would have been heeded at most, where that is an alarm.
    pub would_act: Option<Duration>,
}

/// One cell.
#[derive(Clone, Debug)]
pub struct CellReport {
    /// Its name.
    pub cell: Label,
    /// Where it is on its way back.
    pub phase: Phase,
    /// The numbers of that.
    pub ramp: ramp::Evidence,
    /// Whether most of it is out.
    pub panic: Panic,
    /// How many requests at once it takes, as learned.
    pub limit: u32,
    /// Why that is what it is.
    pub limit_why: Why,
    /// How many at most, as configured.
    pub declared: u32,
    /// Ordinary requests that have a permit.
    pub in_flight: u32,
    /// Tunnels, streams, long polls.
    pub long_lived: u32,
    /// Those who wait for a permit.
    pub queued: u32,
    /// How many may.
    pub room: u32,
    /// Requests a second, by class.
    pub demand: [f64; 4],
    /// Of them, those of lost groups for which there is no room elsewhere.
    pub shed: f64,
    /// Nothing is moved, because the path is suspected.
    pub frozen: bool,
    /// Whether requests are sent again.
    pub may_retry: bool,
    /// 95th percentile of the first byte over the last seconds.
    pub p95: Option<Duration>,
    /// What that usually is.
    pub usual_p95: Option<Duration>,
    /// What parts that only observe would have done.
    pub would_have: WouldHave,
    /// Why somebody should look at what only watches here.
    pub alarm: Option<Alarm>,
    /// For how long that would have acted at most, where it is an alarm.
    pub would_act: Option<Duration>,
    /// Its groups.
    pub groups: Vec<GroupReport>,
}

/// One group.
#[derive(Clone, Debug)]
pub struct GroupReport {
    /// Its zone.
    pub zone: Label,
    /// What it serves and takes of others.
    pub failover: Option<GroupEvidence>,
    /// Requests that hold a permit of it.
    pub in_flight: u32,
    /// How many may.
    pub most_in_flight: u32,
    /// How many ordinary requests at once it takes, as learned, and why; none where it is the cell's only one.
    pub limit: Option<(u32, Why)>,
    /// Open connections to it.
    pub connections: u32,
    /// How many there may be.
    pub most_connections: u32,
    /// Its endpoints.
    pub endpoints: Vec<EndpointReport>,
}

/// One endpoint.
#[derive(Clone, Debug)]
pub struct EndpointReport {
    /// Where it is.
    pub address: EndpointAddress,
    /// Where it stands.
    pub state: State,
    /// How often it was ejected lately.
    pub times: u32,
    /// How much longer it is out.
    pub left: Duration,
    /// What of the last ten seconds counts.
    pub seen: Summary,
    /// Why it should be out and is not.
    pub held: Option<(&'static str, &'static str)>,
}

/// One verdict.
#[derive(Clone, Debug)]
pub struct VerdictReport {
    /// Who is sick.
    pub verdict: Verdict,
    /// For how long.
    pub stands_for: Duration,
    /// How long ago it was found last.
    pub found_before: Duration,
    /// For how long it stands on, where it is not found again.
    pub left: Duration,
    /// By what it was found last.
    pub evidence: Evidence,
    /// What is there now, where it was not found in the last second.
    pub present: Option<Evidence>,
}

impl GroupReport {
    /// What stands in its counters.
    pub(super) fn new(group: &Group) -> Self {
        let connections = group.endpoints.first().map(|one| &one.connections);
        Self {
            zone: group.zone.clone(),
            failover: None,
            in_flight: group.requests.permits.taken(),
            most_in_flight: group.requests.most,
            limit: None,
            connections: connections.map_or(0, |connections| connections.permits.taken()),
            most_connections: connections.map_or(0, |connections| connections.most),
            endpoints: Vec::new(),
        }
    }
}

impl EndpointReport {
    pub(super) fn new(endpoint: &Endpoint, health: &Health, now: Moment) -> Self {
        Self {
            address: endpoint.address.clone(),
            state: health.state(),
            times: health.times(),
            left: health.left(now),
            seen: health.summary(),
            held: health.held().map(|held| (held.reason.as_str(), held.by.as_str())),
        }
    }
}

impl VerdictReport {
    pub(super) fn new(held: &Held, now: Moment) -> Self {
        let Held { verdict, since, found, evidence, present } = held.clone();
        let found_before = now.since(found);
        let left = CLEARS_AFTER.saturating_sub(found_before);
        Self { verdict, stands_for: now.since(since), found_before, left, evidence, present }
    }

    /// One that was said and found just now, by nothing.
    #[cfg(test)]
    pub(crate) fn fresh(verdict: Verdict) -> Self {
        let evidence = Evidence::default();
        let (since, found) = (Moment::START, Moment::START);
        Self::new(&Held { verdict, since, found, evidence, present: None }, Moment::START)
    }
}
