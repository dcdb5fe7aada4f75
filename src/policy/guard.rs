//! Guards by name, and what one does with what it objects to. What they compare is in
//! [`config::guard`](crate::config::guard).

/// A rule that can refuse a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guard {
    /// There is nothing to compare with, and nobody said that this is the beginning.
    Baseline,
    /// A cell, a host, a listener, or a certificate, authority or key that served, is gone.
    Removal,
    /// Something of a protected cell changes, or an account of it goes.
    ProtectedCell,
    /// More accounts are gone than may go at once.
    AccountsRemoved,
    /// More accounts change their cell than may move at once.
    AccountsMoved,
    /// More environments or credentials are gone than may go at once.
    RowsRemoved,
    /// More environments or credentials lead to another account than may at once.
    RowsRepointed,
    /// The table is larger than it may be.
    TableSize,
    /// The accounts that go or move have made more of the traffic than they may.
    Traffic,
    /// A cell without declared capacity or without a second zone.
    Capacity,
    /// An account changes its cell, and its writes were not held before.
    Hold,
    /// An account is moved less often than before, or its move leaves out a state.
    Epoch,
    /// The guards themselves are weaker than those that served last.
    Weakened,
    /// Accounts move and other things change in one push that cannot be parted, where changes come in force in steps.
    Mixed,
    /// A brownout that nobody retries meets every account at once, and does not say that this is meant.
    Brownouts,
}

/// What a guard does with what it objects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Nothing; it does not even look.
    Off,
    /// It says and counts what it would refuse.
    Observe,
    /// It refuses.
    Enforce,
}

impl Guard {
    /// Every guard.
    pub const ALL: &[Self] = &[
        Self::Baseline,
        Self::Removal,
        Self::ProtectedCell,
        Self::AccountsRemoved,
        Self::AccountsMoved,
        Self::RowsRemoved,
        Self::RowsRepointed,
        Self::TableSize,
        Self::Traffic,
        Self::Capacity,
        Self::Hold,
        Self::Epoch,
        Self::Weakened,
        Self::Mixed,
        Self::Brownouts,
    ];

    /// Name in logs, metrics and reports: the key under `guards`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Removal => "removal",
            Self::ProtectedCell => "protected_cells",
            Self::AccountsRemoved => "accounts_removed",
            Self::AccountsMoved => "accounts_moved",
            Self::RowsRemoved => "rows_removed",
            Self::RowsRepointed => "rows_repointed",
            Self::TableSize => "table_size",
            Self::Traffic => "traffic",
            Self::Capacity => "capacity",
            Self::Hold => "hold",
            Self::Epoch => "epoch",
            Self::Weakened => "weakened",
            Self::Mixed => "mixed",
            Self::Brownouts => "brownouts",
        }
    }

    /// What whoever meant the change can do.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Baseline => {
                "start once with --bootstrap, if this is a new replica and the files were reviewed"
            }
            Self::Removal => "put it back, or take away first what needs it and have the removal approved",
            Self::ProtectedCell => "leave the cell as it was, or have the change approved",
            Self::AccountsRemoved | Self::AccountsMoved | Self::RowsRemoved => {
                "make it smaller changes, or have this one approved"
            }
            Self::RowsRepointed => {
                "see why they belong to somebody else now: a token has one account for its life; or have it approved"
            }
            Self::TableSize => "see where the rows come from; guards.table_size in boot.yaml sets the limit",
            Self::Traffic => "begin with accounts that make less of it, or have the change approved",
            Self::Capacity => "give every group of the cell capacity_rps, and the cell a second zone",
            Self::Hold => {
                "move accounts with cellgate move, so that their writes are held meanwhile; a replica that has missed \
                 the hold takes it at a start"
            }
            Self::Epoch => {
                "let cellgate move write the table of moves, one state at a time; a replica that has missed one takes \
                 the newest at a start"
            }
            Self::Weakened => "keep the guards as they were, or start with --boot and a file from elsewhere",
            Self::Mixed => "push the moves by themselves, and the rest before or after them",
            Self::Brownouts => {
                "begin with a share, or with soft; where it is meant, say `everybody: true` in the brownout"
            }
        }
    }
}

impl Mode {
    /// As it stands in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}
