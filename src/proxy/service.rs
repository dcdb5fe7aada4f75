//! What every connection of the data plane shares, and the hand-over from `listen`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::connect::Connector;
use super::evacuation::Evacuation;
use super::linger::Lingering;
use super::pieces::Pieces;
use super::reply::Reply;
use super::request::Peer;
use super::wire::Wire;
use super::{h1, h2, moving, warm};
use crate::clock::Clock;
use crate::listen::connection::{Connection, Handler, Wire as HttpWire};
use crate::listen::drain::{Phase, Shutdown};
use crate::live::{Live, Pinned};
use crate::policy::admit::{Bound, Permits};
use crate::policy::http2::{ClientHttp2, Windows};
use crate::policy::learned::LearnedTable;
use crate::policy::protection::levers::board::LeverBoard;
use crate::policy::refusal::Refusal;
use crate::policy::request_id::RequestId;
use crate::policy::retry::RetryBudget;
use crate::policy::snapshot::{RequestLimits, Snapshot};
use crate::policy::text::Slate;
use crate::telemetry::Telemetry;

/// Time and count limits of client connections; a part of what cannot be reloaded.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// From the first byte of a request head to its last, in total; on a new connection, from its start.
    pub head_timeout: Duration,
    /// To the preface of an HTTP/2 connection.
    pub preface_timeout: Duration,
    /// Between two HTTP/1 requests.
    pub keep_alive_timeout: Duration,
    /// How long an HTTP/2 connection may be without a stream.
    pub h2_idle_timeout: Duration,
    /// Silence of a client that owes bytes of its request body.
    pub body_timeout: Duration,
    /// Silence of a client that does not read its response.
    pub idle_timeout: Duration,
    /// After this a connection is closed at the next chance, so that balancers can rebalance.
    pub connection_lifetime: Duration,
    /// Likewise after this many requests.
    pub requests_per_connection: u32,
    /// HTTP/2 streams open at once.
    pub streams_per_connection: u32,
    /// What else HTTP/2 clients are allowed.
    pub http2: ClientHttp2,
    /// Requests in flight at once, over all connections.
    pub requests: u32,
}

/// The data plane.
pub struct Service {
    live: Arc<Live>,
    /// Connections to cells.
    pub(super) connector: Arc<Connector>,
    /// Credentials learned from answers.
    pub(super) learned: Arc<LearnedTable>,
    telemetry: Arc<Telemetry>,
    limits: ClientLimits,
    shutdown: Shutdown,
    /// How many requests of all cells may be sent again.
    pub(super) retries: RetryBudget,
    /// Requests in flight at all cells.
    pub(super) requests: Bound,
    /// Requests of cells whose bulkhead only watches: with them, `requests` is what it would be.
    pub(super) watched_requests: Arc<Permits>,
    /// What operators have pulled.
    pub(super) levers: Arc<LeverBoard>,
    /// What of that concerns what is open for long.
    pub(super) evacuation: Evacuation,
    /// The clock by which cells are judged.
    pub(super) clock: Clock,
    /// What is left of the memory for windows.
    window_memory: AtomicU64,
    /// How much of an answer is taken at a time.
    pub(super) pieces: Pieces,
}

impl Service {
    /// Puts the parts together; nothing starts.
    pub fn new(
        live: Arc<Live>,
        connector: Arc<Connector>,
        learned: Arc<LearnedTable>,
        telemetry: Arc<Telemetry>,
        (limits, levers): (ClientLimits, Arc<LeverBoard>),
        (clock, shutdown): (Clock, Shutdown),
    ) -> Self {
        let window_memory = AtomicU64::new(limits.http2.window_memory);
        let retries = RetryBudget::of_process();
        let (pieces, requests) = (Pieces::default(), Bound::new(limits.requests));
        Self {
            live,
            connector,
            learned,
            telemetry,
            limits,
            shutdown,
            retries,
            requests,
            watched_requests: Arc::default(),
            levers,
            evacuation: Evacuation::default(),
            clock,
            window_memory,
            pieces,
        }
    }

    /// What serves one request: whose account belongs to the candidate, where there is one, is known once it is read.
    pub fn pin_both(&self) -> Pinned {
        self.live.pin_both()
    }

    /// The snapshot of all that belongs to no account.
    pub fn pin(&self) -> Arc<Snapshot> {
        self.live.pin()
    }

    /// What a head may be, for whoever wants no more of the snapshot.
    pub(super) fn head_limits(&self) -> RequestLimits {
        self.live.limits()
    }

    /// Where snapshots come from.
    pub(super) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Limits of client connections.
    pub fn limits(&self) -> &ClientLimits {
        &self.limits
    }

    /// Whether connections should end after their present request.
    pub fn is_draining(&self) -> bool {
        self.shutdown.is_draining()
    }

    /// The phase of the process, to wait on.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Returns when what is under way must end.
    pub async fn cutting(&self) {
        self.shutdown.clone().reached(Phase::Cutting).await;
    }

    /// What goes on beside the requests: while accounts move, writes are told and connections made ready; where a zone
    /// is evacuated, what is open there is told.
    pub async fn follow_moves(self: Arc<Self>) {
        let (live, metrics) = (Arc::clone(&self.live), Arc::clone(&self.telemetry.metrics));
        // Apart, so that a cell that takes no connection delays nothing of the first.
        let warm = tokio::spawn(warm::keep_ready(Arc::clone(&live), Arc::clone(&self.connector), metrics));
        tokio::join!(moving::follow(live), self.evacuation.follow(&self.levers));
        warm.abort();
    }

    /// The answer to a request whose head could not be read, and its event.
    pub fn refuse_unread(&self, peer: &Peer, snapshot: Arc<Snapshot>, refusal: Refusal) -> Reply {
        let (reply, event) =
            super::record::refuse_unread(peer, snapshot, refusal, fresh_id(&mut Slate::default()));
        self.telemetry.record(event);
        reply
    }

    /// The engine refused an HTTP/2 stream, with a bare 400, before it became a request.
    pub fn rejected_stream(&self, peer: &Peer) {
        self.telemetry.record(super::record::rejected_stream(peer, self.pin()));
    }

    /// Windows for a new HTTP/2 connection, out of what is left of the memory for them.
    pub(super) fn grant(self: &Arc<Self>) -> Granted {
        let asked = self.limits.http2.windows;
        let mut left = self.window_memory.load(Ordering::Relaxed);
        loop {
            let windows = asked.within(left);
            let after = left.saturating_sub(windows.reserved());
            let swapped =
                self.window_memory.compare_exchange_weak(left, after, Ordering::Relaxed, Ordering::Relaxed);
            match swapped {
                Ok(_) => return Granted { windows, taken: left - after, service: Arc::clone(self) },
                Err(now) => left = now,
            }
        }
    }

    pub(super) fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }
}

/// Windows of one connection; their memory is given back when it is dropped.
#[must_use]
pub(super) struct Granted {
    /// What the connection may announce.
    pub windows: Windows,
    taken: u64,
    service: Arc<Service>,
}

impl Drop for Granted {
    fn drop(&mut self) {
        self.service.window_memory.fetch_add(self.taken, Ordering::Relaxed);
    }
}

impl Handler for ServiceHandle {
    fn handle(&self, connection: Connection) -> impl Future<Output = ()> + Send {
        let Connection { stream, facts, guard } = connection;
        let (fd, http) = (facts.fd, facts.wire);
        let peer = Arc::new(Peer::new(facts));
        // In a box each: an HTTP/1 connection, which is idle most of its life, has no room for HTTP/2. And outside
        // of the asynchronous block, which would keep room for `connection` as long as it lives.
        let served: Pin<Box<dyn Future<Output = ()> + Send + '_>> = match http {
            HttpWire::Http1 => Box::pin(h1::serve(&self.0, peer, Wire::new(stream, fd))),
            HttpWire::Http2 => Box::pin(h2::serve(&self.0, peer, Lingering::new(stream), fd)),
        };
        async move {
            served.await;
            drop(guard);
        }
    }
}

/// The service as `listen` takes it.
#[derive(Clone)]
pub struct ServiceHandle(pub Arc<Service>);

/// A request id nobody else has: 128 random bits.
pub(super) fn fresh_id(slate: &mut Slate) -> RequestId {
    RequestId::fresh(fastrand::u128(..), slate)
}

/// Seconds since the Unix epoch.
pub(super) fn unix_now() -> u64 {
    unix(SystemTime::now())
}

/// A moment in seconds since the Unix epoch.
pub(super) fn unix(moment: SystemTime) -> u64 {
    moment.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
