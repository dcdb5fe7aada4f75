//! What a cell is sent: the client's head with the edits that `policy` decided, and the signed verdict.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType};
use tokio::time::Instant;

use super::pump::Limits;
use super::request::Request;
use super::service::{Service, unix_now};
use crate::policy::endpoint_class::{ClassOf, ClientTimes};
use crate::policy::facts::{Upgrade, WireVersion};
use crate::policy::forwarding::Edits;
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
        head: &RequestHeader,
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
            target: head.uri.path_and_query().cloned().expect("the gate has read a path or *"),
            version: request.version,
            edits: request.edits.as_ref(),
            signature: signature(snapshot, request, cell, &authority, &method),
            method,
            authority,
        }
    }
}

impl Outgoing<'_> {
    /// The fields for the cell, out of those of the client. Made anew for each attempt: few requests need two.
    pub fn fields(&self, client: &HeaderMap) -> HeaderMap {
        let mut fields = self.edits.map_or_else(|| client.clone(), |edits| edits.apply(client));
        let host = HeaderValue::from_str(&self.authority);
        fields.insert(header::HOST, host.expect("an authority that the gate has read is a valid field"));
        if self.version == WireVersion::Http2 {
            merge_cookies(&mut fields);
            // The engine cannot pass a 100 on to an HTTP/2 client, so the cell must not wait to give one.
            fields.remove(header::EXPECT);
            if self.upgrade == Upgrade::WebSocket {
                fields.insert(header::SEC_WEBSOCKET_KEY, websocket_key());
            }
        }
        if let Some(signature) = &self.signature {
            fields.insert(seal::HEADER, signature.clone());
        }
        fields
    }

    /// The head for HTTP/1.1; `end` when no body follows.
    pub fn h1(&self, mut fields: HeaderMap, end: bool) -> Box<RequestHeader> {
        let chunked = fields.contains_key(header::TRANSFER_ENCODING);
        // An HTTP/2 client may leave the length open (RFC 9113 section 8.1.1). What the gate lets through is
        // `chunked` in any case of letters; a cell is sent one spelling.
        if chunked || !end && !fields.contains_key(header::CONTENT_LENGTH) {
            fields.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        self.head(Version::HTTP_11, self.target.clone().into(), fields)
    }

    /// The head for HTTP/2.
    ///
    /// # Errors
    /// The authority is none to the engine.
    pub fn h2(&self, cell: &Cell, mut fields: HeaderMap) -> pingora::Result<Box<RequestHeader>> {
        for name in
            [header::HOST, header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE, header::EXPECT]
        {
            fields.remove(name);
        }
        let scheme = if cell.tls.is_some() { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).authority(&*self.authority);
        let uri = uri.path_and_query(self.target.clone()).build();
        let uri = uri.map_err(|error| Error::explain(ErrorType::InvalidHTTPHeader, error.to_string()))?;
        Ok(self.head(Version::HTTP_2, uri, fields))
    }

    fn head(&self, version: Version, uri: Uri, fields: HeaderMap) -> Box<RequestHeader> {
        let mut parts = http::Request::new(()).into_parts().0;
        parts.method = self.method.clone();
        parts.uri = uri;
        parts.version = version;
        parts.headers = fields;
        Box::new(RequestHeader::from(parts))
    }
}

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

/// HTTP/2 clients may send each cookie as a field of its own; HTTP/1.1 has one (RFC 9113 section 8.2.3).
fn merge_cookies(fields: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = fields.get_all(header::COOKIE).iter().map(|value| value.as_bytes()).collect();
    if cookies.len() < 2 {
        return;
    }
    if let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
        fields.insert(header::COOKIE, joined);
    }
}

/// A fresh key for the HTTP/1.1 handshake that an HTTP/2 client does not make (RFC 8441 section 5).
fn websocket_key() -> HeaderValue {
    let key = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, fastrand::u128(..).to_be_bytes());
    HeaderValue::from_str(&key).expect("base64 is visible ASCII")
}
