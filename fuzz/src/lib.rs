//! What is fuzzed, as functions of bytes that panic where something does not hold. Each returns whether the
//! bytes were good: most that are made by chance are not, and fewer things are to hold for those.
//!
//! Two callers: the targets of cargo-fuzz beside this, and `tests/fuzz_smoke.rs` of the product, which
//! includes this very file, so that every run of the tests tries some thousands of inputs without any
//! tool that is not there.
#![allow(clippy::panic)]

mod accounts;
mod approvals;
mod audit_trail;
mod chunks;
mod compiled;
mod config;
mod frames;
mod handover;
mod last_good;
mod learned;
mod merges;
#[path = "../../tests/support/servers.rs"]
mod servers;
#[path = "../../tests/support/snapshot.rs"]
mod snapshot;

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

pub use accounts::accounts;
pub use approvals::approvals;
pub use audit_trail::audit_trail;
use cellgate::listen::proxy_protocol::{self as proxy, MAX_HEADER_LEN, Parsed};
use cellgate::policy::credential::{Learning, fingerprint};
use cellgate::policy::decide::{Decision, Source, Verdict, Why};
use cellgate::policy::facts::{Scheme, WireVersion};
use cellgate::policy::gate::{Framing, HeadReader, HeadStatus, read_head};
use cellgate::policy::learned::LearnedTable;
use cellgate::policy::refusal::Refusal;
use cellgate::policy::snapshot::{RequestLimits, Snapshot};
pub use chunks::chunks;
pub use compiled::compiled;
pub use config::config;
pub use frames::frames;
pub use handover::handover;
use http::{HeaderMap, HeaderName, HeaderValue};
pub use last_good::last_good;
pub use learned::learned;
pub use merges::merges;
use snapshot::{Request, SERVICE_TOKEN, USER_TOKEN, account, example, fingerprint_key};

/// 2026-11-20T00:00:00Z.
const NOW: i64 = 1_795_132_800;

/// Bytes as a request head. It is read alike in one piece and in many; and where it is a head, the
/// parser of the engine's kind makes the same of it. Returns whether it is a head.
pub fn head(data: &[u8]) -> bool {
    let mut is_head = false;
    for limits in
        [RequestLimits::default(), RequestLimits { target_bytes: 16, head_bytes: 64, header_fields: 3 }]
    {
        let whole = read_head(data, &limits);
        for step in [1, 7] {
            let pieces = in_pieces(data, step, &limits);
            match (&whole, &pieces) {
                (Ok(HeadStatus::Complete(one)), Ok(HeadStatus::Complete(other))) => assert_eq!(one, other),
                (Ok(HeadStatus::Partial), Ok(HeadStatus::Partial)) | (Err(_), Err(_)) => {}
                _ => panic!("in one piece {whole:?}, in pieces of {step} {pieces:?}"),
            }
        }
        if let Ok(HeadStatus::Complete(head)) = whole {
            agrees(data, &head);
            is_head = true;
        }
    }
    is_head
}

fn in_pieces(data: &[u8], step: usize, limits: &RequestLimits) -> Result<HeadStatus, Refusal> {
    let mut reader = HeadReader::default();
    let mut end = 0;
    loop {
        end = (end + step).min(data.len());
        match reader.read(&data[..end], limits)? {
            HeadStatus::Partial if end < data.len() => {}
            status => return Ok(status),
        }
    }
}

fn agrees(data: &[u8], head: &cellgate::policy::gate::Head) {
    let raw = &data[head.skipped..head.len];
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut parsed = httparse::Request::new(&mut fields);
    assert_eq!(parsed.parse(raw), Ok(httparse::Status::Complete(raw.len())));
    assert_eq!(parsed.method.map(str::as_bytes), Some(head.method.of(data)));
    assert_eq!(parsed.path.map(str::as_bytes), Some(head.target.of(data)));
    assert_eq!(parsed.version, Some(u8::from(head.version == WireVersion::Http11)));
    let lines = raw.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(parsed.headers.len(), lines - 2, "every line but the first and the last is a field");
    assert_eq!(raw.windows(2).filter(|pair| pair == b"\r\n").count(), lines, "a line ends with both");
    assert_eq!(raw.iter().filter(|byte| **byte == b'\r').count(), lines, "and nothing else has either");
    assert_eq!(framing_by_another(parsed.headers), Some(head.framing));
    let hosts = parsed.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("host")).count();
    assert!(hosts == 1 || hosts == 0 && head.version == WireVersion::Http10, "{hosts} hosts");
    let target = head.origin_target(data);
    assert!(target.starts_with('/') || target == "*");
}

/// Where the body ends by the fields of another parser; `None` where two readers may differ.
fn framing_by_another(fields: &[httparse::Header<'_>]) -> Option<Framing> {
    let all = |name: &str| {
        let fields = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        fields.map(|field| field.value.trim_ascii()).collect::<Vec<_>>()
    };
    match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => Some(Framing::None),
        ([length], []) if length.iter().all(u8::is_ascii_digit) => {
            Some(Framing::Length(std::str::from_utf8(length).ok()?.parse().ok()?))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Some(Framing::Chunked),
        _ => None,
    }
}

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| example().routing_cookie().build());

/// A table that has learned something, so that credentials pull in every direction.
static LEARNED: LazyLock<LearnedTable> = LazyLock::new(|| {
    let table = LearnedTable::default();
    let bounds = Learning { entries: 100, per_account: 10 };
    let token = |text: &str| fingerprint(&fingerprint_key("k2"), text.as_bytes());
    table.teach(token(SERVICE_TOKEN), "k2", account(26228), &bounds, 0);
    table.teach(token(USER_TOKEN), "k2", account(12345), &bounds, 0);
    table.teach(token("FAKE0"), "k2", account(12345), &bounds, 0);
    table
});

/// A line `METHOD host target` and lines `name: value` as a request under the snapshot of the tests.
/// Returns whether it is forwarded.
pub fn identify(data: &[u8]) -> bool {
    let Some(request) = request(data) else { return false };
    let decision = request.decide(&SNAPSHOT, &LEARNED);
    let host = request.host.to_ascii_lowercase();
    let host = host.split(':').next().unwrap_or_default().trim_end_matches('.');
    let cell = match &decision.verdict {
        Verdict::Forward { cell, why } => Some((SNAPSHOT.cell(*cell).name.as_str(), *why)),
        Verdict::Redirect { location } => {
            assert!(location.starts_with("https://") && host.ends_with("cloud.getdbt.com"), "{location}");
            return false;
        }
        Verdict::Hold { .. } => unreachable!("nothing moves in the snapshot of the tests"),
        Verdict::Refuse(_) => None,
    };
    let Some((cell, why)) = cell else { return false };
    if host.ends_with("dbt.com") && !host.ends_with("getdbt.com") {
        stays_at_home(host, cell, &decision);
    }
    match (why, decision.account) {
        (Why::Mapped, Some(id)) => {
            let row = SNAPSHOT.accounts.by_id(id).expect("a mapped account has a row");
            assert_eq!(SNAPSHOT.cell(row.cell).name.as_str(), cell);
        }
        (Why::IdRange, None) => assert_eq!(decision.source, Source::IdRange),
        (why, account) => panic!("{why:?} for {account:?}: no host of this snapshot falls back"),
    }
    every_server_agrees(host, &request, &decision);
    no_other_is_asked_for(host, &request, &decision);
    true
}

/// The account's own address leads to the account's own cell, whatever else is said.
fn stays_at_home(host: &str, cell: &str, decision: &Decision) {
    let homes = [
        ("gh012", "mt"),
        ("mx789", "us1-c1"),
        ("ab123", "us1-c1"),
        ("acme", "us1-c1"),
        ("cd456", "us1-c2"),
        ("ef789", "us1-c3"),
        ("zz001", "us2-c1"),
    ];
    let mut labels = host.split('.').take(2);
    let home = labels.find_map(|label| homes.iter().find(|(prefix, _)| *prefix == label));
    assert_eq!(home.map(|(_, cell)| *cell), Some(cell), "{host}");
    assert_eq!(decision.source, Source::HostPrefix);
    assert_eq!(decision.schedule, None);
}

/// On a legacy host every server that reads an account in the path reads the one that was routed by.
fn every_server_agrees(host: &str, request: &Request, decision: &Decision) {
    let path = request.target.split('?').next().unwrap_or_default();
    let readings: Vec<_> = servers::ALL
        .iter()
        .filter_map(|(name, server)| Some((name, servers::account(&server(path))?)))
        .collect();
    let legacy = host.ends_with("getdbt.com");
    let expected = match decision.account.filter(|_| legacy) {
        Some(account) => Some(account.value()),
        // On a cell host the path may name another account, but one and the same for everybody.
        None => readings.first().map(|(_, found)| *found).filter(|_| !legacy),
    };
    for (name, found) in readings {
        assert_eq!(Some(found), expected, "a server that {name} reads it in {path}");
    }
}

/// On a legacy host the query names the account that was routed by, or none: a cell may read it there.
fn no_other_is_asked_for(host: &str, request: &Request, decision: &Decision) {
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let asked = query.split('&').filter_map(|pair| pair.strip_prefix("account_id=")?.parse().ok());
    for other in asked.filter(|_| host.ends_with("getdbt.com")) {
        assert_eq!(decision.account.map(|account| account.value()), Some(other), "{}", request.target);
    }
}

fn request(data: &[u8]) -> Option<Request> {
    let mut lines = std::str::from_utf8(data).ok()?.split('\n');
    let mut first = lines.next()?.splitn(3, ' ');
    let (method, host, target) = (first.next()?, first.next()?, first.next()?);
    let mut headers = HeaderMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ")?;
        headers.append(HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?);
    }
    Some(Request {
        method: method.parse().ok()?,
        host: host.to_owned(),
        target: target.to_owned(),
        headers,
        version: WireVersion::Http11,
        protocol: None,
        scheme: Scheme::Https,
    })
}

/// Bytes as the beginning of a connection with a PROXY header. What is judged stays judged when more
/// bytes come; nothing is judged before its last byte; addresses are those of the bytes, and none is an IPv4 one
/// in disguise. Returns whether there was a header.
pub fn proxy_protocol(data: &[u8]) -> bool {
    let whole = proxy::parse(data);
    let judged = (0..=data.len().min(MAX_HEADER_LEN + 1)).find_map(|end| match proxy::parse(&data[..end]) {
        Parsed::Partial => None,
        judged => Some((end, judged)),
    });
    let Some((end, judged)) = judged else {
        assert_eq!(whole, Parsed::Partial);
        assert!(data.len() <= MAX_HEADER_LEN, "no header is waited for so long");
        return false;
    };
    assert_eq!(whole, judged, "judged at byte {end}");
    let Parsed::Complete { len, addresses } = whole else { return false };
    assert_eq!(len, end, "neither waited for more nor took what is not there");
    for address in addresses.iter().flat_map(|both| [both.source, both.destination]) {
        assert_eq!(address.ip(), address.ip().to_canonical());
    }
    assert_eq!(addresses.map(|both| (both.source, both.destination)), addresses_by_hand(&data[..len]));
    true
}

/// Source and destination of a whole header; `None` where it has none to tell.
fn addresses_by_hand(header: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let of = |address: IpAddr, port| SocketAddr::new(address.to_canonical(), port);
    if let Some(line) = header.strip_prefix(b"PROXY TCP") {
        let words: Vec<&str> = std::str::from_utf8(line).ok()?.trim_end().split(' ').collect();
        let [_, source, destination, from, to] = words[..] else { return None };
        return Some((
            of(source.parse().ok()?, from.parse().ok()?),
            of(destination.parse().ok()?, to.parse().ok()?),
        ));
    }
    let (command, body) = (*header.get(12)?, header.get(16..)?);
    let family = header[13];
    // UNKNOWN and LOCAL have none, and a Unix socket has none of IP.
    let wide = match (command, family) {
        (0x21, 0x11) if header.starts_with(b"\r\n") => 4,
        (0x21, 0x21) if header.starts_with(b"\r\n") => 16,
        _ => return None,
    };
    let address = |at: usize| match body.get(at..at + wide)? {
        &[a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
        bytes => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    let port = |at: usize| Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?));
    Some((of(address(0)?, port(2 * wide)?), of(address(wide)?, port(2 * wide + 2)?)))
}
