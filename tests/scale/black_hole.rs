//! Ten cells, one of which has three of ten requests and takes them without ever answering: what the other nine notice.
//!
//! That none of their requests fails decides; how long they take is printed, beside the same seconds without the fault,
//! turn by turn in one run.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use loadtest::ask::Ask;
use loadtest::cell::{Behaviour, CellOptions, RunningCell};
use loadtest::client::{Client, Http};
use loadtest::load::{Load, LoadPlan, LoadReport, Template};
use tokio::runtime::Runtime;

use crate::is_long;
use crate::process::Process;
use crate::running::{Folder, eventually};

const CELLS: usize = 10;

/// Requests a second to all cells: well below what two cores do in a build without optimisation.
const RATE: f64 = 400.0;

/// Which part of them the first cell has.
const SHARE: f64 = 0.3;

/// Nobody waits longer for the first cell.
const PATIENCE: Duration = Duration::from_secs(1);

struct World {
    runtime: Runtime,
    cells: Vec<RunningCell>,
    edge: Process,
    // Beneath the process.
    _folder: Folder,
}

impl World {
    fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let start = |number| {
            let options = CellOptions::named(&name(number));
            runtime.block_on(RunningCell::start(options)).unwrap()
        };
        let cells: Vec<RunningCell> = (0..CELLS).map(start).collect();
        let folder = Folder::example(&BTreeMap::new());
        let (mut config, mut accounts) = (String::from("cells:\n"), String::new());
        for (number, cell) in cells.iter().enumerate() {
            let (name, address) = (name(number), cell.addr());
            writeln!(config, "  - name: {name}\n    domain: us1.dbt.com\n    groups: [{{ zone: local, endpoints: [{address}] }}]").unwrap();
            writeln!(accounts, "{},{},{name},,", 900_000 + number, prefix(number)).unwrap();
        }
        folder.edit("config/cellgate.yaml", "cells:\n", &config);
        folder.append("config/accounts.csv", &accounts);
        let edge = Process::start(&folder);
        Self { runtime, cells, edge, _folder: folder }
    }

    fn load(&self, cells: std::ops::Range<usize>, rate: f64, long: Duration) -> LoadPlan {
        let template = |number| {
            let host = format!("{}.us1.dbt.com", prefix(number));
            Template::new(&name(number), Ask::get(&host, "/api/v2/")).cell(&name(number))
        };
        let client = Client::new(self.edge.addr("http"), Http::H1);
        LoadPlan::at_rate(client, cells.map(template).collect(), rate, long)
    }

    /// So long a load on all cells: what became of the first one's, and of all the others'.
    fn run(&self, long: Duration) -> [LoadReport; 2] {
        let first = self.load(0..1, RATE * SHARE, long).timeout(PATIENCE);
        let others = self.load(1..CELLS, RATE * (1.0 - SHARE), long);
        self.runtime.block_on(async { tokio::join!(Load::run(first), Load::run(others)).into() })
    }

    fn behave(&self, how: Behaviour) {
        self.runtime.block_on(self.cells[0].behave(how)).unwrap();
    }
}

fn name(number: usize) -> String {
    format!("ten-{number}")
}

fn prefix(number: usize) -> String {
    format!("tn{number:03}")
}

#[test]
fn nine_of_ten_cells_do_not_notice_that_the_tenth_is_a_black_hole() {
    let (rounds, long) = if is_long() { (20, Duration::from_secs(4)) } else { (2, Duration::from_secs(1)) };
    let world = World::start();
    let (mut ratios, mut p99s) = (Vec::new(), [Vec::new(), Vec::new()]);
    // What is opened and measured for the first time is of no turn.
    let _ = world.run(Duration::from_secs(1));
    for round in 0..rounds {
        // Each goes first every other time.
        let mut took = [0; 2];
        for turn in [round % 2, (round + 1) % 2] {
            let is_faulty = turn == 1;
            world.behave(if is_faulty { Behaviour::BlackHole } else { Behaviour::Normal });
            if !is_faulty {
                let well = || world.run(Duration::from_millis(200))[0].is_clean();
                eventually("the first cell to be back", || well().then_some(()));
            }
            let [first, others] = world.run(long);
            assert!(others.is_clean(), "with {} cells that answer: {others}", CELLS - turn);
            assert_eq!(first.all.ok == 0, is_faulty, "{first}");
            took[turn] = others.all.latency.p99_us;
            p99s[turn].push(took[turn]);
        }
        ratios.push(took[1] as f64 / took[0] as f64);
    }
    ratios.sort_by(f64::total_cmp);
    p99s.iter_mut().for_each(|all| all.sort_unstable());
    let median = |all: &[u64]| all[all.len() / 2];
    println!(
        "p99 of nine cells, the tenth a black hole with {SHARE} of {RATE} a second, {rounds} turns of {long:?} each:"
    );
    println!(
        "  median {} us without, {} us with; with against without, turn by turn: {ratios:.2?}",
        median(&p99s[0]),
        median(&p99s[1])
    );
}
