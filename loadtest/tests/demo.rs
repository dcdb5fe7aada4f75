//! The demonstration as a person has it: at a terminal, by its keys. `make demo-check` holds the lines that it prints.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// What `demo_keys.py` says of a demonstration in a folder of its own.
fn shown(what: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_demo")).parent().unwrap();
    let made = Command::new(programs.join("devcerts")).arg(folder.path().join("certs/dev")).output();
    assert!(
        made.is_ok_and(|made| made.status.success()),
        "cargo build --workspace builds what the demo starts"
    );
    let mut command = Command::new("python3");
    command.current_dir(root).arg("loadtest/tests/demo_keys.py").arg(what);
    let output = command.arg(env!("CARGO_BIN_EXE_demo")).arg(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for file in ["cellgate.yaml", "accounts.csv", "environments.csv"] {
        let now = std::fs::read_to_string(folder.path().join("config").join(file)).unwrap();
        assert!(now.contains("cell-3") || file == "environments.csv" && now.contains("30301,26228"), "{now}");
    }
    serde_json::from_slice(&output.stdout).unwrap()
}

fn left_well() -> Value {
    json!({ "code": 0, "sane": true, "left": true, "cursor": true })
}

#[test]
fn the_shared_cell_is_killed_by_a_key_and_nobody_else_notices() {
    let shown = shown("keys");
    for cell in ["cell-1", "cell-2", "cell-3", "shared"] {
        assert_eq!(shown["before"][cell][1], 0, "nothing fails before: {shown}");
    }
    let (own, others) = (&shown["dead"][0], &shown["dead"][1]);
    assert!(own[1].as_u64().unwrap() > 20, "its own accounts fail: {shown}");
    assert!(others[0].as_u64().unwrap() > 60 && others[1] == 0, "nobody else does: {shown}");
    for cell in ["cell-1", "cell-2", "cell-3"] {
        assert_eq!(shown["back"][cell][1], 0, "to the end, a deletion and a recovery included: {shown}");
    }
    assert_eq!(shown["end"], left_well());
}

#[test]
fn the_terminal_is_as_before_however_it_ends() {
    for signal in ["INT", "TERM"] {
        assert_eq!(shown(signal)["end"], left_well(), "{signal}");
    }
}

#[test]
fn a_terminal_that_cannot_be_drawn_on_gets_the_lines() {
    let shown = shown("dumb");
    assert_eq!((&shown["drawn"], &shown["end"]["code"]), (&json!(false), &json!(0)), "{shown}");
}

#[test]
fn a_folder_in_which_another_one_runs_is_left_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (state, served) = (folder.path().join("state"), folder.path().join("config/cellgate.yaml"));
    std::fs::create_dir_all(&state).unwrap();
    std::fs::create_dir_all(served.parent().unwrap()).unwrap();
    std::fs::write(&served, "what the first one serves").unwrap();
    std::fs::write(state.join("demo.lock"), "4711\n").unwrap();
    let lock = std::fs::File::open(state.join("demo.lock")).unwrap();
    lock.try_lock().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    let free_ports = format!("--free-ports={}", folder.path().display());
    let output = command.current_dir(root).arg(free_ports).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("(process 4711)"), "{said}");
    assert!(said.contains("make run DEMO=--free-ports=target/demo-2"), "{said}");
    assert_eq!(std::fs::read_to_string(&served).unwrap(), "what the first one serves");
    assert!(!folder.path().join("certs").exists());
    drop(lock);
}
