//! How a cell comes back: an absolute rate of requests that grows while it is used and does good, and halves
//! when it hurts. Weights cannot do this: when all endpoints of a cell are new, all shares cancel, and
//! everybody who waited arrives in the first millisecond. What keeps a cell down after its fault is gone are
//! those who wait and its cold caches (metastable failures: Bronson and others, HotOS 2021; Huang and others,
//! OSDI 2022), so load must fall below what the cold cell bears.
//!
//! Down, probing with the first rate, ramping, full. One period of the first rate that is well begins the
//! climb; each period after that multiplies. A replica does this by itself with its part of the rate, by the
//! configured number of replicas.
//!
//! A process that starts and knows nothing of a cell looks first whether a crowd has waited for it: whether far more
//! is asked than the cell is declared to bear. If so, the cell is one that comes back. If not, it is served: every
//! replica that is replaced begins like this, mostly before cells that are well.
//!
//! The capacity that is ramped to is the declared one, or else the best rate of the last ten minutes before the
//! fall, which says what was asked and not what the cell bears: from there it goes on as long as it is used and does
//! good. Where neither is known there is no ramp, and only the other limits hold.

mod crowd;
mod envelope;
mod judge;
mod learned;
mod recent;
mod rules;
mod seen;

use std::time::Duration;

use self::crowd::{Asking, crowd_rps};
pub use self::envelope::Envelope;
pub use self::judge::{Period, Verdict};
use self::learned::Learned;
use self::recent::Recent;
pub use self::rules::RampRules;
pub use self::seen::{Evidence, Look, Phase, Pin, Reason, Saved, Source, Transition};
use super::super::moment::Moment;

/// Over so long what asks is averaged, to choose who goes first: a crowd comes within a second.
const AVERAGED: Duration = Duration::from_secs(1);

/// The ramp of one cell, at one replica. Outlives reloads.
#[derive(Debug)]
pub struct Ramp {
    phase: Phase,
    /// While probing and ramping.
    rate: f64,
    /// Whether a full cell is not limited any more.
    lifted: bool,
    /// Until when a process that began without knowing anything looks for a crowd.
    watched_until: Option<Moment>,
    /// It is probed because a crowd waits for it, and not because it was gone.
    is_crowded: bool,
    period: Period,
    /// When the period began; up to one period in the future at first, so that replicas do not step together.
    began: Moment,
    /// Not before this it grows, or is probed after a fall.
    held_until: Moment,
    halved: Option<Moment>,
    quiet_since: Option<Moment>,
    /// The least 95th percentile of a period since the cell came back, of few answers and of many.
    quickest: [Option<Duration>; 2],
    recent: Recent,
    learned: Learned,
    pin: Option<Pin>,
    /// How much later than others this replica begins, in periods.
    offset: f64,
    /// What asks, by class, in requests a second.
    offered: [f64; 4],
    asking: Asking,
    stepped: Option<Moment>,
    evidence: Evidence,
}

impl Ramp {
    /// Of a cell that was there all the time, or is new in the configuration of a process that runs: full.
    /// `offset` is drawn once, from 0 to below 1.
    pub fn full(offset: f64, now: Moment) -> Self {
        Self {
            phase: Phase::Full,
            rate: 0.0,
            lifted: true,
            watched_until: None,
            is_crowded: false,
            period: Period::default(),
            began: now,
            held_until: now,
            halved: None,
            quiet_since: None,
            quickest: [None; 2],
            recent: Recent::default(),
            learned: Learned::new(0.0, now),
            pin: None,
            offset: offset.clamp(0.0, 1.0),
            offered: [0.0; 4],
            asking: Asking::default(),
            stepped: None,
            evidence: Evidence::default(),
        }
    }

    /// When a process starts at `now`, which is `now_secs` since the Unix epoch: where another was, if that is
    /// not too long ago; else on the watch for a crowd, where a capacity is declared.
    pub fn started(
        rules: &RampRules,
        saved: Option<&Saved>,
        declared: Option<f64>,
        offset: f64,
        now: Moment,
        now_secs: u64,
    ) -> Self {
        let mut ramp = Self::full(offset, now);
        let replicas = f64::from(rules.replicas.get());
        let age = |saved: &&Saved| now_secs.checked_sub(saved.at_secs);
        let fresh = |saved: &&Saved| age(saved).is_some_and(|age| age <= rules.saved_for.as_secs());
        if let Some(saved) = saved.filter(fresh) {
            ramp.learned = Learned::new(saved.learned.unwrap_or_default() / replicas, now);
            (ramp.phase, ramp.lifted, ramp.rate) = (saved.phase, saved.lifted, saved.rate / replicas);
        } else if declared.is_some() {
            (ramp.lifted, ramp.watched_until) = (false, Some(now + rules.quiet_after));
        }
        // An operator's word holds until its end, however old the rest.
        let pin = saved.and_then(|saved| saved.pin).filter(|(_, until_secs)| *until_secs > now_secs);
        ramp.pin = pin.map(|(rate, until_secs)| Pin {
            rate,
            until: now + Duration::from_secs(until_secs.saturating_sub(now_secs)),
        });
        ramp.begin_period(now + rules.period.mul_f64(ramp.offset));
        ramp
    }

    /// What to write down and to hand on.
    pub fn saved(&self, rules: &RampRules, now: Moment, now_secs: u64) -> Saved {
        let replicas = f64::from(rules.replicas.get());
        Saved {
            at_secs: now_secs,
            phase: self.phase,
            lifted: self.is_open(),
            rate: self.rate * replicas,
            learned: self.learned.rate().map(|rate| rate * replicas),
            pin: self.pin.map(|pin| (pin.rate, now_secs.saturating_add(pin.until.since(now).as_secs()))),
        }
    }

    /// An operator sets a rate, or takes it back.
    pub fn set_pin(&mut self, pin: Option<Pin>, now: Moment) {
        // Taken back is ended: what follows from it follows at the next step.
        self.pin = pin.or(self.pin.map(|before| Pin { until: now, ..before }));
    }

    /// Where the cell is.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Why.
    pub const fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// Looks at the cell and publishes what follows; each 100 ms to 1 s.
    pub fn step(
        &mut self,
        rules: &RampRules,
        look: &Look,
        envelope: &Envelope,
        now: Moment,
    ) -> Option<Transition> {
        let capacity = self.measure(rules, look, envelope, now);
        let from = self.phase;
        let reason = match self.pin {
            Some(pin) if now < pin.until => {
                self.begin_period(now);
                None
            }
            Some(pin) => self.end_pin(rules, pin, capacity, now),
            None => self.crowd(rules, capacity, now).or_else(|| self.decide(rules, look, capacity, now)),
        };
        self.publish(rules, capacity, envelope, now);
        let to = self.phase;
        reason.map(|reason| Transition { from, to, reason, at: now, evidence: self.evidence })
    }

    fn measure(&mut self, rules: &RampRules, look: &Look, envelope: &Envelope, now: Moment) -> Option<f64> {
        let came = envelope.take_counts();
        let passed = self.stepped.map_or(Duration::ZERO, |before| now.since(before));
        self.stepped = Some(now);
        let weight = 1.0 - (-passed.as_secs_f64() / AVERAGED.as_secs_f64()).exp();
        for (rate, count) in self.offered.iter_mut().zip(came.offered) {
            *rate += (count as f64 / passed.as_secs_f64().max(1e-3) - *rate) * weight;
        }
        self.evidence.offered = self.offered.iter().sum();
        self.recent.add(look, rules, now);
        let asked = came.offered.iter().sum();
        self.asking.add(asked, passed);
        self.period.add(look, asked, came.admitted, passed);
        let declared = look.declared.map(|rate| rate / f64::from(rules.replicas.get()));
        self.evidence.source = match (declared, self.learned.rate()) {
            (Some(_), _) => Source::Declared,
            (None, Some(_)) => Source::Learned,
            (None, None) => Source::Unknown,
        };
        self.evidence.capacity = declared.or(self.learned.rate());
        self.evidence.recent = self.recent.sum();
        self.evidence.capacity
    }

    /// Whether so many ask that they must have waited: far more than a cell bears.
    fn crowd(&mut self, rules: &RampRules, capacity: Option<f64>, now: Moment) -> Option<Reason> {
        let until = self.watched_until?;
        if now >= until || self.phase != Phase::Full {
            self.watched_until = None;
            self.lifted |= self.phase == Phase::Full;
            return None;
        }
        let capacity = capacity?;
        self.asking.is_crowd(capacity).then(|| self.probe(rules, capacity, Reason::Crowd, now))
    }

    fn decide(
        &mut self,
        rules: &RampRules,
        look: &Look,
        capacity: Option<f64>,
        now: Moment,
    ) -> Option<Reason> {
        let fallen =
            self.recent.fallen(rules, now).filter(|why| *why != Reason::CellFails || !look.group_serves);
        match (self.phase, fallen) {
            (Phase::Down, _) => return self.come_back(rules, look, capacity, now),
            // What probes meet is what they are for.
            (Phase::Probing, Some(Reason::CellFails)) | (_, None) => {}
            (_, Some(reason)) => {
                (self.phase, self.is_crowded) = (Phase::Down, false);
                self.held_until = now + rules.period;
                return Some(reason);
            }
        }
        if self.phase == Phase::Full && self.is_open() {
            self.learned.add(look.succeeded, look.failed, rules.least_success, now);
            self.begin_period(now);
            return None;
        }
        let Some(capacity) = capacity else { return self.lift(Reason::CapacityUnknown, now) };
        self.judge(rules, capacity, now)
    }

    fn come_back(
        &mut self,
        rules: &RampRules,
        look: &Look,
        capacity: Option<f64>,
        now: Moment,
    ) -> Option<Reason> {
        if look.usable == 0 || now < self.held_until {
            return None;
        }
        self.recent.forget();
        let Some(capacity) = capacity else { return self.lift(Reason::CapacityUnknown, now) };
        Some(self.probe(rules, capacity, Reason::EndpointBack, now))
    }

    fn probe(&mut self, rules: &RampRules, capacity: f64, why: Reason, now: Moment) -> Reason {
        (self.phase, self.lifted, self.watched_until) = (Phase::Probing, false, None);
        (self.rate, self.is_crowded) = (rules.first_rate(capacity), why == Reason::Crowd);
        (self.quiet_since, self.quickest) = (None, [None; 2]);
        self.begin_period(now + rules.period.mul_f64(self.offset));
        why
    }

    /// Ends a period when its time has come, or when it is clear before that it hurts.
    fn judge(&mut self, rules: &RampRules, capacity: f64, now: Moment) -> Option<Reason> {
        let ended = now.since(self.began) >= rules.period;
        let first = rules.first_rate(capacity);
        let again = self.halved.is_none_or(|halved| now.since(halved) >= rules.period);
        let hurts = again && self.rate > first && self.period.fails(rules);
        if !(ended || hurts) {
            return None;
        }
        self.compare();
        let verdict = self.period.judge(rules, self.rate);
        (self.evidence.period, self.evidence.verdict) = (self.period, Some(verdict));
        if verdict == Verdict::Unclear {
            // Two failures now and two in the next period are four; but two now and none for a while are nothing, and so
            // are requests that were let through while there was no endpoint for them.
            self.began = now;
            if self.period.lasted > rules.period * rules.hold_periods {
                self.begin_period(now);
            }
            return None;
        }
        self.begin_period(now);
        if verdict.hurts() {
            return self.halve(rules, first, now);
        }
        let quiet = verdict == Verdict::Unused;
        self.quiet_since = quiet.then(|| self.quiet_since.unwrap_or(now));
        if self.quiet_since.is_some_and(|since| now.since(since) >= rules.quiet_after)
            || quiet && self.phase == Phase::Full
        {
            return self.lift(Reason::NobodyWaits, now);
        }
        let is_all = self.phase == Phase::Full && self.evidence.source != Source::Learned;
        if verdict != Verdict::Grow || now < self.held_until || is_all {
            return None;
        }
        self.grow(rules, capacity)
    }

    /// Says what the answers of this period may be compared with.
    fn compare(&mut self) {
        let Some((p95, many)) = self.period.slowness() else { return };
        let quickest = self.quickest[usize::from(many)].get_or_insert(p95);
        *quickest = p95.min(*quickest);
        self.period.baseline = self.period.usual.map(|usual| usual.max(*quickest));
    }

    fn grow(&mut self, rules: &RampRules, capacity: f64) -> Option<Reason> {
        self.rate *= rules.growth;
        // What was learned says what was asked of the cell, not what it bears: it goes on, until nobody waits.
        if self.evidence.source != Source::Learned {
            self.rate = self.rate.min(capacity);
        }
        if self.rate >= capacity {
            let reached = self.phase != Phase::Full;
            self.phase = Phase::Full;
            return reached.then_some(Reason::CapacityReached);
        }
        let probed = self.phase == Phase::Probing;
        self.phase = Phase::Ramping;
        probed.then_some(Reason::ProbesPassed)
    }

    fn halve(&mut self, rules: &RampRules, first: f64, now: Moment) -> Option<Reason> {
        self.rate = (self.rate * rules.shrink).max(first);
        self.halved = Some(now);
        self.held_until = now + rules.period * rules.hold_periods;
        self.quiet_since = None;
        let was_full = self.phase == Phase::Full;
        if was_full {
            self.phase = Phase::Ramping;
        }
        was_full.then_some(Reason::Hurt)
    }

    /// Nothing is limited any more.
    fn lift(&mut self, reason: Reason, now: Moment) -> Option<Reason> {
        let before = (self.phase, self.lifted);
        (self.phase, self.lifted, self.quiet_since) = (Phase::Full, true, None);
        self.learned.restart(now);
        (before != (Phase::Full, true)).then_some(reason)
    }

    fn end_pin(&mut self, rules: &RampRules, pin: Pin, capacity: Option<f64>, now: Moment) -> Option<Reason> {
        self.pin = None;
        self.begin_period(now);
        let Some(capacity) = capacity else { return self.lift(Reason::PinEnded, now) };
        let rate = pin.rate / f64::from(rules.replicas.get());
        let first = rules.first_rate(capacity);
        (self.rate, self.lifted) = (rate.clamp(first, capacity), false);
        self.phase = if rate < capacity { Phase::Ramping } else { Phase::Full };
        Some(Reason::PinEnded)
    }

    fn publish(&mut self, rules: &RampRules, capacity: Option<f64>, envelope: &Envelope, now: Moment) {
        if let (Some(capacity), Phase::Full | Phase::Ramping | Phase::Probing) = (capacity, self.phase) {
            // The declared capacity may have changed meanwhile.
            self.rate = match (self.phase, self.evidence.source) {
                (Phase::Full, Source::Learned) => self.rate.max(capacity),
                (Phase::Full, _) => capacity,
                _ => self.rate.min(capacity),
            };
        }
        let rate = match (self.pin, self.phase) {
            (Some(pin), _) => pin.rate / f64::from(rules.replicas.get()),
            (None, Phase::Down) => 0.0,
            (None, Phase::Full) if self.lifted => f64::INFINITY,
            (None, Phase::Full) if self.watched_until.is_some() => crowd_rps(self.rate),
            (None, _) => self.rate,
        };
        let fraction = capacity.map_or(1.0, |capacity| rate / capacity.max(f64::MIN_POSITIVE));
        self.evidence.rate = rate;
        self.evidence.held_until = (now < self.held_until).then_some(self.held_until);
        self.evidence.pinned_until = self.pin.map(|pin| pin.until);
        // What an operator lets through is more than probes.
        let only_probes = self.phase.only_probes() && !self.is_crowded && self.pin.is_none();
        envelope.publish((rate, only_probes), fraction, &self.offered, now);
    }

    /// Whether a full cell is left alone.
    const fn is_open(&self) -> bool {
        self.lifted || self.watched_until.is_some()
    }

    fn begin_period(&mut self, began: Moment) {
        self.period = Period::default();
        self.began = began;
    }
}

#[cfg(test)]
mod tests {
    use super::super::priority::Priority;
    use super::*;

    const STEP: Duration = Duration::from_millis(500);

    /// A cell that is asked so much evenly, one request a look at least.
    struct Cell {
        ramp: Ramp,
        envelope: Envelope,
        now: Moment,
        look: Look,
    }

    impl Cell {
        fn new(ramp: Ramp) -> Self {
            let look = Look { usable: 1, ..Look::default() };
            Self { ramp, envelope: Envelope::default(), now: Moment::START, look }
        }

        /// So many looks; in each as many ask, and what is let in ends as `answers` says.
        fn run(&mut self, looks: u32, ask: u32, answers: fn(&mut Look, u64)) -> Vec<(Phase, Reason)> {
            let mut seen = Vec::new();
            for _ in 0..looks {
                let mut look = self.look;
                let begin = self.now;
                for number in 0..ask {
                    let at = begin + STEP / ask * number;
                    let ticket = number.wrapping_mul(0x9e37_79b9);
                    if self.envelope.admits(Priority::Api, ticket, at) {
                        answers(&mut look, u64::from(number));
                    }
                }
                self.now = begin + STEP;
                let found = self.ramp.step(&RampRules::default(), &look, &self.envelope, self.now);
                seen.extend(found.map(|found| (found.to, found.reason)));
            }
            seen
        }

        fn rate(&self) -> f64 {
            self.ramp.evidence().rate
        }
    }

    fn well(look: &mut Look, _: u64) {
        look.succeeded += 1;
    }

    fn broken(look: &mut Look, number: u64) {
        look.failed += 1;
        look.failing_accounts |= 1 << (number % 3);
    }

    fn broken_for_two(look: &mut Look, number: u64) {
        look.failed += 1;
        look.failing_accounts |= 1 << (number % 2);
    }

    #[test]
    fn a_cell_of_unknown_size_has_no_ramp_and_one_that_was_seen_has() {
        for (ask, first, expected) in
            [(0, f64::INFINITY, Reason::CapacityUnknown), (100, 2.0, Reason::EndpointBack)]
        {
            let mut cell = Cell::new(Ramp::full(0.0, Moment::START));
            assert_eq!(cell.run(120, ask, well), [], "a minute of good times");
            cell.look.usable = 0;
            assert_eq!(cell.run(20, ask, broken_for_two), [(Phase::Down, Reason::NoEndpoint)]);
            assert_eq!(cell.rate(), 0.0);
            cell.look.usable = 1;
            let seen = cell.run(1, 0, well);
            assert_eq!((seen[0].1, cell.rate()), (expected, first), "1 % of what was seen, or no limit");
        }
    }

    #[test]
    fn what_was_refused_on_its_way_is_soon_forgotten() {
        let mut cell = Cell::new(Ramp::full(0.0, Moment::START));
        (cell.look.declared, cell.look.usable) = (Some(1_000.0), 0);
        cell.run(20, 100, |_, _| ());
        cell.look.usable = 1;
        cell.run(120, 1_000, |_, _| ());
        let before = cell.rate();
        cell.run(80, 1_000, well);
        assert!(cell.rate() > before * 2.0, "{} and {before} before good answers", cell.rate());
    }

    #[test]
    fn what_was_learned_at_night_does_not_hold_in_the_morning() {
        let mut cell = Cell::new(Ramp::full(0.0, Moment::START));
        assert_eq!(cell.run(120, 5, well), [], "ten a second");
        cell.look.usable = 0;
        assert_eq!(cell.run(20, 5, broken_for_two), [(Phase::Down, Reason::NoEndpoint)]);
        cell.look.usable = 1;
        let seen = cell.run(600, 50, well);
        let reasons: Vec<Reason> = seen.iter().map(|(_, reason)| *reason).collect();
        let expected =
            [Reason::EndpointBack, Reason::ProbesPassed, Reason::CapacityReached, Reason::NobodyWaits];
        assert_eq!((reasons, cell.rate()), (expected.to_vec(), f64::INFINITY), "a hundred a second");
    }

    #[test]
    fn where_nobody_asks_nobody_waits() {
        let mut cell = ramping();
        assert_eq!(cell.run(260, 0, well), [(Phase::Full, Reason::NobodyWaits)]);
    }

    #[test]
    fn three_accounts_are_a_cell_and_two_are_not() {
        for (answers, expected) in
            [(broken_for_two as fn(&mut Look, u64), None), (broken, Some((Phase::Down, Reason::CellFails)))]
        {
            let mut cell = Cell::new(Ramp::full(0.0, Moment::START));
            cell.look.declared = Some(100.0);
            cell.run(20, 20, well);
            assert_eq!(cell.run(8, 20, answers).first().copied(), expected);
        }
    }

    /// A cell that was down and is back at a tenth of the thousand requests a second that it is declared to bear.
    fn ramping() -> Cell {
        let mut cell = Cell::new(Ramp::full(0.0, Moment::START));
        cell.look.declared = Some(1_000.0);
        cell.ramp.phase = Phase::Ramping;
        (cell.ramp.lifted, cell.ramp.rate) = (false, 100.0);
        cell
    }

    #[test]
    fn what_nobody_uses_does_not_grow_and_ends_when_nobody_waits() {
        let mut cell = ramping();
        cell.run(200, 5, well);
        assert_eq!(
            (cell.ramp.phase(), cell.rate()),
            (Phase::Ramping, 100.0),
            "10 of 100 a second proves nothing"
        );
        assert_eq!(cell.run(60, 5, well), [(Phase::Full, Reason::NobodyWaits)]);
        assert_eq!(cell.rate(), f64::INFINITY);
    }

    #[test]
    fn a_process_that_begins_serves_a_cell_as_it_is_unless_a_crowd_comes() {
        let rules = RampRules::default();
        // Asked for in each half second of a cell of 1,000 a second; after how many looks; what that is.
        for (ask, after, expected) in [
            (500, 200, None),
            (600, 200, None),
            (1_500, 0, Some((Phase::Probing, Reason::Crowd))),
            (1_500, 200, Some((Phase::Probing, Reason::Crowd))),
            (1_500, 250, None),
        ] {
            let mut cell = Cell::new(Ramp::started(&rules, None, Some(1_000.0), 0.0, Moment::START, 0));
            cell.look.declared = Some(1_000.0);
            cell.run(after, 200, well);
            assert_eq!(cell.run(10, ask, well).first().copied(), expected, "{ask} after {after}");
            let rate = if expected.is_some() { 10.0 } else { cell.rate() };
            assert_eq!(cell.rate(), rate);
            assert!(rate >= 10.0);
        }
        // A page of a browser is no crowd, however small the cell.
        let mut cell = Cell::new(Ramp::started(&rules, None, Some(1.0), 0.0, Moment::START, 0));
        cell.look.declared = Some(1.0);
        assert_eq!(cell.run(1, 10, well), []);
        // It fails meanwhile: that is no matter of crowds.
        let mut cell = Cell::new(Ramp::started(&rules, None, Some(100.0), 0.0, Moment::START, 0));
        cell.look.declared = Some(100.0);
        assert_eq!(cell.run(8, 20, broken).first().copied(), Some((Phase::Down, Reason::CellFails)));
    }

    #[test]
    fn what_is_slow_at_little_of_its_rate_is_not_slow_for_it() {
        for (ask, expected) in [(10, Verdict::Unused), (25, Verdict::Slow), (60, Verdict::Slow)] {
            let mut cell = ramping();
            let slow = (Some(Duration::from_millis(900)), Some(Duration::from_millis(80)));
            (cell.look.p95, cell.look.baseline) = slow;
            cell.ramp.quickest = [slow.1; 2];
            cell.run(11, ask, well);
            assert_eq!(cell.ramp.evidence().verdict, Some(expected), "{ask} in half a second of 50");
        }
    }

    #[test]
    fn what_swallows_requests_does_not_grow() {
        let mut cell = ramping();
        cell.run(60, 200, |look, number| look.succeeded += u64::from(number % 4 == 0));
        assert_eq!((cell.rate(), cell.ramp.evidence().verdict), (100.0, Some(Verdict::Unclear)));
        assert_eq!(cell.envelope.fraction(), 0.1);
    }
}
