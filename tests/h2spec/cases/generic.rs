//! `generic`: what every server must take.

use crate::h2_raw::*;
use crate::script::{Case, Peer, Script, Want, bare, case, send};

const DONE: u8 = END_STREAM | END_HEADERS;
const ZERO: [u8; 8] = [0; 8];

/// Fields in Huffman coding, from RFC 7541 appendix C.4: `custom-key`, `custom-value`, and the value `no-cache`.
const KEY: &[u8] = b"\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f";
const VALUE: &[u8] = b"\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf";

/// `user-agent` in the static table (RFC 7541 appendix A).
const USER_AGENT: usize = 58;

fn no_window(p: &Peer) -> Script {
    send(settings(&[(INITIAL_WINDOW_SIZE, 0)])).send(headers(DONE, 1, &p.get()))
}

fn after(p: &Peer, before: Vec<u8>) -> Script {
    send(before).send(headers(DONE, 1, &p.get())).want(Want::Response(1))
}

/// A request that ends with this representation.
fn ending(p: &Peer, more: &[u8]) -> Script {
    send(headers(DONE, 1, &[&p.get(), more].concat())).want(Want::Response(1))
}

/// A literal with an indexed name.
fn indexed(first: u8, bits: u32, value: &[u8]) -> Vec<u8> {
    [&integer(first, bits, USER_AGENT), value].concat()
}

pub const CASES: &[Case] = &[
    case("generic/1/1", "the connection preface is taken", |_| {
        bare([PREFACE, &settings(&[(INITIAL_WINDOW_SIZE, 65_535)])].concat()).want(Want::Preface)
    }),
    case("generic/2/1", "PRIORITY on an idle stream", |_| {
        send(priority(1, &dependency(0, false, 255))).send(ping(0, &ZERO)).want(Want::Pong(ZERO))
    }),
    case("generic/2/2", "WINDOW_UPDATE on a half-closed stream", |p| {
        no_window(p).send(window_update(1, 1)).want(Want::Data(None))
    }),
    case("generic/2/3", "PRIORITY on a half-closed stream", |p| {
        no_window(p)
            .send(priority(1, &dependency(0, false, 255)))
            .send(window_update(1, 1))
            .want(Want::Data(None))
    }),
    case("generic/2/4", "RST_STREAM on a half-closed stream", |p| {
        send(headers(DONE, 1, &p.get())).send(reset(1, CANCEL)).send(ping(0, &ZERO)).want(Want::Pong(ZERO))
    }),
    case("generic/2/5", "PRIORITY on a closed stream", |p| {
        send(headers(DONE, 1, &p.get()))
            .want(Want::StreamEnd)
            .send(priority(1, &dependency(0, false, 255)))
            .send(ping(0, &ZERO))
            .want(Want::Pong(ZERO))
    }),
    case("generic/3.1/1", "DATA", |p| {
        send(headers(END_HEADERS, 1, &p.post())).send(data(END_STREAM, 1, b"test")).want(Want::Response(1))
    }),
    case("generic/3.1/2", "several DATA", |p| {
        send(headers(END_HEADERS, 1, &p.post()))
            .send(data(0, 1, b"test"))
            .send(data(END_STREAM, 1, b"test"))
            .want(Want::Response(1))
    }),
    case("generic/3.1/3", "DATA with padding", |p| {
        send(headers(END_HEADERS, 1, &p.post()))
            .send(data(END_STREAM | PADDED, 1, b"\x05test\0\0\0\0\0"))
            .want(Want::Response(1))
    }),
    case("generic/3.2/1", "HEADERS", |p| after(p, Vec::new())),
    case("generic/3.2/2", "HEADERS with padding", |p| {
        send(headers(DONE | PADDED, 1, &[&[8][..], &p.get(), &ZERO].concat())).want(Want::Response(1))
    }),
    case("generic/3.2/3", "HEADERS with a priority", |p| {
        send(headers(DONE | WITH_PRIORITY, 1, &[dependency(0, false, 255), p.get()].concat()))
            .want(Want::Response(1))
    }),
    case("generic/3.3/1", "PRIORITY with weight 1", |p| after(p, priority(1, &dependency(0, false, 0)))),
    case("generic/3.3/2", "PRIORITY with weight 256", |p| after(p, priority(1, &dependency(0, false, 255)))),
    case("generic/3.3/3", "PRIORITY with a dependency", |p| after(p, priority(3, &dependency(1, false, 0)))),
    case("generic/3.3/4", "PRIORITY, exclusive", |p| after(p, priority(1, &dependency(0, true, 0)))),
    case("generic/3.3/5", "PRIORITY for a higher idle stream, then a request on a lower one", |p| {
        after(p, priority(3, &dependency(0, false, 255)))
    }),
    case("generic/3.4/1", "RST_STREAM", |p| {
        send(headers(END_HEADERS, 1, &p.get()))
            .send(reset(1, CANCEL))
            .send(ping(0, &ZERO))
            .want(Want::Pong(ZERO))
    }),
    case("generic/3.5/1", "SETTINGS with every value of the RFC", |_| {
        send(settings(&[
            (HEADER_TABLE_SIZE, 4096),
            (ENABLE_PUSH, 1),
            (MAX_CONCURRENT_STREAMS, 100),
            (INITIAL_WINDOW_SIZE, 65_535),
            (MAX_FRAME_SIZE, 16_384),
            (MAX_HEADER_LIST_SIZE, 100),
        ]))
        .want(Want::SettingsAck)
    }),
    case("generic/3.7/1", "PING", |_| send(ping(0, b"cellgate")).want(Want::Pong(*b"cellgate"))),
    case("generic/3.8/1", "GOAWAY", |_| {
        send(goaway(0, NO_ERROR, b"suite")).send(ping(0, b"cellgate")).want(Want::PongOrClose(*b"cellgate"))
    }),
    case("generic/3.9/1", "WINDOW_UPDATE on the connection", |_| {
        send(window_update(0, 1)).send(ping(0, &ZERO)).want(Want::Pong(ZERO))
    }),
    case("generic/3.9/2", "WINDOW_UPDATE on a stream", |p| {
        send(headers(DONE, 1, &p.get())).send(window_update(1, 1)).want(Want::Response(1))
    }),
    case("generic/3.10/1", "CONTINUATION", |p| {
        let block = p.get();
        send(headers(END_STREAM, 1, &block[..5]))
            .send(continuation(END_HEADERS, 1, &block[5..]))
            .want(Want::Response(1))
    }),
    case("generic/3.10/2", "several CONTINUATION", |p| {
        let block = p.get();
        send(headers(END_STREAM, 1, &block[..5]))
            .send(continuation(0, 1, &block[5..10]))
            .send(continuation(END_HEADERS, 1, &block[10..]))
            .want(Want::Response(1))
    }),
    case("generic/4/1", "GET", |p| after(p, Vec::new())),
    case("generic/4/2", "HEAD", |p| {
        send(headers(DONE, 1, &block(&p.fields("HEAD")))).want(Want::Response(1))
    }),
    case("generic/4/3", "POST", |p| {
        send(headers(END_HEADERS, 1, &p.post())).send(data(END_STREAM, 1, b"test")).want(Want::Response(1))
    }),
    case("generic/4/4", "POST with trailers", |p| {
        send(headers(END_HEADERS, 1, &p.with("POST", &[("trailer", "x-test")])))
            .send(data(0, 1, b"test"))
            .send(headers(DONE, 1, &field("x-test", "ok")))
            .want(Want::Response(1))
    }),
    case("generic/5/1", "an indexed field", |p| ending(p, &integer(0x80, 7, USER_AGENT))),
    case("generic/5/2", "incremental indexing, indexed name, Huffman", |p| {
        ending(p, &indexed(0x40, 6, VALUE))
    }),
    case("generic/5/3", "incremental indexing, indexed name", |p| {
        ending(p, &indexed(0x40, 6, &string("suite")))
    }),
    case("generic/5/4", "incremental indexing, new name", |p| {
        ending(p, &[vec![0x40], string("x-test"), string("suite")].concat())
    }),
    case("generic/5/5", "incremental indexing, new name, Huffman", |p| {
        ending(p, &[&[0x40], KEY, VALUE].concat())
    }),
    case("generic/5/6", "without indexing, indexed name", |p| ending(p, &indexed(0, 4, &string("suite")))),
    case("generic/5/7", "without indexing, indexed name, Huffman", |p| ending(p, &indexed(0, 4, VALUE))),
    case("generic/5/8", "without indexing, new name", |p| ending(p, &field("x-test", "suite"))),
    case("generic/5/9", "without indexing, new name, Huffman", |p| ending(p, &[&[0], KEY, VALUE].concat())),
    case("generic/5/10", "never indexed, indexed name", |p| ending(p, &indexed(0x10, 4, &string("suite")))),
    case("generic/5/11", "never indexed, indexed name, Huffman", |p| ending(p, &indexed(0x10, 4, VALUE))),
    case("generic/5/12", "never indexed, new name", |p| {
        ending(p, &[vec![0x10], string("x-test"), string("suite")].concat())
    }),
    case("generic/5/13", "never indexed, new name, Huffman", |p| ending(p, &[&[0x10], KEY, VALUE].concat())),
    case("generic/5/14", "a dynamic table size update", |p| {
        send(headers(DONE, 1, &[integer(0x20, 5, 128), p.get()].concat())).want(Want::Response(1))
    }),
    case("generic/5/15", "two dynamic table size updates", |p| {
        send(headers(DONE, 1, &[integer(0x20, 5, 128), integer(0x20, 5, 4096), p.get()].concat()))
            .want(Want::Response(1))
    }),
];
