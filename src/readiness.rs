//! Whether this replica should get traffic, and why not: reasons as guards. Whoever brings a reason
//! about holds its guard, and the reason is gone when the guard is dropped.
//!
//! Only reasons that other replicas do not share take a replica out of rotation. An expired
//! certificate or an old configuration usually hits all replicas at once: failing readiness for it
//! would turn one wrong name into an outage of everything, so those are notes. The one exception is
//! the operator's own choice: `max_last_good_age`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

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
        /// The age beyond which this replica must not get traffic; `None` is any age.
        max_age: Option<Duration>,
        /// What is wrong with the files.
        cause: String,
    },
    /// This process began without a last good configuration to compare with: nobody but the operator who said so knows
    /// what its configuration may have lost.
    Bootstrapped,
    /// An operator has taken the responsibility for what serves, until a time.
    BreakGlass {
        /// Who, until when and why.
        told: String,
    },
    /// Levers are pulled: what is configured is not what holds.
    Levers {
        /// Which, and until when.
        told: String,
    },
    /// What should protect a cell only watches, past its time or while it would act.
    Observing {
        /// Which, and why.
        told: String,
    },
    /// A new configuration serves a share of the accounts, or waits for its turn.
    Staged {
        /// Its number.
        generation: u64,
        /// Its configuration hash.
        hash: String,
    },
    /// The files are a configuration that was put on trial and taken back; what served before serves.
    RolledBack {
        /// Its configuration hash.
        hash: String,
        /// What it did.
        cause: String,
    },
    /// The configuration files are not looked into: an operator keeps what served before.
    Kept {
        /// Who, until when and why.
        told: String,
    },
    /// Guards, or whatever else may object, refused the last reload; what served before serves.
    Refused {
        /// Who objected, by name, each once.
        guards: String,
    },
    /// The files had problems when they were read last; what served before serves.
    Rejected {
        /// When they were.
        at: SystemTime,
        /// The first of the problems, cut short, and how many more there are.
        cause: String,
        /// Where that is and of which kind, without a word of the files.
        place: String,
    },
    /// The state folder does not take what belongs in it.
    Unwritten {
        /// What, and the system's reason.
        what: String,
    },
    /// Where as many clients come as may, no file is left to be opened.
    FewDescriptors {
        /// Files that this process may have open.
        most: u64,
        /// Those that may be needed.
        needed: u64,
        /// For so many connections of clients.
        connections: u32,
    },
    /// The last good configuration is older than the operator allows. Follows from
    /// [`LastGood`](Self::LastGood) and the clock; nobody brings it about.
    LastGoodTooOld {
        /// When it was written.
        written: SystemTime,
        /// How old it may be.
        max_age: Duration,
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

/// Whether a last good configuration of `written` is too old to be served at `now`. One from the future
/// is not: the clock was set back, and the age of the configuration is not known.
pub fn is_too_old(written: SystemTime, max_age: Option<Duration>, now: SystemTime) -> bool {
    let age = now.duration_since(written).unwrap_or_default();
    max_age.is_some_and(|max_age| age > max_age)
}

impl Reason {
    /// Stable name, in snake case.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Draining => "draining",
            Self::LastGood { .. } => "last_good",
            Self::LastGoodTooOld { .. } => "last_good_too_old",
            Self::Bootstrapped => "bootstrapped",
            Self::BreakGlass { .. } => "break_glass",
            Self::Levers { .. } => "levers",
            Self::Observing { .. } => "observing",
            Self::Staged { .. } => "staged",
            Self::RolledBack { .. } => "rolled_back",
            Self::Kept { .. } => "kept",
            Self::Refused { .. } => "refused",
            Self::Rejected { .. } => "reload_rejected",
            Self::Unwritten { .. } => "unwritten",
            Self::FewDescriptors { .. } => "few_descriptors",
        }
    }

    /// The reason that follows from this one at `now`.
    fn outgrown(&self, now: SystemTime) -> Option<Self> {
        match *self {
            Self::LastGood { written, max_age: Some(max_age), .. } => {
                is_too_old(written, Some(max_age), now).then_some(Self::LastGoodTooOld { written, max_age })
            }
            Self::LastGood { .. }
            | Self::Starting
            | Self::Draining
            | Self::Bootstrapped
            | Self::BreakGlass { .. }
            | Self::Levers { .. }
            | Self::Observing { .. }
            | Self::Staged { .. }
            | Self::RolledBack { .. }
            | Self::Kept { .. }
            | Self::Refused { .. }
            | Self::Rejected { .. }
            | Self::Unwritten { .. }
            | Self::FewDescriptors { .. }
            | Self::LastGoodTooOld { .. } => None,
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

    /// Whether nothing blocks at `now`.
    pub fn is_ready(&self, now: SystemTime) -> bool {
        !self.reasons(now).iter().any(|standing| standing.blocks)
    }

    /// All reasons at `now`, the oldest first; what follows from one by its age stands behind it.
    pub fn reasons(&self, now: SystemTime) -> Vec<Standing> {
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let with_outgrown = |standing: &Standing| {
            let outgrown = standing.reason.outgrown(now).map(|reason| Standing { reason, blocks: true });
            [Some(standing.clone()), outgrown].into_iter().flatten()
        };
        reasons.standing.values().flat_map(with_outgrown).collect()
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

/// The first of many lines, and how many more there are: a cause for whoever reads in a hurry.
pub fn first(lines: &[String]) -> String {
    lines.first().map_or_else(String::new, |line| and_more(line, lines.len() - 1))
}

/// A line, and how many more there are.
pub fn and_more(line: &str, more: usize) -> String {
    if more == 0 { line.to_owned() } else { format!("{line} (and {more} more)") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day, in seconds.
    const DAY: Duration = Duration::from_secs(86_400);

    fn last_good(max_age: Option<Duration>) -> Reason {
        Reason::LastGood { written: SystemTime::UNIX_EPOCH, max_age, cause: "gone".into() }
    }

    fn names(readiness: &Readiness, now: SystemTime) -> Vec<&'static str> {
        readiness.reasons(now).iter().map(|standing| standing.reason.as_str()).collect()
    }

    #[test]
    fn a_replica_is_ready_when_nothing_blocks() {
        let now = SystemTime::UNIX_EPOCH + 1_000 * DAY;
        let readiness = Arc::new(Readiness::default());
        assert!(readiness.is_ready(now));
        let starting = readiness.block(Reason::Starting);
        let note = readiness.note(last_good(None));
        let draining = readiness.block(Reason::Draining);
        assert!(!readiness.is_ready(now));
        assert_eq!(names(&readiness, now), ["starting", "last_good", "draining"]);
        drop(starting);
        assert!(!readiness.is_ready(now));
        drop(draining);
        assert!(readiness.is_ready(now), "a note does not block, however old the configuration is");
        assert_eq!(names(&readiness, now), ["last_good"]);
        drop(note);
        assert!(readiness.reasons(now).is_empty());
    }

    #[test]
    fn the_last_good_configuration_may_be_as_old_as_the_operator_allows() {
        let written = SystemTime::UNIX_EPOCH + 10 * DAY;
        let check = |max_age: Option<Duration>, now: SystemTime, expect: bool| {
            assert_eq!(is_too_old(written, max_age, now), expect, "{max_age:?} {now:?}");
        };
        let second = Duration::from_secs(1);
        check(Some(7 * DAY), written, false);
        check(Some(7 * DAY), written + 7 * DAY, false);
        check(Some(7 * DAY), written + 7 * DAY + second, true);
        check(None, written + 10_000 * DAY, false);
        // A clock that was set back makes nothing old.
        check(Some(7 * DAY), written - DAY, false);
    }

    #[test]
    fn readiness_ends_when_the_limit_is_passed_and_comes_back_with_good_files() {
        let readiness = Arc::new(Readiness::default());
        let note = readiness.note(last_good(Some(7 * DAY)));
        let (young, old) = (SystemTime::UNIX_EPOCH + 7 * DAY, SystemTime::UNIX_EPOCH + 8 * DAY);
        assert!(readiness.is_ready(young));
        assert_eq!(names(&readiness, young), ["last_good"]);
        assert!(!readiness.is_ready(old), "nobody did anything but wait");
        assert_eq!(names(&readiness, old), ["last_good", "last_good_too_old"]);
        drop(note);
        assert!(readiness.is_ready(old));
    }
}
