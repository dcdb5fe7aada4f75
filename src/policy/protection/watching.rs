//! Where a request would have gone in its cell, were enforced what only watches. The request itself goes where it goes;
//! here is only counted.

use super::super::pick::{self, Place};
use super::super::snapshot::Cell;
use super::endpoint_load::EndpointLoad;
use super::standing::Forced;

/// Where it would have gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the endpoint whose turn it is; or to none that is anybody's but an operator's to say.
    Straight(Option<Place>),
    /// To another, because that one is out.
    Elsewhere(Place),
    /// Nowhere: all that it may go to are out.
    Nowhere,
}

/// The way of a request of this `ticket` that is for this group; `is_drained` are no part of it. `forces` says how it may
/// go to an endpoint that is out, and is asked where nothing else is left.
pub fn way(
    cell: &Cell,
    group: Option<usize>,
    ticket: u64,
    is_drained: impl Fn(Place) -> bool,
    forces: impl FnOnce() -> Option<Forced>,
) -> Way {
    let (mut passed_over, mut closed) = (Vec::new(), Vec::new());
    let load = |place: Place| -> &EndpointLoad { &pick::endpoint(cell, place).load };
    while let Some(place) = pick::pick(cell, group, ticket, &passed_over) {
        passed_over.push(place);
        if is_drained(place) {
            continue;
        }
        if load(place).watch.would_enter() {
            return if closed.is_empty() { Way::Straight(Some(place)) } else { Way::Elsewhere(place) };
        }
        closed.push(place);
    }
    if closed.is_empty() {
        // Nobody is out: what is drained is an operator's.
        return Way::Straight(None);
    }
    let Some(forced) = forces() else { return Way::Nowhere };
    let enters = |place: &Place| load(*place).watch.would_claim() || forced == Forced::Open;
    match closed.iter().position(enters) {
        Some(0) => Way::Straight(Some(closed[0])),
        Some(at) => Way::Elsewhere(closed[at]),
        None => Way::Nowhere,
    }
}
