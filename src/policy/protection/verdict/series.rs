//! One thing that is measured of an endpoint, and whether it has changed: a time against its own baseline, or a share
//! of failures against what is usual.

use std::time::Duration;

use super::super::super::moment::Moment;
use super::baseline::{Baseline, Kind, Usual};
use super::cusum::{Cusum, evidence};

/// Something that is fine must have been seen so lately: a quiet endpoint says nothing of a fault that has just begun.
const FRESH: Duration = Duration::from_secs(5);

/// Something that was bad stays so while nothing else is heard of it, and then is forgotten: it may be gone, or
/// without traffic because others have judged it, and active checks come more often than this.
const STALE: Duration = Duration::from_secs(60);

/// How it is with one thing, from the best to the worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing was heard of it lately.
    #[default]
    Unknown,
    /// As usual.
    Fine,
    /// It may have changed.
    Leaning,
    /// It has changed.
    Bad,
}

/// A time, such as a round trip.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timed {
    baseline: Baseline,
    sum: Cusum,
    last: Option<Moment>,
}

/// Failures among so many.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Share that is usual.
    usual: f64,
    /// Share of the last seconds.
    present: f64,
    sum: Cusum,
    last: Option<Moment>,
}

/// What is counted, and what is called sick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    /// What is usual is taken to be at least this share.
    pub least: f64,
    /// And at most this: more is never normal, however long it lasts.
    pub most: f64,
    /// It is sick where so many times the usual fail,
    pub times: f64,
    /// and so much more of all. The sum grows where more fail than about a third of the way from usual to sick.
    pub more: f64,
    /// What is certain and at present is less than this share only leans.
    pub matters: f64,
}

/// A share follows the present over so many seconds, and what is usual over half an hour.
const PRESENT_SECS: f64 = 10.0;
const MEMORY_SECS: f64 = 1_800.0;

impl Timed {
    /// As it was before a restart.
    pub fn restored(usual: Usual) -> Self {
        Self { baseline: Baseline::restored(usual), ..Self::default() }
    }

    /// For a restart.
    pub const fn usual(&self) -> Usual {
        self.baseline.usual()
    }

    /// Takes in a second: the median of `count` times, if there were any. `settles` says that a steady level may
    /// become the usual one: not while there is a verdict about more than this endpoint's cell.
    pub fn step(&mut self, time: Option<Duration>, count: u32, kind: &Kind, settles: bool, now: Moment) {
        let Some(seconds) = time.map(|time| time.as_secs_f64()) else { return };
        forget(&mut self.sum, self.last, now);
        self.last = Some(now);
        if let Some(z) = self.baseline.z(seconds, count, kind) {
            self.sum.add(z);
        }
        // What is certain and does not matter is learned: it would otherwise stay certain until somebody looked.
        let changed = self.sum.is_certain() && self.baseline.matters(kind) >= 1.0;
        self.baseline.learn(seconds, count, kind, changed, now);
        if changed && settles && self.baseline.settle(kind, now) {
            self.sum.reset();
        }
    }

    /// How it is. What is certain and does not matter only leans, and what is not half as large does not even that.
    pub fn state(&self, kind: &Kind, now: Moment) -> State {
        let most = match self.baseline.matters(kind) {
            large if large >= 1.0 => State::Bad,
            large if large >= 0.5 => State::Leaning,
            _ => State::Fine,
        };
        state(self.sum, self.last, now).min(most)
    }

    /// How many times the usual it is at present.
    pub fn factor(&self) -> f64 {
        self.baseline.factor()
    }
}

impl Counted {
    /// As it was before a restart; 0 where nothing was.
    pub fn restored(usual: f64) -> Self {
        let usual = if (0.0..=1.0).contains(&usual) { usual } else { 0.0 };
        Self { usual, present: usual, sum: Cusum::default(), last: None }
    }

    /// The usual share, for a restart.
    pub const fn usual(&self) -> f64 {
        self.usual
    }

    /// Takes in a second: `part` of `whole` were bad.
    pub fn step(&mut self, part: u32, whole: u32, shares: &Shares, now: Moment) {
        let whole = whole.max(part);
        if whole == 0 {
            return;
        }
        forget(&mut self.sum, self.last, now);
        self.last = Some(now);
        let usual = self.usual.clamp(shares.least, shares.most);
        let sick = (usual * shares.times).max(usual + shares.more).min(0.9);
        self.sum.add_evidence(evidence(part, whole, usual, sick));
        let share = f64::from(part) / f64::from(whole);
        self.present += (share - self.present) / PRESENT_SECS;
        if !self.sum.is_leaning() {
            self.usual += (share - self.usual) / MEMORY_SECS;
        }
    }

    /// How it is.
    pub fn state(&self, shares: &Shares, now: Moment) -> State {
        let most = if self.present >= shares.matters { State::Bad } else { State::Leaning };
        state(self.sum, self.last, now).min(most)
    }

    /// The share of the last seconds.
    pub const fn present(&self) -> f64 {
        self.present
    }
}

fn forget(sum: &mut Cusum, last: Option<Moment>, now: Moment) {
    if last.is_some_and(|last| now.since(last) > STALE) {
        sum.reset();
    }
}

fn state(sum: Cusum, last: Option<Moment>, now: Moment) -> State {
    let Some(silent) = last.map(|last| now.since(last)) else { return State::Unknown };
    match () {
        () if silent > STALE => State::Unknown,
        () if sum.is_certain() => State::Bad,
        () if sum.is_leaning() => State::Leaning,
        () if silent <= FRESH => State::Fine,
        () => State::Unknown,
    }
}
