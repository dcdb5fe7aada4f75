//! A cell of three endpoints in virtual time: hundreds of accounts ask, an endpoint, an account or everything is ill in
//! some way, and health is looked at each 100 ms, as a process does. Asserted are counts and virtual times.
//!
//! `CELLGATE_TEST_LONG=1` runs fifty seeds in the place of two, or of one of what is long. `CELLGATE_TEST_FIGURES=1`
//! says who went when.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use cellgate::policy::ids::AccountId;
use cellgate::policy::moment::Moment;
use cellgate::policy::protection::health::checks::{
    CheckAnswer, CheckEnd, CheckKind, CheckRules, CheckSchedule,
};
use cellgate::policy::protection::health::{
    AttemptEnd, Entry, Health, HealthRules, Look, Reason, Siblings, State, Summary, Transition, Watch,
};
use fastrand::Rng;

use AttemptEnd::{Answered, AppError, Broken, Gateway, Pushback, Unconnected};

const LOOKS_A_SECOND: u32 = 10;
const LOOK: Duration = Duration::from_millis(100);
const ACCOUNTS: u64 = 300;

/// When what is ill falls ill, in seconds: after what is usual is known.
const ONSET: u32 = 60;

/// The account whose query fails wherever it goes.
const POISONED: u64 = 7;

/// How an attempt ends, and after how many milliseconds.
type End = (AttemptEnd, u32);

/// A request, as an endpoint sees it.
struct Asked {
    endpoint: usize,
    account: u64,
    /// Since the beginning.
    second: u32,
}

impl Asked {
    /// Of the endpoint that is ill, while it is.
    fn ill(&self) -> bool {
        self.endpoint == 0 && self.second >= ONSET
    }
}

#[derive(Clone)]
struct Scenario {
    behaviour: fn(&Asked, &mut Rng) -> End,
    endpoints: usize,
    per_second: u32,
    seconds: u32,
    accounts: u64,
    /// Of all requests, those of the poisoned account.
    poisoned: f64,
    frozen: bool,
    checked: bool,
    enforce: bool,
}

impl Scenario {
    fn of(behaviour: fn(&Asked, &mut Rng) -> End) -> Self {
        Self {
            behaviour,
            endpoints: 3,
            per_second: 150,
            seconds: 240,
            accounts: ACCOUNTS,
            poisoned: 0.0,
            frozen: false,
            checked: false,
            enforce: true,
        }
    }

    /// 43,200 looks, at a rate that leaves the test short.
    fn for_24_minutes(behaviour: fn(&Asked, &mut Rng) -> End) -> Self {
        Self { seconds: 24 * 60, per_second: 60, ..Self::of(behaviour) }
    }
}

/// An answer in 20 ms and a tail.
fn well(rng: &mut Rng) -> End {
    (Answered, 20 + (-30.0 * rng.f64().max(1e-9).ln()) as u32)
}

/// This end for so much of all, and an answer for the rest.
fn some(share: f64, end: End, rng: &mut Rng) -> End {
    if rng.f64() < share { end } else { well(rng) }
}

struct Endpoint {
    watch: Arc<Watch>,
    health: Health,
    schedule: CheckSchedule,
    /// Attempts, by the look before which they began.
    asked: Vec<u32>,
}

struct Cell<'s> {
    scenario: &'s Scenario,
    rng: Rng,
    endpoints: Vec<Endpoint>,
    /// On their way, by the look before which they end.
    pending: VecDeque<Vec<Attempt>>,
    story: Story,
}

/// On its way.
struct Attempt {
    endpoint: usize,
    entry: Entry,
    account: u64,
    ends: End,
}

/// What has happened.
#[derive(Default)]
struct Story {
    /// When, in milliseconds; which endpoint; what.
    changes: Vec<(u64, usize, Transition)>,
    /// By endpoint and look.
    asked: Vec<Vec<u32>>,
    /// Looks at which somebody was held in.
    held: u32,
}

impl Story {
    fn ejections(&self) -> Vec<(u64, usize, Reason)> {
        let out = self.changes.iter().filter(|(_, _, change)| change.from == State::Up);
        out.map(|(millis, endpoint, change)| (*millis, *endpoint, change.reason)).collect()
    }

    fn count(&self, reason: Reason) -> usize {
        self.changes.iter().filter(|(_, _, change)| change.reason == reason).count()
    }
}

impl<'s> Cell<'s> {
    fn new(scenario: &'s Scenario, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let endpoint = |_| {
            let watch = Arc::new(Watch::new());
            let health = Health::new(watch.clone(), Moment::START);
            let schedule = CheckSchedule::new(Moment::START, CheckRules::default().interval, rng.f64());
            Endpoint { watch, health, schedule, asked: Vec::new() }
        };
        let endpoints = (0..scenario.endpoints).map(endpoint).collect();
        Self { scenario, rng, endpoints, pending: VecDeque::new(), story: Story::default() }
    }

    fn run(mut self) -> Story {
        for look in 1..=self.scenario.seconds * LOOKS_A_SECOND {
            let expected = f64::from(self.scenario.per_second) / f64::from(LOOKS_A_SECOND);
            let requests = expected * (0.5 + self.rng.f64()) + self.rng.f64() - 0.5;
            self.endpoints.iter_mut().for_each(|endpoint| endpoint.asked.push(0));
            (0..requests.round() as u32).for_each(|_| self.ask((look - 1) / LOOKS_A_SECOND));
            self.end();
            self.look(look);
        }
        self.story.asked = self.endpoints.into_iter().map(|endpoint| endpoint.asked).collect();
        self.story
    }

    /// One request goes to one of those that it may enter.
    fn ask(&mut self, second: u32) {
        let poisoned = self.rng.f64() < self.scenario.poisoned;
        let account = if poisoned { POISONED } else { self.rng.u64(1..=self.scenario.accounts) };
        let count = self.endpoints.len();
        let first = self.rng.usize(..count);
        let mut order = (first..first + count).map(|at| at % count);
        // Where health only watches, that is what says who would be the probe.
        let _ = order.clone().any(|at| self.endpoints[at].watch.would_enter());
        let entered = order.find_map(|at| Some((at, self.endpoints[at].watch.enter()?)));
        let Some((endpoint, entry)) = entered else { return };
        *self.endpoints[endpoint].asked.last_mut().unwrap() += 1;
        let ends = (self.scenario.behaviour)(&Asked { endpoint, account, second }, &mut self.rng);
        let looks = (ends.1 / 100) as usize;
        while self.pending.len() <= looks {
            self.pending.push_back(Vec::new());
        }
        self.pending[looks].push(Attempt { endpoint, entry, account, ends });
    }

    fn end(&mut self) {
        for attempt in self.pending.pop_front().unwrap_or_default() {
            let Attempt { endpoint, entry, account, ends: (end, millis) } = attempt;
            let first_byte = Some(Duration::from_millis(millis.into()));
            let account = AccountId::from_value(account);
            entry.ended(&self.endpoints[endpoint].watch, end, first_byte, account);
        }
    }

    fn look(&mut self, look: u32) {
        let (now, rules) = (Moment::START + LOOK * look, HealthRules::default());
        let all: Vec<Summary> = self.endpoints.iter().map(|endpoint| endpoint.health.summary()).collect();
        for at in 0..self.endpoints.len() {
            // Half of them carry the cell: two of three, one of two.
            let up = self.endpoints.iter().filter(|endpoint| endpoint.health.state() == State::Up).count();
            let checks = self.checks(at, look, now);
            let endpoint = &mut self.endpoints[at];
            let look = Look {
                taken: &endpoint.watch.take(),
                siblings: Siblings::of(&all, at),
                checks: self.scenario.checked.then_some(&checks),
                frozen: self.scenario.frozen,
                may_eject: up * 2 >= all.len() + 2,
                enforce: self.scenario.enforce,
                random: self.rng.f64(),
                rules: &rules,
            };
            let change = endpoint.health.step(&look, now);
            self.story.held += u32::from(endpoint.health.held().is_some());
            if let Some(change) = change {
                if change.to == State::Probing {
                    endpoint.schedule.hurry(now, CheckRules::default().interval, self.rng.f64());
                }
                self.story.changes.push((now.nanos() / 1_000_000, at, change));
            }
        }
    }

    /// Active checks of an endpoint that have ended; they take no time.
    fn checks(&mut self, at: usize, look: u32, now: Moment) -> Vec<CheckEnd> {
        let schedule = &mut self.endpoints[at].schedule;
        if !self.scenario.checked || !schedule.begin(now, CheckRules::default().interval, self.rng.f64()) {
            return Vec::new();
        }
        schedule.end();
        let asked = Asked { endpoint: at, account: 1, second: look / LOOKS_A_SECOND };
        let answer = match (self.scenario.behaviour)(&asked, &mut self.rng).0 {
            Unconnected => CheckAnswer::Unconnected,
            Broken => CheckAnswer::TimedOut,
            Gateway => CheckAnswer::Status(502),
            AppError => CheckAnswer::Status(500),
            Answered | Pushback => CheckAnswer::Status(200),
        };
        vec![CheckKind::http("/healthz").judge(answer)]
    }
}

fn seeds(scenario: &Scenario) -> u64 {
    match std::env::var_os("CELLGATE_TEST_LONG") {
        Some(_) => 50,
        None if scenario.seconds > 1_000 => 1,
        None => 2,
    }
}

/// Runs the scenario with all seeds, and says which one it was that is not as expected.
fn check(name: &str, scenario: &Scenario, expect: impl Fn(&Story)) {
    for seed in 0..seeds(scenario) {
        let story = Cell::new(scenario, seed).run();
        let said = Said { name, seed };
        if std::env::var_os("CELLGATE_TEST_FIGURES").is_some() {
            eprintln!("{name}, seed {seed}: out {:?}, held {}", story.ejections(), story.held);
        }
        expect(&story);
        drop(said);
    }
}

struct Said<'n> {
    name: &'n str,
    seed: u64,
}

impl Drop for Said<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: seed {}", self.name, self.seed);
        }
    }
}

const ONSET_MILLIS: u64 = ONSET as u64 * 1_000;

/// The ill endpoint went first, and soon; nobody else ever did.
fn only_the_ill_one(story: &Story, within_millis: u64, reasons: &[Reason]) {
    let ejections = story.ejections();
    let (millis, _, reason) = *ejections.first().expect("somebody is out");
    assert!((ONSET_MILLIS..=ONSET_MILLIS + within_millis).contains(&millis), "{ejections:?}");
    assert!(reasons.contains(&reason), "{ejections:?}");
    assert!(ejections.iter().all(|(_, endpoint, _)| *endpoint == 0), "{ejections:?}");
}

fn nobody(story: &Story) {
    assert_eq!(story.ejections(), []);
}

#[test]
fn a_dead_endpoint_is_out_within_a_second_and_gets_one_probe_a_backoff() {
    let dead = |asked: &Asked, rng: &mut Rng| if asked.ill() { (Unconnected, 1) } else { well(rng) };
    let scenario = Scenario { seconds: 900, ..Scenario::of(dead) };
    check("dead", &scenario, |story| {
        only_the_ill_one(story, 999, &[Reason::LocalRun]);
        let asked: u32 = story.asked[0][(ONSET as usize + 1) * LOOKS_A_SECOND as usize..].iter().sum();
        let probes = story.count(Reason::ProbeFailed);
        // 5, 10, 20, 40, 80, 160 and 300 s, each up to half as much longer.
        assert!((6..=7).contains(&probes), "{probes}");
        assert_eq!(asked as usize, probes, "requests that met it after it was out");
    });
    // With a poisoned query and a hundredth that fails anyway, everywhere.
    let beside = |asked: &Asked, rng: &mut Rng| match asked.account {
        _ if asked.ill() => (Unconnected, 1),
        POISONED => (Broken, 2),
        _ => some(0.01, (Gateway, 2), rng),
    };
    let poisoned = Scenario { poisoned: 0.3, ..Scenario::of(beside) };
    check("dead beside poison", &poisoned, |story| only_the_ill_one(story, 999, &[Reason::LocalRun]));
    // Where one account asks, and seldom: nobody else could find out.
    let quiet = Scenario { per_second: 6, accounts: 1, ..scenario };
    check("dead, one account", &quiet, |story| only_the_ill_one(story, 10_000, &[Reason::LocalRun]));
}

#[test]
fn a_hanging_endpoint_is_out_when_time_limits_end_and_old_requests_do_not_keep_it_out() {
    // Silent for 20 s; what was asked then ends after 15 s, some of it when the endpoint is long back.
    let hangs = |asked: &Asked, rng: &mut Rng| {
        if asked.ill() && asked.second < ONSET + 20 { (Broken, 15_000) } else { well(rng) }
    };
    check("hanging", &Scenario::of(hangs), |story| {
        only_the_ill_one(story, 16_000, &[Reason::LocalRun]);
        assert_eq!(story.ejections().len(), 1, "{:?}", story.ejections());
        assert_eq!(story.count(Reason::ProbePassed), 1);
    });
}

#[test]
fn an_endpoint_that_fails_half_of_all_is_out() {
    let reasons = [Reason::FailureShare, Reason::WorseThanSiblings, Reason::LocalRun, Reason::GatewayRun];
    let gateway = |asked: &Asked, rng: &mut Rng| some(if asked.ill() { 0.5 } else { 0.0 }, (Gateway, 2), rng);
    check("half, gateway", &Scenario::of(gateway), |story| only_the_ill_one(story, 6_000, &reasons));
    let broken = |asked: &Asked, rng: &mut Rng| some(if asked.ill() { 0.5 } else { 0.0 }, (Broken, 2), rng);
    check("half, broken", &Scenario::of(broken), |story| only_the_ill_one(story, 6_000, &reasons));
}

#[test]
fn a_fifth_is_enough_where_siblings_are_well_and_no_sign_where_they_are_not() {
    let gray = |asked: &Asked, rng: &mut Rng| some(if asked.ill() { 0.21 } else { 0.002 }, (Gateway, 2), rng);
    let scenario = Scenario { seconds: 180, ..Scenario::of(gray) };
    check("gray", &scenario, |story| only_the_ill_one(story, 90_000, &[Reason::WorseThanSiblings]));
    check("gray, of two", &Scenario { endpoints: 2, ..scenario.clone() }, |story| {
        only_the_ill_one(story, 90_000, &[Reason::WorseThanSiblings]);
    });
    let all = |asked: &Asked, rng: &mut Rng| {
        some(if asked.second >= ONSET { 0.21 } else { 0.0 }, (Gateway, 2), rng)
    };
    check("gray everywhere", &Scenario { seconds: 600, ..Scenario::of(all) }, nobody);
}

#[test]
fn a_slow_endpoint_is_out() {
    let slow = |asked: &Asked, rng: &mut Rng| {
        let (end, millis) = well(rng);
        (end, if asked.ill() { millis * 8 } else { millis })
    };
    let slower = [Reason::SlowerThanSiblings];
    check("slow", &Scenario::of(slow), |story| {
        only_the_ill_one(story, 6_000, &slower);
        assert!(story.count(Reason::ProbeSlow) > 0, "a slow probe is none that passed");
    });
    let of_two = Scenario { endpoints: 2, ..Scenario::of(slow) };
    check("slow, of two", &of_two, |story| only_the_ill_one(story, 6_000, &slower));
    // As slow, and always was: another zone.
    let far = |asked: &Asked, rng: &mut Rng| {
        let (end, millis) = well(rng);
        (end, if asked.endpoint == 0 { millis * 8 } else { millis })
    };
    check("far", &Scenario::of(far), nobody);
    // All at once: the database.
    let all = |asked: &Asked, rng: &mut Rng| {
        let (end, millis) = well(rng);
        (end, if asked.second >= ONSET { millis * 8 } else { millis })
    };
    check("slow everywhere", &Scenario::of(all), nobody);
}

#[test]
fn one_accounts_poisoned_query_ejects_nobody() {
    let ends: [fn(&Asked, &mut Rng) -> End; 5] = [
        |asked, rng| if asked.account == POISONED { (Gateway, 3) } else { well(rng) },
        |asked, rng| if asked.account == POISONED { (Broken, 3) } else { well(rng) },
        |asked, rng| if asked.account == POISONED { (Broken, 10_000) } else { some(0.01, (Gateway, 2), rng) },
        // Nobody fails, it is only slow.
        |asked, rng| if asked.account == POISONED { (Answered, 4_000) } else { well(rng) },
        // One endpoint alone meets it.
        |asked, rng| match (asked.account, asked.endpoint) {
            (POISONED, 0) => (Gateway, 3),
            _ => some(0.01, (Broken, 2), rng),
        },
    ];
    for (at, behaviour) in ends.into_iter().enumerate() {
        for poisoned in [0.3, 0.6] {
            let scenario = Scenario { poisoned, ..Scenario::for_24_minutes(behaviour) };
            check(&format!("poison {at} at {poisoned}"), &scenario, |story| {
                nobody(story);
                assert_eq!(story.held, 0);
            });
        }
    }
}

#[test]
fn failures_that_all_have_do_not_flap() {
    let ends: [fn(&Asked, &mut Rng) -> End; 3] = [
        |_, rng| some(0.1, (Broken, 2), rng),
        |_, rng| some(0.1, (Unconnected, 2), rng),
        |_, rng| some(0.1, (Gateway, 2), rng),
    ];
    for (at, behaviour) in ends.into_iter().enumerate() {
        for per_second in [8, 150] {
            let scenario = Scenario { per_second, ..Scenario::for_24_minutes(behaviour) };
            check(&format!("background {at} at {per_second}/s"), &scenario, nobody);
        }
    }
}

#[test]
fn a_bad_release_and_a_cell_that_pushes_back_eject_nobody() {
    let release = |asked: &Asked, rng: &mut Rng| {
        if asked.second >= ONSET { (AppError, 5) } else { well(rng) }
    };
    check("bad release", &Scenario::of(release), nobody);
    let one = |asked: &Asked, rng: &mut Rng| if asked.ill() { (AppError, 5) } else { well(rng) };
    check("bad release on one", &Scenario::of(one), nobody);
    let busy = |asked: &Asked, rng: &mut Rng| if asked.ill() { (Pushback, 1) } else { well(rng) };
    check("pushback", &Scenario::of(busy), nobody);
}

#[test]
fn a_verdict_about_the_path_ejects_nobody_and_headroom_is_kept() {
    let dead = |asked: &Asked, rng: &mut Rng| {
        if asked.second >= ONSET { (Unconnected, 1) } else { well(rng) }
    };
    check("frozen", &Scenario { frozen: true, ..Scenario::of(dead) }, |story| {
        nobody(story);
        assert!(story.held > 1_000, "and it is said: {}", story.held);
    });
    check("all dead", &Scenario::of(dead), |story| {
        let mut out: Vec<usize> = story.ejections().into_iter().map(|(_, endpoint, _)| endpoint).collect();
        out.dedup();
        assert_eq!(out.len(), 1, "two of three stay in: {:?}", story.ejections());
    });
}

#[test]
fn active_checks_find_the_dead_where_nobody_asks_and_are_the_probes() {
    let dead = |asked: &Asked, rng: &mut Rng| {
        if asked.ill() && asked.second < ONSET + 120 { (Unconnected, 1) } else { well(rng) }
    };
    let silent = Scenario { per_second: 0, checked: true, ..Scenario::of(dead) };
    check("checked, silent", &silent, |story| only_the_ill_one(story, 19_000, &[Reason::ChecksFailed]));
    check("checked", &Scenario { per_second: 150, ..silent }, |story| {
        only_the_ill_one(story, 999, &[Reason::LocalRun]);
        let out =
            (ONSET as usize + 1) * LOOKS_A_SECOND as usize..(ONSET as usize + 119) * LOOKS_A_SECOND as usize;
        assert_eq!(story.asked[0][out].iter().sum::<u32>(), 0, "no request of a client is a probe");
        let (back, _, _) = story.changes.last().expect("it came back");
        assert!((180_000..193_000).contains(back), "two checks later: {back} ms");
        assert_eq!(story.count(Reason::ChecksPassed), 1);
    });
}

#[test]
fn observed_the_dead_are_found_as_if_enforced_and_asked_as_before() {
    let dead = |asked: &Asked, rng: &mut Rng| {
        if asked.ill() && asked.second < ONSET + 60 { (Unconnected, 1) } else { well(rng) }
    };
    let scenario = Scenario { enforce: false, ..Scenario::of(dead) };
    check("observed", &scenario, |story| {
        only_the_ill_one(story, 999, &[Reason::LocalRun]);
        assert!(story.changes.iter().all(|(_, _, change)| change.would_have));
        assert!((3..=4).contains(&story.count(Reason::ProbeFailed)), "{}", story.count(Reason::ProbeFailed));
        assert_eq!(story.count(Reason::ProbePassed), 1);
        let asked: u32 = story.asked[0][(ONSET as usize + 1) * LOOKS_A_SECOND as usize..].iter().sum();
        assert!(asked > 50 * 170, "a third of all: {asked}");
    });
}
