//! A cellgate in this process with two cells behind it, one for each protocol, a simulated cell that speaks WebSocket, and one
//! that keeps leaving; everything on ports of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use cellgate::app::{self, Options, Running};
use devcerts::{Authority, Usage};
use loadtest::cell::{CellOptions, RunningCell};
use loadtest::tls::ClientTls;
use tokio::runtime::Runtime;

use crate::client::Fixture;
use crate::leaving::Leaving;
use crate::origin::Origin;
use crate::registry::Registry;

/// Hosts of an account in the h1 cell, and of one in the h2 cell.
pub const HOST_H1: &str = "one.us1.test";
pub const HOST_H2: &str = "two.us1.test";
/// And of one in the simulated cell.
pub const HOST_SIM: &str = "three.us1.test";
/// And of one in the cell that keeps leaving.
pub const HOST_LEAVING: &str = "four.us1.test";

/// A running edge, its cells' ports, and the runtime that the cells and clients use.
pub struct Edge {
    running: Running,
    origins: [Origin; 2],
    simulated: RunningCell,
    leaving: Leaving,
    registry: Arc<Registry>,
    tls: ClientTls,
    runtime: Runtime,
    _folder: tempfile::TempDir,
}

impl Edge {
    /// Starts one; panics where that fails.
    pub fn start() -> Self {
        cellgate::listen::tls::install_provider().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let registry = Registry::new();
        let origins = {
            let _inside = runtime.enter();
            [false, true].map(|h2| Origin::start(h2, Arc::clone(&registry)).unwrap())
        };
        let simulated = runtime.block_on(RunningCell::start(CellOptions::named("sim"))).unwrap();
        let leaving = runtime.block_on(Leaving::start()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("matrix").unwrap();
        let cells = [origins[0].addr, origins[1].addr, simulated.addr(), leaving.addr];
        write_configuration(folder.path(), cells, &authority);
        let config = folder.path().join("config");
        let running = app::build(&Options { config, boot: None, bootstrap: false, state_dir: None }).unwrap();
        let tls = ClientTls::trusting(authority.ca_pem());
        Self { running, origins, simulated, leaving, registry, tls, runtime, _folder: folder }
    }

    /// Runs `act` against it, and ends both.
    pub fn run<T>(self, act: impl AsyncFnOnce(Arc<Fixture>) -> T) -> T {
        let address = |wanted: &str| {
            let found = self.running.listeners.iter().find(|(name, _)| **name == *wanted);
            found.map(|(_, address)| *address).expect("the configuration names this listener")
        };
        let [origin_h1, origin_h2] = self.origins;
        let fixture = Arc::new(Fixture {
            http: address("http"),
            h2c: address("h2c"),
            https: address("https"),
            tls: self.tls,
            registry: self.registry,
            origin_h1,
            origin_h2,
            simulated: self.simulated,
            leaving: self.leaving,
            snapshot: self.running.snapshot(),
        });
        self.runtime.block_on(act(fixture))
    }
}

fn write_configuration(folder: &Path, cells: [SocketAddr; 4], authority: &Authority) {
    let config = folder.join("config");
    std::fs::create_dir(&config).unwrap();
    let write = |name: &str, text: &str| std::fs::write(config.join(name), text).unwrap();
    let pair = authority.issue(&["*.us1.test"], Usage::Server).unwrap();
    write("edge.pem", &pair.cert_pem);
    write("edge.key", &pair.key_pem);
    write("boot.yaml", BOOT);
    write("accounts.csv", "account,prefixes,cell\n1,one,h1\n2,two,h2\n3,three,sim\n4,four,leaving\n");
    let names = ["H1_CELL", "H2_CELL", "SIM_CELL", "LEAVING_CELL"];
    let text = names
        .iter()
        .zip(cells)
        .fold(CONFIG.to_owned(), |text, (name, address)| text.replace(name, &address.to_string()));
    write("cellgate.yaml", &text);
}

/// Timeouts are the defaults: no row waits for one, and a row that does is stuck.
const BOOT: &str = "\
version: 1
state_dir: ../state
# Every folder of a test is a beginning, on one machine.
guards: { baseline: { mode: 'off' }, capacity: { mode: 'off' }, hold: { mode: 'off' } }
listeners:
  - { name: http, address: 127.0.0.1:0, protocol: http }
  - { name: h2c, address: 127.0.0.1:0, protocol: h2c }
  - { name: https, address: 127.0.0.1:0, protocol: https }
access_log: { path: ../access.log }
";

const CONFIG: &str = r#"
version: 1
surfaces: [{ name: app }]
hosts: [{ pattern: "{prefix}.us1.test", role: cell }]
guide: https://docs.example.com/
# Exchanges that break for seconds, as on a slow machine, would make a sick cell of it, in which nothing is sent again.
protection: { verdict: 'off' }
cells:
  - name: h1
    domain: us1.test
    protocol: http1
    groups: [{ endpoints: ["H1_CELL"] }]
  - name: h2
    domain: us1.test
    protocol: http2
    groups: [{ endpoints: ["H2_CELL"] }]
  - name: sim
    domain: us1.test
    protocol: http1
    groups: [{ endpoints: ["SIM_CELL"] }]
  - name: leaving
    domain: us1.test
    protocol: http2
    groups: [{ endpoints: ["LEAVING_CELL"] }]
accounts: { file: accounts.csv }
certificates:
  - { cert: edge.pem, key: edge.key, allow_readable: true }
"#;

/// A free loopback port.
pub const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
