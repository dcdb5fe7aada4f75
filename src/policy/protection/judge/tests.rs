//! All parts of one cell together, in virtual time: what none of them says alone.

use std::sync::Arc;

use super::super::super::admit::Bound;
use super::super::super::ids::AccountId;
use super::super::super::snapshot::{EndpointKey, Group};
use super::super::health::{AttemptEnd, State};
use super::super::levers::Lever;
use super::super::modes::Modes;
use super::super::priority::Priority;
use super::super::ramp::Phase;
use super::super::shed::Shed;
use super::super::standing::{Admission, Ask, Outcome};
use super::super::verdict::counters::Failure;
use super::*;

/// Capacity of each group, in requests a second.
const DECLARED: u32 = 100;

/// A cell with so many groups of one endpoint each, asked evenly.
struct World {
    snapshot: Snapshot,
    judge: Judge,
    levers: Option<Levers>,
    random: fastrand::Rng,
    now: Moment,
    /// Of the last second: those that were served, and those that were not.
    served: u32,
    not: u32,
    /// Why, where that was before an endpoint was chosen.
    refused: Vec<Shed>,
    /// How long an answer takes to begin.
    first_byte: Duration,
}

impl World {
    fn new(groups: u8) -> Self {
        let mut snapshot = crate::test_snapshot::example().build();
        snapshot.cells.truncate(1);
        let first: Group = snapshot.cells[0].groups[0].clone();
        snapshot.cells[0].groups = (0..groups).map(|at| group(&first, at)).collect();
        let random = fastrand::Rng::with_seed(7);
        Self {
            snapshot,
            judge: Judge::default(),
            levers: None,
            random,
            now: Moment::START,
            served: 0,
            not: 0,
            refused: Vec::new(),
            first_byte: Duration::from_millis(20),
        }
    }

    /// A second of so many requests; `up` says which endpoints take connections.
    fn second(&mut self, requests: u32, up: impl Fn(usize) -> bool) {
        (self.served, self.not) = (0, 0);
        self.refused.clear();
        for number in 0..requests {
            if number % (requests / 10) == 0 {
                self.look();
            }
            self.now = self.now + SECOND / requests;
            if self.ask(&up) {
                self.served += 1;
            } else {
                self.not += 1;
            }
        }
    }

    fn look(&mut self) {
        let now_secs = self.now.nanos() / 1_000_000_000;
        let look = Look {
            snapshot: &self.snapshot,
            levers: self.levers.as_ref(),
            late: Duration::ZERO,
            now: self.now,
            now_secs,
        };
        self.judge.look(&look, &mut || self.random.f64());
    }

    fn ask(&mut self, up: &impl Fn(usize) -> bool) -> bool {
        let cell = &self.snapshot.cells[0];
        let standing = &cell.load.standing;
        let account = AccountId::parse(self.random.u32(1..500).to_string().as_bytes()).ok();
        let random = self.random.u64(..);
        let ask = Ask { priority: Priority::Api, account, long_lived: false, left: None, random };
        let admission = standing.ask(self.now, &ask, &Modes::default(), || unreachable!("nobody waits"));
        let pass = match admission {
            Admission::Go(pass) => pass,
            Admission::Wait(..) => return false,
            Admission::Refused(why, _) => {
                self.refused.push(why);
                return false;
            }
        };
        let at = pass.group.unwrap_or(0);
        let served = match cell.groups[at].endpoints[0].load.enter(account) {
            None => false,
            Some(attempt) if up(at) => {
                let first_byte = Some(self.first_byte);
                standing.tell(self.now, &pass, &ask, Outcome::Served, first_byte);
                attempt.asked().answered(AttemptEnd::Answered, first_byte);
                true
            }
            Some(attempt) => {
                standing.tell(self.now, &pass, &ask, Outcome::Failed, None);
                attempt.unconnected(Failure::Refused);
                false
            }
        };
        standing.end(self.now, pass);
        served
    }

    fn phase(&self) -> Phase {
        self.judge.report(&self.snapshot, self.now).cells[0].phase
    }
}

fn group(like: &Group, at: u8) -> Group {
    let mut group = like.clone();
    group.zone = Label::parse(&format!("zone-{at}")).expect("a label");
    group.capacity_rps = Some(DECLARED);
    group.requests = Bound::new(1_000);
    group.load = Arc::default();
    group.endpoints.truncate(1);
    group.endpoints[0].key = EndpointKey(format!("endpoint {at}").into());
    group.endpoints[0].load = Arc::default();
    group
}

#[test]
fn a_cell_that_was_gone_as_a_whole_comes_back_by_its_ramp() {
    for groups in [1, 3] {
        let mut world = World::new(groups);
        (0..60).for_each(|_| world.second(60, |_| true));
        assert_eq!((world.served, world.not), (60, 0), "{groups} groups, in normal times");
        (0..40).for_each(|_| world.second(60, |_| false));
        assert_eq!(world.served, 0, "{groups} groups");
        assert_ne!(world.phase(), Phase::Full, "{groups} groups");
        let mut seconds = 0;
        while world.served < 57 && seconds < 240 {
            world.second(60, |_| true);
            seconds += 1;
        }
        assert!(seconds < 200, "{groups} groups: {} served after {seconds} s", world.served);
    }
}

#[test]
fn a_cell_that_is_gone_is_called_down_until_it_takes_more_than_probes() {
    let mut world = World { judge: Judge::warm(), ..World::new(1) };
    (0..60).for_each(|_| world.second(100, |_| true));
    (0..10).for_each(|_| world.second(100, |_| false));
    let mut said = 0;
    for second in 10..120 {
        world.second(100, |_| false);
        assert!(world.refused.iter().all(|why| *why == Shed::CellDown), "{second} s: {:?}", world.refused);
        said += world.refused.len();
    }
    assert!(said > 8_000, "{said} of 11000 were refused before an endpoint was chosen");
    let mut recovering = 0;
    for second in 0..300 {
        let before = world.phase();
        world.second(100, |_| true);
        let expect = match before {
            Phase::Down | Phase::Probing => Shed::CellDown,
            Phase::Ramping | Phase::Full => Shed::Recovering,
        };
        if world.phase() == before {
            assert!(world.refused.iter().all(|why| *why == expect), "{second} s: {:?}", world.refused);
            recovering += if expect == Shed::Recovering { world.refused.len() } else { 0 };
        }
    }
    assert!(recovering > 1_000, "{recovering} while it came back");
    assert_eq!(world.phase(), Phase::Full);
}

#[test]
fn a_cell_that_is_slow_for_minutes_stays_far_above_what_is_usual() {
    let mut world = World { judge: Judge::warm(), ..World::new(1) };
    (0..120).for_each(|_| world.second(50, |_| true));
    world.first_byte = Duration::from_millis(500);
    (0..600).for_each(|_| world.second(50, |_| true));
    let cell = world.judge.report(&world.snapshot, world.now).cells.remove(0);
    let [now, usual] = [cell.p95, cell.usual_p95].map(Option::unwrap_or_default);
    assert!(now > usual * 10, "{now:?} now, usually {usual:?}");
}

#[test]
fn a_group_that_is_lost_is_taken_over_within_what_the_others_have_declared() {
    let mut world = World::new(3);
    (0..60).for_each(|_| world.second(120, |_| true));
    assert_eq!(world.not, 0);
    (0..60).for_each(|_| world.second(120, |group| group != 1));
    // One request of a backoff finds out whether it is back.
    assert!(world.served >= 117, "{} of 120 served with two groups of three", world.served);
    (0..240).for_each(|_| world.second(120, |_| true));
    assert!(world.not <= 2, "{} of 120 not served, and it is back", world.not);
}

#[test]
fn a_group_that_is_lost_is_not_the_cell() {
    // Two that serve, and one with another that stands by.
    for standby in [0, 1] {
        let mut world = World { judge: Judge::warm(), ..World::new(2) };
        world.snapshot.cells[0].groups[1].priority = standby;
        world.snapshot.cells[0].groups[1].capacity_rps = Some(DECLARED * 10);
        world.snapshot.cells[0].groups[0].capacity_rps = Some(DECLARED * 10);
        world.second(800, |_| true);
        assert_eq!((world.served, world.phase()), (800, Phase::Full), "it has been well for long");
        (0..10).for_each(|_| world.second(800, |_| true));
        for second in 0..60 {
            world.second(800, |group| group != 0);
            assert_eq!(world.phase(), Phase::Full, "standby {standby}, {second} s");
        }
        assert!(world.served >= 780, "{} of 800 served, standby {standby}", world.served);
    }
}

#[test]
fn a_cell_whose_groups_fall_one_after_the_other_comes_back_as_one_that_falls_at_once() {
    for apart in [1, 2, 4, 6, 8, 10] {
        let mut world = World { judge: Judge::warm(), ..World::new(2) };
        (0..60).for_each(|_| world.second(60, |_| true));
        (0..apart).for_each(|_| world.second(60, |group| group != 0));
        (0..60).for_each(|_| world.second(60, |_| false));
        let mut seconds = 0;
        while world.served < 57 && seconds < 300 {
            world.second(60, |_| true);
            seconds += 1;
        }
        assert!(seconds <= 130, "{apart} s apart: {} served after {seconds} s", world.served);
    }
}

#[test]
fn an_endpoint_that_is_out_alone_is_written_down_soon() {
    let mut world = World { judge: Judge::warm(), ..World::new(2) };
    let groups = &mut world.snapshot.cells[0].groups;
    let other = groups.pop().expect("there are two");
    groups[0].endpoints.extend(other.endpoints);
    (0..10).for_each(|_| world.second(60, |_| true));
    assert!(!world.judge.is_busy());
    for account in 1..=20u8 {
        let account = AccountId::parse(account.to_string().as_bytes()).ok();
        let second = &world.snapshot.cells[0].groups[0].endpoints[1];
        if let Some(attempt) = second.load.enter(account) {
            attempt.unconnected(Failure::Refused);
        }
    }
    world.look();
    let report = world.judge.report(&world.snapshot, world.now);
    let states: Vec<_> = report.cells[0].groups[0].endpoints.iter().map(|endpoint| endpoint.state).collect();
    assert_eq!((&states[..], world.phase()), (&[State::Up, State::Ejected][..], Phase::Full));
    assert!(world.judge.is_busy());
}

#[test]
fn after_a_restart_load_is_spread_over_the_groups_as_before() {
    let mut world = World::new(3);
    (0..60).for_each(|_| world.second(120, |_| true));
    let now_secs = world.now.nanos() / 1_000_000_000;
    let saved = world.judge.saved(&world.snapshot, world.now, now_secs);
    // The next process has counters of its own.
    let mut next = World { judge: Judge::restored(saved), now: world.now, ..World::new(3) };
    (0..5).for_each(|_| next.second(120, |_| true));
    assert_eq!(next.served, 120);
    let report = next.judge.report(&next.snapshot, next.now);
    for group in &report.cells[0].groups {
        let own = group.failover.map_or(0.0, |seen| seen.own_load);
        assert!((25.0..55.0).contains(&own), "{} has {own} of 120 a second", group.zone);
    }
}

#[test]
fn a_connection_to_a_zone_that_is_known_to_be_slow_may_take_twice_as_long() {
    let mut world = World::new(3);
    for number in 1..4 {
        let mut another = World::new(3).snapshot.cells.remove(0);
        another.name = Label::parse(&format!("another-{number}")).expect("a label");
        world.snapshot.cells.push(another);
    }
    let configured = Duration::from_secs(3);
    let second = |world: &mut World, slow: u32| -> Vec<u64> {
        let mut limits = Vec::new();
        for group in world.snapshot.cells.iter().flat_map(|cell| &cell.groups) {
            let times = if group.zone.as_str() == "zone-1" { slow } else { 1 };
            let load = &group.endpoints[0].load;
            for _ in 0..20 {
                load.counters.connected(Duration::from_millis(2) * times, None);
                load.counters.begin().answered(Some(Duration::from_millis(20) * times), None);
            }
            limits.push(load.connect_timeout(configured).as_secs());
        }
        (0..10).for_each(|_| {
            world.now = world.now + SECOND / 10;
            world.look();
        });
        limits
    };
    (0..120).for_each(|_| assert_eq!(second(&mut world, 1), [3; 12]));
    (0..20).for_each(|_| _ = second(&mut world, 50));
    assert_eq!(second(&mut world, 50), [3, 6, 3].repeat(4));
    // An operator has an eye on one cell and turns it off there.
    let mut levers = Levers::default();
    let lever = Lever::parse("policy set verdict observe cell another-2").expect("words of a lever");
    let _ = levers.pull(lever, ("ann", "they have moved"), None, 0).expect("there is room");
    world.levers = Some(levers);
    second(&mut world, 50);
    assert_eq!(second(&mut world, 50), [3, 6, 3, 3, 6, 3, 3, 3, 3, 3, 6, 3]);
    world.levers = None;
    second(&mut world, 50);
    assert_eq!(second(&mut world, 50), [3, 6, 3].repeat(4));
    // A verdict stands for a while after its reason.
    let back = (0..300).find(|_| second(&mut world, 1) == [3; 12]);
    assert!(back.is_some(), "{:?}", world.judge.report(&world.snapshot, world.now).verdicts);
    let load = &world.snapshot.cells[0].groups[0].endpoints[0].load;
    load.be_patient(2);
    assert_eq!(
        load.connect_timeout(Duration::from_secs(7)).as_secs(),
        10,
        "nobody waits longer for a verdict's sake"
    );
    assert_eq!(load.connect_timeout(Duration::from_secs(30)).as_secs(), 30);
}
