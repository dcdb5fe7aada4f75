//! The end of a process: readiness first, then connections, then the last request, then the exit.

use std::io::Write;

use cellgate::listen::drain::Drained;
use loadtest::cell::CellOptions;
use loadtest::client::{Ask, Client, Http};
use loadtest::socket;
use tokio::io::AsyncWriteExt;

use crate::process::Process;
use crate::raw_http;
use crate::running::{Folder, PATIENCE, eventually};
use crate::world::{CELLS, World, addresses, runtime, start_cells};

/// Long enough to look around while the balancers would take note, on a busy machine too.
const GRACE: &str = "5s";

/// How long the request in flight takes: longer than the grace.
const SLOW: &str = "delay_ms=8000";

const HOST: &str = "ab123.us1.dbt.com";

/// Nothing here ends by its own time-out within a test's patience.
fn patient(folder: &Folder) {
    let drain = "drain: { grace: 100ms, deadline: 20s }";
    folder.edit("config/boot.yaml", drain, &format!("drain: {{ grace: {GRACE}, deadline: 5m }}"));
    folder.append("config/boot.yaml", "limits: { head_timeout: 5m, keep_alive_timeout: 5m }");
}

#[test]
fn sigterm_fails_readiness_finishes_what_is_in_flight_and_exits_with_0() {
    let runtime = runtime();
    let cells = start_cells(&runtime, CELLS.map(CellOptions::named).to_vec());
    let folder = Folder::example(&addresses(&cells));
    patient(&folder);
    let mut process = Process::start(&folder);
    let (http, admin, h2c) = (process.addr("http"), process.admin(), process.addr("h2c"));
    let get = |sim: &str| format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{sim}\r\n");
    let mut idle = raw_http::tcp(http);
    assert_eq!(raw_http::ask(&mut idle, get("").as_bytes()).unwrap().status, 200);
    let mut slow = raw_http::tcp(http);
    slow.write_all(get(&format!("X-Sim: {SLOW}\r\n")).as_bytes()).unwrap();
    let slow_h2 = runtime.spawn(async move {
        let line = Client::new(h2c, Http::H2).open(HOST).await.unwrap();
        let reply = line.ask(&Ask::get(HOST, "/").sim(SLOW)).await.unwrap();
        (reply.status.as_u16(), line.closes(PATIENCE).await)
    });
    let arrived = || cells["cell-1"].counts().requests == 3;
    eventually("the slow requests to arrive", || arrived().then_some(()));

    process.signal("TERM");
    eventually("readiness to fail", || (raw_http::page(admin, "/readyz").status == 503).then_some(()));
    let reasons = raw_http::page(admin, "/readyz").json()["reasons"].as_array().unwrap().clone();
    assert!(reasons.iter().any(|one| one["reason"] == "draining"), "{reasons:?}");
    assert_eq!(raw_http::page(admin, "/healthz").status, 200);
    assert!(raw_http::ends(&mut idle), "an idle connection has nothing to wait for");
    let mut late = raw_http::tcp(http);
    let reply = raw_http::ask(&mut late, get("").as_bytes()).unwrap();
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")), "still served, and told");
    assert!(raw_http::ends(&mut late));
    // Connected and silent: nobody's request is lost when it ends.
    let silent = raw_http::tcp(http);

    let reply = raw_http::read_reply(&mut slow, false).unwrap();
    assert_eq!((reply.status, reply.header("x-cell")), (200, Some("cell-1")), "in flight, and finished");
    assert_eq!(runtime.block_on(slow_h2).unwrap(), (200, true), "and told by GOAWAY");
    assert_eq!(process.ended().code(), Some(0));
    assert!(std::net::TcpStream::connect(http).is_err());
    drop(silent);
    let log = process.log();
    assert!(log.iter().any(|line| line["fields"]["message"].as_str().unwrap_or("").starts_with("drained")));
}

#[test]
fn a_second_sigterm_ends_it_at_once_and_the_log_says_so() {
    let runtime = runtime();
    let cells = start_cells(&runtime, CELLS.map(CellOptions::named).to_vec());
    let folder = Folder::example(&addresses(&cells));
    patient(&folder);
    let mut process = Process::start(&folder);
    let mut slow = raw_http::tcp(process.addr("http"));
    slow.write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Sim: delay_ms=60000\r\n\r\n").as_bytes())
        .unwrap();
    eventually("the slow request to arrive", || (cells["cell-1"].counts().requests == 1).then_some(()));
    let says = |line: &serde_json::Value, what: &str| {
        line["fields"]["message"].as_str().is_some_and(|message| message.starts_with(what))
    };
    process.signal("TERM");
    process.line("the drain", |line| says(line, "draining"));
    process.signal("TERM");
    assert_eq!(process.ended().code(), Some(1));
    process.line("what the second signal does", |line| says(line, "told to stop again"));
    assert!(raw_http::ends(&mut slow));
}

#[test]
fn a_tunnel_that_does_not_end_is_cut_at_the_deadline_and_said() {
    let mut world = World::prepared(|folder| {
        folder.edit("config/boot.yaml", "deadline: 20s", "deadline: 2s");
    });
    let mut opened =
        world.block_on(socket::open(&world.edge.plain(Http::H1), &Ask::get(HOST, "/ws"))).unwrap();
    // In the middle of a frame there is no place for a word of ours: the cell cannot be told.
    world.block_on(opened.stream.get_mut().write_all(&[0x82, 0x85, 1, 2, 3, 4, 0])).unwrap();
    world.block_on(opened.stream.get_mut().flush()).unwrap();
    let cell = world.cell("cell-1");
    eventually("the frame's beginning to arrive", || (cell.counts().requests == 1).then_some(()));
    assert_eq!(world.edge.drain(), Drained::Cut(1));
    drop(opened);
}

#[test]
fn a_second_start_finds_the_state_of_the_first() {
    let world = World::example();
    let ask = Ask::get(HOST, "/");
    assert_eq!(world.block_on(world.edge.plain(Http::H1).ask(&ask)).unwrap().cell(), Some("cell-1"));
    let world = world.restart();
    assert_eq!(world.block_on(world.edge.tls(Http::H2).ask(&ask)).unwrap().cell(), Some("cell-1"));
    let report = std::process::Command::new(env!("CARGO_BIN_EXE_cellgate"))
        .args(["report", "--output", "json", "--state-dir"])
        .arg(world.edge.folder.path("state"))
        .output()
        .unwrap();
    assert!(report.status.success(), "{}", String::from_utf8_lossy(&report.stderr));
}
