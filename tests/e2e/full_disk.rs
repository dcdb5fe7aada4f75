//! A disk that is really full, and one that cannot be written: the state folder of a real process on a small file system of its
//! own, in a mount namespace that nobody else sees. Traffic does not notice, what was counted is counted once, and what
//! nobody could keep is told.
//!
//! Needs root or user namespaces, `unshare` and `nsenter` (util-linux). Where they are missing it says so and shows nothing.

#![allow(clippy::print_stdout)] // What a machine cannot show is said.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::SystemTime;

use loadtest::cell::CellOptions;

use crate::books::{ask, metric};
use crate::process::Process;
use crate::raw_http;
use crate::running::{Folder, eventually};
use crate::world::{addresses, runtime, start_cells};

/// Mounts a file system on `$0`, with room for the least spool (4 MiB), a month's file with its journal, and what a process
/// saves.
const IN_MEMORY: &str = "mount -t tmpfs -o size=12m,mode=0700 cellgate \"$0\"";

/// The same of a kind that becomes read-only under who writes to it, as it does when its disk fails; in the file `$0.image`.
const THAT_CAN_FAIL: &str = "test -e \"$0.image\" || { truncate -s 24M \"$0.image\" && mkfs.ext4 -q \"$0.image\"; } && \
     mount -o loop \"$0.image\" \"$0\" && chmod 700 \"$0\"";

/// Says that nothing was shown.
fn not_here(what: &str) {
    let said =
        format!("\n!!! NOTHING IS SHOWN HERE: this machine has no {what}. CI runs as root, and has.\n\n");
    let _ = std::io::stderr().write_all(said.as_bytes());
}

/// A file system of its own, under the state folder. It ends with its keeper.
struct Disk {
    keeper: Child,
    state: PathBuf,
    user_namespace: bool,
}

impl Disk {
    /// `None` where this machine gives nobody a mount namespace.
    fn mount(folder: &Folder, how: &str) -> Option<Self> {
        let state = folder.path("state");
        std::fs::create_dir_all(&state).unwrap();
        let user_namespace = !rustix::process::geteuid().is_root();
        let mut command = Command::new("unshare");
        command.args(if user_namespace { &["-U", "-r", "-m"][..] } else { &["-m"] });
        // Told when it is there, and kept until nobody writes to it any more.
        let script = format!("{how} && touch \"$0/mounted\" && exec cat");
        command.args(["sh", "-c", &script]).arg(&state).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut disk = Self { keeper: command.spawn().ok()?, state, user_namespace };
        let is_there = eventually("the file system or the end of its keeper", || {
            let gone = disk.keeper.try_wait().unwrap().is_some();
            let there = disk.run("test", &["-e", "mounted"]).is_some_and(|output| output.status.success());
            (gone || there).then_some(there)
        });
        is_there.then_some(disk)
    }

    /// A command that runs where the file system is seen.
    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.keeper.id().to_string()]);
        if self.user_namespace {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg("--").arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a program in the state folder to its end.
    fn run(&self, program: &str, arguments: &[&str]) -> Option<Output> {
        let mut command = self.inside("sh");
        command.args(["-c", "cd \"$0\" && exec \"$@\""]).arg(&self.state).arg(program);
        command.args(arguments).output().ok()
    }

    /// Starts cellgate.
    fn start(&self, folder: &Folder) -> Process {
        // A write beyond what is allowed is then an error, and not the end of the process.
        let mut command = self.inside("sh");
        command.args(["-c", "trap '' XFSZ && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_cellgate")]);
        command.stdout(Stdio::null());
        let process = Process::spawn_as(folder, command);
        process.line("a line that says it serves", |line| line["fields"]["message"] == "serving");
        process
    }

    /// Leaves no byte free, and gives it all back.
    fn fill(&self) {
        let said = self.run("dd", &["if=/dev/zero", "of=ballast", "bs=4k"]).unwrap();
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.contains("No space left"), "{said}");
    }

    fn free(&self) {
        assert!(self.run("rm", &["ballast"]).unwrap().status.success());
    }

    /// Makes it read-only under who writes to it; false where its kind cannot.
    fn fail(&self) -> bool {
        let said = self.inside("mount").args(["-o", "remount,abort"]).arg(&self.state).output().unwrap();
        let read_only = self.run("touch", &["anything"]).unwrap();
        said.status.success() && !read_only.status.success()
    }

    /// What a report says.
    fn report(&self, arguments: &[&str]) -> String {
        let mut command = self.inside(env!("CARGO_BIN_EXE_cellgate"));
        let said =
            command.arg("report").args(arguments).arg("--state-dir").arg(&self.state).output().unwrap();
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    /// For which times the books were kept, by run of a process.
    fn kept(&self) -> Vec<(i64, i64)> {
        let read = "import glob, json, sqlite3\n\
             months = [sqlite3.connect(path, timeout=30) for path in glob.glob('books-*.sqlite')]\n\
             print(json.dumps([row for month in months for row in month.execute('SELECT started_at, ended_at FROM coverage')]))";
        let said = self.run("python3", &["-c", read]).unwrap();
        serde_json::from_slice(&said.stdout).unwrap()
    }

    /// Whether they were kept for a part of this time.
    fn kept_between(&self, from: i64, to: i64) -> bool {
        self.kept().iter().any(|(started_at, ended_at)| *started_at < to && *ended_at > from)
    }

    /// How many requests of account 12345 the books know.
    fn known(&self) -> u64 {
        let report = self.report(&["-o", "csv"]);
        let line = report.lines().find(|line| line.starts_with("account,12345,"));
        line.and_then(|line| line.split(',').nth(4)).map_or(0, |requests| requests.parse().unwrap())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

fn failures(process: &Process) -> f64 {
    metric(process, r#"cellgate_books_flushes_total{result="failed"}"#)
}

fn waiting(process: &Process) -> f64 {
    metric(process, "cellgate_books_waiting_windows")
}

/// So many requests, each of which its cell has answered.
fn send(process: &Process, requests: u64) {
    let mut connection = raw_http::tcp(process.addr("http"));
    for _ in 0..requests {
        assert_eq!(ask(&mut connection).status, 200);
    }
}

#[test]
fn a_full_disk_and_one_that_cannot_be_written_cost_no_request_and_what_nobody_could_keep_is_told() {
    let runtime = runtime();
    let cells = start_cells(&runtime, vec![CellOptions::named("cell-2")]);
    let folder = Folder::example(&addresses(&cells));
    folder.append("config/boot.yaml", "books: { window: 1s, spool_bytes: 4194304 }\n");
    let Some(disk) = Disk::mount(&folder, IN_MEMORY) else {
        return not_here("mount namespaces (unshare -m, or unshare -Urm)");
    };
    let is_known = |requests: u64| {
        eventually(&format!("{requests} requests in the books"), || {
            let known = disk.known();
            assert!(known <= requests, "{known} of {requests}: counted twice");
            (known == requests).then_some(())
        });
    };
    let process = disk.start(&folder);
    send(&process, 10);
    is_known(10);

    // Full: what comes now is in the spool, whose room was taken before.
    disk.fill();
    let failed = failures(&process);
    send(&process, 20);
    eventually("writes that fail", || (failures(&process) > failed + 1.0).then_some(()));
    send(&process, 10);
    assert!(waiting(&process) >= 1.0);
    assert_eq!(disk.known(), 10);
    disk.free();
    is_known(40);

    // Full again, and killed: the spool outlives the process, and a new one starts on a full disk.
    disk.fill();
    let failed = failures(&process);
    send(&process, 20);
    eventually("writes that fail", || (failures(&process) > failed + 1.0).then_some(()));
    let until = waiting(&process) + 3.0;
    eventually("the window of these to wait in the spool", || (waiting(&process) >= until).then_some(()));
    let mut process = process;
    process.signal("KILL");
    process.ended();
    let mut process = disk.start(&folder);
    send(&process, 10);
    disk.free();
    is_known(70);

    let begun = now();
    // Not one byte can be written to any file, the spool included: what was counted waits in memory.
    let writable = |how: &str| {
        let pid = process.id().to_string();
        let done =
            Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={how}:unlimited")]).status();
        assert!(done.unwrap().success());
    };
    writable("0");
    let failed = failures(&process);
    send(&process, 20);
    eventually("writes that fail", || (failures(&process) > failed + 1.0).then_some(()));
    send(&process, 10);
    assert_eq!(disk.known(), 70);
    writable("unlimited");
    is_known(100);
    assert!(
        disk.kept().iter().any(|(from, to)| *from <= begun && *to > begun),
        "all of it, by the one that runs"
    );

    // And killed then: what nobody could keep is not counted, and that is known.
    writable("0");
    let from = now();
    send(&process, 10);
    let failed = failures(&process);
    eventually("writes that fail", || (failures(&process) > failed + 1.0).then_some(()));
    process.signal("KILL");
    process.ended();
    let to = now();
    let process = disk.start(&folder);
    send(&process, 10);
    is_known(110);
    assert!(!disk.kept_between(from + 2, to), "the hole from {from} to {to} is in {:?}", disk.kept());
    eventually("the books to go on", || disk.kept_between(to + 2, i64::MAX).then_some(()));
    drop(process);
}

#[test]
fn a_disk_that_becomes_read_only_costs_no_request_and_its_hole_is_told() {
    let runtime = runtime();
    let cells = start_cells(&runtime, vec![CellOptions::named("cell-2")]);
    let folder = Folder::example(&addresses(&cells));
    folder.append("config/boot.yaml", "books: { window: 1s, spool_bytes: 4194304 }\n");
    let Some(disk) = Disk::mount(&folder, THAT_CAN_FAIL) else {
        return not_here("loop devices, or no ext4");
    };
    let mut process = disk.start(&folder);
    send(&process, 10);
    eventually("these in the books", || (disk.known() == 10).then_some(()));
    if !disk.fail() {
        return not_here("way to make an ext4 fail (remount,abort)");
    }
    // Not before: to make it fail may take longer than two windows.
    let from = now();
    send(&process, 20);
    let failed = failures(&process);
    eventually("writes that fail", || (failures(&process) > failed + 1.0).then_some(()));
    send(&process, 10);
    process.signal("TERM");
    process.ended();
    let to = now();
    drop(disk);
    let disk = Disk::mount(&folder, THAT_CAN_FAIL).unwrap();
    let process = disk.start(&folder);
    send(&process, 5);
    eventually("the books to go on", || (disk.known() >= 15).then_some(()));
    assert!(disk.known() < 15 + 30, "what came meanwhile could be kept nowhere");
    assert!(!disk.kept_between(from + 2, to), "the hole from {from} to {to} is in {:?}", disk.kept());
    drop(process);
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}
