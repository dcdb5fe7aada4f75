//! What is measured: the scenarios, and who takes part in each.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

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
    /// Whether the start of the program is what is measured, and no more is asked than it takes to see that it serves.
    pub cold: bool,
}

/// What is measured of a contestant, and with that the columns of a scenario's table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Figures {
    /// What a request costs.
    #[default]
    Requests,
    /// What a connection costs that does nothing.
    Idle,
    /// What another table costs while requests come.
    Reload,
    /// What a start costs.
    ColdStart,
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
    pub const ALL: [Self; 17] = [
        Self::of("h1", "HTTP/1.1", Work::Get, CLOSED),
        Self::of("h1-open", "HTTP/1.1 at a fixed rate", Work::Get, OPEN),
        Self::of("h1-log", "HTTP/1.1 and a JSON access log", Work::Get, CLOSED).logged(),
        Self::of("h1-log-open", "HTTP/1.1 and a JSON access log at a fixed rate", Work::Get, OPEN).logged(),
        Self::of("tls", "HTTP/1.1 over TLS 1.3, kept connections", Work::Get, CLOSED).over_tls(),
        Self::of("tls-open", "HTTP/1.1 over TLS 1.3 at a fixed rate", Work::Get, OPEN).over_tls(),
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
        Self::of("reload", "another table while requests come at a fixed rate", Work::GetAcrossReload, OPEN),
        Self::of("cold-start", "start of the program, until the first answer", Work::Get, CLOSED).cold(),
    ];

    const fn of(name: &'static str, title: &'static str, work: Work, pace: Pace) -> Self {
        Self { name, title, work, pace, tls: false, log: false, cold: false }
    }

    const fn over_tls(self) -> Self {
        Self { tls: true, ..self }
    }

    const fn logged(self) -> Self {
        Self { log: true, ..self }
    }

    const fn cold(self) -> Self {
        Self { cold: true, ..self }
    }

    /// The same with another rate, if it has one.
    #[must_use]
    pub const fn at(self, per_second: u32) -> Self {
        match self.pace {
            Pace::Open { connections, .. } => Self { pace: Pace::Open { per_second, connections }, ..self },
            Pace::Closed { .. } => self,
        }
    }

    /// What it is, for people, with its rate.
    pub fn words(&self) -> String {
        match self.pace {
            Pace::Open { per_second, .. } => format!("{}, {per_second} a second", self.title),
            Pace::Closed { .. } => self.title.to_owned(),
        }
    }

    /// What is measured.
    pub const fn figures(&self) -> Figures {
        match self.work {
            _ if self.cold => Figures::ColdStart,
            Work::Idle { .. } => Figures::Idle,
            Work::GetAcrossReload => Figures::Reload,
            _ => Figures::Requests,
        }
    }

    /// Whether cells are spoken to in HTTP/2.
    pub const fn is_grpc(&self) -> bool {
        matches!(self.work, Work::GrpcUnary)
    }

    /// Whether contestants are told to use another table.
    pub const fn reloads(&self) -> bool {
        matches!(self.figures(), Figures::Reload)
    }

    /// Whether a contestant can do this at all. The relay ends no TLS; the floor speaks HTTP/1.1 to cells and writes no
    /// log, and neither does the relay. Envoy's table is in Lua, which is read at the start, and floors have none.
    pub const fn takes(&self, kind: Kind) -> bool {
        match kind {
            _ if self.reloads() => kind.reload_signal().is_some(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scenario_is_found_by_its_name_and_by_no_other() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.name.parse(), Ok(scenario));
        }
        let error = "warm-start".parse::<Scenario>().expect_err("there is none");
        assert!(error.contains("reload") && error.contains("cold-start"), "{error}");
    }

    #[test]
    fn a_rate_is_that_of_open_loops_alone() {
        let words = |name: &str| {
            let scenario: Scenario = name.parse().expect("there is such a scenario");
            (scenario.words(), scenario.at(25_000).words())
        };
        assert_eq!(words("h1"), ("HTTP/1.1".to_owned(), "HTTP/1.1".to_owned()));
        let (usual, other) = words("tls-open");
        assert_eq!(usual, "HTTP/1.1 over TLS 1.3 at a fixed rate, 6000 a second");
        assert_eq!(other, "HTTP/1.1 over TLS 1.3 at a fixed rate, 25000 a second");
    }

    #[test]
    fn who_cannot_do_something_is_left_out() {
        let taken = |name: &str| {
            let scenario: Scenario = name.parse().expect("there is such a scenario");
            (
                scenario.figures(),
                Kind::ALL.into_iter().filter(|kind| scenario.takes(*kind)).collect::<Vec<_>>(),
            )
        };
        let [haproxy, nginx, envoy, cellgate, floor, relay] = Kind::ALL;
        assert_eq!(taken("reload"), (Figures::Reload, vec![haproxy, nginx, cellgate]));
        assert_eq!(taken("cold-start"), (Figures::ColdStart, Kind::ALL.to_vec()));
        assert_eq!(taken("idle-tls"), (Figures::Idle, vec![haproxy, nginx, envoy, cellgate, floor]));
        assert_eq!(taken("h1-log"), (Figures::Requests, vec![haproxy, nginx, envoy, cellgate]));
        assert_eq!(taken("h1"), (Figures::Requests, vec![haproxy, nginx, envoy, cellgate, floor, relay]));
    }
}
