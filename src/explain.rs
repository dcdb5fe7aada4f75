//! An explanation: a decision in words. The deciding is `policy`'s; here it is only told.

mod client_certificate;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};

pub use self::client_certificate::Shown;
use self::client_certificate::{Asked, Way};
use crate::policy::annotate;
use crate::policy::brownout::{self, BrownoutMode, Planned};
use crate::policy::calendar::show_moment;
use crate::policy::decide::{Decision, Source, Verdict, Why, decide};
use crate::policy::facts::{ConnectionFacts, RequestFacts, Scheme, WireVersion};
use crate::policy::forwarding::{self, Told};
use crate::policy::gate::{self, ParsedHead};
use crate::policy::hosts::Role;
use crate::policy::learned::LearnedTable;
use crate::policy::refusal::Refusal;
use crate::policy::request_id::RequestId;
use crate::policy::snapshot::Snapshot;
use crate::policy::text::Slate;

/// Documentation address (RFC 5737) that stands for the client.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// What stands for values that only a running process and a real request have.
const GENERATION: &str = "(of the running process)";

/// The verdict on a request that waits because its account moves.
const HOLD: &str = "hold, for the account is moving";

/// A request to explain.
#[derive(Clone, Debug)]
pub struct Question {
    /// Method.
    pub method: Method,
    /// Host header, with or without port.
    pub host: String,
    /// Path and query.
    pub target: String,
    /// Further fields.
    pub headers: HeaderMap,
    /// The client speaks TLS.
    pub tls: bool,
    /// What it shows where it is asked for a certificate.
    pub shown: Shown,
}

/// What would happen, and why.
#[derive(Clone, Debug)]
pub struct Explanation {
    verdict: String,
    refusal: Option<Refusal>,
    account: Option<u64>,
    own_address: Option<String>,
    source: Source,
    cell: Option<String>,
    why: Option<&'static str>,
    conflicts: Vec<(Source, Source)>,
    generation: u64,
    hash: String,
    role: Option<Role>,
    surface: Option<String>,
    misordered_host: bool,
    client: Option<String>,
    /// The brownout that it meets, or the sunset, in words.
    planned: Option<String>,
    /// What the host asks of its clients.
    certificate: Option<Asked>,
    /// Whether learned credentials were looked at.
    learned: bool,
    /// Fields that the cell would get from us.
    to_cell: Vec<(String, String)>,
    /// Fields for the client: on a 200 of the cell, or on our own answer.
    to_client: Vec<(String, String)>,
}

/// Explains a request under a snapshot at `now`, in seconds since the Unix epoch. Without a table of learned
/// credentials it says so.
pub fn explain(
    snapshot: &Snapshot,
    learned: Option<&LearnedTable>,
    question: &Question,
    now: u64,
) -> Explanation {
    let mut headers = question.headers.clone();
    if let Ok(host) = HeaderValue::from_str(&question.host) {
        headers.insert(header::HOST, host);
    }
    let head = ParsedHead {
        method: &question.method,
        version: WireVersion::Http11,
        authority: None,
        target: &question.target,
        protocol: None,
        headers: &headers,
    };
    let scheme = if question.tls { Scheme::Https } else { Scheme::Http };
    let connection = ConnectionFacts { scheme, peer: CLIENT, certificate_names: None };
    let mut scratch = String::new();
    let nothing = LearnedTable::default();
    let explanation = match gate::facts(head, connection, &snapshot.limits, &mut scratch) {
        Ok(facts) => {
            let (certificate, way) = client_certificate::judge(snapshot, &facts, &question.shown, now);
            let explanation = match way {
                Way::Served(told) => {
                    let decision = decide(snapshot, learned.unwrap_or(&nothing), &facts, now);
                    let moment = i64::try_from(now).unwrap_or(i64::MAX);
                    // Levers are of a running process: here none has ended one.
                    let planned = brownout::planned(snapshot, &facts, &decision, moment, |_| false);
                    let explanation =
                        decided(snapshot, &facts, as_planned(decision, planned), told.as_deref());
                    let planned = planned.map(|planned| in_words(snapshot, planned));
                    Explanation { planned, ..explanation }
                }
                Way::Refused(refusal) => from_decision(snapshot, &Decision::refused(refusal)),
                Way::NoConnection => no_connection(snapshot, facts.host),
            };
            Explanation { certificate, ..explanation }
        }
        Err(refusal) => from_decision(snapshot, &Decision::refused(refusal)),
    };
    Explanation { learned: learned.is_some(), ..explanation }
}

/// A decision, or the refusal that was planned in its place.
fn as_planned(decision: Decision, planned: Option<Planned>) -> Decision {
    match planned.and_then(Planned::refusal) {
        Some(refusal) => Decision { verdict: Verdict::Refuse(refusal), ..decision },
        None => decision,
    }
}

fn in_words(snapshot: &Snapshot, planned: Planned) -> String {
    match planned {
        Planned::Brownout { index, mode, until } => {
            let does = if mode == BrownoutMode::Observe { ", which refuses nobody" } else { "" };
            let id = &snapshot.brownouts.at(index).id;
            format!("{id} ({}) until {}{does}", mode.as_str(), show_moment(until))
        }
        Planned::Sunset { gone: false } => "none: the sunset has passed for the account".to_owned(),
        Planned::Sunset { gone: true } => "none: the sunset has passed for everybody".to_owned(),
    }
}

/// Of a client whose handshake fails: nothing is decided, and only the host is known.
fn no_connection(snapshot: &Snapshot, host: &str) -> Explanation {
    let decision = Decision::refused_on(snapshot, host, Refusal::Internal);
    let explanation = from_decision(snapshot, &decision);
    Explanation { verdict: "no connection".to_owned(), refusal: None, ..explanation }
}

/// `certificate` is what the cell is told of the client's.
fn decided(
    snapshot: &Snapshot,
    facts: &RequestFacts<'_>,
    decision: Decision,
    certificate: Option<&str>,
) -> Explanation {
    let mut explanation = from_decision(snapshot, &decision);
    if let Verdict::Forward { cell, .. } = decision.verdict {
        let own_id = RequestId::said(facts.headers, &snapshot.identify.credentials);
        let request_id = own_id.map_or(HeaderValue::from_static("(new)"), |id| id.value());
        let told = Told {
            client: forwarding::client_ip(CLIENT, facts.headers, &snapshot.trusted_proxies),
            account: decision.account,
            cell: snapshot.cell(cell).name.as_str(),
            generation: snapshot.generation.0,
            request_id: &request_id,
            trace: forwarding::Trace::Passed(1, 1),
            // The client's own cookies are no fields of ours, and may be a secret.
            own_cookie: None,
            client_certificate: certificate,
        };
        let edits = forwarding::outgoing(facts, &told, &mut Slate::default());
        explanation.to_cell = fields(edits.add.iter().map(|(name, value)| (name, value)));
        let generation = forwarding::X_CELLGATE_GENERATION;
        for (_, value) in explanation.to_cell.iter_mut().filter(|(name, _)| **name == generation) {
            GENERATION.clone_into(value);
        }
    }
    if let Some(schedule) = decision.schedule {
        let mut answer = HeaderMap::new();
        let successor = explanation.own_address.as_ref().map(|own| format!("https://{own}{}", facts.target));
        annotate::annotate(snapshot.schedule(schedule), successor.as_deref(), &mut answer);
        explanation.to_client = fields(answer.iter());
    }
    explanation
}

fn from_decision(snapshot: &Snapshot, decision: &Decision) -> Explanation {
    let (verdict, refusal, cell, why) = match &decision.verdict {
        Verdict::Forward { cell, why } => {
            ("forward".to_owned(), None, Some(snapshot.cell(*cell).name.to_string()), Some(why.as_str()))
        }
        Verdict::Hold { cell } => {
            let cell = snapshot.cell(*cell).name.to_string();
            (HOLD.to_owned(), None, Some(cell), Some(Why::Mapped.as_str()))
        }
        Verdict::Redirect { location } => (format!("redirect to {location}"), None, None, None),
        Verdict::Refuse(refusal) => ("refuse".to_owned(), Some(*refusal), None, None),
    };
    let surface = decision.surface.map(|surface| snapshot.surface(surface).name.to_string());
    Explanation {
        verdict,
        refusal,
        account: decision.account.map(|account| account.value()),
        // Answers of our own never show it.
        own_address: cell.as_ref().and(decision.own_address(snapshot)).map(|address| address.to_string()),
        source: decision.source,
        cell,
        why,
        conflicts: decision.conflicts.iter().map(|conflict| (conflict.followed, conflict.against)).collect(),
        generation: snapshot.generation.0,
        hash: snapshot.hash.to_string(),
        role: decision.role,
        surface,
        misordered_host: decision.misordered_host,
        client: decision.client.map(|client| snapshot.clients[usize::from(client)].name.to_string()),
        planned: None,
        certificate: None,
        learned: false,
        to_cell: Vec::new(),
        to_client: Vec::new(),
    }
}

impl Explanation {
    /// A certificate was given, and the authorities that its host asks could not be read: no answer about it
    /// can be believed.
    pub fn has_unjudged_certificate(&self) -> bool {
        self.certificate.as_ref().is_some_and(Asked::is_unjudged)
    }

    /// Whether it was refused for want of a credential, before anything was looked up.
    pub fn lacks_credential(&self) -> bool {
        self.refusal == Some(Refusal::CredentialRequired)
    }

    /// What is decided, in a line: equal decisions have equal lines.
    pub fn decision(&self) -> String {
        let account = self.account.map_or_else(String::new, |account| format!(" (account {account})"));
        let decided = match (&self.refusal, &self.cell) {
            (Some(refusal), _) => format!("{} {}", refusal.status(), refusal.label()),
            (None, Some(cell)) if self.verdict == HOLD => format!("waits at {cell}{account}"),
            (None, Some(cell)) => format!("{cell}{account}"),
            (None, None) => self.verdict.clone(),
        };
        let dates = |(name, value): &(String, String)| {
            matches!(name.as_str(), "deprecation" | "sunset").then(|| format!(" {name} {value}"))
        };
        decided + &self.to_client.iter().filter_map(dates).collect::<String>()
    }

    /// For programs: one object; fields only ever get added.
    pub fn to_json(&self) -> Value {
        let conflicts: Vec<Value> = self
            .conflicts
            .iter()
            .map(|(followed, against)| json!({ "followed": followed.as_str(), "against": against.as_str() }))
            .collect();
        json!({
            "verdict": self.verdict,
            "account": self.account,
            "source": self.source.as_str(),
            "cell": self.cell,
            "why": self.why,
            "conflicts": conflicts,
            // Of a process that starts on this folder; a running one counts its reloads.
            "generation": self.generation,
            "hash": self.hash,
            "headers": { "to_cell": pairs(&self.to_cell), "to_client": pairs(&self.to_client) },
            "refusal": self.refusal.map(|refusal| json!({
                "reason": refusal.label(), "status": refusal.status(), "advice": refusal.advice(),
            })),
            "brownout": self.planned,
            "role": self.role.map(Role::as_str),
            "surface": self.surface,
            "misordered_host": self.misordered_host,
            "own_address": self.own_address,
            "client": self.client,
            "learned": self.learned,
            "client_certificate": self.certificate.as_ref().map(Asked::to_json),
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
        let account = self.account.map_or_else(|| "-".to_owned(), |account| account.to_string());
        writeln!(f, "verdict     {}", self.verdict)?;
        if let Some(refusal) = self.refusal {
            writeln!(f, "refusal     {} {}: {}", refusal.status(), refusal.label(), refusal.advice())?;
        }
        writeln!(f, "account     {account} (source: {})", self.source.as_str())?;
        writeln!(
            f,
            "cell        {}{}",
            text(&self.cell),
            self.why.map_or_else(String::new, |why| format!(" ({why})"))
        )?;
        for (followed, against) in &self.conflicts {
            writeln!(f, "conflict    {} disagrees with {}", against.as_str(), followed.as_str())?;
        }
        let role = match (self.role, self.refusal) {
            (Some(role), _) => role.as_str(),
            (None, Some(Refusal::Misdirected)) if self.certificate.is_some() => "not served without TLS",
            (None, Some(Refusal::Misdirected) | None) => "not served",
            (None, Some(_)) => "not looked at, for the request is refused before",
        };
        let misordered = if self.misordered_host { ", labels in the wrong order" } else { "" };
        writeln!(f, "host        {role}, surface {}{misordered}", text(&self.surface))?;
        writeln!(f, "address     {}", text(&self.own_address))?;
        writeln!(f, "client      {}", self.client.as_deref().unwrap_or("unknown"))?;
        if let Some(planned) = &self.planned {
            writeln!(f, "brownout    {planned}")?;
        }
        if let Some(asked) = &self.certificate {
            writeln!(f, "certificate {asked}")?;
        }
        let learned = if self.learned { "looked at" } else { "not looked at (--state-dir DIR does)" };
        writeln!(f, "learned     {learned}")?;
        writeln!(f, "folder      hash {}", &self.hash[..self.hash.len().min(12)])?;
        let to_client = if self.cell.is_some() { "to the client, on a 200" } else { "to the client" };
        for (title, fields) in [("to the cell", &self.to_cell), (to_client, &self.to_client)] {
            if !fields.is_empty() {
                writeln!(f, "{title}:")?;
            }
            for (name, value) in fields {
                writeln!(f, "  {name}: {value}")?;
            }
        }
        Ok(())
    }
}

fn fields<'a>(
    fields: impl Iterator<Item = (&'a http::HeaderName, &'a HeaderValue)>,
) -> Vec<(String, String)> {
    fields
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

fn pairs(fields: &[(String, String)]) -> Value {
    fields.iter().map(|(name, value)| json!([name, value])).collect()
}
