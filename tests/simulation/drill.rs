//! All parts that keep cells standing together, in virtual time: configurations as operators write them, the loss of
//! zones, cells and endpoints, and what came of it in counts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use cellgate::config::{Sources, compile, parse};
use cellgate::drill::books::{Books, CellBooks, Counts};
use cellgate::drill::demand::Demand;
use cellgate::drill::report::{CellReport, Report};
use cellgate::drill::rules::DrillRules;
use cellgate::drill::run::run;
use cellgate::drill::scenario::{BREAKS_AT, Deed, Fault, Scenario, Script};
use cellgate::drill::world::Setup;
use cellgate::policy::protection::shed::Shed;
use cellgate::policy::snapshot::Snapshot;

use super::NOW;
use super::clients::{Seed, seeds};

/// Requests that a replica may have in flight at most: as many as wait for a silent zone, and others beside them.
const PROCESS: u32 = 2_000;

/// When endpoints that a test breaks by itself are mended.
const MENDED_AT: Duration = Duration::from_secs(90);

/// A configuration, and what is asked of it.
struct Drill {
    snapshots: Vec<Snapshot>,
    demand: Vec<f64>,
}

impl Drill {
    /// `cells` is what stands under `cells:`; `load` is a part of what is declared, of 1.
    fn new(cells: &str, replicas: u32, load: f64) -> Self {
        let text = format!(
            "version: 1\nguide: https://docs.example.com/\nsurfaces: [{{ name: app, errors: status }}]\n\
             accounts: {{ file: accounts.csv }}\nprotection: {{ replicas: {replicas} }}\n\
             hosts: [{{ pattern: \"{{prefix}}.us1.dbt.com\", role: cell, surface: app }}]\n\
             identify: {{ query_keys: [account_id] }}\ncells:\n{cells}"
        );
        let rows = Ok(b"account,prefixes,cell,redirect_browsers,schedule\n1,ab123,us1,false,\n".to_vec());
        let sources = Sources {
            folder: PathBuf::new(),
            boot_file: None,
            boot: Ok(Vec::new()),
            routing: Ok(text.into_bytes()),
            files: BTreeMap::from([("accounts.csv".into(), rows)]),
        };
        let snapshot = || compile(parse(&sources, None, NOW).unwrap(), None);
        let snapshots: Vec<Snapshot> = (0..replicas).map(|_| snapshot()).collect();
        let demand = Demand::of(&snapshots[0], load, &[]).unwrap();
        assert_eq!(demand.unknown, []);
        Self { snapshots, demand: demand.rps }
    }

    fn books(&self, script: &Script, seed: u64) -> Books {
        let rules = DrillRules::default();
        let (snapshots, demand) = (&self.snapshots[..], &self.demand[..]);
        run(&Setup { snapshots, process_requests: PROCESS, demand, rules: &rules, seed }, script)
    }

    fn rehearse(&self, scenario: &Scenario, seed: u64) -> Report {
        let first = &self.snapshots[0];
        let books = self.books(&scenario.script(first), seed);
        Report::new(scenario, first, &self.demand, 1.0, &books)
    }
}

/// A cell with one group for each zone: its name, priority, capacity, endpoints.
fn cell(name: &str, more: &str, groups: &[(&str, u8, u32, u32)]) -> String {
    let mut text = format!("  - name: {name}\n    domain: us1.dbt.com\n{more}    groups:\n");
    for (at, (zone, priority, capacity, endpoints)) in groups.iter().enumerate() {
        let endpoints: Vec<String> =
            (1..=*endpoints).map(|one| format!("{name}-{at}-{one}.local:80")).collect();
        text += &format!(
            "      - {{ zone: {zone}, priority: {priority}, capacity_rps: {capacity}, endpoints: [{}] }}\n",
            endpoints.join(", ")
        );
    }
    text
}

fn zone(name: &str) -> Scenario {
    Scenario::ZoneLoss { zone: name.into() }
}

fn all(books: &CellBooks, from: Duration, to: Duration) -> Counts {
    books.all_between(from.as_secs() as usize, to.as_secs() as usize)
}

fn shed(cell: &CellReport, why: Shed) -> u64 {
    cell.all.iter().map(|counts| counts.shed[why as usize]).sum()
}

const THREE: [(&str, u8, u32, u32); 3] = [("a", 0, 200, 2), ("b", 0, 200, 2), ("c", 0, 200, 2)];

#[test]
fn three_zones_with_room_bear_the_loss_of_one() {
    for seed in seeds(1) {
        let replay = Seed(seed);
        let drill = Drill::new(&cell("us1", "", &THREE), 1, 0.5);
        let report = drill.rehearse(&zone("b"), seed);
        let us1 = &report.cells[0];
        eprintln!("{seed}: {}", us1.finding.why);
        assert!(report.holds(), "{report}");
        assert_eq!(us1.collapses.len(), 0);
        for group in us1.groups.iter().filter(|group| !group.is_lost) {
            assert!(group.most_rps <= group.capacity_rps * 1.02 + 1.0, "{group:?}");
        }
        let refused: u64 = us1.settled.iter().map(Counts::shed_all).sum();
        let asked: u64 = us1.settled.iter().map(|counts| counts.asked).sum();
        assert!(refused * 500 <= asked, "{refused} of {asked} refused, though all fits\n{report}");
        drop(replay);
    }
}

#[test]
fn two_zones_without_room_shed_what_matters_least_and_spare_the_standby() {
    // Of 400 and 300 requests a second that are declared, 70 % are asked: so many of them of zone b.
    for (name, own, groups) in [
        ("both serve", 140.0_f64, [("a", 0, 200, 2), ("b", 0, 200, 2)]),
        ("one stands by", 0.0, [("a", 0, 300, 2), ("b", 1, 150, 2)]),
    ] {
        for seed in seeds(2) {
            let replay = Seed(seed);
            let report = Drill::new(&cell("us1", "", &groups), 1, 0.7).rehearse(&zone("a"), seed);
            let us1 = &report.cells[0];
            eprintln!("{name}, {seed}: {}", us1.finding.why);
            assert!(!report.holds() && us1.finding.why.contains("bulk "), "{name}\n{report}");
            let lost =
                |class: usize| 1.0 - us1.settled[class].new_served as f64 / us1.settled[class].new as f64;
            let [critical, bulk] = [0, 3].map(lost);
            assert!(bulk > 0.3 && critical * 3.0 < bulk, "{name}: {critical} and {bulk}\n{report}");
            let standby = &us1.groups[1];
            let most = standby.capacity_rps * 1.02 + 1.0;
            assert!(standby.moved_rps <= most - own, "{name}: {standby:?}");
            // Its own requests come by chance, and nobody holds them back.
            assert!(standby.most_rps <= most + 3.0 * own.sqrt(), "{name}: {standby:?}");
            assert_eq!(us1.collapses.len(), 0, "{name}");
            drop(replay);
        }
    }
}

#[test]
fn neighbours_of_a_lost_cell_notice_nothing() {
    let cells: String =
        ["us1", "us2", "us3"].map(|name| cell(name, "", &[("a", 0, 40, 1), ("b", 0, 40, 1)])).concat();
    for seed in seeds(2) {
        let replay = Seed(seed);
        let report = Drill::new(&cells, 2, 0.6).rehearse(&Scenario::CellLoss { cell: 0 }, seed);
        assert!(report.holds(), "{report}");
        for neighbour in &report.cells[1..] {
            assert_eq!((neighbour.extra_lost(), neighbour.collapses.len()), (0, 0), "{report}");
        }
        // It was lost: else this holds nothing.
        assert!(report.cells[0].extra_lost() > 2_000, "{report}");
        drop(replay);
    }
}

#[test]
fn a_cell_that_ten_times_its_demand_waits_for_is_full_in_time_and_does_not_fall_again() {
    for seed in seeds(2) {
        let replay = Seed(seed);
        let drill = Drill::new(&cell("us1", "", &[("a", 0, 45, 1), ("b", 0, 45, 1)]), 2, 0.7);
        let scenario = Scenario::Recovery { cell: 0 };
        let first = &drill.snapshots[0];
        let books = drill.books(&scenario.script(first), seed);
        let report = Report::new(&scenario, first, &drill.demand, 1.0, &books);
        let us1 = &report.cells[0];
        eprintln!("{seed}: {}", us1.finding.why);
        assert_eq!(books.cells[0].over_envelope, 0, "{report}");
        // A minute that it was gone: who came then was failed, and nobody thrashed after it.
        assert!(us1.collapses.iter().all(|at| *at < 60.0), "{report}");
        assert!(us1.well_after.is_some_and(|after| after <= 300.0), "{report}");
        // Once it was found to be back, which takes as long as an endpoint was ejected for, it was full in 150 s.
        let at = |word: &str| us1.timeline.iter().find(|line| line.what.contains(word)).map(|line| line.at);
        let (found, full) = (at("probes_passed"), at("capacity_reached"));
        assert!(found.zip(full).is_some_and(|(found, full)| full - found <= 150.0), "{report}");
        assert!(shed(&report.cells[0], Shed::Recovering) > 10_000, "nobody waited\n{report}");
        drop(replay);
    }
}

#[test]
fn nine_cells_notice_nothing_of_one_that_swallows_what_it_gets() {
    let names: Vec<String> = (0..10).map(|at| format!("us{at}")).collect();
    // 30 % of all for the first: 27 of 90.
    let groups = |at: usize| [("a", 0, if at == 0 { 54 } else { 14 }, 2)];
    let cells: String = names.iter().enumerate().map(|(at, name)| cell(name, "", &groups(at))).collect();
    for seed in seeds(2) {
        let replay = Seed(seed);
        let lasts = Duration::from_secs(120);
        let mut script = Script { deeds: Vec::new(), lasts };
        let well = Drill::new(&cells, 1, 0.5).books(&script, seed);
        let drill = Drill::new(&cells, 1, 0.5);
        script.lose(&drill.snapshots[0].cells[0], [0, 0], Fault::Swallows, MENDED_AT);
        let sick = drill.books(&script, seed);
        let lost = all(&sick.cells[0], BREAKS_AT, MENDED_AT);
        assert!(lost.served == 0 && lost.failed > 100, "{lost:?}");
        let count = |books: &Books, of: fn(&Counts) -> u64| -> u64 {
            books.cells[1..].iter().map(|cell| of(&all(cell, Duration::ZERO, lasts))).sum()
        };
        let (errors, waited) = (count(&sick, Counts::lost), count(&sick, |counts| counts.waited));
        eprintln!("{seed}: the others lost {errors}, {waited} waited; the sick one {lost:?}");
        assert_eq!(errors, count(&well, Counts::lost));
        assert_eq!(errors, 0);
        // Numbers of chance differ between the two.
        assert!(waited <= count(&well, |counts| counts.waited) + 5, "{waited} waited");
        let share = PROCESS / 4;
        assert!(sick.cells[0].most_in_flight <= share, "{}", sick.cells[0].most_in_flight);
        assert!(sick.cells[0].most_connections <= share, "{}", sick.cells[0].most_connections);
        drop(replay);
    }
}

#[test]
fn one_dead_endpoint_of_three_costs_a_few_repeats() {
    for fault in [Fault::Refuses, Fault::Swallows] {
        for seed in seeds(2) {
            let replay = Seed(seed);
            let drill = Drill::new(&cell("us1", "", &[("a", 0, 150, 3)]), 1, 0.4);
            let deed = Deed::Break { cell: 0, group: 0, endpoint: 1, fault };
            let script = Script { deeds: vec![(BREAKS_AT, deed)], lasts: MENDED_AT };
            let books = drill.books(&script, seed);
            let first = all(&books.cells[0], BREAKS_AT, BREAKS_AT + Duration::from_secs(30));
            let later = all(
                &books.cells[0],
                BREAKS_AT + Duration::from_secs(30),
                MENDED_AT - Duration::from_secs(12),
            );
            eprintln!("{fault:?} {seed}: first {first:?}\n  later {later:?}");
            assert!(later.asked > 500, "{later:?}");
            // Who swallows requests is not found while clients leave before response_head is over.
            if fault == Fault::Refuses {
                assert_eq!(first.failed, 0, "{first:?}");
                assert!(later.lost() * 100 <= later.asked, "{later:?}");
            }
            drop(replay);
        }
    }
}

#[test]
fn failover_that_is_off_or_watches_moves_and_refuses_nothing() {
    let of = |mode: &str| {
        let until = if mode == "observe" { ", observe_until: 2027-01-01T00:00:00Z" } else { "" };
        let more = format!("    modes: {{ failover: '{mode}'{until} }}\n");
        Drill::new(&cell("us1", &more, &[("a", 0, 150, 2), ("b", 1, 50, 2)]), 1, 0.5).rehearse(&zone("a"), 1)
    };
    let [enforce, observe, off] = ["enforce", "observe", "off"].map(of);
    assert!(shed(&enforce.cells[0], Shed::NoHeadroom) > 100, "{enforce}");
    for report in [&observe, &off] {
        assert_eq!(shed(&report.cells[0], Shed::NoHeadroom), 0, "{report}");
        // Nothing spares the standby then.
        assert!(report.cells[0].groups[1].most_rps > 50.0 * 1.02 + 1.0, "{report}");
    }
}

#[test]
fn the_same_seed_gives_the_same_report() {
    let report = || {
        Drill::new(&cell("us1", "", &[("a", 0, 60, 1), ("b", 1, 40, 1)]), 1, 0.7)
            .rehearse(&zone("a"), 7)
            .to_string()
    };
    let (first, second) = (report(), report());
    assert_eq!(first, second);
    assert!(first.lines().all(|line| line.chars().count() <= 80), "{first}");
    insta::with_settings!({ snapshot_path => "../golden", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("drill_text", first);
    });
}
