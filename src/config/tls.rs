//! Certificates and keys from PEM text to what rustls uses. All that can fail, fails here; `compile` only
//! hands the results on.

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::assets::{self, short_digest};
use super::cells::named_file;
use super::files::Sources;
use super::ocsp::{self, Times};
use super::raw;
use super::revocation::{self, Crls};
use super::slot::{At, Slot};
use super::time::show_moment;
use crate::policy::certificates::{ServerCertificate, Staple};
use crate::policy::client_certificate::ClientPolicy;
use crate::policy::code::Code;
use crate::policy::facts::CertificateNames;
use crate::policy::snapshot::CellTls;

/// Most server certificates; every one is probed with every host.
const MAX_CERTIFICATES: usize = 1_000;

/// Reads certificates, keys and authorities with one provider at one moment.
pub(super) struct Tls {
    provider: Arc<CryptoProvider>,
    /// Seconds since the Unix epoch.
    now: i64,
}

/// A certificate chain and its private key.
pub(super) struct Pair {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

/// What TLS towards a cell is made of.
pub(super) struct Towards {
    pub(super) roots: Roots,
    pub(super) crls: Option<Crls>,
    pub(super) sni: ServerName<'static>,
    pub(super) pair: Option<Pair>,
    pub(super) min_version: MinVersion,
}

/// The oldest version that is spoken with a cell.
#[derive(Clone, Copy)]
pub(super) enum MinVersion {
    Tls12,
    Tls13,
}

/// TLS towards a cell.
pub(super) struct ClientTls {
    pub(super) tls: CellTls,
    /// Everything that decides whom this trusts and who we are, as text for pool keys.
    pub(super) identity: String,
}

/// Authorities and the digest of the file they came from.
pub(super) struct Roots {
    store: rustls::RootCertStore,
    digest: String,
    /// Digests of the single authorities, sorted.
    names: Arc<[Box<str>]>,
}

impl MinVersion {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }

    fn and_later(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self {
            Self::Tls12 => &BOTH,
            Self::Tls13 => &BOTH[..1],
        }
    }
}

impl Tls {
    /// `now` is in seconds since the Unix epoch.
    pub(super) fn new(now: i64) -> Self {
        Self { provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()), now }
    }

    /// Authorities from a PEM file.
    pub(super) fn roots(&self, pem: &[u8], at: &At<'_>) -> Option<Roots> {
        let mut store = rustls::RootCertStore::empty();
        let authorities = chain(pem, at)?;
        let names = assets::digests(&authorities);
        let (added, ignored) = store.add_parsable_certificates(authorities);
        if added == 0 || ignored > 0 {
            at.refuse(
                Code::NotAuthorities,
                format!("{ignored} of {} certificates are not authorities", added + ignored),
                "authorities in PEM",
            );
            return None;
        }
        Some(Roots { store, digest: short_digest(pem), names })
    }

    /// A certificate chain and its key from two PEM files.
    pub(super) fn pair(&self, cert: &[u8], key: &[u8], at: &At<'_>) -> Option<Pair> {
        let chain = chain(cert, at)?;
        match PrivateKeyDer::from_pem_slice(key) {
            Ok(key) => Some(Pair { chain, key }),
            Err(_) => {
                at.refuse(
                    Code::NoPrivateKey,
                    "the key file holds no private key",
                    "a private key in PEM (PKCS #8, PKCS #1 or SEC 1)",
                );
                None
            }
        }
    }

    /// Revocation lists from a PEM file.
    pub(super) fn crls(&self, pem: &[u8], at: &At<'_>) -> Option<Crls> {
        revocation::read(pem, self.now, at)
    }

    /// What a host asks of its clients.
    pub(super) fn client_policy(
        &self,
        roots: Roots,
        crls: Option<Crls>,
        required: bool,
        at: &At<'_>,
    ) -> Option<ClientPolicy> {
        let (mode, listed) = (if required { "required" } else { "optional" }, digest_of(crls.as_ref()));
        let identity = format!("{mode}|ca={}|crl={listed}", roots.digest).into();
        let crl_until = crls.as_ref().map(|crls| crls.until);
        let provider = Arc::clone(&self.provider);
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.store), provider);
        if !required {
            builder = builder.allow_unauthenticated();
        }
        if let Some(crls) = crls {
            builder = builder
                .with_crls(crls.lists)
                .only_check_end_entity_revocation()
                .enforce_revocation_expiration();
        }
        let verifier = unsuitable(builder.build(), at)?;
        Some(ClientPolicy { required, known: true, identity, authorities: roots.names, verifier, crl_until })
    }

    /// TLS towards a cell, built once so that sessions resume.
    pub(super) fn client(&self, towards: Towards, at: &At<'_>) -> Option<ClientTls> {
        let Towards { roots, crls, sni, pair, min_version } = towards;
        let own = pair.as_ref().map_or_else(|| "-".to_owned(), |pair| digest_of_chain(&pair.chain));
        let (since, listed) = (min_version.as_str(), digest_of(crls.as_ref()));
        let identity =
            format!("sni={}|ca={}|crl={listed}|min={since}|client={own}", sni.to_str(), roots.digest);
        let provider = Arc::clone(&self.provider);
        let crl_until = crls.as_ref().map(|crls| crls.until);
        let not_after = pair.as_ref().and_then(|pair| {
            let (_, own) = parse_x509_certificate(&pair.chain[0]).ok()?;
            Some(own.validity().not_after.timestamp())
        });
        let mut verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots.store), provider);
        if let Some(crls) = crls {
            verifier = verifier
                .with_crls(crls.lists)
                .only_check_end_entity_revocation()
                .enforce_revocation_expiration();
        }
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(min_version.and_later())
            .expect("the provider supports TLS 1.2 and 1.3")
            .with_webpki_verifier(unsuitable(verifier.build(), at)?);
        let config = match pair {
            None => Ok(builder.with_no_client_auth()),
            Some(Pair { chain, key }) => builder.with_client_auth_cert(chain, key),
        };
        let Ok(mut config) = config else {
            at.key("client_key").refuse(
                Code::KeyOfAnother,
                "the key does not belong to the certificate",
                "the key of client_cert",
            );
            return None;
        };
        let mut http2 = config.clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        http2.alpn_protocols = vec![b"h2".to_vec()];
        // Tickets of the one must not resume the other: each has its own store.
        http2.resumption = rustls::client::Resumption::default();
        let (http1, http2, authorities) = (Arc::new(config), Arc::new(http2), roots.names);
        let tls = CellTls { sni, http1, http2, authorities, not_after, crl_until };
        Some(ClientTls { tls, identity })
    }

    /// One server certificate.
    fn server(&self, raw: raw::Certificate, at: &At<'_>, sources: &Sources) -> Option<ServerCertificate> {
        let mut raw = at.open(raw);
        raw.allow_readable(at).or(false);
        let file = |slot: Slot<'_, String>| {
            let at = slot.at.clone();
            slot.required().and_then(|path| sources.file(&at, &path))
        };
        let (cert_at, key_at) = (at.key("cert"), at.key("key"));
        let (cert, key) = (file(raw.cert(at)), file(raw.key(at)));
        let staple = named_file(raw.ocsp(at), sources);
        let chain = chain(cert?, &cert_at)?;
        let (names, not_after) = self.leaf(&chain[0], &cert_at)?;
        let staple = match staple {
            None => None,
            Some((der, at)) => Some(staple_of(der?, &chain[0], &at)?),
        };
        let Ok(key) = PrivateKeyDer::from_pem_slice(key?) else {
            key_at.refuse(
                Code::NoPrivateKey,
                "the file holds no private key",
                "a private key in PEM (PKCS #8, PKCS #1 or SEC 1)",
            );
            return None;
        };
        match CertifiedKey::from_der(chain, key, &self.provider) {
            Ok(key) => {
                let staple = staple.map(|(ocsp, Times { from, until })| {
                    let key = CertifiedKey { ocsp: Some(ocsp), ..key.clone() };
                    Staple { key: Arc::new(key), from, until }
                });
                Some(ServerCertificate { key: Arc::new(key), names, not_after, staple })
            }
            Err(rustls::Error::InconsistentKeys(_)) => {
                key_at.refuse(
                    Code::KeyOfAnother,
                    "the key does not belong to the certificate",
                    "the private key of this certificate",
                );
                None
            }
            Err(_) => {
                key_at.refuse(
                    Code::KeyKind,
                    "the key is of a kind that TLS cannot use",
                    "an ECDSA, Ed25519 or RSA key",
                );
                None
            }
        }
    }

    /// Names and end of validity of a certificate that must hold now.
    pub(super) fn leaf(&self, der: &CertificateDer<'_>, at: &At<'_>) -> Option<(CertificateNames, i64)> {
        let Ok((_, certificate)) = parse_x509_certificate(der) else {
            at.refuse(
                Code::UnreadableCertificate,
                "the first certificate cannot be read",
                "an X.509 certificate in PEM",
            );
            return None;
        };
        let validity = certificate.validity();
        let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        if self.now > until {
            at.refuse(
                Code::CertificateExpired,
                format!("the certificate expired at {}", show_moment(until)),
                "a certificate that is valid now",
            );
        }
        if self.now < from {
            at.refuse(
                Code::CertificateNotYet,
                format!("the certificate is valid from {}", show_moment(from)),
                "a certificate that is valid now",
            );
        }
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.iter().flat_map(|extension| &extension.value.general_names);
        let names = names.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        });
        Some((CertificateNames::new(names), until))
    }
}

/// Reads the server certificates, each with its place; `None` when one of them could not be read.
pub(super) fn certificates<'a>(
    slot: Slot<'a, Vec<raw::Field<raw::Certificate>>>,
    sources: &Sources,
    tls: &Tls,
) -> Option<Vec<(At<'a>, ServerCertificate)>> {
    let list_at = slot.at.clone();
    let read = |slot: Slot<'a, raw::Certificate>| {
        let at = slot.at.clone();
        let certificate = slot.required().and_then(|raw| tls.server(raw, &at, sources))?;
        Some((at, certificate))
    };
    let slots = list_at.at_most(slot.items(), MAX_CERTIFICATES);
    // Each is read before the first failure is looked at, so that all of them are told.
    slots.into_iter().map(read).collect::<Vec<_>>().into_iter().collect()
}

fn chain(pem: &[u8], at: &At<'_>) -> Option<Vec<CertificateDer<'static>>> {
    match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
        Ok(chain) if !chain.is_empty() => Some(chain),
        _ => {
            at.refuse(Code::NoCertificateInFile, "the file holds no certificates", "certificates in PEM");
            None
        }
    }
}

/// The bytes of an OCSP response for a certificate, and when it holds. A stale one is no problem: a responder
/// that is down must not keep routes from being changed.
fn staple_of(der: &[u8], leaf: &CertificateDer<'_>, at: &At<'_>) -> Option<(Vec<u8>, Times)> {
    let (_, leaf) = parse_x509_certificate(leaf).ok()?;
    match ocsp::read(der, &leaf) {
        Ok(times) => Some((der.to_owned(), times)),
        Err(unusable) => {
            at.refuse(
                Code::OcspResponse,
                unusable.to_string(),
                "an OCSP response in DER that says that this certificate is good",
            );
            None
        }
    }
}

/// A verifier, or a problem: the authorities were looked at before, so that it can only be a list.
fn unsuitable<T>(made: Result<T, VerifierBuilderError>, at: &At<'_>) -> Option<T> {
    if made.is_err() {
        at.key("crl").refuse(
            Code::RevocationList,
            "a revocation list is of a kind that cannot be used",
            "complete lists of version 2",
        );
    }
    made.ok()
}

fn digest_of_chain(chain: &[CertificateDer<'_>]) -> String {
    short_digest(&chain.iter().flat_map(|certificate| certificate.iter().copied()).collect::<Vec<u8>>())
}

fn digest_of(crls: Option<&Crls>) -> &str {
    crls.map_or("-", |crls| &crls.digest)
}
