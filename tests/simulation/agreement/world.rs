//! One trace of requests at one cell, with all of its parts, in virtual time: enforced, or only observed. How long a
//! request takes in the cell is the trace's; when, is what the parts make of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cellgate::policy::admit::{Bound, Permit};
use cellgate::policy::guard::Mode;
use cellgate::policy::ids::AccountId;
use cellgate::policy::moment::Moment;
use cellgate::policy::pick::{self, Place};
use cellgate::policy::protection::endpoint_load::{Asked, Attempt};
use cellgate::policy::protection::gate::Refused;
use cellgate::policy::protection::health::{AttemptEnd, State};
use cellgate::policy::protection::judge::{Change, Judge, LOOK_EVERY, Look};
use cellgate::policy::protection::modes::Modes;
use cellgate::policy::protection::policies::Policy;
use cellgate::policy::protection::priority::Priority;
use cellgate::policy::protection::queue::{self, PATIENCE};
use cellgate::policy::protection::shed::Shed;
use cellgate::policy::protection::standing::{Admission, Ask, Forced, Outcome, Pass, Waiter, shed};
use cellgate::policy::protection::verdict::counters::Failure;
use cellgate::policy::protection::watching::{Way, way};
use cellgate::policy::protection::would::{Act, WouldHave};
use cellgate::policy::snapshot::{Cell, Endpoint, EndpointAddress, EndpointKey, Group, Snapshot};
use fastrand::Rng;

use super::super::snapshot::{SnapshotBuilder, account, label};

/// A request of the trace.
#[derive(Clone, Copy)]
pub struct Line {
    pub arrives: Moment,
    pub priority: Priority,
    pub account: AccountId,
    pub random: u64,
    /// To the first byte, and from it to the end.
    pub takes: [Duration; 2],
    pub outcome: Outcome,
    pub left: Option<Duration>,
    pub long_lived: bool,
}

/// What the cell is.
#[derive(Clone, Copy)]
pub struct Shape {
    pub max_in_flight: u32,
    pub groups: u8,
    pub endpoints: u16,
    /// Requests a second that each group declares.
    pub capacity: Option<u32>,
    /// Requests that each group may have.
    pub of_group: u32,
    /// Requests that it does at once; with more of them each takes as much longer.
    pub workers: u32,
    /// From when until when an endpoint, counted through all groups, takes no connection.
    pub gone: fn(usize) -> Option<[u64; 2]>,
}

/// What was done, or would have been, by name.
pub type Counts = BTreeMap<String, u64>;

/// What became of a trace.
pub struct Ran {
    /// By parts that are enforced.
    pub done: Counts,
    /// By parts that only watch, had they not.
    pub would: Counts,
    /// The limit at the end.
    pub limit: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    FirstByte(usize),
    Ends(usize),
    GivesUp(usize),
    Look,
}

/// Those who wait tell here what they were told.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<(usize, Result<(), Refused>)>>);

#[derive(Debug)]
struct Ticket(usize, Arc<Told>);

impl Waiter for Ticket {
    fn go(self: Box<Self>) -> bool {
        self.1.0.lock().unwrap().push((self.0, Ok(())));
        true
    }

    fn refuse(self: Box<Self>, why: Refused) {
        self.1.0.lock().unwrap().push((self.0, Err(why)));
    }
}

struct Flight<'a> {
    ask: Ask,
    pass: Pass,
    asked: Option<Asked<'a>>,
    waits: Option<queue::Place>,
    first_byte: Duration,
    _permits: [Option<Permit>; 2],
}

struct Run<'a> {
    lines: &'a [Line],
    shape: Shape,
    cell: &'a Cell,
    modes: Modes,
    events: BinaryHeap<Reverse<(Moment, Event)>>,
    flights: Vec<Option<Flight<'a>>>,
    told: Arc<Told>,
    counts: Counts,
    /// How many it has at once.
    in_cell: u32,
    now: Moment,
}

/// All parts in one mode.
pub fn all(mode: Mode) -> Modes {
    Policy::ALL.into_iter().fold(Modes::default(), |modes, policy| match policy {
        Policy::Verdict => modes,
        _ => modes.with(policy, mode),
    })
}

/// Runs the trace through a new cell.
pub fn run(lines: &[Line], shape: Shape, modes: Modes, seed: u64) -> Ran {
    let mut snapshot = SnapshotBuilder::new().cell("cell-1", "us1.dbt.com").build();
    let cell = &mut snapshot.cells[0];
    cell.max_in_flight = shape.max_in_flight;
    cell.protection.modes = modes;
    let first = cell.groups[0].clone();
    cell.groups = (0..shape.groups).map(|at| group(&first, at, shape)).collect();
    let snapshot = &snapshot;
    let mut judge = Judge::default();
    // The same for both, at whichever look it is drawn.
    let jitter = Rng::with_seed(seed).f64();
    let mut run = Run {
        lines,
        shape,
        cell: &snapshot.cells[0],
        modes,
        events: BinaryHeap::from([Reverse((Moment::START, Event::Look))]),
        flights: lines.iter().map(|_| None).collect(),
        told: Arc::default(),
        counts: Counts::new(),
        in_cell: 0,
        now: Moment::START,
    };
    let ends = lines.last().expect("a trace has requests").arrives + Duration::from_secs(1);
    let mut arrivals = lines.iter().enumerate().peekable();
    while run.now < ends {
        let Reverse((at, event)) = *run.events.peek().expect("the next look is always there");
        match arrivals.next_if(|(_, line)| line.arrives < at) {
            Some((number, line)) => {
                run.now = line.arrives;
                run.arrive(number);
            }
            None => {
                run.events.pop();
                run.now = at;
                match event {
                    Event::Look => run.look(snapshot, &mut judge, &mut || jitter),
                    other => run.happen(other),
                }
            }
        }
        run.hear();
    }
    let limit = judge.report(snapshot, run.now).cells[0].limit;
    Ran { would: named(&run.cell.load.standing.would_have()), done: run.counts, limit }
}

fn named(have: &WouldHave) -> Counts {
    let refused =
        Shed::ALL.iter().zip(have.refused).map(|(why, count)| (format!("refused {}", why.label()), count));
    let acts = have.each().filter(|(_, act, _)| *act != Act::Refused);
    let acts = acts.map(|(policy, act, count)| (format!("{} {}", policy.as_str(), act.as_str()), count));
    refused.filter(|(_, count)| *count > 0).chain(acts).collect()
}

fn group(like: &Group, at: u8, shape: Shape) -> Group {
    let mut group = like.clone();
    group.zone = label(&format!("zone-{at}"));
    group.capacity_rps = shape.capacity;
    group.requests = Bound::new(shape.of_group);
    let one = group.endpoints.remove(0);
    for number in 0..shape.endpoints {
        let mut endpoint = one.clone();
        endpoint.key = EndpointKey(format!("endpoint {at} {number}").into());
        let port = 10_000 + 100 * u16::from(at) + number;
        endpoint.address = EndpointAddress::Socket(([127, 0, 0, 1], port).into());
        endpoint.load = Arc::default();
        group.endpoints.push(endpoint);
    }
    group
}

impl<'a> Run<'a> {
    fn count(&mut self, what: String) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn refused(&mut self, why: Shed) {
        self.count(format!("refused {}", why.label()));
    }

    fn look(&mut self, snapshot: &Snapshot, judge: &mut Judge, random: &mut dyn FnMut() -> f64) {
        let now = self.now;
        let now_secs = now.nanos() / 1_000_000_000;
        let look = Look { snapshot, levers: None, late: Duration::ZERO, now, now_secs };
        for change in judge.look(&look, random) {
            if let Change::Endpoint(_, _, change) = change
                && !change.would_have
                && matches!(change.to, State::Ejected | State::Down)
            {
                self.count("health ejected".into());
            }
        }
        self.events.push(Reverse((now + LOOK_EVERY, Event::Look)));
    }

    fn arrive(&mut self, number: usize) {
        let Line { priority, account, random, left, long_lived, .. } = self.lines[number];
        let ask = Ask { priority, account: Some(account), long_lived, left, random };
        let standing = &self.cell.load.standing;
        let ticket = Ticket(number, Arc::clone(&self.told));
        let (pass, waits) = match standing.ask(self.now, &ask, &self.modes, || Box::new(ticket)) {
            Admission::Refused(why, _) => return self.refused(why),
            Admission::Go(pass) => (pass, None),
            Admission::Wait(place, pass) => (pass, Some(place)),
        };
        if pass.is_moved {
            self.count("failover elsewhere".into());
        }
        self.flights[number] = Some(Flight {
            ask,
            pass,
            asked: None,
            waits,
            first_byte: Duration::ZERO,
            _permits: [None, None],
        });
        match waits {
            Some(_) => self.events.push(Reverse((self.now + PATIENCE, Event::GivesUp(number)))),
            None => self.go(number),
        }
    }

    /// What those who waited were told.
    fn hear(&mut self) {
        loop {
            let told = std::mem::take(&mut *self.told.0.lock().unwrap());
            if told.is_empty() {
                return;
            }
            for (number, answer) in told {
                match answer {
                    Ok(()) => {
                        self.flights[number].as_mut().expect("it waits").waits = None;
                        self.go(number);
                    }
                    Err(why) => {
                        self.flights[number] = None;
                        self.refused(shed(why));
                    }
                }
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let standing = &self.cell.load.standing;
        match event {
            Event::GivesUp(number) => {
                let waits = self.flights[number].as_ref().and_then(|flight| flight.waits);
                if waits.is_some_and(|place| standing.cancel(self.now, place)) {
                    self.flights[number] = None;
                    self.refused(Shed::WaitedTooLong);
                }
            }
            Event::FirstByte(number) => {
                let outcome = self.lines[number].outcome;
                let Some(flight) = &mut self.flights[number] else { return };
                let Some(asked) = flight.asked.take() else { return };
                let first_byte = (outcome == Outcome::Served).then_some(flight.first_byte);
                standing.tell(self.now, &flight.pass, &flight.ask, outcome, first_byte);
                flight.pass = flight.pass.told();
                let end = match outcome {
                    Outcome::Served => AttemptEnd::Answered,
                    Outcome::PushedBack => AttemptEnd::Pushback,
                    Outcome::Failed => AttemptEnd::Gateway,
                };
                asked.answered(end, first_byte);
            }
            Event::Ends(number) => {
                self.in_cell -= 1;
                self.leave(number);
            }
            Event::Look => unreachable!("the caller looks"),
        }
    }

    fn leave(&mut self, number: usize) {
        if let Some(flight) = self.flights[number].take() {
            self.cell.load.standing.end(self.now, flight.pass);
        }
    }

    /// As a request is forwarded that has its permit.
    fn go(&mut self, number: usize) {
        let flight = self.flights[number].as_mut().expect("it goes");
        let permits = bulkhead(self.cell, &mut flight.pass, &self.modes, self.now);
        let Ok(permits) = permits else {
            self.leave(number);
            return self.refused(Shed::CellFull);
        };
        flight._permits[0] = permits;
        let would = watch(self.cell, &mut flight.pass, &flight.ask, &self.modes, (number as u64, self.now));
        let Some((place, attempt, passed_over)) = self.enter(number, would) else {
            self.leave(number);
            return self.refused(Shed::CellDown);
        };
        if passed_over && self.modes.of(Policy::Health) == Mode::Enforce {
            self.count("health elsewhere".into());
        }
        let is_gone = self.is_gone(place);
        let flight = self.flights[number].as_mut().expect("it goes");
        let mode = self.modes.of(Policy::Bulkhead);
        let takes = mode != Mode::Observe || flight.pass.would_come();
        let would = flight.pass.would_group.filter(|_| mode == Mode::Observe).map(|at| &self.cell.groups[at]);
        let group = would.unwrap_or_else(|| pick::group(self.cell, place));
        let permit = takes.then(|| group.requests.try_take()).flatten();
        if takes && permit.is_none() {
            if mode == Mode::Enforce {
                drop(attempt);
                self.leave(number);
                return self.refused(Shed::GroupFull);
            }
            if mode == Mode::Observe {
                would_refuse(self.cell, &mut flight.pass, Policy::Bulkhead, Shed::GroupFull, self.now);
            }
        }
        flight._permits[1] = permit;
        if is_gone {
            let standing = &self.cell.load.standing;
            standing.tell(self.now, &flight.pass, &flight.ask, Outcome::Failed, None);
            attempt.unconnected(Failure::Refused);
            return self.leave(number);
        }
        flight.asked = Some(attempt.asked());
        self.in_cell += 1;
        let slower = (f64::from(self.in_cell) / f64::from(self.shape.workers)).max(1.0);
        let [first_byte, rest] = self.lines[number].takes.map(|time| time.mul_f64(slower));
        flight.first_byte = first_byte;
        self.events.push(Reverse((self.now + first_byte, Event::FirstByte(number))));
        self.events.push(Reverse((self.now + first_byte + rest, Event::Ends(number))));
    }

    fn enter(&mut self, number: usize, would: Option<Place>) -> Option<(Place, Attempt<'a>, bool)> {
        let cell = self.cell;
        let flight = self.flights[number].as_mut().expect("it goes");
        let (mut passed_over, mut closed) = (Vec::new(), Vec::new());
        while let Some(place) = pick::pick(cell, flight.pass.group, number as u64, &passed_over) {
            passed_over.push(place);
            if let Some(attempt) = pick::endpoint(cell, place).load.enter(flight.ask.account) {
                if let Some(would) = would.filter(|would| *would != place) {
                    let fails = pick::endpoint(cell, would).load.watch.is_failing();
                    flight.pass = flight.pass.elsewhere(fails);
                }
                return Some((place, attempt, !closed.is_empty()));
            }
            closed.push(place);
        }
        let forced = cell.load.standing.forces(flight.ask.priority, self.now)?;
        closed.iter().enumerate().find_map(|(at, place)| {
            let load = &pick::endpoint(cell, *place).load;
            Some((*place, load.enter_closed(flight.ask.account, forced == Forced::Open)?, at > 0))
        })
    }

    fn is_gone(&self, place: Place) -> bool {
        let same = |endpoint: &Endpoint| std::ptr::eq(endpoint, pick::endpoint(self.cell, place));
        let at = self.cell.endpoints().position(same).expect("it is one of them");
        let second = self.now.nanos() / 1_000_000_000;
        (self.shape.gone)(at).is_some_and(|[from, until]| (from..until).contains(&second))
    }
}

/// A permit of the cell, as the proxy takes it; nothing where it would have been refused.
fn bulkhead(cell: &Cell, pass: &mut Pass, modes: &Modes, now: Moment) -> Result<Option<Permit>, ()> {
    let mode = modes.of(Policy::Bulkhead);
    if mode == Mode::Off || mode == Mode::Observe && !pass.would_come() {
        return Ok(None);
    }
    let would_be = cell.load.standing.would_be_in_flight(pass);
    let permit = if would_be.is_none() { cell.load.try_acquire(cell.max_in_flight) } else { None };
    let is_full = would_be.map_or(permit.is_none(), |in_flight| in_flight > cell.max_in_flight);
    match (is_full, mode) {
        (true, Mode::Enforce) => return Err(()),
        (true, _) => would_refuse(cell, pass, Policy::Bulkhead, Shed::CellFull, now),
        (false, _) => {}
    }
    Ok(permit)
}

fn would_refuse(cell: &Cell, pass: &mut Pass, policy: Policy, why: Shed, now: Moment) {
    cell.load.standing.would_refuse(now, pass, policy, why);
    *pass = pass.left();
}

/// Where it would go, as the proxy counts it.
fn watch(
    cell: &Cell,
    pass: &mut Pass,
    ask: &Ask,
    modes: &Modes,
    (ticket, now): (u64, Moment),
) -> Option<Place> {
    let (health, failover) = (modes.of(Policy::Health), modes.of(Policy::Failover));
    if ![health, failover].contains(&Mode::Observe) || !pass.would_come() {
        return None;
    }
    let standing = &cell.load.standing;
    let group = if failover == Mode::Observe { pass.would_group } else { pass.group };
    let forces = || if health == Mode::Observe { standing.forces(ask.priority, now) } else { None };
    let by = if health == Mode::Observe { Policy::Health } else { Policy::Failover };
    let way = way(cell, group, ticket, |_| false, forces);
    match way {
        Way::Elsewhere(_) if health == Mode::Observe => standing.would.act(by, Act::Elsewhere),
        Way::Straight(_) | Way::Elsewhere(_) => {}
        Way::Nowhere => would_refuse(cell, pass, by, Shed::CellDown, now),
    }
    match way {
        Way::Straight(place) => place,
        Way::Elsewhere(place) => Some(place),
        Way::Nowhere => None,
    }
}

/// Of so many requests a second; `rate` says how many times as many come in a second, and `slower` how many times as
/// long they take.
pub struct Story {
    pub seed: u64,
    pub rps: f64,
    pub secs: u64,
    pub mean: Duration,
    pub rate: fn(u64) -> f64,
    pub slower: fn(u64) -> f64,
    /// Part of requests that the cell pushes back.
    pub pushed_back: fn(u64) -> f64,
}

impl Story {
    pub fn lines(&self) -> Vec<Line> {
        let mut random = Rng::with_seed(self.seed);
        let (mut now, mut lines) = (0.0, Vec::new());
        while now < self.secs as f64 {
            let second = now as u64;
            now += -(1.0 - random.f64()).ln() / (self.rps * (self.rate)(second));
            let mean = self.mean.as_secs_f64() * (self.slower)(second);
            let takes =
                [0.8, 0.2].map(|part| Duration::from_secs_f64(part * mean * -(1.0 - random.f64()).ln()));
            let pushed_back = random.f64() < (self.pushed_back)(second);
            lines.push(Line {
                arrives: Moment::START + Duration::from_secs_f64(now),
                priority: Priority::ALL[[0, 1, 1, 2, 2, 3][random.usize(..6)]],
                account: account(random.u64(1..=150)),
                random: random.u64(..),
                takes,
                outcome: if pushed_back { Outcome::PushedBack } else { Outcome::Served },
                left: (random.u8(..4) == 0).then(|| Duration::from_millis(random.u64(20..400))),
                long_lived: random.u8(..50) == 0,
            });
        }
        lines
    }
}
