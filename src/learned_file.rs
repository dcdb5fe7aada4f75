//! Learned credentials across a restart: the table's export as a file in the state folder. It holds
//! keyed fingerprints and account ids, never a token. Losing it costs lessons, not correctness, so a
//! damaged file is reported and learned anew.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::config::secret::unhex;
use crate::policy::credential::{Fingerprint, FingerprintKey};
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
    /// The same of keys that were the newest before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    older: Vec<Older>,
}

#[derive(Serialize, Deserialize)]
struct Older {
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

/// Takes over what was saved under one of the snapshot's keys, within its bounds. What the table knows stays as
/// it is. Says how many entries were taken.
///
/// # Errors
/// None was made under any of them, or they are damaged.
pub fn read(table: &LearnedTable, snapshot: &Snapshot, bytes: &[u8], now: u64) -> Result<usize, String> {
    let rules = &snapshot.identify.credentials;
    let (Some(bounds), false) = (&rules.learning, rules.keys.is_empty()) else { return Ok(0) };
    table.import(&decode(bytes, &rules.keys)?, bounds, now).map_err(|error| error.to_string())
}

/// Saves the table, where the snapshot has a key that it could be read under again.
///
/// # Errors
/// The state folder cannot be written; the old file is still there.
pub fn save(state_dir: &Path, table: &LearnedTable, snapshot: &Snapshot) -> io::Result<()> {
    let Some(text) = text(table, snapshot) else { return Ok(()) };
    state_file::replace(state_dir, FILE_NAME, &text)
}

/// The table as the file has it, where the snapshot has a key that it could be read under again. Each entry stands with
/// the key that it was made under, also where that is no longer the newest: look-ups try every key.
pub fn text(table: &LearnedTable, snapshot: &Snapshot) -> Option<Vec<u8>> {
    let key = snapshot.identify.credentials.keys.first()?;
    Some(encode(&table.export(), &key.id))
}

/// What a file holds, under whichever keys it was made.
///
/// # Errors
/// It is damaged, or of another version.
pub fn parse(bytes: &[u8]) -> Result<LearnedExport, String> {
    let (newest, export) = decode_any(bytes)?;
    if export.version != EXPORT_VERSION {
        return Err(UnknownVersion(export.version).to_string());
    }
    let keys = export.entries.iter().map(|entry| &*entry.key).chain([&*newest]);
    let unheard = keys.map(Label::parse).any(|key| key.is_err());
    if unheard {
        return Err("the id of its key is none that a configuration can have".to_owned());
    }
    Ok(export)
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
/// As [`read`].
pub fn learn(table: &LearnedTable, snapshot: &Snapshot, lessons: &str, now: u64) -> Result<usize, String> {
    let rules = &snapshot.identify.credentials;
    let (Some(bounds), false) = (&rules.learning, rules.keys.is_empty()) else { return Ok(0) };
    let export = decode(lessons.as_bytes(), &rules.keys)?;
    for entry in export.entries.iter().filter(|entry| !entry.ambiguous) {
        table.teach(entry.fingerprint, &entry.key, entry.account, bounds, entry.confirmed.min(now));
    }
    let ambiguous = export.entries.iter().filter(|entry| entry.ambiguous).cloned().collect();
    let ambiguous = LearnedExport { version: export.version, entries: ambiguous };
    table.import(&ambiguous, bounds, now).map_err(|error| error.to_string())?;
    Ok(export.entries.len())
}

fn encode(export: &LearnedExport, newest: &str) -> Vec<u8> {
    let mut by_key: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
    for LearnedEntry { fingerprint, key, account, ambiguous, confirmed } in &export.entries {
        let row = Row(fingerprint.to_string(), account.value(), *ambiguous, *confirmed);
        by_key.entry(key).or_default().push(row);
    }
    let entries = by_key.remove(newest).unwrap_or_default();
    let older = by_key.into_iter().map(|(key, entries)| Older { key: key.to_owned(), entries }).collect();
    let line = Line { version: export.version, key: newest.to_owned(), entries, older };
    serde_json::to_vec(&line).expect("strings and numbers always serialise")
}

/// What was made under one of these keys: the rest is of no token.
fn decode(bytes: &[u8], keys: &[FingerprintKey]) -> Result<LearnedExport, String> {
    let (newest, mut export) = decode_any(bytes)?;
    let known = |key: &str| keys.iter().any(|known| *known.id == *key);
    let some = !export.entries.is_empty();
    export.entries.retain(|entry| known(&entry.key));
    if export.entries.is_empty() && (some || !known(&newest)) {
        return Err(format!("they were made under key {newest:?}, and the configuration no longer has it"));
    }
    Ok(export)
}

/// Everything in it, and the id of the key that was the newest.
fn decode_any(bytes: &[u8]) -> Result<(String, LearnedExport), String> {
    let Line { version, key: newest, entries, older } =
        serde_json::from_slice(bytes).map_err(|error| format!("the file is damaged: {error}"))?;
    let entry = |key: &Arc<str>, Row(fingerprint, account, ambiguous, confirmed): Row| {
        Some(LearnedEntry {
            fingerprint: Fingerprint(unhex(&fingerprint)?.try_into().ok()?),
            key: Arc::clone(key),
            account: AccountId::from_value(account)?,
            ambiguous,
            confirmed,
        })
    };
    let all = [Older { key: newest.clone(), entries }].into_iter().chain(older);
    let all = all.flat_map(|Older { key, entries }| {
        let key: Arc<str> = key.into();
        entries.into_iter().map(move |row| entry(&key, row))
    });
    let mut entries = all.collect::<Option<Vec<_>>>().ok_or("an entry is damaged")?;
    // A fingerprint is of one key.
    entries.sort_by_key(|entry| entry.fingerprint);
    entries.dedup_by_key(|entry| entry.fingerprint);
    Ok((newest, LearnedExport { version, entries }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(byte: u8, key: &str, account: &[u8], ambiguous: bool) -> LearnedEntry {
        LearnedEntry {
            fingerprint: Fingerprint([byte; 16]),
            key: key.into(),
            account: AccountId::parse(account).unwrap(),
            ambiguous,
            confirmed: 1_770_000_000,
        }
    }

    fn export() -> LearnedExport {
        let entries = vec![entry(1, "k1", b"12345", false), entry(0xfe, "k1", b"7", true)];
        LearnedExport { version: 1, entries }
    }

    fn keys(ids: &[&str]) -> Vec<FingerprintKey> {
        let key = |id: &&str| FingerprintKey {
            id: (*id).into(),
            key: Arc::new(aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, id.as_bytes())),
        };
        ids.iter().map(key).collect()
    }

    #[test]
    fn what_was_saved_comes_back_where_its_key_is_still_there() {
        let bytes = encode(&export(), "k1");
        assert!(String::from_utf8_lossy(&bytes).starts_with(r#"{"version":1,"key":"k1","entries":[["0101"#));
        for ring in [&["k1"][..], &["k2", "k1"]] {
            assert_eq!(decode(&bytes, &keys(ring)).unwrap(), export(), "{ring:?}");
        }
        assert!(decode(&bytes, &keys(&["k2"])).unwrap_err().contains("under key \"k1\""));
        assert_eq!(parse(&bytes).unwrap(), export());
        for (key, version, expect) in [("k1", 2, "version 2"), ("a,b", 1, "the id of its key")] {
            let error = parse(&encode(&LearnedExport { version, ..export() }, key)).unwrap_err();
            assert!(error.contains(expect), "{error}");
        }
    }

    #[test]
    fn after_a_rotation_each_entry_stands_with_the_key_that_it_was_made_under() {
        let mut all = export();
        all.entries.insert(1, entry(2, "k2", b"12345", false));
        let bytes = encode(&all, "k2");
        assert_eq!(parse(&bytes).unwrap(), all);
        assert_eq!(decode(&bytes, &keys(&["k2", "k1"])).unwrap(), all);
        assert_eq!(decode(&bytes, &keys(&["k2"])).unwrap().entries, all.entries[1..2]);
        assert_eq!(decode(&bytes, &keys(&["k3", "k1"])).unwrap(), export());
        // Nothing is learned under the newest yet.
        let bytes = encode(&export(), "k2");
        assert_eq!(decode(&bytes, &keys(&["k2", "k1"])).unwrap(), export());
        assert!(decode(&bytes, &keys(&["k2"])).is_err());
        let nothing = encode(&LearnedExport { version: 1, entries: Vec::new() }, "k2");
        assert_eq!(decode(&nothing, &keys(&["k2"])).unwrap().entries, []);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_no_panic() {
        let (bytes, ring) = (encode(&export(), "k1"), keys(&["k1"]));
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut], &ring).is_err(), "cut at {cut}");
        }
        let text = String::from_utf8(bytes).unwrap();
        assert!(decode(text.replace("01010101", "zz010101").as_bytes(), &ring).is_err());
        assert!(decode(text.replace(",7,", ",0,").as_bytes(), &ring).is_err());
    }
}
