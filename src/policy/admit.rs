//! Permits: the right to one in-flight request of a cell. A value, freed on drop.
//!
//! The counter outlives reloads (`config::compile` carries it over by cell name), so a limit that a
//! reload lowers below the live count is not an invariant that `in_flight <= limit`: the excess drains
//! by itself and nothing new is admitted until it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::holding::Waiting;
use super::retry::RetryBudget;
use super::unauthorized::Unauthorized;
use super::writes::Writes;

/// The live counters of one cell, shared by all snapshots that have the cell.
#[derive(Debug, Default)]
pub struct CellLoad {
    in_flight: AtomicU32,
    /// How many of its answers are 401.
    pub unauthorized: Unauthorized,
    /// How many of its requests may be sent again.
    pub retries: RetryBudget,
    /// Its writes under way, by account.
    pub writes: Arc<Writes>,
    /// Its requests that wait because their account moves.
    pub waiting: Arc<Waiting>,
}

/// The right to one in-flight request.
#[derive(Debug)]
#[must_use = "dropping a permit ends the request it was taken for"]
pub struct Permit(Arc<CellLoad>);

impl CellLoad {
    /// Takes a permit unless `limit` are taken already.
    pub fn try_acquire(self: &Arc<Self>, limit: u32) -> Option<Permit> {
        // Count first, look second: two requests that race for the last permit cannot both get it.
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let permit = Permit(Arc::clone(self));
        (before < limit).then_some(permit)
    }

    /// How many permits are taken now.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_comes_free_when_it_is_dropped() {
        let load = Arc::new(CellLoad::default());
        let first = load.try_acquire(2);
        let second = load.try_acquire(2);
        assert!(first.is_some() && second.is_some());
        assert!(load.try_acquire(2).is_none());
        assert_eq!(load.in_flight(), 2);
        drop(first);
        assert!(load.try_acquire(2).is_some());
    }
}
