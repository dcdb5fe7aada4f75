//! `cellgate.yaml: protection`, and what a cell says of it.

use super::super::time::show_duration;
use super::{Field, NONE, REQUIRED, mapping};
use crate::policy::protection::health::checks::Check;

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

mapping! {
    /// Active checks: each endpoint is asked whether it is well, on a connection of its own. Absent: none is.
    CellCheck {
        /// What is asked: `tcp` (a connection, with TLS where the cell has it), `http` (`GET` of a path) or `grpc`
        /// (`grpc.health.v1.Health/Check`).
        kind: String = REQUIRED;
        /// Of `http`, and required there: path and query, such as `/healthz`.
        path: String = NONE;
        /// Of `http`: statuses of an endpoint that is well.
        statuses: Vec<Field<u64>> = "200 to 399";
        /// Of `grpc`: the service that is asked for.
        service: String = "the server as a whole";
        /// From the beginning of one check to that of the next, on average; each wait is up to a fifth shorter or longer.
        interval: String = show_duration(Check::default().rules.interval);
        /// For all of it: connection, TLS, request and answer.
        timeout: String = show_duration(Check::default().rules.timeout);
        /// So many checks in a row must fail for an endpoint to be down.
        fall: u64 = Check::default().fall;
        /// And so many pass for it to be up.
        rise: u64 = Check::default().rise;
    }
}
