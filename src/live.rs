//! The one place where the serving snapshot lives. Readers pin it; only `reload` replaces it.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::policy::snapshot::Snapshot;

/// The serving snapshot.
#[derive(Debug)]
pub struct Live(ArcSwap<Snapshot>);

impl Live {
    /// Serves `first` until the first [`replace`](Self::replace).
    pub fn new(first: Arc<Snapshot>) -> Self {
        Self(ArcSwap::new(first))
    }

    /// The snapshot of this moment. A request pins once, at its head, and keeps it to its end.
    pub fn pin(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Serves `next` from now on. Cannot fail: everything fallible has happened before.
    pub fn replace(&self, next: Arc<Snapshot>) {
        self.0.store(next);
    }
}
