//! The gate, the limit and the model, run together by events, and what was seen of each request.

use std::ops::RangeBounds;
use std::time::Duration;

use cellgate::drill::model::{Model, ModelEnd, ModelRules};
use cellgate::policy::moment::Moment;
use cellgate::policy::protection::concurrency::{Limit, LimitRules, WindowSample};
use cellgate::policy::protection::gate::{Answer, Asker, Gate, GateRules, Woken};
use cellgate::policy::protection::priority::Priority;
use fastrand::Rng;

/// Who asks, and how much.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Requests a second of all accounts when none is heavy.
    pub rps: f64,
    /// Part of each class.
    pub classes: [f64; 4],
    /// How many accounts.
    pub accounts: usize,
    /// How many times as much the first account asks.
    pub heavy: f64,
    /// All of what it asks is of the first class.
    pub heavy_is_critical: bool,
}

impl Load {
    pub fn even(rps: f64, classes: [f64; 4], accounts: usize) -> Self {
        Self { rps, classes, accounts, heavy: 1.0, heavy_is_critical: false }
    }

    fn total_rps(&self) -> f64 {
        self.rps * (self.accounts as f64 - 1.0 + self.heavy) / self.accounts as f64
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Open,
    Answered,
    Failed,
    /// By the gate, after so long.
    Refused(Duration),
}

#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub arrived: Moment,
    sent: Moment,
    pub priority: Priority,
    pub account: usize,
    pub end: End,
}

/// All requests so far, or since the last [`World::forget`].
#[derive(Debug, Default)]
pub struct Seen(pub Vec<Request>);

pub struct World {
    pub gate: Gate<u64>,
    pub limit: Limit,
    pub model: Model,
    pub load: Load,
    pub seen: Seen,
    now: Moment,
    random: Rng,
    forgotten: u64,
    next_arrival: Moment,
    next_step: Moment,
    steps: u32,
    window: Window,
}

#[derive(Default)]
struct Window {
    started: u32,
    dropped: u32,
    first_bytes: Vec<Duration>,
    in_flight_max: u32,
}

const STEP: Duration = Duration::from_millis(100);

/// Seeds of a run.
pub fn seeds() -> std::ops::RangeInclusive<u64> {
    match std::env::var_os("CELLGATE_TEST_LONG") {
        Some(_) => 1..=20,
        None => 1..=2,
    }
}

/// Says what was measured, in a long run.
pub fn report(figures: std::fmt::Arguments<'_>) {
    if std::env::var_os("CELLGATE_TEST_LONG").is_some() {
        eprintln!("{figures}");
    }
}

impl World {
    pub fn new(seed: u64, model: ModelRules, gate: GateRules, limit: LimitRules, load: Load) -> Self {
        Self {
            gate: Gate::new(gate),
            limit: Limit::new(limit),
            model: Model::new(model, seed),
            load,
            seen: Seen::default(),
            now: Moment::START,
            random: Rng::with_seed(seed),
            forgotten: 0,
            next_arrival: Moment::START,
            next_step: Moment::START + STEP,
            steps: 0,
            window: Window::default(),
        }
    }

    /// Runs until so many seconds after the beginning.
    pub fn run_until(&mut self, secs: u64) {
        let end = Moment::START + Duration::from_secs(secs);
        loop {
            let due = self.model.due().unwrap_or(end);
            let now = due.min(self.next_arrival).min(self.next_step);
            if now >= end {
                self.now = end;
                return;
            }
            if now == due {
                self.finish(now);
            } else if now == self.next_arrival {
                self.arrive(now);
            } else {
                self.step(now);
            }
        }
    }

    /// How far it has run.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// Begins to count anew; what is open then is not counted.
    pub fn forget(&mut self) {
        self.forgotten += self.seen.0.len() as u64;
        self.seen.0.clear();
    }

    fn arrive(&mut self, now: Moment) {
        let gap = -(1.0 - self.random.f64()).ln() / self.load.total_rps();
        self.next_arrival = now + Duration::from_secs_f64(gap);
        let mut draw = self.random.f64();
        let class = self.load.classes.iter().position(|part| {
            draw -= part;
            draw < 0.0
        });
        let all = self.load.accounts as f64 - 1.0 + self.load.heavy;
        let account = (self.random.f64() * all - self.load.heavy + 1.0).max(0.0) as usize;
        let priority = match account {
            0 if self.load.heavy_is_critical => Priority::Critical,
            _ => Priority::ALL[class.unwrap_or(3)],
        };
        let id = self.forgotten + self.seen.0.len() as u64;
        self.seen.0.push(Request { arrived: now, sent: now, priority, account, end: End::Open });
        let account_hash = Rng::with_seed(account as u64 + 1).u64(..);
        let who = Asker { priority, account_hash, left: None, random: self.random.u64(..) };
        let (answer, dropped) = self.gate.ask(now, who, || id);
        match answer {
            Answer::Go => self.send(now, id),
            Answer::Wait(_) => {}
            Answer::Refused { .. } => self.end(id, End::Refused(Duration::ZERO)),
        }
        if let Some(dropped) = dropped {
            self.refuse(now, dropped);
        }
    }

    fn send(&mut self, now: Moment, id: u64) {
        self.window.started += 1;
        if let Some(request) = self.request(id) {
            request.sent = now;
        }
        self.model.arrive(now, id);
    }

    fn finish(&mut self, now: Moment) {
        for (id, end) in self.model.finish(now) {
            match end {
                ModelEnd::Answered => self.end(id, End::Answered),
                ModelEnd::Error | ModelEnd::Refused => {
                    self.window.dropped += 1;
                    self.end(id, End::Failed);
                }
            }
            if let (ModelEnd::Answered, Some(request)) = (end, self.request(id)) {
                let took = now.since(request.sent);
                self.window.first_bytes.push(took);
            }
            let woken = self.gate.end(now);
            self.wake(now, woken);
        }
    }

    fn step(&mut self, now: Moment) {
        self.next_step = now + STEP;
        self.steps += 1;
        self.window.in_flight_max = self.window.in_flight_max.max(self.gate.take_in_flight_max());
        if self.steps.is_multiple_of(10) {
            let mut window = std::mem::take(&mut self.window);
            window.first_bytes.sort_unstable();
            let sample = WindowSample {
                started: window.started,
                dropped: window.dropped,
                first_byte_p50: window
                    .first_bytes
                    .get(window.first_bytes.len() / 2)
                    .copied()
                    .unwrap_or_default(),
                first_bytes: window.first_bytes.len() as u32,
                in_flight_max: window.in_flight_max,
            };
            self.limit.step(&sample, now);
        }
        let woken = self.gate.step(now, self.limit.value());
        self.wake(now, woken);
    }

    fn wake(&mut self, now: Moment, woken: Woken<u64>) {
        woken.go.into_iter().for_each(|id| self.send(now, id));
        woken.refused.into_iter().for_each(|(id, _)| self.refuse(now, id));
    }

    fn refuse(&mut self, now: Moment, id: u64) {
        if let Some(request) = self.request(id) {
            request.end = End::Refused(now.since(request.arrived));
        }
    }

    fn end(&mut self, id: u64, end: End) {
        if let Some(request) = self.request(id) {
            request.end = end;
        }
    }

    fn request(&mut self, id: u64) -> Option<&mut Request> {
        let at = id.checked_sub(self.forgotten)?;
        self.seen.0.get_mut(at as usize)
    }
}

impl Seen {
    pub fn count(&self, is: impl Fn(End) -> bool) -> usize {
        self.0.iter().filter(|request| is(request.end)).count()
    }

    /// Part of those of a class that were answered, of all that have ended.
    pub fn success(&self, priority: Priority) -> f64 {
        part_answered(self.0.iter().filter(|request| request.priority == priority))
    }

    /// The same of those of a class of these accounts.
    pub fn success_among(&self, priority: Priority, accounts: impl RangeBounds<usize>) -> f64 {
        let is = |request: &&Request| request.priority == priority && accounts.contains(&request.account);
        part_answered(self.0.iter().filter(is))
    }

    pub fn success_of_accounts(&self, accounts: impl RangeBounds<usize>) -> f64 {
        part_answered(self.0.iter().filter(|request| accounts.contains(&request.account)))
    }

    /// How long so large a part of the refused waited for it at most.
    pub fn refusal_wait(&self, part: f64) -> Duration {
        let wait = |request: &Request| match request.end {
            End::Refused(wait) => Some(wait),
            _ => None,
        };
        let mut waits: Vec<Duration> = self.0.iter().filter_map(wait).collect();
        waits.sort_unstable();
        waits.get((waits.len() as f64 * part) as usize).copied().unwrap_or_default()
    }

    pub fn late_refusals(&self) -> usize {
        self.count(|end| matches!(end, End::Refused(wait) if !wait.is_zero()))
    }

    /// Jain's index over what part of its requests each account of a class got: 1 if it is the same.
    pub fn jain(&self, priority: Priority) -> f64 {
        let mut accounts = std::collections::BTreeMap::<usize, (f64, f64)>::new();
        for request in
            self.0.iter().filter(|request| request.priority == priority && request.end != End::Open)
        {
            let counts = accounts.entry(request.account).or_default();
            counts.0 += f64::from(u8::from(request.end == End::Answered));
            counts.1 += 1.0;
        }
        let parts: Vec<f64> = accounts.values().map(|(answered, all)| answered / all).collect();
        let (sum, squares) =
            parts.iter().fold((0.0, 0.0), |(sum, squares), part| (sum + part, squares + part * part));
        sum * sum / (parts.len() as f64 * squares)
    }
}

fn part_answered<'a>(requests: impl Iterator<Item = &'a Request>) -> f64 {
    let (mut answered, mut all) = (0_u32, 0_u32);
    for request in requests.filter(|request| request.end != End::Open) {
        answered += u32::from(request.end == End::Answered);
        all += 1;
    }
    f64::from(answered) / f64::from(all.max(1))
}
