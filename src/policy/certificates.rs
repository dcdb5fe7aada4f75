//! Server certificates by name: which one a ClientHello gets, and which names it covers.

use std::collections::HashMap;
use std::sync::Arc;

use super::facts::CertificateNames;

/// One certificate with its key, and the names it stands for.
#[derive(Debug)]
pub struct ServerCertificate {
    /// What rustls presents where nothing is stapled; opaque here.
    pub key: Arc<rustls::sign::CertifiedKey>,
    /// Its subject alternative names.
    pub names: CertificateNames,
    /// End of validity, seconds since the Unix epoch, for metrics and `/readyz`.
    pub not_after: i64,
    /// What is stapled to it, where a file was given.
    pub staple: Option<Staple>,
}

/// An OCSP response for a certificate.
#[derive(Clone, Debug)]
pub struct Staple {
    /// The certificate with the response, as rustls presents it; opaque here.
    pub key: Arc<rustls::sign::CertifiedKey>,
    /// From when it holds, seconds since the Unix epoch.
    pub from: i64,
    /// Until when.
    pub until: i64,
}

impl Staple {
    /// Whether it may be sent at `now`: a stale response is worse than none, because clients refuse it.
    pub fn is_fresh(&self, now: i64) -> bool {
        (self.from..self.until).contains(&now)
    }
}

/// Certificates by exact name and by wildcard.
#[derive(Clone, Debug, Default)]
pub struct CertificateTable {
    exact: HashMap<Box<str>, Arc<ServerCertificate>>,
    wildcard: HashMap<Box<str>, Arc<ServerCertificate>>,
    all: Vec<Arc<ServerCertificate>>,
}

impl CertificateTable {
    /// Indexes certificates by their names; the first that names a host serves it.
    pub fn new(certificates: impl IntoIterator<Item = ServerCertificate>) -> Self {
        let mut table = Self::default();
        for certificate in certificates {
            let certificate = Arc::new(certificate);
            for name in certificate.names.iter() {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut table.wildcard, parent),
                    None => (&mut table.exact, name.as_str()),
                };
                names.entry(name.into()).or_insert_with(|| Arc::clone(&certificate));
            }
            table.all.push(certificate);
        }
        table
    }

    /// The certificate for a lower-case server name.
    pub fn find(&self, name: &str) -> Option<&Arc<ServerCertificate>> {
        self.exact.get(name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.wildcard.get(parent)
        })
    }

    /// The certificate for a client that sends no server name: the first in the configuration.
    pub fn first(&self) -> Option<&Arc<ServerCertificate>> {
        self.all.first()
    }

    /// All certificates, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ServerCertificate>> {
        self.all.iter()
    }
}
