//! The integrations of one month as one thread reads them, packed: a fleet has millions of rows, and most of them many days.

use std::collections::{BTreeSet, HashMap};

use crate::policy::legacy_use::activity::Day;

use super::days::DAYS;
use super::month::Month;
use super::renamed::NewestNames;
use super::shelf::{Reading, Row};

/// What is read, in the order that [`SeenInMonth::add`] expects.
pub(super) const COLUMNS: &str =
    "subject, account, client, surface, class, credential, first_seen, last_seen, days";

/// All rows of a month.
#[derive(Debug, Default)]
pub(super) struct SeenInMonth {
    /// In days since the Unix epoch.
    first_day: i64,
    /// Of accounts, as they came.
    pub rows: Vec<Seen>,
    /// Client families, surfaces and endpoint classes, each once, and where they are in the order in which they came.
    names: HashMap<Box<str>, u32>,
    /// Of all rows, one after the other: nearly every row has its own.
    credentials: String,
    /// Hours and requests of all rows, one after the other.
    days: Vec<(u32, u32)>,
    /// By day of the month, where anybody came: all requests, and those of no account.
    requests: [Option<(u64, u64)>; DAYS],
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub account: u64,
    /// Client family, surface and endpoint class; places in the names of the month, and after [`name`] of all months.
    pub names: [u32; 3],
    /// Unix seconds.
    pub first_seen: i64,
    /// Unix seconds.
    pub last_seen: i64,
    /// Where its credential is.
    credential: (usize, usize),
    /// A bit for each day of the month on which it was seen, and where the first of them is.
    on: u32,
    first: usize,
}

impl SeenInMonth {
    /// Adds a row; credentials by their newest names.
    pub fn add(&mut self, month: Month, row: &Row<'_>, newest: &NewestNames) -> Reading<()> {
        self.first_day = month.first_day();
        let is_account = row.text(0)? == "account";
        let (mut on, first) = (0, self.days.len());
        for day in row.days(8)?.seen(self.first_day) {
            let at = usize::try_from(day.day - self.first_day).expect("a day of the month");
            let (all, of_nobody) = self.requests[at].get_or_insert_default();
            *all = all.saturating_add(day.requests);
            if is_account {
                on |= 1 << at;
                // As the books have it.
                self.days.push((day.hours, u32::try_from(day.requests).unwrap_or(u32::MAX)));
            } else {
                *of_nobody = of_nobody.saturating_add(day.requests);
            }
        }
        if is_account {
            let names = [self.name(row.text(2)?), self.name(row.text(3)?), self.name(row.text(4)?)];
            let start = self.credentials.len();
            self.credentials.push_str(newest.newest(row.count(1)?, row.text(5)?));
            self.rows.push(Seen {
                account: row.count(1)?,
                names,
                first_seen: row.int(6)?,
                last_seen: row.int(7)?,
                credential: (start, self.credentials.len()),
                on,
                first,
            });
        }
        Ok(())
    }

    /// By day, in days since the Unix epoch: all requests, and those of no account.
    pub fn requests(&self) -> impl Iterator<Item = (i64, (u64, u64))> {
        (self.first_day..).zip(&self.requests).filter_map(|(day, requests)| Some((day, (*requests)?)))
    }

    /// What tells the habit apart that a row is of: client family, surface and credential.
    pub fn habit(&self, of: &Seen) -> (u32, u32, &str) {
        (of.names[0], of.names[1], &self.credentials[of.credential.0..of.credential.1])
    }

    /// The days of a row, in order.
    pub fn days(&self, of: &Seen) -> impl Iterator<Item = Day> {
        let (on, first_day) = (of.on, self.first_day);
        let days = (0..u32::BITS).filter(move |day| on >> day & 1 == 1).zip(&self.days[of.first..]);
        days.map(move |(day, (hours, requests))| Day {
            day: first_day + i64::from(day),
            hours: *hours,
            requests: u64::from(*requests),
        })
    }

    /// On how many days a row was seen.
    pub fn many_days(of: &Seen) -> usize {
        of.on.count_ones() as usize
    }

    fn name(&mut self, name: &str) -> u32 {
        if let Some(place) = self.names.get(name) {
            return *place;
        }
        let place = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.insert(name.into(), place);
        place
    }
}

/// Gives names the same places in all months; all names, in their order.
pub(super) fn name(months: &mut [SeenInMonth]) -> Vec<Box<str>> {
    let all: BTreeSet<Box<str>> = months.iter().flat_map(|month| month.names.keys().cloned()).collect();
    let all: Vec<_> = all.into_iter().collect();
    for month in months {
        let mut places = vec![0; month.names.len()];
        for (name, place) in &month.names {
            let in_all = all.binary_search(name).unwrap_or_default();
            places[*place as usize] = u32::try_from(in_all).unwrap_or(u32::MAX);
        }
        for row in &mut month.rows {
            row.names = row.names.map(|name| places[name as usize]);
        }
    }
    all
}
