//! Which certificate a ClientHello gets, and the rustls configuration that presents it.
//!
//! Each certificate has one `ServerConfig` for each way of asking for client certificates, made when it is
//! first asked for; those that ask for none share tickets and sessions, so that a reload of certificates
//! does not cost every client a full handshake. A session is resumed only under the server name that it
//! was made for (rustls checks that, RFC 6066 section 3), so a shared store never carries a client from one
//! name to another. Where a client certificate is asked for nothing is resumed: rustls does not look at a
//! client's certificate again when it resumes, so that a session would outlive the policy, the revocation
//! list and the certificate that it was made under. There is no 0-RTT: early data can be replayed. The
//! bytes are moved by [`handshake`](super::handshake).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::UnixTime;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache,
    StoresServerSessions,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use super::observe::UnknownSni;
use super::spec::Alpn;
use super::tickets::Tickets;
use crate::policy::certificates::{ServerCertificate, Staple};
use crate::policy::client_certificate::ClientPolicy;
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
    provider: Arc<CryptoProvider>,
    sessions: Arc<dyn StoresServerSessions>,
    tickets: Arc<Tickets>,
    /// By address of certificate and policy (0: none). The weak references keep these addresses from being
    /// given to others, and show when the entry may go.
    configs: Mutex<HashMap<(usize, usize, Alpn), Cached>>,
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
    /// What the client must show.
    pub(super) policy: Option<Arc<ClientPolicy>>,
    /// What is to be counted.
    pub(super) unknown: Option<UnknownSni>,
}

/// A configuration, and what it is good for.
struct Cached {
    certificate: Weak<ServerCertificate>,
    policy: Option<Weak<ClientPolicy>>,
    config: Arc<ServerConfig>,
}

/// Presents one certificate to whoever asks, with its staple while that is fresh.
#[derive(Debug)]
struct Always {
    key: Arc<CertifiedKey>,
    staple: Option<Staple>,
}

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
        // Keys of its own, renewed every six hours; a ticket lives at most twice that.
        let own = aws_lc_rs::Ticketer::new()?;
        Ok(Arc::new(Self {
            tickets: Arc::new(Tickets::new(Arc::clone(&snapshot), own)),
            snapshot,
            provider: Arc::new(aws_lc_rs::default_provider()),
            sessions: ServerSessionMemoryCache::new(SESSION_CACHE_SIZE),
            configs: Mutex::default(),
        }))
    }

    /// Decides on a lower-case server name, by the snapshot of now.
    pub(super) fn choose(&self, sni: Option<&str>) -> Choice {
        choose(&(self.snapshot)(), sni)
    }

    /// The configuration that presents `certificate` and asks for what `policy` says.
    pub(super) fn config_for(
        &self,
        certificate: &Arc<ServerCertificate>,
        policy: Option<&Arc<ClientPolicy>>,
        alpn: Alpn,
    ) -> Arc<ServerConfig> {
        let asked = policy.map_or(0, |policy| Arc::as_ptr(policy).addr());
        let key = (Arc::as_ptr(certificate).addr(), asked, alpn);
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = configs.get(&key) {
            return Arc::clone(&cached.config);
        }
        // A new certificate means that a reload has been: those of earlier snapshots may go.
        configs.retain(|_, cached| cached.is_of_use());
        let config = Arc::new(self.made(certificate, policy, alpn));
        let cached = Cached {
            certificate: Arc::downgrade(certificate),
            policy: policy.map(Arc::downgrade),
            config: Arc::clone(&config),
        };
        configs.insert(key, cached);
        config
    }

    fn made(
        &self,
        certificate: &ServerCertificate,
        policy: Option<&Arc<ClientPolicy>>,
        alpn: Alpn,
    ) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("aws-lc-rs supports TLS 1.2 and 1.3");
        let (key, staple) = (Arc::clone(&certificate.key), certificate.staple.clone());
        let resolver = Arc::new(Always { key, staple });
        let mut config = match policy {
            None => builder.with_no_client_auth().with_cert_resolver(resolver),
            Some(policy) => {
                builder.with_client_cert_verifier(Arc::clone(&policy.verifier)).with_cert_resolver(resolver)
            }
        };
        if policy.is_some() {
            // And no ticketer, which is the builder's own choice.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        } else {
            config.session_storage = Arc::clone(&self.sessions);
            config.ticketer = Arc::clone(&self.tickets) as Arc<dyn ProducesTickets>;
        }
        config.max_early_data_size = 0;
        config.alpn_protocols = alpn.protocols();
        config
    }
}

impl Cached {
    /// Whether a snapshot, or a connection, still holds what it was made of.
    fn is_of_use(&self) -> bool {
        self.certificate.strong_count() > 0
            && self.policy.as_ref().is_none_or(|policy| policy.strong_count() > 0)
    }
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Always {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
        let staple = self.staple.as_ref().filter(|staple| staple.is_fresh(now));
        Some(Arc::clone(staple.map_or(&self.key, |staple| &staple.key)))
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
/// bound by that certificate's names (421). It is asked for no certificate of its own, and gets no further
/// than hosts that ask for none.
fn choose(snapshot: &Snapshot, sni: Option<&str>) -> Choice {
    let Some(name) = sni else {
        let certificate = snapshot.certificates.first().cloned();
        return Choice { certificate, policy: None, unknown: Some(UnknownSni::Absent) };
    };
    if let Some(certificate) = snapshot.certificates.find(name) {
        let policy = ClientPolicy::of(snapshot, name).cloned();
        return Choice { certificate: Some(Arc::clone(certificate)), policy, unknown: None };
    }
    let unknown = match snapshot.hosts.find(name) {
        Some(host) if host.misordered => UnknownSni::Misordered,
        Some(_) => UnknownSni::Uncovered,
        None => UnknownSni::Unknown,
    };
    Choice { certificate: None, policy: None, unknown: Some(unknown) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::listen::testing::{LEGACY, REGION, World, ample};

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
    fn suites_are_aead_with_forward_secrecy_only() {
        let world = World::new(&[LEGACY], ample());
        let certificate = world.shell.tls.choose(Some("cloud.getdbt.com")).certificate.unwrap();
        let config = world.shell.tls.config_for(&certificate, None, Alpn::H2AndHttp1);
        let suites = &config.crypto_provider().cipher_suites;
        assert_eq!(suites.len(), 9);
        for suite in suites {
            let name = suite.suite().as_str().unwrap();
            assert!(name.contains("_GCM_") || name.contains("_CHACHA20_POLY1305_"), "{name}");
            assert!(name.starts_with("TLS13_") || name.starts_with("TLS_ECDHE_"), "{name}");
        }
    }

    #[test]
    fn one_configuration_for_each_certificate_until_it_is_gone() {
        let world = World::new(&[LEGACY, REGION], ample());
        let tls = &world.shell.tls;
        let size = || tls.configs.lock().unwrap().len();
        let of = |name, alpn| tls.config_for(&tls.choose(Some(name)).certificate.unwrap(), None, alpn);
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
