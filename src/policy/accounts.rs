//! The account table: account and prefix to cell. Read on every request, built whole at compile.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::ids::{AccountId, CellIndex, Label};

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The numeric id.
    pub id: AccountId,
    /// Prefixes that name this account in a host; the first is the one we show (`ab123`). May be empty
    /// for accounts that never got an address of their own.
    pub prefixes: Vec<Label>,
    /// Where the account lives.
    pub cell: CellIndex,
    /// Browser navigations on the legacy host may be redirected to the account's own address. API
    /// requests never are.
    pub redirect_browsers: bool,
    /// The deprecation schedule of this account, where it differs from its host's.
    pub schedule: Option<ScheduleIndex>,
}

/// The position of a deprecation schedule in
/// [`Snapshot::schedules`](super::snapshot::Snapshot::schedules).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScheduleIndex(pub u16);

/// Every account that this proxy serves. Prefixes and ids are unique: the constructor's caller
/// (`config`) has reported duplicates as problems before.
#[derive(Clone, Debug, Default)]
pub struct AccountTable {
    rows: Vec<Account>,
    // foldhash would be faster; the default hasher is keyed against chosen input, and these keys come
    // from the network only for look-ups, so either would do. Measured when the benchmark asks.
    by_id: HashMap<AccountId, u32>,
    by_prefix: HashMap<Label, u32>,
}

/// Two rows claim the same id or prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DuplicateAccount {
    /// The same numeric id.
    #[error("account {id} stands in the table twice")]
    Id {
        /// The id.
        id: AccountId,
        /// Position of the row that has it.
        first: usize,
        /// Position of the row that claims it too.
        second: usize,
    },
    /// The same prefix.
    #[error("prefix {prefix} stands in the table twice")]
    Prefix {
        /// The prefix.
        prefix: Label,
        /// Position of the row that has it.
        first: usize,
        /// Position of the row that claims it too.
        second: usize,
    },
}

impl AccountTable {
    /// Builds the table, or names the first row that stands twice.
    pub fn new(rows: Vec<Account>) -> Result<Self, DuplicateAccount> {
        let (table, duplicates) = Self::build(rows);
        duplicates.into_iter().next().map_or(Ok(table), Err)
    }

    /// Builds the table and names every row that stands twice; of those the first counts.
    pub fn build(rows: Vec<Account>) -> (Self, Vec<DuplicateAccount>) {
        let mut table = Self {
            by_id: HashMap::with_capacity(rows.len()),
            by_prefix: HashMap::with_capacity(rows.len()),
            rows: Vec::new(),
        };
        let mut duplicates = Vec::new();
        for (second, row) in rows.iter().enumerate() {
            let position = u32::try_from(second).expect("config limits the table far below 2^32 rows");
            match table.by_id.entry(row.id) {
                Entry::Vacant(entry) => {
                    entry.insert(position);
                }
                Entry::Occupied(first) => {
                    duplicates.push(DuplicateAccount::Id {
                        id: row.id,
                        first: *first.get() as usize,
                        second,
                    });
                }
            }
            for prefix in &row.prefixes {
                match table.by_prefix.entry(prefix.clone()) {
                    Entry::Vacant(entry) => {
                        entry.insert(position);
                    }
                    Entry::Occupied(first) => {
                        let (prefix, first) = (prefix.clone(), *first.get() as usize);
                        duplicates.push(DuplicateAccount::Prefix { prefix, first, second });
                    }
                }
            }
        }
        table.rows = rows;
        (table, duplicates)
    }

    /// The row of an id.
    pub fn by_id(&self, id: AccountId) -> Option<&Account> {
        self.by_id.get(&id).map(|row| &self.rows[*row as usize])
    }

    /// The row of a lower-case prefix.
    pub fn by_prefix(&self, prefix: &str) -> Option<&Account> {
        self.by_prefix.get(prefix).map(|row| &self.rows[*row as usize])
    }

    /// All rows, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.rows.iter()
    }

    /// How many accounts there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none; `config` refuses an empty table, so only tests see it.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
