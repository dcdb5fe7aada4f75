//! `cellgate plan` against a folder and against a running process: what would change, what would be refused, which
//! requests would be decided differently, and nothing is changed by it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::raw_http;
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
    assert!(said.contains("- **Refused** by `removal`: `cells that served are gone: shared`"), "{said}");
    assert!(said.contains("| - | cells | `shared` |"), "{said}");

    assert_eq!(site.page("/config")["generation"], 1);
    assert_eq!(served(&site.process), "cell-2");
}

#[test]
fn equal_folders_are_equal_wherever_they_lie() {
    let site = Site::start();
    let approvals = "approvals: { fleet: tests, allowed_signers: ../people/allowed_signers }";
    site.folder.edit("config/boot.yaml", "guards: {", &format!("guards: {{ {approvals},"));
    fs::create_dir(site.folder.path("people")).unwrap();
    site.folder.write("people/allowed_signers", "");
    for checkout in ["a", "c"] {
        for name in ["config", "people", "certs"] {
            copy(&site.folder.path(name), &site.folder.path(&format!("{checkout}/{name}")));
        }
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    command.arg("plan").arg("--config").arg(site.folder.path("c/config"));
    let output = command.arg("--against").arg(site.folder.path("a/config")).output().unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("Nothing to do."), "{said}");
}

#[test]
fn a_credential_of_another_account_is_told_and_refused() {
    let site = Site::start();
    candidate(&site.folder);
    let (ours, theirs) = (",12345,service token", ",41007,service token");
    site.folder.edit("next/credentials.csv", ours, theirs);
    site.folder.edit("next/environments.csv", "88991,12345\n", "");
    site.folder.append("next/environments.csv", "88992,12345");
    let found = plan(&site.folder, &["--output", "json"]);
    assert_eq!(found.status.code(), Some(3), "{}", text(&found.stderr));
    let found = json(&found);
    assert_eq!(
        found["credentials"]["repointed"]["first"][0], "036e23033eb6 (account 12345 -> 41007)",
        "{found}"
    );
    assert_eq!(found["environments"]["removed"], serde_json::json!({ "rows": 1, "first": ["88991"] }));
    assert_eq!(found["environments"]["added"], serde_json::json!({ "rows": 1, "first": ["88992"] }));
    assert_eq!(found["objections"][0]["guard"], "rows_repointed", "{found}");
    for (output, sign) in
        [("text", "  ~ credentials 1 re-pointed: "), ("markdown", "| ~ | credentials | `1 re-pointed: ")]
    {
        let said = text(&plan(&site.folder, &["--output", output]).stdout);
        assert!(said.contains(&format!("{sign}036e23033eb6 (account 12345 -> 41007)")), "{said}");
    }
    site.folder.edit("config/credentials.csv", ours, theirs);
    let reply = site.reload();
    assert_eq!(reply.status, 409, "{}", reply.text());
    assert_eq!(reply.json()["objections"][0]["guard"], "rows_repointed", "{}", reply.text());
    site.process.line("what was refused", |line| {
        let said = line["fields"]["objection"].as_str().unwrap_or("");
        said.contains("rows_repointed") && said.contains("036e23033eb6 (account 12345 -> 41007)")
    });
    assert_eq!(site.page("/config")["generation"], 1);
}

#[test]
fn a_plan_weighs_what_accounts_make_on_their_own_addresses_too() {
    let mut site = Site::start();
    candidate(&site.folder);
    site.folder.edit(
        "next/accounts.csv",
        "70437463654557,cd456 globex,cell-2",
        "70437463654557,cd456 globex,cell-3",
    );
    let send = |host: &str, path: &str, times: usize| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let mut connection = raw_http::tcp(site.process.addr("http"));
        for _ in 0..times {
            let reply = raw_http::ask(&mut connection, request.as_bytes()).unwrap();
            assert!(reply.header("x-cell").is_some(), "{}", reply.text());
        }
    };
    send("cd456.us1.dbt.com", "/api/v2/accounts/70437463654557/", 30);
    send("ab123.us1.dbt.com", "/api/v2/accounts/70403103966603/", 10);
    site.process.signal("TERM");
    assert_eq!(site.process.ended().code(), Some(0));
    let found = json(&plan(&site.folder, &["--output", "json"]));
    assert_eq!(found["traffic"], serde_json::json!({ "requests": 40, "concerned": 30 }), "{found}");
    let said = text(&plan(&site.folder, &[]).stdout);
    assert!(said.contains("they made 75 % of the last 7 days' 40 requests."), "{said}");
    let mut report = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    let report = report.args(["report", "--output", "json", "--state-dir"]).arg(site.folder.path("state"));
    let report = report.output().unwrap();
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(
        report["totals"],
        serde_json::json!({ "accounts": 0, "requests": 0 }),
        "nobody used a legacy host"
    );
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
    // Of the wrong file nothing differs.
    site.folder.write("log/recorded.jsonl", "no request at all\n");
    let empty = plan(&site.folder, &["--replay", &recorded]);
    assert_eq!(empty.status.code(), Some(1), "{}", text(&empty.stdout));
    assert!(text(&empty.stderr).contains("no request in it (1 other lines)"), "{}", text(&empty.stderr));
}

/// As docs/guards.md recommends it: whoever pushes the folder does not push the guards.
#[test]
fn boot_yaml_may_lie_outside_of_every_folder() {
    let folder = Folder::example(&BTreeMap::new());
    candidate(&folder);
    fs::rename(folder.path("config/boot.yaml"), folder.path("boot.yaml")).unwrap();
    fs::remove_file(folder.path("next/boot.yaml")).unwrap();
    let (boot, old) = (folder.path("boot.yaml"), folder.path("config"));
    let (boot, old) = (boot.to_str().unwrap(), old.to_str().unwrap());
    folder.edit("next/accounts.csv", "12345,acme ac345,cell-2", "12345,acme ac345,cell-3");
    let output = plan(&folder, &["--boot", boot, "--against", old]);
    assert!(text(&output.stdout).contains("cell-2 -> cell-3"), "{output:?}");
    let check = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
        command.args(["check", "--config", old]).args(arguments).output().unwrap().status.code()
    };
    assert_eq!((check(&["--boot", boot]), check(&[])), (Some(0), Some(64)));
}

#[test]
fn a_plan_that_cannot_be_made_says_why() {
    let site = Site::start();
    candidate(&site.folder);
    let elsewhere = site.folder.path("elsewhere").display().to_string();
    let mistyped = plan(&site.folder, &["--state-dir", &elsewhere]);
    assert_eq!(mistyped.status.code(), Some(1));
    assert!(text(&mistyped.stderr).contains("there is no such folder"), "{}", text(&mistyped.stderr));
    fs::create_dir(&elsewhere).unwrap();
    let nothing = plan(&site.folder, &["--state-dir", &elsewhere]);
    assert_eq!(nothing.status.code(), Some(2), "the tests' boot.yaml asks for no baseline");
    let said = text(&nothing.stderr);
    assert!(said.contains("--against DIR compares with another folder"), "{said}");
    site.folder.edit("next/accounts.csv", "12345,acme ac345,cell-2", "12345,acme ac345,cell-9");
    let bad = plan(&site.folder, &[]);
    assert_eq!(bad.status.code(), Some(64));
    assert!(text(&bad.stderr).contains("cell-9"), "{}", text(&bad.stderr));
}
