//! Reading a configuration folder. The one place that touches files for `config`, and it decides
//! nothing but whether a file may be read: every reason not to becomes a problem where the file is named.

mod kept;

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};

use kept::Configured;

use crate::config::files::stays_inside;
use crate::config::scan::MAX_YAML_BYTES;
use crate::config::{
    BOOT_FILE, FileKind, FileText, ROUTING_FILE, Reference, Sources, Unreadable, boot, parse_boot,
    referenced_files,
};

/// Largest file of certificates or keys: a chain has a few kilobytes, a bundle of all public authorities
/// about 200.
const MAX_PEM_BYTES: u64 = 1024 * 1024;

/// How often a folder is read that changes meanwhile: a deployment writes its files within one reading.
const READINGS: usize = 3;

/// Where a configuration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder with `cellgate.yaml`.
    pub folder: PathBuf,
    /// `boot.yaml`, where it is not in that folder: whoever replaces the folder does not replace the guards.
    pub boot: Option<PathBuf>,
}

impl<P: AsRef<Path> + ?Sized> From<&P> for Place {
    fn from(folder: &P) -> Self {
        Self { folder: folder.as_ref().to_owned(), boot: None }
    }
}

/// Reads a configuration folder. Never fails: what could not be read is reported by parsing. What it gives
/// stood in the folder all at one moment: where a file has changed since it was read, all are read again.
pub fn load(place: impl Into<Place>) -> Sources {
    let place = place.into();
    settled(&place, || read(&place))
}

/// A file of at most so many bytes that not everybody can write to, wherever it lies.
pub fn bounded(path: &Path, most: u64) -> FileText {
    guarded(path, &Bound::Most(most), FileKind::Table)
}

/// The first of a few readings during which nothing changed.
fn settled(place: &Place, mut read: impl FnMut() -> (Sources, Seen)) -> Sources {
    for _ in 0..READINGS {
        let (sources, seen) = read();
        if seen.still_stands() {
            return sources;
        }
    }
    let restless =
        || refused("changes while it is read", "files that are put in their place together, and then stay");
    let (boot, routing) = (Err(restless()), Err(restless()));
    let Place { folder, boot: boot_file } = place.clone();
    Sources { folder, boot_file, boot, routing, files: BTreeMap::new() }
}

fn read(place: &Place) -> (Sources, Seen) {
    let Place { folder, boot: boot_file } = place;
    let mut seen = Seen::default();
    let real = folder_problem(folder);
    let mut read = |name: &str| match &real {
        Err(unreadable) => Err(unreadable.clone()),
        Ok(real) => {
            seen.note(real.join(name));
            inside(real, name).and_then(|path| guarded(&path, &Bound::Yaml, FileKind::Table))
        }
    };
    let routing = read(ROUTING_FILE);
    let boot = match boot_file {
        None => read(BOOT_FILE),
        Some(path) => {
            seen.note(path.clone());
            guarded(path, &Bound::Yaml, FileKind::Table)
        }
    };
    let (folder, boot_file) = (folder.clone(), boot_file.clone());
    let mut sources = Sources { folder, boot_file, boot, routing, files: BTreeMap::new() };
    let (Ok(real), Ok(routing)) = (&real, &sources.routing) else { return (sources, seen) };
    let mut left =
        parse_boot(&sources).map_or(boot::default::MAX_CONFIG_BYTES, |boot| boot.limits.max_config_bytes);
    let mut files = BTreeMap::new();
    for Reference { path, kind } in referenced_files(routing) {
        seen.note(real.join(&*path));
        let text = referenced(real, &path, kind, left);
        left = left.saturating_sub(text.as_ref().map_or(0, |bytes| bytes.len() as u64));
        files.insert(path, text);
    }
    sources.files = files;
    (sources, seen)
}

/// Files as they stood just before they were read.
#[derive(Default)]
struct Seen(Vec<(PathBuf, Option<Mark>)>);

/// What tells a file from another one under its name, and from itself with other bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    device_and_inode: (u64, u64),
    bytes: u64,
    /// Changes with content, mode and owner, and nobody can set it back.
    changed: (i64, i64),
}

impl Seen {
    fn note(&mut self, path: PathBuf) {
        let mark = Mark::of(&path);
        self.0.push((path, mark));
    }

    fn still_stands(&self) -> bool {
        self.0.iter().all(|(path, mark)| Mark::of(path) == *mark)
    }
}

impl Mark {
    /// Of what the name leads to now; `None` where that is nothing.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = path.metadata().ok()?;
        Some(Self {
            device_and_inode: (metadata.dev(), metadata.ino()),
            bytes: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// The real path of the folder, or why nothing in it should be believed.
fn folder_problem(folder: &Path) -> Result<PathBuf, Unreadable> {
    let real = folder.canonicalize().map_err(|error| unreadable(&error, "a configuration folder"))?;
    let metadata = real.metadata().map_err(|error| unreadable(&error, "a configuration folder"))?;
    if !metadata.is_dir() {
        return Err(refused("is not in a folder", "a configuration folder"));
    }
    believed(&metadata, is_read_only(&real))?;
    Ok(real)
}

/// Whether nobody but its owner can put files into a folder. The folder of a Kubernetes ConfigMap or Secret has
/// a mode that says otherwise, and is mounted so that nobody can write there at all.
fn believed(folder: &Metadata, read_only: bool) -> Result<(), Unreadable> {
    let said = "is in a folder that everybody can write to";
    if read_only { Ok(()) } else { writable(folder, said, "chmod o-w on the configuration folder") }
}

/// Whether it lies on a file system that is mounted read-only here.
fn is_read_only(folder: &Path) -> bool {
    statvfs(folder).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn referenced(folder: &Path, path: &str, kind: FileKind, left: u64) -> FileText {
    match kind {
        FileKind::Table if !stays_inside(path) => {
            Err(refused("is outside", "a file in the configuration folder"))
        }
        FileKind::Table => guarded(&inside(folder, path)?, &Bound::Left(left), kind),
        FileKind::Certificate => guarded(&folder.join(path), &Bound::Pem, kind),
        FileKind::Secret { allow_readable } => {
            let configured = folder.metadata().ok();
            let configured =
                configured.map(|metadata| Configured { by: metadata.uid(), is_shared: allow_readable });
            own(&folder.join(path), &Bound::Pem, kind, configured.as_ref())
        }
    }
}

/// The real path of a file whose links must not lead out of the folder.
fn inside(folder: &Path, path: &str) -> Result<PathBuf, Unreadable> {
    let real = folder.join(path).canonicalize().map_err(|error| unreadable(&error, READABLE))?;
    if real.starts_with(folder) {
        Ok(real)
    } else {
        Err(refused("is a link that leaves the configuration folder", "a file in the configuration folder"))
    }
}

/// How large a file may be.
enum Bound {
    /// As `scan` wants it.
    Yaml,
    /// [`MAX_PEM_BYTES`].
    Pem,
    /// What is left of `limits.max_config_bytes`.
    Left(u64),
    /// As whoever asks wants it.
    Most(u64),
}

impl Bound {
    fn bytes(&self) -> u64 {
        match self {
            Self::Yaml => MAX_YAML_BYTES as u64,
            Self::Pem => MAX_PEM_BYTES,
            Self::Left(bytes) | Self::Most(bytes) => *bytes,
        }
    }

    fn expected(&self) -> String {
        match self {
            Self::Yaml | Self::Pem => format!("at most {}", self.bytes()),
            Self::Most(bytes) => format!("at most {bytes} bytes"),
            Self::Left(bytes) => format!("at most {bytes}, what is left of limits.max_config_bytes"),
        }
    }
}

const READABLE: &str = "a file that cellgate can read";

/// Largest file of one secret that a command is given.
const MOST_SECRET_BYTES: u64 = 4_096;

/// A file with certificates of the admin plane: its own, or of those whom it lets in; wherever it lies.
pub fn certificates(path: &Path) -> FileText {
    own(path, &Bound::Pem, FileKind::Certificate, None)
}

/// A file with secrets, under the rules of those that the configuration names; wherever it lies.
pub fn secrets(path: &Path, allow_readable: bool) -> FileText {
    own(path, &Bound::Pem, FileKind::Secret { allow_readable }, None)
}

/// Reads the file of a secret that a command is given, under the rules of those that the configuration names.
///
/// # Errors
/// Why it is not read, and what is expected.
pub fn secret(path: &Path) -> Result<Vec<u8>, String> {
    let read = own(path, &Bound::Most(MOST_SECRET_BYTES), FileKind::Secret { allow_readable: false }, None);
    read.map_err(|error| {
        let expected =
            "a file that only you can read (mode 0600 or 0400), in a folder where only you can write";
        format!("{}; expected {expected}", error.what)
    })
}

/// Reads a file that not everybody may change and, if it is secret, nobody else may read.
fn guarded(path: &Path, most: &Bound, kind: FileKind) -> FileText {
    opened(path, most, kind, |_| Ok(None))
}

/// The same of one that nobody else may have written at all.
fn own(path: &Path, most: &Bound, kind: FileKind, configured: Option<&Configured>) -> FileText {
    opened(path, most, kind, |metadata| kept::objection(path, metadata, configured))
}

fn opened(
    path: &Path,
    most: &Bound,
    kind: FileKind,
    objection: impl FnOnce(&Metadata) -> io::Result<Option<Unreadable>>,
) -> FileText {
    let failed = |error: io::Error| unreadable(&error, READABLE);
    // Before it is opened: to open a pipe is to wait for its other end.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(refused("is no ordinary file", READABLE));
    }
    let file = File::open(path).map_err(failed)?;
    // Of what is open, not of the name: the name may mean another file by now.
    let metadata = file.metadata().map_err(failed)?;
    writable(&metadata, "can be written by everybody", "chmod o-w on it")?;
    if let FileKind::Secret { allow_readable: false } = kind
        && metadata.mode() & 0o044 != 0
    {
        let what = format!("has mode {:04o}, so that others can read the key", metadata.mode() & 0o7777);
        return Err(refused(&what, "mode 0600 or 0400 (or allow_readable: true beside it)"));
    }
    if let Some(unreadable) = objection(&metadata).map_err(failed)? {
        return Err(unreadable);
    }
    if metadata.len() > most.bytes() {
        return Err(refused(&format!("has {} bytes", metadata.len()), &most.expected()));
    }
    whole(&file, &metadata, |bytes| (&file).take(most.bytes()).read_to_end(bytes))
}

/// The bytes that `read` gives, of a file that nobody has written to since `before`.
fn whole(file: &File, before: &Metadata, read: impl FnOnce(&mut Vec<u8>) -> io::Result<usize>) -> FileText {
    let failed = |error: io::Error| unreadable(&error, READABLE);
    let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0));
    read(&mut bytes).map_err(failed)?;
    let after = file.metadata().map_err(failed)?;
    let is_whole = bytes.len() as u64 == after.len();
    if !is_whole || (before.mtime(), before.mtime_nsec()) != (after.mtime(), after.mtime_nsec()) {
        return Err(refused("was written to while it was read", "a new file that is renamed into its place"));
    }
    Ok(bytes)
}

fn writable(metadata: &Metadata, what: &str, expected: &str) -> Result<(), Unreadable> {
    if metadata.mode() & 0o002 == 0 { Ok(()) } else { Err(refused(what, expected)) }
}

fn unreadable(error: &io::Error, expected: &str) -> Unreadable {
    refused(&format!("cannot be read: {error}"), expected)
}

fn refused(what: &str, expected: &str) -> Unreadable {
    Unreadable { what: what.to_owned(), expected: expected.to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(ROUTING_FILE), "accounts: { file: accounts.csv }").unwrap();
        fs::write(folder.path().join("accounts.csv"), "of 1").unwrap();
        folder
    }

    /// A new file of the same size in the place of the old one, as deployments do it.
    fn deploy(folder: &Path, accounts: &str) {
        fs::write(folder.join("new"), accounts).unwrap();
        fs::rename(folder.join("new"), folder.join("accounts.csv")).unwrap();
    }

    #[test]
    fn a_folder_that_changes_while_it_is_read_is_read_again() {
        let folder = folder();
        let mut readings = 0;
        let sources = settled(&folder.path().into(), || {
            let reading = read(&folder.path().into());
            readings += 1;
            if readings == 1 {
                deploy(folder.path(), "of 2");
            }
            reading
        });
        assert_eq!(readings, 2);
        assert_eq!(sources.files["accounts.csv"].as_deref(), Ok(b"of 2".as_slice()));
    }

    #[test]
    fn a_folder_that_never_rests_is_refused() {
        let folder = folder();
        let mut readings = 0;
        let sources = settled(&folder.path().into(), || {
            let reading = read(&folder.path().into());
            readings += 1;
            deploy(folder.path(), &format!("of {readings}"));
            reading
        });
        assert_eq!(readings, READINGS);
        assert_eq!(sources.routing.unwrap_err().what, "changes while it is read");
        assert!(sources.files.is_empty());
    }

    #[test]
    fn a_file_that_is_written_to_while_it_is_read_is_refused() {
        let folder = folder();
        let path = folder.path().join("accounts.csv");
        let file = File::open(&path).unwrap();
        let read = |write: &dyn Fn()| {
            // Long ago, so that no clock is too coarse to tell the next write from it.
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            let before = file.metadata().unwrap();
            whole(&file, &before, |bytes| {
                let half = (&file).take(2).read_to_end(bytes)?;
                write();
                Ok(half + (&file).read_to_end(bytes)?)
            })
        };
        let at = |at: u64, text: &'static [u8]| {
            let path = path.clone();
            move || {
                use std::os::unix::fs::FileExt;
                File::options().write(true).open(&path).unwrap().write_all_at(text, at).unwrap();
            }
        };
        let refused = Err("was written to while it was read".to_owned());
        let text = |text: FileText| text.map_err(|unreadable| unreadable.what);
        let rewind = || std::io::Seek::rewind(&mut &file).unwrap();
        assert_eq!(text(read(&|| {})), Ok(b"of 1".to_vec()));
        rewind();
        assert_eq!(text(read(&at(4, b" and more"))), refused, "it grows");
        rewind();
        assert_eq!(
            text(read(&|| File::options().write(true).open(&path).unwrap().set_len(3).unwrap())),
            refused
        );
        rewind();
        assert_eq!(text(read(&at(0, b"OF"))), refused, "it has the same length as before");
    }

    #[test]
    fn what_nobody_can_write_to_is_believed_whatever_its_mode_says() {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder();
        for (mode, read_only, expect) in
            [(0o755, false, true), (0o777, false, false), (0o1777, false, false), (0o777, true, true)]
        {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            let metadata = folder.path().metadata().unwrap();
            assert_eq!(believed(&metadata, read_only).is_ok(), expect, "{mode:o}, read-only: {read_only}");
        }
        assert!(!is_read_only(folder.path()));
    }

    #[test]
    fn a_file_that_appears_while_the_folder_is_read_is_found() {
        let folder = folder();
        fs::remove_file(folder.path().join("accounts.csv")).unwrap();
        let (sources, seen) = read(&folder.path().into());
        assert!(sources.files["accounts.csv"].is_err() && seen.still_stands());
        deploy(folder.path(), "of 1");
        assert!(!seen.still_stands());
    }
}
