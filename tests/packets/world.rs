//! Cells in three zones, a cellgate before them, and load on all of them: one of each for every scenario.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use loadtest::ask::Ask;
use loadtest::cell::{CellOptions, RunningCell};
use loadtest::client::{Client, Http};
use loadtest::load::{Load, LoadPlan, LoadReport, RunningLoad, Template};

use crate::inside::Inside;
use crate::network::{Network, endpoint};
use crate::process::Process;
use crate::running::Folder;

/// Zones, and cells that each have one endpoint in each of them: twice what a zone must have to be told from an
/// endpoint.
pub const ZONES: u8 = 3;
pub const CELLS: u8 = 7;

/// Accounts of each cell. Each is at home in one zone, by its number; so many are spread well enough for every endpoint
/// to have some.
const ACCOUNTS: u32 = 45;

/// Requests a second, over all cells: nine or ten for each endpoint, so that each is heard of every second.
const RATE: f64 = 200.0;

/// Longer than any scenario takes; the load ends with it.
const LONGEST: Duration = Duration::from_secs(600);

/// Declared for each cell in each zone: four times what it has to do, so that two zones can do the work of three.
const CAPACITY_RPS: u32 = 40;

/// All but the clients. Dropped in this order: who asks goes before who answers, and everybody before the namespaces.
pub struct World {
    /// cellgate.
    process: Process,
    /// Its folder.
    pub folder: Folder,
    /// Held so that they run.
    _cells: Vec<RunningCell>,
    /// Where clients are.
    pub edge: Inside,
    /// Where cells are, by zone.
    pub zones: Vec<Inside>,
    /// What is between them.
    pub network: Network,
}

impl World {
    /// Starts everything; cellgate serves when this returns.
    pub fn start() -> Self {
        let network = Network::new(ZONES, CELLS);
        let zones: Vec<Inside> = (1..=ZONES).map(|zone| Inside::of(&network.zone(zone))).collect();
        let mut cells = Vec::new();
        for (zone, inside) in (1..=ZONES).zip(&zones) {
            for cell in 1..=CELLS {
                let options =
                    CellOptions { listen: endpoint(zone, cell), ..CellOptions::named(&cell_name(cell)) };
                cells.push(inside.run(RunningCell::start(options)).unwrap());
            }
        }
        let folder = folder();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &network.edge(), env!("CARGO_BIN_EXE_cellgate")]);
        let process = Process::spawn_as(&folder, command);
        process.line("a line that says it serves", |line| line["fields"]["message"] == "serving");
        let edge = Inside::of(&network.edge());
        Self { process, folder, _cells: cells, edge, zones, network }
    }
}

impl World {
    /// Starts clients of all cells.
    pub fn load(&self) -> RunningLoad {
        let client = Client::new(self.process.addr("http"), Http::H1);
        let plan = LoadPlan::at_rate(client, templates(), RATE, LONGEST);
        self.edge.run(async { Load::start(plan) })
    }

    /// Stops them, and waits for their answers.
    pub fn end(&self, load: RunningLoad) -> LoadReport {
        load.stop();
        self.edge.run(load.finish())
    }
}

/// A zone as the configuration names it.
pub fn zone_name(zone: u8) -> String {
    format!("z{zone}")
}

/// A cell as the configuration names it.
pub fn cell_name(cell: u8) -> String {
    format!("cell-{cell}")
}

/// One for each account, cell by cell in turn.
fn templates() -> Vec<Template> {
    let of = |number, cell| {
        let ask = Ask::get(&format!("{}.us1.dbt.com", prefix(cell, number)), "/api/v2/accounts/");
        Template::new(&prefix(cell, number), ask).cell(&cell_name(cell))
    };
    (1..=ACCOUNTS).flat_map(|number| (1..=CELLS).map(move |cell| of(number, cell))).collect()
}

/// Of an account of a cell.
fn prefix(cell: u8, number: u32) -> String {
    format!("c{cell}a{number}")
}

/// All but endpoints and their capacity is what cellgate does by itself.
fn folder() -> Folder {
    let folder = Folder::example(&BTreeMap::new());
    let cells: String = (1..=CELLS).map(cell).collect();
    folder.write("config/cellgate.yaml", &format!("{ROUTING}{cells}"));
    let account = |number, cell| {
        let id = u32::from(cell) * 1_000 + number;
        format!("{id},{},{},,\n", prefix(cell, number), cell_name(cell))
    };
    let accounts: String =
        (1..=ACCOUNTS).flat_map(|number| (1..=CELLS).map(move |cell| account(number, cell))).collect();
    folder.write(
        "config/accounts.csv",
        &format!("account,prefixes,cell,redirect_browsers,schedule\n{accounts}"),
    );
    folder.write("config/boot.yaml", BOOT);
    folder
}

fn cell(number: u8) -> String {
    let group = |zone| {
        let (name, at) = (zone_name(zone), endpoint(zone, number));
        format!("      - {{ zone: {name}, capacity_rps: {CAPACITY_RPS}, endpoints: [\"{at}\"] }}\n")
    };
    let groups: String = (1..=ZONES).map(group).collect();
    let name = cell_name(number);
    format!("  - name: {name}\n    domain: us1.dbt.com\n    protocol: http1\n    groups:\n{groups}")
}

const ROUTING: &str = "\
version: 1
surfaces: [{ name: app, errors: status }]
hosts:
  - { pattern: '{prefix}.us1.dbt.com', role: cell, surface: app }
guide: https://docs.example/guide
accounts: { file: accounts.csv }
cells:
";

/// Clients and cellgate are in one namespace.
const BOOT: &str = "\
version: 1
state_dir: ../state
guards: { baseline: { mode: 'off' }, capacity: { mode: 'off' }, hold: { mode: 'off' } }
listeners:
  - { name: http, address: 127.0.0.1:0, protocol: http }
admin:
  unix: ../state/admin.sock
access_log: { path: ../log/access.log }
drain: { grace: 0s, deadline: 1s }
";
