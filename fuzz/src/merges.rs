//! Bytes as the fields of an answer, and of a request behind proxies: what is merged with ours.

use std::net::{IpAddr, Ipv4Addr};

use cellgate::policy::annotate::{DEPRECATION, SUNSET, annotate};
use cellgate::policy::credential::CredentialRules;
use cellgate::policy::facts::{RequestFacts, Upgrade};
use cellgate::policy::forwarding::{Edits, Told, Trace, client_ip, incoming, outgoing};
use cellgate::policy::gate::{Asked, check_answer, is_routing_field};
use cellgate::policy::ids::Label;
use cellgate::policy::request_id::RequestId;
use cellgate::policy::snapshot::{Merge, Schedule};
use cellgate::policy::text::Slate;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CONNECTION,
    CONTENT_LENGTH, LINK, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::SNAPSHOT;
use super::snapshot::{Request, account};

/// A peer that nobody trusts, and one that is trusted.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const BALANCER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// Whatever a cell or a client has sent: our dates stand once and in order, its links stay, nothing for one hop
/// and nothing that is ours goes on, scripts may read what they may, an address is believed from trusted peers
/// only, and a cell is told who asks by us alone. Returns whether there was a field.
pub fn merges(data: &[u8]) -> bool {
    let headers = fields(data);
    // Each input in one of three ways: it comes again a little longer.
    let (merge, status) = match data.len() % 3 {
        0 => (Merge::Earliest, StatusCode::OK),
        1 => (Merge::Ours, StatusCode::NO_CONTENT),
        _ => (Merge::Upstream, StatusCode::SWITCHING_PROTOCOLS),
    };
    dates(&headers, merge);
    one_body(&headers);
    let mut left = headers.clone();
    for name in incoming(status, &headers, false) {
        left.remove(name);
    }
    for name in FOR_ONE_HOP {
        assert!(!left.contains_key(name), "{name}");
    }
    for name in nominated(&headers) {
        assert!(!left.contains_key(&name), "{name} is for one hop by the cell's own word");
    }
    let framed = left.contains_key(TRANSFER_ENCODING) || left.contains_key(CONTENT_LENGTH);
    assert!(!framed || status == StatusCode::OK, "{status} has no body");
    assert!(!left.keys().any(|name| is_routing_field(name.as_str().as_bytes())), "{left:?}");
    let trusted = ["10.0.0.0/8".parse().expect("a network")];
    assert_eq!(client_ip(STRANGER, &headers, &trusted), STRANGER);
    client_ip(BALANCER, &headers, &trusted);
    if let Some(id) = RequestId::said(&headers, &CredentialRules::default()) {
        assert!(
            !id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic()),
            "{id:?}"
        );
    }
    let request =
        Request { headers: headers.clone(), ..Request::new("GET cloud.getdbt.com/api/v2/accounts/1") };
    // What the gate refuses goes to no cell.
    let _ = request.read(&SNAPSHOT, told_by_us_alone);
    !headers.is_empty()
}

/// What passes as an answer has one length or one coding, or neither.
fn one_body(headers: &HeaderMap) {
    if check_answer(StatusCode::OK, headers, true, Asked::Nothing).is_err() {
        return;
    }
    let lengths: Vec<&HeaderValue> = headers.get_all(CONTENT_LENGTH).iter().collect();
    let codings: Vec<&HeaderValue> = headers.get_all(TRANSFER_ENCODING).iter().collect();
    match (&lengths[..], &codings[..]) {
        ([], []) => {}
        ([length], []) => {
            let digits = length.to_str().expect("digits are text");
            assert!(
                digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u64>().is_ok(),
                "{digits}"
            );
        }
        ([], [coding]) => assert!(coding.as_bytes().eq_ignore_ascii_case(b"chunked"), "{coding:?}"),
        both => panic!("{both:?}"),
    }
}

fn dates(headers: &HeaderMap, merge: Merge) {
    let name = Label::parse("fuzz").expect("a label");
    let guide = "https://docs.example.com/".into();
    let schedule = Schedule::new(name, 1_769_904_000, 1_793_491_200, guide, None, merge);
    let mut merged = headers.clone();
    annotate(&schedule, Some("https://own.example.com/"), &mut merged);
    let one = |name: &HeaderName| {
        let mut values = merged.get_all(name).iter();
        let value = values.next().expect("it is there");
        assert!(values.next().is_none(), "{name} stands once");
        value.to_str().expect("ours are text")
    };
    let since: i64 = one(&DEPRECATION).strip_prefix('@').and_then(|date| date.parse().ok()).expect("a date");
    let sunset = httpdate::parse_http_date(one(&SUNSET)).expect("a date");
    let sunset = sunset.duration_since(std::time::UNIX_EPOCH).expect("not before 1970").as_secs();
    assert!(i64::try_from(sunset).is_ok_and(|sunset| since <= sunset), "{since} {sunset}");
    let theirs: Vec<&HeaderValue> = headers.get_all(LINK).iter().collect();
    let all: Vec<&HeaderValue> = merged.get_all(LINK).iter().collect();
    assert_eq!(all.len(), theirs.len() + 2);
    assert!(all.starts_with(&theirs) || all.ends_with(&theirs), "{all:?}");
    exposed(headers, &merged);
}

/// A script of another origin may read ours beside what the cell lets it read, where it may read anything.
fn exposed(headers: &HeaderMap, merged: &HeaderMap) {
    let list = |headers: &HeaderMap| -> Vec<HeaderValue> {
        headers.get_all(ACCESS_CONTROL_EXPOSE_HEADERS).iter().cloned().collect()
    };
    let (theirs, all) = (list(headers), list(merged));
    assert!(all.starts_with(&theirs), "{all:?}");
    let everything = theirs.iter().any(|value| value.as_bytes().trim_ascii() == b"*")
        && !headers.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS);
    let adds = headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) && !everything;
    assert_eq!(all.len(), theirs.len() + usize::from(adds));
}

/// RFC 9110 section 7.6.1, and what some say in place of the first.
const FOR_ONE_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];

/// What `Connection` says is for one hop. How long the body is, is for all of them.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter();
    let tokens = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let names = tokens.filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok());
    names.filter(|name| ![CONTENT_LENGTH, TRANSFER_ENCODING].contains(name)).collect()
}

/// Fields by which cells believe to know who asks for what. No client may speak in our place.
const SAID_BY_US: [&str; 8] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-request-id",
    "x-cellgate-account",
    "x-cellgate-cell",
    "x-cellgate-generation",
    "traceparent",
];

/// The same, of which a cell gets none.
const SAID_BY_NOBODY: [&str; 13] = [
    "forwarded",
    "x-forwarded-port",
    "x-forwarded-server",
    "x-real-ip",
    "x-original-url",
    "x-original-host",
    "x-rewrite-url",
    "client-cert",
    "client-cert-chain",
    "proxy-connection",
    "proxy-authorization",
    "keep-alive",
    "trailer",
];

fn told_by_us_alone(facts: &RequestFacts<'_>) {
    let told = Told {
        client: STRANGER,
        account: Some(account(12345)),
        cell: "us1-c1",
        generation: 7,
        request_id: &HeaderValue::from_static("fresh-one"),
        trace: Trace::Passed(1, 2),
        own_cookie: SNAPSHOT.identify.routing_cookie.as_ref(),
        client_certificate: None,
    };
    let sent = applied(facts.headers, &outgoing(facts, &told, &mut Slate::default()));
    for name in SAID_BY_US {
        assert_eq!(sent.get_all(name).iter().count(), 1, "{name} in {sent:?}");
    }
    for (name, value) in [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "cloud.getdbt.com"),
        ("x-request-id", "fresh-one"),
        ("x-cellgate-account", "12345"),
        ("x-cellgate-cell", "us1-c1"),
        ("x-cellgate-generation", "7"),
    ] {
        assert_eq!(sent[name], value, "{name}");
    }
    for name in nominated(facts.headers) {
        let ours = SAID_BY_US.contains(&name.as_str()) || [CONNECTION, TE, UPGRADE, VIA].contains(&name);
        assert!(ours || !sent.contains_key(&name), "{name} is for one hop by the client's own word");
    }
    for name in sent.keys() {
        let dashed = name.as_str().replace('_', "-");
        assert!(!SAID_BY_NOBODY.contains(&dashed.as_str()), "{name}");
        let claims =
            SAID_BY_US.contains(&dashed.as_str()) && !matches!(&*dashed, "traceparent" | "x-request-id");
        assert!(!claims || name.as_str() == dashed, "{name} reads like ours");
        assert!(!dashed.starts_with("x-cellgate-") || SAID_BY_US.contains(&name.as_str()), "{name}");
    }
    let websocket = facts.upgrade == Upgrade::WebSocket;
    assert_eq!(sent.get(CONNECTION).is_some_and(|value| value == "Upgrade"), websocket);
    assert!(sent.get(TE).is_none_or(|value| value == "trailers"));
    assert!(sent.get_all(VIA).iter().next_back().is_some_and(|via| via.as_bytes().ends_with(b" cellgate")));
}

fn applied(headers: &HeaderMap, edits: &Edits) -> HeaderMap {
    let mut headers = headers.clone();
    for name in &edits.remove {
        headers.remove(name);
    }
    for (name, value) in &edits.add {
        headers.append(name, value.clone());
    }
    headers
}

/// A field a line; what is none is left out.
fn fields(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(50) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(line[..colon].trim_ascii());
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}
