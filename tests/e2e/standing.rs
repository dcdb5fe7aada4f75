//! Cells that fall and come back, from end to end: who is asked, what is refused meanwhile, and what a restart knows.

use std::net::{SocketAddr, TcpStream};

use loadtest::cell::Behaviour;
use serde_json::Value;
use tokio::net::TcpSocket;

use crate::raw_http::{self, RawReply};
use crate::running::{Folder, eventually};
use crate::world::World;

/// The own address of an account in the first cell.
const HOST: &str = "ab123.us1.dbt.com";

fn ask_with(world: &World, fields: &str) -> RawReply {
    let request = format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n{fields}\r\n");
    raw_http::ask(&mut raw_http::tcp(world.edge.addr("http")), request.as_bytes()).unwrap()
}

fn ask(world: &World) -> RawReply {
    ask_with(world, "")
}

/// What `/cells` says of the first cell.
fn standing(world: &World) -> Value {
    raw_http::page(world.edge.admin(), "/cells").json()["cells"][0]["standing"].clone()
}

/// The state of an endpoint of its first group.
fn state(world: &World, endpoint: usize) -> String {
    standing(world)["groups"][0]["endpoints"][endpoint]["state"].as_str().unwrap_or_default().to_owned()
}

fn behave(world: &World, how: Behaviour) {
    world.block_on(world.cell("cell-1").behave(how)).unwrap();
}

/// An address where nobody listens, and which nobody else gets for as long as the socket is there.
fn dead() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// How often the first cell took no connection, once so many requests to it are counted, which is after their answers.
fn refused(world: &World, asked: u64) -> u64 {
    let number = |line: &str, series: &str| -> Option<u64> {
        line.strip_prefix(series)?.rsplit_once(' ')?.1.parse().ok()
    };
    eventually("all requests to be counted", || {
        let page = raw_http::page(world.edge.admin(), "/metrics").text();
        let sum = |series: &str| page.lines().filter_map(|line| number(line, series)).sum::<u64>();
        let requests = sum("cellgate_requests_total{cell=\"cell-1\",");
        let refused = sum("cellgate_upstream_connections_total{cell=\"cell-1\",result=\"refused\"}");
        (requests == asked).then_some(refused)
    })
}

#[test]
fn a_dead_cell_is_refused_at_once_and_found_to_be_back() {
    let world = World::example();
    assert_eq!(ask(&world).header("x-cell"), Some("cell-1"));
    behave(&world, Behaviour::Killed);
    let refused = eventually("the cell to be out", || {
        let reply = ask(&world);
        (reply.header("proxy-status") == Some("cellgate; error=destination_unavailable")).then_some(reply)
    });
    assert_eq!((refused.status, refused.header("x-cellgate-outcome")), (503, Some("not-forwarded")));
    let after: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&after), "{after}");
    eventually("the page to say so", || (state(&world, 0) == "ejected").then_some(()));
    assert_eq!(standing(&world)["panic"], "trickle");
    // Counted after the answer.
    eventually("the refusal to be counted", || {
        let page = raw_http::page(world.edge.admin(), "/metrics").text();
        page.contains("cellgate_refusals_total{reason=\"cell_down\"} ").then_some(())
    });
    // Nobody else notices.
    let other = b"GET / HTTP/1.1\r\nHost: globex.us1.dbt.com\r\n\r\n";
    let reply = raw_http::ask(&mut raw_http::tcp(world.edge.addr("http")), other).unwrap();
    assert_eq!(reply.header("x-cell"), Some("cell-2"));
    behave(&world, Behaviour::Normal);
    eventually("the trickle to find it back", || (ask(&world).status == 200).then_some(()));
    eventually("it to be in", || (state(&world, 0) == "up").then_some(()));
}

#[test]
fn a_dead_endpoint_is_left_out_and_no_request_meets_it_any_more() {
    let world = World::example();
    let port = world.cell("cell-1").addr().port();
    let (_held, dead) = dead();
    world.edge.folder.point("cell-1", &format!("127.0.0.1:{port}, \"{dead}\""));
    assert_eq!(raw_http::admin(&world.edge.socket(), "POST", "/reload").status, 200);
    let mut asked = 0;
    eventually("it to be out", || {
        asked += 1;
        assert_eq!(ask(&world).status, 200, "a connection that is refused is made elsewhere");
        (state(&world, 1) == "ejected").then_some(())
    });
    let before = refused(&world, asked);
    assert!(before > 0);
    for _ in 0..50 {
        assert_eq!(ask(&world).status, 200);
    }
    // Its time may have come meanwhile; then one request was its probe.
    let after = refused(&world, asked + 50);
    assert!(after <= before + 1, "{after} after {before}");
    assert_eq!(state(&world, 0), "up");
}

#[test]
fn who_finds_no_permit_waits_a_moment_and_those_who_cannot_are_told_when_to_come_back() {
    let world = World::prepared(|folder| folder.tune("cell-1", &["max_in_flight: 1"]));
    let held = world.edge.addr("http");
    let host = HOST;
    let hang = format!("POST /x HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nX-Sim: hang\r\n\r\n");
    let mut hung = raw_http::tcp(held);
    std::io::Write::write_all(&mut hung, hang.as_bytes()).unwrap();
    let in_flight = || world.edge.running().snapshot().cells[0].load.in_flight();
    eventually("the permit to be taken", || (in_flight() == 1).then_some(()));
    let replies: Vec<RawReply> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..20).map(|_| scope.spawn(|| ask(&world))).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for reply in replies {
        assert_eq!((reply.status, reply.header("x-cellgate-outcome")), (503, Some("not-forwarded")));
        assert!(reply.header("retry-after").is_some());
    }
    drop(hung);
    eventually("the permit to come back", || (in_flight() == 0).then_some(()));
    assert_eq!(ask(&world).status, 200);
    // What the page says is as old as its last report.
    eventually("nobody to wait any more", || (standing(&world)["queued"] == 0).then_some(()));
}

/// Declares a capacity for the group of the first cell.
fn capacity(folder: &Folder, rps: u32) {
    let text = folder.read("config/cellgate.yaml");
    let zone = "      - zone: local\n";
    let at = text.find(zone).unwrap() + zone.len();
    folder.write(
        "config/cellgate.yaml",
        &format!("{}        capacity_rps: {rps}\n{}", &text[..at], &text[at..]),
    );
}

#[test]
fn a_restart_goes_on_with_the_ramp_of_a_cell_that_comes_back() {
    let world = World::prepared(|folder| capacity(folder, 100_000));
    assert_eq!(ask(&world).status, 200);
    behave(&world, Behaviour::Killed);
    eventually("the cell to be down", || {
        let _ = ask(&world);
        (standing(&world)["phase"] == "down").then_some(())
    });
    behave(&world, Behaviour::Normal);
    eventually("it to be probed", || {
        let _ = ask(&world);
        let seen = standing(&world);
        let probed = seen["phase"] == "probing" || seen["phase"] == "ramping";
        probed.then_some(())
    });
    let world = world.restart();
    let rate = eventually("the next process to say how far it is", || {
        let seen = standing(&world);
        (seen["phase"] == "probing" || seen["phase"] == "ramping").then(|| seen["admitted_rps"].as_f64())?
    });
    // A process that knows nothing begins with a tenth, 10,000.
    assert!(rate < 5_000.0, "{rate}");
}

#[test]
fn what_is_known_of_cells_is_written_down_when_the_process_ends() {
    let world = World::prepared(|_| {});
    assert_eq!(ask(&world).status, 200);
    let file = world.edge.folder.path("state/standing.cellgate");
    assert!(!file.exists(), "once a minute where nothing happens");
    let world = world.restart();
    assert!(world.edge.folder.path("state/standing.cellgate").exists());
}

/// What a cell in this mode answers, how often a dead endpoint of it was tried, and what `/cells` says of it.
fn watched(mode: &str) -> (Vec<u16>, u64, Value) {
    let until = if mode == "observe" { ", observe_until: 2999-01-01T00:00:00Z" } else { "" };
    let parts = ["bulkhead", "health", "queue", "failover", "recovery"];
    let modes = parts.map(|part| format!("{part}: '{mode}'")).join(", ");
    // The limiter cannot be off.
    let limit = if mode == "observe" { "observe" } else { "enforce" };
    let modes = format!("modes: {{ {modes}, limit: {limit}{until} }}");
    let (_held, dead) = dead();
    let world = World::prepared(|folder| folder.tune("cell-1", &["max_in_flight: 100", &modes]));
    let port = world.cell("cell-1").addr().port();
    world.edge.folder.point("cell-1", &format!("127.0.0.1:{port}, \"{dead}\""));
    assert_eq!(raw_http::admin(&world.edge.socket(), "POST", "/reload").status, 200);
    let mut statuses: Vec<u16> = (0..60)
        .map(|number| {
            // Looks come in between, so that what only watches has its say.
            if number % 10 == 9 {
                std::thread::sleep(std::time::Duration::from_millis(150));
            }
            ask(&world).status
        })
        .collect();
    behave(&world, Behaviour::Killed);
    // A child that another test starts at this moment has the cell's sockets until it is another program.
    let cell = world.cell("cell-1").addr();
    eventually("nobody to take a connection", || TcpStream::connect(cell).is_err().then_some(()));
    statuses.extend((0..40).map(|_| ask(&world).status));
    let refused = refused(&world, 100);
    let mut page = standing(&world);
    if mode == "observe" {
        // What the page says is as old as its last report.
        page = eventually("the page to say so", || {
            let page = standing(&world);
            let has = |act: &str, least: u64| would_have(&page, "health", act) >= least;
            (has("ejected", 1) && has("elsewhere", 10)).then_some(page)
        });
    }
    (statuses, refused, page)
}

/// How often a part that only watches would have done this, by what `/cells` says.
fn would_have(page: &Value, policy: &str, act: &str) -> u64 {
    let Some(all) = page["would_have"].as_array() else { return 0 };
    all.iter().find(|one| one[0] == policy && one[1] == act).and_then(|one| one[2].as_u64()).unwrap_or(0)
}

#[test]
fn what_only_watches_changes_nothing_on_the_wire_and_says_what_it_would_have_done() {
    let (off, tried_off, page_off) = watched("off");
    let (observed, tried_observed, page) = watched("observe");
    assert_eq!(off, observed);
    assert_eq!(off[..60], [200; 60]);
    assert!(off[60..].iter().all(|status| *status == 502), "{off:?}");
    assert_eq!(tried_off, tried_observed, "the dead endpoint is tried as often");
    assert!(page_off.get("would_have").is_none(), "{page_off}");
    assert!(would_have(&page, "health", "ejected") >= 1, "{page}");
    assert!(would_have(&page, "health", "elsewhere") >= 10, "half of what came after it: {page}");
}
