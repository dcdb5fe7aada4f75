//! A cell that comes back with cold caches while ten times its demand waits, in front of three replicas that
//! know nothing of each other; and the same without a ramp, which must break, or else this would hold nothing.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use cellgate::drill::model::{Model, ModelEnd, ModelRules};
use cellgate::policy::moment::Moment;
use cellgate::policy::protection::ramp::{
    Envelope, Look, Phase, Pin, Ramp, RampRules, Reason, Saved, Transition,
};
use fastrand::Rng;

use super::clients::{Client, Queue, REPLICAS, STEP, Seed, by_chance, most_in_a_second, second, seeds};

/// What the cell is declared to bear, in requests a second. Small, so that a run takes little.
const DECLARED: f64 = 100.0;

/// What it bears: declarations are careful.
const BEARS: f64 = 112.0;

/// What new clients ask for.
const DEMAND: f64 = 80.0;

/// The cell is down until then.
const BACK: f64 = 10.0;

/// Its 95th percentile at [`DEMAND`], as measured.
const USUAL: Duration = Duration::from_millis(80);

/// How what comes back is treated.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Arm {
    Ramp,
    /// Weights: endpoints that are there get everything.
    AllAtOnce,
    /// A share of what comes that grows evenly for a minute, as weights do in a slow start.
    Linear,
}

struct Replica {
    ramp: Ramp,
    envelope: Envelope,
    look: Look,
    latencies: VecDeque<(Moment, Duration)>,
    p95: Option<Duration>,
    usual: Option<Duration>,
    steps: u32,
    admitted: Vec<Moment>,
    /// The most that was published in each step.
    rates: Vec<(Moment, f64)>,
    transitions: Vec<Transition>,
}

struct World {
    arm: Arm,
    now: Moment,
    rules: RampRules,
    rng: Rng,
    model: Model,
    usable: bool,
    /// This part of the answers is none.
    failing: f64,
    replicas: Vec<Replica>,
    queue: Queue,
    demand: f64,
    fresh: Moment,
    stepped: Moment,
    /// By the number of the request.
    sent: Vec<(usize, Moment, Client)>,
    answered: Vec<Moment>,
    /// By replica.
    refused: [u32; REPLICAS as usize],
    /// When it began to thrash.
    collapses: Vec<Moment>,
    thrashed: bool,
    thrashing_steps: u32,
}

impl World {
    fn new(arm: Arm, seed: u64) -> Self {
        let rules = RampRules { replicas: NonZeroU32::new(REPLICAS).unwrap(), ..RampRules::default() };
        let mut rng = Rng::with_seed(seed);
        let replicas = (0..REPLICAS).map(|_| Replica::new(Ramp::full(rng.f64(), Moment::START))).collect();
        let model =
            ModelRules { capacity_rps: BEARS, queue_limit: 220, collapse_queue: 37, ..ModelRules::default() };
        Self {
            arm,
            now: Moment::START,
            rules,
            model: Model::new(model, seed),
            usable: true,
            failing: 0.0,
            replicas,
            queue: Queue::default(),
            demand: DEMAND,
            fresh: Moment::START,
            stepped: Moment::START,
            sent: Vec::new(),
            answered: Vec::new(),
            refused: [0; REPLICAS as usize],
            collapses: Vec::new(),
            thrashed: false,
            thrashing_steps: 0,
            rng,
        }
    }

    /// A cell that is down with ten times its demand before it, and up again with cold caches at [`BACK`].
    fn returning(arm: Arm, seed: u64) -> Self {
        let mut world = Self::new(arm, seed);
        world.model.set_down(Moment::START, true);
        world.usable = false;
        // Those who do not wait come every second; the others by and by. Each wants ten answers.
        world.crowd(800, false, 10);
        world.crowd(2_000, true, 10);
        world.run(BACK);
        world.model.restart(world.now);
        world.run(BACK + 1.0);
        world.usable = true;
        world
    }

    /// The same, where no replica knows of it: all of them begin when the cell does.
    fn starting(seed: u64) -> Self {
        let mut world = Self::new(Arm::Ramp, seed);
        world.model.set_down(Moment::START, true);
        world.usable = false;
        (world.now, world.fresh, world.stepped) = (second(BACK), second(BACK), second(BACK));
        world.crowd(800, false, 10);
        world.crowd(2_000, true, 10);
        world.model.restart(world.now);
        world.usable = true;
        (0..world.replicas.len()).for_each(|index| world.start(index));
        world
    }

    /// A replica that knows nothing takes the place of one.
    fn start(&mut self, index: usize) {
        let ramp = Ramp::started(&self.rules, None, Some(DECLARED), self.rng.f64(), self.now, 0);
        self.replicas[index] = Replica { usual: None, ..Replica::new(ramp) };
        // What was decided is published before anybody asks.
        self.replicas[index].step(&self.rules, true, self.now);
    }

    fn crowd(&mut self, clients: u32, honours: bool, left: u32) {
        for _ in 0..clients {
            let wait = if honours { 60.0 } else { 1.0 } * self.rng.f64();
            let client = Client { honours, left, patience: u32::MAX, ..Client::any(&mut self.rng) };
            self.queue.add(self.now + Duration::from_secs_f64(wait), client);
        }
    }

    fn run(&mut self, until: f64) {
        let until = second(until);
        loop {
            let never = second(9e9);
            let due = self.model.due().unwrap_or(never);
            let next = self.queue.next().unwrap_or(never);
            let at = due.min(next).min(self.fresh).min(self.stepped + STEP);
            if at > until {
                self.now = until;
                return;
            }
            self.now = self.now.max(at);
            if at == due {
                for (id, end) in self.model.finish(self.now) {
                    self.end(id, end);
                }
            } else if at == next {
                let client = self.queue.take().unwrap();
                self.arrive(client);
            } else if at == self.fresh {
                self.fresh = by_chance(self.now, self.demand, &mut self.rng);
                let client = Client::any(&mut self.rng);
                self.arrive(client);
            } else {
                self.stepped = self.now;
                self.step();
            }
        }
    }

    fn arrive(&mut self, client: Client) {
        let index = self.rng.usize(..self.replicas.len());
        let replica = &mut self.replicas[index];
        let admits = match self.arm {
            Arm::Ramp => replica.envelope.admits(client.priority, self.rng.u32(..), self.now),
            Arm::AllAtOnce => self.usable,
            Arm::Linear => {
                self.usable && self.rng.f64() * 60.0 < self.now.since(second(BACK + 1.0)).as_secs_f64()
            }
        };
        if !admits {
            self.refused[index] += 1;
            return self.send_away(client);
        }
        replica.admitted.push(self.now);
        let id = self.sent.len() as u64;
        self.sent.push((index, self.now, client));
        self.model.arrive(self.now, id);
    }

    fn send_away(&mut self, mut client: Client) {
        if let Some(at) = client.again(self.now, &mut self.rng) {
            self.queue.add(at, client);
        }
    }

    fn end(&mut self, id: u64, end: ModelEnd) {
        let (index, began, mut client) = self.sent[usize::try_from(id).unwrap()];
        let replica = &mut self.replicas[index];
        if end != ModelEnd::Answered || self.rng.f64() < self.failing {
            replica.look.failed += 1;
            replica.look.failing_accounts |= 1 << (client.account >> 58);
            return self.send_away(client);
        }
        replica.look.succeeded += 1;
        replica.latencies.push_back((self.now, self.now.since(began)));
        self.answered.push(self.now);
        client.left -= 1;
        if client.left > 0 {
            let wait = Duration::from_secs_f64(0.5 + self.rng.f64());
            self.queue.add(self.now + wait, client);
        }
    }

    fn step(&mut self) {
        for replica in &mut self.replicas {
            replica.step(&self.rules, self.usable, self.now);
        }
        let thrashes = self.model.is_thrashing();
        if thrashes && !self.thrashed {
            self.collapses.push(self.now);
        }
        self.thrashed = thrashes;
        self.thrashing_steps += u32::from(thrashes);
    }

    fn rate(&self) -> f64 {
        self.rates().iter().sum()
    }

    fn rates(&self) -> Vec<f64> {
        self.replicas.iter().map(|replica| replica.ramp.evidence().rate).collect()
    }

    fn phases(&self) -> Vec<Phase> {
        self.replicas.iter().map(|replica| replica.ramp.phase()).collect()
    }

    /// When the last replica became full, in seconds since the cell was back.
    fn full_after(&self) -> f64 {
        let full = |replica: &Replica| {
            let of = |at: &&Transition| at.to == Phase::Full && at.from != Phase::Full;
            replica.transitions.iter().find(of).map(|transition| transition.at)
        };
        let last = self.replicas.iter().map(|replica| full(replica).unwrap_or(second(9e9))).max();
        last.unwrap().since(second(BACK)).as_secs_f64()
    }

    fn answered_between(&self, from: f64, to: f64) -> usize {
        self.answered.iter().filter(|at| (second(from)..second(to)).contains(*at)).count()
    }

    /// No replica ever let through more than its envelope; all of them together at most so many in a second.
    fn check_envelopes(&self, since: f64, most: f64) -> usize {
        let late = |at: &&Moment| **at >= second(since);
        for replica in &self.replicas {
            let mut last = VecDeque::new();
            let mut rates = replica.rates.iter().peekable();
            let mut recent: VecDeque<(Moment, f64)> = VecDeque::new();
            for at in replica.admitted.iter().filter(late) {
                while let Some(rate) = rates.next_if(|(set, _)| set <= at) {
                    recent.push_back(*rate);
                }
                last.push_back(*at);
                while at.since(last[0]) >= Duration::from_secs(1) {
                    last.pop_front();
                }
                while recent.len() > 1 && recent[1].0 <= last[0] {
                    recent.pop_front();
                }
                let rate = recent.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
                assert!(last.len() as f64 <= rate * 1.02 + 1.0, "{} at {rate} at {at:?}", last.len());
            }
        }
        let mut all: Vec<Moment> =
            self.replicas.iter().flat_map(|replica| replica.admitted.iter().filter(late)).copied().collect();
        all.sort_unstable();
        let found = most_in_a_second(&all);
        assert!(found as f64 <= most, "{found} in a second");
        found
    }
}

impl Replica {
    fn new(ramp: Ramp) -> Self {
        Self {
            ramp,
            envelope: Envelope::default(),
            look: Look::default(),
            latencies: VecDeque::new(),
            p95: None,
            usual: Some(USUAL),
            steps: 0,
            admitted: Vec::new(),
            rates: Vec::new(),
            transitions: Vec::new(),
        }
    }

    fn step(&mut self, rules: &RampRules, usable: bool, now: Moment) {
        self.steps += 1;
        if self.steps.is_multiple_of(10) {
            while self.latencies.front().is_some_and(|(at, _)| now.since(*at) >= rules.period) {
                self.latencies.pop_front();
            }
            let mut sorted: Vec<Duration> = self.latencies.iter().map(|(_, latency)| *latency).collect();
            sorted.sort_unstable();
            self.p95 = sorted.get(sorted.len() * 95 / 100).copied();
        }
        let look = Look {
            declared: Some(DECLARED),
            usable: u32::from(usable),
            p95: self.p95,
            baseline: self.usual,
            ..std::mem::take(&mut self.look)
        };
        self.transitions.extend(self.ramp.step(rules, &look, &self.envelope, now));
        self.rates.push((now, self.ramp.evidence().rate));
    }
}

/// The most that three replicas together may have in a second: each one's rate and 2 %, and a request each, for
/// none of them knows when the others begin their second.
const MOST: f64 = DECLARED * 1.02 + REPLICAS as f64;

/// It is full in 150 s, within its envelope, and does not fall (again).
fn comes_back(world: impl Fn(u64) -> World) {
    let mut figures = Vec::new();
    for seed in seeds(20) {
        let replay = Seed(seed);
        let mut world = world(seed);
        world.run(BACK + 170.0);
        assert_eq!(world.collapses, [], "a collapse");
        let full = world.full_after();
        assert!(full <= 150.0, "full after {full} s: {:?}", world.phases());
        let most = world.check_envelopes(BACK, MOST);
        let good = world.answered_between(BACK + 150.0, BACK + 170.0) as f64 / 20.0;
        assert!(good >= 0.85 * DECLARED, "{good} a second are answered when it is full");
        figures.push(format!("{seed}: {full:.0} s, {most} in a second, {good:.0}/s at the end"));
        drop(replay);
    }
    eprintln!("{}", figures.join("\n"));
}

#[test]
fn a_cold_cell_is_full_in_150_s_and_does_not_fall_again() {
    comes_back(|seed| World::returning(Arm::Ramp, seed));
}

#[test]
fn replicas_that_begin_with_a_cold_cell_and_a_crowd_do_not_fell_it() {
    comes_back(World::starting);
}

#[test]
fn a_replica_that_begins_with_a_cell_that_is_well_refuses_next_to_nobody() {
    let mut figures = Vec::new();
    for seed in seeds(20) {
        let replay = Seed(seed);
        let mut world = World::new(Arm::Ramp, seed);
        world.run(20.0);
        world.start(0);
        world.run(160.0);
        assert_eq!(world.refused[1..], [0, 0], "the others have nothing to do with it");
        let asked = world.replicas[0].admitted.len() + world.refused[0] as usize;
        // At a third of 100 a second, more than the burst that a replica lets through may come by chance.
        assert!(world.refused[0] as usize * 100 <= asked, "{} refused of {asked}", world.refused[0]);
        figures.push(format!("{} of {asked}", world.refused[0]));
        assert_eq!(world.phases(), [Phase::Full; 3]);
        assert_eq!(world.replicas[0].ramp.evidence().rate, f64::INFINITY, "there was no crowd");
        drop(replay);
    }
    eprintln!("refused at the start: {}", figures.join(", "));
}

#[test]
fn without_a_ramp_it_falls_again() {
    for arm in [Arm::AllAtOnce, Arm::Linear] {
        for seed in seeds(3) {
            let replay = Seed(seed);
            let mut world = World::returning(arm, seed);
            world.run(BACK + 170.0);
            let good = world.answered_between(BACK + 150.0, BACK + 170.0) as f64 / 20.0;
            let down = f64::from(world.thrashing_steps) * STEP.as_secs_f64();
            eprintln!(
                "{arm:?} {seed}: {} collapses, {down:.0} s, {good:.0}/s at the end",
                world.collapses.len()
            );
            assert!(!world.collapses.is_empty() && good < 0.7 * DECLARED, "{arm:?} should break the cell");
            drop(replay);
        }
    }
}

#[test]
fn a_replica_that_restarts_goes_on_where_it_was() {
    // After so many seconds it is there again, with what it knew or without. It goes on where it was, or finds a crowd.
    for (seed, (gap, known, goes_on)) in
        [(0, true, true), (60, true, true), (500, true, false), (0, false, false)].into_iter().enumerate()
    {
        let mut world = World::returning(Arm::Ramp, seed as u64);
        world.run(BACK + 90.0);
        let (rules, now) = (world.rules, world.now);
        let ramp = &world.replicas[0].ramp;
        let saved: Saved = ramp.saved(&rules, now, 1_000);
        let before = ramp.evidence().rate;
        assert_eq!(ramp.phase(), Phase::Ramping);
        let saved = known.then_some(&saved);
        let offset = world.rng.f64();
        let ramp = Ramp::started(&rules, saved, Some(DECLARED), offset, now, 1_000 + gap);
        world.replicas[0] = Replica::new(ramp);
        // What was decided is published before anybody asks.
        world.replicas[0].step(&rules, true, now);
        world.run(BACK + 90.2);
        let after = world.replicas[0].ramp.evidence().rate;
        assert_eq!((after - before).abs() < 1e-9, goes_on, "{after} after {before}, gap {gap}");
        // Who finds a crowd begins with the first rate.
        world.run(BACK + if goes_on { 170.0 } else { 230.0 });
        assert_eq!(world.collapses, []);
        assert_eq!(world.phases(), [Phase::Full; 3]);
        world.check_envelopes(BACK, MOST);
    }
}

#[test]
fn what_hurts_is_halved_within_five_seconds() {
    for seed in seeds(5) {
        let replay = Seed(seed);
        let mut world = World::returning(Arm::Ramp, seed);
        // Whenever it begins; enough is asked of each replica by then that failures show.
        let from = BACK + 85.0 + world.rng.f64() * 5.0;
        world.run(from);
        let before: Vec<f64> = world.rates();
        world.failing = 0.2;
        world.run(from + 5.1);
        for (before, after) in before.iter().zip(world.rates()) {
            assert!(after <= before * 1.25 * 0.5 + 1e-9, "{before} became {after}");
        }
        // Ten seconds without growth, and then it climbs again.
        world.failing = 0.0;
        world.run(BACK + 170.0);
        assert_eq!(world.collapses, []);
        assert!(
            world.replicas.iter().all(|replica| replica.ramp.evidence().rate > 10.0),
            "{:?}",
            world.rates()
        );
        drop(replay);
    }
}

#[test]
fn ten_thousand_that_come_at_once_are_let_in_one_by_one() {
    for seed in seeds(2) {
        let replay = Seed(seed);
        let mut world = World::new(Arm::Ramp, seed);
        world.model.set_down(Moment::START, true);
        world.usable = false;
        world.run(BACK);
        world.model.restart(world.now);
        world.usable = true;
        world.run(BACK + 1.0);
        // All tunnels were cut, and all clients notice in the same moment. Three of four wait as long as they
        // are told.
        for number in 0..10_000 {
            let mut client = Client::any(&mut world.rng);
            (client.honours, client.patience) = (number % 4 != 0, u32::MAX);
            world.queue.add(world.now, client);
        }
        world.run(BACK + 150.0);
        let most = world.check_envelopes(BACK, MOST);
        assert_eq!(world.collapses, []);
        eprintln!("10,000 at once, {seed}: {most} in a second, {} served in 150 s", world.answered.len());
        assert!(world.answered.len() > 3_000);
        drop(replay);
    }
}

#[test]
fn a_burst_that_fells_the_cell_fells_it_once() {
    for (arm, seed) in [(Arm::Ramp, 1), (Arm::Ramp, 2), (Arm::AllAtOnce, 1)] {
        let replay = Seed(seed);
        let mut world = World::new(arm, seed);
        world.run(20.0);
        // The full hour: twenty times as many as usual for ten seconds, each of whom repeats what fails.
        for number in 0..20 * DEMAND as u32 * 10 {
            let client = Client { patience: 60, ..Client::any(&mut world.rng) };
            let at = 20.0 + f64::from(number) / (20.0 * DEMAND);
            world.queue.add(second(at), client);
        }
        world.run(240.0);
        let good = world.answered_between(220.0, 240.0) as f64 / 20.0;
        eprintln!("burst, {arm:?} {seed}: {} collapses, {good:.0}/s at the end", world.collapses.len());
        match arm {
            Arm::Ramp => assert!(world.collapses.len() == 1 && good > 0.85 * DEMAND, "{:?}", world.phases()),
            _ => assert!(good < 0.2 * DEMAND, "without a ramp it should stay down"),
        }
        drop(replay);
    }
}

#[test]
fn capacity_that_appears_at_once_is_used_step_by_step() {
    for seed in seeds(3) {
        let replay = Seed(seed);
        let mut world = World::returning(Arm::Ramp, seed);
        // Two fifths of the cell come back, and after two minutes all of it.
        world.model.set_slow(world.now, 0.4);
        world.run(BACK + 130.0);
        let little = world.rate();
        assert!(little < 0.7 * DECLARED, "{little}");
        world.model.set_slow(world.now, 1.0);
        let mut before = little;
        for step in 1..=12 {
            world.run(BACK + 130.0 + 5.0 * f64::from(step));
            assert!(world.rate() <= before * 1.25 + 1e-9, "{} after {before}", world.rate());
            before = world.rate();
        }
        eprintln!(
            "at once, {seed}: {little:.0} with two fifths, {before:.0} a minute after, {:?}",
            world.collapses.len()
        );
        assert!(before > (little * 4.0).min(0.7 * DECLARED));
        world.check_envelopes(BACK, MOST);
        drop(replay);
    }
}

#[test]
fn an_operators_rate_holds_until_its_end() {
    let mut world = World::returning(Arm::Ramp, 1);
    let until = second(BACK + 60.0);
    let now = world.now;
    world.replicas.iter_mut().for_each(|replica| replica.ramp.set_pin(Some(Pin { rate: 12.0, until }), now));
    world.run(BACK + 59.0);
    assert!((world.rate() - 12.0).abs() < 1e-9, "{}", world.rate());
    world.run(BACK + 60.5);
    let ended = |replica: &Replica| replica.transitions.last().map(|last| (last.to, last.reason));
    for replica in &world.replicas {
        assert_eq!(ended(replica), Some((Phase::Ramping, Reason::PinEnded)));
    }
    assert!((world.rate() - 12.0).abs() < 1e-9, "it goes on from there");
    world.run(BACK + 150.0);
    assert_eq!(world.phases(), [Phase::Full; 3]);
}
