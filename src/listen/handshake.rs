//! What happens to one connection between accept and HTTP: PROXY header, source limit, TLS.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::connection::{Connection, Facts, Wire};
use super::limits::ConnectionGuard;
use super::observe::{AcceptFailure, Refusal};
use super::serve::Shell;
use super::spec::{ListenerSpec, Protocol};

/// A socket that was just accepted.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) at: Instant,
}

/// What one listener does to its connections.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) spec: Arc<ListenerSpec>,
    pub(super) shell: Shell,
}

impl Entrance {
    pub(super) fn new(spec: Arc<ListenerSpec>, shell: Shell) -> Self {
        Self { spec, shell }
    }

    pub(super) async fn enter(&self, arrival: Arrival, guard: ConnectionGuard) -> Option<Connection> {
        let local = arrival.stream.local_addr().ok()?;
        let facts = Facts {
            listener: Arc::clone(&self.spec),
            peer: arrival.peer,
            socket_peer: arrival.peer,
            local,
            scheme: self.spec.scheme(),
            wire: if self.spec.protocol == Protocol::H2c { Wire::Http2 } else { Wire::Http1 },
            tls: None,
            fd: arrival.stream.as_raw_fd(),
            accepted_at: arrival.at.into_std(),
        };
        Some(Connection { stream: Box::new(arrival.stream), facts, guard })
    }

    pub(super) fn refuse(&self, _peer: SocketAddr, reason: Refusal) {
        self.shell.observer.connection_refused(&self.spec, reason);
    }

    pub(super) fn accept_failed(&self, kind: AcceptFailure, _error: &io::Error) {
        self.shell.observer.accept_failed(&self.spec, kind);
    }
}
