//! What is counted of connections to cells, apart from requests.

use super::super::families;
use super::super::labels::{Connect, ConnectionCut};
use super::super::meters::{CellMeters, endpoint_check, upstream_cut};
use super::Metrics;
use crate::policy::ids::CellIndex;
use crate::policy::protection::health::checks::CheckEnd;
use crate::policy::snapshot::Snapshot;

impl Metrics {
    /// Counts an attempt to connect to a cell.
    pub fn upstream_connection(&self, snapshot: &Snapshot, cell: CellIndex, result: Connect) {
        let counted = self.with_meters(snapshot.generation, |meters| {
            meters.cell(usize::from(cell.0)).count_connect(result);
        });
        if counted.is_some() {
            return;
        }
        if let Some(cell) = snapshot.cells.get(usize::from(cell.0)) {
            CellMeters::new(&self.registry, snapshot, cell.name.as_str()).count_connect(result);
        }
    }

    /// Counts an active check of one of a cell's endpoints; `None` where it says nothing of the endpoint. A hundred a second
    /// are many, so that the counter is looked up.
    pub fn endpoint_checked(&self, cell: &str, end: Option<CheckEnd>) {
        self.registry.counter(&families::ENDPOINT_CHECKS, &endpoint_check(cell, end)).increment(1);
    }

    /// Counts an HTTP/2 connection to a cell that was ended for what came on it.
    pub fn upstream_cut(&self, cell: &str, reason: ConnectionCut) {
        self.registry.counter(&families::UPSTREAM_CUT, &upstream_cut(cell, reason)).increment(1);
    }
}
