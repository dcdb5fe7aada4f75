//! Deletes what the books know of one account, while the proxy runs. What was deleted is overwritten, in the file and in
//! its journal. Files of books that were damaged and put aside are not opened: their names are told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::policy::ids::AccountId;

use super::bell;
use super::database::{DatabaseError, DatabaseSettings, connect_to_write, schema};
use super::month::Month;
use super::shelf::{ReportError, Source, in_folder, translated};
use super::store::{StoreError, as_if_migrated, check_version, damaged};

/// The proxy writes for milliseconds every ten seconds.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// What there was of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Rows: integrations and their days, days on cell hosts, what went wrong for it, brownouts that met it, and what the table said of it.
    pub rows: usize,
    /// Damaged books that were put aside, which may know it as well.
    pub aside: Vec<PathBuf>,
}

/// What the books know of an account; deletes it where `delete` says so.
///
/// # Errors
/// There are none, or they cannot be read or written; then nothing of that month and of later ones is deleted, and of a
/// database nothing at all.
pub fn forget<'a>(
    books: impl Into<Source<'a>>,
    account: AccountId,
    delete: bool,
) -> Result<Known, ReportError> {
    match books.into() {
        Source::Folder(folder) => in_files(&folder, account, delete),
        Source::Database(settings) => {
            let rows = in_database(&settings, account, delete).map_err(|error| settings.failed(&error))?;
            Ok(Known { rows, aside: Vec::new() })
        }
    }
}

fn in_files(folder: &Path, account: AccountId, delete: bool) -> Result<Known, ReportError> {
    // Else it would come back.
    bell::ring(folder);
    let months = in_folder(folder)?;
    if months.is_empty() {
        return Err(ReportError::Missing(folder.to_owned()));
    }
    let mut rows = 0;
    for month in months {
        let path = month.file(folder);
        rows += in_file(&path, account, delete).map_err(|error| match error {
            StoreError::Sqlite(error) => ReportError::Unreadable(path.clone(), error),
            other => ReportError::Newer(path.clone(), other.to_string()),
        })?;
    }
    // Where the folder cannot be listed, the files in it could not have been opened.
    let mut aside: Vec<PathBuf> =
        damaged(folder).unwrap_or_default().into_iter().map(|(_, path)| path).collect();
    aside.sort();
    Ok(Known { rows, aside })
}

/// What goes, and in this order: days point at integrations.
const DELETE: [&str; 8] = [
    "DELETE FROM use_by_day WHERE integration IN
         (SELECT id FROM integrations WHERE subject = 'account' AND account = ?1)",
    "DELETE FROM integrations WHERE subject = 'account' AND account = ?1",
    "DELETE FROM accounts WHERE account = ?1",
    "DELETE FROM cell_use WHERE account = ?1",
    "DELETE FROM harmed WHERE account = ?1",
    "DELETE FROM lost_calls WHERE account = ?1",
    "DELETE FROM brownout_use WHERE account = ?1",
    "DELETE FROM credential_names WHERE account = ?1",
];

fn in_file(path: &Path, account: AccountId, delete: bool) -> Result<usize, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut books = Connection::open_with_flags(path, flags)?;
    books.busy_timeout(BUSY_PATIENCE)?;
    // Else the rows stay in free pages of the file until something else needs these.
    books.pragma_update(None, "secure_delete", "ON")?;
    let transaction = books.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = check_version(&transaction, path)?;
    let mut rows = 0;
    as_if_migrated(&transaction, version)?;
    for statement in DELETE {
        rows += transaction.execute(statement, [account.value() as i64])?;
    }
    if !delete {
        transaction.rollback()?;
        return Ok(rows);
    }
    transaction.commit()?;
    // What was there before stands in the journal until it is taken over. Where a reader is in the way, the proxy does it.
    let _ = books.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    Ok(rows)
}

/// What was deleted is overwritten when the database vacuums its tables; its journals and backups are not ours to change.
fn in_database(
    settings: &DatabaseSettings,
    account: AccountId,
    delete: bool,
) -> Result<usize, DatabaseError> {
    let mut client = connect_to_write(settings)?;
    let mut transaction = client.transaction()?;
    let mut rows = 0;
    for month in transaction.query("SELECT month FROM cellgate.months ORDER BY month", &[])? {
        let Some(month) = Month::of_name(month.get(0)) else { continue };
        transaction.batch_execute(&format!("SET LOCAL search_path TO {}", schema(month)))?;
        for statement in DELETE {
            rows += transaction.execute(&translated(statement), &[&(account.value() as i64)])?;
        }
    }
    if delete {
        // What waits in the spool of a replica comes later.
        transaction.execute(
            "INSERT INTO cellgate.forgotten VALUES ($1, extract(epoch FROM now())::int8)
             ON CONFLICT (account) DO UPDATE SET forgotten_at = excluded.forgotten_at",
            &[&(account.value() as i64)],
        )?;
        transaction.commit()?;
        client.batch_execute("VACUUM cellgate.use_by_day, cellgate.integrations, cellgate.accounts, cellgate.cell_use, cellgate.harmed, cellgate.lost_calls, cellgate.brownout_use, cellgate.credential_names")?;
    }
    Ok(usize::try_from(rows).unwrap_or(usize::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::super::report::tests::books;
    use super::super::report::{Question, read};
    use super::*;
    use crate::test_snapshot::account;

    fn bytes_of(folder: &Path) -> Vec<u8> {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.flat_map(|path| fs::read(path).unwrap()).collect()
    }

    #[test]
    fn one_account_is_forgotten_and_nothing_of_it_stays_in_the_files() {
        let folder = tempfile::tempdir().unwrap();
        books(folder.path());
        fs::write(folder.path().join("books-2026-11.sqlite.damaged-7"), "").unwrap();
        let knows =
            |what: &str| bytes_of(folder.path()).windows(what.len()).any(|part| part == what.as_bytes());
        assert!(knows("ab123") && knows("cd456"));
        let everything = || read(folder.path(), Question::default()).unwrap();
        let before = everything();
        // Two clients, a day of each, and the row of the table.
        let known = forget(folder.path(), account(1), false).unwrap();
        assert_eq!(
            known,
            Known { rows: 5, aside: vec![folder.path().join("books-2026-11.sqlite.damaged-7")] }
        );
        assert_eq!(everything(), before, "only looked at");
        assert_eq!(forget(folder.path(), account(1), true).unwrap().rows, 5);
        let ids: Vec<_> = everything().accounts.iter().map(|account| account.account).collect();
        assert_eq!((ids, everything().requests()), (vec![2], before.requests() - 3));
        assert!(!knows("ab123") && knows("cd456"));
        assert_eq!(forget(folder.path(), account(1), true).unwrap().rows, 0);
    }

    #[test]
    fn what_cannot_be_forgotten_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = forget(folder.path(), account(1), true).unwrap_err();
        assert!(error.to_string().contains("--state-dir"), "{error}");
        fs::write(folder.path().join("books-2026-11.sqlite"), "no books".repeat(1000)).unwrap();
        let error = forget(folder.path(), account(1), true).unwrap_err();
        assert!(matches!(error, ReportError::Unreadable(..)), "{error}");
    }
}
