//! The books, open for reading: all of their months as of one moment, also while proxies write them. They stand in the files
//! of a state folder or in the database of a fleet. Questions are asked in the SQL that both understand.

mod files;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::days::Days;
use super::month::Month;
use files::Files;

pub(super) use files::in_folder;

/// Where the books stand.
#[derive(Clone, Debug)]
pub enum Source<'a> {
    /// A state folder.
    Folder(Cow<'a, Path>),
}

impl<'a> From<&'a Path> for Source<'a> {
    fn from(folder: &'a Path) -> Self {
        Self::Folder(Cow::Borrowed(folder))
    }
}

impl<'a> From<&'a PathBuf> for Source<'a> {
    fn from(folder: &'a PathBuf) -> Self {
        folder.as_path().into()
    }
}

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

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    File(#[from] rusqlite::Error),
}

/// An answer.
pub(super) type Reading<T> = Result<T, ReadError>;

/// All months.
pub(super) enum Shelf {
    Files(Files),
}

/// A row of an answer.
pub(super) enum Row<'a> {
    File(&'a rusqlite::Row<'a>),
}

/// Asks the books for something, all of it as of one moment.
pub(super) fn ask<'a, T>(
    source: impl Into<Source<'a>>,
    answer: impl FnOnce(&Shelf) -> Reading<T>,
) -> Result<T, ReportError> {
    match source.into() {
        Source::Folder(folder) => {
            let shelf = Shelf::Files(Files::open(&folder)?);
            // Which of the files it was is in no error of SQLite's; the newest is the one that is written.
            answer(&shelf).map_err(|error| match error {
                ReadError::File(error) => ReportError::Unreadable(shelf.newest(&folder), error),
            })
        }
    }
}

impl Shelf {
    /// Months whose file cannot be read.
    pub fn unreadable(&self) -> &[Month] {
        match self {
            Self::Files(files) => &files.unreadable,
        }
    }

    /// Every row of the months from `since` on, months in their order; in a month as the query says.
    pub fn each(
        &self,
        since: Option<Month>,
        query: &str,
        params: &[Option<i64>],
        mut row: impl FnMut(Month, &Row<'_>) -> Reading<()>,
    ) -> Reading<()> {
        match self {
            Self::Files(files) => files.each(since, query, params, &mut row),
        }
    }

    /// The same of a table that months of earlier editions have not: those have no rows of it.
    pub fn each_of_later(
        &self,
        table: &str,
        query: &str,
        params: &[Option<i64>],
        mut row: impl FnMut(Month, &Row<'_>) -> Reading<()>,
    ) -> Reading<()> {
        match self {
            Self::Files(files) => files.each_of_later(table, query, params, &mut row),
        }
    }

    /// Rows of all months, in their order.
    pub fn rows<T>(
        &self,
        query: &str,
        params: &[Option<i64>],
        mut row: impl FnMut(&Row<'_>) -> Reading<T>,
    ) -> Reading<Vec<T>> {
        let mut found = Vec::new();
        self.each(None, query, params, |_, of| {
            found.push(row(of)?);
            Ok(())
        })?;
        Ok(found)
    }

    fn newest(&self, folder: &Path) -> PathBuf {
        match self {
            Self::Files(files) => {
                files.newest().map_or_else(|| folder.to_owned(), |month| month.file(folder))
            }
        }
    }
}

impl Row<'_> {
    /// A number.
    pub fn int(&self, column: usize) -> Reading<i64> {
        match self {
            Self::File(row) => Ok(row.get(column)?),
        }
    }

    /// A number that may be missing.
    pub fn int_if_any(&self, column: usize) -> Reading<Option<i64>> {
        match self {
            Self::File(row) => Ok(row.get(column)?),
        }
    }

    /// A count; databases have no unsigned type and the books never hold a negative one.
    pub fn count(&self, column: usize) -> Reading<u64> {
        Ok(u64::try_from(self.int(column)?).unwrap_or(0))
    }

    /// A text.
    pub fn text(&self, column: usize) -> Reading<&str> {
        self.text_if_any(column).map(Option::unwrap_or_default)
    }

    /// A text that may be missing.
    pub fn text_if_any(&self, column: usize) -> Reading<Option<&str>> {
        match self {
            Self::File(row) => Ok(row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from)?),
        }
    }

    /// The days of an integration.
    pub fn days(&self, column: usize) -> Reading<Days> {
        match self {
            Self::File(row) => {
                Ok(Days::of_bytes(row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from)?))
            }
        }
    }
}
