//! What an explanation says of client certificates: what the host asks for, what becomes of the client that is
//! asked about, and of one without. The judging is [`policy`](crate::policy::client_certificate)'s.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::policy::client_certificate::{ClientCertificate, ClientPolicy, admit};
use crate::policy::facts::{RequestFacts, Scheme};
use crate::policy::refusal::Refusal;
use crate::policy::snapshot::Snapshot;

/// What the client shows where it is asked for a certificate.
#[derive(Clone, Debug)]
pub enum Shown {
    /// One that its host accepts, whatever that is.
    Accepted,
    /// None.
    Nothing,
    /// This one.
    This(Arc<ClientCertificate>),
}

/// What a host asks for, and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    required: bool,
    known: bool,
    tls: bool,
    shown: Shown,
    accepted: bool,
}

/// How far a request gets.
pub(super) enum Way {
    /// To where it is decided about; the cell is told this of the certificate.
    Served(Option<String>),
    /// To an answer of ours.
    Refused(Refusal),
    /// The handshake fails, and there is no request.
    NoConnection,
}

/// What stands for what cells are told of a certificate that nobody has shown.
const ASSUMED: &str = "(of the client's certificate)";

/// Judges the client of a request whose connection was made for its host, at `now` in seconds since the Unix
/// epoch.
pub(super) fn judge(
    snapshot: &Snapshot,
    facts: &RequestFacts<'_>,
    shown: &Shown,
    now: u64,
) -> (Option<Asked>, Way) {
    let tls = facts.connection.scheme == Scheme::Https;
    let policy = ClientPolicy::of(snapshot, facts.host);
    let certificate = match shown {
        Shown::This(certificate) if tls => Some(&**certificate),
        _ => None,
    };
    let assumed = tls && matches!(shown, Shown::Accepted);
    // The handshake asks first, and by the same policy, for its server name is the host.
    let accepted = policy.is_none_or(|policy| assumed || policy.accepts(certificate, now));
    let way = if tls && !accepted {
        Way::NoConnection
    } else if assumed {
        Way::Served(policy.map(|_| ASSUMED.to_owned()))
    } else {
        match admit(snapshot, tls.then_some(Some(facts.host)), facts.host, certificate, now) {
            Ok(told) => Way::Served(told.map(|certificate| certificate.told().to_owned())),
            Err(refusal) => Way::Refused(refusal),
        }
    };
    let asked = policy.map(|policy| {
        let ClientPolicy { required, known, .. } = **policy;
        Asked { required, known, tls, shown: shown.clone(), accepted }
    });
    (asked, way)
}

impl Asked {
    /// A certificate was to be judged by authorities that could not be read.
    pub(super) fn is_unjudged(&self) -> bool {
        !self.known && self.tls && matches!(self.shown, Shown::This(_))
    }

    pub(super) fn to_json(&self) -> Value {
        let shown = match self.shown {
            Shown::Accepted if self.tls => "assumed",
            Shown::This(_) if self.tls => "given",
            _ => "none",
        };
        let without = match (self.required, self.tls) {
            (false, _) => "served",
            (true, true) => "no_connection",
            (true, false) => "misdirected",
        };
        json!({
            "mode": self.mode(), "shown": shown, "accepted": self.accepted, "without": without,
            "authorities_read": self.known,
        })
    }

    fn mode(&self) -> &'static str {
        if self.required { "required" } else { "optional" }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.mode())?;
        let without = match (self.required, self.tls) {
            (true, true) => "without one there is no connection",
            (true, false) => "without TLS nobody can show one, and the answer is 421",
            (false, true) => "without one the request is served, and the cell is told of none",
            (false, false) => "without TLS nobody can show one, and the request is served",
        };
        match (&self.shown, self.accepted) {
            _ if !self.tls => f.write_str(without)?,
            (Shown::Accepted, _) => write!(f, "one that is accepted is assumed; {without}")?,
            (Shown::Nothing, _) => f.write_str(without)?,
            (Shown::This(_), true) => f.write_str("this one is accepted")?,
            (Shown::This(_), false) => f.write_str("this one is refused, and there is no connection")?,
        }
        if self.known { Ok(()) } else { f.write_str(" (its authorities could not be read here)") }
    }
}
