//! The configurations that have served, in the state folder: the files themselves, as `last_good` writes them, under
//! the number of the line of the audit trail that put them in force. Who, when and why stand in the trail.
//!
//! Keeping one costs no memory and next to no disk time, whatever its size: the last good configuration is on the disk
//! already, and gets a second name.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::last_good::{self, LastGoodError};
use crate::trail::check::Checker;
use crate::trail::{self, Event, Line, TrailError};

/// Name of the folder in the state folder.
pub const FOLDER: &str = "history";

/// Most that are kept: two working weeks at five changes a day.
const MAX_KEPT: usize = 50;

/// Most bytes that they may have together, so that tables of a million rows (40 MB each) cannot fill a disk.
const MAX_BYTES: u64 = 512 * 1024 * 1024;

/// However large they are, what serves and what served before stay.
const ALWAYS_KEPT: usize = 2;

/// What a change may say of itself, as a file in the configuration folder. Not a part of the configuration, and
/// believed by nobody: it is written into the trail.
pub const NOTE_FILE: &str = "change.json";

/// Largest note: two sentences and a name, with room.
const MAX_NOTE_BYTES: u64 = 16 * 1024;

/// Who wants a change, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// The configuration hash that it speaks of; a note that was left behind speaks of another.
    pub hash: String,
    /// Who says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The number in the history of what is restored, where it is a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<u64>,
}

/// One configuration that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Number of the line of the trail that put it in force.
    pub number: u64,
    /// Seconds since the Unix epoch at which it began to serve.
    pub saved_at: u64,
    /// Its configuration hash.
    pub hash: String,
    /// Bytes on the disk.
    pub bytes: u64,
    /// The file.
    pub path: PathBuf,
}

/// The same with what the trail says of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The configuration.
    pub kept: Kept,
    /// The line that put it in force; `None` where the trail no longer has it.
    pub line: Option<Line>,
}

/// What was kept, and what the trail knows.
#[derive(Debug)]
pub struct History {
    /// Oldest first.
    pub entries: Vec<Entry>,
    /// Whether the trail is whole; where it is not, nobody need believe what it says.
    pub is_whole: bool,
}

/// Why the history cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The folder or a file in it.
    #[error("reading the history {}", .path.display())]
    Io {
        /// What is read.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The trail.
    #[error(transparent)]
    Trail(#[from] TrailError),
    /// There is no such entry.
    #[error("the history in {} has no {number}: it has {}; `cellgate history` lists them", .path.display(), numbers(.has))]
    Absent {
        /// The folder.
        path: PathBuf,
        /// What was asked for.
        number: u64,
        /// What there is.
        has: Vec<u64>,
    },
    /// It cannot be read back.
    #[error(transparent)]
    Damaged(#[from] LastGoodError),
}

/// Keeps the last good configuration, which has just been saved, as what line `number` of the trail put in force.
/// What serves already under an older number keeps that. Removes what is over the bounds.
///
/// # Errors
/// It is not kept; nothing else is wrong.
pub fn keep(state_dir: &Path, number: u64) -> io::Result<()> {
    let folder = state_dir.join(FOLDER);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let last_good = state_dir.join(last_good::FILE_NAME);
    let (_, hash) = last_good::about(&last_good).map_err(io::Error::other)?;
    let mut kept = list(state_dir)?;
    if kept.last().is_some_and(|newest| newest.hash == hash) {
        return Ok(());
    }
    // A trail that was moved away begins at 1 again.
    let number = kept.last().map_or(number, |newest| number.max(newest.number.saturating_add(1)));
    let path = folder.join(format!("{number:010}{EXTENSION}"));
    if fs::hard_link(&last_good, &path).is_err() {
        // Some file systems have no second names.
        let part = folder.join("being-copied");
        fs::copy(&last_good, &part)?;
        fs::rename(&part, &path)?;
    }
    File::open(&folder)?.sync_all()?;
    kept.extend(read_entry(&path));
    for old in over_bounds(&kept, MAX_KEPT, MAX_BYTES) {
        fs::remove_file(&old.path)?;
    }
    Ok(())
}

/// What is kept, oldest first. What cannot be read is left out.
///
/// # Errors
/// The folder cannot be read. Where there is none, nothing is kept.
pub fn list(state_dir: &Path) -> io::Result<Vec<Kept>> {
    let entries = match fs::read_dir(state_dir.join(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut kept = Vec::new();
    for entry in entries {
        kept.extend(read_entry(&entry?.path()));
    }
    kept.sort_by_key(|kept: &Kept| kept.number);
    Ok(kept)
}

/// What is kept, with what the trail says of it.
///
/// # Errors
/// [`HistoryError`].
pub fn history(state_dir: &Path) -> Result<History, HistoryError> {
    let kept = listed(state_dir)?;
    let mut lines: BTreeMap<u64, Line> = BTreeMap::new();
    let checked = trail::check(&trail::files::all(state_dir)?, Checker::default(), true, |line| {
        let applies = matches!(line.record.event, Event::Start | Event::Intent);
        if applies && kept.iter().any(|kept| kept.number == line.head.seq) {
            lines.insert(line.head.seq, line.clone());
        }
    })?;
    let entries = kept.into_iter().map(|kept| {
        let line = lines.remove(&kept.number);
        let line = line.filter(|line| line.record.to.as_ref().is_some_and(|to| to.hash == kept.hash));
        Entry { kept, line }
    });
    Ok(History { entries: entries.collect(), is_whole: checked.broken.is_none() })
}

/// The configuration with this number.
///
/// # Errors
/// [`HistoryError`].
pub fn find(state_dir: &Path, number: u64) -> Result<Kept, HistoryError> {
    let kept = listed(state_dir)?;
    let has = kept.iter().map(|kept| kept.number).collect();
    let found = kept.into_iter().find(|kept| kept.number == number);
    found.ok_or_else(|| HistoryError::Absent { path: state_dir.join(FOLDER), number, has })
}

/// What a configuration folder says of the change to this hash. A note that cannot be read says nothing: it must not
/// stand in the way of a change.
pub fn note(folder: &Path, hash: &str) -> Option<Note> {
    let path = folder.join(NOTE_FILE);
    // To open a pipe is to wait for its other end.
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_NOTE_BYTES).read_to_end(&mut bytes).ok()?;
    let note: Note = serde_json::from_slice(&bytes).ok()?;
    (note.hash == hash).then_some(note)
}

const EXTENSION: &str = ".cellgate";

fn listed(state_dir: &Path) -> Result<Vec<Kept>, HistoryError> {
    list(state_dir).map_err(|source| HistoryError::Io { path: state_dir.join(FOLDER), source })
}

fn read_entry(path: &Path) -> Option<Kept> {
    let digits = path.file_name()?.to_str()?.strip_suffix(EXTENSION)?;
    let number = digits.parse().ok()?;
    let (saved_at, hash) = last_good::about(path).ok()?;
    let bytes = fs::metadata(path).ok()?.len();
    Some(Kept { number, saved_at, hash, bytes, path: path.to_owned() })
}

/// The oldest, beyond a number and a sum of bytes.
fn over_bounds(kept: &[Kept], most: usize, most_bytes: u64) -> &[Kept] {
    let mut bytes = 0_u64;
    let fits = kept.iter().rev().enumerate().take_while(|(at, kept)| {
        bytes = bytes.saturating_add(kept.bytes);
        *at < ALWAYS_KEPT || (*at < most && bytes <= most_bytes)
    });
    let fits = fits.count();
    &kept[..kept.len() - fits]
}

fn numbers(has: &[u64]) -> String {
    match has {
        [] => "nothing yet".to_owned(),
        [one] => one.to_string(),
        [first, .., last] => format!("{} from {first} to {last}", has.len()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::last_good::LastGood;
    use crate::trail::{Record, Trail, Version};

    fn serve(state_dir: &Path, hash: &str, number: u64) {
        let files = [("cellgate.yaml".to_owned(), hash.as_bytes().to_vec())];
        let good = LastGood { saved_at: number, hash: hash.to_owned(), files: files.into() };
        last_good::save(state_dir, &good).unwrap();
        keep(state_dir, number).unwrap();
    }

    fn numbers_of(state_dir: &Path) -> Vec<u64> {
        list(state_dir).unwrap().iter().map(|kept| kept.number).collect()
    }

    #[test]
    fn each_configuration_is_kept_once_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        for (hash, number) in [("a", 1), ("a", 3), ("b", 5), ("a", 7)] {
            serve(dir.path(), hash, number);
        }
        assert_eq!(numbers_of(dir.path()), [1, 5, 7]);
        let first = find(dir.path(), 1).unwrap();
        assert_eq!(last_good::read(&first.path).unwrap().files["cellgate.yaml"], b"a");
        assert!(find(dir.path(), 2).unwrap_err().to_string().contains("3 from 1 to 7"));
        // A trail that begins anew makes nothing older than what is there.
        serve(dir.path(), "c", 1);
        assert_eq!(numbers_of(dir.path()), [1, 5, 7, 8]);
    }

    #[test]
    fn the_oldest_go_by_number_and_by_bytes_and_two_stay() {
        let kept: Vec<Kept> = (1..=6)
            .map(|number| Kept { number, saved_at: 0, hash: String::new(), bytes: 10, path: PathBuf::new() })
            .collect();
        for (most, bytes, gone) in [(6, 60, 0), (5, 60, 1), (6, 59, 1), (6, 30, 3), (6, 1, 4), (1, 60, 4)] {
            assert_eq!(over_bounds(&kept, most, bytes).len(), gone, "{most} and {bytes}");
        }
        assert_eq!(over_bounds(&kept, 5, 60)[0].number, 1);
        let dir = tempfile::tempdir().unwrap();
        for number in 1..=60 {
            serve(dir.path(), &number.to_string(), number);
        }
        assert_eq!(numbers_of(dir.path()), (11..=60).collect::<Vec<_>>());
    }

    #[test]
    fn the_trail_says_who_and_why_where_it_speaks_of_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let mut trail = Trail::new(dir.path());
        let mut line = |event, hash: &str| {
            let to = Some(Version { generation: 1, hash: hash.to_owned() });
            let why = Some(format!("why {hash}"));
            trail.append(0, Record { to, why, ..Record::new(event) }).unwrap().seq
        };
        serve(dir.path(), "a", line(Event::Start, "a"));
        serve(dir.path(), "b", line(Event::Intent, "b"));
        serve(dir.path(), "c", line(Event::Outcome, "c"));
        serve(dir.path(), "d", line(Event::Intent, "x"));
        let history = history(dir.path()).unwrap();
        let why = |entry: &Entry| entry.line.as_ref().and_then(|line| line.record.why.clone());
        let said: Vec<_> = history.entries.iter().map(why).collect();
        assert_eq!(said, [Some("why a".to_owned()), Some("why b".to_owned()), None, None]);
        assert!(history.is_whole);
    }

    #[test]
    fn a_note_speaks_of_its_own_change_only() {
        let dir = tempfile::tempdir().unwrap();
        let said = Note { hash: "a".into(), who: None, why: Some("w".into()), restores: None };
        fs::write(dir.path().join(NOTE_FILE), serde_json::to_vec(&said).unwrap()).unwrap();
        assert_eq!(note(dir.path(), "a"), Some(said));
        assert_eq!(note(dir.path(), "b"), None);
        for nonsense in ["", "{", "[]", r#"{"hash":"a","shell":"rm"}"#] {
            fs::write(dir.path().join(NOTE_FILE), nonsense).unwrap();
            assert_eq!(note(dir.path(), "a"), None, "{nonsense}");
        }
        assert_eq!(note(&dir.path().join("none"), "a"), None);
    }
}
