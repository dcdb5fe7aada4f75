//! Replicas, groups and clients in virtual time, and the loop that moves them. What a request does on its way is in
//! [`way`]; what is done to the groups says [`scenario`](super::scenario).

mod checks;
mod group;
mod way;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::PoisonError;
use std::time::Duration;

use fastrand::Rng;

use self::group::Group;
use super::books::{Books, CellBooks, Peak};
use super::clients::{Client, by_chance};
use super::flight::{Flights, Told};
use super::model::Model;
use super::rules::DrillRules;
use super::scenario::{Deed, Fault, Script};
use crate::policy::admit::Bound;
use crate::policy::moment::Moment;
use crate::policy::protection::gate::Refused;
use crate::policy::protection::judge::{Judge, LOOK_EVERY, Look};
use crate::policy::retry::RetryBudget;
use crate::policy::snapshot::{Cell, Group as SnapshotGroup, Snapshot};

/// What a rehearsal is made of.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// One for each replica, compiled each by itself, so that they share no counters.
    pub snapshots: &'a [Snapshot],
    /// Requests in flight that a replica may have at most.
    pub process_requests: u32,
    /// Requests a second, by position of the cell, for all replicas together.
    pub demand: &'a [f64],
    /// What is assumed.
    pub rules: &'a DrillRules,
    /// The same gives the same.
    pub seed: u64,
}

/// The beginning on the clock of the wall: 2026-01-01T00:00:00Z. Nothing of a result depends on it.
const EPOCH_SECS: u64 = 1_767_225_600;

/// One replica.
struct Replica<'a> {
    snapshot: &'a Snapshot,
    judge: Judge,
    process: Bound,
    retries: RetryBudget,
    /// Numbers requests.
    tickets: u64,
    /// By cell.
    envelopes: Vec<Envelope>,
}

/// What a ramp let through, and what it might have.
#[derive(Default)]
struct Envelope {
    admitted: VecDeque<Moment>,
    rates: VecDeque<(Moment, f64)>,
}

/// What happens at a moment.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Somebody new comes to a cell.
    New(usize),
    /// Somebody comes again.
    Again(usize, Client),
    /// A request has waited long enough in the stage of this turn.
    Timer(u64, u32),
    /// A group has news.
    Group(usize, usize),
    /// A replica looks.
    Look(usize),
    /// A replica checks an endpoint: of this cell, this group, the endpoint.
    Check(usize, [usize; 3]),
    /// Such a check ends.
    Checked(usize, [usize; 3]),
    /// What the script says.
    Deed(usize),
}

/// An event in the order of time, and of those at the same moment, in the order in which they were planned.
struct Planned(Moment, u64, Event);

/// See the file.
pub(super) struct World<'a> {
    setup: Setup<'a>,
    /// How much of the cells and of their demand these replicas are.
    part: f64,
    now: Moment,
    rng: Rng,
    plans: BinaryHeap<Reverse<Planned>>,
    planned: u64,
    replicas: Vec<Replica<'a>>,
    /// By cell.
    groups: Vec<Vec<Group>>,
    flights: Flights<'a>,
    flown: u64,
    told: Told,
    script: &'a Script,
    books: Books,
}

impl<'a> World<'a> {
    pub fn new(setup: Setup<'a>, script: &'a Script) -> Self {
        let mut rng = Rng::with_seed(setup.seed);
        let first = &setup.snapshots[0];
        let part = setup.snapshots.len() as f64 / f64::from(first.protection.replicas.get());
        let part = part.min(1.0);
        let mut groups = Vec::new();
        for cell in &first.cells {
            let mut made = Vec::new();
            for group in &cell.groups {
                let declared = f64::from(group.capacity_rps.unwrap_or(1)) * part;
                let model = Model::new(setup.rules.model(declared), rng.u64(..));
                made.push(Group::new(model, group.endpoints.len()));
            }
            groups.push(made);
        }
        let of_cell = |groups: &Vec<Group>| CellBooks {
            groups: vec![Peak::default(); groups.len()],
            ..CellBooks::default()
        };
        let books = Books { cells: groups.iter().map(of_cell).collect(), changes: Vec::new() };
        let replica = |snapshot: &'a Snapshot| Replica {
            snapshot,
            judge: Judge::warm(),
            process: Bound::new(setup.process_requests),
            retries: RetryBudget::of_process(),
            tickets: 0,
            envelopes: snapshot.cells.iter().map(|_| Envelope::default()).collect(),
        };
        let mut world = Self {
            part,
            now: Moment::START,
            rng,
            plans: BinaryHeap::new(),
            planned: 0,
            replicas: setup.snapshots.iter().map(replica).collect(),
            groups,
            flights: Flights::default(),
            flown: 0,
            told: Told::default(),
            script,
            books,
            setup,
        };
        world.begin();
        world
    }

    /// Everything until the end of the script.
    pub fn run(mut self) -> Books {
        let end = Moment::START + self.script.lasts;
        while let Some(Reverse(Planned(at, _, event))) = self.plans.pop() {
            if at >= end {
                break;
            }
            self.now = at;
            self.happen(event);
        }
        self.books
    }

    fn begin(&mut self) {
        // Replicas do not look all at the same moment.
        let many = u32::try_from(self.replicas.len()).unwrap_or(u32::MAX);
        for replica in 0..many {
            self.plan(LOOK_EVERY * replica / many, Event::Look(replica as usize));
        }
        self.plan_checks();
        for cell in 0..self.groups.len() {
            self.plan_new(cell);
        }
        for deed in 0..self.script.deeds.len() {
            self.plan(self.script.deeds[deed].0, Event::Deed(deed));
        }
    }

    fn plan(&mut self, wait: Duration, event: Event) {
        self.planned += 1;
        self.plans.push(Reverse(Planned(self.now + wait, self.planned, event)));
    }

    fn plan_new(&mut self, cell: usize) {
        let rate = self.setup.demand[cell] * self.part;
        if rate > 0.0 {
            let wait = by_chance(rate, &mut self.rng);
            self.plan(wait, Event::New(cell));
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::New(cell) => {
                self.plan_new(cell);
                let client = Client::any(cell, self.setup.rules.honours, &mut self.rng);
                self.arrive(cell, client);
            }
            Event::Again(cell, client) => self.arrive(cell, client),
            Event::Timer(id, turn) => self.time_over(id, turn),
            Event::Group(cell, group) => {
                self.groups[cell][group].planned = None;
                self.hear(cell, group);
            }
            Event::Look(replica) => {
                self.look(replica);
                self.plan(LOOK_EVERY, Event::Look(replica));
            }
            Event::Check(replica, place) => self.check(replica, place),
            Event::Checked(replica, place) => self.checked(replica, place),
            Event::Deed(deed) => self.act(deed),
        }
        self.tell_waiters();
    }

    /// Those who were told that they need not wait, and those who are told because of what they do.
    fn tell_waiters(&mut self) {
        loop {
            let told: Vec<(u64, Result<(), Refused>)> =
                std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner));
            if told.is_empty() {
                return;
            }
            for (id, answer) in told {
                self.waited(id, answer);
            }
        }
    }

    fn look(&mut self, at: usize) {
        let (now, rng) = (self.now, &mut self.rng);
        let replica = &mut self.replicas[at];
        let now_secs = EPOCH_SECS + now.since(Moment::START).as_secs();
        let look = Look { snapshot: replica.snapshot, levers: None, late: Duration::ZERO, now, now_secs };
        let changes = replica.judge.look(&look, &mut || rng.f64());
        self.books.changes.extend(changes.into_iter().map(|change| (now, at, change)));
        self.note(at);
    }

    /// Writes down what a status page would show.
    fn note(&mut self, at: usize) {
        let now = self.now;
        let replica = &mut self.replicas[at];
        let limits = |cell: &Cell| cell.load.standing.is_limited();
        // A report costs much; most of the time nothing is limited.
        let report = replica.snapshot.cells.iter().any(limits);
        let report = report.then(|| replica.judge.report(replica.snapshot, now));
        for (at, cell) in replica.snapshot.cells.iter().enumerate() {
            let rate = report.as_ref().map_or(f64::INFINITY, |report| report.cells[at].ramp.rate);
            replica.envelopes[at].publish(now, rate);
            let books = &mut self.books.cells[at];
            let connections =
                |group: &SnapshotGroup| group.endpoints.first()?.connections.permits.taken().into();
            let most = cell.groups.iter().filter_map(connections).max().unwrap_or_default();
            books.most_connections = books.most_connections.max(most);
            books.most_in_flight = books.most_in_flight.max(cell.load.in_flight());
            for group in &mut self.groups[at] {
                let thrashes = group.model.is_thrashing();
                if thrashes && !group.thrashed {
                    books.collapses.push(now);
                }
                group.thrashed = thrashes;
            }
        }
    }

    fn act(&mut self, at: usize) {
        let deeds: &'a Script = self.script;
        match &deeds.deeds[at].1 {
            Deed::Break { cell, group, endpoint, fault } => {
                self.set_fault(*cell, *group, *endpoint, Some(*fault));
            }
            Deed::Mend { cell, group, endpoint } => self.set_fault(*cell, *group, *endpoint, None),
            Deed::Crowd { cell, times, answers } => self.gather(*cell, *times, *answers),
            Deed::ForgetPeaks => {
                self.books.cells.iter_mut().for_each(|cell| cell.groups.iter_mut().for_each(Peak::forget));
            }
        }
    }

    /// A crowd that asks so many times as often as others do, until it has its answers.
    fn gather(&mut self, cell: usize, times: f64, answers: u32) {
        // Each comes again after a second, in the mean. Truncates to whole clients.
        let many = (self.setup.demand[cell] * self.part * times) as u64;
        for _ in 0..many {
            let wait = Duration::from_secs_f64(self.rng.f64());
            let client = Client::any(cell, 0.0, &mut self.rng).waiting(answers);
            self.plan(wait, Event::Again(cell, client));
        }
    }

    fn set_fault(&mut self, cell: usize, group: usize, endpoint: usize, fault: Option<Fault>) {
        let now = self.now;
        self.groups[cell][group].set_fault(endpoint, fault, now);
        self.hear(cell, group);
    }
}

impl Envelope {
    /// What is published from now on.
    fn publish(&mut self, now: Moment, rate: f64) {
        self.rates.push_back((now, rate));
        // What was published in the last second may still have been used.
        while self.rates.get(1).is_some_and(|(at, _)| now.since(*at) >= super::books::SECOND) {
            self.rates.pop_front();
        }
    }

    /// One more is let through; whether that is more than any rate of the last second, 2 % and one request.
    fn is_over(&mut self, now: Moment) -> bool {
        let found = super::books::in_last_second(&mut self.admitted, now);
        let rate = self.rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
        found as f64 > rate * 1.02 + 1.0 && !self.rates.is_empty()
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Planned {}
