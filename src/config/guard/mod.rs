//! Guards: which change of the configuration may not serve, whoever wrote it and however the file got here
//! (`docs/decisions/0012-guards.md`). Plain functions on what serves and what is offered; who can lift an
//! objection is decided elsewhere.
//!
//! The outage behind this was one deletion: "an unintended configuration change caused a critical internal
//! authentication dependency to be removed".

pub mod default;
mod judge;
mod read;
mod stricter;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub(super) use judge::share;
pub use judge::{Change, judge};
pub(super) use read::read;

pub use crate::policy::guard::{Guard, Mode};
use crate::policy::ids::Label;
use crate::policy::snapshot::Snapshot;

/// The rules that can refuse a change, as `boot.yaml` sets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guards {
    /// See [`Guard::Baseline`].
    pub baseline: Mode,
    /// See [`Guard::Removal`].
    pub removal: Mode,
    /// See [`Guard::ProtectedCell`]; without a name, nothing is protected.
    pub protected: Mode,
    /// Names of protected cells, sorted, each once.
    pub protected_cells: Vec<Label>,
    /// See [`Guard::AccountsRemoved`].
    pub accounts_removed: Allowance,
    /// See [`Guard::AccountsMoved`].
    pub accounts_moved: Allowance,
    /// See [`Guard::RowsRemoved`]; for each of the two tables.
    pub rows_removed: Allowance,
    /// See [`Guard::RowsRepointed`]; for each of the two tables.
    pub rows_repointed: Allowance,
    /// See [`Guard::TableSize`].
    pub table_size: TableSize,
    /// See [`Guard::Traffic`].
    pub traffic: TrafficShare,
    /// See [`Guard::Capacity`].
    pub capacity: Mode,
    /// See [`Guard::Hold`].
    pub hold: Mode,
    /// See [`Guard::Epoch`]; never [`Mode::Off`].
    pub epoch: Mode,
    /// See [`Guard::Weakened`].
    pub weakened: Mode,
    /// See [`Guard::Mixed`].
    pub mixed: Mode,
    /// See [`Guard::Brownouts`].
    pub brownouts: Mode,
    /// Changes come in force in steps; where they do not, nothing is mixed.
    pub steps: bool,
    /// Who can let through what guards refuse; `None` is nobody.
    pub approvals: Option<Approvals>,
}

/// Whose signatures let a change through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approvals {
    /// Name of all replicas that share them.
    pub fleet: Label,
    /// OpenSSH's file of allowed signers; outside the configuration folder.
    pub allowed_signers: PathBuf,
    /// How many people must sign; at least 1.
    pub needed: u8,
    /// How far ahead the expiry of one may lie.
    pub max_age: Duration,
}

/// How many accounts, or rows that lead to them, a change may concern. More than `free`, and more than either bound, is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// What is done.
    pub mode: Mode,
    /// So many at most.
    pub most: u32,
    /// Share of the table, in per cent, 0 to 100.
    pub percent: u8,
    /// So many always may.
    pub free: u32,
}

/// How large the account table may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSize {
    /// What is done.
    pub mode: Mode,
    /// Rows at most.
    pub rows: u32,
    /// Growth at once, in per cent of what it was.
    pub growth_percent: u32,
}

/// How much traffic a change may concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrafficShare {
    /// What is done.
    pub mode: Mode,
    /// Share of the requests, in per cent, 0 to 100.
    pub percent: u8,
    /// Nothing is refused on fewer requests than this.
    pub at_least: u64,
}

/// What a guard has against a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// Which guard.
    pub guard: Guard,
    /// Whether it refuses, or only says so. Never [`Mode::Off`].
    pub mode: Mode,
    /// What it objects to, with numbers.
    pub what: String,
}

impl Guards {
    /// All guards in one mode, with the bounds that hold where nothing is said.
    pub const fn all(mode: Mode) -> Self {
        let (most, percent, free) =
            (default::MOST_ACCOUNTS, default::PERCENT_OF_ACCOUNTS, default::FREE_ACCOUNTS);
        let allowance = Allowance { mode, most, percent, free };
        let (most, free) = (default::MOST_REPOINTED, default::FREE_REPOINTED);
        let repointed = Allowance { mode, most, percent, free };
        Self {
            baseline: mode,
            removal: mode,
            protected: mode,
            protected_cells: Vec::new(),
            accounts_removed: allowance,
            accounts_moved: allowance,
            rows_removed: allowance,
            rows_repointed: repointed,
            table_size: TableSize { mode, rows: default::ROWS, growth_percent: default::GROWTH_PERCENT },
            traffic: TrafficShare {
                mode,
                percent: default::PERCENT_OF_TRAFFIC,
                at_least: default::LEAST_TRAFFIC,
            },
            capacity: mode,
            hold: mode,
            epoch: never_off(mode),
            weakened: mode,
            mixed: mode,
            brownouts: mode,
            steps: false,
            approvals: None,
        }
    }

    /// What is done with an objection of a guard.
    pub const fn mode(&self, guard: Guard) -> Mode {
        match guard {
            Guard::Baseline => self.baseline,
            Guard::Removal => self.removal,
            Guard::ProtectedCell => self.protected,
            Guard::AccountsRemoved => self.accounts_removed.mode,
            Guard::AccountsMoved => self.accounts_moved.mode,
            Guard::RowsRemoved => self.rows_removed.mode,
            Guard::RowsRepointed => self.rows_repointed.mode,
            Guard::TableSize => self.table_size.mode,
            Guard::Traffic => self.traffic.mode,
            Guard::Capacity => self.capacity,
            Guard::Hold => self.hold,
            Guard::Epoch => self.epoch,
            Guard::Weakened => self.weakened,
            Guard::Mixed => self.mixed,
            Guard::Brownouts => self.brownouts,
        }
    }

    /// Guards that only watch: whoever reads a report must see that they protect nothing.
    pub fn in_observe(&self) -> Vec<Guard> {
        Guard::ALL.iter().copied().filter(|guard| self.mode(*guard) == Mode::Observe).collect()
    }

    /// What an operator should know of a configuration that they let through: a table that nears its limit, a name
    /// that protects nothing, guards that only watch.
    pub fn remarks(&self, snapshot: &Snapshot) -> Vec<String> {
        let (rows, limit) = (snapshot.accounts.len(), self.table_size.rows);
        let percent = default::ROWS_ALARM_PERCENT;
        let near = rows as u64 * 100 >= u64::from(limit) * u64::from(percent);
        let near = (near && self.table_size.mode != Mode::Off).then(|| {
            format!("the account table has {rows} rows, {percent} % or more of the {limit} that guards.table_size allows")
        });
        let known = |name: &&Label| snapshot.cells.iter().any(|cell| cell.name == **name);
        let unknown = self.protected_cells.iter().filter(|name| !known(name));
        let unknown =
            unknown.map(|name| format!("guards.protected_cells names {name}, and no cell is called that"));
        let watching: Vec<&str> = self.in_observe().into_iter().map(Guard::as_str).collect();
        let watching = (!watching.is_empty()).then(|| {
            format!("these guards are in observe mode and protect nothing: {}", watching.join(", "))
        });
        near.into_iter().chain(unknown).chain(watching).collect()
    }
}

/// The mode of a guard that cannot be switched off: without it, one line in a file brings old writes back.
const fn never_off(mode: Mode) -> Mode {
    match mode {
        Mode::Off => Mode::Enforce,
        Mode::Observe | Mode::Enforce => mode,
    }
}

impl Objection {
    /// Whether the change may not serve because of it.
    pub fn refuses(&self) -> bool {
        self.mode == Mode::Enforce
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({}) [{}]", self.guard.as_str(), self.what, self.guard.hint(), self.guard.code())
    }
}
