//! What a request would feel of parts that only watch, beside what its cell's standing counts: permits of the process, of
//! the cell and of the group, and endpoints that are out. It is counted, and goes on.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use super::super::service::Service;
use super::Admitted;
use crate::policy::admit::Lent;
use crate::policy::guard::Mode;
use crate::policy::pick::{self, Place};
use crate::policy::protection::bulkhead;
use crate::policy::protection::levers::Levers;
use crate::policy::protection::policies::Policy;
use crate::policy::protection::shed::Shed;
use crate::policy::protection::standing::Pass;
use crate::policy::protection::watching::{self, Way};
use crate::policy::protection::would::Act;
use crate::policy::snapshot::Cell;

/// What is known by now of what would have been.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// [`AS_IT_IS`] or what follows it.
    would: AtomicU8,
    /// The way that it would go has been counted.
    way_known: AtomicBool,
    /// Where that leads to, and whether who asked there last has failed.
    place: OnceLock<(Place, bool)>,
}

/// The group has as many requests as it may have.
#[derive(Debug)]
pub(super) struct GroupFull;

/// It would be where it is.
const AS_IT_IS: u8 = 0;
/// It would be somewhere else.
const ELSEWHERE: u8 = 1;
/// The same, and that has been told.
const TOLD: u8 = 2;
/// It would have been refused.
const REFUSED: u8 = 3;

impl Service {
    /// The same where they are only watched. Those of the process are others then: what only watches takes nothing away
    /// from cells that are protected.
    pub(super) fn watched_permits<'a>(
        &'a self,
        cell: &'a Cell,
        admitted: &Admitted<'_>,
    ) -> [Option<Lent<'a>>; 2] {
        if !admitted.pass().would_come() {
            return [None, None];
        }
        let most = bulkhead::most_of_cell(self.requests.most, cell.share_percent, cell.max_in_flight);
        // Where the limit watches too, it knows better: when it would have gone, and until when.
        let (of_cell, is_full) = match admitted.standing.would_be_in_flight(&admitted.pass()) {
            Some(in_flight) => (None, in_flight > most),
            None => {
                let of_cell = cell.load.try_lend(most);
                let is_full = of_cell.is_none();
                (of_cell, is_full)
            }
        };
        if is_full {
            admitted.would_refuse(Policy::Bulkhead, Shed::CellFull);
            return [None, None];
        }
        let left = self.requests.most.saturating_sub(self.requests.permits.taken());
        let Some(of_process) = self.watched_requests.try_lend(left) else {
            admitted.would_refuse(Policy::Bulkhead, Shed::ProcessFull);
            return [None, None];
        };
        [Some(of_process), of_cell]
    }
}

impl Admitted<'_> {
    /// A permit of the group that it goes to; of the one that it would go to, where that is watched.
    ///
    /// # Errors
    /// There is none, and it goes nowhere without.
    pub(super) fn group_permit<'c>(&self, cell: &'c Cell, at: usize) -> Result<Option<Lent<'c>>, GroupFull> {
        let mode = self.modes.of(Policy::Bulkhead);
        let pass = self.pass();
        if mode == Mode::Observe && !pass.would_come() {
            return Ok(None);
        }
        let at = pass.would_group.filter(|_| mode == Mode::Observe).unwrap_or(at);
        let permit = cell.groups.get(at).and_then(|group| group.requests.try_lend());
        match (&permit, mode) {
            (None, Mode::Enforce) if !self.is_reserved() => Err(GroupFull),
            (None, Mode::Observe) => {
                self.would_refuse(Policy::Bulkhead, Shed::GroupFull);
                Ok(None)
            }
            _ => Ok(permit),
        }
    }

    /// Counts where it would go, where what is watched has a say in that. To be asked before each attempt; the first
    /// counts.
    pub fn watch_way(&self, cell: &Cell, ticket: u64) {
        let (health, failover) = (self.modes.of(Policy::Health), self.modes.of(Policy::Failover));
        let is_watched = [health, failover].contains(&Mode::Observe) && self.pass().would_come();
        if !is_watched || self.watched.way_known.swap(true, Ordering::Relaxed) {
            return;
        }
        let group = if failover == Mode::Observe { self.pass.would_group } else { self.pass.group };
        let is_drained = |place: Place| {
            let (group, endpoint) = (pick::group(cell, place), pick::endpoint(cell, place));
            let drained = |levers: &Levers| {
                levers.drained(cell.name.as_str(), group.zone.as_str(), &endpoint.address).is_some()
            };
            self.levers.as_deref().is_some_and(drained)
        };
        // The few that may go to what is out are counted; where health is enforced, they are those that do go.
        let forces = || if health == Mode::Observe { self.forces() } else { None };
        let by = if health == Mode::Observe { Policy::Health } else { Policy::Failover };
        let way = watching::way(cell, group, ticket, is_drained, forces);
        if let Way::Straight(Some(place)) | Way::Elsewhere(place) = way {
            let is_failing = pick::endpoint(cell, place).load.watch.is_failing();
            let _first = self.watched.place.set((place, is_failing));
        }
        match way {
            Way::Elsewhere(_) if health == Mode::Observe => self.standing.would.act(by, Act::Elsewhere),
            Way::Straight(_) | Way::Elsewhere(_) => {}
            Way::Nowhere => self.would_refuse(by, Shed::CellDown),
        }
    }

    /// It goes here.
    pub fn goes_to(&self, place: Place) {
        if self.watched.place.get().is_some_and(|(would, _)| *would != place) {
            self.watched.would.fetch_max(ELSEWHERE, Ordering::Relaxed);
        }
    }

    /// What became of it has been told.
    pub(super) fn told(&self) {
        let next = self.watched.would.compare_exchange(ELSEWHERE, TOLD, Ordering::Relaxed, Ordering::Relaxed);
        // Of all others there is nothing to be remembered.
        let _ = next;
    }

    /// It would have been refused by this part, which watches.
    pub(super) fn would_refuse(&self, policy: Policy, why: Shed) {
        self.standing.would_refuse(self.clock.now(), &self.pass(), policy, why);
        self.watched.would.store(REFUSED, Ordering::Relaxed);
    }

    /// What it holds by now.
    pub(super) fn pass(&self) -> Pass {
        match self.watched.would.load(Ordering::Relaxed) {
            AS_IT_IS => self.pass,
            ELSEWHERE => {
                self.pass.elsewhere(self.watched.place.get().is_some_and(|(_, is_failing)| *is_failing))
            }
            TOLD => self.pass.elsewhere(false).told(),
            _ => self.pass.left(),
        }
    }
}
