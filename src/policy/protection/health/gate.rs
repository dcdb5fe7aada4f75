//! What requests read of an endpoint's health, and the one probe that is in flight at a time. One word, so that a
//! claim, its outcome and what the state machine publishes cannot be seen half.
//!
//! It decides nothing: [`Health`](super::Health) says what stands here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::super::super::ids::AccountId;
use super::AttemptEnd;
use super::watch::Watch;

/// Whether an endpoint may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    /// Yes.
    Yes,
    /// Not by an ordinary request.
    No,
    /// By one request that claims the probe, and by no other until it has ended.
    OneProbe,
}

/// How a request enters an endpoint.
#[derive(Debug)]
#[must_use]
pub enum Entry {
    /// As one of many: its end goes to [`Watch::record`].
    Ordinary(Ticket),
    /// As the probe: its end goes to [`Probe::ended`], and nowhere else.
    Probe(Probe),
}

/// Since when a request is on its way. What was asked before an endpoint went out and ends after it is back (a time
/// limit is half a minute) says nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// The one request that finds out whether an endpoint is back. Dropped without an end (the client went away) it
/// frees the place for another.
#[derive(Debug)]
#[must_use]
pub struct Probe {
    watch: Arc<Watch>,
    before: Word,
    claimed: Word,
}

/// What a probe has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) end: AttemptEnd,
    pub(super) first_byte: Option<Duration>,
}

/// See the file. It begins open.
#[derive(Debug, Default)]
pub(super) struct Gate {
    word: AtomicU64,
    /// Requests go to the endpoint whatever the word says; it moves all the same.
    observed: AtomicBool,
    /// Where it is observed: a request would have been the probe, so the next that goes there is.
    awaited: AtomicBool,
    /// The next active check is the probe.
    wants_check: AtomicBool,
}

/// What is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Published {
    Open,
    Closed,
    Offered,
}

/// From the lowest bit: 4 of tag, 4 of how a probe ended, 36 of microseconds to its first byte (19 hours), 20 that
/// count publications, so that a probe of an earlier ejection changes nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word(u64);

const TAG: u64 = 0xf;
const OPEN: u64 = 0;
const CLOSED: u64 = 1;
const OFFERED: u64 = 2;
const CLAIMED: u64 = 3;
const ENDED: u64 = 4;
const END_SHIFT: u32 = 4;
const MICROS_SHIFT: u32 = 8;
const EPOCH_SHIFT: u32 = 44;
/// Largest of what is kept of microseconds; stands for no first byte as well, which a probe that was answered has.
const MOST_MICROS: u64 = (1 << (EPOCH_SHIFT - MICROS_SHIFT)) - 1;

impl Word {
    const fn tag(self) -> u64 {
        self.0 & TAG
    }

    const fn with_tag(self, tag: u64) -> Self {
        Self(self.0 & !TAG | tag)
    }

    const fn next(self, tag: u64) -> Self {
        Self((self.0 >> EPOCH_SHIFT).wrapping_add(1) << EPOCH_SHIFT | tag)
    }

    fn ended(self, found: Found) -> Self {
        let micros = found.first_byte.map_or(MOST_MICROS, |wait| {
            u64::try_from(wait.as_micros()).unwrap_or(MOST_MICROS).min(MOST_MICROS)
        });
        Self(self.with_tag(ENDED).0 | micros << MICROS_SHIFT | (found.end as u64) << END_SHIFT)
    }

    fn found(self) -> Option<Found> {
        if self.tag() != ENDED {
            return None;
        }
        let micros = self.0 >> MICROS_SHIFT & MOST_MICROS;
        let first_byte = (micros != MOST_MICROS).then_some(Duration::from_micros(micros));
        let end = *AttemptEnd::ALL.get(usize::try_from(self.0 >> END_SHIFT & 0xf).unwrap_or(0))?;
        Some(Found { end, first_byte })
    }
}

impl Gate {
    pub(super) fn usable(&self) -> Usable {
        match self.load().tag() {
            OPEN => Usable::Yes,
            _ if self.observed.load(Ordering::Relaxed) => Usable::Yes,
            OFFERED => Usable::OneProbe,
            _ => Usable::No,
        }
    }

    /// What a probe has found that nobody has published over.
    pub(super) fn found(&self) -> Option<Found> {
        self.load().found()
    }

    pub(super) fn ticket(&self) -> Ticket {
        Ticket(self.load().0 >> EPOCH_SHIFT)
    }

    pub(super) fn observe(&self, observed: bool) {
        self.observed.store(observed, Ordering::Relaxed);
    }

    pub(super) fn want_check(&self, wants: bool) {
        self.wants_check.store(wants, Ordering::Relaxed);
    }

    /// Publishes a change of state: whoever holds the probe of the state before holds nothing now.
    pub(super) fn change(&self, to: Published) {
        self.awaited.store(false, Ordering::Relaxed);
        // The task that looks is the only one that publishes; what a probe writes in between is of the state before.
        self.word.store(self.load().next(to.tag()).0, Ordering::Relaxed);
    }

    /// Publishes without a change of state: a probe in flight goes on.
    pub(super) fn keep(&self, at: Published) {
        let word = self.load();
        if word.tag() != CLAIMED && word.tag() != at.tag() {
            self.swap(word, word.next(at.tag()));
        }
    }

    fn load(&self) -> Word {
        Word(self.word.load(Ordering::Relaxed))
    }

    /// Relaxed is enough everywhere: all that is told stands in the word itself.
    fn swap(&self, from: Word, to: Word) -> bool {
        self.word.compare_exchange(from.0, to.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Published {
    const fn tag(self) -> u64 {
        match self {
            Self::Open => OPEN,
            Self::Closed => CLOSED,
            Self::Offered => OFFERED,
        }
    }
}

impl Watch {
    /// Whether the endpoint may be asked now.
    pub fn usable(&self) -> Usable {
        self.gate.usable()
    }

    /// Whether an active check is its probe and waited for: it should be soon. [`Usable::OneProbe`] is not said then,
    /// for no request is asked for one.
    pub fn wants_check(&self) -> bool {
        self.gate.wants_check.load(Ordering::Relaxed)
    }

    /// The same, if what is only observed were enforced.
    pub fn would_be_usable(&self) -> Usable {
        match self.gate.load().tag() {
            OPEN => Usable::Yes,
            OFFERED if !self.is_awaited() => Usable::OneProbe,
            _ => Usable::No,
        }
    }

    /// Enters the endpoint, as the probe where one is wanted; `None` where it may not be asked. Where health is only
    /// observed it is always entered, and as the probe where a request [would have been](Self::would_enter) one.
    pub fn enter(self: &Arc<Self>) -> Option<Entry> {
        let gate = &self.gate;
        let is_wanted = match gate.observed.load(Ordering::Relaxed) {
            true => self.is_awaited() && gate.awaited.swap(false, Ordering::Relaxed),
            false => gate.load().tag() == OFFERED,
        };
        if is_wanted && let Some(probe) = self.claim() {
            return Some(Entry::Probe(probe));
        }
        (self.usable() == Usable::Yes).then(|| Entry::Ordinary(self.ticket()))
    }

    /// Whether a request that goes elsewhere, or will be here in a moment, would have been let in. Where that would have
    /// been as the probe, the next request that enters is.
    pub fn would_enter(&self) -> bool {
        match self.would_be_usable() {
            Usable::Yes => true,
            Usable::No => false,
            Usable::OneProbe => self.await_probe(),
        }
    }

    /// The same by [`claim`](Self::claim).
    pub fn would_claim(&self) -> bool {
        matches!(self.gate.load().tag(), CLOSED | OFFERED) && !self.is_awaited() && self.await_probe()
    }

    /// Whether the last attempt that ended there had no answer, or that of a gateway.
    pub fn is_failing(&self) -> bool {
        self.local_run.load(Ordering::Relaxed) > 0 || self.gateway_run.load(Ordering::Relaxed) > 0
    }

    fn is_awaited(&self) -> bool {
        self.gate.awaited.load(Ordering::Relaxed)
    }

    /// Of many that would have been, one is. Nothing is done where it is not only observed.
    fn await_probe(&self) -> bool {
        let gate = &self.gate;
        !gate.observed.load(Ordering::Relaxed) || !gate.awaited.swap(true, Ordering::Relaxed)
    }

    /// For a request that goes there whatever health says, because the cell fails open and another has the probe.
    pub fn ticket(&self) -> Ticket {
        self.gate.ticket()
    }

    /// Claims the probe of an endpoint that is out, whether or not its time has come: for a request that goes there by
    /// [`usable_set`](super::usable_set). `None` where the endpoint is in or the probe is taken.
    pub fn claim(self: &Arc<Self>) -> Option<Probe> {
        let before = self.gate.load();
        let claimed = before.with_tag(CLAIMED);
        let free = matches!(before.tag(), CLOSED | OFFERED);
        (free && self.gate.swap(before, claimed)).then(|| Probe { watch: self.clone(), before, claimed })
    }
}

impl Entry {
    /// The attempt has ended, whichever it was. To be called with the head of an answer, for a body may take an hour.
    pub fn ended(
        self,
        watch: &Watch,
        end: AttemptEnd,
        first_byte: Option<Duration>,
        account: Option<AccountId>,
    ) {
        match self {
            Self::Ordinary(ticket) => watch.record(ticket, end, first_byte, account),
            Self::Probe(probe) => probe.ended(end, first_byte),
        }
    }
}

impl Probe {
    /// The probe has ended. To be called with the head of an answer, for a body may take an hour.
    pub fn ended(self, end: AttemptEnd, first_byte: Option<Duration>) {
        let ended = self.claimed.ended(Found { end, first_byte });
        self.watch.gate.swap(self.claimed, ended);
        // What drop frees is a claim, and there is none any more.
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.watch.gate.swap(self.claimed, self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered() -> Arc<Watch> {
        let watch = Arc::new(Watch::new());
        watch.gate.change(Published::Offered);
        watch
    }

    #[test]
    fn one_of_a_hundred_threads_is_the_probe() {
        let watch = offered();
        let probes: usize = std::thread::scope(|scope| {
            let enter = || {
                let entries: Vec<_> = (0..1_000).filter_map(|_| watch.enter()).collect();
                // Nobody frees it before all have tried.
                let probes = entries.iter().filter(|entry| matches!(entry, Entry::Probe(_))).count();
                assert_eq!(probes, entries.len(), "nobody else may enter");
                std::mem::forget(entries);
                probes
            };
            let threads: Vec<_> = (0..100).map(|_| scope.spawn(enter)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
        });
        assert_eq!(probes, 1);
    }

    #[test]
    fn a_probe_that_is_dropped_makes_room_for_another() {
        let watch = offered();
        let first = watch.claim().expect("it is offered");
        assert_eq!((watch.usable(), watch.claim().is_some()), (Usable::No, false));
        drop(first);
        assert_eq!(watch.usable(), Usable::OneProbe);
        let second = watch.claim().expect("it was freed");
        second.ended(AttemptEnd::Answered, Some(Duration::from_millis(7)));
        assert_eq!((watch.usable(), watch.claim().is_some()), (Usable::No, false), "it waits for the look");
        let first_byte = Some(Duration::from_millis(7));
        assert_eq!(watch.gate.found(), Some(Found { end: AttemptEnd::Answered, first_byte }));
    }

    #[test]
    fn a_probe_of_an_earlier_ejection_changes_nothing() {
        for publish in [Published::Open, Published::Closed, Published::Offered] {
            let watch = offered();
            let (late, later) = (watch.claim().expect("it is offered"), watch.gate.load());
            watch.gate.change(publish);
            late.ended(AttemptEnd::Answered, None);
            assert_eq!(watch.gate.found(), None, "{publish:?}");
            let word = watch.gate.load();
            drop(Probe { watch: watch.clone(), before: later, claimed: later });
            assert_eq!(watch.gate.load(), word, "{publish:?}");
        }
    }

    #[test]
    fn all_ends_come_back_out_of_the_word() {
        for end in AttemptEnd::ALL {
            for first_byte in [None, Some(Duration::ZERO), Some(Duration::from_micros(123_456_789))] {
                let watch = offered();
                watch.claim().expect("it is offered").ended(end, first_byte);
                assert_eq!(watch.gate.found(), Some(Found { end, first_byte }));
            }
        }
    }

    #[test]
    fn who_is_only_observed_is_always_entered() {
        let watch = offered();
        watch.gate.observe(true);
        assert_eq!(watch.usable(), Usable::Yes);
        assert!(matches!(watch.enter(), Some(Entry::Ordinary(_))), "it would not have gone there");
        assert_eq!((watch.would_be_usable(), watch.would_enter()), (Usable::OneProbe, true));
        assert_eq!((watch.would_be_usable(), watch.would_enter()), (Usable::No, false), "one at a time");
        let probe = watch.enter();
        assert!(matches!(probe, Some(Entry::Probe(_))), "there is a probe all the same");
        assert!(matches!(watch.enter(), Some(Entry::Ordinary(_))), "and the others go too");
        assert!(!watch.would_enter() && !watch.would_claim(), "while it is asked");
        watch.gate.change(Published::Closed);
        assert!(matches!(watch.enter(), Some(Entry::Ordinary(_))));
        assert!(!watch.would_enter() && watch.would_claim() && !watch.would_claim());
        assert!(matches!(watch.enter(), Some(Entry::Probe(_))), "asked before its time");
        assert!(watch.would_claim(), "it was dropped");
        watch.gate.change(Published::Open);
        assert!(matches!(watch.enter(), Some(Entry::Ordinary(_))), "who is in needs none");
    }

    #[test]
    fn a_claim_goes_on_when_the_time_of_the_probe_comes() {
        let watch = Arc::new(Watch::new());
        assert!(watch.claim().is_none(), "who is in needs no probe");
        watch.gate.change(Published::Closed);
        assert!(watch.enter().is_none());
        let early = watch.claim().expect("who is out can be claimed");
        watch.gate.keep(Published::Offered);
        assert!(watch.claim().is_none(), "one at a time");
        drop(early);
        watch.gate.keep(Published::Offered);
        assert_eq!(watch.usable(), Usable::OneProbe);
    }
}
