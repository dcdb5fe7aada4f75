//! One active check of an endpoint, on a connection of its own: a pool that is full, or a group that has as many
//! connections as it may have, is no sign of health. What the answer means is `policy::protection::health`'s to say.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connect::{Alpn, ConnectError, Connector, Opened, late, secure};
use super::wire::ByteStream;
use crate::policy::protection::health::checks::{CheckAnswer, CheckKind, CheckRules, MOST_SERVICE};
use crate::policy::snapshot::{Cell, CellProtocol, Endpoint};

/// What is read of an answer: a page that says "ok" is short, and of a longer one nobody wants the rest.
const MOST_ANSWER: usize = 64 * 1024;

/// `User-Agent` of checks: whoever reads the cell's log sees where they come from.
const USER_AGENT: &str = concat!("cellgate-check/", env!("CARGO_PKG_VERSION"));

impl Connector {
    /// Checks an endpoint. Always ends, within `rules.timeout`. `None` where what came of it is ours and says nothing of the
    /// endpoint: no port left, or a name that nobody resolves.
    pub async fn check(&self, cell: &Cell, endpoint: &Endpoint, rules: &CheckRules) -> Option<CheckAnswer> {
        let place = Place::default();
        let checking = self.ask(cell, endpoint, &rules.kind, &place);
        if let Ok(answer) = tokio::time::timeout(rules.timeout, checking).await {
            return answer;
        }
        if !place.connected.load(Ordering::Relaxed) {
            let failure = late(endpoint, &place.resolving, rules.timeout).failure()?;
            endpoint.load.counters.not_connected(failure);
        }
        Some(CheckAnswer::TimedOut)
    }

    async fn ask(
        &self,
        cell: &Cell,
        endpoint: &Endpoint,
        kind: &CheckKind,
        place: &Place,
    ) -> Option<CheckAnswer> {
        let h2 = matches!(kind, CheckKind::Grpc { .. }) || cell.protocol == CellProtocol::Http2;
        let alpn = if h2 { Alpn::Http2 } else { Alpn::Http1 };
        let io = match self.own_connection(cell, endpoint, alpn, &place.resolving).await {
            Ok(io) => io,
            Err(error) => {
                endpoint.load.counters.not_connected(error.failure()?);
                return Some(CheckAnswer::Unconnected);
            }
        };
        place.connected.store(true, Ordering::Relaxed);
        let answered = match kind {
            CheckKind::Tcp => return Some(CheckAnswer::Connected),
            CheckKind::Http { path, .. } if h2 => http2(io, cell, path).await,
            CheckKind::Http { path, .. } => http1(io, cell, path).await,
            CheckKind::Grpc { service } => grpc(io, cell, service).await,
        };
        Some(answered.unwrap_or(CheckAnswer::Broken))
    }

    /// A connection that no pool keeps and no bound counts.
    async fn own_connection(
        &self,
        cell: &Cell,
        endpoint: &Endpoint,
        alpn: Alpn,
        resolving: &AtomicBool,
    ) -> Result<Box<dyn ByteStream>, ConnectError> {
        let Opened { tcp, address, took } = self.tcp(&endpoint.address, resolving).await?;
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

/// How far a check is, for the time when it is late.
#[derive(Default)]
struct Place {
    resolving: AtomicBool,
    connected: AtomicBool,
}

/// An answer with the body that was read.
#[derive(Default)]
struct Whole {
    status: u16,
    headers: HeaderMap,
    trailers: Option<HeaderMap>,
    body: Vec<u8>,
}

/// There is no answer, or half of one: nobody asks why.
struct Broke;

impl From<hyper::Error> for Broke {
    fn from(_: hyper::Error) -> Self {
        Self
    }
}

impl From<h2::Error> for Broke {
    fn from(_: h2::Error) -> Self {
        Self
    }
}

/// `GET path` over HTTP/1.1.
async fn http1(io: Box<dyn ByteStream>, cell: &Cell, path: &str) -> Result<CheckAnswer, Broke> {
    let request = Request::get(path)
        .header(header::HOST, authority(cell))
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| Broke)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    // Ends with this check, however that ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let mut answer = sender.send_request(request).await?;
    let mut length = 0;
    while let Some(frame) = answer.frame().await {
        // Half an answer is none.
        length += frame?.data_ref().map_or(0, Bytes::len);
        if length > MOST_ANSWER {
            break;
        }
    }
    Ok(CheckAnswer::Status(answer.status().as_u16()))
}

/// `GET path` over HTTP/2.
async fn http2(io: Box<dyn ByteStream>, cell: &Cell, path: &str) -> Result<CheckAnswer, Broke> {
    let request = Request::get(uri(cell, path)).header(header::USER_AGENT, USER_AGENT).body(());
    let answer = over_http2(io, request.map_err(|_| Broke)?, None).await?;
    Ok(CheckAnswer::Status(answer.status))
}

/// `grpc.health.v1.Health/Check`.
async fn grpc(io: Box<dyn ByteStream>, cell: &Cell, service: &str) -> Result<CheckAnswer, Broke> {
    let request = Request::post(uri(cell, "/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, USER_AGENT)
        .body(());
    let message = Some(health_check_request(service));
    let answer = over_http2(io, request.map_err(|_| Broke)?, message).await?;
    // An answer without a message has its status in the only head that there is.
    let said = answer.trailers.as_ref().and_then(grpc_status).or_else(|| grpc_status(&answer.headers));
    Ok(match said {
        None => CheckAnswer::Status(answer.status),
        Some(0) => serving(&answer.body).map_or(CheckAnswer::Broken, CheckAnswer::Serving),
        Some(other) => CheckAnswer::GrpcStatus(other),
    })
}

/// With h2 itself: hyper gives each connection a task that outlives whoever asked.
async fn over_http2(
    io: Box<dyn ByteStream>,
    request: Request<()>,
    message: Option<Bytes>,
) -> Result<Whole, Broke> {
    let (sender, connection) = h2::client::handshake(io).await?;
    // Ends with this check, however that ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let (answer, mut sending) = sender.ready().await?.send_request(request, message.is_none())?;
    if let Some(message) = message {
        sending.send_data(message, true)?;
    }
    let (head, mut receiving) = answer.await?.into_parts();
    let mut whole = Whole { status: head.status.as_u16(), ..Whole::default() };
    whole.headers = head.headers;
    while let Some(piece) = receiving.data().await {
        // Half an answer is none.
        let piece = piece?;
        if whole.body.len() + piece.len() > MOST_ANSWER {
            return Ok(whole);
        }
        // Never refused: it gives back what was given.
        let _ = receiving.flow_control().release_capacity(piece.len());
        whole.body.extend_from_slice(&piece);
    }
    whole.trailers = receiving.trailers().await?;
    Ok(whole)
}

/// What a cell is called by a check: no account's own address, and nobody's prefix.
fn authority(cell: &Cell) -> &str {
    &cell.domain
}

fn uri(cell: &Cell, path: &str) -> String {
    let scheme = if cell.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{}{path}", authority(cell))
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
