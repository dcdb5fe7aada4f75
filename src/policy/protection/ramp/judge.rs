//! Whether a rate that a cell was given did it good: one period of it, judged.

use std::time::Duration;

use super::{Look, RampRules};

/// Fewer failures than this are no reason to halve, where others succeed: one client's broken request is not
/// the cell.
const LEAST_FAILED: u64 = 3;

/// Fewer answers than this have no 95th percentile.
const LEAST_LATENCIES: u64 = 20;

/// But so many that all came late are a reason to wait for more of them.
const LEAST_LATE: u64 = 5;

/// Of so many the 95th percentile varies by a tenth; of fewer by much more, and only what is [`FEW`] times too
/// slow is called slow.
const MANY_LATENCIES: u64 = 100;

/// See there.
const FEW: f64 = 2.0;

/// Less slow than by this is not slow, whatever the factor: that is what a queue of a few requests takes where
/// a small cell is used as far as it may be.
const LEAST_SLOWER: Duration = Duration::from_millis(50);

/// What was counted since a period began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Period {
    /// How long it has lasted.
    pub lasted: Duration,
    /// Requests that asked.
    pub offered: u64,
    /// Those let through.
    pub admitted: u64,
    /// Requests that ended well.
    pub succeeded: u64,
    /// Those that did not.
    pub failed: u64,
    /// The 95th percentile of its answers, as told last.
    pub p95: Option<Duration>,
    /// What that is when the cell is well.
    pub usual: Option<Duration>,
    /// What it may be compared with: what is usual, or the least that the cell was seen to take since it came
    /// back, where that is more. A cold cell is slow at any rate, and would never be warm if it were halved for
    /// that.
    pub baseline: Option<Duration>,
    /// Sum of the queue's share of the limit, and how often it was looked at.
    queue_share: f64,
    looks: u32,
}

/// What a period says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The cell bears it, and it was used: more.
    Grow,
    /// The cell bears what there was, which was less than it was given: no growth without proof.
    Unused,
    /// Nothing speaks against it, and not enough for it.
    Unclear,
    /// More failed than may.
    Failing,
    /// Answers take too long.
    Slow,
    /// Too much waits.
    Queueing,
}

impl Verdict {
    /// Name in metrics and on the status page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grow => "grow",
            Self::Unused => "unused",
            Self::Unclear => "unclear",
            Self::Failing => "failing",
            Self::Slow => "slow",
            Self::Queueing => "queueing",
        }
    }

    /// Whether the rate is to be halved.
    pub const fn hurts(self) -> bool {
        matches!(self, Self::Failing | Self::Slow | Self::Queueing)
    }
}

impl Period {
    pub(super) fn add(&mut self, look: &Look, offered: u64, admitted: u64, lasted: Duration) {
        self.lasted += lasted;
        self.offered += offered;
        self.admitted += admitted;
        self.succeeded += look.succeeded;
        self.failed += look.failed;
        self.p95 = look.p95.or(self.p95);
        self.usual = look.baseline.or(self.usual);
        self.queue_share += look.queue_share;
        self.looks += 1;
    }

    /// The mean of the queue's share of the limit.
    pub fn queue_share(&self) -> f64 {
        self.queue_share / f64::from(self.looks.max(1))
    }

    /// Requests a second that asked.
    pub fn offered_rate(&self) -> f64 {
        self.offered as f64 / self.lasted.as_secs_f64().max(1e-3)
    }

    /// Whether it is clear by now, in the middle of a period, that the cell fails.
    pub(super) fn fails(&self, rules: &RampRules) -> bool {
        let ended = self.succeeded + self.failed;
        let share = self.failed as f64 / ended.max(1) as f64;
        share > 1.0 - rules.least_success && (self.failed >= LEAST_FAILED || self.failed == ended)
    }

    /// At the end of a period, at a rate.
    pub(super) fn judge(&self, rules: &RampRules, rate: f64) -> Verdict {
        let ended = self.succeeded + self.failed;
        if self.fails(rules) {
            return Verdict::Failing;
        }
        // Where less than half of the rate is asked for, half of it would change nothing: it is slow for another reason.
        if self.is_slow(rules) && self.offered_rate() >= rules.shrink * rate {
            return Verdict::Slow;
        }
        if self.queue_share() >= rules.fullest_queue {
            return Verdict::Queueing;
        }
        if self.offered == 0 && ended == 0 && self.admitted == 0 {
            return Verdict::Unused;
        }
        // A cell that swallows requests has not failed one of them yet.
        let late = self.succeeded >= LEAST_LATE && self.slowness().is_none() && self.is_late(rules);
        let answers = !late && ended > 0 && ended * 2 >= self.admitted;
        if !answers || (self.succeeded as f64) < rules.least_success * ended as f64 {
            return Verdict::Unclear;
        }
        if self.offered_rate() < rules.used * rate { Verdict::Unused } else { Verdict::Grow }
    }

    /// The 95th percentile, and whether it is one of many; nothing where there are not enough answers for one.
    pub(super) fn slowness(&self) -> Option<(Duration, bool)> {
        let many = self.succeeded >= MANY_LATENCIES;
        self.p95.filter(|_| self.succeeded >= LEAST_LATENCIES).map(|p95| (p95, many))
    }

    fn is_late(&self, rules: &RampRules) -> bool {
        let usual = self.usual.map(|usual| usual.mul_f64(rules.slower * FEW).max(usual + LEAST_SLOWER));
        usual.is_some_and(|usual| self.p95 > Some(usual))
    }

    fn is_slow(&self, rules: &RampRules) -> bool {
        let (Some((p95, many)), Some(baseline)) = (self.slowness(), self.baseline) else { return false };
        let slower = if many { rules.slower } else { rules.slower * FEW };
        p95 > baseline.mul_f64(slower) && p95 > baseline + LEAST_SLOWER
    }
}
