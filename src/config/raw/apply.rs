//! `boot.yaml: apply`: in which steps a reload comes in force.

use super::super::apply::default;
use super::{Field, NONE, REQUIRED, mapping};

mapping! {
    /// How a reload comes in force. A change that moves accounts and nothing else always comes in force at once.
    Apply {
        /// Shares of the accounts that a new configuration serves one after the other, before it serves all; at least one.
        steps: Vec<Field<Step>> = REQUIRED;
        /// By so much more of a cell's requests may fail with the new configuration than without it.
        max_error_increase: String = default::MAX_ERROR_INCREASE;
        /// So many times as long may a cell's answers take (the 90th percentile of their first byte).
        max_latency_factor: u64 = default::MAX_LATENCY_FACTOR;
        /// Some replicas begin before the others.
        first_replicas: FirstReplicas = NONE;
        /// The name by which this replica is among the first or not; the name of its host where it is absent.
        replica: String = NONE;
    }
}

mapping! {
    /// One step.
    Step {
        /// Share of the accounts: `1%`, `0.5%`. More than that of the step before.
        share: String = REQUIRED;
        /// How long it is watched before the next one.
        bake: String = REQUIRED;
    }
}

mapping! {
    /// Some replicas begin before the others.
    FirstReplicas {
        /// Share of the replicas that begin at once.
        share: String = REQUIRED;
        /// How long the others wait.
        delay: String = REQUIRED;
    }
}
