//! Whether a candidate may go on: what its requests see against what all others see, cell by cell. Never summed over
//! cells: of sixty, one that is dead would not show.
//!
//! Three rules, on what was counted since the candidate began and on the last seconds of it:
//!
//! - **Everything fails.** At least [`LEAST_FAILED`] requests and all of them failed, which would happen by chance less
//!   than once in ten thousand looks if the cell failed as often with the candidate as without.
//! - **More fails.** The lower end of what the candidate's failure rate may be lies above the upper end of what it is
//!   without the candidate, by more than `max_error_increase`. Both ends are Wilson's (1927): they hold for few requests
//!   and for rates near 0, where the common ± has no meaning. [`DEVIATIONS`] is wide because it is looked every
//!   second, at every cell, and a good push that is rolled back is a push that people learn to force.
//! - **All is slower.** The 90th percentile, at the low end of what it may be, is beyond `max_latency_factor` times
//!   that without the candidate at its high end, and [`LEAST_SLOWER`] more. Ends are order statistics.
//!
//! What fails for one account alone, while others of the share are served by the same cell, is that account's own
//! trouble: a share of one per cent is some ten accounts of a cell, and every cell has one whose integration fails.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::super::ids::Label;
use super::{CellStats, Look, Share};

/// Fewer failures than this are never a reason: they happen.
pub const LEAST_FAILED: u64 = 5;

/// Fewer requests than this say nothing of how often a cell fails.
const LEAST_COMPARED: u64 = 20;

/// Of a cell that has next to nothing to be compared with, so many may fail: no cell that fails every fifth request is one
/// that people call healthy.
const ALONE_MAY_FAIL: f64 = 0.2;

/// How often a cell is taken to fail of which nothing is known, where everything has failed: five of five then are
/// less likely than [`CHANCE`].
const UNKNOWN_FAILS: f64 = 0.125;

/// What is called impossible where everything has failed.
const CHANCE: f64 = 1e-4;

/// Width of both bounds in standard deviations: one in 30,000 on each side, of which both must be wrong at once.
const DEVIATIONS: f64 = 4.0;

/// Fewer latencies than this on a side have no 90th percentile worth the name.
const LEAST_LATENCIES: u64 = 50;

/// Which quantile: high enough that a fifth of slow requests shows, low enough that a few slow reports do not.
const QUANTILE: f64 = 0.9;

/// What is slower by less is not worth a rollback, whatever the factor: from 5 ms to 20 ms is nobody's outage.
const LEAST_SLOWER: Duration = Duration::from_millis(100);

/// What happens late must show as well, and not drown in an hour that was good: the last looks are judged by
/// themselves. Ten seconds, for that is how soon a wrong push must be undone.
const RECENT_LOOKS: usize = 10;

/// Most reasons that are kept: a push that breaks all cells is described by some.
const MAX_REASONS: usize = 8;

/// What a candidate may make worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// By so much more of the requests may fail.
    pub max_error_increase: Share,
    /// So many times as long may answers take.
    pub max_latency_factor: u32,
}

/// What follows for the candidate.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// Nothing speaks against it.
    GoOn,
    /// It must not serve.
    RollBack(Reason),
}

/// Why it must not serve.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// Every request failed, or more than without it.
    Errors {
        /// Failed requests, of them refused, and all, with the candidate.
        moved: (u64, u64, u64),
        /// Failed requests and all, without it.
        unmoved: (u64, u64),
    },
    /// Answers take longer.
    Latency {
        /// The 90th percentile with the candidate, at least.
        moved: Duration,
        /// The same without it, at most.
        unmoved: Duration,
    },
}

/// One cell: what was counted with the candidate against what was without it.
pub fn judge(moved: &CellStats, unmoved: &CellStats, rules: Rules) -> Judgement {
    if all_fail(moved, unmoved) || more_fail(moved, unmoved, rules.max_error_increase) {
        return Judgement::RollBack(Reason::Errors {
            moved: (moved.failed, moved.refused, moved.requests),
            unmoved: (unmoved.failed, unmoved.requests),
        });
    }
    slower(moved, unmoved, rules.max_latency_factor).map_or(Judgement::GoOn, Judgement::RollBack)
}

fn all_fail(moved: &CellStats, unmoved: &CellStats) -> bool {
    let usual = match unmoved.requests {
        0 => UNKNOWN_FAILS,
        all => (unmoved.failed as f64 + 0.5) / (all as f64 + 1.0),
    };
    let count = i32::try_from(moved.failed).unwrap_or(i32::MAX);
    moved.failed >= LEAST_FAILED && moved.failed == moved.requests && usual.powi(count) <= CHANCE
}

fn more_fail(moved: &CellStats, unmoved: &CellStats, increase: Share) -> bool {
    let others = moved.fine_accounts & !moved.failing_accounts;
    let of_one_account = moved.failing_accounts.count_ones() == 1 && others != 0;
    if moved.failed < LEAST_FAILED || of_one_account {
        return false;
    }
    let (at_least, _) = wilson(moved.failed, moved.requests);
    if unmoved.requests == 0 || unmoved.requests < LEAST_COMPARED && unmoved.failed == 0 {
        return moved.requests >= LEAST_COMPARED && at_least > ALONE_MAY_FAIL;
    }
    let (_, at_most) = wilson(unmoved.failed, unmoved.requests);
    at_least > at_most + increase.ratio()
}

/// Between which rates the truth lies, where `part` of `whole` were seen (Wilson, 1927, formula 3).
fn wilson(part: u64, whole: u64) -> (f64, f64) {
    let (n, z2) = (whole as f64, DEVIATIONS * DEVIATIONS);
    let rate = part as f64 / n;
    let middle = rate + z2 / (2.0 * n);
    let half = DEVIATIONS * (rate * (1.0 - rate) / n + z2 / (4.0 * n * n)).sqrt();
    let spread = 1.0 + z2 / n;
    ((middle - half) / spread, (middle + half) / spread)
}

fn slower(moved: &CellStats, unmoved: &CellStats, factor: u32) -> Option<Reason> {
    let (count, of_others) = (moved.latencies(), unmoved.latencies());
    if count.min(of_others) < LEAST_LATENCIES {
        return None;
    }
    let (at_least, _) = moved.latency_at(rank(count, -DEVIATIONS));
    let (_, at_most) = unmoved.latency_at(rank(of_others, DEVIATIONS));
    let too_slow = at_least > at_most * factor + LEAST_SLOWER;
    too_slow.then_some(Reason::Latency { moved: at_least, unmoved: at_most })
}

/// The rank of the quantile among so many, moved by so many standard deviations of its order statistic.
fn rank(count: u64, deviations: f64) -> u64 {
    let n = count as f64;
    let rank = n * QUANTILE + deviations * (n * QUANTILE * (1.0 - QUANTILE)).sqrt();
    // Saturates at the ends of the type, which no number of requests reaches.
    rank.round().max(1.0) as u64
}

/// All that was seen of a candidate.
#[derive(Debug, Default)]
pub struct Seen {
    all: Look,
    recent: VecDeque<Look>,
}

impl Seen {
    /// Adds what was counted since the look before.
    pub fn add(&mut self, look: Look) {
        merge(&mut self.all, &look);
        self.recent.push_back(look);
        if self.recent.len() > RECENT_LOOKS {
            self.recent.pop_front();
        }
    }

    /// What speaks against the candidate, by cell; empty where it may go on.
    pub fn judge(&self, rules: Rules) -> Vec<(Label, Reason)> {
        let mut recent = Look::new();
        self.recent.iter().for_each(|look| merge(&mut recent, look));
        let mut reasons: Vec<(Label, Reason)> = Vec::new();
        for (cell, (moved, unmoved)) in self.all.iter().chain(&recent) {
            if let Judgement::RollBack(reason) = judge(moved, unmoved, rules)
                && reasons.len() < MAX_REASONS
                && reasons.iter().all(|(known, _)| known != cell)
            {
                reasons.push((cell.clone(), reason));
            }
        }
        reasons
    }

    /// How many requests the candidate has served, and how many of them failed.
    pub fn moved(&self) -> (u64, u64) {
        let moved = || self.all.values().map(|(moved, _)| moved);
        (moved().map(|stats| stats.requests).sum(), moved().map(|stats| stats.failed).sum())
    }
}

fn merge(all: &mut Look, later: &Look) {
    for (cell, (moved, unmoved)) in later {
        let (all_moved, all_unmoved) = all.entry(cell.clone()).or_default();
        all_moved.add(moved);
        all_unmoved.add(unmoved);
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errors { moved: (failed, refused, all), unmoved: (others, of) } => {
                write!(f, "{failed} of {all} requests failed")?;
                if *refused > 0 {
                    write!(f, ", {refused} of them refused by us,")?;
                }
                write!(f, " with it, {others} of {of} without it")
            }
            Self::Latency { moved, unmoved } => {
                write!(
                    f,
                    "nine of ten answers begin within {} ms with it at the least, within {} ms without it at the most",
                    moved.as_millis(),
                    unmoved.as_millis()
                )
            }
        }
    }
}
