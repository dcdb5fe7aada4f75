//! The last good configuration on disk: what a start falls back to when the configuration is missing,
//! corrupt or refused. Written whole and renamed, so that a reader sees the old or the new and never
//! half of one; checked by a digest before a byte of it is believed.
//!
//! It holds the configuration files themselves, certificates and keys included (a deleted certificate
//! is one of the things it must survive), so the file is readable by its owner only.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::config::boot::MAX_CONFIG_BYTES;
use crate::policy::code::Code;
use crate::policy::hex::hex;
use crate::state_file;

/// Name of the file in the state folder.
pub const FILE_NAME: &str = "last-good.cellgate";

/// Name of the one before it.
pub const PREVIOUS_FILE_NAME: &str = "last-good.previous.cellgate";

/// First word of the file; the number is the version of the format.
const MAGIC: &str = "cellgate-last-good 1";

/// Largest file that is read back: whatever a configuration may be, and the list of its files (a mebibyte is
/// ten thousand names).
const MAX_BYTES: u64 = MAX_CONFIG_BYTES + MAX_HEADER;

/// Longest line that lists the files.
const MAX_HEADER: u64 = 1024 * 1024;

/// How much is read at once: large enough that calls to the system do not count, small enough not to either.
const CHUNK: usize = 256 * 1024;

/// A configuration that was served, by the file names of its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastGood<Content = Vec<u8>> {
    /// Seconds since the Unix epoch at which it began to serve.
    pub saved_at: u64,
    /// The configuration hash of the snapshot made of it.
    pub hash: String,
    /// Path in the configuration folder, and content.
    pub files: BTreeMap<String, Content>,
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

/// Saves `last_good` in the state folder. What another configuration left there is kept as the one before, if it
/// is sound.
///
/// # Errors
/// [`LastGoodError::Io`]; the file that was there before is still there.
pub fn save<C: AsRef<[u8]>>(state_dir: &Path, last_good: &LastGood<C>) -> Result<(), LastGoodError> {
    let write = || {
        if read_file(state_dir.join(FILE_NAME), sound_hash).is_ok_and(|hash| hash != last_good.hash) {
            state_file::keep_as(state_dir, FILE_NAME, PREVIOUS_FILE_NAME)?;
        }
        let head = last_good.head();
        let contents = last_good.files.values().map(AsRef::as_ref);
        state_file::replace_with(state_dir, FILE_NAME, std::iter::once(&*head).chain(contents))
    };
    write().map_err(|source| LastGoodError::Io { path: state_dir.join(FILE_NAME), source })
}

/// Whether this configuration is what was saved last. Says nothing about the rest of the file.
pub fn is_saved(state_dir: &Path, hash: &str) -> bool {
    let header = |file: &mut BufReader<File>| {
        read_line(file)?;
        read_header(file)
    };
    read_file(state_dir.join(FILE_NAME), header).is_ok_and(|header| header.hash == hash)
}

/// Reads it back; where it is damaged or gone, the one before it.
///
/// # Errors
/// [`LastGoodError`] of the last one.
pub fn load(state_dir: &Path) -> Result<LastGood, LastGoodError> {
    read(&state_dir.join(FILE_NAME)).or_else(|error| {
        let before = read(&state_dir.join(PREVIOUS_FILE_NAME)).map_err(|_| ());
        let Ok(before) = before else { return Err(error) };
        tracing::error!(code = %Code::LastGoodDamaged, %error, hash = before.hash, "the one before it is used");
        Ok(before)
    })
}

/// Reads a file of this format under any name.
///
/// # Errors
/// [`LastGoodError`].
pub fn read(path: &Path) -> Result<LastGood, LastGoodError> {
    read_file(path.to_owned(), |file| {
        sound_hash(file)?;
        file.rewind()?;
        let size = file.get_ref().metadata()?.len();
        LastGood::read(file, size)
    })
}

/// What a file of this format says of itself: when it began to serve, and its configuration hash. Believed without
/// a look at the files in it, which may be large.
///
/// # Errors
/// [`LastGoodError`].
pub fn about(path: &Path) -> Result<(u64, String), LastGoodError> {
    read_file(path.to_owned(), |file| {
        let first = read_line(file)?;
        if !first.starts_with(MAGIC.as_bytes()) {
            return Err("it is not of this version".into());
        }
        let header = read_header(file)?;
        Ok((header.saved_at, header.hash))
    })
}

/// What a file says, with its path where it says nothing.
fn read_file<T>(
    path: PathBuf,
    read: impl FnOnce(&mut BufReader<File>) -> Result<T, Unread>,
) -> Result<T, LastGoodError> {
    let open = || {
        let file = File::open(&path)?;
        if file.metadata()?.len() > MAX_BYTES {
            return Err("it is larger than any configuration".into());
        }
        Ok(BufReader::with_capacity(CHUNK, file))
    };
    open().and_then(|mut file| read(&mut file)).map_err(|unread| match unread {
        Unread::Io(error) if error.kind() == io::ErrorKind::NotFound => LastGoodError::Absent(path),
        Unread::Io(source) => LastGoodError::Io { path, source },
        Unread::Damaged(reason) => LastGoodError::Damaged { path, reason },
    })
}

/// Why nothing was read.
#[derive(Debug)]
enum Unread {
    Io(io::Error),
    Damaged(&'static str),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<&'static str> for Unread {
    fn from(reason: &'static str) -> Self {
        Self::Damaged(reason)
    }
}

impl<C: AsRef<[u8]>> LastGood<C> {
    /// The file: a line with the digest of all that follows, a line that lists the files, and the files.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        self.files.values().for_each(|content| bytes.extend_from_slice(content.as_ref()));
        bytes
    }

    /// The two lines.
    fn head(&self) -> Vec<u8> {
        let files = self.files.iter().map(|(name, content)| (name.clone(), content.as_ref().len()));
        let header = Header { saved_at: self.saved_at, hash: self.hash.clone(), files: files.collect() };
        let mut header = serde_json::to_vec(&header).expect("strings and numbers always serialise");
        header.push(b'\n');
        let mut context = Context::new(&SHA256);
        context.update(&header);
        self.files.values().for_each(|content| context.update(content.as_ref()));
        let mut head = format!("{MAGIC} {}\n", hex(context.finish())).into_bytes();
        head.append(&mut header);
        head
    }
}

impl LastGood {
    /// Reads the file.
    ///
    /// # Errors
    /// It is not what [`to_bytes`](Self::to_bytes) makes; the text says what does not fit.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, &'static str> {
        let read = sound_hash(&mut &*bytes).and_then(|_| Self::read(&mut &*bytes, bytes.len() as u64));
        read.map_err(|unread| match unread {
            Unread::Damaged(reason) => reason,
            Unread::Io(_) => "it cannot be read",
        })
    }

    /// What follows the first line, whose digest was looked at before.
    /// `size` is that of the whole file.
    fn read(input: &mut impl BufRead, size: u64) -> Result<Self, Unread> {
        read_line(input)?;
        let header = read_header(input)?;
        let mut files = BTreeMap::new();
        for (name, len) in header.files {
            // Room for what the header says, unless the whole file is shorter.
            let wanted = u64::try_from(len).unwrap_or(u64::MAX);
            let mut content = Vec::with_capacity(if wanted > size { 0 } else { len });
            input.by_ref().take(wanted).read_to_end(&mut content)?;
            if content.len() != len {
                return Err("a file in it is cut short".into());
            }
            if files.insert(name, content).is_some() {
                return Err("a file is in it twice".into());
            }
        }
        if !input.fill_buf()?.is_empty() {
            return Err("it goes on behind its last file".into());
        }
        Ok(Self { saved_at: header.saved_at, hash: header.hash, files })
    }
}

/// The configuration hash of a file whose digest fits its content.
fn sound_hash(input: &mut impl BufRead) -> Result<String, Unread> {
    let first = read_line(input).map_err(|_| "it has no first line")?;
    let digest = first.strip_prefix(MAGIC.as_bytes()).ok_or("it is not of this version")?;
    let claimed = digest.strip_prefix(b" ").unwrap_or_default();
    let mut context = Context::new(&SHA256);
    let mut header = Vec::new();
    input.take(MAX_HEADER).read_until(b'\n', &mut header)?;
    context.update(&header);
    loop {
        let chunk = input.fill_buf()?;
        if chunk.is_empty() {
            break;
        }
        context.update(chunk);
        let read = chunk.len();
        input.consume(read);
    }
    if hex(context.finish()).as_bytes() != claimed {
        return Err("its digest does not fit its content".into());
    }
    Ok(read_header(&mut &*header)?.hash)
}

fn read_header(input: &mut impl BufRead) -> Result<Header, Unread> {
    let line = read_line(input).map_err(|_| "it has no header")?;
    serde_json::from_slice(&line).map_err(|_| "its header cannot be read".into())
}

/// A line without its end.
fn read_line(input: &mut impl BufRead) -> Result<Vec<u8>, Unread> {
    let mut line = Vec::new();
    input.take(MAX_HEADER).read_until(b'\n', &mut line)?;
    if line.pop() == Some(b'\n') { Ok(line) } else { Err("it has no such line".into()) }
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
        let about = about(&dir.path().join(FILE_NAME)).unwrap();
        assert_eq!(about, (example().saved_at, example().hash));
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
    fn the_one_before_is_kept_and_serves_where_the_last_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let next = LastGood { saved_at: 2, hash: "next".into(), ..example() };
        save(dir.path(), &example()).unwrap();
        save(dir.path(), &next).unwrap();
        // The same again, as every start saves it, does not push out the one before.
        save(dir.path(), &next).unwrap();
        assert_eq!(load(dir.path()).unwrap(), next);
        assert!(is_saved(dir.path(), "next") && !is_saved(dir.path(), "abc"));
        let mut damaged = next.to_bytes();
        *damaged.last_mut().unwrap() ^= 1;
        fs::write(dir.path().join(FILE_NAME), damaged).unwrap();
        assert_eq!(load(dir.path()).unwrap(), example());
        // What is damaged is not kept as the one before.
        save(dir.path(), &LastGood { hash: "third".into(), ..next.clone() }).unwrap();
        fs::remove_file(dir.path().join(FILE_NAME)).unwrap();
        assert_eq!(load(dir.path()).unwrap(), example());
        fs::remove_file(dir.path().join(PREVIOUS_FILE_NAME)).unwrap();
        assert!(matches!(load(dir.path()), Err(LastGoodError::Absent(_))));
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
