//! What comes out of `listen`: a byte stream, the facts about it, and the guard that counts it.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::limits::ConnectionGuard;
use super::spec::ListenerSpec;
use crate::policy::certificates::ServerCertificate;
use crate::policy::client_certificate::ClientCertificate;
use crate::policy::facts::{ConnectionFacts, Scheme};

/// Takes over connections. Called once for each, on a task of its own; when the future ends, or is
/// dropped because the drain's deadline has passed, the connection is gone.
pub trait Handler: Send + Sync + 'static {
    /// Serves one connection to its end.
    fn handle(&self, connection: Connection) -> impl Future<Output = ()> + Send;
}

/// A byte stream of a client: TCP, or TLS over it; in tests anything. Implemented for all that fits.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send + Sync + fmt::Debug + 'static {
    /// Whether the socket is reset when it is closed, whoever closes it, so that nobody takes the close for the end of
    /// what was said. What the peer has not read by then may be lost to it. Nothing where there is no socket.
    fn reset_on_close(&self, reset: bool);

    /// Another descriptor of the socket: to see that the peer has gone while what it has sent stays unread. `None` where
    /// there is no socket, or no descriptor left.
    fn second_descriptor(&self) -> Option<OwnedFd>;
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync + fmt::Debug + 'static> Transport for T {
    fn reset_on_close(&self, reset: bool) {
        if let Some(socket) = socket(self) {
            // A socket that takes no options any more is closed already.
            let _ = SockRef::from(socket).set_linger(reset.then_some(Duration::ZERO));
        }
    }

    fn second_descriptor(&self) -> Option<OwnedFd> {
        socket(self)?.as_fd().try_clone_to_owned().ok()
    }
}

fn socket(transport: &dyn Any) -> Option<&TcpStream> {
    let under_tls = || transport.downcast_ref::<TlsStream<TcpStream>>().map(|stream| stream.get_ref().0);
    transport.downcast_ref::<TcpStream>().or_else(under_tls)
}

/// A client's connection, ready for HTTP.
#[derive(Debug)]
pub struct Connection {
    /// The bytes of HTTP. Nothing has been read ahead.
    pub stream: Box<dyn Transport>,
    /// What is known about it.
    pub facts: Facts,
    /// Keeps it counted: hold it exactly as long as the stream, or longer.
    pub guard: ConnectionGuard,
}

/// What is known of a connection before its first request; does not change afterwards.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The listener it came in on.
    pub listener: Arc<ListenerSpec>,
    /// The client: the socket's peer, or what a trusted PROXY header names. IPv4-mapped addresses are
    /// written as IPv4.
    pub peer: SocketAddr,
    /// The other end of the socket: the balancer, where there is a PROXY header.
    pub socket_peer: SocketAddr,
    /// The address that the client connected to, as socket or PROXY header have it.
    pub local: SocketAddr,
    /// What the client speaks; a listener behind a TLS-terminating balancer says so.
    pub scheme: Scheme,
    /// Which HTTP to speak on the stream.
    pub wire: Wire,
    /// What the TLS handshake settled; `None` without TLS.
    pub tls: Option<Tls>,
    /// The socket's file descriptor number: identifies the connection while it lives (pingora's
    /// `UniqueID`), and is not for reading or writing.
    pub fd: i32,
    /// When the socket was accepted, before PROXY header and handshake.
    pub accepted_at: Instant,
}

/// Which HTTP a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// What a TLS handshake settled.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The name that the client asked for, in lower case and without a trailing dot.
    pub sni: Option<Box<str>>,
    /// The certificate for that name in the snapshot of the handshake. A resumed session shows none on
    /// the wire; rustls resumes only under the same name (RFC 6066 section 3), so this one speaks for
    /// it. Its names decide what is answered with 421.
    pub certificate: Arc<ServerCertificate>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite by its IANA name, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher: &'static str,
    /// Whether it continues an earlier session.
    pub resumed: bool,
    /// What the client has shown, where it was asked and has.
    pub client: Option<Arc<ClientCertificate>>,
}

impl Facts {
    /// The client's address without its port.
    pub fn client(&self) -> IpAddr {
        self.peer.ip()
    }

    /// The server name of the client's handshake with us; `None` without one.
    pub fn sni(&self) -> Option<Option<&str>> {
        self.tls.as_ref().map(|tls| tls.sni.as_deref())
    }

    /// The certificate that the client has shown.
    pub fn client_certificate(&self) -> Option<&ClientCertificate> {
        self.tls.as_ref()?.client.as_deref()
    }

    /// The part that decisions need.
    pub fn for_policy(&self) -> ConnectionFacts<'_> {
        ConnectionFacts {
            scheme: self.scheme,
            peer: self.peer.ip(),
            certificate_names: self.tls.as_ref().map(|tls| &tls.certificate.names),
        }
    }
}
