//! Writes legacy requests, and what the account table says of those who made them, into the file of their month: each row of
//! several windows once, in the order of the tables.

use rusqlite::{CachedStatement, OptionalExtension, Transaction, params};

use super::super::days::Days;
use super::super::frame::Frame;
use super::super::merged::Merged;
use super::super::month::Month;
use super::super::rows::{Counts, Hours, RowKey, Rows};
use super::file::to_i64;

/// Writes the rows that windows have of this month; how many they are together.
pub(super) fn write(transaction: &Transaction<'_>, frames: &[&Frame], month: Month) -> rusqlite::Result<u64> {
    let mut written = 0;
    let windows: Vec<&Rows> = frames.iter().map(|frame| &frame.uses).collect();
    let days = month.first_day()..month.next().first_day();
    let (names, rows) = Rows::merged(&windows);
    let mut tables = Tables::of(transaction, days.start)?;
    for (key, counts) in rows.filter(|(key, _)| days.contains(&key.day)) {
        let integration = tables.integration(transaction, &names, &key, &counts)?;
        tables.add(transaction, key.day, integration, &counts)?;
        written += 1;
    }
    Ok(written)
}

/// Writes what the account table said of accounts.
pub(super) fn write_accounts(transaction: &Transaction<'_>, frames: &[&Frame]) -> rusqlite::Result<()> {
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO accounts (account, prefix, cell, seen_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (account) DO UPDATE
         SET prefix = excluded.prefix, cell = excluded.cell, seen_at = excluded.seen_at
         WHERE (excluded.seen_at, excluded.cell, coalesce(excluded.prefix, '')) > (seen_at, cell, coalesce(prefix, ''))",
    )?;
    let windows = frames.iter().map(|frame| {
        let ended_at = frame.ended_at;
        frame.accounts.iter().map(move |(id, (cell, prefix))| (id, (ended_at, cell, prefix)))
    });
    for (id, (seen_at, cell, prefix)) in Merged::new(windows, |newest, other| *newest = other.max(*newest)) {
        upsert.execute(params![to_i64(id), prefix, cell, seen_at])?;
    }
    Ok(())
}

/// Statements that are asked for each row: looking one up in the cache costs as much as a part of it.
struct Tables<'a> {
    first_day: i64,
    find: CachedStatement<'a>,
    update: CachedStatement<'a>,
    insert: CachedStatement<'a>,
    /// By the hour that they add to.
    add: [Option<CachedStatement<'a>>; 24],
}

impl<'a> Tables<'a> {
    fn of(transaction: &'a Transaction<'_>, first_day: i64) -> rusqlite::Result<Self> {
        Ok(Self {
            first_day,
            find: transaction.prepare_cached(
                "SELECT id, days FROM integrations WHERE subject = ?1 AND account = ?2 AND client = ?3 AND surface = ?4
                     AND class = ?5 AND credential = ?6 AND network = ?7",
            )?,
            update: transaction.prepare_cached(
                "UPDATE integrations SET template = min(template, ?2), first_seen = min(first_seen, ?3),
                     last_seen = max(last_seen, ?4), days = ?5 WHERE id = ?1",
            )?,
            insert: transaction.prepare_cached(
                "INSERT INTO integrations (subject, account, client, surface, class, credential, network,
                     template, first_seen, last_seen, days) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?,
            add: Default::default(),
        })
    }

    /// The id of an integration, with the days of this row added.
    fn integration(
        &mut self,
        transaction: &Transaction<'_>,
        names: &[&str],
        key: &RowKey,
        counts: &Counts,
    ) -> rusqlite::Result<i64> {
        let (subject, account) = (key.whose.subject(), to_i64(key.whose.account()));
        let [client, surface, class, template] =
            [key.client, key.surface, key.class, counts.template].map(|name| names[name as usize]);
        let (credential, network) = (key.credential.text(names), key.network.text(names));
        let of = params![subject, account, client, surface, class, credential, network];
        let known = self.find.query_row(of, |found| Ok((found.get(0)?, days(found.get_ref(1)?.as_blob()?))));
        let (id, mut days) =
            known.optional()?.map_or((None, [0; Days::BYTES]), |(id, days)| (Some(id), days));
        Days::add_to_bytes(&mut days, key.day - self.first_day, counts.hours.iter());
        let (first_seen, last_seen) = (counts.first_seen, counts.last_seen);
        if let Some(id) = id {
            self.update.execute(params![id, template, first_seen, last_seen, days])?;
            return Ok(id);
        }
        self.insert.execute(params![
            subject, account, client, surface, class, credential, network, template, first_seen, last_seen,
            days
        ])?;
        Ok(transaction.last_insert_rowid())
    }

    fn add(
        &mut self,
        transaction: &'a Transaction<'_>,
        day: i64,
        integration: i64,
        counts: &Counts,
    ) -> rusqlite::Result<()> {
        let [one, two, three, four, five] = counts.statuses.map(to_i64);
        let mut sums = [one, two, three, four, five, to_i64(counts.writes), to_i64(counts.refused)];
        // A row without an hour has sums all the same.
        let none = Hours::One(0, 0);
        let hours = if counts.hours.iter().next().is_some() { &counts.hours } else { &none };
        let (first, rest) = match hours {
            Hours::One(hour, requests) => ((*hour, *requests), Vec::new()),
            Hours::More(_) => {
                let mut hours = hours.iter();
                (hours.next().unwrap_or_default(), hours.collect())
            }
        };
        for (hour, requests) in std::iter::once(first).chain(rest) {
            let add = match &mut self.add[usize::from(hour)] {
                Some(add) => add,
                none => none.insert(transaction.prepare_cached(&add_in(hour))?),
            };
            let [one, two, three, four, five, writes, refused] = std::mem::take(&mut sums);
            let requests = to_i64(requests);
            add.execute(params![day, integration, one, two, three, four, five, writes, refused, requests])?;
        }
        Ok(())
    }
}

fn days(bytes: &[u8]) -> [u8; Days::BYTES] {
    let mut days = [0; Days::BYTES];
    days.iter_mut().zip(bytes).for_each(|(day, byte)| *day = *byte);
    days
}

/// Adds to the sums of a day, and to those of one of its hours.
fn add_in(hour: u8) -> String {
    let hours: Vec<_> = (0..24).map(|of| if of == hour { "?10" } else { "0" }).collect();
    let hours = hours.join(", ");
    format!(
        "INSERT INTO use_by_day VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, {hours})
         ON CONFLICT (day, integration) DO UPDATE SET
             status_1xx = status_1xx + ?3, status_2xx = status_2xx + ?4, status_3xx = status_3xx + ?5,
             status_4xx = status_4xx + ?6, status_5xx = status_5xx + ?7,
             writes = writes + ?8, refused = refused + ?9, h{hour:02} = h{hour:02} + ?10"
    )
}
