//! Upgrades that fail, each in its own way: whatever stands in the place of the program, the running process goes
//! on as before, says why, and is upgraded by the next program that can serve.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use loadtest::cell::CellOptions;

use super::{Line, ask, messages};
use crate::process::Process;
use crate::raw_http;
use crate::running::{Folder, eventually};
use crate::world::{CELLS, addresses, runtime, start_cells};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: ab123.us1.dbt.com\r\nConnection: close\r\n\r\n";

/// Started by a link, as an installation of several versions is: the link, and the process. An upgrade may take
/// so long.
fn linked(folder: &Folder, upgrade_timeout: &str) -> (PathBuf, Line) {
    let drain = "drain: { grace: 100ms, deadline: 20s }";
    let with = drain.replace(" }", &format!(", upgrade_timeout: {upgrade_timeout} }}"));
    folder.edit("config/boot.yaml", drain, &with);
    let program = folder.path("cellgate");
    symlink(env!("CARGO_BIN_EXE_cellgate"), &program).unwrap();
    let mut command = Command::new(&program);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let line = Line::of(Process::spawn_as(folder, command));
    line.first.line("a line that says it serves", |line| line["fields"]["message"] == "serving");
    (program, line)
}

#[test]
fn a_program_that_cannot_serve_changes_nothing() {
    let runtime = runtime();
    let cells = start_cells(&runtime, CELLS.map(CellOptions::named).to_vec());
    let folder = Folder::example(&addresses(&cells));
    let (program, mut line) = linked(&folder, "30s");

    let mut failures = 0;
    let mut fails = |line: &mut Line, expect: &str| {
        let said = ask(&folder);
        let words = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(1), "{words}");
        assert!(words.contains(expect) && words.contains("goes on as before"), "{expect:?} in {words}");
        failures += 1;
        goes_on(line, failures);
    };
    fs::remove_file(&program).unwrap();
    fails(&mut line, "cannot start");
    script(&program, "exit 3", 0o644);
    fails(&mut line, "Permission denied");
    script(&program, "exit 3", 0o755);
    fails(&mut line, "exit status: 3");
    script(&program, "echo hello >&0; sleep 600", 0o755);
    fails(&mut line, "not understood");
    script(&program, "exec 0</dev/null; kill -s SEGV $$", 0o755);
    fails(&mut line, "signal: 11");

    fs::remove_file(&program).unwrap();
    symlink(env!("CARGO_BIN_EXE_cellgate"), &program).unwrap();
    let good = folder.read("config/cellgate.yaml");
    folder.write("config/cellgate.yaml", "version: 1\nnonsense: [");
    fs::remove_file(folder.path("state/last-good.cellgate")).unwrap();
    fails(&mut line, "last-good.cellgate: cellgate.yaml:3:1: nonsense");
    folder.write("config/cellgate.yaml", &good);

    line.upgrade(&folder);
    line.drained();
    let page = raw_http::page(line.first.admin(), "/metrics").text();
    assert!(page.contains(r#"cellgate_upgrades_total{result="taken_over"} 1"#), "{page}");
    assert_eq!(raw_http::ask(&mut raw_http::tcp(line.first.addr("http")), REQUEST).unwrap().status, 200);

    // One that serves, but not what the files say, is no whole success.
    let table = folder.read("config/accounts.csv");
    folder.write("config/accounts.csv", "account,prefixes,cell\n1,,nowhere\n");
    let said = ask(&folder);
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(3), "{words}");
    assert!(words.contains("The last good configuration") && words.contains("\"nowhere\""), "{words}");
    folder.write("config/accounts.csv", &table);
    line.another(&folder);
    line.drained();
}

#[test]
fn a_program_that_never_gets_ready_is_ended_in_time_and_another_is_refused_meanwhile() {
    let runtime = runtime();
    let cells = start_cells(&runtime, CELLS.map(CellOptions::named).to_vec());
    let folder = Folder::example(&addresses(&cells));
    // So long that somebody else can ask meanwhile.
    let (program, mut line) = linked(&folder, "8s");
    script(&program, &format!("echo $$ > {}; exec sleep 600", folder.path("pid").display()), 0o755);
    line.first.signal("USR2");
    let pid: u32 =
        eventually("the new process", || fs::read_to_string(folder.path("pid")).ok()?.trim().parse().ok());
    let said = ask(&folder);
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(words.contains("under way already"), "{words}");
    eventually("the word that it took too long", || {
        let errors = messages(&line.first, "not upgraded: this process goes on as before");
        let error = errors.first()?["fields"]["error"].as_str()?.to_owned();
        assert!(error.contains("not ready within 8 s") && error.contains("drain.upgrade_timeout"), "{error}");
        Some(())
    });
    eventually("its end", || super::gone(pid).then_some(()));
    goes_on(&mut line, 1);
    // Told to stop in the middle of another one, it takes the new process along.
    fs::remove_file(folder.path("pid")).unwrap();
    line.first.signal("USR2");
    let pid: u32 =
        eventually("the new process", || fs::read_to_string(folder.path("pid")).ok()?.trim().parse().ok());
    line.first.signal("TERM");
    assert_eq!(line.first.ended().code(), Some(0));
    eventually("its end", || super::gone(pid).then_some(()));
}

/// It is the same process, it answers at every door, and says how often it could not be upgraded.
fn goes_on(line: &mut Line, failures: u32) {
    assert!(line.first.runs());
    assert_eq!(raw_http::ask(&mut raw_http::tcp(line.first.addr("http")), REQUEST).unwrap().status, 200);
    let admin = line.first.admin();
    assert_eq!(raw_http::page(admin, "/readyz").status, 200);
    let metric = format!("cellgate_upgrades_total{{result=\"failed\"}} {failures}");
    // Whoever has asked for the upgrade is answered first; then it is said in the log, and then counted.
    eventually(&metric, || raw_http::page(admin, "/metrics").text().contains(&metric).then_some(()));
    assert_eq!(
        messages(&line.first, "not upgraded: this process goes on as before").len(),
        failures as usize
    );
}

/// Put in place in one step: a program that is being written cannot be started.
fn script(program: &Path, text: &str, mode: u32) {
    let beside = program.with_extension("new");
    fs::write(&beside, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(mode)).unwrap();
    fs::rename(&beside, program).unwrap();
}
