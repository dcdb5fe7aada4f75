//! cellgate as a process of its own: what a signal does, what it says on standard error, how it exits.

#![allow(dead_code)]

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;

use crate::running::{Folder, eventually};

/// A running `cellgate serve`. Killed when it is dropped.
pub struct Process {
    child: Child,
    log: std::path::PathBuf,
    /// Lines of the log that earlier processes wrote.
    before: usize,
}

impl Process {
    /// Starts on a folder; accepts connections when this returns.
    pub fn start(folder: &Folder) -> Self {
        Self::start_with(folder, &[])
    }

    /// The same with further arguments.
    pub fn start_with(folder: &Folder, arguments: &[&str]) -> Self {
        let process = Self::spawn_with(folder, cellgate(), arguments);
        process.line("a line that says it serves", |line| line["fields"]["message"] == "serving");
        process
    }

    /// Starts on a folder, and waits for nothing.
    pub fn spawn(folder: &Folder) -> Self {
        Self::spawn_as(folder, cellgate())
    }

    /// The same by another command, which gets the arguments of `cellgate`. Its standard input and output are
    /// the command's.
    pub fn spawn_as(folder: &Folder, command: Command) -> Self {
        Self::spawn_with(folder, command, &[])
    }

    fn spawn_with(folder: &Folder, mut command: Command, arguments: &[&str]) -> Self {
        let log = folder.path("log/stderr.jsonl");
        let before = read(&log).len();
        let file = File::options().create(true).append(true).open(&log).unwrap();
        ask_for_few_connections(folder);
        command.args(["serve", "--config"]).arg(folder.path("config")).args(arguments);
        let child = command.stderr(file).spawn().unwrap();
        Self { child, log, before }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its lines on standard error so far.
    pub fn log(&self) -> Vec<Value> {
        read(&self.log).split_off(self.before)
    }

    /// The first line of which this is true, waited for.
    pub fn line(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || self.log().into_iter().find(&is))
    }

    /// The real address of a listener.
    pub fn addr(&self, listener: &str) -> SocketAddr {
        self.address(|fields| fields["message"] == "listening" && fields["listener"] == listener)
    }

    /// The real address of the read-only admin pages.
    pub fn admin(&self) -> SocketAddr {
        self.address(|fields| fields["message"] == "admin pages, read-only")
    }

    /// The real address of the public door of the status.
    pub fn status(&self) -> SocketAddr {
        self.address(|fields| fields["message"] == "status page, for everybody")
    }

    /// Sends a signal by its name, as `kill -s` has it.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        eventually("the process to end", || self.child.try_wait().unwrap())
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    fn address(&self, is: impl Fn(&Value) -> bool) -> SocketAddr {
        let line = self.line("an address", |line| is(&line["fields"]));
        line["fields"]["address"].as_str().unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, or is ended now; both are fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command of cellgate on a folder to its end.
pub fn run(folder: &Folder, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    command.args(arguments).arg("--config").arg(folder.path("config")).output().unwrap()
}

/// A loopback port that is free, and not one that the system gives to clients: while nobody listens there, a
/// client must be refused and not meet another client or itself. Each is given once: whoever is to listen there begins
/// later, when another test may ask for one.
pub fn quiet_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 8_000).unwrap();
    let ports = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed));
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports = ports.take_while(|port| *port < 30_000);
    ports.find(free).unwrap()
}

/// The built program, which nobody writes to or reads from.
fn cellgate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn read(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The default of `limits.connections` needs more open files than many a machine lets its people have, and a process says so
/// beside its readiness. A test that says nothing of limits is not about that, and has no more connections from its one address
/// than the default lets one have.
fn ask_for_few_connections(folder: &Folder) {
    let boot = folder.path("config/boot.yaml");
    // Not where it is no file at all: to read a pipe is to wait, and what a link leads to is the test's own.
    let is_file = fs::symlink_metadata(&boot).is_ok_and(|found| found.is_file() && found.len() < 100_000);
    let text = if is_file { fs::read_to_string(&boot).unwrap_or_default() } else { return };
    if text.ends_with('\n') && !text.lines().any(|line| line.starts_with("limits:")) {
        folder.append("config/boot.yaml", "limits: { connections: 2000 }");
    }
}
