//! The files of the trail: their names, their order, their bounds, and reading them. Writes nothing.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::TrailError;

/// The file that is written to.
pub const FILE_NAME: &str = "audit.jsonl";

/// Largest file that is read: sixteen times what cellgate lets one become. Beyond it, it is another's.
const MAX_READ_BYTES: u64 = 64 * 1024 * 1024;

/// A file of the trail that is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Full {
    /// Counts up by one, and is never used again.
    pub number: u32,
    /// Where it is.
    pub path: PathBuf,
}

/// Which file a name meant when it was last looked at, and how long it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    device: u64,
    inode: u64,
    pub(super) bytes: u64,
}

impl Mark {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino(), bytes: metadata.len() }
    }

    /// Of what has this name now; `None` where there is nothing.
    pub(super) fn at(path: &Path) -> Option<Self> {
        fs::symlink_metadata(path).ok().as_ref().map(Self::of)
    }
}

/// The name of a full file.
pub(super) fn full_name(number: u32) -> String {
    format!("audit-{number:06}.jsonl")
}

/// The full files of a state folder, oldest first.
///
/// # Errors
/// The folder cannot be read.
pub fn full(state_dir: &Path) -> Result<Vec<Full>, TrailError> {
    let failed = |source| TrailError::Io { doing: "looking for", path: state_dir.join(FILE_NAME), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(state_dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let digits = name.strip_prefix("audit-").and_then(|name| name.strip_suffix(".jsonl"));
        let Some(number) = digits.and_then(|digits| digits.parse().ok()) else { continue };
        if name == full_name(number) {
            files.push(Full { number, path });
        }
    }
    files.sort_by_key(|file| file.number);
    Ok(files)
}

/// All files of the trail in a state folder, oldest first; none where nothing was ever written.
///
/// # Errors
/// The folder cannot be read.
pub fn all(state_dir: &Path) -> Result<Vec<PathBuf>, TrailError> {
    let mut paths: Vec<PathBuf> = full(state_dir)?.into_iter().map(|file| file.path).collect();
    let current = state_dir.join(FILE_NAME);
    if fs::symlink_metadata(&current).is_ok() {
        paths.push(current);
    }
    Ok(paths)
}

/// The bytes of a file of the trail.
///
/// # Errors
/// It cannot be read, or cannot be one.
pub fn read(path: &Path) -> Result<Vec<u8>, TrailError> {
    let failed = |source| TrailError::Io { doing: "reading", path: path.to_owned(), source };
    ordinary(path).map_err(failed)?;
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() > MAX_READ_BYTES {
        return Err(failed(io::Error::other(format!("it is larger than {MAX_READ_BYTES} bytes"))));
    }
    let mut bytes = Vec::new();
    file.take(MAX_READ_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Whether a name is one that lines can be read from and written to: to open a pipe is to wait for its other end, and a
/// link leads out of the folder that only we may write.
pub(super) fn ordinary(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_file() { Ok(()) } else { Err(io::Error::other("it is no ordinary file")) }
}
