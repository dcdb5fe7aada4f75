//! A world for one page: a folder as a reader has it, cells, and a cellgate that serves.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use loadtest::cell::behaviour::Behaviour;
use loadtest::cell::{CellOptions, RunningCell};
use tokio::runtime::Runtime;

use crate::commands::{self, missing};
use crate::pages::{self, NOT_RUN};
use crate::process::Process;
use crate::running::{Folder, authority, eventually, install_provider};

/// The cells of the example configuration, with their ports.
const CELLS: [(&str, &str); 4] = [
    ("cell-1", "127.0.0.1:7101"),
    ("cell-2", "127.0.0.1:7102"),
    ("cell-3", "127.0.0.1:7103"),
    ("shared", "127.0.0.1:7104"),
];

/// The listeners of the example's boot.yaml, with their ports.
const LISTENERS: [(&str, &str); 3] =
    [("http", "127.0.0.1:8080"), ("https", "127.0.0.1:8443"), ("h2c", "127.0.0.1:8082")];

/// The example's admin port.
const ADMIN: &str = "127.0.0.1:9900";

/// The service token of account 12345 in the example's table.
const TOKEN: &str = "dbtc_FAKE1FAKE1FAKE1FAKE1FAKE1FAKE1FAKE1FAKE1FAKE1FAKE1";

/// Pages that begin with the shared environment dead.
const WITHOUT_SHARED: [&str; 2] = ["README.md", "docs/runbooks/shared-environment-dead.md"];

/// Nobody waits longer than for a second until the books have what was just asked.
const BOOKS: &str = "books: { window: 1s }\n";

/// But for the README: it asks once more before its report, which shows what was there without. So no window may end
/// between the two, and one has just ended when its commands begin (`before/README.sh`).
const BOOKS_OF_THE_README: &str = "books: { window: 10s }\n";

/// Somebody who may approve. Nobody has the private half.
const SIGNER: &str =
    "carol@example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKcglIG8U6JVZh4/YwYCw+OX3Urc9jminUhJWTRaY+Ct\n";

/// A lever that somebody else has pulled before a runbook is opened: no command of it may take that one's place or release it.
const OF_A_COLLEAGUE: &str = "shed 1% account 1001 class long-poll";

/// What a command may print and take: a report of the example has some hundred kilobytes, and none waits for anything.
const PATIENCE: &str = "120";

/// Everything that a page's commands find.
pub struct Stage {
    page: &'static str,
    folder: Folder,
    /// Ends before its cells.
    edge: Process,
    cells: BTreeMap<String, RunningCell>,
    _runtime: Runtime,
}

impl Stage {
    /// With what this page needs besides (`tests/book/before/`).
    pub fn of(page: &'static str) -> Self {
        install_provider();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let start = |(name, _): (&str, &str)| {
            let cell = runtime.block_on(RunningCell::start(CellOptions::named(name))).unwrap();
            (name.to_owned(), cell)
        };
        let cells: BTreeMap<String, RunningCell> = CELLS.into_iter().map(start).collect();
        let addresses = cells.iter().map(|(name, cell)| (name.clone(), cell.addr())).collect();
        let folder = Folder::example(&addresses);
        let books = if page == "README.md" { BOOKS_OF_THE_README } else { BOOKS };
        folder.write("config/boot.yaml", &(with_free_ports() + books));
        folder.write("signers", SIGNER);
        fs::create_dir_all(folder.path("state")).unwrap();
        private(&folder.path("state"));
        let edge = Process::start_with(&folder, &["--bootstrap"]);
        folder.write("certs/dev/ca.pem", authority().ca_pem());
        if WITHOUT_SHARED.contains(&page) {
            wait_for_room_in_the_minute();
            runtime.block_on(cells["shared"].behave(Behaviour::Killed)).unwrap();
        }
        let stage = Self { page, folder, edge, cells, _runtime: runtime };
        stage.traffic();
        if stage.has_a_colleague() {
            stage.run(&format!("cellgate {OF_A_COLLEAGUE} --reason 'not yours'"), 0);
        }
        stage.prepare();
        stage
    }

    /// Runs the page from top to bottom.
    pub fn play(&self) {
        let commands = commands::of(&pages::text(self.page));
        assert!(!commands.is_empty(), "{} has no commands: take it out of the list", self.page);
        for command in &commands {
            if NOT_RUN.iter().any(|(page, line, _)| *page == self.page && *line == command.line) {
                continue;
            }
            let came = self.run(&command.line, command.exits).replace(&whoami(), "unix:root");
            if let Some(line) = missing(&command.shown, &came) {
                panic!(
                    "{}: $ {}\nshows {line:?}, which did not come. What came:\n{came}",
                    self.page, command.line
                );
            }
        }
        if self.has_a_colleague() {
            let line = format!("cellgate release {OF_A_COLLEAGUE} && cellgate levers");
            assert!(self.run(&line, 0).contains("No lever is pulled."), "a runbook leaves none of its own");
        }
    }

    /// Runs one command as somebody would in this folder; everything that it printed.
    pub fn run(&self, line: &str, exits: i32) -> String {
        let Output { status, stdout, stderr } = self.shell(&self.readdressed(line));
        let came = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert_eq!(status.code(), Some(exits), "{}: $ {line}\n{came}", self.page);
        came
    }

    /// Requests that the cells have got.
    pub fn asked_of_cells(&self) -> u64 {
        self.cells.values().map(RunningCell::requests).sum()
    }

    fn has_a_colleague(&self) -> bool {
        self.page.starts_with("docs/runbooks/") && pages::text(self.page).contains("$ cellgate release ")
    }

    fn shell(&self, line: &str) -> Output {
        let program = Path::new(env!("CARGO_BIN_EXE_cellgate"));
        let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
        Command::new("timeout")
            .args([PATIENCE, "bash", "-eu", "-o", "pipefail", "-c", line])
            .current_dir(self.folder.path(""))
            .env("PATH", path)
            .env("HOME", self.folder.path(""))
            .env("REPOSITORY", env!("CARGO_MANIFEST_DIR"))
            .env("TOKEN", TOKEN)
            .env("USER", "ann")
            .env("PAGE_PID", self.edge.id().to_string())
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap()
    }

    /// The example's addresses are those of its own ports; here they are free ones.
    fn readdressed(&self, line: &str) -> String {
        let listeners = LISTENERS.map(|(name, example)| (example, self.edge.addr(name)));
        let cells = CELLS.map(|(name, example)| (example, self.cells[name].addr()));
        let all = listeners.into_iter().chain(cells).chain([(ADMIN, self.edge.admin())]);
        let line = all.fold(line.to_owned(), |line, (example, here): (&str, SocketAddr)| {
            line.replace(example, &here.to_string())
        });
        let line = self.with_numbers(line);
        // Several cellgates run on a machine that tests; on a reader's there is one.
        line.replace("$(pgrep -o -x cellgate)", "$PAGE_PID")
    }

    /// `BEFORE` and `NOW` are what readers put in after they have read it: the numbers of the last two lines of `cellgate history`.
    fn with_numbers(&self, line: String) -> String {
        if !line.split_whitespace().any(|word| word == "BEFORE") {
            return line;
        }
        let listed = String::from_utf8(self.shell("cellgate history").stdout).unwrap();
        let numbers: Vec<&str> =
            listed.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
        let [.., before, now] = numbers[..] else { panic!("two lines of the history: {listed}") };
        line.replace("BEFORE", before).replace(" NOW", &format!(" {now}"))
    }

    /// A little of what makes reports and books worth reading.
    fn traffic(&self) {
        let asked = [
            ("cloud.getdbt.com", "/api/v2/accounts/12345/jobs/", "terraform-provider-dbtcloud/1.0"),
            ("cloud.getdbt.com", "/api/v2/accounts/1001/jobs/", "python-requests/2.31"),
            (
                "cloud.getdbt.com",
                "/api/v2/accounts/70403103966603/jobs/",
                "apache-airflow-providers-dbt-cloud-v3.8.0",
            ),
            ("acme.us1.dbt.com", "/api/v2/accounts/12345/runs/", "apache-airflow-providers-dbt-cloud-v3.8"),
        ];
        for (host, path, client) in asked {
            let url = format!("http://{}{path}", self.edge.addr("http"));
            let line = format!(
                "curl -sS -o /dev/null -H 'Host: {host}' -H 'User-Agent: {client}' \
                 -H 'Authorization: Token {TOKEN}' {url}"
            );
            assert!(self.shell(&line).status.success(), "{line}");
        }
        let log = self.folder.path("state/access.log");
        eventually("every line in the access log", || {
            (fs::read_to_string(&log).unwrap_or_default().lines().count() >= asked.len()).then_some(())
        });
    }

    fn prepare(&self) {
        let name = self.page.trim_start_matches("docs/").trim_end_matches(".md").replace('/', "-");
        let script = pages::root(&format!("tests/book/before/{name}.sh"));
        if let Ok(script) = fs::read_to_string(script) {
            self.run(&script, 0);
        }
    }
}

/// Ends whoever has taken over: a page may have upgraded.
impl Drop for Stage {
    fn drop(&mut self) {
        let here = self.folder.path("config").to_string_lossy().into_owned();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&arguments).contains(&here) {
                let id = entry.file_name();
                // It may have ended meanwhile.
                let _ =
                    Command::new("kill").arg("-KILL").arg(id).stderr(std::process::Stdio::null()).status();
            }
        }
    }
}

/// What the death of a cell has cost is counted by the minute, and pages show it of one: all that is asked lies in one.
fn wait_for_room_in_the_minute() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    if now % 60 >= 40 {
        std::thread::sleep(Duration::from_secs(60 - now % 60));
    }
}

fn with_free_ports() -> String {
    let text = pages::text("config/boot.yaml");
    let ports = LISTENERS.iter().map(|(_, address)| *address).chain([ADMIN]);
    let text = ports.fold(text, |text, address| {
        assert!(text.contains(address), "config/boot.yaml has {address}");
        text.replace(address, "127.0.0.1:0")
    });
    text.replace("\nguards:\n", "\nguards:\n  approvals: { fleet: demo, allowed_signers: ../signers }\n")
}

/// As the admin socket names who runs this.
fn whoami() -> String {
    let name = Command::new("id").arg("-un").output().unwrap().stdout;
    format!("unix:{}", String::from_utf8_lossy(&name).trim())
}

fn private(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
}
