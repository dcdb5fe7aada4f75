//! What is made of many measurements: contestants take turns, each round measures each of them once, and a ratio is of two
//! measurements of the same round, so that what else the machine does meets both. Plain functions.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::drive::Driven;
use super::usage::{Memory, Used};
use crate::load::Latency;

/// One contestant in one round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Requests within the window; connections held where these are idle.
    pub requests: u64,
    /// Those without a whole answer.
    pub failed: u64,
    /// Those with another answer than the right one.
    pub wrong: u64,
    /// Those on a resumed TLS session.
    pub resumed: u64,
    /// How long the window was.
    pub elapsed: Duration,
    /// Processor time of the contestant within it.
    pub used: Used,
    /// How long answers took.
    pub latency: Latency,
    /// Of these the 99th of 100 in the worst half second of the window, in microseconds.
    pub worst_p99_us: Option<u64>,
    /// Of a reload, from the signal until the other table was in force.
    pub to_effect: Option<Duration>,
    /// Of a cold start, from the start of the program until the first answer.
    pub first_answer: Option<Duration>,
    /// The most resident memory that was seen during a reload, in bytes.
    pub peak: Option<u64>,
    /// Memory of the contestant before the window.
    pub before: Memory,
    /// And at its end.
    pub after: Memory,
    /// What the load has to say.
    pub remark: Option<String>,
}

impl Measured {
    /// What the load has counted; what the contestant has used is not in it.
    pub fn of(driven: Driven) -> Self {
        Self {
            requests: driven.requests,
            failed: driven.failed,
            wrong: driven.wrong,
            resumed: driven.resumed,
            elapsed: driven.elapsed,
            latency: driven.latency.latency(),
            worst_p99_us: driven.worst_p99_us,
            remark: driven.remark,
            ..Self::default()
        }
    }

    /// Processor time a request, in microseconds; none without requests.
    pub fn cpu_us(&self) -> Option<f64> {
        Some(self.user_us()? + self.system_us()?)
    }

    /// Of it, in user space.
    pub fn user_us(&self) -> Option<f64> {
        self.each(self.used.user.as_secs_f64() * 1e6)
    }

    /// Of it, in the kernel.
    pub fn system_us(&self) -> Option<f64> {
        self.each(self.used.system.as_secs_f64() * 1e6)
    }

    /// Requests a second; none without time.
    pub fn per_second(&self) -> Option<f64> {
        let seconds = self.elapsed.as_secs_f64();
        (seconds > 0.0).then(|| self.requests as f64 / seconds)
    }

    /// Memory that the window has added, in KiB a connection.
    pub fn kib_each(&self) -> Option<f64> {
        self.each(self.after.resident.saturating_sub(self.before.resident) as f64 / 1_024.0)
    }

    /// Seconds until another table was in force, where there was one.
    pub fn to_effect_s(&self) -> Option<f64> {
        self.to_effect.map(|to_effect| to_effect.as_secs_f64())
    }

    /// Seconds until the first answer, where the start was what was measured.
    pub fn first_answer_s(&self) -> Option<f64> {
        self.first_answer.map(|first_answer| first_answer.as_secs_f64())
    }

    /// Share of requests on a resumed session, of 1.
    pub fn resumed_share(&self) -> Option<f64> {
        self.each(self.resumed as f64)
    }

    fn each(&self, of_all: f64) -> Option<f64> {
        (self.requests > 0).then(|| of_all / self.requests as f64)
    }
}

/// Median and extremes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// As many are above as below; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// None of no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => (values.get(middle.checked_sub(1)?)? + values.get(middle)?) / 2.0,
            _ => *values.get(middle)?,
        };
        Some(Self { median, least: *values.first()?, most: *values.last()? })
    }
}

/// The order of a round: it begins one further each time, so that each contestant follows each place of the machine's mood.
pub fn turns(contestants: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..contestants).map(move |turn| (turn + round) % contestants)
}

/// A value in each round over that of another contestant in the same round; rounds in which one of them has none are left out.
pub fn ratios(own: &[Measured], of: &[Measured], value: fn(&Measured) -> Option<f64>) -> Option<Spread> {
    let paired = own.iter().zip(of).filter_map(|(own, of)| {
        let of = value(of).filter(|of| *of > 0.0)?;
        Some(value(own)? / of)
    });
    Spread::of(paired)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0]), Some(Spread { median: 3.0, least: 3.0, most: 3.0 }));
        assert_eq!(Spread::of([9.0, 1.0, 4.0, 2.0]), Some(Spread { median: 3.0, least: 1.0, most: 9.0 }));
        assert_eq!(Spread::of([9.0, 1.0, 4.0]).map(|spread| spread.median), Some(4.0));
    }

    #[test]
    fn each_contestant_is_first_as_often_as_any_other() {
        let firsts: Vec<Vec<usize>> = (0..3).map(|round| turns(3, round).collect()).collect();
        assert_eq!(firsts, [[0, 1, 2], [1, 2, 0], [2, 0, 1]]);
    }

    #[test]
    fn a_ratio_is_of_the_same_round_and_not_of_medians() {
        // The machine is ten times slower in the second round, for both alike.
        let measured = |requests, micros| Measured {
            requests,
            used: Used { user: Duration::from_micros(micros), system: Duration::from_micros(micros) },
            ..Measured::default()
        };
        let own = [measured(10, 50), measured(10, 500), measured(0, 70)];
        let of = [measured(10, 100), measured(10, 1_000), measured(10, 100)];
        let half = Spread { median: 0.5, least: 0.5, most: 0.5 };
        assert_eq!(ratios(&own, &of, Measured::cpu_us), Some(half), "a round without requests has no ratio");
        assert_eq!(ratios(&of[..1], &own[2..], Measured::cpu_us), None);
    }

    #[test]
    fn times_of_reloads_and_starts_are_compared_in_seconds() {
        let reload = |ms| Measured { to_effect: Some(Duration::from_millis(ms)), ..Measured::default() };
        let ratio = ratios(&[reload(300)], &[reload(1_200)], Measured::to_effect_s);
        assert_eq!(ratio.map(|ratio| ratio.median), Some(0.25));
        let start = Measured { first_answer: Some(Duration::from_millis(1_500)), ..Measured::default() };
        assert_eq!((start.first_answer_s(), start.to_effect_s()), (Some(1.5), None));
    }

    #[test]
    fn memory_of_idle_connections_is_what_they_have_added() {
        let memory = |resident| Memory { resident, proportional: 0 };
        let measured = Measured {
            requests: 100,
            before: memory(1 << 20),
            after: memory(3 << 20),
            ..Measured::default()
        };
        assert_eq!(measured.kib_each(), Some(20.48));
        let shrunk = Measured { before: memory(3 << 20), after: memory(1 << 20), ..measured };
        assert_eq!(shrunk.kib_each(), Some(0.0));
    }
}
