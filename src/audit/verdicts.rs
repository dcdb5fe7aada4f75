//! What is said of each account that the books know: reads on which days it came and for which time the books are complete,
//! and has `policy::legacy_use` judge.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use rusqlite::params;

use crate::policy::ids::AccountId;
use crate::policy::legacy_use::activity::Activity;
use crate::policy::legacy_use::coverage::Coverage;
use crate::policy::legacy_use::verdict::{Judgement, Subject, judge};

use super::days::Days;
use super::shelf::{Shelf, count_at};

/// An account and what is said of it.
#[derive(Debug)]
pub(super) struct Judged {
    pub judgement: Judgement,
    /// Unix seconds.
    pub first_seen: i64,
    /// Unix seconds.
    pub last_seen: i64,
}

/// Judges all accounts that the books know, or only one of them, at `now` (Unix seconds).
pub(super) fn judge_all(
    books: &Shelf,
    only: Option<AccountId>,
    now: i64,
) -> rusqlite::Result<BTreeMap<u64, Judged>> {
    let coverage = coverage(books, now)?;
    let judged = accounts(books, only, now)?.into_iter().map(|(account, seen)| {
        let integrations: Vec<Activity> = seen.integrations.into_values().collect();
        let last_seen = seen.last.min(latest(now));
        let subject = Subject { integrations: &integrations, last_seen, cut_at: None };
        let judgement = judge(&subject, &coverage, now);
        (account, Judged { judgement, first_seen: seen.first, last_seen: seen.last })
    });
    Ok(judged.collect())
}

/// One account. Who runs a program knows its networks and endpoints as one: an integration is here what comes with one
/// credential, a client family on a surface.
struct Seen {
    integrations: HashMap<[Rc<str>; 3], Activity>,
    first: i64,
    last: i64,
}

impl Default for Seen {
    fn default() -> Self {
        Self { integrations: HashMap::new(), first: i64::MAX, last: 0 }
    }
}

/// How far a clock may go before that of the reader. What lies further in the future is taken to be of then.
const SKEW: i64 = 86_400;

fn latest(now: i64) -> i64 {
    now.saturating_add(SKEW)
}

fn accounts(books: &Shelf, only: Option<AccountId>, now: i64) -> rusqlite::Result<HashMap<u64, Seen>> {
    let (mut accounts, mut names) = (HashMap::<u64, Seen>::new(), HashMap::<Box<str>, Rc<str>>::new());
    let mut name = |text: &str| match names.get(text) {
        Some(name) => Rc::clone(name),
        None => Rc::clone(names.entry(text.into()).or_insert_with(|| text.into())),
    };
    let last_day = latest(now).div_euclid(86_400);
    let only = only.map(|account| account.value() as i64);
    for (month, file) in books.months() {
        let mut query = file.prepare(
            "SELECT account, client, surface, credential, first_seen, last_seen, days FROM integrations
             WHERE subject = 'account' AND (?1 IS NULL OR account = ?1)",
        )?;
        let mut rows = query.query(params![only])?;
        while let Some(row) = rows.next()? {
            let text = |column: usize| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
            let integration = [name(text(1)?), name(text(2)?), name(text(3)?)];
            let seen = accounts.entry(count_at(row, 0)?).or_default();
            seen.first = seen.first.min(row.get(4)?);
            seen.last = seen.last.max(row.get(5)?);
            let activity = seen.integrations.entry(integration).or_default();
            let days = Days::of_bytes(row.get_ref(6)?.as_blob()?);
            for mut day in days.seen(month.first_day()) {
                day.day = day.day.clamp(0, last_day);
                activity.merge(day);
            }
        }
    }
    Ok(accounts)
}

/// Requests that are missing could have been anybody's; those that are only not told apart have been counted for their
/// account. Of a file that was damaged or removed nothing before is known. What is said to be kept after `now` is not yet.
fn coverage(books: &Shelf, now: i64) -> rusqlite::Result<Coverage> {
    let spans = |query: &str| -> rusqlite::Result<Vec<(i64, i64)>> {
        books.rows(query, params![now], |row| Ok((row.get(0)?, row.get(1)?)))
    };
    let written = spans("SELECT max(started_at, 0), min(ended_at, ?1) FROM coverage WHERE started_at < ?1")?;
    let lost = spans(
        "SELECT coalesce(started_at, 0), min(ended_at, ?1) FROM gaps
         WHERE reason <> 'detail' AND (started_at IS NULL OR started_at < ?1)",
    )?;
    Ok(Coverage::new(written, lost))
}
