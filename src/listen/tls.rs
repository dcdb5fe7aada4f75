//! Which certificate a ClientHello gets, and the rustls configuration that presents it.
//!
//! Each certificate has one `ServerConfig`, made when it is first asked for; all of them share tickets
//! and sessions, so that a reload of certificates does not cost every client a full handshake. A
//! session is resumed only under the server name that it was made for (rustls checks that, RFC 6066
//! section 3), so a shared store never carries a client from one name to another. There is no 0-RTT:
//! early data can be replayed. The bytes are moved by [`handshake`](super::handshake).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert, ResolvesServerCertUsingSni, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use super::observe::UnknownSni;
use super::spec::Alpn;
use crate::policy::certificates::ServerCertificate;
use crate::policy::snapshot::Snapshot;

/// TLS 1.2 sessions that are remembered for clients without tickets; all others carry their session in
/// a ticket and cost nothing here. One per connection at the default limit; at some 250 bytes each this
/// is 5 MB. (rustls' default of 256 is gone within a second of traffic.)
pub const SESSION_CACHE_SIZE: usize = 20_480;

/// Gives the snapshot of now; called once for each handshake.
pub type SnapshotSource = Arc<dyn Fn() -> Arc<Snapshot> + Send + Sync>;

/// Certificates, tickets and sessions of all TLS listeners of a process.
pub struct TlsSettings {
    snapshot: SnapshotSource,
    /// Everything but certificate and ALPN.
    template: ServerConfig,
    /// By address of the certificate. The weak reference keeps that address from being given to
    /// another certificate, and shows when the entry may go.
    configs: Mutex<HashMap<(usize, Alpn), Cached>>,
}

/// Another provider than aws-lc-rs was installed for the process before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "another TLS provider than aws-lc-rs is installed already; install_provider must be the first call of main"
)]
pub struct ProviderError;

/// The answer to a server name.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// The certificate to present; `None` is an `unrecognized_name` alert.
    pub(super) certificate: Option<Arc<ServerCertificate>>,
    /// What is to be counted.
    pub(super) unknown: Option<UnknownSni>,
}

type Cached = (Weak<ServerCertificate>, Arc<ServerConfig>);

/// Presents one certificate to whoever asks.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

/// Makes aws-lc-rs the provider of every TLS configuration in the process, those of pingora included,
/// which would take ring otherwise and so have no post-quantum key exchange. Call it first in `main`;
/// further calls change nothing.
pub fn install_provider() -> Result<(), ProviderError> {
    if aws_lc_rs::default_provider().install_default().is_ok() {
        return Ok(());
    }
    // Ours from an earlier call? Only aws-lc-rs has the hybrid key exchange.
    let installed = CryptoProvider::get_default().ok_or(ProviderError)?;
    let hybrid =
        |group: &&dyn rustls::crypto::SupportedKxGroup| group.name() == rustls::NamedGroup::X25519MLKEM768;
    installed.kx_groups.iter().any(hybrid).then_some(()).ok_or(ProviderError)
}

impl TlsSettings {
    /// With the certificates of whatever snapshot is current at a handshake. Fails when the system has
    /// no randomness for the ticket keys.
    pub fn new(snapshot: SnapshotSource) -> Result<Arc<Self>, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut template = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            // Presents nothing; every copy gets its own.
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        template.session_storage = ServerSessionMemoryCache::new(SESSION_CACHE_SIZE);
        // Keys of its own, renewed every six hours; a ticket lives at most twice that.
        template.ticketer = aws_lc_rs::Ticketer::new()?;
        template.max_early_data_size = 0;
        Ok(Arc::new(Self { snapshot, template, configs: Mutex::default() }))
    }

    /// Decides on a lower-case server name, by the snapshot of now.
    pub(super) fn choose(&self, sni: Option<&str>) -> Choice {
        choose(&(self.snapshot)(), sni)
    }

    /// The configuration that presents `certificate`.
    pub(super) fn config_for(&self, certificate: &Arc<ServerCertificate>, alpn: Alpn) -> Arc<ServerConfig> {
        let key = (Arc::as_ptr(certificate).addr(), alpn);
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = configs.get(&key) {
            return Arc::clone(config);
        }
        // A new certificate means that a reload has been: those of earlier snapshots may go.
        configs.retain(|_, (certificate, _)| certificate.strong_count() > 0);
        let mut config = self.template.clone();
        config.cert_resolver = Arc::new(Always(Arc::clone(&certificate.key)));
        config.alpn_protocols = alpn.protocols();
        let config = Arc::new(config);
        configs.insert(key, (Arc::downgrade(certificate), Arc::clone(&config)));
        config
    }
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Always {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl Alpn {
    /// Most preferred first, as rustls takes them.
    fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::H2AndHttp1 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Self::Http1 => vec![b"http/1.1".to_vec()],
        }
    }
}

/// The certificate of a name, and what is wrong with the name. A client without a server name gets the
/// first certificate: it may be a health check or a very old client, and what it may ask for is still
/// bound by that certificate's names (421).
fn choose(snapshot: &Snapshot, sni: Option<&str>) -> Choice {
    let Some(name) = sni else {
        let certificate = snapshot.certificates.first().cloned();
        return Choice { certificate, unknown: Some(UnknownSni::Absent) };
    };
    if let Some(certificate) = snapshot.certificates.find(name) {
        return Choice { certificate: Some(Arc::clone(certificate)), unknown: None };
    }
    let unknown = match snapshot.hosts.find(name) {
        Some(host) if host.misordered => UnknownSni::Misordered,
        Some(_) => UnknownSni::Uncovered,
        None => UnknownSni::Unknown,
    };
    Choice { certificate: None, unknown: Some(unknown) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::listen::testing::{World, ample};

    const LEGACY: &[&str] = &["cloud.getdbt.com", "metadata.cloud.getdbt.com"];
    const REGION: &[&str] = &["us1.dbt.com", "*.us1.dbt.com", "*.metadata.us1.dbt.com"];

    /// The first name of the certificate, and what is counted.
    fn check(certificates: &[&[&str]], sni: Option<&str>, name: Option<&str>, unknown: Option<UnknownSni>) {
        let world = World::new(certificates, ample());
        let choice = world.shell.tls.choose(sni);
        let first = choice.certificate.and_then(|certificate| certificate.names.iter().next());
        assert_eq!((first.as_deref(), choice.unknown), (name, unknown), "{sni:?} of {certificates:?}");
    }

    #[test]
    fn a_name_chooses_the_certificate() {
        let both: &[&[&str]] = &[LEGACY, REGION];
        let legacy = Some("cloud.getdbt.com");
        let region = Some("us1.dbt.com");
        check(both, Some("cloud.getdbt.com"), legacy, None);
        check(both, Some("metadata.cloud.getdbt.com"), legacy, None);
        check(both, Some("ab123.us1.dbt.com"), region, None);
        check(both, Some("ab123.metadata.us1.dbt.com"), region, None);
        check(both, Some("us1.dbt.com"), region, None);
        check(both, None, legacy, Some(UnknownSni::Absent));
        check(&[], None, None, Some(UnknownSni::Absent));
        check(both, Some("metadata.ab123.us1.dbt.com"), None, Some(UnknownSni::Misordered));
        // A certificate that covers the misordered name serves it.
        check(
            &[&["*.ab123.us1.dbt.com"]],
            Some("metadata.ab123.us1.dbt.com"),
            Some("*.ab123.us1.dbt.com"),
            None,
        );
        check(both, Some("ab123.app.us1.dbt.com"), None, Some(UnknownSni::Uncovered));
        check(&[REGION], legacy, None, Some(UnknownSni::Uncovered));
        check(both, Some("ab123.us2.dbt.com"), None, Some(UnknownSni::Unknown));
        check(both, Some("a.b.c.us1.dbt.com"), None, Some(UnknownSni::Unknown));
        check(both, Some("getdbt.com"), None, Some(UnknownSni::Unknown));
    }

    #[test]
    fn one_configuration_for_each_certificate_until_it_is_gone() {
        let world = World::new(&[LEGACY, REGION], ample());
        let tls = &world.shell.tls;
        let size = || tls.configs.lock().unwrap().len();
        let of = |name, alpn| tls.config_for(&tls.choose(Some(name)).certificate.unwrap(), alpn);
        let legacy = of("cloud.getdbt.com", Alpn::H2AndHttp1);
        assert!(Arc::ptr_eq(&legacy, &of("metadata.cloud.getdbt.com", Alpn::H2AndHttp1)));
        let region = of("ab123.us1.dbt.com", Alpn::H2AndHttp1);
        assert!(!Arc::ptr_eq(&legacy, &region));
        assert!(!Arc::ptr_eq(&legacy, &of("cloud.getdbt.com", Alpn::Http1)));
        assert!(Arc::ptr_eq(&legacy.ticketer, &region.ticketer));
        assert!(Arc::ptr_eq(&legacy.session_storage, &region.session_storage));
        assert!(legacy.ticketer.enabled());
        assert_eq!(legacy.max_early_data_size, 0);
        assert_eq!(size(), 3);
        for _ in 0..10 {
            world.reload(&[LEGACY]);
            let renewed = of("cloud.getdbt.com", Alpn::H2AndHttp1);
            assert!(!Arc::ptr_eq(&legacy, &renewed));
            assert!(Arc::ptr_eq(&legacy.ticketer, &renewed.ticketer));
            assert_eq!(size(), 1);
        }
    }
}
