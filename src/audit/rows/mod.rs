//! Legacy requests of one window, packed: a row for each integration and day, in one order, column by column, and each name
//! once. A window of a million accounts has hundreds of thousands of rows, and most of them differ in few bytes.

mod columns;
mod name;

use std::collections::BTreeSet;

use serde::Deserialize;

use super::frame::{Integration, Use};
use super::key::Subject;
use super::merged::Merged;
use super::names::Name;
use super::packed::{put, put_bytes, take, take_text};
use crate::telemetry::labels::CLASSES;
use columns::{Columns, Cursor};

pub(super) use name::{CredentialName, NetworkName};

/// What one row is of. Its names are places in a list of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RowKey {
    /// Days since the Unix epoch.
    pub day: i64,
    pub whose: Whose,
    pub client: Name,
    pub surface: Name,
    pub class: Name,
    pub credential: CredentialName,
    pub network: NetworkName,
}

/// A subject, and its account; 0 where it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Whose {
    subject: u8,
    account: u64,
}

/// How often, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    /// Path template of one of the requests.
    pub template: Name,
    /// By status class.
    pub statuses: [u64; CLASSES.len()],
    pub writes: u64,
    pub refused: u64,
    pub hours: Hours,
    /// Unix seconds.
    pub first_seen: i64,
    /// Unix seconds.
    pub last_seen: i64,
}

/// Requests by hour of the day. Nearly every row has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hours {
    One(u8, u64),
    More(Box<[u64; 24]>),
}

/// All rows of a window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<Use>")]
pub(super) struct Rows {
    /// In the order of the alphabet, so that rows are in the same order in all windows.
    names: Vec<Box<str>>,
    rows: u64,
    requests: u64,
    /// On which there are any, in their order.
    days: Vec<i64>,
    columns: Columns,
}

/// Names of subjects, in the order of the alphabet.
const SUBJECTS: [&str; 3] = ["account", "unattributed", "unmapped"];

impl From<Subject> for Whose {
    fn from(subject: Subject) -> Self {
        let place = match subject {
            Subject::Account(_) => 0,
            Subject::Unattributed => 1,
            Subject::Unmapped => 2,
        };
        Self { subject: place, account: subject.account() }
    }
}

impl Whose {
    /// Name of the subject in the books.
    pub fn subject(self) -> &'static str {
        SUBJECTS[usize::from(self.subject)]
    }

    /// The id of an account; 0 for all others.
    pub const fn account(self) -> u64 {
        self.account
    }
}

impl Hours {
    /// Adds requests.
    pub fn add(&mut self, hour: u8, requests: u64) {
        match self {
            Self::One(one, sum) if *one == hour => *sum = sum.saturating_add(requests),
            Self::One(_, 0) => *self = Self::One(hour, requests),
            Self::One(one, sum) => {
                let mut all = Box::new([0; 24]);
                (all[usize::from(*one)], all[usize::from(hour)]) = (*sum, requests);
                *self = Self::More(all);
            }
            Self::More(all) => {
                let sum = &mut all[usize::from(hour)];
                *sum = sum.saturating_add(requests);
            }
        }
    }

    /// Those in which somebody came.
    pub fn iter(&self) -> impl Iterator<Item = (u8, u64)> {
        let (one, more) = match self {
            Self::One(hour, requests) => (Some((*hour, *requests)), None),
            Self::More(all) => (None, Some((0u8..).zip(all.iter().copied()))),
        };
        one.into_iter().chain(more.into_iter().flatten()).filter(|(_, requests)| *requests > 0)
    }
}

impl Counts {
    /// Adds others.
    pub fn merge(&mut self, other: Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        self.template = self.template.min(other.template);
        self.statuses.iter_mut().zip(other.statuses).for_each(|(sum, more)| add(sum, more));
        add(&mut self.writes, other.writes);
        add(&mut self.refused, other.refused);
        other.hours.iter().for_each(|(hour, requests)| self.hours.add(hour, requests));
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
    }

    /// All of them.
    pub fn requests(&self) -> u64 {
        sum(&self.statuses)
    }
}

impl RowKey {
    /// By names.
    pub fn integration(&self, names: &[impl AsRef<str>]) -> Integration {
        let name = |name: Name| names[name as usize].as_ref().to_owned();
        Integration {
            subject: self.whose.subject().to_owned(),
            account: self.whose.account,
            client: name(self.client),
            surface: name(self.surface),
            class: name(self.class),
            credential: self.credential.text(names),
            network: self.network.text(names),
        }
    }

    /// With other places for its names.
    fn renamed(mut self, name: impl Fn(Name) -> Name) -> Self {
        [self.client, self.surface, self.class] = [self.client, self.surface, self.class].map(&name);
        match &mut self.credential {
            CredentialName::Token(of, _) | CredentialName::Named(of) => *of = name(*of),
        }
        if let NetworkName::Named(of) = &mut self.network {
            *of = name(*of);
        }
        self
    }
}

impl Rows {
    /// Packs rows whose names are places in these, each of which is there once.
    pub fn of<'a>(names: &[impl AsRef<str>], rows: impl Iterator<Item = (RowKey, &'a Counts)>) -> Self {
        let mut sorted: Vec<usize> = (0..names.len()).collect();
        sorted.sort_unstable_by_key(|at| names[*at].as_ref());
        let mut places = vec![0; names.len()];
        (0..).zip(&sorted).for_each(|(place, at)| places[*at] = place);
        let place = |name: Name| places[name as usize];
        let mut rows: Vec<_> = rows.map(|(key, counts)| (key.renamed(place), counts)).collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        let names = sorted.into_iter().map(|at| names[at].as_ref().into()).collect();
        let mut packed = Self { names, rows: rows.len() as u64, ..Self::default() };
        let mut before = columns::Before::default();
        for (key, counts) in rows {
            packed.columns.push(&key, counts, place(counts.template), &mut before);
            packed.note(key.day, counts);
        }
        packed
    }

    /// Rows of many windows as one, and the names that places in them are of.
    pub fn merged<'a>(
        windows: &[&'a Self],
    ) -> (Vec<&'a str>, impl Iterator<Item = (RowKey, Counts)> + use<'a>) {
        let names: BTreeSet<&str> = windows.iter().flat_map(|rows| &rows.names).map(|name| &**name).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let place = |name: &str| names.binary_search(&name).unwrap_or_default();
        let sources: Vec<_> = windows
            .iter()
            .map(|rows| {
                let places: Vec<Name> =
                    rows.names.iter().map(|name| Name::try_from(place(name)).unwrap_or_default()).collect();
                let place = move |name: Name| places[name as usize];
                rows.iter().map(move |(key, mut counts)| {
                    counts.template = place(counts.template);
                    (key.renamed(&place), counts)
                })
            })
            .collect();
        (names, Merged::new(sources.into_iter(), Counts::merge))
    }

    /// Requests of all rows.
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// On which there are any, in their order.
    pub fn days(&self) -> &[i64] {
        &self.days
    }

    /// By names.
    pub fn uses(&self) -> impl Iterator<Item = Use> {
        self.iter().map(|(key, counts)| Use {
            day: key.day,
            integration: key.integration(&self.names),
            template: self.names[counts.template as usize].to_string(),
            statuses: counts.statuses,
            writes: counts.writes,
            refused: counts.refused,
            hours: counts.hours.iter().collect(),
            first_seen: counts.first_seen,
            last_seen: counts.last_seen,
        })
    }

    /// Leaves out what is of an account.
    pub fn forget(&mut self, account: u64) {
        let rest: Vec<_> = self.iter().filter(|(key, _)| key.whose.account != account).collect();
        *self = Self::of(&self.names, rest.iter().map(|(key, counts)| (*key, counts)));
    }

    /// Appends all of it to bytes.
    pub fn pack(&self, out: &mut Vec<u8>) {
        put(out, self.names.len() as u64);
        self.names.iter().for_each(|name| put_bytes(out, name.as_bytes()));
        put(out, self.rows);
        self.columns.pack(out);
    }

    /// Takes it from bytes; `None` where they are none.
    pub fn unpack(bytes: &mut &[u8]) -> Option<Self> {
        let mut read = Self::default();
        for _ in 0..take(bytes)? {
            read.names.push(take_text(bytes)?.into());
        }
        (read.rows, read.columns) = (take(bytes)?, Columns::unpack(bytes)?);
        let columns = std::mem::take(&mut read.columns);
        let mut cursor = Cursor::new(&columns, read.names.len());
        for _ in 0..read.rows {
            let (key, counts) = cursor.row()?;
            read.note(key.day, &counts);
        }
        read.columns = columns;
        Some(read)
    }

    /// In their order.
    fn iter(&self) -> impl Iterator<Item = (RowKey, Counts)> + use<'_> {
        let mut cursor = Cursor::new(&self.columns, self.names.len());
        (0..self.rows).map(move |_| cursor.row().expect("bytes from outside were read when they came"))
    }

    fn note(&mut self, day: i64, counts: &Counts) {
        self.requests = self.requests.saturating_add(counts.requests());
        if self.days.last() != Some(&day) {
            self.days.push(day);
        }
    }
}

/// Of those that have names: old editions, and tests.
impl From<Vec<Use>> for Rows {
    fn from(uses: Vec<Use>) -> Self {
        let texts = |of: &Use| {
            let of_it = &of.integration;
            let credential = CredentialName::split(&of_it.credential).0.to_owned();
            let texts = [&of_it.client, &of_it.surface, &of_it.class, &of_it.network, &of.template];
            texts.map(Clone::clone).into_iter().chain([credential])
        };
        let names: Vec<String> = uses.iter().flat_map(texts).collect::<BTreeSet<_>>().into_iter().collect();
        let rows: Vec<_> = uses.iter().map(|of| row_of(of, &names)).collect();
        Self::of(&names, rows.iter().map(|(key, counts)| (*key, counts)))
    }
}

/// A row of these names.
fn row_of(of: &Use, names: &[String]) -> (RowKey, Counts) {
    let name = |text: &str| {
        let place = names.binary_search_by(|name| name.as_str().cmp(text)).unwrap_or_default();
        Name::try_from(place).unwrap_or_default()
    };
    let Integration { subject, account, client, surface, class, credential, network } = &of.integration;
    let subject = SUBJECTS.iter().position(|name| name == subject).unwrap_or(SUBJECTS.len() - 1);
    let subject = u8::try_from(subject).expect("there are three");
    let mut hours = Hours::One(0, 0);
    of.hours.iter().filter(|(hour, _)| *hour < 24).for_each(|(hour, requests)| hours.add(*hour, *requests));
    let key = RowKey {
        day: of.day,
        whose: Whose { subject, account: *account },
        client: name(client),
        surface: name(surface),
        class: name(class),
        credential: match CredentialName::split(credential) {
            (key, Some(shown)) => CredentialName::Token(name(key), shown),
            (text, None) => CredentialName::Named(name(text)),
        },
        network: NetworkName::parse(network).unwrap_or_else(|| NetworkName::Named(name(network))),
    };
    let Use { statuses, writes, refused, first_seen, last_seen, .. } = *of;
    let template = name(&of.template);
    (key, Counts { template, statuses, writes, refused, hours, first_seen, last_seen })
}

fn sum(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0, |sum, more| sum.saturating_add(*more))
}

#[cfg(test)]
mod tests;
