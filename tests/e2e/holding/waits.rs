//! Requests that wait: what becomes of them, and that they cost nobody else anything.

use std::io::Write;

use loadtest::call;
use loadtest::client::{Ask, Http};

use super::{ACCOUNT, HOST, OTHER, counts, metric, prepared, publish, until_waiting, world};
use crate::raw_http;
use crate::running::eventually;
use crate::world::World;

const SEAL: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn post(id: &str) -> Ask {
    Ask::post(HOST, "/jobs?b=%2F", vec![b'x'; 50_000]).header("x-request-id", id)
}

#[test]
fn a_held_write_is_sent_once_and_whole_to_the_new_cell_and_wholly_under_its_generation() {
    let world = World::prepared(|folder| {
        prepared(folder, ", budget: 4s");
        folder.write_secret("config/keys/seal.key", &format!("{SEAL}\n"));
        for cell in ["cell-1", "cell-2"] {
            folder.tune(cell, &["seal: { key_id: k1, key_file: keys/seal.key }"]);
        }
    });
    let epoch = |signature: Option<&str>| signature.unwrap().split(';').nth(5).unwrap().to_owned();
    publish(&world, "prepare");
    let before = world.block_on(world.edge.plain(Http::H1).ask(&post("before"))).unwrap();
    let seen = before.seen().unwrap();
    assert_eq!((before.cell(), &*epoch(seen.header("x-cellgate-signature"))), (Some("cell-1"), "epoch=0"));
    publish(&world, "holding");
    let held: Vec<_> = [world.edge.plain(Http::H1), world.edge.tls(Http::H1), world.edge.tls(Http::H2)]
        .into_iter()
        .zip(["held-over-h1", "held-over-tls", "held-over-h2"])
        .map(|(client, id)| (id, world.spawn(async move { client.ask(&post(id)).await.unwrap() })))
        .collect();
    let client = world.edge.tls(Http::H2);
    let call = world.spawn(async move {
        let line = client.open(HOST).await.unwrap();
        call::finish(&line, &call::call(HOST, "/a.B/C", &[b"x"])).await.unwrap()
    });
    until_waiting(&world, 4);
    assert!(metric(&world, r#"cellgate_waiting_requests{cell="cell-1"} 4"#));
    let at_old = world.cell("cell-1").requests();
    publish(&world, "flipped");
    for (id, held) in held {
        let reply = world.block_on(held).unwrap();
        let seen = reply.seen().unwrap();
        assert_eq!((reply.cell(), seen.body.as_ref().unwrap().bytes), (Some("cell-2"), 50_000));
        assert_eq!(seen.header("x-cellgate-generation"), Some("4"), "it is pinned anew, to what released it");
        assert_eq!(epoch(seen.header("x-cellgate-signature")), "epoch=1");
        assert_eq!(seen.header("x-cellgate-cell"), Some("cell-2"));
        let line = world.edge.access_line(id);
        assert_eq!((&line["generation"], &line["cell"]), (&4.into(), &"cell-2".into()), "{line}");
        assert!(line["held_ms"].as_f64().unwrap() > 0.0, "{line}");
    }
    let reply = world.block_on(call).unwrap();
    assert_eq!((reply.status(), reply.cell()), (Some(0), Some("cell-2")));
    assert_eq!(world.cell("cell-1").requests(), at_old, "the old cell has seen nothing of them");
    assert_eq!(world.cell("cell-2").requests(), 4, "and the new one each of them once");
    assert!(metric(&world, r#"cellgate_held_requests_total{outcome="released"} 4"#));
    assert!(metric(&world, r#"cellgate_waiting_requests{cell="cell-1"} 0"#));
}

#[test]
fn a_hold_that_is_given_up_sends_what_waits_to_the_old_cell() {
    let world = world("");
    publish(&world, "holding");
    let client = world.edge.plain(Http::H1);
    let held = world.spawn(async move { client.ask(&post("given-up")).await.unwrap() });
    until_waiting(&world, 1);
    publish(&world, "prepare");
    assert_eq!(world.block_on(held).unwrap().cell(), Some("cell-1"));
}

#[test]
fn reads_go_to_the_old_cell_or_wait_by_choice() {
    let ask = || Ask::get(HOST, "/page");
    let free = world("");
    publish(&free, "holding");
    for http in [Http::H1, Http::H2] {
        assert_eq!(free.block_on(free.edge.plain(http).ask(&ask())).unwrap().cell(), Some("cell-1"));
    }
    assert_eq!(counts(&free), (0, 0));
    let waiting = world(", reads: wait");
    publish(&waiting, "holding");
    let asked = [Http::H1, Http::H2].map(|http| {
        let client = waiting.edge.plain(http);
        waiting.spawn(async move { client.ask(&ask()).await.unwrap() })
    });
    until_waiting(&waiting, 2);
    publish(&waiting, "flipped");
    for asked in asked {
        assert_eq!(waiting.block_on(asked).unwrap().cell(), Some("cell-2"));
    }
    assert_eq!(waiting.cell("cell-1").requests(), 0);
}

#[test]
fn over_its_budget_a_write_is_refused_in_the_words_of_its_client_and_was_sent_nowhere() {
    let world = world(", budget: 100ms");
    publish(&world, "holding");
    for http in [Http::H1, Http::H2] {
        let id = format!("refused-{http:?}");
        let reply = world.block_on(world.edge.plain(http).ask(&post(&id))).unwrap();
        assert_eq!((reply.status.as_u16(), reply.header("x-cellgate-outcome")), (503, Some("not-forwarded")));
        let retry: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((2..=4).contains(&retry), "{retry}");
        assert!(reply.text().contains("account_moving") && reply.text().contains("is_success"), "{reply:?}");
        let line = world.edge.access_line(&id);
        assert_eq!(
            (&line["refusal"], &line["cell"], &line["sends"]),
            (&"account_moving".into(), &"cell-1".into(), &0.into())
        );
        assert!(line["held_ms"].as_f64().unwrap() >= 100.0, "{line}");
    }
    let ask = Ask::post("ab123.metadata.us1.dbt.com", "/graphql", "{}");
    let reply = world.block_on(world.edge.plain(Http::H2).ask(&ask)).unwrap();
    assert!(reply.text().starts_with(r#"{"data":null,"errors":"#), "{}", reply.text());
    let reply = world.block_on(async {
        let line = world.edge.plain(Http::H2).open(HOST).await.unwrap();
        call::finish(&line, &call::call(HOST, "/a.B/C", &[b"x"])).await.unwrap()
    });
    assert_eq!(reply.status(), Some(14), "UNAVAILABLE");
    // A body that is asked for first is never sent.
    let mut waits = raw_http::tcp(world.edge.addr("http"));
    let head =
        format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n");
    waits.write_all(head.as_bytes()).unwrap();
    let mut first = [0; 12];
    std::io::Read::read_exact(&mut waits, &mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 503", "and no 100 before it");
    for cell in ["cell-1", "cell-2"] {
        assert_eq!(world.cell(cell).requests(), 0, "{cell}");
    }
    assert!(metric(&world, r#"cellgate_held_requests_total{outcome="refused_budget"} 5"#));
    // Nobody else waits for anything.
    let other = world.block_on(world.edge.plain(Http::H1).ask(&Ask::post(OTHER, "/", "x"))).unwrap();
    assert_eq!(other.cell(), Some("cell-1"));
}

#[test]
fn a_client_that_goes_away_gives_its_slot_to_the_next() {
    let world = world(", budget: 4s, waiting_per_account: 2");
    publish(&world, "holding");
    let (http, tls) = (world.edge.addr("http"), world.edge.addr("https"));
    let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\n");
    let ca = crate::running::authority().ca_pem();
    // Four ways to be gone: without a body, with one that nobody has read, over TLS, and on HTTP/2.
    for body in ["", "whole"] {
        let mut first = raw_http::tcp(http);
        write!(first, "{head}{body}").unwrap();
        let mut second = raw_http::tls(tls, HOST, ca);
        write!(second, "{head}{body}").unwrap();
        second.flush().unwrap();
        until_waiting(&world, 2);
        let third = world.block_on(world.edge.plain(Http::H1).ask(&post("third"))).unwrap();
        assert_eq!((third.status.as_u16(), third.header("x-cellgate-outcome")), (503, Some("not-forwarded")));
        drop(first);
        until_waiting(&world, 1);
        drop(second);
        until_waiting(&world, 0);
    }
    let lines = world.block_on(async {
        let mut lines = Vec::new();
        for _ in 0..2 {
            lines.push(world.edge.plain(Http::H2).open(HOST).await.unwrap());
        }
        lines
    });
    let asked: Vec<_> = lines
        .iter()
        .map(|line| {
            let line = line.clone();
            world.spawn(async move { line.ask(&post("h2")).await.map(|reply| reply.status) })
        })
        .collect();
    until_waiting(&world, 2);
    let mut asked = asked.into_iter();
    // One resets its stream, the connection of the other ends.
    asked.next().unwrap().abort();
    until_waiting(&world, 1);
    asked.next().unwrap().abort();
    drop(lines);
    until_waiting(&world, 0);
    eventually("their ends to be counted", || {
        metric(&world, r#"cellgate_held_requests_total{outcome="client_gone"} 6"#).then_some(())
    });
    assert!(metric(&world, r#"cellgate_held_requests_total{outcome="refused_slots"} 2"#));
    assert_eq!(world.cell("cell-1").requests(), 0);
}

#[test]
fn a_process_that_ends_sends_nothing_of_what_waits() {
    let mut world = World::prepared(|folder| {
        prepared(folder, ", budget: 4s");
        // It is cut in the last tenth of this, and before the budget is over.
        folder.edit("config/boot.yaml", "deadline: 20s", "deadline: 3s");
    });
    publish(&world, "holding");
    let client = world.edge.plain(Http::H1);
    let held = world.spawn(async move { client.ask(&post("at-the-end")).await.unwrap() });
    until_waiting(&world, 1);
    world.edge.drain();
    let reply = world.block_on(held).unwrap();
    assert_eq!((reply.status.as_u16(), reply.header("x-cellgate-outcome")), (503, Some("not-forwarded")));
    assert_eq!(world.edge.access_line("at-the-end")["refusal"], "drain");
    assert_eq!(world.cell("cell-1").requests(), 0);
}

#[test]
fn the_first_request_after_a_flip_finds_a_connection_on_either_protocol() {
    let world = world("");
    publish(&world, "prepare");
    let connections = || world.cell("cell-2").connections();
    eventually("a connection for each protocol", || (connections() >= 2).then_some(()));
    publish(&world, "holding");
    let ready = || connections() >= 3;
    eventually("a young one for writes", || ready().then_some(()));
    let client = world.edge.plain(Http::H2);
    let held = world.spawn(async move { client.ask(&post("first-write")).await.unwrap() });
    until_waiting(&world, 1);
    // A write takes none that is older than a second; of the next one that second has only begun.
    let before = connections();
    eventually("the next young one", || (connections() > before).then_some(()));
    publish(&world, "flipped");
    assert_eq!(world.block_on(held).unwrap().cell(), Some("cell-2"));
    let line = world.edge.access_line("first-write");
    assert_eq!((&line["reused"], &line["cell"]), (&true.into(), &"cell-2".into()), "{line}");
    let reply = world.block_on(async {
        let line = world.edge.plain(Http::H2).open(HOST).await.unwrap();
        let call = call::call(HOST, "/a.B/C", &[b"x"]).header("x-request-id", "first-call");
        call::finish(&line, &call).await.unwrap()
    });
    assert_eq!((reply.status(), reply.cell()), (Some(0), Some("cell-2")));
    assert_eq!(world.edge.access_line("first-call")["reused"], true);
    let none = r#"cellgate_upstream_connections_total{cell="cell-2",result="connected"} 0"#;
    assert!(metric(&world, none), "no request has opened one");
}

#[test]
fn requests_of_other_accounts_do_not_wait() {
    let world = world("");
    publish(&world, "holding");
    for (host, cell) in [(OTHER, "cell-1"), ("globex.us1.dbt.com", "cell-2")] {
        let reply = world.block_on(world.edge.plain(Http::H1).ask(&Ask::post(host, "/", "x"))).unwrap();
        assert_eq!(reply.cell(), Some(cell), "{host}");
    }
    let refused = world.block_on(world.edge.plain(Http::H1).ask(&Ask::post("zz999.us1.dbt.com", "/", "x")));
    assert_eq!(refused.unwrap().status, 404, "as ever, of {ACCOUNT} nothing is said");
}
