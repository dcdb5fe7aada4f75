//! The one who judges: looks ten times a second at what requests have counted, steps the state machines of all cells
//! in one order, and publishes what requests read. Signals, verdict, health, groups, ramp, limits: what may be the
//! network is known before anybody is ejected, and who is ejected before load is moved (docs/decisions/0016).
//!
//! Plain data: who calls this has the clock and the randomness, in the data plane and in a simulation.

mod begin;
mod cell;
mod groups;
mod recent;
mod report;
mod saved;
mod scene;
mod usual;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::super::guard::Mode;
use super::super::ids::Label;
use super::super::moment::Moment;
use super::super::snapshot::{Cell, EndpointAddress, Snapshot};
use super::levers::Levers;
use super::observing::{Alarm, Observing};
use super::verdict::signals::{Place, ProcessSignals, Signals};
use super::verdict::{Detector, Verdicts};
use super::{failover, health, ramp};
use begin::Begin;
use cell::CellJudge;
pub use report::{CellReport, EndpointReport, GroupReport, Report, VerdictReport};
pub use saved::{Saved, SavedCell};

/// How often it looks: a dead endpoint costs its requests a tenth of a second.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often the detector does, and the limits: their numbers are of seconds.
const SECOND: Duration = Duration::from_secs(1);

/// See the file.
#[derive(Debug, Default)]
pub struct Judge {
    cells: BTreeMap<Label, CellJudge>,
    /// Of cells that have not been looked at since.
    saved: BTreeMap<Label, SavedCell>,
    detector: Detector,
    second: Option<Moment>,
    /// The longest delay of a look in this second.
    late: Duration,
    /// Verdicts that nobody heeds: for how many seconds one stood.
    watched: (Observing, u64),
    alarm: Option<Alarm>,
    /// The cells were there before anybody looked.
    is_warm: bool,
}

/// What a look is made from, beside the counters.
#[derive(Debug)]
pub struct Look<'a> {
    /// Its cells are looked at.
    pub snapshot: &'a Snapshot,
    /// What operators have pulled, where anything is.
    pub levers: Option<&'a Levers>,
    /// How much later than planned this look is.
    pub late: Duration,
    /// When.
    pub now: Moment,
    /// The same on the clock of the wall, in seconds since the Unix epoch.
    pub now_secs: u64,
}

/// Something has changed.
#[derive(Clone, Debug)]
pub enum Change {
    /// An endpoint, by its address.
    Endpoint(Label, String, health::Transition),
    /// A group, by its zone.
    Group(Label, Label, failover::Transition),
    /// How a cell comes back.
    Ramp(Label, ramp::Transition),
    /// Who is sick.
    Verdict(super::verdict::Change),
}

impl Judge {
    /// One whose cells have been well for long: none of them begins with a ramp, as it would in a process that starts.
    pub fn warm() -> Self {
        Self { is_warm: true, ..Self::default() }
    }

    /// Looks. `random` gives numbers of 0 to 1.
    pub fn look(&mut self, look: &Look<'_>, random: &mut dyn FnMut() -> f64) -> Vec<Change> {
        let mut changes = Vec::new();
        self.late = self.late.max(look.late);
        let new_second = self.second.is_none_or(|second| look.now.since(second) >= SECOND);
        if new_second {
            self.second = Some(look.now);
            self.detect(look, &mut changes);
            self.watch(look);
        }
        self.cells.retain(|name, _| look.snapshot.cells.iter().any(|cell| cell.name == *name));
        let nothing = Verdicts::default();
        for cell in &look.snapshot.cells {
            let is_enforced = scene::verdict_mode(look, cell) == Mode::Enforce;
            let verdicts = if is_enforced { self.detector.verdicts() } else { &nothing };
            if new_second {
                be_patient(cell, verdicts);
            }
            let judge = self.cells.entry(cell.name.clone());
            let mut begin = || match (self.saved.remove(&cell.name), self.is_warm) {
                (Some(saved), _) => Begin::Saved(Box::new(saved)),
                (None, true) => Begin::Warm,
                (None, false) => Begin::Cold,
            };
            let judge = judge.or_insert_with(|| CellJudge::new(cell, look, random(), begin()));
            judge.look(cell, look, verdicts, new_second, random, &mut changes);
        }
        // A cell that comes with a reload is another one.
        self.saved.clear();
        changes
    }

    /// One that goes on with what was saved.
    pub fn restored(saved: Saved) -> Self {
        let Saved { cells, usual, would_act } = saved;
        let cells = cells.into_iter().map(|cell| (cell.cell.clone(), cell)).collect();
        Self {
            saved: cells,
            detector: Detector::restored(usual),
            watched: (Observing::restored(would_act), 0),
            ..Self::default()
        }
    }

    /// What a restart must not forget. `now_secs` is in seconds since the Unix epoch.
    pub fn saved(&self, snapshot: &Snapshot, now: Moment, now_secs: u64) -> Saved {
        let cells = self.cells.iter();
        let cells = cells.map(|(name, judge)| judge.saved(name, &scene::ramp_rules(snapshot), now, now_secs));
        Saved { cells: cells.collect(), usual: self.detector.saved(), would_act: self.watched.0.longest() }
    }

    /// Whether a cell is on its way back, a group has lost its load or an endpoint is out, so that what is saved gets old in seconds.
    pub fn is_busy(&self) -> bool {
        self.cells.values().any(CellJudge::is_busy)
    }

    /// What is to be shown.
    pub fn report(&self, snapshot: &Snapshot, now: Moment) -> Report {
        let cells = snapshot.cells.iter();
        let cells = cells.filter_map(|cell| Some(self.cells.get(&cell.name)?.report(cell, now))).collect();
        let held = self.detector.verdicts().held().iter();
        Report {
            cells,
            verdicts: held.map(|held| VerdictReport::new(held, now)).collect(),
            alarm: self.alarm,
            would_act: self.watched.0.longest(),
        }
    }

    /// Where verdicts are only said: whether that is meant still, and whether one would have been heeded for long.
    fn watch(&mut self, look: &Look<'_>) {
        let protection = &look.snapshot.protection;
        let is_watched = protection.verdict == Mode::Observe;
        let (observing, count) = &mut self.watched;
        *count += u64::from(is_watched && !self.detector.verdicts().held().is_empty());
        let until = protection.observe_until.filter(|_| is_watched);
        self.alarm = observing.look(*count, until, look.now, look.now_secs);
    }

    fn detect(&mut self, look: &Look<'_>, changes: &mut Vec<Change>) {
        let late = std::mem::take(&mut self.late);
        if look.snapshot.cells.iter().all(|cell| scene::verdict_mode(look, cell) == Mode::Off) {
            self.detector = Detector::default();
            return;
        }
        let signals: Vec<Signals> = look.snapshot.cells.iter().flat_map(signals).collect();
        self.detector.step(&signals, ProcessSignals { late, cpu: None }, look.now);
        changes.extend(self.detector.changes().iter().cloned().map(Change::Verdict));
    }
}

fn signals(cell: &Cell) -> impl Iterator<Item = Signals> {
    let endpoints = cell.groups.iter().flat_map(|group| group.endpoints.iter().map(move |one| (group, one)));
    endpoints
        .map(|(group, endpoint)| endpoint.load.counters.take(place(cell, &group.zone, &endpoint.address)))
}

/// Says how long connections to a cell's endpoints may take.
fn be_patient(cell: &Cell, verdicts: &Verdicts) {
    for group in &cell.groups {
        for endpoint in &group.endpoints {
            let place = place(cell, &group.zone, &endpoint.address);
            endpoint.load.be_patient(verdicts.connect_timeout_factor(&place));
        }
    }
}

fn place(cell: &Cell, zone: &Label, address: &EndpointAddress) -> Place {
    Place { cell: cell.name.clone(), zone: Some(zone.clone()), endpoint: address.to_string().into() }
}

impl Change {
    /// Whether somebody should see it: something is worse than before.
    pub fn is_bad(&self) -> bool {
        match self {
            Self::Endpoint(.., change) => !matches!(change.to, health::State::Up),
            Self::Group(.., change) => matches!(change.to, failover::Standing::Lost),
            Self::Ramp(_, change) => matches!(change.to, ramp::Phase::Down),
            Self::Verdict(change) => change.said,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(cell, endpoint, change) => {
                let would = if change.would_have { " (observed: it is asked as before)" } else { "" };
                let (from, to, reason) = (change.from.as_str(), change.to.as_str(), change.reason.as_str());
                write!(f, "endpoint {endpoint} of cell {cell}: {from} -> {to}, {reason}{would}")
            }
            Self::Group(cell, zone, change) => {
                let (from, to) = (change.from.as_str(), change.to.as_str());
                write!(f, "group {zone} of cell {cell}: {from} -> {to}, healthy {:.2}", change.healthy)
            }
            Self::Ramp(cell, change) => {
                let (from, to, reason) = (change.from.as_str(), change.to.as_str(), change.reason.as_str());
                write!(f, "cell {cell}: {from} -> {to}, {reason}, {:.1} rps", change.evidence.rate)
            }
            Self::Verdict(change) => {
                let said = if change.said { "is sick" } else { "is well again" };
                write!(f, "{} {said}: {}", change.verdict, change.evidence)
            }
        }
    }
}

#[cfg(test)]
mod tests;
