//! A cell that breaks as real ones do: workers that are busy for as long as real ones are, a queue before them, and an
//! edge beyond which it does less the more it is asked. Time is passed in; who waits for what is the caller's.
//!
//! Not a model of any one system. It has what the incidents have in common: a queue that makes everything slower
//! (thrashing), work on answers that nobody waits for any more, and caches that are empty after a restart. Together they
//! are a metastable failure (Bronson et al., HotOS 2021): the load that was fine before keeps the cell down. Rules, names
//! and proportions are those of cellgate's own drills, so that figures can be compared.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::f64::consts::TAU;
use std::time::Duration;

use crate::cell::behaviour::unit;

/// What a cell can do, and how it breaks.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelRules {
    /// Requests a second that it answers when it is warm and not thrashing. More than 0.
    pub capacity_rps: f64,
    /// Half of its requests are served within this time, once a worker has them.
    pub service_median: Duration,
    /// Sigma of the lognormal distribution of service times: 0 makes all of them equal.
    pub service_spread: f64,
    /// Requests that wait for a worker at most; beyond that it refuses.
    pub queue_limit: usize,
    /// Waiting requests above which it thrashes, until there are less than a quarter of them.
    pub collapse_queue: usize,
    /// What is left of its speed while it thrashes, of 1.
    pub collapsed_factor: f64,
    /// What is left of its speed after a restart, of 1, and for how long.
    pub cold: (f64, Duration),
}

impl ModelRules {
    /// A cell of so many requests a second: it thrashes when a third of a second of work waits, refuses when two seconds
    /// of work wait, and is at 30 % for a minute after a restart.
    pub fn of(capacity_rps: f64) -> Self {
        Self {
            capacity_rps,
            service_median: Duration::from_millis(18),
            // The mean is 20 ms, and one request in twenty takes more than 41 ms.
            service_spread: 0.5,
            queue_limit: (2.0 * capacity_rps) as usize,
            collapse_queue: (capacity_rps / 3.0) as usize,
            collapsed_factor: 0.4,
            cold: (0.3, Duration::from_secs(60)),
        }
    }

    /// The mean of the service time, in seconds: that of a lognormal distribution.
    fn mean_service_seconds(&self) -> f64 {
        self.service_median.as_secs_f64() * (self.service_spread * self.service_spread / 2.0).exp()
    }
}

/// The cell.
#[derive(Debug)]
pub struct Model {
    rules: ModelRules,
    random: u64,
    /// Up to here everything has happened, since the model began.
    now: Duration,
    workers: usize,
    /// Work done by one worker that was never idle, in nanoseconds of a warm cell that does not thrash. It passes as time
    /// does, but slower when the cell is slow: what is being served needs no second look when that changes.
    work: f64,
    running: BinaryHeap<Running>,
    waiting: VecDeque<u64>,
    thrashing: bool,
    /// When it began to thrash, each time.
    collapses: Vec<Duration>,
    thrashed: Duration,
    warm_at: Option<Duration>,
    /// Not told yet.
    done: Vec<u64>,
}

/// A request that a worker has, and how far `work` will be when it is done.
#[derive(Clone, Copy, Debug)]
struct Running {
    done_at: f64,
    id: u64,
}

/// `work` is rounded where the cell's speed changes: so much of a nanosecond does not matter.
const ROUNDING_NANOS: f64 = 0.5;

impl Model {
    /// Warm and empty. The same seed and the same calls give the same ends.
    pub fn new(rules: ModelRules, seed: u64) -> Self {
        let workers = rules.capacity_rps * rules.mean_service_seconds();
        Self {
            random: seed,
            now: Duration::ZERO,
            workers: (workers.ceil() as usize).max(1),
            work: 0.0,
            running: BinaryHeap::new(),
            waiting: VecDeque::new(),
            thrashing: false,
            collapses: Vec::new(),
            thrashed: Duration::ZERO,
            warm_at: None,
            done: Vec::new(),
            rules,
        }
    }

    /// A request arrives; false if the queue is full, and then no work is done.
    pub fn arrive(&mut self, now: Duration, id: u64) -> bool {
        self.go_to(now);
        if self.is_busy() && self.waiting.len() >= self.rules.queue_limit {
            return false;
        }
        self.waiting.push_back(id);
        self.start();
        true
    }

    /// When something will have ended; none if nothing will.
    pub fn due(&self) -> Option<Duration> {
        match self.done.is_empty() {
            true => self.next(),
            false => Some(self.now),
        }
    }

    /// What was served until now and not told before, in the order of time. Whether anybody still waits for it is
    /// nothing that it knows.
    pub fn finish(&mut self, now: Duration) -> Vec<u64> {
        self.go_to(now);
        std::mem::take(&mut self.done)
    }

    /// Loses all that it has, and has cold caches from now on.
    pub fn restart(&mut self, now: Duration) {
        self.go_to(now);
        self.running.clear();
        self.waiting.clear();
        self.done.clear();
        self.thrashing = false;
        self.warm_at = Some(now + self.rules.cold.1);
    }

    /// Requests that it can serve at the same time.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Requests that wait for a worker, abandoned ones among them.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether it thrashes.
    pub fn is_thrashing(&self) -> bool {
        self.thrashing
    }

    /// When it began to thrash, each time, since the model began.
    pub fn collapses(&self) -> &[Duration] {
        &self.collapses
    }

    /// How long it has thrashed in all.
    pub fn thrashed(&self) -> Duration {
        self.thrashed
    }

    fn is_busy(&self) -> bool {
        self.running.len() >= self.workers
    }

    /// How fast `work` passes, of 1.
    fn speed(&self) -> f64 {
        // Whole workers can be a little more than the capacity asks for.
        let whole = self.rules.capacity_rps * self.rules.mean_service_seconds() / self.workers as f64;
        let thrashing = if self.thrashing { self.rules.collapsed_factor } else { 1.0 };
        let cold = self.warm_at.map_or(1.0, |_| self.rules.cold.0);
        whole * thrashing * cold
    }

    /// When anything happens next.
    fn next(&self) -> Option<Duration> {
        // To be warm is no news to anybody who waits for nothing.
        let warm_at = self.warm_at.filter(|_| !self.running.is_empty());
        [self.next_done(), warm_at].into_iter().flatten().min()
    }

    fn next_done(&self) -> Option<Duration> {
        let nanos = (self.running.peek()?.done_at - self.work) / self.speed();
        Some(self.now + Duration::from_nanos(nanos.ceil().max(0.0) as u64))
    }

    fn go_to(&mut self, now: Duration) {
        while let Some(at) =
            [self.next_done(), self.warm_at].into_iter().flatten().min().filter(|at| *at <= now)
        {
            self.pass_until(at);
            self.end_what_is_done();
            self.warm_at = self.warm_at.filter(|warm_at| *warm_at > at);
        }
        self.pass_until(now);
    }

    /// Time passes at the speed of now.
    fn pass_until(&mut self, at: Duration) {
        let passed = at.saturating_sub(self.now);
        self.work += passed.as_nanos() as f64 * self.speed();
        self.thrashed += if self.thrashing { passed } else { Duration::ZERO };
        self.now = self.now.max(at);
    }

    fn end_what_is_done(&mut self) {
        let limit = self.work + ROUNDING_NANOS;
        while let Some(first) = self.running.peek().filter(|first| first.done_at <= limit) {
            self.done.push(first.id);
            self.running.pop();
        }
        self.start();
    }

    /// Gives what waits to idle workers.
    fn start(&mut self) {
        while !self.is_busy()
            && let Some(id) = self.waiting.pop_front()
        {
            let done_at = self.work + self.service_nanos();
            self.running.push(Running { done_at, id });
        }
        let limit = self.rules.collapse_queue;
        let keeps_on = self.thrashing && self.waiting.len() >= limit / 4;
        let thrashes = keeps_on || self.waiting.len() > limit;
        if thrashes && !self.thrashing {
            self.collapses.push(self.now);
        }
        self.thrashing = thrashes;
    }

    fn service_nanos(&mut self) -> f64 {
        let median = self.rules.service_median.as_nanos() as f64;
        // A standard normal number from two even ones (Box and Muller, 1958); 1 - unit() is never 0.
        let (first, second) = (1.0 - unit(&mut self.random), unit(&mut self.random));
        let normal = (-2.0 * first.ln()).sqrt() * (TAU * second).cos();
        median * (self.rules.service_spread * normal).exp()
    }
}

impl Ord for Running {
    /// The heap gives the greatest first: that is the one which is done first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.done_at.total_cmp(&self.done_at).then(other.id.cmp(&self.id))
    }
}

impl PartialOrd for Running {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Running {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Running {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asked evenly for so many seconds: how many were served.
    fn load(model: &mut Model, from: u64, rps: u32, secs: u32) -> usize {
        let mut served = 0;
        for number in 0..rps * secs {
            let now = Duration::from_secs(from) + Duration::from_secs(1) / rps * number;
            model.arrive(now, u64::from(number));
            served += model.finish(now).len();
        }
        served
    }

    #[test]
    fn it_serves_what_it_can_and_less_once_it_was_pushed_over_the_edge() {
        for seed in 1..=5 {
            let mut model = Model::new(ModelRules::of(200.0), seed);
            // From, requests a second, seconds, least and most that are served, thrashing at the end.
            let steps = [
                (0, 170, 20, 3_300..=3_400, false),
                (20, 400, 10, 0..=1_200, true),
                // The load that was fine before keeps it down.
                (30, 170, 10, 700..=900, true),
                (40, 20, 30, 0..=2_000, false),
                (70, 170, 10, 1_600..=1_700, false),
            ];
            for (from, rps, secs, served, thrashing) in steps {
                let found = load(&mut model, from, rps, secs);
                assert!(
                    served.contains(&found),
                    "seed {seed}, from {from}: {found} served, {served:?} expected"
                );
                assert_eq!(model.is_thrashing(), thrashing, "seed {seed}, from {from}");
            }
            assert_eq!(model.collapses().len(), 1, "seed {seed}");
            assert!(model.thrashed() > Duration::from_secs(20), "seed {seed}: {:?}", model.thrashed());
        }
    }

    #[test]
    fn it_is_cold_after_a_restart_for_its_time() {
        let rules =
            ModelRules { collapse_queue: usize::MAX, queue_limit: usize::MAX, ..ModelRules::of(200.0) };
        let mut model = Model::new(rules, 1);
        load(&mut model, 0, 400, 5);
        model.restart(Duration::from_secs(5));
        assert_eq!((model.waiting(), model.finish(Duration::from_secs(5)).len()), (0, 0), "all is lost");
        let cold = load(&mut model, 5, 400, 60);
        assert!((3_500..=3_700).contains(&cold), "{cold} in a minute at 30 %");
        let warm = load(&mut model, 65, 400, 10);
        assert!((1_950..=2_050).contains(&warm), "{warm} in ten seconds");
    }

    #[test]
    fn a_full_queue_refuses() {
        let mut model = Model::new(ModelRules { queue_limit: 2, ..ModelRules::of(40.0) }, 1);
        assert_eq!(model.workers(), 1);
        let found: Vec<bool> = (0..4).map(|id| model.arrive(Duration::ZERO, id)).collect();
        assert_eq!(found, [true, true, true, false]);
        assert_eq!(model.finish(Duration::from_secs(9)), [0, 1, 2]);
        assert_eq!(model.due(), None);
    }
}
