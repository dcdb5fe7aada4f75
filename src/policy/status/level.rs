//! How many of some requests went wrong, and whether that is much.

/// Requests of some seconds, as far as they say something of their cell: what a client has done wrong, what was announced and
/// what a move costs is not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The cell answered, and not with 5xx.
    pub served: u64,
    /// 5xx of the cell, or no answer.
    pub failed: u64,
    /// Refused, because the cell has no room or cannot be used.
    pub refused: u64,
    /// Refused by a lever: on purpose, and felt all the same.
    pub by_lever: u64,
    /// Accounts of them all, a bit each, by hash, of 64.
    pub asking: u64,
    /// Accounts of those that failed and of those that a lever has refused, likewise.
    pub failing: u64,
}

/// How much of it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// No more than always does.
    Well,
    /// Some: one in twenty and more.
    Some,
    /// Half of it and more.
    Most,
}

/// Fewer requests say nothing: one of four that fails may be anything.
pub(super) const LEAST: u64 = 5;

/// Fewer that went wrong are never much: single ones happen.
const LEAST_BAD: u64 = 3;

/// From this share on it is said: what a healthy service fails is below one in a hundred, and a person who sees one in twenty
/// fail looks at a status page.
const SOME: f64 = 0.05;

/// From this share on most people cannot work.
const MOST: f64 = 0.5;

/// Where so many accounts ask and one alone has failures, that is its own trouble: a query that breaks, a token that ended, or
/// more requests than an operator lets through.
const OTHERS: u32 = 3;

impl Counts {
    /// All of them.
    pub const fn all(&self) -> u64 {
        self.served + self.failed + self.refused + self.by_lever
    }

    /// How much of it goes wrong; `None` where they are too few to say.
    pub(super) fn level(&self) -> Option<Level> {
        let (all, bad) = (self.all(), self.failed + self.refused + self.by_lever);
        if all < LEAST {
            return None;
        }
        let of_one =
            self.refused == 0 && self.failing.count_ones() == 1 && self.asking.count_ones() >= OTHERS;
        let share = bad as f64 / all as f64;
        Some(if of_one || bad < LEAST_BAD || share < SOME {
            Level::Well
        } else if share < MOST {
            Level::Some
        } else {
            Level::Most
        })
    }

    /// The same of what the cell itself was asked, or would have been but for a lever.
    pub(super) fn level_of_asked(&self) -> Option<Level> {
        Self { refused: 0, ..*self }.level()
    }

    /// The same of what levers have refused.
    pub(super) fn level_by_levers(&self) -> Option<Level> {
        Self { refused: 0, failed: 0, ..*self }.level()
    }
}
