//! What a simulated cell counts, and the guards that keep its gauges true.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// A cell's counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests that have reached it since it started.
    pub requests: u64,
    /// Connections accepted since it started.
    pub connections: u64,
    /// TLS handshakes that failed since it started.
    pub failed_handshakes: u64,
    /// Requests now without the head of their answer.
    pub in_flight: u64,
    /// The most that `in_flight` has been.
    pub in_flight_peak: u64,
    /// Connections now open, WebSockets over h1 no longer among them.
    pub open_connections: u64,
    /// WebSockets now open.
    pub open_websockets: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    requests: AtomicU64,
    connections: AtomicU64,
    failed_handshakes: AtomicU64,
    in_flight_peak: AtomicU64,
    in_flight: Arc<AtomicU64>,
    open_connections: Arc<AtomicU64>,
    open_websockets: Arc<AtomicU64>,
}

/// Lowers its gauge when dropped.
#[must_use = "the gauge falls when this is dropped"]
pub(crate) struct Raised(Arc<AtomicU64>);

impl Raised {
    fn new(gauge: &Arc<AtomicU64>) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(gauge.clone())
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counters {
    pub(crate) fn counts(&self) -> Counts {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            requests: now(&self.requests),
            connections: now(&self.connections),
            failed_handshakes: now(&self.failed_handshakes),
            in_flight: now(&self.in_flight),
            in_flight_peak: now(&self.in_flight_peak),
            open_connections: now(&self.open_connections),
            open_websockets: now(&self.open_websockets),
        }
    }

    /// Counts a request, in flight until the guard is dropped.
    pub(crate) fn request(&self) -> Raised {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let raised = Raised::new(&self.in_flight);
        let now = self.in_flight.load(Ordering::Relaxed);
        self.in_flight_peak.fetch_max(now, Ordering::Relaxed);
        raised
    }

    /// The number of a new connection, from 1.
    pub(crate) fn connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn failed_handshake(&self) {
        self.failed_handshakes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn open_connection(&self) -> Raised {
        Raised::new(&self.open_connections)
    }

    pub(crate) fn open_websocket(&self) -> Raised {
        Raised::new(&self.open_websockets)
    }
}
