//! One exchange from head to end: read, decide, act, record. The steps are here; what they decide is
//! in `policy`, how bytes move is in `pump`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, Method, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use tokio::time::Instant;

use super::downstream::{Downstream, Source};
use super::forward::{self, Answer, Failed, Outgoing, Trace};
use super::pump::{Broken, Pump};
use super::reply::{self, Reply};
use super::service::{Service, fresh_id, unix_now};
use crate::listen::connection::Facts;
use crate::policy::address::own_address;
use crate::policy::decide::{Decision, Verdict, decide};
use crate::policy::envelope::{ErrorShape, Said};
use crate::policy::facts::{RequestFacts, Scheme, Upgrade, WireVersion};
use crate::policy::forwarding::{self, Edits, Told};
use crate::policy::gate::{self, ParsedHead};
use crate::policy::hosts::Role;
use crate::policy::ids::CellIndex;
use crate::policy::location;
use crate::policy::refusal::{BadRequest, Outcome, Refusal};
use crate::policy::seal;
use crate::policy::snapshot::{Cell, Snapshot, UpstreamHost};
use crate::policy::{annotate, pick};
use crate::telemetry::event::{End, RequestEvent, Timings};

/// Bytes of User-Agent that are kept: enough to tell client programs apart.
const MAX_USER_AGENT: usize = 256;

/// The client's connection, shared by its requests.
pub struct Peer {
    /// What `listen` knows of it.
    pub facts: Facts,
}

/// A request as it was read, in values of its own: the session is needed for other things now.
struct Read {
    decision: Decision,
    version: WireVersion,
    scheme: Scheme,
    host: Box<str>,
    authority: Box<str>,
    target: Box<str>,
    upgrade: Upgrade,
    grpc: bool,
    client: IpAddr,
    request_id: String,
    user_agent: Option<Box<str>>,
    /// Fields for the cell, where it is to be forwarded.
    edits: Option<Edits>,
    /// A browser that opens a page, not a program that calls an API.
    navigation: bool,
}

/// How it ended, for the event.
#[derive(Default)]
struct Ended {
    refusal: Option<Refusal>,
    end: Option<End>,
    trace: Trace,
    upstream_deprecated: bool,
}

impl Service {
    /// Serves one request whose head the engine has read. `absolute` is the authority of an absolute
    /// target, which the engine keeps in its own way.
    pub(super) async fn exchange(
        &self,
        peer: &Peer,
        snapshot: Arc<Snapshot>,
        down: &mut Downstream,
        absolute: Option<&str>,
    ) {
        let (started, clock) = (SystemTime::now(), Instant::now());
        let mut ended = Ended::default();
        let read = self.read(peer, &snapshot, down.request(), absolute);
        let read = match read {
            Ok(read) => {
                self.act(&snapshot, &read, down, &mut ended).await;
                Some(read)
            }
            Err(refusal) => {
                self.refuse(&snapshot, None, refusal, Outcome::NotForwarded, down, &mut ended).await;
                None
            }
        };
        self.telemetry().record(event(peer, snapshot, read, down, &ended, started, clock));
    }

    fn read(
        &self,
        peer: &Peer,
        snapshot: &Snapshot,
        head: &RequestHeader,
        absolute: Option<&str>,
    ) -> Result<Read, Refusal> {
        let version = match head.version {
            http::Version::HTTP_2 => WireVersion::Http2,
            http::Version::HTTP_10 => WireVersion::Http10,
            _ => WireVersion::Http11,
        };
        let h2_authority = head.uri.authority().filter(|_| version == WireVersion::Http2);
        let target =
            std::str::from_utf8(head.raw_path()).map_err(|_| Refusal::BadRequest(BadRequest::RequestLine))?;
        let parsed = ParsedHead {
            method: &head.method,
            version,
            authority: absolute.or_else(|| h2_authority.map(http::uri::Authority::as_str)),
            target,
            protocol: head.extensions.get::<h2::ext::Protocol>().map(h2::ext::Protocol::as_str),
            headers: &head.headers,
        };
        let mut scratch = String::new();
        let facts = gate::facts(parsed, peer.facts.for_policy(), &snapshot.limits, &mut scratch)?;
        let decision = decide(snapshot, &self.learned, &facts);
        let client = forwarding::client_ip(peer.facts.client(), facts.headers, &snapshot.trusted_proxies);
        let request_id = forwarding::request_id(facts.headers, fresh_id);
        let edits = match &decision.verdict {
            Verdict::Forward { cell, .. } => {
                Some(edits(snapshot, &facts, &decision, *cell, client, &request_id))
            }
            Verdict::Redirect { .. } | Verdict::Refuse(_) => None,
        };
        Ok(Read {
            version,
            scheme: facts.connection.scheme,
            host: facts.host.into(),
            authority: facts.authority.into(),
            target: facts.target.into(),
            upgrade: facts.upgrade,
            grpc: facts.is_grpc(),
            client,
            request_id,
            user_agent: user_agent(facts.headers),
            edits,
            navigation: facts.is_navigation(),
            decision,
        })
    }

    async fn act(&self, snapshot: &Snapshot, read: &Read, down: &mut Downstream, ended: &mut Ended) {
        match &read.decision.verdict {
            Verdict::Forward { cell, .. } => self.forward(snapshot, read, *cell, down, ended).await,
            Verdict::Redirect { location } => {
                let mut reply = Reply::redirect(StatusCode::FOUND, location, &read.request_id);
                deprecate(snapshot, &read.decision, None, &mut reply.headers);
                answer(down, reply, ended).await;
            }
            Verdict::Refuse(refusal) => {
                self.refuse(snapshot, Some(read), *refusal, Outcome::NotForwarded, down, ended).await;
            }
        }
    }

    async fn forward(
        &self,
        snapshot: &Snapshot,
        read: &Read,
        index: CellIndex,
        down: &mut Downstream,
        ended: &mut Ended,
    ) {
        let cell = snapshot.cell(index);
        let Some(_permit) = cell.load.try_acquire(cell.max_in_flight) else {
            return self
                .refuse(snapshot, Some(read), Refusal::CellFull, Outcome::NotForwarded, down, ended)
                .await;
        };
        let outgoing = self.outgoing(snapshot, read, cell, down.request());
        match forward::forward(&self.connector, cell, &outgoing, down, &mut ended.trace).await {
            Ok(answer) => {
                self.learn(snapshot, &read.decision, answer.head.status);
                self.relay(snapshot, read, cell, &outgoing, answer, down, ended).await;
            }
            Err(Failed::Refused(refusal, outcome)) => {
                self.refuse(snapshot, Some(read), refusal, outcome, down, ended).await;
            }
            Err(Failed::ClientGone) => {
                ended.end = Some(End::ClientGone);
                down.break_off().await;
            }
        }
    }

    /// Passes the cell's answer on, annotated.
    async fn relay(
        &self,
        snapshot: &Snapshot,
        read: &Read,
        cell: &Cell,
        outgoing: &Outgoing,
        answer: Answer,
        down: &mut Downstream,
        ended: &mut Ended,
    ) {
        let Answer { mut head, end, mut upstream, place, progress } = answer;
        let tunnel = progress.is_tunnel();
        if tunnel && read.upgrade != Upgrade::WebSocket {
            // A cell that switches protocols unasked would own the client's connection.
            return self
                .refuse(snapshot, Some(read), Refusal::CellBroken, Outcome::Unknown, down, ended)
                .await;
        }
        ended.upstream_deprecated = self.dress(snapshot, read, tunnel, &mut head);
        if down.head(head, end).await.is_err() {
            ended.end = Some(End::ClientGone);
            return down.break_off().await;
        }
        let mut pump = Pump::new(down, &mut upstream, forward::limits(cell, outgoing), progress);
        let moved = pump.body().await;
        let whole = pump.progress().is_whole();
        ended.end = Some(match &moved {
            Ok(()) => End::Complete,
            Err(Broken::ClientGone | Broken::ClientBody(_)) => End::ClientGone,
            Err(Broken::Cell(_)) => End::CellGone,
            Err(Broken::ClientSlow | Broken::ClientStalled | Broken::CellSlow) => End::TimedOut,
        });
        match moved {
            Ok(()) if whole && !tunnel => {
                if let Some(wire) = upstream.into_reusable().await {
                    self.connector.pool().put(&pick::endpoint(cell, place).key, wire);
                }
            }
            Ok(()) => {}
            Err(_) => down.break_off().await,
        }
    }

    /// Turns the cell's response head into ours. Says whether the cell sent deprecation dates itself.
    fn dress(&self, snapshot: &Snapshot, read: &Read, tunnel: bool, head: &mut ResponseHeader) -> bool {
        for name in forwarding::incoming(&head.headers, tunnel) {
            head.remove_header(&name);
        }
        if tunnel && read.version == WireVersion::Http2 {
            // RFC 8441 section 5: success is 200, and the HTTP/1.1 handshake fields have no meaning.
            head.set_status(StatusCode::OK).expect("200 is a status");
            for name in [header::UPGRADE, header::CONNECTION, header::SEC_WEBSOCKET_ACCEPT] {
                head.remove_header(&name);
            }
        }
        if !head.headers.contains_key(reply::REQUEST_ID) {
            set(head, reply::REQUEST_ID, &read.request_id);
        }
        let own = own_host(snapshot, &read.decision);
        if read.decision.role == Some(Role::Legacy)
            && !read.navigation
            && let Some(own) = &own
            && let Some(location) =
                location::rewrite(&head.headers, own, read.scheme.as_str(), &read.authority)
        {
            set(head, header::LOCATION, &location);
        }
        let shown = head.status.is_success() || read.decision.credential_known;
        let successor = own.filter(|_| shown).map(|own| format!("https://{own}{}", read.target));
        let mut fields = head.headers.clone();
        let said = deprecate(snapshot, &read.decision, successor.as_deref(), &mut fields);
        if read.decision.schedule.is_some() {
            replace_fields(head, &fields);
        }
        said
    }

    fn outgoing(&self, snapshot: &Snapshot, read: &Read, cell: &Cell, head: &RequestHeader) -> Outgoing {
        let own = match cell.host {
            UpstreamHost::Account => own_host(snapshot, &read.decision),
            UpstreamHost::Preserve => None,
        };
        let authority = own.unwrap_or_else(|| read.authority.to_string());
        let mut head = head.clone();
        if let Some(edits) = &read.edits {
            apply(&mut head, edits);
        }
        set_request(&mut head, header::HOST, &authority);
        if read.version == WireVersion::Http2 {
            merge_cookies(&mut head);
            head.remove_header(&header::EXPECT);
        }
        if read.upgrade == Upgrade::WebSocket && read.version == WireVersion::Http2 {
            head.set_method(Method::GET);
            let key =
                base64::Engine::encode(&base64::prelude::BASE64_STANDARD, fastrand::u128(..).to_be_bytes());
            set_request(&mut head, header::SEC_WEBSOCKET_KEY, &key);
        }
        head.set_raw_path(read.target.as_bytes()).expect("the gate has read this target");
        if let Some(signature) = signature(snapshot, read, cell, &authority, &head) {
            head.insert_header(seal::HEADER, signature).expect("a built value is a valid field");
        }
        let client_body = self.limits().body_timeout;
        Outgoing {
            head,
            authority,
            upgrade: read.upgrade,
            grpc: read.grpc,
            ticket: self.ticket(),
            client_body,
        }
    }

    /// What an answer teaches about the credential.
    fn learn(&self, snapshot: &Snapshot, decision: &Decision, status: StatusCode) {
        if let Some((fingerprint, account)) = decision.lesson(status.as_u16())
            && let Some(bounds) = &snapshot.identify.credentials.learning
        {
            self.learned.teach(fingerprint, account, bounds, unix_now());
        }
        let Some(routed_by) = decision.routed_by() else { return };
        if status == StatusCode::UNAUTHORIZED {
            self.learned.rejected(routed_by, unix_now(), false);
        } else if status.is_success() {
            self.learned.accepted(routed_by, unix_now());
        }
    }

    async fn refuse(
        &self,
        snapshot: &Snapshot,
        read: Option<&Read>,
        refusal: Refusal,
        outcome: Outcome,
        down: &mut Downstream,
        ended: &mut Ended,
    ) {
        ended.refusal = Some(refusal);
        let fresh;
        let request_id = match read {
            Some(read) => read.request_id.as_str(),
            None => {
                fresh = forwarding::request_id(&down.request().headers, fresh_id);
                &fresh
            }
        };
        let said = Said { refusal, outcome, request_id, guide: &snapshot.guide };
        let surface = read.and_then(|read| read.decision.surface);
        let shape = surface.map_or(ErrorShape::Problem, |surface| snapshot.surface(surface).errors);
        let grpc = read.is_some_and(|read| read.grpc);
        // Up to as much again, so that those who were refused together do not come back together.
        let retry = refusal.retry_after().map(|delay| delay.as_secs() + fastrand::u64(0..=delay.as_secs()));
        let mut reply = Reply::refusal(&said, shape, grpc, retry);
        if let Some(read) = read {
            deprecate(snapshot, &read.decision, None, &mut reply.headers);
        }
        if refusal.closes_connection()
            && let Source::H1(session) = &mut down.source
        {
            session.set_server_keepalive(None);
        }
        answer(down, reply, ended).await;
    }
}

/// The answer and the event for a request whose head could not be read.
pub(super) fn refuse_unread(
    peer: &Peer,
    snapshot: Arc<Snapshot>,
    refusal: Refusal,
    request_id: String,
) -> (Reply, RequestEvent) {
    let said = Said { refusal, outcome: Outcome::NotForwarded, request_id: &request_id, guide: "" };
    let reply = Reply::refusal(&said, ErrorShape::Problem, false, None);
    let event = RequestEvent {
        snapshot,
        listener: Arc::clone(&peer.facts.listener.name),
        started: SystemTime::now(),
        request_id: request_id.into(),
        client_ip: peer.facts.client(),
        scheme: peer.facts.scheme,
        version: WireVersion::Http11,
        upgrade: Upgrade::None,
        method: Method::GET,
        host: "".into(),
        path: "".into(),
        user_agent: None,
        decision: None,
        status: refusal.status(),
        refusal: Some(refusal),
        end: End::Complete,
        bytes_in: 0,
        bytes_out: reply.body.len() as u64,
        timings: Timings::default(),
        endpoint: None,
        attempts: 0,
        reused: false,
        upstream_deprecated: false,
    };
    (reply, event)
}

fn event(
    peer: &Peer,
    snapshot: Arc<Snapshot>,
    read: Option<Read>,
    down: &Downstream,
    ended: &Ended,
    started: SystemTime,
    clock: Instant,
) -> RequestEvent {
    let since = |moment: Option<Instant>| moment.map(|moment| moment.duration_since(clock));
    let request = down.request();
    let (path, _) =
        read.as_ref().map_or(("", ""), |read| read.target.split_once('?').unwrap_or((&read.target, "")));
    // 499 as nginx has it: the client closed before there was a status to send.
    let status = down.status.map_or(499, |status| status.as_u16());
    RequestEvent {
        listener: Arc::clone(&peer.facts.listener.name),
        started,
        client_ip: read.as_ref().map_or(peer.facts.client(), |read| read.client),
        scheme: peer.facts.scheme,
        version: read.as_ref().map_or(WireVersion::Http11, |read| read.version),
        upgrade: read.as_ref().map_or(Upgrade::None, |read| read.upgrade),
        method: request.method.clone(),
        path: path.into(),
        host: read.as_ref().map_or_else(Box::default, |read| read.host.clone()),
        status,
        refusal: ended.refusal,
        end: ended.end.unwrap_or(End::Complete),
        bytes_in: down.bytes_in,
        bytes_out: down.bytes_out,
        timings: Timings {
            connected: since(ended.trace.connected),
            first_byte: since(ended.trace.first_byte),
            total: clock.elapsed(),
        },
        endpoint: ended.trace.endpoint,
        attempts: ended.trace.attempts,
        reused: ended.trace.reused,
        upstream_deprecated: ended.upstream_deprecated,
        request_id: read.as_ref().map_or_else(Box::default, |read| read.request_id.as_str().into()),
        user_agent: read.as_ref().and_then(|read| read.user_agent.clone()),
        decision: read.map(|read| read.decision),
        snapshot,
    }
}

/// Sends one of our own answers, and ends the exchange.
async fn answer(down: &mut Downstream, reply: Reply, ended: &mut Ended) {
    let send = async {
        let mut head = ResponseHeader::build(reply.status, Some(reply.headers.len() + 2))?;
        for (name, value) in &reply.headers {
            head.append_header(name.clone(), value.clone())?;
        }
        head.insert_header(header::CONTENT_LENGTH, reply.body.len())?;
        let empty = reply.body.is_empty();
        down.head(Box::new(head), empty).await?;
        if !empty && down.request().method != Method::HEAD {
            down.body(reply.body).await?;
        }
        down.finish(None).await?;
        std::future::poll_fn(|cx| down.sink.poll_clear(cx))
            .await
            .map_err(|error| pingora::Error::because(pingora::ErrorType::WriteError, "own answer", error))
    };
    // Whoever does not read a short answer for this long is not reading.
    let sent = tokio::time::timeout(std::time::Duration::from_secs(10), send).await;
    ended.end = Some(if matches!(sent, Ok(Ok(()))) { End::Complete } else { End::ClientGone });
}

fn edits(
    snapshot: &Snapshot,
    facts: &RequestFacts<'_>,
    decision: &Decision,
    cell: CellIndex,
    client: IpAddr,
    request_id: &str,
) -> Edits {
    let account = decision.account.map_or_else(|| "-".to_owned(), |account| account.to_string());
    let told = Told {
        client,
        account: &account,
        cell: snapshot.cell(cell).name.as_str(),
        generation: snapshot.generation.0,
        request_id,
        trace: (fastrand::u128(..), fastrand::u64(..)),
    };
    forwarding::outgoing(facts, &told)
}

/// The signed verdict, for a cell that has a key.
fn signature(
    snapshot: &Snapshot,
    read: &Read,
    cell: &Cell,
    authority: &str,
    head: &RequestHeader,
) -> Option<http::HeaderValue> {
    let sealed = seal::Sealed {
        cell: cell.name.as_str(),
        account: read.decision.account,
        source: read.decision.source,
        generation: &snapshot.hash,
        // No account has been moved by cellgate yet; moves bring the count.
        epoch: 0,
        method: head.method.as_str(),
        authority,
        target: &read.target,
        request_id: &read.request_id,
        time: unix_now(),
    };
    seal::sign(cell.seal.as_ref()?, &sealed)
}

/// The account's own address on the surface of the request, where the table knows one.
fn own_host(snapshot: &Snapshot, decision: &Decision) -> Option<String> {
    let account = snapshot.accounts.by_id(decision.account?)?;
    own_address(snapshot, account, decision.surface?).map(|address| address.to_string())
}

/// Deprecation headers on a final response of a legacy host. Says whether the cell sent its own.
fn deprecate(
    snapshot: &Snapshot,
    decision: &Decision,
    successor: Option<&str>,
    headers: &mut HeaderMap,
) -> bool {
    decision
        .schedule
        .is_some_and(|schedule| annotate::annotate(snapshot.schedule(schedule), successor, headers).any())
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

/// The fields that annotation may have changed, back into the engine's header.
fn replace_fields(head: &mut ResponseHeader, fields: &HeaderMap) {
    for name in [annotate::DEPRECATION, annotate::SUNSET, header::LINK, header::ACCESS_CONTROL_EXPOSE_HEADERS]
    {
        head.remove_header(&name);
        for value in fields.get_all(&name) {
            head.append_header(name.clone(), value.clone()).expect("a parsed field is a valid field");
        }
    }
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

fn set(head: &mut ResponseHeader, name: http::HeaderName, value: &str) {
    // Only configuration and ids that were checked for it stand here.
    let _ = head.insert_header(name, value);
}

fn set_request(head: &mut RequestHeader, name: http::HeaderName, value: &str) {
    let _ = head.insert_header(name, value);
}

fn user_agent(headers: &HeaderMap) -> Option<Box<str>> {
    let value = headers.get(header::USER_AGENT)?.to_str().ok()?;
    Some(value[..value.floor_char_boundary(MAX_USER_AGENT)].into())
}
