//! Reads the books: who still uses the legacy hosts. Opens the file read-only, also while the proxy
//! writes it. Returns values; printing them is `render`'s matter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use crate::policy::ids::AccountId;
use crate::policy::legacy_use::verdict::{Judgement, Verdict};
use crate::telemetry::labels::CLASSES;

use super::BOOKS_FILE;
use super::recipes::Recipe;
use super::store::{COUNTS_CELL_HOSTS, StoreError, check_version};
use super::verdicts::judge_all;

/// The proxy's windows take milliseconds to write; a checkpoint somewhat longer.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// What to report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Unix seconds: requests since then. The books have hours, so it is the hour in which it lies.
    pub since: i64,
    /// Only this account.
    pub account: Option<AccountId>,
    /// Also accounts that were not seen since then, as far as the books know them.
    pub all: bool,
    /// Unix seconds: verdicts are as of this moment.
    pub now: i64,
}

/// What the books know.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Unix seconds: the beginning of the first hour that is counted.
    pub since: i64,
    /// Unix seconds: the first moment that any books cover; `None` when nothing was ever written.
    pub kept_since: Option<i64>,
    /// Unix seconds: the books are complete up to here.
    pub written_at: Option<i64>,
    /// Only this account was asked for.
    pub only: Option<u64>,
    /// Accounts that were seen, those with the most requests first.
    pub accounts: Vec<AccountUsage>,
    /// How many of all accounts that the books know have each verdict, whenever they were seen.
    pub verdicts: BTreeMap<Verdict, usize>,
    /// Requests in which nothing named an account.
    pub unattributed: Usage,
    /// Requests that named an account without a row.
    pub unmapped: Usage,
    /// Requests that were counted without detail, because there were too many different ones.
    pub overflow: Usage,
    /// What is missing.
    pub gaps: Vec<GapLine>,
}

/// Legacy use of one account.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountUsage {
    /// Its id.
    pub account: u64,
    /// Its prefix, where it has one.
    pub prefix: Option<String>,
    /// Where it lived when it was last seen.
    pub cell: Option<String>,
    /// What it did.
    pub usage: Usage,
    /// What is said of it.
    pub judged: Judgement,
}

/// Requests of one account or bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// By status class, 1xx to 5xx.
    pub statuses: [u64; CLASSES.len()],
    /// Unix seconds; 0 where there was no request in the time that is asked for.
    pub first_seen: i64,
    /// Unix seconds; also before that time.
    pub last_seen: i64,
    /// By client family and surface, the most requests first.
    pub clients: Vec<ClientUsage>,
}

/// Requests of one client family on one surface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientUsage {
    /// Client family.
    pub client: String,
    /// Surface.
    pub surface: String,
    /// How many.
    pub requests: u64,
    /// Unix seconds.
    pub last_seen: i64,
    /// The path template of one of them.
    pub endpoint: String,
    /// What its owner has to change, where [`recipes::add`](super::recipes::add) knows it.
    pub recipe: Option<Recipe>,
}

/// Something that the books miss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapLine {
    /// Unix seconds.
    pub ended_at: i64,
    /// `queue_full`, `overflow`, `damaged`, `removed`.
    pub reason: String,
    /// How many requests, where known.
    pub requests: Option<u64>,
    /// For people.
    pub note: Option<String>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// No file.
    #[error(
        "there are no books at {0}: name the proxy's state folder with --state-dir, and check that the proxy \
         has been started with it"
    )]
    Missing(PathBuf),
    /// No permission, damage.
    #[error(
        "the books at {0} cannot be read: run the report as the proxy's own user; if the file is damaged, \
         the proxy moves it aside at its next write"
    )]
    Unreadable(PathBuf, #[source] rusqlite::Error),
    /// A later edition wrote it.
    #[error("the books at {0} were written by a newer cellgate: use that one for the report ({1})")]
    Newer(PathBuf, String),
}

/// Answers a question from the books in a state folder.
///
/// # Errors
/// There is no file, or it cannot be read.
pub fn read(folder: &Path, question: Question) -> Result<Report, ReportError> {
    ask(folder, |books| answer(books, question))
}

/// Requests of each account, on legacy and on cell hosts together, by account. `since`, in Unix seconds, is taken as the
/// day in which it lies: cell hosts are counted by days, and one side must not have more of them than the other.
///
/// # Errors
/// There is no file, or it cannot be read.
pub fn requests_by_account(folder: &Path, since: i64) -> Result<Vec<(AccountId, u64)>, ReportError> {
    let day = since.div_euclid(86_400);
    ask(folder, |books| {
        let mut sums = BTreeMap::new();
        let legacy = "SELECT account, sum(status_1xx + status_2xx + status_3xx + status_4xx + status_5xx)
             FROM legacy_use WHERE hour >= ?1 * 24 AND subject = 'account' GROUP BY account";
        let cell_hosts = "SELECT account, sum(requests) FROM cell_use WHERE day >= ?1 GROUP BY account";
        let counts_both = check_version(books).is_ok_and(|version| version >= COUNTS_CELL_HOSTS);
        for query in [Some(legacy), counts_both.then_some(cell_hosts)].into_iter().flatten() {
            let mut query = books.prepare(query)?;
            let mut rows = query.query([day])?;
            while let Some(row) = rows.next()? {
                if let Some(account) = AccountId::from_value(count_at(row, 0)?) {
                    *sums.entry(account).or_default() += count_at(row, 1)?;
                }
            }
        }
        Ok(sums.into_iter().collect())
    })
}

/// Asks the file in a state folder for something, all of it as of one moment.
pub(super) fn ask<T>(
    folder: &Path,
    answer: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, ReportError> {
    let path = folder.join(BOOKS_FILE);
    if !path.exists() {
        return Err(ReportError::Missing(path));
    }
    let unreadable = |error| ReportError::Unreadable(path.clone(), error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&path, flags).map_err(unreadable)?;
    connection.busy_timeout(BUSY_PATIENCE).map_err(unreadable)?;
    // One transaction: all numbers are of the same moment.
    let transaction = connection.transaction().map_err(unreadable)?;
    match check_version(&transaction) {
        Ok(_) => {}
        Err(StoreError::Sqlite(error)) => return Err(unreadable(error)),
        Err(error) => return Err(ReportError::Newer(path, error.to_string())),
    }
    answer(&transaction).map_err(unreadable)
}

impl Usage {
    /// All requests.
    pub fn requests(&self) -> u64 {
        self.statuses.iter().sum()
    }

    /// Requests by client family over all surfaces, the most first.
    pub fn families(&self) -> Vec<(&str, u64)> {
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for client in &self.clients {
            *sums.entry(&client.client).or_default() += client.requests;
        }
        let mut families: Vec<_> = sums.into_iter().collect();
        families.sort_by_key(|(_, requests)| std::cmp::Reverse(*requests));
        families
    }

    /// Of who was seen last so long ago that nothing of it is asked for.
    fn silent(last_seen: i64) -> Self {
        Self { last_seen, ..Self::default() }
    }

    fn add(&mut self, line: &Line) {
        if self.clients.is_empty() || line.first_seen < self.first_seen {
            self.first_seen = line.first_seen;
        }
        self.last_seen = self.last_seen.max(line.client.last_seen);
        for (sum, count) in self.statuses.iter_mut().zip(line.statuses) {
            *sum += count;
        }
        self.clients.push(line.client.clone());
    }
}

impl Report {
    /// Requests of all accounts and buckets.
    pub fn requests(&self) -> u64 {
        let accounts = self.accounts.iter().map(|account| account.usage.requests());
        let others = [&self.unattributed, &self.unmapped, &self.overflow].map(Usage::requests);
        accounts.chain(others).sum()
    }
}

/// One row of the answer: a subject's use by one client on one surface.
struct Line {
    subject: String,
    account: u64,
    statuses: [u64; CLASSES.len()],
    first_seen: i64,
    client: ClientUsage,
}

fn answer(books: &Connection, question: Question) -> rusqlite::Result<Report> {
    let hour = question.since.div_euclid(3600);
    let (kept_since, written_at) =
        books.query_row("SELECT min(started_at), max(ended_at) FROM writers", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let mut report = Report {
        since: hour * 3600,
        kept_since,
        written_at,
        only: question.account.map(AccountId::value),
        accounts: Vec::new(),
        verdicts: BTreeMap::new(),
        unattributed: Usage::default(),
        unmapped: Usage::default(),
        overflow: Usage::default(),
        gaps: gaps(books, hour * 3600)?,
    };
    let mut judged = judge_all(books, question.now)?;
    for (judged, _) in judged.values() {
        *report.verdicts.entry(judged.verdict).or_default() += 1;
    }
    let mut accounts: BTreeMap<u64, Usage> = BTreeMap::new();
    if question.all || question.account.is_some() {
        let asked = judged.iter().filter(|(id, _)| report.only.is_none_or(|only| only == **id));
        accounts.extend(asked.map(|(account, (_, last))| (*account, Usage::silent(*last))));
    }
    for line in lines(books, hour, question.account)? {
        match line.subject.as_str() {
            "account" => accounts.entry(line.account).or_default().add(&line),
            "unattributed" => report.unattributed.add(&line),
            "unmapped" => report.unmapped.add(&line),
            // The schema admits these four.
            _ => report.overflow.add(&line),
        }
    }
    for (account, usage) in accounts {
        let facts = facts(books, account)?;
        let (prefix, cell) = facts.map_or((None, None), |(prefix, cell)| (prefix, Some(cell)));
        // Both are read in one transaction, so whoever has a line has a verdict.
        let Some((judged, _)) = judged.remove(&account) else { continue };
        report.accounts.push(AccountUsage { account, prefix, cell, usage, judged });
    }
    report.accounts.sort_by_key(|account| std::cmp::Reverse(account.usage.requests()));
    Ok(report)
}

fn lines(books: &Connection, hour: i64, only: Option<AccountId>) -> rusqlite::Result<Vec<Line>> {
    let mut query = books.prepare(
        "SELECT subject, account, client, surface,
                sum(status_1xx), sum(status_2xx), sum(status_3xx), sum(status_4xx), sum(status_5xx),
                min(first_seen), max(last_seen), max(endpoint)
         FROM legacy_use
         WHERE hour >= ?1 AND (?2 IS NULL OR (subject = 'account' AND account = ?2))
         GROUP BY subject, account, client, surface
         ORDER BY sum(status_1xx + status_2xx + status_3xx + status_4xx + status_5xx) DESC",
    )?;
    let only = only.map(|account| account.value() as i64);
    let rows = query.query_map(params![hour, only], |row| {
        let mut statuses = [0; CLASSES.len()];
        for (position, count) in statuses.iter_mut().enumerate() {
            *count = count_at(row, 4 + position)?;
        }
        Ok(Line {
            subject: row.get(0)?,
            account: count_at(row, 1)?,
            statuses,
            first_seen: row.get(9)?,
            client: ClientUsage {
                client: row.get(2)?,
                surface: row.get(3)?,
                requests: statuses.iter().sum(),
                last_seen: row.get(10)?,
                endpoint: row.get(11)?,
                recipe: None,
            },
        })
    })?;
    rows.collect()
}

fn facts(books: &Connection, account: u64) -> rusqlite::Result<Option<(Option<String>, String)>> {
    books
        .prepare_cached("SELECT prefix, cell FROM accounts WHERE account = ?1")?
        .query_row([account as i64], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// What is missing since then, one line for each reason and note.
fn gaps(books: &Connection, since: i64) -> rusqlite::Result<Vec<GapLine>> {
    let mut query = books.prepare(
        "SELECT max(ended_at), reason, sum(requests), note FROM gaps WHERE ended_at >= ?1
         GROUP BY reason, note ORDER BY max(ended_at)",
    )?;
    let rows = query.query_map([since], |row| {
        let requests: Option<i64> = row.get(2)?;
        Ok(GapLine {
            ended_at: row.get(0)?,
            reason: row.get(1)?,
            requests: requests.and_then(|requests| u64::try_from(requests).ok()),
            note: row.get(3)?,
        })
    })?;
    rows.collect()
}

/// A count; SQLite has no unsigned type and the books never hold a negative one.
pub(super) fn count_at(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|count| u64::try_from(count).unwrap_or(0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::super::store::{Sealed, Store};
    use super::super::tally::Window;
    use super::*;
    use crate::policy::decide::{Source, Verdict as Decided};
    use crate::policy::ids::CellIndex;
    use crate::policy::refusal::Refusal;
    use crate::telemetry::event::RequestEvent;
    use crate::telemetry::fixture::{legacy_event, snapshot};
    use crate::telemetry::wall_time::unix_seconds;
    use crate::test_snapshot::account;

    const EVERYTHING: Question = Question { since: 0, account: None, all: false, now: 0 };

    /// Two accounts, a request without one and one of an id without a row.
    pub fn books(folder: &Path) -> i64 {
        let snapshot = snapshot(1);
        let start = unix_seconds(legacy_event(&snapshot).started);
        let mut window = Window::new(start);
        let mut count = |times: u64, change: &dyn Fn(&mut RequestEvent)| {
            for second in 0..times {
                let mut event = legacy_event(&snapshot);
                event.started += Duration::from_secs(second);
                change(&mut event);
                assert!(window.count(&event));
            }
        };
        count(2, &|_| {});
        count(1, &|event| event.decision.as_mut().unwrap().client = None);
        count(5, &|event| {
            let decision = event.decision.as_mut().unwrap();
            decision.account = Some(account(2));
            let cell = CellIndex(1);
            decision.verdict = Decided::Forward { cell, why: crate::policy::decide::Why::Mapped };
            event.status = 500;
            event.started += Duration::from_secs(7200);
        });
        let refused = |event: &mut RequestEvent, account, refusal: Refusal| {
            let decision = event.decision.as_mut().unwrap();
            decision.account = account;
            decision.source = Source::None;
            decision.verdict = Decided::Refuse(refusal);
            event.status = refusal.status();
        };
        count(3, &|event| refused(event, None, Refusal::NoAccount));
        count(1, &|event| refused(event, Some(account(99)), Refusal::UnmappedAccount));
        let sealed = Sealed { number: 1, ended_at: start + 10, missed: 4, window };
        Store::open(folder).unwrap().write("a", &sealed).unwrap();
        start
    }

    #[test]
    fn a_report_adds_up_and_names_everything() {
        let folder = tempfile::tempdir().unwrap();
        let start = books(folder.path());
        let report = read(folder.path(), EVERYTHING).unwrap();
        assert_eq!((report.kept_since, report.written_at), (Some(start), Some(start + 10)));
        let ids: Vec<_> = report.accounts.iter().map(|account| account.account).collect();
        assert_eq!(ids, [2, 1], "the most requests first");
        let first = &report.accounts[1];
        assert_eq!((first.prefix.as_deref(), first.cell.as_deref()), (Some("ab123"), Some("us1")));
        assert_eq!(first.usage.statuses, [0, 3, 0, 0, 0]);
        assert_eq!((first.usage.first_seen, first.usage.last_seen), (start, start + 1));
        assert_eq!(first.usage.families(), [("airflow", 2), ("unknown", 1)]);
        assert_eq!(first.usage.clients[0].endpoint, "/api/v2/accounts/{account}/jobs");
        assert_eq!(report.accounts[0].usage.statuses, [0, 0, 0, 0, 5]);
        assert_eq!(report.unattributed.statuses, [0, 0, 0, 3, 0]);
        assert_eq!(report.unmapped.statuses, [0, 0, 0, 1, 0]);
        assert_eq!(report.overflow, Usage::default());
        assert_eq!(report.requests(), 12);
        let gap =
            GapLine { ended_at: start + 10, reason: "queue_full".into(), requests: Some(4), note: None };
        assert_eq!(report.gaps, [gap]);
    }

    #[test]
    fn a_report_can_be_of_late_or_of_one_account() {
        let folder = tempfile::tempdir().unwrap();
        let start = books(folder.path());
        let late = read(folder.path(), Question { since: start + 3700, ..EVERYTHING }).unwrap();
        assert_eq!((late.since, late.requests()), (start + 3600, 5));
        assert_eq!(late.accounts.len(), 1);
        let one = read(folder.path(), Question { account: Some(account(1)), ..EVERYTHING }).unwrap();
        assert_eq!((one.only, one.requests()), (Some(1), 3));
        let none = read(folder.path(), Question { account: Some(account(3)), ..EVERYTHING }).unwrap();
        assert_eq!((none.accounts.len(), none.requests()), (0, 0));
    }

    #[test]
    fn who_was_not_seen_lately_is_counted_and_listed_where_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let start = books(folder.path());
        // The books know of ten seconds, 40 days ago.
        let now = start + 40 * 86_400;
        let late = read(folder.path(), Question { since: now - 86_400, now, ..EVERYTHING }).unwrap();
        assert_eq!((late.accounts.len(), &late.verdicts), (0, &BTreeMap::from([(Verdict::Unknown, 2)])));
        let all = Question { since: now - 86_400, now, all: true, account: None };
        let all = read(folder.path(), all).unwrap();
        let ids: Vec<_> = all.accounts.iter().map(|one| (one.account, one.usage.requests())).collect();
        assert_eq!(ids, [(1, 0), (2, 0)]);
        assert_eq!(all.accounts[0].usage.last_seen, start + 1);
        // Where they were kept all the time, but for four requests that were missed.
        let books = Connection::open(folder.path().join(BOOKS_FILE)).unwrap();
        books.execute("UPDATE writers SET ended_at = ?1", [now]).unwrap();
        let kept = read(folder.path(), Question { now, ..EVERYTHING }).unwrap();
        assert_eq!(kept.verdicts, BTreeMap::from([(Verdict::Ready, 2)]));
        // Not where the file was removed since then, nor for a time that is still to come.
        let gap = "INSERT INTO gaps (writer, ended_at, reason) VALUES ('a', ?1, 'removed')";
        books.execute(gap, [now - 20 * 86_400]).unwrap();
        let unknown = BTreeMap::from([(Verdict::Unknown, 2)]);
        assert_eq!(read(folder.path(), Question { now, ..EVERYTHING }).unwrap().verdicts, unknown);
        books.execute("DELETE FROM gaps", []).unwrap();
        books.execute("UPDATE writers SET started_at = ?1, ended_at = ?1 + 900000", [now]).unwrap();
        assert_eq!(read(folder.path(), Question { now, ..EVERYTHING }).unwrap().verdicts, unknown);
    }

    #[test]
    fn a_report_works_while_a_writer_holds_the_file() {
        let folder = tempfile::tempdir().unwrap();
        books(folder.path());
        let writer = Connection::open(folder.path().join(BOOKS_FILE)).unwrap();
        writer.execute_batch("BEGIN IMMEDIATE; DELETE FROM legacy_use").unwrap();
        assert_eq!(read(folder.path(), EVERYTHING).unwrap().requests(), 12);
        writer.execute_batch("COMMIT").unwrap();
        assert_eq!(read(folder.path(), EVERYTHING).unwrap().requests(), 0);
    }

    #[test]
    fn a_missing_damaged_or_newer_file_is_an_error_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(folder.path(), EVERYTHING).unwrap_err();
        assert!(error.to_string().contains("--state"), "{error}");
        std::fs::write(folder.path().join(BOOKS_FILE), "no books".repeat(1000)).unwrap();
        let error = read(folder.path(), EVERYTHING).unwrap_err();
        assert!(matches!(error, ReportError::Unreadable(..)), "{error}");
        std::fs::remove_file(folder.path().join(BOOKS_FILE)).unwrap();
        books(folder.path());
        let later = Connection::open(folder.path().join(BOOKS_FILE)).unwrap();
        later.execute("INSERT INTO schema_version (version) VALUES (99)", []).unwrap();
        let error = read(folder.path(), EVERYTHING).unwrap_err();
        assert!(error.to_string().contains("newer cellgate"), "{error}");
    }
}
