//! A PostgreSQL server of a test's own: made, started and ended by it, in a folder that goes with it.

#![allow(dead_code)] // Each binary uses its part.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server; or one that is away, until it is started again.
pub struct Server {
    folder: tempfile::TempDir,
    process: Option<Child>,
    settings: String,
}

/// Starting takes a second, on a machine that does nothing else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nobody: the server refuses to run as root.
const UNPRIVILEGED: u32 = 65_534;

impl Server {
    /// One that listens on a socket in its folder only.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").expect("a folder");
        // Whoever the server runs as must get to it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        let data = folder.path().join("data");
        fs::create_dir(&data).expect("a folder for its data");
        if is_root() {
            chown(&data, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).expect("its owner");
        }
        let mut server = Self { folder, process: None, settings: String::new() };
        let made = server
            .program("initdb")
            .args(["--pgdata", &data.display().to_string(), "--username=cellgate", "--auth=trust"])
            .args(["--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C.UTF-8"])
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.start_again();
        server
    }

    /// Starts it, and waits until it answers.
    pub fn start_again(&mut self) {
        let data = self.folder.path().join("data");
        let configuration = format!(
            "listen_addresses = ''\nunix_socket_directories = '{}'\nport = 5432\nfsync = off\nmax_connections = 60\n{}\n",
            data.display(),
            self.settings
        );
        fs::write(data.join("postgresql.auto.conf"), configuration).expect("its configuration");
        let log = fs::File::create(self.folder.path().join("log")).expect("its log");
        let process = self.program("postgres").arg("-D").arg(&data).stdout(Stdio::null()).stderr(log).spawn();
        self.process = Some(process.expect("postgres runs"));
        let end = Instant::now() + PATIENCE;
        while let Err(error) = self.try_connect() {
            let ended = self.process.as_mut().expect("just started").try_wait().expect("its state");
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < end, "{error}: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// More lines of its configuration, from its next start on.
    pub fn set(&mut self, settings: &str) {
        settings.clone_into(&mut self.settings);
    }

    /// A file in its folder that only it may read.
    pub fn write_secret(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("the file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
        if is_root() {
            chown(&path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).expect("its owner");
        }
    }

    /// Ends it at once, as a power cut would.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // SIGQUIT is its immediate shutdown: children end, too, and what was committed is there again.
            let _ = Command::new("kill").args(["-QUIT", &process.id().to_string()]).status();
            let _ = process.wait();
        }
    }

    /// How clients connect to it.
    pub fn connection_string(&self) -> String {
        let lines = self.settings.lines();
        let port = lines.filter_map(|line| line.strip_prefix("port = ")).next_back().unwrap_or("5432");
        format!(
            "host={} port={port} user=cellgate dbname=postgres",
            self.folder.path().join("data").display()
        )
    }

    /// A file with that.
    pub fn connection_file(&self) -> PathBuf {
        self.connection_file_with("connection", &self.connection_string())
    }

    /// A file with another connection string, that only its owner may read.
    pub fn connection_file_with(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, format!("{text}\n")).expect("the file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
        path
    }

    /// Its folder, in which a test may put more.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection of the test's own.
    pub fn connect(&self) -> postgres::Client {
        self.try_connect().expect("the server answers")
    }

    fn try_connect(&self) -> Result<postgres::Client, postgres::Error> {
        postgres::Client::connect(&self.connection_string(), postgres::NoTls)
    }

    /// One of its programs, as somebody who may run it.
    fn program(&self, name: &str) -> Command {
        let path = programs().join(name);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            let user = UNPRIVILEGED.to_string();
            command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".into()]);
            command.args(["--pdeathsig", "QUIT"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command.current_dir("/");
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The folder of the newest version that Debian's packages have installed.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.max_by_key(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
    newest.expect("PostgreSQL is installed: scripts/setup test does it").path().join("bin")
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
