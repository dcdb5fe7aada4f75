//! Where messages end: the last part of a body says that it is, in both directions, where its end is known with it; and
//! what is another in each request is not put into the table of what comes again.

use loadtest::cell::{CellOptions, RunningCell};
use loadtest::client::{Ask, Client, Http};
use tokio::net::TcpListener;

use crate::edge::{Edge, HOST, runtime};
use crate::h2_raw::*;

const HTTP2: &str = "protocol: http2";

fn post(path: &str) -> Vec<u8> {
    block(&[(":method", "POST"), (":scheme", "http"), (":authority", HOST), (":path", path)])
}

/// Kind, whether it ends the stream, and whether it is empty.
fn shapes(conn: &Conn, stream: u32) -> Vec<(u8, bool, bool)> {
    let of_stream = conn.seen.iter().filter(|frame| frame.stream == stream && frame.kind <= HEADERS);
    of_stream.map(|frame| (frame.kind, frame.ends_stream(), frame.payload.is_empty())).collect()
}

#[test]
fn the_last_part_of_an_answer_ends_it() {
    let runtime = runtime();
    let cell = runtime.block_on(RunningCell::start(CellOptions::named("cell-1"))).unwrap();
    let edge = Edge::start(runtime, "", cell.addr(), "");
    edge.runtime.block_on(async {
        let mut conn = edge.connect(false).await;
        conn.shake(&[]).await.unwrap();
        conn.send(&headers(END_HEADERS | END_STREAM, 1, &post("/"))).await.unwrap();
        let ended = conn.until(|frame| frame.stream == 1 && frame.ends_stream()).await;
        assert!(matches!(ended, Event::Frame(_)), "{ended:?}");
        let shapes = shapes(&conn, 1);
        assert_eq!(shapes.first(), Some(&(HEADERS, false, false)));
        assert_eq!(shapes.last(), Some(&(DATA, true, false)), "{shapes:?}");
        assert!(shapes.iter().all(|(_, _, empty)| !empty), "{shapes:?}");
    });
}

#[test]
fn the_last_part_of_a_request_ends_it() {
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let edge = Edge::start(runtime, "", listener.local_addr().unwrap(), HTTP2);
    edge.runtime.block_on(async {
        for (stream, http) in [(1, Http::H1), (3, Http::H2)] {
            let line = Client::new(edge.addr(if http == Http::H1 { "http" } else { "h2c" }), http);
            let line = line.open(HOST).await.unwrap();
            let asking = tokio::spawn(async move { line.ask(&Ask::post(HOST, "/", "a body")).await });
            let mut conn = Conn::accepted(listener.accept().await.unwrap().0).await.unwrap();
            let ended = conn.until(|frame| frame.kind <= HEADERS && frame.ends_stream()).await;
            assert!(matches!(ended, Event::Frame(_)), "{ended:?}");
            assert_eq!(shapes(&conn, 1), [(HEADERS, false, false), (DATA, true, false)], "{http:?} {stream}");
            conn.send(&headers(END_HEADERS | END_STREAM, 1, &block(&[(":status", "204")]))).await.unwrap();
            assert_eq!(asking.await.unwrap().unwrap().status, 204, "{http:?}");
            // The next client's request opens another.
            conn.send(&goaway(1, NO_ERROR, b"")).await.unwrap();
            conn.until(|_| false).await;
        }
    });
}

/// How the fields of a block are written (RFC 7541 section 6): how many are put into the table, and how many must not be.
fn written(block: &[u8]) -> (usize, usize) {
    fn integer(rest: &mut &[u8], bits: u32) -> usize {
        let most = (1 << bits) - 1;
        let mut value = usize::from(rest[0]) & most;
        *rest = &rest[1..];
        let mut shift = 0;
        while value >= most {
            let byte = rest[0];
            *rest = &rest[1..];
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let (mut rest, mut kept, mut never) = (block, 0, 0);
    while let Some(first) = rest.first() {
        let bits = match first {
            0x80.. => 7,
            0x40..0x80 => 6,
            0x20..0x40 => 5,
            ..0x20 => 4,
        };
        (kept, never) = (kept + usize::from(bits == 6), never + usize::from((0x10..0x20).contains(first)));
        let named = integer(&mut rest, bits) > 0;
        let strings = if matches!(bits, 5 | 7) { 0 } else { 2 - usize::from(named) };
        for _ in 0..strings {
            let length = integer(&mut rest, 7);
            rest = &rest[length..];
        }
    }
    (kept, never)
}

#[test]
fn what_is_new_in_each_request_is_not_kept_for_the_next() {
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let edge = Edge::start(runtime, "", listener.local_addr().unwrap(), HTTP2);
    edge.runtime.block_on(async {
        let line = Client::new(edge.addr("http"), Http::H1).open(HOST).await.unwrap();
        let mut conn = None;
        for stream in [1, 3] {
            let line = line.clone();
            let asking = tokio::spawn(async move { line.ask(&Ask::get(HOST, "/")).await });
            let conn = match &mut conn {
                Some(conn) => conn,
                none => none.insert(Conn::accepted(listener.accept().await.unwrap().0).await.unwrap()),
            };
            let Event::Frame(head) =
                conn.until(|frame| frame.kind == HEADERS && frame.stream == stream).await
            else {
                unreachable!("no request")
            };
            let (kept, never) = written(&head.payload);
            assert_eq!(never, 2, "the request's id and its place in a trace are not kept");
            // What is kept of the first comes again in the second.
            assert_eq!(kept == 0, stream == 3, "{kept} in stream {stream}");
            conn.send(&headers(END_HEADERS | END_STREAM, stream, &block(&[(":status", "204")])))
                .await
                .unwrap();
            assert_eq!(asking.await.unwrap().unwrap().status, 204);
        }
    });
}
