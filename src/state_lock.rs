//! One process a state folder: two that serve from the same one would overwrite each other's learned
//! credentials and last good configuration without a word. Not the admin socket's business, whose path
//! may be another.
//!
//! The lock is the kernel's (flock) on a file of the folder: it ends with the process, however that ends,
//! and it belongs to the open file, so that whoever is given the file has the lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Name of the file in the state folder. It stays when nobody has the lock: removing it would let two
/// processes lock two files of one name.
pub const FILE_NAME: &str = "cellgate.lock";

/// Most of the file that is read: a process id has ten digits at most.
const MAX_OWNER: u64 = 16;

/// The right to write in a state folder, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct StateLock {
    /// Its lock is the lock.
    file: File,
}

/// Why a state folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StateLockError {
    /// Another process has it.
    #[error(
        "the state folder {} is in use by another cellgate{}: stop that one, or give this one a folder of its own \
         (state_dir in boot.yaml, or --state-dir)",
        .folder.display(), owner(.process.as_deref())
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The process id that stands in the file, as seen by that process.
        process: Option<String>,
    },
    /// The file cannot be opened or locked.
    #[error("locking {}: the state folder must be on a file system with locks and writable for this user", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl StateLock {
    /// Takes the lock of a folder that exists, without waiting.
    ///
    /// # Errors
    /// [`StateLockError`].
    pub fn take(folder: &Path) -> Result<Self, StateLockError> {
        let path = folder.join(FILE_NAME);
        let failed = |source| StateLockError::Io { path: path.clone(), source };
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = open.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let (folder, process) = (folder.to_owned(), read_owner(&file));
                return Err(StateLockError::InUse { folder, process });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // For the message of whoever comes second; the lock does not depend on it.
        write_owner(&mut file).map_err(failed)?;
        Ok(Self { file })
    }

    /// The lock once more, for a successor: it ends when both have let go of it.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    /// The lock of a predecessor, from its [`duplicate`](Self::duplicate).
    pub fn adopt(lock: OwnedFd) -> Self {
        Self { file: lock.into() }
    }

    /// Says in the file whose it is now. Nothing but a message depends on it.
    pub fn sign(&mut self) {
        if let Err(error) = write_owner(&mut self.file) {
            tracing::debug!(%error, "the lock of the state folder names an earlier process");
        }
    }
}

fn write_owner(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_owner(file: &File) -> Option<String> {
    let mut text = String::new();
    file.take(MAX_OWNER).read_to_string(&mut text).ok()?;
    let id = text.trim();
    (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())).then(|| id.to_owned())
}

fn owner(process: Option<&str>) -> String {
    process.map_or_else(String::new, |id| format!(" (process {id})"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::telemetry::fixture::wait_until;

    /// A child that another test starts at this moment has the file, too, until it is another program; then it is free.
    fn comes_free(folder: &Path) {
        wait_until(|| StateLock::take(folder).is_ok());
    }

    #[test]
    fn a_lock_that_is_handed_on_is_held_until_both_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateLock::take(folder.path()).unwrap();
        let mut second = StateLock::adopt(first.duplicate().unwrap());
        second.sign();
        drop(first);
        assert!(matches!(StateLock::take(folder.path()), Err(StateLockError::InUse { .. })));
        drop(second);
        comes_free(folder.path());
    }

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateLock::take(folder.path()).unwrap();
        let said = StateLock::take(folder.path()).unwrap_err().to_string();
        let expected =
            [folder.path().to_str().unwrap(), &format!("process {}", std::process::id()), "--state-dir"];
        for expected in expected {
            assert!(said.contains(expected), "{expected} in {said}");
        }
        drop(first);
        comes_free(folder.path());
    }

    #[test]
    fn a_file_left_by_a_dead_process_locks_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), "4194304, or so\n").unwrap();
        let lock = StateLock::take(folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join(FILE_NAME)).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        drop(lock);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = StateLock::take(Path::new("/nonexistent")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/cellgate.lock"), "{error}");
    }
}
