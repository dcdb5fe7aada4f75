//! The last good configuration on disk: what a start falls back to when the configuration is missing,
//! corrupt or refused. Written whole and renamed, so that a reader sees the old or the new and never
//! half of one; checked by a digest before a byte of it is believed.
//!
//! It holds the configuration files themselves, certificates and keys included (a deleted certificate
//! is one of the things it must survive), so the file is readable by its owner only.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::boot::MAX_CONFIG_BYTES;
use crate::state_file;

/// Name of the file in the state folder.
pub const FILE_NAME: &str = "last-good.cellgate";

/// First word of the file; the number is the version of the format.
const MAGIC: &str = "cellgate-last-good 1";

/// Largest file that is read back: whatever a configuration may be, and the list of its files (a mebibyte is
/// ten thousand names).
const MAX_BYTES: u64 = MAX_CONFIG_BYTES + 1024 * 1024;

/// A configuration that was served, by the file names of its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastGood {
    /// Seconds since the Unix epoch at which it began to serve.
    pub saved_at: u64,
    /// The configuration hash of the snapshot made of it.
    pub hash: String,
    /// Path in the configuration folder, and content.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Why there is no last good configuration.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    /// Nothing was ever saved here.
    #[error("there is no last good configuration at {}", .0.display())]
    Absent(PathBuf),
    /// It cannot be read or written.
    #[error("cannot access the last good configuration at {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        #[source]
        /// The system's reason.
        source: io::Error,
    },
    /// It is not what was written: truncated, altered, or of another version.
    #[error("the last good configuration at {} is damaged: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: &'static str,
    },
}

#[derive(Serialize, Deserialize)]
struct Header {
    saved_at: u64,
    hash: String,
    files: Vec<(String, usize)>,
}

/// Saves `last_good` in the state folder.
///
/// # Errors
/// [`LastGoodError::Io`]; the file that was there before is still there.
pub fn save(state_dir: &Path, last_good: &LastGood) -> Result<(), LastGoodError> {
    let written = state_file::replace(state_dir, FILE_NAME, &last_good.to_bytes());
    written.map_err(|source| LastGoodError::Io { path: state_dir.join(FILE_NAME), source })
}

/// Reads it back.
///
/// # Errors
/// [`LastGoodError`].
pub fn load(state_dir: &Path) -> Result<LastGood, LastGoodError> {
    let path = state_dir.join(FILE_NAME);
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => LastGoodError::Absent(path.clone()),
        _ => LastGoodError::Io { path: path.clone(), source },
    };
    let mut bytes = Vec::new();
    File::open(&path).map_err(io)?.take(MAX_BYTES).read_to_end(&mut bytes).map_err(io)?;
    LastGood::from_bytes(&bytes).map_err(|reason| LastGoodError::Damaged { path: path.clone(), reason })
}

impl LastGood {
    /// The file: a line with the digest of all that follows, a line that lists the files, and the files.
    pub fn to_bytes(&self) -> Vec<u8> {
        let header = Header {
            saved_at: self.saved_at,
            hash: self.hash.clone(),
            files: self.files.iter().map(|(name, content)| (name.clone(), content.len())).collect(),
        };
        let mut rest = serde_json::to_vec(&header).expect("strings and numbers always serialise");
        rest.push(b'\n');
        for content in self.files.values() {
            rest.extend_from_slice(content);
        }
        state_file::sealed(MAGIC, &rest)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It is not what [`to_bytes`](Self::to_bytes) makes; the text says what does not fit.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, &'static str> {
        let rest = state_file::unsealed(MAGIC, bytes)?;
        let (header, mut content) = state_file::split_line(rest).ok_or("it has no header")?;
        let header: Header = serde_json::from_slice(header).map_err(|_| "its header cannot be read")?;
        let mut files = BTreeMap::new();
        for (name, len) in header.files {
            let (file, more) = content.split_at_checked(len).ok_or("a file in it is cut short")?;
            if files.insert(name, file.to_vec()).is_some() {
                return Err("a file is in it twice");
            }
            content = more;
        }
        if !content.is_empty() {
            return Err("it goes on behind its last file");
        }
        Ok(Self { saved_at: header.saved_at, hash: header.hash, files })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn example() -> LastGood {
        let files = [("a.yaml", "one\ntwo"), ("b.csv", "")];
        let files = files.map(|(name, content)| (name.to_owned(), content.as_bytes().to_vec()));
        LastGood { saved_at: 1_770_000_000, hash: "abc".into(), files: files.into() }
    }

    #[test]
    fn what_was_saved_comes_back_and_only_its_owner_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), &example()).unwrap();
        assert_eq!(load(dir.path()).unwrap(), example());
        let mode = fs::metadata(dir.path().join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn any_changed_or_missing_byte_is_noticed() {
        let whole = example().to_bytes();
        for position in 0..whole.len() {
            let mut altered = whole.clone();
            altered[position] ^= 1;
            assert!(LastGood::from_bytes(&altered).is_err(), "byte {position}");
            assert!(LastGood::from_bytes(&whole[..position]).is_err(), "cut at {position}");
        }
    }

    #[test]
    fn a_file_with_its_digest_is_still_looked_at() {
        let read = |rest: &str| LastGood::from_bytes(&state_file::sealed(MAGIC, rest.as_bytes()));
        let header = |files: &str| format!("{{\"saved_at\":1,\"hash\":\"a\",\"files\":[{files}]}}\n");
        let one = header(r#"["a.yaml",3]"#);
        assert_eq!(read(&format!("{one}one")).unwrap().files["a.yaml"], b"one");
        for (rest, reason) in [
            (format!("{one}on"), "cut short"),
            (format!("{one}one more"), "goes on"),
            (header(r#"["a.yaml",1],["a.yaml",0]"#) + "x", "twice"),
            (header(r#"["a.yaml",-1]"#), "cannot be read"),
            (header(r#"["a.yaml",18446744073709551615]"#), "cut short"),
            ("{}".to_owned(), "no header"),
        ] {
            let found = read(&rest).unwrap_err();
            assert!(found.contains(reason), "{rest}: {found}");
        }
        let loose = String::from_utf8(state_file::sealed(MAGIC, b"")).unwrap().replacen(" 1 ", " 1", 1);
        assert!(LastGood::from_bytes(loose.as_bytes()).unwrap_err().contains("digest"));
    }

    #[test]
    fn nothing_saved_is_not_the_same_as_damaged() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(load(dir.path()), Err(LastGoodError::Absent(_))));
        fs::write(dir.path().join(FILE_NAME), "cellgate-last-good 2 x\n").unwrap();
        assert!(matches!(load(dir.path()), Err(LastGoodError::Damaged { .. })));
    }

    #[test]
    fn a_failed_save_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), &example()).unwrap();
        // A folder where the new file should be made cannot be removed as a file.
        fs::create_dir(dir.path().join(format!("{FILE_NAME}.part"))).unwrap();
        let next = LastGood { saved_at: 2, ..example() };
        assert!(save(dir.path(), &next).is_err());
        assert_eq!(load(dir.path()).unwrap(), example());
    }
}
