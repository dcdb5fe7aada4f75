//! Connections to cells: resolve, TCP, TLS, HTTP/2 preface, under one deadline.
//!
//! TLS uses the cell's own client configuration, built once at compile: sessions resume, and no
//! process-wide root store exists (pingora's connector rebuilds it per connection and shares roots).

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pingora::connectors::http::v2::ConnectionRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::cause;
pub use super::connect_error::ConnectError;
use super::connect_h2::{self, Cuts};
use super::counted::CountedStream;
use super::pool::Pool;
use super::resolver::Resolver;
use super::upstream::Upstream;
use super::wire::Wire;
use super::wire_h2::H2WireHandle;
use crate::policy::admit::Permit;
use crate::policy::cell_failure::Unreachable;
use crate::policy::snapshot::{Cell, CellTls, Endpoint, EndpointAddress};
use crate::telemetry::metrics::Metrics;

/// Idle connections that are closed for a new one, at most: what comes free may be taken by another.
const IDLE_CLOSED: usize = 4;

/// Makes and reuses connections to cells.
pub struct Connector {
    pool: Pool,
    resolver: Resolver,
    cuts: Arc<Cuts>,
}

/// What an exchange needs of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// HTTP/2 on the cell's side.
    pub h2: bool,
    /// Only a connection used this recently, or a new one: a request that must not be sent twice should
    /// not meet a connection that the cell is just closing.
    pub fresher_than: Duration,
    /// Not from the pool: the last one from it had gone stale.
    pub new: bool,
    /// Also where the group has as many as it may: the request holds a permit beyond them.
    pub reserved: bool,
}

/// A connection for one exchange.
pub struct Connected {
    /// Ready for a request head.
    pub upstream: Upstream,
    /// It had carried requests before.
    pub reused: bool,
    /// Where it goes; unknown for a shared HTTP/2 connection to a name.
    pub address: Option<SocketAddr>,
}

/// A new TCP connection.
pub(super) struct Opened {
    pub tcp: TcpStream,
    pub address: SocketAddr,
    /// From SYN to SYN-ACK.
    pub took: Duration,
}

impl Connector {
    /// With an empty pool; connections that it has to cut are counted in `metrics`.
    pub fn new(resolver: Resolver, metrics: Arc<Metrics>) -> Self {
        Self { pool: Pool::default(), resolver, cuts: Arc::new(Cuts::new(metrics)) }
    }

    /// Idle connections, to give back to and to sweep.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A connection to an endpoint of a cell.
    ///
    /// # Errors
    /// [`ConnectError`]; nothing has been sent then.
    pub async fn connect(
        &self,
        cell: &Cell,
        endpoint: &Endpoint,
        need: Need,
    ) -> Result<Connected, ConnectError> {
        // Before there is a timer: nobody waits for what is there, and a timer counts as an owner of the runtime, in a
        // number of all threads.
        if let Some(kept) = self.kept(cell, endpoint, need) {
            return Ok(kept);
        }
        let limit = endpoint.load.connect_timeout(cell.timeouts.connect);
        let resolving = AtomicBool::new(false);
        let mut turn = None;
        if need.h2 {
            if let Some(upstream) = self.shared_stream(endpoint).await {
                return Ok(Connected { upstream, reused: true, address: None });
            }
            // Whose turn comes has the whole time: with what is left of one that was spent on waiting for those before, no
            // connection would be made any more.
            let waited = tokio::time::timeout(limit, self.pool.connecting(&endpoint.key).lock_owned()).await;
            turn = Some(waited.map_err(|_| ConnectError::Timeout(limit))?);
        }
        let connecting = async {
            if need.h2 {
                self.h2(cell, endpoint, need.reserved, &resolving).await
            } else {
                self.h1(cell, endpoint, need.reserved, &resolving).await
            }
        };
        let connected = tokio::time::timeout(limit, connecting).await;
        drop(turn);
        connected.unwrap_or_else(|_| Err(late(endpoint, &resolving, limit)))
    }

    /// A connection for HTTP/1 that has carried requests before.
    fn kept(&self, cell: &Cell, endpoint: &Endpoint, need: Need) -> Option<Connected> {
        if need.h2 || need.new {
            return None;
        }
        let wire = self.pool.take(&endpoint.key, need.fresher_than.min(cell.timeouts.keep_alive))?;
        let address = match &endpoint.address {
            EndpointAddress::Socket(address) => Some(*address),
            EndpointAddress::Name(..) => None,
        };
        Some(Connected { upstream: Upstream::h1(wire), reused: true, address })
    }

    async fn h1(
        &self,
        cell: &Cell,
        endpoint: &Endpoint,
        reserved: bool,
        resolving: &AtomicBool,
    ) -> Result<Connected, ConnectError> {
        // Boxed, here and for HTTP/2: most requests find a connection, and none should have room for making one.
        let (wire, address) = Box::pin(self.h1_connection(cell, endpoint, reserved, resolving)).await?;
        Ok(Connected { upstream: Upstream::h1(wire), reused: false, address: Some(address) })
    }

    pub(super) async fn h1_connection(
        &self,
        cell: &Cell,
        endpoint: &Endpoint,
        reserved: bool,
        resolving: &AtomicBool,
    ) -> Result<(Box<Wire>, SocketAddr), ConnectError> {
        let permit = self.room(cell, endpoint, reserved)?;
        let Opened { tcp, address, took } = self.tcp(&endpoint.address, resolving).await?;
        let (id, counters) = (tcp.as_raw_fd(), &endpoint.load.counters);
        let tcp = CountedStream::new(tcp, permit);
        let wire = match &cell.tls {
            Some(tls) => {
                let begun = Instant::now();
                let secured = secure(tls, tcp, address, Alpn::Http1).await?;
                counters.connected(took, Some(begun.elapsed()));
                Wire::new(secured, id)
            }
            None => {
                counters.connected(took, None);
                Wire::new(tcp, id)
            }
        };
        Ok((wire, address))
    }

    async fn h2(
        &self,
        cell: &Cell,
        endpoint: &Endpoint,
        reserved: bool,
        resolving: &AtomicBool,
    ) -> Result<Connected, ConnectError> {
        // Somebody else may have made one meanwhile.
        if let Some(upstream) = self.shared_stream(endpoint).await {
            return Ok(Connected { upstream, reused: true, address: None });
        }
        let (connection, wire, address) =
            Box::pin(self.h2_connection(cell, endpoint, reserved, resolving)).await?;
        let session = match connection.spawn_stream().await {
            Ok(Some(session)) => session,
            // The engine's word for a connection that the cell has closed.
            Ok(None) if connection.is_shutting_down() => return Err(ended(address)),
            Ok(None) => return Err(no_stream(address)),
            Err(error) => return Err(no_http2(address, &error)),
        };
        self.pool.share(&endpoint.key, connection, wire.clone());
        Ok(Connected { upstream: Upstream::h2(session, wire), reused: false, address: Some(address) })
    }

    async fn shared_stream(&self, endpoint: &Endpoint) -> Option<Upstream> {
        // Each failure marks its connection, so the loop ends with the last shared connection.
        while let Some((connection, wire)) = self.pool.shared(&endpoint.key) {
            match connection.spawn_stream().await {
                Ok(Some(session)) => return Some(Upstream::h2(session, wire)),
                Ok(None) if connection.is_shutting_down() => {}
                // Another request took the last slot in between.
                Ok(None) => return None,
                Err(_) => connection.mark_shutdown(),
            }
        }
        None
    }

    pub(super) async fn h2_connection(
        &self,
        cell: &Cell,
        endpoint: &Endpoint,
        reserved: bool,
        resolving: &AtomicBool,
    ) -> Result<(ConnectionRef, H2WireHandle, SocketAddr), ConnectError> {
        let permit = self.room(cell, endpoint, reserved)?;
        let Opened { tcp, address, took } = self.tcp(&endpoint.address, resolving).await?;
        let (id, counters) = (tcp.as_raw_fd(), &endpoint.load.counters);
        let tcp = CountedStream::new(tcp, permit);
        let opened = match &cell.tls {
            Some(tls) => {
                let begun = Instant::now();
                let secured = secure(tls, tcp, address, Alpn::Http2).await?;
                counters.connected(took, Some(begun.elapsed()));
                connect_h2::open(secured, id, cell, &self.cuts).await
            }
            None => {
                counters.connected(took, None);
                connect_h2::open(tcp, id, cell, &self.cuts).await
            }
        };
        let (connection, handle) = opened.map_err(|error| no_http2(address, &into_engine(error)))?;
        if !connection.is_closed() && !connection.can_accept_streams(1) {
            // A stream would wait for a SETTINGS that raises the number, and hold its request until then.
            return Err(no_stream(address));
        }
        Ok((connection, handle, address))
    }

    /// A permit for another connection to an endpoint's group. Where all are taken, an idle one to it is closed: it
    /// stands in the way of somebody who has work.
    fn room(&self, cell: &Cell, endpoint: &Endpoint, reserved: bool) -> Result<Permit, ConnectError> {
        let connections = &endpoint.connections;
        if let Some(permit) = connections.try_take() {
            return Ok(permit);
        }
        let same_group = |other: &&Endpoint| Arc::ptr_eq(&other.connections.permits, &connections.permits);
        for _ in 0..IDLE_CLOSED {
            if !cell.endpoints().filter(same_group).any(|other| self.pool.close_oldest(&other.key)) {
                break;
            }
            if let Some(permit) = connections.try_take() {
                return Ok(permit);
            }
        }
        let most = if reserved { u32::MAX } else { connections.most };
        connections.permits.try_take(most).ok_or(ConnectError::TooMany(connections.most))
    }

    /// Tries each address in turn; the deadline around it bounds the whole. `resolving` is set while the
    /// address is not known.
    pub(super) async fn tcp(
        &self,
        address: &EndpointAddress,
        resolving: &AtomicBool,
    ) -> Result<Opened, ConnectError> {
        let addresses = match address {
            EndpointAddress::Socket(address) => vec![*address],
            EndpointAddress::Name(name, port) => {
                resolving.store(true, Ordering::Relaxed);
                let found = self.resolver.addresses(name, *port).await;
                resolving.store(false, Ordering::Relaxed);
                found.map_err(|source| ConnectError::Resolve { name: name.clone(), source })?
            }
        };
        let mut last = None;
        for address in addresses {
            let begun = Instant::now();
            match TcpStream::connect(address).await {
                Ok(tcp) => {
                    let took = begun.elapsed();
                    // A head and its body must not wait for each other's acknowledgement.
                    let _ = tcp.set_nodelay(true);
                    return Ok(Opened { tcp, address, took });
                }
                Err(source) => last = Some(ConnectError::Tcp { address, source }),
            }
        }
        Err(last.expect("the resolver never gives an empty list"))
    }
}

pub(super) fn late(endpoint: &Endpoint, resolving: &AtomicBool, limit: Duration) -> ConnectError {
    match &endpoint.address {
        EndpointAddress::Name(name, _) if resolving.load(Ordering::Relaxed) => {
            ConnectError::ResolveTimeout { name: name.clone(), limit }
        }
        EndpointAddress::Name(..) | EndpointAddress::Socket(_) => ConnectError::Timeout(limit),
    }
}

fn no_http2(address: SocketAddr, error: &pingora::Error) -> ConnectError {
    ConnectError::Http2 { address, reason: error.to_string(), cause: cause::of_http2(error) }
}

fn no_stream(address: SocketAddr) -> ConnectError {
    ConnectError::Http2 { address, reason: "the cell allows no stream".into(), cause: Unreachable::Other }
}

fn ended(address: SocketAddr) -> ConnectError {
    let (reason, cause) = ("the cell has closed the connection".into(), Unreachable::Terminated);
    ConnectError::Http2 { address, reason, cause }
}

fn into_engine(error: h2::Error) -> pingora::BError {
    pingora::Error::because(pingora::ErrorType::HandshakeError, "HTTP/2 handshake", error)
}

#[derive(Clone, Copy)]
pub(super) enum Alpn {
    Http1,
    Http2,
}

pub(super) async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
    tls: &CellTls,
    tcp: S,
    address: SocketAddr,
    alpn: Alpn,
) -> Result<tokio_rustls::client::TlsStream<S>, ConnectError> {
    let config = match alpn {
        Alpn::Http1 => Arc::clone(&tls.http1),
        Alpn::Http2 => Arc::clone(&tls.http2),
    };
    let connector = TlsConnector::from(config);
    let stream = connector
        .connect(tls.sni.clone(), tcp)
        .await
        .map_err(|source| ConnectError::Tls { address, source })?;
    if matches!(alpn, Alpn::Http2) && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        let (reason, cause) = ("the cell did not choose h2 by ALPN".into(), Unreachable::Protocol);
        return Err(ConnectError::Http2 { address, reason, cause });
    }
    Ok(stream)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::Pin;

    use super::super::resolver::{Answer, Lookup};
    use super::*;
    use crate::policy::admit::Bound;
    use crate::policy::snapshot::EndpointKey;
    use crate::telemetry::labels::Connect;

    /// Asks nobody.
    struct Silent;

    impl Lookup for Silent {
        fn lookup(&self, _: Box<str>) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
            Box::pin(std::future::pending())
        }
    }

    #[test]
    fn a_request_has_no_room_for_making_a_connection() {
        let connector = Connector::new(Resolver::new(Box::new(Silent)), Arc::new(Metrics::new()));
        let snapshot = crate::test_snapshot::example().build();
        let (address, key) =
            (EndpointAddress::Name("cell-1.test".into(), 80), EndpointKey("cell-1.test".into()));
        let endpoint = Endpoint { address, key, connections: Bound::new(1), load: Arc::default() };
        let need = Need { h2: true, fresher_than: Duration::MAX, new: false, reserved: false };
        let room = size_of_val(&connector.connect(&snapshot.cells[0], &endpoint, need));
        assert!(room <= 1024, "{room} bytes in each request");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_nobody_answers_for_is_not_taken_for_a_cell_that_does_not_answer() {
        let connector = Connector::new(Resolver::new(Box::new(Silent)), Arc::new(Metrics::new()));
        let snapshot = crate::test_snapshot::example().build();
        let address = EndpointAddress::Name("cell-1.test".into(), 80);
        let key = EndpointKey("cell-1.test".into());
        let endpoint = Endpoint { address, key, connections: Bound::new(2), load: Arc::default() };
        for h2 in [false, true] {
            let need = Need { h2, fresher_than: Duration::MAX, new: false, reserved: false };
            let error = connector.connect(&snapshot.cells[0], &endpoint, need).await.err().unwrap();
            assert_eq!((error.cause(), error.label()), (Unreachable::ResolveTimeout, Connect::Unresolved));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whose_turn_it_is_has_the_whole_time_to_connect_and_nobody_waits_longer_for_it() {
        let connector = Connector::new(Resolver::new(Box::new(Silent)), Arc::new(Metrics::new()));
        let snapshot = crate::test_snapshot::example().build();
        let (cell, limit) = (&snapshot.cells[0], snapshot.cells[0].timeouts.connect);
        let (address, key) =
            (EndpointAddress::Name("cell-1.test".into(), 80), EndpointKey("cell-1.test".into()));
        let endpoint = Endpoint { address, key, connections: Bound::new(2), load: Arc::default() };
        let need = Need { h2: true, fresher_than: Duration::MAX, new: false, reserved: false };
        let begun = Instant::now();
        let failed_after = async |wait: Duration| {
            tokio::time::sleep(wait).await;
            let error = connector.connect(cell, &endpoint, need).await.err().unwrap();
            (error.label(), begun.elapsed())
        };
        let half = limit / 2;
        let all = tokio::join!(failed_after(Duration::ZERO), failed_after(half), failed_after(half));
        let (tried, waited) = (Connect::Unresolved, Connect::TimedOut);
        assert_eq!(all, ((tried, limit), (tried, limit * 2), (waited, limit + half)));
    }
}
