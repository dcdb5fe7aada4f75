//! Accounts moved one after another under load, in virtual time: three replicas whose files arrive 0 to 90 s apart, a
//! cell that lags, and `config::advance` on what the replicas say. No write may reach the old cell after the first one
//! at the new; and with any of three rules left out, one does.
//!
//! `CELLGATE_SIM_SEED=17` replays one seed; `CELLGATE_SIM_SEEDS=500` asks for more than the default.

mod fleet;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use cellgate::config::advance::{Next, Replica, Reported, ReportedMove, Standing, advance, lagging, open};
use cellgate::config::moving::{self, Changed};
use cellgate::config::{Sources, compile, diff, parse};
use cellgate::policy::moves::MoveState;
use fastrand::Rng;
use fleet::{Event, Fleet, Generation, Ledger, REPLICAS, Time, Without};

use super::NOW;
use super::snapshot::account;

/// Accounts of an ordinary seed.
const FEW: u64 = 8;

/// Accounts of the one large seed: a wave of a migration.
const WAVE: u64 = 500;

/// Seeds of an ordinary run: a few seconds of an unoptimised build.
const SEEDS: u64 = 24;

/// Ids begin here.
const FIRST: u64 = 1_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn no_write_reaches_the_old_cell_after_the_first_at_the_new() {
    let seeds = number("CELLGATE_SIM_SEEDS").unwrap_or(SEEDS);
    let seeds = number("CELLGATE_SIM_SEED").map_or(0..seeds, |seed| seed..seed + 1);
    let mut sum = Ledger::default();
    for seed in seeds.clone() {
        let found = faultless(seed, FEW);
        sum.held += found.held;
        sum.refused += found.refused;
        sum.turned_back += found.turned_back;
    }
    // A simulation in which something never happens holds nothing about it.
    if seeds.end - seeds.start >= SEEDS {
        assert!(sum.held > 100 && sum.refused > 10 && sum.turned_back > 10, "{sum:?}");
    }
}

#[test]
fn five_hundred_accounts_are_moved_one_after_another() {
    let found = faultless(500, WAVE);
    let Ledger { requests, held, refused, turned_back, .. } = found;
    eprintln!(
        "{WAVE} accounts moved: {requests} requests, 0 failed; {held} times one was held, {refused} times one was refused as \
         not forwarded and retried as told, {turned_back} turned back after they were counted"
    );
    assert_eq!(found.first_new.len(), usize::try_from(WAVE).unwrap(), "each was written to in its new cell");
}

#[test]
fn with_a_rule_left_out_a_write_is_late() {
    for without in [Without::HashCheck, Without::ZeroWrites, Without::CountFirst] {
        let mut seeds = 0..400;
        let found = seeds.find_map(|seed| Some((seed, run(seed, FEW, without).late.first()?.clone())));
        let (seed, late) = found.unwrap_or_else(|| panic!("nothing is late without {without:?}"));
        eprintln!("without {without:?}, seed {seed}: {late}");
    }
}

fn faultless(seed: u64, accounts: u64) -> Ledger {
    let replay = super::Replay(seed);
    let found = run(seed, accounts, Without::Nothing);
    assert_eq!(found.late, Vec::<String>::new());
    assert_eq!(found.misrouted, Vec::<String>::new());
    drop(replay);
    found
}

fn run(seed: u64, accounts: u64, without: Without) -> Ledger {
    let mut migration = Migration::new(seed, accounts, without);
    while let Some(event) = migration.fleet.next() {
        match event {
            Event::Traffic => migration.traffic(),
            Event::Poll => migration.poll(),
            Event::Answer(replica) => migration.answer(replica),
            event => migration.fleet.step(event),
        }
        assert!(migration.fleet.now < LONGEST * accounts, "it does not end");
    }
    assert!(migration.fleet.is_quiet(), "a request is lost, or stays counted");
    migration.fleet.ledger
}

/// An account is moved after its files have travelled twice, and a few polls and retries.
const LONGEST: Time = 600_000;

/// Whoever moves accounts: a folder, and `cellgate move advance` on it again and again.
struct Migration {
    fleet: Fleet,
    sources: Sources,
    serving: Rc<Generation>,
    /// Moves that are not flipped.
    open: Vec<Standing>,
    accounts: u64,
    /// Those that may be held at once.
    at_once: usize,
    /// What is asked about now, and what was said.
    batch: Vec<Standing>,
    said: BTreeMap<usize, Replica>,
    is_done: bool,
}

impl Migration {
    fn new(seed: u64, accounts: u64, without: Without) -> Self {
        let mut rng = Rng::with_seed(seed);
        let before = sources(accounts);
        let config = parse(&before, None, NOW).map_err(|problems| format!("{problems:?}")).unwrap();
        let names: String = (FIRST..FIRST + accounts).map(|id| format!("{id}\n")).collect();
        let listed = moving::listed("wave", names.as_bytes(), &config).unwrap();
        let Changed { sources, config, .. } =
            moving::announce(&before, &config, ("wave", &listed), fleet::NEW, NOW).unwrap();
        let open = open(&config);
        let old = compile(parse(&before, None, NOW).unwrap(), None);
        let first = Rc::new(Generation { number: 0, hash: old.hash.clone(), snapshot: old });
        let serving =
            Rc::new(Generation { number: 1, hash: config.hash.clone(), snapshot: compile(config, None) });
        // One after another in the wave; two or three at once in every other seed.
        let at_once = if accounts == WAVE { 1 } else { rng.usize(1..4) };
        let mut fleet = Fleet::new(rng, without, first);
        fleet.publish(&serving);
        fleet.at(0, Event::Traffic);
        fleet.at(0, Event::Poll);
        let (batch, said) = (Vec::new(), BTreeMap::new());
        Self { fleet, sources, serving, open, accounts, at_once, batch, said, is_done: false }
    }

    /// Most of the load is where it hurts.
    fn traffic(&mut self) {
        let rng = &mut self.fleet.rng;
        let id = match self.batch.as_slice() {
            some @ [_, ..] if rng.u8(..4) > 0 => some[rng.usize(..some.len())].account.value(),
            _ => FIRST + rng.u64(..self.accounts),
        };
        // A wave takes a virtual day; its load is thinner, so that it is simulated within seconds.
        let longest = if self.accounts == WAVE { 6_000 } else { 1_500 };
        let (is_write, pause) = (rng.u8(..3) > 0, rng.u64(1..longest));
        self.fleet.at(self.fleet.now, Event::Arrive { id, is_write });
        if !self.is_done {
            self.fleet.at(self.fleet.now + pause, Event::Traffic);
        }
    }

    fn poll(&mut self) {
        let held = self.open.iter().filter(|of| of.state == MoveState::Holding);
        self.batch = held.cloned().collect();
        if self.batch.is_empty() {
            self.batch = self.open.iter().take(self.at_once).cloned().collect();
        }
        for replica in 0..REPLICAS {
            let at = self.fleet.now + self.fleet.rng.u64(1..400);
            self.fleet.at(at, Event::Answer(replica));
        }
    }

    fn answer(&mut self, at: usize) {
        let is_silent = self.fleet.rng.u8(..20) == 0;
        let said = if is_silent { Err("nothing within 5000 ms".into()) } else { Ok(self.reported(at)) };
        self.said.insert(at, Replica { name: format!("r{at}").into(), said });
        if self.said.len() < REPLICAS {
            return;
        }
        let replicas: Vec<Replica> = std::mem::take(&mut self.said).into_values().collect();
        let hash = self.serving.hash.clone();
        if self.open.is_empty() && lagging(&hash, &replicas).is_empty() {
            self.is_done = true;
            // Everybody writes once more.
            for id in FIRST..FIRST + self.accounts {
                self.fleet.at(self.fleet.now, Event::Arrive { id, is_write: true });
            }
        }
        let mut publish = Vec::new();
        for (of, next) in self.batch.iter().zip(advance(&hash, &self.batch, &replicas)) {
            if let Next::Publish(state) = next {
                publish.push((of.clone(), state));
            }
        }
        if !publish.is_empty() {
            self.publish(&publish);
        }
        if !self.is_done {
            let pause = self.fleet.rng.u64(500..4_000);
            self.fleet.at(self.fleet.now + pause, Event::Poll);
        }
    }

    /// What a replica says, as far as the rules that are left out let one hear it.
    fn reported(&self, at: usize) -> Reported {
        let replica = &self.fleet.replicas[at];
        let (without, serving) = (self.fleet.without, &replica.serving);
        let says = |of: &Standing| {
            let id = of.account.value();
            let known = serving.snapshot.moves.table.find(account(id));
            let state = match without {
                Without::HashCheck => of.state,
                _ => known?.state,
            };
            let writes = replica.writes.get(&id).copied().unwrap_or(0);
            let writes_at_old_cell = if without == Without::ZeroWrites { 0 } else { writes };
            let of = Standing { state, ..of.clone() };
            Some((of.account, ReportedMove { of, writes_at_old_cell, waiting: 0 }))
        };
        let hash = if without == Without::HashCheck { &self.serving.hash } else { &serving.hash };
        let moves = self.batch.iter().filter_map(says).collect();
        let process = at.to_string().into();
        Reported { process, predecessors: Vec::new(), hash: hash.clone(), candidate: None, moves }
    }

    fn publish(&mut self, moves: &[(Standing, MoveState)]) {
        let Changed { sources, config, .. } = moving::carry_on(&self.sources, moves, NOW).unwrap();
        let number = self.serving.number + 1;
        for (of, state) in moves {
            if *state == MoveState::Flipped {
                self.fleet.flipped_in.insert(of.account.value(), number);
            }
        }
        let found = diff(&self.serving.snapshot, &config).moves;
        let noted = [&found.unheld, &found.unseen, &found.backwards, &found.skipped];
        assert_eq!(noted.map(|noted| noted.count), [0; 4], "guards let each step through: {found:?}");
        self.open = open(&config);
        self.serving =
            Rc::new(Generation { number, hash: config.hash.clone(), snapshot: compile(config, None) });
        self.sources = sources;
        let serving = Rc::clone(&self.serving);
        self.fleet.publish(&serving);
    }
}

fn sources(accounts: u64) -> Sources {
    let rows: String = (FIRST..FIRST + accounts).map(|id| format!("{id},us-mt\n")).collect();
    let files = [
        ("accounts.csv".into(), Ok(format!("account,cell\n{rows}").into_bytes())),
        ("moves.csv".into(), Ok(moving::empty_table())),
    ];
    let routing = Ok(ROUTING.as_bytes().to_vec());
    Sources { folder: PathBuf::new(), boot_file: None, boot: Ok(Vec::new()), routing, files: files.into() }
}

const ROUTING: &str = "version: 1
guide: https://docs.example.com/moving
surfaces: [{ name: app, errors: status }]
schedules: [{ name: legacy, deprecated_since: 2026-02-01T00:00:00Z, sunset_at: 2026-11-01T00:00:00Z }]
accounts: { file: accounts.csv }
moves: { file: moves.csv }
hosts: [{ pattern: cloud.example.com, role: legacy, surface: app, schedule: legacy }]
cells:
  - { name: us-mt, domain: mt.example.com, groups: [{ endpoints: [127.0.0.1:7000] }] }
  - { name: us1, domain: us1.example.com, groups: [{ endpoints: [127.0.0.1:7001] }] }
identify: { paths: [{ path: \"/deploy/{account}\", authenticated: false }] }
";
