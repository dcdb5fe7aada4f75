//! The compact tables against naive ones.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use cellgate::config::compiled::Compiled;
use cellgate::policy::accounts::{
    Account, AccountTable, AccountTableBuilder, DuplicateAccount, NewAccount, ScheduleIndex,
};
use cellgate::policy::credential::Fingerprint;
use cellgate::policy::ids::{AccountId, CellIndex, Label};
use cellgate::policy::keyed::{Key, KeyTable, KeyTableBuilder};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::snapshot::{account, entity, label};
use crate::{accounts, text};

/// A row as a table of vectors had it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    id: u64,
    prefixes: Vec<String>,
    cell: u16,
    redirect_browsers: bool,
    schedule: Option<u16>,
}

/// Few ids and prefixes, so that many stand twice; and the largest and the longest that there are.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let id = prop_oneof![9 => 1..60u64, 1 => i64::MAX as u64 - 3..=i64::MAX as u64];
    let prefix = prop_oneof![9 => "[a-d]{1,3}", 1 => "[a-z0-9]{63}"];
    let schedule = proptest::option::of(prop_oneof![0..3u16, Just(0x7ffe)]);
    let cell = prop_oneof![0..4u16, Just(u16::MAX)];
    let row = (id, vec(prefix, 0..4), cell, any::<bool>(), schedule);
    let row = row.prop_map(|(id, prefixes, cell, redirect_browsers, schedule)| Row {
        id,
        prefixes,
        cell,
        redirect_browsers,
        schedule,
    });
    vec(row, 0..50)
}

fn built(rows: &[Row]) -> (AccountTable, Vec<DuplicateAccount>) {
    let mut builder = AccountTableBuilder::default();
    for row in rows {
        let prefixes: Vec<&str> = row.prefixes.iter().map(String::as_str).collect();
        builder.push(NewAccount {
            id: account(row.id),
            prefixes: &prefixes,
            cell: CellIndex(row.cell),
            redirect_browsers: row.redirect_browsers,
            schedule: row.schedule.map(ScheduleIndex),
        });
    }
    builder.finish()
}

fn plain(account: Account<'_>) -> Row {
    Row {
        id: account.id.value(),
        prefixes: account.prefixes.map(str::to_owned).collect(),
        cell: account.cell.0,
        redirect_browsers: account.redirect_browsers,
        schedule: account.schedule.map(|schedule| schedule.0),
    }
}

/// What the table of hash maps said: the first row of an id or a prefix counts, and every other is named.
#[derive(Default)]
struct Naive {
    by_id: HashMap<u64, usize>,
    by_prefix: HashMap<String, usize>,
    duplicates: Vec<DuplicateAccount>,
}

impl Naive {
    fn of(rows: &[Row]) -> Self {
        let mut naive = Self::default();
        for (second, row) in rows.iter().enumerate() {
            match naive.by_id.entry(row.id) {
                Entry::Vacant(free) => drop(free.insert(second)),
                Entry::Occupied(first) => {
                    let (id, first) = (account(row.id), *first.get());
                    naive.duplicates.push(DuplicateAccount::Id { id, first, second });
                }
            }
            for prefix in &row.prefixes {
                match naive.by_prefix.entry(prefix.clone()) {
                    Entry::Vacant(free) => drop(free.insert(second)),
                    Entry::Occupied(first) => {
                        let (prefix, first) = (label(prefix), *first.get());
                        naive.duplicates.push(DuplicateAccount::Prefix { prefix, first, second });
                    }
                }
            }
        }
        naive
    }

    fn agrees(&self, rows: &[Row], table: &AccountTable) {
        assert_eq!(table.len(), rows.len());
        assert_eq!(table.iter().map(plain).collect::<Vec<_>>(), rows);
        let ids = (1..70).chain(i64::MAX as u64 - 4..=i64::MAX as u64);
        for id in ids {
            let found = table.by_id(account(id)).map(plain);
            assert_eq!(found.as_ref(), self.by_id.get(&id).map(|row| &rows[*row]), "id {id}");
        }
        let others = ["", "e", "ee", "a.b", "AA"].map(str::to_owned);
        for prefix in self.by_prefix.keys().chain(&others) {
            let found = table.by_prefix(prefix).map(plain);
            assert_eq!(
                found.as_ref(),
                self.by_prefix.get(prefix).map(|row| &rows[*row]),
                "prefix {prefix:?}"
            );
        }
    }
}

fn keyed<K: Key + std::hash::Hash + std::fmt::Debug>(pairs: &[(K, AccountId)]) -> KeyTable<K> {
    let mut builder = KeyTableBuilder::default();
    pairs.iter().for_each(|(key, account)| builder.push(*key, *account));
    let (table, duplicates) = builder.finish();
    let mut naive: HashMap<K, usize> = HashMap::new();
    let mut expected = Vec::new();
    for (second, (key, _)) in pairs.iter().enumerate() {
        match naive.entry(*key) {
            Entry::Vacant(free) => drop(free.insert(second)),
            Entry::Occupied(first) => expected.push((*key, *first.get(), second)),
        }
    }
    assert_eq!(duplicates, expected);
    assert_eq!(table.iter().collect::<Vec<_>>(), pairs);
    for (key, row) in naive {
        assert_eq!(table.find(key), Some(pairs[row].1), "{key:?}");
    }
    table
}

proptest! {
    #[test]
    fn an_account_table_is_what_a_hash_map_would_be(rows in rows()) {
        let naive = Naive::of(&rows);
        let (table, duplicates) = built(&rows);
        assert_eq!(duplicates, naive.duplicates);
        naive.agrees(&rows, &table);
        let again = AccountTable::from_parts(table.parts()).unwrap();
        naive.agrees(&rows, &again);
    }

    #[test]
    fn a_table_of_keys_is_what_a_hash_map_would_be(
        environments in vec((1..50u64, 1..9u64), 0..60),
        fingerprints in vec((any::<[u8; 16]>(), 1..9u64), 0..30),
        twice in vec(0..30usize, 0..5),
    ) {
        let environments: Vec<_> = environments.into_iter().map(|(key, of)| (entity(key), account(of))).collect();
        let mut fingerprints: Vec<_> =
            fingerprints.into_iter().map(|(key, of)| (Fingerprint(key), account(of))).collect();
        for row in twice {
            fingerprints.extend(fingerprints.get(row).copied());
        }
        let (environments, credentials) = (keyed(&environments), keyed(&fingerprints));
        assert_eq!(credentials.find(Fingerprint([7; 16])), None);

        let written = Compiled { hash: "ab".into(), environments, credentials, ..Compiled::default() };
        let read = Compiled::from_bytes(written.to_pieces().concat()).unwrap();
        assert_eq!(read.environments.parts(), written.environments.parts());
        assert_eq!(read.credentials.parts(), written.credentials.parts());
        assert_eq!(&*read.hash, "ab");
    }

    #[test]
    fn a_compiled_account_table_is_read_as_it_was_written(rows in rows()) {
        let (accounts, _) = built(&rows);
        let written = Compiled { hash: "ab".into(), accounts, ..Compiled::default() };
        let read = Compiled::from_bytes(written.to_pieces().concat()).unwrap();
        Naive::of(&rows).agrees(&rows, &read.accounts);
    }
}

#[test]
fn the_prefixes_of_one_row_are_no_duplicates_of_each_other() {
    // In tables so small, slots of the same row are passed often, and one in 256 of them looks like the prefix.
    for table in 0..2_000 {
        let prefixes: Vec<String> = (0..16).map(|nth| text::prefix(table * 16 + nth)).collect();
        let (_, duplicates) = built(&[Row {
            id: 1,
            prefixes: prefixes.clone(),
            cell: 0,
            redirect_browsers: false,
            schedule: None,
        }]);
        assert_eq!(duplicates, [], "{prefixes:?}");
    }
}

/// Most bytes of the table of a million accounts with a prefix of eight characters each: the target of the benchmark
/// (docs/performance.md).
const MOST_BYTES_OF_A_MILLION: u64 = 40_000_000;

#[test]
fn a_table_of_a_million_accounts_fits_into_40_megabytes() {
    let count = accounts(100_000);
    let mut builder = AccountTableBuilder::with_capacity(usize::try_from(count).unwrap());
    for number in 0..count {
        let prefix = text::prefix(number);
        builder.push(NewAccount {
            id: account(text::id(number)),
            prefixes: &[&prefix],
            cell: CellIndex(1),
            redirect_browsers: false,
            schedule: None,
        });
    }
    let (table, duplicates) = builder.finish();
    assert_eq!(duplicates, []);
    let bytes = u64::try_from(table.heap_bytes()).unwrap();
    let walks = table.longest_walks();
    println!("{count} accounts: {bytes} bytes, {} each; longest walks {walks:?}", bytes / count);
    assert!(bytes * 1_000_000 <= MOST_BYTES_OF_A_MILLION * count, "{bytes} bytes");
    // A walk is what chosen ids could make long; by chance the longest of a million is some 370 slots (the logarithm of
    // their number over a - 1 - ln a, where a part a of the slots is taken: Pittel, 1987).
    assert!(walks.0 < 600 && walks.1 < 600, "{walks:?}");
    assert_eq!(table.len() as u64, count);
    for number in [0, 1, count / 2, count - 1] {
        let row = table.by_prefix(&text::prefix(number)).unwrap();
        assert_eq!(row.id.value(), text::id(number));
        assert_eq!(table.by_id(row.id), Some(row));
        assert!(row.prefixes.map(Label::parse).all(|label| label.is_ok()));
    }
    assert!(table.by_prefix(&text::prefix(count)).is_none());
}
