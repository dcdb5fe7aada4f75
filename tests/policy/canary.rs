//! What is said of a candidate: a table of cases, and many simulated bakes under a seed.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cellgate::policy::canary::judge::{Judgement, LEAST_FAILED, Reason, Rules, Seen, judge};
use cellgate::policy::canary::{CellStats, Counts, Look, Sample, Share};
use cellgate::policy::ids::{CellIndex, Label};

const RULES: Rules = Rules { max_error_increase: Share::percent(1), max_latency_factor: 3 };

/// Accounts of the share that a cell holds.
const ACCOUNTS: u64 = 10;

fn sample(is_failed: bool, latency: Duration) -> Sample {
    let latency = (!is_failed).then_some(latency);
    Sample { cell: None, is_failed, is_refused: false, latency }
}

/// So many requests of which so many fail, spread over the accounts.
fn stats(requests: u64, failed: u64, millis: u64) -> CellStats {
    let latency = Duration::from_millis(millis);
    counted((0..requests).map(|number| (number % ACCOUNTS, sample(number < failed, latency))))
}

/// Requests by their accounts.
fn counted(requests: impl IntoIterator<Item = (u64, Sample)>) -> CellStats {
    let counts = Counts::new(1);
    for (account, sample) in requests {
        counts.count(CellIndex(0), account, &sample);
    }
    counts.take().next().unwrap()
}

#[test]
fn what_is_said_of_a_candidate() {
    for (name, moved, unmoved, rolls_back) in [
        ("nothing", (0, 0, 0), (0, 0, 0), false),
        ("no request with it", (0, 0, 0), (10_000, 0, 20), false),
        ("all good", (500, 0, 20), (50_000, 0, 20), false),
        // A dead cell.
        ("five of five", (5, 5, 0), (500, 0, 20), true),
        ("five of five, and some fail without it", (5, 5, 0), (500, 25, 20), true),
        ("four of four", (4, 4, 0), (500, 0, 20), false),
        ("five of five of a cell that is new", (5, 5, 0), (0, 0, 0), true),
        ("five of five, and hardly a request without it", (5, 5, 0), (3, 0, 20), true),
        ("a cell that is dead for everybody", (50, 50, 0), (5_000, 5_000, 0), false),
        ("a cell that fails half of all for everybody", (5, 5, 0), (5_000, 2_500, 20), false),
        // More fails.
        ("half", (40, 20, 20), (4_000, 10, 20), true),
        ("a tenth", (1_000, 100, 20), (100_000, 100, 20), true),
        ("a tenth on both sides", (1_000, 100, 20), (100_000, 10_000, 20), false),
        ("within what may be", (100_000, 1_000, 20), (1_000_000, 2_000, 20), false),
        ("just more than may be", (100_000, 2_000, 20), (1_000_000, 2_000, 20), true),
        ("a few of many", (1_000, 8, 20), (100_000, 100, 20), false),
        ("a new cell that fails now and then", (200, 20, 20), (0, 0, 0), false),
        ("a new cell that fails half", (200, 100, 20), (0, 0, 0), true),
        // Slower.
        ("three times as slow, within the margin", (500, 0, 60), (50_000, 0, 15), false),
        ("ten times as slow", (500, 0, 500), (50_000, 0, 50), true),
        ("ten times as slow, in too few answers", (30, 0, 500), (50_000, 0, 50), false),
        ("slow and nothing to compare with", (500, 0, 9_000), (20, 0, 50), false),
        ("faster", (500, 0, 5), (50_000, 0, 5_000), false),
    ] {
        let [moved, unmoved] = [moved, unmoved].map(|(all, failed, millis)| stats(all, failed, millis));
        let judgement = judge(&moved, &unmoved, RULES);
        assert_eq!(matches!(judgement, Judgement::RollBack(_)), rolls_back, "{name}: {judgement:?}");
    }
}

#[test]
fn one_account_that_always_fails_is_no_reason_and_a_cell_that_fails_everybody_is() {
    let unmoved = stats(10_000, 20, 20);
    let with = |failing: &dyn Fn(u64) -> bool| {
        let accounts = (0..400).map(|number| number % ACCOUNTS);
        let sample = |account| sample(failing(account), Duration::from_millis(20));
        judge(&counted(accounts.map(|account| (account, sample(account)))), &unmoved, RULES)
    };
    assert_eq!(with(&|account| account == 3), Judgement::GoOn);
    assert!(matches!(with(&|account| account < 3), Judgement::RollBack(Reason::Errors { .. })));
}

#[test]
fn a_reason_has_the_numbers_in_it() {
    let refused = |account| Sample { is_refused: account < 2, ..sample(true, Duration::ZERO) };
    let moved = counted((0..5).map(|account| (account, refused(account))));
    let Judgement::RollBack(reason) = judge(&moved, &stats(900, 3, 20), RULES) else { unreachable!() };
    assert_eq!(
        reason.to_string(),
        "5 of 5 requests failed, 2 of them refused by us, with it, 3 of 900 without it"
    );
    let Judgement::RollBack(reason) = judge(&stats(500, 0, 500), &stats(900, 0, 50), RULES) else {
        unreachable!()
    };
    assert!(reason.to_string().contains("within 458 ms with it at the least"), "{reason}");
}

/// A fleet's cells during one bake, by the second.
struct Bake {
    random: fastrand::Rng,
    cells: usize,
    seconds: usize,
    /// Requests of a cell in a second.
    rate: f64,
    /// Share of them that the candidate serves.
    share: f64,
    /// How many of the requests fail, whoever serves them.
    fails: f64,
}

impl Bake {
    /// The second in which it was rolled back, the reasons, and how many requests the candidate had served by then.
    /// `worse` makes of a cell, a moved account and the second how many more fail and how much slower it answers.
    fn run(
        &mut self,
        worse: impl Fn(usize, usize) -> (f64, u32),
    ) -> (Option<usize>, Vec<(Label, Reason)>, u64) {
        let names: Vec<Label> =
            (0..self.cells).map(|cell| Label::parse(&format!("cell-{cell}")).unwrap()).collect();
        let mut seen = Seen::default();
        let mut served = 0;
        for second in 0..self.seconds {
            let mut look = Look::new();
            for (cell, name) in names.iter().enumerate() {
                let (more, slower) = worse(cell, second);
                let moved = self.second(self.share, ACCOUNTS, more, slower);
                let unmoved = self.second(1.0 - self.share, 1_000, 0.0, 1);
                served += moved.requests;
                look.insert(name.clone(), (moved, unmoved));
            }
            seen.add(look);
            let reasons = seen.judge(RULES);
            if !reasons.is_empty() {
                return (Some(second), reasons, served);
            }
        }
        (None, Vec::new(), served)
    }

    fn second(&mut self, part: f64, accounts: u64, more: f64, slower: u32) -> CellStats {
        let mean = self.rate * part;
        // So many on average, and never evenly.
        let count = (0..(mean * 2.0).ceil() as u64)
            .filter(|_| self.random.f64() < mean / (mean * 2.0).ceil())
            .count();
        counted((0..count).map(|_| {
            let failed = self.random.f64() < self.fails + more;
            // Most take 20 to 60 ms, and a twentieth is a report that takes seconds.
            let millis = match self.random.u8(0..20) {
                0 => self.random.u64(1_000..8_000),
                _ => self.random.u64(20..60),
            };
            let latency = Duration::from_millis(millis) * slower;
            (self.random.u64(0..accounts), sample(failed, latency))
        }))
    }
}

fn bake(seed: u64, share: f64, fails: f64) -> Bake {
    Bake { random: fastrand::Rng::with_seed(seed), cells: 1, seconds: 60, rate: 20.0, share, fails }
}

#[test]
fn equal_traffic_is_never_rolled_back() {
    let mut bakes = 0;
    for (share, fails) in [
        (0.01, 0.0),
        (0.01, 0.01),
        (0.1, 0.001),
        (0.1, 0.02),
        (0.1, 0.1),
        (0.5, 0.01),
        (0.5, 0.3),
        (0.25, 0.05),
    ] {
        for seed in 0..500 {
            let (rolled_back, reasons, _) = bake(seed, share, fails).run(|_, _| (0.0, 1));
            assert_eq!(rolled_back, None, "seed {seed}, share {share}, fails {fails}: {reasons:?}");
            bakes += 1;
        }
    }
    assert_eq!(bakes, 4_000);
}

#[test]
fn one_dead_cell_of_sixty_is_found_within_a_few_requests() {
    for seed in 0..20 {
        let mut bake = Bake { cells: 60, rate: 200.0, ..bake(seed, 0.01, 0.005) };
        let (rolled_back, reasons, _) = bake.run(|cell, _| (if cell == 17 { 1.0 } else { 0.0 }, 1));
        let named: Vec<&str> = reasons.iter().map(|(cell, _)| cell.as_str()).collect();
        assert_eq!(named, ["cell-17"], "seed {seed}");
        let Reason::Errors { moved: (failed, ..), .. } = reasons[0].1 else { unreachable!("{reasons:?}") };
        // As many as are needed, and those of the second in which they came.
        assert!((LEAST_FAILED..LEAST_FAILED + 10).contains(&failed), "seed {seed}: {failed} failed");
        assert!(rolled_back.is_some_and(|second| second < 10), "seed {seed}: {rolled_back:?}");
    }
}

#[test]
fn a_cell_that_dies_late_is_found_in_spite_of_all_that_was_good_before() {
    for seed in 0..5 {
        // What fails in ten seconds is less than a hundredth of all that was served.
        let mut bake = Bake { seconds: 3_000, ..bake(seed, 0.1, 0.001) };
        let (rolled_back, ..) = bake.run(|_, second| (if second < 2_900 { 0.0 } else { 1.0 }, 1));
        assert!(
            rolled_back.is_some_and(|second| (2_900..2_912).contains(&second)),
            "seed {seed}: {rolled_back:?}"
        );
    }
}

#[test]
fn a_slow_cell_is_found() {
    for seed in 0..20 {
        let (rolled_back, reasons, _) = bake(seed, 0.1, 0.001).run(|_, _| (0.0, 20));
        assert!(
            matches!(reasons[..], [(_, Reason::Latency { .. })]),
            "seed {seed}: {rolled_back:?} {reasons:?}"
        );
    }
}
