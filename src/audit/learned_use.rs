//! Reads from the books what learned credentials placed: requests that a replica which has learned nothing could
//! not have placed. Which of them a table knows by now is not said here: the books do not know the tables.

use super::shelf::{Reading, ReportError, Shelf, Source, ask};
use std::collections::BTreeMap;

/// What learned credentials placed on legacy hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LearnedUse {
    /// Unix seconds: the beginning of the first day that is counted.
    pub since: i64,
    /// Unix seconds: when the counting began; `None` when the books were never written.
    pub kept_since: Option<i64>,
    /// Requests by fingerprint, in hexadecimal digits as tables have it.
    pub by_credential: BTreeMap<String, u64>,
    /// Requests of credentials that were not told apart, because there were too many.
    pub without_detail: u64,
    /// All requests on legacy hosts since then.
    pub requests: u64,
}

/// Answers from the books; `since`, in Unix seconds, is taken as the day in which it lies.
///
/// # Errors
/// There are none, or they cannot be read.
pub fn read<'a>(books: impl Into<Source<'a>>, since: i64) -> Result<LearnedUse, ReportError> {
    ask(books, |books| answer(books, since.div_euclid(DAY)))
}

/// Seconds.
const DAY: i64 = 86_400;

fn answer(books: &Shelf, day: i64) -> Reading<LearnedUse> {
    let mut found = LearnedUse { since: day * DAY, ..LearnedUse::default() };
    let first = books.rows("SELECT min(started_at) FROM coverage", &[], |row| row.int_if_any(0))?;
    found.kept_since = first.into_iter().flatten().min();
    let requests = "SELECT CAST(coalesce(sum(status_1xx + status_2xx + status_3xx + status_4xx + status_5xx), 0) AS BIGINT)
         FROM use_by_day WHERE day >= ?1";
    found.requests = books.rows(requests, &[Some(day)], |row| row.count(0))?.into_iter().sum();
    let learned = "SELECT fingerprint, CAST(sum(requests) AS BIGINT) FROM learned_use WHERE day >= ?1 GROUP BY fingerprint";
    for (fingerprint, requests) in
        books.rows(learned, &[Some(day)], |row| Ok((row.text(0)?.to_owned(), row.count(1)?)))?
    {
        if fingerprint.is_empty() {
            found.without_detail += requests;
        } else {
            *found.by_credential.entry(fingerprint).or_default() += requests;
        }
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::store::Store;
    use super::super::window::tests::window;
    use super::*;
    use crate::policy::credential::Fingerprint;
    use crate::policy::decide::Source;
    use crate::telemetry::fixture::{legacy_event, snapshot};
    use crate::telemetry::wall_time::unix_seconds;

    /// One day has two requests of 07.., the next three of 07.. and one of 08..; both one that the path placed.
    fn books(folder: &Path) -> i64 {
        let snapshot = snapshot(1);
        let start = unix_seconds(legacy_event(&snapshot).started);
        let mut store = Store::new(folder);
        for (number, sent) in [(1, &[7, 7, 0][..]), (2, &[7, 7, 7, 8, 0])] {
            let mut events = Vec::new();
            for byte in sent {
                let mut event = legacy_event(&snapshot);
                event.started += Duration::from_secs(86_400 * (number - 1));
                let decision = event.decision.as_mut().unwrap();
                if *byte > 0 {
                    decision.source = Source::Credential;
                    decision.learned = Some(Fingerprint([*byte; 16]));
                    decision.credential_known = true;
                }
                events.push(event);
            }
            let number = i64::try_from(number).unwrap();
            store.write(&window(start, &events).frame("a", number, start + number), start).unwrap();
        }
        start
    }

    #[test]
    fn what_learned_credentials_placed_adds_up_by_credential_since_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let start = books(folder.path());
        let (seven, eight) = ("07".repeat(16), "08".repeat(16));
        let all = read(folder.path(), start).unwrap();
        let expect = |seven_times| BTreeMap::from([(seven.clone(), seven_times), (eight.clone(), 1)]);
        assert_eq!((all.by_credential, all.without_detail, all.requests), (expect(5), 0, 8));
        assert_eq!(all.since, start - start % DAY);
        assert_eq!(all.kept_since, Some(start));
        let late = read(folder.path(), start + DAY).unwrap();
        assert_eq!((late.by_credential, late.requests), (expect(3), 5));
    }

    #[test]
    fn a_week_is_kept_and_not_much_more() {
        let folder = tempfile::tempdir().unwrap();
        let start = books(folder.path());
        for (days, kept) in [(9, 6), (10, 4), (11, 0)] {
            let mut store = Store::new(folder.path());
            // Opens the month.
            store.write(&window(start, &[]).frame("b", days, start + 1), start).unwrap();
            store.prune(start + days * DAY).unwrap();
            let sum: u64 = read(folder.path(), start).unwrap().by_credential.values().sum();
            assert_eq!(sum, kept, "after {days} days");
        }
    }
}
