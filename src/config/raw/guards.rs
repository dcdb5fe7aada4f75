//! `boot.yaml: guards`: what a change must pass before it serves.

use super::super::guard::default;
use super::super::time::show_duration;
use super::{Field, NONE, REQUIRED, mapping};

mapping! {
    /// What a change must pass before it serves. Each guard is `enforce` (refuse), `observe` (say and count it, and
    /// let it through) or `"off"`.
    Guards {
        /// For every guard that has no `mode` of its own.
        mode: String = "enforce";
        /// A start without a last good configuration to compare with needs `--bootstrap`.
        baseline: Guarded = NONE;
        /// A cell, a host, or a certificate, authority or key that served, is gone.
        removal: Guarded = NONE;
        /// Something of a protected cell changes, or an account of it goes elsewhere.
        protected_cells: ProtectedCells = NONE;
        /// More accounts are gone than may go at once.
        accounts_removed: Allowance = NONE;
        /// More accounts change their cell than may move at once.
        accounts_moved: Allowance = NONE;
        /// More rows of the environment table, or of the credential table, are gone than may go at once.
        rows_removed: Allowance = NONE;
        /// More rows of the environment table, or of the credential table, lead to another account than may at once.
        rows_repointed: RowsRepointed = NONE;
        /// The account table is larger than it may be.
        table_size: TableSize = NONE;
        /// Accounts that are removed or moved have made more of the last 7 days' requests than they may.
        traffic: TrafficShare = NONE;
        /// A cell that is new or changed says no capacity, or stands in one zone only.
        capacity: Guarded = NONE;
        /// An account changes its cell without a move that what serves has in `holding`.
        hold: Guarded = NONE;
        /// An account's move epoch goes backwards, or its move leaves out a state. It has no `"off"`.
        epoch: Watched = NONE;
        /// Who can let a change through that guards refuse; nobody where it is absent.
        approvals: Approvals = NONE;
        /// A start whose `boot.yaml` guards less than the one that served last, where it lies in the folder that it guards.
        weakened: Guarded = NONE;
        /// A change that moves accounts to another cell and changes other things as well, where `apply` has steps.
        mixed: Guarded = NONE;
        /// A `hard` brownout of all accounts that does not say `everybody: true`.
        brownouts: Guarded = NONE;
    }
}

mapping! {
    /// Whose signatures let a change through (docs/approvals.md).
    Approvals {
        /// Name of all replicas that share these approvals: a signature for one fleet is none for another.
        fleet: String = REQUIRED;
        /// OpenSSH's file of allowed signers, outside the configuration folder. Read at the start of the process.
        allowed_signers: String = REQUIRED;
        /// How many people must sign, each with a key of their own.
        needed: u64 = default::APPROVALS_NEEDED;
        /// How far ahead the expiry of an approval may lie.
        max_age: String = show_duration(default::APPROVAL_MAX_AGE);
    }
}

mapping! {
    /// A guard without bounds.
    Guarded {
        /// `enforce`, `observe` or `"off"`; that of `guards` where it is absent.
        mode: String = NONE;
    }
}

mapping! {
    /// A guard that cannot be switched off.
    Watched {
        /// `enforce` or `observe`; that of `guards` where it is absent, and `enforce` where that is `"off"`.
        mode: String = NONE;
    }
}

mapping! {
    /// Cells that nobody should touch by accident.
    ProtectedCells {
        /// `enforce`, `observe` or `"off"`; that of `guards` where it is absent.
        mode: String = NONE;
        /// Their names.
        names: Vec<Field<String>> = NONE;
    }
}

mapping! {
    /// How many accounts, or rows that lead to them, a change may concern.
    Allowance {
        /// `enforce`, `observe` or `"off"`; that of `guards` where it is absent.
        mode: String = NONE;
        /// More than so many are refused.
        most: u64 = default::MOST_ACCOUNTS;
        /// More than this share of the table is refused, in per cent.
        percent: u64 = default::PERCENT_OF_ACCOUNTS;
        /// So many may always go, whatever their share is: in a small table one account is a large one.
        free: u64 = default::FREE_ACCOUNTS;
    }
}

mapping! {
    /// How many environments, or credentials, may lead to another account than before. It is never routine: a token and an
    /// environment have one account for their life.
    RowsRepointed {
        /// `enforce`, `observe` or `"off"`; that of `guards` where it is absent.
        mode: String = NONE;
        /// More than so many are refused.
        most: u64 = default::MOST_REPOINTED;
        /// More than this share of the table is refused, in per cent.
        percent: u64 = default::PERCENT_OF_ACCOUNTS;
        /// So many may always, whatever their share is.
        free: u64 = default::FREE_REPOINTED;
    }
}

mapping! {
    /// How large the account table may be.
    TableSize {
        /// `enforce`, `observe` or `"off"`; that of `guards` where it is absent.
        mode: String = NONE;
        /// Most rows. From 70 % of them on, every reload and `/metrics` say so.
        rows: u64 = default::ROWS;
        /// By how much it may grow at once, in per cent of what it was; a thousand rows are always let through.
        growth_percent: u64 = default::GROWTH_PERCENT;
    }
}

mapping! {
    /// How much traffic a change may concern.
    TrafficShare {
        /// `enforce`, `observe` or `"off"`; that of `guards` where it is absent.
        mode: String = NONE;
        /// More than this share is refused, in per cent.
        percent: u64 = default::PERCENT_OF_TRAFFIC;
        /// Where the books hold fewer requests than this, shares mean nothing and none is refused.
        at_least: u64 = default::LEAST_TRAFFIC;
    }
}

mapping! {
    /// Who has made a configuration what it is, and why. Kept with its generation.
    Change {
        /// A principal of the allowed signers, or any other name. An author's own approval does not count.
        author: String = NONE;
        /// One line.
        reason: String = NONE;
    }
}
