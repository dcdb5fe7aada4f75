//! How many requests a cell, or a group of it, may have at once: found between a tenth of what is declared and all of
//! it.
//!
//! Starts at what is declared, which is also the cap: a limit that has to be found upwards refuses what a healthy cell
//! would have served after every start. Losses lower it, and answers that come late because requests wait in the cell.
//!
//! Lateness alone does not say whether requests wait or the cell is slower. Gradient2 (Netflix) tolerates a factor of
//! two and leaves a cell that lost half of its workers at twice its capacity. Envoy's gradient pins the concurrency
//! to 3 from time to time to find out, and refuses good requests for it (envoy#8337, #9007, #38338). Here the
//! lowering itself is the experiment: where requests wait, with a fifth fewer of them answers come a fifth earlier.
//! Where they do not come earlier, nobody waits, the cell is slower, and how late they are becomes what is usual.

use std::time::Duration;

use super::super::moment::Moment;

/// How the limit moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitRules {
    /// D: more are never let in.
    pub declared: u32,
    /// Requests of a window below which it says nothing of time or losses.
    pub least_samples: u32,
    /// Part of losses above which the limit falls: one in a hundred is what any network loses on a bad day.
    pub tolerated_loss: f64,
    /// Answers may take so many times what is usual without any lowering. With 1, the limit stands still where they
    /// take a twelfth longer: [`GROWTH`] and lowering are equal there, with a twelfth of the requests waiting.
    pub tolerance: f64,
}

impl LimitRules {
    /// As recommended, for what is declared.
    pub const fn of(declared: u32) -> Self {
        Self { declared, least_samples: 20, tolerated_loss: 0.01, tolerance: 1.0 }
    }
}

/// What a second has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WindowSample {
    /// Requests that went to the cell.
    pub started: u32,
    /// Those that it did not serve: timeouts, connect failures, pushback (429, 503).
    pub dropped: u32,
    /// Half of the answers to requests of short classes began within this time. Long polls, streams and tunnels are no
    /// measure of a queue.
    pub first_byte_p50: Duration,
    /// How many answers that was of.
    pub first_bytes: u32,
    /// Permits taken at the same time, at most.
    pub in_flight_max: u32,
}

/// Why the limit is what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Why {
    /// Too few requests, or less than half of the limit used: nothing is known.
    #[default]
    Quiet,
    /// The cell lost requests.
    Losses,
    /// Its answers come late.
    Late,
    /// Its answers come as early with fewer: the cell is slower, and nobody waits.
    Slower,
    /// All is well, and it may have more.
    Growing,
}

impl Why {
    /// Name in metrics and on the status page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Losses => "losses",
            Self::Late => "late",
            Self::Slower => "slower",
            Self::Growing => "growing",
        }
    }
}

/// What a restart needs to go on where it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SavedLimit {
    /// The limit, with its fraction.
    pub limit: f64,
    /// Half of the answers begin within this time when nobody waits.
    pub usual: Option<Duration>,
}

/// The limit of a cell or of a group.
#[derive(Clone, Debug)]
pub struct Limit {
    rules: LimitRules,
    limit: f64,
    why: Why,
    /// In nanoseconds.
    usual: Option<f64>,
    /// The p50 of the last windows, smoothed.
    recent: f64,
    /// The lowest p50 of each of the last hours.
    lows: [Option<f64>; HOURS],
    hour: u64,
    /// What was so when the lowering began.
    began: Option<(f64, f64)>,
    lowered: Moment,
}

/// The least part of what is declared: it is a declaration, not a guess.
const LEAST_PART: f64 = 0.1;

/// With less than four no window has enough samples to go up again.
const LEAST: f64 = 4.0;

/// What losses leave (AIMD).
const AFTER_LOSSES: f64 = 0.9;

/// What a window of lateness lowers the limit to at most, before smoothing (Gradient2).
const STEEPEST: f64 = 0.5;

/// Part of the limit that is added for those who may wait in the cell. Gradient2 adds 4, Envoy the root: with a limit
/// of 2,000 that takes two minutes to double. This, smoothed, doubles it in 44 s.
const GROWTH: f64 = 0.08;

/// Weight of a window in the limit (Gradient2).
const SMOOTHING: f64 = 0.2;

/// Weight of a window in what is recent: about the last two.
const RECENT: f64 = 0.6;

/// Weight of a window in what is usual, when it is earlier than that, or the cell has little to do.
const LEARNING: f64 = 0.2;

/// How much the limit falls before it is seen whether that has helped.
const EXPERIMENT: f64 = 0.8;

/// Lowering to [`EXPERIMENT`] has helped if answers come at least so much earlier: half of what waiting alone would
/// give.
const HELPED: f64 = 0.9;

/// Answers that take so many times what they took when the lowering began: the trouble had not come to its end then.
const WORSE: f64 = 1.1;

/// Answers that come so many times as early as usual are no accident of the mix of requests.
const FASTER: f64 = 1.25;

/// What is usual drifts to no more than so many times the lowest of a day: a cell that gets a little slower each hour
/// is not well because it is used to it.
const MOST_DRIFT: f64 = 2.0;

const HOURS: usize = 24;

const HOUR_NANOS: u64 = 3_600_000_000_000;

impl Limit {
    /// At what is declared.
    pub fn new(rules: LimitRules) -> Self {
        let limit = f64::from(rules.declared);
        Self {
            rules,
            limit,
            why: Why::Quiet,
            usual: None,
            recent: 0.0,
            lows: [None; HOURS],
            hour: 0,
            began: None,
            lowered: Moment::START,
        }
    }

    /// Where it was before a restart, within what is declared now.
    pub fn restored(rules: LimitRules, saved: SavedLimit) -> Self {
        let usual = saved.usual.map(|usual| usual.as_nanos() as f64);
        let mut limit = Self { usual, ..Self::new(rules) };
        limit.limit = if saved.limit.is_finite() { limit.within(saved.limit) } else { limit.limit };
        limit
    }

    /// How many requests there may be.
    pub fn value(&self) -> u32 {
        // At most what is declared, which fits.
        self.limit.round() as u32
    }

    /// Why it was moved last, or not.
    pub fn why(&self) -> Why {
        self.why
    }

    /// For the state file, and for the status page.
    pub fn saved(&self) -> SavedLimit {
        let usual = self.usual.map(|usual| Duration::from_nanos(usual as u64));
        SavedLimit { limit: self.limit, usual }
    }

    /// Another number is declared.
    pub fn declare(&mut self, declared: u32) {
        let was_all = self.limit >= f64::from(self.rules.declared);
        self.rules.declared = declared;
        self.limit = self.within(if was_all { f64::from(declared) } else { self.limit });
    }

    /// Something else has let no more in than this: what is above it was not tried, and to lower it shows nothing.
    pub fn lower(&mut self, to: u32) {
        if f64::from(to) < self.limit {
            self.limit = self.within(f64::from(to));
            self.began = None;
        }
    }

    /// A second has passed.
    pub fn step(&mut self, sample: &WindowSample, now: Moment) {
        self.why = self.judge(sample, now);
    }

    fn judge(&mut self, sample: &WindowSample, now: Moment) -> Why {
        let WindowSample { started, dropped, first_bytes, in_flight_max, .. } = *sample;
        if started >= self.rules.least_samples
            && f64::from(dropped) > f64::from(started) * self.rules.tolerated_loss
        {
            // What was let in before the last lowering has to come back before its effect can be seen.
            if now.since(self.lowered).as_nanos() as f64 >= self.recent {
                self.limit = self.within(self.limit * AFTER_LOSSES);
                self.lowered = now;
            }
            return Why::Losses;
        }
        if first_bytes < self.rules.least_samples {
            return Why::Quiet;
        }
        let short = (sample.first_byte_p50.as_nanos() as f64).max(1.0);
        self.remember(short, now);
        let usual = *self.usual.get_or_insert(short);
        if f64::from(in_flight_max) * 2.0 < self.limit {
            let most = self.lows.iter().flatten().fold(f64::MAX, |low, other| low.min(*other)) * MOST_DRIFT;
            self.usual = Some((usual + LEARNING * (short - usual)).min(most));
            self.began = None;
            return Why::Quiet;
        }
        if short * FASTER < usual {
            // No queue makes answers come earlier: the cell is faster. The limit has let a few wait even so.
            self.usual = Some(short / (1.0 + GROWTH));
        } else if short < usual {
            self.usual = Some(usual + LEARNING * (short - usual));
        }
        self.follow(short, usual)
    }

    /// Gradient2's step, and the experiment.
    fn follow(&mut self, short: f64, usual: f64) -> Why {
        let gradient = (self.rules.tolerance * usual / short).clamp(STEEPEST, 1.0);
        let aim = self.limit * gradient + (self.limit * GROWTH).max(1.0);
        let next = self.within(self.limit + SMOOTHING * (aim - self.limit));
        if next >= self.limit {
            self.began = None;
            self.limit = next;
            return Why::Growing;
        }
        // While it is still getting worse nothing can be said of what the lowering does.
        let (limit, late) = match self.began {
            Some((limit, late)) if short <= late * WORSE => (limit, late),
            _ => (self.limit, short),
        };
        self.began = Some((limit, late));
        if next > limit * EXPERIMENT {
            self.limit = next;
            return Why::Late;
        }
        self.began = None;
        if self.recent > late * HELPED {
            self.usual = Some(self.recent);
            return Why::Slower;
        }
        self.limit = next;
        Why::Late
    }

    fn remember(&mut self, short: f64, now: Moment) {
        self.recent = match self.recent > 0.0 {
            true => self.recent + RECENT * (short - self.recent),
            false => short,
        };
        let hour = now.nanos() / HOUR_NANOS;
        let low = &mut self.lows[(hour % HOURS as u64) as usize];
        *low = match *low {
            Some(low) if self.hour == hour => Some(low.min(short)),
            _ => Some(short),
        };
        self.hour = hour;
    }

    fn within(&self, limit: f64) -> f64 {
        let declared = f64::from(self.rules.declared);
        limit.max(LEAST.max(declared * LEAST_PART)).min(declared)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn second(at: u64) -> Moment {
        Moment::START + Duration::from_secs(at)
    }

    /// A busy second with this p50 and so many lost of 1,000.
    fn busy(millis: u64, dropped: u32, limit: &Limit) -> WindowSample {
        WindowSample {
            started: 1_000,
            dropped,
            first_byte_p50: Duration::from_millis(millis),
            first_bytes: 1_000,
            in_flight_max: limit.value(),
        }
    }

    #[test]
    fn losses_lower_it_once_in_the_time_of_an_answer_and_never_below_the_floor() {
        let mut limit = Limit::new(LimitRules::of(1_000));
        limit.step(&busy(2_500, 10, &limit), second(1));
        assert_eq!((limit.value(), limit.why()), (1_000, Why::Growing), "one in a hundred is tolerated");
        let found: Vec<u32> = (2..8)
            .map(|now| {
                limit.step(&busy(2_500, 11, &limit), second(now));
                limit.value()
            })
            .collect();
        assert_eq!(found, [1_000, 900, 900, 900, 810, 810], "each third second");
        (0..1_000).for_each(|now| limit.step(&busy(10, 500, &limit), second(10 + now)));
        assert_eq!((limit.value(), limit.why()), (100, Why::Losses));
        let mut small = Limit::new(LimitRules::of(2));
        (0..100).for_each(|now| small.step(&busy(10, 500, &small), second(10 + now)));
        assert_eq!(small.value(), 2, "what is declared is never exceeded");
    }

    #[test]
    fn a_second_that_shows_little_moves_nothing() {
        let mut limit = Limit::new(LimitRules::of(100));
        let few = WindowSample { started: 19, dropped: 19, first_bytes: 19, ..busy(900, 19, &limit) };
        limit.step(&few, second(1));
        assert_eq!((limit.value(), limit.why()), (100, Why::Quiet));
        (0..50).for_each(|now| {
            limit.step(&WindowSample { in_flight_max: 49, ..busy(10 + now, 0, &limit) }, second(now))
        });
        assert_eq!(limit.value(), 100, "half of the limit unused: nobody waits, whatever the time");
        let usual = limit.saved().usual.unwrap();
        assert_eq!(usual, Duration::from_millis(20), "twice the lowest of the day");
    }

    #[test]
    fn late_answers_lower_it_if_that_helps_and_else_are_what_is_usual() {
        for (slower, least, most) in [(false, 45, 60), (true, 95, 100)] {
            let mut limit = Limit::new(LimitRules::of(100));
            limit.step(&busy(20, 0, &limit), second(0));
            for now in 1..60 {
                // Half of the workers are lost and requests wait; or all are at half their speed.
                let waits = (f64::from(limit.value()) / 50.0).max(1.0);
                let millis = if slower { 40.0 } else { 20.0 * waits };
                limit.step(&busy(millis as u64, 0, &limit), second(now));
            }
            assert!((least..=most).contains(&limit.value()), "slower {slower}: {}", limit.value());
        }
    }

    #[test]
    fn it_goes_on_where_it_was() {
        let usual = Some(Duration::from_millis(20));
        let saved = SavedLimit { limit: 57.5, usual };
        assert_eq!(Limit::restored(LimitRules::of(100), saved).saved(), saved);
        for (limit, declared, expect) in
            [(57.5, 40, 40), (1.0, 100, 10), (f64::NAN, 100, 100), (-1.0, 100, 10)]
        {
            let restored = Limit::restored(LimitRules::of(declared), SavedLimit { limit, usual });
            assert_eq!(restored.value(), expect, "{limit} of {declared}");
        }
        let mut limit = Limit::restored(LimitRules::of(100), saved);
        limit.declare(50);
        assert_eq!(limit.value(), 50);
        limit.declare(200);
        assert_eq!(limit.value(), 200, "it was at what was declared");
    }
}
