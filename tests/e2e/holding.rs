//! What a replica does while an account moves: a write waits and goes to the new cell, tunnels say goodbye, what is
//! left at the old cell is counted and cut.

mod ends;
mod waits;

use loadtest::client::Http;
use serde_json::{Value, json};

use crate::raw_http;
use crate::running::{Folder, eventually};
use crate::world::World;

/// The account that moves from cell-1 to cell-2, by its own address.
const HOST: &str = "ab123.us1.dbt.com";
const ACCOUNT: &str = "70403103966603";
const ROW: &str = "70403103966603,ab123,cell-1,,";

/// It stays in cell-1.
const OTHER: &str = "hj210.us1.dbt.com";

/// A table without a move, and these keys of `moves`. What waits has the longest time that there is, where nothing else is said.
fn prepared(folder: &Folder, keys: &str) {
    write(folder, "");
    let budget = if keys.contains("budget: ") { "" } else { ", budget: 4s" };
    folder.append("config/cellgate.yaml", &format!("moves: {{ file: moves.csv{budget}{keys} }}"));
}

fn world(keys: &str) -> World {
    World::prepared(|folder| prepared(folder, keys))
}

fn write(folder: &Folder, rows: &str) {
    folder.write("config/moves.csv", &format!("account,from,to,state,epoch\n{rows}"));
}

/// Publishes the next state of the move; it serves when this returns.
fn publish(world: &World, state: &str) {
    let folder = &world.edge.folder;
    // No state is left out: guards would refuse it.
    if state == "holding" && world.edge.running().snapshot().moves.table.open().next().is_none() {
        publish(world, "prepare");
    }
    if state == "flipped" {
        // Until the other table says the same, this is half of a change, which is not believed.
        folder.edit("config/accounts.csv", ROW, &ROW.replace("cell-1", "cell-2"));
    }
    write(folder, &format!("{ACCOUNT},cell-1,cell-2,{state},1\n"));
    let reply = raw_http::admin(&world.edge.socket(), "POST", "/reload");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let moves = &world.edge.running().snapshot().moves;
    assert!(moves.table.iter().any(|(_, of)| of.state.as_str() == state), "{state} serves");
}

/// `/moves`, the same behind both doors.
fn moves(world: &World) -> Value {
    let page = raw_http::page(world.edge.admin(), "/moves").json();
    assert!(page["moves"].is_array(), "{page}");
    page
}

/// The one move that is reported: its writes at the old cell, and its requests that wait.
fn counts(world: &World) -> (u64, u64) {
    let page = moves(world);
    assert_eq!(page["moves"].as_array().unwrap().len(), 1, "{page}");
    let count = |key: &str| page["moves"][0][key].as_u64().unwrap();
    (count("writes_at_old_cell"), count("waiting"))
}

fn until_waiting(world: &World, count: u64) {
    eventually(&format!("{count} requests to wait"), || (counts(world).1 == count).then_some(()));
}

fn metric(world: &World, line: &str) -> bool {
    raw_http::page(world.edge.admin(), "/metrics").text().lines().any(|found| found == line)
}

#[test]
fn a_replica_says_how_far_it_is_behind_both_doors() {
    let world = world("");
    let serves = |generation: u64| {
        let snapshot = world.edge.running().snapshot();
        assert_eq!(snapshot.generation.0, generation);
        let process = moves(&world)["process"].clone();
        json!({
            "process": process, "predecessors": [], "generation": generation, "hash": snapshot.hash.to_string(),
            "moves": [],
        })
    };
    assert_eq!(moves(&world), serves(1));
    publish(&world, "prepare");
    let mut expect = serves(2);
    expect["moves"] = json!([{
        "account": ACCOUNT, "from": "cell-1", "to": "cell-2", "state": "prepare", "epoch": 1,
        "writes_at_old_cell": 0, "waiting": 0,
    }]);
    assert_eq!(moves(&world), expect);
    assert_eq!(raw_http::admin(&world.edge.socket(), "GET", "/moves").json(), expect);
    assert!(metric(&world, r#"cellgate_moves_open{state="prepare"} 1"#));
    publish(&world, "holding");
    assert!(metric(&world, r#"cellgate_moves_open{state="prepare"} 0"#));
    assert!(metric(&world, r#"cellgate_moves_open{state="holding"} 1"#));
    publish(&world, "flipped");
    assert_eq!(moves(&world), serves(4), "it is over, and nothing is left at the old cell");
    assert!(metric(&world, r#"cellgate_moves_open{state="holding"} 0"#));
    for http in [Http::H1, Http::H2] {
        let ask = loadtest::client::Ask::get(HOST, "/");
        assert_eq!(world.block_on(world.edge.plain(http).ask(&ask)).unwrap().cell(), Some("cell-2"));
    }
}
