//! A cell in one look: what is configured, what operators say, and what verdicts stand; and the small questions on it.

use super::super::super::guard::Mode;
use super::super::super::ids::Label;
use super::super::super::snapshot::{Cell, Endpoint, EndpointAddress, Group, Snapshot};
use super::super::bulkhead;
use super::super::failover;
use super::super::health::{Member, Summary, Usable, UsableSet, Watch, usable_set};
use super::super::outcomes::Came;
use super::super::policies::Policy;
use super::super::ramp::RampRules;
use super::super::verdict::Verdicts;
use super::super::verdict::signals::Place;
use super::Look;

/// An endpoint that a cell can hardly do without goes only where it answers next to nobody: with a part of its requests it
/// is better than none.
const HOPELESS: f64 = 0.9;

/// A cell in one look.
pub(super) struct Scene<'a> {
    pub cell: &'a Cell,
    pub look: &'a Look<'a>,
    pub verdicts: &'a Verdicts,
}

impl Scene<'_> {
    /// What an operator says, or else the configuration.
    pub fn mode(&self, policy: Policy) -> Mode {
        let pulled = self.look.levers.and_then(|levers| levers.mode(policy, self.cell.name.as_str()));
        pulled.map_or(self.cell.protection.modes.of(policy), |of| of.value)
    }

    /// A group as failover is to see it.
    pub fn as_seen(&self, group: &Group) -> failover::Group {
        let gone = self.verdicts.evacuate(&group.zone);
        let usable = |endpoint: &&Endpoint| self.takes_load(group, endpoint) != Usable::No;
        let usable = count(group.endpoints.iter().filter(usable).count());
        let drained = |endpoint: &Endpoint| self.is_drained(&group.zone, &endpoint.address);
        failover::Group {
            priority: group.priority,
            capacity: group.capacity_rps.map(f64::from),
            endpoints: count(group.endpoints.len()),
            usable: if gone { 0 } else { usable },
            answers: gone && usable > 0,
            is_drained: group.endpoints.iter().any(drained),
        }
    }

    /// Whether a part only watches.
    pub fn observes(&self, policy: Policy) -> bool {
        self.mode(policy) == Mode::Observe
    }

    /// What a part sees of an endpoint: who only watches is shown what those who watch would have done.
    pub fn usable(&self, policy: Policy, watch: &Watch) -> Usable {
        if self.observes(policy) { watch.would_be_usable() } else { watch.usable() }
    }

    /// What became of requests since the last look, as each of these parts sees it.
    pub fn came(&self, policies: [Policy; 3]) -> [Came; 3] {
        let standing = &self.cell.load.standing;
        let (all, would) = (standing.outcomes.take(), standing.observed.take_outcomes(self.look.now));
        policies.map(|policy| if self.observes(policy) { would.clone() } else { all.clone() })
    }

    /// How many wait for a permit, as recovery sees it.
    pub fn queued(&self) -> u32 {
        let standing = &self.cell.load.standing;
        match self.observes(Policy::Recovery) && self.observes(Policy::Limit) {
            true => standing.observed.gate().queued(),
            false => standing.queued(),
        }
    }

    /// The most requests that had a permit since this was asked last, as the limit sees it.
    pub fn in_flight_max(&self) -> u32 {
        let standing = &self.cell.load.standing;
        let (all, would) =
            (standing.gate.take_in_flight_max(), standing.observed.gate().take_in_flight_max());
        if self.observes(Policy::Limit) { would } else { all }
    }

    /// Gives both gates what is learned, where that counts, as far as the cell is back, and never more than `most`. What
    /// the limit that counts here was given.
    pub fn step_gates(&self, learned: Option<u32>, most: u32, declared: u32) -> u32 {
        let (standing, now) = (&self.cell.load.standing, self.look.now);
        let fraction = standing.envelope.fraction();
        let (all, would) = match self.mode(Policy::Recovery) {
            Mode::Off => (1.0, 1.0),
            Mode::Observe => (1.0, fraction),
            Mode::Enforce => (fraction, fraction),
        };
        // Truncates to whole requests.
        let own = |fraction: f64| {
            learned.map_or(most, |limit| ((f64::from(limit) * fraction) as u32).max(1).min(most))
        };
        let bound = declared.min(most);
        standing.gate.bound(bound);
        standing.observed.gate().bound(bound);
        let (all, would) = (own(all), own(would));
        standing.wake(now, standing.gate.step(now, all));
        let _ = standing.observed.step(now, would);
        if self.observes(Policy::Limit) { would } else { all }
    }

    /// Which endpoints may be asked, as this part sees it.
    pub fn usable_set(&self, policy: Policy) -> UsableSet {
        let member = |zone: &Label, endpoint: &Endpoint| Member {
            usable: self.usable(policy, &endpoint.load.watch),
            drained: self.is_drained(zone, &endpoint.address),
        };
        let groups = self.cell.groups.iter();
        let of =
            |group: &Group| group.endpoints.iter().map(|one| member(&group.zone, one)).collect::<Vec<_>>();
        let members: Vec<Member> = groups.flat_map(of).collect();
        usable_set(&members, self.verdicts.freezes(&nowhere(self.cell)))
    }

    pub fn is_drained(&self, zone: &Label, address: &EndpointAddress) -> bool {
        let name = self.cell.name.as_str();
        self.look.levers.is_some_and(|levers| levers.drained(name, zone.as_str(), address).is_some())
    }

    /// Whether load may go to an endpoint: health and operators together.
    fn takes_load(&self, group: &Group, endpoint: &Endpoint) -> Usable {
        let is_drained = self.is_drained(&group.zone, &endpoint.address);
        if is_drained { Usable::No } else { self.usable(Policy::Failover, &endpoint.load.watch) }
    }

    /// How many endpoints a part sees that could be asked, were they not drained.
    pub fn count_well(&self, policy: Policy) -> u32 {
        let is_well = |one: &&Endpoint| self.usable(policy, &one.load.watch) != Usable::No;
        let groups = self.cell.groups.iter();
        count(groups.flat_map(|group| &group.endpoints).filter(is_well).count())
    }

    /// Whether an endpoint of the group is known to be well, and load is not to leave it.
    pub fn is_sure(&self, group: &Group) -> bool {
        let is_well = |endpoint: &Endpoint| self.takes_load(group, endpoint) == Usable::Yes;
        !self.verdicts.evacuate(&group.zone) && group.endpoints.iter().any(is_well)
    }
}

/// What verdicts do at a cell: what an operator says, or else what is configured for all. They are about many cells, so
/// all are looked at where one of them wants to know.
pub(super) fn verdict_mode(look: &Look<'_>, cell: &Cell) -> Mode {
    let pulled = look.levers.and_then(|levers| levers.mode(Policy::Verdict, cell.name.as_str()));
    pulled.map_or(look.snapshot.protection.verdict, |of| of.value)
}

/// Whether the cell can do without this endpoint: half of it is left, or the endpoint is good for nobody.
pub(super) fn may_eject(summaries: &[Summary], at: usize) -> bool {
    let left = summaries.iter().enumerate().filter(|(other, summary)| *other != at && summary.is_up).count();
    let Summary { requests, failed, .. } = summaries[at];
    left * 2 >= summaries.len() || failed as f64 >= requests as f64 * HOPELESS
}

/// What is declared by all groups; nothing where one of them declares nothing.
pub(super) fn capacity(cell: &Cell) -> Option<f64> {
    let first = cell.groups.iter().map(|group| group.priority).min()?;
    let serving = cell.groups.iter().filter(|group| group.priority == first);
    serving.map(|group| group.capacity_rps.map(f64::from)).sum()
}

/// Most requests in flight, whatever a limiter learns. The process's part in it is the bulkhead's.
pub(super) fn declared(cell: &Cell) -> u32 {
    bulkhead::most_of_cell(u32::MAX, 100, cell.max_in_flight)
}

pub(super) fn ramp_rules(snapshot: &Snapshot) -> RampRules {
    RampRules { replicas: snapshot.protection.replicas, ..RampRules::default() }
}

/// A place in no zone: what freezes it is not a zone's verdict.
pub(super) fn nowhere(cell: &Cell) -> Place {
    Place { cell: cell.name.clone(), zone: None, endpoint: "".into() }
}

/// Of each endpoint, in order.
pub(super) fn zones(cell: &Cell) -> impl Iterator<Item = &Label> {
    cell.groups.iter().flat_map(|group| group.endpoints.iter().map(move |_| &group.zone))
}

pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
