//! Which endpoint of a cell an attempt goes to: one of its group, in turn, or where no group is said, one of the lowest
//! priority that still has one. Which group that is, is `protection::failover`'s to say, and whether it lets a request in
//! is `protection::health`'s.
//!
//! It takes what was passed over in this request, so that an attempt never goes back to an endpoint that has just
//! failed it.

use super::snapshot::{Cell, Endpoint, Group};

/// A group and an endpoint in it, by position; meaningless without the cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    group: usize,
    endpoint: usize,
}

/// The endpoint for the next attempt, in this group where one is given; `ticket` is any number that grows from request to
/// request.
pub fn pick(cell: &Cell, only: Option<usize>, ticket: u64, passed_over: &[Place]) -> Option<Place> {
    let places = || {
        let groups = cell.groups.iter().enumerate();
        let groups = groups.filter(move |(group, _)| only.is_none_or(|only| only == *group));
        groups.flat_map(|(group, spec)| {
            (0..spec.endpoints.len()).map(move |endpoint| (spec.priority, Place { group, endpoint }))
        })
    };
    let open = || places().filter(|(_, place)| !passed_over.contains(place));
    let priority = open().map(|(priority, _)| priority).min()?;
    let candidates = || open().filter(|(other, _)| *other == priority).map(|(_, place)| place);
    let turn = usize::try_from(ticket % candidates().count() as u64).expect("below a count of endpoints");
    candidates().nth(turn)
}

/// The group of a place that [`pick`] gave for this cell.
pub fn group(cell: &Cell, place: Place) -> &Group {
    &cell.groups[place.group]
}

/// Which group that is, by position.
pub const fn position(place: Place) -> usize {
    place.group
}

/// The endpoint at a place that [`pick`] gave for this cell.
pub fn endpoint(cell: &Cell, place: Place) -> &Endpoint {
    &cell.groups[place.group].endpoints[place.endpoint]
}
