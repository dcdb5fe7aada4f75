//! What requests feel of `hold`: they wait within the budget and the places of moves, and go on when it is released.

use std::io::Write;
use std::time::{Duration, Instant};

use loadtest::client::{Ask, Http};

use super::felt::{HOST, NEIGHBOUR, OTHER, ask, check, is_refused, pulled, release, request, touched};
use crate::raw_http;
use crate::running::eventually;
use crate::world::World;

/// A third account of cell-1.
const THIRD: u64 = 70_403_103_916_040;

/// With this budget, in words of the configuration.
fn world(moves: &str) -> World {
    World::prepared(|folder| {
        folder.write("config/moves.csv", "account,from,to,state,epoch\n");
        folder.append("config/cellgate.yaml", &format!("moves: {{ file: moves.csv, {moves} }}"));
        folder.append("config/accounts.csv", &format!("{THIRD},,cell-1,,"));
    })
}

fn waiting(world: &World) -> u32 {
    world.edge.running().snapshot().cells[0].load.waiting.taken()
}

fn until_waiting(world: &World, count: u32) {
    eventually(&format!("{count} requests to wait"), || (waiting(world) == count).then_some(()));
}

fn post(world: &World, host: &str) -> raw_http::RawReply {
    let mut connection = raw_http::tcp(world.edge.addr("http"));
    raw_http::ask(&mut connection, request("POST", host, "/x", "").as_bytes()).unwrap()
}

#[test]
fn who_is_held_is_refused_when_its_time_is_over_and_nothing_was_sent() {
    let world = world("budget: 200ms");
    check(&world, "hold cell cell-1", || {
        let before = world.cell("cell-1").requests();
        assert!(!is_refused(&ask(&world, OTHER, "/x", "")));
        let refused = is_refused(&ask(&world, HOST, "/x", ""));
        assert_eq!(world.cell("cell-1").requests() - before, u64::from(!refused));
        refused
    });
    check(&world, "hold account 70403103966603", || {
        assert!(!is_refused(&ask(&world, NEIGHBOUR, "/x", "")));
        is_refused(&ask(&world, HOST, "/x", ""))
    });
    check(&world, "hold cell cell-1 writes", || {
        assert!(!is_refused(&ask(&world, HOST, "/x", "")), "reads go on");
        is_refused(&post(&world, HOST))
    });
    let lever = pulled(&world.edge.folder, "hold cell cell-1");
    ask(&world, HOST, "/x", "X-Request-Id: held-and-refused\r\n");
    let line = world.edge.access_line("held-and-refused");
    assert_eq!(line["refusal"], "shed_operator", "{line}");
    assert_eq!(touched(&world.edge.folder, lever), 1);
    assert_eq!(waiting(&world), 0);
}

#[test]
fn who_waits_goes_on_when_the_lever_is_released() {
    let world = world("budget: 4s");
    let mut released = false;
    // A budget is over sooner than a slow machine has typed a command: then it is tried again.
    for _ in 0..5 {
        let lever = pulled(&world.edge.folder, "hold cell cell-1");
        let client = world.edge.plain(Http::H1);
        let ask = Ask::post(HOST, "/x", "body").header("x-request-id", "held-and-sent");
        let asked = world.spawn(async move { client.ask(&ask).await.unwrap() });
        // It may have waited for all of its budget before this looks.
        let waits = eventually("a request to wait", || {
            let is_over = asked.is_finished();
            (waiting(&world) == 1).then_some(true).or(is_over.then_some(false))
        });
        release(&world.edge.folder, lever);
        let reply = world.block_on(asked).unwrap();
        assert_eq!(waiting(&world), 0);
        assert!(waits || reply.status == 503, "nothing has held it: {}", reply.text());
        if reply.status == 200 {
            assert_eq!(reply.cell(), Some("cell-1"));
            released = true;
            break;
        }
    }
    assert!(released);
}

#[test]
fn those_who_wait_are_bounded_and_a_client_that_goes_frees_its_place() {
    let budget = Duration::from_secs(4);
    let world = world("budget: 4s, waiting_per_account: 1, waiting_per_cell: 2");
    pulled(&world.edge.folder, "hold cell cell-1");
    let wait = |host: &str| {
        let mut connection = raw_http::tcp(world.edge.addr("http"));
        connection.write_all(request("GET", host, "/x", "").as_bytes()).unwrap();
        connection
    };
    let taken = eventually("two to wait at once", || {
        let since = Instant::now();
        let first = [wait(HOST), wait(NEIGHBOUR)];
        // The time of the first may be over before the second has come: then it is tried again.
        eventually("two requests to wait", || {
            (waiting(&world) == 2 || since.elapsed() > budget).then_some(())
        });
        // Of another account, for which there is room in the account and none in the cell.
        let third = ask(&world, "cloud.getdbt.com", &format!("/deploy/{THIRD}/x"), "");
        // Those who wait may have gone meanwhile: their time was over.
        (waiting(&world) == 2 && is_refused(&third)).then_some(first)
    });
    drop(taken);
    until_waiting(&world, 0);
}
