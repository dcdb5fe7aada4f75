//! What is usual for one time of one endpoint: mean and mean deviation of its logarithm, as moving averages.
//!
//! A sum of evidence takes seconds for independent, and latency is not: of a cell that is a fifth slower for a minute
//! it is as certain as of one that is three times slower for five seconds. Both have changed; only one of them
//! matters, so what is certain must also be [large](Baseline::matters).
//!
//! It must follow a day, so it forgets in half an hour. It must not learn an outage, so it learns nothing while
//! something has changed that matters. And it must not call a new normal sick for ever: what changes by less than what
//! matters is learned in half an hour, and what has been steady for [`Kind::patience`] (hours, longer than outages of
//! the past) is the new normal: [`Baseline::settle`].

use std::time::Duration;

use super::super::super::moment::Moment;

/// Time over which the past is forgotten. A day's curve of 40 % up and down moves 5 % in it, below the floors, and
/// noise of minutes is within.
const MEMORY: Duration = Duration::from_secs(1_800);

/// So many samples make a baseline: before, nothing is judged by it.
const ENOUGH: u32 = 30;

/// No sample counts as more than this of time that has passed: one a minute must not jump.
const LONGEST_STEP: Duration = Duration::from_secs(60);

/// Of a normal distribution the standard deviation is so many mean deviations: sqrt(pi / 2).
const OF_MEAN_DEVIATION: f64 = 1.253_314;

/// A level that wanders is so many deviations from its mean once in an hour or so.
const WANDERS: f64 = 3.0;

/// What is learned from one sample, in deviations: a pause is not what the next hour is measured by.
const WINSOR: f64 = 4.0;

/// What present means where a level is looked at. A change to three times the usual is then one to 1.7 times in three
/// seconds.
const PRESENT: Duration = Duration::from_secs(5);

/// The smallest times that are told apart.
const LEAST_SECONDS: f64 = 1e-5;

/// What kind of time it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kind {
    /// No deviation is taken as smaller than this share of the mean.
    pub floor_share: f64,
    /// Nor than this time.
    pub floor: Duration,
    /// A change by less than this share of the mean is none that matters.
    pub matters_share: f64,
    /// Nor is one by less than this time.
    pub matters: Duration,
    /// One by more than this time matters, whatever the mean is.
    pub matters_always: Duration,
    /// A sample that is the median of so many has its full weight; the noise of fewer is larger, by the square root.
    pub full: u32,
    /// A new level of at most four times the old that has been steady for so long is the new normal.
    pub patience: Duration,
}

/// A level that is further from the old one must have been steady for so long: outages of a day have been seen, with a
/// latency as steady as a clock.
const PATIENCE_FAR: Duration = Duration::from_secs(24 * 3_600);

/// What a deployment does to latency is within a factor of four, in ln.
const FAR: f64 = 2.0 * std::f64::consts::LN_2;

/// What is usual.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Baseline {
    /// Of ln(seconds).
    mean: f64,
    deviation: f64,
    /// Mean deviation of the level while nothing has changed.
    wander: f64,
    samples: u32,
    /// The present level, of ln(seconds), learned in good and bad times.
    level: f64,
    last: Option<Moment>,
    /// Since when the level is near this one, while it is not the usual one.
    settled: Option<(Moment, f64)>,
}

/// What a restart must not forget of one time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usual {
    /// Mean of ln(seconds).
    pub mean: f64,
    /// Mean deviation of it.
    pub deviation: f64,
    /// Mean deviation of its average over five seconds.
    pub wander: f64,
    /// How many samples it was learned from; more than needed are as many as needed.
    pub samples: u32,
}

impl Baseline {
    /// As it was before a restart. What is not finite is nothing: such a file is not to be believed.
    pub fn restored(usual: Usual) -> Self {
        let Usual { mean, deviation, wander, samples } = usual;
        let is_deviation = |value: f64| value.is_finite() && value >= 0.0;
        if !(mean.is_finite() && is_deviation(deviation) && is_deviation(wander)) {
            return Self::default();
        }
        Self { mean, deviation, wander, samples, level: mean, ..Self::default() }
    }

    /// For a restart.
    pub const fn usual(&self) -> Usual {
        Usual { mean: self.mean, deviation: self.deviation, wander: self.wander, samples: self.samples }
    }

    /// How many deviations this is above the usual; nothing before enough is known.
    pub fn z(&self, seconds: f64, count: u32, kind: &Kind) -> Option<f64> {
        (self.samples >= ENOUGH).then(|| (ln(seconds) - self.mean) / self.spread(weight(count, kind), kind))
    }

    /// How many times the usual the present level is.
    pub fn factor(&self) -> f64 {
        if self.samples < ENOUGH { 1.0 } else { (self.level - self.mean).exp() }
    }

    /// How far the present level is above the usual, where 1 is so far that somebody would call it sick, and further
    /// than it wanders by itself.
    pub fn matters(&self, kind: &Kind) -> f64 {
        let wanders = WANDERS * OF_MEAN_DEVIATION * self.wander;
        let large = self.at_least(kind.matters_share, kind.matters);
        let always = (kind.matters_always.as_secs_f64() / self.mean.exp()).ln_1p();
        (self.level - self.mean) / large.min(always).max(wanders)
    }

    /// Takes a sample in. The usual learns only where nothing has `changed`; the present level always does.
    pub fn learn(&mut self, seconds: f64, count: u32, kind: &Kind, changed: bool, now: Moment) {
        let (x, weight) = (ln(seconds), weight(count, kind));
        let passed = self.last.map_or(Duration::from_secs(1), |last| now.since(last).min(LONGEST_STEP));
        self.last = Some(now);
        if self.samples == 0 {
            (self.mean, self.level, self.samples) = (x, x, 1);
            return;
        }
        self.level += (x - self.level) * share(passed, PRESENT);
        if changed {
            return;
        }
        self.settled = None;
        // The first samples are averaged, each as much as the next.
        self.samples = self.samples.saturating_add(1);
        let step = share(passed, MEMORY).max(1.0 / f64::from(self.samples.min(1_000_000)));
        let limit = WINSOR * self.spread(weight, kind);
        let off = (x - self.mean).clamp(-limit, limit);
        self.deviation += (off.abs() * weight - self.deviation) * step;
        let wander = (self.level - self.mean).clamp(-limit, limit).abs();
        self.wander += (wander - self.wander) * step;
        self.mean += off * weight * step;
    }

    /// Whether what has changed is the new normal, by having been steady for long enough; it then is what is usual.
    /// Steady is as near to where it settled as it wanders by itself: an outage that gets worse or better begins anew.
    pub fn settle(&mut self, kind: &Kind, now: Moment) -> bool {
        let wanders = self.spread(1.0, kind).max(WANDERS * OF_MEAN_DEVIATION * self.wander);
        let near = |level: f64| (self.level - level).abs() <= wanders;
        match self.settled {
            Some((since, level)) if near(level) => {
                let far = (self.level - self.mean).abs() > FAR;
                let patience = if far { PATIENCE_FAR.max(kind.patience) } else { kind.patience };
                if now.since(since) < patience {
                    return false;
                }
                self.adopt();
                true
            }
            _ => {
                self.settled = Some((now, self.level));
                false
            }
        }
    }

    /// The present level is the usual one from now on.
    const fn adopt(&mut self) {
        self.mean = self.level;
        self.settled = None;
    }

    /// By how much ln grows with so large a share more, or so much time.
    fn at_least(&self, share: f64, time: Duration) -> f64 {
        (time.as_secs_f64() / self.mean.exp()).max(share).ln_1p()
    }

    /// What one deviation is for a sample of this weight.
    fn spread(&self, weight: f64, kind: &Kind) -> f64 {
        let floor = self.at_least(kind.floor_share, kind.floor);
        floor.max(OF_MEAN_DEVIATION * self.deviation / weight)
    }
}

fn ln(seconds: f64) -> f64 {
    seconds.max(LEAST_SECONDS).ln()
}

fn weight(count: u32, kind: &Kind) -> f64 {
    (f64::from(count.clamp(1, kind.full)) / f64::from(kind.full)).sqrt()
}

/// What a sample counts after so much time, against a memory of that.
fn share(passed: Duration, memory: Duration) -> f64 {
    -(-passed.as_secs_f64() / memory.as_secs_f64()).exp_m1()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind {
        floor_share: 0.05,
        floor: Duration::from_millis(2),
        matters_share: 0.2,
        matters: Duration::from_millis(2),
        matters_always: Duration::from_secs(9),
        full: 1,
        patience: Duration::from_secs(3_600),
    };

    /// Seconds that something takes, by the second in which it is measured.
    type Level = fn(u64) -> f64;

    fn at(seconds: u64) -> Moment {
        Moment::START + Duration::from_secs(seconds)
    }

    fn taught(seconds: f64) -> Baseline {
        let mut baseline = Baseline::default();
        (0..600).for_each(|second| baseline.learn(seconds, 1, &KIND, false, at(second)));
        baseline
    }

    #[test]
    fn nothing_is_judged_before_enough_is_known() {
        let mut baseline = Baseline::default();
        for second in 0..u64::from(ENOUGH) {
            assert_eq!(baseline.z(9.0, 1, &KIND), None);
            baseline.learn(0.1, 1, &KIND, false, at(second));
        }
        assert!(baseline.z(9.0, 1, &KIND).is_some_and(|z| z > 4.0));
    }

    #[test]
    fn two_milliseconds_or_five_per_cent_are_one_deviation() {
        for (usual, more) in [(0.001, 0.002), (0.01, 0.002), (0.1, 0.005), (1.0, 0.05)] {
            let z = taught(usual).z(usual + more, 1, &KIND).expect("it is taught");
            assert!((z - 1.0).abs() < 0.01, "{usual} and {more}: {z}");
        }
    }

    #[test]
    fn what_has_changed_is_learned_when_it_is_steady_for_long_enough() {
        let hour = 3_600;
        let table: [(&str, Level, Option<u64>); 4] = [
            ("a deployment", |_| 0.13, Some(hour)),
            ("ten times, as steady as a clock", |_| 1.0, Some(24 * hour)),
            ("an outage that comes and goes", |second| if second / 900 % 2 == 0 { 0.13 } else { 0.19 }, None),
            ("an outage that gets worse", |second| 0.13 * (1.0 + second as f64 / 1e4), None),
        ];
        for (name, level, expect) in table {
            let mut baseline = taught(0.1);
            let mut learned = None;
            for second in 0..25 * hour {
                let now = at(600 + second);
                baseline.learn(level(second), 1, &KIND, true, now);
                if baseline.settle(&KIND, now) {
                    learned = Some(second);
                    break;
                }
            }
            let right = match (learned, expect) {
                (Some(learned), Some(expect)) => learned.abs_diff(expect) < 120,
                (None, None) => true,
                _ => false,
            };
            assert!(right, "{name}: {learned:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_to_be_believed_is_nothing() {
        for usual in [
            Usual { mean: f64::NAN, deviation: 0.1, wander: 0.1, samples: 99 },
            Usual { mean: 0.0, deviation: -1.0, wander: 0.1, samples: 99 },
            Usual { mean: 0.0, deviation: 0.1, wander: f64::INFINITY, samples: 99 },
        ] {
            assert_eq!(Baseline::restored(usual).z(1.0, 1, &KIND), None, "{usual:?}");
        }
        let baseline = taught(0.1);
        assert_eq!(Baseline::restored(baseline.usual()).z(0.2, 1, &KIND), baseline.z(0.2, 1, &KIND));
    }
}
