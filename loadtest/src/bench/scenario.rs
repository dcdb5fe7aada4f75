//! What is measured: the scenarios, and who takes part in each.

use std::str::FromStr;

use super::drive::{Pace, Work};
use super::site::Kind;

/// One kind of work for all contestants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Its name on the command line, in JSON and in file names.
    pub name: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    /// What is asked.
    pub work: Work,
    /// When.
    pub pace: Pace,
    /// Whether clients speak TLS.
    pub tls: bool,
    /// Whether each request is a line of the access log.
    pub log: bool,
}

/// Connections of a closed loop: enough that a proxy always finds work, few enough that all of their state is in its
/// caches, as in the measurements that the targets come from.
const CLOSED: Pace = Pace::Closed { connections: 64 };

/// Requests a second of the open loop: a seventh of what the fastest take, so that all of them, Envoy too, could go on
/// for ever, and latencies are those of proxies that are not full.
const OPEN: Pace = Pace::Open { per_second: 6_000, connections: 64 };

/// Large answers fill the sockets of few connections.
const FEW: Pace = Pace::Closed { connections: 8 };

/// Handshakes at once.
const HANDSHAKES: Pace = Pace::Closed { connections: 16 };

/// What h2load is told in the measurements that the targets come from.
const H2: Work = Work::H2Get { connections: 4, streams: 25 };

/// Of the issue; [`Work::Idle`] opens fewer where the limit of open files asks for it.
const IDLE: Work = Work::Idle { connections: 10_000 };

/// More clients than rustls remembers sessions without tickets (256).
const RESUMPTIONS: Work = Work::Resumptions { clients: 10_000 };

impl Scenario {
    /// All that there are, in the order in which they run.
    pub const ALL: [Self; 15] = [
        Self::of("h1", "HTTP/1.1", Work::Get, CLOSED),
        Self::of("h1-open", "HTTP/1.1, 6,000 a second", Work::Get, OPEN),
        Self::of("h1-log", "HTTP/1.1 and a JSON access log", Work::Get, CLOSED).logged(),
        Self::of("h1-log-open", "HTTP/1.1 and a JSON access log, 6,000 a second", Work::Get, OPEN).logged(),
        Self::of("tls", "HTTP/1.1 over TLS 1.3, kept connections", Work::Get, CLOSED).over_tls(),
        Self::of("tls-open", "HTTP/1.1 over TLS 1.3, 6,000 a second", Work::Get, OPEN).over_tls(),
        Self::of("h2", "HTTP/2 over TLS 1.3", H2, CLOSED).over_tls(),
        Self::of("handshakes", "full TLS 1.3 handshake and one request", Work::FullHandshakes, HANDSHAKES)
            .over_tls(),
        Self::of("resumptions", "resumed TLS 1.3 session and one request", RESUMPTIONS, HANDSHAKES)
            .over_tls(),
        Self::of("bytes", "bodies of 1 MiB", Work::Bytes, FEW),
        Self::of("bytes-tls", "bodies of 1 MiB over TLS 1.3", Work::Bytes, FEW).over_tls(),
        Self::of("websocket", "WebSocket messages, there and back", Work::WebSocket, CLOSED),
        Self::of("grpc", "gRPC calls over TLS 1.3", Work::GrpcUnary, Pace::Closed { connections: 4 })
            .over_tls(),
        Self::of("idle", "idle connections", IDLE, CLOSED),
        Self::of("idle-tls", "idle connections over TLS 1.3", IDLE, CLOSED).over_tls(),
    ];

    const fn of(name: &'static str, title: &'static str, work: Work, pace: Pace) -> Self {
        Self { name, title, work, pace, tls: false, log: false }
    }

    const fn over_tls(self) -> Self {
        Self { tls: true, ..self }
    }

    const fn logged(self) -> Self {
        Self { log: true, ..self }
    }

    /// Whether cells are spoken to in HTTP/2.
    pub const fn is_grpc(&self) -> bool {
        matches!(self.work, Work::GrpcUnary)
    }

    /// Whether connections are what is counted, and memory what is measured.
    pub const fn is_idle(&self) -> bool {
        matches!(self.work, Work::Idle { .. })
    }

    /// Whether a contestant can do this at all. The relay ends no TLS; the floor speaks HTTP/1.1 to cells and writes no
    /// log, and neither does the relay.
    pub const fn takes(&self, kind: Kind) -> bool {
        match kind {
            Kind::Cellgate | Kind::Haproxy | Kind::Nginx | Kind::Envoy => true,
            Kind::Floor => !self.is_grpc() && !self.log,
            Kind::Relay => !self.tls && !self.log,
        }
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = || Self::ALL.map(|scenario| scenario.name).join(", ");
        let found = Self::ALL.into_iter().find(|scenario| scenario.name == text);
        found.ok_or_else(|| format!("expected one of: {}", names()))
    }
}
