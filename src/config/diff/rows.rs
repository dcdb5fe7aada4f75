//! What a change does to the rows that lead from an environment or a credential to an account: which come, go, or lead
//! to another account. Data for guards and plans.
//!
//! A row that leads elsewhere sends one customer's requests to another's cell, with that customer's credential on them:
//! the cell refuses them, but nobody should have meant it.

use std::collections::BTreeMap;

use super::View;
use super::moves::Noted;
use crate::policy::credential::Fingerprint;
use crate::policy::ids::{AccountId, EntityId};
use crate::policy::keyed::{Key, KeyTable};

/// What becomes of the rows of a table. All of it is empty where the table stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowChanges {
    /// How many rows there were and are; both 0 where none differs, so that nothing is said of what nobody touches.
    pub rows: super::Rows,
    /// Rows of a key that had none.
    pub added: Noted,
    /// Rows of a key that has none any more.
    pub removed: Noted,
    /// Rows that lead to another account.
    pub repointed: Noted,
    /// Those, by the cell of the account that they led to.
    pub repointed_from: BTreeMap<Box<str>, usize>,
}

/// A key as people find it again.
pub(super) trait Shown: Key {
    fn shown(self) -> String;
}

/// Digits of a fingerprint that tell two credentials of one fleet apart, and that a search in the table finds.
const DIGITS: usize = 12;

impl Shown for EntityId {
    fn shown(self) -> String {
        self.to_string()
    }
}

impl Shown for Fingerprint {
    fn shown(self) -> String {
        let mut digits = self.to_string();
        digits.truncate(DIGITS);
        digits
    }
}

impl RowChanges {
    /// Whether no row differs.
    pub fn is_empty(&self) -> bool {
        self.added.count + self.removed.count + self.repointed.count == 0
    }

    /// What there is of it, each kind with its word: those that go first.
    pub fn by_word(&self) -> impl Iterator<Item = (&'static str, &Noted)> {
        let kinds = [("removed", &self.removed), ("re-pointed", &self.repointed), ("added", &self.added)];
        kinds.into_iter().filter(|(_, noted)| noted.count > 0)
    }

    /// From one table to the other. Rows that both begin and end with are passed over, and so a table that nobody has
    /// touched costs a comparison of its bytes; of the rest, each row costs a look-up.
    pub(super) fn between<K: Shown>(
        before: &KeyTable<K>,
        after: &KeyTable<K>,
        cell_before: impl Fn(AccountId) -> Option<Box<str>>,
    ) -> Self {
        let mut changes = Self::default();
        let (old, new) = before.differing(after);
        for (key, account) in after.rows(new) {
            match before.find(key) {
                None => changes.added.note(|| key.shown()),
                Some(other) if other != account => {
                    changes.repointed.note(|| format!("{} (account {other} -> {account})", key.shown()));
                    let cell = cell_before(other).unwrap_or_else(|| "-".into());
                    *changes.repointed_from.entry(cell).or_default() += 1;
                }
                Some(_) => {}
            }
        }
        // Every other row of the old table has its key in the new one.
        if before.len() + changes.added.count > after.len() {
            for (key, _) in before.rows(old).filter(|(key, _)| after.find(*key).is_none()) {
                changes.removed.note(|| key.shown());
            }
        }
        if !changes.is_empty() {
            changes.rows = super::Rows { before: before.len(), after: after.len() };
        }
        changes
    }
}

impl View<'_> {
    /// What becomes of the rows from keys to accounts.
    pub(super) fn rows_to<K: Shown>(&self, before: &KeyTable<K>, after: &KeyTable<K>) -> RowChanges {
        let cell = |account| self.accounts.by_id(account).map(|row| self.cell(row).into());
        RowChanges::between(before, after, cell)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::test_snapshot::account;

    fn table(rows: &[(u64, u64)]) -> KeyTable<EntityId> {
        rows.iter().map(|(key, id)| (EntityId::from_value(*key).unwrap(), account(*id))).collect()
    }

    fn between(before: &[(u64, u64)], after: &[(u64, u64)]) -> RowChanges {
        let cell = |id: AccountId| (id.value() < 100).then(|| format!("cell-{}", id.value() % 2).into());
        RowChanges::between(&table(before), &table(after), cell)
    }

    #[test]
    fn rows_are_compared_by_key_wherever_they_stand() {
        let before = [(1, 10), (2, 20), (3, 30), (4, 40), (5, 50)];
        let check = |after: &[(u64, u64)], added: &[&str], removed: &[&str], repointed: &[&str]| {
            let found = between(&before, after);
            for (noted, expect) in
                [(&found.added, added), (&found.removed, removed), (&found.repointed, repointed)]
            {
                assert_eq!(noted.count, expect.len(), "{after:?}: {found:?}");
                assert_eq!(noted.first, expect, "{after:?}: {found:?}");
            }
            let counts = found.rows == super::super::Rows { before: 5, after: after.len() };
            assert_eq!(counts, !found.is_empty(), "{after:?}");
        };
        check(&before, &[], &[], &[]);
        check(&[(5, 50), (4, 40), (3, 30), (2, 20), (1, 10)], &[], &[], &[]);
        check(&[], &[], &["1", "2", "3", "4", "5"], &[]);
        check(&before[1..], &[], &["1"], &[]);
        check(&before[..4], &[], &["5"], &[]);
        check(&[(1, 10), (2, 20), (4, 40), (5, 50)], &[], &["3"], &[]);
        check(&[(1, 10), (2, 20), (3, 31), (4, 40), (5, 50)], &[], &[], &["3 (account 30 -> 31)"]);
        check(&[(1, 10), (2, 20), (3, 30), (6, 60), (4, 40), (5, 50)], &["6"], &[], &[]);
        // As many rows as before, and yet one goes.
        check(&[(1, 10), (6, 60), (3, 30), (4, 40), (5, 50)], &["6"], &["2"], &[]);
        check(
            &[(2, 10), (6, 60), (1, 20)],
            &["6"],
            &["3", "4", "5"],
            &["2 (account 20 -> 10)", "1 (account 10 -> 20)"],
        );
        // One row that is the beginning and the end of both.
        check(&[(1, 10), (2, 20), (3, 30), (4, 40), (5, 50), (6, 50)], &["6"], &[], &[]);
    }

    #[test]
    fn a_row_that_leads_elsewhere_counts_for_the_cell_that_it_led_to() {
        let found = between(&[(1, 11), (2, 12), (3, 13), (4, 1_000)], &[(1, 1), (2, 1), (3, 1), (4, 1)]);
        let cells: Vec<_> = found.repointed_from.iter().map(|(cell, count)| (&**cell, *count)).collect();
        assert_eq!(cells, [("-", 1), ("cell-0", 1), ("cell-1", 2)]);
    }

    #[test]
    fn a_few_are_named_and_a_fingerprint_by_its_first_digits() {
        let before: Vec<(u64, u64)> = (1..=20).map(|key| (key, 1)).collect();
        assert_eq!(between(&before, &[]).removed.to_string(), "1, 2, 3, 4, 5 and 15 more");
        assert_eq!(Fingerprint([0xab; 16]).shown(), "abababababab");
    }
}
