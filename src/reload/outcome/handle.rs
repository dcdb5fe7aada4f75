//! The two ends between the task that reloads and whoever asks it or looks.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::{OverrideRequest, RecentReloads, ReloadReport, ReloadRequest, StagedReport};

/// Places in the queue of wishes: reloads take well below a second, and a caller who finds the queue
/// full is told to come back.
pub const QUEUED_REQUESTS: usize = 8;

/// What the admin plane holds of the reload task: it can ask and look, and cannot swap.
#[derive(Clone, Debug)]
pub struct ReloadHandle {
    /// Asks.
    pub requests: mpsc::Sender<ReloadRequest>,
    /// Overrides.
    pub overrides: mpsc::Sender<OverrideRequest>,
    /// Looks.
    pub last: watch::Receiver<Arc<ReloadReport>>,
    /// Looks at the candidate.
    pub staged: watch::Receiver<Option<Arc<StagedReport>>>,
    /// Looks back.
    pub recent: RecentReloads,
}

/// The reload task's own ends of a [`ReloadHandle`].
#[derive(Debug)]
pub struct ReloadInbox {
    /// Wishes.
    pub requests: mpsc::Receiver<ReloadRequest>,
    /// Overrides.
    pub overrides: mpsc::Receiver<OverrideRequest>,
    /// Where the task puts its last report.
    pub last: watch::Sender<Arc<ReloadReport>>,
    /// Where it says what stands as candidate.
    pub staged: watch::Sender<Option<Arc<StagedReport>>>,
    recent: RecentReloads,
}

impl ReloadInbox {
    /// Puts a report where everybody looks, and keeps it in short.
    pub fn tell(&self, report: ReloadReport) {
        self.recent.add(&report);
        // Receivers live in the admin plane; without one nobody looks.
        self.last.send_replace(Arc::new(report));
    }
}

/// A connected pair; `start` reports how the configuration of the start came in force.
pub fn handles(start: ReloadReport) -> (ReloadHandle, ReloadInbox) {
    let (request_sender, request_receiver) = mpsc::channel(QUEUED_REQUESTS);
    // One at a time: two people who break the glass at once had better talk to each other.
    let (overrides, override_receiver) = mpsc::channel(1);
    let recent = RecentReloads::default();
    recent.add(&start);
    let (last, last_receiver) = watch::channel(Arc::new(start));
    let (staged_sender, staged_receiver) = watch::channel(None);
    (
        ReloadHandle {
            requests: request_sender,
            overrides,
            last: last_receiver,
            staged: staged_receiver,
            recent: recent.clone(),
        },
        ReloadInbox {
            requests: request_receiver,
            overrides: override_receiver,
            last,
            staged: staged_sender,
            recent,
        },
    )
}
