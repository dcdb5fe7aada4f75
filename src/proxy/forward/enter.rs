//! Where one attempt goes: an endpoint that lets it in, and a permit of its group.

use super::super::admission::InGroup;
use super::{Attempt, Route, health, pick, protection};

impl<'a> Route<'a> {
    /// An endpoint and a permit of its group, or of another one where the group is full and failover allows that.
    pub(super) fn enter(&mut self) -> Result<(pick::Place, health::Attempt<'a>, InGroup<'a>), Attempt> {
        let (place, attempt) = self.endpoint()?;
        let full = pick::position(place);
        if let Some(permit) = self.admitted.enter_group(self.cell, full) {
            return Ok((place, attempt, permit));
        }
        let (other, permit) = self.admitted.overflow(self.cell, full).ok_or(Attempt::GroupFull)?;
        // Further attempts stay there.
        self.group = Some(other);
        match self.endpoint() {
            Ok((place, attempt)) if pick::position(place) == other => Ok((place, attempt, permit)),
            _ => Err(Attempt::GroupFull),
        }
    }

    /// The endpoint for this attempt: the first in turn that lets requests in; or, where none does, one that gets the
    /// trickle of a cell that is out.
    fn endpoint(&mut self) -> Result<(pick::Place, health::Attempt<'a>), Attempt> {
        let (cell, outgoing, mut group) = (self.cell, self.outgoing, self.group);
        self.admitted.watch_way(cell, outgoing.ticket);
        let mut closed = Vec::new();
        loop {
            let Some(place) = pick::pick(cell, group, outgoing.ticket, &self.passed_over) else {
                if closed.is_empty() && group.is_some() && self.admitted.found_drained() {
                    // Drained a moment ago: the next look says where its requests go, and until then it is anywhere.
                    group = None;
                    continue;
                }
                break;
            };
            let (in_group, endpoint) = (pick::group(cell, place), pick::endpoint(cell, place));
            if self.admitted.is_drained(cell, in_group, endpoint) {
                self.passed_over.push(place);
                continue;
            }
            if let Some(attempt) = endpoint.load.enter(outgoing.account) {
                self.admitted.goes_to(place);
                // Another attempt may go there; one that finds no connection does not.
                return Ok((place, attempt));
            }
            self.passed_over.push(place);
            closed.push(place);
        }
        if closed.is_empty() {
            let drained = |place: &pick::Place| {
                self.admitted.is_drained(cell, pick::group(cell, *place), pick::endpoint(cell, *place))
            };
            // One that was tried says more.
            let is_drained = !self.passed_over.is_empty() && self.passed_over.iter().all(drained);
            return Err(if is_drained { Attempt::Drained } else { Attempt::NoEndpoint(self.unreachable) });
        }
        let forced = self.admitted.forces().ok_or(Attempt::Closed)?;
        let enter = |place: pick::Place| {
            let load = &pick::endpoint(cell, place).load;
            Some((place, load.enter_closed(outgoing.account, forced == protection::Forced::Open)?))
        };
        closed.into_iter().find_map(enter).ok_or(Attempt::Closed)
    }
}
