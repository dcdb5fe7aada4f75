//! `break-glass traffic`: a saturated cell lets operators in, over TLS and with the pass; and the pass is never sent on.

use std::io::Write;

use loadtest::cell::CellOptions;
use loadtest::client::{Ask, Http};

use super::felt::{HOST, OTHER, ask, is_refused, pulled, release, request, touched};
use super::{command, listed, pull};
use crate::command_line::said;
use crate::raw_http::{self, RawReply};
use crate::running::{Folder, authority, eventually};
use crate::world::{CELLS, World};

const HEADER: &str = "x-cellgate-operator-pass";

/// Requests of everybody, and of operators beyond them.
const MOST: u32 = 4;
const RESERVED: u32 = 2;

/// In which cell-1 and its group have so many permits, and connections.
fn world() -> World {
    World::prepared(|folder| {
        folder.append("config/boot.yaml", "limits: { requests: 4 }");
        folder.tune("cell-1", &["share_percent: 100", &format!("max_in_flight: {MOST}")]);
    })
}

/// Has the command draw a pass, or use the one that is there.
fn draw(folder: &Folder, more: &[&str]) {
    let (file, permits) = (folder.path("operators.pass").display().to_string(), RESERVED.to_string());
    let words = ["break-glass", "traffic", "--permits", &permits, "--pass", &file];
    pull(folder, &[&words[..], more].concat(), 0);
}

/// The same; the line of its file and the lever's number.
fn traffic(folder: &Folder, more: &[&str]) -> (String, u64) {
    draw(folder, more);
    (
        folder.read("operators.pass").trim_end().to_owned() + "\r\n",
        listed(folder).last().unwrap()["id"].as_u64().unwrap(),
    )
}

fn over_tls(world: &World, fields: &str) -> (RawReply, impl raw_http::Connection + use<>) {
    let mut connection = raw_http::tls(world.edge.addr("https"), HOST, authority().ca_pem());
    let reply = raw_http::ask(&mut connection, request("GET", HOST, "/x", fields).as_bytes()).unwrap();
    (reply, connection)
}

fn in_flight(world: &World) -> u32 {
    world.edge.running().snapshot().cells[0].load.in_flight()
}

/// Takes all that the cell, its group and the process have.
fn saturate(world: &World) -> Vec<std::net::TcpStream> {
    let hang = |_| {
        let mut connection = raw_http::tcp(world.edge.addr("http"));
        connection.write_all(request("POST", HOST, "/x", "X-Sim: hang\r\n").as_bytes()).unwrap();
        connection
    };
    let hung = (0..MOST).map(hang).collect();
    eventually("the cell to be full", || (in_flight(world) == MOST).then_some(()));
    assert!(is_refused(&ask(world, HOST, "/x", "")));
    hung
}

#[test]
fn operators_get_into_a_full_cell_and_nobody_else_does() {
    let world = world();
    let folder = &world.edge.folder;
    let _hung = saturate(&world);
    let (pass, lever) = traffic(folder, &[]);
    let wrong = format!("{HEADER}: {}\r\n", "0a".repeat(32));
    let is_in = |fields: &str| !is_refused(&over_tls(&world, fields).0);
    assert!(is_in(&pass));
    assert_eq!(touched(folder, lever), 1);
    for fields in
        [String::new(), wrong.clone(), format!("{pass}{wrong}"), pass.repeat(2), pass.to_uppercase()]
    {
        assert!(!is_in(&fields), "{fields}");
    }
    assert!(is_refused(&ask(&world, HOST, "/x", &pass)), "whoever listens has it");
    let https = format!("{pass}X-Forwarded-Proto: https\r\nForwarded: proto=https\r\n");
    assert!(is_refused(&ask(&world, HOST, "/x", &https)), "it is not for clients to say");
    let over_h2 = |http| {
        let value = pass.trim_end().split_once(": ").unwrap().1;
        let ask = Ask::get(HOST, "/x").header(HEADER, value);
        let client = if http == "https" { world.edge.tls(Http::H2) } else { world.edge.plain(Http::H2) };
        world.block_on(client.ask(&ask)).unwrap().status.as_u16()
    };
    assert_eq!([over_h2("https"), over_h2("h2c")], [200, 503]);
    assert_eq!(touched(folder, lever), 2);

    // What they hold is bounded, too: the next is one like any other.
    let hang = || {
        let mut connection = raw_http::tls(world.edge.addr("https"), HOST, authority().ca_pem());
        let head = request("GET", HOST, "/x", &format!("{pass}X-Sim: hang\r\n"));
        connection.write_all(head.as_bytes()).unwrap();
        connection.flush().unwrap();
        connection
    };
    let taken = || world.edge.running().snapshot().cells[0].load.operators.taken();
    eventually("those before to be over", || (taken() == 0).then_some(()));
    let operators = [hang(), hang()];
    eventually("both to be taken", || (taken() == RESERVED).then_some(()));
    assert!(!is_in(&pass));
    drop(operators);
    eventually("them to come back", || (taken() == 0).then_some(()));
    assert!(is_in(&pass));

    // A second of the clock may be over before anybody could ask for the lever's number.
    draw(folder, &["--for", "1s"]);
    eventually("the pass to be worth nothing", || (!is_in(&pass)).then_some(()));
}

#[test]
fn operators_pass_over_what_other_levers_refuse_but_not_into_a_drained_cell() {
    let world = world();
    let folder = &world.edge.folder;
    let (pass, _) = traffic(folder, &["--cell", "cell-1"]);
    let is_in = |fields: &str| !is_refused(&over_tls(&world, fields).0);
    for words in ["shed 100% cell cell-1", "ramp set cell cell-1 rps 1", "cap cell cell-1 rps 1"] {
        let lever = pulled(folder, words);
        eventually(words, || (!is_in("")).then_some(()));
        for _ in 0..20 {
            assert!(is_in(&pass), "{words}");
        }
        release(folder, lever);
        eventually("all to be well", || is_in("").then_some(()));
    }
    let lever = pulled(folder, "drain cell cell-1");
    assert!(!is_in(&pass));
    release(folder, lever);
    assert!(is_in(&pass));
    pulled(folder, "shed 100% cell cell-2");
    let mut connection = raw_http::tls(world.edge.addr("https"), OTHER, authority().ca_pem());
    let reply = raw_http::ask(&mut connection, request("GET", OTHER, "/x", &pass).as_bytes());
    assert!(is_refused(&reply.unwrap()), "it is for another cell");
}

#[test]
fn a_pass_is_sent_to_no_cell_and_is_in_no_log_whether_a_lever_is_pulled_or_not() {
    for h2 in [false, true] {
        let cells =
            CELLS.map(|name| if h2 { CellOptions::named(name).with_h2c() } else { CellOptions::named(name) });
        let world = World::with_cells(cells.to_vec(), |_| {});
        let folder = &world.edge.folder;
        if h2 {
            let port = world.cell("cell-1").h2c_addr().unwrap();
            folder.point("cell-1", &port.to_string());
            folder.over_http2("cell-1");
            assert_eq!(raw_http::admin(&world.edge.socket(), "POST", "/reload").status, 200);
        }
        let file = folder.path("operators.pass").display().to_string();
        let (pass, lever) = traffic(folder, &[]);
        let value = pass.trim_end().split_once(": ").unwrap().1.to_owned();
        let mut asked = 0;
        for pulled in [true, false] {
            if !pulled {
                release(folder, lever);
            }
            for name in [HEADER, "X-Cellgate-Operator-Pass"] {
                let fields = format!("{name}: {value}\r\nX-Request-Id: with-a-pass-{asked}\r\n");
                assert_eq!(over_tls(&world, &fields).0.status, 200);
                assert_eq!(ask(&world, HOST, "/x", &fields).status, 200);
                asked += 2;
            }
            for client in [world.edge.tls(Http::H2), world.edge.plain(Http::H2)] {
                let ask = Ask::get(HOST, "/x").header(HEADER, &value);
                assert_eq!(world.block_on(client.ask(&ask)).unwrap().status, 200);
                asked += 1;
            }
        }
        let seen = world.cell("cell-1").seen();
        assert_eq!(seen.len(), asked);
        for request in seen {
            let fields = request.headers.iter().chain(&request.trailers);
            let told = fields
                .filter(|(name, text)| name.eq_ignore_ascii_case(HEADER) || text.contains(&value))
                .count();
            assert_eq!(told, 0, "{request:?}");
        }
        world.edge.access_line(&format!("with-a-pass-{}", asked - 4));
        for file in ["log/access.log", "state/audit.jsonl", "state/levers.cellgate"] {
            assert!(!folder.read(file).contains(&value), "{file}");
        }
        for page in ["/levers", "/metrics", "/status", "/config"] {
            assert!(!raw_http::admin(&world.edge.socket(), "GET", page).text().contains(&value), "{page}");
        }
        said(&command(folder, &["levers"]), 0);
        assert!(std::path::Path::new(&file).exists());
    }
}
