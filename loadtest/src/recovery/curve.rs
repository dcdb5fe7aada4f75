//! What happened in each second of a run, and what is said of it in one line.

use std::fmt::Write;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::attempt::End;
use super::workers::WorkSeen;
use crate::cell::behaviour::lock;

/// One second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// Attempts that were begun.
    pub offered: u32,
    /// Requests that arrived at the cell.
    pub arrived: u32,
    /// Attempts that were answered by the cell in time: goodput.
    pub good: u32,
    /// Attempts that the proxy refused.
    pub refused: u32,
    /// Attempts that ended otherwise.
    pub failed: u32,
    /// Requests that waited in the cell at the end of it.
    pub waiting: u32,
}

/// Counts while a run goes on.
#[derive(Debug)]
pub struct Curve {
    started: Instant,
    counting: Mutex<Counting>,
}

#[derive(Debug, Default)]
struct Counting {
    seconds: Vec<Second>,
    left: u64,
}

impl Curve {
    /// Begins now.
    pub fn begin() -> Self {
        Self { started: Instant::now(), counting: Mutex::default() }
    }

    /// When it began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// An attempt begins.
    pub fn offered(&self) {
        self.now(|second| second.offered += 1);
    }

    /// An attempt has ended.
    pub fn ended(&self, end: End) {
        self.now(|second| match end {
            End::Good => second.good += 1,
            End::Refused => second.refused += 1,
            End::Failed => second.failed += 1,
        });
    }

    /// A client has left without an answer.
    pub fn left(&self) {
        lock(&self.counting).left += 1;
    }

    /// So many wait in the cell.
    pub fn waiting(&self, waiting: usize) {
        self.now(|second| second.waiting = u32::try_from(waiting).unwrap_or(u32::MAX));
    }

    fn now(&self, note: impl FnOnce(&mut Second)) {
        let index = self.started.elapsed().as_secs() as usize;
        let mut counting = lock(&self.counting);
        if counting.seconds.len() <= index {
            counting.seconds.resize(index + 1, Second::default());
        }
        note(&mut counting.seconds[index]);
    }

    /// The run is over: whole seconds, with the cell's own side of it.
    pub fn finish(self, plan: &Plan, work: WorkSeen, work_started: Instant) -> Recorded {
        let counting = self.counting.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut seconds = counting.seconds;
        seconds.resize(plan.total().as_secs() as usize, Second::default());
        // The workers are older than the run; what they did before it is no part of it.
        let before = self.started.saturating_duration_since(work_started);
        let since = |moments: &[Duration]| -> Vec<Duration> {
            moments.iter().filter_map(|at| at.checked_sub(before)).collect()
        };
        let arrived = since(&work.arrived);
        for at in &arrived {
            if let Some(second) = seconds.get_mut(at.as_secs() as usize) {
                second.arrived += 1;
            }
        }
        Recorded {
            plan: plan.clone(),
            seconds,
            arrived,
            collapses: since(&work.collapses),
            thrashed: work.thrashed,
            wasted: work.wasted,
            left: counting.left,
        }
    }
}

/// How long each part of a run is, and what the cell is said to bear.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The demand, in new clients a second.
    pub demand_rps: f64,
    /// The declared capacity of the cell, in requests a second. It bears a little more.
    pub declared_rps: f64,
    /// Normal times.
    pub before: Duration,
    /// Nothing listens.
    pub outage: Duration,
    /// From the return of the cell on.
    pub after: Duration,
}

impl Plan {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.before + self.outage + self.after
    }

    /// When the cell is back.
    pub fn back(&self) -> Duration {
        self.before + self.outage
    }

    /// The most that a paced recovery lets through in the second that begins so many seconds after the return: 1 % of
    /// the capacity, a quarter more every five seconds, until it is all. A proxy that sees the cell later, or goes back
    /// a step, is below.
    pub fn envelope_rps(&self, second: u64) -> f64 {
        let periods = i32::try_from(second / 5).unwrap_or(i32::MAX);
        ((0.01 * self.declared_rps).max(1.0) * 1.25_f64.powi(periods)).min(self.declared_rps)
    }
}

/// What a run has recorded.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// What was planned.
    pub plan: Plan,
    /// Second by second from the beginning.
    pub seconds: Vec<Second>,
    /// When each request arrived at the cell, since the beginning.
    pub arrived: Vec<Duration>,
    /// When the cell began to thrash, since the beginning.
    pub collapses: Vec<Duration>,
    /// How long it thrashed.
    pub thrashed: Duration,
    /// Requests that it served for nobody.
    pub wasted: u64,
    /// Clients that left without an answer.
    pub left: u64,
}

/// A run in one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Seconds from the return until ten seconds follow in which 95 % of the demand is served on average.
    pub served_after_secs: Option<u64>,
    /// How often the cell began to thrash after its return.
    pub collapses: usize,
    /// How long it thrashed, in seconds.
    pub thrashed_secs: f64,
    /// The most that arrived in any second, wherever it begins, after the return.
    pub most_arrived: usize,
    /// The most in a whole second, of what the envelope has for that second.
    pub most_of_envelope: f64,
    /// Seconds in which more arrived than the envelope, 2 % and one request.
    pub seconds_over: usize,
    /// Answered in time after the return, a second on average.
    pub good_rps: f64,
    /// The same for the last twenty seconds.
    pub good_at_end_rps: f64,
    /// Attempts that the proxy refused after the return.
    pub refused: u64,
    /// Attempts that failed otherwise after the return.
    pub failed: u64,
    /// Requests that the cell served for nobody.
    pub wasted: u64,
    /// Clients that left without an answer.
    pub left: u64,
    /// Attempts in the second before the return, of the demand.
    pub waiting_times_demand: f64,
}

impl Summary {
    /// In what it is no paced recovery: never over the envelope, the demand served within 150 s, no second collapse.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.seconds_over > 0 {
            complaints.push(format!("{} seconds over the envelope", self.seconds_over));
        }
        if self.served_after_secs.is_none_or(|secs| secs > SERVED_WITHIN_SECS) {
            complaints.push(format!("the demand is not served within {SERVED_WITHIN_SECS} s"));
        }
        if self.collapses > 0 {
            complaints.push(format!("{} collapses after the return", self.collapses));
        }
        complaints
    }
}

/// How soon a paced recovery serves the demand: 103 s to the whole capacity, and half of that again for steps back.
const SERVED_WITHIN_SECS: u64 = 150;

impl Recorded {
    fn after(&self) -> &[Second] {
        &self.seconds[(self.plan.back().as_secs() as usize).min(self.seconds.len())..]
    }

    /// What there is to say of it.
    pub fn summary(&self) -> Summary {
        let after = self.after();
        let sum = |of: fn(&Second) -> u32| after.iter().map(|second| u64::from(of(second))).sum::<u64>();
        let per_second = |among: &[Second]| mean(among.iter().map(|second| f64::from(second.good)));
        let wanted = 0.95 * self.plan.demand_rps;
        let served_after = after.windows(10).position(|ten| per_second(ten) >= wanted);
        let of_envelope =
            |(second, found): (u64, &Second)| (f64::from(found.arrived), self.plan.envelope_rps(second));
        let against: Vec<(f64, f64)> = (0..).zip(after).map(of_envelope).collect();
        let back = self.plan.back();
        let before_back = self.seconds.get((back.as_secs() as usize).wrapping_sub(1));
        Summary {
            served_after_secs: served_after.map(|second| second as u64),
            collapses: self.collapses.iter().filter(|at| **at >= back).count(),
            thrashed_secs: self.thrashed.as_secs_f64(),
            most_arrived: most_in_a_second(self.arrived.iter().filter(|at| **at >= back).copied().collect()),
            most_of_envelope: against.iter().map(|(found, most)| found / most).fold(0.0, f64::max),
            seconds_over: against.iter().filter(|(found, most)| *found > most * 1.02 + 1.0).count(),
            good_rps: per_second(after),
            good_at_end_rps: per_second(&after[after.len().saturating_sub(20)..]),
            refused: sum(|second| second.refused),
            failed: sum(|second| second.failed),
            wasted: self.wasted,
            left: self.left,
            waiting_times_demand: before_back.map_or(0.0, |second| f64::from(second.offered))
                / self.plan.demand_rps,
        }
    }

    /// A line a second, with seconds counted from the return of the cell.
    pub fn csv(&self) -> String {
        let mut text = "second,offered,arrived,good,refused,failed,waiting,envelope\n".to_owned();
        let back = self.plan.back().as_secs();
        for (number, second) in (0..).zip(&self.seconds) {
            let at = number as i64 - back as i64;
            let envelope = u64::try_from(at).map(|at| self.plan.envelope_rps(at));
            let Second { offered, arrived, good, refused, failed, waiting } = second;
            // Writing to a String cannot fail.
            let _ = write!(text, "{at},{offered},{arrived},{good},{refused},{failed},{waiting},");
            let _ = envelope.map(|rate| write!(text, "{rate:.1}"));
            text.push('\n');
        }
        text
    }
}

fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = numbers.len().max(1) as f64;
    numbers.sum::<f64>() / count
}

/// Most in any second that begins with one of them.
fn most_in_a_second(mut moments: Vec<Duration>) -> usize {
    moments.sort_unstable();
    let mut first = 0;
    let count = |(last, at): (usize, &Duration)| {
        while *at - moments[first] >= Duration::from_secs(1) {
            first += 1;
        }
        last + 1 - first
    };
    moments.iter().enumerate().map(count).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn plan() -> Plan {
        Plan {
            demand_rps: 140.0,
            declared_rps: 200.0,
            before: 2 * SECOND,
            outage: 3 * SECOND,
            after: 150 * SECOND,
        }
    }

    #[test]
    fn the_envelope_is_all_after_103_seconds_and_no_earlier() {
        for (second, rate) in
            [(0, 2.0), (4, 2.0), (5, 2.5), (50, 18.6), (104, 173.5), (105, 200.0), (9_999, 200.0)]
        {
            let found = plan().envelope_rps(second);
            assert!((found - rate).abs() < 0.05, "{second}: {found}");
        }
    }

    #[test]
    fn what_is_no_paced_recovery_is_said() {
        let good = Summary {
            served_after_secs: Some(150),
            collapses: 0,
            thrashed_secs: 0.0,
            most_arrived: 203,
            most_of_envelope: 1.02,
            seconds_over: 0,
            good_rps: 140.0,
            good_at_end_rps: 200.0,
            refused: 9,
            failed: 9,
            wasted: 9,
            left: 9,
            waiting_times_demand: 10.0,
        };
        let cases = [
            (good.clone(), 0),
            (Summary { seconds_over: 1, ..good.clone() }, 1),
            (Summary { served_after_secs: Some(151), ..good.clone() }, 1),
            (Summary { served_after_secs: None, ..good.clone() }, 1),
            (Summary { collapses: 1, served_after_secs: None, seconds_over: 2, ..good }, 3),
        ];
        for (summary, expected) in cases {
            assert_eq!(summary.complaints().len(), expected, "{summary:?}");
        }
    }

    #[test]
    fn a_run_is_summed_up() {
        let good = |from: usize| move |second: usize| if second >= from { 133 } else { 50 };
        let good = good(5 + 40);
        let seconds = (0..155).map(|number| Second {
            offered: if number == 4 { 1_400 } else { 200 },
            arrived: if number == 6 { 4 } else { 1 },
            good: good(number),
            refused: 2,
            failed: 1,
            waiting: 0,
        });
        let recorded = Recorded {
            plan: plan(),
            seconds: seconds.collect(),
            arrived: [5.2, 5.9, 6.1, 6.3, 6.89].map(Duration::from_secs_f64).to_vec(),
            collapses: vec![SECOND, 7 * SECOND],
            thrashed: 3 * SECOND,
            wasted: 7,
            left: 8,
        };
        let found = recorded.summary();
        assert_eq!((found.served_after_secs, found.collapses, found.most_arrived), (Some(40), 1, 4));
        assert_eq!((found.refused, found.failed, found.seconds_over), (300, 150, 1));
        assert_eq!((found.most_of_envelope, found.waiting_times_demand), (2.0, 10.0));
        assert!((found.good_at_end_rps - 133.0).abs() < 1e-9);
        let csv = recorded.csv();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines.len(), 156);
        assert_eq!((lines[1], lines[6]), ("-5,200,1,50,2,1,0,", "0,200,1,50,2,1,0,2.0"));
    }
}
