//! Whether this replica should get traffic, and why not: reasons as guards. Whoever brings a reason
//! about holds its guard, and the reason is gone when the guard is dropped.
//!
//! Only reasons that other replicas do not share take a replica out of rotation. An expired
//! certificate or an old configuration usually hits all replicas at once: failing readiness for it
//! would turn one wrong name into an outage of everything, so those are notes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Why a replica is not ready, or what an operator should know although it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Not everything is bound and loaded yet.
    Starting,
    /// SIGTERM has come; requests in flight are being finished.
    Draining,
    /// The configuration files are missing or bad: the last good configuration is served.
    LastGood {
        /// When it was written, for its age.
        written: SystemTime,
        /// What is wrong with the files.
        cause: String,
    },
    /// The last good configuration is older than the operator allows.
    LastGoodTooOld {
        /// When it was written.
        written: SystemTime,
    },
}

/// All reasons in force. Shared; each change is seen at once.
#[derive(Debug, Default)]
pub struct Readiness {
    reasons: Mutex<Reasons>,
}

/// One reason in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The reason.
    pub reason: Reason,
    /// Whether it takes the replica out of rotation.
    pub blocks: bool,
}

/// A reason not to send traffic here, until it is dropped.
#[derive(Debug)]
#[must_use = "the reason is gone as soon as this is dropped"]
pub struct BlockReady {
    _guard: Guard,
}

/// Something to know about a replica that takes traffic, until it is dropped.
#[derive(Debug)]
#[must_use = "the note is gone as soon as this is dropped"]
pub struct NoteReady {
    _guard: Guard,
}

#[derive(Debug, Default)]
struct Reasons {
    next: u64,
    standing: BTreeMap<u64, Standing>,
}

#[derive(Debug)]
struct Guard {
    readiness: Arc<Readiness>,
    key: u64,
}

impl Reason {
    /// Stable name, in snake case.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Draining => "draining",
            Self::LastGood { .. } => "last_good",
            Self::LastGoodTooOld { .. } => "last_good_too_old",
        }
    }
}

impl Readiness {
    /// Takes the replica out of rotation for a reason.
    pub fn block(self: &Arc<Self>, reason: Reason) -> BlockReady {
        BlockReady { _guard: self.add(Standing { reason, blocks: true }) }
    }

    /// Makes something known that does not take the replica out of rotation.
    pub fn note(self: &Arc<Self>, reason: Reason) -> NoteReady {
        NoteReady { _guard: self.add(Standing { reason, blocks: false }) }
    }

    /// Whether nothing blocks.
    pub fn is_ready(&self) -> bool {
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        !reasons.standing.values().any(|standing| standing.blocks)
    }

    /// All reasons, the oldest first.
    pub fn reasons(&self) -> Vec<Standing> {
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.standing.values().cloned().collect()
    }

    fn add(self: &Arc<Self>, standing: Standing) -> Guard {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let key = reasons.next;
        reasons.next += 1;
        reasons.standing.insert(key, standing);
        Guard { readiness: Arc::clone(self), key }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut reasons = self.readiness.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.standing.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_ready_when_nothing_blocks() {
        let readiness = Arc::new(Readiness::default());
        assert!(readiness.is_ready());
        let starting = readiness.block(Reason::Starting);
        let note = readiness.note(Reason::LastGood { written: SystemTime::UNIX_EPOCH, cause: "gone".into() });
        let draining = readiness.block(Reason::Draining);
        assert!(!readiness.is_ready());
        let names: Vec<_> = readiness.reasons().iter().map(|standing| standing.reason.as_str()).collect();
        assert_eq!(names, ["starting", "last_good", "draining"]);
        drop(starting);
        assert!(!readiness.is_ready());
        drop(draining);
        assert!(readiness.is_ready(), "a note does not block");
        assert_eq!(readiness.reasons().len(), 1);
        drop(note);
        assert!(readiness.reasons().is_empty());
    }
}
