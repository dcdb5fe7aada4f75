//! What requests ask of one cell before they are sent to it, and what they tell of it afterwards. Shared by all
//! snapshots that have the cell; what stands in here is decided by [`judge`](super::judge).
//!
//! In order: the rate at which the cell comes back, the group and what it may take of others, a permit or a place in
//! the queue. The first that refuses answers, and later ones have counted nothing. What is only observed is counted
//! as in enforce; the request goes on, and teaches nothing from then on.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::super::columns::hash_number;
use super::super::guard::Mode;
use super::super::ids::AccountId;
use super::super::moment::Moment;
use super::cap::Cap;
use super::failover::{Chosen, Published, choose_group};
use super::gate::{Answer, Asker, Gate, GateRules, Refused, Woken};
use super::health::{AttemptEnd, Panic};
use super::modes::Modes;
use super::observed::{Observation, ObservedGate};
use super::outcomes::Outcomes;
use super::pace::Pace;
use super::policies::Policy;
use super::priority::Priority;
use super::queue::Place;
use super::ramp::Envelope;
use super::shed::Shed;

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
    pub(super) outcomes: Outcomes,
    would_have: [AtomicU64; Shed::ALL.len()],
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

/// What a request holds that goes; [`Standing::end`] takes it back.
#[derive(Clone, Copy, Debug)]
#[must_use = "what it holds is held until Standing::end"]
pub struct Pass {
    held: Held,
    /// The group that it is to go to; any where it is `None`.
    pub group: Option<usize>,
    /// That is not its own: it is lost, drained, or on its way back.
    pub is_moved: bool,
    /// Whether what becomes of it is to be told.
    teaches: bool,
}

impl Pass {
    /// Of a request that asks nobody: it goes wherever something is left, holds nothing here and teaches nothing.
    pub const OPERATOR: Self = Self { held: Held::Nothing, group: None, is_moved: false, teaches: false };
}

#[derive(Clone, Copy, Debug)]
enum Held {
    Nothing,
    Permit,
    LongLived,
    Observation(Observation),
}

/// What became of a request at the cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The cell answered, and not that it cannot.
    Served,
    /// It said that it has too much to do.
    PushedBack,
    /// No answer, or one that says that the cell cannot.
    Failed,
}

impl Outcome {
    /// Of an attempt that got an answer.
    pub const fn of(end: AttemptEnd) -> Self {
        match end {
            AttemptEnd::Answered | AttemptEnd::AppError => Self::Served,
            AttemptEnd::Pushback => Self::PushedBack,
            AttemptEnd::Gateway | AttemptEnd::Unconnected | AttemptEnd::Broken => Self::Failed,
        }
    }
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
            would_have: [const { AtomicU64::new(0) }; Shed::ALL.len()],
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
        let mut pass = Pass { teaches: true, ..Pass::OPERATOR };
        if modes.of(Policy::Recovery) != Mode::Off
            && !self.envelope.admits(ask.priority, ask.random as u32, now)
            && let Some(refused) = self.refuse(Shed::Recovering, modes.of(Policy::Recovery), ask, &mut pass)
        {
            return refused;
        }
        if pass.teaches
            && modes.of(Policy::Failover) != Mode::Off
            && let Err(refused) = self.choose(now, ask, modes.of(Policy::Failover), &mut pass)
        {
            return refused;
        }
        if pass.teaches { self.permit(now, ask, modes, pass, waiter) } else { Admission::Go(pass) }
    }

    /// The request is over, or goes no further. Whoever gets its permit is told.
    pub fn end(&self, now: Moment, pass: Pass) {
        match pass.held {
            Held::Nothing => {}
            Held::LongLived => self.gate.end_long_lived(),
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
    pub fn tell(&self, pass: &Pass, ask: &Ask, outcome: Outcome, first_byte: Option<Duration>) {
        if pass.teaches {
            self.outcomes.count(outcome, ask.account, first_byte);
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

    /// Whether requests may be sent again.
    pub fn may_retry(&self) -> bool {
        self.may_retry.load(Ordering::Relaxed)
    }

    /// Whether the cell gets a rate and not all that is asked.
    pub fn is_limited(&self) -> bool {
        self.envelope.rate().is_finite()
    }

    /// How many requests would have been refused for this reason so far, had it not only been observed.
    pub fn would_have(&self, why: Shed) -> u64 {
        self.would_have[why as usize].load(Ordering::Relaxed)
    }

    /// What somebody is told who is refused now, in seconds.
    pub fn retry_after_secs(&self, random: u32) -> u32 {
        self.gate.retry_after_secs(random)
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
        let groups = Arc::clone(&self.groups.read().unwrap_or_else(PoisonError::into_inner));
        let account = ask.account.map(|account| account.value());
        match choose_group(&groups, ask.random, account, ask.priority, now) {
            // What is observed changes nothing of where it goes.
            Chosen::Own(_) | Chosen::Moved(_) if mode == Mode::Observe => Ok(()),
            chosen @ (Chosen::Own(group) | Chosen::Moved(group)) => {
                (pass.group, pass.is_moved) = (Some(group), matches!(chosen, Chosen::Moved(_)));
                Ok(())
            }
            Chosen::Shed => self.refuse(Shed::NoHeadroom, mode, ask, pass).map_or(Ok(()), Err),
        }
    }

    fn permit(
        &self,
        now: Moment,
        ask: &Ask,
        modes: &Modes,
        pass: Pass,
        waiter: impl FnOnce() -> Box<dyn Waiter>,
    ) -> Admission {
        let Ask { priority, left, random, .. } = *ask;
        // Those of whom nobody knows whose they are, are one.
        let account_hash = ask.account.map_or(0, |account| hash_number(account.value()));
        let who = Asker { priority, account_hash, left, random };
        if modes.of(Policy::Limit) != Mode::Enforce {
            return self.observe(now, ask, who, pass);
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
            Answer::Wait(place) if modes.of(Policy::Queue) == Mode::Enforce => Admission::Wait(place, held),
            Answer::Wait(place) => {
                if self.cancel(now, place) {
                    return Admission::Refused(Shed::QueueFull, self.retry_after_secs(random as u32));
                }
                // Its turn came between the two.
                Admission::Go(held)
            }
            Answer::Refused { why, retry_after_secs } => Admission::Refused(shed(why), retry_after_secs),
        }
    }

    fn observe(&self, now: Moment, ask: &Ask, who: Asker, mut pass: Pass) -> Admission {
        if ask.long_lived {
            return Admission::Go(pass);
        }
        let observation = self.observed.ask(now, who);
        pass.teaches = !observation.is_refused();
        Admission::Go(Pass { held: Held::Observation(observation), ..pass })
    }

    /// Refuses, or counts what would have been refused.
    fn refuse(&self, why: Shed, mode: Mode, ask: &Ask, pass: &mut Pass) -> Option<Admission> {
        if mode == Mode::Enforce {
            return Some(Admission::Refused(why, self.retry_after_secs(ask.random as u32)));
        }
        self.would_have[why as usize].fetch_add(1, Ordering::Relaxed);
        pass.teaches = false;
        None
    }
}

/// How a request goes to an endpoint that is not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forced {
    /// As its probe, if nobody else is.
    Probe,
    /// As one of many.
    Open,
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
