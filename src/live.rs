//! The one place where the serving snapshot lives. Readers pin it; only `reload` replaces it.
//!
//! Beside what serves a candidate may stand, which serves a share of the accounts first. Everything that belongs to no
//! account (connections, TLS, the gate, what operators look at) belongs to what serves.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::policy::canary::Candidate;
use crate::policy::snapshot::{RequestLimits, Snapshot};

/// The serving snapshot.
#[derive(Debug)]
pub struct Live {
    pinned: ArcSwap<Pinned>,
    /// Says that there is a newer one, and not which: nobody serves from here.
    replaced: watch::Sender<()>,
}

/// What serves at one moment.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// Everybody, but for the candidate's share.
    pub stable: Arc<Snapshot>,
    /// A share of the accounts, where one stands.
    pub candidate: Option<Arc<Candidate>>,
}

/// Tells of snapshots that are replaced after it was made.
#[derive(Debug)]
pub struct Replacements(watch::Receiver<()>);

impl Live {
    /// Serves `first` until the first [`replace`](Self::replace).
    pub fn new(first: Arc<Snapshot>) -> Self {
        let pinned = Pinned { stable: first, candidate: None };
        Self { pinned: ArcSwap::from_pointee(pinned), replaced: watch::Sender::new(()) }
    }

    /// The snapshot of this moment. Whoever has no account in hand pins this.
    pub fn pin(&self) -> Arc<Snapshot> {
        Arc::clone(&self.pinned.load().stable)
    }

    /// The same with the candidate beside it. A request pins once, at its head, and keeps to its end the one of both
    /// that its account belongs to.
    pub fn pin_both(&self) -> Pinned {
        Pinned::clone(&self.pinned.load())
    }

    /// What a head may be at this moment. Whoever wants no more of the snapshot looks and does not pin: all threads count
    /// their pins in one number.
    pub fn limits(&self) -> RequestLimits {
        self.pinned.load().stable.limits
    }

    /// Serves `next` from now on, whole. Cannot fail: everything fallible has happened before.
    pub fn replace(&self, next: Arc<Snapshot>) {
        self.pinned.store(Arc::new(Pinned { stable: next, candidate: None }));
        self.replaced.send_replace(());
    }

    /// Lets this candidate, or none, stand beside what serves. There is one writer, so that nothing is lost between the
    /// two steps.
    pub fn try_out(&self, candidate: Option<Arc<Candidate>>) {
        self.pinned.store(Arc::new(Pinned { stable: self.pin(), candidate }));
        self.replaced.send_replace(());
    }

    /// Whether this is what serves at this moment, apart from a candidate's share.
    pub fn is_newest(&self, stable: &Arc<Snapshot>) -> bool {
        Arc::ptr_eq(&self.pinned.load().stable, stable)
    }

    /// Whether this serves a share of the accounts at this moment.
    pub fn is_candidate(&self, snapshot: &Arc<Snapshot>) -> bool {
        let pinned = self.pinned.load();
        pinned.candidate.as_ref().is_some_and(|candidate| Arc::ptr_eq(&candidate.snapshot, snapshot))
    }

    /// To wait on. To be made before one looks: what is replaced after the look is then not missed.
    pub fn replacements(&self) -> Replacements {
        Replacements(self.replaced.subscribe())
    }
}

impl Replacements {
    /// Returns when a snapshot was replaced since the last time, or since this was made. Never when nobody is left who
    /// could.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}
