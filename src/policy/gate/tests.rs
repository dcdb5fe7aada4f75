//! The gate from raw bytes to facts: every row is a head as it comes off the wire.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::policy::facts::{CertificateNames, Scheme};

/// What the gate made of a request; `Err` carries the refusal.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    host: String,
    target: String,
    upgrade: Upgrade,
    framing: Framing,
}

fn connection(names: Option<&CertificateNames>) -> ConnectionFacts<'_> {
    let scheme = if names.is_some() { Scheme::Https } else { Scheme::Http };
    ConnectionFacts { scheme, peer: IpAddr::V4(Ipv4Addr::LOCALHOST), certificate_names: names }
}

/// Raw bytes through both steps, with httparse in the place of the engine's parser.
fn gate(raw: &[u8]) -> Result<Read, Refusal> {
    let limits = RequestLimits::default();
    let HeadStatus::Complete(head) = read_head(raw, &limits)? else {
        unreachable!("the rows of these tables are whole heads: {:?}", String::from_utf8_lossy(raw));
    };
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut parsed = httparse::Request::new(&mut fields);
    assert!(parsed.parse(&raw[head.skipped..head.len]).unwrap().is_complete(), "a head that the gate passed");
    let mut headers = HeaderMap::new();
    for field in parsed.headers.iter() {
        let name = http::HeaderName::from_bytes(field.name.as_bytes()).unwrap();
        headers.append(name, http::HeaderValue::from_bytes(field.value).unwrap());
    }
    let method = Method::from_bytes(head.method.of(raw)).unwrap();
    let target = head.origin_target(raw);
    let parsed = ParsedHead {
        method: &method,
        version: head.version,
        authority: head.authority(raw),
        target: &target,
        protocol: None,
        headers: &headers,
    };
    let mut scratch = String::new();
    let facts = facts(parsed, connection(None), &limits, &mut scratch)?;
    let (host, target, upgrade) = (facts.host.into(), facts.target.into(), facts.upgrade);
    Ok(Read { host, target, upgrade, framing: head.framing })
}

fn check(raw: impl AsRef<[u8]>, expect: Result<(&str, &str), Refusal>) {
    let raw = raw.as_ref();
    let read = gate(raw).map(|read| (read.host, read.target));
    let expect = expect.map(|(host, target)| (host.to_string(), target.to_string()));
    assert_eq!(read, expect, "{:?}", String::from_utf8_lossy(raw));
}

fn refuse(raw: impl AsRef<[u8]>, expect: impl Into<Refusal>) {
    check(raw, Err(expect.into()));
}

/// A GET with these further field lines.
fn with(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")
}

#[test]
fn plain_requests_pass() {
    check("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", Ok(("a.test", "/")));
    check("GET / HTTP/1.1\r\nHOST:A.Test.:80\t \r\n\r\n", Ok(("a.test", "/")));
    check("\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n", Ok(("a.test", "/")));
    check("\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n", Ok(("a.test", "/")));
    check("get /x HTTP/1.1\r\nHost: a.test\r\n\r\n", Ok(("a.test", "/x")));
    check("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", Ok(("a.test", "*")));
    check("GET / HTTP/1.0\r\n\r\n", Ok(("", "/")));
    check("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n", Ok(("a.test", "/")));
    check(
        b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Name: caf\xc3\xa9\xff\tx\r\nX-Empty:\r\n\r\n",
        Ok(("a.test", "/")),
    );
    check("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", Ok(("[::1]", "/")));
}

#[test]
fn targets_are_not_touched() {
    for target in [
        "/api/v3/accounts/1/projects/?include_related=[a,b]&offset=100",
        "/a//b/./c/../d/%2F%2e%5C;x=1\\y",
        "/?a={b}|c^d`e\"<f>",
        "/~user/!$&'()*+,;=:@",
        "//a.test/x",
    ] {
        check(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"), Ok(("a.test", target)));
    }
}

#[test]
fn request_lines_have_exactly_three_parts() {
    for line in [
        "",
        "GET",
        "GET /",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET / x HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / http/1.1",
        "GET / HTTP/1.1x",
        "GET / HTTP/11",
        "GET / HTTP/01.1",
        "PRI * HTTP/2.0",
        "G@T / HTTP/1.1",
        "GET\0 / HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET a HTTP/1.1",
        "GET \\a HTTP/1.1",
        "GET ?a=b HTTP/1.1",
        "GET * HTTP/1.1",
        "GET a.test:80 HTTP/1.1",
        "GET ftp://a.test/ HTTP/1.1",
        "GET http:/a.test/ HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "GET https://?x HTTP/1.1",
        "GET /\r HTTP/1.1",
        "METHODMETHODMETHODMETHODMETHODMET / HTTP/1.1",
    ] {
        refuse(format!("{line}\r\nHost: a.test\r\n\r\n"), BadRequest::RequestLine);
    }
    refuse("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n", BadRequest::RequestLine);
    refuse("GET / HTTP/1.1\nHost: a.test\r\n\r\n", BadRequest::RequestLine);
    refuse("\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n", BadRequest::RequestLine);
}

#[test]
fn field_lines_are_name_colon_value() {
    for line in [
        " X: folded",
        "\tX: folded",
        "X : y",
        "X\t: y",
        ": y",
        "no colon",
        "X y: z",
        "X@y: z",
        "X: a\rb",
        "X: a\0b",
        "X: a\x01b",
        "X: a\x7fb",
        "X\u{e9}: y",
        "(X): y",
    ] {
        refuse(with(&format!("{line}\r\n")), BadRequest::HeaderLine);
    }
    refuse("GET / HTTP/1.1\r\nHost: a.test\nX: y\r\n\r\n", BadRequest::HeaderLine);
    refuse("GET / HTTP/1.1\r\nHost: a.test\r\n\n", BadRequest::HeaderLine);
    refuse("GET / HTTP/1.1\r\nHost: a.test\r\nX: y\r\r\n\r\n", BadRequest::HeaderLine);
}

#[test]
fn one_host_says_where_to() {
    for hosts in [
        "",
        "Host:\r\n",
        "Host: \t\r\n",
        "Host: a.test\r\nHost: a.test\r\n",
        "Host: a.test\r\nhost: b.test\r\n",
        "Host: a.test, b.test\r\n",
        "Host: a b\r\n",
        "Host: a/x\r\n",
        "Host: a#b\r\n",
        "Host: u@a.test\r\n",
        "Host: a.test:\r\n",
        "Host: a.test:0\r\n",
        "Host: a.test:99999\r\n",
        "Host: \u{e4}.test\r\n",
        "Host: a..test\r\n",
        "Host: a.test..\r\n",
        "Host: [::1\r\n",
    ] {
        refuse(format!("GET / HTTP/1.1\r\n{hosts}\r\n"), BadRequest::Host);
    }
    refuse("GET / HTTP/1.0\r\nHost: a.test\r\nHost: a.test\r\n\r\n", BadRequest::Host);
}

#[test]
fn an_absolute_target_is_read_like_a_host_and_rewritten() {
    let ask = |method: &str, target: &str, host: &str| {
        format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
    };
    check(ask("GET", "http://a.test/x?y", "a.test"), Ok(("a.test", "/x?y")));
    check(ask("GET", "HTTPS://A.test:80/x", "a.test"), Ok(("a.test", "/x")));
    check(ask("GET", "http://a.test", "a.test"), Ok(("a.test", "/")));
    check(ask("GET", "http://a.test?x=/y", "a.test"), Ok(("a.test", "/?x=/y")));
    check(ask("OPTIONS", "http://a.test", "a.test"), Ok(("a.test", "*")));
    check("GET http://a.test/ HTTP/1.0\r\n\r\n", Ok(("a.test", "/")));
    refuse(ask("GET", "http://a.test/", "b.test"), BadRequest::HostMismatch);
    refuse(ask("GET", "http://a.test:8080/", "a.test"), BadRequest::HostMismatch);
    refuse(ask("GET", "http://u@a.test/", "a.test"), BadRequest::Host);
    refuse(ask("GET", "http://a.test:x/", "a.test"), BadRequest::Host);
}

#[test]
fn framing_is_read_in_one_way_only() {
    let framing = |fields: &str, expect: Result<Framing, Refusal>| {
        assert_eq!(gate(with(fields).as_bytes()).map(|read| read.framing), expect, "{fields:?}");
    };
    framing("", Ok(Framing::None));
    framing("Content-Length: 0\r\n", Ok(Framing::Length(0)));
    framing("content-length:  58 \r\n", Ok(Framing::Length(58)));
    framing("Content-Length: 9007199254740992\r\n", Ok(Framing::Length(1 << 53)));
    framing("Transfer-Encoding: chunked\r\n", Ok(Framing::Chunked));
    framing("transfer-encoding:\tChunked\t\r\n", Ok(Framing::Chunked));
    for length in [
        "58, 58",
        "+3",
        "-1",
        "",
        "0x10",
        "1 2",
        "3.0",
        "9007199254740993",
        "00000000000000001",
        "03",
        "00",
        "٣",
    ] {
        framing(&format!("Content-Length: {length}\r\n"), Err(BadRequest::ContentLength.into()));
    }
    framing("Content-Length: 5\r\nContent-Length: 5\r\n", Err(BadRequest::ContentLength.into()));
    framing("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Err(BadRequest::ContentLength.into()));
    framing("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Err(BadRequest::ContentLength.into()));
    framing(
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        Err(BadRequest::TransferEncoding.into()),
    );
    for coding in [
        "gzip",
        "gzip, chunked",
        "chunked, chunked",
        "chunked, identity",
        "xchunked",
        "chunked;a=b",
        "\"chunked\"",
        "",
        "\x0bchunked",
    ] {
        let refusal =
            if coding.contains('\x0b') { BadRequest::HeaderLine.into() } else { Refusal::NotImplemented };
        framing(&format!("Transfer-Encoding: {coding}\r\n"), Err(refusal));
    }
    refuse(
        "POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n",
        BadRequest::TransferEncoding,
    );
}

#[test]
fn trace_and_connect_are_not_served() {
    refuse("TRACE / HTTP/1.1\r\nHost: a.test\r\n\r\n", Refusal::MethodNotAllowed);
    refuse("trace / HTTP/1.1\r\nHost: a.test\r\n\r\n", Refusal::MethodNotAllowed);
    refuse("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n", Refusal::MethodNotAllowed);
}

#[test]
fn only_100_continue_is_expected() {
    check(with("Expect: 100-Continue\r\n"), Ok(("a.test", "/")));
    for expect in [
        "Expect: x\r\n",
        "Expect:\r\n",
        "Expect: 100-continue, x\r\n",
        "Expect: 100-continue\r\nExpect: 100-continue\r\n",
    ] {
        refuse(with(expect), Refusal::ExpectationFailed);
    }
}

#[test]
fn connection_cannot_name_what_must_stay() {
    for token in ["close", "keep-alive, Upgrade", "X-Forwarded-For", "te, x-custom", "x-cellgat", "", ","] {
        check(with(&format!("Connection: {token}\r\n")), Ok(("a.test", "/")));
    }
    for token in [
        "Host",
        "close, host",
        "Content-Length",
        "TRANSFER-ENCODING",
        "cookie",
        "authorization",
        "X-Cellgate-Account",
        "x_cellgate_account",
        "keep-alive,X-Cellgate_Cell",
        "close\r\nConnection: Cookie",
    ] {
        refuse(with(&format!("Connection: {token}\r\n")), BadRequest::Connection);
    }
}

#[test]
fn websocket_is_the_only_upgrade() {
    let upgrade = |raw: String, expect: Upgrade| {
        assert_eq!(gate(raw.as_bytes()).map(|read| read.upgrade), Ok(expect), "{raw:?}");
    };
    let websocket = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n";
    upgrade(with(websocket), Upgrade::WebSocket);
    upgrade(with("Upgrade: websocket\r\n"), Upgrade::None);
    upgrade(with("Connection: upgrade\r\n"), Upgrade::None);
    upgrade(with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"), Upgrade::None);
    upgrade(with("Connection: upgrade\r\nUpgrade: h2c, websocket\r\n"), Upgrade::None);
    upgrade(with("Connection: upgrade\r\nUpgrade: websocket/13\r\n"), Upgrade::None);
    upgrade(with(&format!("{websocket}Content-Length: 5\r\n")), Upgrade::None);
    upgrade(with(&format!("{websocket}Content-Length: 0\r\n")), Upgrade::WebSocket);
    upgrade(with(&format!("{websocket}Transfer-Encoding: chunked\r\n")), Upgrade::None);
    upgrade(with(websocket).replace("GET", "POST"), Upgrade::None);
    upgrade(with(websocket).replace("HTTP/1.1", "HTTP/1.0"), Upgrade::None);
}

#[test]
fn a_request_that_goes_in_circles_is_stopped() {
    check(with("Via: 1.1 cellgate\r\n"), Ok(("a.test", "/")));
    check(with("Via: 1.1 proxy, 1.1 other (cellgate)\r\nVia: HTTP/2 cellgate-fan\r\n"), Ok(("a.test", "/")));
    refuse(with("Via: 1.1 cellgate, 2 CellGate\r\n"), Refusal::Loop);
    refuse(with("Via: 1.1 cellgate\r\nVia: 1.0 x\r\nVia: 1.1 cellgate\r\n"), Refusal::Loop);
}

#[test]
fn every_size_has_a_limit() {
    let limits = RequestLimits::default();
    let target = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "a".repeat(len - 1));
    assert!(gate(target(limits.target_bytes).as_bytes()).is_ok());
    refuse(target(limits.target_bytes + 1), Refusal::TargetTooLong);

    let fields = |count: usize| with(&"X: y\r\n".repeat(count - 1));
    assert!(gate(fields(limits.header_fields).as_bytes()).is_ok());
    refuse(fields(limits.header_fields + 1), Refusal::HeadersTooLarge);

    let padded = |len: usize| with(&format!("X: {}\r\n", "a".repeat(len - with("X: \r\n").len())));
    assert_eq!(padded(limits.head_bytes).len(), limits.head_bytes);
    assert!(gate(padded(limits.head_bytes).as_bytes()).is_ok());
    refuse(padded(limits.head_bytes + 1), Refusal::HeadersTooLarge);
    // Skipped lines are no part of the head.
    assert!(gate(format!("\r\n\r\n{}", padded(limits.head_bytes)).as_bytes()).is_ok());
}

#[test]
fn a_head_may_come_in_pieces_of_any_size() {
    let heads = [
        with("Connection: upgrade\r\nUpgrade: websocket\r\nX: y\r\n"),
        format!("\r\n\r\n{}", with("Content-Length: 5\r\n")),
        "GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
        "GET / HTTP/1.0\r\n\r\n".into(),
    ];
    let limits = RequestLimits::default();
    for head in heads {
        let bytes = format!("{head}body bytes \0\n").into_bytes();
        let whole = read_head(&bytes, &limits).unwrap();
        assert!(matches!(whole, HeadStatus::Complete(Head { len, .. }) if len == head.len()), "{head:?}");
        for step in 1..7 {
            let mut reader = HeadReader::default();
            let end = (0..bytes.len()).step_by(step).chain([bytes.len()]).find_map(|end| {
                let status = reader.read(&bytes[..end], &limits).unwrap();
                (status != HeadStatus::Partial).then_some((end, status))
            });
            let (end, status) = end.unwrap();
            assert_eq!(status, whole, "{head:?} in steps of {step}");
            assert!(end < head.len() + step, "complete as soon as it is: {head:?} in steps of {step}");
        }
    }
}

#[test]
fn what_is_wrong_already_is_refused_before_its_line_ends() {
    let limits = RequestLimits::default();
    let partial = |raw: &[u8], expect: Result<HeadStatus, Refusal>| {
        assert_eq!(read_head(raw, &limits), expect, "{:?}", String::from_utf8_lossy(raw));
    };
    let bad = Err(Refusal::BadRequest(BadRequest::RequestLine));
    for raw in [
        "",
        "\r",
        "\r\n",
        "\r\n\r",
        "G",
        "GET",
        "GET ",
        "GET /a",
        "GET / HTTP/1.1",
        "GET / HTTP/1.1\r",
        "GET / HTTP/1.1\r\nHo",
    ] {
        partial(raw.as_bytes(), Ok(HeadStatus::Partial));
    }
    // A TLS handshake, an HTTP/2 preface and an SSH banner on a plain port.
    partial(b"\x16\x03\x01\x02\x00", bad);
    partial(b"PRI * HTTP/2.0\r\n", bad);
    partial(b"\x00", bad);
    partial(b"G(T", bad);
    partial(b"GET /\x80", bad);
    partial(" GET".as_bytes(), bad);
    partial(&[b'A'; MAX_METHOD_LEN + 1], bad);
    partial(b"TRACE ", Err(Refusal::MethodNotAllowed));
    partial(b"CONNECT a", Err(Refusal::MethodNotAllowed));
    let long = [b"GET /".as_slice(), &vec![b'a'; limits.target_bytes + 11]].concat();
    partial(&long, Err(Refusal::TargetTooLong));
    let long = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &vec![b'a'; limits.head_bytes]].concat();
    partial(&long, Err(Refusal::HeadersTooLarge));
    // A malformed field line is refused when it ends, not when the head does.
    partial(b"GET / HTTP/1.1\r\nX : y\r\n", Err(BadRequest::HeaderLine.into()));
}

#[test]
fn a_stray_cr_is_refused_with_the_byte_behind_it_even_in_the_next_piece() {
    let limits = RequestLimits::default();
    for (first, next) in [("GET /\r", "x"), ("GET / HTTP/1.1\r", "\r"), ("\r", "\r"), ("GET\r", " ")] {
        let mut reader = HeadReader::default();
        assert_eq!(reader.read(first.as_bytes(), &limits), Ok(HeadStatus::Partial), "{first:?}");
        let refused = reader.read(format!("{first}{next}").as_bytes(), &limits);
        assert_eq!(refused, Err(BadRequest::RequestLine.into()), "{first:?} and then {next:?}");
    }
}

/// One HTTP/2 request with these pseudo-header fields.
fn http2(
    method: &str,
    authority: Option<&str>,
    protocol: Option<&str>,
    fields: &[(&str, &str)],
) -> Result<String, Refusal> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        // As the parser of HTTP/2 makes them, which takes more for a name than `from_bytes` does.
        headers.append(http::HeaderName::from_lowercase(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let version = WireVersion::Http2;
    let head = ParsedHead { method: &method, version, authority, target: "/", protocol, headers: &headers };
    let names = CertificateNames::new(["a.test", "*.cells.test"]);
    let mut scratch = String::new();
    let facts = facts(head, connection(Some(&names)), &RequestLimits::default(), &mut scratch)?;
    Ok(format!("{} {} {:?}", facts.host, facts.authority, facts.upgrade))
}

#[test]
fn http2_is_judged_by_the_same_rules() {
    let check = |authority: Option<&str>, fields: &[(&str, &str)], expect: Result<&str, Refusal>| {
        assert_eq!(
            http2("GET", authority, None, fields),
            expect.map(String::from),
            "{authority:?} {fields:?}"
        );
    };
    check(Some("a.test"), &[], Ok("a.test a.test None"));
    check(Some("AB123.Cells.test:443"), &[], Ok("ab123.cells.test AB123.Cells.test:443 None"));
    check(None, &[("host", "a.test")], Ok("a.test a.test None"));
    check(Some("a.test"), &[("host", "A.test.:443")], Ok("a.test a.test None"));
    check(Some("a.test"), &[("host", "x.cells.test")], Err(BadRequest::HostMismatch.into()));
    check(None, &[], Err(BadRequest::Host.into()));
    check(Some(""), &[], Err(BadRequest::Host.into()));
    check(Some("b.test"), &[], Err(Refusal::Misdirected));
    check(Some("x.y.cells.test"), &[], Err(Refusal::Misdirected));
    check(Some("cells.test"), &[], Err(Refusal::Misdirected));
    check(Some("*.cells.test"), &[], Err(BadRequest::Host.into()));
    check(
        Some("a.test"),
        &[("content-length", "5"), ("content-length", "5")],
        Err(BadRequest::ContentLength.into()),
    );
    check(Some("a.test"), &[("transfer-encoding", "chunked")], Err(BadRequest::TransferEncoding.into()));
    // A name for HTTP/2's parser, and no token.
    for name in ["x\"y", "\"host", "content-length\""] {
        check(Some("a.test"), &[(name, "5")], Err(BadRequest::HeaderLine.into()));
    }
}

#[test]
fn extended_connect_is_websocket_or_nothing() {
    let check = |method: &str, protocol: Option<&str>, expect: Result<&str, Refusal>| {
        assert_eq!(
            http2(method, Some("a.test"), protocol, &[]),
            expect.map(String::from),
            "{method} {protocol:?}"
        );
    };
    check("CONNECT", Some("websocket"), Ok("a.test a.test WebSocket"));
    check("CONNECT", Some("connect-udp"), Err(Refusal::NotImplemented));
    check("CONNECT", None, Err(Refusal::MethodNotAllowed));
    check("GET", Some("websocket"), Err(Refusal::NotImplemented));
    check("TRACE", None, Err(Refusal::MethodNotAllowed));
    for length in ["0", "5"] {
        let told = http2("CONNECT", Some("a.test"), Some("websocket"), &[("content-length", length)]);
        assert_eq!(told, Err(BadRequest::ContentLength.into()), "{length}");
    }
    // Upgrade fields have no meaning in HTTP/2.
    let fields = [("upgrade", "websocket")];
    assert_eq!(http2("GET", Some("a.test"), None, &fields).unwrap(), "a.test a.test None");
}

#[test]
fn many_cookie_fields_of_http2_count_as_one() {
    let limit = RequestLimits::default().header_fields;
    assert!(http2("GET", Some("a.test"), None, &vec![("cookie", "a=b"); limit * 2]).is_ok());
    let other = http2("GET", Some("a.test"), None, &vec![("x-a", "b"); limit + 1]);
    assert_eq!(other, Err(Refusal::HeadersTooLarge));
}
