//! Bulkheads from end to end: a cell that takes everything and answers nothing fills its own compartment, whatever
//! it is that it could use up.

use std::io::Write;
use std::net::TcpStream;

use crate::raw_http::{self, RawReply};
use crate::running::{Folder, eventually};
use crate::world::World;

/// Own addresses of accounts in the first two cells.
const HOST: &str = "ab123.us1.dbt.com";
const OTHER: &str = "globex.us1.dbt.com";

fn boot(folder: &Folder, limits: &str) {
    folder.append("config/boot.yaml", &format!("limits: {{ {limits} }}"));
}

/// A request that its cell never answers.
fn hang(world: &World) -> TcpStream {
    let mut connection = raw_http::tcp(world.edge.addr("http"));
    let request = format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\nX-Sim: hang\r\n\r\n");
    connection.write_all(request.as_bytes()).unwrap();
    connection
}

fn ask(world: &World, host: &str) -> RawReply {
    let request = format!("POST /x HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
    raw_http::ask(&mut raw_http::tcp(world.edge.addr("http")), request.as_bytes()).unwrap()
}

/// In flight at the first cell, in its first group, and connections to that.
fn taken(world: &World) -> [u32; 3] {
    let snapshot = world.edge.running().snapshot();
    let (cell, group) = (&snapshot.cells[0], &snapshot.cells[0].groups[0]);
    let connections = &group.endpoints[0].connections;
    [cell.load.in_flight(), group.requests.permits.taken(), connections.permits.taken()]
}

/// Requests that hang, all of them at their cell.
fn hanging(world: &World, count: u32) -> Vec<TcpStream> {
    let before = world.cell("cell-1").requests();
    let hanging = (0..count).map(|_| hang(world)).collect();
    // What is at the cell has its permits of the group and a connection, too.
    eventually("all of them to be there", || {
        let there = world.cell("cell-1").requests() - before;
        (taken(world)[0] == count && there == u64::from(count)).then_some(())
    });
    hanging
}

/// Refused for this reason, with nothing sent and a time to come back.
fn refused(reply: &RawReply, error: &str) {
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(reply.header("x-cellgate-outcome"), Some("not-forwarded"));
    assert_eq!(reply.header("proxy-status"), Some(format!("cellgate; error={error}").as_str()));
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
}

/// How many refusals for this reason are counted.
fn refusals(world: &World, reason: &str) -> u32 {
    let series = format!("cellgate_refusals_total{{reason=\"{reason}\"}} ");
    let page = raw_http::page(world.edge.admin(), "/metrics").text();
    page.lines().find_map(|line| line.strip_prefix(&series)).map_or(0, |count| count.parse().unwrap())
}

/// Waits until a refusal for this reason is counted, which is after its answer.
fn counted(world: &World, reason: &str) {
    eventually("the refusal to be counted", || (refusals(world, reason) == 1).then_some(()));
}

#[test]
fn a_black_hole_holds_its_share_of_the_process_and_no_more() {
    // A quarter for each of four cells.
    let world = World::prepared(|folder| boot(folder, "requests: 16"));
    let hung = hanging(&world, 4);
    refused(&ask(&world, HOST), "connection_limit_reached");
    counted(&world, "cell_full");
    for _ in 0..20 {
        assert_eq!(ask(&world, OTHER).header("x-cell"), Some("cell-2"));
    }
    assert_eq!(taken(&world), [4, 4, 4], "requests of the cell, of its group, and connections to it");
    drop(hung);
    eventually("the permits to come back", || (taken(&world)[0] == 0).then_some(()));
    assert_eq!(ask(&world, HOST).header("x-cell"), Some("cell-1"));
}

#[test]
fn a_cell_that_may_take_all_of_the_process_takes_it() {
    let world = World::prepared(|folder| {
        boot(folder, "requests: 3");
        folder.tune("cell-1", &["share_percent: 100"]);
    });
    let hung = hanging(&world, 3);
    refused(&ask(&world, OTHER), "connection_limit_reached");
    counted(&world, "process_full");
    drop(hung);
    eventually("the permits to come back", || (taken(&world)[0] == 0).then_some(()));
    assert_eq!(ask(&world, OTHER).header("x-cell"), Some("cell-2"));
}

#[test]
fn a_group_has_permits_of_its_own() {
    let world = World::prepared(|folder| group(folder, "max_in_flight: 1"));
    let hung = hanging(&world, 1);
    refused(&ask(&world, HOST), "connection_limit_reached");
    counted(&world, "group_full");
    drop(hung);
    eventually("the permit to come back", || (taken(&world)[1] == 0).then_some(()));
    assert_eq!(ask(&world, HOST).header("x-cell"), Some("cell-1"));
}

#[test]
fn connections_to_a_group_are_bounded_and_an_idle_one_makes_room() {
    let world = World::prepared(|folder| group(folder, "max_connections: 1"));
    // The same cell under two names: two endpoints, in turn.
    let port = world.cell("cell-1").addr().port();
    world.edge.folder.point("cell-1", &format!("127.0.0.1:{port}, \"localhost:{port}\""));
    assert_eq!(raw_http::admin(&world.edge.socket(), "POST", "/reload").status, 200);
    for _ in 0..6 {
        assert_eq!(ask(&world, HOST).header("x-cell"), Some("cell-1"));
        // A moment after its answer, and with its connection idle.
        eventually("the request to be over", || (taken(&world)[0] == 0).then_some(()));
        assert_eq!(taken(&world)[2], 1, "the idle one is the only one");
    }
    let page = raw_http::page(world.edge.admin(), "/metrics").text();
    let none = "cellgate_upstream_connections_total{cell=\"cell-1\",result=\"too_many\"} 0\n";
    assert!(page.contains(none), "nobody was passed over for want of room");
    let hung = hanging(&world, 1);
    let reply = ask(&world, HOST);
    assert_eq!((reply.status, reply.header("x-cellgate-outcome")), (502, Some("not-forwarded")));
    assert_eq!(reply.header("proxy-status"), Some("cellgate; error=connection_limit_reached"));
    drop(hung);
    eventually("the connection to be closed", || (taken(&world)[2] == 0).then_some(()));
    assert_eq!(ask(&world, HOST).header("x-cell"), Some("cell-1"));
}

/// The first cell has two groups, of the same endpoint under two names, and eight permits, all of them from the beginning.
fn two_groups(folder: &Folder, key: &str) {
    folder.tune("cell-1", &["max_in_flight: 8", "modes: { recovery: 'off' }"]);
    group(folder, key);
    let text = folder.read("config/cellgate.yaml");
    let start = text.find("  - name: cell-1\n").unwrap();
    let at = start + text[start..].find("endpoints: [127.0.0.1:").unwrap();
    let end = at + text[at..].find('\n').unwrap() + 1;
    let other = text[at..end].replace("127.0.0.1", "\"localhost").replace(']', "\"]");
    let other = format!("      - zone: other\n        {key}\n        {other}");
    folder.write("config/cellgate.yaml", &format!("{}{other}{}", &text[..end], &text[end..]));
}

/// In flight in each group of the first cell.
fn in_groups(world: &World) -> [u32; 2] {
    let snapshot = world.edge.running().snapshot();
    [0, 1].map(|group| snapshot.cells[0].groups[group].requests.permits.taken())
}

/// Waits until it is decided who belongs to which group, and how many each takes.
fn with_limits(world: &World) {
    let groups =
        || raw_http::page(world.edge.admin(), "/cells").json()["cells"][0]["standing"]["groups"].clone();
    let is_known = |group: &serde_json::Value| group["limit"] == 8 && group["limit_why"] == "quiet";
    eventually("the groups to have limits", || {
        let groups = groups();
        groups.as_array().is_some_and(|groups| groups.len() == 2 && groups.iter().all(is_known)).then_some(())
    });
    let page = raw_http::page(world.edge.admin(), "/metrics").text();
    for zone in ["local", "other"] {
        let line = format!("cellgate_group_limit{{cell=\"cell-1\",zone=\"{zone}\"}} 8\n");
        assert!(page.contains(&line), "{page}");
    }
}

#[test]
fn a_group_that_is_full_by_its_own_limit_leaves_the_rest_of_the_cell_to_the_other() {
    let world = World::prepared(|folder| two_groups(folder, "max_connections: 8"));
    with_limits(&world);
    // Two of eight are for those who matter more.
    let hung = hanging(&world, 6);
    let full = in_groups(&world).iter().position(|taken| *taken == 6).expect("an account has one group");
    refused(&ask(&world, HOST), "connection_limit_reached");
    counted(&world, "group_full");
    // Nobody has declared room, so nothing goes elsewhere, however long it asks.
    eventually("some looks to pass", || {
        refused(&ask(&world, HOST), "connection_limit_reached");
        // More than that where several were counted between two looks.
        (refusals(&world, "group_full") >= 20).then_some(())
    });
    assert_eq!(in_groups(&world)[1 - full], 0);
    drop(hung);
    eventually("the permits to come back", || (in_groups(&world) == [0, 0]).then_some(()));
    assert_eq!(ask(&world, HOST).header("x-cell"), Some("cell-1"));
}

#[test]
fn who_finds_its_group_full_goes_to_another_that_has_declared_room() {
    let world = World::prepared(|folder| two_groups(folder, "capacity_rps: 10000"));
    with_limits(&world);
    let _hung = hanging(&world, 6);
    let full = in_groups(&world).iter().position(|taken| *taken == 6).expect("an account has one group");
    // The first says that there is need; the next look opens the other group.
    let mut more = Vec::new();
    eventually("the other group to take one", || {
        more.push(hang(&world));
        (in_groups(&world)[1 - full] > 0).then_some(())
    });
    assert_eq!(in_groups(&world)[full], 6);
}

/// Adds a key to the first cell's group.
fn group(folder: &Folder, key: &str) {
    let text = folder.read("config/cellgate.yaml");
    let zone = "      - zone: local\n";
    let at = text.find(zone).unwrap() + zone.len();
    folder.write("config/cellgate.yaml", &format!("{}        {key}\n{}", &text[..at], &text[at..]));
}
