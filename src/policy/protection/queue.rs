//! Those who wait for a permit: few, for a short time, and by account. What waits is the caller's; nothing here wakes
//! anybody.
//!
//! By class, though nobody who was let in starves; inside a class, accounts are dealt to shards (shuffle sharding, as
//! in Kubernetes' priority and fairness), and shards take turns. While a class is overloaded (CoDel, in the form of
//! folly's `Codel.cpp`) the last who came is the first to go, for the first has mostly given up (adaptive LIFO, "Fail
//! at Scale", ACM Queue 2015).

use std::time::Duration;

use super::super::moment::Moment;
use super::priority::Priority;

/// Shards of a class, a bit each of a word.
const SHARDS: usize = 64;

/// Shards that an account may use, the shortest of them each time: two accounts share all four once in 600,000.
const HAND: u32 = 4;

const CLASSES: usize = Priority::ALL.len();

/// No slot.
const NONE: u32 = u32::MAX;

/// How long anybody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueRules {
    /// A class whose shortest wait of an interval was longer is overloaded. 5 ms in CoDel and folly, which are about a
    /// hop between threads; the way to a cell is longer.
    pub target: Duration,
    /// See there (RFC 8289: about the longest round trip).
    pub interval: Duration,
    /// Nobody waits longer, whatever the deadline: a person notices 100 ms.
    pub max_wait: Duration,
}

impl Default for QueueRules {
    fn default() -> Self {
        let millis = Duration::from_millis;
        Self { target: millis(15), interval: millis(100), max_wait: millis(100) }
    }
}

/// The longest wait for a permit. The queue's own rules are stricter; this ends what they do not see in time, since it is
/// swept ten times a second. Who waits in it, and who would, give up after it.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// Part of what is left until the deadline that may be spent on waiting: the rest is for the answer.
const DEADLINE_PARTS: u32 = 4;

/// Where somebody waits. Worthless once they do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    slot: u32,
    turn: u32,
}

/// What came out.
#[derive(Debug)]
pub struct Popped<T> {
    /// Whose turn it is.
    pub next: Option<(T, Priority)>,
    /// Who has waited too long, and is to be refused.
    pub shed: Vec<T>,
}

/// What became of somebody who came.
#[derive(Debug)]
pub struct Pushed<T> {
    /// Where they wait; who has no place is among those who were dropped.
    pub place: Option<Place>,
    /// Who is to be refused because nobody more can wait: who came, or somebody of a lower class or of an account with
    /// more that wait.
    pub dropped: Option<T>,
}

/// The queue. All of its memory is taken when it is made.
#[derive(Debug)]
pub struct Queue<T> {
    rules: QueueRules,
    slots: Vec<Slot<T>>,
    free: u32,
    classes: [Class; CLASSES],
    len: usize,
    most: usize,
}

#[derive(Debug)]
struct Slot<T> {
    waiter: Option<T>,
    turn: u32,
    since: Moment,
    until: Moment,
    class: u8,
    shard: u8,
    before: u32,
    after: u32,
}

#[derive(Clone, Debug)]
struct Class {
    shards: [Shard; SHARDS],
    /// Shards in which somebody waits.
    used: u64,
    /// Whose turn it was.
    last: u32,
    len: usize,
    shortest: Duration,
    interval_ends: Moment,
    overloaded: bool,
}

#[derive(Clone, Copy, Debug)]
struct Shard {
    first: u32,
    last: u32,
    len: u32,
}

impl<T> Queue<T> {
    /// For so many at most.
    pub fn new(rules: QueueRules, most: usize) -> Self {
        let shard = Shard { first: NONE, last: NONE, len: 0 };
        let class = Class {
            shards: [shard; SHARDS],
            used: 0,
            last: 0,
            len: 0,
            shortest: Duration::MAX,
            interval_ends: Moment::START,
            overloaded: false,
        };
        let classes = std::array::from_fn(|_| class.clone());
        let mut queue = Self { rules, slots: Vec::with_capacity(most), free: NONE, classes, len: 0, most };
        for slot in (0..u32::try_from(most).unwrap_or(NONE)).rev() {
            let before = queue.free;
            queue.free = slot;
            queue.slots.push(Slot {
                waiter: None,
                turn: 0,
                since: Moment::START,
                until: Moment::START,
                class: 0,
                shard: 0,
                before: NONE,
                after: before,
            });
        }
        // They were made from the last to the first.
        queue.slots.reverse();
        queue
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody does.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many of a class wait.
    pub fn len_of(&self, priority: Priority) -> usize {
        self.classes[priority as usize].len
    }

    /// Whether a class is overloaded.
    pub fn is_overloaded(&self, priority: Priority) -> bool {
        self.classes[priority as usize].overloaded
    }

    /// Somebody comes, who has `left` until their deadline.
    pub fn push(
        &mut self,
        now: Moment,
        who: (Priority, u64),
        left: Option<Duration>,
        waiter: T,
    ) -> Pushed<T> {
        let (priority, account_hash) = who;
        let class = priority as usize;
        let shard = self.shortest_of_hand(class, account_hash);
        let mut dropped = None;
        if self.len >= self.most {
            match self.gives_way_to(class, shard) {
                Some(slot) => dropped = self.take(slot),
                None => return Pushed { place: None, dropped: Some(waiter) },
            }
        }
        let place = self.append(now, class, shard, left, waiter);
        Pushed { place: Some(place), dropped }
    }

    /// Whose turn it is, among classes down to `lowest`.
    pub fn pop(&mut self, now: Moment, lowest: Priority) -> Popped<T> {
        let mut shed = Vec::new();
        while let Some((priority, slot)) = self.turn(now, lowest) {
            let waited = now.since(self.slots[slot as usize].since);
            self.measure(now, priority as usize, waited);
            let too_long = self.is_too_long(now, slot);
            self.classes[priority as usize].last = u32::from(self.slots[slot as usize].shard);
            let waiter = self.take(slot);
            match too_long {
                true => shed.extend(waiter),
                false => return Popped { next: waiter.map(|waiter| (waiter, priority)), shed },
            }
        }
        Popped { next: None, shed }
    }

    /// Takes out who has waited too long, of all; looks at the oldest of each shard, so it is for a timer.
    pub fn sweep(&mut self, now: Moment) -> Vec<T> {
        let mut shed = Vec::new();
        for class in 0..CLASSES {
            for shard in 0..SHARDS {
                loop {
                    let slot = self.classes[class].shards[shard].first;
                    if slot == NONE || !self.is_too_long(now, slot) {
                        break;
                    }
                    shed.extend(self.take(slot));
                }
            }
        }
        shed
    }

    /// Somebody waits no longer, if they still do.
    pub fn cancel(&mut self, place: Place) -> Option<T> {
        let slot = self.slots.get(place.slot as usize)?;
        (slot.turn == place.turn).then(|| self.take(place.slot)).flatten()
    }

    fn shortest_of_hand(&self, class: usize, account_hash: u64) -> usize {
        let shards = &self.classes[class].shards;
        let hand = (0..HAND).map(|card| (account_hash >> (card * 6)) as usize % SHARDS);
        hand.min_by_key(|shard| shards[*shard].len).unwrap_or(0)
    }

    /// Who is dropped for one who comes: of the lowest class, of its longest shard, the one that came last.
    fn gives_way_to(&self, class: usize, shard: usize) -> Option<u32> {
        let lowest = (0..CLASSES).rev().find(|class| self.classes[*class].len > 0)?;
        let longest = self.classes[lowest].shards.iter().max_by_key(|shard| shard.len)?;
        let own = self.classes[class].shards[shard].len;
        let gives_way = lowest > class || (lowest == class && longest.len > own + 1);
        gives_way.then_some(longest.last)
    }

    fn append(
        &mut self,
        now: Moment,
        class: usize,
        shard: usize,
        left: Option<Duration>,
        waiter: T,
    ) -> Place {
        let most = left.map_or(self.rules.max_wait, |left| self.rules.max_wait.min(left / DEADLINE_PARTS));
        let id = self.free;
        let in_shard = &mut self.classes[class].shards[shard];
        let slot = &mut self.slots[id as usize];
        self.free = slot.after;
        (slot.waiter, slot.since, slot.until) = (Some(waiter), now, now + most);
        // At most four classes and 64 shards.
        (slot.class, slot.shard) = (class as u8, shard as u8);
        (slot.before, slot.after) = (in_shard.last, NONE);
        let place = Place { slot: id, turn: slot.turn };
        match in_shard.last {
            NONE => in_shard.first = id,
            last => self.slots[last as usize].after = id,
        }
        in_shard.last = id;
        in_shard.len += 1;
        self.classes[class].used |= 1 << shard;
        self.classes[class].len += 1;
        self.len += 1;
        place
    }

    /// The first class, then who has waited for the target, then class by class. Class was decided at the door: who was
    /// let in is not let starve, for that would be a late refusal.
    fn turn(&self, now: Moment, lowest: Priority) -> Option<(Priority, u32)> {
        let classes = Priority::ALL.into_iter().filter(|priority| *priority <= lowest);
        let mut turns = classes.filter_map(|priority| Some((priority, self.turn_of(priority as usize)?)));
        let first = turns.next()?;
        let is_due = |(priority, slot): &(Priority, u32)| {
            *priority == Priority::Critical
                || now.since(self.slots[*slot as usize].since) >= self.rules.target
        };
        Some(if is_due(&first) { first } else { turns.find(is_due).unwrap_or(first) })
    }

    /// Who goes next of a class.
    fn turn_of(&self, class: usize) -> Option<u32> {
        let class = &self.classes[class];
        if class.used == 0 {
            return None;
        }
        let ahead = class.used.rotate_right(class.last + 1).trailing_zeros();
        let shard = class.shards[(class.last + 1 + ahead) as usize % SHARDS];
        Some(if class.overloaded { shard.last } else { shard.first })
    }

    /// folly's rule: the shortest wait of an interval says whether there was a standing queue in it.
    fn measure(&mut self, now: Moment, class: usize, waited: Duration) {
        let QueueRules { target, interval, .. } = self.rules;
        let class = &mut self.classes[class];
        if now >= class.interval_ends {
            class.overloaded = class.shortest > target && class.shortest != Duration::MAX;
            class.shortest = waited;
            class.interval_ends = now + interval;
        } else {
            class.shortest = class.shortest.min(waited);
        }
        // Nobody behind: there is no standing queue.
        if class.len == 1 {
            class.shortest = Duration::ZERO;
        }
    }

    fn is_too_long(&self, now: Moment, slot: u32) -> bool {
        let slot = &self.slots[slot as usize];
        let class = usize::from(slot.class);
        let overloaded = self.classes[class].overloaded && class != Priority::Critical as usize;
        now >= slot.until || (overloaded && now.since(slot.since) > self.rules.target * 2)
    }

    fn take(&mut self, id: u32) -> Option<T> {
        let slot = &mut self.slots[id as usize];
        let waiter = slot.waiter.take()?;
        slot.turn = slot.turn.wrapping_add(1);
        let (class, number, before, after) =
            (usize::from(slot.class), usize::from(slot.shard), slot.before, slot.after);
        slot.after = self.free;
        self.free = id;
        let class = &mut self.classes[class];
        let shard = &mut class.shards[number];
        match before {
            NONE => shard.first = after,
            before => self.slots[before as usize].after = after,
        }
        match after {
            NONE => shard.last = before,
            after => self.slots[after as usize].before = before,
        }
        shard.len -= 1;
        if shard.len == 0 {
            class.used &= !(1 << number);
        }
        class.len -= 1;
        self.len -= 1;
        Some(waiter)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::START + Duration::from_millis(millis)
    }

    fn queue(most: usize) -> Queue<u32> {
        Queue::new(QueueRules::default(), most)
    }

    fn pops(queue: &mut Queue<u32>, now: Moment) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop(now, Priority::Bulk).next.map(|(waiter, _)| waiter)).collect()
    }

    /// All four cards of the hand are this shard.
    fn only(shard: u64) -> u64 {
        (0..4).map(|card| shard << (card * 6)).sum()
    }

    #[test]
    fn classes_go_in_order_and_accounts_take_turns() {
        let mut queue = queue(16);
        for waiter in 0..5 {
            queue.push(at(0), (Priority::Api, only(1)), None, waiter);
        }
        queue.push(at(0), (Priority::Api, only(9)), None, 10);
        queue.push(at(0), (Priority::Bulk, only(1)), None, 20);
        queue.push(at(0), (Priority::Critical, only(1)), None, 30);
        assert_eq!((queue.len(), queue.len_of(Priority::Api)), (8, 6));
        assert_eq!(queue.pop(at(1), Priority::Critical).next.map(|next| next.0), Some(30));
        assert!(queue.pop(at(1), Priority::Critical).next.is_none(), "the others wait for more room");
        assert_eq!(pops(&mut queue, at(1)), [0, 10, 1, 2, 3, 4, 20]);
        assert!(queue.is_empty());
    }

    #[test]
    fn when_it_is_full_the_lowest_class_and_the_longest_shard_give_way() {
        let mut queue = queue(4);
        let places: Vec<_> =
            [(Priority::Bulk, 1), (Priority::Bulk, 2), (Priority::Bulk, 2), (Priority::Api, 1)]
                .into_iter()
                .zip(0..)
                .map(|((priority, shard), waiter)| {
                    queue.push(at(0), (priority, only(shard)), None, waiter).place
                })
                .collect();
        let push = |queue: &mut Queue<u32>, priority, shard| {
            let pushed = queue.push(at(0), (priority, only(shard)), None, 99);
            (pushed.place.is_some(), pushed.dropped)
        };
        assert_eq!(push(&mut queue, Priority::Bulk, 2), (false, Some(99)), "of the longest shard itself");
        assert_eq!(push(&mut queue, Priority::Bulk, 3), (true, Some(2)), "one of two gives way to the first");
        assert_eq!(push(&mut queue, Priority::Critical, 3), (true, Some(99)));
        assert_eq!(queue.cancel(places[2].unwrap()), None, "that place is another's now, or nobody's");
        assert_eq!(queue.cancel(places[0].unwrap()), Some(0));
        assert_eq!(queue.cancel(places[0].unwrap()), None);
        assert_eq!(queue.len(), 3);
    }

    #[test]
    fn nobody_waits_longer_than_a_quarter_of_what_they_have() {
        let mut queue = queue(4);
        queue.push(at(0), (Priority::Api, 1), None, 1);
        queue.push(at(0), (Priority::Api, 2), Some(Duration::from_millis(80)), 2);
        assert_eq!(queue.sweep(at(19)), [0; 0]);
        assert_eq!(queue.sweep(at(20)), [2]);
        let popped = queue.pop(at(100), Priority::Bulk);
        assert!(popped.next.is_none() && popped.shed == [1]);
    }

    #[test]
    fn a_standing_queue_is_served_from_its_end_and_shed_from_its_beginning() {
        let mut queue = queue(1_000);
        // One comes each millisecond, one goes; 20 wait from the beginning, so each waits 20 ms in its turn.
        let (mut last_first, mut shed) = (None, 0);
        for waiter in 0..20 {
            queue.push(at(0), (Priority::Api, only(5)), None, waiter);
        }
        for now in 1..400 {
            queue.push(at(now), (Priority::Api, only(5)), None, 20 + now as u32);
            let popped = queue.pop(at(now), Priority::Bulk);
            shed += popped.shed.len() + queue.sweep(at(now)).len();
            let newest = popped.next.map(|next| next.0) == Some(20 + now as u32);
            last_first = last_first.or(newest.then_some(now));
        }
        let since = last_first.unwrap();
        assert!((100..250).contains(&since), "{since}");
        assert!(shed >= 15, "{shed} of those that stood are shed");
        assert!(!queue.is_overloaded(Priority::Api), "and then there is no standing queue");
    }
}
