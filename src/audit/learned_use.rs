//! Reads from the books what learned credentials placed: requests that a replica which has learned nothing could
//! not have placed. Which of them a table knows by now is not said here: the books do not know the tables.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::report::{ReportError, ask, count_at};

/// What learned credentials placed on legacy hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LearnedUse {
    /// Unix seconds: the beginning of the first day that is counted.
    pub since: i64,
    /// Unix seconds: when the counting began; `None` when the books were never written by an edition that counts.
    pub kept_since: Option<i64>,
    /// Requests by fingerprint, in hexadecimal digits as tables have it.
    pub by_credential: BTreeMap<String, u64>,
    /// Requests of credentials that were not told apart, because there were too many.
    pub without_detail: u64,
    /// All requests on legacy hosts since then.
    pub requests: u64,
}

/// Answers from the books in a state folder; `since`, in Unix seconds, is taken as the day in which it lies.
///
/// # Errors
/// There is no file, or it cannot be read.
pub fn read(folder: &Path, since: i64) -> Result<LearnedUse, ReportError> {
    ask(folder, |books| answer(books, since.div_euclid(DAY)))
}

/// Seconds.
const DAY: i64 = 86_400;

fn answer(books: &Connection, day: i64) -> rusqlite::Result<LearnedUse> {
    let mut found = LearnedUse { since: day * DAY, ..LearnedUse::default() };
    // The second version of the schema is the first that counts.
    let counting = "SELECT applied_at FROM schema_version WHERE version = 2";
    let Some(counting) = books.query_row(counting, [], |row| row.get::<_, i64>(0)).optional()? else {
        return Ok(found);
    };
    let first: Option<i64> = books.query_row("SELECT min(started_at) FROM writers", [], |row| row.get(0))?;
    found.kept_since = first.map(|first| first.max(counting));
    found.requests = books.query_row(
        "SELECT coalesce(sum(status_1xx + status_2xx + status_3xx + status_4xx + status_5xx), 0)
         FROM legacy_use WHERE hour >= ?1",
        [day * 24],
        |row| count_at(row, 0),
    )?;
    let mut query = books
        .prepare("SELECT fingerprint, sum(requests) FROM learned_use WHERE day >= ?1 GROUP BY fingerprint")?;
    let rows = query.query_map([day], |row| Ok((row.get::<_, String>(0)?, count_at(row, 1)?)))?;
    for row in rows {
        let (fingerprint, requests) = row?;
        if fingerprint.is_empty() {
            found.without_detail = requests;
        } else {
            found.by_credential.insert(fingerprint, requests);
        }
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::super::BOOKS_FILE;
    use super::super::store::{Sealed, Store};
    use super::super::tally::Window;
    use super::*;
    use crate::policy::credential::Fingerprint;
    use crate::policy::decide::Source;
    use crate::telemetry::fixture::{legacy_event, snapshot};
    use crate::telemetry::wall_time::unix_seconds;

    /// One day has two requests of 07.., the next three of 07.. and one of 08..; both one that the path placed.
    fn books(folder: &Path) -> i64 {
        let snapshot = snapshot(1);
        let start = unix_seconds(legacy_event(&snapshot).started);
        let mut store = Store::open(folder).unwrap();
        for (number, sent) in [(1, &[7, 7, 0][..]), (2, &[7, 7, 7, 8, 0])] {
            let mut window = Window::new(start);
            for byte in sent {
                let mut event = legacy_event(&snapshot);
                event.started += Duration::from_secs(86_400 * (number - 1));
                let decision = event.decision.as_mut().unwrap();
                if *byte > 0 {
                    decision.source = Source::Credential;
                    decision.learned = Some(Fingerprint([*byte; 16]));
                    decision.credential_known = true;
                }
                assert!(window.count(&event));
            }
            let number = i64::try_from(number).unwrap();
            store.write("a", &Sealed { number, ended_at: start + number, missed: 0, window }).unwrap();
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
        for (counting, kept) in [(start + 100, start + 100), (start - 100, start)] {
            let books = Connection::open(folder.path().join(BOOKS_FILE)).unwrap();
            books.execute("UPDATE schema_version SET applied_at = ?1 WHERE version = 2", [counting]).unwrap();
            let found = read(folder.path(), start).unwrap().kept_since;
            assert_eq!(found, Some(kept), "not before the books, nor before the counting");
        }
        let late = read(folder.path(), start + DAY).unwrap();
        assert_eq!((late.by_credential, late.requests), (expect(3), 5));
    }

    #[test]
    fn a_week_is_kept_and_not_much_more() {
        let folder = tempfile::tempdir().unwrap();
        let start = books(folder.path());
        for (days, kept) in [(9, 6), (10, 4), (11, 0)] {
            let mut store = Store::open(folder.path()).unwrap();
            store.prune(start + days * DAY).unwrap();
            let sum: u64 = read(folder.path(), start).unwrap().by_credential.values().sum();
            assert_eq!(sum, kept, "after {days} days");
        }
    }

    #[test]
    fn books_of_an_edition_that_did_not_count_say_so() {
        let folder = tempfile::tempdir().unwrap();
        let start = books(folder.path());
        let earlier = Connection::open(folder.path().join(BOOKS_FILE)).unwrap();
        earlier
            .execute_batch(
                "DELETE FROM schema_version WHERE version >= 2; DROP TABLE learned_use; DROP TABLE cell_use",
            )
            .unwrap();
        assert_eq!(read(folder.path(), start).unwrap().kept_since, None);
        Store::open(folder.path()).unwrap();
        assert!(
            read(folder.path(), start).unwrap().kept_since.is_some(),
            "the next start brings it up to date"
        );
    }
}
