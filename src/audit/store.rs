//! The books' SQLite file: its schema, writing a window exactly once, and what to do with a file that
//! is damaged.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, params};

use crate::telemetry::labels::CLASSES;

use super::BOOKS_FILE;
use super::tally::{Key, Subject, Tally, Window};

/// Each entry takes the schema one version further. Append only: files in the field have the rest.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema_1.sql"), include_str!("schema_2.sql"), include_str!("schema_3.sql")];

/// The first version that counts requests on cell hosts.
pub(super) const COUNTS_CELL_HOSTS: usize = 3;

/// A report reads for a moment; a second writer (the predecessor of a restart) writes for less.
const BUSY_PATIENCE: Duration = Duration::from_secs(1);

/// Size at which the file counts as full: 2^20 pages of 4 KiB, 4 GiB. At about 70
/// bytes a row it holds 60 million rows, almost four times what 10,000 accounts leave in
/// [`KEEP_DAYS`] with eight active hours a day on average.
const MAX_PAGES: i64 = 1 << 20;

/// How long hours are kept: who came a quarter ago and comes again is known to do so for the 100 days that a verdict
/// waits at most ([`LONGEST_WINDOW`](crate::policy::legacy_use::verdict::LONGEST_WINDOW)).
const KEEP_DAYS: i64 = 200;

/// How long it is kept what learned credentials placed: who asks looks back seven days, and the first and the
/// last of those are cut by the hour of the day.
const KEEP_LEARNED_DAYS: i64 = 9;

/// How long requests on cell hosts are kept, for the same reason. A million accounts on each of these days are nine
/// million rows, some 200 MB.
const KEEP_CELL_USE_DAYS: i64 = 9;

/// How much of the write-ahead log may stay on disk after a checkpoint.
const WAL_BYTES: i64 = 16 * 1024 * 1024;

/// Damaged files kept for inspection; older ones are deleted.
const KEPT_DAMAGED: usize = 3;

/// Accounts are in it: for its owner only.
const FILE_MODE: u32 = 0o600;

/// An open file, ready to be written.
#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
    path: PathBuf,
    /// Tells the open file from another one under the same name.
    inode: u64,
    /// Unix seconds of the last time that old hours were deleted.
    pruned_at: i64,
}

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// A file of a later edition of cellgate.
    #[error("the books have schema version {found} and this cellgate knows up to {known}")]
    Newer { found: i64, known: usize },
    /// Disk, permissions, damage.
    #[error("SQLite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Before SQLite could be asked.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A window with its number, for its writer.
#[derive(Debug)]
pub(super) struct Sealed {
    /// Counts up by one with every window of a writer.
    pub number: i64,
    /// Unix seconds.
    pub ended_at: i64,
    /// Legacy requests that found the queue full meanwhile.
    pub missed: u64,
    pub window: Window,
}

impl StoreError {
    /// Whether the file is damaged beyond use, and a new one must take its place.
    pub fn is_damage(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
    }
}

impl Store {
    /// Opens the file in a folder, makes it where there is none, and brings its schema up to date.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(BOOKS_FILE);
        // SQLite would make it readable for everybody that the umask does not shut out. A file that is
        // there is not opened here: closing it would drop the locks of other connections to it.
        match OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            Ok(_) | Err(_) => {}
        }
        let inode = fs::metadata(&path)?.ino();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags)?;
        connection.busy_timeout(BUSY_PATIENCE)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A killed process loses nothing, a power cut the last windows; both leave a sound file.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "journal_size_limit", WAL_BYTES)?;
        connection.pragma_update(None, "max_page_count", MAX_PAGES)?;
        migrate(&mut connection)?;
        Ok(Self { connection, path, inode, pruned_at: 0 })
    }

    /// Whether the open file is still the one under its name. What is written to a deleted file is
    /// gone.
    pub fn is_in_place(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode)
    }

    /// Adds a window to the books in one transaction. A window that is there already (its commit had
    /// succeeded and reported an error) changes nothing.
    pub fn write(&mut self, writer: &str, sealed: &Sealed) -> Result<(), StoreError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let last: Option<i64> = transaction
            .prepare_cached("SELECT max(last_window) FROM writers WHERE writer = ?1")?
            .query_row([writer], |row| row.get(0))?;
        if last.is_some_and(|last| last >= sealed.number) {
            return Ok(());
        }
        transaction
            .prepare_cached(
                "INSERT INTO writers (writer, last_window, started_at, ended_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (writer) DO UPDATE
                 SET last_window = excluded.last_window, ended_at = excluded.ended_at",
            )?
            .execute(params![writer, sealed.number, sealed.window.started_at, sealed.ended_at])?;
        write_counts(&transaction, &sealed.window)?;
        write_accounts(&transaction, sealed)?;
        write_learned(&transaction, &sealed.window)?;
        write_cell_use(&transaction, &sealed.window)?;
        for (reason, requests) in [("queue_full", sealed.missed), ("overflow", sealed.window.overflow)] {
            if requests > 0 {
                let gap = Gap { reason, requests: Some(requests), note: None };
                write_gap(&transaction, writer, Some(sealed.window.started_at), sealed.ended_at, &gap)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Records that something is missing.
    pub fn record_gap(&mut self, writer: &str, at: i64, gap: &Gap<'_>) -> Result<(), StoreError> {
        Ok(write_gap(&self.connection, writer, None, at, gap)?)
    }

    /// Deletes hours that are older than [`KEEP_DAYS`], at most once an hour.
    pub fn prune(&mut self, now: i64) -> Result<(), StoreError> {
        if now - self.pruned_at < 3600 {
            return Ok(());
        }
        self.pruned_at = now;
        let oldest = now - KEEP_DAYS * 86_400;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("DELETE FROM legacy_use WHERE hour < ?1", [oldest.div_euclid(3600)])?;
        transaction.execute("DELETE FROM accounts WHERE seen_at < ?1", [oldest])?;
        let today = now.div_euclid(86_400);
        transaction.execute("DELETE FROM learned_use WHERE day < ?1", [today - KEEP_LEARNED_DAYS])?;
        transaction.execute("DELETE FROM cell_use WHERE day < ?1", [today - KEEP_CELL_USE_DAYS])?;
        transaction.execute("DELETE FROM writers WHERE ended_at < ?1", [oldest])?;
        transaction.execute("DELETE FROM gaps WHERE ended_at < ?1", [oldest])?;
        transaction.commit()?;
        Ok(())
    }
}

/// Something that the books do not know.
#[derive(Debug)]
pub(super) struct Gap<'a> {
    /// `queue_full`, `overflow`, `damaged` or `removed`.
    pub reason: &'a str,
    /// How many requests, where that is known.
    pub requests: Option<u64>,
    /// For people: the name of the damaged file.
    pub note: Option<&'a str>,
}

/// Moves a damaged file out of the way, with its journals; its new name.
pub(super) fn move_aside(folder: &Path, now: i64) -> io::Result<PathBuf> {
    let aside = folder.join(format!("{BOOKS_FILE}.damaged-{now}"));
    fs::rename(folder.join(BOOKS_FILE), &aside)?;
    for journal in ["-wal", "-shm"] {
        let from = folder.join(format!("{BOOKS_FILE}{journal}"));
        let to = folder.join(format!("{BOOKS_FILE}.damaged-{now}{journal}"));
        if let Err(error) = fs::rename(&from, to)
            && error.kind() != io::ErrorKind::NotFound
        {
            // A journal of another file would damage the new one.
            return Err(error);
        }
    }
    forget_oldest(folder)?;
    Ok(aside)
}

/// Damaged books that were put aside, with their journals; when (Unix seconds), and where.
pub(super) fn damaged(folder: &Path) -> io::Result<Vec<(i64, PathBuf)>> {
    let prefix = format!("{BOOKS_FILE}.damaged-");
    let mut damaged: Vec<(i64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let time = name.to_str().and_then(|name| name.strip_prefix(&prefix));
        let time = time.and_then(|rest| rest.split('-').next()?.parse().ok());
        if let Some(time) = time {
            damaged.push((time, entry.path()));
        }
    }
    Ok(damaged)
}

fn forget_oldest(folder: &Path) -> io::Result<()> {
    let damaged = damaged(folder)?;
    let mut times: Vec<i64> = damaged.iter().map(|(time, _)| *time).collect();
    times.sort_unstable();
    times.dedup();
    let kept = times.split_off(times.len().saturating_sub(KEPT_DAMAGED));
    for (time, path) in damaged {
        if !kept.contains(&time) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// The schema version of the file, where this edition understands it.
pub(super) fn check_version(connection: &Connection) -> Result<usize, StoreError> {
    let found: i64 =
        connection.query_row("SELECT coalesce(max(version), 0) FROM schema_version", [], |row| row.get(0))?;
    match usize::try_from(found) {
        Ok(found) if found <= MIGRATIONS.len() => Ok(found),
        _ => Err(StoreError::Newer { found, known: MIGRATIONS.len() }),
    }
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_version (
             version INTEGER PRIMARY KEY,
             applied_at INTEGER NOT NULL DEFAULT (unixepoch())
         ) STRICT",
    )?;
    let found = check_version(&transaction)?;
    for (migration, version) in MIGRATIONS.iter().zip(1i64..).skip(found) {
        transaction.execute_batch(migration)?;
        transaction.execute("INSERT INTO schema_version (version) VALUES (?1)", [version])?;
    }
    transaction.commit()?;
    Ok(())
}

fn write_counts(transaction: &Transaction<'_>, window: &Window) -> rusqlite::Result<()> {
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO legacy_use (hour, subject, account, client, surface, cell,
             status_1xx, status_2xx, status_3xx, status_4xx, status_5xx, first_seen, last_seen, endpoint)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT (hour, subject, account, client, surface, cell) DO UPDATE SET
             status_1xx = status_1xx + excluded.status_1xx,
             status_2xx = status_2xx + excluded.status_2xx,
             status_3xx = status_3xx + excluded.status_3xx,
             status_4xx = status_4xx + excluded.status_4xx,
             status_5xx = status_5xx + excluded.status_5xx,
             first_seen = min(first_seen, excluded.first_seen),
             last_seen = max(last_seen, excluded.last_seen),
             endpoint = excluded.endpoint",
    )?;
    for (key, tally) in &window.counts {
        upsert.execute(rusqlite::params_from_iter(row(window, key, tally)))?;
    }
    Ok(())
}

fn row(window: &Window, key: &Key, tally: &Tally) -> Vec<rusqlite::types::Value> {
    use rusqlite::types::Value::{Integer, Text};
    let (subject, account) = subject_columns(key.subject);
    let text = |name| Text(window.name(name).to_owned());
    let mut row = Vec::with_capacity(9 + CLASSES.len());
    row.extend([Integer(key.hour), Text(subject.to_owned()), Integer(account)]);
    row.extend([text(key.client), text(key.surface), text(key.cell)]);
    row.extend(tally.statuses.map(|count| Integer(to_i64(count))));
    row.extend([Integer(tally.first_seen), Integer(tally.last_seen), text(tally.endpoint)]);
    row
}

fn write_accounts(transaction: &Transaction<'_>, sealed: &Sealed) -> rusqlite::Result<()> {
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO accounts (account, prefix, cell, seen_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (account) DO UPDATE
         SET prefix = excluded.prefix, cell = excluded.cell, seen_at = excluded.seen_at",
    )?;
    for (account, facts) in &sealed.window.accounts {
        let prefix = facts.prefix.as_ref().map(|prefix| prefix.as_str());
        upsert.execute(params![to_i64(account.value()), prefix, facts.cell.as_str(), sealed.ended_at])?;
    }
    Ok(())
}

fn write_learned(transaction: &Transaction<'_>, window: &Window) -> rusqlite::Result<()> {
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO learned_use (day, fingerprint, requests) VALUES (?1, ?2, ?3)
         ON CONFLICT (day, fingerprint) DO UPDATE SET requests = requests + excluded.requests",
    )?;
    for ((day, fingerprint), requests) in &window.learned {
        let fingerprint = fingerprint.map_or_else(String::new, |fingerprint| fingerprint.to_string());
        upsert.execute(params![day, fingerprint, to_i64(*requests)])?;
    }
    Ok(())
}

fn write_cell_use(transaction: &Transaction<'_>, window: &Window) -> rusqlite::Result<()> {
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO cell_use (day, account, requests) VALUES (?1, ?2, ?3)
         ON CONFLICT (day, account) DO UPDATE SET requests = requests + excluded.requests",
    )?;
    // In the order of the table, so that neighbours share a page.
    let mut rows: Vec<_> = window.on_cell_hosts.iter().collect();
    rows.sort_unstable();
    for ((day, account), requests) in rows {
        upsert.execute(params![day, to_i64(account.value()), to_i64(*requests)])?;
    }
    Ok(())
}

fn write_gap(
    connection: &Connection,
    writer: &str,
    started_at: Option<i64>,
    ended_at: i64,
    gap: &Gap<'_>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO gaps (writer, started_at, ended_at, reason, requests, note)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![writer, started_at, ended_at, gap.reason, gap.requests.map(to_i64), gap.note])?;
    Ok(())
}

/// The columns `subject` and `account`.
fn subject_columns(subject: Subject) -> (&'static str, i64) {
    match subject {
        Subject::Account(id) => ("account", to_i64(id.value())),
        Subject::Unattributed => ("unattributed", 0),
        Subject::Unmapped => ("unmapped", 0),
        Subject::Overflow => ("overflow", 0),
    }
}

/// Account ids are below 2^63 by their type; counts of a window are below it by physics.
fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::telemetry::fixture::{legacy_event, snapshot};

    fn window(number: i64, requests: usize) -> Sealed {
        let snapshot = snapshot(1);
        let mut window = Window::new(100 + number);
        (0..requests).for_each(|_| assert!(window.count(&legacy_event(&snapshot))));
        Sealed { number, ended_at: 101 + number, missed: 0, window }
    }

    fn requests(store: &Store) -> i64 {
        let sum = "SELECT coalesce(sum(status_2xx), 0) FROM legacy_use";
        store.connection.query_row(sum, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_window_counts_once_and_windows_add_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        for (writer, number, expect) in
            [("a", 1, 3), ("a", 1, 3), ("a", 2, 6), ("a", 1, 6), ("b", 1, 9), ("b", 1, 9), ("a", 3, 12)]
        {
            store.write(writer, &window(number, 3)).unwrap();
            assert_eq!(requests(&store), expect, "{writer} {number}");
        }
        let coverage: (i64, i64) = store
            .connection
            .query_row("SELECT started_at, ended_at FROM writers WHERE writer = 'a'", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!(coverage, (101, 104));
        assert_eq!(fs::metadata(folder.path().join(BOOKS_FILE)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_window_that_fails_in_the_middle_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        store.connection.execute_batch("ALTER TABLE gaps RENAME TO hidden").unwrap();
        let mut broken = window(1, 3);
        broken.missed = 1;
        assert!(store.write("a", &broken).is_err());
        assert_eq!(requests(&store), 0);
        store.connection.execute_batch("ALTER TABLE hidden RENAME TO gaps").unwrap();
        store.write("a", &broken).unwrap();
        assert_eq!(requests(&store), 3);
    }

    #[test]
    fn a_full_disk_changes_nothing_and_heals() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        let pages: i64 = store.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        store.connection.pragma_update(None, "max_page_count", pages).unwrap();
        // Notes fill whole pages, so that the last one is surely full.
        let note = "x".repeat(4096);
        let gap = Gap { reason: "removed", requests: None, note: Some(&note) };
        let mut filled = 0;
        while store.record_gap("a", 1, &gap).is_ok() {
            filled += 1;
            assert!(filled < 100, "the page limit does not hold");
        }
        let error = store.record_gap("a", 1, &gap).unwrap_err();
        assert!(!error.is_damage(), "{error}");
        store.connection.pragma_update(None, "max_page_count", MAX_PAGES).unwrap();
        store.write("a", &window(1, 2)).unwrap();
        assert_eq!(requests(&store), 2);
    }

    #[test]
    fn the_schema_is_made_once_and_a_later_one_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let store = Store::open(folder.path()).unwrap();
            assert_eq!(check_version(&store.connection).unwrap(), MIGRATIONS.len());
        }
        let later = Connection::open(folder.path().join(BOOKS_FILE)).unwrap();
        later.execute("INSERT INTO schema_version (version) VALUES (99)", []).unwrap();
        let error = Store::open(folder.path()).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
        assert!(!error.is_damage());
    }

    #[test]
    fn damage_is_told_from_other_trouble() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(BOOKS_FILE), "these are no books".repeat(1000)).unwrap();
        assert!(Store::open(folder.path()).unwrap_err().is_damage());
        assert!(!Store::open(&folder.path().join("missing")).unwrap_err().is_damage());
    }

    #[test]
    fn damaged_files_are_kept_with_their_journals_but_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        for now in 1..=5 {
            fs::write(folder.path().join(BOOKS_FILE), "x").unwrap();
            fs::write(folder.path().join(format!("{BOOKS_FILE}-wal")), "x").unwrap();
            move_aside(folder.path(), now).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let expect: Vec<_> = (3..=5)
            .flat_map(|now| {
                [format!("{BOOKS_FILE}.damaged-{now}"), format!("{BOOKS_FILE}.damaged-{now}-wal")]
            })
            .collect();
        assert_eq!(names, expect);
    }

    #[test]
    fn a_file_of_an_earlier_version_is_read_as_it_is_and_then_brought_up_to_date() {
        let folder = tempfile::tempdir().unwrap();
        let file = Connection::open(folder.path().join(BOOKS_FILE)).unwrap();
        file.execute_batch(
            "CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at INTEGER) STRICT",
        )
        .unwrap();
        for (migration, version) in MIGRATIONS.iter().zip(1i64..).take(COUNTS_CELL_HOSTS - 1) {
            file.execute_batch(migration).unwrap();
            file.execute("INSERT INTO schema_version VALUES (?1, 7)", [version]).unwrap();
        }
        file.execute_batch(
            "INSERT INTO legacy_use VALUES (10, 'account', 1, 'curl', 'app', 'us1', 0, 6, 0, 1, 0, 36000, 36001, 'other')",
        )
        .unwrap();
        drop(file);
        let account = |id| crate::policy::ids::AccountId::from_value(id).unwrap();
        let requests = || super::super::report::requests_by_account(folder.path(), 0).unwrap();
        let report = || {
            let everything = super::super::report::Question::default();
            super::super::report::read(folder.path(), everything).unwrap()
        };
        assert_eq!(
            (requests(), report().requests()),
            (vec![(account(1), 7)], 7),
            "by a report beside a running one"
        );
        let mut store = Store::open(folder.path()).unwrap();
        assert_eq!(check_version(&store.connection).unwrap(), MIGRATIONS.len());
        let before = report();
        let mut sealed = window(1, 0);
        sealed.window.on_cell_hosts =
            [((0, account(1)), 3), ((0, account(9)), 2), ((1, account(9)), 1)].into();
        store.write("a", &sealed).unwrap();
        store.write("a", &sealed).unwrap();
        assert_eq!(requests(), [(account(1), 10), (account(9), 3)], "a window counts once");
        assert_eq!((report().accounts, report().gaps), (before.accounts, before.gaps));
        store.prune((1 + KEEP_CELL_USE_DAYS) * 86_400).unwrap();
        assert_eq!(requests(), [(account(1), 7), (account(9), 1)], "what is older than a week goes");
    }

    #[test]
    fn old_hours_go() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        store.write("a", &window(1, 2)).unwrap();
        let seen = legacy_event(&snapshot(1)).started;
        let seen = crate::telemetry::wall_time::unix_seconds(seen);
        store.prune(seen + KEEP_DAYS * 86_400).unwrap();
        assert_eq!(requests(&store), 2, "the last day is kept");
        store.prune(seen + KEEP_DAYS * 86_400 + 3500).unwrap();
        assert_eq!(requests(&store), 2, "not looked at twice in an hour");
        store.prune(seen + KEEP_DAYS * 86_400 + 7200).unwrap();
        assert_eq!(requests(&store), 0);
    }
}
