//! Page and JSON as files, for a web server or a bucket to serve when nothing of ours can be reached. Each is whole at any
//! moment: it is written beside the old one and renamed. A disk that takes none holds nobody up; that is said in the log once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;

use crate::policy::code::Code;

/// What the files are called.
const PAGE: &str = "index.html";
const JSON: &str = "status.json";

/// Everybody may read what is public, and a web server is another user.
const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;

/// What waits to be written beside what is: the newest is all that matters, and comes again with the next printing.
const WAITING: usize = 1;

/// The printer's end.
#[derive(Debug)]
pub(super) struct Publisher(SyncSender<(Bytes, Bytes)>);

impl Publisher {
    /// Begins to write into a folder, which is made where it is not there.
    pub(super) fn start(folder: PathBuf) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name("status-files".into())
            .spawn(move || write_all(&folder, &receiver))?;
        Ok(Self(sender))
    }

    /// Has it written; false where the one before is not written yet.
    pub(super) fn offer(&self, page: Bytes, json: Bytes) -> bool {
        self.0.try_send((page, json)).is_ok()
    }
}

fn write_all(folder: &Path, receiver: &Receiver<(Bytes, Bytes)>) {
    let mut is_said = false;
    for (page, json) in receiver {
        match write(folder, &page, &json) {
            Ok(()) if is_said => {
                tracing::info!(folder = %folder.display(), "the status is published again");
                is_said = false;
            }
            Ok(()) => {}
            Err(error) if !is_said => {
                let folder = folder.display();
                tracing::warn!(code = %Code::StatusNotShown, %folder, %error, "the status cannot be published: let this user write into status.publish.folder");
                is_said = true;
            }
            Err(_) => {}
        }
    }
}

fn write(folder: &Path, page: &[u8], json: &[u8]) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
    // A page asks for the JSON that it was made of, or a newer one.
    replace(folder, JSON, json)?;
    replace(folder, PAGE, page)
}

fn replace(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let part = folder.join(format!(".{name}.part"));
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&part)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&part, folder.join(name))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_are_public_whole_and_the_only_ones() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("public/status");
        for round in 0..3 {
            write(&place, format!("page {round}").as_bytes(), b"{}").unwrap();
            // What a crash has left is in nobody's way.
            fs::write(place.join(".status.json.part"), "half").unwrap();
        }
        assert_eq!(fs::read_to_string(place.join(PAGE)).unwrap(), "page 2");
        assert_eq!(fs::metadata(place.join(JSON)).unwrap().permissions().mode() & 0o777, FILE_MODE);
        write(&place, b"page", b"{}").unwrap();
        let mut names: Vec<_> =
            fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [PAGE, JSON]);
        assert!(write(&place.join(PAGE), b"", b"").is_err(), "a file is no folder");
    }
}
