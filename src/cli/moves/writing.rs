//! Writing tables of a configuration folder: each is there whole or as it was, both or none as far as the disk allows,
//! and nothing that somebody else has written meanwhile is lost.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use crate::config::Sources;
use crate::config::moving::Changed;

/// Keeps a second `cellgate move` out of the folder until it is dropped.
pub(super) fn lock(folder: &Path) -> anyhow::Result<File> {
    let file = File::open(folder).with_context(|| format!("opening {}", folder.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another cellgate move is at work in {}: wait for its end", folder.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking {}", folder.display()))
        }
    }
}

/// Writes what has changed, against what was read.
pub(super) fn write(folder: &Path, before: &Sources, changed: &Changed) -> anyhow::Result<()> {
    let mut parts = Vec::new();
    let prepared = changed.files.iter().try_for_each(|name| {
        let text = changed.sources.files.get(name).and_then(|text| text.as_deref().ok());
        let text = text.context("what was changed is there")?;
        let old = before.files.get(name).and_then(|text| text.as_deref().ok());
        parts.push(Part::new(folder.join(&**name), old, text).with_context(|| format!("writing {name}"))?);
        Ok(())
    });
    let written = prepared.and_then(|()| put_in_place(&parts));
    for part in &parts {
        // Renamed, or not wanted any more.
        let _ = fs::remove_file(&part.beside);
    }
    written.context("nothing was written")
}

/// All of them, or none: what has been replaced already is put back.
fn put_in_place(parts: &[Part]) -> anyhow::Result<()> {
    for (done, part) in parts.iter().enumerate() {
        if let Err(error) = part.settle() {
            for earlier in &parts[..done] {
                earlier.put_back().with_context(|| {
                    format!(
                        "{} is changed and {} is not; take both back",
                        earlier.path.display(),
                        part.path.display()
                    )
                })?;
            }
            return Err(error).with_context(|| format!("replacing {}", part.path.display()));
        }
    }
    Ok(())
}

/// A file that is written and does not have its name yet.
struct Part {
    path: PathBuf,
    beside: PathBuf,
    /// What has the name now.
    old: Option<Vec<u8>>,
}

impl Part {
    fn new(path: PathBuf, read: Option<&[u8]>, text: &[u8]) -> anyhow::Result<Self> {
        let old = match fs::symlink_metadata(&path) {
            Ok(found) => {
                ensure!(
                    found.is_file(),
                    "{} is no ordinary file; run this in the folder that is deployed from, not where it is deployed to",
                    path.display()
                );
                Some(fs::read(&path)?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        ensure!(
            old.is_none() || old.as_deref() == read,
            "{} has changed since it was read; run it again",
            path.display()
        );
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let beside = path.with_file_name(name);
        let part = Self { path, beside, old };
        part.write(text)?;
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

    fn settle(&self) -> io::Result<()> {
        fs::rename(&self.beside, &self.path)?;
        // The rename itself must survive a power cut.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn put_back(&self) -> io::Result<()> {
        match &self.old {
            Some(old) => self.write(old).and_then(|()| self.settle()),
            None => fs::remove_file(&self.path),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_are_replaced_or_none_and_what_others_wrote_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let part = |name: &str, read: Option<&str>, text: &str| {
            Part::new(at(name), read.map(str::as_bytes), text.as_bytes())
        };
        fs::write(at("a"), "1").unwrap();
        fs::create_dir(at("folder")).unwrap();
        let parts = [part("a", Some("1"), "2").unwrap(), part("b", None, "3").unwrap()];
        put_in_place(&parts).unwrap();
        assert_eq!((fs::read(at("a")).unwrap(), fs::read(at("b")).unwrap()), (b"2".to_vec(), b"3".to_vec()));

        // The second cannot be replaced: something else has come in its place.
        let parts = [part("a", Some("2"), "4").unwrap(), part("c", None, "5").unwrap()];
        fs::create_dir(at("c")).unwrap();
        assert!(put_in_place(&parts).is_err());
        assert_eq!(fs::read(at("a")).unwrap(), b"2", "put back");

        let said = part("a", Some("1"), "4").err().unwrap().to_string();
        assert!(said.contains("has changed since it was read"), "{said}");
        assert_eq!(fs::read(at("a")).unwrap(), b"2");
        std::os::unix::fs::symlink(at("a"), at("link")).unwrap();
        let said = part("link", Some("2"), "4").err().unwrap().to_string();
        assert!(said.contains("no ordinary file"), "{said}");

        let held = lock(folder.path()).unwrap();
        assert!(lock(folder.path()).is_err());
        drop(held);
        assert!(lock(folder.path()).is_ok());
    }
}
