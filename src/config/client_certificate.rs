//! `hosts[].client_certificate` of `cellgate.yaml`: whose certificates clients must have.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};

use super::cells::named_file;
use super::files::Sources;
use super::raw;
use super::slot::Slot;
use super::tls::Tls;
use crate::policy::client_certificate::ClientPolicy;
use crate::policy::code::Code;

/// Reads what a host asks for, where it asks.
pub(super) fn read(
    slot: Slot<'_, raw::ClientCertificate>,
    sources: &Sources,
    tls: &Tls,
) -> Option<Arc<ClientPolicy>> {
    let at = slot.at.clone();
    let mut raw = at.open(slot.optional()?);
    let mode = raw.mode(&at).word(&[("required", true), ("optional", false)]).required();
    let ca = raw.ca(&at);
    if !ca.is_there() {
        ca.at.refuse(Code::Missing, "missing", "a PEM file of the authorities that sign client certificates");
    }
    let ca = named_file(ca, sources);
    let crl = named_file(raw.crl(&at), sources);
    let read = || {
        let (ca, ca_at) = ca?;
        let roots = tls.roots(ca?, &ca_at)?;
        let crls = match crl {
            None => None,
            Some((crl, at)) => Some(tls.crls(crl?, &at)?),
        };
        tls.client_policy(roots, crls, mode?, &at)
    };
    // What is wrong is in the report by then, and nothing is served so; an explanation can still say that the
    // host asks.
    Some(Arc::new(read().unwrap_or_else(|| unknown(mode.unwrap_or(true)))))
}

/// The policy of a host whose files could not be read.
fn unknown(required: bool) -> ClientPolicy {
    let verifier = Arc::new(Nobody);
    let (identity, authorities) = ("unknown".into(), [].into());
    ClientPolicy { required, known: false, identity, authorities, verifier, crl_until: None }
}

/// Accepts no certificate.
#[derive(Debug)]
struct Nobody;

impl Nobody {
    const REFUSED: rustls::Error = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
}

impl ClientCertVerifier for Nobody {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Err(Self::REFUSED)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(Self::REFUSED)
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(Self::REFUSED)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Vec::new()
    }
}
