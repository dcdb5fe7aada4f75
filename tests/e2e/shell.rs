//! What the command line owes to shells, terminals and programs: completions, manual pages, colours, signs of life and
//! JSON.

#![allow(clippy::panic)] // Ends a test with words.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::process::{self, Process};
use crate::raw_http;
use crate::running::Folder;

fn folder() -> Folder {
    Folder::example(&BTreeMap::new())
}

fn cellgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cellgate")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The completions of a shell, in a file.
fn completions(folder: &Folder, shell: &str) -> std::path::PathBuf {
    let output = cellgate(&["completions", shell]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let path = folder.path(shell);
    std::fs::write(&path, output.stdout).unwrap();
    path
}

#[test]
fn bash_completes_commands_options_and_words() {
    let folder = folder();
    let script = completions(&folder, "bash");
    assert!(Command::new("bash").arg("-n").arg(&script).status().unwrap().success());
    let completed = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let ask = format!(
            "source {}; COMP_WORDS=({}); COMP_CWORD={}; _cellgate cellgate '{}' '{}'; printf '%s\n' \"${{COMPREPLY[@]}}\"",
            script.display(),
            words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            words.len() - 1,
            words[words.len() - 1],
            words[words.len() - 2],
        );
        let output = Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
        text(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(completed("cellgate compl"), ["completions"]);
    assert_eq!(completed("cellgate move adv"), ["advance"]);
    assert_eq!(completed("cellgate check --str"), ["--strict"]);
    assert_eq!(completed("cellgate check --output j"), ["json"]);
    for shell in ["zsh", "fish"] {
        let script = std::fs::read_to_string(completions(&folder, shell)).unwrap();
        assert!(script.contains("outreach") && script.contains("fingerprint"), "{shell}");
    }
}

#[test]
fn each_command_has_a_manual_page_without_mistakes() {
    let folder = folder();
    let out = folder.path("man");
    let output = cellgate(&["man", "--out", out.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let mut pages = 0;
    for page in std::fs::read_dir(&out).unwrap().map(Result::unwrap) {
        let groff =
            Command::new("groff").args(["-man", "-ww", "-Tutf8", "-z"]).arg(page.path()).output().unwrap();
        let said = text(&groff.stderr);
        assert!(groff.status.success() && said.is_empty(), "{:?}: {said}", page.path());
        pages += 1;
    }
    assert!(pages > 40, "{pages}");
    let advance =
        Command::new("groff").args(["-man", "-Tascii"]).arg(out.join("cellgate-move-advance.1")).output();
    assert!(text(&advance.unwrap().stdout).contains("Write the next state of moves"));
}

#[test]
fn colours_and_signs_of_life_are_for_terminals_alone() {
    let folder = folder();
    let accounts = folder.read("config/accounts.csv");
    folder.write("config/accounts.csv", &format!("{accounts}123,,no-such-cell,,\n"));
    let check = |variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").envs(variables.iter().copied());
        command.arg("check").arg("--config").arg(folder.path("config")).stdin(Stdio::null());
        text(&command.output().unwrap().stderr)
    };
    let plain = check(&[]);
    assert!(plain.contains("[E0144]") && !plain.contains('\u{1b}'), "{plain:?}");
    assert!(!plain.contains("reading the configuration"), "{plain:?}");
    let forced = check(&[("CLICOLOR_FORCE", "1")]);
    assert!(forced.contains("\u{1b}[31m[E0144]\u{1b}[0m"), "{forced:?}");
    assert_eq!(check(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]), plain);
}

/// Runs a command for its JSON.
fn json(arguments: &[&str], socket: &Path) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    let output = command.args(arguments).args(["-o", "json", "--socket"]).arg(socket).output().unwrap();
    let said = text(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
}

#[test]
fn what_operators_ask_of_a_running_process_is_told_as_json_too() {
    let folder = folder();
    let _process = Process::start(&folder);
    let socket = folder.path("state/admin.sock");
    assert_eq!(json(&["healthz"], &socket)["ready"], true);
    let pulled = json(&["shed", "10%", "cell", "cell-1", "--reason", "a test", "--name", "ann"], &socket);
    assert_eq!(pulled["lever"], "shed 10% cell cell-1");
    assert_eq!(json(&["levers"], &socket)["levers"][0]["id"], pulled["id"]);
    let released = json(&["release", &pulled["id"].to_string(), "--name", "ann"], &socket);
    assert_eq!(released["lever"], "shed 10% cell cell-1");
    let kept = json(&["break-glass", "keep", "--reason", "a test", "--name", "ann"], &socket);
    assert!(kept["told"].is_string(), "{kept}");
    assert_eq!(json(&["break-glass", "end", "--name", "ann"], &socket)["outcome"], "unchanged");
    assert!(json(&["steps"], &socket)["serving"]["hash"].is_string());
    assert!(json(&["brownout", "list"], &socket).is_object());
    let of_state = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
        let output =
            command.args(arguments).args(["-o", "json", "--state-dir"]).arg(folder.path("state")).output();
        let output = output.unwrap();
        let lines = text(&output.stdout);
        let said = text(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        lines
            .lines()
            .map(|line| {
                serde_json::from_str::<Value>(line)
                    .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(of_state(&["audit", "verify"]).len(), 1);
    // A line each: a stream may be as long as it likes.
    assert!(of_state(&["audit", "show"]).len() > 1);
    let first = of_state(&["history"])[0]["history"][0]["number"].to_string();
    folder.edit(
        "config/cellgate.yaml",
        "guide: https://docs.getdbt.com/",
        "guide: https://docs.example.com/",
    );
    assert_eq!(raw_http::admin(&socket, "POST", "/reload").status, 200);
    let out = folder.path("older");
    let back = of_state(&["rollback", "--to", &first, "--out", out.to_str().unwrap()]);
    assert_eq!(back[0]["number"].to_string(), first);
    let checked = process::run(&folder, &["check", "-o", "json"]);
    assert!(serde_json::from_slice::<Value>(&checked.stdout).is_ok());
}
