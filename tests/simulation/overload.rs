//! A cell that is asked for more than it can do, in virtual time: the gate and the limit before a model that breaks
//! when it is pushed. Clients are an open loop: who is refused is not asked again.
//!
//! `CELLGATE_TEST_LONG=1` runs more seeds.

#[path = "overload/groups.rs"]
mod groups;
#[path = "overload/world.rs"]
mod world;

use std::time::Duration;

use cellgate::drill::model::ModelRules;
use cellgate::policy::protection::concurrency::LimitRules;
use cellgate::policy::protection::gate::GateRules;
use cellgate::policy::protection::priority::Priority;
use world::{End, Load, World, report};

pub use world::{report as say, seeds};

/// A twentieth heartbeats, half of people, the rest programs and exports.
const MIXED: [f64; 4] = [0.05, 0.45, 0.3, 0.2];

const CAPACITY: f64 = 1_000.0;

const CAPACITY_OF_GROUP: f64 = groups::CAPACITY;

fn model() -> ModelRules {
    ModelRules { capacity_rps: CAPACITY, ..ModelRules::default() }
}

/// Of a declared concurrency of so many times what the model has workers.
fn world(seed: u64, declared: f64, load: Load) -> World {
    let workers = cellgate::drill::model::Model::new(model(), seed).workers();
    let declared = (workers as f64 * declared).round() as u32;
    World::new(seed, model(), GateRules::of(declared), LimitRules::of(declared), load)
}

#[test]
fn at_twice_the_capacity_heartbeats_live_and_the_cell_does_all_it_can() {
    for declared in [1.0, 2.0, 4.0] {
        for seed in seeds() {
            let what = format!("seed {seed}, declared {declared} times the workers");
            let mut world = world(seed, declared, Load::even(2.0 * CAPACITY, MIXED, 100));
            world.run_until(20);
            world.forget();
            world.run_until(60);
            let seen = &world.seen;
            let critical = seen.success(Priority::Critical);
            let goodput = seen.count(|end| end == End::Answered) as f64 / 40.0;
            let refusal = seen.refusal_wait(0.99);
            let jain = seen.jain(Priority::Interactive).min(seen.jain(Priority::Api));
            let classes = Priority::ALL.map(|priority| (seen.success(priority) * 1_000.0).round() / 1_000.0);
            let late = seen.late_refusals();
            report(format_args!(
                "{what}: critical {critical:.5} goodput {goodput:.0} refusal p99 {refusal:?} jain {jain:.4} \
                 late {late} classes {classes:?}",
            ));
            assert!(critical >= 0.999, "{what}: {critical} of the first class");
            assert!(goodput >= 0.9 * CAPACITY, "{what}: {goodput} a second");
            assert!(refusal <= Duration::from_millis(5), "{what}: {refusal:?} to a refusal");
            assert!(jain >= 0.95, "{what}: Jain's index {jain}");
        }
    }
}

#[test]
fn who_asks_fifty_times_as_much_costs_the_others_nothing_worth_the_name() {
    for declared in [1.0, 2.0] {
        for accounts in [100, 1_000] {
            for seed in seeds() {
                let what = format!("seed {seed}, {accounts} accounts, declared {declared}");
                let lost = |heavy: f64| {
                    let load = Load { heavy, ..Load::even(0.7 * CAPACITY, MIXED, accounts) };
                    let mut world = world(seed, declared, load);
                    world.run_until(10);
                    world.forget();
                    world.run_until(40);
                    (1.0 - world.seen.success_of_accounts(1..), 1.0 - world.seen.success_of_accounts(..1))
                };
                let (before, (with, own)) = (lost(1.0).0, lost(50.0));
                report(format_args!("{what}: others lost {before:.5} before {with:.5} with; own {own:.4}"));
                assert!(with < 0.01, "{what}: the others lose {with}");
                assert!(own >= with, "{what}: it loses {own} itself");
            }
        }
    }
}

#[test]
fn who_calls_all_that_it_asks_critical_goes_before_nobody() {
    // How many times as much it asks; with two hundred, its requests alone are more than the cell can do.
    for heavy in [50.0, 200.0] {
        for accounts in [20, 100, 1_000] {
            for seed in seeds() {
                let what = format!("seed {seed}, {accounts} accounts, {heavy} times");
                let load =
                    Load { heavy, heavy_is_critical: true, ..Load::even(0.7 * CAPACITY, MIXED, accounts) };
                let mut world = world(seed, 2.0, load);
                world.run_until(10);
                world.forget();
                world.run_until(40);
                let critical = world.seen.success_among(Priority::Critical, 1..);
                let lost = 1.0 - world.seen.success_of_accounts(1..);
                let own = 1.0 - world.seen.success_of_accounts(..1);
                report(format_args!("{what}: critical {critical:.5} others lost {lost:.5} own {own:.4}"));
                assert!(critical >= 0.999, "{what}: {critical} of the others' first class");
                assert!(lost < 0.01, "{what}: the others lose {lost}");
            }
        }
    }
}

#[test]
fn a_heavy_account_keeps_its_heartbeats() {
    for accounts in [100, 1_000] {
        for seed in seeds() {
            let load = Load { heavy: 50.0, ..Load::even(1.4 * CAPACITY, MIXED, accounts) };
            let mut world = world(seed, 2.0, load);
            world.run_until(10);
            world.forget();
            world.run_until(40);
            let [own, others] =
                [0..1, 1..accounts].map(|who| world.seen.success_among(Priority::Critical, who));
            let what = format!("seed {seed}, {accounts} accounts");
            report(format_args!("{what}: critical, own {own:.5} others {others:.5}"));
            assert!(own >= 0.999 && others >= 0.999, "{what}: {own} of its own, {others} of the others'");
        }
    }
}

#[test]
fn a_burst_at_the_full_hour_leaves_nothing_behind() {
    for seed in seeds() {
        let mut world = world(seed, 2.0, Load::even(0.5 * CAPACITY, [0.02, 0.48, 0.3, 0.2], 200));
        world.run_until(20);
        world.forget();
        // Twenty times as much for five seconds, which is ten times what the cell can do.
        world.load.rps = 10.0 * CAPACITY;
        world.run_until(25);
        let what = format!("seed {seed}, in the burst");
        let (critical, refusal) = (world.seen.success(Priority::Critical), world.seen.refusal_wait(0.99));
        let goodput = world.seen.count(|end| end == End::Answered) as f64 / 5.0;
        report(format_args!(
            "{what}: critical {critical:.5} goodput {goodput:.0} refusal p99 {refusal:?} limit {}",
            world.limit.value()
        ));
        assert!(critical >= 0.999, "{what}: {critical} of the first class");
        assert!(goodput >= 0.9 * CAPACITY, "{what}: {goodput} a second");
        assert!(refusal <= Duration::from_millis(5), "{what}: {refusal:?} to a refusal");
        assert!(!world.model.is_thrashing(), "{what}: the cell thrashes");
        world.load.rps = 0.5 * CAPACITY;
        world.run_until(27);
        world.forget();
        world.run_until(60);
        let lost = 1.0 - world.seen.success_of_accounts(..);
        report(format_args!("after: lost {lost:.5}"));
        assert!(lost < 0.001, "seed {seed}, after the burst: {lost} lost");
    }
}

/// What is taken from a cell that has settled, and how many of its workers that leaves busy at its best.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    HalfOfTheWorkers,
    HalfOfTheSpeed,
}

#[test]
fn the_limit_finds_what_the_cell_can_do_within_a_minute() {
    for trouble in [Trouble::HalfOfTheWorkers, Trouble::HalfOfTheSpeed] {
        for seed in seeds() {
            let rules =
                ModelRules { capacity_rps: 2_000.0, collapse_queue: 1_000, queue_limit: 4_000, ..model() };
            let workers = cellgate::drill::model::Model::new(rules.clone(), seed).workers();
            let declared = 2 * workers as u32;
            let mut world = World::new(
                seed,
                rules,
                GateRules::of(declared),
                LimitRules::of(declared),
                Load::even(1_400.0, MIXED, 200),
            );
            let check = |world: &mut World, from: u64, workers: usize, when: &str| {
                world.run_until(from + 60);
                let part = f64::from(world.limit.value()) / workers as f64;
                report(format_args!(
                    "{trouble:?} seed {seed} {when}: {part:.3} usual {:?} {:?}",
                    world.limit.saved().usual,
                    world.limit.why()
                ));
                assert!(
                    (0.85..=1.15).contains(&part),
                    "{trouble:?}, seed {seed}, {when}: {part} of its workers"
                );
            };
            world.run_until(30);
            world.load.rps = 3_000.0;
            check(&mut world, 30, workers, "overloaded");
            let now = world.now();
            match trouble {
                Trouble::HalfOfTheWorkers => world.model.set_at_work(now, workers / 2),
                Trouble::HalfOfTheSpeed => world.model.set_slow(now, 0.5),
            }
            let left = if trouble == Trouble::HalfOfTheWorkers { workers / 2 } else { workers };
            check(&mut world, 90, left, "in trouble");
            let now = world.now();
            world.model.set_at_work(now, workers);
            world.model.set_slow(now, 1.0);
            check(&mut world, 150, workers, "well again");
        }
    }
}

#[test]
fn a_slow_group_gets_less_and_the_others_lose_nothing() {
    // What is left of its speed, permits of the cell for a worker, what each group declares to bear, and the least part
    // of what the slow group can do that is had of it.
    for (slow, declared, capacity_rps, least) in [
        (0.25, 2.0, None, 0.7),
        (0.25, 1.5, None, 0.7),
        (0.5, 2.0, None, 0.7),
        (0.25, 2.0, Some(CAPACITY_OF_GROUP as u32), 0.7),
    ] {
        for seed in seeds() {
            let what = format!("seed {seed}, {slow} of its speed, {declared} permits, {capacity_rps:?}");
            let mut world = groups::World::new(seed, declared, capacity_rps);
            world.run_until(20);
            let now = world.now();
            world.models[1].set_slow(now, slow);
            world.forget();
            world.run_until(80);
            let all = [0, 1, 2].map(|group| world.lost(group, |_| true));
            let critical = [0, 1, 2].map(|group| world.lost(group, |class| class == Priority::Critical));
            let goodput = f64::from(world.answered_by[1]) / 60.0 / (slow * CAPACITY_OF_GROUP);
            let groups = world.report().groups;
            let overflow = |group: usize| groups[group].failover.map_or(0.0, |seen| seen.overflow);
            let limits: Vec<_> = groups.iter().map(|group| group.limit).collect();
            report(format_args!(
                "{what}: lost {all:.4?} critical {critical:.4?} goodput {goodput:.3} limits {limits:?} overflow \
                 {:.0} {:.0}",
                overflow(0),
                overflow(2)
            ));
            assert!(all[0] < 0.01 && all[2] < 0.01, "{what}: the others lose {all:?}");
            assert!(critical[0] < 0.001 && critical[2] < 0.001, "{what}: of the first class {critical:?}");
            assert!(critical[1] < 0.01, "{what}: the slow group loses {critical:?} of the first class");
            assert!(goodput >= least, "{what}: {goodput} of what the slow group can do");
            // Its workers are 11; it began with 44 or 33.
            assert!(groups[1].limit.is_some_and(|(limit, _)| limit <= 30), "{what}: {limits:?}");
            // Of 500 a reserve of 75 stays free; these are averages over about 3 s.
            for seen in [0, 2].map(|group| groups[group].failover.expect("there are several")) {
                let all = seen.own_load + seen.overflow;
                let is_some = seen.overflow > 10.0;
                assert_eq!(is_some, capacity_rps.is_some(), "{what}: {} a second overflow", seen.overflow);
                assert!(!is_some || all < 450.0, "{what}: {all} a second with what overflows");
            }
        }
    }
}

#[test]
fn without_limits_of_groups_the_others_would_lose_half() {
    let mut world = groups::World::new(1, 2.0, None);
    world.limited = false;
    world.run_until(20);
    let now = world.now();
    world.models[1].set_slow(now, 0.25);
    world.forget();
    world.run_until(40);
    let lost = [0, 2].map(|group| world.lost(group, |_| true));
    assert!(lost.iter().all(|lost| *lost > 0.4), "{lost:?}: then the simulation shows nothing");
}
