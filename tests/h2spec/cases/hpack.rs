//! `hpack`: header blocks that cannot be decoded (RFC 7541).

use crate::h2_raw::*;
use crate::script::{Case, Peer, Script, Want, case, send};

const DONE: u8 = END_STREAM | END_HEADERS;

fn undecodable(block: Vec<u8>) -> Script {
    send(headers(DONE, 1, &block)).want(Want::ConnectionError(&[COMPRESSION_ERROR]))
}

fn ending(p: &Peer, more: &[u8]) -> Script {
    undecodable([&p.get(), more].concat())
}

/// A field whose value is this Huffman string. `no-cache` is `a8eb 1064 9cbf` (RFC 7541 appendix C.4.2), of which the
/// last 5 bits are padding; `private` is `aec3 771a 4b` (appendix C.6.1), with one bit.
fn huffman(p: &Peer, value: &[u8]) -> Script {
    ending(p, &[vec![0], string("x-test"), integer(0x80, 7, value.len()), value.to_vec()].concat())
}

/// The first index that an empty dynamic table does not have (RFC 7541 section 2.3.3).
const BEYOND: usize = 62;

pub const CASES: &[Case] = &[
    case("hpack/2.3.3/1", "an indexed field beyond the tables", |p| ending(p, &integer(0x80, 7, BEYOND + 8))),
    case("hpack/2.3.3/2", "a literal whose name is beyond the tables", |p| {
        ending(p, &[integer(0x40, 6, BEYOND + 8), string("")].concat())
    }),
    case("hpack/4.2/1", "a table size update at the end of a block", |p| ending(p, &integer(0x20, 5, 1))),
    case("hpack/5.2/1", "Huffman padding of more than 7 bits", |p| {
        huffman(p, b"\xa8\xeb\x10\x64\x9c\xbf\xff")
    }),
    case("hpack/5.2/2", "Huffman padding with zeros", |p| huffman(p, b"\xae\xc3\x77\x1a\x4a")),
    case("hpack/5.2/3", "the Huffman symbol EOS", |p| {
        // 30 ones after the text are EOS (RFC 7541 appendix B), then `c` and two bits of padding.
        huffman(p, b"\xa8\xeb\x10\x64\x9c\xbf\xff\xff\xff\x93")
    }),
    case("hpack/6.1/1", "index 0", |p| ending(p, b"\x80")),
    case("hpack/6.3/1", "a table size update above HEADER_TABLE_SIZE", |p| {
        let above = p.setting(HEADER_TABLE_SIZE, 4096) as usize + 1;
        undecodable([integer(0x20, 5, above), p.get()].concat())
    }),
];
