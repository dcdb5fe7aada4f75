//! One active check of an endpoint, on a connection of its own: a pool that is full, or a group that has as many
//! connections as it may have, is no sign of health. What the answer means is `policy::protection::health`'s to say.

use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connect::{Alpn, ConnectError, Connector, Opened, secure};
use super::wire::ByteStream;
use crate::policy::protection::health::checks::{CheckAnswer, CheckKind, CheckRules};
use crate::policy::snapshot::{Cell, CellProtocol, Endpoint};

/// Of an answer: a page that says "ok" is short, and nobody reads it.
const MOST_ANSWER: usize = 64 * 1024;

/// Most bytes of a service's name in a gRPC check, so that its length is one byte of protobuf.
pub const MOST_SERVICE: usize = 127;

/// `User-Agent` of checks: whoever reads the cell's log sees where they come from.
const USER_AGENT: &str = concat!("cellgate-check/", env!("CARGO_PKG_VERSION"));

impl Connector {
    /// Checks an endpoint. Always ends, within `rules.timeout`.
    pub async fn check(&self, cell: &Cell, endpoint: &Endpoint, rules: &CheckRules) -> CheckAnswer {
        let checking = self.ask(cell, endpoint, &rules.kind);
        tokio::time::timeout(rules.timeout, checking).await.unwrap_or(CheckAnswer::TimedOut)
    }

    async fn ask(&self, cell: &Cell, endpoint: &Endpoint, kind: &CheckKind) -> CheckAnswer {
        let h2 = matches!(kind, CheckKind::Grpc { .. }) || cell.protocol == CellProtocol::Http2;
        let alpn = if h2 { Alpn::Http2 } else { Alpn::Http1 };
        let io = match self.own_connection(cell, endpoint, alpn).await {
            Ok(io) => io,
            Err(error) => {
                if let Some(failure) = error.failure() {
                    endpoint.load.counters.not_connected(failure);
                }
                return CheckAnswer::Unconnected;
            }
        };
        let answered = match kind {
            CheckKind::Tcp => return CheckAnswer::Connected,
            CheckKind::Http { path, .. } => http(io, h2, cell, path).await,
            CheckKind::Grpc { service } => grpc(io, cell, service).await,
        };
        answered.unwrap_or(CheckAnswer::Broken)
    }

    /// A connection that no pool keeps and no bound counts.
    async fn own_connection(
        &self,
        cell: &Cell,
        endpoint: &Endpoint,
        alpn: Alpn,
    ) -> Result<Box<dyn ByteStream>, ConnectError> {
        let Opened { tcp, address, took } = self.tcp(&endpoint.address, &AtomicBool::new(false)).await?;
        let Some(tls) = &cell.tls else {
            endpoint.load.counters.connected(took, None);
            return Ok(Box::new(tcp));
        };
        let begun = Instant::now();
        let secured = secure(tls, tcp, address, alpn).await?;
        endpoint.load.counters.connected(took, Some(begun.elapsed()));
        Ok(Box::new(secured))
    }
}

/// An answer with its body.
struct Whole {
    status: u16,
    headers: HeaderMap,
    trailers: Option<HeaderMap>,
    body: Bytes,
}

/// `GET path`.
async fn http(io: Box<dyn ByteStream>, h2: bool, cell: &Cell, path: &str) -> hyper::Result<CheckAnswer> {
    let authority = authority(cell);
    let request = Request::get(if h2 { format!("http://{authority}{path}") } else { path.to_owned() });
    let request = if h2 { request } else { request.header(header::HOST, authority) };
    let request = request.header(header::USER_AGENT, USER_AGENT).body(Full::new(Bytes::new()));
    // The configuration has read the path, and a domain is an authority.
    let Ok(request) = request else { return Ok(CheckAnswer::Broken) };
    let answer = if h2 { over_http2(io, request).await? } else { over_http1(io, request).await? };
    // Half an answer is none.
    Ok(answer.map_or(CheckAnswer::Broken, |answer| CheckAnswer::Status(answer.status)))
}

/// `grpc.health.v1.Health/Check`.
async fn grpc(io: Box<dyn ByteStream>, cell: &Cell, service: &str) -> hyper::Result<CheckAnswer> {
    let request = Request::post(format!("http://{}/grpc.health.v1.Health/Check", authority(cell)))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, USER_AGENT)
        .body(Full::new(health_check_request(service)));
    let Ok(request) = request else { return Ok(CheckAnswer::Broken) };
    let Some(answer) = over_http2(io, request).await? else { return Ok(CheckAnswer::Broken) };
    // An answer without a message has its status in the only head that there is.
    let said = answer.trailers.as_ref().and_then(grpc_status).or_else(|| grpc_status(&answer.headers));
    Ok(match said {
        None => CheckAnswer::Status(answer.status),
        Some(0) => serving(&answer.body).map_or(CheckAnswer::Broken, CheckAnswer::Serving),
        Some(other) => CheckAnswer::GrpcStatus(other),
    })
}

async fn over_http1(io: Box<dyn ByteStream>, request: Request<Full<Bytes>>) -> hyper::Result<Option<Whole>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    // Ends with this check, however that ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    whole(sender.send_request(request).await?).await
}

async fn over_http2(io: Box<dyn ByteStream>, request: Request<Full<Bytes>>) -> hyper::Result<Option<Whole>> {
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    whole(sender.send_request(request).await?).await
}

/// A whole answer; `None` where it broke off or is longer than any of a check.
async fn whole(answer: http::Response<Incoming>) -> hyper::Result<Option<Whole>> {
    let (head, body) = answer.into_parts();
    let Ok(body) = Limited::new(body, MOST_ANSWER).collect().await else { return Ok(None) };
    let trailers = body.trailers().cloned();
    Ok(Some(Whole { status: head.status.as_u16(), headers: head.headers, trailers, body: body.to_bytes() }))
}

/// What a cell is called by a check: no account's own address, and nobody's prefix.
fn authority(cell: &Cell) -> &str {
    &cell.domain
}

/// `HealthCheckRequest { service }` in the frame of gRPC: no compression, a length, and one field of protobuf.
fn health_check_request(service: &str) -> Bytes {
    let name = &service.as_bytes()[..service.len().min(MOST_SERVICE)];
    let length = u8::try_from(name.len()).expect("cut to 127 bytes above");
    let message = if length == 0 { Vec::new() } else { [&[0x0a, length], name].concat() };
    let framed = u8::try_from(message.len()).expect("two bytes more than 127 at most");
    [&[0, 0, 0, 0, framed], message.as_slice()].concat().into()
}

/// The number in `HealthCheckResponse.status`; an empty message is 0, which is UNKNOWN.
fn serving(framed: &[u8]) -> Option<u8> {
    match framed {
        [0, 0, 0, 0, 0] => Some(0),
        [0, 0, 0, 0, 2, 0x08, status] => Some(*status),
        _ => None,
    }
}

fn grpc_status(fields: &HeaderMap) -> Option<u32> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_check_is_framed_as_grpc_has_it() {
        assert_eq!(&health_check_request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&health_check_request("a.B")[..], [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        assert_eq!(health_check_request(&"x".repeat(500)).len(), 5 + 2 + MOST_SERVICE);
        for (framed, expect) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Some(1)),
            (&[0, 0, 0, 0, 2, 8, 2], Some(2)),
            (&[0, 0, 0, 0, 0], Some(0)),
            (&[1, 0, 0, 0, 2, 8, 1], None),
            (&[], None),
            (&[0, 0, 0, 0, 2, 8], None),
        ] {
            assert_eq!(serving(framed), expect, "{framed:?}");
        }
    }
}
