//! A group of a cell in virtual time: workers that are busy for as long as real ones are, a queue before them, and an
//! edge beyond which it does less the more it is asked.
//!
//! Not a model of any one system. It has what the incidents have in common: a queue that makes everything slower
//! (thrashing), answers that nobody waits for any more (wasted work), and caches that are empty after a restart.
//! Together they are a metastable failure (Bronson et al., HotOS 2021): the load that was fine before keeps the cell
//! down.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashSet, VecDeque};
use std::time::Duration;

use fastrand::Rng;

use crate::policy::moment::Moment;

/// What a group can do, and how it breaks.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelRules {
    /// Requests a second that it answers when it is warm and not thrashing. More than 0.
    pub capacity_rps: f64,
    /// Half of its requests are served within this time, once a worker has them.
    pub service_median: Duration,
    /// Sigma of the lognormal distribution of service times: 0 makes all of them equal, 0.5 puts one in twenty above
    /// 2.3 times the median.
    pub service_spread: f64,
    /// Requests that wait for a worker at most; beyond that it refuses.
    pub queue_limit: usize,
    /// Waiting requests above which it thrashes, until there are less than a quarter of them.
    pub collapse_queue: usize,
    /// What is left of its speed while it thrashes, of 1.
    pub collapsed_factor: f64,
    /// What is left of its speed after a restart, of 1, and for how long.
    pub cold: Option<(f64, Duration)>,
    /// How long a client waits for its answer. The work on a request that nobody waits for is done nevertheless.
    pub client_timeout: Option<Duration>,
}

impl Default for ModelRules {
    /// A group of 1,000 requests a second with 20 workers, which thrashes when a third of a second of work waits, and
    /// is at 30 % for a minute after a restart (the figures of the drills' acceptance tests).
    fn default() -> Self {
        Self {
            capacity_rps: 1_000.0,
            service_median: Duration::from_millis(18),
            service_spread: 0.5,
            queue_limit: 2_000,
            collapse_queue: 333,
            collapsed_factor: 0.4,
            cold: Some((0.3, Duration::from_secs(60))),
            client_timeout: Some(Duration::from_secs(2)),
        }
    }
}

/// How a request ended, for whoever waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelEnd {
    /// In time.
    Answered,
    /// Its client has waited long enough, or the group went down while it had the request.
    Error,
    /// At once: the group is down, or its queue is full. No work was done.
    Refused,
}

/// The group.
#[derive(Debug)]
pub struct Model {
    rules: ModelRules,
    random: Rng,
    /// Up to here everything has happened.
    now: Moment,
    workers: usize,
    /// Work done by one worker that was never idle, in nanoseconds of a warm group that does not thrash. It passes as
    /// time does, but slower when the group is slow: what is being served needs no second look when that changes.
    work: f64,
    running: BinaryHeap<Running>,
    waiting: VecDeque<u64>,
    /// Requests that somebody waits for.
    open: HashSet<u64>,
    /// When they will have waited long enough, the first of them first.
    patience: VecDeque<(Moment, u64)>,
    /// Not told yet.
    ended: Vec<(u64, ModelEnd)>,
    down: bool,
    thrashing: bool,
    warm_at: Option<Moment>,
    slow: f64,
    wasted: u64,
}

/// A request that a worker has, and how far `work` will be when it is done.
#[derive(Clone, Copy, Debug)]
struct Running {
    done_at: f64,
    id: u64,
}

/// `work` is rounded where the group's speed changes: so much of a nanosecond does not matter.
const ROUNDING_NANOS: f64 = 0.5;

const NANOS_PER_SECOND: f64 = 1e9;

impl Model {
    /// Up, warm and empty. The same seed and the same calls give the same ends.
    pub fn new(rules: ModelRules, seed: u64) -> Self {
        let workers = rules.capacity_rps * mean_service_seconds(&rules);
        Self {
            random: Rng::with_seed(seed),
            now: Moment::START,
            workers: (workers.ceil() as usize).max(1),
            work: 0.0,
            running: BinaryHeap::new(),
            waiting: VecDeque::new(),
            open: HashSet::new(),
            patience: VecDeque::new(),
            ended: Vec::new(),
            down: false,
            thrashing: false,
            warm_at: None,
            slow: 1.0,
            wasted: 0,
            rules,
        }
    }

    /// A request arrives; `id` is none that is still open. How it ends, [`Model::finish`] says.
    pub fn arrive(&mut self, now: Moment, id: u64) {
        self.go_to(now);
        if self.down || (self.is_busy() && self.waiting.len() >= self.rules.queue_limit) {
            self.ended.push((id, ModelEnd::Refused));
            return;
        }
        self.open.insert(id);
        if let Some(patience) = self.rules.client_timeout {
            self.patience.push_back((now + patience, id));
        }
        self.waiting.push_back(id);
        self.start();
    }

    /// When something will have ended; `None` if nothing will. At this moment `finish` has news, or there is a
    /// later moment to ask for.
    pub fn due(&self) -> Option<Moment> {
        match self.ended.is_empty() {
            true => self.next(),
            false => Some(self.now),
        }
    }

    /// What has ended until now and was not told before, in the order of time.
    pub fn finish(&mut self, now: Moment) -> Vec<(u64, ModelEnd)> {
        self.go_to(now);
        std::mem::take(&mut self.ended)
    }

    /// Goes down, and all that it has is lost; or comes back, as warm as it was.
    pub fn set_down(&mut self, now: Moment, down: bool) {
        self.go_to(now);
        self.down = down;
        if down {
            self.lose_all();
        }
    }

    /// Loses all that it has and is up again at once, with cold caches.
    pub fn restart(&mut self, now: Moment) {
        self.go_to(now);
        self.lose_all();
        self.down = false;
        self.warm_at = self.rules.cold.map(|(_, long)| now + long);
    }

    /// Works at this part of its speed from now on, of 1: a noisy neighbour, a lost replica of its database. 0 is a
    /// black hole.
    pub fn set_slow(&mut self, now: Moment, factor: f64) {
        self.go_to(now);
        self.slow = factor;
    }

    /// Requests a second that it would answer now if it always had enough of them.
    pub fn capacity_rps(&self) -> f64 {
        match self.down {
            true => 0.0,
            false => self.speed() * self.workers as f64 / mean_service_seconds(&self.rules),
        }
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

    /// Requests served for nobody so far.
    pub fn wasted(&self) -> u64 {
        self.wasted
    }

    fn is_busy(&self) -> bool {
        self.running.len() >= self.workers
    }

    /// How fast `work` passes, of 1.
    fn speed(&self) -> f64 {
        // Whole workers can be a little more than the capacity asks for.
        let whole = self.rules.capacity_rps * mean_service_seconds(&self.rules) / self.workers as f64;
        let thrashing = if self.thrashing { self.rules.collapsed_factor } else { 1.0 };
        let cold = match (self.warm_at, self.rules.cold) {
            (Some(_), Some((factor, _))) => factor,
            _ => 1.0,
        };
        whole * self.slow * thrashing * cold
    }

    /// When anything happens next.
    fn next(&self) -> Option<Moment> {
        let patience = self.patience.front().map(|(at, _)| *at);
        // To be warm is no news to anybody who waits for nothing.
        let warm_at = self.warm_at.filter(|_| !self.running.is_empty());
        [self.next_done(), patience, warm_at].into_iter().flatten().min()
    }

    fn next_done(&self) -> Option<Moment> {
        let speed = self.speed();
        let first = self.running.peek().filter(|_| speed > 0.0)?;
        let nanos = ((first.done_at - self.work) / speed).ceil().max(0.0);
        Some(self.now + Duration::from_nanos(nanos as u64))
    }

    fn go_to(&mut self, now: Moment) {
        while let Some(at) = [self.next(), self.warm_at].into_iter().flatten().min().filter(|at| *at <= now) {
            self.pass_until(at);
            self.end_what_is_done();
            self.give_up();
            self.warm_at = self.warm_at.filter(|warm_at| *warm_at > at);
        }
        self.pass_until(now);
    }

    /// Time passes at the speed of now.
    fn pass_until(&mut self, at: Moment) {
        self.work += at.since(self.now).as_nanos() as f64 * self.speed();
        self.now = self.now.max(at);
    }

    fn end_what_is_done(&mut self) {
        let limit = self.work + ROUNDING_NANOS;
        while let Some(first) = self.running.peek().filter(|first| first.done_at <= limit) {
            let id = first.id;
            self.running.pop();
            match self.open.remove(&id) {
                true => self.ended.push((id, ModelEnd::Answered)),
                false => self.wasted += 1,
            }
        }
        self.start();
    }

    /// Ends those that have waited long enough, and forgets who need not wait any more.
    fn give_up(&mut self) {
        let over = |(at, id): (Moment, u64), open: &HashSet<u64>| at <= self.now || !open.contains(&id);
        while let Some((_, id)) = self.patience.front().copied().filter(|first| over(*first, &self.open)) {
            self.patience.pop_front();
            if self.open.remove(&id) {
                self.ended.push((id, ModelEnd::Error));
            }
        }
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
        self.thrashing = keeps_on || self.waiting.len() > limit;
    }

    fn lose_all(&mut self) {
        let running = std::mem::take(&mut self.running).into_sorted_vec();
        let lost = running.into_iter().rev().map(|running| running.id).chain(self.waiting.drain(..));
        let seen = lost.filter(|id| self.open.remove(id)).map(|id| (id, ModelEnd::Error));
        self.ended.extend(seen);
        self.patience.clear();
        self.thrashing = false;
    }

    fn service_nanos(&mut self) -> f64 {
        let median = self.rules.service_median.as_nanos() as f64;
        // A standard normal number from two even ones (Box and Muller, 1958); 1 - f64() is never 0.
        let (first, second) = (1.0 - self.random.f64(), self.random.f64());
        let normal = (-2.0 * first.ln()).sqrt() * (std::f64::consts::TAU * second).cos();
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

/// The mean of a lognormal distribution.
fn mean_service_seconds(rules: &ModelRules) -> f64 {
    let median = rules.service_median.as_nanos() as f64 / NANOS_PER_SECOND;
    median * (rules.service_spread * rules.service_spread / 2.0).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asked evenly for so many seconds: how many ended how.
    fn load(model: &mut Model, from: Moment, rps: u32, secs: u32) -> Counts {
        let mut counts = Counts::default();
        let gap = Duration::from_secs(1) / rps;
        for number in 0..rps * secs {
            let now = from + gap * number;
            model.arrive(now, now.nanos());
            counts.add(&model.finish(now));
        }
        counts
    }

    /// Answered, failed, refused.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct Counts(u32, u32, u32);

    impl Counts {
        fn add(&mut self, ends: &[(u64, ModelEnd)]) {
            for (_, end) in ends {
                match end {
                    ModelEnd::Answered => self.0 += 1,
                    ModelEnd::Error => self.1 += 1,
                    ModelEnd::Refused => self.2 += 1,
                }
            }
        }
    }

    fn second(at: u64) -> Moment {
        Moment::START + Duration::from_secs(at)
    }

    fn answered_between(counts: Counts, least: u32, most: u32, what: &str) {
        assert!(
            (least..=most).contains(&counts.0),
            "{what}: {counts:?}, {least} to {most} answered expected"
        );
    }

    #[test]
    fn it_answers_what_it_can_and_less_once_it_was_pushed_over_the_edge() {
        for seed in 1..=5 {
            let what = format!("seed {seed}");
            let mut model = Model::new(ModelRules::default(), seed);
            answered_between(load(&mut model, second(0), 900, 10), 8_800, 9_000, &what);
            assert_eq!((model.is_thrashing(), model.wasted()), (false, 0), "{what}");
            // Twice its capacity: it thrashes, and then works for clients that have left.
            load(&mut model, second(10), 2_000, 10);
            assert!(model.is_thrashing(), "{what}");
            let over = load(&mut model, second(20), 2_000, 10);
            answered_between(over, 0, 900, &what);
            assert!(model.wasted() > 3_000, "{what}: {} wasted", model.wasted());
            // The load that was fine before keeps it down.
            answered_between(load(&mut model, second(30), 900, 10), 0, 900, &what);
            // What it can do while it thrashes lets it come out.
            load(&mut model, second(40), 100, 15);
            assert!(!model.is_thrashing(), "{what}");
            answered_between(load(&mut model, second(60), 900, 10), 8_700, 9_050, &what);
        }
    }

    #[test]
    fn it_works_at_the_speed_it_has() {
        let rules = ModelRules {
            queue_limit: usize::MAX,
            collapse_queue: usize::MAX,
            client_timeout: None,
            ..ModelRules::default()
        };
        type Change = fn(&mut Model);
        let changes: [(&str, Change, u32, f64); 4] = [
            ("warm", |_| {}, 10_000, 1_000.0),
            ("cold", |model| model.restart(second(0)), 3_000, 300.0),
            ("slow", |model| model.set_slow(second(0), 0.5), 5_000, 500.0),
            ("down", |model| model.set_down(second(0), true), 0, 0.0),
        ];
        for (what, how, expect, capacity) in changes {
            for seed in 1..=5 {
                let mut model = Model::new(rules.clone(), seed);
                how(&mut model);
                assert!((model.capacity_rps() - capacity).abs() < 1e-6, "{what}");
                let found = load(&mut model, second(0), 1_500, 10);
                let spread = expect / 20;
                answered_between(found, expect - spread, expect + spread, &format!("{what}, seed {seed}"));
            }
        }
    }

    #[test]
    fn it_is_warm_when_its_time_has_come_and_goes_on_where_it_was_slow() {
        let mut model = Model::new(ModelRules { service_spread: 0.0, ..ModelRules::default() }, 1);
        model.restart(second(0));
        model.set_slow(second(0), 0.0);
        model.arrive(second(59), 1);
        assert_eq!(model.due(), Some(second(60)), "when it is warm, though that ends nothing");
        model.set_slow(second(60), 1.0);
        let done = second(60) + Duration::from_millis(18);
        assert_eq!(model.due(), Some(done));
        assert_eq!(model.finish(done), [(1, ModelEnd::Answered)]);
        assert_eq!(model.due(), None);
    }

    #[test]
    fn each_request_ends_once_and_as_it_should() {
        let rules = ModelRules {
            capacity_rps: 10.0,
            service_median: Duration::from_millis(100),
            service_spread: 0.0,
            queue_limit: 2,
            client_timeout: Some(Duration::from_millis(150)),
            ..ModelRules::default()
        };
        let mut model = Model::new(rules, 1);
        assert_eq!(model.workers(), 1);
        let at = |millis| Moment::START + Duration::from_millis(millis);
        (1..=4).for_each(|id| model.arrive(at(0), id));
        assert_eq!((model.waiting(), model.due()), (2, Some(at(0))));
        assert_eq!(model.finish(at(0)), [(4, ModelEnd::Refused)]);
        // Asked late, it has kept the order: the second and the third were given up at 150 ms, and served after that.
        let late = [(1, ModelEnd::Answered), (2, ModelEnd::Error), (3, ModelEnd::Error)];
        assert_eq!((model.finish(at(1_000)), model.wasted()), (late.to_vec(), 2));
        model.arrive(at(2_000), 5);
        model.arrive(at(2_000), 6);
        model.set_down(at(2_010), true);
        model.arrive(at(2_020), 7);
        let down = [(5, ModelEnd::Error), (6, ModelEnd::Error), (7, ModelEnd::Refused)];
        assert_eq!(model.finish(at(2_020)), down);
        model.set_down(at(3_000), false);
        model.arrive(at(3_000), 8);
        assert_eq!(model.finish(at(3_100)), [(8, ModelEnd::Answered)]);
    }

    #[test]
    fn a_seed_is_a_run() {
        let run = |seed| {
            let mut model = Model::new(ModelRules::default(), seed);
            load(&mut model, second(0), 990, 20);
            (model.due(), model.waiting(), model.wasted())
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }
}
