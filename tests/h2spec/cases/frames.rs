//! `http2/3.5` to `http2/4.3`: the preface and the frame layer.

use crate::h2_raw::*;
use crate::script::{Case, Want, bare, case, send};

const DONE: u8 = END_STREAM | END_HEADERS;
const ZERO: [u8; 8] = [0; 8];

/// A PING with these flags and, where `reserved`, the bit before the stream id set.
fn odd_ping(flags: u8, reserved: bool) -> Vec<u8> {
    frame(PING, flags, u32::from(reserved) << 31, &ZERO)
}

pub const CASES: &[Case] = &[
    case("http2/3.5/1", "the server's preface comes first", |_| {
        bare([PREFACE, &settings(&[(INITIAL_WINDOW_SIZE, 65_535)])].concat()).want(Want::Preface)
    }),
    case("http2/3.5/2", "a wrong preface ends the connection", |_| {
        bare(b"INVALID CONNECTION PREFACE\r\n\r\n".to_vec()).want(Want::ConnectionError(&[PROTOCOL_ERROR]))
    }),
    case("http2/4.1/1", "a frame of an unknown type is ignored", |_| {
        send(frame(UNKNOWN, 0, 0, &ZERO)).send(ping(0, &ZERO)).want(Want::Pong(ZERO))
    }),
    case("http2/4.1/2", "an undefined flag is ignored", |_| {
        send(odd_ping(0x16, false)).want(Want::Pong(ZERO))
    }),
    case("http2/4.1/3", "the reserved bit is ignored", |_| send(odd_ping(0x16, true)).want(Want::Pong(ZERO))),
    case("http2/4.2/1", "DATA of 2^14 bytes", |p| {
        send(headers(END_HEADERS, 1, &p.post()))
            .send(data(END_STREAM, 1, &vec![b'x'; p.setting(MAX_FRAME_SIZE, 16_384) as usize]))
            .want(Want::Response(1))
    }),
    case("http2/4.2/2", "DATA above MAX_FRAME_SIZE", |p| {
        send(headers(END_HEADERS, 1, &p.post()))
            .send(data(END_STREAM, 1, &vec![b'x'; p.setting(MAX_FRAME_SIZE, 16_384) as usize + 1]))
            .want(Want::StreamError(&[FRAME_SIZE_ERROR]))
    }),
    case("http2/4.2/3", "HEADERS above MAX_FRAME_SIZE", |p| {
        let long = "x".repeat(p.setting(MAX_FRAME_SIZE, 16_384) as usize);
        send(headers(DONE, 1, &p.with("GET", &[("x-long", &long)])))
            .want(Want::ConnectionError(&[FRAME_SIZE_ERROR]))
    }),
    case("http2/4.3/1", "a header block that breaks off", |_| {
        send(headers(DONE, 1, b"\x40")).want(Want::ConnectionError(&[COMPRESSION_ERROR]))
    }),
    case("http2/4.3/2", "PRIORITY inside a header block", |p| {
        send(headers(0, 1, &p.get()))
            .send(priority(1, &dependency(0, false, 255)))
            .send(continuation(END_HEADERS, 1, &field("x-test", "ok")))
            .want(Want::ConnectionError(&[PROTOCOL_ERROR]))
    }),
    case("http2/4.3/3", "HEADERS of another stream inside a header block", |p| {
        send(headers(0, 1, &p.get()))
            .send(headers(DONE, 3, &p.get()))
            .send(continuation(END_HEADERS, 1, &field("x-test", "ok")))
            .want(Want::ConnectionError(&[PROTOCOL_ERROR]))
    }),
];
