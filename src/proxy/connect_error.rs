//! Why there is no connection to a cell, and what that means: for the client, for metrics, for the endpoint.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::cause;
use crate::policy::cell_failure::Unreachable;
use crate::policy::protection::verdict::counters::Failure;
use crate::telemetry::labels::Connect;

/// Why there is no connection. Nothing of the request has been sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address, and never had one.
    #[error("the name {name} does not resolve")]
    Resolve {
        /// The endpoint's name.
        name: Box<str>,
        #[source]
        /// The resolver's reason.
        source: io::Error,
    },
    /// TCP refused or unreachable.
    #[error("cannot connect to {address}")]
    Tcp {
        /// The address tried last.
        address: SocketAddr,
        #[source]
        /// The socket's reason.
        source: io::Error,
    },
    /// TLS failed: wrong certificate, wrong roots, or no TLS at all.
    #[error("TLS with {address} failed")]
    Tls {
        /// The address.
        address: SocketAddr,
        #[source]
        /// rustls' reason.
        source: io::Error,
    },
    /// The cell does not speak HTTP/2 there.
    #[error("HTTP/2 with {address} failed: {reason}")]
    Http2 {
        /// The address.
        address: SocketAddr,
        /// The engine's reason.
        reason: String,
        /// The same in fewer words.
        cause: Unreachable,
    },
    /// `timeouts.connect` is over before the name had an address.
    #[error("the name {name} does not resolve within {limit:?}")]
    ResolveTimeout {
        /// The endpoint's name.
        name: Box<str>,
        /// The configured time.
        limit: Duration,
    },
    /// The group has as many connections as it may have, and none of them is idle.
    #[error("its group has {0} connections already, as many as max_connections allows")]
    TooMany(u32),
    /// `timeouts.connect` is over.
    #[error("no connection within {0:?}")]
    Timeout(Duration),
}

impl ConnectError {
    /// How it is counted.
    pub const fn label(&self) -> Connect {
        match self {
            Self::Resolve { .. } | Self::ResolveTimeout { .. } => Connect::Unresolved,
            Self::Tcp { .. } | Self::Http2 { .. } => Connect::Refused,
            Self::TooMany(_) => Connect::TooMany,
            Self::Tls { .. } => Connect::Tls,
            Self::Timeout(_) => Connect::TimedOut,
        }
    }

    /// How it speaks against the endpoint; `None` where it is ours: no room, no port, no name.
    pub fn failure(&self) -> Option<Failure> {
        match self.cause() {
            Unreachable::Timeout | Unreachable::Unroutable => Some(Failure::Unreachable),
            Unreachable::Refused
            | Unreachable::Terminated
            | Unreachable::Certificate
            | Unreachable::TlsAlert
            | Unreachable::TlsProtocol
            | Unreachable::Protocol => Some(Failure::Refused),
            Unreachable::NoEndpoint
            | Unreachable::Unresolved
            | Unreachable::ResolveTimeout
            | Unreachable::TooMany
            | Unreachable::Other => None,
        }
    }

    /// What the client is told of it.
    pub fn cause(&self) -> Unreachable {
        match self {
            Self::Resolve { .. } => Unreachable::Unresolved,
            Self::ResolveTimeout { .. } => Unreachable::ResolveTimeout,
            Self::Tcp { source, .. } => cause::of_tcp(source),
            Self::Tls { source, .. } => cause::of_handshake(source),
            Self::Http2 { cause, .. } => *cause,
            Self::TooMany(_) => Unreachable::TooMany,
            Self::Timeout(_) => Unreachable::Timeout,
        }
    }
}
