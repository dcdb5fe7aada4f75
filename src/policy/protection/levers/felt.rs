//! What levers make of a request at its cell: which mode each part has for it, and which lever it has felt.

use super::super::super::guard::Mode;
use super::super::super::snapshot::{Cell, Endpoint, Group};
use super::super::modes::Modes;
use super::super::policies::Policy;
use super::super::shed::Shed;
use super::super::standing::Admission;
use super::{LeverId, Levers};

/// What each part does: an operator's word before the configuration's.
pub fn modes(cell: &Cell, levers: Option<&Levers>) -> Modes {
    let configured = cell.protection.modes;
    let Some(levers) = levers else { return configured };
    let name = cell.name.as_str();
    let modes = Policy::ALL.into_iter().fold(configured, |modes, policy| match levers.mode(policy, name) {
        Some(of) => {
            levers.touch(of.lever);
            modes.with(policy, of.value)
        }
        None => modes,
    });
    // A cap holds also where what the cell's own limit would say does not.
    if levers.cap(name).in_flight.is_some() { modes.with(Policy::Limit, Mode::Enforce) } else { modes }
}

/// The lever because of which a request is refused, waits or goes elsewhere.
pub fn felt(levers: &Levers, cell: &Cell, admission: &Admission) -> Option<LeverId> {
    let name = cell.name.as_str();
    match admission {
        Admission::Refused(Shed::Recovering, _) => levers.ramp(name).map(|of| of.lever),
        // The cell is gone: no lever did that.
        Admission::Refused(Shed::CellDown, _) => None,
        Admission::Refused(Shed::NoHeadroom, _) => drained_group(levers, cell),
        Admission::Refused(..) | Admission::Wait(..) => levers.cap(name).in_flight.map(|of| of.lever),
        Admission::Go(pass) if pass.is_moved => drained_group(levers, cell),
        Admission::Go(_) => None,
    }
}

/// The lever that has taken an endpoint of the cell away, in the group that is the first to be used.
fn drained_group(levers: &Levers, cell: &Cell) -> Option<LeverId> {
    let mut groups: Vec<&Group> = cell.groups.iter().collect();
    groups.sort_by_key(|group| group.priority);
    groups.into_iter().find_map(|group| {
        let drained =
            |endpoint: &Endpoint| levers.drained(cell.name.as_str(), group.zone.as_str(), &endpoint.address);
        group.endpoints.iter().find_map(drained)
    })
}
