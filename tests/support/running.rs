//! A cellgate that runs, in this process or as one of its own, on the example configuration: a folder of
//! its own with real addresses in place of the example's, certificates made on the spot, and port 0.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use cellgate::app::{self, Options, Running};
use cellgate::listen::drain::Drained;
use devcerts::{Authority, Usage};
use loadtest::client::{Client, Http};
use loadtest::tls::ClientTls;
use serde_json::Value;

/// Longer than anything here takes on a busy machine; whoever waits this long reports what is missing.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often something is looked at that tells nobody when it changes.
pub const LOOK: Duration = Duration::from_millis(10);

/// Names of the certificate for the deprecated addresses, as `devcerts` makes it for the example.
pub const LEGACY_NAMES: [&str; 5] = [
    "cloud.getdbt.com",
    "metadata.cloud.getdbt.com",
    "semantic-layer.cloud.getdbt.com",
    "*.cloud.getdbt.com",
    "*.metadata.cloud.getdbt.com",
];

/// Names of the certificate for the accounts' own addresses.
pub const OWN_NAMES: [&str; 4] =
    ["us1.dbt.com", "*.us1.dbt.com", "*.metadata.us1.dbt.com", "*.semantic-layer.us1.dbt.com"];

/// The authority of all certificates that clients see, made once: a key takes a moment.
pub fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::new("end-to-end tests").unwrap())
}

/// A configuration folder with what it refers to, gone when it is dropped.
pub struct Folder {
    root: tempfile::TempDir,
}

impl Folder {
    /// The example configuration, with these addresses for its cells. A cell that is not named keeps an
    /// address where nothing listens.
    pub fn example(cells: &BTreeMap<String, SocketAddr>) -> Self {
        let root = tempfile::Builder::new().prefix("cellgate-e2e-").tempdir().unwrap();
        let folder = Self { root };
        for path in ["config/keys", "certs/dev", "log"] {
            fs::create_dir_all(folder.path(path)).unwrap();
        }
        let example = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config"));
        for name in [
            "accounts.csv",
            "clients.yaml",
            "credentials.csv",
            "environments.csv",
            "keys/demo-fingerprint.key",
        ] {
            fs::copy(example.join(name), folder.path("config").join(name)).unwrap();
        }
        let routing = fs::read_to_string(example.join("cellgate.yaml")).unwrap();
        folder.write("config/cellgate.yaml", &readdressed(&routing, cells));
        folder.write("config/boot.yaml", BOOT);
        folder.certificates(authority());
        folder
    }

    /// Puts certificates of this authority in place of those that are there: each key and its certificate.
    pub fn certificates(&self, authority: &Authority) {
        for (name, names) in [("legacy", &LEGACY_NAMES[..]), ("us1", &OWN_NAMES[..])] {
            let pair = authority.issue(names, Usage::Server).unwrap();
            self.write_secret(&format!("certs/dev/{name}.key"), &pair.key_pem);
            self.write(&format!("certs/dev/{name}.pem"), &pair.cert_pem);
        }
    }

    /// A path in the folder.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// A file's text.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// Replaces a file in one step, as careful deployments do.
    pub fn write(&self, path: &str, text: &str) {
        self.write_mode(path, text, 0o644);
    }

    /// The same for a file that only its owner may read.
    pub fn write_secret(&self, path: &str, text: &str) {
        self.write_mode(path, text, 0o600);
    }

    /// Replaces a piece of a file, which must be there exactly once.
    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert_eq!(text.matches(from).count(), 1, "{from:?} must stand once in {path}");
        self.write(path, &text.replacen(from, to, 1));
    }

    /// Gives a cell other endpoints, as YAML: `127.0.0.1:7101, localhost:7102`.
    pub fn point(&self, cell: &str, endpoints: &str) {
        let text = self.read("config/cellgate.yaml");
        let start = text.find(&format!("  - name: {cell}\n")).unwrap();
        let from = start + text[start..].find("endpoints: [").unwrap() + "endpoints: [".len();
        let to = from + text[from..].find(']').unwrap();
        self.write("config/cellgate.yaml", &format!("{}{endpoints}{}", &text[..from], &text[to..]));
    }

    /// Has a cell of the example spoken to over HTTP/2 alone.
    pub fn over_http2(&self, cell: &str) {
        let text = self.read("config/cellgate.yaml");
        let (before, own) = text.split_at(text.find(&format!("  - name: {cell}\n")).unwrap());
        let own = own.replacen("protocol: auto", "protocol: http2", 1);
        self.write("config/cellgate.yaml", &format!("{before}{own}"));
    }

    /// Adds keys to a cell, as lines of YAML without indentation.
    pub fn tune(&self, cell: &str, keys: &[&str]) {
        let name = format!("  - name: {cell}\n");
        let keys: String = keys.iter().map(|key| format!("    {key}\n")).collect();
        self.edit("config/cellgate.yaml", &name, &format!("{name}{keys}"));
    }

    /// Adds a line at the end of a file.
    pub fn append(&self, path: &str, line: &str) {
        let text = self.read(path);
        self.write(path, &format!("{text}{line}\n"));
    }

    /// What cellgate is started with.
    pub fn options(&self) -> Options {
        Options { config: self.path("config"), boot: None, bootstrap: false, state_dir: None }
    }

    fn write_mode(&self, path: &str, text: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        // Beside the watched folders, so that only the finished file is seen.
        let beside = self.path("being-written");
        fs::write(&beside, text).unwrap();
        fs::set_permissions(&beside, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(&beside, self.path(path)).unwrap();
    }
}

/// As the example's, with free ports, and times that a test can wait for.
const BOOT: &str = "\
version: 1
state_dir: ../state
# Every folder of a test is a beginning, on one machine.
guards: { baseline: { mode: 'off' }, capacity: { mode: 'off' }, hold: { mode: 'off' } }
listeners:
  - { name: http, address: 127.0.0.1:0, protocol: http }
  - { name: https, address: 127.0.0.1:0, protocol: https }
  - { name: h2c, address: 127.0.0.1:0, protocol: h2c }
admin:
  unix: ../state/admin.sock
  loopback: 127.0.0.1:0
access_log: { path: ../log/access.log }
drain: { grace: 100ms, deadline: 20s }
";

fn readdressed(routing: &str, cells: &BTreeMap<String, SocketAddr>) -> String {
    let mut text = routing.to_owned();
    for (number, name) in ["cell-1", "cell-2", "cell-3", "shared"].iter().enumerate() {
        let from = format!("127.0.0.1:710{}", number + 1);
        assert!(text.contains(&from), "the example has an endpoint {from}");
        if let Some(address) = cells.get(*name) {
            text = text.replace(&from, &address.to_string());
        }
    }
    text
}

/// A cellgate in this process. Made and dropped outside of any asynchronous runtime.
pub struct Edge {
    running: Option<Running>,
    /// Its configuration.
    pub folder: Folder,
}

impl Edge {
    /// Starts; accepts connections when this returns.
    pub fn start(folder: Folder) -> Self {
        install_provider();
        let running = app::build(&folder.options()).unwrap_or_else(|error| panic_with(&error));
        Self { running: Some(running), folder }
    }

    /// The running process.
    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("it is taken only when it is drained or restarted")
    }

    /// The real address of a listener.
    pub fn addr(&self, listener: &str) -> SocketAddr {
        let found = self.running().listeners.iter().find(|(name, _)| &**name == listener);
        found.unwrap_or_else(|| panic_with(&format!("no listener {listener}"))).1
    }

    /// The real address of the read-only admin pages.
    pub fn admin(&self) -> SocketAddr {
        self.running().admin_loopback.expect("the folder's boot.yaml asks for it")
    }

    /// The admin socket.
    pub fn socket(&self) -> PathBuf {
        self.running().admin_socket.clone().expect("there is always one")
    }

    /// A client of a listener without TLS.
    pub fn plain(&self, http: Http) -> Client {
        let listener = match http {
            Http::H1 => "http",
            Http::H2 => "h2c",
        };
        Client::new(self.addr(listener), http)
    }

    /// A client of the TLS listener that trusts the tests' authority.
    pub fn tls(&self, http: Http) -> Client {
        Client::tls(self.addr("https"), http, &ClientTls::trusting(authority().ca_pem())).unwrap()
    }

    /// The generation that serves.
    pub fn generation(&self) -> u64 {
        self.running().snapshot().generation.0
    }

    /// Ends it in order.
    pub fn drain(&mut self) -> Drained {
        self.running.take().expect("it is drained once").drain()
    }

    /// Ends it in order and starts it again on the same folder.
    pub fn restart(self) -> Self {
        self.restart_with(|_| {})
    }

    /// The same with changes to the folder while it is down.
    pub fn restart_with(self, change: impl FnOnce(&Folder)) -> Self {
        let Self { running, folder } = self;
        let drained = running.expect("it runs").drain();
        assert_eq!(drained, Drained::Clean);
        change(&folder);
        Self::start(folder)
    }

    /// The line of the access log with this request id.
    pub fn access_line(&self, request_id: &str) -> Value {
        access_line(&self.folder, request_id)
    }
}

/// The line of the access log with this request id, waited for: the log is written in turns.
pub fn access_line(folder: &Folder, request_id: &str) -> Value {
    let path = folder.path("log/access.log");
    eventually(&format!("an access log line of {request_id}"), || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let line = text.lines().find(|line| line.contains(request_id))?;
        serde_json::from_str(line).ok()
    })
}

/// Asks until there is an answer.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(LOOK);
    }
}

/// TLS needs its provider once in a process.
pub fn install_provider() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| cellgate::listen::tls::install_provider().unwrap());
}

#[allow(clippy::panic)] // Ends a test; `Debug` of an error shows its whole chain.
fn panic_with(what: &dyn std::fmt::Debug) -> ! {
    panic!("{what:?}")
}
