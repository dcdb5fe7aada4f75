//! Makes a listening socket: every option set on purpose, every failure explained.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpListener;

use super::spec::ListenerSpec;

/// Connections that the kernel completes and keeps while the accept loop is busy. The default of
/// `net.core.somaxconn`, which cuts it anyway; at 20,000 new connections a second it bridges 200 ms.
const BACKLOG: i32 = 4096;

/// A silent peer is probed after this long. Below the 350 s after which common balancers and NAT
/// gateways forget a silent connection without telling either end.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// Between probes; with [`KEEPALIVE_PROBES`] a dead peer is found after two minutes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Unanswered probes until the connection is given up.
const KEEPALIVE_PROBES: u32 = 4;

/// Bytes of an answer that wait in the kernel although the client has no room for them: enough to keep any client
/// busy until we are asked for more. Without it, each client that does not read would hold a send buffer of up to
/// 4 MiB (`net.ipv4.tcp_wmem`), and some hundreds of them all memory that TCP may have.
const UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// A listening socket. Connections queue in the kernel from here on;
/// [`serve`](Self::serve) takes them up.
#[derive(Debug)]
#[must_use = "a listener that is dropped is closed"]
pub struct Bound {
    pub(super) spec: Arc<ListenerSpec>,
    pub(super) listener: TcpListener,
    local_addr: SocketAddr,
}

/// Why a listener could not be made: which one, why, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("listener `{listener}` cannot listen on {address}: {reason}; {advice}")]
pub struct BindError {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The address as configured.
    pub address: SocketAddr,
    /// What kind of failure it is.
    pub kind: io::ErrorKind,
    reason: String,
    advice: &'static str,
}

/// Listens. Must be called within a tokio runtime with I/O.
pub fn bind(spec: ListenerSpec) -> Result<Bound, BindError> {
    let made = socket(spec.address)
        .and_then(|socket| TcpListener::from_std(socket.into()))
        .and_then(|listener| listener.local_addr().map(|local_addr| (listener, local_addr)));
    bound(spec, made)
}

fn bound(spec: ListenerSpec, made: io::Result<(TcpListener, SocketAddr)>) -> Result<Bound, BindError> {
    match made {
        Ok((listener, local_addr)) => Ok(Bound { spec: Arc::new(spec), listener, local_addr }),
        Err(error) => Err(BindError {
            listener: spec.name,
            address: spec.address,
            kind: error.kind(),
            advice: advice(error.kind()),
            reason: error.to_string(),
        }),
    }
}

/// Takes a socket that listens already: a predecessor's, or systemd's. Must be called within a tokio runtime
/// with I/O.
pub fn adopt(spec: ListenerSpec, listener: std::net::TcpListener) -> Result<Bound, BindError> {
    let made = options(&SockRef::from(&listener))
        .and_then(|()| TcpListener::from_std(listener))
        .and_then(|listener| listener.local_addr().map(|local_addr| (listener, local_addr)));
    bound(spec, made)
}

impl Bound {
    /// The socket, to be handed on.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// The address it listens on, with the port that the kernel chose where port 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What it was made from.
    pub fn spec(&self) -> &ListenerSpec {
        &self.spec
    }
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for TIME_WAIT. Not SO_REUSEPORT: two processes on one port by mistake
    // must be an error, not half of the traffic each.
    socket.set_reuse_address(true)?;
    options(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn options(socket: &Socket) -> io::Result<()> {
    // Linux hands both options on to accepted sockets, which saves three system calls a connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES),
    )?;
    socket.set_nonblocking(true)
}

fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => {
            "stop the process that holds it (`ss -ltnp` names it), or configure another address"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE: grant it, or configure a higher port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has this address (`ip addr` lists them): configure one that exists, \
             or 0.0.0.0 or [::] for all"
        }
        _ => "check that this machine has the address family, and the limits of the process (`ulimit -n`)",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::listen::spec::Protocol;
    use crate::listen::testing;
    use tokio::net::TcpStream;

    fn spec(address: &str) -> ListenerSpec {
        testing::spec(address, Protocol::Http)
    }

    #[tokio::test]
    async fn port_0_names_the_real_port_on_both_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let bound = bind(spec(address)).unwrap();
            assert_ne!(bound.local_addr().port(), 0, "{address}");
            assert_eq!(bound.local_addr().ip(), bound.spec().address.ip());
            let (connected, accepted) =
                tokio::join!(TcpStream::connect(bound.local_addr()), bound.listener.accept());
            let (accepted, peer) = accepted.unwrap();
            assert_eq!(connected.unwrap().local_addr().unwrap(), peer);
            // Inherited from the listening socket.
            assert!(accepted.nodelay().unwrap());
            assert_eq!(SockRef::from(&accepted).tcp_notsent_lowat().unwrap(), UNSENT_BYTES_MAX);
            assert!(SockRef::from(&accepted).keepalive().unwrap());
            assert_eq!(SockRef::from(&accepted).tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
            assert_eq!(SockRef::from(&accepted).tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        }
    }

    #[tokio::test]
    async fn an_adopted_socket_is_like_one_of_our_own() {
        // As systemd makes it: blocking, with no option set.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let adopted = adopt(spec("127.0.0.1:0"), listener).unwrap();
        assert_eq!(adopted.local_addr(), address);
        assert!(SockRef::from(&adopted.listener).nonblocking().unwrap());
        let (connected, accepted) = tokio::join!(TcpStream::connect(address), adopted.listener.accept());
        assert_eq!(connected.unwrap().local_addr().unwrap(), accepted.as_ref().unwrap().1);
        let accepted = accepted.unwrap().0;
        assert!(accepted.nodelay().unwrap() && SockRef::from(&accepted).keepalive().unwrap());
        // It goes on listening at the other end of a hand-over.
        let duplicate = adopted.duplicate().unwrap();
        drop(adopted);
        assert!(TcpStream::connect(address).await.is_ok());
        drop(duplicate);
        testing::refused(address).await;
    }

    #[tokio::test]
    async fn an_ipv6_wildcard_leaves_ipv4_alone() {
        let bound = bind(spec("[::]:0")).unwrap();
        assert!(SockRef::from(&bound.listener).only_v6().unwrap());
    }

    #[tokio::test]
    async fn a_failure_says_where_why_and_what_to_do() {
        let first = bind(spec("127.0.0.1:0")).unwrap();
        let taken = first.local_addr();
        let error = bind(spec(&taken.to_string())).unwrap_err();
        assert_eq!(error.kind, io::ErrorKind::AddrInUse);
        let text = error.to_string();
        for part in ["listener `test`", &taken.to_string(), "Address already in use", "ss -ltnp"] {
            assert!(text.contains(part), "{part:?} in {text:?}");
        }
        // TEST-NET-1, RFC 5737: no machine has it.
        let error = bind(spec("192.0.2.1:0")).unwrap_err();
        assert_eq!(error.kind, io::ErrorKind::AddrNotAvailable);
        assert!(error.to_string().contains("ip addr"), "{error}");
        assert!(advice(io::ErrorKind::PermissionDenied).contains("CAP_NET_BIND_SERVICE"));
    }
}
