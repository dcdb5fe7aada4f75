//! The files of a state folder, open for reading.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::super::month::Month;
use super::super::side_by_side;
use super::super::store::{StoreError, as_if_migrated, check_version, months};
use super::{Reading, ReportError, Row};

/// The proxy's windows take milliseconds to write; a checkpoint somewhat longer.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// All months of a folder.
pub(in super::super) struct Files {
    /// Each is read by one thread at a time.
    months: Vec<(Month, Mutex<Connection>)>,
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
                Ok(file) => files.months.push((month, Mutex::new(file))),
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
        for (month, file) in self.since(since) {
            rows_of(file, query, params, |of| row(*month, of))?;
        }
        Ok(())
    }

    /// See [`Shelf::fold`](super::Shelf::fold).
    pub fn fold<T: Default + Send>(
        &self,
        since: Option<Month>,
        query: &str,
        params: &[Option<i64>],
        row: impl Fn(&mut T, Month, &Row<'_>) -> Reading<()> + Sync,
    ) -> Reading<Vec<T>> {
        let fold = |(month, file): &(Month, _)| {
            let mut sum = T::default();
            rows_of(file, query, params, |of| row(&mut sum, *month, of))?;
            Ok(sum)
        };
        side_by_side::each(self.since(since).collect(), fold).into_iter().collect()
    }

    fn since(&self, since: Option<Month>) -> impl Iterator<Item = &(Month, Mutex<Connection>)> {
        self.months.iter().filter(move |(month, _)| Some(*month) >= since)
    }
}

fn rows_of(
    file: &Mutex<Connection>,
    query: &str,
    params: &[Option<i64>],
    mut row: impl FnMut(&Row<'_>) -> Reading<()>,
) -> Reading<()> {
    let file = file.lock().unwrap_or_else(PoisonError::into_inner);
    let mut query = file.prepare_cached(query)?;
    let mut rows = query.query(params_from_iter(params))?;
    while let Some(of) = rows.next()? {
        row(&Row::File(of))?;
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
        Ok(version) => as_if_migrated(&file, version).map(|()| file).map_err(unreadable),
        Err(StoreError::Sqlite(error)) => Err(unreadable(error)),
        Err(error) => Err(ReportError::Newer(path.to_owned(), error.to_string())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::frame::tests::{NOON, frame, uses};
    use super::super::super::store::Store;
    use super::super::{Shelf, ask};
    use super::*;

    #[test]
    fn a_fold_has_the_rows_of_each_month_by_itself_and_months_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let rows = (0..200).map(|ago| {
            let mut of = uses(7, "curl", 1);
            of.day -= ago;
            of
        });
        Store::new(folder.path()).write(&frame("a", 1, rows.collect()), NOON).unwrap();
        let query = "SELECT day FROM use_by_day WHERE day > ?1 ORDER BY day";
        let (since, params) = (Month::of_day(NOON / 86_400 - 150), [Some(0)]);
        let each = |books: &Shelf| {
            let mut found: Vec<(Month, Vec<i64>)> = Vec::new();
            books.each(Some(since), query, &params, |month, row| {
                if found.last().is_none_or(|(last, _)| *last != month) {
                    found.push((month, Vec::new()));
                }
                found.last_mut().unwrap().1.push(row.int(0)?);
                Ok(())
            })?;
            Ok(found)
        };
        let fold = |books: &Shelf| {
            books.fold(Some(since), query, &params, |days: &mut Vec<i64>, month, row| {
                assert_eq!(Month::of_day(row.int(0)?), month);
                days.push(row.int(0)?);
                Ok(())
            })
        };
        let each: Vec<_> = ask(folder.path(), each).unwrap().into_iter().map(|(_, days)| days).collect();
        assert_eq!(each.len(), 6);
        assert_eq!(ask(folder.path(), fold).unwrap(), each);
        let error =
            ask(folder.path(), |books| books.fold(None, "SELECT nothing", &[], |(): &mut (), _, _| Ok(())));
        assert!(matches!(error, Err(ReportError::Unreadable(..))));
    }
}
