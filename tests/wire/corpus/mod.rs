//! Ambiguous requests, made from the public classes of request smuggling and header injection by rule: no
//! copied list. Texts have placeholders of the width of what replaces them, so that one payload fits each cell.

pub mod fields;
pub mod framing;
pub mod http2;
pub mod lines;
pub mod routing;
pub mod sessions;

use std::collections::HashSet;

use fastrand::Rng;

use crate::edge::{CELLS, account, prefix};

/// The account of the cell that the payload is for, and another cell's: `1001`.
pub const OWN_ID: &str = "@AAA";
/// See [`OWN_ID`].
pub const OTHER_ID: &str = "@BBB";
/// Prefixes of their own addresses: `acc1`.
pub const OWN_PREFIX: &str = "@own";
/// See [`OWN_PREFIX`].
pub const OTHER_PREFIX: &str = "@oth";
/// The payload's name for itself, and for what it hides: `t000123`, `s000123`.
pub const TAG: &str = "@tagnnn";
/// See [`TAG`].
pub const HIDDEN_TAG: &str = "@smgnnn";

/// What one client sends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Payload {
    /// What it tries.
    pub class: &'static str,
    /// Sent one after the other.
    pub pieces: Vec<Vec<u8>>,
    /// For a listener of HTTP/2.
    pub http2: bool,
}

impl Payload {
    /// HTTP/1, in one piece.
    pub fn new(class: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { class, pieces: vec![bytes.into()], http2: false }
    }

    /// For this cell, as the payload of this number.
    pub fn fill(&self, cell: usize, number: usize) -> Vec<Vec<u8>> {
        let other = (cell + 1) % CELLS.len();
        let marks = [
            (OWN_ID, account(cell).to_string()),
            (OTHER_ID, account(other).to_string()),
            (OWN_PREFIX, prefix(cell)),
            (OTHER_PREFIX, prefix(other)),
            (TAG, format!("t{number:06}")),
            (HIDDEN_TAG, format!("s{number:06}")),
        ];
        let mut pieces = self.pieces.clone();
        for piece in &mut pieces {
            for (mark, text) in &marks {
                assert_eq!(mark.len(), text.len(), "lengths were counted with the placeholders");
                replace(piece, mark.as_bytes(), text.as_bytes());
            }
        }
        pieces
    }
}

fn replace(bytes: &mut [u8], mark: &[u8], text: &[u8]) {
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(mark.len()).position(|window| window == mark) {
        bytes[at + found..at + found + mark.len()].copy_from_slice(text);
        at += found + mark.len();
    }
}

/// Every payload that the rules make, in a fixed order.
pub fn systematic() -> (Vec<Payload>, Vec<Payload>) {
    let mut http1 = Vec::new();
    for make in [framing::all, lines::all, fields::all, routing::all, sessions::all] {
        http1.extend(make());
    }
    let mut seen = HashSet::new();
    http1.retain(|payload| seen.insert(payload.pieces.clone()));
    let mut http2 = http2::all();
    http2.retain(|payload| seen.insert(payload.pieces.clone()));
    (http1, http2)
}

/// What has found something once is sent every time.
fn found() -> Vec<Payload> {
    let coded = post(b"transfer-encoding: CHUNKED\r\n", b"5\r\nhello\r\n0\r\n\r\n");
    let quoted = ["host\"", "content-length\"", "x\"y"].map(http2::named);
    [vec![Payload::new("found", coded)], quoted.to_vec(), http2::dropped().to_vec()].concat()
}

/// So many payloads: some of each kind that the rules make, and mutations of those.
pub fn corpus(seed: u64, count: usize) -> Vec<Payload> {
    let mut rng = Rng::with_seed(seed);
    let (mut http1, mut http2) = systematic();
    rng.shuffle(&mut http1);
    rng.shuffle(&mut http2);
    let parents = http1.clone();
    // Six in ten as the rules make them, two in ten of HTTP/2, and the rest mutations.
    http1.truncate(count * 6 / 10);
    http2.truncate(count * 2 / 10);
    let mut payloads = [found(), http1, http2].concat();
    let mut seen: HashSet<Vec<Vec<u8>>> = payloads.iter().map(|payload| payload.pieces.clone()).collect();
    while payloads.len() < count {
        let mutant = mutate(&parents, &mut rng);
        if seen.insert(mutant.pieces.clone()) {
            payloads.push(mutant);
        }
    }
    rng.shuffle(&mut payloads);
    payloads
}

/// Bytes that parsers treat specially.
pub const SPECIAL: [&[u8]; 24] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b"\x0b",
    b"\x0c",
    b"\x7f",
    b"\x80",
    b"\xa0",
    b"\xff",
    b":",
    b",",
    b";",
    b"%",
    b"/",
    b"\\",
    b"?",
    b"#",
    b"0",
    b"-",
    b"\"",
];

fn mutate(parents: &[Payload], rng: &mut Rng) -> Payload {
    let any = |rng: &mut Rng| parents[rng.usize(..parents.len())].pieces.concat();
    let mut bytes = any(rng);
    // Parents are wrong already; more than two changes and little is left of a request.
    for _ in 0..rng.usize(1..3) {
        let at = rng.usize(..=bytes.len());
        let end = (at + rng.usize(..12)).min(bytes.len());
        let special = SPECIAL[rng.usize(..SPECIAL.len())];
        match rng.u8(..5) {
            0 => drop(bytes.splice(at..at, special.iter().copied())),
            1 => drop(bytes.splice(at..end.min(at + 1), special.iter().copied())),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                // A line of another payload at a line of this one.
                let other = any(rng);
                let lines: Vec<&[u8]> = other.split_inclusive(|byte| *byte == b'\n').collect();
                let line = lines[rng.usize(..lines.len())].to_vec();
                let starts: Vec<usize> =
                    (0..bytes.len()).filter(|at| *at > 0 && bytes[at - 1] == b'\n').collect();
                let at = if starts.is_empty() { bytes.len() } else { starts[rng.usize(..starts.len())] };
                bytes.splice(at..at, line);
            }
        }
    }
    Payload::new("mutation", bytes)
}

/// A request of the payload's own account with these field lines, each with its line end, and what comes
/// behind the head.
pub fn post(fields: &[u8], body: &[u8]) -> Vec<u8> {
    request("POST", fields, body)
}

/// See [`post`].
pub fn request(method: &str, fields: &[u8], body: &[u8]) -> Vec<u8> {
    let line = format!("{method} /api/v2/accounts/{OWN_ID}/{TAG} HTTP/1.1\r\nHost: old.test\r\n");
    [line.as_bytes(), fields, b"\r\n", body].concat()
}

/// Requests to hide: whole ones to either account, with the fields that only cellgate may set, and the
/// beginning of one that waits for the next client's.
pub fn hidden() -> [Vec<u8>; 3] {
    let spoof = format!("X-Cellgate-Account: {OTHER_ID}\r\nX-Request-Id: hidden-{HIDDEN_TAG}\r\n");
    [
        format!("GET /api/v2/accounts/{OTHER_ID}/{HIDDEN_TAG} HTTP/1.1\r\nHost: old.test\r\n{spoof}\r\n")
            .into(),
        format!(
            "POST /{HIDDEN_TAG} HTTP/1.1\r\nHost: {OWN_PREFIX}.cells.test\r\nContent-Length: 400\r\n\r\n"
        )
        .into(),
        format!("GET /{HIDDEN_TAG} HTTP/1.1\r\nHost: {OTHER_PREFIX}.cells.test\r\n{spoof}X: ").into(),
    ]
}

#[test]
fn the_corpus_is_large_has_no_doubles_and_is_the_same_every_time() {
    let (http1, http2) = systematic();
    assert!(http1.len() > 8_000 && http2.len() > 1_500, "{} and {}", http1.len(), http2.len());
    let first = corpus(7, 3_000);
    assert_eq!(first, corpus(7, 3_000));
    assert_ne!(first, corpus(8, 3_000));
    let classes: HashSet<_> = first.iter().map(|payload| payload.class).collect();
    assert!(classes.len() > 25, "{classes:?}");
    let filled = Payload::new("x", post(b"", b"")).fill(0, 12).concat();
    assert_eq!(filled, b"POST /api/v2/accounts/1001/t000012 HTTP/1.1\r\nHost: old.test\r\n\r\n");
}
