//! The end of an exchange as an event: the one place where a [`RequestEvent`] is made.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Method;
use tokio::time::Instant;

use super::downstream::{Breach, Downstream};
use super::forward::Trace;
use super::reply::Reply;
use super::request::{Peer, Request};
use crate::policy::cover::UNREAD_METHOD;
use crate::policy::envelope::{ErrorShape, Said};
use crate::policy::facts::{Upgrade, WireVersion, path_of};
use crate::policy::refusal::{BadRequest, Outcome, Refusal};
use crate::policy::request_id::RequestId;
use crate::policy::snapshot::Snapshot;
use crate::policy::text::Text;
use crate::telemetry::event::{End, RequestEvent, Timings};

/// What the log gets for a request whose client closed before there was a status to send; nginx's number.
const CLIENT_CLOSED: u16 = 499;

/// When a request began, on both clocks.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    pub wall: SystemTime,
    pub clock: Instant,
}

/// How it ended.
#[derive(Default)]
pub(super) struct Ended {
    pub refusal: Option<Refusal>,
    pub end: Option<End>,
    pub trace: Trace,
    pub upstream_deprecated: bool,
    /// How long it waited because its account moves.
    pub held: Option<Duration>,
    /// How long it waited for its turn at the cell.
    pub queued: Option<Duration>,
    /// What the client has still to be shown when this is in log and books. After, for it may take as long as a process
    /// that ends has.
    pub breach: Option<Breach>,
}

impl Ended {
    /// Where the time went so far, of a request that began then.
    pub(super) fn timings(&self, begun: Instant) -> Timings {
        let since = |moment: Option<Instant>| moment.map(|moment| moment.duration_since(begun));
        Timings {
            held: self.held,
            queued: self.queued,
            asked: since(self.trace.asked),
            connected: since(self.trace.connected),
            first_byte: since(self.trace.first_byte),
            total: begun.elapsed(),
        }
    }
}

impl Begun {
    /// Now.
    pub(super) fn now() -> Self {
        Self { wall: SystemTime::now(), clock: Instant::now() }
    }
}

/// The event of a request that was read.
pub(super) fn event(
    peer: &Peer,
    snapshot: Arc<Snapshot>,
    request: Request,
    down: &Downstream,
    ended: &Ended,
    begun: Begun,
) -> RequestEvent {
    let mut event = blank(peer, snapshot, begun.wall);
    let head = down.request();
    event.version = head.version;
    event.method = head.method.clone();
    event.status = down.status.map_or(CLIENT_CLOSED, |status| status.as_u16());
    event.refusal = ended.refusal;
    event.end = ended.end.unwrap_or(End::Complete);
    event.bytes_in = down.bytes_in;
    event.bytes_out = down.bytes_out;
    event.timings = ended.timings(begun.clock);
    event.endpoint = ended.trace.endpoint;
    event.attempts = ended.trace.tried.connections;
    event.sends = ended.trace.tried.sends;
    event.retry_budget_empty = ended.trace.budget_empty;
    event.reused = ended.trace.reused;
    event.upstream_deprecated = ended.upstream_deprecated;
    event.planned = request.planned;
    let path = path_of(&request.target).len();
    event.path = request.target.cut(path);
    event.host = request.host;
    event.client_ip = request.client;
    event.upgrade = request.upgrade;
    event.request_id = request.request_id.into_text();
    event.user_agent = request.user_agent;
    event.traced = request.traced;
    event.decision = Some(request.decision);
    event
}

/// The answer and the event for a request whose head could not be read.
pub(super) fn refuse_unread(
    peer: &Peer,
    snapshot: Arc<Snapshot>,
    refusal: Refusal,
    request_id: RequestId,
) -> (Reply, RequestEvent) {
    let said =
        Said { refusal, outcome: Outcome::NotForwarded, request_id: &request_id, guide: "", notice: None };
    let reply = Reply::refusal(&said, ErrorShape::Problem, false, None);
    let mut event = blank(peer, snapshot, SystemTime::now());
    event.status = refusal.status();
    event.refusal = Some(refusal);
    event.bytes_out = reply.body.len() as u64;
    event.request_id = request_id.into_text();
    (reply, event)
}

/// The event of an HTTP/2 stream that the engine has refused by itself.
pub(super) fn rejected_stream(peer: &Peer, snapshot: Arc<Snapshot>) -> RequestEvent {
    let refusal = Refusal::BadRequest(BadRequest::Stream);
    RequestEvent {
        version: WireVersion::Http2,
        status: refusal.status(),
        refusal: Some(refusal),
        ..blank(peer, snapshot, SystemTime::now())
    }
}

/// The method of a request that nobody has read.
fn unread() -> Method {
    Method::from_bytes(UNREAD_METHOD.as_bytes()).unwrap_or_default()
}

fn blank(peer: &Peer, snapshot: Arc<Snapshot>, started: SystemTime) -> RequestEvent {
    RequestEvent {
        snapshot,
        listener: Arc::clone(&peer.listener),
        started,
        request_id: Text::default(),
        client_ip: peer.facts.client(),
        scheme: peer.facts.scheme,
        version: WireVersion::Http11,
        upgrade: Upgrade::None,
        method: unread(),
        host: Text::default(),
        path: Text::default(),
        user_agent: None,
        decision: None,
        status: CLIENT_CLOSED,
        refusal: None,
        end: End::Complete,
        bytes_in: 0,
        bytes_out: 0,
        timings: Timings::default(),
        endpoint: None,
        attempts: 0,
        sends: 0,
        retry_budget_empty: false,
        reused: false,
        upstream_deprecated: false,
        planned: None,
        traced: None,
    }
}
