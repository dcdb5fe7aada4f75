//! A request on its way through one replica: what it holds, and where it is. Given back in the order in which the data
//! plane gives it back (`proxy::admission`, `proxy::forward`).

use std::sync::{Arc, Mutex, PoisonError};

use super::clients::Client;
use crate::policy::admit::Permit;
use crate::policy::guard::Mode;
use crate::policy::moment::Moment;
use crate::policy::pick;
use crate::policy::protection::endpoint_load::{Asked, Attempt};
use crate::policy::protection::gate::Refused;
use crate::policy::protection::group_load::GroupPermit;
use crate::policy::protection::policies::Policy;
use crate::policy::protection::queue;
use crate::policy::protection::standing::{Ask, Forced, Pass, Waiter};
use crate::policy::retry::Tried;
use crate::policy::snapshot::Cell;

/// One request.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    pub cell: usize,
    pub replica: usize,
    pub client: Client,
    pub came: Moment,
    pub ask: Ask,
    pub pass: Option<Pass>,
    pub stage: Stage<'a>,
    /// Counts up with the stages, so that a timer knows whether it is still meant.
    pub turn: u32,
    pub passed_over: Vec<pick::Place>,
    pub tried: Tried,
    /// Of the process and of the cell.
    pub permits: Option<[Permit; 2]>,
    /// Of the group: for the request, and for its connection.
    pub of_group: Option<[Permit; 2]>,
    /// And of its limiter, where it has one.
    pub ordinary: Option<GroupPermit>,
}

/// Where it is.
#[derive(Debug)]
pub(super) enum Stage<'a> {
    /// Nowhere yet, or between two attempts.
    Between,
    /// In the queue.
    Waiting(queue::Place),
    /// It has sent a SYN that nobody answers.
    Connecting(Attempt<'a>, pick::Place),
    /// At the group, since then.
    Asked(Asked<'a>, Moment),
}

/// Why there is no endpoint for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nowhere {
    /// All have been tried.
    Tried,
    /// None is well enough to be asked.
    Closed,
    /// Its group has no permit, and no other has room.
    GroupFull,
}

/// Those on their way, by number. Boxed, and in a plain list, because each is taken out and put back at every step.
#[derive(Debug, Default)]
pub(super) struct Flights<'a>(Vec<Option<Box<Flight<'a>>>>);

/// Those who wait, and were told; the loop takes them from here.
pub(super) type Told = Arc<Mutex<Vec<(u64, Result<(), Refused>)>>>;

/// One who waits: a number.
#[derive(Debug)]
pub(super) struct Number {
    pub id: u64,
    pub told: Told,
}

impl Waiter for Number {
    fn go(self: Box<Self>) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push((self.id, Ok(())));
        true
    }

    fn refuse(self: Box<Self>, why: Refused) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push((self.id, Err(why)));
    }
}

impl<'a> Flights<'a> {
    pub fn insert(&mut self, id: u64, flight: Box<Flight<'a>>) {
        let at = usize::try_from(id).expect("no simulation has more requests than memory");
        if self.0.len() <= at {
            self.0.resize_with(at + 1, || None);
        }
        self.0[at] = Some(flight);
    }

    pub fn remove(&mut self, id: u64) -> Option<Box<Flight<'a>>> {
        self.0.get_mut(usize::try_from(id).ok()?)?.take()
    }

    pub fn get(&self, id: u64) -> Option<&Flight<'a>> {
        self.0.get(usize::try_from(id).ok()?)?.as_deref()
    }

    pub fn get_mut(&mut self, id: u64) -> Option<&mut Flight<'a>> {
        self.0.get_mut(usize::try_from(id).ok()?)?.as_deref_mut()
    }
}

impl<'a> Flight<'a> {
    /// An endpoint and a permit of its group, or of another one where that is full and failover allows it, as
    /// `proxy::forward` finds them.
    pub fn enter(
        &mut self,
        cell: &'a Cell,
        ticket: u64,
        now: Moment,
    ) -> Result<(pick::Place, Attempt<'a>, Permit), Nowhere> {
        let (place, attempt) = self.endpoint(cell, ticket, now)?;
        let full = pick::position(place);
        if let Some((permit, ordinary)) = self.group_permits(cell, full) {
            self.ordinary = ordinary;
            return Ok((place, attempt, permit));
        }
        let mut pass = self.pass.ok_or(Nowhere::GroupFull)?;
        let takes = |other| self.group_permits(cell, other);
        let found = cell.load.standing.overflow(now, &pass, full, takes);
        let (other, (permit, ordinary)) = found.ok_or(Nowhere::GroupFull)?;
        // Further attempts stay there.
        (pass.group, pass.is_moved) = (Some(other), true);
        self.pass = Some(pass);
        self.ordinary = ordinary;
        match self.endpoint(cell, ticket, now)? {
            (place, attempt) if pick::position(place) == other => Ok((place, attempt, permit)),
            _ => Err(Nowhere::GroupFull),
        }
    }

    fn group_permits(&self, cell: &Cell, at: usize) -> Option<(Permit, Option<GroupPermit>)> {
        let group = cell.groups.get(at)?;
        let permit = group.requests.try_take()?;
        if cell.groups.len() < 2 || self.ask.long_lived {
            return Some((permit, None));
        }
        let priority = self.pass.map_or(self.ask.priority, |pass| pass.priority);
        let is_limited = cell.protection.modes.of(Policy::Limit) == Mode::Enforce;
        let ordinary = group.load.try_take(priority, cell.load.standing.has_few_left(is_limited));
        (ordinary.is_some() || !is_limited).then_some((permit, ordinary))
    }

    /// The endpoint for its next attempt.
    fn endpoint(
        &mut self,
        cell: &'a Cell,
        ticket: u64,
        now: Moment,
    ) -> Result<(pick::Place, Attempt<'a>), Nowhere> {
        let group = self.pass.and_then(|pass| pass.group);
        let account = Some(self.client.account);
        let mut closed = Vec::new();
        while let Some(place) = pick::pick(cell, group, ticket, &self.passed_over) {
            if let Some(attempt) = pick::endpoint(cell, place).load.enter(account) {
                return Ok((place, attempt));
            }
            self.passed_over.push(place);
            closed.push(place);
        }
        if closed.is_empty() {
            return Err(Nowhere::Tried);
        }
        let forced = cell.load.standing.forces(self.ask.priority, now).ok_or(Nowhere::Closed)?;
        let enter = |place: pick::Place| {
            let load = &pick::endpoint(cell, place).load;
            Some((place, load.enter_closed(account, forced == Forced::Open)?))
        };
        closed.into_iter().find_map(enter).ok_or(Nowhere::Closed)
    }

    /// Goes on to the next stage, and gives what the one before held.
    pub fn go_on(&mut self, stage: Stage<'a>) -> Stage<'a> {
        self.turn += 1;
        std::mem::replace(&mut self.stage, stage)
    }
}
