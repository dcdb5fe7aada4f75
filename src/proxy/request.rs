//! A client's request as values of its own: read and decided once, so that the session is free to move
//! bytes while the rest of the exchange still knows what it is about.

use std::net::IpAddr;

use http::{HeaderMap, header};
use pingora::http::RequestHeader;

use crate::listen::connection::Facts;
use crate::live::Pinned;
use crate::policy::brownout::{self, Planned};
use crate::policy::canary::Side;
use crate::policy::client_certificate::{self, ClientCertificate};
use crate::policy::decide::{Decision, Verdict, Why, decide};
use crate::policy::facts::{RequestFacts, Scheme, Upgrade, WireVersion, is_grpc};
use crate::policy::forwarding::{self, Edits, Told};
use crate::policy::gate::{self, ParsedHead};
use crate::policy::learned::LearnedTable;
use crate::policy::protection::levers::Levers;
use crate::policy::refusal::{BadRequest, Refusal};
use crate::policy::secure;
use crate::policy::snapshot::Snapshot;

use super::service::fresh_id;

/// Bytes of User-Agent that are kept: enough to tell client programs apart.
const MAX_USER_AGENT: usize = 256;

/// The client's connection, shared by its requests.
pub struct Peer {
    /// What `listen` knows of it.
    pub facts: Facts,
}

/// One request and what was decided about it.
pub(super) struct Request {
    pub decision: Decision,
    pub version: WireVersion,
    pub scheme: Scheme,
    /// The client's TLS ends here, and not at a balancer that says so.
    pub own_tls: bool,
    pub host: Box<str>,
    pub authority: Box<str>,
    pub target: Box<str>,
    pub upgrade: Upgrade,
    pub grpc: bool,
    pub client: IpAddr,
    pub request_id: String,
    pub user_agent: Option<Box<str>>,
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
    /// In seconds since the Unix epoch.
    pub now: u64,
}

/// Reads a head that the engine has parsed, and decides. `absolute` is the authority of an absolute target,
/// which the engine keeps in its own way.
///
/// What belongs to the connection (the gate, the certificate that it was asked for) is that of what serves, also where
/// a candidate serves the request.
pub(super) fn read(
    peer: &Peer,
    pinned: &Pinned,
    known: Known<'_>,
    head: &RequestHeader,
    absolute: Option<&str>,
) -> (Request, Option<Side>) {
    let Known { learned, levers, now } = known;
    let snapshot = &*pinned.stable;
    let parsed = parsed(head, absolute);
    let mut scratch = String::new();
    let admitted = parsed.and_then(|parsed| admit(peer, snapshot, parsed, now, &mut scratch));
    let Admitted { facts, secure, certificate } = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => return (refused(peer, snapshot, head, parsed.ok(), refusal), None),
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
    let request_id = forwarding::request_id(facts.headers, &snapshot.identify.credentials, fresh_id);
    let edits = match &decision.verdict {
        Verdict::Forward { cell, .. } => {
            let told = Told {
                client,
                account: decision.account,
                cell: snapshot.cell(*cell).name.as_str(),
                generation: snapshot.generation.0,
                request_id: &request_id,
                trace: (fastrand::u128(..), fastrand::u64(..)),
                own_cookie: snapshot.routing_cookie(decision.role),
                client_certificate: certificate.map(ClientCertificate::told),
            };
            Some(forwarding::outgoing(&facts, &told))
        }
        Verdict::Hold { .. } | Verdict::Redirect { .. } | Verdict::Refuse(_) => None,
    };
    let request = Request {
        version: facts.version,
        scheme: facts.connection.scheme,
        own_tls: peer.facts.tls.is_some(),
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
        hsts: hsts(snapshot, &facts),
        // Whoever is sent to HTTPS asks again there.
        planned: if secure.is_some() { None } else { planned(snapshot, &facts, &decision, levers, now) },
        secure,
        decision,
    };
    (request, side)
}

fn parsed<'a>(head: &'a RequestHeader, absolute: Option<&'a str>) -> Result<ParsedHead<'a>, Refusal> {
    let version = version(head);
    let h2_authority = head.uri.authority().filter(|_| version == WireVersion::Http2);
    Ok(ParsedHead {
        method: &head.method,
        version,
        authority: absolute.or_else(|| h2_authority.map(http::uri::Authority::as_str)),
        target: std::str::from_utf8(head.raw_path()).map_err(|_| BadRequest::RequestLine)?,
        protocol: head.extensions.get::<h2::ext::Protocol>().map(h2::ext::Protocol::as_str),
        headers: &head.headers,
    })
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
fn refused(
    peer: &Peer,
    snapshot: &Snapshot,
    head: &RequestHeader,
    parsed: Option<ParsedHead<'_>>,
    refusal: Refusal,
) -> Request {
    let connection = peer.facts.for_policy();
    let mut scratch = String::new();
    let host = parsed.and_then(|parsed| gate::host(&parsed, connection, &mut scratch)).unwrap_or_default();
    let target = parsed.map_or("", |parsed| parsed.target);
    Request {
        decision: Decision::refused_on(snapshot, host, refusal),
        version: version(head),
        scheme: connection.scheme,
        own_tls: peer.facts.tls.is_some(),
        host: host.into(),
        authority: Box::default(),
        target: target[..target.floor_char_boundary(snapshot.limits.target_bytes)].into(),
        upgrade: Upgrade::None,
        grpc: is_grpc(&head.headers),
        client: peer.facts.client(),
        request_id: forwarding::request_id(&head.headers, &snapshot.identify.credentials, fresh_id),
        user_agent: user_agent(&head.headers),
        edits: None,
        navigation: false,
        hsts: None,
        secure: None,
        planned: None,
    }
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

pub(super) fn version(head: &RequestHeader) -> WireVersion {
    match head.version {
        http::Version::HTTP_2 => WireVersion::Http2,
        http::Version::HTTP_10 => WireVersion::Http10,
        _ => WireVersion::Http11,
    }
}

fn hsts(snapshot: &Snapshot, facts: &RequestFacts<'_>) -> Option<u64> {
    let host = snapshot.hosts.find(facts.host).filter(|_| facts.connection.scheme == Scheme::Https)?;
    host.rule.hsts
}

fn user_agent(headers: &HeaderMap) -> Option<Box<str>> {
    let value = headers.get(header::USER_AGENT)?.to_str().ok()?;
    Some(value[..value.floor_char_boundary(MAX_USER_AGENT)].into())
}
