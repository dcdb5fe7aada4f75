//! How many files a process may have open, where whoever started it gave it few.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::process::Process;
use crate::raw_http;
use crate::running::{Folder, eventually};

/// A process of a shell that has set its limits, and serves.
fn started(folder: &Folder, limits: &str) -> Process {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{limits}; exec \"$0\" \"$@\"")]);
    shell.arg(env!("CARGO_BIN_EXE_cellgate")).stdin(Stdio::null()).stdout(Stdio::null());
    let process = Process::spawn_as(folder, shell);
    process.line("that it serves", |line| line["fields"]["message"] == "serving");
    process
}

/// Its limit of open files: what holds, and the most that it may ask for.
fn limits(process: &Process) -> [String; 2] {
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut words = line.split_whitespace().map(str::to_owned);
    std::array::from_fn(|_| words.next().unwrap())
}

/// What `/readyz` says, once it has said that it serves.
fn reasons(process: &Process) -> Value {
    let page = raw_http::page(process.admin(), "/readyz");
    assert_eq!(page.status, 200, "{}", page.text());
    page.json()["reasons"].clone()
}

#[test]
fn a_process_takes_as_many_open_files_as_it_may_have() {
    let folder = Folder::example(&BTreeMap::new());
    folder.append("config/boot.yaml", "limits: { connections: 100 }");
    let process = started(&folder, "ulimit -Sn 256; ulimit -Hn 400");
    assert_eq!(limits(&process), ["400", "400"]);
    assert_eq!(reasons(&process), Value::Array(Vec::new()), "100 connections need 400");
}

#[test]
fn a_process_that_may_have_too_few_files_open_says_so_and_serves() {
    let folder = Folder::example(&BTreeMap::new());
    folder.append("config/boot.yaml", "limits: { connections: 101 }");
    let process = started(&folder, "ulimit -Sn 256; ulimit -Hn 400");
    let line = process.line("the warning", |line| line["fields"]["code"] == "E0614");
    assert_eq!((&line["fields"]["most"], &line["fields"]["needed"]), (&400.into(), &402.into()));
    // The line comes a moment before the note.
    let found = eventually("a reason", || Some(reasons(&process)).filter(|found| found[0].is_object()));
    assert_eq!((&found[0]["reason"], &found[0]["blocks"]), (&"few_descriptors".into(), &false.into()));
    let detail = found[0]["detail"].as_str().unwrap();
    assert!(detail.contains("400 files") && detail.contains("limits.connections"), "{detail}");
}
