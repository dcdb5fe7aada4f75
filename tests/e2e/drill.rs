//! `cellgate drill` as a process: what it says and how it exits. What it simulates is tried in `tests/simulation`.

use std::collections::BTreeMap;
use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::process;
use crate::running::Folder;

fn drill(folder: &Folder, line: &str) -> Output {
    let arguments: Vec<&str> = ["drill"].into_iter().chain(line.split_whitespace()).collect();
    process::run(folder, &arguments)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The example, whose cells have one group each, with a capacity.
fn declared() -> Folder {
    let folder = Folder::example(&BTreeMap::new());
    let file = folder.path("config/cellgate.yaml");
    let before = fs::read_to_string(&file).unwrap();
    let after = before.replace("- zone: local\n", "- zone: local\n        capacity_rps: 40\n");
    assert_ne!(before, after);
    fs::write(file, after).unwrap();
    folder
}

#[test]
fn a_cell_of_unknown_size_is_named_with_what_to_add() {
    let output = drill(&Folder::example(&BTreeMap::new()), "");
    let said = text(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(output.status.code(), Some(2), "{said}");
    for words in ["nobody knows; nothing could be rehearsed", "cell cell-1:", "cells[].groups[].capacity_rps"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn what_holds_exits_0_and_what_does_not_2() {
    let folder = declared();
    for (line, code, words) in [
        ("--scenario cell-loss --load 50% --service-time 20ms", 0, "holds for cell cell-1"),
        ("--scenario zone-loss --cell cell-2", 2, "give it a group in another zone"),
    ] {
        let output = drill(&folder, line);
        let said = text(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(code), "{line}: {said}{}", text(&output.stderr));
        assert!(said.contains(words), "{line}: {said}");
    }
    let json = drill(&folder, "--scenario zone-loss -o json");
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let cell = &json["scenarios"][0]["cells"][0];
    assert_eq!((&json["holds"], &cell["holds"]), (&Value::Bool(false), &Value::Bool(false)), "{json}");
    assert_eq!(cell["alike"].as_array().map(Vec::len), Some(3), "all four have the same settings: {cell}");
}

#[test]
fn a_wrong_question_exits_64_and_is_told_what_was_expected() {
    let folder = declared();
    for (line, words) in [
        ("--cell cell-9", "there is no cell cell-9; expected one of cell-1, cell-2, cell-3, shared"),
        ("--scenario zone-loss --zone b", "has a group in zone b; expected one of local"),
        ("--demand cell-9=3", "there is no cell cell-9; expected one of"),
        ("--demand cell-1", "such as us1=400"),
        ("--demand cell-1=0 --cell cell-1", "raise --demand cell-1=RPS"),
        ("--load 0", "from 1% to 1000%"),
    ] {
        let output = drill(&folder, line);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{line}: {said}");
        assert!(said.contains(words) && output.stdout.is_empty(), "{line}: {said}");
    }
}
