//! What is said of each account that the books know: for which time the books are complete, and what `policy::legacy_use`
//! makes of both.

use std::collections::BTreeMap;

use rusqlite::params;

use crate::policy::ids::AccountId;
use crate::policy::legacy_use::coverage::Coverage;
use crate::policy::legacy_use::verdict::{Judgement, Subject, judge};
use crate::policy::standings::Standings;

use super::known::{Known, KnownAccount};
use super::shelf::Shelf;

/// Judges all these accounts, at `now` (Unix seconds); where they stand by the configuration, `standings` says.
pub(super) fn judge_all(
    known: &Known,
    coverage: &Coverage,
    standings: &Standings,
    now: i64,
) -> BTreeMap<u64, Judgement> {
    let judged = |(id, seen): (&u64, &KnownAccount)| {
        let account = AccountId::from_value(*id);
        let subject = Subject {
            integrations: &seen.habits,
            last_seen: seen.last_seen_by(now),
            cut_at: account.and_then(|account| standings.cut_at(account, now)),
            is_migrated: !account.is_some_and(|account| standings.is_in_shared_cell(account)),
        };
        (*id, judge(&subject, coverage, now))
    };
    known.accounts.iter().map(judged).collect()
}

/// For which time the books are complete. Requests that are missing could have been anybody's; those that are only not told
/// apart have been counted for their account. Of a file that was damaged or removed nothing before is known. What is said to
/// be kept after `now` is not yet.
pub(super) fn coverage(books: &Shelf, now: i64) -> rusqlite::Result<Coverage> {
    let spans = |query: &str| -> rusqlite::Result<Vec<(i64, i64)>> {
        books.rows(query, params![now], |row| Ok((row.get(0)?, row.get(1)?)))
    };
    let written = spans(
        "SELECT max(started_at, 0), min(ended_at, ?1) FROM coverage
         WHERE started_at < ?1 AND started_at <= ended_at",
    )?;
    let lost = spans(
        "SELECT coalesce(started_at, 0), min(ended_at, ?1) FROM gaps
         WHERE reason NOT IN ('detail', 'lost_calls') AND (started_at IS NULL OR started_at < ?1)",
    )?;
    Ok(Coverage::new(written, lost))
}
