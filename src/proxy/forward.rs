//! One request to its cell: connection, request head, response head, with the few retries that are
//! safe. Never another cell, never a second time for a request that a cell may have acted on.

use std::time::Duration;

use http::{Method, StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use tokio::time::Instant;

use super::connect::{Connector, Need};
use super::downstream::Downstream;
use super::pump::{Broken, Limits, Progress, Pump};
use super::upstream::Upstream;
use crate::policy::facts::Upgrade;
use crate::policy::pick;
use crate::policy::refusal::{BadRequest, Outcome, Refusal};
use crate::policy::snapshot::{Cell, CellProtocol};
use crate::telemetry::labels::Connect;

/// Connections tried for one request: an endpoint that refuses is passed over, a pooled connection that
/// had gone stale is replaced. More would only hold the client on a dead cell.
const MAX_ATTEMPTS: u8 = 3;

/// A request that must not be sent twice takes a pooled connection only when it was used within this:
/// shorter than the shortest keep-alive of common servers (gunicorn's 2 s), so it rarely meets a close.
const FRESH: Duration = Duration::from_secs(1);

/// What is sent, independent of the connection.
pub struct Outgoing {
    /// Method, target and fields; framing for HTTP/1.1.
    pub head: RequestHeader,
    /// The authority for the cell, also in Host.
    pub authority: String,
    /// WebSocket or nothing.
    pub upgrade: Upgrade,
    /// gRPC needs HTTP/2 all the way.
    pub grpc: bool,
    /// Chooses the endpoint.
    pub ticket: u64,
    /// Silence of a client that owes body bytes.
    pub client_body: Duration,
}

/// How far an attempt came; for the log.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// How each attempt to make a new connection ended.
    pub connects: Vec<Connect>,
    /// Connections tried.
    pub attempts: u8,
    /// The last one came from the pool.
    pub reused: bool,
    /// Where the last one went.
    pub endpoint: Option<std::net::SocketAddr>,
    /// When it was there.
    pub connected: Option<Instant>,
    /// When the final response head was there.
    pub first_byte: Option<Instant>,
}

/// A response that has begun.
pub struct Answer {
    /// Final head, as the cell sent it.
    pub head: Box<ResponseHeader>,
    /// No body follows.
    pub end: bool,
    /// The connection it comes on.
    pub upstream: Upstream,
    /// For the connection pool.
    pub place: pick::Place,
    /// How far both directions are.
    pub progress: Progress,
}

/// Why there is no response.
#[derive(Debug)]
pub enum Failed {
    /// To be answered in the cell's place.
    Refused(Refusal, Outcome),
    /// Nobody is left to answer.
    ClientGone,
}

/// Sends a request and waits for the head of its response.
///
/// # Errors
/// [`Failed`]; the client has been sent no final head.
pub async fn forward(
    connector: &Connector,
    cell: &Cell,
    outgoing: &Outgoing,
    down: &mut Downstream,
    trace: &mut Trace,
) -> Result<Answer, Failed> {
    let mut passed_over = Vec::new();
    let mut new = false;
    loop {
        trace.attempts += 1;
        let last = trace.attempts >= MAX_ATTEMPTS;
        let Some(place) = pick::pick(cell, outgoing.ticket, &passed_over) else {
            return Err(Failed::Refused(Refusal::CellUnreachable, Outcome::NotForwarded));
        };
        let endpoint = pick::endpoint(cell, place);
        let need = Need { h2: needs_h2(cell, outgoing), fresher_than: freshness(&outgoing.head), new };
        let connected = match connector.connect(cell, endpoint, need).await {
            Ok(connected) => connected,
            Err(error) => {
                trace.connects.push(error.label());
                tracing::debug!(cell = %cell.name, %error, "no connection to an endpoint");
                passed_over.push(place);
                if last {
                    return Err(Failed::Refused(Refusal::CellUnreachable, Outcome::NotForwarded));
                }
                continue;
            }
        };
        if !connected.reused {
            trace.connects.push(Connect::Connected);
        }
        trace.reused = connected.reused;
        trace.endpoint = connected.address;
        trace.connected = Some(Instant::now());
        let mut upstream = connected.upstream;
        match exchange_heads(cell, outgoing, down, &mut upstream).await {
            Ok((head, end, progress)) => {
                trace.first_byte = Some(Instant::now());
                return Ok(Answer { head, end, upstream, place, progress });
            }
            Err(Attempt::NotSent(error)) if !last => {
                tracing::debug!(cell = %cell.name, %error, "a connection that takes no more requests");
                new = true;
            }
            Err(Attempt::Broken(Broken::Cell(error)))
                if !last
                    && down.kept.is_whole()
                    && (upstream.nothing_sent()
                        || was_not_processed(&error)
                        || connected.reused && may_repeat(outgoing)) =>
            {
                tracing::debug!(cell = %cell.name, %error, "a connection that had gone stale");
                new = true;
            }
            Err(Attempt::NotSent(error)) => return Err(blame(Broken::Cell(error), Outcome::NotForwarded)),
            Err(Attempt::Broken(broken)) => {
                let outcome = if upstream.nothing_sent() { Outcome::NotForwarded } else { Outcome::Unknown };
                return Err(blame(broken, outcome));
            }
        }
    }
}

/// The limits that a cell sets for one exchange.
pub fn limits(cell: &Cell, outgoing: &Outgoing) -> Limits {
    Limits {
        response_head: cell.timeouts.response_head,
        idle: cell.timeouts.idle,
        tunnel_idle: cell.timeouts.tunnel_idle,
        client_body: outgoing.client_body,
    }
}

/// Why an attempt has no answer.
enum Attempt {
    /// The connection had ended before it took any of the request; only HTTP/2 can tell.
    NotSent(pingora::BError),
    Broken(Broken),
}

impl From<Broken> for Attempt {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

async fn exchange_heads(
    cell: &Cell,
    outgoing: &Outgoing,
    down: &mut Downstream,
    upstream: &mut Upstream,
) -> Result<(Box<ResponseHeader>, bool, Progress), Attempt> {
    let tunnel = outgoing.upgrade == Upgrade::WebSocket;
    down.kept.begin(upstream.is_h2());
    let end = tunnel || down.nothing_to_send();
    let waits_for_100 = outgoing.head.headers.contains_key(header::EXPECT);
    let head = if upstream.is_h2() { for_h2(cell, outgoing) } else { Ok(for_h1(outgoing, end)) };
    let sent = upstream.request(Box::new(head.map_err(Broken::Cell)?), end).await;
    sent.map_err(
        |error| if upstream.is_h2() { Attempt::NotSent(error) } else { Broken::Cell(error).into() },
    )?;
    if waits_for_100 && upstream.is_h2() {
        // The engine shows no 1xx of HTTP/2, so the cell's consent cannot be passed on.
        let consent = ResponseHeader::build(StatusCode::CONTINUE, Some(0)).map_err(Broken::Cell)?;
        down.inform(Box::new(consent)).await.map_err(|_| Broken::ClientGone)?;
    }
    let mut pump = Pump::new(down, upstream, limits(cell, outgoing), Progress::start(end));
    let (head, end) = pump.head().await?;
    let progress = pump.progress();
    down.kept.forget();
    Ok((head, end, progress))
}

fn for_h1(outgoing: &Outgoing, end: bool) -> RequestHeader {
    let mut head = outgoing.head.clone();
    head.set_version(Version::HTTP_11);
    let chunked = head.headers.contains_key(header::TRANSFER_ENCODING);
    // An HTTP/2 client may leave the length open (RFC 9113 section 8.1.1). What the gate lets through is
    // `chunked` in any case of letters; a cell is sent one spelling.
    if chunked || !end && !head.headers.contains_key(header::CONTENT_LENGTH) {
        insert(&mut head, header::TRANSFER_ENCODING, "chunked");
    }
    head
}

fn for_h2(cell: &Cell, outgoing: &Outgoing) -> pingora::Result<RequestHeader> {
    let mut head = outgoing.head.clone();
    for name in [header::HOST, header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE, header::EXPECT]
    {
        head.remove_header(&name);
    }
    let scheme = if cell.tls.is_some() { "https" } else { "http" };
    let target = String::from_utf8_lossy(outgoing.head.raw_path()).into_owned();
    let uri = http::Uri::builder()
        .scheme(scheme)
        .authority(outgoing.authority.as_str())
        .path_and_query(target)
        .build();
    let uri = uri
        .map_err(|error| pingora::Error::explain(pingora::ErrorType::InvalidHTTPHeader, error.to_string()))?;
    head.set_uri(uri);
    head.set_version(Version::HTTP_2);
    Ok(head)
}

fn insert(head: &mut RequestHeader, name: header::HeaderName, value: &'static str) {
    head.insert_header(name, value).expect("a static value is a valid field");
}

fn needs_h2(cell: &Cell, outgoing: &Outgoing) -> bool {
    match cell.protocol {
        _ if outgoing.upgrade == Upgrade::WebSocket => false,
        CellProtocol::Http1 => false,
        CellProtocol::Http2 => true,
        CellProtocol::Auto => outgoing.grpc,
    }
}

fn freshness(head: &RequestHeader) -> Duration {
    if is_idempotent(&head.method) { Duration::MAX } else { FRESH }
}

/// Whether sending again does no harm: idempotent (RFC 9110 section 9.2.2).
fn may_repeat(outgoing: &Outgoing) -> bool {
    is_idempotent(&outgoing.head.method) && outgoing.upgrade == Upgrade::None
}

/// Whether the cell itself says that it has not looked at the request: REFUSED_STREAM, or GOAWAY with a
/// last stream below this one (RFC 9113 section 8.7), whatever its reason: streams up to the last one are
/// not told of a GOAWAY. Then any method may go again.
fn was_not_processed(error: &pingora::Error) -> bool {
    let said = |error: &h2::Error| {
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (refused || error.is_go_away())
    };
    error.root_cause().downcast_ref::<h2::Error>().is_some_and(said)
}

fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

fn blame(broken: Broken, outcome: Outcome) -> Failed {
    let refusal = match broken {
        Broken::ClientGone | Broken::ClientStalled => return Failed::ClientGone,
        Broken::ClientBody(_) => Refusal::BadRequest(BadRequest::Body),
        Broken::ClientSlow => Refusal::ClientTimeout,
        Broken::Cell(_) => Refusal::CellBroken,
        Broken::CellSlow => Refusal::CellTimeout,
    };
    Failed::Refused(refusal, outcome)
}
