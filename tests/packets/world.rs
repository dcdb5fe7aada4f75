//! Cells in three zones, a cellgate before them, and load on all of them: one of each for every scenario.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use loadtest::ask::Ask;
use loadtest::cell::{CellOptions, RunningCell};
use loadtest::client::{Client, Http};
use loadtest::load::{Load, LoadPlan, RunningLoad, Template};

use crate::inside::Inside;
use crate::network::{Network, endpoint};
use crate::process::Process;
use crate::running::Folder;

/// Zones, and cells that each have one endpoint in each of them: twice what a zone must have to be told from an
/// endpoint. No multiple of the zones: the load goes round the cells and cellgate round the endpoints, by a number that
/// all cells have in common, so that with six cells each would meet the same endpoint every time.
pub const ZONES: u8 = 3;
pub const CELLS: u8 = 7;

/// Requests a second, over all cells: nine or ten for each endpoint, so that each is heard of every second.
const RATE: f64 = 200.0;

/// Longer than any scenario takes; the load ends with it.
const LONGEST: Duration = Duration::from_secs(600);

/// Declared for each cell in each zone: four times what it has to do, so that two zones can do the work of three.
const CAPACITY_RPS: u32 = 40;

/// All of it. Dropped in this order: who asks goes before who answers, and everybody before the namespaces.
pub struct World {
    /// The clients.
    pub load: RunningLoad,
    /// cellgate, which runs as long as this is held.
    _process: Process,
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
        let plan = LoadPlan::at_rate(Client::new(process.addr("http"), Http::H1), templates(), RATE, LONGEST);
        let load = edge.run(async { Load::start(plan) });
        Self { load, _process: process, folder, _cells: cells, edge, zones, network }
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

/// One account for each cell.
fn templates() -> Vec<Template> {
    let of = |cell| {
        let ask = Ask::get(&format!("p{cell}.us1.dbt.com"), "/api/v2/accounts/");
        Template::new(&cell_name(cell), ask).cell(&cell_name(cell))
    };
    (1..=CELLS).map(of).collect()
}

/// All but endpoints and their capacity is what cellgate does by itself.
fn folder() -> Folder {
    let folder = Folder::example(&BTreeMap::new());
    let cells: String = (1..=CELLS).map(cell).collect();
    folder.write("config/cellgate.yaml", &format!("{ROUTING}{cells}"));
    let account = |cell| format!("{cell},p{cell},{},,\n", cell_name(cell));
    let accounts: String = (1..=CELLS).map(account).collect();
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
