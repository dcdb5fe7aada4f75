//! Client certificates (mTLS): what a host asks for, whether what a client has shown is that, and which requests
//! may come on which connection. `proxy` and `explain` both ask [`admit`].
//!
//! The rule has two halves. A request counts only where the server name of its connection asks for the
//! same as its host does, both by the snapshot of the request: a connection that was made under one
//! policy never carries requests under another, whatever the client writes into Host (421). And what the
//! client showed must satisfy the policy of now, which may be younger than the handshake.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use x509_parser::parse_x509_certificate;

use super::hex::hex;
use super::refusal::Refusal;
use super::snapshot::Snapshot;

/// Most bytes of a subject that cells are told; names of people and services have some 100.
const MAX_SUBJECT: usize = 1_024;

/// What a host asks of its clients.
#[derive(Clone)]
pub struct ClientPolicy {
    /// Whether there is no handshake without a certificate.
    pub required: bool,
    /// Its authorities and lists were read. Only where somebody explains a decision without having these files
    /// they were not; such a policy accepts nobody.
    pub known: bool,
    /// Everything that decides: mode, authorities, revocation lists. Equal text, equal policy.
    pub identity: Arc<str>,
    /// Digests of the authorities, lower-case hex, sorted.
    pub authorities: Arc<[Box<str>]>,
    /// Judges certificates; opaque here.
    pub verifier: Arc<dyn ClientCertVerifier>,
    /// When the first of the revocation lists is past its next update and refuses what it speaks for;
    /// seconds since the Unix epoch, `None` without lists.
    pub crl_until: Option<i64>,
}

/// A client's certificate chain.
#[derive(Debug)]
pub struct ClientCertificate {
    /// The client's own first; never empty.
    chain: Vec<CertificateDer<'static>>,
    /// End of validity of the first, seconds since the Unix epoch.
    not_after: i64,
    /// See [`ClientCertificate::told`].
    told: Box<str>,
    /// The identity of the policy that it was last found to satisfy.
    satisfied: Mutex<Option<Arc<str>>>,
}

/// What has to be looked at before a request of a connection may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement<'a> {
    /// The host asks for nothing.
    Free,
    /// The connection was made under another policy than the host's: 421.
    Misdirected,
    /// The host asks for this; the connection's certificate must satisfy it.
    Under(&'a ClientPolicy),
}

/// Judges a request to `host` on a connection for the server name `sni`, whose client has `shown` this, at `now`
/// (seconds since the Unix epoch). A connection without TLS of ours has no `sni` and shows nothing. Gives what
/// the cell is told of: a certificate that was asked for.
pub fn admit<'a>(
    snapshot: &Snapshot,
    sni: Option<Option<&str>>,
    host: &str,
    shown: Option<&'a ClientCertificate>,
    now: u64,
) -> Result<Option<&'a ClientCertificate>, Refusal> {
    match judge(snapshot, sni, host) {
        Judgement::Free => Ok(None),
        Judgement::Under(policy) if policy.accepts(shown, now) => Ok(shown),
        Judgement::Under(_) | Judgement::Misdirected => Err(Refusal::Misdirected),
    }
}

impl ClientPolicy {
    /// What a host asks for by this snapshot.
    pub fn of<'a>(snapshot: &'a Snapshot, host: &'a str) -> Option<&'a Arc<Self>> {
        snapshot.hosts.find(host).and_then(|found| found.rule.client_certificate.as_ref())
    }

    /// Whether what a client has shown satisfies it at a moment, in seconds since the Unix epoch.
    pub fn accepts(&self, shown: Option<&ClientCertificate>, now: u64) -> bool {
        match shown {
            Some(certificate) => certificate.satisfies(self, now),
            None => !self.required,
        }
    }
}

impl ClientCertificate {
    /// A chain, the client's own certificate first; `None` where that cannot be read.
    pub fn new(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let first = chain.first()?;
        let (_, parsed) = parse_x509_certificate(first).ok()?;
        Some(Self {
            chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
            not_after: parsed.validity().not_after.timestamp(),
            told: told(first, &parsed.subject().to_string()).into(),
            satisfied: Mutex::default(),
        })
    }

    /// Remembers that its handshake has found it to satisfy a policy.
    #[must_use]
    pub fn verified(self, policy: &ClientPolicy) -> Self {
        Self { satisfied: Mutex::new(Some(Arc::clone(&policy.identity))), ..self }
    }

    /// What cells are told of it: `sha256="<64 hex digits>", subject="CN=..."`, a structured dictionary
    /// (RFC 9651). In the subject everything but plain visible ASCII stands as `%XX`.
    pub fn told(&self) -> &str {
        &self.told
    }

    /// Verified again only where the policy is another one than last time: after a reload, once for each
    /// connection.
    fn satisfies(&self, policy: &ClientPolicy, now: u64) -> bool {
        let moment = i64::try_from(now).unwrap_or(i64::MAX);
        if self.not_after < moment || policy.crl_until.is_some_and(|until| until <= moment) {
            return false;
        }
        let mut satisfied = self.satisfied.lock().unwrap_or_else(PoisonError::into_inner);
        if satisfied.as_ref() == Some(&policy.identity) {
            return true;
        }
        let (first, rest) = self.chain.split_first().expect("a chain is made with its first certificate");
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let good = policy.verifier.verify_client_cert(first, rest, now).is_ok();
        if good {
            *satisfied = Some(Arc::clone(&policy.identity));
        }
        good
    }
}

/// The first half of [`admit`]. A connection without TLS of ours
/// (`None`) cannot show a certificate: it may go where one is optional.
fn judge<'a>(snapshot: &'a Snapshot, sni: Option<Option<&'a str>>, host: &'a str) -> Judgement<'a> {
    if !snapshot.hosts.ask_for_certificates() {
        return Judgement::Free;
    }
    let asked = ClientPolicy::of(snapshot, host);
    let Some(sni) = sni else {
        let required = asked.is_some_and(|policy| policy.required);
        return if required { Judgement::Misdirected } else { Judgement::Free };
    };
    let made_under = sni.and_then(|sni| ClientPolicy::of(snapshot, sni));
    match (asked, made_under) {
        (None, None) => Judgement::Free,
        (Some(asked), Some(made_under)) if asked == made_under => Judgement::Under(asked),
        (Some(_), Some(_)) | (Some(_), None) | (None, Some(_)) => Judgement::Misdirected,
    }
}

impl PartialEq for ClientPolicy {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for ClientPolicy {}

impl fmt::Debug for ClientPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientPolicy").field("identity", &self.identity).finish_non_exhaustive()
    }
}

fn told(der: &[u8], subject: &str) -> String {
    let mut told = format!("sha256=\"{}\", subject=\"", hex(digest(&SHA256, der)));
    for byte in subject.bytes().take(MAX_SUBJECT) {
        match byte {
            b'"' | b'\\' | b'%' | ..b' ' | 0x7f.. => {
                let _ = write!(told, "%{byte:02X}");
            }
            plain => told.push(char::from(plain)),
        }
    }
    told.push('"');
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_cannot_say_more_than_it_is() {
        let said = told(b"der", "CN=a\", sha256=\"0, O=\\ 100% \u{e9}\r\n");
        assert!(said[8..72].bytes().all(|digit| digit.is_ascii_hexdigit()), "{said}");
        assert_eq!(&said[72..], "\", subject=\"CN=a%22, sha256=%220, O=%5C 100%25 %C3%A9%0D%0A\"");
        assert!(told(b"der", &"x".repeat(5_000)).len() < 1_200);
    }
}
