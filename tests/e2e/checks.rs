//! Active checks from end to end: real servers that are well, say that they are not, break, or say nothing.

mod servers;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;

use devcerts::{Authority, Usage};
use loadtest::cell::{CellOptions, RunningCell, Seen};
use loadtest::tls::ServerTls;

use crate::raw_http;
use crate::running::{Edge, Folder, eventually};
use crate::world::{CELLS, World, runtime, start_cells};
use servers::{GrpcHealth, Nginx, Scripted};

/// As often as the configuration allows.
const OFTEN: &str = "interval: 500ms, timeout: 500ms";

/// Where no check may be late: a busy machine stops a thread for a second.
const PATIENT: &str = "interval: 2s, timeout: 2s";

/// Checks of a cell that ended so.
fn count(edge: &Edge, cell: &str, result: &str) -> u64 {
    let page = raw_http::page(edge.admin(), "/metrics").text();
    let series = format!("cellgate_endpoint_checks_total{{cell=\"{cell}\",result=\"{result}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&series));
    line.expect("a cell with checks has all results from the start").parse().unwrap()
}

/// Waits for two more checks of a cell that end so: the first may have begun before whatever was changed last.
fn then(edge: &Edge, cell: &str, result: &str) {
    let before = count(edge, cell, result);
    let what = format!("two more checks of {cell}: {result}");
    eventually(&what, || (count(edge, cell, result) >= before + 2).then_some(()));
}

fn reload(edge: &Edge) {
    let reply = raw_http::admin(&edge.socket(), "POST", "/reload");
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// A cellgate whose first cell has these endpoints and this check.
fn checked(endpoints: &str, check: &str) -> Edge {
    let folder = Folder::example(&BTreeMap::new());
    folder.point("cell-1", endpoints);
    folder.tune("cell-1", &[&format!("check: {{ {check} }}")]);
    Edge::start(folder)
}

#[test]
fn nginx_that_turns_503_and_back() {
    let nginx = Nginx::start();
    let edge = checked(&nginx.addr.to_string(), &format!("kind: http, path: /healthz?from=edge, {PATIENT}"));
    then(&edge, "cell-1", "passed");
    nginx.is_down(true);
    then(&edge, "cell-1", "status");
    nginx.is_down(false);
    then(&edge, "cell-1", "passed");
    for result in ["unconnected", "broken", "timed_out", "not_serving", "unexpected", "ours"] {
        assert_eq!(count(&edge, "cell-1", result), 0, "{result}");
    }
    let seen = nginx.seen();
    let agent = concat!("cellgate-check/", env!("CARGO_PKG_VERSION"));
    let asked = format!(" 1 GET /healthz?from=edge HTTP/1.1 us1.dbt.com {agent}");
    let mut connections: Vec<&str> = seen.iter().map(|line| line.strip_suffix(&asked).unwrap()).collect();
    connections.dedup();
    assert_eq!(connections.len(), seen.len(), "each on a connection of its own: {seen:?}");
}

#[test]
fn grpcio_that_serves_and_does_not() {
    let mut server = GrpcHealth::start();
    server.set("shop.v1.Cart", "SERVING");
    let edge = checked(&server.addr.to_string(), &format!("kind: grpc, service: shop.v1.Cart, {PATIENT}"));
    then(&edge, "cell-1", "passed");
    server.set("shop.v1.Cart", "NOT_SERVING");
    then(&edge, "cell-1", "not_serving");
    server.set("shop.v1.Cart", "SERVING");
    then(&edge, "cell-1", "passed");
    // The whole of it, and a service that it does not know.
    edge.folder.edit("config/cellgate.yaml", "service: shop.v1.Cart, ", "");
    reload(&edge);
    then(&edge, "cell-1", "passed");
    edge.folder.edit("config/cellgate.yaml", "kind: grpc, ", "kind: grpc, service: nobody, ");
    reload(&edge);
    then(&edge, "cell-1", "not_serving");
    for result in ["unconnected", "broken", "timed_out", "status", "unexpected", "ours"] {
        assert_eq!(count(&edge, "cell-1", result), 0, "{result}");
    }
}

#[test]
fn a_port_that_closes_and_a_name_that_is_none() {
    let runtime = runtime();
    let server = Scripted::start(&runtime, None);
    let edge = checked(&format!("127.0.0.1:{}", server.port), &format!("kind: tcp, {OFTEN}"));
    then(&edge, "cell-1", "passed");
    server.close();
    then(&edge, "cell-1", "unconnected");
    // Whose fault that is nobody knows, and the endpoint's it is not.
    edge.folder.point("cell-1", "nobody.invalid:80");
    reload(&edge);
    then(&edge, "cell-1", "ours");
}

#[test]
fn answers_that_are_none_and_answers_that_are_long() {
    const LONG: &str = "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n";
    let long: &'static str = Box::leak(format!("{LONG}{}", "x".repeat(200_000)).into());
    let answers: [(&str, &'static [u8], &str); 4] = [
        ("cell-1", b"220 mail.example ESMTP\r\n", "broken"),
        ("cell-2", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nwell", "broken"),
        ("cell-3", long.as_bytes(), "passed"),
        ("shared", b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "passed"),
    ];
    let runtime = runtime();
    let folder = Folder::example(&BTreeMap::new());
    let servers = answers.map(|(cell, says, _)| {
        let server = Scripted::start(&runtime, Some(says));
        folder.point(cell, &format!("127.0.0.1:{}", server.port));
        folder.tune(cell, &[&format!("check: {{ kind: http, path: /, {OFTEN} }}")]);
        server
    });
    let edge = Edge::start(folder);
    for (cell, _, result) in answers {
        then(&edge, cell, result);
        let other = if result == "passed" { "broken" } else { "passed" };
        assert_eq!(count(&edge, cell, other), 0, "{cell}");
    }
    drop((edge, servers));
}

#[test]
fn a_cell_behind_tls_is_checked_as_it_is_trusted() {
    const SNI: &str = "cell-1.cells.internal";
    let (ours, others) = (Authority::new("cells").unwrap(), Authority::new("others").unwrap());
    let runtime = runtime();
    let start = |authority: &Authority| {
        let pair = authority.issue(&[SNI], Usage::Server).unwrap();
        let tls = ServerTls { cert_pem: pair.cert_pem, key_pem: pair.key_pem, client_ca_pem: None };
        runtime.block_on(RunningCell::start(CellOptions::named("cell-1").with_tls(tls))).unwrap()
    };
    let (good, wrong) = (start(&ours), start(&others));
    let folder = Folder::example(&BTreeMap::new());
    folder.write("certs/cells.pem", ours.ca_pem());
    folder.over_http2("cell-2");
    let check = format!("check: {{ kind: http, path: /healthz, {OFTEN} }}");
    for cell in ["cell-1", "cell-2"] {
        folder.point(cell, &good.addr().to_string());
        folder.tune(cell, &[&format!("tls: {{ ca: ../certs/cells.pem, sni: {SNI} }}"), &check]);
    }
    let edge = Edge::start(folder);
    then(&edge, "cell-1", "passed");
    then(&edge, "cell-2", "passed");
    let seen = good.seen();
    for (alpn, scheme) in [("http/1.1", None), ("h2", Some("https"))] {
        let tls_of = |seen: &Seen| seen.tls.clone().unwrap();
        let over = seen.iter().find(|seen| tls_of(seen).alpn.as_deref() == Some(alpn)).unwrap();
        assert_eq!((over.target.as_str(), over.scheme.as_deref()), ("/healthz", scheme));
        assert_eq!(tls_of(over).sni.as_deref(), Some(SNI));
    }
    for cell in ["cell-1", "cell-2"] {
        assert_eq!(count(&edge, cell, "unconnected"), 0);
        edge.folder.point(cell, &wrong.addr().to_string());
    }
    reload(&edge);
    then(&edge, "cell-1", "unconnected");
    then(&edge, "cell-2", "unconnected");
    assert_eq!(wrong.requests(), 0, "nobody is asked who is not trusted");
}

#[test]
fn a_cell_of_http2_alone_is_asked_over_it() {
    let runtime = runtime();
    let cells = start_cells(&runtime, vec![CellOptions::named("cell-1").with_h2c()]);
    let folder = Folder::example(&BTreeMap::new());
    folder.over_http2("cell-1");
    folder.point("cell-1", &cells["cell-1"].h2c_addr().unwrap().to_string());
    folder.tune("cell-1", &[&format!("check: {{ kind: http, path: /healthz, {OFTEN} }}")]);
    let world = World::of(Edge::start(folder), cells, runtime);
    then(&world.edge, "cell-1", "passed");
    let seen = world.cell("cell-1").seen();
    for seen in &seen {
        assert_eq!((seen.version.as_str(), seen.authority.as_deref()), ("HTTP/2.0", Some("us1.dbt.com")));
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/healthz"));
    }
    // In no order: one that was late may be read after the next.
    let connections: BTreeSet<u64> = seen.iter().map(|seen| seen.connection).collect();
    assert!(seen.len() > 1 && connections.len() == seen.len(), "each on a connection of its own");
}

#[test]
fn a_server_that_says_nothing_is_late_and_keeps_no_connection() {
    let runtime = runtime();
    let folder = Folder::example(&BTreeMap::new());
    let kinds = [
        ("cell-1", "kind: http, path: /"),
        ("cell-2", "kind: http, path: /, statuses: [200]"),
        ("cell-3", "kind: grpc"),
    ];
    folder.over_http2("cell-2");
    let check = |kind: &str| format!("check: {{ {kind}, interval: 500ms, timeout: 200ms }}");
    let servers = kinds.map(|(cell, kind)| {
        let server = Scripted::start(&runtime, None);
        folder.point(cell, &format!("127.0.0.1:{}", server.port));
        folder.tune(cell, &[&check(kind)]);
        server
    });
    let edge = Edge::start(folder);
    for ((cell, kind), server) in kinds.iter().zip(&servers) {
        then(&edge, cell, "timed_out");
        for result in ["passed", "unconnected", "broken"] {
            assert_eq!(count(&edge, cell, result), 0, "{cell} {result}");
        }
        // A connection may wait to be accepted for longer than its check waits for an answer.
        eventually("both to be accepted", || (server.accepted() >= 2).then_some(()));
        edge.folder.edit("config/cellgate.yaml", &format!("    {}\n", check(kind)), "");
    }
    reload(&edge);
    for ((cell, _), server) in kinds.iter().zip(&servers) {
        eventually(&format!("{cell} to have no connection left"), || (server.open() == 0).then_some(()));
    }
}

#[test]
fn checks_that_hang_delay_no_others() {
    let runtime = runtime();
    let silent = Scripted::start(&runtime, None);
    let folder = Folder::example(&BTreeMap::new());
    // Each is checked once in the time, one of them soon.
    let endpoints: Vec<String> = (1..=50).map(|n| format!("127.0.0.{n}:{}", silent.port)).collect();
    folder.point("cell-1", &endpoints.join(", "));
    folder.tune("cell-1", &["check: { kind: http, path: /, interval: 60s, timeout: 60s }"]);
    let well = Scripted::start(&runtime, None);
    folder.point("cell-2", &format!("127.0.0.1:{}", well.port));
    folder.tune("cell-2", &[&format!("check: {{ kind: tcp, {OFTEN} }}")]);
    let edge = Edge::start(folder);
    eventually("checks to hang", || (silent.open() > 0).then_some(()));
    then(&edge, "cell-2", "passed");
    assert!(silent.open() > 0, "and they hang still");
    assert_eq!(count(&edge, "cell-1", "timed_out"), 0);
}

#[test]
fn a_cell_with_no_room_for_a_request_has_room_for_its_checks() {
    let world = World::with_cells(CELLS.map(CellOptions::named).to_vec(), |folder| {
        let zone = "      - zone: local\n";
        let text = folder.read("config/cellgate.yaml");
        let text =
            text.replacen(zone, &format!("{zone}        max_in_flight: 1\n        max_connections: 1\n"), 1);
        folder.write("config/cellgate.yaml", &text);
        folder.tune("cell-1", &[&format!("check: {{ kind: http, path: /healthz, {OFTEN} }}")]);
    });
    let taken = || {
        let snapshot = world.edge.running().snapshot();
        let (cell, group) = (&snapshot.cells[0], &snapshot.cells[0].groups[0]);
        let connections = &group.endpoints[0].connections;
        [cell.load.in_flight(), group.requests.permits.taken(), connections.permits.taken()]
    };
    assert_eq!(taken(), [0; 3]);
    then(&world.edge, "cell-1", "passed");
    assert_eq!(taken(), [0; 3], "no check leaves a connection in the pool");
    let mut connection: TcpStream = raw_http::tcp(world.edge.addr("http"));
    let hang = "POST /x HTTP/1.1\r\nHost: ab123.us1.dbt.com\r\nContent-Length: 0\r\nX-Sim: hang\r\n\r\n";
    connection.write_all(hang.as_bytes()).unwrap();
    eventually("the request to hang", || (taken() == [1; 3]).then_some(()));
    then(&world.edge, "cell-1", "passed");
    assert_eq!(taken(), [1; 3]);
    let seen = world.cell("cell-1").seen();
    let checks: Vec<u64> =
        seen.iter().filter(|seen| seen.target == "/healthz").map(|seen| seen.connection).collect();
    // In no order: one that was late may be read after the next.
    let connections: BTreeSet<&u64> = checks.iter().collect();
    assert!(checks.len() >= 3 && connections.len() == checks.len(), "{checks:?}");
    assert!(seen.iter().all(|seen| seen.target == "/healthz" || !checks.contains(&seen.connection)));
}
