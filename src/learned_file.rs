//! Learned credentials across a restart: the table's export as a file in the state folder. It holds
//! keyed fingerprints and account ids, never a token. Losing it costs lessons, not correctness, so a
//! damaged file is reported and learned anew.

use std::path::Path;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::config::secret::unhex;
use crate::policy::credential::Fingerprint;
use crate::policy::ids::{AccountId, Label};
use crate::policy::learned::{EXPORT_VERSION, LearnedEntry, LearnedExport, LearnedTable, UnknownVersion};
use crate::policy::snapshot::Snapshot;
use crate::state_file;

/// Name of the file in the state folder.
pub const FILE_NAME: &str = "learned.json";

/// Most lessons that are handed to a successor: at 80 bytes each they fit the line that carries them twice
/// over, and in a drain of half a minute a replica does not meet so many new tokens.
const MAX_LESSONS: usize = 100_000;

#[derive(Serialize, Deserialize)]
struct Line {
    version: u16,
    /// Under which key the fingerprints were made: another key makes them meaningless.
    key: String,
    entries: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
struct Row(String, u64, bool, u64);

/// Reads the file into an empty table. What is wrong with it is in the log; then it is learned anew.
pub fn load(state_dir: &Path, table: &LearnedTable, snapshot: &Snapshot, now: i64) {
    let path = state_dir.join(FILE_NAME);
    let rules = &snapshot.identify.credentials;
    if rules.learning.is_none() || rules.keys.is_empty() {
        return;
    }
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "learned credentials cannot be read; they are learned anew");
            return;
        }
    };
    match read(table, snapshot, &bytes, u64::try_from(now).unwrap_or(0)) {
        Ok(entries) => tracing::info!(entries, "learned credentials read"),
        Err(reason) => {
            tracing::warn!(path = %path.display(), reason, "learned credentials not used; they are learned anew");
        }
    }
}

/// Takes over what was saved under the snapshot's newest key, within its bounds. What the table knows stays as
/// it is. Says how many entries were taken.
///
/// # Errors
/// They were not made under that key, or are damaged.
pub fn read(table: &LearnedTable, snapshot: &Snapshot, bytes: &[u8], now: u64) -> Result<usize, String> {
    let rules = &snapshot.identify.credentials;
    let (Some(bounds), Some(key)) = (&rules.learning, rules.keys.first()) else { return Ok(0) };
    table.import(&decode(bytes, &key.id)?, bounds, now).map_err(|error| error.to_string())
}

/// Saves the table, where the snapshot has a key that it could be read under again.
///
/// # Errors
/// The state folder cannot be written; the old file is still there.
pub fn save(state_dir: &Path, table: &LearnedTable, snapshot: &Snapshot) -> io::Result<()> {
    let Some(text) = text(table, snapshot) else { return Ok(()) };
    state_file::replace(state_dir, FILE_NAME, &text)
}

/// The table as the file has it, where the snapshot has a key that it could be read under again. A process shows
/// it under the newest key, also what it learned under one before: look-ups try every key, whatever it is called.
pub fn text(table: &LearnedTable, snapshot: &Snapshot) -> Option<Vec<u8>> {
    let key = snapshot.identify.credentials.keys.first()?;
    Some(encode(&table.export(), &key.id))
}

/// What a file holds, and the id of the key that it was made under, whichever that is.
///
/// # Errors
/// It is damaged, or of another version.
pub fn parse(bytes: &[u8]) -> Result<(Label, LearnedExport), String> {
    let (key, export) = decode_any(bytes)?;
    if export.version != EXPORT_VERSION {
        return Err(UnknownVersion(export.version).to_string());
    }
    let key = Label::parse(&key).map_err(|_| "the id of its key is none that a configuration can have")?;
    Ok((key, export))
}

/// What was learned or confirmed since `since` (Unix seconds), for a successor; `None` when nothing was.
pub fn lessons(table: &LearnedTable, snapshot: &Snapshot, since: u64) -> Option<String> {
    let key = snapshot.identify.credentials.keys.first()?;
    let mut export = table.export();
    export.entries.retain(|entry| entry.confirmed >= since);
    export.entries.truncate(MAX_LESSONS);
    let some = !export.entries.is_empty();
    some.then(|| String::from_utf8(encode(&export, &key.id)).expect("JSON is UTF-8"))
}

/// Learns what a predecessor has learned meanwhile: its lessons count like our own, so that two accounts for
/// one token are noticed. Says how many there were.
///
/// # Errors
/// They were not made under the snapshot's newest key, or are damaged.
pub fn learn(table: &LearnedTable, snapshot: &Snapshot, lessons: &str, now: u64) -> Result<usize, String> {
    let rules = &snapshot.identify.credentials;
    let (Some(bounds), Some(key)) = (&rules.learning, rules.keys.first()) else { return Ok(0) };
    let export = decode(lessons.as_bytes(), &key.id)?;
    for entry in export.entries.iter().filter(|entry| !entry.ambiguous) {
        table.teach(entry.fingerprint, entry.account, bounds, entry.confirmed.min(now));
    }
    let ambiguous = export.entries.iter().filter(|entry| entry.ambiguous).copied().collect();
    let ambiguous = LearnedExport { version: export.version, entries: ambiguous };
    table.import(&ambiguous, bounds, now).map_err(|error| error.to_string())?;
    Ok(export.entries.len())
}

fn encode(export: &LearnedExport, key: &str) -> Vec<u8> {
    let row = |entry: &LearnedEntry| {
        Row(entry.fingerprint.to_string(), entry.account.value(), entry.ambiguous, entry.confirmed)
    };
    let entries = export.entries.iter().map(row).collect();
    let line = Line { version: export.version, key: key.to_owned(), entries };
    serde_json::to_vec(&line).expect("strings and numbers always serialise")
}

fn decode(bytes: &[u8], key: &str) -> Result<LearnedExport, String> {
    let (made_under, export) = decode_any(bytes)?;
    if made_under != key {
        return Err(format!("they were made under key {made_under:?}, and {key:?} is the newest now"));
    }
    Ok(export)
}

fn decode_any(bytes: &[u8]) -> Result<(String, LearnedExport), String> {
    let line: Line =
        serde_json::from_slice(bytes).map_err(|error| format!("the file is damaged: {error}"))?;
    let entry = |Row(fingerprint, account, ambiguous, confirmed): &Row| {
        let account = AccountId::parse(account.to_string().as_bytes()).ok()?;
        Some(LearnedEntry {
            fingerprint: Fingerprint(unhex(fingerprint)?.try_into().ok()?),
            account,
            ambiguous: *ambiguous,
            confirmed: *confirmed,
        })
    };
    let entries = line.entries.iter().map(entry).collect::<Option<Vec<_>>>();
    let entries = entries.ok_or("an entry is damaged")?;
    Ok((line.key, LearnedExport { version: line.version, entries }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn export() -> LearnedExport {
        let entry = |byte, account, ambiguous| LearnedEntry {
            fingerprint: Fingerprint([byte; 16]),
            account: AccountId::parse(account).unwrap(),
            ambiguous,
            confirmed: 1_770_000_000,
        };
        LearnedExport { version: 1, entries: vec![entry(1, b"12345", false), entry(0xfe, b"7", true)] }
    }

    #[test]
    fn what_was_saved_comes_back_under_the_same_key_only() {
        let bytes = encode(&export(), "k1");
        assert_eq!(decode(&bytes, "k1").unwrap(), export());
        assert!(decode(&bytes, "k2").is_err());
        let (key, read) = parse(&bytes).unwrap();
        assert_eq!((key.as_str(), read), ("k1", export()));
        for (key, version, expect) in [("k1", 2, "version 2"), ("a,b", 1, "the id of its key")] {
            let error = parse(&encode(&LearnedExport { version, ..export() }, key)).unwrap_err();
            assert!(error.contains(expect), "{error}");
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_and_no_panic() {
        let bytes = encode(&export(), "k1");
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut], "k1").is_err(), "cut at {cut}");
        }
        let text = String::from_utf8(bytes).unwrap();
        assert!(decode(text.replace("01010101", "zz010101").as_bytes(), "k1").is_err());
        assert!(decode(text.replace(",7,", ",0,").as_bytes(), "k1").is_err());
    }
}
