//! A certificate authority for development and tests: makes ECDSA P-256 server and client
//! certificates in memory.
//!
//! It is not a way to make certificates for production: the authority's key lives beside what it
//! signs, nothing is revocable, and nobody but a test should trust it. This library touches no
//! file and no clock; the `devcerts` program, which keeps a folder of certificates fresh, does.

use std::fmt;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use time::OffsetDateTime;

/// What a certificate may be used for (RFC 5280 section 4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// To prove a server's name to its clients (`serverAuth`).
    Server,
    /// To prove a client to a server that asks for a certificate (`clientAuth`).
    Client,
}

/// From when until when a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First moment at which it is valid.
    pub not_before: SystemTime,
    /// Last moment at which it is valid.
    pub not_after: SystemTime,
}

/// A certificate and its private key, both in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The leaf certificate alone; the authority's is [`Authority::ca_pem`].
    pub cert_pem: String,
    /// Its private key, PKCS #8.
    pub key_pem: String,
}

/// Shows the certificate and hides the key.
impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("cert_pem", &self.cert_pem).field("key_pem", &"[private]").finish()
    }
}

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No name was given, so the certificate would be good for nothing.
    #[error("a certificate needs at least one name: give a DNS name or an IP address")]
    NoName,
    /// A name, a key or a certificate was not accepted by the X.509 library.
    #[error(transparent)]
    X509(#[from] rcgen::Error),
}

/// A certificate authority: one self-signed certificate and its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    validity: Option<Validity>,
    ca_pem: String,
}

impl Authority {
    /// A new authority called `name`. It and all it issues hold from 1975 to 4096, so that no test
    /// ever depends on the day it runs.
    pub fn new(name: &str) -> Result<Self, Error> {
        Self::made(name, None)
    }

    /// A new authority that holds, as does all that it issues, for `validity`.
    pub fn with_validity(name: &str, validity: Validity) -> Result<Self, Error> {
        Self::made(name, Some(validity))
    }

    /// The authority that an earlier run wrote down; what it issues from now on holds for `validity`.
    pub fn from_pem(ca_pem: &str, key_pem: &str, validity: Validity) -> Result<Self, Error> {
        let issuer = Issuer::from_ca_cert_pem(ca_pem, KeyPair::from_pem(key_pem)?)?;
        Ok(Self { issuer, validity: Some(validity), ca_pem: ca_pem.to_owned() })
    }

    /// Issues a certificate for `names`: DNS names, wildcard names (`*.example.com`) and IP addresses
    /// (RFC 6125). The first is also the subject's common name.
    pub fn issue(&self, names: &[&str], usage: Usage) -> Result<Pair, Error> {
        let first = names.first().ok_or(Error::NoName)?;
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = subject(first);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        // Lets a reader of the folder see which authority signed what, without checking signatures.
        params.use_authority_key_identifier_extension = true;
        hold_for(&mut params, self.validity);

        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok(Pair { cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }

    /// The authority's own certificate: what a client is told to trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The authority's private key, PKCS #8 PEM, for [`Authority::from_pem`].
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    fn made(name: &str, validity: Option<Validity>) -> Result<Self, Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = subject(name);
        // Zero: it signs leaves only, never another authority.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        hold_for(&mut params, validity);

        // The library's default algorithm is ECDSA on P-256 with SHA-256: accepted by every client we test with.
        let key = KeyPair::generate()?;
        let ca_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), validity, ca_pem })
    }
}

fn subject(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn hold_for(params: &mut CertificateParams, validity: Option<Validity>) {
    if let Some(Validity { not_before, not_after }) = validity {
        params.not_before = OffsetDateTime::from(not_before);
        params.not_after = OffsetDateTime::from(not_after);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use x509_parser::pem::parse_x509_pem;

    use super::*;

    /// What a test wants to know of a certificate.
    #[derive(Debug, PartialEq, Eq)]
    struct Seen {
        subject: String,
        issuer: String,
        names: Vec<String>,
        server: bool,
        client: bool,
        ca: bool,
    }

    fn seen(pem: &str) -> Seen {
        let (_, pem) = parse_x509_pem(pem.as_bytes()).unwrap();
        let cert = pem.parse_x509().unwrap();
        let usage = cert.extended_key_usage().unwrap().map(|ext| ext.value);
        Seen {
            subject: cert.subject().to_string(),
            issuer: cert.issuer().to_string(),
            names: cert
                .subject_alternative_name()
                .unwrap()
                .map(|ext| ext.value.general_names.iter().map(|n| n.to_string()).collect())
                .unwrap_or_default(),
            server: usage.is_some_and(|u| u.server_auth),
            client: usage.is_some_and(|u| u.client_auth),
            ca: cert.is_ca(),
        }
    }

    #[test]
    fn a_server_certificate_carries_all_its_names_and_its_issuer() {
        let authority = Authority::new("test authority").unwrap();
        let pair = authority.issue(&["us1.dbt.com", "*.us1.dbt.com", "127.0.0.1"], Usage::Server).unwrap();
        assert_eq!(
            seen(&pair.cert_pem),
            Seen {
                subject: "CN=us1.dbt.com".into(),
                issuer: "CN=test authority".into(),
                names: vec![
                    "DNSName(us1.dbt.com)".into(),
                    "DNSName(*.us1.dbt.com)".into(),
                    "IPAddress(7f:00:00:01)".into(),
                ],
                server: true,
                client: false,
                ca: false,
            }
        );
    }

    #[test]
    fn a_client_certificate_is_for_clients_only() {
        let authority = Authority::new("test authority").unwrap();
        let pair = authority.issue(&["cellgate"], Usage::Client).unwrap();
        let seen = seen(&pair.cert_pem);
        assert_eq!((seen.server, seen.client), (false, true));
        assert_eq!(seen.subject, "CN=cellgate");
    }

    #[test]
    fn the_authority_may_sign_and_says_so() {
        let authority = Authority::new("test authority").unwrap();
        assert!(seen(authority.ca_pem()).ca);
    }

    #[test]
    fn a_certificate_without_a_name_is_refused() {
        let authority = Authority::new("test authority").unwrap();
        assert!(matches!(authority.issue(&[], Usage::Server), Err(Error::NoName)));
    }

    #[test]
    fn a_name_that_is_not_ascii_is_refused() {
        let authority = Authority::new("test authority").unwrap();
        assert!(matches!(authority.issue(&["zürich.example"], Usage::Server), Err(Error::X509(_))));
    }

    #[test]
    fn an_authority_read_back_signs_under_the_same_name_and_key() {
        let validity = Validity {
            not_before: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(86_400),
        };
        let first = Authority::with_validity("test authority", validity).unwrap();
        let again = Authority::from_pem(first.ca_pem(), &first.key_pem(), validity).unwrap();
        let pair = again.issue(&["localhost"], Usage::Server).unwrap();

        assert_eq!(seen(&pair.cert_pem).issuer, "CN=test authority");
        assert_eq!(again.key_pem(), first.key_pem());
        let (_, pem) = parse_x509_pem(pair.cert_pem.as_bytes()).unwrap();
        let until = pem.parse_x509().unwrap().validity().not_after.timestamp();
        assert_eq!(until, 86_400);
    }

    #[test]
    fn a_printed_pair_hides_its_key() {
        let authority = Authority::new("test authority").unwrap();
        let pair = authority.issue(&["localhost"], Usage::Server).unwrap();
        let printed = format!("{pair:?}");
        assert!(printed.contains("BEGIN CERTIFICATE"));
        assert!(!printed.contains("PRIVATE KEY"));
    }
}
