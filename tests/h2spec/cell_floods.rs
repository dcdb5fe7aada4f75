//! Floods of a cell that stays within the rules of framing. What is measured are frames until the connection is cut;
//! what is under way on it then is answered with 502, or goes again where that is safe, and the next connection of the
//! same cell is as good as any.

use loadtest::client::{Ask, Client, Http};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::edge::{Edge, HOST, runtime};
use crate::h2_raw::*;

/// Frames that these tests allow, in a time in which the allowance does not fill again.
const ALLOWED: usize = 1_000;
const LIMITS: &str = "protocol: http2, http2: { control_frames: 1000, control_window: 1h }";

/// Requests that are under way, and what each earns its cell.
const REQUESTS: usize = 2;
const EARNED: usize = REQUESTS * 8;

/// A flood that is not cut after so many frames is never cut.
const ENDLESS: usize = 20_000;

/// Pieces between two PINGs that show how far the other side has come, and frames of such a PING.
const PIECES: u32 = 20;
const BARRIER: usize = 1;

/// One kind of flood on the stream of a request.
struct Flood {
    name: &'static str,
    /// Sent once before.
    begin: fn(u32) -> Vec<u8>,
    /// The nth piece, one frame.
    piece: fn(u32, u32) -> Vec<u8>,
    /// It is cut by the allowance; else by the engine, and sooner.
    by_allowance: bool,
}

fn nothing(_: u32) -> Vec<u8> {
    Vec::new()
}

fn head(flags: u8, stream: u32, status: &str) -> Vec<u8> {
    headers(flags, stream, &block(&[(":status", status)]))
}

const fn allowed(name: &'static str, piece: fn(u32, u32) -> Vec<u8>) -> Flood {
    Flood { name, begin: nothing, piece, by_allowance: true }
}

const FLOODS: [Flood; 11] = [
    allowed("SETTINGS", |_, _| settings(&[])),
    allowed("PING", |_, n| ping(0, &u64::from(n).to_be_bytes())),
    allowed("acknowledgements of PINGs that nobody sent", |_, _| ping(ACK, b"not mine")),
    allowed("WINDOW_UPDATE", |_, _| window_update(0, 1)),
    allowed("WINDOW_UPDATE of a stream", |stream, _| window_update(stream, 1)),
    allowed("PRIORITY", |stream, n| priority(stream + 2 * n, &dependency(0, false, 1))),
    allowed("unknown frames", |_, _| frame(UNKNOWN, 0, 0, b"what is this")),
    allowed("1xx heads", |stream, _| head(END_HEADERS, stream, "103")),
    Flood {
        name: "resets of what is over",
        begin: |stream| [head(END_HEADERS | END_STREAM, stream, "500"), reset(stream, NO_ERROR)].concat(),
        piece: |stream, _| reset(stream, CANCEL),
        by_allowance: true,
    },
    Flood {
        name: "empty DATA",
        begin: |stream| head(END_HEADERS, stream, "500"),
        piece: |stream, _| data(0, stream, b""),
        by_allowance: false,
    },
    Flood {
        name: "empty CONTINUATION",
        begin: |stream| head(0, stream, "200"),
        piece: |stream, _| continuation(0, stream, b""),
        by_allowance: false,
    },
];

#[test]
fn a_cell_that_floods_is_cut_and_its_next_connection_serves() {
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let edge = Edge::start(runtime, "", listener.local_addr().unwrap(), LIMITS);
    let mut by_allowance = 0.0;
    for flood in &FLOODS {
        let cut = edge.runtime.block_on(flooded(&edge, &listener, flood));
        println!("{}: {cut} frames", flood.name);
        let most = ALLOWED + EARNED + PIECES as usize + BARRIER;
        // The handshake is two control frames as well.
        let least = if flood.by_allowance { ALLOWED - 2 } else { 1 };
        assert!((least..=most).contains(&cut), "{}: cut after {cut} frames", flood.name);
        by_allowance += if flood.by_allowance { 1.0 } else { 0.0 };
    }
    assert_eq!(edge.runtime.block_on(edge.metric(CUT)), by_allowance);
}

const CUT: &str = r#"cellgate_upstream_connections_cut_total{cell="cell-1",reason="control_frames"}"#;

/// Two requests, and a flood on the stream of the first: frames until it was cut. The first is answered with an error,
/// the other, which may be sent twice, by the next connection.
async fn flooded(edge: &Edge, listener: &TcpListener, flood: &Flood) -> usize {
    let line = Client::new(edge.addr("h2c"), Http::H2).open(HOST).await.unwrap();
    let (post, get) = (Ask::post(HOST, "/", ""), Ask::get(HOST, "/"));
    let post = {
        let line = line.clone();
        tokio::spawn(async move { line.ask(&post).await })
    };
    let mut conn = Conn::accepted(listener.accept().await.unwrap().0).await.unwrap();
    let Event::Frame(first) = conn.until(|frame| frame.kind == HEADERS).await else {
        unreachable!("no POST")
    };
    let get = {
        let line = line.clone();
        tokio::spawn(async move { line.ask(&get).await })
    };
    let Event::Frame(_) = conn.until(|frame| frame.kind == HEADERS).await else { unreachable!("no GET") };
    let cut = until_cut(&mut conn, flood, first.stream).await;

    let mut next = Conn::accepted(listener.accept().await.unwrap().0).await.unwrap();
    let Event::Frame(again) = next.until(|frame| frame.kind == HEADERS).await else {
        unreachable!("no GET again")
    };
    next.send(&head(END_HEADERS | END_STREAM, again.stream, "200")).await.unwrap();
    assert_eq!(get.await.unwrap().unwrap().status, 200, "{}: the GET goes again", flood.name);
    // Where its answer had begun it is broken off.
    if let Ok(reply) = post.await.unwrap() {
        assert!(matches!(reply.status.as_u16(), 500 | 502), "{}: {}", flood.name, reply.status);
    }
    drop(line);
    next.send(&goaway(u32::MAX >> 1, NO_ERROR, b"the next flood takes a new one")).await.unwrap();
    while !matches!(next.next().await, Event::Closed) {}
    cut
}

async fn until_cut(conn: &mut Conn, flood: &Flood, stream: u32) -> usize {
    let (mut frames, mut next) = (0, 0);
    let mut bytes = (flood.begin)(stream);
    while frames < ENDLESS {
        for _ in 0..PIECES {
            bytes.extend((flood.piece)(stream, next));
            next += 1;
        }
        let barrier = *b"far\0\0\0\0\0";
        bytes.extend(ping(0, &barrier));
        frames += PIECES as usize + BARRIER;
        if conn.send(&std::mem::take(&mut bytes)).await.is_err() {
            return frames;
        }
        match conn
            .until(|frame| frame.kind == GOAWAY || frame.is(PING, ACK) && frame.payload == barrier)
            .await
        {
            Event::Frame(frame) if frame.kind == PING => conn.seen.clear(),
            Event::Frame(_) | Event::Closed => return frames,
            Event::Silence => unreachable!("{}: neither cut nor answered", flood.name),
        }
    }
    frames
}

#[test]
fn a_cell_that_says_much_about_each_request_is_not_cut() {
    let runtime: Runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let keys = "protocol: http2, http2: { control_frames: 16, control_window: 1h }";
    let edge = Edge::start(runtime, "", listener.local_addr().unwrap(), keys);
    edge.runtime.block_on(async {
        let line = Client::new(edge.addr("h2c"), Http::H2).open(HOST).await.unwrap();
        let cell = tokio::spawn(async move {
            let mut conn = Conn::accepted(listener.accept().await.unwrap().0).await.unwrap();
            for _ in 0..200 {
                let event = conn.until(|frame| frame.is(DATA, END_STREAM)).await;
                let Event::Frame(Frame { stream, payload, .. }) = event else {
                    unreachable!("cut: {event:?}")
                };
                let size = u32::try_from(payload.len()).unwrap().max(1);
                // What a careful server says about each piece of a request, and around its answer.
                let said = [
                    ping(0, b"how far?"),
                    window_update(0, size),
                    window_update(stream, size),
                    head(END_HEADERS, stream, "103"),
                    head(END_HEADERS, stream, "200"),
                    data(0, stream, b"hello"),
                    headers(END_HEADERS | END_STREAM, stream, &block(&[("x-end", "1")])),
                ];
                conn.send(&said.concat()).await.unwrap();
                conn.seen.clear();
            }
        });
        for _ in 0..200 {
            let reply = line.ask(&Ask::post(HOST, "/", "a request")).await.unwrap();
            assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "hello"));
        }
        cell.await.unwrap();
    });
}
