//! The live counters of one group of a cell: how many ordinary requests are in it, and how many it takes. Shared by all
//! snapshots that have the group; how many it takes is decided by [`judge`](super::judge).
//!
//! There is no queue here: who waits, waits for the cell. So that those who matter more are refused last even so, each
//! class leaves a few permits to those above it (trunk reservation; Kelly, "Loss Networks", 1991): what comes free goes
//! to the first who asks, and the last few to those alone who may have them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::priority::Priority;

/// Nothing is learned here: the cell's limiter is the group's.
pub const UNLIMITED: u32 = u32::MAX;

/// Each class leaves a twentieth of the limit, and at least one permit, to those above it, as at the cell's gate.
const STEP_PARTS: u32 = 20;

/// Beyond what the second class may have the first class finds at least so many permits, even beyond what is learned:
/// where a tenth of what comes free is asked for by it, one in ten thousand finds all four taken.
const FIRST_LEAST: u32 = 4;

/// See the file.
#[derive(Debug)]
pub struct GroupLoad {
    in_flight: AtomicU32,
    in_flight_max: AtomicU32,
    limit: AtomicU32,
    /// With so many it has all that it may have while the cell has few permits left.
    part: AtomicU32,
    /// Somebody was refused for that.
    was_over: AtomicBool,
}

/// An ordinary request in a group.
#[derive(Debug)]
#[must_use = "dropping it gives the permit back"]
pub struct GroupPermit(Arc<GroupLoad>);

impl Default for GroupLoad {
    fn default() -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            in_flight_max: AtomicU32::new(0),
            limit: AtomicU32::new(UNLIMITED),
            part: AtomicU32::new(UNLIMITED),
            was_over: AtomicBool::new(false),
        }
    }
}

impl GroupLoad {
    /// A permit for a request of this class, unless too many are taken. `is_short` says that the cell has few left.
    pub fn try_take(self: &Arc<Self>, priority: Priority, is_short: bool) -> Option<GroupPermit> {
        // Count first, look second: two that race for the last permit cannot both get it.
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let permit = GroupPermit(Arc::clone(self));
        if before >= self.most(priority, is_short) {
            if is_short && before >= self.part() {
                self.was_over.store(true, Ordering::Relaxed);
            }
            return None;
        }
        // Mostly there is nothing to write.
        if before >= self.in_flight_max.load(Ordering::Relaxed) {
            self.in_flight_max.fetch_max(before + 1, Ordering::Relaxed);
        }
        Some(permit)
    }

    /// Ordinary requests in it.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The most of them since the last time this was asked.
    pub fn take_in_flight_max(&self) -> u32 {
        self.in_flight_max.swap(self.in_flight(), Ordering::Relaxed)
    }

    /// What was set as its part, where somebody was refused for that since the last time this was asked.
    pub fn take_over(&self) -> Option<u32> {
        self.was_over.swap(false, Ordering::Relaxed).then(|| self.part())
    }

    /// From now on it takes so many, and `part` while the cell has few left.
    pub fn set(&self, limit: u32, part: u32) {
        self.limit.store(limit, Ordering::Relaxed);
        self.part.store(part, Ordering::Relaxed);
    }

    fn part(&self) -> u32 {
        self.part.load(Ordering::Relaxed)
    }

    fn most(&self, priority: Priority, is_short: bool) -> u32 {
        let limit = self.limit.load(Ordering::Relaxed);
        if limit == UNLIMITED {
            return UNLIMITED;
        }
        let step = (limit / STEP_PARTS).max(1);
        let most = match priority {
            Priority::Critical => return limit.max((limit - step).saturating_add(FIRST_LEAST)),
            _ => limit.saturating_sub(step.saturating_mul(priority as u32)).max(1),
        };
        if is_short { most.min(self.part()) } else { most }
    }
}

impl Drop for GroupPermit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_leaves_some_to_those_above_it() {
        // Limit, part, whether the cell has few left, and how many of each class get in where nobody else is.
        for (limit, part, is_short, expect) in [
            (100, 40, false, [100, 95, 90, 85]),
            (100, 40, true, [100, 40, 40, 40]),
            (10, 40, true, [13, 9, 8, 7]),
            (1, 1, false, [4, 1, 1, 1]),
            (UNLIMITED, UNLIMITED, true, [200, 200, 200, 200]),
        ] {
            for (priority, expect) in Priority::ALL.into_iter().zip(expect) {
                let load = Arc::new(GroupLoad::default());
                load.set(limit, part);
                let taken: Vec<_> = (0..200).filter_map(|_| load.try_take(priority, is_short)).collect();
                assert_eq!(
                    (taken.len(), load.in_flight()),
                    (expect, expect as u32),
                    "{priority:?} of {limit}"
                );
                drop(taken);
                assert_eq!((load.in_flight(), load.take_in_flight_max()), (0, expect as u32));
            }
        }
    }
}
