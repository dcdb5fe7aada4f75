//! What is said of each account that the books know: for which time the books are complete, and what `policy::legacy_use`
//! makes of both.

use std::collections::BTreeMap;

use crate::policy::legacy_use::coverage::Coverage;
use crate::policy::legacy_use::verdict::{Judgement, Subject, judge};

use super::known::{Known, KnownAccount};
use super::shelf::{Reading, Shelf};

/// Judges all these accounts, at `now` (Unix seconds).
pub(super) fn judge_all(known: &Known, coverage: &Coverage, now: i64) -> BTreeMap<u64, Judgement> {
    known.accounts.iter().map(|(account, seen)| (*account, judge_one(seen, coverage, now))).collect()
}

fn judge_one(seen: &KnownAccount, coverage: &Coverage, now: i64) -> Judgement {
    let subject = Subject { integrations: &seen.habits, last_seen: seen.last_seen_by(now), cut_at: None };
    judge(&subject, coverage, now)
}

/// For which time the books are complete. Requests that are missing could have been anybody's; those that are only not told
/// apart have been counted for their account. Of a file that was damaged or removed nothing before is known. What is said to
/// be kept after `now` is not yet.
pub(super) fn coverage(books: &Shelf, now: i64) -> Reading<Coverage> {
    let spans =
        |query: &str| books.rows(query, &[Some(now)], |row| Ok((row.int(0)?.max(0), row.int(1)?.min(now))));
    let written =
        spans("SELECT started_at, ended_at FROM coverage WHERE started_at < ?1 AND started_at <= ended_at")?;
    let lost = spans(
        "SELECT coalesce(started_at, 0), ended_at FROM gaps
         WHERE reason NOT IN ('detail', 'lost_calls') AND (started_at IS NULL OR started_at < ?1)",
    )?;
    Ok(Coverage::new(written, lost))
}
