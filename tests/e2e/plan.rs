//! `cellgate plan` against a folder and against a running process: what would change, what would be refused, which
//! requests would be decided differently, and nothing is changed by it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::reload::rejected::{Site, served};
use crate::running::Folder;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// A candidate beside the folder that serves.
fn candidate(folder: &Folder) {
    copy(&folder.path("config"), &folder.path("next"));
}

fn plan(folder: &Folder, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    command.arg("plan").arg("--config").arg(folder.path("next")).args(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    let answer = serde_json::from_slice(&output.stdout);
    assert!(answer.is_ok(), "{}", text(&output.stderr));
    answer.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_plan_says_what_would_change_and_changes_nothing() {
    let site = Site::start();
    candidate(&site.folder);
    let socket = site.folder.path("state/admin.sock").display().to_string();
    let running = ["--socket", &socket];

    let none = plan(&site.folder, &running);
    assert_eq!(none.status.code(), Some(0), "{}", text(&none.stderr));
    assert!(text(&none.stdout).contains("Nothing to do."), "{}", text(&none.stdout));

    site.folder.edit("next/accounts.csv", "12345,acme ac345,cell-2", "12345,acme ac345,cell-3");
    let changes = plan(&site.folder, &running);
    assert_eq!(changes.status.code(), Some(2), "{}", text(&changes.stderr));
    let said = text(&changes.stdout);
    for expected in ["~ accounts   cell-2 -> cell-3: 1\n", "No guard refuses it.", "cell-2 (account 12345)"] {
        assert!(said.contains(expected), "{expected} in {said}");
    }
    let found = json(&plan(&site.folder, &["--output", "json"]));
    assert_eq!(
        found["accounts"]["moved"],
        serde_json::json!([{ "from": "cell-2", "to": "cell-3", "accounts": 1 }])
    );
    assert!(found["replayed"]["different"].as_u64().unwrap() > 0, "{found}");
    assert!(said.contains(found["digest"].as_str().unwrap()), "one digest, however it is shown");
    let against = site.folder.path("config").display().to_string();
    let beside = json(&plan(&site.folder, &["--against", &against, "--output", "json"]));
    assert_eq!(beside["digest"], found["digest"], "and whatever it is compared by");
    assert_eq!(beside["restart"], serde_json::json!([]), "what is above both folders is the same");
    assert_eq!(beside["replayed"]["unreadable"], 0, "all of our own sample are requests");

    // The shared cell goes, with a guard to say no.
    let routing = site.folder.read("next/cellgate.yaml");
    let from = routing.find("  - name: shared\n").unwrap();
    let until = from + routing[from..].find("\nidentify:").unwrap();
    site.folder.write("next/cellgate.yaml", &format!("{}{}", &routing[..from], &routing[until..]));
    let accounts = site.folder.read("next/accounts.csv").replace("shared", "cell-1");
    site.folder.write("next/accounts.csv", &accounts);
    let refused = plan(&site.folder, &["--output", "markdown"]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stderr));
    let said = text(&refused.stdout);
    assert!(said.contains("- **Refused** by `removal`: cells that served are gone: shared"), "{said}");
    assert!(said.contains("| - | cells | shared |"), "{said}");

    assert_eq!(site.page("/config")["generation"], 1);
    assert_eq!(served(&site.process), "cell-2");
}

#[test]
fn a_plan_replays_the_access_log() {
    let site = Site::start();
    candidate(&site.folder);
    site.folder.edit("next/accounts.csv", "12345,acme ac345,cell-2", "12345,acme ac345,cell-3");
    let lines = [
        r#"{"method":"GET","host":"cloud.getdbt.com","path":"/api/v2/accounts/12345/","scheme":"https","source":"path","account":12345}"#,
        // Its credential is not in the log.
        r#"{"method":"GET","host":"cloud.getdbt.com","path":"/api/v2/whoami","scheme":"https","source":"credential","account":12345}"#,
        r#"{"method":"GET","host":"cloud.getdbt.com","path":"/api/v2/accounts/41007/","scheme":"https","source":"path","account":41007}"#,
        "no request at all",
    ];
    site.folder.write("log/recorded.jsonl", &lines.join("\n"));
    let recorded = site.folder.path("log/recorded.jsonl").display().to_string();
    let replayed =
        json(&plan(&site.folder, &["--replay", &recorded, "--output", "json"]))["replayed"].clone();
    assert_eq!((&replayed["requests"], &replayed["unreadable"]), (&3.into(), &1.into()), "{replayed}");
    assert_eq!(replayed["different"], 2, "{replayed}");
    let missing = plan(&site.folder, &["--replay", "/nowhere/access.log"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("--replay /nowhere/access.log"), "{}", text(&missing.stderr));
}

#[test]
fn a_plan_that_cannot_be_made_says_why() {
    let site = Site::start();
    candidate(&site.folder);
    let elsewhere = site.folder.path("elsewhere").display().to_string();
    let nothing = plan(&site.folder, &["--state-dir", &elsewhere]);
    assert_eq!(nothing.status.code(), Some(2), "the tests' boot.yaml asks for no baseline");
    let said = text(&nothing.stderr);
    assert!(said.contains("--against DIR compares with another folder"), "{said}");
    site.folder.edit("next/accounts.csv", "12345,acme ac345,cell-2", "12345,acme ac345,cell-9");
    let bad = plan(&site.folder, &[]);
    assert_eq!(bad.status.code(), Some(64));
    assert!(text(&bad.stderr).contains("cell-9"), "{}", text(&bad.stderr));
}
