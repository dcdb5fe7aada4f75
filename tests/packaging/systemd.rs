//! The units: systemd reads them, weighs them, hands a socket over as they say, and cellgate does all that it does under
//! their restrictions. There is no process 1 here that is systemd, so the units themselves were never started.

#![allow(clippy::print_stdout)] // What a machine cannot show is said.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use loadtest::cell::{CellOptions, RunningCell};
use tokio::runtime::Runtime;

use crate::checkers::{ended, objects, passes, said, with};
use crate::process::{Process, quiet_port};
use crate::python::checkers_python;
use crate::raw_http;
use crate::running::{Folder, eventually};

const SERVICE: &str = "packaging/systemd/cellgate.service";
const SOCKET: &str = "packaging/systemd/cellgate-https.socket";

/// Of 100, as `systemd-analyze security` weighs them: what a service has that opens ports below 1024 to everybody.
const EXPOSURE: &str = "15";

/// Who nobody is, as in the image.
const NOBODY: u32 = 65532;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: ab123.us1.dbt.com\r\nConnection: close\r\n\r\n";

/// The cell of that account, and a folder with its address.
fn cell_and_folder(runtime: &Runtime) -> (RunningCell, Folder) {
    let cell = runtime.block_on(RunningCell::start(CellOptions::named("cell-1"))).unwrap();
    let folder = Folder::example(&BTreeMap::from([("cell-1".to_owned(), cell.addr())]));
    (cell, folder)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// What `systemd-analyze verify` says of both, where the program is the one that was built.
fn verified(change: impl Fn(String) -> String) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for unit in [SERVICE, SOCKET] {
        let text = crate::read(unit).replace("/usr/bin/cellgate", env!("CARGO_BIN_EXE_cellgate"));
        fs::write(folder.path().join(Path::new(unit).file_name().unwrap()), change(text)).unwrap();
    }
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify").arg(folder.path().join("cellgate.service"));
    let output = ended(verify.arg(folder.path().join("cellgate-https.socket")));
    let said = said(&output);
    let mut lines: Vec<String> = said.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if !output.status.success() {
        lines.push(output.status.to_string());
    }
    lines
}

#[test]
fn systemd_reads_the_units_and_older_ones_say_only_that_they_do_not_know_a_type() {
    let lines = verified(|text| text);
    // Before 253; the line before it holds there.
    let other =
        lines.iter().filter(|line| !line.contains("Failed to parse service type, ignoring: notify-reload"));
    assert_eq!(other.collect::<Vec<_>>(), Vec::<&String>::new());
    let service = crate::read(SERVICE);
    assert!(service.contains("\nType=notify\nType=notify-reload\n"), "the older one first");
    let wrong = verified(|text| text.replace("ProtectSystem=strict", "ProtectSystem=everything"));
    assert!(wrong.iter().any(|line| line.contains("everything")), "{wrong:?}");
}

#[test]
fn systemd_weighs_the_sandbox_of_the_unit_as_tight() {
    let weigh = |unit: &Path| {
        let mut weigh = Command::new("systemd-analyze");
        weigh
            .args(["security", "--no-pager", "--offline=true", &format!("--threshold={EXPOSURE}")])
            .arg(unit);
        weigh
    };
    passes(&mut weigh(Path::new(&crate::path(SERVICE))));
    let (_folder, loose) = with(SERVICE, "ProtectSystem=strict\n", "", "cellgate.service");
    assert!(objects(&mut weigh(&loose)).contains("ProtectSystem"));
}

#[test]
fn the_unit_waits_longer_than_a_drain_and_checks_nothing_that_would_keep_the_last_good_configuration_from_serving()
 {
    let service = crate::read(SERVICE);
    let value =
        |key: &str| service.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap();
    let stop: u64 = value("TimeoutStopSec").parse().unwrap();
    for boot in ["packaging/debian/boot.yaml", "packaging/nlb/boot.yaml"] {
        let (boot, _) = crate::example::Example::with(boot).read();
        assert!((boot.drain.grace + boot.drain.deadline).as_secs() < stop);
        assert!(boot.limits.connections.get() * 2 < value("LimitNOFILE").parse().unwrap());
        let socket = crate::read(SOCKET);
        let name = socket.lines().find_map(|line| line.strip_prefix("FileDescriptorName=")).unwrap();
        assert!(boot.listeners.iter().any(|listener| listener.name.as_str() == name), "{name}");
    }
    assert!(!service.lines().any(|line| line.starts_with("ExecStartPre=")));
}

#[test]
fn systemds_own_program_hands_a_socket_over_by_its_name() {
    let runtime = runtime();
    let (_cell, folder) = cell_and_folder(&runtime);
    let port = quiet_port();
    let mut activate = Command::new("systemd-socket-activate");
    activate
        .arg(format!("--listen=127.0.0.1:{port}"))
        .arg("--fdname=http")
        .arg(env!("CARGO_BIN_EXE_cellgate"));
    let mut process = Process::spawn_as(&folder, activate);
    // It starts the service when somebody connects, who waits meanwhile.
    let address = ([127, 0, 0, 1], port).into();
    eventually("the socket", || {
        let reply = raw_http::ask(&mut std::net::TcpStream::connect(address).ok()?, REQUEST).unwrap();
        (reply.status == 200).then_some(())
    });
    assert_eq!(process.addr("http"), address);
    assert_ne!(process.addr("https").port(), port);
    process.signal("TERM");
    assert!(process.ended().success());
}

/// Mounts as the unit has them: all is read-only but the folders for state and logs, and of /proc there are processes alone.
const SANDBOX: &str = "\
for folder in state log; do mount --bind \"$0/$folder\" \"$0/$folder\"; done && \
mount -o remount,bind,ro / && mount -t proc -o subset=pid,hidepid=invisible proc /proc && exec \"$@\"";

#[test]
fn all_that_cellgate_does_is_possible_under_the_restrictions_of_the_unit() {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c"]);
    let tried = Command::new("unshare").args(["--mount", "true"]).status();
    if !rustix::process::geteuid().is_root() || !tried.is_ok_and(|status| status.success()) {
        let said =
            "\n!!! NOTHING IS SHOWN HERE: mounts of one's own need root. CI runs as root, and has them.\n\n";
        let _ = std::io::stderr().write_all(said.as_bytes());
        return;
    }
    let runtime = runtime();
    let (_cell, folder) = cell_and_folder(&runtime);
    let program = folder.path("cellgate");
    fs::copy(env!("CARGO_BIN_EXE_cellgate"), &program).unwrap();
    fs::create_dir(folder.path("state")).unwrap();
    fs::set_permissions(folder.path("state"), PermissionsExt::from_mode(0o700)).unwrap();
    give(&folder.path(""), NOBODY);
    unshare.arg(SANDBOX).arg(folder.path("")).arg(checkers_python());
    unshare.arg(crate::path("tests/packaging/confined.py")).arg(crate::path(SERVICE)).arg(NOBODY.to_string());
    // What the filter refuses ends the process.
    let mut process = Process::spawn_as(&folder, {
        unshare.arg(&program);
        unshare
    });
    let http = process.addr("http");
    let asks = || raw_http::ask(&mut raw_http::tcp(http), REQUEST).unwrap().status;
    process.line("a line that says it serves", |line| line["fields"]["message"] == "serving");
    assert_eq!(asks(), 200);
    let page = |target: &str| raw_http::admin(&folder.path("state/admin.sock"), "GET", target);
    folder.append("config/accounts.csv", "77,zz77,cell-1,,");
    eventually("a reload", || (page("/config").json()["generation"] == 2).then_some(()));
    let lines = process.log();
    let lasts = lines.iter().any(|line| line["fields"]["message"].to_string().contains("is not known"));
    assert!(!lasts, "it can see what its state folder lies on");

    process.signal("USR2");
    assert!(process.ended().success(), "handed over to a successor under the same restrictions");
    assert_eq!(asks(), 200);
    let pid = fs::read_to_string(folder.path("state/cellgate.lock")).unwrap();
    assert!(Command::new("kill").arg(pid.trim()).status().unwrap().success());
    eventually("the end of the successor", || {
        (!Path::new(&format!("/proc/{}", pid.trim())).exists()).then_some(())
    });
    let drained =
        |line: &serde_json::Value| line["fields"]["message"] == "drained: every request was finished";
    assert_eq!(process.log().into_iter().filter(drained).count(), 2);
}

/// A folder and all that is in it.
fn give(folder: &Path, owner: u32) {
    chown(folder, Some(owner), Some(owner)).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { give(&path, owner) } else { chown(&path, Some(owner), Some(owner)).unwrap() }
    }
}
