//! What a client is sent of a cell's answer: the head without what is for one hop or only ours to say,
//! with the deprecation headers of a legacy host.

use http::header::Entry;
use http::response::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::reply;
use super::request::Request;
use crate::policy::annotate;
use crate::policy::decide::Decision;
use crate::policy::facts::WireVersion;
use crate::policy::forwarding;
use crate::policy::hosts::Role;
use crate::policy::location;
use crate::policy::routing_cookie::RoutingCookie;
use crate::policy::snapshot::Snapshot;

/// Turns the cell's head into ours. Says whether the cell sent deprecation dates itself.
pub(super) fn dress(snapshot: &Snapshot, request: &Request, tunnel: bool, head: &mut Parts) -> bool {
    strip(tunnel, head);
    if tunnel && request.version == WireVersion::Http2 {
        // RFC 8441 section 5: success is 200, and the HTTP/1.1 handshake fields have no meaning.
        head.status = StatusCode::OK;
        for name in [header::UPGRADE, header::CONNECTION, header::SEC_WEBSOCKET_ACCEPT] {
            head.headers.remove(&name);
        }
    }
    if let Entry::Vacant(place) = head.headers.entry(reply::REQUEST_ID) {
        place.insert(request.request_id.value());
    }
    if let Some(promise) = promise(request)
        && !head.headers.contains_key(header::STRICT_TRANSPORT_SECURITY)
    {
        set(&mut head.headers, header::STRICT_TRANSPORT_SECURITY, &promise);
    }
    if request.decision.role != Some(Role::Legacy) {
        return false;
    }
    let own = || request.decision.own_address(snapshot);
    if !request.navigation
        && let Some(location) = head.headers.get(header::LOCATION)
        && let Some(own) = own()
        && let Some(location) =
            location::rewrite(location, &own.to_string(), request.scheme.as_str(), &request.authority)
    {
        set(&mut head.headers, header::LOCATION, &location);
    }
    let shown = request.decision.may_show_address(head.status.as_u16());
    let successor = if shown { own().map(|own| own.url(&request.target)) } else { None };
    deprecate(snapshot, &request.decision, successor.as_deref(), &mut head.headers)
}

/// Removes from a cell's head, one below 200 too, what it must not say to a client.
pub(super) fn strip(tunnel: bool, head: &mut Parts) {
    for name in forwarding::incoming(head.status, &head.headers, tunnel) {
        head.headers.remove(&name);
    }
}

/// Our routing cookie on a cell's answer: one that the cell gives under its name goes, and ours comes where
/// the answer has proven whose the browser is.
pub(super) fn mark(cookie: &RoutingCookie, decision: &Decision, now: u64, head: &mut Parts) {
    let given = head.headers.get_all(header::SET_COOKIE);
    if given.iter().any(|set| cookie.is_set_by(set)) {
        let others: Vec<_> = given.iter().filter(|set| !cookie.is_set_by(set)).cloned().collect();
        head.headers.remove(header::SET_COOKIE);
        for set in others {
            head.headers.append(header::SET_COOKIE, set);
        }
    }
    let account = decision.mark(head.status.as_u16(), &head.headers);
    if let Some(ours) = account.and_then(|account| cookie.set_cookie(account, now)) {
        head.headers.append(header::SET_COOKIE, ours);
    }
}

/// The promise of https on an answer of our own.
pub(super) fn promise_https(request: &Request, headers: &mut HeaderMap) {
    if let Some(promise) = promise(request).and_then(|text| text.parse().ok()) {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, promise);
    }
}

fn promise(request: &Request) -> Option<String> {
    request.hsts.map(|seconds| format!("max-age={seconds}"))
}

/// Deprecation headers on an answer of our own. Says whether there were any before.
pub(super) fn deprecate(
    snapshot: &Snapshot,
    decision: &Decision,
    successor: Option<&str>,
    headers: &mut HeaderMap,
) -> bool {
    decision
        .schedule
        .is_some_and(|schedule| annotate::annotate(snapshot.schedule(schedule), successor, headers).any())
}

fn set(headers: &mut HeaderMap, name: http::HeaderName, value: &str) {
    // Only configuration, and text that the gate has read, stands here.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
