//! The books, open for reading: all of their months as of one moment, also while proxies write them. They stand in the files
//! of a state folder or in the database of a fleet. Questions are asked in the SQL that both understand.

mod database;
mod files;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::bell;
use super::database::{DatabaseError, DatabaseSettings};
use super::days::Days;
use super::month::Month;
use database::Database;
use files::Files;

pub(super) use database::translated;
pub(super) use files::in_folder;

/// Where the books stand.
#[derive(Clone, Debug)]
pub enum Source<'a> {
    /// A state folder.
    Folder(Cow<'a, Path>),
    /// The database of a fleet.
    Database(Cow<'a, DatabaseSettings>),
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

impl<'a> From<&'a Source<'_>> for Source<'a> {
    fn from(source: &'a Source<'_>) -> Self {
        match source {
            Source::Folder(folder) => Self::Folder(Cow::Borrowed(folder)),
            Source::Database(settings) => Self::Database(Cow::Borrowed(settings)),
        }
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
    /// Of a fleet.
    #[error("the books of the fleet that {0} leads to cannot be read: {1}")]
    Database(PathBuf, String),
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    File(#[from] rusqlite::Error),
    #[error(transparent)]
    Database(#[from] postgres::Error),
}

/// An answer.
pub(super) type Reading<T> = Result<T, ReadError>;

/// All months.
pub(super) enum Shelf {
    Files(Files),
    Database(Box<Database>),
}

/// A row of an answer.
pub(super) enum Row<'a> {
    File(&'a rusqlite::Row<'a>),
    Database(&'a postgres::Row),
}

/// Asks the books for something, all of it as of one moment, when what a running process holds back is in them.
pub(super) fn ask<'a, T>(
    source: impl Into<Source<'a>>,
    answer: impl FnOnce(&Shelf) -> Reading<T>,
) -> Result<T, ReportError> {
    let source = source.into();
    if let Source::Folder(folder) = &source {
        bell::ring(folder);
    }
    ask_at_once(&source, answer)
}

/// Asks them as they are: for a reload, which weighs days and must not wait for minutes.
pub(super) fn ask_at_once<'a, T>(
    source: impl Into<Source<'a>>,
    answer: impl FnOnce(&Shelf) -> Reading<T>,
) -> Result<T, ReportError> {
    let source = source.into();
    let shelf = match &source {
        Source::Folder(folder) => Shelf::Files(Files::open(folder)?),
        Source::Database(of) => {
            Shelf::Database(Box::new(Database::open(of).map_err(|error| of.failed(&error))?))
        }
    };
    answer(&shelf).map_err(|error| match error {
        ReadError::Database(error) => source.failed(&error.into()),
        // Which of the files it was is in no error of SQLite's; the newest is the one that is written.
        ReadError::File(error) => ReportError::Unreadable(source.newest(&shelf), error),
    })
}

impl DatabaseSettings {
    /// As a report says it. What lies below is in the text of the error already.
    pub(super) fn failed(&self, error: &DatabaseError) -> ReportError {
        ReportError::Database(self.connection_file.clone(), error.to_string())
    }
}

impl Source<'_> {
    fn failed(&self, error: &DatabaseError) -> ReportError {
        match self {
            Self::Database(settings) => settings.failed(error),
            Self::Folder(folder) => ReportError::Database(folder.to_path_buf(), error.to_string()),
        }
    }

    fn newest(&self, shelf: &Shelf) -> PathBuf {
        match (self, shelf) {
            (Source::Folder(folder), Shelf::Files(files)) => {
                files.newest().map_or_else(|| folder.to_path_buf(), |month| month.file(folder))
            }
            _ => PathBuf::new(),
        }
    }
}

impl Shelf {
    /// Months whose file cannot be read.
    pub fn unreadable(&self) -> &[Month] {
        match self {
            Self::Files(files) => &files.unreadable,
            Self::Database(_) => &[],
        }
    }

    /// Whether these are the books of many replicas; those of a folder are of one.
    pub const fn is_fleet(&self) -> bool {
        matches!(self, Self::Database(_))
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
            Self::Database(database) => database.each(since, query, params, &mut row),
        }
    }

    /// What the rows of each of the months from `since` on add up to, months in their order. Files are read side by side.
    pub fn fold<T: Default + Send>(
        &self,
        since: Option<Month>,
        query: &str,
        params: &[Option<i64>],
        row: impl Fn(&mut T, Month, &Row<'_>) -> Reading<()> + Sync,
    ) -> Reading<Vec<T>> {
        match self {
            Self::Files(files) => files.fold(since, query, params, row),
            Self::Database(database) => {
                let mut sums: Vec<(Month, T)> = Vec::new();
                database.each(since, query, params, &mut |month, of| {
                    if sums.last().is_none_or(|(last, _)| *last != month) {
                        sums.push((month, T::default()));
                    }
                    let (_, sum) = sums.last_mut().expect("pushed above");
                    row(sum, month, of)
                })?;
                Ok(sums.into_iter().map(|(_, sum)| sum).collect())
            }
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
}

impl Row<'_> {
    /// A number.
    pub fn int(&self, column: usize) -> Reading<i64> {
        match self {
            Self::File(row) => Ok(row.get(column)?),
            Self::Database(row) => Ok(row.try_get(column)?),
        }
    }

    /// A number that may be missing.
    pub fn int_if_any(&self, column: usize) -> Reading<Option<i64>> {
        match self {
            Self::File(row) => Ok(row.get(column)?),
            Self::Database(row) => Ok(row.try_get(column)?),
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
            Self::Database(row) => Ok(row.try_get(column)?),
        }
    }

    /// The days of an integration.
    pub fn days(&self, column: usize) -> Reading<Days> {
        match self {
            Self::File(row) => {
                Ok(Days::of_bytes(row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from)?))
            }
            Self::Database(row) => Ok(Days::of_numbers(&row.try_get::<_, Vec<i64>>(column)?)),
        }
    }
}
