//! Permits: the right to be one of a bounded number: a request in flight, a connection. A value, freed on drop.
//!
//! The counter outlives reloads (`config::compile` carries it over by name), so a limit that a reload lowers below
//! the live count is not an invariant that `taken <= limit`: the excess drains by itself and nothing new is admitted
//! until it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::apart::Apart;
use super::holding::Waiting;
use super::protection::standing::Standing;
use super::retry::RetryBudget;
use super::unauthorized::Unauthorized;
use super::writes::Writes;

/// How many permits of one kind are taken. Each kind apart: what one cell is asked for is no business of another's.
#[derive(Debug, Default)]
pub struct Permits(Apart<AtomicU32>);

/// One of a bounded number.
#[derive(Debug)]
#[must_use = "dropping a permit ends what it was taken for"]
pub struct Permit(Arc<Permits>);

/// The same for whoever ends before the counter does: a request, which has its snapshot. It is counted once, and not a
/// second time as an owner of the counter, in another number that all threads write to.
#[derive(Debug)]
#[must_use = "dropping a permit ends what it was taken for"]
pub struct Lent<'a>(&'a Permits);

/// Permits, and how many there are.
#[derive(Clone, Debug)]
pub struct Bound {
    /// Outlives reloads.
    pub permits: Arc<Permits>,
    /// Most that may be taken at once.
    pub most: u32,
}

/// The live counters of one cell, shared by all snapshots that have the cell.
#[derive(Debug, Default)]
pub struct CellLoad {
    requests: Arc<Permits>,
    /// Numbers its requests, to spread them over endpoints.
    tickets: AtomicU64,
    /// Requests of operators that hold a permit which nobody else can take.
    pub operators: Arc<Permits>,
    /// What keeps it standing.
    pub standing: Standing,
    /// How many of its answers are 401.
    pub unauthorized: Unauthorized,
    /// How many of its requests may be sent again.
    pub retries: RetryBudget,
    /// Its writes under way, by account.
    pub writes: Arc<Writes>,
    /// Its requests that wait because their account moves, or because an operator holds them.
    pub waiting: Arc<Waiting>,
}

impl Permits {
    /// Takes a permit unless `limit` are taken already.
    pub fn try_take(self: &Arc<Self>, limit: u32) -> Option<Permit> {
        self.count(limit).then(|| Permit(Arc::clone(self)))
    }

    /// Lends a permit unless `limit` are taken already.
    pub fn try_lend(&self, limit: u32) -> Option<Lent<'_>> {
        self.count(limit).then(|| Lent(self))
    }

    /// How many are taken now.
    pub fn taken(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// One more, unless that is more than `limit`.
    fn count(&self, limit: u32) -> bool {
        // Not counted for a moment and taken back: another would be refused what has come free meanwhile.
        let take = |taken: u32| (taken < limit).then_some(taken + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn give_back(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

impl Bound {
    /// So many, none of which is taken.
    pub fn new(most: u32) -> Self {
        Self { permits: Arc::default(), most }
    }

    /// Takes one, unless all are taken.
    pub fn try_take(&self) -> Option<Permit> {
        self.permits.try_take(self.most)
    }

    /// Lends one, unless all are taken.
    pub fn try_lend(&self) -> Option<Lent<'_>> {
        self.permits.try_lend(self.most)
    }
}

impl CellLoad {
    /// A permit for a request, unless `limit` are taken already.
    pub fn try_acquire(&self, limit: u32) -> Option<Permit> {
        self.requests.try_take(limit)
    }

    /// The same, lent.
    pub fn try_lend(&self, limit: u32) -> Option<Lent<'_>> {
        self.requests.try_lend(limit)
    }

    /// A number for a request, one more than that of the one before at this cell. Of all cells together, cells that are asked by
    /// turns would each meet the same of their endpoints again and again.
    pub fn ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// How many requests hold a permit now.
    pub fn in_flight(&self) -> u32 {
        self.requests.taken()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_comes_free_when_it_is_dropped() {
        let load = CellLoad::default();
        let first = load.try_acquire(2);
        let second = load.try_acquire(2);
        assert!(first.is_some() && second.is_some());
        assert!(load.try_acquire(2).is_none());
        assert_eq!(load.in_flight(), 2);
        drop(first);
        assert!(load.try_acquire(2).is_some());
    }

    #[test]
    fn what_is_lent_is_taken_from_the_same_number() {
        let load = CellLoad::default();
        let (taken, lent) = (load.try_acquire(2), load.try_lend(2));
        assert!(taken.is_some() && lent.is_some() && load.try_lend(2).is_none());
        assert_eq!(load.in_flight(), 2, "who was refused is not counted");
        drop(lent);
        assert_eq!(load.in_flight(), 1);
        drop(taken);
        assert_eq!(load.in_flight(), 0);
    }
}
