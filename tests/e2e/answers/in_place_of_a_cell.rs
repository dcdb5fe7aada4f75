//! A cell that cannot be reached, is slow, is full, or dies in the middle of its answer.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};

use loadtest::call;
use loadtest::cell::Behaviour;
use loadtest::client::{Ask, Http};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{said, said_h2};
use crate::raw_http;
use crate::running::eventually;
use crate::world::World;

/// The account's own address in cell-1, whose limits these tests lower.
const HOST: &str = "ab123.us1.dbt.com";

/// Most requests in flight in cell-1.
const PERMITS: usize = 2;

fn world() -> World {
    with(&[])
}

/// With more keys of the cell. Whoever wants an answer of it has no short time for it.
fn with(keys: &[&str]) -> World {
    let permits = format!("max_in_flight: {PERMITS}");
    World::prepared(|folder| folder.tune("cell-1", &[&[&*permits][..], keys].concat()))
}

fn in_flight(world: &World) -> usize {
    world.edge.running().snapshot().cells[0].load.in_flight() as usize
}

/// Waits until so many requests are left that hold a permit: each comes back a moment after its answer, and the
/// next request must not find the cell full for that.
fn over(world: &World, left: usize) {
    eventually("the request to be over", || (in_flight(world) == left).then_some(()));
}

/// A POST, so that nothing is sent twice.
fn request(fields: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n{fields}\r\n{{}}")
}

/// What a refusal is to say: status, `grpc-status`, outcome, whether to come back, and the errors of
/// `Proxy-Status` of a cell that speaks HTTP/1 and one that speaks HTTP/2.
type Expect<'a> = (u16, u32, &'a str, bool, [&'a str; 2]);

/// Asks over HTTP/1.1, HTTP/2 and gRPC, and compares all three.
fn refused(world: &World, sim: &str, (status, grpc, outcome, retry, errors): Expect<'_>) {
    let [http1, http2] = errors.map(|error| format!("cellgate; error={error}"));
    let before = in_flight(world);
    let mut connection = raw_http::tcp(world.edge.addr("http"));
    let reply = raw_http::ask(&mut connection, request(&format!("X-Sim: {sim}\r\n")).as_bytes()).unwrap();
    said(&reply, status, outcome, "h1");
    assert_eq!(reply.header("retry-after").is_some(), retry, "{:?}", reply.headers);
    assert_eq!(reply.json()["status"]["code"], status);
    assert_eq!(reply.header("proxy-status"), Some(http1.as_str()));
    over(world, before);
    world.block_on(async {
        let line = world.edge.tls(Http::H2).open(HOST).await.unwrap();
        let reply = line.ask(&Ask::post(HOST, "/x", "{}").sim(sim)).await.unwrap();
        said_h2(&reply, status, outcome, "h2");
        over(world, before);
        let call = call::call(HOST, "/a.B/C", &[b"x"]).sim(sim);
        let reply = call::finish(&line, &call).await.unwrap();
        assert_eq!((reply.http_status.as_u16(), reply.status()), (200, Some(grpc)), "{reply:?}");
        assert!(reply.trailers_only, "{reply:?}");
        assert_eq!(reply.headers["x-cellgate-outcome"], outcome);
        assert_eq!(reply.headers["proxy-status"], http2);
        assert_eq!(reply.headers.contains_key("retry-after"), retry, "{reply:?}");
        // The next call finds the same connection in order.
        assert!(!line.is_closed());
    });
    over(world, before);
}

#[test]
fn a_cell_that_cannot_be_reached_is_502_and_nothing_was_sent() {
    let world = world();
    world.block_on(world.cell("cell-1").behave(Behaviour::Killed)).unwrap();
    refused(&world, "", (502, 14, "not-forwarded", false, ["connection_refused"; 2]));
    world.block_on(world.cell("cell-1").behave(Behaviour::Normal)).unwrap();
    let reply = raw_http::ask(&mut raw_http::tcp(world.edge.addr("http")), request("").as_bytes()).unwrap();
    assert_eq!(reply.header("x-cell"), Some("cell-1"));
}

#[test]
fn a_slow_cell_is_504_and_may_have_acted() {
    let world = with(&["timeouts: { response_head: 500ms }"]);
    refused(&world, "delay_ms=5000", (504, 4, "unknown", false, ["connection_read_timeout"; 2]));
}

#[test]
fn a_cell_that_breaks_off_without_an_answer_is_502_and_may_have_acted() {
    // HTTP/1 ends with its connection; of HTTP/2 only the stream is reset.
    let errors = ["connection_terminated", "http_response_incomplete"];
    refused(&world(), "abort", (502, 14, "unknown", false, errors));
}

/// Passes connections on to a cell. Those that were there at a loss pass nothing any more, and are not closed: as it
/// is when a machine or the way to it is gone.
async fn lossy_way(to: SocketAddr) -> (SocketAddr, watch::Sender<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let lose = watch::Sender::new(());
    let losses = lose.clone();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut lost = losses.subscribe();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => {}
                    _ = lost.changed() => std::future::pending().await,
                }
            });
        }
    });
    (address, lose)
}

#[test]
fn an_http2_connection_that_has_gone_silent_costs_its_requests_and_no_more() {
    let world = World::prepared(|folder| {
        // Two of its three answers must be there by then.
        folder.tune("cell-1", &["timeouts: { response_head: 3s }"]);
        folder.over_http2("cell-1");
    });
    let (way, lose) = world.block_on(lossy_way(world.cell("cell-1").addr()));
    world.edge.folder.point("cell-1", &way.to_string());
    assert_eq!(raw_http::admin(&world.edge.socket(), "POST", "/reload").status, 200);
    let ask = || raw_http::ask(&mut raw_http::tcp(world.edge.addr("http")), request("").as_bytes()).unwrap();
    assert_eq!(ask().header("x-cell"), Some("cell-1"));
    lose.send(()).unwrap();
    said(&ask(), 504, "unknown", "on the lost connection");
    assert_eq!(ask().header("x-cell"), Some("cell-1"), "on another");
}

#[test]
fn a_full_cell_is_503_with_a_time_to_come_back_and_others_are_served() {
    let world = world();
    let mut taken = Vec::new();
    for _ in 0..PERMITS {
        let mut connection = raw_http::tcp(world.edge.addr("http"));
        let hanging = request("X-Sim: hang\r\n");
        std::io::Write::write_all(&mut connection, hanging.as_bytes()).unwrap();
        taken.push(connection);
    }
    eventually("both permits to be taken", || (in_flight(&world) == PERMITS).then_some(()));
    refused(&world, "", (503, 14, "not-forwarded", true, ["connection_limit_reached"; 2]));
    let other = b"GET / HTTP/1.1\r\nHost: globex.us1.dbt.com\r\n\r\n";
    let reply = raw_http::ask(&mut raw_http::tcp(world.edge.addr("http")), other).unwrap();
    assert_eq!(reply.header("x-cell"), Some("cell-2"));
    drop(taken);
    over(&world, 0);
    let reply = raw_http::ask(&mut raw_http::tcp(world.edge.addr("http")), request("").as_bytes()).unwrap();
    assert_eq!(reply.header("x-cell"), Some("cell-1"));
}

#[test]
fn a_cell_that_dies_in_the_middle_of_a_body_is_seen_to() {
    let world = world();
    for sim in ["body=100000;cut=5000", "body=100000;chunked;cut=5000"] {
        let mut connection = raw_http::tcp(world.edge.addr("http"));
        let asked = raw_http::ask(&mut connection, request(&format!("X-Sim: {sim}\r\n")).as_bytes());
        let error = asked.map(|reply| reply.body.len()).unwrap_err();
        assert!(
            matches!(error.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset),
            "{sim}: the answer must not look whole: {error}"
        );
        let mut rest = Vec::new();
        // Nothing follows that could be taken for the next answer.
        let _ = connection.read_to_end(&mut rest);
        assert!(!rest.windows(5).any(|five| five == b"HTTP/"), "{sim}");
        over(&world, 0);
        world.block_on(async {
            let line = world.edge.tls(Http::H2).open(HOST).await.unwrap();
            let broken = line.ask(&Ask::get(HOST, "/x").sim(sim)).await;
            assert!(broken.is_err(), "{sim}: {broken:?}");
            over(&world, 0);
            let next = line.ask(&Ask::get(HOST, "/x")).await.unwrap();
            assert_eq!(next.cell(), Some("cell-1"), "the stream is reset, the connection stays");
        });
        over(&world, 0);
    }
}
