//! Where a request belongs that came in without TLS on a listener that sends everything to HTTPS.

use super::facts::RequestFacts;
use super::refusal::Refusal;
use super::snapshot::Snapshot;

/// The port that an https URL need not name (RFC 9110 section 4.2.2).
const HTTPS_PORT: u16 = 443;

/// The same resource over HTTPS on `port`: always on a host of the configuration, so that nobody can be
/// sent anywhere else through us.
///
/// # Errors
/// [`Refusal::Misdirected`] for a host that is not served.
pub fn location(snapshot: &Snapshot, facts: &RequestFacts<'_>, port: u16) -> Result<String, Refusal> {
    snapshot.hosts.find(facts.host).ok_or(Refusal::Misdirected)?;
    let host = facts.host;
    let target = if facts.target == "*" { "/" } else { facts.target };
    Ok(match port {
        HTTPS_PORT => format!("https://{host}{target}"),
        port => format!("https://{host}:{port}{target}"),
    })
}
