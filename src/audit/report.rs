//! Reads the books: who still uses the legacy hosts. Opens the files read-only, also while the proxy
//! writes them. Returns values; printing them is `render`'s matter.

use std::collections::BTreeMap;
use std::path::Path;

use crate::policy::ids::AccountId;
use crate::policy::legacy_use::verdict::{Judgement, Verdict};
use crate::policy::standings::Standings;
use crate::telemetry::labels::CLASSES;

use super::known::Known;
use super::recipes::Recipe;
use super::shelf::{Reading, Shelf, Source, ask, ask_at_once};
use super::uses::{Asked, Uses};
use super::verdicts::{Judging, coverage, not_heard_of};

pub use super::shelf::ReportError;

/// What to report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Unix seconds: requests since then. The books have days, so it is the day in which it lies.
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
    /// Unix seconds: the beginning of the first day that is counted.
    pub since: i64,
    /// Unix seconds: the first moment that any books cover; `None` when nothing was ever written.
    pub kept_since: Option<i64>,
    /// Unix seconds: the books are complete up to here.
    pub written_at: Option<i64>,
    /// Only this account was asked for.
    pub only: Option<u64>,
    /// Accounts that were seen, those with the most requests first.
    pub accounts: Vec<AccountUsage>,
    /// How many of all accounts that the books know have each verdict, whenever they were seen; of one account only its own
    /// where only that was asked for.
    pub verdicts: BTreeMap<Verdict, usize>,
    /// Requests in which nothing named an account.
    pub unattributed: Usage,
    /// Requests that named an account without a row.
    pub unmapped: Usage,
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
    /// Unix seconds; before that time too, as far as the books know it.
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
    /// `detail`, `lost_calls`, `spool`, `damaged`, `removed`, `unreadable`, `silent`.
    pub reason: String,
    /// How many requests, where known.
    pub requests: Option<u64>,
    /// For people.
    pub note: Option<String>,
}

impl Question {
    pub(super) const fn of_uses(&self) -> Asked {
        Asked { since: Some(self.since.div_euclid(86_400)), only: self.account, now: self.now }
    }
}

/// Answers a question from the books, as if every account had a cell of its own and none were cut.
///
/// # Errors
/// There are none, or they cannot be read.
pub fn read<'a>(books: impl Into<Source<'a>>, question: Question) -> Result<Report, ReportError> {
    ask(books, |books| {
        let (coverage, standings) = (coverage(books, question.now)?, Standings::default());
        let known = Known::read(
            books,
            question.account,
            &Judging { coverage: &coverage, standings: &standings },
            question.now,
        )?;
        answer(books, &known, Uses::read(books, question.of_uses())?, question)
    })
}

/// Requests of each account, on legacy and on cell hosts together, by account. `since`, in Unix seconds, is taken as the
/// day in which it lies: cell hosts are counted by days, and one side must not have more of them than the other.
///
/// # Errors
/// There are none, or they cannot be read.
pub fn requests_by_account<'a>(
    books: impl Into<Source<'a>>,
    since: i64,
) -> Result<Vec<(AccountId, u64)>, ReportError> {
    let day = since.div_euclid(86_400);
    ask_at_once(books, |books| {
        let mut sums = BTreeMap::new();
        let legacy = "SELECT account,
                 CAST(sum(status_1xx + status_2xx + status_3xx + status_4xx + status_5xx) AS BIGINT)
             FROM use_by_day CROSS JOIN integrations ON id = integration
             WHERE day >= ?1 AND subject = 'account' GROUP BY account";
        let cell_hosts =
            "SELECT account, CAST(sum(requests) AS BIGINT) FROM cell_use WHERE day >= ?1 GROUP BY account";
        for query in [legacy, cell_hosts] {
            for (account, requests) in
                books.rows(query, &[Some(day)], |row| Ok((row.count(0)?, row.count(1)?)))?
            {
                if let Some(account) = AccountId::from_value(account) {
                    let sum: &mut u64 = sums.entry(account).or_default();
                    *sum = sum.saturating_add(requests);
                }
            }
        }
        Ok(sums.into_iter().collect())
    })
}

impl Usage {
    /// All requests.
    pub fn requests(&self) -> u64 {
        total(self.statuses)
    }

    /// Answered without fault, with 4xx, and with 5xx.
    pub(super) fn ends(&self) -> [u64; 3] {
        let [informational, ok, redirects, client_errors, server_errors] = self.statuses;
        [informational.saturating_add(ok).saturating_add(redirects), client_errors, server_errors]
    }

    /// Requests by client family over all surfaces, the most first.
    pub fn families(&self) -> Vec<(&str, u64)> {
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for client in &self.clients {
            let sum = sums.entry(&client.client).or_default();
            *sum = sum.saturating_add(client.requests);
        }
        let mut families: Vec<_> = sums.into_iter().collect();
        families.sort_by_key(|(_, requests)| std::cmp::Reverse(*requests));
        families
    }

    /// Adds what came by one integration.
    pub(super) fn add(&mut self, statuses: [u64; CLASSES.len()], first_seen: i64, of: ClientUsage) {
        if self.first_seen == 0 || first_seen < self.first_seen {
            self.first_seen = first_seen;
        }
        self.last_seen = self.last_seen.max(of.last_seen);
        for (sum, count) in self.statuses.iter_mut().zip(statuses) {
            *sum = sum.saturating_add(count);
        }
        match self
            .clients
            .iter_mut()
            .find(|known| (&known.client, &known.surface) == (&of.client, &of.surface))
        {
            Some(known) => {
                known.requests = known.requests.saturating_add(of.requests);
                // Of two at the same moment the first by name, so that two stores agree.
                let is_later = (of.last_seen, &known.endpoint) > (known.last_seen, &of.endpoint);
                if is_later {
                    known.last_seen = of.last_seen;
                    known.endpoint = of.endpoint;
                }
            }
            None => self.clients.push(of),
        }
    }

    /// The most requests first; equal ones by name, so that two stores agree.
    fn sort(&mut self) {
        self.clients.sort_by(|a, b| {
            b.requests.cmp(&a.requests).then_with(|| (&a.client, &a.surface).cmp(&(&b.client, &b.surface)))
        });
    }
}

impl Report {
    /// Requests of all accounts and buckets.
    pub fn requests(&self) -> u64 {
        let accounts = self.accounts.iter().map(|account| account.usage.requests());
        let others = [&self.unattributed, &self.unmapped].map(Usage::requests);
        total(accounts.chain(others))
    }
}

/// Counts of books that somebody made up may be more than a number holds.
pub(super) fn total(counts: impl IntoIterator<Item = u64>) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
}

/// The answer from what is known and said of each account.
pub(super) fn answer(books: &Shelf, known: &Known, uses: Uses, question: Question) -> Reading<Report> {
    let day = question.since.div_euclid(86_400);
    let spans = books.rows("SELECT min(started_at), max(ended_at) FROM coverage", &[], |row| {
        Ok((row.int_if_any(0)?, row.int_if_any(1)?))
    })?;
    let mut report = Report {
        since: day * 86_400,
        kept_since: spans.iter().filter_map(|(from, _)| *from).min(),
        written_at: spans.iter().filter_map(|(_, to)| *to).max(),
        only: question.account.map(AccountId::value),
        accounts: Vec::new(),
        verdicts: BTreeMap::new(),
        unattributed: uses.unattributed,
        unmapped: uses.unmapped,
        gaps: gaps(books, day * 86_400, question.now)?,
    };
    for one in known.accounts.values() {
        *report.verdicts.entry(one.judged.verdict).or_default() += 1;
    }
    let mut accounts = uses.accounts;
    if question.all || question.account.is_some() {
        for account in known.accounts.keys() {
            accounts.entry(*account).or_default();
        }
    }
    report.unattributed.sort();
    report.unmapped.sort();
    let mut facts = facts(books, question.account)?;
    for (account, mut usage) in accounts {
        // All is read as of one moment, so whoever has a line has a verdict.
        let Some(seen) = known.accounts.get(&account) else { continue };
        usage.sort();
        (usage.first_seen, usage.last_seen) = (seen.first_seen, seen.last_seen);
        let (prefix, cell) =
            facts.remove(&account).map_or((None, None), |(prefix, cell)| (prefix, Some(cell)));
        report.accounts.push(AccountUsage { account, prefix, cell, usage, judged: seen.judged.clone() });
    }
    report.accounts.sort_by_key(|account| std::cmp::Reverse(account.usage.requests()));
    Ok(report)
}

/// Prefix and cell by account, as the newest month has it.
pub(super) fn facts(
    books: &Shelf,
    only: Option<AccountId>,
) -> Reading<BTreeMap<u64, (Option<String>, String)>> {
    let only = only.map(|account| account.value() as i64);
    let query = "SELECT account, prefix, cell FROM accounts WHERE ?1 IS NULL OR account = ?1";
    let rows = books.rows(query, &[only], |row| {
        Ok((row.count(0)?, (row.text_if_any(1)?.map(str::to_owned), row.text(2)?.to_owned())))
    })?;
    Ok(rows.into_iter().collect())
}

/// What is missing since then, one line for each reason and note; and, at `now`, which replicas are silent.
pub(super) fn gaps(books: &Shelf, since: i64, now: i64) -> Reading<Vec<GapLine>> {
    let query = "SELECT ended_at, reason, requests, note FROM gaps WHERE ended_at >= ?1
         ORDER BY ended_at, reason, note, requests";
    let mut lines: Vec<GapLine> = Vec::new();
    for gap in books.rows(query, &[Some(since)], |row| {
        let requests = row.int_if_any(2)?.and_then(|requests| u64::try_from(requests).ok());
        let (reason, note) = (row.text(1)?.to_owned(), row.text_if_any(3)?.map(str::to_owned));
        Ok(GapLine { ended_at: row.int(0)?, reason, requests, note })
    })? {
        match lines.iter_mut().find(|known| (&known.reason, &known.note) == (&gap.reason, &gap.note)) {
            Some(known) => {
                known.ended_at = known.ended_at.max(gap.ended_at);
                known.requests = known
                    .requests
                    .zip(gap.requests)
                    .map(|(a, b)| a.saturating_add(b))
                    .or(known.requests)
                    .or(gap.requests);
            }
            None => lines.push(gap),
        }
    }
    for month in books.unreadable() {
        let (ended_at, note) = (month.seconds().end, Some(month.file(Path::new("")).display().to_string()));
        lines.push(GapLine { ended_at, reason: "unreadable".into(), requests: None, note });
    }
    for (replica, since) in not_heard_of(books, now)? {
        lines.push(GapLine { ended_at: since, reason: "silent".into(), requests: None, note: Some(replica) });
    }
    lines.sort_by_key(|line| line.ended_at);
    Ok(lines)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use std::time::Duration;

    use rusqlite::Connection;

    use super::super::frame::Gap;
    use super::super::frame::tests::NOON;
    use super::super::month::Month;
    use super::super::store::Store;
    use super::super::window::tests::window;
    use super::*;
    use crate::policy::decide::{Source, Verdict as Decided};
    use crate::policy::ids::CellIndex;
    use crate::policy::refusal::Refusal;
    use crate::telemetry::event::RequestEvent;
    use crate::telemetry::fixture::{legacy_event, snapshot};
    use crate::telemetry::wall_time::unix_seconds;
    use crate::test_snapshot::account;

    const EVERYTHING: Question = Question { since: 0, account: None, all: false, now: 0 };

    /// The file of the month in which a moment lies.
    pub fn file(folder: &Path, at: i64) -> Connection {
        Connection::open(Month::of(at).file(folder)).unwrap()
    }

    /// Two accounts, a request without one and one of an id without a row.
    pub fn books(folder: &Path) -> i64 {
        let snapshot = snapshot(1);
        let start = unix_seconds(legacy_event(&snapshot).started);
        let mut events = Vec::new();
        let mut count = |times: u64, change: &dyn Fn(&mut RequestEvent)| {
            for second in 0..times {
                let mut event = legacy_event(&snapshot);
                event.started += Duration::from_secs(second);
                change(&mut event);
                events.push(event);
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
            event.started += Duration::from_secs(86_400);
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
        let mut frame = window(start, &events).frame("a", 1, start + 10);
        let (started_at, requests) = (Some(start), Some(4));
        frame.gaps.push(Gap {
            reason: "spool".into(),
            started_at,
            ended_at: start + 10,
            requests,
            note: None,
        });
        Store::new(folder).write(&frame, start + 10).unwrap();
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
        assert_eq!(report.requests(), 12);
        let gap = GapLine { ended_at: start + 10, reason: "spool".into(), requests: Some(4), note: None };
        assert_eq!(report.gaps, [gap]);
    }

    #[test]
    fn a_report_can_be_of_late_or_of_one_account() {
        let folder = tempfile::tempdir().unwrap();
        let start = books(folder.path());
        let tomorrow = start - start % 86_400 + 86_400;
        let late = read(folder.path(), Question { since: tomorrow + 3_700, ..EVERYTHING }).unwrap();
        assert_eq!((late.since, late.requests()), (tomorrow, 5));
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
        let books = file(folder.path(), start);
        books.execute("UPDATE coverage SET ended_at = ?1", [now]).unwrap();
        let kept = read(folder.path(), Question { now, ..EVERYTHING }).unwrap();
        assert_eq!(kept.verdicts, BTreeMap::from([(Verdict::Ready, 2)]));
        // Not where the file was removed since then, nor for a time that is still to come.
        let gap = "INSERT INTO gaps (writer, ended_at, reason) VALUES ('a', ?1, 'removed')";
        books.execute(gap, [now - 20 * 86_400]).unwrap();
        let unknown = BTreeMap::from([(Verdict::Unknown, 2)]);
        assert_eq!(read(folder.path(), Question { now, ..EVERYTHING }).unwrap().verdicts, unknown);
        books.execute("DELETE FROM gaps", []).unwrap();
        books.execute("UPDATE coverage SET started_at = ?1, ended_at = ?1 + 900000", [now]).unwrap();
        assert_eq!(read(folder.path(), Question { now, ..EVERYTHING }).unwrap().verdicts, unknown);
    }

    #[test]
    fn counts_that_nobody_can_have_made_stop_at_the_most_that_a_number_holds() {
        let folder = tempfile::tempdir().unwrap();
        let start = books(folder.path());
        let made_up = "UPDATE use_by_day SET status_2xx = ?1, status_3xx = ?1, status_4xx = ?1, writes = ?1, h22 = ?1, h23 = ?1";
        file(folder.path(), start).execute(made_up, [i64::MAX]).unwrap();
        let host = super::super::survey::Host::default();
        let question = Question { now: start + 86_400, ..EVERYTHING };
        let (report, fleet) = super::super::survey::read_with_report(folder.path(), &host, question).unwrap();
        assert_eq!((report.requests(), report.accounts[0].usage.requests()), (u64::MAX, u64::MAX));
        assert_eq!(report.accounts[0].usage.families()[0].1, u64::MAX);
        // Account 1 came yesterday and account 2 today.
        assert_eq!([0, 1].map(|at| fleet.accounts[at].requests.day >= i64::MAX as u64), [true; 2]);
        assert!(
            requests_by_account(folder.path(), 0).unwrap().iter().all(|(_, sum)| *sum == i64::MAX as u64)
        );
    }

    #[test]
    fn a_report_works_while_a_writer_holds_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let start = books(folder.path());
        let writer = file(folder.path(), start);
        writer.execute_batch("BEGIN IMMEDIATE; DELETE FROM use_by_day").unwrap();
        assert_eq!(read(folder.path(), EVERYTHING).unwrap().requests(), 12);
        writer.execute_batch("COMMIT").unwrap();
        assert_eq!(read(folder.path(), EVERYTHING).unwrap().requests(), 0);
    }

    #[test]
    fn a_missing_damaged_or_newer_file_is_an_error_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(folder.path(), EVERYTHING).unwrap_err();
        assert!(error.to_string().contains("--state"), "{error}");
        let path = Month::of(NOON).file(folder.path());
        std::fs::write(&path, "no books".repeat(1000)).unwrap();
        let error = read(folder.path(), EVERYTHING).unwrap_err();
        assert!(matches!(error, ReportError::Unreadable(..)), "{error}");
        std::fs::remove_file(&path).unwrap();
        let start = books(folder.path());
        let later = file(folder.path(), start);
        later.execute("INSERT INTO schema_version (version) VALUES (99)", []).unwrap();
        let error = read(folder.path(), EVERYTHING).unwrap_err();
        assert!(error.to_string().contains("newer cellgate"), "{error}");
    }
}
