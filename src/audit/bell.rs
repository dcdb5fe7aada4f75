//! How a report asks a running process for what it holds back: windows that wait in the spool for others. A file in the state
//! folder, which the process has locked for as long as it lives; how long the file is says what is meant. There is none until
//! a process holds something back for the first time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Of its owner only, as all files of the folder.
const FILE_MODE: u32 = 0o600;

/// Processes of one folder, as many as there can be spools.
const MOST: u32 = 8;

/// Nothing is held back.
const QUIET: u64 = 0;

/// Something is held back.
const HELD: u64 = 1;

/// And somebody wants to read it.
const RUNG: u64 = 2;

/// How often a process looks, while it holds something back, and a report, while it waits.
pub(super) const LOOK: Duration = Duration::from_millis(200);

/// Longest that a report waits: a million rows take some ten seconds. It then reads what is there.
const PATIENCE: Duration = Duration::from_secs(15);

/// The side of the process that writes.
#[derive(Debug)]
pub(super) struct Bell {
    folder: PathBuf,
    hung: Option<(File, PathBuf)>,
    holds: bool,
}

impl Bell {
    /// For a folder. Makes no file yet.
    pub const fn new(folder: PathBuf) -> Self {
        Self { folder, hung: None, holds: false }
    }

    /// Says that something is held back; whether somebody wants to read it. Without a file for that nobody can ask, and reports
    /// are as old as what is held back.
    pub fn hold(&mut self) -> bool {
        if self.hung.is_none() {
            self.hung = hang(&self.folder);
        }
        let Some((file, _)) = &self.hung else { return false };
        let length = file.metadata().map_or(QUIET, |of| of.len());
        if !std::mem::replace(&mut self.holds, true) && length == QUIET {
            let _ = file.set_len(HELD);
        }
        length >= RUNG
    }

    /// Says that nothing is held back any more.
    pub fn release(&mut self) {
        let held = std::mem::take(&mut self.holds);
        let Some((file, _)) = &self.hung else { return };
        // A report that saw it held a moment ago may have rung since.
        if held || file.metadata().is_ok_and(|of| of.len() != QUIET) {
            let _ = file.set_len(QUIET);
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.hung {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Waits until the processes of a folder hold nothing back; at once where none does.
pub(super) fn ring(folder: &Path) {
    let rung: Vec<File> = paths(folder).filter_map(|path| rung(&path)).collect();
    let until = Instant::now() + PATIENCE;
    let waits = |file: &File| file.metadata().is_ok_and(|of| of.len() != QUIET);
    while rung.iter().any(waits) && Instant::now() < until {
        std::thread::sleep(LOOK);
    }
}

/// Where a running process holds something back: its file, in which it is told that somebody wants to read it.
fn rung(path: &Path) -> Option<File> {
    let file = OpenOptions::new().write(true).open(path).ok()?;
    let holds = file.metadata().ok()?.len() != QUIET;
    // What a killed process held back, the next one writes.
    let is_running = holds && matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    (is_running && file.set_len(RUNG).is_ok()).then_some(file)
}

fn hang(folder: &Path) -> Option<(File, PathBuf)> {
    paths(folder).find_map(|path| {
        let open = || -> io::Result<File> {
            let options = &mut OpenOptions::new();
            let file = options.write(true).create(true).truncate(false).mode(FILE_MODE).open(&path)?;
            file.try_lock()?;
            file.set_len(QUIET)?;
            Ok(file)
        };
        open().ok().map(|file| (file, path))
    })
}

fn paths(folder: &Path) -> impl Iterator<Item = PathBuf> {
    (1..=MOST).map(move |number| folder.join(format!("books-{number}.held")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::telemetry::fixture::wait_until;

    fn names(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_report_waits_for_what_is_held_back_and_for_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        ring(folder.path());
        let [mut one, mut two] = [(); 2].map(|()| Bell::new(folder.path().to_owned()));
        assert_eq!(names(folder.path()), 0, "nobody holds anything back");
        assert!(!one.hold() && !two.hold() && !one.hold());
        assert_eq!(names(folder.path()), 2, "one each");
        two.release();
        std::thread::scope(|scope| {
            let report = scope.spawn(|| ring(folder.path()));
            while !one.hold() {
                assert!(!report.is_finished());
                std::thread::yield_now();
            }
            assert!(!two.hold(), "which held nothing back then");
            two.release();
            one.release();
            report.join().unwrap();
        });
        assert!(!one.hold(), "asked once");
        drop((one, two));
        assert_eq!(names(folder.path()), 0);
    }

    #[test]
    fn nobody_waits_for_a_process_that_was_killed() {
        let folder = tempfile::tempdir().unwrap();
        let path = paths(folder.path()).next().unwrap();
        std::fs::write(&path, "x").unwrap();
        let begun = Instant::now();
        ring(folder.path());
        assert!(begun.elapsed() < PATIENCE && rung(&path).is_none());
        // A child that another test started meanwhile has the lock of a look, too, until it is another program.
        let file = File::open(&path).unwrap();
        wait_until(|| file.try_lock().is_ok());
        file.unlock().unwrap();
        let mut next = Bell::new(folder.path().to_owned());
        assert!(!next.hold() && rung(&path).is_some() && next.hold());
    }
}
