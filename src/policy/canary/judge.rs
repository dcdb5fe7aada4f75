//! Whether a candidate may go on: what its requests see against what all others see, cell by cell. Never summed over
//! cells: of sixty, one that is dead would not show.
//!
//! Four rules, on what was counted since the candidate began and on the last seconds of it:
//!
//! - **Everything fails.** At least [`LEAST_FAILED`] requests and all of them failed, which would happen by chance less
//!   than once in ten thousand looks if the cell failed as often with the candidate as without.
//! - **More fails.** The lower end of what the candidate's failure rate may be lies above the upper end of what it is
//!   without the candidate, by more than `max_error_increase`. Both ends are Wilson's (1927): they hold for few requests
//!   and for rates near 0, where the common ± has no meaning. [`DEVIATIONS`] is wide because it is looked every
//!   second, at every cell, and a good push that is rolled back is a push that people learn to force.
//! - **All is denied.** The same of 4xx, by more than [`MAX_DENIED_INCREASE`], *and* so many of the accounts get nothing else
//!   that it is not their own doing.
//! - **All is slower.** The 90th percentile, at the low end of what it may be, is beyond `max_latency_factor` times
//!   that without the candidate at its high end, and [`LEAST_SLOWER`] more. Ends are order statistics.
//!
//! What fails for one account alone is that account's own trouble, whether or not others of the share ask the same cell: a
//! share of one per cent is some ten accounts of a cell, and every cell has one whose integration fails. It is no
//! account's own trouble that there is no connection to the cell, or that the candidate refuses what is forwarded without
//! it: so a dead port is found where one account asks. A cell that answers that one account wrongly is found when a second
//! one asks.

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

/// By so much more of the requests may be answered 4xx. Half: accounts differ in it by their own doing (a poll with a token
/// that has ended is nothing but 401), and what this is for, a cell that does not know the host or the accounts, denies
/// nearly everything.
const MAX_DENIED_INCREASE: f64 = 0.5;

/// Of so many accounts of a cell it is taken that they ask with nothing but ended tokens or for what is gone, whatever the
/// rate of requests says: those that ask rarely do not show in it. Seven of seven then are less likely than [`CHANCE`],
/// and nine of ten.
const DENIED_ACCOUNTS: f64 = 0.25;

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
    /// The cell answers 4xx to nearly everything.
    Denied {
        /// Requests that were, and all, with the candidate.
        moved: (u64, u64),
        /// Accounts that got nothing else, and all, with the candidate; of 64 at most.
        accounts: (u32, u32),
        /// Requests that were, and all, without it.
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
    let fails = all_fail(moved, unmoved) || more_fail(moved, unmoved, rules.max_error_increase);
    if fails && !is_of_one_account(moved) {
        return Judgement::RollBack(Reason::Errors {
            moved: (moved.failed, moved.refused, moved.requests),
            unmoved: (unmoved.failed, unmoved.requests),
        });
    }
    let reason = denied(moved, unmoved).or_else(|| slower(moved, unmoved, rules.max_latency_factor));
    reason.map_or(Judgement::GoOn, Judgement::RollBack)
}

/// Whether the failures may be one account's own trouble.
fn is_of_one_account(moved: &CellStats) -> bool {
    let others = (moved.served_accounts | moved.denied_accounts) & !moved.failing_accounts;
    let whoever_asks = moved.unreached + moved.refused;
    moved.failing_accounts.count_ones() == 1 && (others != 0 || whoever_asks < LEAST_FAILED)
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
    if moved.failed < LEAST_FAILED {
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

fn denied(moved: &CellStats, unmoved: &CellStats) -> Option<Reason> {
    if moved.denied == 0 || unmoved.requests < LEAST_COMPARED {
        // An answer is no failure: without anything to compare it with, it is what the accounts ask for.
        return None;
    }
    let (at_least, _) = wilson(moved.denied, moved.requests);
    let (_, at_most) = wilson(unmoved.denied, unmoved.requests);
    if at_least <= at_most + MAX_DENIED_INCREASE {
        return None;
    }
    let only_denied = (moved.denied_accounts & !moved.served_accounts).count_ones();
    let all = (moved.denied_accounts | moved.served_accounts).count_ones();
    (tail(only_denied, all, at_most.max(DENIED_ACCOUNTS)) <= CHANCE).then_some(Reason::Denied {
        moved: (moved.denied, moved.requests),
        accounts: (only_denied, all),
        unmoved: (unmoved.denied, unmoved.requests),
    })
}

/// How likely at least `part` of `whole` are, where each is with this rate, which is below 1 (the binomial tail).
fn tail(part: u32, whole: u32, rate: f64) -> f64 {
    let mut exactly = (1.0 - rate).powf(f64::from(whole));
    let mut sum = 0.0;
    for count in 0..=whole {
        if count >= part {
            sum += exactly;
        }
        exactly *= f64::from(whole - count) / f64::from(count + 1) * rate / (1.0 - rate);
    }
    sum
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

    /// What was counted since the candidate began, by cell: with it, and without it.
    pub fn cells(&self) -> impl Iterator<Item = (&Label, &(CellStats, CellStats))> {
        self.all.iter()
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
            Self::Denied { moved: (denied, all), accounts: (only, of), unmoved: (others, of_others) } => {
                write!(
                    f,
                    "{denied} of {all} requests were answered 4xx with it, and {only} of {of} accounts got nothing else; \
                     {others} of {of_others} without it"
                )
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
