//! The large tables of a configuration as the bytes that they are in memory: what a start reads in place of CSV,
//! with nothing to parse. What writes and reads the file is [`compiled_file`](crate::compiled_file).
//!
//! It is a copy of what is in the configuration files, under their hash, and never says anything that they do
//! not: where it is missing, damaged, of other files or of another version of cellgate, the files are read.

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Config;
use crate::policy::accounts::{AccountParts, AccountTable};
use crate::policy::credential::Fingerprint;
use crate::policy::hex::hex;
use crate::policy::ids::EntityId;
use crate::policy::keyed::{Key, KeyParts, KeyTable};
use crate::policy::snapshot::Snapshot;

/// First word of the file. The number is the version of what follows: of the header, of the parts, of the hashes
/// that indexes are made with.
pub const MAGIC: &str = "cellgate-compiled 3";

/// Longest beginning, two lines: what must be read to know whose tables these are.
pub const MAX_HEAD: usize = 1024;

/// The tables of one configuration. Cheap to clone: what is in it is shared.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// The configuration hash of the files that they were read from.
    pub hash: Box<str>,
    /// Who lives where.
    pub accounts: AccountTable,
    /// Environment id to account.
    pub environments: KeyTable<EntityId>,
    /// Known credentials.
    pub credentials: KeyTable<Fingerprint>,
}

/// Parts of all tables.
const PARTS: usize = 8;

#[derive(Serialize, Deserialize)]
struct Header {
    /// The version of cellgate that has read the files: another one may refuse what this one accepted.
    cellgate: String,
    hash: String,
    /// Lengths of the parts in bytes.
    parts: [usize; PARTS],
}

impl Compiled {
    /// Of what serves.
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            hash: snapshot.hash.clone(),
            accounts: snapshot.accounts.clone(),
            environments: snapshot.environments.clone(),
            credentials: snapshot.identify.credentials.table.clone(),
        }
    }

    /// Of what was parsed; the tables are shared with it.
    pub fn of_config(config: &Config) -> Self {
        Self {
            hash: config.hash.clone(),
            accounts: config.accounts.clone(),
            environments: config.environments.clone(),
            credentials: config.identify.credentials.table.clone(),
        }
    }

    /// The file, in pieces: a line with the digest of all that follows, a line that says whose tables these are and
    /// how long their parts, and the parts.
    pub fn to_pieces(&self) -> Vec<Bytes> {
        let AccountParts { rows, prefixes, by_id, by_prefix } = self.accounts.parts();
        let (environments, credentials) = (self.environments.parts(), self.credentials.parts());
        let parts: [Bytes; PARTS] = [
            rows,
            prefixes,
            by_id,
            by_prefix,
            environments.rows,
            environments.slots,
            credentials.rows,
            credentials.slots,
        ];
        let header = Header {
            cellgate: VERSION.to_owned(),
            hash: self.hash.to_string(),
            parts: parts.each_ref().map(Bytes::len),
        };
        let mut header = serde_json::to_vec(&header).expect("strings and numbers always serialise");
        header.push(b'\n');
        let mut context = Context::new(&SHA256);
        context.update(&header);
        parts.iter().for_each(|part| context.update(part));
        let first = format!("{MAGIC} {}\n", hex(context.finish()));
        [first.into(), header.into()].into_iter().chain(parts).collect()
    }

    /// Reads the file; the tables stay where they lie in it.
    ///
    /// # Errors
    /// It is not what [`to_pieces`](Self::to_pieces) makes; the text says what does not fit.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, &'static str> {
        let bytes = Bytes::from(bytes);
        let (digest, header, mut rest) =
            head(&bytes).ok_or("it does not begin as one of this version does")?;
        let mut context = Context::new(&SHA256);
        context.update(&bytes[digest.end + 1..]);
        if hex(context.finish()).as_bytes() != &bytes[digest] {
            return Err("its digest does not fit its content");
        }
        if header.cellgate != VERSION {
            return Err("another version of cellgate has read its files");
        }
        let mut parts = [const { Bytes::new() }; PARTS];
        for (part, length) in parts.iter_mut().zip(header.parts) {
            let end =
                rest.checked_add(length).filter(|end| *end <= bytes.len()).ok_or("a part is cut short")?;
            *part = bytes.slice(rest..end);
            rest = end;
        }
        if rest != bytes.len() {
            return Err("it goes on behind its last part");
        }
        let [
            rows,
            prefixes,
            by_id,
            by_prefix,
            environments,
            environment_slots,
            credentials,
            credential_slots,
        ] = parts;
        let accounts = AccountTable::from_parts(AccountParts { rows, prefixes, by_id, by_prefix });
        Ok(Self {
            hash: header.hash.into(),
            accounts: accounts.ok_or("its account table is not sound")?,
            environments: table(environments, environment_slots)?,
            credentials: table(credentials, credential_slots)?,
        })
    }

    /// Whose tables these are: the configuration hash, from the first [`MAX_HEAD`] bytes of a file, which may be
    /// wrong in the rest.
    pub fn hash_in(beginning: &[u8]) -> Option<Box<str>> {
        head(beginning).map(|(_, header, _)| header.hash.into())
    }

    /// Whether these are tables of the files with this hash, and name none but the first so many cells and
    /// schedules.
    pub(super) fn is_of(&self, hash: &str, cells: usize, schedules: usize) -> bool {
        *self.hash == *hash
            && self.accounts.iter().all(|account| {
                usize::from(account.cell.0) < cells
                    && account.schedule.is_none_or(|schedule| usize::from(schedule.0) < schedules)
            })
    }

    /// Bytes of memory that the tables occupy.
    pub fn heap_bytes(&self) -> usize {
        self.accounts.heap_bytes() + self.environments.heap_bytes() + self.credentials.heap_bytes()
    }
}

/// The version of cellgate, without whose consent no tables are used.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where the digest stands, what the header says, and where the parts begin.
fn head(bytes: &[u8]) -> Option<(std::ops::Range<usize>, Header, usize)> {
    let line_from = |from: usize| {
        let line = bytes.get(from..bytes.len().min(MAX_HEAD))?;
        line.iter().position(|byte| *byte == b'\n').map(|end| from + end)
    };
    let first = line_from(0)?;
    let second = line_from(first + 1)?;
    let before = bytes[..first].strip_prefix(MAGIC.as_bytes())?.strip_prefix(b" ")?;
    let header = serde_json::from_slice(&bytes[first + 1..second]).ok()?;
    Some((first - before.len()..first, header, second + 1))
}

fn table<K: Key>(rows: Bytes, slots: Bytes) -> Result<KeyTable<K>, &'static str> {
    KeyTable::from_parts(KeyParts { rows, slots }).ok_or("a table of it is not sound")
}
