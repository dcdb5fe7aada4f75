//! What happens to one connection between accept and HTTP: PROXY header, source limit, TLS. All of it
//! within one deadline, and nothing of it can end anything but the connection.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use rustls::{
    HandshakeKind as RustlsKind, InvalidMessage, PeerMisbehaved, ProtocolVersion, ServerConnection,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::connection::{Connection, Facts, Tls, Transport, Wire};
use super::limits::{ConnectionGuard, HandshakePermit};
use super::log_budget::LogBudget;
use super::observe::{AcceptFailure, HandshakeFailure, HandshakeKind, Refusal, UnknownSni};
use super::proxy_protocol::{self, Addresses, MAX_HEADER_LEN, Parsed};
use super::serve::Shell;
use super::spec::{Alpn, ListenerSpec, Protocol, within};
use crate::policy::certificates::ServerCertificate;
use crate::policy::client_certificate::ClientCertificate;

/// Most bytes that are encrypted over HTTP/1 before the socket takes them: the largest piece of an answer (`proxy::pieces`) and its
/// framing, which are so offered in one write in place of four.
const ENCRYPTED: usize = (256 + 4) * 1024;

/// A fatal `unrecognized_name` alert (RFC 6066 section 3, RFC 8446 section 6) in a plaintext record.
/// rustls has no way to send it for a ClientHello that has parsed; a resolver without an answer gives
/// `access_denied`, which tells a client nothing.
const UNRECOGNIZED_NAME: [u8; 7] = [
    0x15, // content type: alert
    0x03, 0x03, // record version, as in every TLS 1.2 and 1.3 record
    0x00, 0x02, // length
    0x02, // fatal
    0x70, // unrecognized_name
];

/// How long a client may take to read its alert. Closing while bytes are still coming in makes the
/// kernel send a reset, which destroys what the client has not read yet.
const FAREWELL: Duration = Duration::from_secs(1);

/// Most bytes that are read and thrown away meanwhile.
const FAREWELL_BYTES: u64 = 16 * 1024;

/// A socket that was just accepted.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) at: Instant,
    /// Until TLS or HTTP has begun; `None` where nothing comes before HTTP.
    pub(super) handshake: Option<HandshakePermit>,
}

/// What one listener does to its connections.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) spec: Arc<ListenerSpec>,
    pub(super) shell: Shell,
    log: LogBudget,
}

/// A handshake that did not succeed.
#[derive(Debug)]
enum Failed {
    /// No certificate for the name; the client waits for its alert.
    Name(TcpStream),
    /// rustls has said what there was to say.
    Otherwise(HandshakeFailure, io::Error),
}

impl Entrance {
    pub(super) fn new(spec: Arc<ListenerSpec>, shell: Shell) -> Self {
        Self { spec, shell, log: LogBudget::default() }
    }

    /// Takes a socket through to HTTP; `None` when it was refused, which is counted by then.
    pub(super) async fn enter(&self, arrival: Arrival, mut guard: ConnectionGuard) -> Option<Connection> {
        let Arrival { mut stream, peer, at, handshake: _held } = arrival;
        let deadline = at + self.spec.handshake_deadline;
        let (socket_peer, fd) = (peer, stream.as_raw_fd());
        let mut local = stream.local_addr().unwrap_or(self.spec.address);
        let mut peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if self.spec.proxy_protocol.is_some() {
            match self.proxied(&mut stream, peer, deadline, &mut guard).await {
                Ok(Some(addresses)) => (peer, local) = (addresses.source, addresses.destination),
                Ok(None) => {}
                Err(reason) => {
                    self.refuse(peer, reason);
                    return None;
                }
            }
        }
        let (stream, wire, tls): (Box<dyn Transport>, _, _) = match self.spec.protocol {
            Protocol::Http => (Box::new(stream), Wire::Http1, None),
            Protocol::H2c => (Box::new(stream), Wire::Http2, None),
            Protocol::Https(alpn) => {
                let (stream, tls) = self.secured(stream, alpn, peer, deadline).await?;
                let wire = wire_of(stream.get_ref().1);
                (Box::new(stream), wire, Some(tls))
            }
        };
        let facts = Facts {
            listener: Arc::clone(&self.spec),
            peer,
            socket_peer,
            local,
            scheme: self.spec.scheme(),
            wire,
            tls,
            fd,
            accepted_at: at.into_std(),
        };
        Some(Connection { stream, facts, guard })
    }

    /// Notes a connection that is closed without a word.
    pub(super) fn refuse(&self, peer: SocketAddr, reason: Refusal) {
        self.shell.observer.connection_refused(&self.spec, reason);
        self.log(peer, "connection refused", reason.reason(), &"");
    }

    /// Notes a failure of `accept`.
    pub(super) fn accept_failed(&self, kind: AcceptFailure, error: &io::Error) {
        self.shell.observer.accept_failed(&self.spec, kind);
        self.log(self.spec.address, "accept failed", kind.reason(), error);
    }

    /// The PROXY header, and then the limit of the source that it names.
    async fn proxied(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
        deadline: Instant,
        guard: &mut ConnectionGuard,
    ) -> Result<Option<Addresses>, Refusal> {
        let trusted = self.spec.proxy_protocol.as_deref().unwrap_or_default();
        if !within(trusted, peer.ip()) {
            return Err(Refusal::ProxyUntrusted);
        }
        let read = timeout_at(deadline, read_proxy_header(stream)).await;
        let addresses = read.unwrap_or(Err(Refusal::ProxyTimeout))?;
        let source = addresses.map_or(peer.ip(), |addresses| addresses.source.ip());
        guard.hold(self.shell.counts.admit_source(source)?);
        Ok(addresses)
    }

    /// The TLS handshake, counted either way.
    async fn secured(
        &self,
        stream: TcpStream,
        alpn: Alpn,
        peer: SocketAddr,
        deadline: Instant,
    ) -> Option<(TlsStream<TcpStream>, Tls)> {
        let observer = &self.shell.observer;
        let (failure, text, unread) = match timeout_at(deadline, self.shake(stream, alpn)).await {
            Ok(Ok((stream, tls))) => {
                let kind = if tls.resumed { HandshakeKind::Resumed } else { HandshakeKind::Full };
                observer.handshake(&self.spec, Ok(kind));
                return Some((stream, tls));
            }
            Ok(Err(Failed::Name(stream))) => (HandshakeFailure::UnknownName, String::new(), Some(stream)),
            Ok(Err(Failed::Otherwise(failure, error))) => (failure, error.to_string(), None),
            Err(_) => (HandshakeFailure::Timeout, String::new(), None),
        };
        observer.handshake(&self.spec, Err(failure));
        self.log(peer, "TLS handshake failed", failure.reason(), &text);
        if let Some(stream) = unread {
            say_unrecognized_name(stream).await;
        }
        None
    }

    async fn shake(&self, stream: TcpStream, alpn: Alpn) -> Result<(TlsStream<TcpStream>, Tls), Failed> {
        let acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
        let start = acceptor.await.map_err(|error| self.failed(error))?;
        let sni = start.client_hello().server_name().map(without_final_dot);
        let choice = self.shell.tls.choose(sni.as_deref());
        if let Some(kind) = choice.unknown {
            self.shell.observer.unknown_sni(&self.spec, kind);
        }
        let Some(certificate) = choice.certificate else { return Err(Failed::Name(start.io)) };
        let config = self.shell.tls.config_for(&certificate, choice.policy.as_ref(), alpn);
        let mut stream = start.into_stream(config).await.map_err(|error| self.failed(error))?;
        let (_, connection) = stream.get_mut();
        if connection.alpn_protocol() != Some(b"h2") {
            // HTTP/2 gives a frame at a time, of which this would only hold more.
            connection.set_buffer_limit(Some(ENCRYPTED));
        }
        let connection = stream.get_ref().1;
        let client = choice.policy.as_deref().and_then(|policy| {
            let shown = ClientCertificate::new(connection.peer_certificates()?)?;
            Some(Arc::new(shown.verified(policy)))
        });
        let tls = Tls { client, ..settled(connection, sni, certificate) };
        Ok((stream, tls))
    }

    fn failed(&self, error: io::Error) -> Failed {
        let failure = classify(&error);
        if failure == HandshakeFailure::UnknownName {
            self.shell.observer.unknown_sni(&self.spec, UnknownSni::Invalid);
        }
        Failed::Otherwise(failure, error)
    }

    fn log(&self, peer: SocketAddr, event: &str, reason: &str, detail: &dyn Display) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        if let Some(left_out) = self.log.spend(std::time::Instant::now()) {
            tracing::debug!(listener = %self.spec.name, %peer, reason, %detail, left_out, "{event}");
        }
    }
}

/// Reads a header and not a byte more: what is peeked at is taken only as far as it belongs to the
/// header, so that nothing has to be put back in front of TLS or HTTP.
async fn read_proxy_header(stream: &mut TcpStream) -> Result<Option<Addresses>, Refusal> {
    // A header that is still partial is shorter than this, so there is always room to read on.
    let mut bytes = vec![0; MAX_HEADER_LEN];
    let mut taken = 0;
    loop {
        let seen = match stream.peek(&mut bytes[taken..]).await {
            Ok(0) | Err(_) => return Err(Refusal::ProxyAbandoned),
            Ok(seen) => taken + seen,
        };
        let (until, addresses) = match proxy_protocol::parse(&bytes[..seen]) {
            Parsed::Partial => (seen, None),
            Parsed::Complete { len, addresses } => (len, Some(addresses)),
            Parsed::Invalid(_) => return Err(Refusal::ProxyInvalid),
        };
        stream.read_exact(&mut bytes[taken..until]).await.map_err(|_| Refusal::ProxyAbandoned)?;
        taken = until;
        if let Some(addresses) = addresses {
            return Ok(addresses);
        }
    }
}

/// Sends the alert and waits, for a bounded time, until the client has closed.
async fn say_unrecognized_name(mut stream: TcpStream) {
    let farewell = async {
        stream.write_all(&UNRECOGNIZED_NAME).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(FAREWELL_BYTES), &mut tokio::io::sink()).await
    };
    // The connection ends here, whether the client has heard us or not.
    let _ = timeout(FAREWELL, farewell).await;
}

/// `cloud.getdbt.com.` is the same host; rustls has made it lower case.
fn without_final_dot(name: &str) -> Box<str> {
    name.strip_suffix('.').unwrap_or(name).into()
}

fn wire_of(connection: &ServerConnection) -> Wire {
    match connection.alpn_protocol() {
        Some(b"h2") => Wire::Http2,
        Some(_) | None => Wire::Http1,
    }
}

fn settled(connection: &ServerConnection, sni: Option<Box<str>>, certificate: Arc<ServerCertificate>) -> Tls {
    Tls {
        sni,
        certificate,
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        },
        cipher: connection
            .negotiated_cipher_suite()
            .and_then(|suite| suite.suite().as_str())
            .unwrap_or("unknown"),
        resumed: connection.handshake_kind() == Some(RustlsKind::Resumed),
        client: None,
    }
}

fn classify(error: &io::Error) -> HandshakeFailure {
    use rustls::Error as Tls;
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>());
    match tls {
        None => HandshakeFailure::Disconnected,
        Some(Tls::InvalidMessage(InvalidMessage::InvalidServerName))
        | Some(Tls::PeerMisbehaved(PeerMisbehaved::ServerNameMustContainOneHostName)) => {
            HandshakeFailure::UnknownName
        }
        Some(Tls::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        )) => HandshakeFailure::NotTls,
        Some(Tls::PeerIncompatible(_)) => HandshakeFailure::Incompatible,
        Some(Tls::NoApplicationProtocol) => HandshakeFailure::NoProtocol,
        Some(Tls::AlertReceived(_)) => HandshakeFailure::ClientAlert,
        Some(
            Tls::NoCertificatesPresented | Tls::InvalidCertificate(_) | Tls::InvalidCertRevocationList(_),
        ) => HandshakeFailure::ClientCertificate,
        Some(Tls::General(_) | Tls::FailedToGetRandomBytes | Tls::FailedToGetCurrentTime) => {
            HandshakeFailure::Internal
        }
        Some(_) => HandshakeFailure::Misbehaved,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::listen::spec::ConnectionLimits;
    use crate::listen::testing::{
        HANDSHAKE_DEADLINE, LEGACY, LOOPBACK, REGION, Served, World, ample, echo, patiently, resumption,
        shake, spec,
    };
    use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12Resumption};
    use rustls::client::{Tls12ClientSessionValue, Tls13ClientSessionValue};
    use rustls::pki_types::ServerName;
    use rustls::version::{TLS12, TLS13};
    use rustls::{AlertDescription, ClientConfig, NamedGroup, SupportedProtocolVersion};

    fn world() -> World {
        World::new(&[LEGACY, REGION], ample())
    }

    /// The rustls error that ended a handshake.
    fn tls_error<T>(result: io::Result<T>) -> rustls::Error {
        let Err(error) = result else { unreachable!("the handshake succeeded") };
        error.get_ref().unwrap().downcast_ref::<rustls::Error>().unwrap().clone()
    }

    #[tokio::test]
    async fn certificates_by_name_over_both_versions_and_protocols() {
        let world = world();
        let mut served = world.serve_tls();
        let versions: [(&[&'static SupportedProtocolVersion], _); 2] =
            [(&[&TLS12], "TLSv1.2"), (&[&TLS13], "TLSv1.3")];
        let names = [
            ("cloud.getdbt.com", "cloud.getdbt.com"),
            ("CLOUD.getdbt.com", "cloud.getdbt.com"),
            ("us1.dbt.com", "us1.dbt.com"),
            ("ab123.us1.dbt.com", "us1.dbt.com"),
            ("ab123.metadata.us1.dbt.com", "us1.dbt.com"),
        ];
        let alpns: [(&[&str], _); 4] = [
            (&["h2", "http/1.1"], Wire::Http2),
            (&["http/1.1", "h2"], Wire::Http2),
            (&["http/1.1"], Wire::Http1),
            (&[], Wire::Http1),
        ];
        for (versions, version) in versions {
            for (name, certificate) in names {
                for (alpn, wire) in alpns {
                    let client = world.client(versions, alpn);
                    let mut stream = served.connect(name, &client).await.unwrap();
                    echo(&mut stream).await;
                    let facts = served.facts.recv().await.unwrap();
                    let tls = facts.tls.unwrap();
                    assert_eq!((tls.version, facts.wire), (version, wire), "{name} {alpn:?}");
                    assert_eq!(tls.sni.as_deref(), Some(&*name.to_lowercase()));
                    assert_eq!(tls.certificate.names.iter().next().as_deref(), Some(certificate));
                    assert_eq!(facts.peer, stream.get_ref().0.local_addr().unwrap());
                    assert_eq!((facts.local, facts.scheme.as_str()), (served.address, "https"));
                    assert!(tls.cipher.starts_with("TLS"), "{}", tls.cipher);
                }
            }
        }
    }

    #[tokio::test]
    async fn key_exchange_is_post_quantum_where_the_client_can() {
        let world = world();
        let served = world.serve_tls();
        let stream = served.connect("us1.dbt.com", &world.any_client()).await.unwrap();
        let group = stream.get_ref().1.negotiated_key_exchange_group().unwrap();
        assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
    }

    #[tokio::test]
    async fn a_listener_can_be_http_1_only() {
        let world = world();
        let mut served = world.serve(Protocol::Https(Alpn::Http1));
        let client = world.client(rustls::ALL_VERSIONS, &["h2", "http/1.1"]);
        let stream = served.connect("us1.dbt.com", &client).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(served.facts.recv().await.unwrap().wire, Wire::Http1);
        let client = world.client(rustls::ALL_VERSIONS, &["h2"]);
        let error = tls_error(served.connect("us1.dbt.com", &client).await);
        assert_eq!(error, rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol));
        patiently("the failure", world.recorder.until("handshake no_protocol", 1)).await;
    }

    #[tokio::test]
    async fn a_name_without_certificate_gets_its_own_alert_and_is_counted_by_kind() {
        let world = world();
        let served = world.serve_tls();
        let kinds = [
            ("metadata.ab123.us1.dbt.com", "sni Misordered"),
            ("ab123.app.us1.dbt.com", "sni Uncovered"),
            ("www.example.com", "sni Unknown"),
        ];
        for versions in [&[&TLS12], &[&TLS13]] {
            for (name, kind) in kinds {
                let before = world.recorder.count(kind);
                let error = tls_error(served.connect(name, &world.client(versions, &["h2"])).await);
                assert_eq!(error, rustls::Error::AlertReceived(AlertDescription::UnrecognisedName), "{name}");
                patiently(kind, world.recorder.until(kind, before + 1)).await;
            }
        }
        assert_eq!(world.recorder.count("handshake unknown_name"), 6);
        assert_eq!(world.recorder.count("handshake Full"), 0);
    }

    #[tokio::test]
    async fn without_a_name_the_first_certificate_is_presented() {
        let world = world();
        let mut served = world.serve_tls();
        let mut client = world.any_client();
        client.enable_sni = false;
        let _stream = served.connect("cloud.getdbt.com", &client).await.unwrap();
        let tls = served.facts.recv().await.unwrap().tls.unwrap();
        assert_eq!(tls.sni, None);
        assert!(tls.certificate.names.covers("cloud.getdbt.com"));
        assert_eq!(world.recorder.count("sni Absent"), 1);
        world.reload(&[]);
        let error = tls_error(served.connect("cloud.getdbt.com", &client).await);
        assert_eq!(error, rustls::Error::AlertReceived(AlertDescription::UnrecognisedName));
    }

    /// The first flight of a client, as bytes.
    fn client_hello(world: &World, name: &'static str) -> Vec<u8> {
        let name = ServerName::try_from(name).unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(world.any_client()), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// Sends bytes and returns what comes back until the server closes.
    async fn exchange(served: &Served, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        patiently("the end of the connection", stream.read_to_end(&mut answer)).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_alert_arrives_although_the_client_had_more_to_say() {
        let world = world();
        let served = world.serve_tls();
        let hello = client_hello(&world, "www.example.com");
        // More than one read takes, and what a client that expects to be accepted may send.
        let bytes = [&hello[..], &[0x17; 8 * 1024]].concat();
        assert_eq!(exchange(&served, &bytes).await, UNRECOGNIZED_NAME);
    }

    #[tokio::test]
    async fn what_is_no_handshake_is_named() {
        let world = world();
        let served = world.serve_tls();
        let mut bad_name = client_hello(&world, "ab123.us1.dbt.com");
        let at = bad_name.windows(5).position(|window| window == b"ab123").unwrap();
        bad_name[at] = b'!';
        let alert = exchange(&served, &bad_name).await;
        assert_eq!(alert, [0x15, 3, 3, 0, 2, 2, 0x2f], "illegal_parameter");
        assert_eq!(world.recorder.count("sni Invalid"), 1);
        assert_eq!(world.recorder.count("handshake unknown_name"), 1);

        exchange(&served, b"GET / HTTP/1.1\r\nHost: cloud.getdbt.com\r\n\r\n").await;
        assert_eq!(world.recorder.count("handshake not_tls"), 1);

        drop(TcpStream::connect(served.address).await.unwrap());
        patiently("the disconnect", world.recorder.until("handshake disconnected", 1)).await;

        // Of another authority, so it trusts none of ours.
        let distrustful = World::new(&[LEGACY], ample()).any_client();
        let result = served.connect("cloud.getdbt.com", &distrustful).await;
        assert!(matches!(tls_error(result), rustls::Error::InvalidCertificate(_)));
        patiently("the alert", world.recorder.until("handshake client_alert", 1)).await;
    }

    #[tokio::test]
    async fn certificates_change_while_connections_live() {
        let world = world();
        let mut served = world.serve_tls();
        let client = world.any_client();
        let mut old = served.connect("ab123.us1.dbt.com", &client).await.unwrap();
        echo(&mut old).await;
        let old_facts = served.facts.recv().await.unwrap();

        world.reload(&[LEGACY, &["ab123.us1.dbt.com"]]);
        let fresh = world.any_client();
        let mut new = served.connect("ab123.us1.dbt.com", &fresh).await.unwrap();
        echo(&mut new).await;
        let new_facts = served.facts.recv().await.unwrap();
        echo(&mut old).await;

        let presented = |stream: &tokio_rustls::client::TlsStream<TcpStream>| {
            stream.get_ref().1.peer_certificates().unwrap()[0].clone()
        };
        assert_ne!(presented(&old), presented(&new));
        let covers =
            |facts: &Facts| facts.for_policy().certificate_names.unwrap().covers("cd456.us1.dbt.com");
        assert!(covers(&old_facts));
        assert!(!covers(&new_facts));

        // The first client resumes: no certificate on the wire, and the facts are those of today.
        let mut resumed = served.connect("ab123.us1.dbt.com", &client).await.unwrap();
        echo(&mut resumed).await;
        let facts = served.facts.recv().await.unwrap();
        assert!(facts.tls.as_ref().unwrap().resumed);
        assert!(!covers(&facts));
    }

    async fn kind_of(served: &Served, name: &str, client: &ClientConfig) -> RustlsKind {
        let mut stream = served.connect(name, client).await.unwrap();
        echo(&mut stream).await;
        stream.get_ref().1.handshake_kind().unwrap()
    }

    #[tokio::test]
    async fn sessions_are_resumed_after_300_others() {
        let cases: [(&[&'static SupportedProtocolVersion], _); 3] = [
            (&[&TLS13], Tls12Resumption::Disabled),
            (&[&TLS12], Tls12Resumption::SessionIdOrTickets),
            (&[&TLS12], Tls12Resumption::SessionIdOnly),
        ];
        for (versions, tls12) in cases {
            let world = world();
            let served = world.serve_tls();
            let mut client = world.client(versions, &[]);
            client.resumption = resumption(tls12);
            assert_eq!(kind_of(&served, "ab123.us1.dbt.com", &client).await, RustlsKind::Full);
            for _ in 0..300 {
                let mut other = world.client(versions, &[]);
                other.resumption = resumption(tls12);
                assert_eq!(kind_of(&served, "cd456.us1.dbt.com", &other).await, RustlsKind::Full);
            }
            let kind = kind_of(&served, "ab123.us1.dbt.com", &client).await;
            assert_eq!(kind, RustlsKind::Resumed, "{versions:?} {tls12:?}");
            assert_eq!(world.recorder.count("handshake Resumed"), 1);
        }
    }

    /// Gives every server the sessions of every other.
    #[derive(Debug)]
    struct Promiscuous(ClientSessionMemoryCache);

    impl Promiscuous {
        fn everyone() -> ServerName<'static> {
            ServerName::try_from("everyone.example").unwrap()
        }
    }

    impl ClientSessionStore for Promiscuous {
        fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
            self.0.set_kx_hint(Self::everyone(), group);
        }
        fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
            self.0.kx_hint(&Self::everyone())
        }
        fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
            self.0.set_tls12_session(Self::everyone(), value);
        }
        fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
            self.0.tls12_session(&Self::everyone())
        }
        fn remove_tls12_session(&self, _: &ServerName<'static>) {
            self.0.remove_tls12_session(&Self::everyone());
        }
        fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
            self.0.insert_tls13_ticket(Self::everyone(), value);
        }
        fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
            self.0.take_tls13_ticket(&Self::everyone())
        }
    }

    #[tokio::test]
    async fn a_session_is_not_carried_to_another_name() {
        for versions in [&[&TLS12], &[&TLS13]] {
            let world = world();
            let mut served = world.serve_tls();
            let mut client = world.client(versions, &[]);
            client.resumption = Resumption::store(Arc::new(Promiscuous(ClientSessionMemoryCache::new(8))));
            let names = ["ab123.us1.dbt.com", "cloud.getdbt.com", "cd456.us1.dbt.com"];
            for name in names {
                assert_eq!(kind_of(&served, name, &client).await, RustlsKind::Full, "{name} {versions:?}");
                let tls = served.facts.recv().await.unwrap().tls.unwrap();
                assert!(tls.certificate.names.covers(name));
            }
            assert_eq!(kind_of(&served, "cd456.us1.dbt.com", &client).await, RustlsKind::Resumed);
        }
    }

    /// Paused time goes on as soon as all tasks wait, also for what is on its way through the kernel. While this is
    /// held it stands still: the runtime takes it for work.
    fn time_stands() -> std::sync::mpsc::SyncSender<()> {
        let (held, released) = std::sync::mpsc::sync_channel(1);
        tokio::task::spawn_blocking(move || released.recv());
        held
    }

    /// Connects, and is accepted in the same moment.
    async fn accepted(world: &World, served: &Served) -> TcpStream {
        let opened = world.recorder.count("opened") + 1;
        let stream = TcpStream::connect(served.address).await.unwrap();
        world.recorder.until("opened", opened).await;
        stream
    }

    /// Sends `first` and then a byte now and then, until the server notes `end`; returns how long that took.
    async fn cut_after(
        (world, served): (&World, &Served),
        first: &[u8],
        then_every: Option<(Duration, &[u8])>,
        end: &str,
    ) -> Duration {
        let (started, times) = (Instant::now(), world.recorder.count(end) + 1);
        let still = time_stands();
        let mut stream = accepted(world, served).await;
        stream.write_all(first).await.unwrap();
        drop(still);
        let mut rest = then_every.map_or(&[][..], |(_, bytes)| bytes).iter();
        loop {
            let pause = async {
                match then_every {
                    Some((pause, _)) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = world.recorder.until(end, times) => break,
                () = pause => {}
            }
            let _ = stream.write_all(std::slice::from_ref(rest.next().unwrap())).await;
        }
        let took = started.elapsed();
        // A reset is as much an end as an orderly close.
        let read = stream.read(&mut [0]).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
        took
    }

    /// Sends these, which end with a hello, and nothing instead of the client's second flight; returns how long it took
    /// until the server closed.
    async fn cut_after_answer((world, served): (&World, &Served), pieces: &[&[u8]]) -> Duration {
        let started = Instant::now();
        let still = time_stands();
        let mut stream = accepted(world, served).await;
        for piece in pieces {
            stream.write_all(piece).await.unwrap();
            tokio::time::advance(TICK).await;
        }
        let mut answer = vec![0];
        stream.read_exact(&mut answer).await.unwrap();
        drop(still);
        stream.read_to_end(&mut answer).await.unwrap();
        started.elapsed()
    }

    /// A pause of slow clients.
    const TICK: Duration = Duration::from_millis(700);

    #[tokio::test(start_paused = true)]
    async fn half_open_handshakes_are_cut_at_the_total_deadline() {
        let world = world();
        let hello = client_hello(&world, "cloud.getdbt.com");
        let (timeout, of_proxy) = ("handshake timeout", "refused proxy_timeout");
        let served = world.serve_tls();
        let tls = (&world, &served);
        assert_eq!(cut_after(tls, b"", None, timeout).await, HANDSHAKE_DEADLINE);
        assert_eq!(cut_after(tls, &hello[..20], None, timeout).await, HANDSHAKE_DEADLINE);
        assert_eq!(cut_after_answer(tls, &[&hello]).await, HANDSHAKE_DEADLINE);
        // A byte now and then does not extend it.
        assert_eq!(cut_after(tls, b"", Some((TICK, &hello)), timeout).await, HANDSHAKE_DEADLINE);
        world.recorder.until(timeout, 4).await;

        let served = proxied(&world, Protocol::Https(Alpn::Http1), "127.0.0.0/8");
        let proxied = (&world, &served);
        assert_eq!(cut_after(proxied, b"", None, of_proxy).await, HANDSHAKE_DEADLINE);
        let slow = Some((TICK, &b" UNKNOWN xxxxxxxxxxxxxx"[..]));
        assert_eq!(cut_after(proxied, b"PROXY", slow, of_proxy).await, HANDSHAKE_DEADLINE);
        world.recorder.until(of_proxy, 2).await;
        // The header has used its share: the handshake gets what is left.
        let pieces: [&[u8]; 4] = [b"PROXY UNKNOWN\r", b"\n", &hello[..20], &hello[20..]];
        assert_eq!(cut_after_answer(proxied, &pieces).await, HANDSHAKE_DEADLINE);
        world.recorder.until(timeout, 5).await;
        world.recorder.until("closed", 7).await;
        assert_eq!((world.counts.total(), world.counts.sources()), (0, 0));
    }

    fn proxied(world: &World, protocol: Protocol, trusted: &str) -> Served {
        let mut spec = spec(LOOPBACK, protocol);
        spec.proxy_protocol = Some(vec![trusted.parse().unwrap()]);
        world.serve_as(spec)
    }

    fn v2(command: u8, body: &[u8]) -> Vec<u8> {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        header.extend([command, 0x11, 0, u8::try_from(body.len()).unwrap()]);
        header.extend(body);
        header
    }

    #[tokio::test]
    async fn a_trusted_proxy_header_names_the_client() {
        let world = world();
        let mut plain = proxied(&world, Protocol::Http, "127.0.0.0/8");
        let mut tls = proxied(&world, Protocol::Https(Alpn::H2AndHttp1), "127.0.0.0/8");
        let version_2 = v2(0x21, &[203, 0, 113, 9, 198, 51, 100, 1, 0x15, 0xb3, 0x01, 0xbb]);
        type Expected = Option<(&'static str, &'static str)>;
        let cases: [(&[u8], Expected); 4] = [
            (
                b"PROXY TCP4 203.0.113.9 198.51.100.1 5555 443\r\n",
                Some(("203.0.113.9:5555", "198.51.100.1:443")),
            ),
            (&version_2, Some(("203.0.113.9:5555", "198.51.100.1:443"))),
            (b"PROXY UNKNOWN\r\n", None),
            (&v2(0x20, &[]), None),
        ];
        for (header, expect) in cases {
            // The header and the first bytes of HTTP in one segment: not one may be lost.
            let mut stream = TcpStream::connect(plain.address).await.unwrap();
            stream.write_all(&[header, b"hello"].concat()).await.unwrap();
            let mut back = [0; 5];
            stream.read_exact(&mut back).await.unwrap();
            assert_eq!(&back, b"hello");
            let facts = plain.facts.recv().await.unwrap();
            let socket = stream.local_addr().unwrap();
            let (peer, local) = expect.map_or((socket, plain.address), |(peer, local)| {
                (peer.parse().unwrap(), local.parse().unwrap())
            });
            assert_eq!((facts.peer, facts.local, facts.socket_peer), (peer, local, socket));

            // In pieces, and TLS behind it.
            let mut stream = TcpStream::connect(tls.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            for piece in header.chunks(3) {
                stream.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            let mut stream = shake(stream, "us1.dbt.com", &world.any_client()).await.unwrap();
            echo(&mut stream).await;
            let facts = tls.facts.recv().await.unwrap();
            assert_eq!(facts.peer.ip(), expect.map_or(socket.ip(), |_| peer.ip()));
        }
    }

    #[tokio::test]
    async fn a_proxy_header_is_mandatory_and_only_from_trusted_networks() {
        let world = world();
        let header = b"PROXY TCP4 203.0.113.9 198.51.100.1 5555 443\r\n";
        let untrusted = proxied(&world, Protocol::Http, "10.0.0.0/8");
        let trusted = proxied(&world, Protocol::Http, "127.0.0.0/8");
        let refused = async |served: &Served, bytes: &[u8], event: &str| {
            let before = world.recorder.count(event);
            let mut stream = TcpStream::connect(served.address).await.unwrap();
            let _ = stream.write_all(bytes).await;
            let mut answer = Vec::new();
            // Closed or reset, but without a byte.
            let _ = patiently("the end", stream.read_to_end(&mut answer)).await;
            assert_eq!(answer, b"");
            patiently(event, world.recorder.until(event, before + 1)).await;
        };
        refused(&untrusted, header, "refused proxy_untrusted").await;
        refused(&untrusted, b"GET / HTTP/1.1\r\n\r\n", "refused proxy_untrusted").await;
        refused(&trusted, b"GET / HTTP/1.1\r\n\r\n", "refused proxy_invalid").await;
        refused(&trusted, b"PROXY TCP4 999.0.113.9 198.51.100.1 5555 443\r\n", "refused proxy_invalid").await;
        let mut leaving = TcpStream::connect(trusted.address).await.unwrap();
        leaving.write_all(b"PROXY TC").await.unwrap();
        drop(leaving);
        patiently("the loss", world.recorder.until("refused proxy_abandoned", 1)).await;
        assert_eq!(world.recorder.count("opened"), 5);
        patiently("the guards", world.recorder.until("closed", 5)).await;
    }

    #[tokio::test]
    async fn the_source_limit_counts_the_proxied_client() {
        let limits = ConnectionLimits { total: 100, per_source: 2, ..ample() };
        let world = World::new(&[LEGACY], limits);
        let mut served = proxied(&world, Protocol::Http, "127.0.0.0/8");
        let mut held = Vec::new();
        for client in ["203.0.113.9", "203.0.113.9", "203.0.113.10", "203.0.113.9"] {
            let mut stream = TcpStream::connect(served.address).await.unwrap();
            stream
                .write_all(format!("PROXY TCP4 {client} 198.51.100.1 5555 443\r\n").as_bytes())
                .await
                .unwrap();
            held.push(stream);
        }
        for _ in 0..3 {
            patiently("a connection", served.facts.recv()).await.unwrap();
        }
        patiently("the refusal", world.recorder.until("refused source_limit", 1)).await;
        assert_eq!(world.counts.sources(), 2);
    }

    #[tokio::test]
    async fn ipv6_loopback() {
        let world = world();
        let mut served = world.serve_as(spec("[::1]:0", Protocol::Https(Alpn::H2AndHttp1)));
        let mut stream = served.connect("us1.dbt.com", &world.any_client()).await.unwrap();
        echo(&mut stream).await;
        let facts = served.facts.recv().await.unwrap();
        assert!(facts.peer.is_ipv6() && facts.local == served.address);
    }
}
