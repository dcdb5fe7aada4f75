//! Guards in a process of its own: a deletion is refused by whoever tries it and however, and what serves goes on.

use std::fs;

use super::rejected::{Site, served};
use crate::process::{self, Process};
use crate::raw_http;
use crate::running::Folder;

/// What the example's `boot.yaml` of the tests says of guards.
pub const GUARDS: &str =
    "guards: { baseline: { mode: 'off' }, capacity: { mode: 'off' }, hold: { mode: 'off' } }";

/// Takes a cell away, with all that names it; its accounts go to the one beside it.
pub fn delete_a_cell(folder: &Folder) {
    let routing = folder.read("config/cellgate.yaml");
    let from = routing.find("  - name: cell-3\n").unwrap();
    let until = from + routing[from..].find("  # The old multi-tenant").unwrap();
    let without = format!("{}{}", &routing[..from], &routing[until..]);
    let range = without.lines().find(|line| line.contains("cell: cell-3")).unwrap();
    folder.write("config/cellgate.yaml", &without.replace(&format!("{range}\n"), ""));
    let accounts = folder.read("config/accounts.csv").replace("cell-3", "cell-1");
    folder.write("config/accounts.csv", &accounts);
}

/// Which guards a start has not let the files past, by its log. The last reload says so only for a second: then the files
/// are looked at once more, and other guards in boot.yaml need a restart.
fn objected(site: &Site) -> Vec<String> {
    let log = site.process.log();
    let refused = log.iter().filter(|line| line["fields"]["message"] == "the configuration is not served");
    let reasons = refused.map(|line| line["fields"]["reason"].as_str().unwrap());
    reasons.map(|reason| reason.split(':').next().unwrap().to_owned()).collect()
}

#[test]
fn a_deletion_is_refused_at_a_reload_and_at_a_restart() {
    let mut site = Site::start();
    let before = site.page("/config");
    delete_a_cell(&site.folder);
    let reply = site.reload();
    assert_eq!(reply.status, 409, "{}", reply.text());
    let said = reply.json();
    assert_eq!(said["outcome"], "refused");
    assert_eq!(said["objections"][0]["guard"], "removal");
    assert_eq!(said["objections"][0]["what"], "cells that served are gone: cell-3");
    let config = site.page("/config");
    assert_eq!((&config["generation"], &config["hash"]), (&before["generation"], &before["hash"]));
    assert_eq!(site.cell(), "cell-2");
    site.process.line("the objection in the log", |line| {
        line["fields"]["objection"].as_str().is_some_and(|said| said.contains("cell-3"))
    });
    let counted = "cellgate_guard_objections_total{guard=\"removal\",mode=\"enforce\"}";
    assert!(site.metric(counted) >= 1.0);
    let reason = site.page("/readyz")["reasons"][0].clone();
    assert_eq!((&reason["reason"], &reason["blocks"]), (&"refused".into(), &false.into()), "{reason}");
    assert!(reason["detail"].as_str().unwrap().contains("removal"), "{reason}");
    assert_eq!(site.metric("cellgate_guard_mode{guard=\"removal\"}"), 2.0);

    // Nor is a restart a way round it.
    site.process.signal("TERM");
    site.process.ended();
    site.process = Process::start(&site.folder);
    assert_eq!(site.page("/config")["hash"], before["hash"]);
    assert_eq!(site.page("/config")["last_reload"]["outcome"], "refused");
    assert_eq!(served(&site.process), "cell-2");
    let ready = raw_http::page(site.process.admin(), "/readyz");
    assert_eq!(ready.status, 200, "{}", ready.text());
    let detail = ready.json()["reasons"][0]["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("cells that served are gone: cell-3"), "{detail}");

    // Nor one that switches the guard off in the same push.
    site.folder.edit("config/boot.yaml", GUARDS, "guards: { mode: 'off' }");
    site.process.signal("TERM");
    site.process.ended();
    site.process = Process::start(&site.folder);
    assert_eq!(objected(&site), ["removal", "weakened"]);
    assert_eq!(served(&site.process), "cell-2");
    assert_eq!(site.metric("cellgate_guard_mode{guard=\"removal\"}"), 2.0, "the old guards are in force");
}

#[test]
fn a_fresh_replica_is_no_way_round_a_guard() {
    let mut site = Site::start();
    site.process.signal("TERM");
    site.process.ended();
    site.folder.edit(
        "config/boot.yaml",
        GUARDS,
        "guards: { capacity: { mode: 'off' }, hold: { mode: 'off' } }",
    );
    fs::remove_dir_all(site.folder.path("state")).unwrap();
    let refused = process::run(&site.folder, &["serve"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(64), "{said}");
    assert!(said.contains("there is no last good configuration at"), "{said}");
    assert!(said.contains("start once with --bootstrap"), "{said}");

    site.process = Process::start_with(&site.folder, &["--bootstrap"]);
    let reasons = site.page("/readyz")["reasons"].clone();
    assert_eq!(reasons[0]["reason"], "bootstrapped", "{reasons}");

    // It is said once: with something to compare with it means nothing, and opens no door.
    delete_a_cell(&site.folder);
    site.process.signal("TERM");
    site.process.ended();
    site.process = Process::start_with(&site.folder, &["--bootstrap"]);
    let reasons = site.page("/readyz")["reasons"].clone();
    assert_eq!(reasons[0]["reason"], "last_good", "{reasons}");
    assert_eq!(served(&site.process), "cell-2");
}

#[test]
fn guards_live_where_a_push_does_not_reach() {
    let mut site = Site::start();
    site.process.signal("TERM");
    site.process.ended();
    // Taken out of the folder, with its paths; the folder's own is not looked at any more.
    fs::rename(site.folder.path("config/boot.yaml"), site.folder.path("boot.yaml")).unwrap();
    site.folder.edit("boot.yaml", "state_dir: ../state", "state_dir: state");
    site.folder.edit("boot.yaml", "unix: ../state/admin.sock", "unix: state/admin.sock");
    site.folder.edit("boot.yaml", "path: ../log/access.log", "path: log/access.log");
    site.folder.write("config/boot.yaml", "what a push brings");
    let boot = site.folder.path("boot.yaml").display().to_string();
    site.process = Process::start_with(&site.folder, &["--boot", &boot]);
    assert_eq!(served(&site.process), "cell-2");
    assert_eq!(site.reload().status, 200, "the folder's boot.yaml is nobody's");
    delete_a_cell(&site.folder);
    assert_eq!(site.reload().status, 409);

    // Whoever names the file may loosen it; what it loosens does not count for the same start.
    site.folder.edit("boot.yaml", GUARDS, "guards: { mode: 'off' }");
    site.process.signal("TERM");
    site.process.ended();
    site.process = Process::start_with(&site.folder, &["--boot", &boot]);
    assert_eq!(objected(&site), ["removal"]);
}

#[test]
fn a_guard_that_only_watches_says_what_it_would_have_refused() {
    let site = {
        let mut site = Site::start();
        site.process.signal("TERM");
        site.process.ended();
        site.folder.edit("config/boot.yaml", GUARDS, "guards: { mode: observe }");
        fs::remove_dir_all(site.folder.path("state")).unwrap();
        site.process = Process::start(&site.folder);
        site
    };
    delete_a_cell(&site.folder);
    assert_eq!(site.reload().status, 200);
    let counted = "cellgate_guard_objections_total{guard=\"removal\",mode=\"observe\"}";
    assert_eq!(site.metric(counted), 1.0);
    assert_eq!(site.metric("cellgate_guard_mode{guard=\"removal\"}"), 1.0);
    site.process.line("what it would have refused", |line| {
        let said = line["fields"]["objection"].as_str().unwrap_or("");
        line["level"] == "WARN" && said.contains("cell-3")
    });
}
