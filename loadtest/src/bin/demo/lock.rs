//! One demonstration a folder: a second one would write its own ports into the configuration that the first one serves. Taken
//! before anything is written. The lock is the kernel's, and ends with the process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Ours, in the state folder.
const OWN: &str = "demo.lock";

/// cellgate's, there too: one that still ends has the folder when its demonstration is gone.
const CELLGATE: &str = "cellgate.lock";

/// Most of such a file that is read: a process id has ten digits at most.
const MOST_READ: u64 = 16;

/// The right to write in a folder, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a state folder, without waiting. `elsewhere` says how another folder is used.
    pub fn take(state: &Path, elsewhere: &str) -> Result<Self> {
        let mut file = locked(state, OWN, "demonstration", elsewhere)?;
        // Only looked at: it is cellgate's to take.
        drop(locked(state, CELLGATE, "cellgate", elsewhere)?);
        // For the message of whoever comes second.
        let written = file.set_len(0).and_then(|()| file.rewind());
        let written = written.and_then(|()| writeln!(file, "{}", std::process::id()));
        written.with_context(|| format!("writing {}", state.join(OWN).display()))?;
        Ok(Self { _file: file })
    }
}

fn locked(state: &Path, name: &str, what: &str, elsewhere: &str) -> Result<File> {
    let path = state.join(name);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
        Err(TryLockError::WouldBlock) => bail!(
            "another {what}{} works in {}, and nothing was changed: end it, or {elsewhere}",
            owner(&mut file),
            state.display()
        ),
    }
}

fn owner(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(MOST_READ).read_to_string(&mut text);
    let id = text.trim();
    let is_id = read.is_ok() && !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    if is_id { format!(" (process {id})") } else { String::new() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_told_whose_the_folder_is_and_where_to_go() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path(), "go elsewhere").unwrap();
        let said = Lock::take(folder.path(), "go elsewhere").unwrap_err().to_string();
        let process = format!("another demonstration (process {})", std::process::id());
        assert!(said.contains(&process) && said.ends_with("go elsewhere"), "{said}");
        drop(first);
        let _again = Lock::take(folder.path(), "go elsewhere").unwrap();
    }

    #[test]
    fn a_cellgate_that_still_ends_there_has_it_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join(CELLGATE)).unwrap();
        std::fs::write(folder.path().join(CELLGATE), "4711\n").unwrap();
        file.try_lock().unwrap();
        let said = Lock::take(folder.path(), "go elsewhere").unwrap_err().to_string();
        assert!(said.contains("another cellgate (process 4711)"), "{said}");
        drop(file);
        let _ours = Lock::take(folder.path(), "go elsewhere").unwrap();
        File::open(folder.path().join(CELLGATE)).unwrap().try_lock().unwrap();
    }
}
