//! How fast an endpoint answers: over the last three seconds, and over the hour before. Of requests that were answered
//! only; whether that is too slow is [`trip`](super::trip)'s to say.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::super::moment::Moment;
use super::super::histogram::Latencies;

/// Three seconds are thirty requests of an endpoint with ten a second, and soon enough for people.
const RECENT_SECONDS: u64 = 3;

/// An hour in parts that are dropped as a whole: 12 parts of 5 minutes are 4 KB.
const USUAL_PARTS: usize = 12;

/// See there.
const PART_SECONDS: u64 = 300;

/// Fewer answers have no median worth comparing.
const LEAST_RECENT: u64 = 20;

/// An endpoint that has answered fewer has no usual.
const LEAST_USUAL: u64 = 100;

/// How sure a median must be, in standard deviations to each side. A share of slow requests that is one account's own
/// and lies near a half makes medians jump by chance; three on both sides at once are rarer than 1 in 100,000.
const DEVIATIONS: f64 = 3.0;

/// See the file.
#[derive(Debug, Default)]
pub(super) struct Pace {
    recent: VecDeque<(u64, Latencies)>,
    /// The bounds of the median of all of `recent`.
    median: Option<(Duration, Duration)>,
    usual: VecDeque<(u64, Latencies)>,
    /// The median of all of `usual`, which is only worked out when a second joins it.
    usual_median: Option<Duration>,
}

impl Pace {
    /// Adds what came just before `now`.
    pub(super) fn add(&mut self, first_bytes: &Latencies, now: Moment) {
        let second = now.since(Moment::START).as_secs();
        self.settle(second);
        match self.recent.back_mut() {
            Some((newest, all)) if *newest == second => all.add(first_bytes),
            _ => self.recent.push_back((second, first_bytes.clone())),
        }
        let recent = sum(&self.recent);
        self.median = recent.median(DEVIATIONS).filter(|_| recent.count() >= LEAST_RECENT);
    }

    /// The median of the last seconds, at least and at most; `None` of few answers.
    pub(super) const fn median(&self) -> Option<(Duration, Duration)> {
        self.median
    }

    /// The median of the hour before those seconds.
    pub(super) const fn usual_median(&self) -> Option<Duration> {
        self.usual_median
    }

    /// Forgets the last seconds, so that an endpoint that was slow is not so for the hour to come.
    pub(super) fn forget_recent(&mut self) {
        self.recent.clear();
        self.median = None;
    }

    /// Seconds that are no longer recent become usual.
    fn settle(&mut self, second: u64) {
        let mut settled = false;
        while let Some((oldest, _)) = self.recent.front()
            && oldest + RECENT_SECONDS <= second
            && let Some((second, latencies)) = self.recent.pop_front()
        {
            let part = second / PART_SECONDS;
            match self.usual.back_mut() {
                Some((newest, all)) if *newest == part => all.add(&latencies),
                _ => self.usual.push_back((part, latencies)),
            }
            settled = true;
        }
        let first = (second / PART_SECONDS + 1).saturating_sub(USUAL_PARTS as u64);
        while self.usual.front().is_some_and(|(part, _)| *part < first) {
            self.usual.pop_front();
            settled = true;
        }
        if settled {
            let usual = sum(&self.usual);
            let median = usual.median(0.0).filter(|_| usual.count() >= LEAST_USUAL);
            self.usual_median = median.map(|(middle, _)| middle);
        }
    }
}

fn sum(parts: &VecDeque<(u64, Latencies)>) -> Latencies {
    let mut all = Latencies::NONE;
    parts.iter().for_each(|(_, part)| all.add(part));
    all
}

#[cfg(test)]
mod tests {
    use super::super::super::histogram::Histogram;
    use super::*;

    /// Ten answers of this latency each 100 ms.
    fn answers(pace: &mut Pace, seconds: std::ops::Range<u64>, millis: u64) {
        for look in seconds.start * 10..seconds.end * 10 {
            let histogram = Histogram::new();
            (0..10).for_each(|_| histogram.record(Duration::from_millis(millis)));
            pace.add(&histogram.take(), Moment::START + Duration::from_millis(look * 100));
        }
    }

    fn near(found: Option<Duration>, millis: u64) {
        let found = found.expect("there are enough").as_secs_f64() * 1_000.0;
        assert!((0.85..1.15).contains(&(found / millis as f64)), "{found} ms, not {millis} ms");
    }

    #[test]
    fn what_is_usual_is_the_hour_and_not_the_last_seconds() {
        let mut pace = Pace::default();
        answers(&mut pace, 0..1, 40);
        assert_eq!((pace.median().is_some(), pace.usual_median()), (true, None));
        answers(&mut pace, 1..60, 40);
        near(pace.usual_median(), 40);
        answers(&mut pace, 60..63, 400);
        near(pace.median().map(|(at_least, _)| at_least), 400);
        near(pace.usual_median(), 40);
        // It stays so: an hour later it is usual.
        answers(&mut pace, 63..100, 400);
        near(pace.usual_median(), 40);
        answers(&mut pace, 100..3_720, 400);
        near(pace.usual_median(), 400);
        assert!(pace.usual.len() <= USUAL_PARTS, "{}", pace.usual.len());
    }

    #[test]
    fn forgotten_seconds_never_become_usual() {
        let mut pace = Pace::default();
        answers(&mut pace, 0..4, 40);
        answers(&mut pace, 4..7, 4_000);
        pace.forget_recent();
        assert_eq!(pace.median(), None);
        answers(&mut pace, 7..20, 40);
        near(pace.usual_median(), 40);
        let count: u64 = pace.usual.iter().map(|(_, part)| part.count()).sum();
        assert_eq!(count, 100 * (4 + 10), "all but the slow seconds and the last three");
    }

    #[test]
    fn few_answers_have_no_median() {
        let mut pace = Pace::default();
        let histogram = Histogram::new();
        (0..LEAST_RECENT - 1).for_each(|_| histogram.record(Duration::from_secs(1)));
        pace.add(&histogram.take(), Moment::START);
        assert_eq!(pace.median(), None);
    }
}
