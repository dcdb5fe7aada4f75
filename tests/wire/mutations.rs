//! Valid requests, changed at random: what becomes of one reaches the cell of the account that its bytes name, or
//! no cell. The lab's corpus is wrong by rule; here everything begins right, and is taken apart.
//!
//! A run is its seed: the same seed makes the same bytes, and a finding shows seed, number and bytes.

use std::collections::BTreeSet;

use fastrand::Rng;

use crate::canonical::Message;
use crate::cells::Read;
use crate::corpus::http2::{PREFACE, block, frame};
use crate::corpus::{Payload, SPECIAL, TAG};
use crate::edge::{CELLS, LEGACY, OWN, account, prefix};
use crate::lab::Lab;
use crate::oracle::{Forwarded, judge, misread};

/// Requests of a run in CI, and of a long one.
const COUNTS: [usize; 2] = [4_000, 100_000];

/// Most changes of one request: after more there is no request left.
const CHANGES: usize = 4;

type Field = (Vec<u8>, Vec<u8>);

/// What one client wants to ask.
#[derive(Clone, Debug)]
struct Request {
    method: Vec<u8>,
    target: Vec<u8>,
    /// Host first, unless it was moved.
    fields: Vec<Field>,
    body: Vec<u8>,
    chunked: bool,
}

/// A request, or two, on their way.
#[derive(Clone, Debug)]
struct Case {
    /// Whose it was before it was changed.
    cell: usize,
    changes: usize,
    payload: Payload,
    /// The fields of each request, in HTTP/2: the bytes there are no text.
    streams: Vec<Vec<Field>>,
}

fn field(name: &str, value: impl Into<Vec<u8>>) -> Field {
    (name.into(), value.into())
}

fn valid(rng: &mut Rng, cell: usize) -> Request {
    let id = account(cell);
    let own = format!("{}{OWN}", prefix(cell));
    let mut fields = Vec::new();
    let (host, target) = match rng.u8(..7) {
        0 => (own.as_str(), format!("/{TAG}")),
        1 => (own.as_str(), format!("/api/v2/accounts/{id}/{TAG}?page=2")),
        2 => (LEGACY, format!("/api/v2/accounts/{id}/{TAG}/")),
        3 => (LEGACY, format!("/deploy/{id}/{TAG}?account_id={id}")),
        4 => (LEGACY, format!("/{TAG}?a=b&account_id={id}")),
        5 => (LEGACY, format!("/api/v3/accounts/{id}/{TAG}/runs")),
        _ => {
            fields.push(field("X-Account", id.to_string()));
            (LEGACY, format!("/runs/{TAG}"))
        }
    };
    let method = *rng.choice(&["GET", "POST", "PUT", "DELETE", "PATCH"]).unwrap();
    let body = if method == "GET" { Vec::new() } else { vec![b'x'; rng.usize(..40)] };
    let chunked = !body.is_empty() && rng.bool();
    if !chunked && !body.is_empty() {
        fields.push(field("Content-Length", body.len().to_string()));
    }
    for more in [
        field("Accept", "application/json"),
        field("Authorization", "Token dbtc_FAKE1"),
        field("Cookie", "sessionid=abc; theme=dark"),
        field("User-Agent", "python-requests/2.32"),
        field("X-Request-Id", format!("{TAG}-one")),
        field("X-Forwarded-For", "203.0.113.7, 10.0.0.1"),
        field("Connection", "keep-alive"),
        field("Content-Type", "application/json"),
    ] {
        if rng.u8(..3) == 0 {
            fields.push(more);
        }
    }
    rng.shuffle(&mut fields);
    fields.insert(0, field("Host", host));
    Request { method: method.into(), target: target.into(), fields, body, chunked }
}

impl Request {
    /// One change of what it says; `other` is another valid request.
    fn change(&mut self, other: &Self, rng: &mut Rng) {
        let any = rng.usize(..self.fields.len().max(1));
        let at = rng.usize(..=self.fields.len());
        let theirs = other.fields[rng.usize(..other.fields.len())].clone();
        match rng.u8(..10) {
            0 if any < self.fields.len() => self.fields.insert(at, self.fields[any].clone()),
            1 => rng.shuffle(&mut self.fields),
            2 if any < self.fields.len() => drop(self.fields.remove(any)),
            3 => self.fields.insert(at, theirs),
            4 => self.target = other.target.clone(),
            5 => self.fields.insert(at, field("X-Account", account(rng.usize(..CELLS.len())).to_string())),
            6 => {
                let mark: &[u8] = if self.target.contains(&b'?') { b"&" } else { b"?" };
                let id = account(rng.usize(..CELLS.len())).to_string();
                self.target.extend([mark, b"account_id=", id.as_bytes()].concat());
            }
            7 => another_account(&mut self.target, rng),
            8 if any < self.fields.len() => another_account(&mut self.fields[any].1, rng),
            _ => match rng.u8(..4) {
                0 => damage(&mut self.method, rng),
                1 => damage(&mut self.target, rng),
                2 if any < self.fields.len() => damage(&mut self.fields[any].0, rng),
                _ if any < self.fields.len() => damage(&mut self.fields[any].1, rng),
                _ => damage(&mut self.body, rng),
            },
        }
    }

    fn http1(&self) -> Vec<u8> {
        let mut bytes = [&self.method[..], b" ", &self.target, b" HTTP/1.1\r\n"].concat();
        for (name, value) in &self.fields {
            bytes.extend([&name[..], b": ", value, b"\r\n"].concat());
        }
        if self.chunked {
            bytes.extend(format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", self.body.len()).bytes());
            bytes.extend([&self.body[..], b"\r\n0\r\n\r\n"].concat());
        } else {
            bytes.extend([b"\r\n", &self.body[..]].concat());
        }
        bytes
    }

    /// With names in lower case, as HTTP/2 wants them, and without what it does not know.
    fn http2(&self) -> Vec<Field> {
        let mut fields = vec![
            field(":method", &self.method[..]),
            field(":scheme", "http"),
            field(":path", &self.target[..]),
        ];
        for (name, value) in &self.fields {
            match &name.to_ascii_lowercase()[..] {
                b"host" => fields.insert(pseudo_end(&fields), field(":authority", &value[..])),
                b"connection" => {}
                name => fields.push((name.to_vec(), value.clone())),
            }
        }
        fields
    }
}

/// Where pseudo-header fields end.
fn pseudo_end(fields: &[Field]) -> usize {
    fields.iter().take_while(|(name, _)| name.starts_with(b":")).count()
}

/// The id or the prefix of a cell becomes another's, where there is one.
fn another_account(text: &mut [u8], rng: &mut Rng) {
    let (from, to) = (rng.usize(..CELLS.len()), rng.usize(..CELLS.len()));
    let names = |cell| [account(cell).to_string(), prefix(cell)];
    for (own, other) in names(from).iter().zip(names(to)) {
        if let Some(at) = text.windows(own.len()).position(|part| part == own.as_bytes()) {
            text[at..at + own.len()].copy_from_slice(other.as_bytes());
        }
    }
}

/// One change of bytes.
fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let at = rng.usize(..=bytes.len());
    let end = (at + rng.usize(..12)).min(bytes.len());
    match rng.u8(..4) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
        1 => drop(bytes.drain(at..end)),
        2 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
        _ => drop(bytes.splice(at..at, SPECIAL[rng.usize(..SPECIAL.len())].iter().copied())),
    }
}

fn case(rng: &mut Rng) -> Case {
    let cell = rng.usize(..CELLS.len());
    // One in eight stays as it is: what is right must be served.
    let changes = if rng.u8(..8) == 0 { 0 } else { rng.usize(1..=CHANGES) };
    let mut request = valid(rng, cell);
    let other_cell = rng.usize(..CELLS.len());
    let other = valid(rng, other_cell);
    let http2 = rng.u8(..3) == 0;
    // In HTTP/1 some of the changes are of bytes.
    let of_words = if http2 { changes } else { rng.usize(..=changes) };
    for _ in 0..of_words {
        request.change(&other, rng);
    }
    let (bytes, streams) = if http2 {
        let mut asked = vec![request];
        asked.extend((changes > 0 && rng.u8(..4) == 0).then_some(other));
        (streams_of(&asked, rng), asked.iter().map(Request::http2).collect())
    } else {
        let mut bytes = request.http1();
        for _ in of_words..changes {
            match rng.u8(..4) {
                // The head of one and the tail of the other, or both in a row.
                0 => {
                    let tail = other.http1();
                    let from = if rng.bool() { 0 } else { rng.usize(..tail.len()) };
                    bytes.truncate(if rng.bool() { bytes.len() } else { rng.usize(..=bytes.len()) });
                    bytes.extend_from_slice(&tail[from..]);
                }
                _ => damage(&mut bytes, rng),
            }
        }
        (bytes, Vec::new())
    };
    let class = if changes == 0 { "valid" } else { "mutated" };
    Case { cell, changes, payload: Payload { class, pieces: pieces(bytes, rng), http2 }, streams }
}

/// Each request on a stream of its own; the fields in one frame or in two.
fn streams_of(requests: &[Request], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = [PREFACE, &frame(4, 0, 0, b"")].concat();
    for (stream, request) in (1..).step_by(2).zip(requests) {
        let block = block(&request.http2());
        let ends = u8::from(request.body.is_empty());
        match rng.usize(..=block.len() * 2) {
            cut if cut < block.len() => {
                bytes.extend(frame(1, ends, stream, &block[..cut]));
                bytes.extend(frame(9, 4, stream, &block[cut..]));
            }
            _ => bytes.extend(frame(1, ends | 4, stream, &block)),
        }
        if ends == 0 {
            bytes.extend(frame(0, 1, stream, &request.body));
        }
    }
    bytes
}

/// All at once, or cut at up to three places. No piece ends within a placeholder: their text is filled in later.
fn pieces(bytes: Vec<u8>, rng: &mut Rng) -> Vec<Vec<u8>> {
    let within = |at: usize| {
        let from = at.saturating_sub(TAG.len() - 1);
        let near = &bytes[from..(at + TAG.len() - 1).min(bytes.len())];
        near.windows(TAG.len()).any(|part| part == TAG.as_bytes())
    };
    let cuts = if rng.bool() { 0 } else { rng.usize(1..4) };
    let cuts: BTreeSet<usize> = (0..cuts).map(|_| rng.usize(..=bytes.len())).collect();
    let mut pieces = Vec::new();
    let mut rest = &bytes[..];
    for at in cuts.into_iter().rev().filter(|at| *at > 0 && *at < bytes.len() && !within(*at)) {
        pieces.insert(0, rest[at..].to_vec());
        rest = &rest[..at];
    }
    pieces.insert(0, rest.to_vec());
    pieces
}

/// What the client has written, read apart from cellgate: every head in it that asks for this target.
fn written(case: &Case, number: usize, read: &Read) -> Vec<Read> {
    let bytes = case.payload.fill(case.cell, number).concat();
    let as_read = |host: String, header: String| Read { host, header, path: String::new(), ..read.clone() };
    if case.payload.http2 {
        let filled = |value: &[u8]| {
            let payload = Payload::new("", value);
            String::from_utf8_lossy(&payload.fill(case.cell, number).concat()).into_owned()
        };
        let all = |fields: &[Field], name: &[u8]| {
            let values = fields.iter().filter(|(field, _)| field == name);
            let mut values: Vec<String> = values.map(|(_, value)| filled(value)).collect();
            // Of a block in two frames the engine drops what makes the first malformed instead of refusing the
            // request: a second pseudo-header field. (README, limits)
            if name.starts_with(b":") {
                values.truncate(1);
            }
            values.join(", ")
        };
        // The engine's library cuts a fragment off before anybody else sees the path. (README, limits)
        let asks = |fields: &&Vec<Field>| all(fields, b":path").split('#').next() == Some(&read.target);
        let streams = case.streams.iter().filter(asks);
        return streams
            .map(|fields| as_read(all(fields, b":authority"), all(fields, b"x-account")))
            .collect();
    }
    // A request in a row stands behind a body, which ends anywhere.
    let first = format!("{} ", read.method).into_bytes();
    let starts = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&first));
    let heads = starts.filter_map(|at| Message::head(&bytes[at..]));
    heads
        // An empty query is none for the cells in Python.
        .filter(|head| {
            [head.target.as_str(), head.target.trim_end_matches('?')].contains(&read.target.as_str())
        })
        .filter(|head| head.method == read.method)
        .map(|head| {
            as_read(head.field("host").unwrap_or_default(), head.field("x-account").unwrap_or_default())
        })
        .collect()
}

/// What is wrong with a request that has reached a cell, by the bytes that the client has sent.
fn against_the_bytes(case: &Case, number: usize, read: &Read) -> Option<String> {
    let heads = written(case, number, read);
    let wrong: Vec<String> = heads.iter().filter_map(misread).collect();
    let home =
        (0..CELLS.len()).find(|cell| account(*cell).to_string() == read.account).map(|cell| CELLS[cell]);
    let bytes = case.payload.fill(case.cell, number).concat();
    let shown =
        |what: &str| Some(format!("number {number}: {what}: {read:?} of b\"{}\"", bytes.escape_ascii()));
    match (heads.len(), wrong.len()) {
        (0, _) => shown("a target that nobody has written"),
        (all, wrong_ones) if all == wrong_ones => shown(&wrong.join("; ")),
        _ if home != Some(&read.cell) => shown("another cell than the account's"),
        _ => None,
    }
}

fn number_of(read: &Read) -> Option<usize> {
    let mut parts = read.target.split(['/', '?', '=', '&']);
    parts.find_map(|part| part.strip_prefix('t')?.get(..6)?.parse().ok())
}

#[test]
fn a_changed_request_reaches_the_account_that_its_bytes_name_or_nobody() {
    let long = std::env::var_os("CELLGATE_TEST_LONG").is_some();
    let seed = if long { fastrand::u64(..) } else { 4 };
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let cases: Vec<Case> = (0..COUNTS[usize::from(long)]).map(|_| case(&mut rng)).collect();
    let lab = Lab::start();
    let mut found = Vec::new();
    for cell in 0..CELLS.len() {
        let own = cases.iter().enumerate().filter(|(_, case)| case.cell == cell);
        let seen = lab.send(cell, own.map(|(number, case)| (number, case.payload.clone())).collect());
        found.extend(seen.poisoned);
        found.extend(seen.crossed);
    }
    let (reads, log) = lab.end();
    let forwarded: Vec<Forwarded> = log.iter().filter_map(Forwarded::of).collect();
    let judged = judge(&reads, &forwarded);
    for findings in [judged.unaccounted, judged.misread, judged.noncanonical, judged.unread] {
        found.extend(findings);
    }
    let mut reached = [BTreeSet::new(), BTreeSet::new()];
    for read in reads.iter().filter(|read| !read.refused) {
        let Some(number) = number_of(read) else { continue };
        let case = &cases[number];
        reached[usize::from(case.changes > 0)].insert(number);
        found.extend(against_the_bytes(case, number, read));
    }
    let [untouched, changed] = reached.map(|numbers| numbers.len());
    let valid = cases.iter().filter(|case| case.changes == 0).count();
    let mutated = cases.len() - valid;
    println!(
        "{valid} valid, {untouched} served; {mutated} changed, {changed} served; {} findings",
        found.len()
    );
    found.truncate(10);
    assert!(found.is_empty(), "with the seed {seed}:\n{}", found.join("\n"));
    // What is right is served, and of what is changed enough is left that something could go wrong.
    assert!(
        untouched * 2 > valid && changed * 10 > mutated,
        "{untouched} of {valid}, {changed} of {mutated}"
    );
}

#[test]
fn bytes_that_name_another_account_are_noticed() {
    let mut rng = Rng::with_seed(1);
    let mut of = |text: &str| Case {
        cell: 0,
        changes: 1,
        payload: Payload { class: "", pieces: pieces(text.into(), &mut rng), http2: false },
        streams: Vec::new(),
    };
    let read = |cell: &str, account: &str, target: &str| Read {
        cell: cell.into(),
        account: account.into(),
        method: "GET".into(),
        target: target.into(),
        ..Read::default()
    };
    let sent = of("GET /api/v2/accounts/1001/@tagnnn HTTP/1.1\r\nHost: old.test\r\n\r\n");
    let good = read("raw", "1001", "/api/v2/accounts/1001/t000012");
    assert_eq!(number_of(&good), Some(12));
    assert_eq!(against_the_bytes(&sent, 12, &good), None);
    assert!(against_the_bytes(&sent, 12, &read("raw", "1002", "/api/v2/accounts/1001/t000012")).is_some());
    assert!(against_the_bytes(&sent, 12, &read("hyper", "1001", "/api/v2/accounts/1001/t000012")).is_some());
    assert!(against_the_bytes(&sent, 12, &read("raw", "1001", "/api/v2/accounts/1001//t000012")).is_some());
}

#[test]
fn the_same_seed_makes_the_same_requests() {
    let make = |seed| {
        let mut rng = Rng::with_seed(seed);
        (0..200).map(|_| case(&mut rng).payload).collect::<Vec<_>>()
    };
    assert_eq!(make(7), make(7));
    assert_ne!(make(7), make(8));
}
