//! What is under way when an account begins to be held: tunnels and streams end politely, writes are counted across
//! reloads and cut when their time is over.

use futures_util::{SinkExt, StreamExt};
use loadtest::call::{self, Bidi};
use loadtest::client::{Ask, Client, Http};
use loadtest::socket::tungstenite::protocol::frame::coding::CloseCode;
use loadtest::socket::{self, Socket, tungstenite::Message};

use super::{HOST, OTHER, counts, metric, publish, world};
use crate::raw_http::Upload;
use crate::running::eventually;
use crate::world::World;

/// Longer than any test: whoever waits for the answer is told something else before.
const SLOW: &str = "delay_ms=60000";

async fn echo(socket: &mut Socket) {
    socket.stream.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.stream.next().await.unwrap().unwrap(), Message::text("hello"));
}

fn slow_write(world: &World, client: Client, id: &str) -> tokio::task::JoinHandle<loadtest::client::Reply> {
    let ask = Ask::post(HOST, "/slow", "x").sim(SLOW).header("x-request-id", id);
    let before = world.cell("cell-1").requests();
    let asked = world.spawn(async move { client.ask(&ask).await.unwrap() });
    eventually("the cell to have it", || (world.cell("cell-1").requests() == before + 1).then_some(()));
    asked
}

#[test]
fn websockets_get_1001_as_soon_as_their_account_is_held_and_others_stay() {
    let world = world("");
    publish(&world, "prepare");
    let open = |client: &Client, host: &str| {
        world.block_on(async {
            let mut socket = socket::open(client, &Ask::get(host, "/ws")).await.unwrap();
            echo(&mut socket).await;
            socket
        })
    };
    let clients = [world.edge.plain(Http::H1), world.edge.tls(Http::H1), world.edge.tls(Http::H2)];
    let moving: Vec<_> = clients.iter().map(|client| open(client, HOST)).collect();
    let mut staying = open(&clients[0], OTHER);
    assert_eq!(counts(&world), (3, 0), "each is a write as long as it lives");
    publish(&world, "holding");
    for mut socket in moving {
        world.block_on(async {
            let last = socket.stream.next().await.unwrap().unwrap();
            let Message::Close(Some(close)) = last else { unreachable!("no close frame: {last:?}") };
            assert_eq!(close.code, CloseCode::Away);
            while let Some(Ok(_)) = socket.stream.next().await {}
        });
    }
    eventually("the cell to be rid of them", || (counts(&world) == (0, 0)).then_some(()));
    assert!(metric(&world, "cellgate_moves_closed_tunnels_total 3"));
    assert!(metric(&world, "cellgate_moves_cut_writes_total 0"));
    world.block_on(echo(&mut staying));
    // A new one waits, and is opened where the account then lives.
    let client = clients[0].clone();
    let held = world.spawn(async move { socket::open(&client, &Ask::get(HOST, "/ws")).await.unwrap() });
    super::until_waiting(&world, 1);
    publish(&world, "flipped");
    let mut socket = world.block_on(held).unwrap();
    assert_eq!(socket.cell(), Some("cell-2"));
    world.block_on(echo(&mut socket));
}

#[test]
fn a_long_grpc_stream_is_told_unavailable_before_writes_are_cut() {
    let world = world(", drain: 1h");
    publish(&world, "prepare");
    let open = |host: &'static str| {
        world.block_on(async {
            let line = world.edge.plain(Http::H2).open(host).await.unwrap();
            let mut stream = Bidi::open(&line, &call::call(host, "/x.Y/Bidi", &[])).await.unwrap();
            assert!(stream.send(b"hello").await);
            assert_eq!(stream.next().await.unwrap().unwrap(), "hello");
            stream
        })
    };
    let (mut moving, mut staying) = (open(HOST), open(OTHER));
    publish(&world, "holding");
    world.block_on(async {
        assert_eq!(moving.next().await.unwrap(), None);
        let ended = moving.end().await.unwrap();
        assert_eq!(ended.status(), Some(14), "UNAVAILABLE: {ended:?}");
        assert!(staying.send(b"still").await);
        assert_eq!(staying.next().await.unwrap().unwrap(), "still");
    });
    eventually("it to be counted", || (counts(&world) == (0, 0)).then_some(()));
    assert!(metric(&world, "cellgate_moves_closed_tunnels_total 1"));
}

#[test]
fn writes_that_outlast_the_drain_are_cut_and_their_clients_know_it() {
    // Long enough for a busy machine to look at them before it is over.
    let world = world(", drain: 4s");
    let slow: Vec<_> = [Http::H1, Http::H2]
        .map(|http| (http, slow_write(&world, world.edge.plain(http), &format!("slow-over-{http:?}"))))
        .into();
    let stays = world.edge.plain(Http::H1);
    let other = Ask::post(OTHER, "/", "x").sim("delay_ms=7000");
    let other = world.spawn(async move { stays.ask(&other).await.unwrap() });
    // One whose answer has begun.
    let begun = world.block_on(async {
        let line = world.edge.plain(Http::H1).open(HOST).await.unwrap();
        let ask = Ask::post(HOST, "/events", "x").sim("sse=1000000;every_ms=20");
        let body = http_body_util::Full::from("x");
        (line.stream(&ask.header("x-request-id", "begun-before"), body).await.unwrap(), line)
    });
    publish(&world, "prepare");
    assert_eq!(counts(&world), (3, 0), "they were pinned before anybody spoke of a move");
    publish(&world, "holding");
    assert_eq!(counts(&world).0, 3, "and have their time");
    for (http, slow) in slow {
        let reply = world.block_on(slow).unwrap();
        assert_eq!((reply.status.as_u16(), reply.header("x-cellgate-outcome")), (503, Some("unknown")));
        assert_eq!(reply.header("retry-after"), None, "twice may be too often");
        let line = world.edge.access_line(&format!("slow-over-{http:?}"));
        assert_eq!((&line["refusal"], &line["cell"]), (&"cut_by_move".into(), &"cell-1".into()), "{line}");
    }
    let (answer, _line) = begun;
    let body = world.block_on(http_body_util::BodyExt::collect(answer.into_body()));
    assert!(body.is_err(), "what was cut does not look whole");
    assert_eq!(world.edge.access_line("begun-before")["end"], "moved");
    eventually("all to be over", || (counts(&world) == (0, 0)).then_some(()));
    assert!(metric(&world, "cellgate_moves_cut_writes_total 3"));
    assert_eq!(world.block_on(other).unwrap().cell(), Some("cell-1"), "of another account nothing is cut");
}

#[test]
fn a_write_that_ends_in_time_is_left_alone() {
    let world = world(", drain: 1h");
    let upload = Upload::begin(world.edge.addr("http"), HOST);
    eventually("the cell to have it", || (world.cell("cell-1").requests() == 1).then_some(()));
    publish(&world, "prepare");
    publish(&world, "holding");
    assert_eq!(counts(&world), (1, 0));
    assert_eq!(upload.end().status, 200);
    eventually("it to be over", || (counts(&world) == (0, 0)).then_some(()));
    assert!(metric(&world, "cellgate_moves_cut_writes_total 0"));
}

#[test]
fn a_read_under_way_is_left_alone() {
    let world = world(", drain: 1s, reads: wait");
    let client = world.edge.plain(Http::H2);
    let ask = Ask::get(HOST, "/").sim("delay_ms=2500");
    let asked = world.spawn(async move { client.ask(&ask).await.unwrap() });
    eventually("the cell to have it", || (world.cell("cell-1").requests() == 1).then_some(()));
    publish(&world, "holding");
    publish(&world, "flipped");
    let reply = world.block_on(asked).unwrap();
    assert_eq!((reply.status.as_u16(), reply.cell()), (200, Some("cell-1")));
}

#[test]
fn what_is_left_at_the_old_cell_after_a_flip_is_reported_and_cut_at_once() {
    let world = world(", drain: 1h");
    publish(&world, "prepare");
    let slow = slow_write(&world, world.edge.plain(Http::H1), "left");
    publish(&world, "holding");
    // By somebody who has not asked the replicas.
    publish(&world, "flipped");
    let reply = world.block_on(slow).unwrap();
    assert_eq!((reply.status.as_u16(), reply.header("x-cellgate-outcome")), (503, Some("unknown")));
    eventually("nothing to be left", || {
        (super::moves(&world)["moves"].as_array().unwrap().is_empty()).then_some(())
    });
    let after = world.block_on(world.edge.plain(Http::H1).ask(&Ask::post(HOST, "/", "x"))).unwrap();
    assert_eq!(after.cell(), Some("cell-2"));
}
