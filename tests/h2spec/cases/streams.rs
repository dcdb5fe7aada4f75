//! `http2/5.1` to `http2/5.5`: stream states, ids, concurrency, dependencies, errors, extensions.

use crate::h2_raw::*;
use crate::script::{Case, Peer, Script, Want, case, send};

const DONE: u8 = END_STREAM | END_HEADERS;
const ZERO: [u8; 8] = [0; 8];

/// A whole request.
fn asked(p: &Peer) -> Script {
    send(headers(DONE, 1, &p.get()))
}

/// A request without its end, reset.
fn left(p: &Peer) -> Script {
    send(headers(END_HEADERS, 1, &p.get())).send(reset(1, CANCEL))
}

/// A request that was answered to its end.
fn answered(p: &Peer) -> Script {
    asked(p).want(Want::StreamEnd)
}

fn more() -> Vec<u8> {
    field("x-test", "ok")
}

pub const CASES: &[Case] = &[
    case("http2/5.1/1", "idle: DATA", |_| {
        send(data(END_STREAM, 1, b"test")).want(Want::StreamError(&[PROTOCOL_ERROR, STREAM_CLOSED]))
    }),
    case("http2/5.1/2", "idle: RST_STREAM", |_| {
        send(reset(1, CANCEL)).want(Want::ConnectionError(&[PROTOCOL_ERROR]))
    }),
    case("http2/5.1/3", "idle: WINDOW_UPDATE", |_| {
        send(window_update(1, 100)).want(Want::ConnectionError(&[PROTOCOL_ERROR]))
    }),
    case("http2/5.1/4", "idle: CONTINUATION", |p| {
        send(continuation(END_HEADERS, 1, &p.get())).want(Want::ConnectionError(&[PROTOCOL_ERROR]))
    }),
    case("http2/5.1/5", "half-closed: DATA", |p| {
        asked(p).send(data(END_STREAM, 1, b"test")).want(Want::StreamError(&[STREAM_CLOSED]))
    }),
    case("http2/5.1/6", "half-closed: HEADERS", |p| {
        asked(p).send(headers(DONE, 1, &p.get())).want(Want::StreamError(&[STREAM_CLOSED]))
    }),
    case("http2/5.1/7", "half-closed: CONTINUATION", |p| {
        asked(p)
            .send(continuation(END_HEADERS, 1, &p.get()))
            .want(Want::StreamError(&[STREAM_CLOSED, PROTOCOL_ERROR]))
    }),
    case("http2/5.1/8", "closed by RST_STREAM: DATA", |p| {
        left(p).send(data(END_STREAM, 1, b"test")).want(Want::StreamError(&[STREAM_CLOSED]))
    }),
    case("http2/5.1/9", "closed by RST_STREAM: HEADERS", |p| {
        left(p).send(headers(DONE, 1, &p.get())).want(Want::StreamError(&[STREAM_CLOSED]))
    }),
    case("http2/5.1/10", "closed by RST_STREAM: CONTINUATION", |p| {
        left(p)
            .send(continuation(END_HEADERS, 1, &more()))
            .want(Want::StreamError(&[STREAM_CLOSED, PROTOCOL_ERROR]))
    }),
    case("http2/5.1/11", "closed: DATA", |p| {
        answered(p).send(data(END_STREAM, 1, b"test")).want(Want::StreamError(&[STREAM_CLOSED]))
    }),
    case("http2/5.1/12", "closed: HEADERS", |p| {
        answered(p).send(headers(DONE, 1, &p.get())).want(Want::ConnectionError(&[STREAM_CLOSED]))
    }),
    case("http2/5.1/13", "closed: CONTINUATION", |p| {
        answered(p)
            .send(continuation(END_HEADERS, 1, &more()))
            .want(Want::ConnectionError(&[STREAM_CLOSED, PROTOCOL_ERROR]))
    }),
    case("http2/5.1.1/1", "an even stream id", |p| {
        send(headers(DONE, 2, &p.get())).want(Want::ConnectionError(&[PROTOCOL_ERROR]))
    }),
    case("http2/5.1.1/2", "a stream id below an earlier one", |p| {
        send(headers(DONE, 5, &p.get()))
            .send(headers(DONE, 3, &p.get()))
            .want(Want::ConnectionError(&[PROTOCOL_ERROR]))
    }),
    case("http2/5.1.2/1", "more streams than MAX_CONCURRENT_STREAMS", |p| {
        let streams = p.setting(MAX_CONCURRENT_STREAMS, 0);
        let script = send(settings(&[(INITIAL_WINDOW_SIZE, 0)]));
        (0..=streams)
            .fold(script, |script, n| script.send(headers(DONE, 2 * n + 1, &p.get())))
            .want(Want::StreamError(&[PROTOCOL_ERROR, REFUSED_STREAM]))
    }),
    case("http2/5.3.1/1", "HEADERS that depend on themselves", |p| {
        send(headers(DONE | WITH_PRIORITY, 1, &[dependency(1, false, 255), p.get()].concat()))
            .want(Want::StreamError(&[PROTOCOL_ERROR]))
    }),
    case("http2/5.3.1/2", "PRIORITY that depends on itself", |_| {
        send(priority(1, &dependency(1, false, 255))).want(Want::StreamError(&[PROTOCOL_ERROR]))
    }),
    case("http2/5.4.1/1", "a connection error closes the connection", |_| {
        send(frame(PING, 0, 3, &ZERO)).want(Want::Close)
    }),
    case("http2/5.4.1/2", "a connection error is told by GOAWAY", |_| {
        send(frame(PING, 0, 3, &ZERO)).want(Want::GoAway(None))
    }),
    case("http2/5.5/1", "an unknown frame is ignored", |_| {
        send(frame(UNKNOWN, 0, 0, &ZERO)).send(ping(0, &ZERO)).want(Want::Pong(ZERO))
    }),
    case("http2/5.5/2", "an unknown frame inside a header block", |p| {
        send(headers(END_STREAM, 1, &p.get()))
            .send(frame(UNKNOWN, 0, 0, &ZERO))
            .want(Want::ConnectionError(&[PROTOCOL_ERROR]))
    }),
];
