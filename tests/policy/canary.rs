//! What is said of a candidate: a table of cases, and many simulated bakes under a seed.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cellgate::policy::canary::judge::{Judgement, LEAST_FAILED, Reason, Rules, Seen, judge};
use cellgate::policy::canary::{CellStats, Counts, Ending, Look, Sample, Share};
use cellgate::policy::ids::{CellIndex, Label};

const RULES: Rules = Rules { max_error_increase: Share::percent(1), max_latency_factor: 3 };

/// Accounts of the share that a cell holds.
const ACCOUNTS: u64 = 10;

fn sample(ending: Ending, latency: Duration) -> Sample {
    Sample { cell: None, ending, latency: (!ending.is_failed()).then_some(latency) }
}

fn failed(is_failed: bool) -> Ending {
    if is_failed { Ending::Failed } else { Ending::Served }
}

/// So many requests of which so many fail, spread over the accounts.
fn stats(requests: u64, failed: u64, millis: u64) -> CellStats {
    let latency = Duration::from_millis(millis);
    counted((0..requests).map(|number| (number % ACCOUNTS, sample(self::failed(number < failed), latency))))
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

/// Accounts that are told apart: they are counted by a hash, and ten of 64 often meet.
fn apart(count: usize) -> Vec<u64> {
    let mut bits = 0;
    let is_new = |id: &u64| {
        let bit = asked(1, [(*id, Ending::Served)]).served_accounts;
        let is_new = bits & bit == 0;
        bits |= bit;
        is_new
    };
    (0..).filter(is_new).take(count).collect()
}

/// So many requests each of these accounts, that end so.
fn asked(each: u64, accounts: impl IntoIterator<Item = (u64, Ending)>) -> CellStats {
    let latency = Duration::from_millis(20);
    let requests = accounts
        .into_iter()
        .flat_map(|(account, ending)| (0..each).map(move |_| (account, sample(ending, latency))));
    counted(requests)
}

#[test]
fn the_trouble_of_one_account_is_no_reason_and_that_of_a_cell_is() {
    let unmoved = stats(10_000, 20, 20);
    let [served, failed, unreached, refused] =
        [Ending::Served, Ending::Failed, Ending::Unreached, Ending::Refused];
    let ids = apart(10);
    let some = |endings: &[Ending]| ids.iter().copied().zip(endings.iter().copied()).collect::<Vec<_>>();
    for (name, accounts, rolls_back) in [
        ("one fails, beside nine that do not", some(&[&[failed][..], &[served; 9]].concat()), false),
        ("three fail, beside seven that do not", some(&[&[failed; 3][..], &[served; 7]].concat()), true),
        ("one fails, and nobody else asks", some(&[failed]), false),
        ("one fails now and then, and nobody else asks", vec![(3, failed), (3, served)], false),
        ("two fail, and nobody else asks", some(&[failed, failed]), true),
        // A dead port, an unknown name, a certificate that is not trusted: met by whoever asks.
        ("one finds no connection, and nobody else asks", some(&[unreached]), true),
        ("one finds no connection, and others do", some(&[unreached, served, served]), false),
        ("one is refused, and nobody else asks", some(&[refused]), true),
    ] {
        let judgement = judge(&asked(40, accounts), &unmoved, RULES);
        assert_eq!(
            matches!(judgement, Judgement::RollBack(Reason::Errors { .. })),
            rolls_back,
            "{name}: {judgement:?}"
        );
    }
    let five = judge(&asked(5, [(3, Ending::Unreached)]), &unmoved, RULES);
    assert!(matches!(five, Judgement::RollBack(_)), "five are enough: {five:?}");
}

#[test]
fn a_cell_that_denies_nearly_everything_is_found_and_accounts_that_are_denied_by_their_own_doing_are_not() {
    let ids = apart(10);
    let denied_of = |denied: usize, all: usize| {
        let ending = move |at| if at < denied { Ending::Denied } else { Ending::Served };
        ids[..all].iter().enumerate().map(move |(at, id)| (*id, ending(at)))
    };
    let usual = asked(10, (0..100).map(|id| (id, if id < 5 { Ending::Denied } else { Ending::Served })));
    for (name, moved, unmoved, rolls_back) in [
        ("everything of ten accounts", asked(10, denied_of(10, 10)), &usual, true),
        ("everything of seven", asked(10, denied_of(7, 7)), &usual, true),
        ("everything of six: it may be their doing", asked(10, denied_of(6, 6)), &usual, false),
        ("nearly everything", asked(10, denied_of(9, 10)), &usual, true),
        ("half", asked(10, denied_of(5, 10)), &usual, false),
        ("two whose polls are most of all", asked(100, denied_of(2, 2)), &usual, false),
        ("everything, in three requests each", asked(3, denied_of(10, 10)), &usual, true),
        ("everything, in one request each", asked(1, denied_of(10, 10)), &usual, false),
        ("as without it", asked(10, denied_of(10, 10)), &asked(100, denied_of(8, 10)), false),
        ("nothing to compare with", asked(10, denied_of(10, 10)), &asked(10, []), false),
    ] {
        let judgement = judge(&moved, unmoved, RULES);
        let is_denied = matches!(judgement, Judgement::RollBack(Reason::Denied { .. }));
        assert_eq!(is_denied, rolls_back, "{name}: {judgement:?}");
    }
}

#[test]
fn a_reason_has_the_numbers_in_it() {
    let ending = |account| if account < 2 { Ending::Refused } else { Ending::Failed };
    let moved = counted((0..5).map(|account| (account, sample(ending(account), Duration::ZERO))));
    let Judgement::RollBack(reason) = judge(&moved, &stats(900, 3, 20), RULES) else { unreachable!() };
    assert_eq!(
        reason.to_string(),
        "5 of 5 requests failed, 2 of them refused by us, with it, 3 of 900 without it"
    );
    let Judgement::RollBack(reason) = judge(&stats(500, 0, 500), &stats(900, 0, 50), RULES) else {
        unreachable!()
    };
    assert!(reason.to_string().contains("within 458 ms with it at the least"), "{reason}");
    let all = asked(10, apart(10).into_iter().map(|id| (id, Ending::Denied)));
    let Judgement::RollBack(reason) = judge(&all, &stats(900, 3, 20), RULES) else { unreachable!() };
    assert_eq!(
        reason.to_string(),
        "100 of 100 requests were answered 4xx with it, and 10 of 10 accounts got nothing else; 0 of 900 without it"
    );
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
    /// How many of the accounts ask for nothing but what they are denied, whoever serves them.
    denied: f64,
}

/// What a candidate makes of a cell in a second: so much more fails, so many times slower, and whether it denies everything.
type Worse = (f64, u32, bool);

/// As good as what served.
const EQUAL: Worse = (0.0, 1, false);

impl Bake {
    /// The second in which it was rolled back, the reasons, and how many requests the candidate had served by then.
    /// `worse` makes of a cell, a moved account and the second how many more fail and how much slower it answers.
    fn run(&mut self, worse: impl Fn(usize, usize) -> Worse) -> (Option<usize>, Vec<(Label, Reason)>, u64) {
        let names: Vec<Label> =
            (0..self.cells).map(|cell| Label::parse(&format!("cell-{cell}")).unwrap()).collect();
        let mut seen = Seen::default();
        let mut served = 0;
        let mut random = fastrand::Rng::with_seed(!self.random.get_seed());
        let mut denied = |accounts: u64| (0..accounts).map(|_| random.f64() < self.denied).collect();
        let (few, many): (Vec<bool>, Vec<bool>) = (denied(ACCOUNTS), denied(1_000));
        for second in 0..self.seconds {
            let mut look = Look::new();
            for (cell, name) in names.iter().enumerate() {
                let moved = self.second(self.share, &few, worse(cell, second));
                let unmoved = self.second(1.0 - self.share, &many, EQUAL);
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

    /// `accounts` says which of them are denied everything.
    fn second(&mut self, part: f64, accounts: &[bool], (more, slower, denies): Worse) -> CellStats {
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
            let account = self.random.u64(0..accounts.len() as u64);
            let ending = match failed {
                true => Ending::Failed,
                false if denies || accounts[usize::try_from(account).unwrap()] => Ending::Denied,
                false => Ending::Served,
            };
            (account, sample(ending, latency))
        }))
    }
}

fn bake(seed: u64, share: f64, fails: f64, denied: f64) -> Bake {
    Bake { random: fastrand::Rng::with_seed(seed), cells: 1, seconds: 60, rate: 20.0, share, fails, denied }
}

#[test]
fn equal_traffic_is_never_rolled_back() {
    let mut bakes = 0;
    for (share, fails, denied) in [
        (0.01, 0.0, 0.1),
        (0.01, 0.01, 0.3),
        (0.1, 0.001, 0.0),
        (0.1, 0.02, 0.1),
        (0.1, 0.1, 0.5),
        (0.5, 0.01, 0.1),
        (0.5, 0.3, 0.3),
        (0.25, 0.05, 0.8),
    ] {
        for seed in 0..500 {
            let (rolled_back, reasons, _) = bake(seed, share, fails, denied).run(|_, _| EQUAL);
            assert_eq!(
                rolled_back, None,
                "seed {seed}, share {share}, fails {fails}, denied {denied}: {reasons:?}"
            );
            bakes += 1;
        }
    }
    assert_eq!(bakes, 4_000);
}

#[test]
fn one_dead_cell_of_sixty_is_found_within_a_few_requests() {
    for seed in 0..20 {
        let mut bake = Bake { cells: 60, rate: 200.0, ..bake(seed, 0.01, 0.005, 0.1) };
        let (rolled_back, reasons, _) = bake.run(|cell, _| if cell == 17 { (1.0, 1, false) } else { EQUAL });
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
        let mut bake = Bake { seconds: 3_000, ..bake(seed, 0.1, 0.001, 0.1) };
        let (rolled_back, ..) = bake.run(|_, second| if second < 2_900 { EQUAL } else { (1.0, 1, false) });
        assert!(
            rolled_back.is_some_and(|second| (2_900..2_912).contains(&second)),
            "seed {seed}: {rolled_back:?}"
        );
    }
}

#[test]
fn a_slow_cell_is_found() {
    for seed in 0..20 {
        let (rolled_back, reasons, _) = bake(seed, 0.1, 0.001, 0.1).run(|_, _| (0.0, 20, false));
        assert!(
            matches!(reasons[..], [(_, Reason::Latency { .. })]),
            "seed {seed}: {rolled_back:?} {reasons:?}"
        );
    }
}

#[test]
fn one_cell_of_many_that_denies_everything_is_found() {
    for seed in 0..20 {
        let mut bake = Bake { cells: 20, rate: 200.0, ..bake(seed, 0.01, 0.005, 0.1) };
        let (rolled_back, reasons, _) = bake.run(|cell, _| (0.0, 1, cell == 7));
        let named: Vec<&str> = reasons.iter().map(|(cell, _)| cell.as_str()).collect();
        assert_eq!(named, ["cell-7"], "seed {seed}: {rolled_back:?}");
        assert!(matches!(reasons[0].1, Reason::Denied { .. }), "seed {seed}: {reasons:?}");
        assert!(rolled_back.is_some_and(|second| second < 30), "seed {seed}: {rolled_back:?}");
    }
}
