//! What `/cells` shows of how a cell stands, with the numbers that it was decided by.

use serde::Serialize;

use crate::policy::protection::judge::{CellReport, EndpointReport, GroupReport, VerdictReport};
use crate::policy::protection::priority::Priority;
use crate::policy::protection::shed::Shed;
use crate::policy::protection::verdict::Evidence;

/// One cell.
#[derive(Debug, Serialize)]
pub(super) struct StandingView {
    phase: &'static str,
    panic: &'static str,
    /// What is let through while the cell comes back; absent where nothing is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    admitted_rps: Option<f64>,
    ramp: RampView,
    limit: u32,
    limit_why: &'static str,
    in_flight: u32,
    long_lived: u32,
    queued: u32,
    queue_room: u32,
    demand_rps: Vec<(&'static str, f64)>,
    no_headroom_rps: f64,
    failover_frozen: bool,
    retries: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    p95_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usual_p95_ms: Option<f64>,
    /// What parts that only watch would have done, by part and act.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    would_have: Vec<(&'static str, &'static str, u64)>,
    /// Requests that they would have refused, by reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    would_have_refused: Vec<(&'static str, u64)>,
    /// Why somebody should look at what only watches here.
    #[serde(skip_serializing_if = "Option::is_none")]
    observe_alarm: Option<&'static str>,
    /// For how long it would have acted at most, where that was a minute or more; `check --strict` asks for it.
    would_act_s: Option<u64>,
    groups: Vec<GroupView>,
}

#[derive(Debug, Serialize)]
struct RampView {
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity_rps: Option<f64>,
    capacity_from: &'static str,
    /// Ended, failed and failing accounts of the last seconds: what a fall is judged by.
    recent: (u64, u64, u32),
}

#[derive(Debug, Serialize)]
struct GroupView {
    zone: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    standing: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failover: Option<FailoverView>,
    in_flight: u32,
    max_in_flight: u32,
    /// Absent where the cell has no other group in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_why: Option<&'static str>,
    connections: u32,
    max_connections: u32,
    endpoints: Vec<EndpointView>,
}

#[derive(Debug, Serialize)]
struct FailoverView {
    share: f64,
    kept: f64,
    healthy: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity_rps: Option<f64>,
    own_rps: f64,
    room_rps: f64,
    moved_here_rps: f64,
    overflow_here_rps: f64,
}

#[derive(Debug, Serialize)]
struct EndpointView {
    address: String,
    state: &'static str,
    ejections: u32,
    out_for_s: u64,
    requests_10s: u64,
    failed_10s: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    median_ms: Option<f64>,
    /// Why it should be out and is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<(&'static str, &'static str)>,
}

/// One verdict.
#[derive(Debug, Serialize)]
pub(super) struct VerdictView {
    verdict: String,
    kind: &'static str,
    stands_for_s: u64,
    found_s_ago: u64,
    held_for_s: u64,
    evidence: String,
    /// What is there now, where it is not that any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    present: Option<String>,
    numbers: NumbersView,
}

/// What a verdict was made from: [`Evidence`] as numbers.
#[derive(Debug, Serialize)]
struct NumbersView {
    sick: u32,
    likely_sick: u32,
    heard: u32,
    cells: u32,
    others_sick: u32,
    others_heard: u32,
    chance: f64,
    round_trip_times: f64,
    first_byte_times: f64,
    retransmitted: f64,
    unreachable: f64,
    failed: f64,
    late_ms: u64,
}

impl StandingView {
    /// Of a cell.
    pub fn new(cell: &CellReport) -> Self {
        let ms = |time: std::time::Duration| round(time.as_secs_f64() * 1e3);
        let refused = Shed::ALL.iter().zip(cell.would_have.refused).filter(|(_, count)| *count > 0);
        let would_have = cell.would_have.each();
        Self {
            phase: cell.phase.as_str(),
            panic: cell.panic.as_str(),
            admitted_rps: cell.ramp.rate.is_finite().then(|| round(cell.ramp.rate)),
            ramp: RampView {
                capacity_rps: cell.ramp.capacity.map(round),
                capacity_from: cell.ramp.source.as_str(),
                recent: cell.ramp.recent,
            },
            limit: cell.limit,
            limit_why: cell.limit_why.as_str(),
            in_flight: cell.in_flight,
            long_lived: cell.long_lived,
            queued: cell.queued,
            queue_room: cell.room,
            demand_rps: Priority::ALL
                .iter()
                .map(|class| class.as_str())
                .zip(cell.demand.map(round))
                .collect(),
            no_headroom_rps: round(cell.shed),
            failover_frozen: cell.frozen,
            retries: cell.may_retry,
            p95_ms: cell.p95.map(ms),
            usual_p95_ms: cell.usual_p95.map(ms),
            would_have: would_have.map(|(by, act, count)| (by.as_str(), act.as_str(), count)).collect(),
            would_have_refused: refused.map(|(why, count)| (why.label(), count)).collect(),
            observe_alarm: cell.alarm.map(|alarm| alarm.as_str()),
            would_act_s: cell.would_act.map(|acted| acted.as_secs()),
            groups: cell.groups.iter().map(GroupView::new).collect(),
        }
    }
}

impl GroupView {
    fn new(group: &GroupReport) -> Self {
        let failover = group.failover.map(|seen| FailoverView {
            share: round(seen.share),
            kept: round(seen.kept),
            healthy: round(seen.healthy),
            capacity_rps: seen.capacity.map(round),
            own_rps: round(seen.own_load),
            room_rps: round(seen.room),
            moved_here_rps: round(seen.assigned),
            overflow_here_rps: round(seen.overflow),
        });
        Self {
            zone: group.zone.to_string(),
            standing: group.failover.map(|seen| seen.standing.as_str()),
            failover,
            in_flight: group.in_flight,
            max_in_flight: group.most_in_flight,
            limit: group.limit.map(|(limit, _)| limit),
            limit_why: group.limit.map(|(_, why)| why.as_str()),
            connections: group.connections,
            max_connections: group.most_connections,
            endpoints: group.endpoints.iter().map(EndpointView::new).collect(),
        }
    }
}

impl EndpointView {
    fn new(endpoint: &EndpointReport) -> Self {
        Self {
            address: endpoint.address.to_string(),
            state: endpoint.state.as_str(),
            ejections: endpoint.times,
            out_for_s: endpoint.left.as_secs(),
            requests_10s: endpoint.seen.requests,
            failed_10s: endpoint.seen.failed,
            median_ms: endpoint.seen.median.map(|median| round(median.as_secs_f64() * 1e3)),
            held: endpoint.held,
        }
    }
}

impl VerdictView {
    /// Of one that stands.
    pub fn new(held: &VerdictReport) -> Self {
        Self {
            verdict: held.verdict.to_string(),
            kind: held.verdict.as_str(),
            stands_for_s: held.stands_for.as_secs(),
            found_s_ago: held.found_before.as_secs(),
            held_for_s: held.left.as_secs(),
            evidence: held.evidence.to_string(),
            present: held.present.as_ref().map(ToString::to_string),
            numbers: NumbersView::new(&held.evidence),
        }
    }
}

impl NumbersView {
    fn new(evidence: &Evidence) -> Self {
        let [round_trip_times, first_byte_times] = evidence.times.map(round);
        let [retransmitted, unreachable, failed] = evidence.shares.map(round);
        Self {
            sick: evidence.sick.0,
            likely_sick: evidence.sick.1,
            heard: evidence.heard,
            cells: evidence.cells,
            others_sick: evidence.others.0,
            others_heard: evidence.others.1,
            // As small as it is: it may be one in ten millions.
            chance: evidence.chance,
            round_trip_times,
            first_byte_times,
            retransmitted,
            unreachable,
            failed,
            late_ms: evidence.late_ms,
        }
    }
}

/// Three digits behind the point: nobody reads more.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
