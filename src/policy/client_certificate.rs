//! Client certificates (mTLS): what a host asks for, and which requests may come on which connection.
//!
//! The rule has two halves. A request counts only where the server name of its connection asks for the
//! same as its host does, both by the snapshot of the request: a connection that was made under one
//! policy never carries requests under another, whatever the client writes into Host (421). And what the
//! client showed must satisfy the policy of now, which may be younger than the handshake.

use std::fmt;
use std::sync::Arc;

use rustls::server::danger::ClientCertVerifier;

use super::snapshot::Snapshot;

/// What a host asks of its clients.
#[derive(Clone)]
pub struct ClientPolicy {
    /// Whether there is no handshake without a certificate.
    pub required: bool,
    /// Everything that decides: mode, authorities, revocation lists. Equal text, equal policy.
    pub identity: Arc<str>,
    /// Judges certificates; opaque here.
    pub verifier: Arc<dyn ClientCertVerifier>,
    /// When the first of the revocation lists is past its next update and refuses what it speaks for;
    /// seconds since the Unix epoch, `None` without lists.
    pub crl_until: Option<i64>,
}

/// What has to be looked at before a request of a connection may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement<'a> {
    /// The host asks for nothing.
    Free,
    /// The connection was made under another policy than the host's: 421.
    Misdirected,
    /// The host asks for this; the connection's certificate must satisfy it.
    Under(&'a ClientPolicy),
}

impl ClientPolicy {
    /// What a host asks for by this snapshot.
    pub fn of<'a>(snapshot: &'a Snapshot, host: &'a str) -> Option<&'a Arc<Self>> {
        snapshot.hosts.find(host).and_then(|found| found.rule.client_certificate.as_ref())
    }
}

/// Judges a request to `host` on a connection for the server name `sni`. A connection without TLS of ours
/// (`None`) cannot show a certificate: it may go where one is optional.
pub fn judge<'a>(snapshot: &'a Snapshot, sni: Option<Option<&'a str>>, host: &'a str) -> Judgement<'a> {
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
