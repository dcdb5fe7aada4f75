//! One trace of requests, each with its duration, through a gate that enforces and through one that
//! observes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::time::Duration;

use cellgate::policy::moment::Moment;
use cellgate::policy::protection::gate::{Answer, Asker, Gate, GateRules, Woken};
use cellgate::policy::protection::observed::{Ended, Observation, ObservedGate};
use cellgate::policy::protection::priority::Priority;
use fastrand::Rng;

pub struct Trace(Vec<Line>);

#[derive(Clone, Copy)]
struct Line {
    arrives: Moment,
    who: Asker,
    takes: Duration,
}

/// What happens, in order of time; arrivals are merged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ends(usize),
    Step(u32),
}

/// The limit of that time, the same for both: it moves as it would while it learns. Limits that learn on their own,
/// each from what goes to its cell, drift apart within seconds, for an answer counts for another second where it had
/// to wait; then the gates differ by as much as the limits do.
fn limit(now: Moment) -> u32 {
    DECLARED - (now.nanos() / 3_000_000_000 % 4) as u32 * 2
}

const STEP: Duration = Duration::from_millis(100);

/// 20 ms each: 1,000 requests a second need 20 permits.
const DECLARED: u32 = 22;

impl Trace {
    pub fn of(seed: u64, rps: f64, secs: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let (mut now, end) = (0.0, secs as f64);
        let mut lines = Vec::new();
        while now < end {
            now += -(1.0 - random.f64()).ln() / rps;
            let account_hash = Rng::with_seed(random.u64(1..=150)).u64(..);
            let priority = Priority::ALL[[0, 1, 1, 2, 2, 3][random.usize(..6)]];
            let left = (random.u8(..4) == 0).then(|| Duration::from_millis(random.u64(20..400)));
            lines.push(Line {
                arrives: Moment::START + Duration::from_secs_f64(now),
                who: Asker { priority, account_hash, left, random: random.u64(..) },
                takes: Duration::from_secs_f64(0.02 * -(1.0 - random.f64()).ln()),
            });
        }
        Self(lines)
    }

    /// Which were refused.
    pub fn enforced(&self) -> Vec<bool> {
        let gate = Gate::<usize>::new(GateRules::of(DECLARED));
        let mut run = Enforced { trace: self, gate, events: BinaryHeap::new(), refused: HashSet::new() };
        run.events.push(Reverse((Moment::START + STEP, Event::Step(1))));
        for (at, line) in self.0.iter().enumerate() {
            while let Some(Reverse((now, event))) =
                run.events.peek().copied().filter(|next| next.0.0 <= line.arrives)
            {
                run.events.pop();
                run.happen(now, event);
            }
            run.arrive(at, line);
        }
        (0..self.0.len()).map(|at| run.refused.contains(&at)).collect()
    }

    /// Which would have been refused.
    pub fn observed(&self) -> Vec<bool> {
        let gate = ObservedGate::new(GateRules::of(DECLARED));
        let mut events = BinaryHeap::from([Reverse((Moment::START + STEP, Event::Step(1)))]);
        let mut observations: Vec<Observation> = Vec::new();
        let mut refused = vec![false; self.0.len()];
        let mut late = HashSet::new();
        for (at, line) in self.0.iter().enumerate() {
            while let Some(Reverse((now, event))) =
                events.peek().copied().filter(|next| next.0.0 <= line.arrives)
            {
                events.pop();
                match event {
                    Event::Ends(at) => {
                        refused[at] = matches!(gate.end(now, observations[at]), Ended::Refused(_));
                    }
                    Event::Step(number) => {
                        late.extend(gate.step(now, limit(now)).into_iter().map(|(id, _)| id));
                        events.push(Reverse((now + STEP, Event::Step(number + 1))));
                    }
                }
            }
            let observation = gate.ask(line.arrives, line.who);
            observations.push(observation);
            events.push(Reverse((line.arrives + line.takes, Event::Ends(at))));
        }
        refused
            .iter()
            .zip(&observations)
            .map(|(refused, seen)| *refused || late.contains(&seen.id()))
            .collect()
    }
}

struct Enforced<'a> {
    trace: &'a Trace,
    gate: Gate<usize>,
    events: BinaryHeap<Reverse<(Moment, Event)>>,
    refused: HashSet<usize>,
}

impl Enforced<'_> {
    fn arrive(&mut self, at: usize, line: &Line) {
        let (answer, dropped) = self.gate.ask(line.arrives, line.who, || at);
        match answer {
            Answer::Go => self.send(line.arrives, at),
            Answer::Wait(_) => {}
            Answer::Refused { .. } => drop(self.refused.insert(at)),
        }
        self.refused.extend(dropped);
    }

    fn send(&mut self, now: Moment, at: usize) {
        self.events.push(Reverse((now + self.trace.0[at].takes, Event::Ends(at))));
    }

    fn happen(&mut self, now: Moment, event: Event) {
        let woken = match event {
            Event::Ends(_) => self.gate.end(now),
            Event::Step(number) => {
                self.events.push(Reverse((now + STEP, Event::Step(number + 1))));
                self.gate.step(now, limit(now))
            }
        };
        self.wake(now, woken);
    }

    fn wake(&mut self, now: Moment, woken: Woken<usize>) {
        woken.go.into_iter().for_each(|at| self.send(now, at));
        self.refused.extend(woken.refused.into_iter().map(|(at, _)| at));
    }
}
