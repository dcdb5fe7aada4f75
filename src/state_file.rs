//! Replacing a file of the state folder: a reader sees the old one or the new one whole, also after a
//! power cut; and who may do so while two processes share the folder. What is in it is its owner's business.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};

use crate::policy::hex::hex;

/// Writes the file beside the old one, readable by its owner only, and renames it into place.
///
/// # Errors
/// The state folder cannot be written; the file that was there before is still there.
pub fn replace(state_dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    replace_with(state_dir, name, [content])
}

/// The same of a content in pieces: what is large need not be put together first.
///
/// # Errors
/// As [`replace`].
pub fn replace_with<'p>(
    state_dir: &Path,
    name: &str,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> io::Result<()> {
    let part = fresh_part(state_dir, name)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    for piece in pieces {
        file.write_all(piece)?;
    }
    file.sync_all()?;
    settle(state_dir, &part, name)
}

/// Lets the file go by a second name too, in place of what had it, so that it outlives being replaced. It never
/// lacks its first name meanwhile.
///
/// # Errors
/// As [`replace`]; a file that is not there is no error.
pub fn keep_as(state_dir: &Path, name: &str, second: &str) -> io::Result<()> {
    let part = fresh_part(state_dir, second)?;
    match fs::hard_link(state_dir.join(name), &part) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => settle(state_dir, &part, second),
    }
}

/// Where a new file is made before it has its name.
fn fresh_part(state_dir: &Path, name: &str) -> io::Result<PathBuf> {
    let part = state_dir.join(format!("{name}.part"));
    // A leftover of a crash may have other permissions; a new file has ours.
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(part),
    }
}

fn settle(state_dir: &Path, part: &Path, name: &str) -> io::Result<()> {
    fs::rename(part, state_dir.join(name))?;
    // The rename itself must survive a power cut.
    File::open(state_dir)?.sync_all()
}

/// A file that is believed only whole: a line with its kind and version and the digest of all that follows, and that.
pub fn sealed(magic: &str, rest: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{magic} {}\n", hex(digest(&SHA256, rest))).into_bytes();
    bytes.extend_from_slice(rest);
    bytes
}

/// What follows the first line of such a file.
///
/// # Errors
/// It is not what [`sealed`] makes; the text says what does not fit.
pub fn unsealed<'a>(magic: &str, bytes: &'a [u8]) -> Result<&'a [u8], &'static str> {
    let (first, rest) = split_line(bytes).ok_or("it has no first line")?;
    let written = first.strip_prefix(magic.as_bytes()).ok_or("it is not of this version")?;
    if written.strip_prefix(b" ") != Some(hex(digest(&SHA256, rest)).as_bytes()) {
        return Err("its digest does not fit its content");
    }
    Ok(rest)
}

/// The first line without its end, and what follows it.
pub fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// Whether this process may replace files of the state folder. Two do not at once: a predecessor gives it up
/// before its successor reads, so that nothing old is written over something new.
#[derive(Debug)]
pub struct Ownership {
    /// Held by whoever takes turns with others.
    turn: Mutex<()>,
    writers: Mutex<Writers>,
    ended: Condvar,
}

#[derive(Debug)]
struct Writers {
    owned: bool,
    /// How many write right now.
    writing: u32,
}

impl Default for Ownership {
    fn default() -> Self {
        let writers = Writers { owned: true, writing: 0 };
        Self { turn: Mutex::default(), writers: Mutex::new(writers), ended: Condvar::new() }
    }
}

impl Ownership {
    /// Writes, unless it has been given up; it cannot be given up meanwhile. One after the other.
    pub fn write<T>(&self, write: impl FnOnce() -> T) -> Option<T> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.write_beside(write)
    }

    /// The same without waiting for a turn, which may take as long as a million accounts take to be written: for what has one
    /// writer of its own.
    pub fn write_beside<T>(&self, write: impl FnOnce() -> T) -> Option<T> {
        let _writing = self.begin()?;
        Some(write())
    }

    /// Whether it has not been given up. Waits for nobody who writes, so the answer may be old by the time it is read: who
    /// writes upon it asks again by writing.
    pub fn is_ours(&self) -> bool {
        self.writers().owned
    }

    /// From now on nobody begins to write until it is taken back; waits for those that write.
    pub fn give_up(&self) -> GivenUp<'_> {
        let mut writers = self.writers();
        writers.owned = false;
        while writers.writing > 0 {
            writers = self.ended.wait(writers).unwrap_or_else(PoisonError::into_inner);
        }
        drop(writers);
        GivenUp { ownership: self, taken_back: true }
    }

    fn begin(&self) -> Option<Writing<'_>> {
        let mut writers = self.writers();
        writers.owned.then(|| {
            writers.writing += 1;
            Writing(self)
        })
    }

    fn take_back(&self) {
        self.writers().owned = true;
    }

    /// A poisoned lock means that another holder panicked between two whole changes.
    fn writers(&self) -> MutexGuard<'_, Writers> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody writes, also where that panics.
struct Writing<'a>(&'a Ownership);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.writers().writing -= 1;
        self.0.ended.notify_all();
    }
}

/// The state folder is given up for as long as this lives, or for good.
#[derive(Debug)]
#[must_use = "it is taken back as soon as this is dropped"]
pub struct GivenUp<'a> {
    ownership: &'a Ownership,
    taken_back: bool,
}

impl GivenUp<'_> {
    /// The successor has it.
    pub fn for_good(mut self) {
        self.taken_back = false;
    }
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if self.taken_back {
            self.ownership.take_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_is_not_written_until_it_is_taken_back() {
        let ownership = Ownership::default();
        assert_eq!(ownership.write(|| 1), Some(1));
        let given_up = ownership.give_up();
        assert_eq!(ownership.write(|| 2), None);
        drop(given_up);
        assert_eq!(ownership.write(|| 3), Some(3));
        ownership.give_up().for_good();
        assert_eq!(ownership.write(|| 4), None);
        assert_eq!(ownership.write_beside(|| 5), None);
    }

    /// Longer than anything takes that does not wait for ever.
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

    #[test]
    fn who_has_one_writer_waits_for_no_turn_and_is_waited_for() {
        let ownership = Ownership::default();
        let (began, begin) = std::sync::mpsc::sync_channel(1);
        let (done, end) = std::sync::mpsc::sync_channel::<()>(1);
        let (gave_up, given_up) = std::sync::mpsc::sync_channel(1);
        std::thread::scope(|scope| {
            let writes = &ownership;
            scope.spawn(move || {
                writes.write(|| {
                    began.send(()).expect("the test waits for it");
                    end.recv_timeout(PATIENCE).expect("the test says when");
                })
            });
            // Dropped where something fails, so that the writer ends.
            let done = done;
            begin.recv().expect("the writer begins");
            // A turn is taken, and may take long.
            assert_eq!(ownership.write_beside(|| 1), Some(1));
            assert!(ownership.is_ours());
            scope.spawn(move || {
                writes.give_up().for_good();
                gave_up.send(()).expect("the test waits for it");
            });
            // Who gives it up waits for the writer, and lets nobody else begin.
            while ownership.is_ours() {
                std::thread::yield_now();
            }
            assert!(given_up.try_recv().is_err(), "somebody writes still");
            assert_eq!(ownership.write_beside(|| 2), None);
            done.send(()).expect("the writer waits for it");
            given_up.recv().expect("it is given up");
        });
    }

    #[test]
    fn a_writer_that_panics_is_not_waited_for() {
        let ownership = Ownership::default();
        let write = || ownership.write_beside(|| assert!(ownership.turn.is_poisoned(), "a writer fails"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(write)).is_err());
        ownership.give_up().for_good();
    }
}
