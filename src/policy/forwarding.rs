//! Which fields a cell is sent: the client's, less what is for one hop and what only we may say, plus
//! who asked and what was decided. All client copies go first, then ours are set once.

use std::net::IpAddr;

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::facts::{RequestFacts, Upgrade, WireVersion};
use super::fields::{Field, Fields};
use super::gate;
use super::ids::AccountId;
use super::ip_text::IpText;
use super::routing_cookie::RoutingCookie;
use super::text::Slate;
use super::trace_context::{Parent, State, Traced, traceparent};

/// Entries of `X-Forwarded-For` that are looked at: more proxies in a row than anybody runs.
const MAX_HOPS: usize = 16;

/// Bytes of it that are looked at: 16 IPv6 addresses with separators are below 1 KiB.
const MAX_FORWARDED_BYTES: usize = 1024;

/// How many fields a cell is told of most requests. Those with a client certificate, of gRPC and of WebSockets have more.
const OURS: usize = 9;

/// Said of an account that is not known.
const NOBODY: HeaderValue = HeaderValue::from_static("-");

/// The client's address as cells see it.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `http` or `https`, as the client spoke.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The authority as the client wrote it.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The id that client, cell and log share.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The account that was identified, or `-`.
pub const X_CELLGATE_ACCOUNT: HeaderName = HeaderName::from_static("x-cellgate-account");
/// The cell that the request is meant for.
pub const X_CELLGATE_CELL: HeaderName = HeaderName::from_static("x-cellgate-cell");
/// The snapshot that decided.
pub const X_CELLGATE_GENERATION: HeaderName = HeaderName::from_static("x-cellgate-generation");
/// Tells the cell how often it may have got a byte of this request, this time included.
pub const X_CELLGATE_ATTEMPT: HeaderName = HeaderName::from_static("x-cellgate-attempt");

/// Digest and subject of the client's certificate, where the host asks for one.
pub const X_CELLGATE_CLIENT_CERT: HeaderName = HeaderName::from_static("x-cellgate-client-cert");

/// What stands beside it, of the same trace only.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Who failed on the way, and how (RFC 9209).
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Fields that say how to read a message or what to do with it: too late behind its body (RFC 9110 section 6.5.1).
static NEVER_TRAILING: [HeaderName; 10] = [
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::CACHE_CONTROL,
    header::LOCATION,
    header::RETRY_AFTER,
    header::SET_COOKIE,
    header::WWW_AUTHENTICATE,
];

/// Fields of a client that no cell is sent: for one hop, and claims that only we may make. Of `X-Request-Id` a cell must never
/// see two; the well-formed one is set again.
const FOREIGN_IN_REQUESTS: Fields = Fields::these(&[
    Field::Connection,
    Field::OneHop,
    Field::ProxyConnection,
    Field::Te,
    Field::Upgrade,
    Field::Claim,
    Field::XForwardedFor,
    Field::XRequestId,
    Field::Routing,
]);

/// Fields of a cell that are for one hop, or only ours to say. So is where else the host can be reached (`Alt-Svc`,
/// RFC 7838): on a legacy host the answer of one account's cell would lead the requests of all its clients around us, and
/// back through the cell.
const FOREIGN_IN_ANSWERS: Fields = Fields::these(&[
    Field::Connection,
    Field::OneHop,
    Field::ProxyConnection,
    Field::Te,
    Field::Upgrade,
    Field::AltSvc,
    Field::Routing,
]);

/// What was decided about the request, in words for the cell.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The client's address, from [`client_ip`].
    pub client: IpAddr,
    /// The account, where one is known; the cell is told `-` where none is.
    pub account: Option<AccountId>,
    /// Cell name.
    pub cell: &'a str,
    /// Generation number.
    pub generation: u64,
    /// Of a [`RequestId`](super::request_id::RequestId).
    pub request_id: &'a HeaderValue,
    /// Whose trace it is.
    pub trace: Trace<'a>,
    /// Our own cookie, on hosts where a browser may send it: it is for us, and cells are not shown it.
    pub own_cookie: Option<&'a RoutingCookie>,
    /// What the client's certificate says, where the host asks for one and the client has shown it.
    pub client_certificate: Option<&'a str>,
}

/// The trace of a request.
#[derive(Clone, Copy, Debug)]
pub enum Trace<'a> {
    /// Nothing is traced here: a client's own passes as it is. For requests that bring none, 16 and 8 random bytes.
    Passed(u128, u64),
    /// This one.
    Ours(&'a Traced),
}

/// The address that limits, logs and cells see: the peer, or, when the peer is a trusted proxy, the
/// right-most address of `X-Forwarded-For` that is not one. What stands left of that was written by
/// somebody we do not trust.
pub fn client_ip(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    if !is_trusted(peer) {
        return peer;
    }
    let mut client = peer;
    let mut bytes = 0;
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for hop in hops.take(MAX_HOPS) {
        bytes += hop.len() + 1;
        if !is_trusted(client) || bytes > MAX_FORWARDED_BYTES {
            break;
        }
        // A trusted proxy wrote something that is no address: it is the last we know.
        let Some(address) = parse_address(hop) else { break };
        client = address;
    }
    client
}

/// The fields to send to the cell, without Host and framing, which the connection decides. What is made for this request
/// alone is written on `slate`.
pub fn outgoing(facts: &RequestFacts<'_>, told: &Told<'_>, slate: &mut Slate) -> Edits {
    let mut edits = Edits { remove: Vec::new(), add: Vec::with_capacity(OURS) };
    remove_foreign(facts, &mut edits);
    set_trace(facts, told.trace, slate, &mut edits);
    let mut number = itoa::Buffer::new();
    edits.put(X_FORWARDED_FOR, value(slate, IpText::of(told.client).as_bytes()));
    edits.put(X_FORWARDED_PROTO, HeaderValue::from_static(facts.connection.scheme.as_str()));
    edits.put(X_FORWARDED_HOST, value(slate, facts.authority.as_bytes()));
    edits.put(X_REQUEST_ID, told.request_id.clone());
    let account =
        told.account.map_or(NOBODY, |account| value(slate, number.format(account.value()).as_bytes()));
    edits.put(X_CELLGATE_ACCOUNT, account);
    edits.put(X_CELLGATE_CELL, value(slate, told.cell.as_bytes()));
    edits.put(X_CELLGATE_GENERATION, value(slate, number.format(told.generation).as_bytes()));
    if let Some(certificate) = told.client_certificate {
        edits.put(X_CELLGATE_CLIENT_CERT, value(slate, certificate.as_bytes()));
    }
    if facts.is_grpc() && accepts_trailers(facts.headers) {
        edits.put(header::TE, HeaderValue::from_static("trailers"));
    }
    if facts.upgrade == Upgrade::WebSocket {
        edits.put(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        edits.put(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    edits.put(header::VIA, HeaderValue::from_static(via(facts.version)));
    let own_cookie = told.own_cookie.filter(|_| facts.fields.has(Field::Cookie));
    if let Some(others) = own_cookie.and_then(|cookie| cookie.without(facts.headers)) {
        edits.remove.push(header::COOKIE);
        edits.add.extend(others.into_iter().map(|cookies| (header::COOKIE, cookies)));
    }
    edits
}

/// A text that cannot stand in a field is `-`: none of ours can be one.
fn value(slate: &mut Slate, text: &[u8]) -> HeaderValue {
    slate.value(text).unwrap_or(NOBODY)
}

/// Fields that a cell must not say to a client: for one hop, ours, or about a body that this status does not
/// have. `upgraded` keeps those of a 101.
pub fn incoming(status: StatusCode, headers: &HeaderMap, upgraded: bool) -> Vec<HeaderName> {
    let fields = Fields::of(headers);
    let mut removed = Vec::new();
    if fields.has_any(FOREIGN_IN_ANSWERS) {
        removed.extend(headers.keys().filter(|name| is_of(name, FOREIGN_IN_ANSWERS)).cloned());
    }
    if fields.has(Field::Connection) {
        removed.extend(nominated(headers));
    }
    if fields.has(Field::ProxyStatus) && speaks_for_us(headers) {
        removed.push(PROXY_STATUS);
    }
    match status {
        // RFC 9110 section 8.6 and RFC 9112 section 6.1 forbid both; HTTP/2 clients end the connection on it.
        status if status == StatusCode::NO_CONTENT || status.is_informational() => {
            removed.extend([header::CONTENT_LENGTH, header::TRANSFER_ENCODING]);
        }
        // Its length is that of the answer which was not sent again.
        StatusCode::NOT_MODIFIED => removed.push(header::TRANSFER_ENCODING),
        _ => {}
    }
    if upgraded {
        removed.retain(|name| !matches!(*name, header::CONNECTION | header::UPGRADE));
    }
    removed
}

/// Removes from a cell's trailers what a cell must not say, and what must stand before the body or nowhere.
pub fn trailing(trailers: &mut HeaderMap) {
    let late = |name: &&HeaderName| is_of(name, FOREIGN_IN_ANSWERS) || NEVER_TRAILING.contains(name);
    let late: Vec<HeaderName> = trailers.keys().filter(late).cloned().collect();
    for name in late {
        trailers.remove(name);
    }
    if speaks_for_us(trailers) {
        trailers.remove(PROXY_STATUS);
    }
}

fn is_of(name: &HeaderName, fields: Fields) -> bool {
    Field::of(name.as_str()).is_some_and(|field| fields.has(field))
}

/// Whether a cell reports a failure in our name (RFC 9209): its own proxies may report theirs.
fn speaks_for_us(headers: &HeaderMap) -> bool {
    gate::members(headers, &PROXY_STATUS)
        .any(|member| member.get(..8).is_some_and(|name| name.eq_ignore_ascii_case(b"cellgate")))
}

/// Changes to a list of fields, in order: removals first. Of a name that is added, all that the client has sent is among
/// the removed, but of Via.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Remove every field of this name.
    pub remove: Vec<HeaderName>,
    /// Then add these behind what is there.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

impl Edits {
    fn put(&mut self, name: HeaderName, value: HeaderValue) {
        self.add.push((name, value));
    }
}

fn remove_foreign(facts: &RequestFacts<'_>, edits: &mut Edits) {
    if facts.fields.has_any(FOREIGN_IN_REQUESTS) {
        let foreign = facts.headers.keys().filter(|name| is_of(name, FOREIGN_IN_REQUESTS));
        edits.remove.extend(foreign.cloned());
    }
    if facts.fields.has(Field::Connection) {
        edits.remove.extend(nominated(facts.headers));
    }
}

/// Which trace the cell is told of. Where a new one begins, what was said of another one is not about it (W3C Trace Context
/// section 4.2).
fn set_trace(facts: &RequestFacts<'_>, trace: Trace<'_>, slate: &mut Slate, edits: &mut Edits) {
    let goes_on = || {
        facts.fields.has(Field::Traceparent)
            // Of another version passes none: there is none that a cell must know.
            && Parent::read(facts.headers).is_some_and(|parent| parent.version == 0)
    };
    let mut remove = |field, name| {
        if facts.fields.has(field) {
            edits.remove.push(name);
        }
    };
    match trace {
        Trace::Passed(..) if goes_on() => {}
        Trace::Passed(trace, span) => {
            remove(Field::Traceparent, TRACEPARENT);
            remove(Field::Tracestate, TRACESTATE);
            // Flags 00: recorded by nobody yet (section 3.2).
            edits.put(TRACEPARENT, value(slate, &traceparent(trace.max(1), span.max(1), 0)));
        }
        Trace::Ours(traced) => {
            remove(Field::Traceparent, TRACEPARENT);
            if traced.state != State::AsItIs {
                remove(Field::Tracestate, TRACESTATE);
            }
            edits.put(TRACEPARENT, value(slate, &traced.to_cell()));
            if let State::Cut(left) = &traced.state {
                edits.put(TRACESTATE, left.clone());
            }
        }
    }
}

/// Fields that `Connection` names. The gate has refused requests that name one which must stay.
fn nominated(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> + '_ {
    const KEPT: [HeaderName; 2] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    gate::members(headers, &header::CONNECTION)
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| headers.contains_key(name) && !KEPT.contains(name))
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    gate::members(headers, &header::TE).any(|token| token.eq_ignore_ascii_case(b"trailers"))
}

/// What [`gate`] counts as one of our own.
const fn via(version: WireVersion) -> &'static str {
    match version {
        WireVersion::Http10 => "1.0 cellgate",
        WireVersion::Http11 => "1.1 cellgate",
        WireVersion::Http2 => "2.0 cellgate",
    }
}

/// An address, with or without port, IPv6 with or without brackets.
fn parse_address(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    if let Ok(address) = hop.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(address) = hop.parse::<std::net::SocketAddr>() {
        return Some(address.ip().to_canonical());
    }
    let bare = hop.strip_prefix('[')?.strip_suffix(']')?;
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::Method;

    use super::super::facts::{ConnectionFacts, Scheme, WireVersion};
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    /// What a cell reads: as `proxy::outgoing` writes it.
    fn applied(edits: &Edits, fields: &HeaderMap) -> HeaderMap {
        let mut edited = HeaderMap::new();
        for (name, value) in fields.iter().filter(|(name, _)| !edits.remove.contains(name)) {
            edited.append(name.clone(), value.clone());
        }
        for (name, value) in &edits.add {
            edited.append(name.clone(), value.clone());
        }
        edited
    }

    fn sent(fields: &[(&str, &str)]) -> HeaderMap {
        sent_hiding(fields, None)
    }

    fn sent_hiding(fields: &[(&str, &str)], own_cookie: Option<&RoutingCookie>) -> HeaderMap {
        let headers = headers(fields);
        let facts = RequestFacts {
            method: &Method::GET,
            version: WireVersion::Http11,
            host: "cloud.getdbt.com",
            authority: "Cloud.getdbt.com:443",
            target: "/",
            headers: &headers,
            fields: Fields::of(&headers),
            upgrade: Upgrade::None,
            connection: ConnectionFacts {
                scheme: Scheme::Https,
                peer: "192.0.2.1".parse().unwrap(),
                certificate_names: None,
            },
        };
        let told = Told {
            client: "198.51.100.7".parse().unwrap(),
            account: AccountId::parse(b"12345").ok(),
            cell: "cell-1",
            generation: 7,
            request_id: &HeaderValue::from_static("req-0001"),
            trace: Trace::Passed(1, 2),
            own_cookie,
            client_certificate: None,
        };
        let edits = outgoing(&facts, &told, &mut Slate::default());
        for (name, _) in edits.add.iter().filter(|(name, _)| *name != header::VIA) {
            assert!(
                !headers.contains_key(name) || edits.remove.contains(name),
                "{name} is added beside theirs"
            );
        }
        applied(&edits, &headers)
    }

    #[test]
    fn eight_ways_to_spoof_an_address() {
        let trusted: [IpNet; 2] = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let check = |peer: &str, lines: &[&str], expected: &str| {
            let fields: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
            let client = client_ip(peer.parse().unwrap(), &headers(&fields), &trusted);
            assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
        };
        // 1. A client that is not a proxy says anything: not believed.
        check("203.0.113.9", &["1.1.1.1"], "203.0.113.9");
        // 2. A trusted proxy appends the client: believed.
        check("10.0.0.1", &["198.51.100.7"], "198.51.100.7");
        // 3. The client put a forged address in front: the right-most untrusted one counts.
        check("10.0.0.1", &["1.1.1.1, 198.51.100.7"], "198.51.100.7");
        // 4. A forged trusted address in front does not make the chain longer.
        check("10.0.0.1", &["1.1.1.1, 10.9.9.9, 198.51.100.7"], "198.51.100.7");
        // 5. Two trusted proxies in a row are walked through, over several lines.
        check("10.0.0.1", &["1.1.1.1", "198.51.100.7", "10.0.0.2"], "198.51.100.7");
        // 6. Rubbish ends the walk at the last known address.
        check("10.0.0.1", &["198.51.100.7, unknown, 10.0.0.2"], "10.0.0.2");
        // 7. Ports, brackets and mapped addresses are the same client.
        check("10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7");
        check("fd00::1", &["[2001:db8::7]:4711"], "2001:db8::7");
        check("10.0.0.1", &["::ffff:198.51.100.7"], "198.51.100.7");
        // 8. A chain without end is cut.
        let long = vec!["10.0.0.2"; 64].join(", ");
        check("10.0.0.1", &[&long], "10.0.0.2");
        check("10.0.0.1", &[], "10.0.0.1");
    }

    #[test]
    fn what_only_we_may_say_is_said_once_and_by_us() {
        let sent = sent(&[
            ("x-cellgate-account", "1"),
            ("X-Cellgate-Cell", "cell-9"),
            ("x_cellgate_generation", "1"),
            ("x-cellgate-admin", "yes"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x_forwarded_for", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
            ("x-original-url", "/admin"),
            ("x-forwarded-host", "evil.test"),
            ("x_request_id", "one"),
            ("x-request-id", "one"),
            ("x-request-id", "two"),
        ]);
        let mut fields: Vec<String> =
            sent.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        fields.sort();
        assert_eq!(
            fields,
            [
                "traceparent: 00-00000000000000000000000000000001-0000000000000002-00",
                "via: 1.1 cellgate",
                "x-cellgate-account: 12345",
                "x-cellgate-cell: cell-1",
                "x-cellgate-generation: 7",
                "x-forwarded-for: 198.51.100.7",
                "x-forwarded-host: Cloud.getdbt.com:443",
                "x-forwarded-proto: https",
                "x-request-id: req-0001",
            ]
        );
    }

    #[test]
    fn fields_for_one_hop_stay_on_it() {
        let sent = sent(&[
            ("connection", "close, X-Secret-Hop"),
            ("x-secret-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic x"),
            ("authorization", "Token t"),
            ("cookie", "a=b"),
            ("content-length", "0"),
        ]);
        for name in ["connection", "x-secret-hop", "keep-alive", "te", "upgrade", "proxy-authorization"] {
            assert!(!sent.contains_key(name), "{name}");
        }
        for name in ["authorization", "cookie", "content-length"] {
            assert!(sent.contains_key(name), "{name}");
        }
    }

    #[test]
    fn our_own_cookie_stays_with_us_and_the_others_are_as_they_were() {
        let cookie = RoutingCookie { name: "__Host-cellgate".into(), keys: Vec::new(), max_age_secs: 60 };
        let check = |given: &[&str], expect: &[&str]| {
            let fields: Vec<_> = given.iter().map(|value| ("cookie", *value)).collect();
            let headers = sent_hiding(&fields, Some(&cookie));
            let kept: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
            assert_eq!(kept, expect, "{given:?}");
        };
        check(&[], &[]);
        check(&["a=b;c=d; e"], &["a=b;c=d; e"]);
        check(&["a=b; __Host-cellgate=x; c=d"], &["a=b; c=d"]);
        check(&["a=b", "__Host-cellgate=x", "c=d"], &["a=b", "c=d"]);
        check(&["__Host-cellgate=x"], &[]);
    }

    #[test]
    fn a_cell_cannot_speak_for_us() {
        let response = headers(&[
            ("x-cellgate-outcome", "not-forwarded"),
            ("X_Cellgate_Cell", "x"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("alt-svc", "h2=\"shared.example:443\""),
            ("content-type", "text/plain"),
            ("transfer-encoding", "chunked"),
        ]);
        let removed = incoming(StatusCode::OK, &response, false);
        for name in ["x-cellgate-outcome", "x_cellgate_cell", "connection", "x-hop", "alt-svc"] {
            assert!(removed.iter().any(|removed| removed == name), "{name}");
        }
        for name in ["content-type", "transfer-encoding"] {
            assert!(!removed.iter().any(|removed| removed == name), "{name}");
        }
        let framed = headers(&[("content-length", "5"), ("etag", "x")]);
        let [none, all] = [vec![], vec![header::CONTENT_LENGTH, header::TRANSFER_ENCODING]];
        assert_eq!(incoming(StatusCode::OK, &framed, false), none);
        assert_eq!(incoming(StatusCode::NO_CONTENT, &framed, false), all);
        assert_eq!(incoming(StatusCode::EARLY_HINTS, &framed, false), all);
        assert_eq!(incoming(StatusCode::NOT_MODIFIED, &framed, false), all[1..]);
        let switching = headers(&[("connection", "Upgrade"), ("upgrade", "websocket")]);
        let kept = incoming(StatusCode::SWITCHING_PROTOCOLS, &switching, true);
        assert_eq!(kept, all);
    }

    #[test]
    fn a_valid_trace_is_continued_and_another_is_replaced() {
        let check = |given: &str, kept: bool| {
            let sent = sent(&[("traceparent", given), ("tracestate", "vendor=1")]);
            assert_eq!(sent["traceparent"] == given, kept, "{given}");
            assert_eq!(sent.contains_key("tracestate"), kept, "{given}");
        };
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true);
        check("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false);
        check("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false);
        check("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false);
        check("rubbish", false);
    }

    #[test]
    fn trailers_say_nothing_that_a_head_must_say_and_nothing_of_ours() {
        let mut trailers = HeaderMap::new();
        let kept = ["grpc-status", "grpc-message", "grpc-status-details-bin", "server-timing", "x-checksum"];
        let removed =
            ["x-cellgate-outcome", "x_cellgate_account", "content-length", "set-cookie", "trailer", "te"];
        for name in kept.iter().chain(&removed) {
            trailers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        trailing(&mut trailers);
        let left: Vec<&str> = trailers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left.len(), kept.len(), "{left:?}");
        assert!(kept.iter().all(|name| left.contains(name)), "{left:?}");
    }

    #[test]
    fn a_cell_reports_its_own_proxies_failures_and_not_ours() {
        for (value, goes) in [
            ("Envoy; error=connection_timeout", false),
            ("cellgate; error=http_request_denied", true),
            ("Envoy, CellGate", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(PROXY_STATUS, HeaderValue::from_static(value));
            let removed = incoming(StatusCode::OK, &headers, false).contains(&PROXY_STATUS);
            trailing(&mut headers);
            assert_eq!((removed, headers.is_empty()), (goes, goes), "{value}");
        }
    }
}
