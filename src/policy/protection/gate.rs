//! The gate of a cell: a permit, a place among those who wait, or a refusal. Nothing here knows what is asked for, or
//! how it is sent.
//!
//! With a free permit and nobody waiting, a request costs a handful of atomics and no lock. Only who has to wait, and
//! who ends while somebody waits, takes the lock of the queue. What waits is a payload of the caller; who is woken
//! has its permit already.

mod looks;
mod words;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::moment::Moment;
use super::fullness::{fullness, may_wait};
use super::priority::Priority;
use super::queue::Place;
use super::retry_after::{LEAST_SPREAD_SECS, retry_after_secs};
use super::shares::Shares;
use looks::{BASE_SECS, Line, Looked};

pub use words::{Answer, Asker, GateRules, NOBODY, Refused, Woken};

/// The gate.
#[derive(Debug)]
pub struct Gate<T> {
    rules: GateRules,
    total: AtomicU32,
    limit: AtomicU32,
    /// Ordinary requests that have a permit.
    in_flight: AtomicU32,
    in_flight_max: AtomicU32,
    long_lived: AtomicU32,
    queued: AtomicU32,
    queued_critical: AtomicU32,
    room: AtomicU32,
    shares: Shares,
    spread_secs: AtomicU32,
    ended: AtomicU64,
    refused: [AtomicU64; Refused::ALL.len()],
    /// Refused for other reasons than the gate's.
    turned_away: AtomicU64,
    /// How full the room was in the last seconds.
    usual_fullness: AtomicU32,
    line: Mutex<Line<T>>,
    looked: Mutex<Looked>,
}

/// Part of the limit that only the first class gets: a twentieth, which is about what heartbeats and callbacks are of
/// all requests.
const RESERVE_PARTS: u32 = 20;

/// What an account asks over its share gets no permit beyond five eighths of the limit: what is left is for the
/// others to come and go in without waiting.
const OVER_SHARE: (u32, u32) = (5, 8);

/// The last eighth is for groups that have no more than their part. It is more than what the first class alone gets, and
/// a cell that is well uses it rarely.
const FEW_PARTS: u32 = 8;

/// Nobody needs a longer queue: at 10,000 requests a second it is a tenth of a second.
const MOST_ROOM: u32 = 1_024;

/// With less room than four, chance alone refuses.
const LEAST_ROOM: u32 = 4;

impl<T> Gate<T> {
    /// Open.
    pub fn new(rules: GateRules) -> Self {
        let most = rules.declared.clamp(LEAST_ROOM, MOST_ROOM);
        Self {
            rules,
            total: AtomicU32::new(rules.total),
            limit: AtomicU32::new(rules.declared),
            in_flight: AtomicU32::new(0),
            in_flight_max: AtomicU32::new(0),
            long_lived: AtomicU32::new(0),
            queued: AtomicU32::new(0),
            queued_critical: AtomicU32::new(0),
            room: AtomicU32::new(most),
            shares: Shares::default(),
            spread_secs: AtomicU32::new(LEAST_SPREAD_SECS),
            ended: AtomicU64::new(0),
            refused: std::array::from_fn(|_| AtomicU64::new(0)),
            turned_away: AtomicU64::new(0),
            usual_fullness: AtomicU32::new(0),
            line: Mutex::new(Line::new(rules.queue, most)),
            looked: Mutex::new(Looked::default()),
        }
    }

    /// A request asks; `waiter` is only made if it has to wait. Somebody else may have to leave for it.
    pub fn ask(&self, now: Moment, who: Asker, waiter: impl FnOnce() -> T) -> (Answer, Option<T>) {
        // Two numbers out of one: which part of an account's requests are over its share, and the rank.
        let (upper, lower) = ((who.random >> 32) as u32, who.random as u32);
        let is_over = self.shares.count(who.account_hash, upper, who.priority) && is_one_account(&who);
        // Whoever asks that much goes before nobody.
        let priority = if is_over { who.priority.max(Priority::Interactive) } else { who.priority };
        let who = Asker { priority, ..who };
        let limit = match is_over {
            // Never none: an account that is alone with a cell of one permit is over its share, and over nobody's.
            true => (self.limit_of(who.priority) * OVER_SHARE.0 / OVER_SHARE.1).max(1),
            false => self.limit_of(who.priority),
        };
        if self.in_flight() + self.long_lived() >= self.total() {
            return (self.refuse(Refused::Total, who), None);
        }
        // Who comes takes no permit over the heads of those who wait.
        if self.ahead_of(who.priority) == 0 && self.take(limit) {
            return (Answer::Go, None);
        }
        if is_over {
            return (self.refuse(Refused::Share, who), None);
        }
        if !may_wait(who.priority, lower, self.fullness_for(who.priority)) {
            return (self.refuse(Refused::Priority, who), None);
        }
        self.wait(now, who, waiter())
    }

    /// Whether a request that asks is of the first class and is to go first: its account asks for no more of that than
    /// is its share. Counts nothing.
    pub fn goes_first(&self, who: &Asker) -> bool {
        let upper = (who.random >> 32) as u32;
        let is_over = || is_one_account(who) && self.shares.is_first_over(who.account_hash, upper);
        who.priority == Priority::Critical && !is_over()
    }

    /// A request that lives long asks: a tunnel, a stream, a long poll. It counts against the total, not against the
    /// limit. Given back with [`Gate::end_long_lived`].
    pub fn ask_long_lived(&self, who: Asker) -> Answer {
        // Count first, look second: two that race for the last one cannot both get it.
        let others = self.long_lived.fetch_add(1, Ordering::Relaxed);
        if others + self.in_flight() < self.total() {
            return Answer::Go;
        }
        self.long_lived.fetch_sub(1, Ordering::Relaxed);
        self.refuse(Refused::Total, who)
    }

    /// As many as this may be in flight together from now on.
    pub fn bound(&self, total: u32) {
        self.total.store(total, Ordering::Relaxed);
    }

    fn total(&self) -> u32 {
        self.total.load(Ordering::Relaxed)
    }

    /// A long-lived request ends.
    pub fn end_long_lived(&self) {
        self.long_lived.fetch_sub(1, Ordering::Relaxed);
    }

    /// A request with a permit ends: who waits gets it.
    pub fn end(&self, now: Moment) -> Woken<T> {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        let mut woken = Woken { go: Vec::new(), refused: Vec::new() };
        if self.queued.load(Ordering::SeqCst) > 0 {
            self.wake(now, &mut self.lock(), &mut woken);
        }
        woken
    }

    /// Somebody who waits has left. `None` if they wait no longer: then their payload has come out, or will.
    pub fn cancel(&self, now: Moment, place: Place) -> Option<T> {
        let mut line = self.lock();
        let waiter = line.queue.cancel(place);
        self.publish(now, &mut line);
        waiter
    }

    /// Ten times a second: who has waited too long leaves, and what is known of the last second is looked at. `limit`
    /// is what [`super::concurrency::Limit`] says.
    pub fn step(&self, now: Moment, limit: u32) -> Woken<T> {
        self.limit.store(limit, Ordering::SeqCst);
        self.look(now);
        let mut woken = Woken { go: Vec::new(), refused: Vec::new() };
        if self.queued.load(Ordering::SeqCst) > 0 {
            let mut line = self.lock();
            let shed = line.queue.sweep(now);
            self.count(Refused::Waited, shed.len());
            woken.refused.extend(shed.into_iter().map(|waiter| (waiter, Refused::Waited)));
            self.wake(now, &mut line, &mut woken);
        }
        woken
    }

    /// Whether so few permits are left that they are for groups that have no more than their part.
    pub fn has_few_left(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        self.in_flight() >= limit - limit / FEW_PARTS
    }

    /// Ordinary requests that have a permit.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The most of them since the last time this was asked.
    pub fn take_in_flight_max(&self) -> u32 {
        self.in_flight_max.swap(self.in_flight(), Ordering::Relaxed)
    }

    /// Long-lived requests.
    pub fn long_lived(&self) -> u32 {
        self.long_lived.load(Ordering::Relaxed)
    }

    /// How many wait.
    pub fn queued(&self) -> u32 {
        self.queued.load(Ordering::Relaxed)
    }

    /// How many there is room for.
    pub fn room(&self) -> u32 {
        self.room.load(Ordering::Relaxed)
    }

    /// Refused so far, for this reason.
    pub fn refused(&self, why: Refused) -> u64 {
        self.refused[why as usize].load(Ordering::Relaxed)
    }

    /// Somebody is refused, and not by the gate; what they are told.
    pub fn turn_away(&self, random: u32) -> u32 {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        self.retry_after_secs(random)
    }

    /// What somebody who is refused now is told.
    pub fn retry_after_secs(&self, random: u32) -> u32 {
        retry_after_secs(BASE_SECS, self.spread_secs.load(Ordering::Relaxed), random)
    }

    fn limit_of(&self, priority: Priority) -> u32 {
        let limit = self.limit.load(Ordering::Relaxed);
        match priority {
            Priority::Critical => limit,
            _ => limit - limit / RESERVE_PARTS,
        }
    }

    /// Those who go first. The first class waits for its own kind alone.
    fn ahead_of(&self, priority: Priority) -> u32 {
        match priority {
            Priority::Critical => self.queued_critical.load(Ordering::SeqCst),
            _ => self.queued.load(Ordering::SeqCst),
        }
    }

    /// As full as it is now, or was lately. Of now alone, it would let many of a low class in whenever few wait, and
    /// those of higher classes who come after them would make them wait until they are refused.
    fn fullness_for(&self, priority: Priority) -> u32 {
        let now = fullness(self.ahead_of(priority), self.room());
        match priority {
            Priority::Critical => now,
            _ => now.max(self.usual_fullness.load(Ordering::Relaxed)),
        }
    }

    fn take(&self, limit: u32) -> bool {
        // Not counted for a moment and taken back: whoever ends one meanwhile would find no room for those who wait.
        let take = |in_flight: u32| (in_flight < limit).then_some(in_flight + 1);
        let Ok(before) = self.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) else {
            return false;
        };
        // Mostly there is nothing to write, so cores do not fight over it.
        if before >= self.in_flight_max.load(Ordering::Relaxed) {
            self.in_flight_max.fetch_max(before + 1, Ordering::Relaxed);
        }
        true
    }

    fn wait(&self, now: Moment, who: Asker, waiter: T) -> (Answer, Option<T>) {
        let mut line = self.lock();
        // Counted before the second look at the permits: who ends one now sees that somebody waits.
        self.queued.fetch_add(1, Ordering::SeqCst);
        if line.is_first(who.priority) && self.take(self.limit_of(who.priority)) {
            self.publish(now, &mut line);
            return (Answer::Go, None);
        }
        let pushed = line.queue.push(now, (who.priority, who.account_hash), who.left, waiter);
        self.publish(now, &mut line);
        if pushed.dropped.is_some() {
            self.count(Refused::Full, 1);
        }
        match pushed.place {
            Some(place) => (Answer::Wait(place), pushed.dropped),
            None => {
                let retry_after_secs = self.retry_after_secs(who.random as u32);
                (Answer::Refused { why: Refused::Full, retry_after_secs }, None)
            }
        }
    }

    /// Gives what is free to those who wait.
    fn wake(&self, now: Moment, line: &mut Line<T>, woken: &mut Woken<T>) {
        let queue = &mut line.queue;
        while !queue.is_empty() {
            // The last twentieth is for the first class.
            let lowest = match self.take(self.limit_of(Priority::Bulk)) {
                true => Priority::Bulk,
                false
                    if queue.len_of(Priority::Critical) > 0
                        && self.take(self.limit_of(Priority::Critical)) =>
                {
                    Priority::Critical
                }
                false => break,
            };
            let popped = queue.pop(now, lowest);
            self.count(Refused::Waited, popped.shed.len());
            woken.refused.extend(popped.shed.into_iter().map(|waiter| (waiter, Refused::Waited)));
            match popped.next {
                Some((waiter, _)) => woken.go.push(waiter),
                None => drop(self.in_flight.fetch_sub(1, Ordering::SeqCst)),
            }
        }
        self.publish(now, line);
    }

    fn publish(&self, now: Moment, line: &mut Line<T>) {
        line.count(now);
        self.queued.store(line.len, Ordering::SeqCst);
        self.queued_critical.store(line.queue.len_of(Priority::Critical) as u32, Ordering::SeqCst);
    }

    fn refuse(&self, why: Refused, who: Asker) -> Answer {
        self.count(why, 1);
        Answer::Refused { why, retry_after_secs: self.retry_after_secs(who.random as u32) }
    }

    fn count(&self, why: Refused, many: usize) {
        self.refused[why as usize].fetch_add(many as u64, Ordering::Relaxed);
    }

    fn look(&self, now: Moment) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let long = now.since(looked.at);
        if long.is_zero() {
            return;
        }
        let by_gate: u64 = Refused::ALL.into_iter().map(|why| self.refused(why)).sum();
        let refused = by_gate + self.turned_away.load(Ordering::Relaxed);
        looked.count(now, self.ended.load(Ordering::Relaxed), refused);
        let most = self.limit.load(Ordering::Relaxed).clamp(LEAST_ROOM, MOST_ROOM);
        let room = looked.served_in(self.rules.room).clamp(LEAST_ROOM, most);
        self.room.store(room, Ordering::Relaxed);
        let waited = self.lock().take_mean_len(now, long);
        self.usual_fullness.store(looked.fill(waited, room), Ordering::Relaxed);
        self.spread_secs.store(looked.spread_secs(), Ordering::Relaxed);
        if looked.is_time_to_fade(now) {
            self.shares.fade(looked.served_rps());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line<T>> {
        // Nothing in the queue panics between two states; a request must not die of another's panic.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those of whom nobody knows whose they are, are one to [`Shares`]. Their heartbeats are of many.
fn is_one_account(who: &Asker) -> bool {
    who.account_hash != NOBODY || who.priority != Priority::Critical
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::START + std::time::Duration::from_millis(millis)
    }

    fn who(priority: Priority) -> Asker {
        Asker { priority, account_hash: 7, left: None, random: 0 }
    }

    fn ask(gate: &Gate<u32>, now: u64, priority: Priority, waiter: u32) -> Result<Option<Place>, Refused> {
        match gate.ask(at(now), who(priority), || waiter).0 {
            Answer::Go => Ok(None),
            Answer::Wait(place) => Ok(Some(place)),
            Answer::Refused { why, .. } => Err(why),
        }
    }

    fn ids(woken: Woken<u32>) -> (Vec<u32>, Vec<(u32, Refused)>) {
        (woken.go, woken.refused)
    }

    #[test]
    fn who_ends_wakes_who_waits_and_the_last_twentieth_is_for_the_first_class() {
        let gate = Gate::new(GateRules::of(20));
        (0..19).for_each(|waiter| assert_eq!(ask(&gate, 0, Priority::Interactive, waiter), Ok(None)));
        let place = ask(&gate, 1, Priority::Interactive, 19).unwrap().unwrap();
        assert!(ask(&gate, 1, Priority::Interactive, 20).unwrap().is_some());
        assert_eq!(ask(&gate, 1, Priority::Critical, 21), Ok(None), "past those who wait");
        assert!(ask(&gate, 1, Priority::Critical, 22).unwrap().is_some());
        assert_eq!((gate.in_flight(), gate.queued()), (20, 3));
        assert_eq!(gate.cancel(at(2), place), Some(19));
        assert_eq!(ids(gate.end(at(2))), (vec![22], vec![]));
        assert_eq!(ids(gate.end(at(2))), (vec![], vec![]), "19 are left of 20");
        assert_eq!(ids(gate.end(at(2))), (vec![20], vec![]));
        (0..19).for_each(|_| assert_eq!(ids(gate.end(at(3))), (vec![], vec![])));
        assert_eq!((gate.in_flight(), gate.queued(), gate.take_in_flight_max()), (0, 0, 20));
    }

    #[test]
    fn each_refusal_has_its_reason_and_its_count() {
        let gate = Gate::new(GateRules { total: 12, ..GateRules::of(10) });
        let tunnel = gate.ask_long_lived(who(Priority::Bulk));
        assert_eq!(
            (tunnel, gate.long_lived(), gate.in_flight()),
            (Answer::Go, 1, 0),
            "no matter of the limit"
        );
        (0..10).for_each(|waiter| assert_eq!(ask(&gate, 0, Priority::Api, waiter), Ok(None)));
        // Ten have room: with five of them the lowest class is half refused, its last rank is among those.
        (0..6).for_each(|waiter| assert!(ask(&gate, 1, Priority::Interactive, waiter).unwrap().is_some()));
        let last = Asker { random: 127, ..who(Priority::Bulk) };
        let (answer, _) = gate.ask(at(1), last, || 99);
        assert!(
            matches!(answer, Answer::Refused { why: Refused::Priority, retry_after_secs: 1.. }),
            "{answer:?}"
        );
        assert_eq!(gate.ask_long_lived(last), Answer::Go);
        assert_eq!(ask(&gate, 1, Priority::Critical, 9), Err(Refused::Total), "12 of 12");
        gate.end_long_lived();
        let (go, refused) = ids(gate.step(at(101), 10));
        assert_eq!((go.len(), refused.len()), (0, 6), "all have waited too long");
        let counts = Refused::ALL.map(|why| gate.refused(why));
        assert_eq!(counts, [0, 1, 0, 6, 1], "{:?}", Refused::ALL);
    }

    #[test]
    fn an_account_over_its_share_leaves_room_for_the_others_and_has_some_itself() {
        for (limit, most) in [(1, 1), (2, 1), (8, 5), (16, 10)] {
            let gate = Gate::new(GateRules::of(limit));
            let over = Asker { random: u64::MAX, ..who(Priority::Interactive) };
            // One that was quiet, and then asks for much more than that.
            let count = || gate.shares.count(over.account_hash, 0, over.priority);
            count();
            gate.shares.fade(0.0);
            for _ in 0..100 {
                count();
            }
            let went = (0..limit).filter(|_| gate.ask(at(0), over, || 0).0 == Answer::Go).count();
            assert_eq!(went, most, "of {limit}");
        }
    }

    #[test]
    fn who_is_turned_away_for_long_is_told_to_stay_away_for_long() {
        let gate: Gate<u32> = Gate::new(GateRules::of(10));
        let latest = |gate: &Gate<u32>| gate.turn_away(u32::MAX);
        // Seconds since the cell went, and the latest that somebody is told to come.
        for (second, expect) in (0..).zip([2, 2, 2, 2, 2, 3, 3, 4, 4, 5]) {
            for tenth in 0..10 {
                (0..10).for_each(|_| _ = latest(&gate));
                let _ = gate.step(at(second * 1_000 + tenth * 100 + 100), 10);
            }
            assert!(latest(&gate).abs_diff(expect) <= 1, "{} after {second} s", latest(&gate));
        }
        // It serves all who ask again.
        for tenth in 0..20 {
            for waiter in 0..10 {
                assert_eq!(ask(&gate, 10_000 + tenth * 100, Priority::Critical, waiter), Ok(None));
                let _ = gate.end(at(10_000 + tenth * 100));
            }
            let _ = gate.step(at(10_100 + tenth * 100), 10);
        }
        assert!(latest(&gate) <= 2, "{}", latest(&gate));
    }

    #[test]
    fn a_limit_that_grows_wakes_and_one_that_shrinks_lets_nobody_in() {
        let gate = Gate::new(GateRules::of(10));
        let _ = gate.step(at(0), 4);
        (0..4).for_each(|waiter| assert_eq!(ask(&gate, 1, Priority::Api, waiter), Ok(None)));
        (4..7).for_each(|waiter| assert!(ask(&gate, 1, Priority::Api, waiter).unwrap().is_some()));
        assert_eq!(ids(gate.step(at(2), 6)).0, [4, 5]);
        let _ = gate.step(at(3), 4);
        assert_eq!((ids(gate.end(at(4))).0, gate.in_flight()), (vec![], 5));
        assert_eq!((ids(gate.end(at(4))).0, gate.in_flight()), (vec![], 4));
        assert_eq!((ids(gate.end(at(4))).0, gate.in_flight()), (vec![6], 4));
    }

    #[test]
    fn threads_lose_no_permit_and_forget_nobody_who_waits() {
        let gate = Gate::new(GateRules::of(4));
        let (served, refused) = (AtomicU32::new(0), AtomicU32::new(0));
        let end = || {
            let mut running = 1_u32;
            while running > 0 {
                let woken = gate.end(at(1));
                served.fetch_add(1, Ordering::Relaxed);
                running = running - 1 + woken.go.len() as u32;
                refused.fetch_add(woken.refused.len() as u32, Ordering::Relaxed);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..20_000 {
                        let priority = Priority::ALL[number % 4];
                        let lost = match gate.ask(at(1), who(priority), || ()) {
                            (Answer::Go, _) => {
                                end();
                                0
                            }
                            (Answer::Wait(_), dropped) => u32::from(dropped.is_some()),
                            (Answer::Refused { .. }, _) => 1,
                        };
                        refused.fetch_add(lost, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!((gate.in_flight(), gate.queued()), (0, 0));
        let (served, refused) = (served.into_inner(), refused.into_inner());
        assert_eq!(served + refused, 80_000);
        assert!(served > 40_000, "{served}");
    }
}
