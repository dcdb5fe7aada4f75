//! A table from keys to accounts while it is read: which of its rows claim a key that another has.

use super::Row;
use crate::policy::ids::AccountId;
use crate::policy::keyed::{Key, KeyTable, KeyTableBuilder};

/// The rows so far.
pub(super) struct Keyed<K: Key> {
    rows: KeyTableBuilder<K>,
    /// The [`Row::number`] of each.
    numbers: Vec<u32>,
}

impl<K: Key> Default for Keyed<K> {
    fn default() -> Self {
        Self { rows: KeyTableBuilder::default(), numbers: Vec::new() }
    }
}

impl<K: Key> Keyed<K> {
    pub(super) fn add(&mut self, row: Row<'_>, key: K, account: AccountId) {
        self.rows.push(key, account);
        self.numbers.push(row.number());
    }

    /// The table. `twice` is told the key, the second row that has it and the line of the first. `whole` is where
    /// the table stands.
    pub(super) fn finish(self, whole: Row<'_>, twice: impl Fn(K, Row<'_>, u32)) -> KeyTable<K> {
        let (table, duplicates) = self.rows.finish();
        for (key, first, second) in duplicates {
            let (first, second) = (whole.other(self.numbers[first]), whole.other(self.numbers[second]));
            twice(key, second, first.line());
        }
        table
    }
}
