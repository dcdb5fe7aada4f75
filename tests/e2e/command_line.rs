//! What the commands say and how they exit, as processes of their own.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Command, Output, Stdio};

use devcerts::{Authority, Usage};
use serde_json::Value;

use crate::client_certificates::asking;
use crate::process;
use crate::running::Folder;

fn folder() -> Folder {
    Folder::example(&BTreeMap::new())
}

/// A command that reads the state folder.
pub fn cellgate(folder: &Folder, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    command.args(arguments).arg("--state-dir").arg(folder.path("state")).output().unwrap()
}

/// What a command has said, on both streams; it must have exited with this code.
pub fn said(output: &Output, code: i32) -> String {
    let text = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
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
fn a_fingerprint_of_nothing_is_not_one_of_a_wrong_shape() {
    let output = process::run(&folder(), &["fingerprint"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("no token on standard input"), "{}", text(&output.stderr));
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

#[test]
fn explain_says_what_a_host_asks_of_its_clients() {
    let (clients, others) = (Authority::new("clients").unwrap(), Authority::new("others").unwrap());
    let folder = folder();
    asking(&folder, &clients, "required");
    for (name, authority) in [("robot", &clients), ("stranger", &others)] {
        folder.write(name, &authority.issue(&[name], Usage::Client).unwrap().cert_pem);
    }
    let path = |name: &str| folder.path(name).to_str().unwrap().to_owned();
    let (robot, stranger) = (path("robot"), path("stranger"));
    let check = |arguments: &[&str], verdict: &str, line: &str, told: &str| -> Value {
        let (said, json) = explained(&folder, &[&["--host", "AB123.us1.dbt.com:443"], arguments].concat());
        assert_eq!(json["verdict"], verdict, "{arguments:?}: {said}");
        assert_eq!(json["cell"].is_string(), verdict == "forward", "{arguments:?}: {json}");
        let found = said.lines().find_map(|line| line.strip_prefix("certificate ")).unwrap_or_default();
        assert_eq!(found, line, "{arguments:?}");
        let mut header = json["headers"]["to_cell"].as_array().unwrap().iter();
        let header = header.find(|pair| pair[0] == "x-cellgate-client-cert").cloned().unwrap_or_default();
        assert!(header[1].as_str().unwrap_or_default().starts_with(told), "{arguments:?}: {header}");
        assert_eq!(header.is_null(), told.is_empty(), "{arguments:?}: {header}");
        json["client_certificate"].clone()
    };
    let assumed = "(of the client's certificate)";
    let line = "required: one that is accepted is assumed; without one there is no connection";
    let json = check(&[], "forward", line, assumed);
    assert_eq!(
        json,
        serde_json::json!({ "mode": "required", "shown": "assumed", "accepted": true,
            "without": "no_connection", "authorities_read": true })
    );
    let given = ["--client-certificate", &robot];
    let json = check(&given, "forward", "required: this one is accepted", "sha256=\"");
    assert_eq!((&json["shown"], &json["accepted"]), (&"given".into(), &true.into()));
    let refused = "this one is refused, and there is no connection";
    let strange = ["--client-certificate", &stranger];
    let json = check(&strange, "no connection", &format!("required: {refused}"), "");
    assert_eq!((&json["shown"], &json["accepted"]), (&"given".into(), &false.into()));
    let without = ["--without-client-certificate"];
    check(&without, "no connection", "required: without one there is no connection", "");
    let plain = "required: without TLS nobody can show one, and the answer is 421";
    let json = check(&["--plain"], "refuse", plain, "");
    assert_eq!((&json["shown"], &json["without"]), (&"none".into(), &"misdirected".into()));
    // The neighbour asks for nothing.
    let (said, json) = explained(&folder, &["--host", "cloud.getdbt.com", "--client-certificate", &robot]);
    assert!(json["client_certificate"].is_null() && !said.contains("\ncertificate"), "{said}");

    folder.edit("config/cellgate.yaml", "mode: required", "mode: optional");
    let served = "without one the request is served, and the cell is told of none";
    check(&[], "forward", &format!("optional: one that is accepted is assumed; {served}"), assumed);
    check(&without, "forward", &format!("optional: {served}"), "");
    check(&strange, "no connection", &format!("optional: {refused}"), "");
    check(
        &["--plain"],
        "forward",
        "optional: without TLS nobody can show one, and the request is served",
        "",
    );

    // Without the authorities it is still known that the host asks, and nothing is said about a certificate.
    std::fs::remove_file(folder.path("certs/dev/clients.pem")).unwrap();
    let unread = " (its authorities could not be read here)";
    check(&without, "forward", &format!("optional: {served}{unread}"), "");
    let nothing = path("nothing");
    for arguments in [&given[..], &["--client-certificate", &nothing], &[&given[..], &["--plain"]].concat()] {
        let output = explain(&folder, &[&["--host", "ab123.us1.dbt.com"], arguments].concat());
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", text(&output.stdout));
        assert!(text(&output.stderr).contains("--client-certificate"), "{}", text(&output.stderr));
    }
}

#[test]
fn explain_knows_labels_in_the_wrong_order_below_a_legacy_host() {
    let folder = folder();
    let (said, json) = explained(&folder, &["--host", "metadata.ab123.cloud.getdbt.com"]);
    assert_eq!((&json["verdict"], &json["cell"]), (&"forward".into(), &"cell-1".into()), "{said}");
    assert_eq!((&json["misordered_host"], &json["surface"]), (&true.into(), &"metadata".into()));
    assert!(said.contains("host        legacy, surface metadata, labels in the wrong order"), "{said}");
}

#[test]
fn a_strict_check_fails_for_what_watches_too_long_and_any_for_a_cell_without_a_limiter() {
    let check = |modes: &str, arguments: &[&str]| {
        let folder = folder();
        folder.tune("cell-1", &[modes]);
        let output = process::run(&folder, &[&["check"], arguments].concat());
        (output.status.code(), text(&output.stderr))
    };
    let (late, early) = ("observe_until: 2026-01-01T00:00:00Z", "observe_until: 2999-01-01T00:00:00Z");
    for (modes, arguments, code, said) in [
        ("modes: { limit: 'off' }".to_owned(), &[][..], 64, "a cell without a limiter"),
        (format!("modes: {{ queue: observe, {late} }}"), &[], 0, "was meant until"),
        (format!("modes: {{ queue: observe, {late} }}"), &["--strict"], 64, "are overdue"),
        (format!("modes: {{ queue: observe, {early} }}"), &["--strict"], 0, "name --socket or --state-dir"),
        (
            format!("modes: {{ queue: observe, {early} }}"),
            &["--strict", "--socket", "/nowhere/admin.sock"],
            64,
            "nobody can say",
        ),
        ("shared: false".to_owned(), &["--strict", "--socket", "/nowhere/admin.sock"], 0, ""),
    ] {
        let (found, told) = check(&modes, arguments);
        assert_eq!(found, Some(code), "{modes} {arguments:?}: {told}");
        assert!(told.contains(said), "{modes} {arguments:?}: {told}");
    }
}

#[test]
fn a_code_stands_in_each_problem_and_help_explains_it() {
    let folder = folder();
    let accounts = folder.read("config/accounts.csv");
    folder.write("config/accounts.csv", &format!("{accounts}123,,no-such-cell,,\n"));
    let check = process::run(&folder, &["check"]);
    let told = text(&check.stderr);
    assert!(
        told.contains("expected the name of a cell [E0144]\n1 problem. Nothing was changed.\n"),
        "{told}"
    );
    assert!(told.ends_with("What a code means: cellgate help E0144\n"), "{told}");
    let json: Value =
        serde_json::from_slice(&process::run(&folder, &["check", "-o", "json"]).stdout).unwrap();
    assert_eq!(json["problems"][0]["code"], "E0144");
    let help = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_cellgate")).arg("help").args(words).output().unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, explained, _) = help(&["E0144"]);
    assert_eq!(code, Some(0));
    assert!(explained.starts_with("E0144: A name of something that is not there\n"), "{explained}");
    assert_eq!(help(&["e144"]).1, explained);
    let (code, nothing, near) = help(&["E0142"]);
    assert_eq!((code, nothing.as_str()), (Some(64), ""));
    assert!(near.contains("the nearest is E0141: "), "{near}");
    let (code, reason, _) = help(&["unmapped_account"]);
    assert!(code == Some(0) && reason.starts_with("E0414 (unmapped_account): "), "{reason}");
    assert!(help(&["move", "advance"]).1.contains("Usage: cellgate move advance"));
    assert!(help(&[]).1.contains("Usage: cellgate <COMMAND>"));
    // What ends a command has a code, too.
    let mut nobody = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    let nobody = nobody.args(["healthz", "--socket", "no.sock"]).output().unwrap();
    assert!(text(&nobody.stderr).trim_end().ends_with("[E0808]"), "{}", text(&nobody.stderr));
}
