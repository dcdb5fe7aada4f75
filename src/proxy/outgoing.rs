//! What a cell is sent: the client's head with the edits that `policy` decided, and the signed verdict.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType};
use tokio::time::Instant;

use super::compact::compact;
use super::head::RequestHead;
use super::http1::client::{RequestBody, Session as H1Session};
use super::pump::Limits;
use super::request::Request;
use super::service::{Service, unix_now};
use crate::policy::endpoint_class::{ClassOf, ClientTimes};
use crate::policy::facts::{Upgrade, WireVersion};
use crate::policy::forwarding::{Edits, TRACEPARENT, X_CELLGATE_ATTEMPT, X_REQUEST_ID};
use crate::policy::ids::AccountId;
use crate::policy::seal;
use crate::policy::snapshot::{Cell, Snapshot, UpstreamHost};

/// What is sent, independent of the connection.
pub struct Outgoing<'a> {
    /// As the cell sees it.
    pub method: Method,
    /// WebSocket or nothing.
    pub upgrade: Upgrade,
    /// gRPC needs HTTP/2 all the way.
    pub grpc: bool,
    /// Chooses the endpoint.
    pub ticket: u64,
    /// Whose it is, where that is known.
    pub account: Option<AccountId>,
    /// How long its answer takes to begin says nothing of the endpoint: a long poll, a stream, a tunnel.
    pub waits_on_purpose: bool,
    /// How long it may take.
    pub limits: Limits,
    target: PathAndQuery,
    /// Also in Host.
    authority: Cow<'a, str>,
    /// What the client speaks.
    version: WireVersion,
    edits: Option<&'a Edits>,
    signature: Option<HeaderValue>,
}

impl Service {
    /// The request for a cell; `head` is the client's, which its session holds.
    pub(super) fn outgoing<'a>(
        &self,
        snapshot: &Snapshot,
        request: &'a Request,
        cell: &Cell,
        class: ClassOf<'_>,
        head: &RequestHead,
        begun: Instant,
    ) -> Outgoing<'a> {
        let own = match cell.host {
            UpstreamHost::Account => request.decision.own_address(snapshot),
            UpstreamHost::Preserve => None,
        };
        let authority = own.map_or(Cow::Borrowed(&*request.authority), |own| own.to_string().into());
        let translated = request.upgrade == Upgrade::WebSocket && request.version == WireVersion::Http2;
        let method = if translated { Method::GET } else { head.method.clone() };
        let client = self.limits();
        let client = ClientTimes { body: client.body_timeout, stall: client.idle_timeout };
        let times = class.times(&cell.timeouts, client);
        Outgoing {
            upgrade: request.upgrade,
            grpc: request.grpc,
            ticket: cell.load.ticket(),
            account: request.decision.account,
            waits_on_purpose: class.is_long_lived() || request.upgrade != Upgrade::None,
            limits: Limits { times, until: times.request.map(|request| begun + request) },
            target: head.target.clone(),
            version: request.version,
            edits: request.edits.as_ref(),
            signature: signature(snapshot, request, cell, &authority, &method),
            method,
            authority,
        }
    }
}

impl Outgoing<'_> {
    /// Whether the cell is asked for its consent before the body is sent.
    pub fn expects(&self, client: &HeaderMap) -> bool {
        // A 100 of an HTTP/1.1 cell cannot be passed on to an HTTP/2 client, so none must wait to give one.
        let asked = self.version != WireVersion::Http2 && client.contains_key(header::EXPECT);
        asked && self.edits.is_none_or(|edits| !edits.remove.contains(&header::EXPECT))
    }

    /// Sends the head over HTTP/1.1. `client` are the client's fields, `attempt` says how often a cell may have got a
    /// byte of this request; `end` when no body follows.
    pub fn h1(&self, client: &HeaderMap, attempt: u8, end: bool, session: &mut H1Session) {
        let length =
            client.get(header::CONTENT_LENGTH).filter(|_| !client.contains_key(header::TRANSFER_ENCODING));
        // An HTTP/2 client may leave the length open (RFC 9113 section 8.1.1). Where no body follows nobody writes a last
        // chunk either: the client's was empty, and an earlier attempt has read its end.
        let chunked = length.is_none() && !end;
        let body = match length.and_then(|length| length.to_str().ok()?.parse().ok()) {
            _ if chunked => RequestBody::Chunked,
            length => RequestBody::Length(length.unwrap_or(0)),
        };
        // The gate has read it, or the configuration says it.
        debug_assert!(HeaderValue::from_str(&self.authority).is_ok(), "an authority is a valid field");
        session.request((&self.method, self.target.as_str()), body, |lines| {
            lines.field(&header::HOST, self.authority.as_bytes());
            self.each_field(client, attempt, |name, value| lines.field(name, value.as_bytes()));
            if chunked {
                // What the gate lets through is `chunked` in any case of letters; a cell is sent one spelling.
                lines.field(&header::TRANSFER_ENCODING, b"chunked");
            }
        });
    }

    /// The head for HTTP/2.
    ///
    /// # Errors
    /// The authority is none to the engine.
    pub fn h2(&self, cell: &Cell, client: &HeaderMap, attempt: u8) -> pingora::Result<Box<RequestHeader>> {
        const OF_HTTP1: [HeaderName; 3] = [header::CONNECTION, header::UPGRADE, header::EXPECT];
        let scheme = if cell.tls.is_some() { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).authority(&*self.authority);
        let uri = uri.path_and_query(self.target.clone()).build();
        let uri = uri.map_err(|error| Error::explain(ErrorType::InvalidHTTPHeader, error.to_string()))?;
        let mut parts = http::Request::new(()).into_parts().0;
        parts.headers.reserve(client.len() + OURS);
        self.each_field(client, attempt, |name, value| {
            if !OF_HTTP1.contains(name) {
                let mut value = value.clone();
                value.set_sensitive(value.is_sensitive() || NEW_EACH_TIME.contains(name));
                parts.headers.append(name.clone(), value);
            }
        });
        // The table of what HTTP/2 has sent would hold the client's whole head.
        compact(&mut parts.headers);
        parts.method = self.method.clone();
        parts.uri = uri;
        parts.version = Version::HTTP_2;
        Ok(Box::new(RequestHeader::from(parts)))
    }

    /// Each field for the cell but Host and Transfer-Encoding, in order: the client's without those that are removed or
    /// said anew, then what `policy` decided, then what is of this connection and this attempt.
    fn each_field(&self, client: &HeaderMap, attempt: u8, mut tell: impl FnMut(&HeaderName, &HeaderValue)) {
        let cookies = self.merged_cookies(client);
        for (name, value) in client {
            let merged = cookies.is_some() && *name == header::COOKIE;
            if !merged && !self.is_replaced(name) {
                tell(name, value);
            }
        }
        if let Some(cookies) = &cookies {
            tell(&header::COOKIE, cookies);
        }
        if let Some(edits) = self.edits {
            let added = edits.add.iter().filter(|(name, _)| cookies.is_none() || *name != header::COOKIE);
            added.for_each(|(name, value)| tell(name, value));
        }
        if self.is_translated() {
            tell(&header::SEC_WEBSOCKET_KEY, &websocket_key());
        }
        if let Some(signature) = &self.signature {
            tell(&seal::HEADER, signature);
        }
        tell(&X_CELLGATE_ATTEMPT, &if attempt == 1 { ONCE } else { u16::from(attempt).into() });
    }

    /// Whether the cell is sent another field of this name, or none, in place of the client's.
    fn is_replaced(&self, name: &HeaderName) -> bool {
        match *name {
            header::HOST | header::TRANSFER_ENCODING => return true,
            header::EXPECT if self.version == WireVersion::Http2 => return true,
            header::SEC_WEBSOCKET_KEY if self.is_translated() => return true,
            _ => {}
        }
        match self.edits {
            // Among them is each that is said anew, and all that only we may say.
            Some(edits) => edits.remove.contains(name),
            None => *name == X_CELLGATE_ATTEMPT || self.signature.is_some() && *name == seal::HEADER,
        }
    }

    /// A WebSocket over HTTP/2 (RFC 8441) towards HTTP/1.1.
    fn is_translated(&self) -> bool {
        self.version == WireVersion::Http2 && self.upgrade == Upgrade::WebSocket
    }

    /// HTTP/2 clients may send each cookie as a field of its own; HTTP/1.1 has one (RFC 9113 section 8.2.3). `None` where
    /// there is nothing to merge.
    fn merged_cookies(&self, client: &HeaderMap) -> Option<HeaderValue> {
        if self.version != WireVersion::Http2 {
            return None;
        }
        let theirs = client.get_all(header::COOKIE).iter().filter(|_| !self.is_replaced(&header::COOKIE));
        let edited = self.edits.into_iter().flat_map(|edits| &edits.add);
        let edited = edited.filter(|(name, _)| *name == header::COOKIE).map(|(_, value)| value);
        let cookies: Vec<&[u8]> = theirs.chain(edited).map(HeaderValue::as_bytes).collect();
        if cookies.len() < 2 {
            return None;
        }
        HeaderValue::from_bytes(&cookies.join(&b"; "[..])).ok()
    }
}

/// Most requests are sent once, and a number that is made a value is an allocation.
const ONCE: HeaderValue = HeaderValue::from_static("1");

/// What is another in each request: to remember it for the next (RFC 7541 section 2.3.2) drives out what comes again, and costs
/// us and the cell work. Its name is said each time instead, some ten bytes.
const NEW_EACH_TIME: [HeaderName; 3] = [X_REQUEST_ID, TRACEPARENT, seal::HEADER];

/// Fields that are added to the client's, at most: a map that grows is copied.
const OURS: usize = 16;

/// The signed verdict, for a cell that has a key.
fn signature(
    snapshot: &Snapshot,
    request: &Request,
    cell: &Cell,
    authority: &str,
    method: &Method,
) -> Option<HeaderValue> {
    let sealed = seal::Sealed {
        cell: cell.name.as_str(),
        account: request.decision.account,
        source: request.decision.source,
        generation: &snapshot.hash,
        epoch: request.decision.account.map_or(0, |account| u64::from(snapshot.moves.table.epoch(account))),
        method: method.as_str(),
        authority,
        target: &request.target,
        request_id: &request.request_id,
        time: unix_now(),
    };
    seal::sign(cell.seal.as_ref()?, &sealed)
}

/// A fresh key for the HTTP/1.1 handshake that an HTTP/2 client does not make (RFC 8441 section 5).
fn websocket_key() -> HeaderValue {
    let key = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, fastrand::u128(..).to_be_bytes());
    HeaderValue::from_str(&key).expect("base64 is visible ASCII")
}
