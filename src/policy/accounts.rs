//! The account table: account and prefix to cell. Read on every request, built whole at compile or taken from a
//! file as it is.
//!
//! A row is sixteen bytes in one column, all prefixes are one text, and two indexes find rows by id and by prefix
//! ([`columns`](super::columns)): 30 bytes and its prefix an account.

use std::fmt;

use bytes::Bytes;
use zerocopy::little_endian::U64;

use super::columns::{Column, Slots, SlotsBuilder, hash_number, hash_text};
use super::ids::{AccountId, CellIndex, Label};

/// One row of the table, as it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account<'t> {
    /// The numeric id.
    pub id: AccountId,
    /// Prefixes that name this account in a host; the first is the one we show (`ab123`). May be empty
    /// for accounts that never got an address of their own.
    pub prefixes: Prefixes<'t>,
    /// Where the account lives.
    pub cell: CellIndex,
    /// Browser navigations on the legacy host may be redirected to the account's own address. API
    /// requests never are.
    pub redirect_browsers: bool,
    /// The deprecation schedule of this account, where it differs from its host's.
    pub schedule: Option<ScheduleIndex>,
}

/// The prefixes of one account, in the order of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Prefixes<'t>(&'t [u8]);

/// The position of a deprecation schedule in
/// [`Snapshot::schedules`](super::snapshot::Snapshot::schedules).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScheduleIndex(pub u16);

/// Every account that this proxy serves. Prefixes and ids are unique: the constructor's caller
/// (`config`) has reported duplicates as problems before. Cheap to clone: what is in it is shared.
#[derive(Clone, Debug, Default)]
pub struct AccountTable {
    rows: Column<Row>,
    /// The prefixes of all rows in their order, each behind a byte that says how long it is.
    prefixes: Bytes,
    by_id: Slots,
    by_prefix: Slots,
}

/// The id; and from the lowest bit: where the row's prefixes begin (32 bits; they end where the next row's begin), the
/// cell (16), the schedule plus one or 0 for none (15), whether browsers are redirected (1).
type Row = [U64; 2];

const CELL_SHIFT: u32 = 32;
const SCHEDULE_SHIFT: u32 = 48;
const SCHEDULE_MASK: u64 = 0x7fff;
const REDIRECT_BIT: u64 = 1 << 63;

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

/// A table while it is made.
#[derive(Default)]
pub struct AccountTableBuilder {
    rows: Vec<Row>,
    prefixes: Vec<u8>,
    /// How many there are in all.
    count: usize,
}

/// A row that is to be added.
#[derive(Clone, Copy, Debug)]
pub struct NewAccount<'r> {
    /// See [`Account::id`].
    pub id: AccountId,
    /// See [`Account::prefixes`]; each is a [`Label`].
    pub prefixes: &'r [&'r str],
    /// See [`Account::cell`].
    pub cell: CellIndex,
    /// See [`Account::redirect_browsers`].
    pub redirect_browsers: bool,
    /// See [`Account::schedule`].
    pub schedule: Option<ScheduleIndex>,
}

/// A table as the bytes that it consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountParts {
    /// Rows.
    pub rows: Bytes,
    /// Prefixes.
    pub prefixes: Bytes,
    /// The index by id.
    pub by_id: Bytes,
    /// The index by prefix.
    pub by_prefix: Bytes,
}

impl AccountTableBuilder {
    /// For about so many rows.
    pub fn with_capacity(rows: usize) -> Self {
        Self { rows: Vec::with_capacity(rows), ..Self::default() }
    }

    /// Adds a row behind the others.
    pub fn push(&mut self, account: NewAccount<'_>) {
        let start = u32::try_from(self.prefixes.len()).expect("config limits all files together to 4 GiB");
        let schedule = account.schedule.map_or(0, |index| u64::from(index.0) + 1);
        assert!(schedule <= SCHEDULE_MASK, "config limits schedules to some thousands");
        let packed = u64::from(start)
            | u64::from(account.cell.0) << CELL_SHIFT
            | schedule << SCHEDULE_SHIFT
            | if account.redirect_browsers { REDIRECT_BIT } else { 0 };
        self.rows.push([U64::new(account.id.value()), U64::new(packed)]);
        for prefix in account.prefixes {
            self.prefixes.push(u8::try_from(prefix.len()).expect("a label has 63 characters at most"));
            self.prefixes.extend_from_slice(prefix.as_bytes());
            self.count += 1;
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table, and every row that stands twice; of those the first counts.
    pub fn finish(mut self) -> (AccountTable, Vec<DuplicateAccount>) {
        self.prefixes.shrink_to_fit();
        let mut table = AccountTable {
            rows: Column::new(self.rows),
            prefixes: self.prefixes.into(),
            ..AccountTable::default()
        };
        let mut by_id = SlotsBuilder::new(table.len());
        let mut by_prefix = SlotsBuilder::new(self.count);
        let mut duplicates = Vec::new();
        for (second, row) in table.iter().enumerate() {
            let id = row.id;
            if let Some(first) = by_id.enter(hash_id(id), second, |other| table.has_id(other, id)) {
                duplicates.push(DuplicateAccount::Id { id, first, second });
            }
            for (nth, prefix) in row.prefixes.enumerate() {
                // What stands behind it in its own row is no other.
                let has = |other| match other == second {
                    true => row.prefixes.take(nth).any(|own| own == prefix),
                    false => table.has_prefix(other, prefix),
                };
                if let Some(first) = by_prefix.enter(hash_text(prefix.as_bytes()), second, has) {
                    let prefix = Label::parse(prefix).expect("only labels are added");
                    duplicates.push(DuplicateAccount::Prefix { prefix, first, second });
                }
            }
        }
        (table.by_id, table.by_prefix) = (by_id.finish(), by_prefix.finish());
        (table, duplicates)
    }
}

impl AccountTable {
    /// Takes a table from its parts. `None` unless every row is one that a builder could have made, so that no
    /// look-up can fail later; that indexes lead to the right rows, the checksum of the file vouches for.
    pub fn from_parts(parts: AccountParts) -> Option<Self> {
        let rows = Column::<Row>::from_bytes(parts.rows)?;
        let count = rows.items().len();
        let prefixes = count_prefixes(rows.items(), &parts.prefixes)?;
        let by_id = Slots::from_bytes(parts.by_id, count, |row| row < count)?;
        let by_prefix = Slots::from_bytes(parts.by_prefix, prefixes, |row| row < count)?;
        Some(Self { rows, prefixes: parts.prefixes, by_id, by_prefix })
    }

    /// What the table consists of, shared with it.
    pub fn parts(&self) -> AccountParts {
        AccountParts {
            rows: self.rows.bytes().clone(),
            prefixes: self.prefixes.clone(),
            by_id: self.by_id.bytes().clone(),
            by_prefix: self.by_prefix.bytes().clone(),
        }
    }

    /// The row of an id.
    pub fn by_id(&self, id: AccountId) -> Option<Account<'_>> {
        self.by_id.find(hash_id(id), |row| self.has_id(row, id)).map(|row| self.row(row))
    }

    /// The row of an id, looked for at `next` first, which is behind it then: two tables that are compared have mostly
    /// the same order.
    pub fn by_id_from(&self, id: AccountId, next: &mut usize) -> Option<Account<'_>> {
        let is_next = *next < self.len() && self.has_id(*next, id);
        let row = if is_next { *next } else { self.by_id.find(hash_id(id), |row| self.has_id(row, id))? };
        *next = row + 1;
        Some(self.row(row))
    }

    /// The row of a lower-case prefix.
    pub fn by_prefix(&self, prefix: &str) -> Option<Account<'_>> {
        let hash = hash_text(prefix.as_bytes());
        self.by_prefix.find(hash, |row| self.has_prefix(row, prefix)).map(|row| self.row(row))
    }

    /// All rows, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = Account<'_>> {
        (0..self.len()).map(|row| self.row(row))
    }

    /// How many accounts there are.
    pub fn len(&self) -> usize {
        self.rows.items().len()
    }

    /// Whether there are none; `config` refuses an empty table, so only tests see it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that the table occupies.
    pub fn heap_bytes(&self) -> usize {
        let AccountParts { rows, prefixes, by_id, by_prefix } = self.parts();
        [rows, prefixes, by_id, by_prefix].iter().map(Bytes::len).sum()
    }

    /// How many slots the longest look-up tries, by id and by prefix.
    pub fn longest_walks(&self) -> (usize, usize) {
        (self.by_id.longest_walk(), self.by_prefix.longest_walk())
    }

    #[inline]
    fn row(&self, row: usize) -> Account<'_> {
        let [id, packed] = self.rows.items()[row];
        let packed = packed.get();
        // The masks leave no more bits than the types have.
        let schedule = (packed >> SCHEDULE_SHIFT & SCHEDULE_MASK).checked_sub(1);
        Account {
            id: AccountId::from_value(id.get()).expect("a row has a sound id"),
            prefixes: self.prefixes_of(row),
            cell: CellIndex((packed >> CELL_SHIFT) as u16),
            redirect_browsers: packed & REDIRECT_BIT != 0,
            schedule: schedule.map(|index| ScheduleIndex(index as u16)),
        }
    }

    #[inline]
    fn prefixes_of(&self, row: usize) -> Prefixes<'_> {
        let rows = self.rows.items();
        let end = rows.get(row + 1).map_or(self.prefixes.len(), start_of);
        Prefixes(&self.prefixes[start_of(&rows[row])..end])
    }

    #[inline]
    fn has_id(&self, row: usize, id: AccountId) -> bool {
        self.rows.items()[row][0].get() == id.value()
    }

    #[inline]
    fn has_prefix(&self, row: usize, prefix: &str) -> bool {
        self.prefixes_of(row).any(|own| own == prefix)
    }
}

fn hash_id(id: AccountId) -> u64 {
    hash_number(id.value())
}

/// Where a row's prefixes begin: the low 32 bits.
#[inline]
fn start_of(row: &Row) -> usize {
    row[1].get() as u32 as usize
}

/// How many prefixes there are, where every row has a sound id and whole labels for prefixes.
fn count_prefixes(rows: &[Row], prefixes: &[u8]) -> Option<usize> {
    let mut count = 0;
    let mut at = 0;
    for (row, [id, _]) in rows.iter().enumerate() {
        AccountId::from_value(id.get())?;
        let end = rows.get(row + 1).map_or(prefixes.len(), start_of);
        if start_of(&rows[row]) != at || end > prefixes.len() {
            return None;
        }
        while at < end {
            let length = usize::from(prefixes[at]);
            let label = prefixes.get(at + 1..at + 1 + length)?;
            Label::check(std::str::from_utf8(label).ok()?).ok()?;
            at += 1 + length;
            count += 1;
        }
        if at != end {
            return None;
        }
    }
    (at == prefixes.len()).then_some(count)
}

impl<'t> Prefixes<'t> {
    /// The one we show.
    pub fn first(mut self) -> Option<&'t str> {
        self.next()
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl<'t> Iterator for Prefixes<'t> {
    type Item = &'t str;

    #[inline]
    fn next(&mut self) -> Option<&'t str> {
        let (length, rest) = self.0.split_first()?;
        let (text, rest) = rest.split_at(usize::from(*length));
        self.0 = rest;
        Some(std::str::from_utf8(text).expect("labels are ASCII"))
    }
}

impl fmt::Debug for Prefixes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}
