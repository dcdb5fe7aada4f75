//! What is only observed would have done what is done when it is enforced: the same trace, with the same times in the
//! cell, through all parts of one cell twice. Each learns its own limit, its own ramp and its own endpoints.
//!
//! `CELLGATE_TEST_LONG=1` runs more seeds.

#[path = "agreement/world.rs"]
mod world;

use std::time::Duration;

use cellgate::policy::guard::Mode;
use cellgate::policy::protection::modes::Modes;
use cellgate::policy::protection::policies::Policy;
use world::{Counts, Shape, Story, all, run};

/// Of what is counted, so much may be counted otherwise.
const DISAGREE: f64 = 0.005;

/// One cell of one endpoint, of which 1,000 requests a second of 20 ms need 20 permits.
const ONE: Shape = Shape {
    max_in_flight: 24,
    groups: 1,
    endpoints: 1,
    capacity: None,
    of_group: 1_000,
    workers: u32::MAX,
    gone: |_| None,
};

fn story(seed: u64, rps: f64, secs: u64) -> Story {
    Story {
        seed,
        rps,
        secs,
        mean: Duration::from_millis(20),
        rate: |_| 1.0,
        slower: |_| 1.0,
        pushed_back: |_| 0.0,
    }
}

fn seeds() -> std::ops::RangeInclusive<u64> {
    super::overload::seeds()
}

/// The largest part that is counted otherwise, of all refusals and of each count by itself. Of few a difference of
/// `slack` is none.
fn disagreement(enforced: &Counts, observed: &Counts, slack: u64) -> f64 {
    let refusals = |counts: &Counts| -> u64 {
        counts.iter().filter(|(what, _)| what.starts_with("refused")).map(|(_, count)| count).sum()
    };
    let part = |one: u64, other: u64| {
        let differs = one.abs_diff(other);
        if differs <= slack { 0.0 } else { differs as f64 / one.max(other) as f64 }
    };
    let of = |counts: &Counts, what: &str| counts.get(what).copied().unwrap_or(0);
    let each =
        enforced.keys().chain(observed.keys()).map(|what| part(of(enforced, what), of(observed, what)));
    each.fold(part(refusals(enforced), refusals(observed)), f64::max)
}

/// Runs a story twice, and gives what enforce did.
fn agrees(name: &str, story: &Story, shape: Shape, modes: [Modes; 2], slack: u64) -> Counts {
    let lines = story.lines();
    let [enforced, observed] = modes.map(|modes| run(&lines, shape, modes, story.seed));
    let (limit, would_be) = (enforced.limit, observed.limit);
    assert!(enforced.would.is_empty() && observed.done.is_empty(), "{name}");
    let (enforced, observed) = (enforced.done, observed.would);
    let apart = disagreement(&enforced, &observed, slack);
    let what = format!(
        "{name}, seed {}, {} requests: {apart:.5} apart\n  enforced {enforced:?} limit {limit}\n  observed \
         {observed:?} limit {would_be}",
        story.seed,
        lines.len()
    );
    super::overload::say(format_args!("{what}"));
    assert!(apart <= DISAGREE, "{what}");
    enforced
}

const BOTH: [Mode; 2] = [Mode::Enforce, Mode::Observe];

fn refused(counts: &Counts) -> u64 {
    counts.iter().filter(|(what, _)| what.starts_with("refused")).map(|(_, count)| count).sum()
}

#[test]
fn a_limit_that_learns_refuses_what_it_would_have_refused() {
    for seed in seeds() {
        let check = |name: &str, story: Story, least: u64| {
            let enforced = agrees(name, &story, ONE, BOTH.map(all), 0);
            assert!(refused(&enforced) >= least, "{name}: {enforced:?}");
        };
        check("quiet", story(seed, 300.0, 20), 0);
        check("at the limit", story(seed, 1_000.0, 20), 100);
        check("twice the capacity", story(seed, 2_000.0, 20), 5_000);
        let burst = |second| if second % 8 == 3 { 10.0 } else { 1.0 };
        check("bursts", Story { rate: burst, ..story(seed, 400.0, 24) }, 1_000);
        let slow = |second| if (8..16).contains(&second) { 3.0 } else { 1.0 };
        check("slow for a while", Story { slower: slow, ..story(seed, 900.0, 24) }, 1_000);
        let pushed_back = |second| if (5..12).contains(&second) { 0.1 } else { 0.0 };
        check("pushed back for a while", Story { pushed_back, ..story(seed, 900.0, 24) }, 1_000);
    }
}

/// What comes to a third of a cell between two looks, four times. Whom a loss meets is not the same where failover only
/// watches, so each of four changes of an endpoint may be seen one look earlier or later.
const LOOKS: u64 = 4 * 6;

/// Endpoints that are gone for a while.
const SEVERAL: Shape = Shape {
    max_in_flight: 200,
    groups: 1,
    endpoints: 3,
    capacity: None,
    of_group: 1_000,
    workers: u32::MAX,
    gone: |at| (at == 1).then_some([10, 45]),
};

#[test]
fn an_endpoint_that_dies_is_left_out_as_it_would_have_been() {
    for seed in seeds() {
        let enforced = agrees("an endpoint", &story(seed, 150.0, 120), SEVERAL, BOTH.map(all), 2);
        assert!(enforced["health elsewhere"] > 1_000 && enforced["health ejected"] >= 3, "{enforced:?}");
    }
}

/// Without a ramp: at the loss one failure more or less decides whether it halves, and then all is different for a minute.
#[test]
fn a_group_that_is_lost_is_moved_as_it_would_have_been() {
    let shape = Shape {
        groups: 3,
        endpoints: 1,
        capacity: Some(80),
        gone: |at| (at == 1).then_some([30, 200]),
        ..SEVERAL
    };
    let modes = BOTH.map(|mode| all(mode).with(Policy::Recovery, Mode::Off));
    for seed in seeds() {
        let enforced = agrees("a group", &story(seed, 180.0, 320), shape, modes, LOOKS);
        assert!(
            enforced["failover elsewhere"] > 1_000 && enforced["refused shed_no_headroom"] > 1_000,
            "{enforced:?}"
        );
    }
}

#[test]
fn a_cell_that_comes_back_is_paced_as_it_would_have_been() {
    let shape = Shape { endpoints: 2, capacity: Some(200), gone: |_| Some([70, 100]), ..SEVERAL };
    for seed in seeds() {
        let enforced = agrees("a cell", &story(seed, 150.0, 220), shape, BOTH.map(all), 2);
        assert!(enforced["refused shed_recovering"] > 1_000, "{enforced:?}");
    }
}

#[test]
fn a_bulkhead_is_full_when_it_would_have_been() {
    let shape = Shape { of_group: 15, ..ONE };
    for seed in seeds() {
        let enforced = agrees("a bulkhead", &story(seed, 1_000.0, 20), shape, BOTH.map(all), 2);
        assert!(enforced["refused group_full"] > 100, "{enforced:?}");
    }
}

/// What the cell would have been with less to do is not known where all goes to it. So where it gets slower by that, a
/// limit that watches says too much (ten times as much at a tenth over the capacity), and never too little.
#[test]
fn a_cell_that_is_slower_for_all_it_gets_would_refuse_more_than_it_does() {
    for seed in seeds() {
        for rps in [900.0, 1_100.0, 2_000.0] {
            let shape = Shape { max_in_flight: 40, workers: 20, ..ONE };
            let lines = story(seed, rps, 20).lines();
            let [enforced, observed] = BOTH.map(|mode| run(&lines, shape, all(mode), seed));
            let (did, would) = (refused(&enforced.done), refused(&observed.would));
            let what =
                format!("seed {seed}, {rps} a second: did {did}, would have {would} of {}", lines.len());
            super::overload::say(format_args!("{what}"));
            assert!(did <= would, "{what}");
        }
    }
}

/// With one part that only watches, all others do what they do without it.
#[test]
fn what_only_watches_changes_nothing_that_is_done() {
    let shape = Shape {
        max_in_flight: 12,
        groups: 3,
        endpoints: 2,
        capacity: Some(120),
        of_group: 3,
        workers: u32::MAX,
        gone: |at| match at {
            0 => Some([20, 40]),
            2 | 3 => Some([30, 60]),
            _ => None,
        },
    };
    for seed in seeds() {
        let burst = |second| if second % 10 == 3 { 4.0 } else { 1.0 };
        let lines = Story { rate: burst, ..story(seed, 260.0, 90) }.lines();
        let mut would = 0;
        for policy in Policy::ALL.into_iter().filter(|policy| *policy != Policy::Verdict) {
            let [off, observed] = [Mode::Off, Mode::Observe]
                .map(|mode| run(&lines, shape, Modes::default().with(policy, mode), seed));
            assert_eq!(off.done, observed.done, "seed {seed}: {}", policy.as_str());
            assert!(off.would.is_empty(), "seed {seed}: {} off counts {:?}", policy.as_str(), off.would);
            super::overload::say(format_args!("{}: {:?}", policy.as_str(), observed.would));
            would += u32::from(!observed.would.is_empty());
        }
        assert!(would >= 5, "seed {seed}: only {would} parts would have done anything");
    }
}
