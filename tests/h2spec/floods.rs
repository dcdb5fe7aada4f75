//! Floods of a client that stays within the rules of framing. What is measured are frames until the connection is
//! cut, which is what a flood costs; meanwhile a neighbour on a connection of its own goes on being answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use loadtest::cell::{CellOptions, RunningCell};

use crate::edge::{Edge, HOST, runtime};
use crate::h2_raw::*;

const DONE: u8 = END_STREAM | END_HEADERS;

/// Control frames that these tests allow, in a time in which the allowance does not fill again.
const ALLOWED: usize = 1_000;
const LIMITS: &str = "http2: { control_frames: 1000, control_window: 1h }";

/// A flood that is not cut after so many frames is never cut.
const ENDLESS: usize = 20_000;

/// One kind of flood.
struct Flood {
    name: &'static str,
    /// Sent once before.
    begin: fn() -> Vec<u8>,
    /// The nth piece.
    piece: fn(u32) -> Vec<u8>,
    /// Frames in a piece.
    frames: usize,
    /// Frames after which it must be over.
    most: usize,
}

fn request(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut all = vec![(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", HOST)];
    all.extend_from_slice(fields);
    block(&all)
}

fn nothing() -> Vec<u8> {
    Vec::new()
}

/// The nth stream of a client.
fn stream(n: u32) -> u32 {
    2 * n + 1
}

/// Frames that go with each piece: a PING that shows how far the server has come.
const BARRIER: usize = 1;

/// Pieces between two of them.
const PIECES: u32 = 20;

/// The engine answers these for ever.
const CONTROL: [Flood; 6] = [
    control("SETTINGS", |_| settings(&[])),
    control("PING", |n| ping(0, &u64::from(n).to_be_bytes())),
    control("acknowledgements of PINGs that nobody sent", |_| ping(ACK, b"not mine")),
    control("WINDOW_UPDATE", |_| window_update(0, 1)),
    control("PRIORITY", |n| priority(stream(n), &dependency(0, false, 1))),
    control("unknown frames", |_| frame(UNKNOWN, 0, 0, b"what is this")),
];

const fn control(name: &'static str, piece: fn(u32) -> Vec<u8>) -> Flood {
    Flood { name, begin: nothing, piece, frames: 1, most: ALLOWED }
}

/// These have a bound in the engine, some of them lowered by us.
const BOUNDED: [Flood; 7] = [
    Flood {
        name: "acknowledgements of SETTINGS that nobody sent",
        begin: nothing,
        piece: |_| frame_ack(),
        frames: 1,
        most: 1,
    },
    Flood {
        name: "rapid reset",
        begin: nothing,
        piece: |n| [headers(DONE, stream(n), &request(&[])), reset(stream(n), CANCEL)].concat(),
        frames: 2,
        // As many resets as control frames are allowed.
        most: 2 * ALLOWED,
    },
    Flood {
        name: "MadeYouReset, WINDOW_UPDATE by 0",
        begin: nothing,
        piece: |n| [headers(DONE, stream(n), &request(&[])), window_update(stream(n), 0)].concat(),
        frames: 2,
        most: 2 * 128,
    },
    Flood {
        name: "MadeYouReset, a window above 2^31-1",
        begin: nothing,
        piece: |n| {
            let most = (1 << 31) - 1;
            [headers(DONE, stream(n), &request(&[])), window_update(stream(n), most)].concat()
        },
        frames: 2,
        most: 2 * 128,
    },
    Flood {
        name: "MadeYouReset, a priority that depends on itself",
        begin: nothing,
        piece: |n| {
            let itself = dependency(stream(n), false, 1);
            [headers(DONE, stream(n), &request(&[])), priority(stream(n), &itself)].concat()
        },
        frames: 2,
        most: 2 * 128,
    },
    Flood {
        name: "empty DATA",
        begin: || headers(END_HEADERS, 1, &request(&[])),
        piece: |_| data(0, 1, b""),
        frames: 1,
        most: 600,
    },
    Flood {
        name: "an HPACK bomb",
        // A field of 4000 bytes into the dynamic table, and then requests that name it four thousand times each.
        begin: || {
            let long = "x".repeat(4000);
            let bomb = [vec![0x40], string("x-bomb"), string(&long)].concat();
            headers(DONE, 1, &[request(&[]), bomb].concat())
        },
        piece: |n| headers(DONE, stream(n + 1), &[request(&[]), integer(0x80, 7, 62).repeat(4000)].concat()),
        frames: 1,
        most: 64,
    },
];

#[test]
fn control_frames_have_a_budget() {
    let (edge, _cell) = edge(LIMITS);
    for flood in &CONTROL {
        let cut = edge.runtime.block_on(beside_a_neighbour(&edge, flood));
        println!("{}: {cut} frames", flood.name);
        // The last pieces went out together; the handshake is two control frames as well.
        let last = PIECES as usize + BARRIER;
        assert!((ALLOWED - 2..=ALLOWED + last).contains(&cut), "{}: cut after {cut} frames", flood.name);
    }
    let counted = edge.runtime.block_on(edge.metric(CUT));
    assert_eq!(counted, CONTROL.len() as f64);
}

const CUT: &str = r#"cellgate_http2_connections_cut_total{reason="control_frames"}"#;

#[test]
fn floods_of_requests_and_bodies_are_cut() {
    // As the default, but for what time allows: a machine may be too busy to send a thousand resets in one second.
    let (edge, _cell) = edge(LIMITS);
    for flood in &BOUNDED {
        let cut = edge.runtime.block_on(beside_a_neighbour(&edge, flood));
        println!("{}: {cut} frames", flood.name);
        // The PINGs between the pieces are earned by the requests, or of no interest to the bound.
        let together = PIECES as usize * flood.frames;
        let rounds = flood.most.div_ceil(together) + 1;
        assert!(cut <= rounds * (together + BARRIER), "{}: cut after {cut} frames", flood.name);
    }
}

#[test]
fn a_header_block_without_end_is_cut() {
    let (edge, _cell) = edge("");
    // Six hundred pieces, each of one field or of nothing; in a header block there is no frame to look at between.
    for piece in [field("x-more", "and more"), Vec::new()] {
        let cut = edge.runtime.block_on(async {
            let mut conn = edge.connect(false).await;
            conn.shake(&[]).await.unwrap();
            let flood = [headers(0, 1, &request(&[])), continuation(0, 1, &piece).repeat(600)].concat();
            // The server may close before it has read all of it.
            let _ = conn.send(&flood).await;
            conn.until(|frame| frame.kind == GOAWAY).await
        });
        assert!(matches!(cut, Event::Frame(_) | Event::Closed), "{cut:?}");
    }
}

#[test]
fn who_downloads_and_acknowledges_every_piece_is_not_cut() {
    let (edge, _cell) = edge("http2: { control_frames: 16, control_window: 1h }");
    edge.runtime.block_on(async {
        let mut conn = edge.connect(true).await;
        conn.shake(&[]).await.unwrap();
        let mut frames = 0;
        for n in 0..200 {
            // What a careful client says about each request and each piece of its answer.
            let mut said = priority(stream(n), &dependency(0, false, 1));
            said.extend(headers(DONE, stream(n), &request(&[])));
            conn.send(&said).await.unwrap();
            loop {
                let Event::Frame(frame) = conn.until(|frame| frame.stream == stream(n)).await else {
                    unreachable!("cut after {frames} frames");
                };
                if frame.kind == DATA && !frame.payload.is_empty() {
                    let size = u32::try_from(frame.payload.len()).unwrap();
                    let updates =
                        [window_update(0, size), window_update(stream(n), size), ping(0, b"how far?")];
                    conn.send(&updates.concat()).await.unwrap();
                    frames += updates.len();
                }
                if frame.ends_stream() {
                    break;
                }
            }
        }
        assert!(frames >= 600, "{frames}");
    });
}

fn edge(limits: &str) -> (Edge, RunningCell) {
    let runtime = runtime();
    let cell = runtime.block_on(RunningCell::start(CellOptions::named("cell-1"))).unwrap();
    (Edge::start(runtime, limits, cell.addr(), ""), cell)
}

/// Floods, while a neighbour asks and asks; frames of the flood until it was cut.
async fn beside_a_neighbour(edge: &Edge, flood: &Flood) -> usize {
    let over = Arc::new(AtomicBool::new(false));
    let neighbour = edge.connect(false).await;
    let neighbour = tokio::spawn(ask_until(neighbour, Arc::clone(&over)));
    let cut = until_cut(edge.connect(false).await, flood).await;
    over.store(true, Ordering::Relaxed);
    let answered = neighbour.await.unwrap();
    assert!(answered > 0, "{}: the neighbour was not answered once", flood.name);
    cut
}

/// One request after another; every one is answered, or this panics.
async fn ask_until(mut conn: Conn, over: Arc<AtomicBool>) -> u32 {
    conn.shake(&[]).await.unwrap();
    let mut answered = 0;
    while !over.load(Ordering::Relaxed) || answered == 0 {
        let stream = stream(answered);
        // Windows stay open, whatever the answers take of them.
        conn.send(&[headers(DONE, stream, &request(&[])), window_update(0, 65_535)].concat()).await.unwrap();
        let head = conn.until(|frame| frame.kind == HEADERS || frame.kind == GOAWAY).await;
        // `:status: 200` of the static table (RFC 7541 appendix A).
        assert!(matches!(&head, Event::Frame(frame) if frame.payload[0] == 0x88), "{head:?}");
        let end = conn.until(|frame| frame.stream == stream && frame.ends_stream()).await;
        assert!(matches!(end, Event::Frame(_)) || conn.seen.iter().any(Frame::ends_stream), "{end:?}");
        conn.seen.clear();
        answered += 1;
    }
    answered
}

/// Sends piece after piece, and a PING now and then that shows how far the server has come.
async fn until_cut(mut conn: Conn, flood: &Flood) -> usize {
    conn.shake(&[]).await.unwrap();
    let mut frames = 0;
    let mut next = 0;
    let mut begin = (flood.begin)();
    while frames < ENDLESS {
        let mut bytes = std::mem::take(&mut begin);
        for _ in 0..PIECES {
            bytes.extend((flood.piece)(next));
            next += 1;
        }
        let barrier = *b"far\0\0\0\0\0";
        bytes.extend(ping(0, &barrier));
        frames += PIECES as usize * flood.frames + BARRIER;
        if conn.send(&bytes).await.is_err() {
            return frames;
        }
        let reached = |frame: &Frame| frame.kind == GOAWAY || frame.is(PING, ACK) && frame.payload == barrier;
        match conn.until(reached).await {
            Event::Frame(frame) if frame.kind == PING => conn.seen.clear(),
            Event::Frame(_) | Event::Closed => return frames,
            Event::Silence => unreachable!("{}: neither cut nor answered", flood.name),
        }
    }
    frames
}
