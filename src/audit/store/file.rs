//! One month's SQLite file: its schema, and writing the part of a frame that is of this month exactly once.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params,
};

use super::super::frame::{Frame, Gap};
use super::super::merged::Merged;
use super::super::month::Month;
use super::{brownouts, minutes, unknown_clients, uses};

/// Each entry takes the schema one version further. Append only: files in the field have the rest.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema_1.sql"), include_str!("schema_2.sql"), include_str!("schema_3.sql")];

/// For each migration after the first: what makes a file that nobody has migrated, because its month was over, look to a reader
/// as if somebody had. Tables of the connection's own.
const AS_IF_MIGRATED: [&str; MIGRATIONS.len() - 1] = [
    "CREATE TEMPORARY TABLE brownout_use (brownout, started_at, ended_at, mode, day, account, requests, writes)",
    "CREATE TEMPORARY TABLE credential_names (account, credential, before);
     CREATE TEMPORARY TABLE unknown_clients (day, product, requests, too_many)",
];

/// A report reads for a moment; a second writer (the predecessor of a restart) writes for less.
const BUSY_PATIENCE: Duration = Duration::from_secs(1);

/// Size at which a file counts as full: 2^20 pages of 4 KiB, 4 GiB. 100,000 accounts with three integrations each that come
/// each day of a month leave half of it.
pub(super) const MAX_PAGES: i64 = 1 << 20;

/// How long it is kept what learned credentials placed: who asks looks back seven days, and the first and the
/// last of those are cut by the hour of the day.
pub(in super::super) const KEEP_LEARNED_DAYS: i64 = 9;

/// How long requests on cell hosts are kept, for the same reason. A million accounts on each of these days are nine
/// million rows, some 200 MB.
pub(in super::super) const KEEP_CELL_USE_DAYS: i64 = 9;

/// How much of the write-ahead log may stay on disk after a checkpoint.
const WAL_BYTES: i64 = 16 * 1024 * 1024;

/// Accounts are in it: for its owner only.
const FILE_MODE: u32 = 0o600;

/// An open file, ready to be written.
#[derive(Debug)]
pub(in super::super) struct MonthFile {
    pub(super) connection: Connection,
    month: Month,
    path: PathBuf,
    /// Tells the open file from another one under the same name.
    inode: u64,
}

/// Why a file could not be used.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum StoreError {
    /// A file of a later edition of cellgate.
    #[error("{path}: the books have schema version {found} and this cellgate knows up to {known}")]
    Newer { path: PathBuf, found: i64, known: usize },
    /// Disk, permissions, damage.
    #[error("SQLite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Before SQLite could be asked.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl StoreError {
    /// Whether the file is damaged beyond use, and a new one must take its place.
    pub fn is_damage(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
    }
}

impl MonthFile {
    /// Opens the file of a month in a folder, makes it where there is none, and brings its schema up to date.
    pub fn open(folder: &Path, month: Month) -> Result<Self, StoreError> {
        let path = month.file(folder);
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
        // The spool forgets a frame once it is written, so that must outlive a power cut.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "journal_size_limit", WAL_BYTES)?;
        connection.pragma_update(None, "max_page_count", MAX_PAGES)?;
        // A list of words in a CHECK makes a table of them for each row that is inserted, which costs more than the row; and a row of
        // a day follows its integration in one transaction. Both are held by what we write; others are held by the schema.
        connection.pragma_update(None, "ignore_check_constraints", true)?;
        connection.pragma_update(None, "foreign_keys", false)?;
        migrate(&mut connection, &path)?;
        Ok(Self { connection, month, path, inode })
    }

    /// Whether the open file is still the one under its name. What is written to a deleted file is gone.
    pub fn is_in_place(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode)
    }

    /// Adds what frames of one writer, in their order, have of this month, in one transaction. A frame that is there already
    /// (its commit had succeeded and reported an error, or the process ended before it said so) changes nothing. How many rows
    /// were written.
    pub fn write(&mut self, frames: &[Frame]) -> Result<u64, StoreError> {
        let Some(Frame { writer, .. }) = frames.first() else { return Ok(0) };
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let last: Option<i64> = transaction
            .prepare_cached("SELECT last_window FROM writers WHERE writer = ?1")?
            .query_row([writer], |row| row.get(0))
            .optional()?;
        let new: Vec<&Frame> = frames.iter().filter(|frame| Some(frame.number) > last).collect();
        let Some(newest) = new.last() else { return Ok(0) };
        transaction
            .prepare_cached(
                "INSERT INTO writers (writer, last_window) VALUES (?1, ?2)
                 ON CONFLICT (writer) DO UPDATE SET last_window = excluded.last_window",
            )?
            .execute(params![writer, newest.number])?;
        let rows = uses::write(&transaction, &new, self.month)?;
        let more = write_days(&transaction, &new, self.month)?;
        for frame in &new {
            write_coverage(&transaction, frame, self.month)?;
            minutes::write(&transaction, frame, self.month)?;
            brownouts::write(&transaction, frame, self.month)?;
        }
        let ended: Vec<&Frame> =
            new.iter().filter(|frame| Month::of(frame.ended_at) == self.month).copied().collect();
        uses::write_accounts(&transaction, &ended)?;
        for frame in ended {
            write_renamed(&transaction, frame)?;
            unknown_clients::write(&transaction, frame)?;
            for gap in &frame.gaps {
                write_gap(&transaction, &frame.writer, gap)?;
            }
        }
        transaction.commit()?;
        Ok(rows + more)
    }

    /// Records that something is missing.
    pub fn record_gap(&mut self, writer: &str, gap: &Gap) -> Result<(), StoreError> {
        Ok(write_gap(&self.connection, writer, gap)?)
    }

    /// Deletes what is kept for some days only.
    pub fn prune(&mut self, now: i64) -> Result<(), StoreError> {
        let today = now.div_euclid(86_400);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("DELETE FROM learned_use WHERE day < ?1", [today - KEEP_LEARNED_DAYS])?;
        transaction.execute("DELETE FROM cell_use WHERE day < ?1", [today - KEEP_CELL_USE_DAYS])?;
        transaction.commit()?;
        Ok(())
    }
}

/// The schema version of a file, where this edition understands it.
pub(in super::super) fn check_version(connection: &Connection, path: &Path) -> Result<usize, StoreError> {
    let found: i64 =
        connection.query_row("SELECT coalesce(max(version), 0) FROM schema_version", [], |row| row.get(0))?;
    match usize::try_from(found) {
        Ok(found) if found <= MIGRATIONS.len() => Ok(found),
        _ => Err(StoreError::Newer { path: path.to_owned(), found, known: MIGRATIONS.len() }),
    }
}

/// Lets whoever reads or deletes ask a file of an earlier version (of [`check_version`]) as one of this edition.
pub(in super::super) fn as_if_migrated(connection: &Connection, version: usize) -> rusqlite::Result<()> {
    AS_IF_MIGRATED.iter().skip(version.saturating_sub(1)).try_for_each(|sql| connection.execute_batch(sql))
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_version (
             version INTEGER PRIMARY KEY,
             applied_at INTEGER NOT NULL DEFAULT (unixepoch())
         ) STRICT",
    )?;
    let found = check_version(&transaction, path)?;
    for (migration, version) in MIGRATIONS.iter().zip(1i64..).skip(found) {
        transaction.execute_batch(migration)?;
        transaction.execute("INSERT INTO schema_version (version) VALUES (?1)", [version])?;
    }
    transaction.commit()?;
    Ok(())
}

fn write_coverage(transaction: &Transaction<'_>, frame: &Frame, month: Month) -> rusqlite::Result<()> {
    let of_month = month.seconds();
    let (from, to) = (frame.started_at.max(of_month.start), frame.ended_at.min(of_month.end));
    // A window that lies in another month, and has a late request of this one. The first window of a process is empty.
    if from > to || !of_month.contains(&from) {
        return Ok(());
    }
    // Windows of a writer follow one another. Where one is missing (it could not be read back), nobody has looked.
    let until: Option<i64> = transaction
        .prepare_cached("SELECT ended_at FROM coverage WHERE writer = ?1")?
        .query_row([&frame.writer], |row| row.get(0))
        .optional()?;
    if let Some(until) = until.filter(|until| *until < from) {
        let (reason, started_at) = ("spool".to_owned(), Some(until));
        let gap = Gap { reason, started_at, ended_at: from, requests: None, note: None };
        write_gap(transaction, &frame.writer, &gap)?;
    }
    transaction
        .prepare_cached(
            "INSERT INTO coverage (writer, started_at, ended_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (writer) DO UPDATE
             SET started_at = min(started_at, excluded.started_at), ended_at = max(ended_at, excluded.ended_at)",
        )?
        .execute(params![frame.writer, from, to])?;
    Ok(())
}

/// In the month in which it was seen, which is kept as long as any with the older name.
fn write_renamed(transaction: &Transaction<'_>, frame: &Frame) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT OR IGNORE INTO credential_names (account, credential, before) VALUES (?1, ?2, ?3)",
    )?;
    for of in &frame.renamed {
        insert.execute(params![to_i64(of.account), of.credential, of.before])?;
    }
    Ok(())
}

/// What is kept by day.
fn write_days(transaction: &Transaction<'_>, frames: &[&Frame], month: Month) -> rusqlite::Result<u64> {
    let mut written = 0;
    let of_month = month.first_day()..month.next().first_day();
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO learned_use (day, fingerprint, requests) VALUES (?1, ?2, ?3)
         ON CONFLICT (day, fingerprint) DO UPDATE SET requests = requests + excluded.requests",
    )?;
    for (day, fingerprint, requests) in frames.iter().flat_map(|frame| &frame.learned) {
        if of_month.contains(day) {
            written += upsert.execute(params![day, fingerprint, to_i64(*requests)])? as u64;
        }
    }
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO cell_use (day, account, requests) VALUES (?1, ?2, ?3)
         ON CONFLICT (day, account) DO UPDATE SET requests = requests + excluded.requests",
    )?;
    let windows = frames.iter().map(|frame| {
        frame.on_cell_hosts.iter().map(|(day, account, requests)| ((*day, *account), *requests))
    });
    for ((day, account), requests) in Merged::new(windows, |sum, more| *sum = sum.saturating_add(more)) {
        if of_month.contains(&day) {
            written += upsert.execute(params![day, to_i64(account), to_i64(requests)])? as u64;
        }
    }
    Ok(written)
}

fn write_gap(connection: &Connection, writer: &str, gap: &Gap) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO gaps (writer, started_at, ended_at, reason, requests, note) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![writer, gap.started_at, gap.ended_at, gap.reason, gap.requests.map(to_i64), gap.note])?;
    Ok(())
}

/// SQLite has no unsigned type. Ids and counts are below 2^63.
pub(in super::super) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
