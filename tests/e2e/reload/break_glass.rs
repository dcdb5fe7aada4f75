//! One operator alone, at a real process: what they may keep and restore, and what not.

use std::process::{Command, Output};

use cellgate::last_good::{self, LastGood};

use super::guards::{GUARDS, delete_a_cell};
use super::rejected::Site;
use crate::access::unix_user;
use crate::process::{self, Process};
use crate::raw_http;
use crate::running::Folder;

const MOVE: (&str, &str) = ("26228,initech,cell-3", "26228,initech,cell-1");

fn break_glass(site: &Site, arguments: &[&str], code: i32) -> String {
    let socket = site.folder.path("state/admin.sock").display().to_string();
    let who = ["--name", "ann", "--socket", &socket];
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellgate"));
    said(&command.arg("break-glass").args(arguments).args(who).output().unwrap(), code)
}

fn said(output: &Output, code: i32) -> String {
    let text = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

fn restarted(mut site: Site) -> Site {
    site.process.signal("TERM");
    site.process.ended();
    site.process = Process::start(&site.folder);
    site
}

/// A cell with more accounts than a change may remove at once.
fn add_a_cell(folder: &Folder) {
    let routing = folder.read("config/cellgate.yaml");
    let cell =
        "  - { name: cell-9, domain: us1.dbt.com, groups: [{ zone: local, endpoints: ['127.0.0.1:9'] }] }\n";
    folder.write(
        "config/cellgate.yaml",
        &routing.replacen("  - name: cell-1\n", &format!("{cell}  - name: cell-1\n"), 1),
    );
    let accounts: String = (1..=20).map(|n| format!("{},,cell-9,,\n", 900_000 + n)).collect();
    folder.write("config/accounts.csv", &(folder.read("config/accounts.csv") + &accounts));
}

/// The files as they are now, to be put back.
fn files(folder: &Folder) -> [(&'static str, String); 2] {
    ["config/cellgate.yaml", "config/accounts.csv"].map(|name| (name, folder.read(name)))
}

fn put_back(folder: &Folder, files: &[(&'static str, String); 2]) {
    files.iter().for_each(|(name, text)| folder.write(name, text));
}

#[test]
fn what_serves_is_kept_whatever_the_files_say() {
    let site = Site::start();
    let before = site.page("/config")["hash"].clone();
    let told = break_glass(&site, &["keep", "--reason", "us1 is on fire", "--for", "30m"], 0);
    assert!(told.contains("the override to keep is in force; the files: unchanged"), "{told}");
    site.folder.edit("config/accounts.csv", MOVE.0, MOVE.1);
    let reply = site.reload();
    assert_eq!(reply.status, 409, "{}", reply.text());
    let objection = reply.json()["objections"][0].clone();
    assert_eq!(objection["guard"], "break_glass");
    assert!(
        objection["what"]
            .as_str()
            .unwrap()
            .ends_with(&format!(r#"by "{} for ann": "us1 is on fire""#, unix_user())),
        "{objection}"
    );
    assert_eq!(site.page("/config")["hash"], before);
    let reasons = site.page("/readyz")["reasons"].clone();
    assert_eq!(
        (&reasons[0]["reason"], &reasons[0]["blocks"]),
        (&"break_glass".into(), &false.into()),
        "{reasons}"
    );
    assert!(site.metric("cellgate_break_glass_until_timestamp_seconds") > 1e9);
    site.process.line("that it is said loudly", |line| {
        line["level"] == "ERROR" && line["fields"]["message"] == "BREAK GLASS"
    });

    // A restart does not end it.
    let site = restarted(site);
    assert_eq!(site.page("/config")["hash"], before);
    assert_eq!(site.page("/config")["last_reload"]["objections"][0]["guard"], "break_glass");
    let told = break_glass(&site, &["end"], 0);
    assert!(told.contains("the override is over; the files: applied"), "{told}");
    assert_ne!(site.page("/config")["hash"], before);
    assert_eq!(site.metric("cellgate_break_glass_until_timestamp_seconds"), 0.0);
    let trail = site.folder.read("state/audit.jsonl");
    let overrides: Vec<&str> = trail.lines().filter(|line| line.contains(r#""event":"override""#)).collect();
    assert_eq!(overrides.len(), 2, "{trail}");
    assert!(
        overrides[0].contains("us1 is on fire") && overrides[1].contains("ended before its time"),
        "{overrides:?}"
    );
    assert!(break_glass(&site, &["end"], 1).contains("there is no override to end"));
}

#[test]
fn what_takes_the_place_of_another_says_so_and_what_is_over_is_no_reason_any_more() {
    let site = Site::start();
    break_glass(&site, &["restore", "--reason", "us1 is slow", "--for", "30m"], 0);
    let told = break_glass(&site, &["keep", "--reason", "us1 is on fire", "--for", "30m"], 0);
    assert!(
        told.contains("it stands in place of: override to restore") && told.contains("us1 is slow"),
        "{told}"
    );
    delete_a_cell(&site.folder);
    let planned = said(&process::run(&site.folder, &["plan"]), 3);
    assert!(planned.contains("It would be REFUSED until that is over: override to keep"), "{planned}");

    let site = restarted(site);
    let reason = |site: &Site| site.page("/readyz")["reasons"].clone();
    assert_eq!(reason(&site)[0]["reason"], "kept", "{}", reason(&site));
    let told = break_glass(&site, &["end", "--reason", "it is out"], 3);
    assert!(told.contains("  removal: cells that served are gone: cell-3"), "{told}");
    let now = reason(&site);
    assert_eq!((&now[0]["reason"], now.as_array().unwrap().len()), (&"last_good".into(), 1), "{now}");
    assert!(now.to_string().contains("removal: cells that served are gone"), "{now}");
    let trail = site.folder.read("state/audit.jsonl");
    assert!(trail.contains("(in place of: override to restore"), "{trail}");
    assert!(trail.contains(r#"ended before its time, for \"it is out\": override to keep"#), "{trail}");

    // Files that are bad are told as `check` tells them.
    site.folder.append("config/cellgate.yaml", "limit: 1");
    let told = break_glass(&site, &["keep", "--reason", "again"], 0);
    assert!(told.contains("  cellgate.yaml:") && told.contains("; expected "), "{told}");
}

#[test]
fn what_an_operator_keeps_is_never_too_old() {
    let mut site = Site::prepared(|folder| folder.append("config/boot.yaml", "max_last_good_age: 7d"));
    break_glass(&site, &["keep", "--reason", "us1 is on fire", "--for", "30m"], 0);
    site.folder.edit("config/accounts.csv", MOVE.0, MOVE.1);
    assert_eq!(site.reload().status, 409);
    let noted = site.page("/readyz")["reasons"].clone();
    assert_eq!((&noted[1]["reason"], noted.as_array().unwrap().len()), (&"refused".into(), 2), "{noted}");
    site.process.signal("TERM");
    site.process.ended();
    let state = site.folder.path("state");
    let kept = last_good::load(&state).unwrap();
    // 1 January 2020: older than any limit of a few days.
    last_good::save(&state, &LastGood { saved_at: 1_577_836_800, ..kept }).unwrap();
    site.process = Process::start(&site.folder);
    let ready = raw_http::page(site.process.admin(), "/readyz");
    assert_eq!(ready.status, 200, "{}", ready.text());
    let text = ready.text();
    assert!(text.contains(r#""kept""#) && !text.contains("Correct"), "{text}");
    // Nothing is left to be said.
    break_glass(&site, &["end"], 0);
    assert_eq!(site.page("/readyz")["reasons"], serde_json::Value::Array(Vec::new()));
}

#[test]
fn an_override_that_cannot_be_put_down_is_taken_back_in_the_trail() {
    let site = Site::start();
    std::fs::create_dir(site.folder.path("state/break-glass.cellgate.part")).unwrap();
    let told = break_glass(&site, &["keep", "--reason", "us1 is on fire"], 1);
    assert!(told.contains("cannot be put down"), "{told}");
    let trail = site.folder.read("state/audit.jsonl");
    let overrides: Vec<&str> = trail.lines().filter(|line| line.contains(r#""event":"override""#)).collect();
    assert_eq!(overrides.len(), 2, "{trail}");
    assert!(
        overrides[1].contains("not in force") && overrides[1].contains("us1 is on fire"),
        "{overrides:?}"
    );
    assert_eq!(site.page("/readyz")["reasons"], serde_json::Value::Array(Vec::new()));
}

#[test]
fn what_has_served_is_restored_and_nothing_else() {
    let site = Site::start();
    let first = files(&site.folder);
    add_a_cell(&site.folder);
    let reply = site.reload();
    assert_eq!(reply.status, 200, "{}", reply.text());
    put_back(&site.folder, &first);
    let reply = site.reload();
    assert_eq!(reply.status, 409, "{}", reply.text());

    // Never has this served.
    delete_a_cell(&site.folder);
    let told = break_glass(&site, &["restore", "--reason", "cell-9 was a mistake"], 3);
    assert!(told.contains("the override to restore is in force; the files: refused"), "{told}");
    assert!(told.contains("restores only what has served here before"), "{told}");

    put_back(&site.folder, &first);
    let reply = site.reload();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let trail = site.folder.read("state/audit.jsonl");
    let last = trail.lines().rfind(|line| line.contains(r#""event":"intent""#)).unwrap();
    assert!(last.contains("override to restore") && last.contains("cell-9 was a mistake"), "{last}");
}

#[test]
fn nobody_alone_takes_a_protected_cell_away_or_accounts_back() {
    let site = Site::prepared(|folder| {
        let guards = "guards: { baseline: { mode: 'off' }, capacity: { mode: 'off' }, protected_cells: { names: [cell-9] } }";
        folder.edit("config/boot.yaml", GUARDS, guards);
    });
    let first = files(&site.folder);
    add_a_cell(&site.folder);
    let reply = site.reload();
    assert_eq!(reply.status, 200, "{}", reply.text());
    put_back(&site.folder, &first);
    let told = break_glass(&site, &["restore", "--reason", "cell-9 was a mistake"], 3);
    assert!(told.contains("no override touches a protected cell"), "{told}");
    let told = break_glass(&site, &["keep", "--reason", "for ever", "--for", "9h"], 64);
    assert!(told.contains("it would last 9h; expected 1m to 4h"), "{told}");
    let admin = |body: &str| {
        let head = format!(
            "POST /break-glass HTTP/1.1\r\nHost: admin\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        raw_http::ask(&mut raw_http::unix(&site.folder.path("state/admin.sock")), head.as_bytes()).unwrap()
    };
    assert_eq!(admin("").status, 400);
    assert_eq!(admin(r#"{"aim":"remove","reason":"r","by":"b","seconds":600}"#).status, 409);
    assert_eq!(admin(r#"{"aim":"keep","reason":" ","by":"b","seconds":600}"#).status, 409);
    let loopback = "POST /break-glass HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let reply = raw_http::ask(&mut raw_http::tcp(site.process.admin()), loopback.as_bytes()).unwrap();
    assert_eq!(reply.status, 404, "only whoever is on the machine: {}", reply.text());
}
