//! The certificate that a client has shown in its handshake, and whether it satisfies a policy.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::parse_x509_certificate;

use crate::policy::client_certificate::ClientPolicy;
use crate::policy::hex::hex;

/// Most bytes of a subject that cells are told; names of people and services have some 100.
const MAX_SUBJECT: usize = 1_024;

/// A client's certificate chain, verified in the handshake.
#[derive(Debug)]
pub struct ClientCertificate {
    /// The client's own first; never empty.
    chain: Vec<CertificateDer<'static>>,
    /// End of validity of the first, seconds since the Unix epoch.
    not_after: i64,
    /// See [`ClientCertificate::told`].
    told: Box<str>,
    /// The identity of the policy that it was last found to satisfy.
    satisfied: Mutex<Arc<str>>,
}

impl ClientCertificate {
    /// What was verified in a handshake under `policy`; `None` where it cannot be read, which rustls would
    /// have refused before.
    pub(super) fn new(chain: &[CertificateDer<'_>], policy: &ClientPolicy) -> Option<Self> {
        let first = chain.first()?;
        let (_, parsed) = parse_x509_certificate(first).ok()?;
        Some(Self {
            chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
            not_after: parsed.validity().not_after.timestamp(),
            told: told(first, &parsed.subject().to_string()).into(),
            satisfied: Mutex::new(Arc::clone(&policy.identity)),
        })
    }

    /// What cells are told of it: `sha256="<64 hex digits>", subject="CN=..."`, a structured dictionary
    /// (RFC 9651). In the subject everything but plain visible ASCII stands as `%XX`.
    pub fn told(&self) -> &str {
        &self.told
    }

    /// Whether it satisfies a policy, at a moment in seconds since the Unix epoch. Verified again only
    /// where the policy is another one than last time: after a reload, once for each connection.
    pub fn satisfies(&self, policy: &ClientPolicy, now: u64) -> bool {
        let moment = i64::try_from(now).unwrap_or(i64::MAX);
        if self.not_after < moment || policy.crl_until.is_some_and(|until| until <= moment) {
            return false;
        }
        let mut satisfied = self.satisfied.lock().unwrap_or_else(PoisonError::into_inner);
        if *satisfied == policy.identity {
            return true;
        }
        let (first, rest) = self.chain.split_first().expect("a chain is made with its first certificate");
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
        let good = policy.verifier.verify_client_cert(first, rest, now).is_ok();
        if good {
            *satisfied = Arc::clone(&policy.identity);
        }
        good
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
