//! A gate that only observes: who would be refused goes on, and who would wait goes at once; the counters are those
//! of a gate that enforces, and so is what is learned from outcomes.
//!
//! For that, a request that would have waited gives its permit back so much later than it ends, and what became of it is
//! told so much later; one that would have been refused never has a permit, and tells nothing. What is still to come
//! is kept in order and done when time has passed it. So on the same trace, with the same times in the cell, both gates
//! do the same, and a limit that learns from either moves alike. What a cell would have done with less to do, nobody knows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::ids::AccountId;
use super::super::moment::Moment;
use super::gate::{Answer, Asker, Gate, GateRules, Refused, Woken};
use super::outcomes::{Came, Outcomes};
use super::queue::{PATIENCE, Place};
use super::standing::Outcome;

/// The gate, and what would have been.
#[derive(Debug)]
pub struct ObservedGate {
    gate: Gate<Waiter>,
    /// What became of those who would have gone, as of when they would have.
    outcomes: Outcomes,
    next: AtomicU64,
    /// When the next of what is to come is due, in nanoseconds; until then who does not wait takes no lock.
    due: AtomicU64,
    /// Refused although the gate has no word for it: no queue, or none who waits any longer.
    refused: [AtomicU64; Refused::ALL.len()],
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

/// What became of a request at the cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// How it ended.
    pub outcome: Outcome,
    /// Whose it was, where that is known.
    pub account: Option<AccountId>,
    /// How long its answer took to begin, where that says something of the cell.
    pub first_byte: Option<Duration>,
}

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
    /// What is told when its time has come. Two at the same time are told apart by a number.
    telling: BTreeMap<(Moment, u64), Told>,
    numbered: u64,
    /// Who has waited for as long as anybody does by then, in order.
    patience: VecDeque<(Moment, u64, Place)>,
    /// Since the last step: at most as many as waited.
    late: Vec<(ObservationId, Refused)>,
}

/// A request that went on and would have waited.
#[derive(Debug, Default)]
struct Waiting {
    so_far: SoFar,
    /// It has ended after so long.
    took: Option<Duration>,
    /// What became of it after so long, while it would still have waited. More than one where it was sent again.
    told: Vec<(Duration, Told)>,
}

#[derive(Clone, Copy, Debug, Default)]
enum SoFar {
    /// Its turn has not come.
    #[default]
    Waits,
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

    /// Whether it is known that the request would have been refused.
    pub fn is_refused(&self) -> bool {
        matches!(self.kind, Kind::Refused(_))
    }

    /// Whether it would have had to wait at first.
    pub fn waits(&self) -> bool {
        self.kind == Kind::Waits
    }
}

impl ObservedGate {
    /// As a [`Gate`] of these rules.
    pub fn new(rules: GateRules) -> Self {
        Self {
            gate: Gate::new(rules),
            outcomes: Outcomes::default(),
            next: AtomicU64::new(0),
            due: AtomicU64::new(u64::MAX),
            refused: [const { AtomicU64::new(0) }; Refused::ALL.len()],
            shadow: Mutex::new(Shadow::default()),
        }
    }

    /// A request asks, and goes on in any case. Without a queue, who would have to wait would be refused.
    pub fn ask(&self, now: Moment, who: Asker, has_queue: bool) -> Observation {
        self.pass(now);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, dropped) = self.gate.ask(now, who, || Waiter { id, asked: now });
        let kind = match answer {
            Answer::Go => Kind::Went,
            Answer::Wait(place) if has_queue || self.gate.cancel(now, place).is_none() => {
                let mut shadow = self.lock();
                // Another thread may have woken it already.
                shadow.waiting.entry(id).or_default();
                shadow.patience.push_back((now + PATIENCE, id, place));
                self.publish(&shadow);
                Kind::Waits
            }
            Answer::Wait(_) => {
                self.refused[Refused::Full as usize].fetch_add(1, Ordering::Relaxed);
                Kind::Refused(Refused::Full)
            }
            Answer::Refused { why, .. } => Kind::Refused(why),
        };
        if let Some(dropped) = dropped {
            self.lock().refuse(dropped.id, Refused::Full);
        }
        Observation { id, asked: now, kind }
    }

    /// As [`Gate::ask_long_lived`]: whether it would have gone. Given back with [`Gate::end_long_lived`].
    pub fn ask_long_lived(&self, now: Moment, who: Asker) -> bool {
        self.pass(now);
        self.gate.ask_long_lived(who) == Answer::Go
    }

    /// What became of a request; of one without an observation at once.
    pub fn tell(&self, now: Moment, observation: Option<&Observation>, told: Told) {
        match observation.map(|observation| (observation.kind, observation)) {
            Some((Kind::Refused(_), _)) => {}
            Some((Kind::Waits, observation)) => {
                self.pass(now);
                let mut shadow = self.lock();
                shadow.tell(now, observation, told);
                self.publish(&shadow);
            }
            Some((Kind::Went, _)) | None => self.count(told),
        }
    }

    /// What was told since the last time.
    pub(super) fn take_outcomes(&self, now: Moment) -> Came {
        self.pass(now);
        self.outcomes.take()
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
        self.gate.refused(why) + self.refused[why as usize].load(Ordering::Relaxed)
    }

    /// The counters.
    pub fn gate(&self) -> &Gate<Waiter> {
        &self.gate
    }

    /// Does what would have come about by now, each at its time.
    fn pass(&self, now: Moment) {
        if self.due.load(Ordering::Acquire) > now.nanos() {
            return;
        }
        let mut shadow = self.lock();
        while let Some((at, next)) = shadow.next(now) {
            match next {
                Next::End => {
                    let woken = self.gate.end(at);
                    shadow.wake(at, woken);
                }
                Next::Patience(id, place) if self.gate.cancel(at, place).is_some() => {
                    self.refused[Refused::Waited as usize].fetch_add(1, Ordering::Relaxed);
                    shadow.refuse(id, Refused::Waited);
                }
                Next::Patience(..) => {}
            }
        }
        while let Some(next) = shadow.telling.first_entry().filter(|next| next.key().0 <= now) {
            self.count(next.remove());
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

    fn count(&self, told: Told) {
        self.outcomes.count(told.outcome, told.account, told.first_byte);
    }

    fn publish(&self, shadow: &Shadow) {
        self.due.store(shadow.due().map_or(u64::MAX, Moment::nanos), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Shadow> {
        self.shadow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is next.
enum Next {
    End,
    Patience(u64, Place),
}

impl Shadow {
    fn due(&self) -> Option<Moment> {
        let end = self.ends.peek().map(|Reverse(at)| *at);
        let patience = self.patience.front().map(|(at, ..)| *at);
        let told = self.telling.keys().next().map(|(at, _)| *at);
        [end, patience, told].into_iter().flatten().min()
    }

    fn next(&mut self, now: Moment) -> Option<(Moment, Next)> {
        let end = self.ends.peek().map(|Reverse(at)| *at).filter(|at| *at <= now);
        let patience = self.patience.front().copied().filter(|(at, ..)| *at <= now);
        match (end, patience) {
            (end, Some((at, id, place))) if end.is_none_or(|end| at < end) => {
                self.patience.pop_front();
                Some((at, Next::Patience(id, place)))
            }
            (Some(at), _) => {
                self.ends.pop();
                Some((at, Next::End))
            }
            (None, _) => None,
        }
    }

    fn wake(&mut self, now: Moment, woken: Woken<Waiter>) {
        woken.go.into_iter().for_each(|waiter| self.go(now, waiter));
        woken.refused.into_iter().for_each(|(waiter, why)| self.refuse(waiter.id, why));
    }

    /// It has a permit now.
    fn go(&mut self, now: Moment, waiter: Waiter) {
        let waiting = self.waiting.entry(waiter.id).or_default();
        waiting.so_far = SoFar::Went(now.since(waiter.asked));
        let (told, took) = (std::mem::take(&mut waiting.told), waiting.took);
        for (after, told) in told {
            self.tell_at(now + after, told);
        }
        if let Some(took) = took {
            self.ends.push(Reverse(now + took));
            self.waiting.remove(&waiter.id);
        }
    }

    fn refuse(&mut self, id: u64, why: Refused) {
        let waiting = self.waiting.entry(id).or_default();
        waiting.so_far = SoFar::Refused(why);
        if waiting.took.is_some() {
            self.waiting.remove(&id);
            self.late.push((ObservationId(id), why));
        }
    }

    fn tell(&mut self, now: Moment, observation: &Observation, told: Told) {
        let Some(waiting) = self.waiting.get_mut(&observation.id) else { return };
        match waiting.so_far {
            SoFar::Waits => waiting.told.push((now.since(observation.asked), told)),
            SoFar::Went(waited) => self.tell_at(now + waited, told),
            SoFar::Refused(_) => {}
        }
    }

    fn tell_at(&mut self, at: Moment, told: Told) {
        self.numbered += 1;
        self.telling.insert((at, self.numbered), told);
    }

    fn end(&mut self, now: Moment, observation: Observation) -> Ended {
        let waiting = self.waiting.entry(observation.id).or_default();
        let ended = match waiting.so_far {
            SoFar::Went(waited) => {
                self.ends.push(Reverse(now + waited));
                Ended::Served(now + waited)
            }
            SoFar::Refused(why) => Ended::Refused(why),
            SoFar::Waits => {
                waiting.took = Some(now.since(observation.asked));
                return Ended::Unknown;
            }
        };
        self.waiting.remove(&observation.id);
        ended
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
        let first = gate.ask(at(0), who(Priority::Api), true);
        let second = gate.ask(at(5), who(Priority::Api), true);
        let short = gate.ask(at(6), who(Priority::Api), true);
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
            [Priority::Api; 5].iter().map(|priority| gate.ask(at(30), who(*priority), true)).collect();
        let refused = gate.ask(at(30), who(Priority::Bulk), true);
        assert_eq!(gate.would_have_refused(Refused::Priority), 1);
        assert_eq!(gate.end(at(31), refused), Ended::Refused(Refused::Priority));
        assert_eq!(gate.gate().in_flight(), 1, "it gives no permit back");
        assert_eq!(gate.end(at(31), asked[3]), Ended::Unknown);
        assert_eq!(gate.step(at(200), 1), [(asked[3].id(), Refused::Waited)], "nobody knew when it ended");
        assert_eq!(gate.end(at(201), asked[4]), Ended::Refused(Refused::Waited));
        assert_eq!(gate.would_have_refused(Refused::Waited), 4);
    }

    fn told(millis: u64) -> Told {
        let first_byte = Some(Duration::from_millis(millis));
        Told { outcome: Outcome::Served, account: None, first_byte }
    }

    #[test]
    fn what_becomes_of_a_request_is_told_as_much_later_as_it_would_have_waited() {
        let gate = ObservedGate::new(GateRules::of(1));
        let first = gate.ask(at(0), who(Priority::Api), true);
        let second = gate.ask(at(2), who(Priority::Api), true);
        let third = gate.ask(at(3), who(Priority::Api), true);
        let served = |now| gate.take_outcomes(at(now)).served;
        gate.tell(at(5), Some(&third), told(2));
        gate.tell(at(10), Some(&first), told(10));
        assert_eq!(served(10), 1, "who would have gone is told at once, and who would still wait is not");
        assert_eq!(gate.end(at(10), first), Ended::Served(at(10)));
        gate.tell(at(14), Some(&second), told(12));
        assert_eq!(gate.end(at(15), second), Ended::Served(at(23)));
        assert_eq!(gate.end(at(15), third), Ended::Unknown);
        assert_eq!((served(21), served(22)), (0, 1), "the second has waited 8");
        assert_eq!((served(24), served(25)), (0, 1), "the third would go at 23, and be told of 2 later");
        // One that would have been refused tells nothing.
        let holds = gate.ask(at(100), who(Priority::Api), true);
        let waits = gate.ask(at(100), who(Priority::Api), true);
        gate.tell(at(150), Some(&waits), told(50));
        gate.step(at(199), 1);
        assert_eq!((gate.gate().queued(), gate.would_have_refused(Refused::Waited)), (1, 0));
        let refused = gate.ask(at(201), who(Priority::Api), false);
        assert_eq!(
            gate.would_have_refused(Refused::Waited),
            1,
            "nobody waits longer than 100 ms, at whatever look"
        );
        assert_eq!((served(300), gate.end(at(300), waits)), (0, Ended::Refused(Refused::Waited)));
        assert_eq!(gate.end(at(300), refused), Ended::Refused(Refused::Full), "without a queue nobody waits");
        assert_eq!(gate.would_have_refused(Refused::Full), 1);
        assert_eq!(gate.end(at(301), holds), Ended::Served(at(301)));
    }
}
