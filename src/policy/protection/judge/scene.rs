//! A cell in one look: what is configured, what operators say, and what verdicts stand; and the small questions on it.

use super::super::super::guard::Mode;
use super::super::super::ids::Label;
use super::super::super::snapshot::{Cell, Endpoint, EndpointAddress, Group, Snapshot};
use super::super::bulkhead;
use super::super::gate::Refused;
use super::super::health::{Summary, Usable};
use super::super::policies::Policy;
use super::super::ramp::RampRules;
use super::super::shed::Shed;
use super::super::standing::shed;
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

    pub fn is_drained(&self, zone: &Label, address: &EndpointAddress) -> bool {
        let name = self.cell.name.as_str();
        self.look.levers.is_some_and(|levers| levers.drained(name, zone.as_str(), address).is_some())
    }

    /// Whether load may go to an endpoint: health and operators together.
    pub fn usable(&self, group: &Group, endpoint: &Endpoint) -> Usable {
        let is_drained = self.is_drained(&group.zone, &endpoint.address);
        if is_drained { Usable::No } else { endpoint.load.watch.usable() }
    }

    /// How many endpoints of a group load may go to.
    pub fn count_usable(&self, group: &Group) -> u32 {
        count(group.endpoints.iter().filter(|one| self.usable(group, one) != Usable::No).count())
    }

    /// Whether an endpoint of the group is known to be well, and load is not to leave it.
    pub fn is_sure(&self, group: &Group) -> bool {
        let is_well = |endpoint: &Endpoint| self.usable(group, endpoint) == Usable::Yes;
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

pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What would have been refused, had it not only been observed.
pub(super) fn would_have(cell: &Cell) -> [u64; Shed::ALL.len()] {
    let standing = &cell.load.standing;
    let mut counts = Shed::ALL.map(|why| standing.would_have(why));
    for why in Refused::ALL {
        counts[shed(why) as usize] += standing.observed.would_have_refused(why);
    }
    counts
}
