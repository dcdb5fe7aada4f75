//! The gate: one canonical reading of a request, or a refusal.
//!
//! Two steps. [`read_head`] judges the raw bytes of an HTTP/1.x head before any parser sees them;
//! [`facts`] judges the meaning of a parsed head, the same for HTTP/1.x, HTTP/2 and `explain`. Nothing
//! is repaired on the way: what cannot be read in exactly one manner is refused. [`check_answer`] does the
//! same with what cells answer.

mod answer;
mod authority;
mod bytes;
mod chunks;
mod head;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE, VIA};
use http::{HeaderMap, Method};

use super::facts::{ConnectionFacts, RequestFacts, Upgrade, WireVersion};
use super::fields::{Field, Fields};
use super::refusal::{BadRequest, Refusal};
use super::snapshot::RequestLimits;
pub use answer::{ANSWER_BYTES, Asked, BadAnswer, INTERIM_ANSWERS, check_answer, size};
pub use authority::{Authority, MAX_HOST_LEN};
pub use chunks::{ChunkReader, NextData};
pub use head::{
    Framing, Head, HeadReader, HeadStatus, MAX_CONTENT_LENGTH, MAX_EMPTY_LINES, MAX_LENGTH_DIGITS,
    MAX_METHOD_LEN, Span, TargetForm, read_head,
};

/// How this proxy calls itself in `Via` (RFC 9110 section 7.6.3).
pub const VIA_NAME: &str = "cellgate";

/// How often [`VIA_NAME`] may stand in `Via` before a request counts as going in circles. Once is a
/// fleet in front of a cell that runs cellgate itself; a loop adds one with every round.
pub const MAX_VIA: usize = 1;

/// A parsed request head, before it is judged.
#[derive(Clone, Copy, Debug)]
pub struct ParsedHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The wire version.
    pub version: WireVersion,
    /// `:authority`, or the authority of an absolute target; Host is among the headers.
    pub authority: Option<&'a str>,
    /// Origin-form, or `*`: `:path`, or [`Head::origin_target`].
    pub target: &'a str,
    /// `:protocol` of an extended CONNECT (RFC 8441).
    pub protocol: Option<&'a str>,
    /// The fields.
    pub headers: &'a HeaderMap,
}

/// Reads a parsed head. `host` is scratch space, written only where the client's host has capitals.
pub fn facts<'a>(
    head: ParsedHead<'a>,
    connection: ConnectionFacts<'a>,
    limits: &RequestLimits,
    host: &'a mut String,
) -> Result<RequestFacts<'a>, Refusal> {
    check_target(&head, limits)?;
    check_size(head.headers, limits)?;
    check_names(&head)?;
    let fields = Fields::of(head.headers);
    let body = fields.has_any(FRAMING) && check_framing(head.headers, head.version)?;
    if fields.has(Field::Connection) {
        check_connection(head.headers)?;
    }
    if fields.has(Field::Expect) {
        check_expect(head.headers)?;
    }
    let upgrade = upgrade(&head, fields, body)?;
    let authority = authority(&head, connection)?;
    if fields.has(Field::Via) && passes(head.headers) > MAX_VIA {
        return Err(Refusal::Loop);
    }
    let (authority, host) = match authority {
        Some((text, authority)) => (text, authority.lower_host(host)),
        None => ("", ""),
    };
    if connection.certificate_names.is_some_and(|names| !names.covers(host)) {
        return Err(Refusal::Misdirected);
    }
    let ParsedHead { method, version, target, headers, .. } = head;
    Ok(RequestFacts { method, version, host, authority, target, headers, fields, upgrade, connection })
}

/// The host of a head that has been refused for something else; `None` where it has none that can be believed
/// either. `host` as for [`facts`].
pub fn host<'a>(
    head: &ParsedHead<'a>,
    connection: ConnectionFacts<'_>,
    host: &'a mut String,
) -> Option<&'a str> {
    let (_, authority) = authority(head, connection).ok()??;
    let host = authority.lower_host(host);
    connection.certificate_names.is_none_or(|names| names.covers(host)).then_some(host)
}

fn check_target(head: &ParsedHead<'_>, limits: &RequestLimits) -> Result<(), Refusal> {
    if head.target.len() > limits.target_bytes {
        return Err(Refusal::TargetTooLong);
    }
    let known_form = head.target.starts_with('/') || (head.target == "*" && head.method == Method::OPTIONS);
    if !known_form || !bytes::all(head.target.as_bytes(), |byte| bytes::is_visible(byte) && byte != b'#') {
        return Err(BadRequest::RequestLine.into());
    }
    Ok(())
}

fn check_size(headers: &HeaderMap, limits: &RequestLimits) -> Result<(), Refusal> {
    if headers.len() <= limits.header_fields {
        return Ok(());
    }
    // HTTP/2 clients send each cookie as a field of its own (RFC 9113 section 8.2.3); together they are
    // the one field that they would be in HTTP/1.1.
    let cookies = headers.get_all(http::header::COOKIE).iter().count();
    if headers.len() - cookies.saturating_sub(1) > limits.header_fields {
        return Err(Refusal::HeadersTooLarge);
    }
    Ok(())
}

/// The names of HTTP/1.x have been read already. Those of HTTP/2 may hold a quotation mark as far as its
/// parser minds, and be no token then (RFC 9110 section 5.1): in HTTP/1.1 such a line is malformed.
fn check_names(head: &ParsedHead<'_>) -> Result<(), Refusal> {
    let token = |name: &http::HeaderName| name.as_str().bytes().all(bytes::is_token);
    if head.version == WireVersion::Http2 && !head.headers.keys().all(token) {
        return Err(BadRequest::HeaderLine.into());
    }
    Ok(())
}

/// Fields that say where a body ends.
const FRAMING: Fields = Fields::these(&[Field::ContentLength, Field::TransferEncoding]);

/// Whether there is a body, as far as the head says. `read_head` has refused all of this for HTTP/1.x
/// already; HTTP/2 and `explain` come here without it.
fn check_framing(headers: &HeaderMap, version: WireVersion) -> Result<bool, Refusal> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(value), None) => Some(head::content_length(value.as_bytes()).ok_or(BadRequest::ContentLength)?),
        (Some(_), Some(_)) => return Err(BadRequest::ContentLength.into()),
    };
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(length.is_some_and(|length| length > 0)),
        (Some(_), Some(_)) => Err(BadRequest::TransferEncoding.into()),
        (Some(_), None) if version != WireVersion::Http11 => Err(BadRequest::TransferEncoding.into()),
        (Some(_), None) if length.is_some() => Err(BadRequest::ContentLength.into()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(true),
        (Some(_), None) => Err(Refusal::NotImplemented),
    }
}

/// Fields that `Connection` names are removed on the way; these must never be.
fn check_connection(headers: &HeaderMap) -> Result<(), Refusal> {
    const KEPT: [&[u8]; 5] = [b"host", b"content-length", b"transfer-encoding", b"cookie", b"authorization"];
    for token in members(headers, &CONNECTION) {
        let kept = KEPT.iter().any(|name| token.eq_ignore_ascii_case(name));
        if kept || is_routing_field(token) {
            return Err(BadRequest::Connection.into());
        }
    }
    Ok(())
}

fn check_expect(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut expectations = headers.get_all(EXPECT).iter();
    match (expectations.next(), expectations.next()) {
        (None, _) => Ok(()),
        (Some(value), None) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(()),
        (Some(_), _) => Err(Refusal::ExpectationFailed),
    }
}

/// WebSocket or nothing: any other upgrade offer is ignored, as RFC 9110 section 7.8 allows, and does
/// not reach the cell.
fn upgrade(head: &ParsedHead<'_>, fields: Fields, body: bool) -> Result<Upgrade, Refusal> {
    if head.version == WireVersion::Http2 {
        return match (head.method == Method::CONNECT, head.protocol) {
            // What comes in a tunnel is no body: a cell would take it for one, and what follows for the next request.
            (true, Some("websocket")) if head.headers.contains_key(CONTENT_LENGTH) => {
                Err(BadRequest::ContentLength.into())
            }
            (true, Some("websocket")) => Ok(Upgrade::WebSocket),
            (true, None) => Err(Refusal::MethodNotAllowed),
            (true, Some(_)) | (false, Some(_)) => Err(Refusal::NotImplemented),
            (false, None) => head::check_method(head.method.as_str().as_bytes()).map(|()| Upgrade::None),
        };
    }
    head::check_method(head.method.as_str().as_bytes())?;
    // RFC 6455 section 4.1: a GET in HTTP/1.1. A body in front of a tunnel would be a second reading
    // of where the tunnel begins.
    let may = head.version == WireVersion::Http11 && head.method == Method::GET && !body;
    if !may || !fields.has(Field::Upgrade) {
        return Ok(Upgrade::None);
    }
    let mut offers = members(head.headers, &UPGRADE);
    let websocket = matches!((offers.next(), offers.next()), (Some(offer), None)
        if offer.eq_ignore_ascii_case(b"websocket"));
    let asked = members(head.headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case(b"upgrade"));
    Ok(if websocket && asked { Upgrade::WebSocket } else { Upgrade::None })
}

/// The authority that counts, as text and read; `None` for HTTP/1.0 without Host.
fn authority<'a>(
    head: &ParsedHead<'a>,
    connection: ConnectionFacts<'_>,
) -> Result<Option<(&'a str, Authority<'a>)>, Refusal> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(BadRequest::Host.into());
    }
    let read = |text: &'a str| Authority::parse(text).map(|read| (text, read)).ok_or(BadRequest::Host);
    let host = match host {
        Some(value) => Some(read(value.to_str().map_err(|_| BadRequest::Host)?)?),
        None => None,
    };
    let named = head.authority.map(read).transpose()?;
    match (named, host) {
        (Some(named), Some(host)) if !named.1.same_as(host.1, connection.scheme) => {
            Err(BadRequest::HostMismatch.into())
        }
        (Some(named), _) => Ok(Some(named)),
        (None, Some(host)) => Ok(Some(host)),
        (None, None) if head.version == WireVersion::Http10 => Ok(None),
        (None, None) => Err(BadRequest::Host.into()),
    }
}

/// How often this proxy, or its like, has passed the request on.
fn passes(headers: &HeaderMap) -> usize {
    let by_us = |member: &&[u8]| {
        let mut words = member.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        words.nth(1).is_some_and(|name| name.eq_ignore_ascii_case(VIA_NAME.as_bytes()))
    };
    members(headers, &VIA).filter(by_us).count()
}

/// Whether a field name, in any case and with `_` for `-`, is one of `X-Cellgate-*`. Many cells read
/// both spellings as one name (RFC 3875 section 4.1.18).
pub fn is_routing_field(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"x-cellgate-";
    name.len() >= PREFIX.len()
        && name.iter().zip(PREFIX).all(|(byte, expected)| match byte {
            b'_' => *expected == b'-',
            byte => byte.eq_ignore_ascii_case(expected),
        })
}

/// The members of a comma-separated list field, over all its lines, without blanks and empty ones.
pub(super) fn members<'a>(
    headers: &'a HeaderMap,
    name: &http::HeaderName,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(bytes::trim_blanks)
        .filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests;
