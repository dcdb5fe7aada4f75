//! The end of a WebSocket over HTTP/2 (RFC 8441) when the cell ends it: the client's answer to the close is still under
//! way, and must not meet a reset.

use std::time::{Duration, Instant};

use loadtest::cell::{CellOptions, RunningCell};

use crate::edge::{Edge, HOST, runtime};
use crate::h2_raw::*;

/// How long cellgate waits for the answer to the end: then it lets go of the stream, with a reset.
const HEARD_OUT: Duration = Duration::from_secs(2);

/// A text message of a client (RFC 6455 section 5.2), masked with zeros.
fn text(message: &str) -> Vec<u8> {
    let length = u8::try_from(message.len()).unwrap();
    assert!(length < 126);
    [&[0x81, 0x80 | length, 0, 0, 0, 0], message.as_bytes()].concat()
}

/// Everything that the server had to say when it read this PING has come.
async fn barrier(conn: &mut Conn, number: u64) {
    let payload = number.to_be_bytes();
    conn.send(&ping(0, &payload)).await.unwrap();
    let answer = conn.until(|frame| frame.is(PING, ACK) && frame.payload == payload).await;
    assert!(matches!(answer, Event::Frame(_)), "{answer:?} instead of an answer to a PING");
}

fn resets(conn: &Conn) -> Vec<&Frame> {
    conn.seen.iter().filter(|frame| frame.kind == RST_STREAM).collect()
}

#[test]
fn a_client_can_answer_a_cell_that_has_ended_its_websocket() {
    let runtime = runtime();
    let cell = runtime.block_on(RunningCell::start(CellOptions::named("cell-1"))).unwrap();
    let edge = Edge::start(runtime, "", cell.addr(), "");
    edge.runtime.block_on(async {
        let mut conn = edge.connect(false).await;
        conn.shake(&[]).await.unwrap();
        for stream in (1..=39).step_by(2) {
            let open = block(&[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":authority", HOST),
                (":path", "/chat"),
                ("sec-websocket-version", "13"),
            ]);
            conn.send(&headers(END_HEADERS, stream, &open)).await.unwrap();
            let opened = conn.until(|frame| frame.kind == HEADERS && frame.stream == stream).await;
            assert!(matches!(&opened, Event::Frame(frame) if !frame.ends_stream()), "{opened:?}");
            let begun = Instant::now();
            conn.send(&data(0, stream, &text("sim:drop"))).await.unwrap();
            let ended = conn.until(|frame| frame.stream == stream && frame.ends_stream()).await;
            assert!(matches!(ended, Event::Frame(_)), "{ended:?} instead of the end of the tunnel");
            // A reset would follow the end at once. Twice, for tasks of the server run side by side.
            barrier(&mut conn, u64::from(stream)).await;
            barrier(&mut conn, u64::from(stream) + 1).await;
            // The client's half ends, and with it the stream: nothing is left that could be reset.
            let answer = [0x88, 0x82, 0, 0, 0, 0, 0x0f, 0xa1];
            conn.send(&data(END_STREAM, stream, &answer)).await.unwrap();
            barrier(&mut conn, u64::from(stream) + 2).await;
            // A machine that stops in between makes the client late, and what it gets for that is right.
            if !resets(&conn).is_empty() && begun.elapsed() >= HEARD_OUT {
                // What it sent behind the reset may be told of another one.
                barrier(&mut conn, 0).await;
                conn.seen.clear();
            }
            assert_eq!(resets(&conn), Vec::<&Frame>::new(), "stream {stream}");
        }
        barrier(&mut conn, 0).await;
        assert_eq!(resets(&conn), Vec::<&Frame>::new());
    });
}
