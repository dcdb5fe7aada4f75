//! The files of a state folder, open for reading.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::super::month::Month;
use super::super::store::{StoreError, check_version, has_table, months};
use super::{Reading, ReportError, Row};

/// The proxy's windows take milliseconds to write; a checkpoint somewhat longer.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// All months of a folder.
pub(in super::super) struct Files {
    months: Vec<(Month, Connection)>,
    /// Of earlier months, which nobody writes any more: reports go without them, and say so.
    pub unreadable: Vec<Month>,
}

impl Files {
    /// Opens them, each with a transaction in which all is read.
    pub fn open(folder: &Path) -> Result<Self, ReportError> {
        let months = in_folder(folder)?;
        if months.is_empty() {
            return Err(ReportError::Missing(folder.to_owned()));
        }
        let newest = months.last().copied();
        let mut files = Self { months: Vec::new(), unreadable: Vec::new() };
        for month in months {
            match open(&month.file(folder)) {
                Ok(file) => files.months.push((month, file)),
                // The newest one is written, and moved aside then.
                Err(ReportError::Unreadable(..)) if Some(month) != newest => files.unreadable.push(month),
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    /// The last month that can be read.
    pub fn newest(&self) -> Option<Month> {
        self.months.last().map(|(month, _)| *month)
    }

    /// See [`Shelf::each`](super::Shelf::each).
    pub fn each(
        &self,
        since: Option<Month>,
        query: &str,
        params: &[Option<i64>],
        row: &mut dyn FnMut(Month, &Row<'_>) -> Reading<()>,
    ) -> Reading<()> {
        for (month, file) in self.months.iter().filter(|(month, _)| Some(*month) >= since) {
            each_in(file, *month, query, params, row)?;
        }
        Ok(())
    }

    /// See [`Shelf::each_of_later`](super::Shelf::each_of_later).
    pub fn each_of_later(
        &self,
        table: &str,
        query: &str,
        params: &[Option<i64>],
        row: &mut dyn FnMut(Month, &Row<'_>) -> Reading<()>,
    ) -> Reading<()> {
        for (month, file) in &self.months {
            if has_table(file, table)? {
                each_in(file, *month, query, params, row)?;
            }
        }
        Ok(())
    }
}

fn each_in(
    file: &Connection,
    month: Month,
    query: &str,
    params: &[Option<i64>],
    row: &mut dyn FnMut(Month, &Row<'_>) -> Reading<()>,
) -> Reading<()> {
    let mut query = file.prepare_cached(query)?;
    let mut rows = query.query(params_from_iter(params))?;
    while let Some(of) = rows.next()? {
        row(month, &Row::File(of))?;
    }
    Ok(())
}

/// The months of which a folder has files.
pub(in super::super) fn in_folder(folder: &Path) -> Result<Vec<Month>, ReportError> {
    match months(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ReportError::Denied(folder.to_owned(), error))
        }
        found => Ok(found.unwrap_or_default()),
    }
}

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
