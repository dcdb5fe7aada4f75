//! The compiled tables on disk, beside the last good configuration: read at a start in place of CSV, written once a
//! configuration serves. The last two are kept, so that going back is as quick.
//!
//! The file is a copy of what can be read again, so whatever is wrong with it costs time and nothing else.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

use bytes::Bytes;

use crate::config::compiled::{Compiled, MAX_HEAD};
use crate::config::{self, Boot, Config, Problem, Sources};
use crate::state_file;

/// Name of the file in the state folder.
pub const FILE_NAME: &str = "tables.cellgate";

/// Name of the one before it.
pub const PREVIOUS_FILE_NAME: &str = "tables.previous.cellgate";

/// Largest file that is read: ten million accounts, with as many environments and credentials, have 1.6 GB.
const MAX_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// How much is compared at once: so large that calls to the system do not count.
const CHUNK: usize = 256 * 1024;

/// As [`config::parse_all`]; takes the tables of these files from those that are `known`, or from the state folder,
/// where they are there. `state_dir` replaces the one that `boot.yaml` names.
///
/// # Errors
/// All problems of the files.
pub fn parse_all(
    sources: &Sources,
    state_dir: Option<&Path>,
    known: Option<Compiled>,
    now: i64,
) -> Result<(Boot, Config), Vec<Problem>> {
    let hash = config::hash(sources);
    let compiled = match known.filter(|known| known.hash == hash) {
        Some(known) => Some(known),
        None => match state_dir {
            Some(state_dir) => load(state_dir, &hash),
            None => config::parse_boot(sources).ok().and_then(|boot| load(&boot.state_dir, &hash)),
        },
    };
    config::parse_all_with(sources, compiled.as_ref(), now)
}

/// The tables of the files with this hash, from whichever of the two has them.
pub fn load(state_dir: &Path, hash: &str) -> Option<Compiled> {
    [FILE_NAME, PREVIOUS_FILE_NAME].into_iter().find_map(|name| {
        let path = state_dir.join(name);
        match read(&path, hash) {
            Ok(compiled) => compiled,
            Err(Unusable::Io(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(Unusable::Io(error)) => {
                tracing::warn!(path = %path.display(), %error, "compiled tables cannot be read; the files are");
                None
            }
            Err(Unusable::Damaged(reason)) => {
                tracing::warn!(path = %path.display(), reason, "compiled tables are not used; the files are read");
                None
            }
        }
    })
}

/// Writes the tables, unless those of the same files are there. Those of others are kept as the ones before.
///
/// # Errors
/// The state folder cannot be written; what was there before is still there.
pub fn save(state_dir: &Path, compiled: &Compiled) -> io::Result<()> {
    let path = state_dir.join(FILE_NAME);
    let pieces = compiled.to_pieces();
    if holds(&path, &pieces).unwrap_or(false) {
        return Ok(());
    }
    // What is damaged is not worth the place of the ones before.
    if beginning(&path).is_ok_and(|(_, hash)| *hash != *compiled.hash) {
        state_file::keep_as(state_dir, FILE_NAME, PREVIOUS_FILE_NAME)?;
    }
    state_file::replace_with(state_dir, FILE_NAME, pieces.iter().map(|piece| &**piece))
}

/// Why a file is of no use.
enum Unusable {
    Io(io::Error),
    Damaged(&'static str),
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// `None` where it is of other files. One read into memory of its own: a mapped file could be cut short under a
/// request, which would end the process.
fn read(path: &Path, hash: &str) -> Result<Option<Compiled>, Unusable> {
    let (mut file, of) = beginning(path)?;
    if *of != *hash {
        return Ok(None);
    }
    let size = file.metadata()?.len();
    if size > MAX_BYTES {
        return Err(Unusable::Damaged("it is larger than any tables"));
    }
    // One byte more, so that the end is found without growing.
    let mut bytes = Vec::with_capacity(usize::try_from(size + 1).unwrap_or(0));
    file.rewind()?;
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Compiled::from_bytes(bytes).map(Some).map_err(Unusable::Damaged)
}

/// A file, and whose tables it says it has.
fn beginning(path: &Path) -> Result<(File, Box<str>), Unusable> {
    let file = File::open(path)?;
    let mut bytes = Vec::with_capacity(MAX_HEAD);
    (&file).take(MAX_HEAD as u64).read_to_end(&mut bytes)?;
    match Compiled::hash_in(&bytes) {
        Some(hash) => Ok((file, hash)),
        None => Err(Unusable::Damaged("it does not begin as one of this version does")),
    }
}

/// Whether a file has exactly this content; looked at piece by piece, because twice the tables is what no start needs.
fn holds(path: &Path, pieces: &[Bytes]) -> io::Result<bool> {
    let mut file = BufReader::with_capacity(CHUNK, File::open(path)?);
    for piece in pieces {
        let mut rest = &**piece;
        while !rest.is_empty() {
            let chunk = file.fill_buf()?;
            let both = chunk.len().min(rest.len());
            if both == 0 || chunk[..both] != rest[..both] {
                return Ok(false);
            }
            file.consume(both);
            rest = &rest[both..];
        }
    }
    Ok(file.fill_buf()?.is_empty())
}
