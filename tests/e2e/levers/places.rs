//! What requests feel of `drain` and `evacuate`: new ones go elsewhere, or are refused where there is no elsewhere, and
//! what is open for long is told to go.

use futures_util::{SinkExt, StreamExt};
use loadtest::call::{self, Bidi};
use loadtest::cell::CellOptions;
use loadtest::client::{Ask, Http};
use loadtest::socket::tungstenite::Message;
use loadtest::socket::tungstenite::protocol::frame::coding::CloseCode;
use loadtest::socket::{self, Socket};

use super::felt::{HOST, OTHER, ask, check, is_refused, pulled, touched};
use crate::raw_http;
use crate::running::{PATIENCE, eventually};
use crate::world::{CELLS, World};

/// Accounts of cell-1 by their numbers: so many that each group has some of them.
const ACCOUNTS: std::ops::Range<u64> = 70_403_103_916_040..70_403_103_916_090;

/// Both of cell-1's, in turn or by account.
const BOTH: [bool; 2] = [true, true];
const SPARE: [bool; 2] = [false, true];

/// Five cells, of which the first and the spare one are cell-1's.
fn world(groups: impl FnOnce(&str, &str) -> String) -> World {
    let cells = CELLS.into_iter().chain(["spare"]).map(CellOptions::named).collect();
    let rows: Vec<String> = ACCOUNTS.map(|account| format!("{account},,cell-1,,")).collect();
    let world = World::with_cells(cells, |folder| folder.append("config/accounts.csv", &rows.join("\n")));
    let [first, spare] = ["cell-1", "spare"].map(|name| world.cell(name).addr().to_string());
    let before = format!("      - zone: local\n        endpoints: [{first}]\n");
    world.edge.folder.edit("config/cellgate.yaml", &before, &groups(&first, &spare));
    let reply = raw_http::admin(&world.edge.socket(), "POST", "/reload");
    assert_eq!(reply.status, 200, "{}", reply.text());
    world
}

fn in_one_group() -> World {
    world(|first, spare| format!("      - zone: local\n        endpoints: [{first}, {spare}]\n"))
}

fn in_two_zones() -> World {
    let world = world(|first, spare| {
        let group = |zone, address| {
            format!("      - zone: {zone}\n        capacity_rps: 10000\n        endpoints: [{address}]\n")
        };
        group("local", first) + &group("far", spare)
    });
    // Until the first look all is the first group's.
    eventually("both groups to be seen", || (who_answers(&world) == BOTH).then_some(()));
    world
}

/// Which of cell-1's answers requests of many accounts; each is answered.
fn who_answers(world: &World) -> [bool; 2] {
    let mut found = [false; 2];
    for account in ACCOUNTS {
        let reply = ask(world, "cloud.getdbt.com", &format!("/deploy/{account}/x"), "");
        assert_eq!(reply.status, 200, "{reply:?}");
        let cell = reply.header("x-cell").unwrap().to_owned();
        let at = ["cell-1", "spare"].into_iter().position(|name| name == cell).unwrap();
        found[at] = true;
    }
    found
}

#[test]
fn a_drained_endpoint_gets_nothing_new_and_its_neighbour_all() {
    let world = in_one_group();
    let first = world.cell("cell-1").addr();
    assert_eq!(who_answers(&world), BOTH);
    check(&world, &format!("drain endpoint {first}"), || who_answers(&world) == SPARE);
    assert_eq!(who_answers(&world), BOTH);
}

#[test]
fn what_a_cell_has_in_a_drained_place_gets_nothing_new_and_nobody_is_refused() {
    for words in ["drain group cell-1 local", "drain zone local", "evacuate zone local"] {
        let world = in_two_zones();
        assert_eq!(who_answers(&world), BOTH);
        // The next request already: not one of them is refused.
        let lever = pulled(&world.edge.folder, words);
        assert_eq!(who_answers(&world), SPARE, "{words}");
        assert!(touched(&world.edge.folder, lever) > 0, "{words}");
        let elsewhere = || is_bare(&world);
        assert_eq!(elsewhere(), !words.contains("cell-1"), "{words}");
        pulled(&world.edge.folder, &format!("{words} --for 1s"));
        eventually(words, || (who_answers(&world) == BOTH).then_some(()));
        assert!(!is_bare(&world), "{words}");
    }
}

/// Whether nothing is left of a cell that is in one zone alone.
fn is_bare(world: &World) -> bool {
    let reply = ask(world, OTHER, "/x", "");
    assert_eq!(reply.header("x-cell").is_some(), reply.status == 200);
    if reply.status == 200 {
        return false;
    }
    // Somebody has said so, and says when to come again.
    let told = (reply.status, reply.header("x-cellgate-outcome"), reply.header("retry-after").is_some());
    assert_eq!(told, (503, Some("not-forwarded"), true), "{reply:?}");
    true
}

#[test]
fn a_drained_cell_takes_nothing_and_others_do() {
    let world = World::example();
    check(&world, "drain cell cell-1", || {
        assert!(!is_refused(&ask(&world, OTHER, "/x", "")));
        is_refused(&ask(&world, HOST, "/x", ""))
    });
    check(&world, "drain zone local", || is_bare(&world));
}

async fn echo(socket: &mut Socket) {
    socket.stream.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.stream.next().await.unwrap().unwrap(), Message::text("hello"));
}

#[test]
fn what_is_open_in_an_evacuated_zone_is_told_to_go_and_what_is_elsewhere_stays() {
    let world = in_two_zones();
    let target = |account: u64| format!("/deploy/{account}/x");
    let (mut there, mut elsewhere) = (Vec::new(), Vec::new());
    world.block_on(async {
        let client = world.edge.tls(Http::H1);
        for account in ACCOUNTS.take(16) {
            let mut open =
                socket::open(&client, &Ask::get("cloud.getdbt.com", &target(account))).await.unwrap();
            echo(&mut open).await;
            if open.cell() == Some("cell-1") { there.push(open) } else { elsewhere.push(open) }
        }
    });
    assert!(!there.is_empty() && !elsewhere.is_empty());
    let (mut calls, line) = world.block_on(async {
        let line = world.edge.plain(Http::H2).open("cloud.getdbt.com").await.unwrap();
        let mut calls = Vec::new();
        for account in ACCOUNTS.take(16) {
            let path = format!("/deploy/{account}/x.Y/Bidi");
            let mut stream = Bidi::open(&line, &call::call("cloud.getdbt.com", &path, &[])).await.unwrap();
            assert!(stream.send(b"hello").await);
            assert_eq!(stream.next().await.unwrap().unwrap(), "hello");
            calls.push(stream);
        }
        (calls, line)
    });
    let streams_there = calls.iter().filter(|call| call.cell() == Some("cell-1")).count();
    assert!((1..16).contains(&streams_there), "{streams_there}");
    let lever = pulled(&world.edge.folder, "evacuate zone local");
    let sockets_there = there.len();
    world.block_on(async {
        for mut socket in there {
            let last = tokio::time::timeout(PATIENCE, socket.stream.next()).await;
            let last = last.expect("they are told within ten seconds").unwrap().unwrap();
            let Message::Close(Some(close)) = last else { unreachable!("no close frame: {last:?}") };
            assert_eq!(close.code, CloseCode::Away);
        }
        for mut stream in calls.extract_if(.., |call| call.cell() == Some("cell-1")) {
            let ended = async {
                assert_eq!(stream.next().await.unwrap(), None);
                stream.end().await.unwrap().status()
            };
            let status = tokio::time::timeout(PATIENCE, ended).await;
            assert_eq!(status.expect("it is told within ten seconds"), Some(14), "UNAVAILABLE");
        }
        for socket in &mut elsewhere {
            echo(socket).await;
        }
        for stream in &mut calls {
            assert!(stream.send(b"still").await);
            assert_eq!(stream.next().await.unwrap().unwrap(), "still");
        }
    });
    drop(line);
    assert_eq!(touched(&world.edge.folder, lever), (sockets_there + streams_there) as u64);
    assert_eq!(who_answers(&world), SPARE);
}
