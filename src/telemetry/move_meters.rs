//! What moves of accounts cost: requests that wait, writes that are cut. No series names an account.

use metrics::Counter;

use super::families;
use super::labels::{Connect, Held};
use super::meters::increment;
use super::registry::Registry;
use crate::policy::moves::MoveState;
use crate::policy::snapshot::Snapshot;

/// Meters of moves.
#[derive(Debug)]
pub struct MoveMeters {
    held: Vec<Counter>,
    cut_writes: Counter,
    closed_tunnels: Counter,
    warmed: Vec<Counter>,
}

impl MoveMeters {
    pub(super) fn new(registry: &Registry) -> Self {
        let held = Held::ALL.iter().map(|outcome| outcome.as_str());
        let results = Connect::ALL.iter().map(|result| result.as_str());
        Self {
            held: registry.closed(&families::HELD_REQUESTS, "outcome", held),
            cut_writes: registry.counter(&families::MOVES_CUT_WRITES, &[]),
            closed_tunnels: registry.counter(&families::MOVES_CLOSED_TUNNELS, &[]),
            warmed: registry.closed(&families::MOVES_WARM_CONNECTIONS, "result", results),
        }
    }

    /// Counts a wait that is over.
    pub fn held(&self, outcome: Held) {
        increment(&self.held, outcome as usize, 1);
    }

    /// Counts a write that was cut.
    pub fn cut_write(&self) {
        self.cut_writes.increment(1);
    }

    /// Counts a WebSocket or a gRPC stream that was told to end.
    pub fn closed_tunnel(&self) {
        self.closed_tunnels.increment(1);
    }

    /// Counts an attempt to have a connection ready.
    pub fn warmed(&self, result: Connect) {
        increment(&self.warmed, result as usize, 1);
    }

    /// Sets the gauges that are read off the live snapshot.
    pub(super) fn look_at(registry: &Registry, live: &Snapshot) {
        for state in [MoveState::Prepare, MoveState::Holding] {
            let open = live.moves.table.open().filter(|(_, of)| of.state == state).count();
            registry.gauge(&families::MOVES_OPEN, &[("state", state.as_str())]).set(open as f64);
        }
    }
}
