//! What the state folder holds belongs to one process at a time, and none of it is lost between two.

use std::io::Write;

use loadtest::cell::CellOptions;
use serde_json::Value;

use super::Line;
use crate::raw_http;
use crate::running::{Folder, eventually};
use crate::world::{CELLS, addresses, runtime, start_cells, token};

#[test]
fn what_was_learned_counted_and_configured_is_there_in_the_next_process() {
    let runtime = runtime();
    let cells = CELLS.map(|name| match name {
        "cell-2" => {
            (1..=3).fold(CellOptions::named(name), |cell, number| cell.with_token(&token(number), "12345"))
        }
        other => CellOptions::named(other),
    });
    let cells = start_cells(&runtime, cells.to_vec());
    let folder = Folder::example(&addresses(&cells));
    let mut line = Line::start(&folder);
    let http = line.first.addr("http");
    let sent = std::cell::Cell::new(0);
    let request = |path: &str, number: u64| {
        sent.set(sent.get() + 1);
        format!(
            "GET {path} HTTP/1.1\r\nHost: cloud.getdbt.com\r\nAuthorization: Bearer {}\r\n\r\n",
            token(number)
        )
    };
    let cell = |number| {
        let reply =
            raw_http::ask(&mut raw_http::tcp(http), request("/api/v2/whoami", number).as_bytes()).unwrap();
        reply.header("x-cell").map(str::to_owned)
    };
    let teach = "/api/v2/accounts/12345/";
    assert_eq!(raw_http::ask(&mut raw_http::tcp(http), request(teach, 1).as_bytes()).unwrap().status, 200);
    assert_eq!(cell(1).as_deref(), Some("cell-2"), "learned");
    // One that is kept open, and whose last request comes after the upgrade.
    let mut kept = raw_http::tcp(http);
    assert_eq!(raw_http::ask(&mut kept, request(teach, 1).as_bytes()).unwrap().status, 200);

    line.upgrade(&folder);
    assert_eq!(cell(1).as_deref(), Some("cell-2"), "handed over");
    assert_eq!(cell(2), None);
    assert!(line.first.runs(), "an idle connection keeps its time");
    kept.write_all(request(teach, 2).as_bytes()).unwrap();
    let last = raw_http::read_reply(&mut kept, false).unwrap();
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    line.drained();
    eventually("what the first process learned last", || {
        (cell(2).as_deref() == Some("cell-2")).then_some(())
    });

    // A change of the configuration that nobody but the second process sees is the last good one.
    folder.append("config/accounts.csv", "777001,,cell-3,,");
    eventually("the new account", || {
        let page = raw_http::admin(&folder.path("state/admin.sock"), "GET", "/accounts/777001");
        (page.status == 200).then_some(())
    });
    line.upgrade(&folder);
    line.drained();
    assert!(folder.read("state/last-good.cellgate").contains("777001,,cell-3,,"));
    let verified = std::process::Command::new(env!("CARGO_BIN_EXE_cellgate"))
        .args(["audit", "verify", "--state-dir"])
        .arg(folder.path("state"))
        .output()
        .unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let starts = folder.read("state/audit.jsonl").matches(r#""event":"start""#).count();
    assert_eq!(starts, 3, "three processes wrote one chain");
    let last = *line.successors.last().unwrap();
    line.signal("TERM");
    eventually("the last process to end", || super::gone(last).then_some(()));
    assert_eq!(counted(&folder), sent.get(), "every legacy request stands in the books once");
    let left: Vec<_> =
        std::fs::read_dir(folder.path("state")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".part")), "{left:?}");
}

/// Requests that the books know.
fn counted(folder: &Folder) -> u64 {
    let report = std::process::Command::new(env!("CARGO_BIN_EXE_cellgate"))
        .args(["report", "--output", "json", "--state-dir"])
        .arg(folder.path("state"))
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    report["totals"]["requests"].as_u64().unwrap_or_else(|| unreachable!("{report}"))
}
