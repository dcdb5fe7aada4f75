//! A cellgate in this process, with listeners for HTTP/2 with and without TLS and one cell, on free ports.

use std::net::SocketAddr;
use std::path::Path;

use cellgate::app::{self, Options, Running};
use devcerts::{Authority, Usage};
use loadtest::tls::ClientTls;
use tokio::runtime::Runtime;

use crate::h2_raw::Conn;

/// The host of the account in the cell.
pub const HOST: &str = "one.us1.test";

/// A running edge, and the runtime of its clients and cells.
pub struct Edge {
    running: Running,
    tls: ClientTls,
    pub runtime: Runtime,
    _folder: tempfile::TempDir,
}

/// Two threads, as many as the smallest machine has cores.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

impl Edge {
    /// Starts one. `limits` are keys of `boot.yaml`, `keys` those of the cell, both as YAML in one line.
    pub fn start(runtime: Runtime, limits: &str, cell: SocketAddr, keys: &str) -> Self {
        crate::running::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("h2spec").unwrap();
        write(folder.path(), &authority, limits, cell, keys);
        let config = folder.path().join("config");
        let running = app::build(&Options { config, boot: None, bootstrap: false, state_dir: None }).unwrap();
        Self { running, tls: ClientTls::trusting(authority.ca_pem()), runtime, _folder: folder }
    }

    pub fn addr(&self, listener: &str) -> SocketAddr {
        self.running.listeners.iter().find(|(name, _)| **name == *listener).unwrap().1
    }

    /// A connection by hand, with TLS or without.
    pub async fn connect(&self, tls: bool) -> Conn {
        let connected = if tls {
            Conn::tls(self.addr("https"), HOST, &self.tls).await
        } else {
            Conn::plain(self.addr("h2c")).await
        };
        connected.unwrap()
    }

    /// The value of one line of the metrics page.
    pub async fn metric(&self, line: &str) -> f64 {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut page = tokio::net::TcpStream::connect(self.running.admin_loopback.unwrap()).await.unwrap();
        let ask = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        page.write_all(ask.as_bytes()).await.unwrap();
        let mut text = String::new();
        page.read_to_string(&mut text).await.unwrap();
        let found = text.lines().find_map(|found| found.strip_prefix(line));
        found.map_or(0.0, |value| value.trim().parse().unwrap())
    }
}

fn write(folder: &Path, authority: &Authority, limits: &str, cell: SocketAddr, keys: &str) {
    let config = folder.join("config");
    std::fs::create_dir(&config).unwrap();
    let write = |name: &str, text: &str| std::fs::write(config.join(name), text).unwrap();
    let pair = authority.issue(&["*.us1.test"], Usage::Server).unwrap();
    write("edge.pem", &pair.cert_pem);
    write("edge.key", &pair.key_pem);
    write("boot.yaml", &BOOT.replace("LIMITS", limits));
    write("accounts.csv", "account,prefixes,cell\n1,one,cell-1\n");
    write("cellgate.yaml", &CONFIG.replace("CELL", &cell.to_string()).replace("KEYS", keys));
}

const BOOT: &str = "\
version: 1
state_dir: ../state
# Every folder of a test is a beginning, on one machine.
guards: { baseline: { mode: 'off' }, capacity: { mode: 'off' }, hold: { mode: 'off' } }
listeners:
  - { name: h2c, address: 127.0.0.1:0, protocol: h2c }
  - { name: https, address: 127.0.0.1:0, protocol: https }
  - { name: http, address: 127.0.0.1:0, protocol: http }
admin: { loopback: 127.0.0.1:0 }
access_log: { path: ../access.log }
limits: { LIMITS }
drain: { grace: 100ms, deadline: 1s }
";

const CONFIG: &str = r#"
version: 1
surfaces: [{ name: app }]
hosts: [{ pattern: "{prefix}.us1.test", role: cell }]
guide: https://docs.example.com/
cells:
  - { name: cell-1, domain: us1.test, groups: [{ endpoints: ["CELL"] }], KEYS }
accounts: { file: accounts.csv }
certificates:
  - { cert: edge.pem, key: edge.key, allow_readable: true }
"#;
