//! A gate that only observes: who would be refused goes on, and who would wait goes at once; the counters are those
//! of a gate that enforces.
//!
//! For that, a request that would have waited gives its permit back so much later than it ends, and one that would have
//! been refused never has one. Ends that are still to come are kept in order and done when time has passed them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::moment::Moment;
use super::gate::{Answer, Asker, Gate, GateRules, Refused, Woken};

/// The gate, and what would have been.
#[derive(Debug)]
pub struct ObservedGate {
    gate: Gate<Waiter>,
    next: AtomicU64,
    /// Ends that are still to come; without any, who does not wait takes no lock.
    to_come: AtomicUsize,
    shadow: Mutex<Shadow>,
}

/// What a request has that went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "its end is told with it"]
pub struct Observation {
    id: u64,
    asked: Moment,
    kind: Kind,
}

/// What would have become of a request that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It would end then: what it shows of the cell counts for that time.
    Served(Moment),
    /// It would have been refused, and what it shows counts for nothing.
    Refused(Refused),
    /// It would still wait. If it is refused in the end, [`ObservedGate::step`] says so.
    Unknown,
}

/// Which request it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObservationId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Went,
    Waits,
    Refused(Refused),
}

/// What waits in the gate in the place of a request that went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    id: u64,
    asked: Moment,
}

/// At most as many as may wait and have a permit.
#[derive(Debug, Default)]
struct Shadow {
    waiting: HashMap<u64, Waiting>,
    ends: BinaryHeap<Reverse<Moment>>,
    /// Since the last step: at most as many as waited.
    late: Vec<(ObservationId, Refused)>,
}

/// A request that went on and would have waited.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    /// Its turn has not come.
    Waits,
    /// The same, and it has ended after so long.
    Ended(Duration),
    /// It would have waited so long.
    Went(Duration),
    /// It would have been refused in the end.
    Refused(Refused),
}

impl Observation {
    /// To know it again in what [`ObservedGate::step`] gives.
    pub fn id(&self) -> ObservationId {
        ObservationId(self.id)
    }

    /// Whether it is known that the request would have been refused: what it shows of the cell counts for nothing then.
    pub fn is_refused(&self) -> bool {
        matches!(self.kind, Kind::Refused(_))
    }
}

impl ObservedGate {
    /// As a [`Gate`] of these rules.
    pub fn new(rules: GateRules) -> Self {
        Self {
            gate: Gate::new(rules),
            next: AtomicU64::new(0),
            to_come: AtomicUsize::new(0),
            shadow: Mutex::new(Shadow::default()),
        }
    }

    /// A request asks, and goes on in any case.
    pub fn ask(&self, now: Moment, who: Asker) -> Observation {
        self.pass(now);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, dropped) = self.gate.ask(now, who, || Waiter { id, asked: now });
        let kind = match answer {
            Answer::Go => Kind::Went,
            Answer::Wait(_) => Kind::Waits,
            Answer::Refused { why, .. } => Kind::Refused(why),
        };
        if kind == Kind::Waits || dropped.is_some() {
            let mut shadow = self.lock();
            if kind == Kind::Waits {
                // Another thread may have woken it already.
                shadow.waiting.entry(id).or_insert(Waiting::Waits);
            }
            if let Some(dropped) = dropped {
                shadow.refuse(dropped.id, Refused::Full);
            }
            self.publish(&shadow);
        }
        Observation { id, asked: now, kind }
    }

    /// A request ends.
    pub fn end(&self, now: Moment, observation: Observation) -> Ended {
        self.pass(now);
        match observation.kind {
            Kind::Refused(why) => Ended::Refused(why),
            Kind::Went => {
                self.wake(now, self.gate.end(now));
                Ended::Served(now)
            }
            Kind::Waits => {
                let mut shadow = self.lock();
                let ended = shadow.end(now, observation);
                self.publish(&shadow);
                ended
            }
        }
    }

    /// As [`Gate::step`]. Gives those that had ended before it was known that they would have been refused.
    pub fn step(&self, now: Moment, limit: u32) -> Vec<(ObservationId, Refused)> {
        self.pass(now);
        self.wake(now, self.gate.step(now, limit));
        std::mem::take(&mut self.lock().late)
    }

    /// How many would have been refused so far, for this reason.
    pub fn would_have_refused(&self, why: Refused) -> u64 {
        self.gate.refused(why)
    }

    /// The counters.
    pub fn gate(&self) -> &Gate<Waiter> {
        &self.gate
    }

    /// Does what would have ended by now, each at its time.
    fn pass(&self, now: Moment) {
        if self.to_come.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut shadow = self.lock();
        while let Some(at) = shadow.next_end(now) {
            let woken = self.gate.end(at);
            shadow.wake(at, woken);
        }
        self.publish(&shadow);
    }

    /// Without the lock if nobody was woken.
    fn wake(&self, now: Moment, woken: Woken<Waiter>) {
        if !woken.go.is_empty() || !woken.refused.is_empty() {
            let mut shadow = self.lock();
            shadow.wake(now, woken);
            self.publish(&shadow);
        }
    }

    fn publish(&self, shadow: &Shadow) {
        self.to_come.store(shadow.ends.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Shadow> {
        self.shadow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shadow {
    fn next_end(&mut self, now: Moment) -> Option<Moment> {
        let Reverse(at) = *self.ends.peek()?;
        if at > now {
            return None;
        }
        self.ends.pop();
        Some(at)
    }

    fn wake(&mut self, now: Moment, woken: Woken<Waiter>) {
        woken.go.into_iter().for_each(|waiter| self.go(now, waiter));
        woken.refused.into_iter().for_each(|(waiter, why)| self.refuse(waiter.id, why));
    }

    /// It has a permit now.
    fn go(&mut self, now: Moment, waiter: Waiter) {
        match self.waiting.get(&waiter.id) {
            Some(Waiting::Ended(took)) => {
                self.ends.push(Reverse(now + *took));
                self.waiting.remove(&waiter.id);
            }
            _ => drop(self.waiting.insert(waiter.id, Waiting::Went(now.since(waiter.asked)))),
        }
    }

    fn refuse(&mut self, id: u64, why: Refused) {
        match self.waiting.get(&id) {
            Some(Waiting::Ended(_)) => {
                self.waiting.remove(&id);
                self.late.push((ObservationId(id), why));
            }
            _ => drop(self.waiting.insert(id, Waiting::Refused(why))),
        }
    }

    fn end(&mut self, now: Moment, observation: Observation) -> Ended {
        match self.waiting.remove(&observation.id) {
            Some(Waiting::Went(waited)) => {
                self.ends.push(Reverse(now + waited));
                Ended::Served(now + waited)
            }
            Some(Waiting::Refused(why)) => Ended::Refused(why),
            _ => {
                let took = now.since(observation.asked);
                self.waiting.insert(observation.id, Waiting::Ended(took));
                Ended::Unknown
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::priority::Priority;
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::START + Duration::from_millis(millis)
    }

    fn who(priority: Priority) -> Asker {
        Asker { priority, account_hash: 1, left: None, random: 0 }
    }

    #[test]
    fn who_would_wait_gives_its_permit_back_later_and_who_would_be_refused_has_none() {
        // One permit, and a queue of four.
        let gate = ObservedGate::new(GateRules::of(1));
        let first = gate.ask(at(0), who(Priority::Api));
        let second = gate.ask(at(5), who(Priority::Api));
        let short = gate.ask(at(6), who(Priority::Api));
        assert_eq!((gate.gate().in_flight(), gate.gate().queued()), (1, 2));
        // It ends while it would still wait, after two.
        assert_eq!(gate.end(at(8), short), Ended::Unknown);
        assert_eq!(gate.end(at(10), first), Ended::Served(at(10)));
        assert_eq!((gate.gate().in_flight(), gate.gate().queued()), (1, 1), "the second goes at 10");
        assert_eq!(gate.end(at(15), second), Ended::Served(at(20)));
        for (now, in_flight, queued, why) in [
            (19, 1, 1, "the second has waited 5, and ends 5 later than it does"),
            (21, 1, 0, "the short one goes at 20"),
            (22, 0, 0, "and has its permit for two"),
        ] {
            gate.step(at(now), 1);
            assert_eq!((gate.gate().in_flight(), gate.gate().queued()), (in_flight, queued), "{now}: {why}");
        }
        // Five more: one goes, four wait, and the bulk among them gives way.
        let asked: Vec<_> =
            [Priority::Api; 5].iter().map(|priority| gate.ask(at(30), who(*priority))).collect();
        let refused = gate.ask(at(30), who(Priority::Bulk));
        assert_eq!(gate.would_have_refused(Refused::Priority), 1);
        assert_eq!(gate.end(at(31), refused), Ended::Refused(Refused::Priority));
        assert_eq!(gate.gate().in_flight(), 1, "it gives no permit back");
        assert_eq!(gate.end(at(31), asked[3]), Ended::Unknown);
        assert_eq!(gate.step(at(200), 1), [(asked[3].id(), Refused::Waited)], "nobody knew when it ended");
        assert_eq!(gate.end(at(201), asked[4]), Ended::Refused(Refused::Waited));
        assert_eq!(gate.would_have_refused(Refused::Waited), 4);
    }
}
