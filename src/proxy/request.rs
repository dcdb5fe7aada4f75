//! A client's request as values of its own: read and decided once, so that the session is free to move
//! bytes while the rest of the exchange still knows what it is about.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};

use crate::listen::connection::Facts;
use crate::live::Pinned;
use crate::policy::brownout::{self, Planned};
use crate::policy::canary::Side;
use crate::policy::client_certificate::{self, ClientCertificate};
use crate::policy::decide::{Decision, Verdict, Why, decide};
use crate::policy::facts::{RequestFacts, Scheme, Upgrade, WireVersion, is_grpc};
use crate::policy::fields::Field;
use crate::policy::forwarding::{self, Edits, Told, Trace};
use crate::policy::gate::{self, ParsedHead};
use crate::policy::learned::LearnedTable;
use crate::policy::protection::levers::Levers;
use crate::policy::refusal::Refusal;
use crate::policy::request_id::RequestId;
use crate::policy::secure;
use crate::policy::snapshot::Snapshot;
use crate::policy::text::{Slate, Text};
use crate::policy::trace_context::{Fresh, TraceRules, Traced};

use super::head::RequestHead;
use super::service::fresh_id;

/// Bytes of User-Agent that are kept: enough to tell client programs apart.
const MAX_USER_AGENT: usize = 256;

/// Room for what is written of most requests: its id and trace (32 and 55 bytes), authority, address, account, cell and
/// generation, of some 20 each.
const WRITTEN: usize = 256;

/// The client's connection, shared by its requests.
pub struct Peer {
    /// What `listen` knows of it.
    pub facts: Facts,
    /// The name of its listener, in a copy of its own: each event is counted as an owner, and those of the listener's by
    /// all threads in one number.
    pub listener: Arc<str>,
}

impl Peer {
    /// The client of a connection.
    pub fn new(facts: Facts) -> Self {
        let listener = (*facts.listener.name).into();
        Self { facts, listener }
    }
}

/// One request and what was decided about it.
pub(super) struct Request {
    pub decision: Decision,
    pub version: WireVersion,
    pub scheme: Scheme,
    /// The client's TLS ends here, and not at a balancer that says so.
    pub own_tls: bool,
    pub host: Text,
    pub authority: Text,
    pub target: Text,
    pub upgrade: Upgrade,
    pub grpc: bool,
    pub client: IpAddr,
    pub request_id: RequestId,
    pub user_agent: Option<Text>,
    /// Fields for the cell, where it is to be forwarded.
    pub edits: Option<Edits>,
    /// A browser that opens a page, not a program that calls an API.
    pub navigation: bool,
    /// What browsers are told of https (RFC 6797), where they came over it.
    pub hsts: Option<u64>,
    /// The listener sends everything to HTTPS: where this request belongs.
    pub secure: Option<String>,
    /// The brownout that it meets, or the sunset.
    pub planned: Option<Planned>,
    /// Its trace, where requests are traced. In a box: few processes trace, and the rest has no room for it.
    pub traced: Option<Box<Traced>>,
}

impl Request {
    /// What is planned for it, where that is why it is refused.
    pub(super) fn planned_for(&self, refusal: Refusal) -> Option<Planned> {
        self.planned.filter(|planned| planned.refusal() == Some(refusal))
    }
}

/// What plays a part in every decision, beside what is pinned.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub learned: &'a LearnedTable,
    /// Those that are pulled.
    pub levers: Option<&'a Levers>,
    /// How requests are traced, where they are.
    pub trace_rules: Option<&'a TraceRules>,
    /// In seconds since the Unix epoch.
    pub now: u64,
}

/// Decides about a head that has been read.
///
/// What belongs to the connection (the gate, the certificate that it was asked for) is that of what serves, also where
/// a candidate serves the request.
pub(super) fn read(
    peer: &Peer,
    pinned: &Pinned,
    known: Known<'_>,
    head: &RequestHead,
) -> (Request, Option<Side>) {
    let Known { learned, levers, trace_rules, now } = known;
    let snapshot = &*pinned.stable;
    let parsed = parsed(head);
    let mut scratch = String::new();
    let admitted = admit(peer, snapshot, parsed, now, &mut scratch);
    let Admitted { facts, secure, certificate } = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => {
            let mut request = refused(peer, snapshot, head, refusal);
            request.traced = traced(trace_rules, &head.headers, request.client);
            return (request, None);
        }
    };
    let mut decision = decide(snapshot, learned, &facts, now);
    let side = pinned.candidate.as_ref().and_then(|candidate| {
        let stable = match decision.verdict {
            Verdict::Forward { cell, why } => Some((cell, why)),
            Verdict::Hold { cell } => Some((cell, Why::Mapped)),
            Verdict::Redirect { .. } | Verdict::Refuse(_) => None,
        };
        Some(candidate.side(decision.account?, stable))
    });
    let moved = side.as_ref().filter(|side| side.is_moved).map(|side| &*side.candidate.snapshot);
    if let Some(candidate) = moved {
        decision = decide(candidate, learned, &facts, now);
    }
    let snapshot = moved.unwrap_or(snapshot);
    let client = forwarding::client_ip(peer.facts.client(), facts.headers, &snapshot.trusted_proxies);
    let has_id = facts.fields.has(Field::XRequestId);
    let said = if has_id { RequestId::said(facts.headers, &snapshot.identify.credentials) } else { None };
    let mut slate = Slate::with_room(WRITTEN);
    let request_id = said.unwrap_or_else(|| fresh_id(&mut slate));
    let traced = traced(trace_rules, facts.headers, client);
    let own = Own { client, request_id: &request_id.value(), traced: traced.as_deref() };
    let edits = edits(snapshot, &facts, &decision, certificate, &own, &mut slate);
    let request = Request {
        version: facts.version,
        scheme: facts.connection.scheme,
        own_tls: peer.facts.tls.is_some(),
        host: head.text(facts.host),
        authority: head.text(facts.authority),
        target: head.text(facts.target),
        upgrade: facts.upgrade,
        grpc: facts.is_grpc(),
        client,
        request_id,
        user_agent: user_agent(head),
        edits,
        navigation: facts.is_navigation(),
        hsts: hsts(snapshot, &facts),
        // Whoever is sent to HTTPS asks again there.
        planned: if secure.is_some() { None } else { planned(snapshot, &facts, &decision, levers, now) },
        secure,
        decision,
        traced,
    };
    (request, side)
}

fn parsed(head: &RequestHead) -> ParsedHead<'_> {
    ParsedHead {
        method: &head.method,
        version: head.version,
        authority: head.authority.as_deref(),
        target: head.target.as_str(),
        protocol: head.protocol.as_ref().map(h2::ext::Protocol::as_str),
        headers: &head.headers,
    }
}

/// A request that may be decided about.
struct Admitted<'a> {
    facts: RequestFacts<'a>,
    /// The listener sends everything to HTTPS: where it belongs.
    secure: Option<String>,
    /// The client's certificate, where its host asks for one.
    certificate: Option<&'a ClientCertificate>,
}

fn admit<'a>(
    peer: &'a Peer,
    snapshot: &Snapshot,
    parsed: ParsedHead<'a>,
    now: u64,
    scratch: &'a mut String,
) -> Result<Admitted<'a>, Refusal> {
    let facts = gate::facts(parsed, peer.facts.for_policy(), &snapshot.limits, scratch)?;
    let secure = match peer.facts.listener.redirect_to_https {
        Some(port) => Some(secure::location(snapshot, &facts, port)?),
        None => None,
    };
    let shown = peer.facts.client_certificate();
    let certificate = match client_certificate::admit(snapshot, peer.facts.sni(), facts.host, shown, now) {
        Ok(certificate) => certificate,
        // A redirect forwards nothing, and leads to where certificates are asked for.
        Err(_) if secure.is_some() => None,
        Err(refusal) => return Err(refusal),
    };
    Ok(Admitted { facts, secure, certificate })
}

/// A request that the gate turns down, with what can be said of it all the same: the answer is one on its
/// host, in the shape of its surface, and the log says what it was about.
fn refused(peer: &Peer, snapshot: &Snapshot, head: &RequestHead, refusal: Refusal) -> Request {
    let (parsed, connection) = (parsed(head), peer.facts.for_policy());
    let mut scratch = String::new();
    let host = gate::host(&parsed, connection, &mut scratch).unwrap_or_default();
    let ParsedHead { version, target, headers, .. } = parsed;
    Request {
        decision: Decision::refused_on(snapshot, host, refusal),
        version,
        scheme: connection.scheme,
        own_tls: peer.facts.tls.is_some(),
        host: head.text(host),
        authority: Text::default(),
        target: head.text(target).cut(snapshot.limits.target_bytes),
        upgrade: Upgrade::None,
        grpc: is_grpc(headers),
        client: peer.facts.client(),
        request_id: RequestId::said(headers, &snapshot.identify.credentials)
            .unwrap_or_else(|| fresh_id(&mut Slate::default())),
        user_agent: user_agent(head),
        edits: None,
        navigation: false,
        hsts: None,
        secure: None,
        planned: None,
        traced: None,
    }
}

/// What is made for a request before its cell is told of it.
struct Own<'a> {
    client: IpAddr,
    request_id: &'a HeaderValue,
    traced: Option<&'a Traced>,
}

/// Fields for the cell, where the request is to be forwarded.
fn edits(
    snapshot: &Snapshot,
    facts: &RequestFacts<'_>,
    decision: &Decision,
    certificate: Option<&ClientCertificate>,
    own: &Own<'_>,
    slate: &mut Slate,
) -> Option<Edits> {
    let Verdict::Forward { cell, .. } = decision.verdict else { return None };
    let told = Told {
        client: own.client,
        account: decision.account,
        cell: snapshot.cell(cell).name.as_str(),
        generation: snapshot.generation.0,
        request_id: own.request_id,
        trace: match own.traced {
            Some(traced) => Trace::Ours(traced),
            None => Trace::Passed(fastrand::u128(..), fastrand::u64(..)),
        },
        own_cookie: snapshot.routing_cookie(decision.role),
        client_certificate: certificate.map(ClientCertificate::told),
    };
    Some(forwarding::outgoing(facts, &told, slate))
}

/// The trace of a request, where requests are traced.
fn traced(trace_rules: Option<&TraceRules>, headers: &HeaderMap, client: IpAddr) -> Option<Box<Traced>> {
    let fresh = || Fresh { trace: fastrand::u128(..), span: fastrand::u64(..), to_cell: fastrand::u64(..) };
    Some(Box::new(Traced::of(trace_rules?, headers, client, fresh())))
}

/// The brownout that a request meets, where no operator has ended it.
fn planned(
    snapshot: &Snapshot,
    facts: &RequestFacts<'_>,
    decision: &Decision,
    levers: Option<&Levers>,
    now: u64,
) -> Option<Planned> {
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    brownout::planned(snapshot, facts, decision, now, |id| {
        let by = levers.and_then(|levers| levers.cancels(id).map(|lever| (levers, lever)));
        by.map(|(levers, lever)| levers.touch(lever)).is_some()
    })
}

fn hsts(snapshot: &Snapshot, facts: &RequestFacts<'_>) -> Option<u64> {
    let is_https = facts.connection.scheme == Scheme::Https;
    let host = if is_https { snapshot.hosts.find(facts.host) } else { None };
    host?.rule.hsts
}

fn user_agent(head: &RequestHead) -> Option<Text> {
    let value = head.headers.get(header::USER_AGENT)?.to_str().ok()?;
    Some(head.text(&value[..value.floor_char_boundary(MAX_USER_AGENT)]))
}
