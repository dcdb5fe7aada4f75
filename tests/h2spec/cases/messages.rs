//! `http2/8.1` and `http2/8.2`: requests, and push.

use crate::h2_raw::*;
use crate::script::{Case, Peer, Script, Want, case, send};

const DONE: u8 = END_STREAM | END_HEADERS;

const MALFORMED: Want = Want::StreamError(&[PROTOCOL_ERROR]);

/// A request with a block of one's own making.
fn malformed(block: Vec<u8>) -> Script {
    send(headers(DONE, 1, &block)).want(MALFORMED)
}

/// A request without one of its pseudo-header fields.
fn without(p: &Peer, name: &str) -> Script {
    let mut fields = p.fields("GET");
    fields.retain(|(field, _)| *field != name);
    malformed(block(&fields))
}

/// A request with one of them twice.
fn twice(p: &Peer, name: &str) -> Script {
    let mut fields = p.fields("GET");
    let again = *fields.iter().find(|(field, _)| *field == name).unwrap();
    fields.push(again);
    malformed(block(&fields))
}

/// A body, then a second head with these flags.
fn trailing(p: &Peer, flags: u8, trailer: (&str, &str)) -> Script {
    send(headers(END_HEADERS, 1, &p.post())).send(data(0, 1, b"test")).send(headers(
        flags,
        1,
        &field(trailer.0, trailer.1),
    ))
}

pub const CASES: &[Case] = &[
    case("http2/8.1/1", "a second HEADERS without END_STREAM", |p| {
        trailing(p, END_HEADERS, ("x-test", "ok")).want(MALFORMED)
    }),
    case("http2/8.1.2/1", "a field name in upper case", |p| malformed(p.with("GET", &[("X-TEST", "ok")]))),
    case("http2/8.1.2.1/1", "an unknown pseudo-header field", |p| {
        malformed(p.with("GET", &[(":test", "ok")]))
    }),
    case("http2/8.1.2.1/2", "a pseudo-header field of responses", |p| {
        malformed(p.with("GET", &[(":status", "200")]))
    }),
    case("http2/8.1.2.1/3", "a pseudo-header field as trailer", |p| {
        trailing(p, END_HEADERS, (":method", "POST")).want(MALFORMED)
    }),
    case("http2/8.1.2.1/4", "a pseudo-header field after a regular one", |p| {
        malformed([field("x-test", "ok"), p.get()].concat())
    }),
    case("http2/8.1.2.2/1", "a connection-specific field", |p| {
        malformed(p.with("GET", &[("connection", "keep-alive")]))
    }),
    case("http2/8.1.2.2/2", "TE other than trailers", |p| {
        malformed(p.with("GET", &[("trailers", "test"), ("te", "trailers, deflate")]))
    }),
    case("http2/8.1.2.3/1", "an empty :path", |p| {
        let mut fields = p.fields("GET");
        fields[2].1 = "";
        malformed(block(&fields))
    }),
    case("http2/8.1.2.3/2", "no :method", |p| without(p, ":method")),
    case("http2/8.1.2.3/3", "no :scheme", |p| without(p, ":scheme")),
    case("http2/8.1.2.3/4", "no :path", |p| without(p, ":path")),
    case("http2/8.1.2.3/5", ":method twice", |p| twice(p, ":method")),
    case("http2/8.1.2.3/6", ":scheme twice", |p| twice(p, ":scheme")),
    case("http2/8.1.2.3/7", ":path twice", |p| twice(p, ":path")),
    case("http2/8.1.2.6/1", "content-length against one DATA", |p| {
        send(headers(END_HEADERS, 1, &p.with("POST", &[("content-length", "1")])))
            .send(data(END_STREAM, 1, b"test"))
            .want(MALFORMED)
    }),
    case("http2/8.1.2.6/2", "content-length against several DATA", |p| {
        send(headers(END_HEADERS, 1, &p.with("POST", &[("content-length", "1")])))
            .send(data(0, 1, b"test"))
            .send(data(END_STREAM, 1, b"test"))
            .want(MALFORMED)
    }),
    case("http2/8.2/1", "PUSH_PROMISE of a client", |p| {
        send(frame(PUSH_PROMISE, END_HEADERS, 1, &[3u32.to_be_bytes().to_vec(), p.get()].concat()))
            .want(Want::ConnectionError(&[PROTOCOL_ERROR]))
    }),
];

/// Stricter than the suite.
pub const OWN: &[Case] = &[case("own/8.3/1", "a pseudo-header field in the last trailers", |p| {
    trailing(p, DONE, (":method", "POST")).want(Want::NoAnswer(PROTOCOL_ERROR))
})];
