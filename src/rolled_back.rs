//! Configurations that were put on trial and taken back, or refused because they mix moves with other changes, by their
//! hash, in the state folder: so that the same push is not served by the next file event, restart or upgrade. Forgotten once
//! somebody has it serve all the same.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::policy::code::Code;
use crate::state_file;

/// Name of the file in the state folder.
pub const FILE_NAME: &str = "rolled-back.cellgate";

/// First words of the file, with the version of what follows.
const MAGIC: &str = "cellgate-rolled-back-1";

/// Most that are remembered; a fiftieth bad push in a row has other news than the first.
const MOST: usize = 50;

/// Largest file that is read: what is remembered has some hundred bytes each.
const MAX_BYTES: u64 = 1024 * 1024;

/// A configuration that was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolledBack {
    /// Its configuration hash.
    pub hash: Box<str>,
    /// When, in seconds since the Unix epoch.
    pub at: i64,
    /// Why, a line each.
    pub reasons: Vec<String>,
    /// See [`Snapshot::rest`](crate::policy::snapshot::Snapshot::rest): the same push with other rows is the same push.
    /// `None` where what was wrong may be in its rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<Box<str>>,
    /// It was never tried: it mixes moves with other changes, and the moves cannot come without them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_mixed: bool,
}

/// All of them, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory(Vec<RolledBack>);

impl Memory {
    /// What a state folder remembers. A file that is damaged is no memory: what it named goes on trial once more.
    pub fn load(state_dir: &Path) -> Self {
        let path = state_dir.join(FILE_NAME);
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
        let known = match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::default(),
            Err(error) => Err(error.to_string()),
            Ok(_) => from_bytes(&bytes).map_err(str::to_owned),
        };
        known.unwrap_or_else(|reason| {
            let path = path.display();
            tracing::error!(code = %Code::RolledBackForgotten, %path, reason, "which configurations were rolled back is not known any more");
            Self::default()
        })
    }

    /// What was taken back and is the configuration with this hash.
    pub fn find(&self, hash: &str) -> Option<&RolledBack> {
        self.0.iter().find(|one| *one.hash == *hash && !one.is_mixed)
    }

    /// What was taken back and differs from the configuration with this rest in rows alone.
    pub fn find_rest(&self, rest: &str) -> Option<&RolledBack> {
        self.0.iter().find(|one| one.rest.as_deref() == Some(rest))
    }

    /// Whether the configuration with this hash was refused because it mixes moves with other changes.
    pub fn is_mixed(&self, hash: &str) -> bool {
        self.0.iter().any(|one| *one.hash == *hash && one.is_mixed)
    }

    /// Remembers one more.
    pub fn add(&mut self, one: RolledBack) {
        self.forget(&one.hash);
        self.0.push(one);
        let over = self.0.len().saturating_sub(MOST);
        self.0.drain(..over);
    }

    /// Whether there was something to forget.
    pub fn forget(&mut self, hash: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|one| *one.hash != *hash);
        self.0.len() < before
    }

    /// Writes it down.
    ///
    /// # Errors
    /// The state folder cannot be written; what was there before is still there.
    pub fn save(&self, state_dir: &Path) -> io::Result<()> {
        let mut lines = Vec::new();
        for one in &self.0 {
            serde_json::to_writer(&mut lines, one).expect("strings and numbers always serialise");
            lines.push(b'\n');
        }
        state_file::replace(state_dir, FILE_NAME, &state_file::sealed(MAGIC, &lines))
    }
}

fn from_bytes(bytes: &[u8]) -> Result<Memory, &'static str> {
    let lines = std::str::from_utf8(state_file::unsealed(MAGIC, bytes)?).map_err(|_| "it is not text")?;
    let all: Option<Vec<RolledBack>> = lines.lines().map(|line| serde_json::from_str(line).ok()).collect();
    all.map(Memory).ok_or("a line of it cannot be read")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn one(hash: &str) -> RolledBack {
        let reasons = vec!["cell us1: dead".into()];
        RolledBack { hash: hash.into(), at: 7, reasons, rest: None, is_mixed: false }
    }

    #[test]
    fn what_was_taken_back_is_remembered_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let mut memory = Memory::load(folder.path());
        assert_eq!(memory, Memory::default());
        memory.add(one("a"));
        memory.add(one("b"));
        memory.add(one("a"));
        memory.save(folder.path()).unwrap();
        let mut again = Memory::load(folder.path());
        assert_eq!((again.find("a"), again.find("c")), (Some(&one("a")), None));
        assert_eq!(again.0.len(), 2);
        assert!(again.forget("a") && !again.forget("a"));
        again.add(RolledBack { is_mixed: true, ..one("m") });
        again.add(RolledBack { rest: Some("r".into()), ..one("t") });
        again.save(folder.path()).unwrap();
        again = Memory::load(folder.path());
        assert_eq!((again.find("m"), again.is_mixed("m"), again.is_mixed("b")), (None, true, false));
        assert_eq!((again.find_rest("r").map(|one| &*one.hash), again.find_rest("q")), (Some("t"), None));
        (0..=MOST).for_each(|number| again.add(one(&number.to_string())));
        assert_eq!((again.0.len(), again.find("0")), (MOST, None));
    }

    #[test]
    fn what_an_earlier_version_has_written_is_read() {
        let line = br#"{"hash":"a","at":7,"reasons":["cell us1: dead"]}"#;
        let bytes = state_file::sealed(MAGIC, &[line, &b"\n"[..]].concat());
        assert_eq!(from_bytes(&bytes), Ok(Memory(vec![one("a")])));
    }

    #[test]
    fn a_damaged_file_is_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let mut memory = Memory::default();
        memory.add(one("a"));
        memory.save(folder.path()).unwrap();
        let path = folder.path().join(FILE_NAME);
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            assert_eq!(Memory::load(folder.path()), Memory::default(), "byte {at}");
        }
    }
}
