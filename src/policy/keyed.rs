//! Tables from a key to an account: environments, and fingerprints of known credentials. Built like the account
//! table ([`columns`](super::columns)): there may be several rows for each account.

use std::ops::Range;

use bytes::Bytes;
use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use super::columns::{Column, Element, Slots, SlotsBuilder, hash_number};
use super::credential::Fingerprint;
use super::ids::{AccountId, EntityId};

/// What an account can be found by.
pub trait Key: Copy + Eq {
    /// A key and its account, as numbers.
    type Row: Element;

    /// Of a key and an account.
    fn row(self, account: AccountId) -> Self::Row;

    /// Back again; `None` of what [`row`](Self::row) never gives.
    fn from_row(row: &Self::Row) -> Option<(Self, AccountId)>;

    /// Spreads keys evenly; part of the format of files, as in [`hash_number`].
    fn hash(self) -> u64;
}

/// From keys to accounts, each key once. Cheap to clone: what is in it is shared.
#[derive(Clone, Debug)]
pub struct KeyTable<K: Key> {
    rows: Column<K::Row>,
    slots: Slots,
}

/// A table while it is made.
pub struct KeyTableBuilder<K: Key>(Vec<K::Row>);

/// A table as the bytes that it consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyParts {
    /// Rows.
    pub rows: Bytes,
    /// The index.
    pub slots: Bytes,
}

/// A key that stands twice, and by position the row that has it and the one that claims it too.
pub type DuplicateKey<K> = (K, usize, usize);

impl<K: Key> KeyTableBuilder<K> {
    /// Adds a row behind the others.
    pub fn push(&mut self, key: K, account: AccountId) {
        self.0.push(key.row(account));
    }

    /// The table, and every row whose key stands twice; of those the first counts.
    pub fn finish(self) -> (KeyTable<K>, Vec<DuplicateKey<K>>) {
        let mut table = KeyTable::<K> { rows: Column::new(self.0), slots: Slots::default() };
        let mut slots = SlotsBuilder::new(table.len());
        let mut duplicates = Vec::new();
        for (second, (key, _)) in table.iter().enumerate() {
            if let Some(first) = slots.enter(key.hash(), second, |other| table.row(other).0 == key) {
                duplicates.push((key, first, second));
            }
        }
        table.slots = slots.finish();
        (table, duplicates)
    }
}

impl<K: Key> Default for KeyTableBuilder<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Key> KeyTable<K> {
    /// Takes a table from its parts, as [`AccountTable::from_parts`](super::accounts::AccountTable::from_parts).
    pub fn from_parts(parts: KeyParts) -> Option<Self> {
        let rows = Column::<K::Row>::from_bytes(parts.rows)?;
        let count = rows.items().len();
        let sound = rows.items().iter().all(|row| K::from_row(row).is_some());
        let slots = Slots::from_bytes(parts.slots, count, |row| row < count)?;
        sound.then_some(Self { rows, slots })
    }

    /// What the table consists of, shared with it.
    pub fn parts(&self) -> KeyParts {
        KeyParts { rows: self.rows.bytes().clone(), slots: self.slots.bytes().clone() }
    }

    /// The account of a key.
    pub fn find(&self, key: K) -> Option<AccountId> {
        let row = self.slots.find(key.hash(), |row| self.row(row).0 == key)?;
        Some(self.row(row).1)
    }

    /// All rows, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (K, AccountId)> {
        self.rows(0..self.len())
    }

    /// Where two tables differ: the rows of each that are left when those are taken away that both begin with, and
    /// those that both end with.
    pub fn differing(&self, other: &Self) -> (Range<usize>, Range<usize>) {
        let (one, two) = (self.rows.items(), other.rows.items());
        let most = one.len().min(two.len());
        // Mostly nobody has touched the table, and bytes are compared faster than rows.
        if self.rows.bytes() == other.rows.bytes() {
            return (most..most, most..most);
        }
        let same = |(one, two): &(&K::Row, &K::Row)| one.as_bytes() == two.as_bytes();
        let start = one.iter().zip(two).take_while(same).count();
        let end = one.iter().rev().zip(two.iter().rev()).take(most - start).take_while(same).count();
        (start..one.len() - end, start..two.len() - end)
    }

    /// Some of the rows, in the order of the file.
    pub fn rows(&self, range: Range<usize>) -> impl Iterator<Item = (K, AccountId)> {
        range.map(|row| self.row(row))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.items().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that the table occupies.
    pub fn heap_bytes(&self) -> usize {
        self.rows.bytes().len() + self.slots.bytes().len()
    }

    #[inline]
    fn row(&self, row: usize) -> (K, AccountId) {
        K::from_row(&self.rows.items()[row]).expect("a row is what a key and an account gave")
    }
}

impl<K: Key> Default for KeyTable<K> {
    fn default() -> Self {
        Self { rows: Column::default(), slots: Slots::default() }
    }
}

/// Of pairs whose keys differ; of equal ones the first counts.
impl<K: Key> FromIterator<(K, AccountId)> for KeyTable<K> {
    fn from_iter<I: IntoIterator<Item = (K, AccountId)>>(pairs: I) -> Self {
        let mut builder = KeyTableBuilder::default();
        pairs.into_iter().for_each(|(key, account)| builder.push(key, account));
        builder.finish().0
    }
}

impl Key for EntityId {
    type Row = [U64; 2];

    fn row(self, account: AccountId) -> Self::Row {
        [self.value(), account.value()].map(U64::new)
    }

    fn from_row([key, account]: &Self::Row) -> Option<(Self, AccountId)> {
        Some((Self::from_value(key.get())?, AccountId::from_value(account.get())?))
    }

    fn hash(self) -> u64 {
        hash_number(self.value())
    }
}

impl Key for Fingerprint {
    type Row = [U64; 3];

    fn row(self, account: AccountId) -> Self::Row {
        let (first, second) = halves(self);
        [first, second, account.value()].map(U64::new)
    }

    fn from_row([first, second, account]: &Self::Row) -> Option<(Self, AccountId)> {
        let bytes = u128::from(second.get()) << 64 | u128::from(first.get());
        Some((Self(bytes.to_le_bytes()), AccountId::from_value(account.get())?))
    }

    fn hash(self) -> u64 {
        let (first, second) = halves(self);
        hash_number(first ^ second)
    }
}

fn halves(fingerprint: Fingerprint) -> (u64, u64) {
    let bytes = u128::from_le_bytes(fingerprint.0);
    // The low half first: what is cut off is the high one.
    (bytes as u64, (bytes >> 64) as u64)
}
