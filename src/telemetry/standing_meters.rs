//! What keeps cells standing, as metrics: what was changed, and where each cell stands now. Labels are cells, zones and
//! closed lists; no series names an account or an endpoint.

use std::sync::{Arc, Mutex, PoisonError};

use metrics::Counter;

use super::families;
use super::registry::Registry;
use crate::policy::protection::failover::Standing;
use crate::policy::protection::health::State;
use crate::policy::protection::judge::{CellReport, Change, Report};
use crate::policy::protection::priority::Priority;
use crate::policy::protection::ramp::Phase;
use crate::policy::protection::shed::Shed;

/// Meters of what keeps cells standing, and the last report on it.
#[derive(Debug)]
pub struct StandingMeters {
    endpoints: Vec<Counter>,
    groups: Vec<Counter>,
    ramps: Vec<Counter>,
    verdicts: [Counter; 2],
    last: Mutex<Arc<Report>>,
}

const PHASES: [Phase; 4] = [Phase::Down, Phase::Probing, Phase::Ramping, Phase::Full];
const STANDINGS: [Standing; 3] = [Standing::Serving, Standing::Lost, Standing::Returning];

/// Kinds of verdicts, as their labels.
const VERDICTS: [&str; 9] = [
    "proxy",
    "path",
    "zone",
    "cell_network",
    "cell_application",
    "ambiguous_widespread",
    "ambiguous_shared",
    "ambiguous_zone",
    "endpoint",
];

impl StandingMeters {
    pub(super) fn new(registry: &Registry) -> Self {
        let of = |what: &'static str, to: &'static str| {
            registry.counter(&families::PROTECTION_CHANGES, &[("what", what), ("to", to)])
        };
        Self {
            endpoints: State::ALL.iter().map(|state| of("endpoint", state.as_str())).collect(),
            groups: STANDINGS.iter().map(|standing| of("group", standing.as_str())).collect(),
            ramps: PHASES.iter().map(|phase| of("cell", phase.as_str())).collect(),
            verdicts: [of("verdict", "said"), of("verdict", "taken_back")],
            last: Mutex::default(),
        }
    }

    /// Counts a change.
    pub fn changed(&self, change: &Change) {
        let counter = match change {
            Change::Endpoint(.., change) => &self.endpoints[change.to as usize],
            Change::Group(.., change) => &self.groups[change.to as usize],
            Change::Ramp(_, change) => &self.ramps[change.to as usize],
            Change::Verdict(change) => &self.verdicts[usize::from(!change.said)],
        };
        counter.increment(1);
    }

    /// Keeps what was reported last.
    pub fn report(&self, report: Report) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(report);
    }

    /// What was reported last.
    pub fn last(&self) -> Arc<Report> {
        Arc::clone(&self.last.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets the gauges that are read off the last report.
    pub(super) fn look_at(&self, registry: &Registry) {
        let report = self.last();
        for kind in VERDICTS {
            let held = report.verdicts.iter().filter(|held| held.verdict.as_str() == kind).count();
            registry.gauge(&families::VERDICTS, &[("verdict", kind)]).set(held as f64);
        }
        let alarm = f64::from(u8::from(report.alarm.is_some()));
        registry.gauge(&families::VERDICT_OBSERVE_ALARM, &[]).set(alarm);
        report.cells.iter().for_each(|cell| of_cell(registry, cell));
    }
}

fn of_cell(registry: &Registry, cell: &CellReport) {
    let name = cell.cell.as_str();
    let set = |family, value: f64| registry.gauge(family, &[("cell", name)]).set(value);
    set(&families::CELL_LIMIT, f64::from(cell.limit));
    set(&families::CELL_QUEUED, f64::from(cell.queued));
    set(&families::CELL_ADMITTED_RATE, cell.ramp.rate);
    set(&families::CELL_NO_HEADROOM, cell.shed);
    set(&families::OBSERVE_ALARM, f64::from(u8::from(cell.alarm.is_some())));
    for phase in PHASES {
        let is_it = f64::from(u8::from(cell.phase == phase));
        registry.gauge(&families::CELL_PHASE, &[("cell", name), ("phase", phase.as_str())]).set(is_it);
    }
    for (class, rate) in Priority::ALL.iter().zip(cell.demand) {
        let labels = [("cell", name), ("class", class.as_str())];
        registry.gauge(&families::CELL_DEMAND, &labels).set(rate);
    }
    for (why, count) in Shed::ALL.iter().zip(cell.would_have.refused) {
        let labels = [("cell", name), ("reason", why.label())];
        registry.counter(&families::WOULD_HAVE, &labels).absolute(count);
    }
    for (policy, act, count) in cell.would_have.each() {
        let labels = [("cell", name), ("policy", policy.as_str()), ("act", act.as_str())];
        registry.counter(&families::WOULD_HAVE_ACTED, &labels).absolute(count);
    }
    for group in &cell.groups {
        let zone = group.zone.as_str();
        for state in State::ALL {
            let there = group.endpoints.iter().filter(|endpoint| endpoint.state == state).count();
            let labels = [("cell", name), ("zone", zone), ("state", state.as_str())];
            registry.gauge(&families::ENDPOINTS, &labels).set(there as f64);
        }
        let assigned = group.failover.map_or(0.0, |seen| seen.assigned);
        let set = |family, value: f64| registry.gauge(family, &[("cell", name), ("zone", zone)]).set(value);
        set(&families::GROUP_MOVED, assigned);
        set(&families::GROUP_OVERFLOW, group.failover.map_or(0.0, |seen| seen.overflow));
        // One that the cell's limiter is for has no limit of its own.
        set(&families::GROUP_LIMIT, group.limit.map_or(f64::INFINITY, |(limit, _)| f64::from(limit)));
    }
}
