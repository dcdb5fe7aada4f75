//! Where requests read the levers. One writer puts up a whole table; a request that finds none pulled pays one relaxed load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::Levers;

/// The table that is in force.
#[derive(Debug, Default)]
pub struct LeverBoard {
    /// Whether the table has a lever. Only saves the way to the lock: what the lock guards is what counts.
    any: AtomicBool,
    table: RwLock<Arc<Levers>>,
}

impl LeverBoard {
    /// The levers, where any is pulled. A request reads once and keeps what it has read.
    pub fn read(&self) -> Option<Arc<Levers>> {
        // Relaxed: who sees the old value was a moment earlier.
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        Some(self.table()).filter(|table| !table.is_empty())
    }

    /// The table, also an empty one.
    pub fn table(&self) -> Arc<Levers> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts up another table.
    pub fn put_up(&self, levers: Levers) {
        let any = !levers.is_empty();
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(levers);
        self.any.store(any, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::protection::levers::{Lever, LeverId};

    #[test]
    fn a_request_finds_what_was_put_up_last() {
        let board = LeverBoard::default();
        assert!(board.read().is_none());
        let mut levers = Levers::default();
        let lever = Lever::parse("drain cell us1").expect("words of a lever");
        let _ = levers.pull(lever, ("ann", "us1 burns"), None, 0).expect("there is room");
        board.put_up(levers.clone());
        let read = board.read().expect("one is pulled");
        read.touch(LeverId(1));
        assert_eq!(board.table().touched(LeverId(1)), 1);
        assert!(levers.release(LeverId(1)).is_ok());
        board.put_up(levers);
        assert!(board.read().is_none() && read.drained_cell("us1").is_some(), "what was read is kept");
    }
}
