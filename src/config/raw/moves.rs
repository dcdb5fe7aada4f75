//! `cellgate.yaml: moves`: accounts on their way from one cell to another.

use super::super::time::show_duration;
use super::{REQUIRED, mapping};
use crate::policy::moves::HoldRules;

mapping! {
    /// Accounts on their way from one cell to another.
    Moves {
        /// The table of moves, CSV in the configuration folder, which `cellgate move` writes.
        file: String = REQUIRED;
        /// How long a write waits while its account is held, before it is refused with 503 and `Retry-After`; at most 4 s.
        budget: String = show_duration(HoldRules::default().budget);
        /// What reads do meanwhile: `old_cell` (they go on there) or `wait`.
        reads: String = "old_cell";
        /// Writes that are under way at the old cell for longer than this after holding begins are cut.
        drain: String = show_duration(HoldRules::default().drain);
        /// Requests of one account that wait at once; more are refused.
        waiting_per_account: u64 = HoldRules::default().waiting_per_account;
        /// Requests of all accounts of one cell that wait at once; more are refused.
        waiting_per_cell: u64 = HoldRules::default().waiting_per_cell;
    }
}
