//! The load of the benchmark: as many requests as a proxy can take or as many as are due, each answer checked, from one
//! thread that costs as little as can be.
//!
//! Where [`crate::load`] plays clients of all kinds against an edge in a test, this wears a proxy out: requests are written
//! by hand into a buffer that is kept, and nothing but what is counted is made of an answer.
//!
//! *Closed*, each connection sends its next request when it has the answer to the one before. *Open*, requests are due at
//! fixed moments whatever the proxy does; one that is due waits for a connection that is free, its latency counts from when
//! it was due, and none is left out (no coordinated omission).
//!
//! Of a request that is due or sent within the measured window all is counted, whenever it is answered. What is wrong or
//! lost is counted from the first connection to the last, warm-up included: there is no moment at which it may be.
//!
//! - `ask`: whose account, and the bytes of a request; `answer`: what an answer must be;
//! - `line`: connections; `turns`: when requests are due; `halves`: latencies by the half second; `load`: what all workers
//!   share, and the order of a run;
//! - `http1`, `handshakes`, `http2`, `websocket`, `idle`: one kind of work each.

mod answer;
mod ask;
mod halves;
mod handshakes;
mod http1;
mod http2;
mod idle;
mod line;
mod load;
mod turns;
mod websocket;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::runtime::{Builder, LocalOptions};

use super::table::Table;
use crate::load::Histogram;
use load::Load;

/// Where a proxy listens.
#[derive(Clone, Debug)]
pub struct Door {
    /// Its address.
    pub address: SocketAddr,
    /// Whom to trust and what to offer, where it speaks TLS; protocols (ALPN) and sessions are chosen by the work.
    pub tls: Option<Arc<ClientConfig>>,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As soon as the one before is answered.
    Closed {
        /// Connections, or handshakes at once.
        connections: usize,
    },
    /// At fixed moments.
    Open {
        /// Requests due a second, one after the other in equal steps.
        per_second: u32,
        /// Connections, or handshakes at once.
        connections: usize,
    },
}

impl Pace {
    fn connections(self) -> usize {
        match self {
            Self::Closed { connections } | Self::Open { connections, .. } => connections,
        }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// HTTP/1.1 requests on kept connections, half of them to the legacy host. The server name of TLS is the legacy host's,
    /// here as wherever a connection is kept: the certificate must be for all hosts.
    Get,
    /// The same while the proxy begins to use another table: an account that moves may be answered by either of its cells. A
    /// connection that the proxy has ended meanwhile is opened anew before the next request; one that crosses with its end
    /// is lost.
    GetAcrossReload,
    /// The same as [`Work::Get`], each answered with 1 MiB. To cell hosts only: the path names no account.
    Bytes,
    /// HTTP/2 requests; how many at once is said here and not by the pace.
    H2Get {
        /// Connections.
        connections: usize,
        /// Requests at once on each.
        streams: usize,
    },
    /// Connect, full TLS handshake where the door has TLS, one request, close.
    FullHandshakes,
    /// The same by so many clients, each of which keeps its own session from one connection to the next. Their first
    /// handshakes, which cannot be resumed, come before the warm-up. Needs a door with TLS.
    Resumptions {
        /// Clients that take turns.
        clients: usize,
    },
    /// A message on an open WebSocket, and its echo. To cell hosts only.
    WebSocket,
    /// gRPC calls over HTTP/2 with one message each way, on each connection [`GRPC_STREAMS`] at once. To cell hosts only.
    GrpcUnary,
    /// Connections that have asked once and then do nothing for the whole duration, after which each must still answer. There
    /// is no warm-up: the window begins before the first connection. `requests` is how many were held.
    Idle {
        /// Connections; as many as the limit of open files lets there be.
        connections: usize,
    },
}

/// Calls at once on each connection: as many as the h2 scenario has.
pub const GRPC_STREAMS: usize = 25;

/// One measurement.
#[derive(Clone, Debug)]
pub struct Order {
    /// Whom to ask.
    pub door: Door,
    /// About which accounts: each is as likely as any other.
    pub table: Table,
    /// What to ask.
    pub work: Work,
    /// When.
    pub pace: Pace,
    /// Not measured: time for pools, caches and branch predictors to fill.
    pub warmup: Duration,
    /// Measured.
    pub duration: Duration,
    /// The same seed asks about the same accounts in the same order.
    pub seed: u64,
    /// Check the status alone: a relay knows no accounts and adds no header.
    pub l4: bool,
}

/// What has become of an order.
#[derive(Clone, Debug, Default)]
pub struct Driven {
    /// Requests that were due or sent within the window, whatever became of them.
    pub requests: u64,
    /// Requests without a whole answer, in the whole run.
    pub failed: u64,
    /// Requests with a whole answer that is not the right one, in the whole run.
    pub wrong: u64,
    /// Right answers within the window on a connection whose TLS session was resumed.
    pub resumed: u64,
    /// How long the window was.
    pub elapsed: Duration,
    /// Of right answers within the window, from the moment a request was due (open) or begun (closed).
    pub latency: Histogram,
    /// Of these the 99th of 100 in that half second of the window in which it is longest, in microseconds.
    pub worst_p99_us: Option<u64>,
    /// The first that failed or was wrong, or what could not be done as ordered.
    pub remark: Option<String>,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The system gave us no event loop or timer.
    #[error("preparing the load")]
    Prepare(#[from] io::Error),
    /// The work is about TLS sessions.
    #[error("resumptions need a door with TLS")]
    NeedsTls,
    /// Nothing to spread requests over.
    #[error("an order needs accounts, connections and, at a rate, requests: got {0}")]
    Nothing(String),
    /// The proxy is not there, or not ready.
    #[error("opening connections to {address} before the measurement: {fault}")]
    Opening {
        /// The door.
        address: SocketAddr,
        /// What the first connection that failed met.
        fault: String,
    },
}

/// Carries out an order in this thread: whoever pins the thread pins the load. The two functions are called at the
/// borders of the measured window, where the proxy's CPU time is read; they should take no more than microseconds.
///
/// # Errors
/// Nothing was measured: see [`DriveError`]. What goes wrong after the connections are open is counted.
pub fn run(order: &Order, on_begin: impl FnOnce(), on_end: impl FnOnce()) -> Result<Driven, DriveError> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let connections = order.pace.connections();
    runtime.block_on(async {
        let load = Rc::new(Load::of(order)?);
        match order.work {
            Work::Get => load.measure(http1::gets(connections), on_begin, on_end).await,
            Work::GetAcrossReload => {
                load.measure(http1::gets_across_reload(connections), on_begin, on_end).await
            }
            Work::Bytes => load.measure(http1::bytes(connections), on_begin, on_end).await,
            Work::H2Get { connections, streams } => {
                load.measure(http2::gets(connections, streams), on_begin, on_end).await
            }
            Work::GrpcUnary => load.measure(http2::calls(connections), on_begin, on_end).await,
            Work::FullHandshakes => load.measure(handshakes::full(connections), on_begin, on_end).await,
            Work::Resumptions { clients } => {
                let own = handshakes::resuming(order, clients).ok_or(DriveError::NeedsTls)?;
                load.measure(own, on_begin, on_end).await
            }
            Work::WebSocket => load.measure(websocket::sockets(connections), on_begin, on_end).await,
            Work::Idle { connections } => Ok(load.hold(connections, order.duration, on_begin, on_end).await),
        }
    })
}
