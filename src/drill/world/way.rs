//! The way of a request, as `proxy::admission` and `proxy::forward` go it.

use std::time::Duration;

use super::super::books::End;
use super::super::clients::Client;
use super::super::flight::{Flight, Nowhere, Number, Stage};
use super::super::model::ModelEnd;
use super::super::scenario::Fault;
use super::{EPOCH_SECS, Event, World};
use crate::policy::admit::Permit;
use crate::policy::guard::Mode;
use crate::policy::moment::Moment;
use crate::policy::pick;
use crate::policy::protection::bulkhead;
use crate::policy::protection::endpoint_load::Attempt;
use crate::policy::protection::gate::Refused;
use crate::policy::protection::health::AttemptEnd;
use crate::policy::protection::policies::Policy;
use crate::policy::protection::shed::Shed;
use crate::policy::protection::standing::{Admission, Ask, Outcome, shed};
use crate::policy::protection::verdict::counters::{Counters, Failure, Socket};
use crate::policy::retry::{self, Again, Tried, Unanswered};
use crate::policy::snapshot::Cell;

/// The longest wait for a permit, as in `proxy::admission`.
const WAIT: Duration = Duration::from_millis(100);

/// Between two zones of a region.
const ROUND_TRIP: Duration = Duration::from_millis(1);

/// A request of one segment, and the acknowledgements of its answer.
const SEGMENTS: u32 = 4;

impl<'a> World<'a> {
    pub(super) fn cell_of(&self, flight: &Flight<'a>) -> &'a Cell {
        &self.replicas[flight.replica].snapshot.cells[flight.cell]
    }

    pub(super) fn arrive(&mut self, cell: usize, client: Client) {
        let replica = self.rng.usize(..self.replicas.len());
        self.flown += 1;
        let (id, now) = (self.flown, self.now);
        let counts = self.books.cells[cell].counts(now, client.priority);
        counts.asked += 1;
        counts.new += u64::from(client.is_new);
        let random = self.rng.u64(..);
        let ask = Ask {
            priority: client.priority,
            account: Some(client.account),
            long_lived: false,
            left: None,
            random,
        };
        let mut flight = Box::new(Flight {
            cell,
            replica,
            client,
            came: now,
            ask,
            pass: None,
            stage: Stage::Between,
            turn: 0,
            passed_over: Vec::new(),
            tried: Tried::default(),
            permits: None,
            of_group: None,
            ordinary: None,
        });
        let at = self.cell_of(&flight);
        let (standing, modes) = (&at.load.standing, at.protection.modes);
        let told = || Number { id, told: self.told.clone() };
        match standing.ask(now, &ask, &modes, || Box::new(told())) {
            Admission::Refused(why, after) => self.over(flight, End::Shed(why), Some(after)),
            Admission::Go(pass) => {
                flight.pass = Some(pass);
                self.flights.insert(id, flight);
                self.admitted(id);
            }
            Admission::Wait(place, pass) => {
                flight.pass = Some(pass);
                flight.go_on(Stage::Waiting(place));
                self.books.cells[cell].counts(now, client.priority).waited += 1;
                self.plan(WAIT, Event::Timer(id, flight.turn));
                self.flights.insert(id, flight);
            }
        }
    }

    /// Somebody who waited was told.
    pub(super) fn waited(&mut self, id: u64, answer: Result<(), Refused>) {
        let Some(flight) = self.flights.get_mut(id) else { return };
        flight.go_on(Stage::Between);
        match answer {
            Ok(()) => self.admitted(id),
            Err(why) => self.refused_waiting(id, why),
        }
    }

    /// A request that waited and holds nothing is refused.
    fn refused_waiting(&mut self, id: u64, why: Refused) {
        let Some(mut flight) = self.flights.remove(id) else { return };
        flight.pass = None;
        let after = self.cell_of(&flight).load.standing.retry_after_secs(flight.ask.random as u32);
        self.over(flight, End::Shed(shed(why)), Some(after));
    }

    fn admitted(&mut self, id: u64) {
        let Some(flight) = self.flights.get(id) else { return };
        let cell = self.cell_of(flight);
        let (at, replica) = (flight.cell, &mut self.replicas[flight.replica]);
        if replica.envelopes[at].is_over(self.now) {
            self.books.cells[at].over_envelope += 1;
        }
        if cell.protection.modes.of(Policy::Bulkhead) == Mode::Enforce {
            let most = bulkhead::most_of_cell(replica.process.most, cell.share_percent, cell.max_in_flight);
            let Some(of_cell) = cell.load.try_acquire(most) else {
                return self.turn_away(id, Shed::CellFull);
            };
            let Some(of_process) = replica.process.try_take() else {
                return self.turn_away(id, Shed::ProcessFull);
            };
            let flight = self.flights.get_mut(id).expect("it was there");
            flight.permits = Some([of_process, of_cell]);
        }
        self.send(id);
    }

    /// Tries endpoints until one has it, or it is over.
    fn send(&mut self, id: u64) {
        loop {
            let Some(mut flight) = self.flights.remove(id) else { return };
            let cell = self.cell_of(&flight);
            let replica = &mut self.replicas[flight.replica];
            replica.tickets += 1;
            let (place, attempt, permit) = match flight.enter(cell, replica.tickets, self.now) {
                Ok(found) => found,
                Err(Nowhere::Tried) => return self.over(flight, End::Failed, None),
                Err(Nowhere::Closed) => return self.refuse(flight, Shed::CellDown),
                Err(Nowhere::GroupFull) => return self.refuse(flight, Shed::GroupFull),
            };
            flight.tried.connections += 1;
            let Some(connection) = pick::endpoint(cell, place).connections.try_take() else {
                flight.passed_over.push(place);
                match self.may_go_again(&flight, Unanswered::NoConnection) {
                    true => {
                        self.flights.insert(id, flight);
                        continue;
                    }
                    false => return self.over(flight, End::Failed, None),
                }
            };
            flight.of_group = Some([permit, connection]);
            if !self.connect(id, flight, place, attempt) {
                return;
            }
        }
    }

    /// Whether it is to be tried once more, at once.
    fn connect(
        &mut self,
        id: u64,
        mut flight: Box<Flight<'a>>,
        place: pick::Place,
        attempt: Attempt<'a>,
    ) -> bool {
        let (now, cell) = (self.now, self.cell_of(&flight));
        let (group, endpoint) = position(cell, place);
        let fault = self.groups[flight.cell][group].faults[endpoint];
        let moved = flight.pass.is_some_and(|pass| pass.is_moved);
        self.books.cells[flight.cell].groups[group].count(now, moved);
        match fault {
            Some(Fault::Refuses) => {
                attempt.unconnected(Failure::Refused);
                self.flights.insert(id, flight);
                return self.unconnected(id, place);
            }
            Some(Fault::Silent) => {
                flight.go_on(Stage::Connecting(attempt, place));
                self.plan(
                    cell.timeouts.connect.min(self.setup.rules.patience),
                    Event::Timer(id, flight.turn),
                );
            }
            Some(Fault::Swallows) | None => {
                flight.tried.sends += 1;
                flight.go_on(Stage::Asked(attempt.asked(), now));
                let patience = cell.timeouts.response_head.min(self.setup.rules.patience);
                self.plan(patience, Event::Timer(id, flight.turn));
            }
        }
        let at = flight.cell;
        self.flights.insert(id, flight);
        if fault.is_none() {
            self.groups[at][group].model.arrive(now, id);
            self.hear(at, group);
        }
        false
    }

    /// There was no connection to an endpoint. Whether another is to be tried.
    fn unconnected(&mut self, id: u64, place: pick::Place) -> bool {
        let mut flight = self.flights.remove(id).expect("it was there");
        flight.passed_over.push(place);
        (flight.of_group, flight.ordinary) = (None, None);
        self.tell(&flight, Outcome::Failed, None);
        let again = self.may_go_again(&flight, Unanswered::NoConnection);
        if again {
            self.flights.insert(id, flight);
        } else {
            self.over(flight, End::Failed, None);
        }
        again
    }

    fn may_go_again(&self, flight: &Flight<'a>, unanswered: Unanswered) -> bool {
        let load = &self.cell_of(flight).load;
        let again = retry::again(unanswered, flight.tried, flight.client.repeatable, true);
        if again == Again::No || !load.standing.may_retry() {
            return false;
        }
        let now_secs = EPOCH_SECS + self.now.since(Moment::START).as_secs();
        again == Again::Free || retry::take(&load.retries, &self.replicas[flight.replica].retries, now_secs)
    }

    /// A group says how requests ended.
    pub(super) fn hear(&mut self, cell: usize, group: usize) {
        for (id, end) in self.groups[cell][group].model.finish(self.now) {
            self.answered(id, end);
        }
        let found = &mut self.groups[cell][group];
        let Some(due) = found.model.due() else { return };
        if found.planned.is_none_or(|planned| due < planned) {
            found.planned = Some(due);
            self.plan(due.since(self.now), Event::Group(cell, group));
        }
    }

    fn answered(&mut self, id: u64, end: ModelEnd) {
        // Who has left hears nothing.
        let Some(mut flight) = self.flights.remove(id) else { return };
        let Stage::Asked(asked, sent) = flight.go_on(Stage::Between) else {
            self.flights.insert(id, flight);
            return;
        };
        let first_byte = Some(self.now.since(sent));
        sample(asked.counters(), self.rng.f64());
        let load = &self.cell_of(&flight).load;
        match end {
            ModelEnd::Answered => {
                self.tell(&flight, Outcome::Served, first_byte);
                asked.answered(AttemptEnd::Answered, first_byte);
                load.retries.answered();
                self.replicas[flight.replica].retries.answered();
                self.over(flight, End::Served, None);
            }
            // A full queue answers 503 without a word of when to come again.
            ModelEnd::Refused => {
                self.tell(&flight, Outcome::of(AttemptEnd::Gateway), first_byte);
                asked.answered(AttemptEnd::Gateway, first_byte);
                load.retries.answered();
                self.over(flight, End::Failed, None);
            }
            ModelEnd::Error => {
                asked.broken(Failure::Reset);
                self.tell(&flight, Outcome::Failed, None);
                (flight.of_group, flight.ordinary) = (None, None);
                if !self.may_go_again(&flight, Unanswered::Lost) {
                    return self.over(flight, End::Failed, None);
                }
                self.flights.insert(id, flight);
                self.send(id);
            }
        }
    }

    pub(super) fn time_over(&mut self, id: u64, turn: u32) {
        if self.flights.get(id).is_none_or(|flight| flight.turn != turn) {
            return;
        }
        let mut flight = self.flights.remove(id).expect("it was there");
        let cell = self.cell_of(&flight);
        match flight.go_on(Stage::Between) {
            Stage::Between => {}
            Stage::Waiting(place) => {
                let is_gone = cell.load.standing.cancel(self.now, place);
                self.flights.insert(id, flight);
                if is_gone {
                    self.refused_waiting(id, Refused::Waited);
                }
            }
            Stage::Connecting(attempt, place) => {
                // Who leaves before the connection has failed says nothing of it.
                if cell.timeouts.connect > self.setup.rules.patience {
                    return self.over(flight, End::Failed, None);
                }
                attempt.unconnected(Failure::Unreachable);
                self.flights.insert(id, flight);
                if self.unconnected(id, place) {
                    self.send(id);
                }
            }
            Stage::Asked(asked, _) => {
                if cell.timeouts.response_head <= self.setup.rules.patience {
                    asked.broken(Failure::Timeout);
                    self.tell(&flight, Outcome::Failed, None);
                }
                self.over(flight, End::Failed, None);
            }
        }
    }

    fn tell(&self, flight: &Flight<'a>, outcome: Outcome, first_byte: Option<Duration>) {
        if let Some(pass) = &flight.pass {
            self.cell_of(flight).load.standing.tell(self.now, pass, &flight.ask, outcome, first_byte);
        }
    }

    fn turn_away(&mut self, id: u64, why: Shed) {
        if let Some(flight) = self.flights.remove(id) {
            self.refuse(flight, why);
        }
    }

    fn refuse(&mut self, flight: Box<Flight<'a>>, why: Shed) {
        let after = self.cell_of(&flight).load.standing.turn_away(flight.ask.random as u32);
        self.over(flight, End::Shed(why), Some(after));
    }

    /// A request is over: what it held is free, and its client may come again.
    fn over(&mut self, mut flight: Box<Flight<'a>>, end: End, retry_after_secs: Option<u32>) {
        let standing = &self.cell_of(&flight).load.standing;
        let held: [Option<[Permit; 2]>; 2] = [flight.of_group.take(), flight.permits.take()];
        drop((held, flight.ordinary.take()));
        if let Some(pass) = flight.pass.take() {
            standing.end(self.now, pass);
        }
        let (cell, mut client) = (flight.cell, flight.client);
        let counts = self.books.cells[cell].counts(flight.came, client.priority);
        let wait = match end {
            End::Served => {
                counts.served += 1;
                counts.new_served += u64::from(client.is_new);
                client.next(&mut self.rng)
            }
            End::Failed => {
                counts.failed += 1;
                client.again(None, &mut self.rng)
            }
            End::Shed(why) => {
                counts.shed[why as usize] += 1;
                client.again(retry_after_secs, &mut self.rng)
            }
        };
        if let Some(wait) = wait {
            self.plan(wait, Event::Again(cell, client));
        }
    }
}

/// What the kernel says of a connection over a network that is well. Without it an endpoint that answers would be one
/// of which nothing is heard.
fn sample(counters: &Counters, random: f64) {
    if counters.wants_sample() {
        let socket = |sent| Socket { rtt: ROUND_TRIP.mul_f64(0.9 + 0.2 * random), sent, again: 0 };
        counters.sample(socket(0), socket(SEGMENTS));
    }
}

/// The positions behind a place.
fn position(cell: &Cell, place: pick::Place) -> (usize, usize) {
    let (group, endpoint) = (pick::group(cell, place), pick::endpoint(cell, place));
    let found = cell.groups.iter().position(|other| std::ptr::eq(other, group));
    let within = group.endpoints.iter().position(|other| std::ptr::eq(other, endpoint));
    found.zip(within).expect("a place is one of its cell")
}
