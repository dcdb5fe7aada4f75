//! A process that ends, in order or not, takes nothing along of what the page has said; and of what a webhook is told each change
//! is told once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};

use loadtest::cell::{CellOptions, RunningCell};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{json_of, prepared, states, traffic_at};
use crate::process::Process;
use crate::running::{Folder, eventually};
use crate::upgrade::Line;
use crate::webhooks::{OLD, Receiver};
use crate::world::{CELLS, addresses, runtime, start_cells};

/// What is kept.
const FILE: &str = "state/status.cellgate";

/// Cells and a folder, for processes that come one after the other.
struct Site {
    folder: Folder,
    /// They answer as long as they are kept.
    _cells: BTreeMap<String, RunningCell>,
    _runtime: Runtime,
}

impl Site {
    fn new(more: &str) -> Self {
        let runtime = runtime();
        let cells = start_cells(&runtime, CELLS.map(CellOptions::named).to_vec());
        let folder = Folder::example(&addresses(&cells));
        prepared(more)(&folder);
        folder.write_secret("config/webhook.secret", OLD);
        Self { folder, _cells: cells, _runtime: runtime }
    }

    /// The text of what is kept, behind its digest.
    fn kept(&self) -> String {
        std::fs::read_to_string(self.folder.path(FILE)).unwrap_or_default()
    }

    /// Makes one surface fail until the page says so and it is kept; what is said of it then.
    fn fault(&self, process: &Process) -> Said {
        eventually("the surface to turn", || {
            traffic_at(process.addr("http"), true);
            (states(&json_of(process.status()), "Europe").get(2)? == "down").then_some(())
        });
        eventually("it to be kept", || self.kept().contains(r#""to":["down",null]"#).then_some(()));
        Said::at(process.status())
    }
}

/// What is said of the surface that fails, and what has changed.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    tile: Value,
    changes: Value,
}

impl Said {
    fn at(door: SocketAddr) -> Self {
        eventually("a status", || {
            let status = json_of(door);
            let europe = status["cells"].as_array()?.iter().find(|cell| cell["name"] == "Europe")?;
            Some(Self { tile: europe["surfaces"][1].clone(), changes: status["changes"].clone() })
        })
    }
}

#[test]
fn since_when_and_what_has_changed_outlive_a_kill_a_stop_and_an_upgrade() {
    let site = Site::new("");
    let mut process = Process::start(&site.folder);
    let said = site.fault(&process);
    assert_eq!((&said.tile["name"], &said.tile["state"]), (&"Discovery API".into(), &"down".into()));
    assert_eq!(said.changes.as_array().unwrap().len(), 2, "{said:?}");
    for signal in ["KILL", "TERM"] {
        process.signal(signal);
        process.ended();
        process = Process::start(&site.folder);
        assert_eq!(Said::at(process.status()), said, "{signal}");
        traffic_at(process.addr("http"), true);
    }
    let mut line = Line::of(process);
    line.upgrade(&site.folder);
    line.drained();
    let door = line.first.status();
    assert_eq!(Said::at(door), said);
    eventually("it to be over", || {
        traffic_at(line.first.addr("http"), false);
        (Said::at(door).tile["state"] == "operating").then_some(())
    });
    let changes = Said::at(door).changes;
    let of_surface: Vec<&Value> =
        changes.as_array().unwrap().iter().filter(|change| change["surface"].is_object()).collect();
    let to: Vec<&str> = of_surface.iter().map(|change| change["to"].as_str().unwrap()).collect();
    assert_eq!(to, ["operating", "recovering", "down"], "{changes}");
    assert_eq!(of_surface[2]["at"], said.tile["since"]);
}

#[test]
fn a_file_that_is_damaged_is_said_and_costs_nothing_else() {
    let site = Site::new("");
    std::fs::create_dir_all(site.folder.path("state")).unwrap();
    site.folder.write_secret(FILE, "cellgate-status 1 00\n{}");
    let process = Process::start(&site.folder);
    let said = process.line("that it is not read", |line| line["fields"]["code"] == "E0740");
    assert_eq!(said["fields"]["file"], "status.cellgate");
    traffic_at(process.addr("http"), false);
    assert_eq!(Said::at(process.status()).changes, Value::Array(Vec::new()));
    eventually("a new one in its place", || site.kept().contains("\"cells\"").then_some(()));
}

fn webhook(url: &str) -> String {
    format!("  webhook: {{ url: '{url}', secret_file: webhook.secret }}\n")
}

/// What a receiver was told, each change once.
fn told(receiver: &Receiver, expect: &[(&str, bool)]) -> BTreeSet<String> {
    let told = receiver.told(expect.len());
    let what = |one: &Value| {
        let data = &one["event"]["data"];
        (data["to"].as_str().unwrap().to_owned(), data["surface"].is_object())
    };
    let heard: BTreeSet<(String, bool)> = told.iter().map(what).collect();
    assert_eq!(heard, expect.iter().map(|(to, is_tile)| ((*to).to_owned(), *is_tile)).collect(), "{told:?}");
    told.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn no_change_is_told_twice_over_a_kill_a_stop_and_an_upgrade() {
    let receiver = Receiver::start("takes", OLD, &[]);
    let site = Site::new(&webhook(&receiver.url()));
    let mut process = Process::start(&site.folder);
    site.fault(&process);
    let mut ids = told(&receiver, &[("down", true), ("degraded", false)]);
    eventually("it to be kept that they are told", || site.kept().contains(r#""untold":[]"#).then_some(()));
    for signal in ["KILL", "TERM"] {
        process.signal(signal);
        process.ended();
        process = Process::start(&site.folder);
        traffic_at(process.addr("http"), true);
    }
    let mut line = Line::of(process);
    line.upgrade(&site.folder);
    line.drained();
    let door = line.first.status();
    eventually("it to be over", || {
        traffic_at(line.first.addr("http"), false);
        (Said::at(door).tile["state"] == "operating").then_some(())
    });
    // The next ones that come are these and no others.
    let over = [("recovering", true), ("recovering", false), ("operating", true), ("operating", false)];
    ids.extend(told(&receiver, &over));
    assert_eq!(ids.len(), 6, "{ids:?}");
}

/// While a receiver does not answer, the process is ended in this way; another one tells what it did not.
fn waits_over(end: impl FnOnce(Process, &Folder) -> Line) {
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let away = format!("http://{}/in?from=cellgate", silent.local_addr().unwrap());
    let receiver = Receiver::start("takes", OLD, &[]);
    let site = Site::new(&webhook(&away));
    let process = Process::start(&site.folder);
    site.fault(&process);
    let kept = site.kept();
    site.folder.edit("config/boot.yaml", &away, &receiver.url());
    let line = end(process, &site.folder);
    let ids = told(&receiver, &[("down", true), ("degraded", false)]);
    assert_eq!(ids.len(), 2);
    assert!(ids.iter().all(|id| kept.contains(&format!("\"id\":\"{id}\""))), "{ids:?} in {kept}");
    eventually("it to be kept that they are told", || site.kept().contains(r#""untold":[]"#).then_some(()));
    drop(line);
}

fn ended_by(signal: &'static str) -> impl FnOnce(Process, &Folder) -> Line {
    move |mut process, folder| {
        process.signal(signal);
        process.ended();
        Line::of(Process::start(folder))
    }
}

#[test]
fn what_a_receiver_has_not_heard_when_the_process_is_killed_the_next_one_tells_by_the_same_id() {
    waits_over(ended_by("KILL"));
}

#[test]
fn what_a_receiver_has_not_heard_when_the_process_is_stopped_the_next_one_tells_by_the_same_id() {
    waits_over(ended_by("TERM"));
}

#[test]
fn what_a_receiver_has_not_heard_at_an_upgrade_the_successor_tells_by_the_same_id() {
    waits_over(|process, folder| {
        let mut line = Line::of(process);
        line.upgrade(folder);
        line.drained();
        line
    });
}
