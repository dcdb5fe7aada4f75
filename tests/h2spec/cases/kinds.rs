//! `http2/6.1` to `http2/7`: each frame type, and error codes.

use crate::h2_raw::*;
use crate::script::{Case, Peer, Script, Want, case, send};

const DONE: u8 = END_STREAM | END_HEADERS;
const ZERO: [u8; 8] = [0; 8];
const MOST: u32 = (1 << 31) - 1;

fn more() -> Vec<u8> {
    field("x-test", "ok")
}

/// A header block that is not complete.
fn begun(p: &Peer) -> Script {
    send(headers(END_STREAM, 1, &p.get()))
}

fn set(id: u16, value: u32) -> Script {
    send(settings(&[(id, value)]))
}

const CONNECTION: Want = Want::ConnectionError(&[PROTOCOL_ERROR]);

pub const CASES: &[Case] = &[
    case("http2/6.1/1", "DATA on stream 0", |_| send(data(END_STREAM, 0, b"test")).want(CONNECTION)),
    case("http2/6.1/2", "DATA on a half-closed stream", |p| {
        send(headers(DONE, 1, &p.post()))
            .send(data(END_STREAM, 1, b"test"))
            .want(Want::StreamError(&[STREAM_CLOSED]))
    }),
    case("http2/6.1/3", "DATA with more padding than payload", |p| {
        send(headers(END_HEADERS, 1, &p.with("POST", &[("content-length", "4")])))
            .send(data(END_STREAM | PADDED, 1, b"\x06test"))
            .want(CONNECTION)
    }),
    case("http2/6.2/1", "PRIORITY inside a header block", |p| {
        send(headers(0, 1, &p.get()))
            .send(priority(1, &dependency(0, false, 255)))
            .send(continuation(END_HEADERS, 1, &more()))
            .want(CONNECTION)
    }),
    case("http2/6.2/2", "HEADERS of another stream inside a header block", |p| {
        send(headers(0, 1, &p.get()))
            .send(headers(DONE, 3, &p.get()))
            .send(continuation(END_HEADERS, 1, &more()))
            .want(CONNECTION)
    }),
    case("http2/6.2/3", "HEADERS on stream 0", |p| send(headers(DONE, 0, &p.get())).want(CONNECTION)),
    case("http2/6.2/4", "HEADERS with more padding than payload", |p| {
        let block = p.get();
        let pad = u8::try_from(block.len() + 2).unwrap();
        send(headers(DONE | PADDED, 1, &[vec![pad], block].concat()))
            .want(Want::StreamError(&[PROTOCOL_ERROR]))
    }),
    case("http2/6.3/1", "PRIORITY on stream 0", |_| {
        send(priority(0, &dependency(0, false, 255))).want(CONNECTION)
    }),
    case("http2/6.3/2", "PRIORITY of 4 bytes", |p| {
        send(headers(DONE, 1, &p.get()))
            .send(priority(1, b"\x80\0\0\x01"))
            .want(Want::StreamError(&[FRAME_SIZE_ERROR]))
    }),
    case("http2/6.4/1", "RST_STREAM on stream 0", |_| send(reset(0, CANCEL)).want(CONNECTION)),
    case("http2/6.4/2", "RST_STREAM on an idle stream", |_| send(reset(1, CANCEL)).want(CONNECTION)),
    case("http2/6.4/3", "RST_STREAM of 3 bytes", |p| {
        send(headers(DONE, 1, &p.get()))
            .send(frame(RST_STREAM, 0, 1, b"\0\0\0"))
            .want(Want::ConnectionError(&[FRAME_SIZE_ERROR]))
    }),
    case("http2/6.5/1", "an acknowledgement of SETTINGS with a payload", |_| {
        send(frame(SETTINGS, ACK, 0, b"\0")).want(Want::ConnectionError(&[FRAME_SIZE_ERROR]))
    }),
    case("http2/6.5/2", "SETTINGS on a stream", |_| {
        send(frame(SETTINGS, 0, 1, b"\0\x03\0\0\0\x64")).want(CONNECTION)
    }),
    case("http2/6.5/3", "SETTINGS of 3 bytes", |_| {
        send(frame(SETTINGS, 0, 0, b"\0\x03\0"))
            .want(Want::ConnectionError(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]))
    }),
    case("http2/6.5.2/1", "ENABLE_PUSH 2", |_| set(ENABLE_PUSH, 2).want(CONNECTION)),
    case("http2/6.5.2/2", "INITIAL_WINDOW_SIZE above 2^31-1", |_| {
        set(INITIAL_WINDOW_SIZE, MOST + 1).want(Want::ConnectionError(&[FLOW_CONTROL_ERROR]))
    }),
    case("http2/6.5.2/3", "MAX_FRAME_SIZE below 2^14", |_| set(MAX_FRAME_SIZE, 16_383).want(CONNECTION)),
    case("http2/6.5.2/4", "MAX_FRAME_SIZE above 2^24-1", |_| set(MAX_FRAME_SIZE, 1 << 24).want(CONNECTION)),
    case("http2/6.5.2/5", "an unknown setting is ignored", |_| {
        set(0xff, 1).send(ping(0, &ZERO)).want(Want::Pong(ZERO))
    }),
    case("http2/6.5.3/1", "of two values of one setting the last holds", |p| {
        send(settings(&[(INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)]))
            .want(Want::SettingsAck)
            .send(headers(DONE, 1, &p.get()))
            .want(Want::Data(Some(1)))
    }),
    case("http2/6.5.3/2", "SETTINGS are acknowledged", |_| set(ENABLE_PUSH, 0).want(Want::SettingsAck)),
    case("http2/6.7/1", "PING is answered with its payload", |_| {
        send(ping(0, b"cellgate")).want(Want::Pong(*b"cellgate"))
    }),
    case("http2/6.7/2", "an acknowledgement of PING is not answered", |_| {
        send(ping(ACK, b"not mine")).send(ping(0, b"cellgate")).want(Want::Pong(*b"cellgate"))
    }),
    case("http2/6.7/3", "PING on a stream", |_| send(frame(PING, 0, 1, &ZERO)).want(CONNECTION)),
    case("http2/6.7/4", "PING of 6 bytes", |_| {
        send(frame(PING, 0, 0, &ZERO[..6])).want(Want::ConnectionError(&[FRAME_SIZE_ERROR]))
    }),
    case("http2/6.8/1", "GOAWAY on a stream", |_| send(frame(GOAWAY, 0, 1, &ZERO)).want(CONNECTION)),
    case("http2/6.9/1", "WINDOW_UPDATE by 0 on the connection", |_| {
        send(window_update(0, 0)).want(CONNECTION)
    }),
    case("http2/6.9/2", "WINDOW_UPDATE by 0 on a stream", |p| {
        send(headers(END_HEADERS, 1, &p.get()))
            .send(window_update(1, 0))
            .want(Want::StreamError(&[PROTOCOL_ERROR]))
    }),
    case("http2/6.9/3", "WINDOW_UPDATE of 3 bytes", |_| {
        send(frame(WINDOW_UPDATE, 0, 0, b"\0\0\x01")).want(Want::ConnectionError(&[FRAME_SIZE_ERROR]))
    }),
    case("http2/6.9.1/1", "DATA keeps to a window of 1", |p| {
        set(INITIAL_WINDOW_SIZE, 1)
            .want(Want::SettingsAck)
            .send(headers(DONE, 1, &p.get()))
            .want(Want::Data(Some(1)))
    }),
    case("http2/6.9.1/2", "the connection's window above 2^31-1", |_| {
        send(window_update(0, MOST)).send(window_update(0, MOST)).want(Want::GoAway(Some(FLOW_CONTROL_ERROR)))
    }),
    case("http2/6.9.1/3", "a stream's window above 2^31-1", |p| {
        send(headers(END_HEADERS, 1, &p.get()))
            .send(window_update(1, MOST))
            .send(window_update(1, MOST))
            .want(Want::Reset(FLOW_CONTROL_ERROR))
    }),
    case("http2/6.9.2/1", "INITIAL_WINDOW_SIZE changes the windows of open streams", |p| {
        set(INITIAL_WINDOW_SIZE, 0)
            .want(Want::SettingsAck)
            .send(headers(DONE, 1, &p.get()))
            .send(settings(&[(INITIAL_WINDOW_SIZE, 1)]))
            .want(Want::Data(Some(1)))
    }),
    case("http2/6.9.2/2", "a window may become negative", |p| {
        set(INITIAL_WINDOW_SIZE, 3)
            .want(Want::SettingsAck)
            .send(headers(DONE, 1, &p.get()))
            .want(Want::Data(Some(3)))
            .send(settings(&[(INITIAL_WINDOW_SIZE, 2)]))
            .want(Want::SettingsAck)
            .send(window_update(1, 2))
            .want(Want::Data(Some(1)))
    }),
    case("http2/6.9.2/3", "INITIAL_WINDOW_SIZE 2^31", |_| {
        set(INITIAL_WINDOW_SIZE, 1 << 31).want(Want::ConnectionError(&[FLOW_CONTROL_ERROR]))
    }),
    case("http2/6.10/1", "several CONTINUATION", |p| {
        begun(p)
            .send(continuation(0, 1, &more()))
            .send(continuation(END_HEADERS, 1, &more()))
            .want(Want::Response(1))
    }),
    case("http2/6.10/2", "CONTINUATION, then DATA", |p| {
        send(headers(0, 1, &p.post()))
            .send(continuation(0, 1, &more()))
            .send(data(END_STREAM, 1, b"test"))
            .want(CONNECTION)
    }),
    case("http2/6.10/3", "CONTINUATION on stream 0", |p| {
        begun(p).send(continuation(END_HEADERS, 0, &more())).want(CONNECTION)
    }),
    case("http2/6.10/4", "CONTINUATION after whole HEADERS", |p| {
        send(headers(DONE, 1, &p.get())).send(continuation(END_HEADERS, 1, &more())).want(CONNECTION)
    }),
    case("http2/6.10/5", "CONTINUATION after the last CONTINUATION", |p| {
        begun(p)
            .send(continuation(END_HEADERS, 1, &more()))
            .send(continuation(END_HEADERS, 1, &more()))
            .want(CONNECTION)
    }),
    case("http2/6.10/6", "CONTINUATION after DATA", |p| {
        send(headers(0, 1, &p.post()))
            .send(data(END_STREAM, 1, b"test"))
            .send(continuation(END_HEADERS, 1, &more()))
            .want(CONNECTION)
    }),
    case("http2/7/1", "GOAWAY with an unknown code", |_| {
        send(goaway(0, 0xff, b"")).send(ping(0, b"cellgate")).want(Want::PongOrClose(*b"cellgate"))
    }),
    case("http2/7/2", "RST_STREAM with an unknown code", |p| {
        send(headers(END_HEADERS, 1, &p.post()))
            .send(reset(1, 0xff))
            .send(ping(0, &ZERO))
            .want(Want::Pong(ZERO))
    }),
];
