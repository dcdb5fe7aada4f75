//! The levers that are pulled, in the state folder: a restart and an upgrade must neither end what an operator has decided nor
//! prolong it. Reads and writes; [`levers`](crate::levers) decides.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::policy::protection::levers::{Lever, LeverId, Levers, MOST, Pulled};
use crate::state_file;

/// Name of the file in the state folder.
pub const FILE_NAME: &str = "levers.cellgate";

/// First word of the file; the number is the version of the format.
const MAGIC: &str = "cellgate-levers 1";

/// Largest file that is read back: as many levers as there may be, with everything at its longest, escaped.
const MAX_BYTES: u64 = MOST as u64 * 16 * 1024;

/// Why the file is not believed. What was pulled is not known then, and no part of it is guessed.
#[derive(Debug, thiserror::Error)]
pub enum Damaged {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A byte of it was changed, or it was cut.
    #[error("{0}")]
    Seal(&'static str),
    /// It is whole, and not of this version.
    #[error("it says what this version does not know: {0}")]
    Foreign(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    last: u32,
    pulled: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: u32,
    lever: String,
    by: String,
    reason: String,
    since: i64,
    until: i64,
}

/// The levers that were put down, also those that are over. Without the file there are none.
///
/// # Errors
/// It is not believed.
pub fn load(state_dir: &Path) -> Result<Levers, Damaged> {
    let mut bytes = Vec::new();
    match File::open(state_dir.join(FILE_NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Levers::default()),
        file => file?.take(MAX_BYTES).read_to_end(&mut bytes)?,
    };
    let rest = state_file::unsealed(MAGIC, &bytes).map_err(Damaged::Seal)?;
    let Table { last, pulled } =
        serde_json::from_slice(rest).map_err(|error| Damaged::Foreign(error.to_string()))?;
    let read = |row: Row| {
        let Row { id, lever, by, reason, since, until } = row;
        let lever = Lever::parse(&lever).map_err(|error| Damaged::Foreign(error.to_string()))?;
        Ok(Pulled { id: LeverId(id), lever, by, reason, since, until })
    };
    let pulled: Vec<Pulled> = pulled.into_iter().map(read).collect::<Result<_, Damaged>>()?;
    Ok(Levers::restored(last, pulled))
}

/// Puts the levers down.
///
/// # Errors
/// The state folder cannot be written; what was there before is still there.
pub fn save(state_dir: &Path, levers: &Levers) -> io::Result<()> {
    let row = |pulled: &Pulled| {
        let Pulled { id, lever, by, reason, since, until } = pulled.clone();
        Row { id: id.0, lever: lever.to_string(), by, reason, since, until }
    };
    let table = Table { last: levers.last(), pulled: levers.iter().map(row).collect() };
    let text = serde_json::to_vec(&table).expect("words and numbers are JSON");
    state_file::replace(state_dir, FILE_NAME, &state_file::sealed(MAGIC, &text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_put_down_is_read_back_and_a_changed_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).unwrap().is_empty());
        let mut levers = Levers::default();
        for words in ["drain cell us1", r#"shed 50% client "a \" b""#, "hold account 7 writes"] {
            let _ = levers.pull(Lever::parse(words).unwrap(), ("ann", "us1 \"burns\""), None, 7).unwrap();
        }
        levers.release(LeverId(3)).unwrap();
        save(dir.path(), &levers).unwrap();
        let read = load(dir.path()).unwrap();
        assert!(read.iter().eq(levers.iter()), "{read:?}");
        assert_eq!(read.last(), 3, "a number that was released is not given away again");
        let path = dir.path().join(FILE_NAME);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            assert!(load(dir.path()).is_err(), "byte {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert!(load(dir.path()).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_longest_levers_that_may_be_pulled_fit() {
        let dir = tempfile::tempdir().unwrap();
        let mut levers = Levers::default();
        for account in 1..=MOST {
            let words = format!("shed 50% account {account} client \"{}\"", "\\\\".repeat(256));
            let (by, reason) = ("\u{10ffff}".repeat(80), "\u{10ffff}".repeat(200));
            let _ = levers.pull(Lever::parse(&words).unwrap(), (&by, &reason), None, 7).unwrap();
        }
        save(dir.path(), &levers).unwrap();
        assert_eq!(load(dir.path()).unwrap().iter().count(), MOST);
    }
}
