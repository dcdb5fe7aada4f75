//! The metric handles of one snapshot: every counter that names a cell, a surface or a client family,
//! found by position and not by text.

use std::sync::{Arc, OnceLock};

use metrics::Counter;

use crate::policy::decide::{Verdict, Why};
use crate::policy::facts::Upgrade;
use crate::policy::hosts::Role;
use crate::policy::ids::Generation;
use crate::policy::protection::health::checks::CheckEnd;
use crate::policy::snapshot::Snapshot;

use super::brownout_meters;
use super::durations::Durations;
use super::event::RequestEvent;
use super::families;
use super::labels::{CLASSES, Connect, ConnectionCut, NONE, UNKNOWN_CLIENT, WHYS, class_slot, why_slot};
use super::registry::Registry;

/// The handles of one generation. A generation with the same names gets the same counters.
#[derive(Debug)]
pub(super) struct Meters {
    pub generation: Generation,
    cells: Vec<CellMeters>,
    /// For requests that reached no cell.
    none: CellMeters,
    /// Requests that met a brownout, by its position.
    pub brownouts: Vec<Counter>,
}

/// The handles of one cell, or of none.
#[derive(Debug)]
pub(super) struct CellMeters {
    cell: Box<str>,
    /// By surface (last: none), then status class.
    requests: Vec<Counter>,
    /// By surface (last: none), then client family (last: unknown). Only the unknown client's are
    /// registered at once: 200 cells, 8 surfaces and 60 families would be 96,000 series, of which a
    /// real fleet uses some hundred. The rest comes to life on its first request; how many there can
    /// be still depends on the configuration alone.
    legacy: Vec<OnceLock<Counter>>,
    resolutions: Vec<Counter>,
    duration: Arc<Durations>,
    first_byte: Option<Arc<Durations>>,
    bytes_in: Counter,
    bytes_out: Counter,
    reused: Counter,
    fresh: Counter,
    retries: Counter,
    retries_denied: Counter,
    deprecated: Counter,
    connects: Vec<Counter>,
}

impl Meters {
    /// Registers every series of the snapshot.
    pub fn new(registry: &Registry, snapshot: &Snapshot) -> Self {
        let cells = snapshot.cells.iter();
        let checked = cells.clone().filter(|cell| cell.protection.is_checked());
        for cell in checked {
            // There from the start, so that a rate can be seen in its first increment.
            for end in CheckEnd::ALL.map(Some).into_iter().chain([None]) {
                let labels = endpoint_check(cell.name.as_str(), end);
                registry.counter(&families::ENDPOINT_CHECKS, &labels).increment(0);
            }
        }
        Self {
            generation: snapshot.generation,
            cells: cells.map(|cell| CellMeters::new(registry, snapshot, cell.name.as_str())).collect(),
            none: CellMeters::none(registry, snapshot),
            brownouts: brownout_meters::counters(registry, snapshot),
        }
    }

    /// The handles that an event of this generation counts in.
    pub fn of(&self, event: &RequestEvent) -> &CellMeters {
        event.cell().and_then(|cell| self.cells.get(usize::from(cell.0))).unwrap_or(&self.none)
    }

    /// The handles of a cell.
    pub fn cell(&self, position: usize) -> &CellMeters {
        self.cells.get(position).unwrap_or(&self.none)
    }
}

impl CellMeters {
    /// Registers the series of one cell.
    pub fn new(registry: &Registry, snapshot: &Snapshot, cell: &str) -> Self {
        let by_cell = |family| registry.counter(family, &[("cell", cell)]);
        let reuse = |how| registry.counter(&families::UPSTREAM_REUSE, &[("cell", cell), ("connection", how)]);
        let resolution =
            |why: Why| registry.counter(&families::RESOLUTIONS, &[("cell", cell), ("why", why.as_str())]);
        let connect = |result: &Connect| {
            let labels = [("cell", cell), ("result", result.as_str())];
            registry.counter(&families::UPSTREAM_CONNECTIONS, &labels)
        };
        // There from the start, so that a rate can be seen in its first increment.
        registry
            .counter(&families::UPSTREAM_CUT, &upstream_cut(cell, ConnectionCut::ControlFrames))
            .increment(0);
        Self {
            resolutions: WHYS.into_iter().map(resolution).collect(),
            first_byte: Some(registry.durations(&families::UPSTREAM_FIRST_BYTE, &[("cell", cell)])),
            bytes_in: by_cell(&families::REQUEST_BYTES),
            bytes_out: by_cell(&families::RESPONSE_BYTES),
            reused: reuse("reused"),
            fresh: reuse("new"),
            retries: by_cell(&families::UPSTREAM_RETRIES),
            retries_denied: by_cell(&families::UPSTREAM_RETRIES_DENIED),
            deprecated: by_cell(&families::UPSTREAM_DEPRECATED),
            connects: Connect::ALL.iter().map(connect).collect(),
            ..Self::common(registry, snapshot, cell)
        }
    }

    /// The handles that one event counts in, where its generation has none ready.
    pub fn of(registry: &Registry, event: &RequestEvent) -> Self {
        let cell = event.cell().and_then(|cell| event.snapshot.cells.get(usize::from(cell.0)));
        match cell {
            Some(cell) => Self::new(registry, &event.snapshot, cell.name.as_str()),
            None => Self::none(registry, &event.snapshot),
        }
    }

    /// Registers the series of requests without a cell: what only a cell has is not counted.
    fn none(registry: &Registry, snapshot: &Snapshot) -> Self {
        Self::common(registry, snapshot, NONE)
    }

    fn common(registry: &Registry, snapshot: &Snapshot, cell: &str) -> Self {
        let surfaces = || (0..=snapshot.surfaces.len()).map(|position| surface_name(snapshot, position));
        let request = |surface, class| {
            let labels = [("cell", cell), ("surface", surface), ("status", class)];
            registry.counter(&families::REQUESTS, &labels)
        };
        let requests = surfaces().flat_map(|surface| CLASSES.map(|class| request(surface, class)));
        let made = Self {
            cell: cell.into(),
            requests: requests.collect(),
            legacy: (0..legacy_len(snapshot)).map(|_| OnceLock::new()).collect(),
            resolutions: Vec::new(),
            duration: registry.durations(&families::REQUEST_DURATION, &[("cell", cell)]),
            first_byte: None,
            bytes_in: Counter::noop(),
            bytes_out: Counter::noop(),
            reused: Counter::noop(),
            fresh: Counter::noop(),
            retries: Counter::noop(),
            retries_denied: Counter::noop(),
            deprecated: Counter::noop(),
            connects: Vec::new(),
        };
        for surface in 0..=snapshot.surfaces.len() {
            made.legacy_of(registry, snapshot, surface, snapshot.clients.len());
        }
        made
    }

    /// Counts one request.
    pub fn count(&self, registry: &Registry, event: &RequestEvent) {
        let surfaces = event.snapshot.surfaces.len();
        let surface = event.decision.as_ref().and_then(|decision| decision.surface);
        let surface = surface.map_or(surfaces, |surface| usize::from(surface.0).min(surfaces));
        increment(&self.requests, surface * CLASSES.len() + class_slot(event.status), 1);
        if event.role() == Some(Role::Legacy) {
            let client = event.decision.as_ref().and_then(|decision| decision.client);
            let unknown = event.snapshot.clients.len();
            let client = client.map_or(unknown, |client| usize::from(client).min(unknown));
            if let Some(counter) = self.legacy_of(registry, &event.snapshot, surface, client) {
                counter.increment(1);
            }
        }
        // A tunnel lives as long as its user; its duration would say nothing about latency.
        if event.upgrade == Upgrade::None {
            self.duration.record(event.timings.total);
        }
        if let (Some(first_bytes), Some(first_byte)) = (&self.first_byte, event.timings.first_byte) {
            first_bytes.record(first_byte);
        }
        self.count_upstream(event);
    }

    /// Counts one attempt to connect.
    pub fn count_connect(&self, result: Connect) {
        increment(&self.connects, result as usize, 1);
    }

    fn count_upstream(&self, event: &RequestEvent) {
        if let Some(Verdict::Forward { why, .. }) = event.decision.as_ref().map(|d| &d.verdict) {
            increment(&self.resolutions, why_slot(*why), 1);
        }
        for (counter, bytes) in [(&self.bytes_in, event.bytes_in), (&self.bytes_out, event.bytes_out)] {
            // Most requests have no body, and to add nothing is to write as well.
            if bytes > 0 {
                counter.increment(bytes);
            }
        }
        // An endpoint and no connection is a failed attempt: `count_connect` has it.
        if event.timings.connected.is_some() {
            if event.reused { &self.reused } else { &self.fresh }.increment(1);
        }
        if event.sends > 1 {
            self.retries.increment(u64::from(event.sends - 1));
        }
        if event.retry_budget_empty {
            self.retries_denied.increment(1);
        }
        if event.upstream_deprecated {
            self.deprecated.increment(1);
        }
    }

    fn legacy_of(
        &self,
        registry: &Registry,
        snapshot: &Snapshot,
        surface: usize,
        client: usize,
    ) -> Option<&Counter> {
        let slot = self.legacy.get(surface * (snapshot.clients.len() + 1) + client)?;
        Some(slot.get_or_init(|| {
            let client = snapshot.clients.get(client).map_or(UNKNOWN_CLIENT, |family| &family.name);
            let labels =
                [("cell", &*self.cell), ("surface", surface_name(snapshot, surface)), ("client", client)];
            registry.counter(&families::LEGACY_REQUESTS, &labels)
        }))
    }
}

/// Labels of connections to a cell that were cut: seldom, so their counter is looked up by them.
pub(super) fn upstream_cut(cell: &str, reason: ConnectionCut) -> [(&'static str, &str); 2] {
    [("cell", cell), ("reason", reason.as_str())]
}

/// Labels of active checks of a cell's endpoints.
pub(super) fn endpoint_check(cell: &str, end: Option<CheckEnd>) -> [(&'static str, &str); 2] {
    [("cell", cell), ("result", end.map_or("ours", CheckEnd::as_str))]
}

fn legacy_len(snapshot: &Snapshot) -> usize {
    (snapshot.surfaces.len() + 1) * (snapshot.clients.len() + 1)
}

fn surface_name(snapshot: &Snapshot, position: usize) -> &str {
    snapshot.surfaces.get(position).map_or(NONE, |surface| surface.name.as_str())
}

/// Positions come from closed lists; one beyond the end can only be of a snapshot that these handles
/// were not made for, and is not counted rather than allowed to end a request.
pub(super) fn increment(counters: &[Counter], position: usize, by: u64) {
    if let Some(counter) = counters.get(position) {
        counter.increment(by);
    }
}
