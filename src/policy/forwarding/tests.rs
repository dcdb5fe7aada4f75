//! Fields before and after the hop, as lines.

#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use http::Method;
use ipnet::IpNet;

use super::*;
use crate::policy::facts::ConnectionFacts;
use crate::policy::snapshot::Names;

const PEER: &str = "203.0.113.7";
const PROXY: &str = "10.0.0.1";

fn headers(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    headers
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

#[derive(Clone, Copy)]
struct Sent {
    version: WireVersion,
    upgrade: Upgrade,
    http2: bool,
    peer: &'static str,
}

const SENT: Sent = Sent { version: WireVersion::Http11, upgrade: Upgrade::None, http2: false, peer: PEER };

/// What the cell gets for these lines of a client.
fn arrives(sent: Sent, client: &[&str]) -> HeaderMap {
    let mut headers = headers(client);
    let peer: IpAddr = sent.peer.parse().unwrap();
    let trusted: [IpNet; 1] = ["10.0.0.0/8".parse().unwrap()];
    let facts_headers = headers.clone();
    let facts = RequestFacts {
        method: &Method::GET,
        version: sent.version,
        host: "cloud.getdbt.com",
        authority: "Cloud.getdbt.com:443",
        target: "/",
        headers: &facts_headers,
        upgrade: sent.upgrade,
        connection: ConnectionFacts { scheme: Scheme::Https, peer, certificate_names: None },
    };
    let identify = IdentifyRules {
        headers: vec![(HeaderName::from_static("x-account-id"), Names::Account)],
        ..IdentifyRules::default()
    };
    let client_ip = client_ip(peer, &facts_headers, &trusted);
    let hop = Hop {
        facts: &facts,
        identify: &identify,
        client_ip: &client_ip.to_string().parse().unwrap(),
        trusted_peer: trusted.iter().any(|network| network.contains(&peer)),
        new_request_id: kept_request_id(&facts_headers)
            .is_none()
            .then(|| HeaderValue::from_static("fresh-id")),
        trace_entropy: [0xab; 24],
        http2: sent.http2,
        account: AccountId::parse(b"12345").ok(),
        cell: &HeaderValue::from_static("us1-c1"),
        generation: &HeaderValue::from_static("7"),
        signature: None,
    };
    let mut edits = Vec::new();
    request_edits(hop, &mut edits);
    edits.into_iter().for_each(|edit| edit.apply(&mut headers));
    headers
}

/// The fields that every request arrives with.
const OURS: [&str; 9] = [
    "traceparent: 00-abababababababababababababababab-abababababababab-00",
    "via: 1.1 cellgate",
    "x-cellgate-account: 12345",
    "x-cellgate-cell: us1-c1",
    "x-cellgate-generation: 7",
    "x-forwarded-for: 203.0.113.7",
    "x-forwarded-host: Cloud.getdbt.com:443",
    "x-forwarded-proto: https",
    "x-request-id: fresh-id",
];

fn check_with(sent: Sent, client: &[&str], kept: &[&str]) {
    let mut expect: Vec<_> = OURS.iter().chain(kept).map(|line| line.to_string()).collect();
    expect.sort();
    assert_eq!(lines(&arrives(sent, client)), expect, "{client:?}");
}

fn check(client: &[&str], kept: &[&str]) {
    check_with(SENT, client, kept);
}

#[test]
fn ordinary_fields_pass() {
    let fields = [
        "accept: */*",
        "authorization: Token x",
        "content-length: 5",
        "cookie: a=b",
        "cookie: c=d",
        "expect: 100-continue",
        "host: Cloud.getdbt.com:443",
        "sec-websocket-key: x",
        "user-agent: x",
        "x-account-id: 12345",
        "x_custom: y",
        "proxy-status: x",
    ];
    check(&fields, &fields);
}

#[test]
fn hop_by_hop_fields_end_here() {
    check(
        &[
            "connection: close, X-Custom, te, x-none, ,",
            "keep-alive: timeout=5",
            "proxy-connection: keep-alive",
            "proxy-authorization: Basic x",
            "proxy: http://evil.test",
            "te: trailers",
            "trailer: x-sum",
            "upgrade: h2c",
            "http2-settings: x",
            "x-custom: y",
            "x-other: z",
        ],
        &["x-other: z"],
    );
    // What delimits the message stays, whatever Connection says; so does what we vouch for.
    let arrived = arrives(
        SENT,
        &[
            "connection: content-length, x-forwarded-for, x-request-id, traceparent",
            "content-length: 5",
            "x-request-id: client-id-1",
        ],
    );
    let expect = [&["content-length: 5"], &OURS[..8], &["x-request-id: client-id-1"]].concat();
    assert_eq!(lines(&arrived), expect);
}

#[test]
fn te_trailers_reaches_http2_cells_only() {
    let http2 = Sent { http2: true, ..SENT };
    check_with(http2, &["te: trailers"], &["te: trailers"]);
    check_with(http2, &["te: gzip;q=0.5, trailers", "connection: te"], &["te: trailers"]);
    check_with(http2, &["te: gzip"], &[]);
    check_with(SENT, &["te: trailers"], &[]);
}

#[test]
fn only_a_websocket_keeps_its_upgrade() {
    let websocket = Sent { upgrade: Upgrade::WebSocket, ..SENT };
    check_with(
        websocket,
        &["connection: keep-alive, Upgrade", "upgrade: WebSocket", "sec-websocket-version: 13"],
        &["connection: Upgrade", "upgrade: websocket", "sec-websocket-version: 13"],
    );
    check(&["connection: Upgrade", "upgrade: h2c"], &[]);
}

#[test]
fn routing_fields_of_clients_never_arrive() {
    check(
        &[
            "x-cellgate-account: 1",
            "X-Cellgate-Account: 2",
            "x_cellgate_account: 3",
            "x-cellgate_cell: 4",
            "x-cellgate-signature: v1",
            "x-cellgate-anything: 5",
            "X_CELLGATE_GENERATION: 6",
            "x-account_id: 7",
            "x_account_id: 8",
        ],
        &[],
    );
}

#[test]
fn second_spellings_of_fields_that_matter_never_arrive() {
    check(
        &[
            "content_length: 5",
            "transfer_encoding: chunked",
            "x_forwarded_for: 1.2.3.4",
            "x_forwarded-proto: http",
            "x_request_id: client-id-1",
            "x_real_ip: 1.2.3.4",
            "keep_alive: x",
            "proxy_authorization: x",
        ],
        &[],
    );
    check(&["a_b: c", &format!("{}_: d", "x".repeat(80))], &["a_b: c", &format!("{}_: d", "x".repeat(80))]);
}

#[test]
fn nobody_can_pretend_to_come_from_elsewhere() {
    // Eight ways of writing another address, from an untrusted peer: the cell sees the peer.
    let spoofs: [&[&str]; 8] = [
        &["x-forwarded-for: 198.51.100.1"],
        &["x-forwarded-for: 198.51.100.1, 10.0.0.9", "x-forwarded-for: 10.0.0.8"],
        &["x_forwarded_for: 198.51.100.1"],
        &["x-real-ip: 198.51.100.1"],
        &["forwarded: for=198.51.100.1;proto=http;host=evil.test"],
        &["true-client-ip: 198.51.100.1", "x-client-ip: 198.51.100.1", "cf-connecting-ip: 198.51.100.1"],
        &[
            "x-forwarded-host: evil.test",
            "x-forwarded-proto: http",
            "x-forwarded-port: 1",
            "x-original-url: /x",
            "x-rewrite-url: /x",
        ],
        &["connection: x-forwarded-for", "x-forwarded-for: 198.51.100.1"],
    ];
    for spoof in spoofs {
        check(spoof, &[]);
    }
    // The same through a trusted proxy that adds what it sees: the client's own words do not count.
    for spoof in spoofs {
        let through = [spoof, &["x-forwarded-for: 203.0.113.7"]].concat();
        let arrived = arrives(Sent { peer: PROXY, ..SENT }, &through);
        let seen: Vec<_> = arrived.get_all(X_FORWARDED_FOR).iter().collect();
        assert_eq!(seen, [PEER], "{through:?}");
        assert!(!arrived.contains_key("x-real-ip") && !arrived.contains_key("forwarded"));
        assert_eq!(arrived.get(X_FORWARDED_PROTO).unwrap(), "https");
    }
    // A trusted proxy's own way of naming the client passes.
    let arrived = arrives(Sent { peer: PROXY, ..SENT }, &["true-client-ip: 203.0.113.7"]);
    assert!(arrived.contains_key("true-client-ip"));
}

#[test]
fn the_client_is_the_rightmost_untrusted_hop() {
    let trusted: Vec<IpNet> =
        ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap()).to_vec();
    let check = |peer: &str, chain: &[&str], expect: &str| {
        let chain: Vec<_> = chain.iter().map(|line| format!("x-forwarded-for: {line}")).collect();
        let chain: Vec<_> = chain.iter().map(String::as_str).collect();
        let found = client_ip(peer.parse().unwrap(), &headers(&chain), &trusted);
        assert_eq!(found, expect.parse::<IpAddr>().unwrap(), "{peer} {chain:?}");
    };
    check(PEER, &[], PEER);
    check(PEER, &["1.2.3.4"], PEER);
    check(PROXY, &[], PROXY);
    check(PROXY, &["1.2.3.4"], "1.2.3.4");
    check(PROXY, &["6.6.6.6, 1.2.3.4"], "1.2.3.4");
    check(PROXY, &["6.6.6.6, 1.2.3.4,10.0.0.2 , 10.0.0.3"], "1.2.3.4");
    check(PROXY, &["6.6.6.6", "1.2.3.4", "10.0.0.2"], "1.2.3.4");
    check(PROXY, &["10.0.0.4, 10.0.0.2"], "10.0.0.4");
    check(PROXY, &["1.2.3.4:5678"], "1.2.3.4");
    check(PROXY, &["[2a00::1]:5678"], "2a00::1");
    check(PROXY, &["[2a00::1]"], "2a00::1");
    check(PROXY, &["::ffff:1.2.3.4"], "1.2.3.4");
    check("::ffff:10.0.0.1", &["2a00::1, 2001:db8::5"], "2a00::1");
    // What cannot be read ends the search at the last address that could.
    for junk in [
        "unknown",
        "_hidden",
        "",
        "1.2.3",
        "1.2.3.4.5",
        "for=1.2.3.4",
        "\"1.2.3.4\"",
        "1.2.3.4 5.6.7.8",
        "2a00::1%eth0",
    ] {
        check(PROXY, &[&format!("1.2.3.4, {junk}")], PROXY);
        check(PROXY, &[&format!("1.2.3.4, {junk}, 10.0.0.2")], "10.0.0.2");
    }
    // Neither long chains nor long lines are walked to their end.
    let hop = |number: usize| format!("10.0.1.{number}");
    let chain = (0..40).map(hop).collect::<Vec<_>>().join(",");
    check(PROXY, &[&chain], "10.0.1.24");
    check(PROXY, &[&format!("1.2.3.4,{}10.0.0.2", " ".repeat(2000))], PROXY);
}

#[test]
fn a_request_id_is_kept_if_it_can_be_logged() {
    let kept = |lines: &[&str]| kept_request_id(&headers(lines)).is_some();
    assert!(kept(&["x-request-id: 01234567"]));
    assert!(kept(&[&format!("x-request-id: {}", "A-z_0.9".repeat(18))]));
    assert!(!kept(&[]));
    assert!(!kept(&["x-request-id: 0123456"]));
    assert!(!kept(&[&format!("x-request-id: {}", "a".repeat(129))]));
    assert!(!kept(&["x-request-id: 01234567", "x-request-id: 01234567"]));
    for id in ["0123 4567", "01234567\"", "0123456{7}", "01234567,89", "0123456%0a"] {
        assert!(!kept(&[&format!("x-request-id: {id}")]), "{id}");
    }
}

#[test]
fn a_trace_is_continued_or_begun() {
    let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let begun = |lines: &[&str], entropy: u8| traceparent(&headers(lines), [entropy; 24]);
    assert_eq!(begun(&[&format!("traceparent: {valid}")], 1), None);
    assert_eq!(begun(&[&format!("traceparent: cc{}-what", &valid[2..])], 1), None);
    assert_eq!(begun(&[], 0xf0).unwrap(), "00-f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0-f0f0f0f0f0f0f0f0-00");
    assert_eq!(begun(&[], 0).unwrap(), "00-10000000000000000000000000000000-1000000000000000-00");
    for broken in [
        "",
        "x",
        &valid[..54],
        &format!("{valid}0"),
        &format!("{valid}-x"),
        &valid.to_uppercase(),
        &valid.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
        &valid.replace("b7ad6b7169203331", &"0".repeat(16)),
        &format!("ff{}", &valid[2..]),
        &format!("cc{}.what", &valid[2..]),
        &valid.replace('-', "_"),
        &valid.replace("-01", "-0g"),
    ] {
        assert!(begun(&[&format!("traceparent: {broken}")], 1).is_some(), "{broken}");
    }
    // A state belongs to its trace and goes with it.
    check(&["traceparent: broken", "tracestate: a=b"], &[]);
}

#[test]
fn what_a_cell_sends_ends_here_too() {
    let check = |switching: bool, cell: &[&str], kept: &[&str]| {
        let mut headers = headers(cell);
        let mut edits = Vec::new();
        response_edits(&headers, switching, &mut edits);
        edits.into_iter().for_each(|edit| edit.apply(&mut headers));
        assert_eq!(lines(&headers), kept, "{cell:?}");
    };
    check(
        false,
        &[
            "connection: close, x-internal, content-length",
            "keep-alive: timeout=5",
            "proxy-authenticate: Basic",
            "upgrade: h2c",
            "x-internal: y",
            "x-cellgate-outcome: not-forwarded",
            "x_cellgate_cell: x",
            "content-length: 5",
            "trailer: grpc-status",
            "set-cookie: a",
            "set-cookie: b",
            "x-request-id: cell-own-id",
        ],
        &[
            "content-length: 5",
            "set-cookie: a",
            "set-cookie: b",
            "trailer: grpc-status",
            "x-request-id: cell-own-id",
        ],
    );
    let switch = ["connection: Upgrade", "sec-websocket-accept: x", "upgrade: websocket"];
    check(true, &switch, &switch);
    check(false, &switch, &["sec-websocket-accept: x"]);
}
