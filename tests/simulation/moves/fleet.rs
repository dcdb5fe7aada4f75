//! Replicas as plain state machines in virtual time: each obeys the newest file that it has, holds, counts first and
//! looks second; and a ledger of what two cells have seen. Which rule is left out is a parameter.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

use cellgate::policy::decide::Verdict;
use cellgate::policy::learned::LearnedTable;
use cellgate::policy::moves::is_write;
use cellgate::policy::snapshot::Snapshot;
use fastrand::Rng;

use super::super::snapshot::{Request, account};

/// Milliseconds of the simulation.
pub type Time = u64;

pub const REPLICAS: usize = 3;
pub const OLD: &str = "us-mt";
pub const NEW: &str = "us1";

/// What a refused client is told to wait.
const RETRY_AFTER: Time = 1_000;

/// What is left out, to see that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    Nothing,
    /// Replicas are taken to have the newest files.
    HashCheck,
    /// Replicas are taken to have no write under way.
    ZeroWrites,
    /// A replica looks at its files first, and counts the write then.
    CountFirst,
}

/// Files that were published.
pub struct Generation {
    pub number: usize,
    pub hash: Box<str>,
    pub snapshot: Snapshot,
}

pub enum Event {
    /// A generation reaches a replica.
    Files(usize, Rc<Generation>),
    /// A client sends something; when it was refused, once more.
    Arrive {
        id: u64,
        is_write: bool,
    },
    Count(usize),
    Look(usize),
    Send(usize),
    End(usize),
    /// A held request has waited as long as it may.
    OverBudget(usize),
    /// Clients go on.
    Traffic,
    /// Whoever moves accounts asks the replicas.
    Poll,
    /// A replica answers.
    Answer(usize),
}

/// A request at a replica.
struct Flight {
    id: u64,
    request: Request,
    replica: usize,
    arrived: Time,
    pinned: Rc<Generation>,
    is_held: bool,
    is_counted: bool,
    is_at_old_cell: bool,
}

pub struct Replica {
    pub serving: Rc<Generation>,
    /// Writes at the old cell by account.
    pub writes: BTreeMap<u64, u64>,
    /// When its newest files come: they stay in order.
    pub last_arrival: Time,
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub requests: u64,
    pub held: u64,
    /// 503 not-forwarded, each retried as it was told.
    pub refused: u64,
    /// Writes that found, after they were counted, that they are not wanted there any more.
    pub turned_back: u64,
    /// First write at the new cell by account.
    pub first_new: BTreeMap<u64, Time>,
    /// Writes at the old cell that began or ended after that.
    pub late: Vec<String>,
    /// Requests at a cell that their generation does not give them.
    pub misrouted: Vec<String>,
}

pub struct Fleet {
    pub now: Time,
    pub rng: Rng,
    pub without: Without,
    pub replicas: Vec<Replica>,
    pub ledger: Ledger,
    /// The generation from which on an account is in the new cell: what the files say, kept apart from the snapshot.
    pub flipped_in: BTreeMap<u64, usize>,
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    events: BTreeMap<u64, Event>,
    flights: BTreeMap<usize, Flight>,
    count: u64,
}

impl Fleet {
    pub fn new(rng: Rng, without: Without, first: Rc<Generation>) -> Self {
        let replica = || Replica { serving: Rc::clone(&first), writes: BTreeMap::new(), last_arrival: 0 };
        Self {
            now: 0,
            rng,
            without,
            replicas: (0..REPLICAS).map(|_| replica()).collect(),
            ledger: Ledger::default(),
            flipped_in: BTreeMap::new(),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            flights: BTreeMap::new(),
            count: 0,
        }
    }

    pub fn at(&mut self, time: Time, event: Event) {
        self.count += 1;
        self.queue.push(Reverse((time, self.count)));
        self.events.insert(self.count, event);
    }

    pub fn next(&mut self) -> Option<Event> {
        let Reverse((time, number)) = self.queue.pop()?;
        self.now = time;
        Some(self.events.remove(&number).unwrap())
    }

    /// Nothing is under way and nothing is counted.
    pub fn is_quiet(&self) -> bool {
        self.flights.is_empty()
            && self.replicas.iter().all(|replica| replica.writes.values().all(|of| *of == 0))
    }

    /// Files begin their way to every replica: half of them are there at once, the others take up to 90 s.
    pub fn publish(&mut self, generation: &Rc<Generation>) {
        for replica in 0..REPLICAS {
            let longest = if self.rng.bool() { 2_000 } else { 90_000 };
            let arrival = self.now + self.rng.u64(0..longest);
            let arrival = arrival.max(self.replicas[replica].last_arrival + 1);
            self.replicas[replica].last_arrival = arrival;
            self.at(arrival, Event::Files(replica, Rc::clone(generation)));
        }
    }

    /// What is not the mover's business.
    pub fn step(&mut self, event: Event) {
        match event {
            Event::Files(replica, generation) => self.files(replica, generation),
            Event::Arrive { id, is_write } => self.arrive(id, is_write),
            Event::Count(flight) => self.count(flight),
            Event::Look(flight) => self.look(flight),
            Event::Send(flight) => {
                self.enter(flight);
                self.send(flight);
            }
            Event::End(flight) => self.end(flight),
            Event::OverBudget(flight) => self.over_budget(flight),
            Event::Traffic | Event::Poll | Event::Answer(_) => unreachable!("the mover's"),
        }
    }

    fn files(&mut self, replica: usize, generation: Rc<Generation>) {
        self.replicas[replica].serving = Rc::clone(&generation);
        let held: Vec<usize> = self
            .flights
            .iter()
            .filter(|(_, of)| of.is_held && of.replica == replica)
            .map(|(at, _)| *at)
            .collect();
        for flight in held {
            self.flights.get_mut(&flight).unwrap().pinned = Rc::clone(&generation);
            self.consider(flight);
        }
    }

    fn arrive(&mut self, id: u64, is_write: bool) {
        let replica = self.rng.usize(..REPLICAS);
        let method = if is_write { "POST" } else { "GET" };
        let request = Request::new(&format!("{method} cloud.example.com/deploy/{id}"));
        let pinned = Rc::clone(&self.replicas[replica].serving);
        let flight = Flight {
            id,
            request,
            replica,
            arrived: self.now,
            pinned,
            is_held: false,
            is_counted: false,
            is_at_old_cell: false,
        };
        self.count += 1;
        let at = usize::try_from(self.count).unwrap();
        self.flights.insert(at, flight);
        self.consider(at);
    }

    /// Decides a request under the generation that it has pinned.
    fn consider(&mut self, at: usize) {
        let flight = self.flights.get_mut(&at).unwrap();
        let (was_held, is_write) = (flight.is_held, is_write(&flight.request.method));
        flight.is_held = holds(flight, &flight.pinned);
        if flight.is_held {
            if !was_held {
                let budget = flight.pinned.snapshot.moves.rules.budget.as_millis();
                let until = flight.arrived + Time::try_from(budget).unwrap();
                self.ledger.held += 1;
                self.at(until.max(self.now), Event::OverBudget(at));
            }
            return;
        }
        let soon = self.now + self.stall();
        match (is_write, self.without) {
            (false, _) => self.send(at),
            // It has looked at its newest files just now.
            (true, Without::CountFirst) => self.at(soon, Event::Send(at)),
            (true, _) => self.at(soon, Event::Count(at)),
        }
    }

    fn count(&mut self, at: usize) {
        self.enter(at);
        let soon = self.now + self.stall();
        self.at(soon, Event::Look(at));
    }

    /// Into the count of writes.
    fn enter(&mut self, at: usize) {
        let flight = self.flights.get_mut(&at).unwrap();
        if is_write(&flight.request.method) && cell(flight, &flight.pinned) == OLD {
            flight.is_counted = true;
            *self.replicas[flight.replica].writes.entry(flight.id).or_default() += 1;
        }
    }

    fn leave(&mut self, at: usize) {
        let flight = self.flights.get_mut(&at).unwrap();
        if std::mem::take(&mut flight.is_counted) {
            *self.replicas[flight.replica].writes.get_mut(&flight.id).unwrap() -= 1;
        }
    }

    /// Whether the newest files still want it there.
    fn look(&mut self, at: usize) {
        let flight = &self.flights[&at];
        let newest = Rc::clone(&self.replicas[flight.replica].serving);
        if cell(flight, &newest) == cell(flight, &flight.pinned) && !holds(flight, &newest) {
            return self.send(at);
        }
        self.ledger.turned_back += 1;
        self.leave(at);
        self.flights.get_mut(&at).unwrap().pinned = newest;
        self.consider(at);
    }

    fn send(&mut self, at: usize) {
        let flight = &self.flights[&at];
        let (id, to) = (flight.id, cell(flight, &flight.pinned).to_owned());
        let is_flipped = self.flipped_in.get(&id).is_some_and(|from| *from <= flight.pinned.number);
        if to != if is_flipped { NEW } else { OLD } {
            self.ledger.misrouted.push(format!("{id} to {to} at {}", self.now));
        }
        let is_write = is_write(&flight.request.method);
        self.flights.get_mut(&at).unwrap().is_at_old_cell = is_write && to == OLD;
        if is_write && to == NEW {
            self.ledger.first_new.entry(id).or_insert(self.now);
        }
        self.check(at, "begins");
        // A cell that lags: one request in twenty takes as long as a drain bears.
        let longest = [200, 2_000, 8_000][[0, 0, 0, 0, 1, 1, 2][self.rng.usize(..7)]];
        let end = self.now + self.rng.u64(1..longest);
        self.at(end, Event::End(at));
    }

    fn end(&mut self, at: usize) {
        self.check(at, "ends");
        self.leave(at);
        self.flights.remove(&at);
        self.ledger.requests += 1;
    }

    fn check(&mut self, at: usize, what: &str) {
        let flight = &self.flights[&at];
        if let Some(first) = self.ledger.first_new.get(&flight.id).filter(|_| flight.is_at_old_cell) {
            let (id, now) = (flight.id, self.now);
            self.ledger.late.push(format!(
                "{id}: a write at the old cell {what} at {now}, the first at the new was at {first}"
            ));
        }
    }

    fn over_budget(&mut self, at: usize) {
        if self.flights.get(&at).is_none_or(|flight| !flight.is_held) {
            return;
        }
        let flight = self.flights.remove(&at).unwrap();
        self.ledger.refused += 1;
        let is_write = is_write(&flight.request.method);
        self.at(self.now + RETRY_AFTER, Event::Arrive { id: flight.id, is_write });
    }

    /// Time that passes between two steps of one request: a thread may lose its core.
    fn stall(&mut self) -> Time {
        let longest = if self.rng.u8(..8) == 0 { 2_000 } else { 5 };
        self.rng.u64(0..longest)
    }
}

fn holds(flight: &Flight, under: &Generation) -> bool {
    let moves = &under.snapshot.moves;
    let of = moves.table.find(account(flight.id));
    of.is_some_and(|of| of.holds(is_write(&flight.request.method), &moves.rules))
}

/// The cell that a generation gives a request.
fn cell<'g>(flight: &Flight, under: &'g Generation) -> &'g str {
    let decision = flight.request.decide(&under.snapshot, &LearnedTable::default());
    // Whether it waits is the model's business, which can leave a rule out.
    let (Verdict::Forward { cell, .. } | Verdict::Hold { cell }) = decision.verdict else {
        unreachable!("every account has a row")
    };
    under.snapshot.cell(cell).name.as_str()
}
