//! Replacing a file of the state folder: a reader sees the old one or the new one whole, also after a
//! power cut. What is in it is its owner's business.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes the file beside the old one, readable by its owner only, and renames it into place.
///
/// # Errors
/// The state folder cannot be written; the file that was there before is still there.
pub fn replace(state_dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let part = state_dir.join(format!("{name}.part"));
    // A leftover of a crash may have other permissions; a new file has ours.
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&part, state_dir.join(name))?;
    // The rename itself must survive a power cut.
    File::open(state_dir)?.sync_all()
}
