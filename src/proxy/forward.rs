//! One request to its cell: connection, request head, response head, with the few retries that are
//! safe. Never another cell, never a second time for a request that a cell may have acted on.

use std::time::Duration;

use http::{StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use tokio::time::Instant;

use super::connect::{Connector, Need};
use super::downstream::Downstream;
use super::pump::{Broken, Limits, Progress, Pump};
use super::service::unix_now;
use super::upstream::Upstream;
use crate::policy::facts::Upgrade;
use crate::policy::forwarding::X_CELLGATE_ATTEMPT;
use crate::policy::pick;
use crate::policy::refusal::{BadRequest, Outcome, Refusal};
use crate::policy::retry::{self, Again, RetryBudget, Tried, Unanswered};
use crate::policy::snapshot::{Cell, CellProtocol};
use crate::telemetry::labels::Connect;

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
    /// How long it may take.
    pub limits: Limits,
}

/// How far an attempt came; for the log.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// How each attempt to make a new connection ended.
    pub connects: Vec<Connect>,
    /// Connections tried, and how often a byte of the request has left.
    pub tried: Tried,
    /// It might have gone again, but the budget of the cell or of the process was used up.
    pub budget_empty: bool,
    /// The last connection came from the pool.
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

/// Sends a request and waits for the head of its response. `process` is the budget for sending again that all
/// cells share.
///
/// # Errors
/// [`Failed`]; the client has been sent no final head.
pub async fn forward(
    connector: &Connector,
    cell: &Cell,
    process: &RetryBudget,
    outgoing: &Outgoing,
    down: &mut Downstream,
    trace: &mut Trace,
) -> Result<Answer, Failed> {
    let mut route = Route { connector, cell, outgoing, passed_over: Vec::new(), new: false };
    // Of the attempts before the present one.
    let mut outcome = Outcome::NotForwarded;
    loop {
        let failed = match route.attempt(down, trace).await {
            Ok(answer) => {
                cell.load.retries.answered();
                process.answered();
                return Ok(answer);
            }
            Err(failed) => failed,
        };
        let again = failed.unanswered().map_or(Again::No, |unanswered| {
            let repeatable = retry::is_idempotent(&outgoing.head.method) && outgoing.upgrade == Upgrade::None;
            retry::again(unanswered, trace.tried, repeatable, down.kept.is_whole())
        });
        if failed.may_have_been_seen() {
            outcome = Outcome::Unknown;
        }
        trace.budget_empty = again == Again::Charged && !retry::take(&cell.load.retries, process, unix_now());
        if again == Again::No || trace.budget_empty {
            return Err(failed.blame(outcome));
        }
        tracing::debug!(cell = %cell.name, ?failed, "once more");
    }
}

/// The way of one request to an endpoint.
struct Route<'a> {
    connector: &'a Connector,
    cell: &'a Cell,
    outgoing: &'a Outgoing,
    /// They took no connection.
    passed_over: Vec<pick::Place>,
    /// A pooled connection has disappointed already.
    new: bool,
}

impl Route<'_> {
    async fn attempt(&mut self, down: &mut Downstream, trace: &mut Trace) -> Result<Answer, Attempt> {
        let Self { cell, outgoing, .. } = *self;
        let place = pick::pick(cell, outgoing.ticket, &self.passed_over).ok_or(Attempt::NoEndpoint)?;
        trace.tried.connections += 1;
        let need =
            Need { h2: needs_h2(cell, outgoing), fresher_than: freshness(&outgoing.head), new: self.new };
        let endpoint = pick::endpoint(cell, place);
        let connected = self.connector.connect(cell, endpoint, need).await.map_err(|error| {
            tracing::debug!(cell = %cell.name, %error, "no connection to an endpoint");
            trace.connects.push(error.label());
            self.passed_over.push(place);
            Attempt::NotConnected
        })?;
        if !connected.reused {
            trace.connects.push(Connect::Connected);
        }
        trace.reused = connected.reused;
        trace.endpoint = connected.address;
        trace.connected = Some(Instant::now());
        self.new = true;
        let mut upstream = connected.upstream;
        let number = trace.tried.sends + 1;
        let heads = exchange_heads(cell, outgoing, number, down, &mut upstream).await;
        let sent = !matches!(&heads, Err(Attempt::Broken { sent: false, .. })) && !upstream.nothing_sent();
        trace.tried.sends += u8::from(sent);
        match heads {
            Ok((head, end, progress)) => {
                trace.first_byte = Some(Instant::now());
                Ok(Answer { head, end, upstream, place, progress })
            }
            Err(Attempt::Broken { broken, .. }) => Err(Attempt::Broken { broken, sent }),
            Err(other) => Err(other),
        }
    }
}

/// Why an attempt has no answer.
#[derive(Debug)]
enum Attempt {
    /// All endpoints have been tried.
    NoEndpoint,
    NotConnected,
    Broken {
        broken: Broken,
        /// A byte of the request has left.
        sent: bool,
    },
}

impl Attempt {
    /// What it means for sending again; `None` where that is out of the question.
    fn unanswered(&self) -> Option<Unanswered> {
        match self {
            Self::NotConnected => Some(Unanswered::NoConnection),
            Self::Broken { broken: Broken::Cell(_), sent: false } => Some(Unanswered::Unsent),
            Self::Broken { broken: Broken::Cell(error), sent: true } => Some(lost(error)),
            Self::NoEndpoint | Self::Broken { .. } => None,
        }
    }

    fn may_have_been_seen(&self) -> bool {
        let looked_at = !matches!(self.unanswered(), Some(Unanswered::Excluded | Unanswered::Refused));
        matches!(self, Self::Broken { sent: true, .. }) && looked_at
    }

    /// What the client is told, of this attempt and those before it.
    fn blame(self, outcome: Outcome) -> Failed {
        let refusal = match self {
            Self::NoEndpoint | Self::NotConnected => Refusal::CellUnreachable,
            Self::Broken { broken, .. } => match broken {
                Broken::ClientGone | Broken::ClientStalled => return Failed::ClientGone,
                Broken::ClientBody(_) => Refusal::BadRequest(BadRequest::Body),
                Broken::ClientSlow => Refusal::ClientTimeout,
                Broken::Cell(_) => Refusal::CellBroken,
                Broken::CellSlow => Refusal::CellTimeout,
            },
        };
        Failed::Refused(refusal, outcome)
    }
}

impl From<Broken> for Attempt {
    fn from(broken: Broken) -> Self {
        Self::Broken { broken, sent: true }
    }
}

async fn exchange_heads(
    cell: &Cell,
    outgoing: &Outgoing,
    number: u8,
    down: &mut Downstream,
    upstream: &mut Upstream,
) -> Result<(Box<ResponseHeader>, bool, Progress), Attempt> {
    let tunnel = outgoing.upgrade == Upgrade::WebSocket;
    down.kept.begin(upstream.is_h2());
    let end = tunnel || down.nothing_to_send();
    let waits_for_100 = outgoing.head.headers.contains_key(header::EXPECT);
    let head = if upstream.is_h2() { for_h2(cell, outgoing) } else { Ok(for_h1(outgoing, end)) };
    let mut head = head.map_err(Broken::Cell)?;
    head.insert_header(X_CELLGATE_ATTEMPT, u16::from(number)).expect("a number is a valid field");
    let sent = upstream.request(Box::new(head), end).await;
    // An HTTP/2 connection that takes no more requests has sent nothing of this one, whatever of others.
    sent.map_err(|error| Attempt::Broken { broken: Broken::Cell(error), sent: !upstream.is_h2() })?;
    if waits_for_100 && upstream.is_h2() {
        // The engine shows no 1xx of HTTP/2, so the cell's consent cannot be passed on.
        let consent = ResponseHeader::build(StatusCode::CONTINUE, Some(0)).map_err(Broken::Cell)?;
        down.inform(Box::new(consent)).await.map_err(|_| Broken::ClientGone)?;
    }
    let mut pump = Pump::new(down, upstream, outgoing.limits, Progress::start(end));
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
    if retry::is_idempotent(&head.method) { Duration::MAX } else { FRESH }
}

/// What the cell itself says of a request whose bytes have left. A GOAWAY counts whatever its reason: streams
/// up to its last one are not told of it.
fn lost(error: &pingora::Error) -> Unanswered {
    match error.root_cause().downcast_ref::<h2::Error>().filter(|said| said.is_remote()) {
        Some(said) if said.is_go_away() => Unanswered::Excluded,
        Some(said) if said.is_reset() && said.reason() == Some(h2::Reason::REFUSED_STREAM) => {
            Unanswered::Refused
        }
        _ => Unanswered::Lost,
    }
}
