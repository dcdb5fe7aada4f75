//! Writing tables of a configuration folder: each is there whole or as it was, both or none as far as the disk allows,
//! and nothing that somebody else has written meanwhile is lost.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::Stop;
use crate::config::moving::Changed;
use crate::config::{Problem, Sources};
use crate::policy::code::Code;

/// Keeps a second `cellgate move` out of the folder until it is dropped.
pub(super) fn lock(folder: &Path) -> Result<File, Stop> {
    let file = File::open(folder).map_err(|error| {
        let what = format!("the folder cannot be opened: {error}");
        let expected = "the configuration folder that is deployed from, with cellgate.yaml (--config DIR)";
        Stop::Problems(vec![Problem::in_file(
            Code::FileNotRead,
            &folder.display().to_string(),
            what,
            expected,
        )])
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Stop::Busy(format!(
            "another cellgate move is at work in {}: wait for its end",
            folder.display()
        ))),
        Err(TryLockError::Error(error)) => {
            Err(anyhow!(error).context(format!("locking {}", folder.display())).into())
        }
    }
}

/// Writes what has changed, against what was read.
pub(super) fn write(folder: &Path, before: &Sources, changed: &Changed) -> Result<(), Stop> {
    let mut parts = Vec::new();
    let prepared = changed.files.iter().try_for_each(|name| {
        let text = changed.sources.files.get(name).and_then(|text| text.as_deref().ok());
        let text = text.context("what was changed is there")?;
        let old = before.files.get(name).and_then(|text| text.as_deref().ok());
        parts.push(Part::new(folder.join(&**name), old, text)?);
        Ok(())
    });
    let written = prepared.and_then(|()| Ok(put_in_place(&parts, sync)?));
    for part in &parts {
        // Renamed, or not wanted any more.
        let _ = fs::remove_file(&part.beside);
    }
    written
}

/// All of them, or none: what has been replaced already is put back. The error says what is on disk.
///
/// `sync` makes sure that what was renamed in a folder survives a power cut.
fn put_in_place(parts: &[Part], sync: impl Fn(&Path) -> io::Result<()>) -> anyhow::Result<()> {
    for (done, part) in parts.iter().enumerate() {
        if let Err(error) = part.rename() {
            let error = anyhow!(error).context(format!("replacing {}", part.path.display()));
            let back: Vec<_> = parts[..done].iter().filter(|part| part.put_back().is_err()).collect();
            if back.is_empty() {
                return Err(error.context("nothing was written"));
            }
            let left = names(&back);
            return Err(error.context(format!(
                "{left} is changed and {} is not, and could not be put back: take {left} back (git checkout) before \
                 anything is deployed, and run this again",
                part.path.display()
            )));
        }
    }
    let unsure: Vec<_> = parts.iter().filter_map(|part| sync(part.folder()).err()).collect();
    match unsure.into_iter().next() {
        None => Ok(()),
        Some(error) => Err(anyhow!(error).context(format!(
            "{} is written, whole, and would perhaps not survive a power cut now: look at it (git diff), see that the disk is well, \
             and go on as after a success",
            names(&parts.iter().collect::<Vec<_>>())
        ))),
    }
}

fn names(parts: &[&Part]) -> String {
    let names: Vec<String> = parts.iter().map(|part| part.path.display().to_string()).collect();
    names.join(" and ")
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A file that is written and does not have its name yet.
struct Part {
    path: PathBuf,
    beside: PathBuf,
    /// What has the name now.
    old: Option<Vec<u8>>,
}

impl Part {
    fn new(path: PathBuf, read: Option<&[u8]>, text: &[u8]) -> Result<Self, Stop> {
        let failed = |error: io::Error| {
            anyhow!(error).context(format!("nothing was written: writing {}", path.display()))
        };
        let old = match fs::symlink_metadata(&path) {
            Ok(found) if !found.is_file() => {
                return Err(Stop::Failed(anyhow!(
                    "nothing was written: {} is no ordinary file; run this in the folder that is deployed from, not where it \
                     is deployed to",
                    path.display()
                )));
            }
            Ok(_) => Some(fs::read(&path).map_err(failed)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error).into()),
        };
        if old.is_some() && old.as_deref() != read {
            return Err(Stop::Busy(format!(
                "nothing was written: {} has changed since it was read; run it again",
                path.display()
            )));
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let beside = path.with_file_name(name);
        let part = Self { path, beside, old };
        part.write(text)
            .with_context(|| format!("nothing was written: writing {}", part.beside.display()))?;
        Ok(part)
    }

    fn write(&self, text: &[u8]) -> io::Result<()> {
        match fs::remove_file(&self.beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(&self.beside)?;
        file.write_all(text)?;
        if self.old.is_some() {
            file.set_permissions(fs::metadata(&self.path)?.permissions())?;
        }
        file.sync_all()
    }

    fn rename(&self) -> io::Result<()> {
        fs::rename(&self.beside, &self.path)
    }

    fn folder(&self) -> &Path {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.unwrap_or(Path::new("."))
    }

    fn put_back(&self) -> io::Result<()> {
        match &self.old {
            Some(old) => self.write(old).and_then(|()| self.rename()),
            None => fs::remove_file(&self.path),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::telemetry::fixture::wait_until;

    /// What is said of an end that is none.
    fn said<T>(ended: Result<T, impl Into<Stop>>) -> String {
        match ended.map_err(Into::into) {
            Ok(_) => "done".to_owned(),
            Err(Stop::Busy(why) | Stop::Refused(why)) => why,
            Err(Stop::Failed(error)) => format!("{error:#}"),
            Err(Stop::Problems(problems) | Stop::Folder(problems) | Stop::Against(problems)) => {
                format!("{problems:?}")
            }
        }
    }

    fn part(path: PathBuf, read: Option<&str>, text: &str) -> Result<Part, Stop> {
        Part::new(path, read.map(str::as_bytes), text.as_bytes())
    }

    #[test]
    fn both_are_replaced_or_none_and_what_others_wrote_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let part = |name: &str, read: Option<&str>, text: &str| part(at(name), read, text);
        let ready =
            |part: Result<Part, Stop>| part.unwrap_or_else(|stop| unreachable!("{}", said::<()>(Err(stop))));
        fs::write(at("a"), "1").unwrap();
        fs::create_dir(at("folder")).unwrap();
        let parts = [ready(part("a", Some("1"), "2")), ready(part("b", None, "3"))];
        put_in_place(&parts, sync).unwrap();
        assert_eq!((fs::read(at("a")).unwrap(), fs::read(at("b")).unwrap()), (b"2".to_vec(), b"3".to_vec()));

        // The second cannot be replaced: something else has come in its place.
        let parts = [ready(part("a", Some("2"), "4")), ready(part("c", None, "5"))];
        fs::create_dir(at("c")).unwrap();
        let why = said(put_in_place(&parts, sync));
        assert!(why.starts_with("nothing was written: replacing "), "{why}");
        assert_eq!(fs::read(at("a")).unwrap(), b"2", "put back");

        let why = said(part("a", Some("1"), "4"));
        assert!(
            why.starts_with("nothing was written: ") && why.contains("has changed since it was read"),
            "{why}"
        );
        assert_eq!(fs::read(at("a")).unwrap(), b"2");
        std::os::unix::fs::symlink(at("a"), at("link")).unwrap();
        let why = said(part("link", Some("2"), "4"));
        assert!(why.starts_with("nothing was written: ") && why.contains("no ordinary file"), "{why}");

        let held = lock(folder.path());
        assert!(held.is_ok() && said(lock(folder.path())).contains("another cellgate move is at work"));
        drop(held);
        // A child that another test starts at this moment has the lock, too, until it is another program.
        wait_until(|| said(lock(folder.path())) == "done");
    }

    #[test]
    fn what_is_on_disk_is_told_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let text = |name: &str| String::from_utf8(fs::read(at(name)).unwrap()).unwrap();
        let ready = |name: &str, read: Option<&str>, text: &str| match part(at(name), read, text) {
            Ok(part) => part,
            Err(stop) => unreachable!("{}", said::<()>(Err(stop))),
        };
        fs::write(at("a"), "1").unwrap();
        let parts = [ready("a", Some("1"), "2"), ready("b", None, "3")];
        let why = said(put_in_place(&parts, |_| Err(io::Error::other("the disk is gone"))));
        assert_eq!((text("a"), text("b")), ("2".to_owned(), "3".to_owned()));
        for expected in ["a and ", "b is written, whole", "survive a power cut", "the disk is gone"] {
            assert!(why.contains(expected), "{expected} in {why}");
        }
        assert!(!why.contains("nothing was written"), "{why}");

        // The last cannot be replaced, and the first not be put back: a folder stands where its old text would be written.
        fs::create_dir(at("in-the-way")).unwrap();
        let in_the_way = Part { path: at("a.part"), beside: at("in-the-way"), old: None };
        let parts = [ready("a", Some("2"), "4"), in_the_way, ready("c", None, "5")];
        fs::create_dir(at("c")).unwrap();
        let why = said(put_in_place(&parts, sync));
        assert_eq!(text("a"), "4");
        assert!(why.contains("is changed and ") && why.contains("could not be put back: take "), "{why}");
        assert!(!why.contains("nothing was written"), "{why}");
    }
}
