//! The override in force, in the state folder: a restart must not end what an operator has decided. Reads and writes;
//! [`approval::break_glass`](crate::approval::break_glass) decides.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::approval::break_glass::{Aim, LONGEST, Override};
use crate::policy::code::Code;
use crate::state_file;

/// Name of the file in the state folder.
pub const FILE_NAME: &str = "break-glass.cellgate";

/// First word of the file; the number is the version of the format.
const MAGIC: &str = "cellgate-break-glass 1";

/// Largest file that is read back: a reason and a name at their longest, escaped, with room.
const MAX_BYTES: u64 = 16 * 1024;

/// The override that was put down, also one that is over. Without the file there is none. A damaged file lifts nothing, and
/// is taken for one that keeps what serves, as long as any that was put down then could: somebody may have kept it.
pub fn load(state_dir: &Path) -> Option<Override> {
    let path = state_dir.join(FILE_NAME);
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
    let damaged = |reason: &str| {
        tracing::error!(code = %Code::OverrideDamaged, path = %path.display(), reason, "the override in the state folder is not believed");
        let written = fs::metadata(&path).and_then(|about| about.modified()).ok()?;
        let ends = (written + LONGEST).duration_since(UNIX_EPOCH).ok()?;
        let reason = format!("{FILE_NAME} is damaged ({reason}), and may have kept what serves");
        let until = i64::try_from(ends.as_secs()).ok()?;
        Some(Override { aim: Aim::Keep, reason, by: "cellgate".to_owned(), until })
    };
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => damaged(&error.to_string()),
        Ok(_) => match state_file::unsealed(MAGIC, &bytes) {
            Err(reason) => damaged(reason),
            Ok(rest) => serde_json::from_slice(rest).map_or_else(|error| damaged(&error.to_string()), Some),
        },
    }
}

/// Puts an override down; `None` ends it.
///
/// # Errors
/// The state folder cannot be written; what was there before is still there.
pub fn save(state_dir: &Path, asked: Option<&Override>) -> io::Result<()> {
    match asked {
        Some(asked) => {
            let text = serde_json::to_vec(asked).expect("words and numbers are JSON");
            state_file::replace(state_dir, FILE_NAME, &state_file::sealed(MAGIC, &text))
        }
        None => match fs::remove_file(state_dir.join(FILE_NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_put_down_is_read_back_and_a_changed_byte_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()), None);
        let asked = Override::new(Aim::Restore, "us1 \"burns\"", "ann", Duration::from_secs(600), 7).unwrap();
        save(dir.path(), Some(&asked)).unwrap();
        assert_eq!(load(dir.path()), Some(asked));
        let path = dir.path().join(FILE_NAME);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            let taken = load(dir.path()).unwrap();
            assert_eq!((taken.aim, &*taken.by), (Aim::Keep, "cellgate"), "byte {at}");
            let now = UNIX_EPOCH.elapsed().unwrap().as_secs().try_into().unwrap();
            assert!(taken.keeps(now) && !taken.keeps(now + 4 * 3_600 + 1), "byte {at}");
        }
        save(dir.path(), None).unwrap();
        save(dir.path(), None).unwrap();
        assert!(!path.exists());
    }
}
