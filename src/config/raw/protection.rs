//! `cellgate.yaml: protection`, and what a cell says of it.

use super::{NONE, mapping};

mapping! {
    /// What keeps cells standing, as far as it is one for all of them (docs/standing.md).
    Protection {
        /// How many replicas of cellgate serve these cells: each takes its part of declared capacities. A number that is too small
        /// lets too much through.
        replicas: u64 = 1;
        /// Whether it is told a sick cell from a sick network: `enforce`, `observe` (told, and nothing done), `off`.
        verdict: String = "enforce";
        /// Until when `observe` is meant, UTC, as `2026-12-24T00:00:00Z`; required with it.
        observe_until: String = NONE;
    }
}

mapping! {
    /// What the parts that keep a cell standing do to its requests: `off`, `observe` (decide and count, change nothing) or `enforce`.
    CellModes {
        /// Permits of the cell and of its groups.
        bulkhead: String = "enforce";
        /// Which endpoints are left out.
        health: String = "enforce";
        /// How many requests at once the cell takes, learned from its answers. Cannot be off.
        limit: String = "enforce";
        /// Places to wait in where no permit is free.
        queue: String = "enforce";
        /// Load that has lost its group goes to others that have room.
        failover: String = "enforce";
        /// A cell that was down comes back at a rate that grows.
        recovery: String = "enforce";
        /// Until when `observe` is meant, UTC, as `2026-12-24T00:00:00Z`; required with it.
        observe_until: String = NONE;
    }
}
