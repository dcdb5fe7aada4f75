//! What is said of each account that the books know: reads its hours and for which time the books are complete, and has
//! `policy::legacy_use` judge.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use rusqlite::Connection;

use crate::policy::legacy_use::activity::Activity;
use crate::policy::legacy_use::coverage::Coverage;
use crate::policy::legacy_use::verdict::{Judgement, Subject, judge};

use super::report::count_at;

/// Judges all accounts that the books know, at `now`; with when each was seen last. In Unix seconds.
pub(super) fn judge_all(books: &Connection, now: i64) -> rusqlite::Result<BTreeMap<u64, (Judgement, i64)>> {
    let coverage = coverage(books, now)?;
    let judged = accounts(books, now)?.into_iter().map(|(account, seen)| {
        let integrations: Vec<Activity> = seen.integrations.into_values().collect();
        let subject = Subject { integrations: &integrations, last_seen: seen.last, cut_at: None };
        (account, (judge(&subject, &coverage, now), seen.last))
    });
    Ok(judged.collect())
}

/// One account. An integration is a client family on a surface.
#[derive(Default)]
struct Seen {
    integrations: HashMap<(Rc<str>, Rc<str>), Activity>,
    last: i64,
}

/// How far a clock may go before that of the reader. What lies further in the future is taken to be of then.
const SKEW: i64 = 86_400;

fn accounts(books: &Connection, now: i64) -> rusqlite::Result<HashMap<u64, Seen>> {
    let mut query = books.prepare(
        "SELECT hour, account, client, surface, last_seen,
                status_1xx + status_2xx + status_3xx + status_4xx + status_5xx
         FROM legacy_use WHERE subject = 'account' ORDER BY hour",
    )?;
    let (mut accounts, mut names) = (HashMap::<u64, Seen>::new(), HashMap::<Box<str>, Rc<str>>::new());
    let mut name = |text: &str| match names.get(text) {
        Some(name) => Rc::clone(name),
        None => Rc::clone(names.entry(text.into()).or_insert_with(|| text.into())),
    };
    let latest = now.saturating_add(SKEW);
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let integration = (name(row.get_ref(2)?.as_str()?), name(row.get_ref(3)?.as_str()?));
        let seen = accounts.entry(count_at(row, 1)?).or_default();
        seen.last = seen.last.max(row.get::<_, i64>(4)?.min(latest));
        let hour = row.get::<_, i64>(0)?.clamp(0, latest.div_euclid(3600));
        seen.integrations.entry(integration).or_default().add(hour, count_at(row, 5)?);
    }
    Ok(accounts)
}

/// Requests that are missing, or that did not fit into their window in detail, could have been anybody's. Of a file that was
/// damaged or removed nothing before is known. What is said to be kept after `now` is not yet.
fn coverage(books: &Connection, now: i64) -> rusqlite::Result<Coverage> {
    let spans = |query: &str| -> rusqlite::Result<Vec<(i64, i64)>> {
        let mut query = books.prepare(query)?;
        let rows = query.query_map([now], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    };
    let written = spans("SELECT max(started_at, 0), min(ended_at, ?1) FROM writers WHERE started_at < ?1")?;
    let lost = spans(
        "SELECT coalesce(started_at, 0), min(ended_at, ?1) FROM gaps WHERE started_at IS NULL OR started_at < ?1",
    )?;
    Ok(Coverage::new(written, lost))
}
