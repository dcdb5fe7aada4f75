//! One exchange from head to end: read, decide, act, record. The steps are here; what they decide is
//! in `policy`, how bytes move is in `pump`.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, Version, header};
use tokio::time::Instant;

use super::admission::{Turned, Wanting};
use super::broken::Broken;
use super::cause;
use super::downstream::{Breach, Downstream};
use super::forward::{self, Answer, Failed};
use super::hold::Placed;
use super::moving::{cut_off, goodbye, stream_over};
use super::outgoing::Outgoing;
use super::pump::Pump;
use super::record::{Begun, Ended, event};
use super::reply::{self, Reply};
use super::request::{self, Known, Peer, Request};
use super::response::{deprecate, dress, mark, promise_https};
use super::service::{Service, unix, unix_now};
use super::tunnel::Tunnel;
use crate::listen::lookout::Lookout;
use crate::live::Pinned;
use crate::policy::annotate;
use crate::policy::brownout::notice::notice;
use crate::policy::canary::Side;
use crate::policy::cors;
use crate::policy::decide::{Decision, Verdict};
use crate::policy::envelope::{ErrorShape, Said};
use crate::policy::gate::{self, Asked};
use crate::policy::ids::CellIndex;
use crate::policy::pick;
use crate::policy::refusal::{Outcome, Refusal};
use crate::policy::server_timing::SERVER_TIMING;
use crate::policy::snapshot::{Cell, Snapshot};
use crate::policy::writes::WriteGuard;
use crate::telemetry::event::End;

/// Whoever does not take one of our short answers for this long is not reading.
const ANSWER_TAKEN_WITHIN: Duration = Duration::from_secs(10);

/// One exchange in progress.
struct Exchange<'a> {
    service: &'a Service,
    snapshot: &'a Snapshot,
    down: &'a mut Downstream,
    ended: &'a mut Ended,
    /// Sees the end of the process come.
    lookout: &'a mut Lookout,
    begun: Instant,
    /// Counts it, where it is a write, and is told when its account moves.
    write: Option<WriteGuard>,
}

impl Service {
    /// Serves one request whose head has been read.
    pub(super) async fn exchange(
        &self,
        peer: &Peer,
        mut pinned: Pinned,
        down: &mut Downstream,
        lookout: &mut Lookout,
    ) {
        let begun = Begun::now();
        let mut ended = Ended::default();
        let (request, side, placed) = loop {
            let levers = self.levers.read();
            let known = Known {
                learned: &self.learned,
                levers: levers.as_deref(),
                trace_rules: self.telemetry().trace_rules(),
                now: unix(begun.wall),
            };
            let (request, side) = request::read(peer, &pinned, known, down.request());
            let snapshot = candidate(side.as_ref()).unwrap_or(&pinned.stable);
            match self.place(snapshot, &request, down, &mut ended).await {
                Placed::Again => pinned = self.pin_both(),
                placed => break (request, side, placed),
            }
        };
        // The pin itself where it can be: all threads count their pins in one number.
        let snapshot = candidate(side.as_ref()).map_or(pinned.stable, Arc::clone);
        let mut exchange = Exchange {
            service: self,
            snapshot: &snapshot,
            down,
            ended: &mut ended,
            lookout,
            begun: begun.clock,
            write: None,
        };
        exchange.act(&request, placed).await;
        let event = event(peer, snapshot, request, down, &ended, begun);
        if let Some(side) = &side {
            side.count(&event.sample());
        }
        self.telemetry().record(event);
        if let Some(breach) = ended.breach {
            down.break_off(breach).await;
        }
    }

    /// What an answer teaches about the credential.
    fn learn(&self, snapshot: &Snapshot, cell: &Cell, decision: &Decision, status: StatusCode) {
        let (now, rules) = (unix_now(), &snapshot.identify.credentials);
        cell.load.unauthorized.count(status == StatusCode::UNAUTHORIZED, now);
        if let Some((fingerprint, account)) = decision.lesson(status.as_u16())
            && let (Some(bounds), Some(key)) = (&rules.learning, rules.keys.first())
        {
            self.learned.teach(fingerprint, &key.id, account, bounds, now);
        }
        let Some(routed_by) = decision.routed_by() else { return };
        if status == StatusCode::UNAUTHORIZED {
            self.learned.rejected(routed_by, now, cell.load.unauthorized.is_abnormal(now));
        } else if status.is_success() {
            self.learned.accepted(routed_by, now);
        }
    }
}

impl Exchange<'_> {
    async fn act(&mut self, request: &Request, placed: Placed) {
        match placed {
            Placed::Here(write) => self.write = write,
            Placed::Refused(refusal) => return self.refuse(request, refusal, Outcome::NotForwarded).await,
            Placed::ClientGone => return self.client_gone(),
            Placed::Again => unreachable!("it is decided again before anything is done"),
        }
        if let Some(location) = &request.secure {
            // 308 keeps method and body (RFC 9110 section 15.4.9).
            return self.redirect(request, StatusCode::PERMANENT_REDIRECT, location).await;
        }
        match &request.decision.verdict {
            Verdict::Forward { cell, .. } => self.forward(request, *cell).await,
            Verdict::Hold { .. } => unreachable!("it waits before anything is done"),
            Verdict::Redirect { location } => self.redirect(request, StatusCode::FOUND, location).await,
            Verdict::Refuse(refusal) => {
                self.refuse(request, *refusal, Outcome::NotForwarded).await;
            }
        }
    }

    async fn redirect(&mut self, request: &Request, status: StatusCode, location: &str) {
        let mut reply = Reply::redirect(status, location, &request.request_id);
        promise_https(request, &mut reply.headers);
        deprecate(self.snapshot, &request.decision, None, &mut reply.headers);
        self.tell_time(request, None, &mut reply.headers);
        self.answer(reply).await;
    }

    async fn forward(&mut self, request: &Request, index: CellIndex) {
        let cell = self.snapshot.cell(index);
        let class = self.snapshot.endpoint_classes.of(&request.target);
        let outgoing =
            self.service.outgoing(self.snapshot, request, cell, class, self.down.request(), self.begun);
        let until = outgoing.limits.until;
        let wanting = Wanting { snapshot: self.snapshot, cell, class, request, until };
        let admitted = match self.service.admit(&wanting, self.down).await {
            Ok(admitted) => admitted,
            Err(Turned::Away(why, after)) => {
                return self
                    .refuse_for(request, Refusal::Shed(why), Outcome::NotForwarded, Some(after))
                    .await;
            }
            Err(Turned::ClientGone) => return self.client_gone(),
        };
        self.ended.queued = admitted.waited();
        let connector = &self.service.connector;
        let trace = &mut self.ended.trace;
        let process = &self.service.retries;
        let forwarding = forward::forward(connector, &admitted, cell, process, &outgoing, self.down, trace);
        let forwarded = tokio::select! {
            biased;
            forwarded = forwarding => forwarded.map_err(Ok),
            cut = cut_off(self.service, self.lookout, self.write.as_ref()) => Err(Err(cut)),
        };
        let forwarded = forwarded.map_err(|failed| {
            failed.unwrap_or_else(|cut| {
                let tried = self.ended.trace.connected.is_some();
                Failed::Refused(cut.refusal(), if tried { Outcome::Unknown } else { Outcome::NotForwarded })
            })
        });
        let trace = &self.ended.trace;
        for result in &trace.connects {
            self.service.telemetry().metrics.upstream_connection(self.snapshot, index, *result);
        }
        match forwarded {
            Ok(answer) => {
                self.service.learn(self.snapshot, cell, &request.decision, answer.head.status);
                self.relay(request, cell, &outgoing, answer).await;
            }
            Err(Failed::Refused(refusal @ Refusal::Shed(_), outcome)) => {
                let after = cell.load.standing.turn_away(fastrand::u32(..));
                self.refuse_for(request, refusal, outcome, Some(after)).await;
            }
            Err(Failed::Refused(refusal, outcome)) => self.refuse(request, refusal, outcome).await,
            Err(Failed::ClientGone) => self.client_gone(),
        }
    }

    /// Tells where the time went, where the client may know.
    fn tell_time(&self, request: &Request, cell: Option<&Cell>, answer: &mut HeaderMap) {
        let rule = &self.snapshot.server_timing;
        if rule.tells(request.client, answer) {
            let spent = self.ended.timings(self.begun);
            answer.append(SERVER_TIMING, rule.written(&spent, cell.map(|cell| cell.name.as_str())));
        }
    }

    fn client_gone(&mut self) {
        self.ended.end = Some(End::ClientGone);
        self.ended.breach = Some(Breach::Broken);
    }

    /// Passes the cell's answer on, annotated.
    async fn relay(&mut self, request: &Request, cell: &Cell, outgoing: &Outgoing<'_>, answer: Answer<'_>) {
        let Answer { mut head, end, mut upstream, place, permit: _permit, progress } = answer;
        let tunnel = progress.is_tunnel();
        let asked = Asked::of(request.upgrade, request.version);
        let chunks = head.version != Version::HTTP_10;
        if let Err(wrong) = gate::check_answer(head.status, &head.headers, chunks, asked) {
            // The connection goes with it: what it has more to say is nobody's answer.
            tracing::debug!(cell = %cell.name, ?wrong, "an answer that is not passed on");
            let refusal = Refusal::CellBroken(cause::of_head(wrong));
            return self.refuse(request, refusal, Outcome::Unknown).await;
        }
        self.ended.upstream_deprecated = dress(self.snapshot, request, tunnel, &mut head);
        if let Some(cookie) = self.snapshot.routing_cookie(request.decision.role) {
            mark(cookie, &request.decision, unix_now(), &mut head);
        }
        self.tell_time(request, Some(cell), &mut head.headers);
        if self.down.head(head, end).is_err() {
            return self.client_gone();
        }
        let (mut shared, zone) = (None, &pick::group(cell, place).zone);
        let mut pump = Pump::new(self.down, &mut upstream, outgoing.limits, progress);
        if tunnel {
            shared = self.write.take().map(Arc::new);
            let goodbye = goodbye(self.service, shared.clone(), zone, fastrand::f32());
            pump = pump.say_goodbye(Tunnel::new(goodbye, fastrand::u32(..).to_ne_bytes()));
        }
        let write = shared.as_deref().or(self.write.as_ref());
        let moved = tokio::select! {
            biased;
            moved = pump.body(&self.service.pieces) => moved,
            cut = cut_off(self.service, self.lookout, write) => Err(cut.broken()),
            cut = stream_over(self.service, write, zone), if request.grpc => Err(cut.broken()),
        };
        let whole = pump.progress().is_whole() && !tunnel;
        drop(pump);
        self.ended.end = Some(end_of(&moved));
        match moved {
            Ok(()) if whole => {
                if let Some(wire) = upstream.into_reusable().await {
                    self.service.connector.pool().put(&pick::endpoint(cell, place).key, wire);
                }
            }
            Ok(()) => {}
            Err(Broken::Drain) => self.cut(request, Refusal::Drain),
            Err(Broken::Moved) => self.cut(request, Refusal::CutByMove),
            Err(_) => self.ended.breach = Some(Breach::Broken),
        }
    }

    /// Cuts a response that has begun, so that its client sees it: one of gRPC in its trailers.
    fn cut(&mut self, request: &Request, refusal: Refusal) {
        let trailers = request.grpc.then(|| self.grpc_ending(request, refusal));
        self.ended.breach = Some(Breach::Cut(trailers));
    }

    fn grpc_ending(&self, request: &Request, refusal: Refusal) -> HeaderMap {
        let outcome = Outcome::Unknown;
        let (request_id, guide) = (&request.request_id, &self.snapshot.guide);
        let said = Said { refusal, outcome, request_id, guide, notice: None };
        let mut trailers = HeaderMap::with_capacity(2);
        reply::grpc_status(&said, &mut trailers);
        trailers
    }

    async fn refuse(&mut self, request: &Request, refusal: Refusal, outcome: Outcome) {
        // Up to as much again, so that those who were refused together do not come back together.
        let retry = refusal.retry_after().map(|delay| delay.as_secs() + fastrand::u64(0..=delay.as_secs()));
        let retry = retry.and_then(|seconds| u32::try_from(seconds).ok());
        let now = i64::try_from(unix_now()).unwrap_or(i64::MAX);
        let retry = retry.or_else(|| request.planned_for(refusal)?.retry_after_s(now, fastrand::u32(..)));
        self.refuse_for(request, refusal, outcome, retry).await;
    }

    /// Refuses, and says when to come again, in seconds.
    async fn refuse_for(
        &mut self,
        request: &Request,
        refusal: Refusal,
        outcome: Outcome,
        retry: Option<u32>,
    ) {
        self.ended.refusal = Some(refusal);
        let (snapshot, decision) = (self.snapshot, &request.decision);
        let notice = request
            .planned_for(refusal)
            .and_then(|planned| notice(snapshot, decision, planned, &request.host, &request.target));
        let (request_id, notice) = (&request.request_id, notice.as_ref());
        let said = Said { refusal, outcome, request_id, guide: &snapshot.guide, notice };
        let shape = decision.surface.map_or(ErrorShape::Problem, |surface| snapshot.surface(surface).errors);
        let asked = &self.down.request().headers;
        let mut reply = Reply::refusal(&said, shape.for_client(asked), request.grpc, retry.map(u64::from));
        cors::allow(&snapshot.cors_origins, asked, &mut reply.headers);
        promise_https(request, &mut reply.headers);
        let replacement = notice.and_then(|notice| notice.replacement.as_deref());
        deprecate(snapshot, decision, replacement, &mut reply.headers);
        if let Some(canonical) = replacement.and_then(annotate::canonical_link) {
            reply.headers.append(header::LINK, canonical);
        }
        self.tell_time(request, None, &mut reply.headers);
        if refusal.closes_connection() {
            self.down.close();
        }
        self.answer(reply).await;
    }

    /// Sends one of our own answers, and ends the exchange.
    async fn answer(&mut self, reply: Reply) {
        // Nobody will read the rest of the request, so the connection ends; a client that has sent it all would
        // take it for reusable, and lose its next request (RFC 9112 section 9.6).
        if !self.down.request_done() {
            self.down.close();
        }
        let sent = tokio::time::timeout(ANSWER_TAKEN_WITHIN, send(self.down, reply)).await;
        if matches!(sent, Ok(Ok(()))) {
            self.ended.end = Some(End::Complete);
        } else {
            // What is queued must not grow by the answers to its next requests.
            self.client_gone();
        }
    }
}

async fn send(down: &mut Downstream, reply: Reply) -> pingora::Result<()> {
    let mut head = Box::new(http::Response::new(()).into_parts().0);
    (head.status, head.headers) = (reply.status, reply.headers);
    head.headers.insert(header::CONTENT_LENGTH, reply.body.len().into());
    let bodiless = reply.body.is_empty() || down.request().method == Method::HEAD;
    down.head(head, bodiless)?;
    if !bodiless {
        down.body(reply.body);
    }
    down.finish(None)?;
    let cleared = std::future::poll_fn(|cx| down.poll_clear(cx)).await;
    cleared.map_err(|error| pingora::Error::because(pingora::ErrorType::WriteError, "own answer", error))
}

/// What serves a request that a candidate has.
fn candidate(side: Option<&Side>) -> Option<&Arc<Snapshot>> {
    side.filter(|side| side.is_moved).map(|side| &side.candidate.snapshot)
}

fn end_of(moved: &Result<(), Broken>) -> End {
    match moved {
        Ok(()) => End::Complete,
        Err(Broken::ClientGone | Broken::ClientBody(_)) => End::ClientGone,
        Err(Broken::Cell(_)) => End::CellGone,
        Err(Broken::ClientSlow | Broken::ClientStalled | Broken::CellSlow(_)) => End::TimedOut,
        Err(Broken::Drain) => End::Drain,
        Err(Broken::Moved) => End::Moved,
    }
}
