//! The columns of packed rows. What stands in a column is told from the row before it, which is its neighbour in the order of
//! accounts: most of it is then one byte, and the same one.

use super::super::key::SHOWN;
use super::super::names::Name;
use super::super::packed::{put, put_bytes, put_signed, take, take_array, take_bytes, take_signed};
use super::{Counts, CredentialName, Hours, NetworkName, RowKey, SUBJECTS, Whose, sum};
use crate::telemetry::labels::CLASSES;

/// Bytes, by column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Columns([Vec<u8>; COLUMNS]);

/// What a row is told from: the one before it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    day: i64,
    account: u64,
    first_seen: i64,
}

/// Where somebody is who reads rows.
pub(super) struct Cursor<'a> {
    columns: [&'a [u8]; COLUMNS],
    names: usize,
    before: Before,
}

/// How many there are, and where each of them is.
const COLUMNS: usize = 11;
const DAY: usize = 0;
const WHOSE: usize = 1;
const CLIENT: usize = 2;
const SURFACE: usize = 3;
const CLASS: usize = 4;
const TEMPLATE: usize = 5;
const CREDENTIAL: usize = 6;
const NETWORK: usize = 7;
const SUMS: usize = 8;
const HOURS: usize = 9;
const SEEN: usize = 10;

/// Of a credential: a token; above it, a name.
const TOKEN: u64 = 0;

/// Of a network: what it is; above them, a name.
const V4: u64 = 0;
const V6: u64 = 1;

/// Of hours: so many follow as it is more than this; below it, the one in which all requests came.
const MANY_HOURS: u64 = 24;

impl Columns {
    /// Appends a row. Where its template is named is said apart.
    pub fn push(&mut self, key: &RowKey, counts: &Counts, template: Name, before: &mut Before) {
        let Self(columns) = self;
        put_signed(&mut columns[DAY], key.day.wrapping_sub(before.day));
        columns[WHOSE].push(key.whose.subject);
        put_signed(&mut columns[WHOSE], key.whose.account.wrapping_sub(before.account).cast_signed());
        (before.day, before.account) = (key.day, key.whose.account);
        let names = [(CLIENT, key.client), (SURFACE, key.surface), (CLASS, key.class), (TEMPLATE, template)];
        for (column, name) in names {
            put(&mut columns[column], name.into());
        }
        let out = &mut columns[CREDENTIAL];
        match key.credential {
            CredentialName::Token(of, shown) => {
                put(out, TOKEN);
                put(out, of.into());
                out.extend_from_slice(&shown);
            }
            CredentialName::Named(name) => put(out, u64::from(name) + TOKEN + 1),
        }
        let out = &mut columns[NETWORK];
        match key.network {
            NetworkName::V4(bytes) => {
                put(out, V4);
                out.extend_from_slice(&bytes);
            }
            NetworkName::V6(bytes) => {
                put(out, V6);
                out.extend_from_slice(&bytes);
            }
            NetworkName::Named(name) => put(out, u64::from(name) + V6 + 1),
        }
        self.push_counts(counts, before);
    }

    fn push_counts(&mut self, counts: &Counts, before: &mut Before) {
        let Self(columns) = self;
        let out = &mut columns[SUMS];
        let at = out.len();
        out.push(0);
        let sums = counts.statuses.into_iter().chain([counts.writes, counts.refused]);
        for (bit, sum) in sums.enumerate().filter(|(_, sum)| *sum > 0) {
            out[at] |= 1 << bit;
            put(out, sum);
        }
        let out = &mut columns[HOURS];
        match &counts.hours {
            Hours::One(hour, requests) if *requests == counts.requests() => put(out, (*hour).into()),
            hours => {
                put(out, MANY_HOURS + hours.iter().count() as u64);
                for (hour, requests) in hours.iter() {
                    out.push(hour);
                    put(out, requests);
                }
            }
        }
        let out = &mut columns[SEEN];
        put_signed(out, counts.first_seen.wrapping_sub(before.first_seen));
        put_signed(out, counts.last_seen.wrapping_sub(counts.first_seen));
        before.first_seen = counts.first_seen;
    }

    /// Appends all of it to bytes.
    pub fn pack(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|column| put_bytes(out, column));
    }

    /// Takes it from bytes; `None` where they are none.
    pub fn unpack(bytes: &mut &[u8]) -> Option<Self> {
        let mut read = Self::default();
        for column in &mut read.0 {
            *column = take_bytes(bytes)?.to_vec();
        }
        Some(read)
    }
}

impl<'a> Cursor<'a> {
    /// Before the first row of columns, whose names are places in a list so long.
    pub fn new(columns: &'a Columns, names: usize) -> Self {
        Self { columns: columns.0.each_ref().map(Vec::as_slice), names, before: Before::default() }
    }

    /// The next row; `None` where there is none, or the bytes are no rows.
    pub fn row(&mut self) -> Option<(RowKey, Counts)> {
        let day = self.before.day.wrapping_add(take_signed(&mut self.columns[DAY])?);
        let [subject] = take_array(&mut self.columns[WHOSE])?;
        let subject = Some(subject).filter(|at| usize::from(*at) < SUBJECTS.len())?;
        let more = take_signed(&mut self.columns[WHOSE])?;
        let account = self.before.account.wrapping_add(more.cast_unsigned());
        (self.before.day, self.before.account) = (day, account);
        let key = RowKey {
            day,
            whose: Whose { subject, account },
            client: self.name(CLIENT)?,
            surface: self.name(SURFACE)?,
            class: self.name(CLASS)?,
            credential: self.credential()?,
            network: self.network()?,
        };
        Some((key, self.counts()?))
    }

    fn name(&mut self, column: usize) -> Option<Name> {
        let name = take(&mut self.columns[column])?;
        self.place(name)
    }

    fn place(&self, name: u64) -> Option<Name> {
        usize::try_from(name).ok().filter(|name| *name < self.names)?;
        Name::try_from(name).ok()
    }

    fn credential(&mut self) -> Option<CredentialName> {
        let column = &mut self.columns[CREDENTIAL];
        match take(column)? {
            TOKEN => {
                let (key, shown) = (take(column)?, take_array::<SHOWN>(column)?);
                Some(CredentialName::Token(self.place(key)?, shown))
            }
            name => Some(CredentialName::Named(self.place(name - TOKEN - 1)?)),
        }
    }

    fn network(&mut self) -> Option<NetworkName> {
        let column = &mut self.columns[NETWORK];
        match take(column)? {
            V4 => Some(NetworkName::V4(take_array(column)?)),
            V6 => Some(NetworkName::V6(take_array(column)?)),
            name => Some(NetworkName::Named(self.place(name - V6 - 1)?)),
        }
    }

    fn counts(&mut self) -> Option<Counts> {
        let template = self.name(TEMPLATE)?;
        let column = &mut self.columns[SUMS];
        let [bits] = take_array(column)?;
        let mut sums = [0; CLASSES.len() + 2];
        for (bit, sum) in sums.iter_mut().enumerate() {
            if bits >> bit & 1 == 1 {
                *sum = take(column)?;
            }
        }
        let [statuses @ .., writes, refused] = sums;
        let hours = self.hours(&statuses)?;
        let first_seen = self.before.first_seen.wrapping_add(take_signed(&mut self.columns[SEEN])?);
        let last_seen = first_seen.wrapping_add(take_signed(&mut self.columns[SEEN])?);
        self.before.first_seen = first_seen;
        Some(Counts { template, statuses, writes, refused, hours, first_seen, last_seen })
    }

    fn hours(&mut self, statuses: &[u64]) -> Option<Hours> {
        let column = &mut self.columns[HOURS];
        let first = take(column)?;
        if first < MANY_HOURS {
            return Some(Hours::One(u8::try_from(first).ok()?, sum(statuses)));
        }
        let mut hours = Hours::One(0, 0);
        for _ in MANY_HOURS..first {
            let [hour] = take_array(column)?;
            hours.add(Some(hour).filter(|hour| u64::from(*hour) < MANY_HOURS)?, take(column)?);
        }
        Some(hours)
    }
}
