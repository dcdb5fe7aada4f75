//! What the commands say and how they exit, as processes of their own.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::process;
use crate::running::Folder;

fn folder() -> Folder {
    Folder::example(&BTreeMap::new())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn explain(folder: &Folder, arguments: &[&str]) -> Output {
    process::run(folder, &[&["explain"], arguments].concat())
}

fn explained(folder: &Folder, arguments: &[&str]) -> (String, Value) {
    let output = explain(folder, arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let json = explain(folder, &[arguments, &["-o", "json"]].concat());
    (text(&output.stdout), serde_json::from_slice(&json.stdout).unwrap())
}

#[test]
fn a_wrong_command_line_exits_64_and_help_exits_0() {
    let mut checked = 0;
    for (line, code) in [
        ("", 64),
        ("sevre", 64),
        ("check --no-such-option", 64),
        ("explain", 64),
        ("report --since yesterday", 64),
        ("report --state state", 64),
        ("serve --config", 64),
        ("--help", 0),
        ("help explain", 0),
        ("--version", 0),
        ("check --help", 0),
    ] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_cellgate")).args(line.split_whitespace()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{line:?}: {}", text(&output.stderr));
        assert_eq!(output.stdout.is_empty(), code == 64, "{line:?}");
        checked += 1;
    }
    assert_eq!(checked, 11);
}

#[test]
fn every_command_ends_quietly_when_its_reader_goes_away() {
    let folder = folder();
    // More than a pipe holds, so that the writer meets the closed end.
    let mut accounts = folder.read("config/accounts.csv");
    (0..5_000).for_each(|row| accounts += &format!("{row},,no-such-cell-{row},,\n"));
    let config = folder.path("config");
    let run = |arguments: &[&str], gone: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
        command.args(arguments).arg("--config").arg(&config).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // The reader leaves before a word has come; what is on the other stream is read.
        let mut said = String::new();
        if gone == "stdout" {
            drop(child.stdout.take());
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        } else {
            drop(child.stderr.take());
            child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        }
        (child.wait().unwrap().code(), said)
    };
    let asked = ["explain", "--host", "cloud.getdbt.com", "--path", "/api/v2/accounts/12345/"];
    assert_eq!(run(&asked, "stdout"), (Some(0), String::new()));
    assert_eq!(run(&[&asked[..], &["-o", "json"]].concat(), "stdout"), (Some(0), String::new()));
    assert_eq!(run(&["check"], "stdout"), (Some(0), String::new()));
    folder.write("config/accounts.csv", &accounts);
    assert_eq!(run(&["check"], "stderr"), (Some(64), String::new()));
    assert_eq!(run(&["check", "-o", "json"], "stdout"), (Some(64), String::new()));
    assert_eq!(run(&asked, "stderr"), (Some(64), String::new()));
}

#[test]
fn explain_shows_of_a_refusal_only_what_its_answer_carries() {
    let folder = folder();
    let path = "/api/v2/accounts/12345/jobs/";
    let (said, json) = explained(&folder, &["--host", "cloud.getdbt.com", "--path", path]);
    assert_eq!(json["refusal"]["status"], 401, "{json}");
    assert_eq!(json["own_address"], Value::Null);
    assert!(said.contains("to the client:\n") && said.contains("deprecation: "), "{said}");
    for never in ["successor-version", "on a 200", "us1.dbt.com"] {
        assert!(!said.contains(never) && !json["headers"].to_string().contains(never), "{never} in {said}");
    }
    let token = format!("Authorization: Token {}", crate::world::TOKEN_12345);
    let arguments = ["--host", "cloud.getdbt.com", "--path", path, "--header", &token];
    let (said, json) = explained(&folder, &arguments);
    assert!(said.contains("to the client, on a 200:\n") && said.contains("successor-version"), "{said}");
    assert_eq!(json["own_address"], "acme.us1.dbt.com");
    // Of the folder, not of a process: the number means nothing to a reader, and programs keep their key.
    assert_eq!(json["generation"], 1);
    assert!(!said.contains("generation  1") && said.contains("x-cellgate-generation: (of the"), "{said}");
}

#[test]
fn explain_says_why_a_host_was_not_looked_at() {
    let folder = folder();
    let host = |arguments: &[&str]| {
        let (said, _) = explained(&folder, arguments);
        said.lines().find_map(|line| line.strip_prefix("host ")).unwrap().trim().to_owned()
    };
    let tunnel = host(&["--host", "cloud.getdbt.com", "--method", "CONNECT"]);
    assert!(tunnel.starts_with("not looked at"), "{tunnel}");
    assert!(host(&["--host", "elsewhere.example"]).starts_with("not served"));
    assert!(host(&["--host", "cloud.getdbt.com"]).starts_with("legacy, surface app"));
}

#[test]
fn explain_refuses_a_second_host() {
    let folder = folder();
    for header in ["Host: evil.example", "hOST:evil.example"] {
        let output = explain(&folder, &["--host", "cloud.getdbt.com", "--header", header]);
        assert_eq!(output.status.code(), Some(64));
        assert!(text(&output.stderr).contains("--host"), "{}", text(&output.stderr));
    }
    let output = explain(&folder, &["--host", "cloud\n.getdbt.com"]);
    assert_eq!(output.status.code(), Some(64), "{}", text(&output.stdout));
}
