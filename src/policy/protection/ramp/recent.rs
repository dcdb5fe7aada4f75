//! The last seconds of a cell, by which it is judged to be down.

use std::collections::VecDeque;

use super::super::super::moment::Moment;
use super::{Look, RampRules, Reason};

#[derive(Debug, Default)]
pub(super) struct Recent {
    /// When; requests that ended, that failed, and of which accounts. At most as many as looks in `down_after`.
    looks: VecDeque<(Moment, u64, u64, u64)>,
    unusable_since: Option<Moment>,
}

impl Recent {
    pub fn add(&mut self, look: &Look, rules: &RampRules, now: Moment) {
        self.looks.push_back((now, look.succeeded + look.failed, look.failed, look.failing_accounts));
        while self.looks.front().is_some_and(|(at, ..)| now.since(*at) >= rules.down_after) {
            self.looks.pop_front();
        }
        match look.usable {
            0 => _ = self.unusable_since.get_or_insert(now),
            _ => self.unusable_since = None,
        }
    }

    /// Requests that ended, those of them that failed, and of how many accounts.
    pub fn sum(&self) -> (u64, u64, u32) {
        let add = |sum: (u64, u64, u64), look: &(Moment, u64, u64, u64)| {
            (sum.0 + look.1, sum.1 + look.2, sum.2 | look.3)
        };
        let (ended, failed, accounts) = self.looks.iter().fold((0, 0, 0), add);
        (ended, failed, accounts.count_ones())
    }

    /// Whether the cell is down, and why.
    pub fn fallen(&self, rules: &RampRules, now: Moment) -> Option<Reason> {
        if self.unusable_since.is_some_and(|since| now.since(since) >= rules.down_after) {
            return Some(Reason::NoEndpoint);
        }
        let (ended, failed, accounts) = self.sum();
        let fails = ended >= rules.down_least
            && accounts >= rules.down_accounts
            && failed as f64 >= rules.down_failed * ended as f64;
        fails.then_some(Reason::CellFails)
    }

    /// What was seen before belongs to another time.
    pub fn forget(&mut self) {
        self.looks.clear();
    }
}
