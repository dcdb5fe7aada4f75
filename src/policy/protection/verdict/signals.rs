//! What is known of one endpoint in one second, and of this process in the same second. Plain data that is read off
//! counters; nothing here judges.
//!
//! What had no traffic is absent, never zero: a second without a connection says nothing about connections.

use std::time::Duration;

use super::super::super::ids::Label;

/// Which endpoint, by what does not change with a reload.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The cell that it serves.
    pub cell: Label,
    /// The availability zone that it stands in, where the configuration says so.
    pub zone: Option<Label>,
    /// Its address, as it stands in the configuration.
    pub endpoint: std::sync::Arc<str>,
}

/// One endpoint in one second.
#[derive(Clone, Debug, PartialEq)]
pub struct Signals {
    /// Which endpoint.
    pub place: Place,
    /// Requests sent to it in this second.
    pub started: u32,
    /// Requests that ended in this second, with an answer or without.
    pub ended: u32,
    /// Requests that wait for a first byte as the second ends. A cell that takes everything and answers nothing fails
    /// no request before its timeout, and shows here within seconds.
    pub waiting: u32,
    /// Connections tried in this second, by requests and by active checks, that have been made or have failed.
    pub connects: u32,
    /// How long a connection took, from SYN to SYN-ACK as this process saw it: the median of those that were made.
    pub connect_time: Option<Duration>,
    /// How long TLS took on top: the median.
    pub tls_time: Option<Duration>,
    /// What the kernel says of sockets that are in use.
    pub kernel: Option<Kernel>,
    /// Segments of all sampled sockets.
    pub segments: Segments,
    /// From the last byte of the request to the first of the answer: the median, over [`answers`](Self::answers).
    pub first_byte: Option<Duration>,
    /// Answers of which the first byte came in this second.
    pub answers: u32,
    /// How requests and connections failed.
    pub failures: Failures,
}

/// `TCP_INFO` of some sockets that were in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// `tcpi_rtt`, the smoothed round trip (RFC 6298): the median over the sockets. The kernel answers and measures
    /// while this process sleeps, so it is the one time that does not grow with our own pauses.
    pub rtt: Duration,
    /// Sockets that were asked.
    pub samples: u32,
}

/// Segments since the second before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segments {
    /// Sent, retransmissions included (`tcpi_segs_out`).
    pub sent: u32,
    /// Sent again (`tcpi_total_retrans`).
    pub retransmitted: u32,
}

/// Failures of one second, each counted once. The first two are of connections, the others of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// No connection in time, or no way to the address: nothing has come back, so packets were lost.
    pub unreachable: u32,
    /// Refused, or closed in the TLS handshake: a host has answered, so the way there is fine.
    pub refused: u32,
    /// The connection broke before the answer was whole.
    pub reset: u32,
    /// No answer in time.
    pub timeout: u32,
    /// 502, 503 and 504 from the cell: something in front of the application.
    pub gateway: u32,
    /// Other 5xx: the application itself.
    pub app: u32,
}

/// This process in the same second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessSignals {
    /// How much later than planned the task that judges has woken.
    pub late: Duration,
    /// How much of its processors the process has used, 0 to 1, where that is known.
    pub cpu: Option<f64>,
}

impl Signals {
    /// A second without traffic.
    pub const fn quiet(place: Place) -> Self {
        Self {
            place,
            started: 0,
            ended: 0,
            waiting: 0,
            connects: 0,
            connect_time: None,
            tls_time: None,
            kernel: None,
            segments: Segments { sent: 0, retransmitted: 0 },
            first_byte: None,
            answers: 0,
            failures: Failures { unreachable: 0, refused: 0, reset: 0, timeout: 0, gateway: 0, app: 0 },
        }
    }
}

impl Failures {
    /// Failures that say the endpoint or what is behind it is sick, and not the way to it: all but
    /// [`unreachable`](Self::unreachable).
    pub const fn of_endpoint(&self) -> u32 {
        self.refused + self.reset + self.timeout + self.gateway + self.app
    }
}
