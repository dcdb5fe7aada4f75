//! Which header fields a cell is sent, and which of a cell's a client is sent.
//!
//! First everything goes that ends at this hop, that only we may say, or that a cell could take for it;
//! then ours is set once. Framing (Content-Length, Transfer-Encoding) and Host belong to the engine and
//! are not touched here.

mod names;
mod origin;

use http::header::{CONNECTION, HOST, TE, UPGRADE, VIA};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::edit::HeaderEdit;
use super::facts::{RequestFacts, Scheme, Upgrade, WireVersion};
use super::gate::{is_routing_field, members};
use super::ids::AccountId;
use super::snapshot::IdentifyRules;
use names::Kind;
pub use origin::{client_ip, kept_request_id, traceparent};

/// The client's address, as X-Forwarded-For says it.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `http` or `https`, as the client spoke to us.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The authority as the client wrote it.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Follows a request through every log.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// W3C Trace Context; means nothing without a traceparent of the same sender.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The account that the request was routed by; absent where there is none.
pub const X_CELLGATE_ACCOUNT: HeaderName = HeaderName::from_static("x-cellgate-account");
/// The cell that it was routed to.
pub const X_CELLGATE_CELL: HeaderName = HeaderName::from_static("x-cellgate-cell");
/// The number of the configuration that it was routed by.
pub const X_CELLGATE_GENERATION: HeaderName = HeaderName::from_static("x-cellgate-generation");
/// The signed verdict: see [`seal`](super::seal).
pub const X_CELLGATE_SIGNATURE: HeaderName = HeaderName::from_static("x-cellgate-signature");

/// One request on its way to a cell.
#[derive(Clone, Debug)]
pub struct Hop<'a> {
    /// The request.
    pub facts: &'a RequestFacts<'a>,
    /// The rules whose headers must not reach the cell in a second spelling.
    pub identify: &'a IdentifyRules,
    /// [`client_ip`] of the request, as text.
    pub client_ip: &'a HeaderValue,
    /// The peer is one of the trusted proxies: its own ways of naming the client pass.
    pub trusted_peer: bool,
    /// A new id, where [`kept_request_id`] found none.
    pub new_request_id: Option<HeaderValue>,
    /// Random bytes for a new trace, used only where the client sent none.
    pub trace_entropy: [u8; 24],
    /// The cell is spoken to in HTTP/2.
    pub http2: bool,
    /// The account routed by.
    pub account: Option<AccountId>,
    /// The cell's name.
    pub cell: &'a HeaderValue,
    /// The snapshot's number.
    pub generation: &'a HeaderValue,
    /// The signed verdict, where the cell has a key.
    pub signature: Option<HeaderValue>,
}

/// The edits that turn the client's fields into the cell's.
pub fn request_edits(hop: Hop<'_>, edits: &mut Vec<HeaderEdit>) {
    let headers = hop.facts.headers;
    remove_from_request(&hop, edits);
    let trailers = members(headers, &TE).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    if hop.http2 && trailers {
        // The only value that HTTP/2 allows (RFC 9113 section 8.2.2); gRPC insists on it.
        edits.push(HeaderEdit::Set(TE, HeaderValue::from_static("trailers")));
    }
    if hop.facts.upgrade == Upgrade::WebSocket {
        edits.push(HeaderEdit::Set(CONNECTION, HeaderValue::from_static("Upgrade")));
        edits.push(HeaderEdit::Set(UPGRADE, HeaderValue::from_static("websocket")));
    }
    edits.push(HeaderEdit::Append(VIA, via(hop.facts.version)));
    edits.push(HeaderEdit::Set(X_FORWARDED_FOR, hop.client_ip.clone()));
    let proto = match hop.facts.connection.scheme {
        Scheme::Http => HeaderValue::from_static("http"),
        Scheme::Https => HeaderValue::from_static("https"),
    };
    edits.push(HeaderEdit::Set(X_FORWARDED_PROTO, proto));
    edits.extend(forwarded_host(hop.facts).map(|host| HeaderEdit::Set(X_FORWARDED_HOST, host)));
    edits.extend(hop.new_request_id.map(|id| HeaderEdit::Set(X_REQUEST_ID, id)));
    if let Some(trace) = traceparent(headers, hop.trace_entropy) {
        edits.push(HeaderEdit::Set(TRACEPARENT, trace));
        edits.push(HeaderEdit::Remove(TRACESTATE));
    }
    edits.extend(hop.account.map(|id| HeaderEdit::Set(X_CELLGATE_ACCOUNT, HeaderValue::from(id.value()))));
    edits.push(HeaderEdit::Set(X_CELLGATE_CELL, hop.cell.clone()));
    edits.push(HeaderEdit::Set(X_CELLGATE_GENERATION, hop.generation.clone()));
    edits.extend(hop.signature.map(|signature| HeaderEdit::Set(X_CELLGATE_SIGNATURE, signature)));
}

/// The edits that turn the cell's fields into the client's: hop-by-hop fields and whatever looks like
/// ours go. `switching` is a 101 that is tunnelled, whose own Connection and Upgrade fields stay.
pub fn response_edits(headers: &HeaderMap, switching: bool, edits: &mut Vec<HeaderEdit>) {
    for name in headers.keys() {
        let kept = switching && (name == CONNECTION || name == UPGRADE);
        let kind = names::kind(name.as_str());
        // Trailer announces what follows the body, which is the client's business.
        let ends_here = kind == Kind::HopByHop && *name != http::header::TRAILER;
        if !kept && (ends_here || is_routing_field(name.as_str().as_bytes())) {
            edits.push(HeaderEdit::Remove(name.clone()));
        }
    }
    for name in nominated(headers) {
        // A cell must not be able to hide the end of its response or our own fields.
        let protected = matches!(names::kind(name.as_str()), Kind::Framing | Kind::HopByHop | Kind::Ours);
        if !protected {
            edits.push(HeaderEdit::Remove(name));
        }
    }
}

fn remove_from_request(hop: &Hop<'_>, edits: &mut Vec<HeaderEdit>) {
    for name in hop.facts.headers.keys() {
        if removed(name.as_str(), hop) {
            edits.push(HeaderEdit::Remove(name.clone()));
        }
    }
    for name in nominated(hop.facts.headers) {
        // The gate has refused nominations that would change what was judged; of the rest, what we set
        // ourselves stays set.
        if !matches!(names::kind(name.as_str()), Kind::Framing | Kind::HopByHop | Kind::Ours) {
            edits.push(HeaderEdit::Remove(name));
        }
    }
}

fn removed(name: &str, hop: &Hop<'_>) -> bool {
    if is_routing_field(name.as_bytes()) {
        return true;
    }
    if name.contains('_') {
        // Cells that make CGI variables of fields (RFC 3875 section 4.1.18) cannot tell this spelling
        // from the one with hyphens: only one of them may arrive.
        return names::with_hyphens(name, |hyphenated| {
            let identifies = hop.identify.headers.iter().any(|(rule, _)| rule.as_str() == hyphenated);
            identifies || names::kind(hyphenated) != Kind::Other
        });
    }
    match names::kind(name) {
        Kind::HopByHop | Kind::Claim => true,
        Kind::ProxyClaim => !hop.trusted_peer,
        Kind::Framing | Kind::Ours | Kind::Other => false,
    }
}

/// The fields that Connection names and that are there.
fn nominated(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> + '_ {
    members(headers, &CONNECTION)
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| headers.contains_key(name))
}

fn forwarded_host(facts: &RequestFacts<'_>) -> Option<HeaderValue> {
    let host = facts.headers.get(HOST).filter(|host| host.as_bytes() == facts.authority.as_bytes());
    // The clone shares its bytes, a new value copies them.
    let value = host.cloned().or_else(|| HeaderValue::from_str(facts.authority).ok());
    value.filter(|value| !value.is_empty())
}

/// The protocol is the one that the request was received in (RFC 9110 section 7.6.3); the name is
/// [`VIA_NAME`](super::gate::VIA_NAME).
const fn via(version: WireVersion) -> HeaderValue {
    match version {
        WireVersion::Http10 => HeaderValue::from_static("1.0 cellgate"),
        WireVersion::Http11 => HeaderValue::from_static("1.1 cellgate"),
        WireVersion::Http2 => HeaderValue::from_static("2 cellgate"),
    }
}

#[cfg(test)]
mod tests;
