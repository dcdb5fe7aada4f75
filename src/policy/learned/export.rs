//! Everything that was learned as a value, for files and for successors, and back again.

use std::sync::Arc;

use super::{AccountId, Entry, Fingerprint, LearnedTable, Learning, expired, lock};

/// The version of [`LearnedExport`].
pub const EXPORT_VERSION: u16 = 1;

/// The table's content in a stable order, for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedExport {
    /// [`EXPORT_VERSION`].
    pub version: u16,
    /// By fingerprint.
    pub entries: Vec<LearnedEntry>,
}

/// One entry of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedEntry {
    /// The token's fingerprint.
    pub fingerprint: Fingerprint,
    /// The id of the key that it was made under; under another one it is of no token.
    pub key: Arc<str>,
    /// Whose it is; of an ambiguous one, whose quota it counts against.
    pub account: AccountId,
    /// It proved itself for two accounts.
    pub ambiguous: bool,
    /// When it was last confirmed.
    pub confirmed: u64,
}

/// An export of another version than [`EXPORT_VERSION`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("learned credentials have version {0}, expected {EXPORT_VERSION}: they are learned anew")]
pub struct UnknownVersion(pub u16);

impl LearnedTable {
    /// Everything known, by fingerprint.
    pub fn export(&self) -> LearnedExport {
        let mut entries = Vec::with_capacity(self.len());
        for shard in &self.shards {
            entries.extend(lock(shard).iter().map(|(fingerprint, entry)| LearnedEntry {
                fingerprint: *fingerprint,
                key: Arc::clone(&entry.key),
                account: entry.account,
                ambiguous: entry.ambiguous,
                confirmed: entry.confirmed,
            }));
        }
        entries.sort_unstable_by_key(|entry| entry.fingerprint);
        LearnedExport { version: EXPORT_VERSION, entries }
    }

    /// Takes an export over, as far as the bounds allow; the latest confirmed first. What is known
    /// already stays as it is. Says how many entries were taken.
    pub fn import(
        &self,
        export: &LearnedExport,
        bounds: &Learning,
        now: u64,
    ) -> Result<usize, UnknownVersion> {
        if export.version != EXPORT_VERSION {
            return Err(UnknownVersion(export.version));
        }
        let mut entries: Vec<_> =
            export.entries.iter().filter(|entry| !expired(entry.confirmed, now)).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse((entry.confirmed, entry.fingerprint)));
        let mut owners = lock(&self.owners);
        let before = owners.total;
        for entry in entries {
            let mut shard = self.shard(entry.fingerprint);
            if owners.has_room(entry.account, bounds) && !shard.contains_key(&entry.fingerprint) {
                owners.own(entry.account, entry.fingerprint);
                // A clock that was set back must not make an entry immortal.
                let key = owners.key(&entry.key);
                let made = Entry::new(key, entry.account, entry.confirmed.min(now));
                shard.insert(entry.fingerprint, Entry { ambiguous: entry.ambiguous, ..made });
            }
        }
        self.changed();
        Ok(owners.total - before)
    }
}
