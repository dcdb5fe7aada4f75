//! What requests ask of one cell before they are sent to it, and what they tell of it afterwards. Shared by all
//! snapshots that have the cell; what stands in here is decided by [`judge`](super::judge).
//!
//! In order: the rate at which the cell comes back, the group and what it may take of others, a permit or a place in
//! the queue. The first that refuses answers, and later ones have counted nothing.
//!
//! A part that only observes counts as in enforce, and the request goes on. From then on it is none of those that
//! would have come: parts that observe neither count it nor learn of it; parts that are enforced take it as it comes.

mod pass;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::super::columns::hash_number;
use super::super::guard::Mode;
use super::super::ids::AccountId;
use super::super::moment::Moment;
use super::cap::Cap;
use super::failover::{Chosen, Published, choose_group, overflow};
use super::gate::{Answer, Asker, Gate, GateRules, NOBODY, Refused, Woken};
use super::health::Panic;
use super::modes::Modes;
use super::observed::{ObservedGate, Told};
use super::outcomes::Outcomes;
use super::pace::Pace;
use super::policies::Policy;
use super::priority::Priority;
use super::queue::Place;
use super::ramp::Envelope;
use super::shed::Shed;
use super::would::{Act, Would, WouldHave};

pub use pass::{Forced, Outcome, Pass};
use pass::{Held, Watched};

/// Somebody who waits for a permit.
pub trait Waiter: fmt::Debug + Send {
    /// The permit is theirs. False where nobody is there any more: then it is not.
    fn go(self: Box<Self>) -> bool;

    /// They are refused.
    fn refuse(self: Box<Self>, why: Refused);
}

/// See the file.
#[derive(Debug)]
pub struct Standing {
    pub(super) gate: Gate<Box<dyn Waiter>>,
    pub(super) observed: ObservedGate,
    /// What an operator says that it takes at most.
    pub cap: Cap,
    pub(super) envelope: Envelope,
    groups: RwLock<Arc<Published>>,
    pub(super) trickle: Pace,
    pub(super) panic: AtomicU8,
    pub(super) may_retry: AtomicBool,
    /// Of all requests that went; `observed` has those of requests that would have.
    pub(super) outcomes: Outcomes,
    /// What parts that only observe would have done.
    pub would: Would,
}

/// A request that asks.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Its class.
    pub priority: Priority,
    /// Whose it is, where that is known.
    pub account: Option<AccountId>,
    /// A tunnel, a stream, a long poll.
    pub long_lived: bool,
    /// What is left until its deadline.
    pub left: Option<Duration>,
    /// Even over 0..2^64, and another for each request.
    pub random: u64,
}

/// What it gets.
#[derive(Debug)]
#[must_use]
pub enum Admission {
    /// It goes.
    Go(Pass),
    /// It goes when its waiter is told so.
    Wait(Place, Pass),
    /// No, and when to come again, in seconds.
    Refused(Shed, u32),
}

impl Default for Standing {
    fn default() -> Self {
        // Until the first look nothing but the bulkhead limits it.
        let rules = GateRules { total: u32::MAX, ..GateRules::of(u32::MAX) };
        Self {
            gate: Gate::new(rules),
            observed: ObservedGate::new(rules),
            cap: Cap::default(),
            envelope: Envelope::default(),
            groups: RwLock::new(Arc::new(Published::new(1))),
            trickle: Pace::unlimited(),
            panic: AtomicU8::new(Panic::Calm as u8),
            may_retry: AtomicBool::new(true),
            outcomes: Outcomes::default(),
            would: Would::default(),
        }
    }
}

impl Standing {
    /// A request asks to go to the cell. `waiter` is only made if it has to wait.
    pub fn ask(
        &self,
        now: Moment,
        ask: &Ask,
        modes: &Modes,
        waiter: impl FnOnce() -> Box<dyn Waiter>,
    ) -> Admission {
        let who = asker(ask);
        let goes_first = match modes.of(Policy::Limit) {
            Mode::Enforce => self.gate.goes_first(&who),
            Mode::Observe | Mode::Off => self.observed.gate().goes_first(&who),
        };
        let priority = if goes_first { ask.priority } else { ask.priority.max(Priority::Interactive) };
        let (ask, mut pass) = (&Ask { priority, ..*ask }, Pass::asking(modes, priority));
        let (recovery, failover) = (modes.of(Policy::Recovery), modes.of(Policy::Failover));
        if pass.is_for(recovery)
            && !self.envelope.admits(ask.priority, ask.random as u32, now)
            && let Some(refused) =
                self.refuse((Policy::Recovery, recovery), self.envelope.refusal(), ask, &mut pass)
        {
            return refused;
        }
        if pass.is_for(failover)
            && let Err(refused) = self.choose(now, ask, failover, &mut pass)
        {
            return refused;
        }
        if pass.is_for(modes.of(Policy::Limit)) {
            return self.permit(now, ask, who, modes, pass, waiter);
        }
        Admission::Go(pass)
    }

    /// The request is over, or goes no further. Whoever gets its permit is told.
    pub fn end(&self, now: Moment, pass: Pass) {
        match pass.held {
            Held::Nothing => {}
            Held::LongLived => self.gate.end_long_lived(),
            Held::ObservedLongLived => self.observed.gate().end_long_lived(),
            Held::Observation(observation) => {
                let _ = self.observed.end(now, observation);
            }
            Held::Permit => self.wake(now, self.gate.end(now)),
        }
    }

    /// Somebody who waits has left. False where they had been told already, or will be at any moment.
    pub fn cancel(&self, now: Moment, place: Place) -> bool {
        self.gate.cancel(now, place).is_some()
    }

    /// What became of a request; `first_byte` where it says something of the cell.
    pub fn tell(&self, now: Moment, pass: &Pass, ask: &Ask, outcome: Outcome, first_byte: Option<Duration>) {
        let account = ask.account;
        if pass.teaches {
            self.outcomes.count(outcome, account, first_byte);
        }
        let told = match pass.watched {
            Watched::Comes => Some(Told { outcome, account, first_byte }),
            // As late as it was, where it was answered.
            Watched::Elsewhere(outcome) => Some(Told { outcome, account, first_byte }),
            Watched::No | Watched::Told | Watched::Not => None,
        };
        if let Some(told) = told.filter(|_| pass.teaches) {
            let observation = match &pass.held {
                Held::Observation(observation) => Some(observation),
                _ => None,
            };
            self.observed.tell(now, observation, told);
        }
    }

    /// How many would have a permit of the cell, with this one, where the limit only watches and this one would not wait.
    pub fn would_be_in_flight(&self, pass: &Pass) -> Option<u32> {
        let gate = self.observed.gate();
        match pass.held {
            Held::Observation(observation) if observation.waits() => Some(0),
            Held::Observation(_) | Held::ObservedLongLived => Some(gate.in_flight() + gate.long_lived()),
            Held::Nothing | Held::Permit | Held::LongLived => None,
        }
    }

    /// A request that goes on would have been refused further on by this part, which observes. From then on it holds
    /// what [`Pass::left`] says.
    pub fn would_refuse(&self, now: Moment, pass: &Pass, policy: Policy, why: Shed) {
        self.would.refuse(policy, why);
        if matches!(pass.held, Held::Observation(_) | Held::ObservedLongLived) {
            self.end(now, *pass);
        }
    }

    /// Whether a request that finds no endpoint that is well may go to one that is not: as its probe, or as one of
    /// many where the cell fails open.
    pub fn forces(&self, priority: Priority, now: Moment) -> Option<Forced> {
        if !self.trickle.try_take(now, priority) {
            return None;
        }
        let fails_open = self.panic.load(Ordering::Relaxed) == Panic::FailOpen as u8;
        Some(if fails_open { Forced::Open } else { Forced::Probe })
    }

    /// Whether a group that has more than its part of the cell gets no more now, where its limit `is_enforced` or not.
    pub fn has_few_left(&self, is_enforced: bool) -> bool {
        if is_enforced { self.gate.has_few_left() } else { self.observed.gate().has_few_left() }
    }

    /// Another group for a request whose own is full; see [`overflow`]. One that was moved already is not moved again.
    pub fn overflow<T>(
        &self,
        now: Moment,
        pass: &Pass,
        full: usize,
        takes: impl FnMut(usize) -> Option<T>,
    ) -> Option<(usize, T)> {
        if pass.group != Some(full) || pass.is_moved {
            return None;
        }
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        overflow(&groups, full, pass.priority, now, takes)
    }

    /// Whether requests may be sent again.
    pub fn may_retry(&self) -> bool {
        self.may_retry.load(Ordering::Relaxed)
    }

    /// Whether the cell gets a rate and not all that is asked.
    pub fn is_limited(&self) -> bool {
        self.envelope.rate().is_finite()
    }

    /// What parts that only observe would have done so far.
    pub fn would_have(&self) -> WouldHave {
        let mut have = self.would.have();
        for why in Refused::ALL {
            have.add_refused(Policy::Limit, shed(why), self.observed.would_have_refused(why));
        }
        have
    }

    /// When somebody may come again whom the gate has refused, in seconds.
    pub fn retry_after_secs(&self, random: u32) -> u32 {
        self.gate.retry_after_secs(random)
    }

    /// Somebody is refused by another part; when they may come again, in seconds.
    pub fn turn_away(&self, random: u32) -> u32 {
        self.gate.turn_away(random)
    }

    /// How many wait for a permit.
    pub fn queued(&self) -> u32 {
        self.gate.queued()
    }

    pub(super) fn publish_groups(&self, groups: Arc<Published>) {
        *self.groups.write().unwrap_or_else(PoisonError::into_inner) = groups;
    }

    /// Tells those who need not wait any longer. A permit that nobody takes goes on.
    pub(super) fn wake(&self, now: Moment, mut woken: Woken<Box<dyn Waiter>>) {
        loop {
            for (waiter, why) in woken.refused {
                waiter.refuse(why);
            }
            let left = woken.go.into_iter().filter_map(|waiter| (!waiter.go()).then_some(())).count();
            if left == 0 {
                return;
            }
            woken = Woken { go: Vec::new(), refused: Vec::new() };
            for _ in 0..left {
                let more = self.gate.end(now);
                woken.go.extend(more.go);
                woken.refused.extend(more.refused);
            }
        }
    }

    fn choose(&self, now: Moment, ask: &Ask, mode: Mode, pass: &mut Pass) -> Result<(), Admission> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        let account = ask.account.map(|account| account.value());
        match choose_group(&groups, ask.random, account, ask.priority, now) {
            // What is observed changes nothing of where it goes.
            chosen @ (Chosen::Own(group) | Chosen::Moved(group)) if mode == Mode::Observe => {
                pass.would_group = Some(group);
                if matches!(chosen, Chosen::Moved(_)) {
                    self.would.act(Policy::Failover, Act::Elsewhere);
                }
                Ok(())
            }
            chosen @ (Chosen::Own(group) | Chosen::Moved(group)) => {
                (pass.group, pass.is_moved) = (Some(group), matches!(chosen, Chosen::Moved(_)));
                Ok(())
            }
            Chosen::Shed => {
                self.refuse((Policy::Failover, mode), Shed::NoHeadroom, ask, pass).map_or(Ok(()), Err)
            }
        }
    }

    fn permit(
        &self,
        now: Moment,
        ask: &Ask,
        who: Asker,
        modes: &Modes,
        pass: Pass,
        waiter: impl FnOnce() -> Box<dyn Waiter>,
    ) -> Admission {
        let queue = modes.of(Policy::Queue);
        if modes.of(Policy::Limit) != Mode::Enforce {
            return Admission::Go(self.observe(now, ask, who, queue != Mode::Off, pass));
        }
        if ask.long_lived {
            return match self.gate.ask_long_lived(who) {
                Answer::Refused { why, retry_after_secs } => Admission::Refused(shed(why), retry_after_secs),
                Answer::Go | Answer::Wait(_) => Admission::Go(Pass { held: Held::LongLived, ..pass }),
            };
        }
        let (answer, gave_way) = self.gate.ask(now, who, waiter);
        if let Some(gave_way) = gave_way {
            gave_way.refuse(Refused::Full);
        }
        let held = Pass { held: Held::Permit, ..pass };
        match answer {
            Answer::Go => Admission::Go(held),
            Answer::Wait(place) if queue == Mode::Enforce => Admission::Wait(place, held),
            Answer::Wait(place) => {
                if self.cancel(now, place) {
                    if queue == Mode::Observe {
                        self.would.act(Policy::Queue, Act::Queued);
                    }
                    return Admission::Refused(Shed::QueueFull, self.turn_away(ask.random as u32));
                }
                // Somebody has taken it out of the line between the two, and says with what: a permit or a refusal.
                Admission::Wait(place, held)
            }
            Answer::Refused { why, retry_after_secs } => Admission::Refused(shed(why), retry_after_secs),
        }
    }

    fn observe(&self, now: Moment, ask: &Ask, who: Asker, has_queue: bool, mut pass: Pass) -> Pass {
        if ask.long_lived {
            match self.observed.ask_long_lived(now, who) {
                true => pass.held = Held::ObservedLongLived,
                false => pass.watched = Watched::Not,
            }
            return pass;
        }
        let observation = self.observed.ask(now, who, has_queue);
        if observation.is_refused() {
            pass.watched = Watched::Not;
        }
        Pass { held: Held::Observation(observation), ..pass }
    }

    /// Refuses, or counts what would have been refused.
    fn refuse(
        &self,
        (policy, mode): (Policy, Mode),
        why: Shed,
        ask: &Ask,
        pass: &mut Pass,
    ) -> Option<Admission> {
        if mode == Mode::Enforce {
            return Some(Admission::Refused(why, self.turn_away(ask.random as u32)));
        }
        self.would.refuse(policy, why);
        pass.watched = Watched::Not;
        None
    }
}

fn asker(ask: &Ask) -> Asker {
    let account_hash = ask.account.map_or(NOBODY, |account| hash_number(account.value()));
    Asker { priority: ask.priority, account_hash, left: ask.left, random: ask.random }
}

/// What a refusal at the gate is called.
pub const fn shed(why: Refused) -> Shed {
    match why {
        Refused::Share | Refused::Priority => Shed::LowPriority,
        Refused::Full => Shed::QueueFull,
        Refused::Waited => Shed::WaitedTooLong,
        Refused::Total => Shed::CellFull,
    }
}
