//! Snapshots that no longer serve, until the last request lets go of them: freeing tables of a million rows is
//! nothing that a request should do at its end.

use std::sync::Arc;
use std::time::Duration;

use crate::policy::snapshot::Snapshot;
use crate::quiet;

/// How often it is looked whether a snapshot is still pinned; its memory is kept for so much longer.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Snapshots that were replaced.
#[derive(Default)]
pub(super) struct Retired(Vec<Arc<Snapshot>>);

impl Retired {
    /// This one was replaced.
    pub(super) fn add(&mut self, snapshot: Arc<Snapshot>) {
        self.0.push(snapshot);
        // Where one reload follows the other, nobody waits for [`freed`](Self::freed).
        self.free();
    }

    /// Waits, and frees those that nobody else holds. Never ends while there are none. Nothing is lost when it is
    /// dropped on the way.
    pub(super) async fn freed(&mut self) {
        if self.0.is_empty() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        self.free();
    }

    fn free(&mut self) {
        // Who has none of these cannot get one any more: the live one is another.
        let unpinned: Vec<_> = self.0.extract_if(.., |snapshot| Arc::strong_count(snapshot) == 1).collect();
        if !unpinned.is_empty() {
            quiet::start(move || drop(unpinned));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_snapshot::SnapshotBuilder;

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_is_freed_once_the_last_request_has_let_go_of_it() {
        let snapshot = Arc::new(SnapshotBuilder::new().build());
        let (pinned, watched) = (Arc::clone(&snapshot), Arc::downgrade(&snapshot));
        let mut retired = Retired::default();
        retired.add(snapshot);
        retired.freed().await;
        assert_eq!((retired.0.len(), watched.strong_count()), (1, 2), "a request has it");
        drop(pinned);
        assert_eq!(watched.strong_count(), 1, "it is not the request that frees it");
        retired.freed().await;
        assert_eq!(retired.0.len(), 0);
        assert!(tokio::time::timeout(10 * LOOK_EVERY, retired.freed()).await.is_err(), "nothing to wait for");
    }
}
