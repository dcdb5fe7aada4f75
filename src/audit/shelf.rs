//! The files of the books, open for reading: all of their months as of one moment, also while a proxy writes them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Params, Row};

use super::month::Month;
use super::store::{StoreError, check_version, months};

/// The proxy's windows take milliseconds to write; a checkpoint somewhat longer.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// No files.
    #[error(
        "there are no books in {0}: name the proxy's state folder with --state-dir, and check that the proxy \
         has been started with it"
    )]
    Missing(PathBuf),
    /// No permission.
    #[error("the state folder {0} cannot be read ({1}): run the report as the proxy's own user")]
    Denied(PathBuf, std::io::Error),
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

/// All months of a folder.
pub(super) struct Shelf {
    months: Vec<(Month, Connection)>,
    /// Of earlier months, which nobody writes any more: reports go without them, and say so.
    unreadable: Vec<Month>,
}

/// Asks the books in a state folder for something, all of it as of one moment.
pub(super) fn ask<T>(
    folder: &Path,
    answer: impl FnOnce(&Shelf) -> rusqlite::Result<T>,
) -> Result<T, ReportError> {
    let shelf = Shelf::open(folder)?;
    // Which of the files it was is in no error of SQLite's; the newest is the one that is written.
    answer(&shelf).map_err(|error| ReportError::Unreadable(shelf.newest(folder), error))
}

impl Shelf {
    fn open(folder: &Path) -> Result<Self, ReportError> {
        let months = in_folder(folder)?;
        if months.is_empty() {
            return Err(ReportError::Missing(folder.to_owned()));
        }
        let newest = months.last().copied();
        let mut shelf = Self { months: Vec::new(), unreadable: Vec::new() };
        for month in months {
            match open(&month.file(folder)) {
                Ok(file) => shelf.months.push((month, file)),
                // The newest one is written, and moved aside then.
                Err(ReportError::Unreadable(..)) if Some(month) != newest => shelf.unreadable.push(month),
                Err(error) => return Err(error),
            }
        }
        Ok(shelf)
    }

    /// Months whose file cannot be read.
    pub fn unreadable(&self) -> &[Month] {
        &self.unreadable
    }

    /// Each month with its file, in order.
    pub fn months(&self) -> impl Iterator<Item = (Month, &Connection)> {
        self.months.iter().map(|(month, file)| (*month, file))
    }

    /// Rows of all months, in their order.
    pub fn rows<T>(
        &self,
        query: &str,
        params: impl Params + Clone,
        row: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let mut found = Vec::new();
        for (_, file) in self.months() {
            for one in file.prepare(query)?.query_map(params.clone(), &row)? {
                found.push(one?);
            }
        }
        Ok(found)
    }

    fn newest(&self, folder: &Path) -> PathBuf {
        self.months.last().map_or_else(|| folder.to_owned(), |(month, _)| month.file(folder))
    }
}

/// The months of which a folder has files.
pub(super) fn in_folder(folder: &Path) -> Result<Vec<Month>, ReportError> {
    match months(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ReportError::Denied(folder.to_owned(), error))
        }
        found => Ok(found.unwrap_or_default()),
    }
}

/// A count; SQLite has no unsigned type and the books never hold a negative one.
pub(super) fn count_at(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|count| u64::try_from(count).unwrap_or(0))
}

/// A file, with a transaction in which all is read.
fn open(path: &Path) -> Result<Connection, ReportError> {
    let unreadable = |error| ReportError::Unreadable(path.to_owned(), error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let file = Connection::open_with_flags(path, flags).map_err(unreadable)?;
    file.busy_timeout(BUSY_PATIENCE).map_err(unreadable)?;
    file.execute_batch("BEGIN").map_err(unreadable)?;
    match check_version(&file, path) {
        Ok(_) => Ok(file),
        Err(StoreError::Sqlite(error)) => Err(unreadable(error)),
        Err(error) => Err(ReportError::Newer(path.to_owned(), error.to_string())),
    }
}
