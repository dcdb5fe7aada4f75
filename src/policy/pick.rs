//! Which endpoint of a cell gets the next attempt.

use super::snapshot::{Cell, Endpoint};

/// An endpoint of a cell, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pick {
    /// Position in [`Cell::groups`].
    pub group: usize,
    /// Position in [`Group::endpoints`](super::snapshot::Group::endpoints).
    pub endpoint: usize,
}

impl Pick {
    /// The endpoint in the cell that it was picked from.
    pub fn endpoint(self, cell: &Cell) -> &Endpoint {
        &cell.groups[self.group].endpoints[self.endpoint]
    }
}

/// Picks among the endpoints of the lowest priority that has any outside `exclude`: those that failed
/// in this request already. Groups of equal priority are one circle, whatever their zone; `ticket`,
/// which the caller counts up with every attempt, is the place in it. `None` when every endpoint is
/// excluded.
pub fn pick(cell: &Cell, ticket: u64, exclude: &[Pick]) -> Option<Pick> {
    let candidates = || endpoints(cell).filter(|(_, pick)| !exclude.contains(pick));
    let priority = candidates().map(|(priority, _)| priority).min()?;
    let circle = || candidates().filter(|(other, _)| *other == priority).map(|(_, pick)| pick);
    let size = u64::try_from(circle().count()).ok().filter(|size| *size > 0)?;
    circle().nth(usize::try_from(ticket % size).ok()?)
}

/// Every endpoint with the priority of its group, in the order of the configuration.
fn endpoints(cell: &Cell) -> impl Iterator<Item = (u8, Pick)> + '_ {
    cell.groups.iter().enumerate().flat_map(|(group, of)| {
        (0..of.endpoints.len()).map(move |endpoint| (of.priority, Pick { group, endpoint }))
    })
}
