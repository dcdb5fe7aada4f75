//! What the tests of `listen` share: certificates, a snapshot, a recording observer, a server that
//! echoes, and TLS clients.
#![allow(clippy::unwrap_used)]

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::client::{ClientSessionMemoryCache, Resumption, Tls12Resumption};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::bind::bind;
use super::connection::{Connection, Facts, Handler};
use super::drain::Drain;
use super::limits::ConnectionCounts;
use super::observe::{AcceptFailure, HandshakeFailure, HandshakeKind, Observer, Refusal, UnknownSni};
use super::serve::Shell;
use super::spec::{Alpn, ConnectionLimits, ListenerSpec, Protocol};
use super::tls::TlsSettings;
use crate::policy::certificates::{CertificateTable, ServerCertificate};
use crate::policy::facts::CertificateNames;
use crate::policy::hosts::Role;
use crate::policy::snapshot::Snapshot;
use crate::test_snapshot::SnapshotBuilder;

/// No condition that a test waits for takes longer, even on a machine that is busy compiling.
const PATIENCE: Duration = Duration::from_secs(30);

/// A free port of the IPv4 loopback.
pub(super) const LOOPBACK: &str = "127.0.0.1:0";

/// The handshake deadline of every listener of a test.
pub(super) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// The names of a legacy host and of a region.
pub(super) const LEGACY: &[&str] = &["cloud.getdbt.com", "metadata.cloud.getdbt.com"];
/// See [`LEGACY`].
pub(super) const REGION: &[&str] = &["us1.dbt.com", "*.us1.dbt.com", "*.metadata.us1.dbt.com"];

/// A certificate authority, what it has issued to the server at present, and the running server.
pub(super) struct World {
    pub(super) issuer: CertifiedIssuer<'static, KeyPair>,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) counts: Arc<ConnectionCounts>,
    pub(super) drain: Drain,
    pub(super) shell: Shell,
}

/// A listener of a [`World`].
pub(super) struct Served {
    pub(super) address: SocketAddr,
    /// The facts of each connection that got as far as HTTP.
    pub(super) facts: mpsc::UnboundedReceiver<Facts>,
    pub(super) ended: tokio::task::JoinHandle<()>,
}

/// Sends back what it receives, until the client closes.
#[derive(Debug)]
pub(super) struct Echo(pub(super) mpsc::UnboundedSender<Facts>);

/// Writes down what it is told.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    events: Mutex<Vec<String>>,
    changed: Notify,
}

impl World {
    /// With one certificate for each list of names.
    pub(super) fn new(certificates: &[&[&str]], limits: ConnectionLimits) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot(&issuer, certificates)));
        let source = {
            let snapshot = Arc::clone(&snapshot);
            Arc::new(move || snapshot.load_full())
        };
        let (drain, shutdown) = Drain::new();
        let (recorder, counts) = (Arc::<Recorder>::default(), ConnectionCounts::new(limits));
        let shell = Shell {
            tls: TlsSettings::new(source).unwrap(),
            counts: Arc::clone(&counts),
            observer: Arc::clone(&recorder) as Arc<dyn Observer>,
            shutdown,
        };
        Self { issuer, snapshot, recorder, counts, drain, shell }
    }

    /// Replaces the certificates, as a reload does.
    pub(super) fn reload(&self, certificates: &[&[&str]]) {
        self.snapshot.store(Arc::new(snapshot(&self.issuer, certificates)));
    }

    /// Replaces the snapshot by one that has been changed, as a reload does.
    pub(super) fn reload_as(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut next = snapshot(&self.issuer, &[LEGACY, REGION]);
        change(&mut next);
        self.snapshot.store(Arc::new(next));
    }

    /// Another process with the same configuration: a replica, or this one after a restart.
    pub(super) fn replica(&self) -> Served {
        let snapshot = Arc::clone(&self.snapshot);
        let tls = TlsSettings::new(Arc::new(move || snapshot.load_full())).unwrap();
        let spec = spec(LOOPBACK, Protocol::Https(Alpn::H2AndHttp1));
        Self::serve_by(spec, Shell { tls, ..self.shell.clone() })
    }

    /// Serves on a free port of the IPv4 loopback.
    pub(super) fn serve(&self, protocol: Protocol) -> Served {
        self.serve_as(spec(LOOPBACK, protocol))
    }

    /// Serves TLS with both protocols.
    pub(super) fn serve_tls(&self) -> Served {
        self.serve(Protocol::Https(Alpn::H2AndHttp1))
    }

    pub(super) fn serve_as(&self, spec: ListenerSpec) -> Served {
        Self::serve_by(spec, self.shell.clone())
    }

    fn serve_by(spec: ListenerSpec, shell: Shell) -> Served {
        let bound = bind(spec).unwrap();
        let address = bound.local_addr();
        let (sender, facts) = mpsc::unbounded_channel();
        let ended = tokio::spawn(bound.serve(Arc::new(Echo(sender)), shell));
        Served { address, facts, ended }
    }

    /// A client that trusts the authority and offers what it is told.
    pub(super) fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&str],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }

    /// A client that may resume with whatever the versions have.
    pub(super) fn any_client(&self) -> ClientConfig {
        self.client(rustls::ALL_VERSIONS, &[])
    }
}

impl Served {
    /// Connects and shakes hands.
    pub(super) async fn connect(
        &self,
        name: &str,
        config: &ClientConfig,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        shake(stream, name, config).await
    }
}

impl Handler for Echo {
    async fn handle(&self, connection: Connection) {
        let Connection { mut stream, facts, guard } = connection;
        let _ = self.0.send(facts);
        let mut bytes = [0; 256];
        while let Ok(read @ 1..) = stream.read(&mut bytes).await {
            if stream.write_all(&bytes[..read]).await.is_err() || stream.flush().await.is_err() {
                break;
            }
        }
        drop(guard);
    }
}

impl Recorder {
    fn note(&self, event: String) {
        self.events.lock().unwrap().push(event);
        self.changed.notify_waiters();
    }

    /// How often an event has happened.
    pub(super) fn count(&self, event: &str) -> usize {
        self.events.lock().unwrap().iter().filter(|seen| *seen == event).count()
    }

    /// Waits until an event has happened so often. Has no timer of its own: with paused time a timer
    /// would fire as soon as every task waits for a socket.
    pub(super) async fn until(&self, event: &str, times: usize) {
        loop {
            let changed = self.changed.notified();
            if self.count(event) >= times {
                return;
            }
            changed.await;
        }
    }
}

impl Observer for Recorder {
    fn connection_opened(&self, _: &ListenerSpec) {
        self.note("opened".to_owned());
    }

    fn connection_closed(&self, _: &ListenerSpec) {
        self.note("closed".to_owned());
    }

    fn connection_refused(&self, _: &ListenerSpec, reason: Refusal) {
        self.note(format!("refused {}", reason.reason()));
    }

    fn handshake(&self, _: &ListenerSpec, result: Result<HandshakeKind, HandshakeFailure>) {
        self.note(match result {
            Ok(kind) => format!("handshake {kind:?}"),
            Err(failure) => format!("handshake {}", failure.reason()),
        });
    }

    fn unknown_sni(&self, _: &ListenerSpec, kind: UnknownSni) {
        self.note(format!("sni {kind:?}"));
    }

    fn accept_failed(&self, _: &ListenerSpec, kind: AcceptFailure) {
        self.note(format!("accept {}", kind.reason()));
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

/// More connections than a test opens.
pub(super) fn ample() -> ConnectionLimits {
    ConnectionLimits { total: 20_000, per_source: 1_000, exempt: Vec::new(), handshakes: 1_000 }
}

/// A listener without options.
pub(super) fn spec(address: &str, protocol: Protocol) -> ListenerSpec {
    ListenerSpec {
        name: "test".into(),
        address: address.parse().unwrap(),
        protocol,
        proxy_protocol: None,
        redirect_to_https: None,
        forwarded_scheme: None,
        handshake_deadline: HANDSHAKE_DEADLINE,
    }
}

/// Shakes hands on a socket that may have said something already.
pub(super) async fn shake(
    stream: TcpStream,
    name: &str,
    config: &ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config.clone())).connect(name, stream).await
}

/// Sends a word and reads it back, which also brings in a server's TLS 1.3 tickets.
pub(super) async fn echo<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(stream: &mut T) {
    let mut back = [0; 4];
    stream.write_all(b"ping").await.unwrap();
    stream.flush().await.unwrap();
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"ping");
}

/// A memory for sessions that survives as many servers as a test talks to.
pub(super) fn resumption(tls12: Tls12Resumption) -> Resumption {
    Resumption::store(Arc::new(ClientSessionMemoryCache::new(64))).tls12_resumption(tls12)
}

/// Fails a test instead of hanging it. Not for paused time.
pub(super) async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => unreachable!("{what}: not after {PATIENCE:?}"),
    }
}

/// Waits until nobody listens there: a child that another test starts when a socket is closed has it, too, until it is
/// another program.
pub(super) async fn refused(address: SocketAddr) {
    let refusal = async {
        loop {
            if let Err(error) = TcpStream::connect(address).await {
                return error;
            }
        }
    };
    assert_eq!(patiently("the refusal", refusal).await.kind(), std::io::ErrorKind::ConnectionRefused);
}

/// A snapshot with these certificates, a legacy host and the two families of one region.
pub(super) fn snapshot(issuer: &CertifiedIssuer<'static, KeyPair>, certificates: &[&[&str]]) -> Snapshot {
    let hosts = SnapshotBuilder::new()
        .host(Role::Legacy, "cloud.getdbt.com", 0)
        .host(Role::Cell, "{prefix}.us1.dbt.com", 0)
        .host(Role::Cell, "{prefix}.{surface}.us1.dbt.com", 0);
    Snapshot {
        certificates: CertificateTable::new(certificates.iter().map(|names| certificate(issuer, names))),
        ..hosts.build()
    }
}

fn certificate(issuer: &CertifiedIssuer<'static, KeyPair>, names: &[&str]) -> ServerCertificate {
    let key = KeyPair::generate().unwrap();
    let names_owned: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let leaf = CertificateParams::new(names_owned).unwrap().signed_by(&key, issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let signer = aws_lc_rs::sign::any_supported_type(&key).unwrap();
    ServerCertificate {
        key: Arc::new(CertifiedKey::new(vec![leaf.der().clone()], signer)),
        names: CertificateNames::new(names.iter().copied()),
        not_after: i64::MAX,
        staple: None,
    }
}
