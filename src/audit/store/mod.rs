//! The files of the books, by month: writing a frame into those that it is of, what to do with a file that is damaged or was
//! removed, and deleting those that are too old.

mod brownouts;
mod file;
mod minutes;
mod unknown_clients;
mod uses;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::frame::{Frame, Gap};
use super::month::{FILE_PREFIX, Month};
use crate::policy::code::Code;

pub(super) use file::{
    KEEP_CELL_USE_DAYS, KEEP_LEARNED_DAYS, MonthFile, StoreError, as_if_migrated, check_version, to_i64,
};
pub(super) use unknown_clients::MAX_UNKNOWN_CLIENTS;

/// How long days are kept at least: who came a quarter ago and comes again is known to do so for the 100 days that a verdict
/// waits at most ([`LONGEST_WINDOW`](crate::policy::legacy_use::verdict::LONGEST_WINDOW)). A month goes as a whole.
pub(super) const KEEP_DAYS: i64 = 200;

/// Files that stay open: this month's, and that of the month before for what comes late.
const MOST_OPEN: usize = 2;

/// Damaged files kept for inspection; older ones are deleted.
const KEPT_DAMAGED: usize = 3;

/// The files of one folder.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    open: BTreeMap<Month, MonthFile>,
    /// Unix seconds of the last time that old days were deleted.
    pruned_at: i64,
}

impl Store {
    /// Of a folder. Opens nothing yet.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), open: BTreeMap::new(), pruned_at: 0 }
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds frames of one writer, in their order, to the books, each once in each month of which it has something; to how many
    /// rows they came. `now` (Unix seconds) is for the names of files that are moved aside.
    pub fn write_all(&mut self, frames: &[Frame], now: i64) -> Result<u64, StoreError> {
        let Some(Frame { writer, .. }) = frames.first() else { return Ok(0) };
        let months: BTreeSet<Month> = frames.iter().flat_map(months_of).collect();
        let mut rows = 0;
        for month in months {
            rows += match self.in_month(month, writer, now, |file| file.write(frames)) {
                Err(error) if error.is_damage() => {
                    self.start_afresh(month, writer, now, &error)?;
                    self.in_month(month, writer, now, |file| file.write(frames))?
                }
                other => other?,
            };
        }
        Ok(rows)
    }

    /// Adds one frame.
    #[cfg(test)]
    pub fn write(&mut self, frame: &Frame, now: i64) -> Result<(), StoreError> {
        self.write_all(std::slice::from_ref(frame), now).map(|_| ())
    }

    /// Deletes what is too old, at most once an hour.
    pub fn prune(&mut self, now: i64) -> Result<(), StoreError> {
        if now - self.pruned_at < 3600 {
            return Ok(());
        }
        self.pruned_at = now;
        let oldest = Month::of_day(now.div_euclid(86_400) - KEEP_DAYS);
        for month in months(&self.folder)?.into_iter().filter(|month| *month < oldest) {
            self.open.remove(&month);
            for suffix in ["-wal", "-shm", ""] {
                remove(&with_suffix(&month.file(&self.folder), suffix))?;
            }
        }
        // What is kept for days may lie in this month or in the one before.
        for month in self.open.values_mut() {
            month.prune(now)?;
        }
        Ok(())
    }

    fn in_month(
        &mut self,
        month: Month,
        writer: &str,
        now: i64,
        work: impl FnOnce(&mut MonthFile) -> Result<u64, StoreError>,
    ) -> Result<u64, StoreError> {
        let mut file = match self.open.remove(&month) {
            Some(file) if file.is_in_place() => file,
            Some(_) => self.open_removed(month, writer, now)?,
            None => MonthFile::open(&self.folder, month)?,
        };
        let done = work(&mut file);
        // After damage the file is not touched again through this connection.
        if !done.as_ref().is_err_and(StoreError::is_damage) {
            self.open.insert(month, file);
            if self.open.len() > MOST_OPEN {
                self.open.pop_first();
            }
        }
        done
    }

    /// Somebody has deleted or replaced the file: opens what is there now and says so in it.
    fn open_removed(&self, month: Month, writer: &str, now: i64) -> Result<MonthFile, StoreError> {
        tracing::error!(code = %Code::BooksReplaced,
            file = %month.file(&self.folder).display(),
            "a file of the books was removed or replaced while it was open; continuing in the one there now"
        );
        let mut file = MonthFile::open(&self.folder, month)?;
        file.record_gap(writer, &lost(month, "removed", None, now))?;
        Ok(file)
    }

    /// Puts a damaged file aside and says so in the new one.
    fn start_afresh(
        &self,
        month: Month,
        writer: &str,
        now: i64,
        damage: &StoreError,
    ) -> Result<(), StoreError> {
        let aside = move_aside(&self.folder, month, now)?;
        tracing::error!(code = %Code::BooksDamaged,
            %damage, moved_to = %aside.display(),
            "a file of the books is damaged: it is moved aside and a new one begun"
        );
        let name = aside.file_name().map(|name| name.to_string_lossy().into_owned());
        MonthFile::open(&self.folder, month)?.record_gap(writer, &lost(month, "damaged", name, now))
    }
}

/// The months of the files in a folder, in order.
pub(super) fn months(folder: &Path) -> io::Result<Vec<Month>> {
    let mut months = Vec::new();
    for entry in fs::read_dir(folder)? {
        months.extend(entry?.file_name().to_str().and_then(Month::of_file));
    }
    months.sort_unstable();
    Ok(months)
}

/// Damaged books that were put aside, with their journals; when (Unix seconds), and where.
pub(super) fn damaged(folder: &Path) -> io::Result<Vec<(i64, PathBuf)>> {
    let mut damaged: Vec<(i64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let time = name.to_str().filter(|name| name.starts_with(FILE_PREFIX));
        let time = time.and_then(|name| name.split_once(DAMAGED)?.1.split('-').next()?.parse().ok());
        if let Some(time) = time {
            damaged.push((time, entry.path()));
        }
    }
    Ok(damaged)
}

/// Follows the name of a file that was moved aside, before the time.
const DAMAGED: &str = ".damaged-";

/// What a month of which nothing is known any more has lost: all of it until now.
fn lost(month: Month, reason: &str, note: Option<String>, now: i64) -> Gap {
    let of_month = month.seconds();
    let ended_at = now.clamp(of_month.start, of_month.end);
    Gap { reason: reason.to_owned(), started_at: Some(of_month.start), ended_at, requests: None, note }
}

/// The months that a frame has something of, or that it says were watched.
pub(super) fn months_of(frame: &Frame) -> Vec<Month> {
    let days = frame.uses.days().iter().copied();
    let days = days.chain(frame.learned.iter().map(|(day, ..)| *day));
    // In the order of days.
    let by_day = frame.on_cell_hosts.chunk_by(|(day, ..), (next, ..)| day == next);
    let days = days.chain(by_day.map(|of_day| of_day[0].0));
    let days = days.chain(frame.minutes.iter().map(|of| of.minute.div_euclid(24 * 60)));
    let days = days.chain(frame.brownouts.iter().map(|line| line.day));
    let days = days.chain(frame.lost.iter().map(|call| call.at.div_euclid(86_400)));
    let days = days.chain(frame.harmed.iter().map(|harm| harm.of.minute.div_euclid(24 * 60)));
    let mut months: Vec<_> =
        days.map(Month::of_day).chain([frame.started_at, frame.ended_at].map(Month::of)).collect();
    months.sort_unstable();
    months.dedup();
    months
}

/// Moves a damaged file out of the way, with its journals; its new name.
fn move_aside(folder: &Path, month: Month, now: i64) -> io::Result<PathBuf> {
    let path = month.file(folder);
    let aside = with_suffix(&path, &format!("{DAMAGED}{now}"));
    fs::rename(&path, &aside)?;
    for journal in ["-wal", "-shm"] {
        if let Err(error) = fs::rename(with_suffix(&path, journal), with_suffix(&aside, journal))
            && error.kind() != io::ErrorKind::NotFound
        {
            // A journal of another file would damage the new one.
            return Err(error);
        }
    }
    forget_oldest(folder)?;
    Ok(aside)
}

fn forget_oldest(folder: &Path) -> io::Result<()> {
    let damaged = damaged(folder)?;
    let mut times: Vec<i64> = damaged.iter().map(|(time, _)| *time).collect();
    times.sort_unstable();
    times.dedup();
    let kept = times.split_off(times.len().saturating_sub(KEPT_DAMAGED));
    for (_, path) in damaged.iter().filter(|(time, _)| !kept.contains(time)) {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
