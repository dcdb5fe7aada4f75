//! The cellgate of the lab: a legacy host and own addresses, one account a cell, everything on ports of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use cellgate::app::{self, Options, Running};

/// The deprecated address.
pub const LEGACY: &str = "old.test";

/// What the own addresses have in common.
pub const OWN: &str = ".cells.test";

/// The cells of the lab, in the order of their accounts.
pub const CELLS: [&str; 5] = ["raw", "hyper", "nginx", "asgi", "wsgi"];

/// The account of a cell, and the prefix of its own address. All have the same length, so that a payload
/// for one cell is a payload for each.
pub const fn account(cell: usize) -> u64 {
    1001 + cell as u64
}

/// See [`account`].
pub fn prefix(cell: usize) -> String {
    format!("acc{}", cell + 1)
}

/// A running cellgate.
pub struct Edge {
    running: Running,
    folder: tempfile::TempDir,
}

impl Edge {
    /// Starts one before these cells.
    pub fn start(cells: [SocketAddr; CELLS.len()]) -> Self {
        let cells: Vec<_> = CELLS.iter().map(|name| (*name).to_owned()).zip(cells).collect();
        Self::before(&cells, "protocol: http1")
    }

    /// Starts one before cells with these names and keys in common. The accounts are in their order.
    pub fn before(cells: &[(String, SocketAddr)], keys: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config");
        std::fs::create_dir(&config).unwrap();
        let write = |name: &str, text: &str| std::fs::write(config.join(name), text).unwrap();
        let described = cells.iter().map(|(name, address)| {
            format!(
                "  - name: {name}\n    domain: cells.test\n    {keys}\n    groups: [{{ endpoints: \
                 [\"{address}\"] }}]\n"
            )
        });
        let rows = cells.iter().enumerate();
        let rows = rows.map(|(number, (name, _))| format!("{},{},{name}\n", account(number), prefix(number)));
        write("accounts.csv", &format!("account,prefixes,cell\n{}", rows.collect::<String>()));
        write("cellgate.yaml", &ROUTING.replace("CELLS", &described.collect::<String>()));
        write("boot.yaml", BOOT);
        let running = app::build(&Options { config, boot: None, bootstrap: false, state_dir: None }).unwrap();
        Self { running, folder }
    }

    /// The address of a listener.
    pub fn addr(&self, listener: &str) -> SocketAddr {
        let found = self.running.listeners.iter().find(|(name, _)| **name == *listener);
        found.map(|(_, address)| *address).unwrap()
    }

    /// Ends it, and returns its access log.
    pub fn end(self) -> Vec<serde_json::Value> {
        let path: PathBuf = self.folder.path().join("access.log");
        // Cut or clean: clients of the lab leave in every manner.
        let _ = self.running.drain();
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Clients that say nothing more are cut soon, so that the end does not wait for them.
const BOOT: &str = "\
version: 1
state_dir: ../state
# Every folder of a test is a beginning, on one machine.
guards: { baseline: { mode: 'off' }, capacity: { mode: 'off' }, hold: { mode: 'off' } }
listeners:
  - { name: http, address: 127.0.0.1:0, protocol: http }
  - { name: h2c, address: 127.0.0.1:0, protocol: h2c }
access_log: { path: ../access.log }
drain: { grace: 10ms, deadline: 3s }
";

const ROUTING: &str = r#"
version: 1
surfaces: [{ name: app }]
hosts:
  - { pattern: old.test, role: legacy, surface: app, schedule: legacy }
  - { pattern: "{prefix}.cells.test", role: cell, surface: app }
schedules:
  - { name: legacy, deprecated_since: 2026-02-01T00:00:00Z, sunset_at: 2026-11-01T00:00:00Z }
guide: https://docs.example.com/
identify:
  paths:
    - path: "/api/v2/accounts/{account}"
    - path: "/api/v3/accounts/{account}"
    - path: "/deploy/{account}"
  query_keys: [account_id]
  headers: [{ name: x-account, names: account }]
# Hundreds of cells that lie at the same time would make a sick path of it, on which nothing is sent again.
protection: { verdict: 'off' }
cells:
CELLS
accounts: { file: accounts.csv }
"#;
