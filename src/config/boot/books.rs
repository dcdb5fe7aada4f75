//! `books` of `boot.yaml`: how much a killed process may lose, and how long what is counted may wait for its files.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{PATH, default, path_in};
use crate::config::slot::At;
use crate::config::{apply, raw};
use crate::policy::code::Code;

/// How the books are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Books {
    /// How long a window is: what a killed process loses at most.
    pub window: Duration,
    /// Size of the spool.
    pub spool_bytes: u64,
    /// Into which the books are shipped, too.
    pub database: Option<BooksDatabase>,
}

/// The database of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BooksDatabase {
    /// File with a connection string.
    pub connection_file: PathBuf,
    /// File with the certificates that sign the database's; `None` for those that this machine trusts.
    pub ca_file: Option<PathBuf>,
    /// The name of this replica; `None` for that of `apply`, or of its host.
    pub replica: Option<Box<str>>,
    /// How often.
    pub every: Duration,
}

/// Below a second each write is nothing but overhead; beyond five minutes a report is behind what people look at.
const WINDOWS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);

/// From a full window on the least of eight segments, to what a replica of a very busy fleet fills in a day.
const SPOOLS: RangeInclusive<u64> = 4 * 1024 * 1024..=16 * 1024 * 1024 * 1024;

/// More often a shipment is nothing but a connection; an hour behind, the fleet's reports are behind the day.
const INTERVALS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);

/// `folder` is the one that the file lies in.
pub(super) fn read(raw: raw::Books, at: &At<'_>, folder: &Path) -> Books {
    let mut raw = at.open(raw);
    let database = raw.database(at).optional().and_then(|raw| database(raw, &at.key("database"), folder));
    let spool_bytes = if database.is_some() { default::SHIPPING_SPOOL_BYTES } else { default::SPOOL_BYTES };
    Books {
        window: raw.window(at).duration(WINDOWS).or(default::BOOKS_WINDOW),
        spool_bytes: raw.spool_bytes(at).number(SPOOLS).or(spool_bytes),
        database,
    }
}

fn database(raw: raw::BooksDatabase, at: &At<'_>, folder: &Path) -> Option<BooksDatabase> {
    let mut raw = at.open(raw);
    let connection_file =
        raw.connection_file(at).parse(Code::FilePath, PATH, |path| path_in(folder, &path)).required();
    let ca_file = raw.ca_file(at).parse(Code::FilePath, PATH, |path| path_in(folder, &path)).optional();
    let every = raw.every(at).duration(INTERVALS).or(default::SHIP_EVERY);
    let replica = apply::replica(raw.replica(at)).optional();
    Some(BooksDatabase { connection_file: connection_file?, ca_file, replica, every })
}

pub(super) fn note_changes(before: &Books, after: &Books, note: &mut impl FnMut(bool, &str)) {
    note(before.window != after.window, "books.window");
    note(before.spool_bytes != after.spool_bytes, "books.spool_bytes");
    note(before.database != after.database, "books.database");
}
