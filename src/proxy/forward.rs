//! One request to its cell: connection, request head, response head, with the few retries that are
//! safe. Never another cell, never a second time for a request that a cell may have acted on.

mod enter;

use std::time::Duration;

use http::response::Parts;
use http::{Method, StatusCode, header};
use tokio::time::Instant;

use super::admission::{Admitted, InGroup};
use super::broken::Broken;
use super::cause;
use super::connect::{Connector, Need};
use super::downstream::Downstream;
use super::outgoing::Outgoing;
use super::pump::{Progress, Pump};
use super::service::unix_now;
use super::upstream::Upstream;
use crate::policy::cell_failure::Unreachable;
use crate::policy::facts::Upgrade;
use crate::policy::pick;
use crate::policy::protection::endpoint_load as health;
use crate::policy::protection::health::AttemptEnd;
use crate::policy::protection::shed::Shed;
use crate::policy::protection::standing as protection;
use crate::policy::protection::verdict::counters::Failure;
use crate::policy::refusal::{BadRequest, Outcome, Refusal};
use crate::policy::retry::{self, Again, RetryBudget, Tried, Unanswered};
use crate::policy::snapshot::{Cell, CellProtocol};
use crate::telemetry::labels::Connect;

/// A request that must not be sent twice takes a pooled connection only when it was used within this:
/// shorter than the shortest keep-alive of common servers (gunicorn's 2 s), so it rarely meets a close.
pub(super) const FRESH: Duration = Duration::from_secs(1);

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
    /// When a connection was wanted for the first time.
    pub asked: Option<Instant>,
    /// When it was there.
    pub connected: Option<Instant>,
    /// When the final response head was there.
    pub first_byte: Option<Instant>,
}

/// A response that has begun.
pub struct Answer<'a> {
    /// Final head, as the cell sent it.
    pub head: Box<Parts>,
    /// No body follows.
    pub end: bool,
    /// The connection it comes on.
    pub upstream: Upstream,
    /// For the connection pool.
    pub place: pick::Place,
    /// Of the group that answers; held until the answer has ended.
    pub permit: InGroup<'a>,
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
pub(super) async fn forward<'a>(
    connector: &'a Connector,
    admitted: &'a Admitted<'a>,
    cell: &'a Cell,
    process: &RetryBudget,
    outgoing: &'a Outgoing<'a>,
    down: &mut Downstream,
    trace: &mut Trace,
) -> Result<Answer<'a>, Failed> {
    let unreachable = Unreachable::NoEndpoint;
    let (group, passed_over) = (admitted.group(), Vec::new());
    let mut route =
        Route { connector, admitted, cell, outgoing, group, passed_over, unreachable, new: false };
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
        if failed.is_of_the_cell() {
            admitted.tell(Instant::now(), protection::Outcome::Failed, None);
        }
        let again = failed.unanswered().map_or(Again::No, |unanswered| {
            let repeatable = retry::is_idempotent(&outgoing.method) && outgoing.upgrade == Upgrade::None;
            retry::again(unanswered, trace.tried, repeatable, down.kept.is_whole())
        });
        if failed.may_have_been_seen() {
            outcome = Outcome::Unknown;
        }
        let again = if admitted.may_retry() || failed.is_stale() { again } else { Again::No };
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
    admitted: &'a Admitted<'a>,
    cell: &'a Cell,
    outgoing: &'a Outgoing<'a>,
    /// Where it goes; anywhere where it is `None`.
    group: Option<usize>,
    /// They took no connection.
    passed_over: Vec<pick::Place>,
    /// Why the last of them did not.
    unreachable: Unreachable,
    /// A pooled connection has disappointed already.
    new: bool,
}

impl<'a> Route<'a> {
    async fn attempt(&mut self, down: &mut Downstream, trace: &mut Trace) -> Result<Answer<'a>, Attempt> {
        let Self { cell, outgoing, .. } = *self;
        let (place, attempt, permit) = self.enter()?;
        trace.tried.connections += 1;
        trace.asked.get_or_insert_with(Instant::now);
        let need = Need {
            h2: needs_h2(cell, outgoing),
            fresher_than: freshness(&outgoing.method),
            new: self.new,
            reserved: self.admitted.is_reserved(),
        };
        if !need.h2 {
            // Whoever is woken by a write goes to sleep again when nothing more comes, and to wake it costs more than to write. So
            // all connections of this thread that are ready are read first, and what they have to say to cells is said together.
            tokio::task::yield_now().await;
        }
        let connected = match self.connector.connect(cell, pick::endpoint(cell, place), need).await {
            Ok(connected) => connected,
            Err(error) => {
                tracing::debug!(cell = %cell.name, %error, "no connection to an endpoint");
                if let Some(failure) = error.failure() {
                    attempt.unconnected(failure);
                }
                trace.connects.push(error.label());
                self.passed_over.push(place);
                self.unreachable = error.cause();
                return Err(Attempt::NotConnected(self.unreachable));
            }
        };
        if !connected.reused {
            trace.connects.push(Connect::Connected);
        }
        trace.reused = connected.reused;
        trace.endpoint = connected.address;
        let begun = Instant::now();
        trace.connected = Some(begun);
        self.new = true;
        let mut upstream = connected.upstream;
        match self.ask(begun, attempt.asked(), &mut upstream, down, trace).await {
            Ok((head, end, progress)) => Ok(Answer { head, end, upstream, place, permit, progress }),
            Err(Attempt::Broken { broken, sent, .. }) => {
                Err(Attempt::Broken { broken, sent, heard: upstream.has_begun() })
            }
            Err(other) => Err(other),
        }
    }

    /// Sends the request and waits for the head of its answer, and tells of the endpoint how that went.
    async fn ask(
        &self,
        begun: Instant,
        asked: health::Asked<'_>,
        upstream: &mut Upstream,
        down: &mut Downstream,
        trace: &mut Trace,
    ) -> Result<(Box<Parts>, bool, Progress), Attempt> {
        let before = asked.counters().wants_sample().then(|| upstream.socket()).flatten();
        let number = trace.tried.sends + 1;
        let heads = exchange_heads(self.cell, self.outgoing, number, down, upstream).await;
        // Each question is two system calls: the second is only for where there was a first.
        if let Some(before) = before
            && let Some(after) = upstream.socket()
        {
            asked.counters().sample(before, after);
        }
        let sent = !matches!(&heads, Err(Attempt::Broken { sent: false, .. })) && !upstream.nothing_sent();
        trace.tried.sends += u8::from(sent);
        match &heads {
            Ok((head, ..)) => {
                let now = Instant::now();
                trace.first_byte = Some(now);
                let usual = !self.outgoing.waits_on_purpose;
                let retry_after = head.headers.contains_key(header::RETRY_AFTER);
                let first_byte = usual.then_some(now - begun);
                let end = AttemptEnd::of_status(head.status.as_u16(), retry_after);
                self.admitted.tell(now, protection::Outcome::of(end), first_byte);
                asked.answered(end, first_byte);
            }
            Err(Attempt::Broken { broken: Broken::CellSlow(_), .. }) => {
                upstream.distrust();
                asked.broken(Failure::Timeout);
            }
            // A pooled connection that had gone stale says nothing of who is there now.
            Err(Attempt::Broken { broken: Broken::Cell(_), .. }) if !trace.reused || upstream.has_begun() => {
                asked.broken(Failure::Reset);
            }
            Err(_) => {}
        }
        heads
    }
}

/// Why an attempt has no answer.
#[derive(Debug)]
enum Attempt {
    /// All endpoints have been tried; why not the last of them.
    NoEndpoint(Unreachable),
    /// The group has as many requests as it may have, and no other has declared room for it.
    GroupFull,
    /// No endpoint is well enough to be asked.
    Closed,
    /// Operators have taken all of them away.
    Drained,
    NotConnected(Unreachable),
    Broken {
        broken: Broken,
        /// A byte of the request has left.
        sent: bool,
        /// A byte of an answer has come.
        heard: bool,
    },
}

impl Attempt {
    /// What it means for sending again; `None` where that is out of the question.
    fn unanswered(&self) -> Option<Unanswered> {
        match self {
            Self::NotConnected(_) => Some(Unanswered::NoConnection),
            Self::Broken { broken: Broken::Cell(_), sent: false, .. } => Some(Unanswered::Unsent),
            Self::Broken { broken: Broken::Cell(error), sent: true, .. } => Some(lost(error)),
            Self::NoEndpoint(_) | Self::GroupFull | Self::Closed | Self::Drained | Self::Broken { .. } => {
                None
            }
        }
    }

    /// Whether it speaks against the cell, and not against its client or us.
    fn is_of_the_cell(&self) -> bool {
        match self {
            Self::NotConnected(why) => !matches!(why, Unreachable::TooMany | Unreachable::Other),
            Self::Broken { broken: Broken::CellSlow(_), .. } => true,
            Self::Broken { broken: Broken::Cell(_), sent, .. } => *sent,
            Self::NoEndpoint(_) | Self::GroupFull | Self::Closed | Self::Drained | Self::Broken { .. } => {
                false
            }
        }
    }

    /// A pooled connection had gone stale, and nothing was sent on it.
    fn is_stale(&self) -> bool {
        matches!(self, Self::Broken { broken: Broken::Cell(_), sent: false, .. })
    }

    fn may_have_been_seen(&self) -> bool {
        let looked_at = !matches!(self.unanswered(), Some(Unanswered::Excluded | Unanswered::Refused));
        matches!(self, Self::Broken { sent: true, .. }) && looked_at
    }

    /// What the client is told, of this attempt and those before it.
    fn blame(self, outcome: Outcome) -> Failed {
        let refusal = match self {
            Self::NoEndpoint(why) | Self::NotConnected(why) => Refusal::CellUnreachable(why),
            Self::GroupFull => Refusal::Shed(Shed::GroupFull),
            Self::Closed => Refusal::Shed(Shed::CellDown),
            Self::Drained => Refusal::Shed(Shed::Operator),
            Self::Broken { broken, heard, .. } => match broken {
                Broken::ClientGone | Broken::ClientStalled => return Failed::ClientGone,
                Broken::ClientBody(_) => Refusal::BadRequest(BadRequest::Body),
                Broken::ClientSlow => Refusal::ClientTimeout,
                Broken::Cell(error) => Refusal::CellBroken(cause::of_answer(&error, heard)),
                Broken::CellSlow(silence) => Refusal::CellTimeout(silence),
                Broken::Drain => Refusal::Drain,
                Broken::Moved => Refusal::CutByMove,
            },
        };
        Failed::Refused(refusal, outcome)
    }
}

impl From<Broken> for Attempt {
    fn from(broken: Broken) -> Self {
        Self::Broken { broken, sent: true, heard: false }
    }
}

async fn exchange_heads(
    cell: &Cell,
    outgoing: &Outgoing<'_>,
    number: u8,
    down: &mut Downstream,
    upstream: &mut Upstream,
) -> Result<(Box<Parts>, bool, Progress), Attempt> {
    let tunnel = outgoing.upgrade == Upgrade::WebSocket;
    down.kept.begin(upstream.is_h2());
    let end = tunnel || down.nothing_to_send();
    let client = &down.request().headers;
    let waits_for_100 = outgoing.expects(client);
    match upstream.request_h1() {
        Some(session) => outgoing.h1(client, number, end, session),
        None => {
            let head = outgoing.h2(cell, client, number).map_err(Broken::Cell)?;
            // A connection that takes no more requests has sent nothing of this one, whatever of others.
            let unsent = |error| Attempt::Broken { broken: Broken::Cell(error), sent: false, heard: false };
            upstream.request_h2(head, end).map_err(unsent)?;
            if waits_for_100 {
                // The engine shows no 1xx of HTTP/2, so the cell's consent cannot be passed on.
                let mut consent = http::Response::new(()).into_parts().0;
                consent.status = StatusCode::CONTINUE;
                down.inform(&consent);
            }
        }
    }
    let mut pump = Pump::new(down, upstream, outgoing.limits, Progress::start(end));
    let (head, end) = pump.head().await?;
    let progress = pump.progress();
    drop(pump);
    down.kept.forget();
    Ok((head, end, progress))
}

fn needs_h2(cell: &Cell, outgoing: &Outgoing<'_>) -> bool {
    match cell.protocol {
        _ if outgoing.upgrade == Upgrade::WebSocket => false,
        CellProtocol::Http1 => false,
        CellProtocol::Http2 => true,
        CellProtocol::Auto => outgoing.grpc,
    }
}

fn freshness(method: &Method) -> Duration {
    if retry::is_idempotent(method) { Duration::MAX } else { FRESH }
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
