//! A seeded simulation of the two plain floors: configurations that change as operators change them,
//! written as text, parsed and compiled into generation after generation, while requests are decided
//! under whichever generation they have pinned, permits are held across reloads, and cells teach and
//! refuse credentials. A shadow in plain maps says what each must be.
//!
//! `CELLGATE_SIM_SEED=17` replays one seed; `CELLGATE_SIM_SEEDS=5000` asks for more than the default.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod agreement;
mod ask;
mod clients;
mod drill;
mod failover;
mod health;
mod hostile;
mod legacy_use;
mod lessons;
mod moves;
mod overload;
mod recovery;
#[path = "../support/snapshot.rs"]
mod snapshot;
mod verdict;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use ask::{Ask, Expected, Place};
use cellgate::config::{Config, Sources, compile, diff, parse};
use cellgate::policy::admit::Permit;
use cellgate::policy::annotate::annotate;
use cellgate::policy::decide::{Decision, Verdict, Why};
use cellgate::policy::envelope::Said;
use cellgate::policy::refusal::{Outcome, Refusal};
use cellgate::policy::snapshot::Snapshot;
use cellgate::proxy::reply::Reply;
use fastrand::Rng;
use lessons::Lessons;
use world::{TEMPLATES, World};

/// Seeds of an ordinary run: as many as fit in 20 s of an unoptimised build on one core.
const SEEDS: u64 = 160;

/// Steps of one seed: about ten reloads among them.
const STEPS: u32 = 200;

/// Generations that requests hold at most: the longest WebSocket against the busiest afternoon.
const PINNED: usize = 6;

/// 2026-11-20T00:00:00Z.
const NOW: i64 = 1_795_132_800;

#[test]
fn whatever_happens_every_request_stays_with_its_generation() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let mut seen = Seen::default();
    match number("CELLGATE_SIM_SEED") {
        Some(seed) => run(seed, &mut seen),
        None => {
            let seeds = number("CELLGATE_SIM_SEEDS").unwrap_or(SEEDS);
            (0..seeds).for_each(|seed| run(seed, &mut seen));
            // A simulation in which something never happens holds nothing about it.
            for what in HAPPENS.iter().filter(|_| seeds >= SEEDS) {
                assert!(seen.contains_key(*what), "{what} never happened, only {seen:#?}");
            }
        }
    }
}

/// What happened, and how often.
type Seen = BTreeMap<String, u32>;

/// What must happen in an ordinary run.
const HAPPENS: [&str; 20] = [
    "mapped by host_prefix against others",
    "mapped by path",
    "mapped by query",
    "mapped by header",
    "mapped by credential",
    "mapped by cookie",
    "id_range by id_range",
    "fallback by none",
    "fallback by host_prefix",
    "redirect",
    "conflicting_accounts",
    "credential_required",
    "unmapped_account",
    "routed by a learned entry",
    "taught New",
    "taught Ambiguous",
    "taught Confirmed",
    "taught NoRoom",
    "evicted",
    "demoted",
];

fn run(seed: u64, seen: &mut Seen) {
    let replay = Replay(seed);
    let mut rng = Rng::with_seed(seed);
    let mut simulation = Simulation::new(&mut rng);
    for _ in 0..STEPS {
        simulation.step(&mut rng);
    }
    for (what, times) in simulation.finish() {
        *seen.entry(what).or_default() += times;
    }
    drop(replay);
}

/// Says how to see a failure again.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with CELLGATE_SIM_SEED={} cargo test --test simulation", self.0);
        }
    }
}

/// A snapshot, the files that it was made of, and which counter each of its cells must share.
struct Generation {
    snapshot: Arc<Snapshot>,
    world: World,
    counters: BTreeMap<String, usize>,
}

struct Simulation {
    /// The last one serves; the others are held by requests.
    generations: Vec<Generation>,
    /// In flight by counter.
    in_flight: Vec<u32>,
    permits: Vec<(Permit, usize)>,
    lessons: Lessons,
    now: u64,
    last: Option<Ask>,
    /// Cells refuse credentials: they were rotated, or the cell has lost its mind.
    sour: bool,
    seen: Seen,
}

impl Simulation {
    fn new(rng: &mut Rng) -> Self {
        let world = World::new(rng);
        let mut made = Self {
            generations: Vec::new(),
            in_flight: Vec::new(),
            permits: Vec::new(),
            lessons: Lessons::default(),
            now: NOW.unsigned_abs(),
            last: None,
            sour: false,
            seen: Seen::default(),
        };
        made.serve(world);
        made
    }

    fn step(&mut self, rng: &mut Rng) {
        self.now += rng.u64(0..30);
        match rng.u32(..100) {
            0..=6 => self.reload(rng),
            7..=9 => self.reload_wrong(rng),
            10..=13 if self.generations.len() > 1 => {
                drop(self.generations.remove(rng.usize(..self.generations.len() - 1)));
            }
            14..=21 => self.hostile(rng),
            22..=25 => self.walk(rng),
            26..=45 if !self.permits.is_empty() => {
                let (permit, counter) = self.permits.swap_remove(rng.usize(..self.permits.len()));
                drop(permit);
                self.in_flight[counter] -= 1;
            }
            46 if rng.u32(..4) == 0 => self.lessons.silence(&mut self.now),
            47 if rng.u32(..4) == 0 => {
                let credentials = &self.serving().snapshot.identify.credentials;
                if let Some(bounds) = credentials.learning {
                    self.lessons.restart(&bounds, self.now);
                }
            }
            48 => self.sour = rng.bool(),
            _ => self.request(rng),
        }
        self.check_counters();
    }

    /// Everybody hangs up: nothing is in flight, in no generation.
    fn finish(mut self) -> Seen {
        for (permit, counter) in self.permits.drain(..) {
            drop(permit);
            self.in_flight[counter] -= 1;
        }
        self.check_counters();
        assert!(self.in_flight.iter().all(|count| *count == 0));
        let cells = self.generations.iter().flat_map(|generation| &generation.snapshot.cells);
        cells.for_each(|cell| assert_eq!(cell.load.in_flight(), 0, "{}", cell.name));
        self.seen.extend(self.lessons.seen);
        self.seen
    }

    fn serving(&self) -> &Generation {
        self.generations.last().unwrap()
    }

    fn pinned(&self, rng: &mut Rng) -> &Generation {
        &self.generations[rng.usize(..self.generations.len())]
    }

    fn reload(&mut self, rng: &mut Rng) {
        let mut world = self.serving().world.clone();
        for _ in 0..rng.u32(1..5) {
            world.change(rng);
        }
        let before = self.serving();
        let same = before.world.sources();
        let next = world.sources();
        let equal = same.routing == next.routing && same.files == next.files;
        let config = good(&next);
        assert_eq!(config.hash == before.snapshot.hash, equal, "the hash says whether the files are equal");
        let moved: usize = diff(&*before.snapshot, &config).accounts_moved.values().sum();
        let moves = before
            .world
            .accounts
            .iter()
            .filter(|(id, row)| world.accounts.get(id).is_some_and(|now| now.cell != row.cell));
        assert_eq!(moved, moves.count(), "a diff counts every account that moves");
        if equal {
            self.equal_files_decide_alike(config, rng);
        } else {
            self.serve(world);
        }
    }

    fn serve(&mut self, world: World) {
        let previous = self.generations.last();
        let snapshot = compile(good(&world.sources()), previous.map(|generation| &*generation.snapshot));
        let expected = previous.map_or(1, |generation| generation.snapshot.generation.0 + 1);
        assert_eq!(snapshot.generation.0, expected);
        self.lessons.watch(&world);
        let mut counters = BTreeMap::new();
        for (name, _) in &world.cells {
            let carried = previous.and_then(|generation| generation.counters.get(name).copied());
            let counter = carried.unwrap_or_else(|| {
                self.in_flight.push(0);
                self.in_flight.len() - 1
            });
            counters.insert(name.clone(), counter);
        }
        self.generations.push(Generation { snapshot: Arc::new(snapshot), world, counters });
        if self.generations.len() > PINNED {
            self.generations.remove(0);
        }
    }

    fn equal_files_decide_alike(&mut self, config: Config, rng: &mut Rng) {
        let again = compile(config, None);
        let serving = self.generations.last().unwrap();
        for _ in 0..20 {
            let request = Ask::any(&serving.world, rng).request();
            let table = &self.lessons.table;
            assert_eq!(
                request.decide(&serving.snapshot, table),
                request.decide(&again, table),
                "{request:?}"
            );
        }
    }

    /// Files that are wrong have problems that say where, and what serves goes on.
    fn reload_wrong(&mut self, rng: &mut Rng) {
        let mut sources = self.serving().world.sources();
        let surely = hostile::spoil(&mut sources, rng);
        match parse(&sources, None, NOW) {
            Ok(config) => {
                assert!(!surely, "wrong files were read:\n{sources:?}");
                // Whatever can be read can be served.
                let next = compile(config, Some(&self.serving().snapshot));
                let ask = Ask::any(&self.serving().world, rng);
                let _ = ask.request().decide(&next, &self.lessons.table);
            }
            Err(problems) => {
                assert!(!problems.is_empty());
                for problem in &problems {
                    assert!(
                        !problem.file.is_empty() && !problem.what.is_empty() && !problem.expected.is_empty()
                    );
                }
            }
        }
    }

    fn request(&mut self, rng: &mut Rng) {
        let at = rng.usize(..self.generations.len());
        // Clients repeat themselves, in whichever generation.
        let ask = match &self.last {
            Some(last) if rng.u32(..3) == 0 => last.clone(),
            _ => Ask::any(&self.generations[at].world, rng),
        };
        self.last = Some(ask.clone());
        let known = ask.token.and_then(|number| self.lessons.known(&self.generations[at].world, number));
        let generation = &self.generations[at];
        let decision = ask.request().decide(&generation.snapshot, &self.lessons.table);
        check_expected(generation, &ask, known, &decision);
        check_lawful(generation, &ask.host, &decision);
        *self.seen.entry(kind(&decision)).or_default() += 1;
        let Verdict::Forward { cell, .. } = decision.verdict else { return };
        let cell = generation.snapshot.cell(cell);
        let counter = generation.counters[cell.name.as_str()];
        let permit = cell.load.try_acquire(cell.max_in_flight);
        assert_eq!(permit.is_some(), self.in_flight[counter] < cell.max_in_flight, "{}", cell.name);
        let Some(permit) = permit else { return };
        self.in_flight[counter] += 1;
        self.permits.push((permit, counter));
        let bounds = generation.snapshot.identify.credentials.learning;
        self.answer(&decision, bounds, rng);
    }

    /// The cell answers, and the table learns from it.
    fn answer(
        &mut self,
        decision: &Decision,
        bounds: Option<cellgate::policy::credential::Learning>,
        rng: &mut Rng,
    ) {
        let status = match self.sour && rng.u32(..4) > 0 {
            true => 401,
            false => [200, 200, 200, 204, 206, 302, 401, 403, 500][rng.usize(..9)],
        };
        if let Some((token, account)) = decision.lesson(status) {
            assert!(matches!(status, 200..=204) && decision.account == Some(account));
            let bounds = bounds.expect("there is no lesson where learning is off");
            self.lessons.teach(token, account, &bounds, self.now);
        }
        if let Some(token) = decision.routed_by() {
            self.lessons.routed(token, decision.account);
        }
        match (decision.routed_by(), status) {
            (Some(token), 401) => self.lessons.rejected(token, self.now, rng.u32(..5) == 0),
            (Some(token), 200..=299) => self.lessons.accepted(token, self.now),
            _ => {}
        }
    }

    fn hostile(&mut self, rng: &mut Rng) {
        let generation = self.pinned(rng);
        let ask = Ask::any(&generation.world, rng);
        let request = hostile::twist(ask.request(), &generation.world, rng);
        let decision = request.decide(&generation.snapshot, &self.lessons.table);
        check_lawful(generation, &ask.host, &decision);
    }

    /// Walking ids without a credential: those that exist and those that do not are answered alike.
    fn walk(&mut self, rng: &mut Rng) {
        let generation = self.pinned(rng);
        let world = &generation.world;
        let mut ask = Ask::any(world, rng);
        let authenticated: Vec<usize> = (0..TEMPLATES.len()).filter(|at| TEMPLATES[*at].1).collect();
        let template = authenticated[rng.usize(..authenticated.len())];
        (ask.token, ask.cookie, ask.environment, ask.header) = (None, None, None, None);
        if !matches!(ask.host, Place::Legacy(_)) {
            ask.host = Place::Legacy("cloud.getdbt.com".into());
        }
        let mut answer = |id| {
            ask.path = Some((template, id));
            ask.query = ask.query.map(|_| id);
            refusal(generation, &ask, &self.lessons)
        };
        let (there, nowhere) = (world.any_account(rng), world.no_account(rng));
        assert_eq!(answer(there), answer(nowhere), "{there} has a row and {nowhere} has none");
    }

    fn check_counters(&self) {
        for generation in &self.generations {
            for cell in &generation.snapshot.cells {
                let counter = generation.counters[cell.name.as_str()];
                assert_eq!(
                    cell.load.in_flight(),
                    self.in_flight[counter],
                    "{} in generation {}",
                    cell.name,
                    generation.snapshot.generation
                );
            }
        }
    }
}

fn good(sources: &Sources) -> Config {
    let config = parse(sources, None, NOW);
    config.unwrap_or_else(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("the shadow writes good files:\n{}\n{sources:?}", lines.join("\n"))
    })
}

/// The decision is the one that the shadow makes of the same files.
fn check_expected(generation: &Generation, ask: &Ask, known: Option<u64>, decision: &Decision) {
    let expectation = ask.expect(&generation.world, known);
    let expected = match &decision.verdict {
        Verdict::Forward { cell, why } => {
            Expected::Forward { cell: generation.snapshot.cell(*cell).name.to_string(), why: *why }
        }
        Verdict::Hold { .. } => unreachable!("nothing moves here"),
        Verdict::Redirect { location } => {
            let host = location.strip_prefix("https://").and_then(|rest| rest.split('/').next());
            Expected::Redirect { host: host.unwrap_or_default().to_owned() }
        }
        Verdict::Refuse(refusal) => Expected::Refuse(*refusal),
    };
    let found = ask::Expectation {
        account: decision.account.map(|account| account.value()),
        source: decision.source,
        against: decision.conflicts.iter().map(|conflict| conflict.against).collect(),
        expected,
    };
    assert_eq!(found, expectation, "{ask:#?}\n{:#?}", generation.world);
}

/// What sort of decision it is.
fn kind(decision: &Decision) -> String {
    let source = decision.source.as_str();
    let conflict = if decision.conflicts.is_empty() { "" } else { " against others" };
    match &decision.verdict {
        Verdict::Forward { why, .. } => format!("{} by {source}{conflict}", why.as_str()),
        Verdict::Hold { .. } => "hold".to_owned(),
        Verdict::Redirect { .. } => "redirect".to_owned(),
        Verdict::Refuse(refusal) => refusal.label().to_owned(),
    }
}

/// What holds for every decision, also where nobody can say what the request meant.
fn check_lawful(generation: &Generation, host: &Place, decision: &Decision) {
    let world = &generation.world;
    let row = decision.account.and_then(|id| world.accounts.get(&id.value()));
    match &decision.verdict {
        Verdict::Forward { cell, why } => {
            let cell = generation.snapshot.cell(*cell).name.as_str();
            match why {
                Why::Mapped => assert_eq!(row.unwrap().cell, cell, "the row says where"),
                Why::IdRange => {
                    let range = world.cell(cell).range.expect("the cell has a range");
                    assert_eq!((decision.account, world.born(range)), (None, Some(cell)));
                }
                Why::Fallback => {
                    let fallbacks = host.rule(world).unwrap();
                    let named = [&fallbacks.no_account, &fallbacks.unmapped].into_iter().flatten();
                    assert!(named.into_iter().any(|name| name == cell), "{cell} is no fallback of {host:?}");
                }
            }
            let legacy = !matches!(host, Place::Cell { .. });
            let explicit = decision.conflicts.iter().any(|conflict| {
                use cellgate::policy::decide::Source::{Header, Path, Query};
                matches!(conflict.against, Path | Query | Header)
            });
            assert!(!(legacy && explicit), "a conflict was obeyed: {decision:?}");
        }
        Verdict::Redirect { location } => {
            let row = row.unwrap();
            let own = format!("https://{}.{}/", row.prefixes[0], world.cell(&row.cell).domain);
            assert!(row.redirect && location.starts_with(&own), "{location} is not below {own}");
        }
        Verdict::Hold { .. } | Verdict::Refuse(_) => {}
    }
    if let (Place::Cell { prefix, domain, .. }, Verdict::Forward { cell, why: Why::Mapped }) =
        (host, &decision.verdict)
    {
        let (id, row) = world.by_prefix(prefix).unwrap();
        let cell = generation.snapshot.cell(*cell);
        assert_eq!(decision.account.unwrap().value(), id, "the prefix names the account");
        assert_eq!((cell.name.as_str(), &*cell.domain), (row.cell.as_str(), *domain));
        assert_eq!(decision.schedule, None, "an account's own address is not deprecated");
    }
    if matches!(host, Place::Cell { .. }) {
        assert!(
            !matches!(decision.verdict, Verdict::Redirect { .. }),
            "nothing is redirected on a cell host"
        );
    }
    if decision.may_learn {
        assert!(matches!(decision.verdict, Verdict::Forward { why: Why::Mapped, .. }));
        assert!(decision.source <= cellgate::policy::decide::Source::Path);
    }
}

/// Status, fields and body of the answer to a request that must be refused.
fn refusal(
    generation: &Generation,
    ask: &Ask,
    lessons: &Lessons,
) -> (http::StatusCode, http::HeaderMap, Vec<u8>) {
    let snapshot = &generation.snapshot;
    let decision = ask.request().decide(snapshot, &lessons.table);
    let refusal = match decision.verdict {
        Verdict::Refuse(refusal) => refusal,
        other => panic!("{other:?} without a credential: {ask:?}"),
    };
    assert!(matches!(refusal, Refusal::CredentialRequired | Refusal::Misdirected), "{refusal:?}");
    let said = Said {
        refusal,
        outcome: Outcome::NotForwarded,
        request_id: "simulated",
        guide: &snapshot.guide,
        notice: None,
    };
    let shape = decision.surface.map(|surface| snapshot.surface(surface).errors).unwrap_or_default();
    let mut reply = Reply::refusal(&said, shape, false, None);
    if let Some(schedule) = decision.schedule {
        annotate(snapshot.schedule(schedule), None, &mut reply.headers);
    }
    (reply.status, reply.headers, reply.body.to_vec())
}
