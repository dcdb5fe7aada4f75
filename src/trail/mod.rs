//! The audit trail: every start, every change that was meant, and what became of it, as lines of JSON of which each
//! holds the digest of the one before. Lines are only ever added. One process writes at a time
//! ([`Ownership`](crate::state_file::Ownership)); others may read at any time.
//!
//! What it proves is in `docs/audit-trail.md`: a changed, missing or moved line is found, unless everything after it
//! was written anew. Whoever can write the file can do that, so heads belong elsewhere too.

pub mod check;
pub mod files;
pub mod line;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::policy::code::Code;
use check::{Checked, Checker};
pub use files::FILE_NAME;
use files::{Mark, full, full_name, ordinary};
pub use line::{Event, Head, Line, Record, Torn, Version};

/// A file that has reached this is followed by another one: at two lines of half a kilobyte a reload it holds four
/// thousand reloads, and is read back at a start in some hundredths of a second.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Most full files that are kept, 128 MiB in all: a reload every four minutes for a year.
const MAX_FULL_FILES: usize = 31;

/// No line is longer: two texts and two lists at their bounds, with every byte escaped.
pub const MAX_LINE_BYTES: u64 = 512 * 1024;

/// Why a line was not written, or not read.
#[derive(Debug, thiserror::Error)]
pub enum TrailError {
    /// The system says no.
    #[error("{doing} the audit trail {}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// The writing end.
#[derive(Debug)]
pub struct Trail {
    state_dir: PathBuf,
    /// The last line that is known to be there, from writing or from reading.
    head: Option<Head>,
    /// The file as it was left. Where it is another by now, it is read again before anything is added.
    left: Option<Mark>,
    /// The file as it was last looked at.
    looked: Option<Option<Mark>>,
    max_file_bytes: u64,
    max_full_files: usize,
}

/// What is about to be added to a file, in one write.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    head: Option<Head>,
}

impl Batch {
    fn add(&mut self, at: i64, record: Record) {
        let (head, line) = Line::write(self.head.as_ref(), at, record);
        self.bytes.extend_from_slice(&line);
        self.head = Some(head);
    }
}

impl Trail {
    /// Of a state folder. Nothing is read before the first line is written.
    pub fn new(state_dir: &Path) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
            head: None,
            left: None,
            looked: None,
            max_file_bytes: MAX_FILE_BYTES,
            max_full_files: MAX_FULL_FILES,
        }
    }

    /// The same with other bounds.
    #[must_use]
    pub fn with_bounds(self, max_file_bytes: u64, max_full_files: usize) -> Self {
        Self { max_file_bytes, max_full_files, ..self }
    }

    /// Adds a line, and returns when it is on the disk. A chain that is there is continued, whatever has happened to
    /// it: what does not fit is said in a line of its own before this one, and in the log.
    ///
    /// # Errors
    /// The line is not on the disk, or not surely. The next one will begin behind whatever is there.
    pub fn append(&mut self, at: i64, record: Record) -> Result<Head, TrailError> {
        let mut batch = Batch { bytes: Vec::new(), head: self.head.clone() };
        let as_left = self.left.is_some() && Mark::at(&self.path()) == self.left;
        // Until the line is on the disk, the file may hold anything.
        self.left = None;
        if !as_left {
            self.resume(at, &mut batch)?;
        }
        let dropped = self.make_room(at, &mut batch)?;
        batch.add(at, record);
        let left = self.write(&batch.bytes).map_err(|source| self.failed("writing", source))?;
        for path in dropped {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "a file of the audit trail that is over its bound stays");
            }
        }
        self.left = Some(left);
        let head = batch.head.expect("a line was added a moment ago");
        self.head = Some(head.clone());
        Ok(head)
    }

    /// The end of what is on the disk, where that is neither as this process has left it nor as it was at the last look:
    /// somebody else has written there, or taken away. Costs the system's word for the file where nothing has happened.
    pub fn look(&mut self) -> Option<Result<Checked, TrailError>> {
        let there = Mark::at(&self.path());
        let is_news = self.left.is_some() && there != self.left && self.looked != Some(there);
        self.looked = Some(there);
        is_news.then(|| self.read_end())
    }

    /// Reads the end of the trail, and says in lines of their own what is wrong with it.
    fn resume(&mut self, at: i64, batch: &mut Batch) -> Result<(), TrailError> {
        let read = self.read_end()?;
        if read.lacks_feed {
            batch.bytes.push(b'\n');
        }
        let torn = read.rest.as_ref().map(|rest| {
            let mut gap = rest.bytes.clone();
            gap.extend_from_slice(&batch.bytes);
            Torn::of(&gap)
        });
        let mut reasons: Vec<String> = Vec::new();
        if let (Some(broken), false) = (&read.broken, read.told) {
            let check::Break { file, line, what, expected, found } = broken;
            reasons.push(format!("{file}:{line}: {what}; expected {expected}, found {found}"));
        }
        if let (Some(ours), false) = (&self.head, read.contains) {
            let Head { seq, sha256 } = ours;
            reasons.push(format!("line {seq} (sha256 {sha256}), which this process has written, is gone"));
        }
        batch.head = match (self.head.take(), read.head) {
            (Some(ours), Some(there)) if ours.seq > there.seq => Some(ours),
            (ours, there) => there.or(ours),
        };
        self.head.clone_from(&batch.head);
        if !reasons.is_empty() {
            tracing::error!(code = %Code::TrailBroken,
                state_dir = %self.state_dir.display(), ?reasons,
                "THE AUDIT TRAIL IS BROKEN: it was changed by something else than cellgate; keep a copy, see \
                 `cellgate audit verify`; it is continued"
            );
            batch.add(at, Record { reasons, torn, ..Record::new(Event::Broken) });
        } else if let (Some(rest), Some(torn)) = (read.rest, torn) {
            tracing::warn!(code = %Code::TrailTorn,
                place = rest.place,
                bytes = torn.bytes,
                "the audit trail ended within a line; that is kept, and the trail goes on behind it"
            );
            let reasons = vec![format!("{} ends within a line", rest.place)];
            batch.add(at, Record { reasons, torn: Some(torn), ..Record::new(Event::Torn) });
        }
        Ok(())
    }

    /// The file that is written to and the one before it: a whole year is not read again at every start.
    fn read_end(&self) -> Result<Checked, TrailError> {
        let files = files::all(&self.state_dir)?;
        let mut checker = Checker::looking_for(self.head.as_ref().map(|head| head.sha256.clone()));
        for path in files.iter().skip(files.len().saturating_sub(2)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            checker.file(&name, &files::read(path)?, |_| {});
        }
        Ok(checker.finish(false))
    }

    /// Lets a new file begin where this one is full, and names those that are then too many.
    fn make_room(&self, at: i64, batch: &mut Batch) -> Result<Vec<PathBuf>, TrailError> {
        let path = self.path();
        let is_full = Mark::at(&path).is_some_and(|mark| mark.bytes >= self.max_file_bytes);
        // What belongs behind the end of this very file comes first.
        if !is_full || !batch.bytes.is_empty() {
            return Ok(Vec::new());
        }
        let mut before = full(&self.state_dir)?;
        let number = before.last().map_or(1, |last| last.number.saturating_add(1));
        let to = self.state_dir.join(full_name(number));
        let moved = fs::rename(&path, &to).and_then(|()| File::open(&self.state_dir)?.sync_all());
        moved.map_err(|source| self.failed("beginning a new file of", source))?;
        before.push(files::Full { number, path: to });
        let over = before.len().saturating_sub(self.max_full_files);
        let Some(last) = over.checked_sub(1).map(|last| before[last].path.clone()) else {
            return Ok(Vec::new());
        };
        let last = match check(&[last], Checker::default(), false, |_| {}) {
            Ok(last) => last,
            Err(error) => {
                tracing::warn!(%error, "the oldest files of the audit trail stay, over their bound");
                return Ok(Vec::new());
            }
        };
        let dropped_to = last.head.map(|head| head.seq);
        let paths: Vec<PathBuf> = before.into_iter().take(over).map(|file| file.path).collect();
        let names = paths.iter().filter_map(|path| path.file_name());
        let reasons = names.map(|name| format!("{} is removed", name.to_string_lossy())).collect();
        batch.add(at, Record { dropped_to, reasons, ..Record::new(Event::Dropped) });
        Ok(paths)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<Mark> {
        let path = self.path();
        let is_new = match ordinary(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            other => other.map(|()| false)?,
        };
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        if is_new {
            File::open(&self.state_dir)?.sync_all()?;
        }
        Ok(Mark::of(&file.metadata()?))
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> TrailError {
        TrailError::Io { doing, path: self.path(), source }
    }

    fn path(&self) -> PathBuf {
        self.state_dir.join(FILE_NAME)
    }
}

/// Checks files of the trail, oldest first, and gives each line to `each`.
///
/// # Errors
/// One cannot be read.
pub fn check(
    files: &[PathBuf],
    mut checker: Checker,
    whole: bool,
    mut each: impl FnMut(&Line),
) -> Result<Checked, TrailError> {
    for path in files {
        checker.file(&path.display().to_string(), &files::read(path)?, &mut each);
    }
    Ok(checker.finish(whole))
}

#[cfg(test)]
mod tests;
