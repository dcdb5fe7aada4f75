//! What a cell is sent: the client's head with the edits that `policy` decided, and the signed verdict.

use http::{Method, header};
use pingora::http::RequestHeader;
use tokio::time::Instant;

use super::forward::Outgoing;
use super::pump::Limits;
use super::request::Request;
use super::service::{Service, unix_now};
use crate::policy::endpoint_class::ClientTimes;
use crate::policy::facts::{Upgrade, WireVersion};
use crate::policy::forwarding::Edits;
use crate::policy::seal;
use crate::policy::snapshot::{Cell, Snapshot, UpstreamHost};

impl Service {
    /// The request for a cell, made from the head that the session holds.
    pub(super) fn outgoing(
        &self,
        snapshot: &Snapshot,
        request: &Request,
        cell: &Cell,
        head: &RequestHeader,
        begun: Instant,
    ) -> Outgoing {
        let own = match cell.host {
            UpstreamHost::Account => {
                request.decision.own_address(snapshot).map(|address| address.to_string())
            }
            UpstreamHost::Preserve => None,
        };
        let authority = own.unwrap_or_else(|| request.authority.to_string());
        let mut head = head.clone();
        if let Some(edits) = &request.edits {
            apply(&mut head, edits);
        }
        set(&mut head, header::HOST, &authority);
        if request.version == WireVersion::Http2 {
            merge_cookies(&mut head);
            // The engine cannot pass a 100 on to an HTTP/2 client, so the cell must not wait to give one.
            head.remove_header(&header::EXPECT);
        }
        if request.upgrade == Upgrade::WebSocket && request.version == WireVersion::Http2 {
            head.set_method(Method::GET);
            set(&mut head, header::SEC_WEBSOCKET_KEY, &websocket_key());
        }
        head.set_raw_path(request.target.as_bytes()).expect("the gate has read this target");
        if let Some(signature) = signature(snapshot, request, cell, &authority, &head) {
            head.insert_header(seal::HEADER, signature).expect("a built value is a valid field");
        }
        let classes = &snapshot.endpoint_classes;
        let client = self.limits();
        let client = ClientTimes { body: client.body_timeout, stall: client.idle_timeout };
        let times = classes.times(&request.target, &cell.timeouts, client);
        Outgoing {
            head,
            authority,
            upgrade: request.upgrade,
            grpc: request.grpc,
            ticket: self.ticket(),
            limits: Limits { times, until: times.request.map(|request| begun + request) },
        }
    }
}

fn apply(head: &mut RequestHeader, edits: &Edits) {
    for name in &edits.remove {
        head.remove_header(name);
    }
    for (name, value) in &edits.set {
        head.insert_header(name.clone(), value.clone()).expect("a parsed field is a valid field");
    }
    for (name, value) in &edits.append {
        head.append_header(name.clone(), value.clone()).expect("a parsed field is a valid field");
    }
}

/// The signed verdict, for a cell that has a key.
fn signature(
    snapshot: &Snapshot,
    request: &Request,
    cell: &Cell,
    authority: &str,
    head: &RequestHeader,
) -> Option<http::HeaderValue> {
    let sealed = seal::Sealed {
        cell: cell.name.as_str(),
        account: request.decision.account,
        source: request.decision.source,
        generation: &snapshot.hash,
        // No account has been moved by cellgate yet; moves bring the count.
        epoch: 0,
        method: head.method.as_str(),
        authority,
        target: &request.target,
        request_id: &request.request_id,
        time: unix_now(),
    };
    seal::sign(cell.seal.as_ref()?, &sealed)
}

/// HTTP/2 clients may send each cookie as a field of its own; HTTP/1.1 has one (RFC 9113 section 8.2.3).
fn merge_cookies(head: &mut RequestHeader) {
    let cookies: Vec<&[u8]> =
        head.headers.get_all(header::COOKIE).iter().map(|value| value.as_bytes()).collect();
    if cookies.len() < 2 {
        return;
    }
    if let Ok(joined) = http::HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
        head.insert_header(header::COOKIE, joined).expect("a parsed field is a valid field");
    }
}

/// A fresh key for the HTTP/1.1 handshake that an HTTP/2 client does not make (RFC 8441 section 5).
fn websocket_key() -> String {
    base64::Engine::encode(&base64::prelude::BASE64_STANDARD, fastrand::u128(..).to_be_bytes())
}

fn set(head: &mut RequestHeader, name: http::HeaderName, value: &str) {
    head.insert_header(name, value).expect("an authority that the gate has read is a valid field");
}
