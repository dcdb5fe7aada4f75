//! TLS for simulated cells and for clients, from PEM texts. Not the edge's TLS: no reload, no
//! certificate selection, whatever a test needs and nothing more.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What a simulated cell shows and asks for in TLS.
#[derive(Clone)]
pub struct ServerTls {
    /// The certificate, or the chain, leaf first.
    pub cert_pem: String,
    /// The leaf's private key.
    pub key_pem: String,
    /// When given, clients must show a certificate signed by this authority.
    pub client_ca_pem: Option<String>,
}

impl ServerTls {
    /// Reads the texts; `alpn` are the protocols offered, the preferred first (RFC 7301).
    pub fn acceptor(&self, alpn: &[&str]) -> Result<TlsAcceptor, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?;
        let builder = match &self.client_ca_pem {
            None => builder.with_no_client_auth(),
            Some(ca) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(
                    Arc::new(roots(ca)?),
                    Arc::new(aws_lc_rs::default_provider()),
                )
                .build()?,
            ),
        };
        let mut config = builder.with_single_cert(chain(&self.cert_pem)?, key(&self.key_pem)?)?;
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// What a client trusts, and how it proves itself.
#[derive(Clone)]
pub struct ClientTls {
    /// The only authority it trusts.
    pub ca_pem: String,
    /// Certificate and key that it shows when asked.
    pub identity: Option<(String, String)>,
}

impl ClientTls {
    /// A client that trusts `ca_pem` and shows no certificate.
    pub fn trusting(ca_pem: &str) -> Self {
        Self { ca_pem: ca_pem.to_owned(), identity: None }
    }

    /// Reads the texts; `alpn` are the protocols asked for, the preferred first.
    pub fn connector(&self, alpn: &[&str]) -> Result<TlsConnector, TlsError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(&self.ca_pem)?);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((cert_pem, key_pem)) => builder.with_client_auth_cert(chain(cert_pem)?, key(key_pem)?)?,
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// Why a PEM text was no good. The text itself is never shown: it may be a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or not of the kind expected here.
    #[error("reading the {what} as PEM")]
    Pem {
        /// Which of the texts.
        what: &'static str,
        /// What the reader found.
        source: rustls::pki_types::pem::Error,
    },
    /// The certificate text holds no certificate.
    #[error("the certificate text holds no certificate; expected BEGIN CERTIFICATE")]
    NoCertificate,
    /// TLS refused the certificate or the key.
    #[error("using the certificate and key")]
    Rustls(#[from] rustls::Error),
    /// The client authority cannot be used to verify clients.
    #[error("using the client authority")]
    ClientAuthority(#[from] rustls::server::VerifierBuilderError),
}

fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certs = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Pem { what: "certificate", source })?;
    if certs.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    Ok(certs)
}

fn key(pem: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|source| TlsError::Pem { what: "private key", source })
}

/// The authorities of a PEM text.
pub(crate) fn roots(pem: &str) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for cert in chain(pem)? {
        store.add(cert)?;
    }
    Ok(store)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_no_certificate_is_named_without_being_shown() {
        let tls = ClientTls::trusting("a secret in the wrong place");
        let error = tls.connector(&["h2"]).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("BEGIN CERTIFICATE"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
