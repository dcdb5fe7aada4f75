//! One endpoint's state machine: up, ejected for a while, probed, up again; and down for as long as active checks say
//! so. Stepped about ten times a second by its only owner; what requests read is published by each step.
//!
//! **Observed or enforced, it moves the same.** What is counted while the endpoint is out is thrown away, but for the
//! one claimed probe: in enforce there is none of it, in observe it would keep the endpoint out, or let it in early.
//!
//! **Frozen** (somebody holds that it is the network): nobody is taken out. Whoever is out is probed and let back as
//! ever, but a probe that fails doubles nothing, for it says nothing of the endpoint.

use std::sync::Arc;
use std::time::Duration;

use super::super::super::moment::Moment;
use super::checks::CheckEnd;
use super::gate::{Found, Published};
use super::pace::Pace;
use super::transition::{Held, HeldBy, Reason, State, Transition};
use super::trip::{self, Evidence, Siblings, Summary};
use super::watch::{Taken, Watch};
use super::window::{Sums, Window};
use super::{AttemptEnd, HealthRules};

/// What a step is made from.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// What requests saw since the last step: [`Watch::take`] of this endpoint.
    pub taken: &'a Taken,
    /// The others of the cell: [`Siblings::of`] the [`Health::summary`] of all.
    pub siblings: Siblings,
    /// Active checks that ended since the last step, in order; `None` where none are configured.
    pub checks: Option<&'a [CheckEnd]>,
    /// A verdict about the path or the network holds.
    pub frozen: bool,
    /// The cell can do without this endpoint.
    pub may_eject: bool,
    /// Requests follow what is published; otherwise it is only observed.
    pub enforce: bool,
    /// Any number of 0 to 1.
    pub random: f64,
    /// When.
    pub rules: &'a HealthRules,
}

/// What outlives the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Where it stood.
    pub state: State,
    /// Ejections that were remembered.
    pub times: u32,
    /// Seconds of the ejection that were left.
    pub left_secs: u64,
    /// When this was true, in seconds since the Unix epoch.
    pub unix_secs: u64,
}

/// See the file.
#[derive(Debug)]
pub struct Health {
    watch: Arc<Watch>,
    state: State,
    times: u32,
    /// End of the ejection.
    until: Moment,
    /// From when on the next ejection is forgotten, [`HealthRules::forgive_after`] later.
    well_since: Moment,
    window: Window,
    /// Of the window at the last look while it was up.
    sums: Sums,
    pace: Pace,
    checks_failed: u32,
    checks_passed: u32,
    /// An endpoint that went for being slow comes back by a probe that is faster.
    slow_over: Option<Duration>,
    held: Option<Held>,
}

/// What a step has decided.
struct Change(State, Reason);

impl Health {
    /// Of an endpoint of which nothing is known, at `now`.
    pub fn new(watch: Arc<Watch>, now: Moment) -> Self {
        Self {
            watch,
            state: State::Up,
            times: 0,
            until: now,
            well_since: now,
            window: Window::new(),
            sums: Sums::default(),
            pace: Pace::default(),
            checks_failed: 0,
            checks_passed: 0,
            slow_over: None,
            held: None,
        }
    }

    /// As it was saved, at `now`, which is `unix_secs` on the clock of the wall. Time went on meanwhile: an ejection
    /// that is over is probed, and old ones are forgotten. A clock that was set back makes no ejection longer than
    /// the longest. Requests read it from the first step on.
    pub fn restored(
        watch: Arc<Watch>,
        saved: Saved,
        now: Moment,
        unix_secs: u64,
        rules: &HealthRules,
    ) -> Self {
        let gone = unix_secs.saturating_sub(saved.unix_secs);
        let longest = rules.ejection(u32::MAX, 1.0).as_secs();
        let left = saved.left_secs.min(longest).saturating_sub(gone);
        let quiet = gone.saturating_sub(saved.left_secs);
        let forgiven = quiet.checked_div(rules.forgive_after.as_secs()).unwrap_or(u64::MAX);
        let mut health = Self::new(watch, now);
        health.state = saved.state;
        let times = u64::from(saved.times.min(rules.most_times())).saturating_sub(forgiven);
        health.times = u32::try_from(times).unwrap_or(u32::MAX);
        health.until = now + Duration::from_secs(left);
        if saved.state == State::Probing {
            // Nobody knows what became of that probe.
            health.state = State::Ejected;
        }
        health
    }

    /// What is worth keeping over a restart.
    pub fn saved(&self, now: Moment, unix_secs: u64) -> Saved {
        Saved { state: self.state, times: self.times, left_secs: self.left(now).as_secs(), unix_secs }
    }

    /// What requests write and read.
    pub const fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    /// Health is off, in the place of a step: the endpoint is up, and what was seen is forgotten.
    pub fn rest(&mut self, now: Moment) -> Taken {
        if self.state != State::Up {
            self.state = State::Up;
            self.watch.gate.change(Published::Open);
            self.watch.gate.want_check(false);
        }
        // What is not taken would be of one moment when health is on again.
        let taken = self.watch.take();
        self.begin_anew(now);
        (self.times, self.held) = (0, None);
        taken
    }

    /// Where the endpoint stands.
    pub const fn state(&self) -> State {
        self.state
    }

    /// What its siblings are compared with, as of the last step.
    pub fn summary(&self) -> Summary {
        Summary {
            is_up: self.state == State::Up,
            requests: self.sums.attempts,
            failed: self.sums.failed,
            median: self.pace.median().map(|(_, at_most)| at_most),
        }
    }

    /// Why it should be out and is not.
    pub const fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// Ejections that are remembered.
    pub const fn times(&self) -> u32 {
        self.times
    }

    /// How long it stays ejected; zero where it is not.
    pub fn left(&self, now: Moment) -> Duration {
        if self.state == State::Ejected { self.until.since(now) } else { Duration::ZERO }
    }

    /// Looks, changes the state by one step where there is reason, and publishes it.
    pub fn step(&mut self, look: &Look<'_>, now: Moment) -> Option<Transition> {
        self.count_checks(look);
        self.held = None;
        let found = self.watch.gate.found();
        let change = match self.state {
            State::Up => self.while_up(look, now),
            State::Ejected => self.while_ejected(look, found, now),
            State::Probing => self.while_probing(look, found),
            State::Down => self.while_down(look),
        };
        let transition = change.map(|change| self.change(change, look, now));
        self.publish(look, transition.is_some(), found.is_some());
        transition
    }

    fn count_checks(&mut self, look: &Look<'_>) {
        if look.checks.is_none() {
            (self.checks_failed, self.checks_passed) = (0, 0);
        }
        for end in look.checks.unwrap_or_default() {
            let (more, none) = match end.has_passed() {
                true => (&mut self.checks_passed, &mut self.checks_failed),
                false => (&mut self.checks_failed, &mut self.checks_passed),
            };
            *more = more.saturating_add(1);
            *none = 0;
        }
    }

    fn while_up(&mut self, look: &Look<'_>, now: Moment) -> Option<Change> {
        self.window.add(look.taken, now);
        self.sums = self.window.sums(now, look.rules.trip.accounts);
        self.pace.add(&look.taken.first_bytes, now);
        let evidence = self.evidence(look);
        let tripped = match self.has_fallen(look) {
            true => Some(Change(State::Down, Reason::ChecksFailed)),
            false => trip::judge(&evidence, &look.rules.trip).map(|reason| Change(State::Ejected, reason)),
        };
        let Some(Change(to, reason)) = tripped else {
            self.forgive(look.rules, now);
            return None;
        };
        self.well_since = now;
        let by = match (look.frozen, look.may_eject) {
            (true, _) => HeldBy::Frozen,
            (_, false) => HeldBy::Headroom,
            _ => return Some(Change(to, reason)),
        };
        self.held = Some(Held { reason, by, evidence });
        None
    }

    fn while_ejected(&mut self, look: &Look<'_>, found: Option<Found>, now: Moment) -> Option<Change> {
        if self.has_fallen(look) && !look.frozen {
            return Some(Change(State::Down, Reason::ChecksFailed));
        }
        // Asked before its time, because most of the cell is out. A failure there only says what is known.
        if found.is_some_and(|found| self.judge_probe(found) == Reason::ProbePassed) {
            return Some(Change(State::Up, Reason::ProbePassed));
        }
        (now >= self.until).then_some(Change(State::Probing, Reason::TimeOver))
    }

    fn while_probing(&self, look: &Look<'_>, found: Option<Found>) -> Option<Change> {
        if self.has_fallen(look) && !look.frozen {
            return Some(Change(State::Down, Reason::ChecksFailed));
        }
        let reason = match look.checks {
            Some(checks) if checks.last()?.has_passed() => Reason::ProbePassed,
            Some(_) => Reason::ProbeFailed,
            None => self.judge_probe(found?),
        };
        let to = if reason == Reason::ProbePassed { State::Up } else { State::Ejected };
        Some(Change(to, reason))
    }

    fn while_down(&self, look: &Look<'_>) -> Option<Change> {
        if look.checks.is_none() {
            return Some(Change(State::Up, Reason::ChecksEnded));
        }
        (self.checks_passed >= look.rules.rise.max(1)).then_some(Change(State::Up, Reason::ChecksPassed))
    }

    const fn has_fallen(&self, look: &Look<'_>) -> bool {
        self.checks_failed > 0 && self.checks_failed >= look.rules.fall
    }

    fn judge_probe(&self, found: Found) -> Reason {
        match found.end {
            AttemptEnd::Answered if self.slow_over.is_some_and(|limit| found.first_byte > Some(limit)) => {
                Reason::ProbeSlow
            }
            AttemptEnd::Answered | AttemptEnd::AppError => Reason::ProbePassed,
            // It has enough to do with what others send it (Linkerd fails a probe for a 429 as well).
            AttemptEnd::Pushback => Reason::ProbeFailed,
            AttemptEnd::Gateway | AttemptEnd::Unconnected | AttemptEnd::Broken => Reason::ProbeFailed,
        }
    }

    fn forgive(&mut self, rules: &HealthRules, now: Moment) {
        if self.times == 0 {
            self.well_since = now;
        } else if now.since(self.well_since) >= rules.forgive_after {
            self.times -= 1;
            self.well_since = self.well_since + rules.forgive_after;
        }
    }

    fn change(&mut self, Change(to, reason): Change, look: &Look<'_>, now: Moment) -> Transition {
        let evidence = self.evidence(look);
        let from = std::mem::replace(&mut self.state, to);
        let mut out_for = None;
        match to {
            State::Up => self.begin_anew(now),
            State::Ejected => {
                if from == State::Up || !look.frozen {
                    self.times = (self.times + 1).min(look.rules.most_times());
                }
                if from == State::Up {
                    let slow = reason == Reason::SlowerThanSiblings;
                    self.slow_over = trip::slow_limit(&evidence, &look.rules.trip).filter(|_| slow);
                }
                let out = look.rules.ejection(self.times, look.random);
                self.until = now + out;
                out_for = Some(out);
            }
            State::Probing | State::Down => {}
        }
        let (times, would_have) = (self.times, !look.enforce);
        Transition { from, to, reason, times, out_for, would_have, evidence }
    }

    /// What was seen before it went is not held against it.
    fn begin_anew(&mut self, now: Moment) {
        self.well_since = now;
        self.slow_over = None;
        self.checks_failed = 0;
        self.window.clear();
        self.sums = Sums::default();
        self.pace.forget_recent();
        self.watch.end_runs();
    }

    fn publish(&self, look: &Look<'_>, changed: bool, is_found: bool) {
        let published = match self.state {
            State::Up => Published::Open,
            // Where there are active checks they are the probe.
            State::Probing if look.checks.is_none() => Published::Offered,
            State::Ejected | State::Probing | State::Down => Published::Closed,
        };
        let gate = &self.watch.gate;
        gate.observe(!look.enforce);
        gate.want_check(self.state == State::Probing && look.checks.is_some());
        match (changed, self.state) {
            // A probe that was claimed before its time is the probe.
            (true, State::Probing) if !is_found => gate.keep(published),
            (true, _) => gate.change(published),
            (false, _) => gate.keep(published),
        }
    }

    fn evidence(&self, look: &Look<'_>) -> Evidence {
        let sums = self.sums;
        Evidence {
            requests: sums.attempts,
            failed: sums.failed,
            set_aside: sums.set_aside,
            accounts: sums.accounts,
            local_run: look.taken.local_run,
            unconnected_run: look.taken.unconnected_run,
            gateway_run: look.taken.gateway_run,
            run_accounts: look.taken.run_accounts,
            median: self.pace.median().map(|(at_least, _)| at_least),
            usual_median: self.pace.usual_median(),
            siblings: look.siblings,
            checks_failed: self.checks_failed,
            checks_passed: self.checks_passed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::gate::Usable;
    use super::*;

    /// One endpoint with siblings that are well, looked at each 100 ms.
    struct World {
        watch: Arc<Watch>,
        health: Health,
        rules: HealthRules,
        now: Moment,
        checked: bool,
        frozen: bool,
        may_eject: bool,
        enforce: bool,
    }

    const LOOK: Duration = Duration::from_millis(100);

    impl World {
        fn new() -> Self {
            let watch = Arc::new(Watch::new());
            let health = Health::new(watch.clone(), Moment::START);
            let rules = HealthRules::default();
            let now = Moment::START;
            Self { watch, health, rules, now, checked: false, frozen: false, may_eject: true, enforce: true }
        }

        fn restarted(saved: Saved, unix_secs: u64) -> Self {
            let mut world = Self::new();
            let rules = HealthRules::default();
            world.health = Health::restored(world.watch.clone(), saved, world.now, unix_secs, &rules);
            world
        }

        fn look(&mut self, checks: &[CheckEnd]) -> Option<Transition> {
            self.now = self.now + LOOK;
            let look = Look {
                taken: &self.watch.take(),
                siblings: Siblings { requests: 1_000, failed: 0, median: None },
                checks: self.checked.then_some(checks),
                frozen: self.frozen,
                may_eject: self.may_eject,
                enforce: self.enforce,
                random: 0.0,
                rules: &self.rules,
            };
            self.health.step(&look, self.now)
        }

        /// Looks for so long; what has happened.
        fn wait(&mut self, secs: u32) -> Vec<(State, Reason)> {
            (0..secs * 10).filter_map(|_| self.look(&[])).map(|change| (change.to, change.reason)).collect()
        }

        /// Ten requests that end so, if they may.
        fn ask(&self, end: AttemptEnd) {
            for _ in 0..10 {
                let _ = self.watch.would_enter();
                if let Some(entry) = self.watch.enter() {
                    entry.ended(&self.watch, end, None, None);
                }
            }
        }

        fn change(&mut self) -> Option<(State, Reason)> {
            self.look(&[]).map(|change| (change.to, change.reason))
        }
    }

    use AttemptEnd::{Answered, AppError, Pushback, Unconnected};

    #[test]
    fn a_dead_endpoint_is_out_probed_out_for_longer_and_back() {
        let mut world = World::new();
        world.ask(Unconnected);
        assert_eq!(world.change(), Some((State::Ejected, Reason::LocalRun)));
        assert_eq!(world.watch.usable(), Usable::No);
        for (times, secs) in [(2, 5), (3, 10), (4, 20), (5, 40), (6, 80), (7, 160), (7, 300), (7, 300)] {
            assert_eq!(world.wait(secs - 1), []);
            assert_eq!(world.wait(2), [(State::Probing, Reason::TimeOver)], "after {secs} s");
            assert_eq!(world.watch.usable(), Usable::OneProbe);
            world.ask(Unconnected);
            assert_eq!(world.change(), Some((State::Ejected, Reason::ProbeFailed)));
            assert_eq!(world.health.times(), times);
        }
        assert_eq!(world.wait(301), [(State::Probing, Reason::TimeOver)]);
        world.ask(Answered);
        assert_eq!(world.change(), Some((State::Up, Reason::ProbePassed)));
        assert_eq!(world.watch.usable(), Usable::Yes);
        // What was counted before does not take it out again, and each minute forgets one.
        assert_eq!(world.wait(59), []);
        assert_eq!(world.health.times(), 7);
        assert_eq!(world.wait(60 * 6 + 2), []);
        assert_eq!(world.health.times(), 0);
    }

    #[test]
    fn a_probe_passes_by_what_it_finds() {
        let table = [
            (Answered, State::Up),
            (AppError, State::Up),
            (Pushback, State::Ejected),
            (AttemptEnd::Gateway, State::Ejected),
            (Unconnected, State::Ejected),
            (AttemptEnd::Broken, State::Ejected),
        ];
        for (end, expect) in table {
            let mut world = World::new();
            world.ask(Unconnected);
            world.wait(6);
            assert_eq!(world.health.state(), State::Probing);
            world.ask(end);
            world.look(&[]);
            assert_eq!(world.health.state(), expect, "{end:?}");
        }
    }

    #[test]
    fn an_endpoint_that_went_for_being_slow_comes_back_by_a_probe_that_is_not() {
        let mut world = World::new();
        let limit = Duration::from_millis(120);
        for (millis, to, reason) in
            [(121, State::Ejected, Reason::ProbeSlow), (120, State::Up, Reason::ProbePassed)]
        {
            for _ in 0..100 {
                world.watch.record(world.watch.ticket(), Answered, Some(10 * limit), None);
            }
            world.health.state = State::Up;
            world.look(&[]);
            assert!(world.health.summary().median.is_some());
            world.health.state = State::Probing;
            world.health.slow_over = Some(limit);
            world.look(&[]);
            let probe = world.watch.claim().expect("it is offered");
            probe.ended(Answered, Some(Duration::from_millis(millis)));
            assert_eq!(world.change(), Some((to, reason)), "{millis} ms");
        }
        assert_eq!(world.health.summary().median, None, "how slow it was does not become usual");
    }

    #[test]
    fn a_verdict_or_want_of_headroom_holds_an_endpoint_in() {
        for (frozen, may_eject, by) in [(true, true, HeldBy::Frozen), (false, false, HeldBy::Headroom)] {
            let mut world = World { frozen, may_eject, ..World::new() };
            world.ask(Unconnected);
            assert_eq!(world.change(), None);
            let held = world.health.held().map(|held| (held.reason, held.by));
            assert_eq!(held, Some((Reason::LocalRun, by)));
            assert_eq!(world.watch.usable(), Usable::Yes);
            // The evidence is kept.
            (world.frozen, world.may_eject) = (false, true);
            assert_eq!(world.change(), Some((State::Ejected, Reason::LocalRun)));
            assert_eq!(world.health.held(), None);
        }
    }

    #[test]
    fn a_verdict_lets_back_and_doubles_nothing() {
        let mut world = World::new();
        world.ask(Unconnected);
        world.look(&[]);
        world.frozen = true;
        for _ in 0..3 {
            assert_eq!(world.wait(6), [(State::Probing, Reason::TimeOver)]);
            world.ask(Unconnected);
            assert_eq!(world.change(), Some((State::Ejected, Reason::ProbeFailed)));
            assert_eq!(world.health.times(), 1);
        }
        world.wait(6);
        world.ask(Answered);
        assert_eq!(world.change(), Some((State::Up, Reason::ProbePassed)));
    }

    #[test]
    fn active_checks_take_down_and_bring_up_and_are_the_probe() {
        let (failed, passed) = ([CheckEnd::TimedOut], [CheckEnd::Passed]);
        let mut world = World { checked: true, ..World::new() };
        let check =
            |world: &mut World, end: &[CheckEnd]| world.look(end).map(|change| (change.to, change.reason));
        for _ in 0..2 {
            assert_eq!(check(&mut world, &failed), None);
            assert_eq!(check(&mut world, &failed), None);
            assert_eq!(check(&mut world, &passed), None, "two of three");
        }
        for expect in [None, None, Some((State::Down, Reason::ChecksFailed))] {
            assert_eq!(check(&mut world, &failed), expect);
        }
        assert_eq!(world.wait(1_000), [], "it stays down");
        for expect in [None, Some((State::Up, Reason::ChecksPassed))] {
            assert_eq!(check(&mut world, &passed), expect);
        }
        world.ask(Unconnected);
        assert_eq!(world.wait(6), [(State::Ejected, Reason::LocalRun), (State::Probing, Reason::TimeOver)]);
        assert_eq!(world.watch.usable(), Usable::No, "no request of a client");
        assert!(world.watch.wants_check());
        assert_eq!(check(&mut world, &failed), Some((State::Ejected, Reason::ProbeFailed)));
        assert!(!world.watch.wants_check(), "there was one");
        assert_eq!(world.wait(11), [(State::Probing, Reason::TimeOver)]);
        assert_eq!(check(&mut world, &passed), Some((State::Up, Reason::ProbePassed)));
        assert!(!world.watch.wants_check());
        // Taken off the configuration while it is down.
        for _ in 0..3 {
            world.look(&failed);
        }
        world.checked = false;
        assert_eq!(world.change(), Some((State::Up, Reason::ChecksEnded)));
    }

    #[test]
    fn who_is_asked_before_its_time_comes_back_or_stays_as_it_was() {
        let mut world = World::new();
        world.ask(Unconnected);
        world.look(&[]);
        world.watch.claim().expect("it is out").ended(Unconnected, None);
        assert_eq!((world.change(), world.health.times()), (None, 1));
        // One that is on its way when the time comes is the probe.
        let early = world.watch.claim().expect("the last one has ended");
        assert_eq!(world.wait(6), [(State::Probing, Reason::TimeOver)]);
        assert_eq!(world.watch.usable(), Usable::No);
        early.ended(Answered, None);
        assert_eq!(world.change(), Some((State::Up, Reason::ProbePassed)));
        world.ask(Unconnected);
        world.look(&[]);
        world.watch.claim().expect("it is out").ended(Answered, None);
        assert_eq!(world.change(), Some((State::Up, Reason::ProbePassed)));
    }

    #[test]
    fn off_it_is_up_and_knows_nothing() {
        let mut world = World::new();
        world.ask(Unconnected);
        world.wait(6);
        world.health.rest(world.now);
        assert_eq!((world.watch.usable(), world.health.times()), (Usable::Yes, 0));
        (0..3).for_each(|_| world.ask(Unconnected));
        world.health.rest(world.now);
        assert_eq!(world.change(), None, "what came while it was off is gone");
    }

    #[test]
    fn observed_it_moves_as_enforced_and_is_asked_all_the_same() {
        let run = |enforce: bool| {
            let mut world = World { enforce, ..World::new() };
            let (mut changes, mut not_asked) = (Vec::new(), 0);
            for look in 0..6_000 {
                // Dead for a minute, well for a minute.
                not_asked += u32::from(world.watch.usable() != Usable::Yes);
                world.ask(if look / 600 % 2 == 0 { Unconnected } else { Answered });
                changes.extend(world.look(&[]).map(|change| {
                    assert_eq!(change.would_have, !enforce);
                    (look, change.from, change.to, change.reason, change.times, change.out_for)
                }));
            }
            (changes, not_asked)
        };
        let ((observed, observed_not_asked), (enforced, enforced_not_asked)) = (run(false), run(true));
        assert_eq!(observed, enforced);
        assert!(observed.len() > 12, "{observed:?}");
        assert_eq!(observed_not_asked, 0);
        assert!(enforced_not_asked > 1_000, "{enforced_not_asked}");
    }

    #[test]
    fn a_restart_goes_on_where_it_was() {
        const UNIX: u64 = 1_795_132_800;
        let mut world = World::new();
        world.ask(Unconnected);
        world.look(&[]);
        for _ in 0..3 {
            world.wait(90);
            world.ask(Unconnected);
            world.look(&[]);
        }
        let saved = world.health.saved(world.now, UNIX);
        assert_eq!(saved, Saved { state: State::Ejected, times: 4, left_secs: 40, unix_secs: UNIX });
        let check = |saved: Saved, later: u64, state: State, times: u32, left: u64| {
            let mut world = World::restarted(saved, UNIX + later);
            assert_eq!(world.health.left(world.now).as_secs(), left, "after {later} s");
            world.look(&[]);
            assert_eq!((world.health.state(), world.health.times()), (state, times), "after {later} s");
        };
        check(saved, 10, State::Ejected, 4, 30);
        check(saved, 40, State::Probing, 4, 0);
        check(saved, 40 + 120, State::Probing, 2, 0);
        check(saved, 86_400, State::Probing, 0, 0);
        check(Saved { left_secs: u64::MAX, times: u32::MAX, ..saved }, 0, State::Ejected, 7, 450);
        check(Saved { state: State::Probing, left_secs: 0, ..saved }, 0, State::Probing, 4, 0);
        check(Saved { state: State::Up, left_secs: 0, ..saved }, 0, State::Up, 4, 0);
        // The clock was set back.
        check(Saved { unix_secs: UNIX + 1_000, ..saved }, 0, State::Ejected, 4, 40);
        let mut down = World::restarted(Saved { state: State::Down, ..saved }, UNIX);
        down.checked = true;
        down.look(&[]);
        assert_eq!((down.health.state(), down.watch.usable()), (State::Down, Usable::No));
    }
}
