//! Reloads that must not happen, and starts on bad files: nothing changes, and every place that says so says
//! the same. In a process of its own, whose standard error and exit codes are part of it.

use std::process::Command;

use cellgate::last_good::{self, LastGood};
use serde_json::Value;

use loadtest::cell::CellOptions;

use crate::process::{self, Process};
use crate::raw_http;
use crate::running::{Folder, eventually};
use crate::world::{CELLS, TOKEN_12345, addresses, runtime, start_cells};

/// Cells, and a process before them.
pub struct Site {
    pub process: Process,
    pub folder: Folder,
    _cells: std::collections::BTreeMap<String, loadtest::cell::RunningCell>,
    _runtime: tokio::runtime::Runtime,
}

impl Site {
    pub fn start() -> Self {
        Self::prepared(|_| {})
    }

    /// With changes to the folder before the start.
    pub fn prepared(prepare: impl FnOnce(&Folder)) -> Self {
        let runtime = runtime();
        let cells = start_cells(&runtime, CELLS.map(CellOptions::named).to_vec());
        let folder = Folder::example(&addresses(&cells));
        prepare(&folder);
        Self { process: Process::start(&folder), folder, _cells: cells, _runtime: runtime }
    }

    /// The process and its folder, and what must go on beside them.
    pub fn into_parts(self) -> (Process, Folder, impl Sized) {
        (self.process, self.folder, (self._cells, self._runtime))
    }

    pub fn page(&self, target: &str) -> Value {
        raw_http::page(self.process.admin(), target).json()
    }

    pub fn reload(&self) -> raw_http::RawReply {
        raw_http::admin(&self.folder.path("state/admin.sock"), "POST", "/reload")
    }

    /// The cell that serves account 12345.
    pub fn cell(&self) -> String {
        served(&self.process)
    }

    pub fn metric(&self, line: &str) -> f64 {
        let text = raw_http::page(self.process.admin(), "/metrics").text();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
        value.unwrap_or(0.0)
    }
}

pub fn served(process: &Process) -> String {
    let request = format!(
        "GET /api/v2/accounts/12345/ HTTP/1.1\r\nHost: cloud.getdbt.com\r\nAuthorization: Token {TOKEN_12345}\r\n\r\n"
    );
    let reply = raw_http::ask(&mut raw_http::tcp(process.addr("http")), request.as_bytes()).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.header("x-cell").unwrap().to_owned()
}

#[test]
fn a_rejected_reload_changes_nothing_and_says_why_everywhere() {
    let site = Site::start();
    let before = site.page("/config");
    assert_eq!(before["generation"], 1);
    let bad: [(&str, &str, &str, &str); 3] = [
        ("config/cellgate.yaml", "surfaces:\n", "surfaces: [\n", "cellgate.yaml"),
        ("config/accounts.csv", "12345,acme ac345,cell-2,,", "12345,acme ac345,cell-9,,", "accounts.csv"),
        ("config/accounts.csv", "1001,mt001,shared,,", "-1,mt001,shared,,", "accounts.csv"),
    ];
    for (number, (file, from, to, named)) in bad.into_iter().enumerate() {
        let good = site.folder.read(file);
        site.folder.edit(file, from, to);
        // A good change beside the bad one must not come through either.
        site.folder.edit("config/accounts.csv", "26228,initech,cell-3", "26228,initech,cell-1");
        let reply = site.reload();
        assert_eq!(reply.status, 422, "{}", reply.text());
        let problem = &reply.json()["problems"][0];
        assert!(problem["file"].as_str().unwrap().contains(named), "{problem}");
        assert!(problem["line"].as_u64().unwrap() > 0, "{problem}");
        let what = problem["what"].as_str().unwrap().to_owned();
        let config = site.page("/config");
        assert_eq!((&config["generation"], &config["hash"]), (&before["generation"], &before["hash"]));
        assert_eq!(config["last_reload"]["outcome"], "rejected", "{config}");
        assert_eq!(config["last_reload"]["problems"][0]["what"], what.as_str());
        let ready = site.page("/readyz");
        let reason = &ready["reasons"][0];
        assert_eq!((&ready["ready"], &reason["blocks"]), (&true.into(), &false.into()), "{ready}");
        assert_eq!(reason["reason"], "reload_rejected", "{ready}");
        let detail = reason["detail"].as_str().unwrap();
        assert!(detail.contains(named) && detail.contains("`cellgate check`"), "{detail}");
        // The document of /live is up to a second old.
        eventually("the rejected reload in top", || {
            let mut top = Command::new(env!("CARGO_BIN_EXE_cellgate"));
            let top = top.args(["top", "--once", "--socket"]).arg(site.folder.path("state/admin.sock"));
            let page = top.env_remove("COLUMNS").output().unwrap();
            let page = String::from_utf8_lossy(&page.stdout).into_owned();
            (page.contains("reload_rejected: The reload at ") && page.contains(named)).then_some(())
        });
        assert_eq!(site.cell(), "cell-2");
        site.process.line("the problem in the log", |line| {
            let text = line["fields"]["problem"].as_str().unwrap_or("");
            text.contains(named) && text.contains(&what)
        });
        assert!(site.metric("cellgate_reloads_total{outcome=\"rejected\"}") >= (number + 1) as f64);
        assert_eq!(site.metric("cellgate_config_last_reload_successful"), 0.0);
        let checked = process::run(&site.folder, &["check"]);
        assert_eq!(checked.status.code(), Some(64));
        assert!(String::from_utf8_lossy(&checked.stderr).contains(&what));
        site.folder.write("config/accounts.csv", include_str!("../../../config/accounts.csv"));
        site.folder.write(file, &good);
        assert_eq!(site.reload().status, 200);
        assert_eq!(site.page("/readyz")["reasons"], Value::Array(Vec::new()));
    }
    assert_eq!(process::run(&site.folder, &["check"]).status.code(), Some(0));
    assert_eq!(site.page("/config")["generation"], 1, "the files say again what serves");
    assert_eq!(site.metric("cellgate_config_last_reload_successful"), 1.0);
}

#[test]
fn putting_back_what_is_served_ends_what_was_told_of_bad_files() {
    let site = Site::start();
    let last = |what: &str| {
        eventually(what, || {
            let last = site.page("/config")["last_reload"].clone();
            (last["outcome"] == what).then_some(last)
        })
    };
    // Nobody asks for a reload: all of it is file changes.
    for (number, (file, outcome)) in [
        ("config/accounts.csv", "rejected"),
        ("config/boot.yaml", "needs_restart"),
        ("certs/dev/us1.pem", "rejected"),
    ]
    .into_iter()
    .enumerate()
    {
        let good = site.folder.read(file);
        match file {
            "config/boot.yaml" => site.folder.edit(file, "deadline: 20s", "deadline: 21s"),
            "certs/dev/us1.pem" => site.folder.write(file, "no certificate"),
            _ => site.folder.append(file, "99,x,cell-9,,,"),
        }
        assert_eq!(last(outcome)["trigger"], "file_change", "{file}");
        assert_eq!(site.metric("cellgate_config_last_reload_successful"), 0.0, "{file}");
        site.folder.write(file, &good);
        assert_eq!(last("unchanged")["trigger"], "file_change", "{file}");
        assert_eq!(site.metric("cellgate_config_last_reload_successful"), 1.0, "{file}");
        eventually("a line in the log for each", || {
            let log = site.process.log();
            let told = log.iter().filter(|line| line["fields"]["message"] == "configuration unchanged");
            (told.count() == number + 1).then_some(())
        });
        let journal = site.folder.read("state/audit.jsonl");
        let ends = journal.lines().filter(|line| line.contains(r#""outcome":"unchanged""#)).count();
        assert_eq!(ends, number + 1, "{journal}");
    }
    assert_eq!(site.page("/config")["generation"], 1);
}

#[test]
fn a_signal_reloads_and_a_change_of_boot_yaml_is_listed_by_field() {
    let site = Site::start();
    site.folder.edit("config/accounts.csv", "12345,acme ac345,cell-2,,", "12345,acme ac345,cell-3,,");
    site.process.signal("HUP");
    eventually("the next generation", || (site.page("/config")["generation"] == 2).then_some(()));
    assert_eq!(site.cell(), "cell-3");

    site.folder.edit("config/boot.yaml", "deadline: 20s", "deadline: 21s");
    site.folder.append("config/boot.yaml", "workers: 3");
    // Answered in turn: no reading of the folder that began before these edits is still under way.
    assert_eq!(site.reload().status, 409);
    site.folder.edit("config/accounts.csv", "12345,acme ac345,cell-3,,", "12345,acme ac345,cell-1,,");
    let reply = site.reload();
    assert_eq!(reply.status, 409, "{}", reply.text());
    let told = reply.json();
    assert_eq!(told["outcome"], "needs_restart", "{told}");
    let fields: Vec<&str> = told["fields"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(fields, ["workers", "drain.deadline"], "{told}");
    assert_eq!(site.cell(), "cell-3", "all or nothing");
    assert_eq!(site.page("/config")["last_reload"]["outcome"], "needs_restart");
    site.process.line("the fields in the log", |line| {
        line["fields"]["fields"].as_str().is_some_and(|fields| fields.contains("drain.deadline"))
    });
}

#[test]
fn a_start_on_bad_files_serves_the_last_good_configuration_and_says_so() {
    let mut site = Site::start();
    site.process.signal("TERM");
    assert_eq!(site.process.ended().code(), Some(0));
    site.folder.edit("config/cellgate.yaml", "surfaces:\n", "surfaces: [\n");
    site.folder.edit("config/accounts.csv", "12345,acme ac345,cell-2,,", "12345,acme ac345,cell-3,,");

    site.process = Process::start(&site.folder);
    assert_eq!(site.cell(), "cell-2", "as it was when it was good");
    let ready = raw_http::page(site.process.admin(), "/readyz");
    assert_eq!(ready.status, 200, "serving is better than not serving: {}", ready.text());
    let reasons = ready.json()["reasons"].clone();
    let reason = &reasons[0];
    assert_eq!((&reason["reason"], &reason["blocks"]), (&Value::from("last_good"), &Value::from(false)));
    assert!(reason["detail"].as_str().unwrap().contains("cellgate.yaml"), "{reason}");
    assert!(reason["age_seconds"].is_u64(), "{reason}");
    assert_eq!(site.page("/config")["last_reload"]["outcome"], "rejected");
    site.process.line("a loud line", |line| {
        line["level"] == "ERROR" && line["fields"]["message"].as_str().unwrap_or("").contains("LAST GOOD")
    });

    site.folder.edit("config/cellgate.yaml", "surfaces: [\n", "surfaces:\n");
    assert_eq!(site.reload().status, 200);
    assert_eq!(site.cell(), "cell-3");
    assert_eq!(site.page("/readyz")["reasons"], Value::Array(Vec::new()));
}

#[test]
fn past_its_age_the_last_good_configuration_fails_readiness_until_the_files_are_good_again() {
    let mut site = Site::start();
    site.process.signal("TERM");
    assert_eq!(site.process.ended().code(), Some(0));
    let state = site.folder.path("state");
    let kept = last_good::load(&state).unwrap();
    // 1 January 2020: older than any limit of a few days, whatever the clock of the machine says.
    last_good::save(&state, &LastGood { saved_at: 1_577_836_800, ..kept }).unwrap();
    site.folder.append("config/boot.yaml", "max_last_good_age: 7d");
    site.folder.edit("config/cellgate.yaml", "surfaces:\n", "surfaces: [\n");

    site.process = Process::start(&site.folder);
    let ready = raw_http::page(site.process.admin(), "/readyz");
    assert_eq!(ready.status, 503, "{}", ready.text());
    let reasons = ready.json()["reasons"].clone();
    assert_eq!(
        (&reasons[0]["reason"], &reasons[1]["reason"]),
        (&"last_good".into(), &"last_good_too_old".into())
    );
    let detail = reasons[1]["detail"].as_str().unwrap();
    assert!(detail.contains("2020-01-01T00:00:00Z") && detail.contains("allows 7d"), "{detail}");
    assert!(site.metric("cellgate_last_good_age_seconds") > 7.0 * 86_400.0);
    assert_eq!(site.cell(), "cell-2", "whoever still comes is served");

    // The files say again what is served already: nothing is swapped, and it is no fallback any more.
    site.folder.edit("config/cellgate.yaml", "surfaces: [\n", "surfaces:\n");
    assert_eq!(site.reload().status, 200);
    let ready = raw_http::page(site.process.admin(), "/readyz");
    assert_eq!(
        (ready.status, &ready.json()["reasons"]),
        (200, &Value::Array(Vec::new())),
        "{}",
        ready.text()
    );
    assert_eq!(site.page("/config")["generation"], 1);
    assert_eq!(site.metric("cellgate_last_good_age_seconds"), 0.0);
    assert!(last_good::load(&state).unwrap().saved_at > 1_577_836_800, "kept as of today");
}

#[test]
fn a_start_on_bad_files_with_nothing_to_fall_back_to_exits_64_with_every_problem() {
    let folder = Folder::example(&std::collections::BTreeMap::new());
    folder.edit("config/accounts.csv", "12345,acme ac345,cell-2,,", "12345,acme ac345,cell-9,,");
    folder.edit(
        "config/cellgate.yaml",
        "    surface: metadata\n    schedule: legacy\n  - pattern: semantic",
        "    surface: metadaat\n    schedule: legacy\n  - pattern: semantic",
    );
    let output = process::run(&folder, &["serve"]);
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for expected in ["accounts.csv:", "cell-9", "cellgate.yaml:", "metadaat", "2 problems"] {
        assert!(said.contains(expected), "{expected} in {said}");
    }
}
