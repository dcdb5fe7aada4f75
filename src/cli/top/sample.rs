//! Documents of `/live` for tests: an ordinary day, and a bad one.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::super::admin_socket::Door;
use super::document::Document;
use super::fleet::Fleet;
use super::view::{Top, View};

/// When all of it happens.
pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_230_765)
}

/// With a document that has been heard.
pub fn fleet(document: Document) -> Fleet {
    let mut fleet = Fleet::new([("state/admin.sock".into(), Door::Unix("state/admin.sock".into()))]);
    fleet.hear(0, Ok(document), now());
    fleet
}

/// The same on its first screen.
pub fn top(document: Document) -> Top {
    Top { fleet: fleet(document), view: View::default() }
}

pub fn good_day() -> Document {
    let cells = ["us1", "us2", "eu1", "shared"].map(|name| cell(name, fine(), &[("up", None), ("up", None)]));
    parsed(json!({
        "version": 1, "at": "2026-11-21T03:12:45.123Z", "process": "ip-10-0-0-7 4711", "program": "0.1.0",
        "generation": 12, "hash": "4fd1c2aa99001122334455", "serves_for_s": 11_520, "ready": true, "reasons": [],
        "cells": cells, "no_cell": null, "verdicts": [], "verdict_observe_alarm": null, "levers": [], "brownouts": [],
        "moves": [], "candidate": null,
        "reloads": [{"at": "2026-11-21T00:00:45Z", "trigger": "files", "outcome": "applied", "generation": 12, "problems": 0, "guards": []}],
    }))
}

/// The shared cell is dead, one comes back, one is full; somebody has pulled levers, pushed nonsense, and begun a trial.
pub fn bad_day() -> Document {
    let mut us2 = fine();
    us2["phase"] = json!("ramping");
    us2["admitted_rps"] = json!(48.0);
    us2["ramp"] = json!({"capacity_rps": 120.0, "capacity_from": "learned", "recent": [100, 2, 1]});
    let mut shared = fine();
    shared["phase"] = json!("down");
    shared["panic"] = json!("trickle");
    shared["p95_ms"] = json!(null);
    let mut us1 = fine();
    us1["in_flight"] = json!(39);
    us1["limit"] = json!(40);
    us1["limit_why"] = json!("late");
    us1["queued"] = json!(7);
    us1["p95_ms"] = json!(1240.0);
    us1["would_have"] = json!([["health", "ejected", 3]]);
    us1["would_have_refused"] = json!([["low_priority", 40]]);
    us1["observe_alarm"] = json!("would_act");
    us1["would_act_s"] = json!(240);
    let cells = [
        cell("us1", us1, &[("up", None), ("up", Some(("failure_share", "headroom")))]),
        cell("us2", us2, &[("up", None), ("probing", None)]),
        cell("eu1", fine(), &[("up", None), ("up", None)]),
        cell("shared", shared, &[("down", None), ("ejected", None)]),
    ];
    let mut document = json!({
        "version": 1, "at": "2026-11-21T03:12:45.123Z", "process": "ip-10-0-0-7 4711", "program": "0.1.0",
        "generation": 13, "hash": "5ad1c2aa99001122334455", "serves_for_s": 250, "ready": false,
        "reasons": [
            {"reason": "draining", "blocks": true, "detail": "The process is ending: requests in flight are being finished."},
            {"reason": "levers", "blocks": false, "detail": "Levers are pulled; they are listed under levers."},
            {"reason": "refused", "blocks": false, "detail": "The last reload was refused (shrink): /config says why. What served before serves."},
        ],
        "cells": cells,
        "no_cell": {"requests": [1, 2], "failed": [0, 0], "last_10s": window(1.2, &[("by_client", 12)], None),
            "last_60s": window(1.2, &[("by_client", 72)], None),
            "surfaces": [{"surface": "none", "last_10s": window(1.2, &[("by_client", 12)], None), "last_60s": window(1.2, &[("by_client", 72)], None)}]},
        "verdicts": [{"verdict": "cell shared", "kind": "cell_application", "stands_for_s": 185,
            "evidence": "2 of 2 endpoints over 1 cells: 100.0 % unreachable; 0 of 6 others (chance 4e-2)"}],
        "verdict_observe_alarm": null,
        "levers": [
            {"id": 7, "kind": "shed", "lever": "shed 50% cell us1", "by": "ann", "reason": "us1 burns, INC-77", "since": "2026-11-21T03:01:00Z",
             "until": "2026-11-21T03:31:00Z", "seconds_left": 1095, "requests": 1200},
            {"id": 8, "kind": "cap", "lever": "cap cell us2 in_flight 20", "by": "ben", "reason": "let it breathe", "since": "2026-11-21T03:05:00Z",
             "until": "2026-11-21T03:20:00Z", "seconds_left": 435, "requests": 3},
        ],
        "brownouts": [{"id": "nov-1", "mode": "enforce", "share": "10%", "in_force": true, "cancelled": false,
            "window": {"start": "2026-11-21T03:00:00Z", "end": "2026-11-21T04:00:00Z"}, "next": null}],
        "moves": [{"from": "shared", "to": "us1", "state": "holding", "accounts": 12, "writes_at_old_cell": 1, "waiting": 4}],
        "candidate": {"generation": 14, "hash": "6bd1c2aa99001122", "share": "10%", "step": 1, "steps": 3, "seconds_left": 250, "requests": 900,
            "failed": 3, "since": "2026-11-21T03:10:00Z", "step_ends": "2026-11-21T03:16:55Z", "cells": []},
        "reloads": [
            {"at": "2026-11-21T03:11:45Z", "trigger": "signal", "outcome": "refused", "hash": "77d1c2aa99001122", "problems": 0, "guards": ["shrink", "capacity"]},
            {"at": "2026-11-21T03:08:45Z", "trigger": "files", "outcome": "applied", "generation": 13, "problems": 0, "guards": []},
            {"at": "2026-11-21T00:00:45Z", "trigger": "files", "outcome": "applied", "generation": 12, "problems": 0, "guards": []},
        ],
    });
    // The one that is dead fails and is refused; the one that is full fails a little.
    let dead = window(30.0, &[("failed", 40), ("down", 260)], None);
    document["cells"][3]["traffic"] = traffic(&dead, &dead, falling());
    let full =
        window(210.0, &[("served", 1990), ("failed", 30), ("no_room", 80)], Some([180.0, 1240.0, 3000.0]));
    document["cells"][0]["traffic"] = traffic(&full, &full, rising());
    parsed(document)
}

/// One that serves as ever.
fn fine() -> Value {
    json!({
        "phase": "full", "panic": "calm", "ramp": {"capacity_from": "declared", "capacity_rps": 400.0, "recent": [900, 0, 0]},
        "limit": 100, "limit_why": "growing", "in_flight": 12, "long_lived": 3, "queued": 0, "queue_room": 50,
        "demand_rps": [["critical", 1.0], ["interactive", 20.0], ["api", 80.0], ["bulk", 0.0]], "no_headroom_rps": 0.0,
        "failover_frozen": false, "retries": true, "p95_ms": 84.0, "usual_p95_ms": 80.0, "would_act_s": null,
    })
}

/// The state of an endpoint, and why it should be out and is not.
type State<'a> = (&'a str, Option<(&'a str, &'a str)>);

/// With an endpoint a zone.
fn cell(name: &str, mut standing: Value, endpoints: &[State<'_>]) -> Value {
    let zones = ["us-east-1a", "us-east-1b"];
    let group = |(at, (state, held)): (usize, &State<'_>)| {
        let is_lost = matches!(*state, "down" | "ejected");
        json!({
            "zone": zones[at], "standing": if is_lost { "lost" } else { "serving" },
            "failover": {"share": 0.5, "kept": if is_lost { 0.0 } else { 1.0 }, "healthy": 1.0, "own_rps": 50.0, "room_rps": 150.0,
                "moved_here_rps": 0.0, "overflow_here_rps": 0.0},
            "in_flight": 6, "max_in_flight": 256, "limit": 50, "limit_why": "growing", "connections": 8, "max_connections": 512,
            "endpoints": [{"address": format!("10.0.{at}.1:443"), "state": state, "ejections": u8::from(is_lost), "out_for_s": 0,
                "requests_10s": 500, "failed_10s": if is_lost { 500 } else { 0 }, "median_ms": if is_lost { json!(null) } else { json!(21.5) },
                "held": held}],
        })
    };
    standing["groups"] = endpoints.iter().enumerate().map(group).collect();
    let declared = |at: usize| json!({"zone": zones[at], "priority": 0, "capacity_rps": 200, "endpoints": [format!("10.0.{at}.1:443")]});
    let served = window(101.0, &[("served", 1010)], Some([21.0, 84.0, 130.0]));
    json!({
        "name": name, "shared": name == "shared", "domain": format!("{name}.dbt.com"), "protocol": "http1", "tls": true,
        "in_flight": standing["in_flight"], "max_in_flight": 512, "groups": (0..endpoints.len()).map(declared).collect::<Vec<_>>(),
        "standing": standing, "traffic": traffic(&served, &served, steady()),
    })
}

fn traffic(last_10s: &Value, last_60s: &Value, requests: Vec<u64>) -> Value {
    json!({
        "requests": requests, "failed": [], "last_10s": last_10s, "last_60s": last_60s,
        "surfaces": [{"surface": "app", "last_10s": last_10s, "last_60s": last_60s}],
    })
}

fn window(rps: f64, ended: &[(&str, u64)], times: Option<[f64; 3]>) -> Value {
    let ended: serde_json::Map<String, Value> =
        ended.iter().map(|(how, count)| ((*how).to_owned(), json!(count))).collect();
    let [p50, p95, p99] = times.map_or([None; 3], |times| times.map(Some));
    json!({"seconds": 10.0, "rps": rps, "requests": (rps * 10.0) as u64, "ended": ended, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99})
}

fn steady() -> Vec<u64> {
    (0..60).map(|second| 95 + second % 7).collect()
}

fn rising() -> Vec<u64> {
    (0..60).map(|second| 50 + second * 3).collect()
}

fn falling() -> Vec<u64> {
    (0..60).map(|second| if second < 40 { 80 } else { 25 }).collect()
}

fn parsed(document: Value) -> Document {
    Document::parse(&document.to_string()).expect("a document for tests is one")
}
