//! What overflows from a group that is there and full: to another group of the cell, within the headroom that is
//! declared for it and not given to those who have lost theirs.

use std::sync::atomic::Ordering;

use super::super::super::moment::Moment;
use super::super::priority::Priority;
use super::FailoverRules;
use super::published::{Published, count};

/// What a group takes of those that are full.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Overflow {
    /// Requests a second that come so.
    pub seen: f64,
    /// That may.
    pub allowed: f64,
    grown: Option<Moment>,
}

impl Overflow {
    /// Grows by steps as moved load does, while it is `wanted`; `room` is what is left for it.
    pub fn step(&mut self, rules: &FailoverRules, capacity: f64, room: f64, wanted: bool, now: Moment) {
        let rests = self.grown.is_some_and(|grown| now.since(grown) < rules.growth_period);
        if !wanted {
            self.allowed = 0.0;
        } else if !rests {
            self.allowed = self.seen + capacity * rules.growth;
            self.grown = Some(now);
        }
        self.allowed = self.allowed.min(room.max(0.0));
    }
}

/// Another group for a request whose own has no permit for it: the first, in the order in which they are used, that
/// `takes` it (what that gives is handed on), and that has headroom for one more now.
pub fn overflow<T>(
    published: &Published,
    full: usize,
    priority: Priority,
    now: Moment,
    mut takes: impl FnMut(usize) -> Option<T>,
) -> Option<(usize, T)> {
    count(&published.full_count);
    published.lanes.iter().enumerate().filter(|(index, _)| *index != full).find_map(|(index, lane)| {
        if lane.overflow.is_closed() {
            return None;
        }
        let taken = takes(index)?;
        let goes = lane.overflow.try_take(now, priority) && lane.total.try_take(now, priority);
        if !goes {
            return None;
        }
        lane.overflow_count.fetch_add(1, Ordering::Relaxed);
        Some((index, taken))
    })
}
