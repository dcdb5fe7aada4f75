//! Whether a file that says who is believed (a token, a key, the authorities of the admin plane) is kept: whether nobody but
//! those who have the process could have written it, or put another one under its name.
//!
//! Kubernetes mounts secrets through links, with a group that may read, in a folder whose mode lets everybody write: there the
//! file system is read-only, and who owns what says nothing.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::{is_read_only, refused};
use crate::config::Unreadable;

/// Has every right anyway.
const ROOT: u32 = 0;

/// A file or folder, as far as it says who can write there.
struct Place {
    owner: u32,
    mode: u32,
    /// Whether nobody at all can, by this way.
    is_read_only: bool,
}

/// What the configuration says of a file that it names itself.
pub(super) struct Configured {
    /// Who owns its folder: by another configuration they could name another file.
    pub by: u32,
    /// The group may read the file. So it may write to it, where files are made so (umask 002): it can write to the
    /// configuration, too.
    pub is_shared: bool,
}

/// Why a file is not believed.
pub(super) fn objection(
    path: &Path,
    file: &Metadata,
    configured: Option<&Configured>,
) -> io::Result<Option<Unreadable>> {
    // The folder of the name, and that of what its links lead to.
    let folders = [folder_of(path).canonicalize()?, folder_of(&path.canonicalize()?)];
    let look = |folder: &PathBuf| io::Result::Ok(place(&folder.metadata()?, is_read_only(folder)));
    let (by_name, real) = (look(&folders[0])?, look(&folders[1])?);
    let mut file = place(file, real.is_read_only);
    if configured.is_some_and(|configured| configured.is_shared) {
        file.mode &= !0o020;
    }
    let believed = [Some(ROOT), Some(geteuid().as_raw()), configured.map(|configured| configured.by)];
    let believed: Vec<u32> = believed.into_iter().flatten().collect();
    Ok(written_by_others(&file, &[by_name, real], &believed))
}

fn place(metadata: &Metadata, is_read_only: bool) -> Place {
    Place { owner: metadata.uid(), mode: metadata.mode(), is_read_only }
}

fn folder_of(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

/// A folder that its group can write to is no objection where folders are made so (umask 002): what others put there is theirs,
/// and not believed for that.
fn written_by_others(file: &Place, folders: &[Place], believed: &[u32]) -> Option<Unreadable> {
    let owners = "one of root or of the user that serves";
    if file.mode & 0o020 != 0 {
        let what = format!("has mode {:04o}, so that its group can write to it", file.mode & 0o7777);
        return Some(refused(&what, "chmod g-w on it"));
    }
    let is_foreign = |place: &Place| !place.is_read_only && !believed.contains(&place.owner);
    if is_foreign(file) {
        let what = format!("belongs to user {}, who can write to it", file.owner);
        return Some(refused(&what, owners));
    }
    for folder in folders {
        if is_foreign(folder) {
            let what =
                format!("is in a folder of user {}, who can put another one in its place", folder.owner);
            return Some(refused(&what, owners));
        }
        // Sticky or not: others cannot replace what is there, and can be there before it.
        if folder.mode & 0o002 != 0 && !folder.is_read_only {
            return Some(refused("is in a folder that everybody can write to", "chmod o-w on its folder"));
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stderr)] // What cannot be shown here is said aloud.
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;
    use crate::load::{certificates, secret, secrets};

    const SERVES: u32 = 1_000;
    const OTHER: u32 = 65_534;

    fn said(file: (u32, u32), folders: [(u32, u32, bool); 2]) -> String {
        let folders = folders.map(|(owner, mode, is_read_only)| Place { owner, mode, is_read_only });
        let file = Place { owner: file.0, mode: file.1, is_read_only: folders[1].is_read_only };
        written_by_others(&file, &folders, &[ROOT, SERVES]).map_or_else(String::new, |found| found.what)
    }

    #[test]
    fn a_secret_is_believed_where_nobody_else_could_have_written_it() {
        let ours = [(ROOT, 0o755, false), (SERVES, 0o700, false)];
        let other_file = "belongs to user 65534, who can write to it";
        let other_folder = "is in a folder of user 65534, who can put another one in its place";
        let open = "is in a folder that everybody can write to";
        let (kubernetes, private) = ((ROOT, 0o1777, true), (ROOT, 0o700, false));
        for (file, folders, expect) in [
            ((ROOT, 0o600), ours, ""),
            ((SERVES, 0o400), ours, ""),
            ((SERVES, 0o644), ours, ""),
            ((OTHER, 0o600), ours, other_file),
            ((ROOT, 0o620), ours, "has mode 0620, so that its group can write to it"),
            ((SERVES, 0o100_660), ours, "has mode 0660, so that its group can write to it"),
            ((ROOT, 0o600), [private, (ROOT, 0o777, false)], open),
            ((ROOT, 0o600), [private, (ROOT, 0o1777, false)], open),
            ((ROOT, 0o600), [(ROOT, 0o777, false), private], open),
            ((ROOT, 0o600), [(OTHER, 0o700, false), private], other_folder),
            ((ROOT, 0o600), [private, (OTHER, 0o700, false)], other_folder),
            ((ROOT, 0o600), [private, (ROOT, 0o775, false)], ""),
            ((ROOT, 0o440), [kubernetes, kubernetes], ""),
            ((OTHER, 0o440), [kubernetes, kubernetes], ""),
            ((ROOT, 0o460), [kubernetes, kubernetes], "has mode 0460, so that its group can write to it"),
            // The link is where others can write, and so leads where they want.
            ((ROOT, 0o440), [(ROOT, 0o1777, false), kubernetes], open),
        ] {
            assert_eq!(said(file, folders), expect, "{file:?} {folders:?}");
        }
    }

    /// Who it was is looked up on real files, which nobody but root can give away.
    fn is_root() -> bool {
        let is_root = geteuid().is_root();
        if !is_root {
            eprintln!("NOT TESTED: owners of files, which only root can change; run this test as root");
        }
        is_root
    }

    #[test]
    fn files_of_others_are_not_read_as_tokens_keys_or_authorities() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.csv");
        let check = |expect: &str| {
            let found = [secrets(&path, false), secrets(&path, true), certificates(&path)];
            let found = found.map(|read| read.map_or_else(|error| error.what, |_| String::new()));
            assert_eq!(found, [expect; 3]);
            let told = secret(&path).map_or_else(|error| error, |_| String::new());
            assert!(told.starts_with(expect) && told.is_empty() == expect.is_empty(), "{told}");
        };
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        fs::write(&path, "a").unwrap();
        mode(&path, 0o600);
        check("");
        mode(&path, 0o620);
        check("has mode 0620, so that its group can write to it");
        mode(&path, 0o600);
        for open in [0o777, 0o1777] {
            mode(folder.path(), open);
            check("is in a folder that everybody can write to");
        }
        mode(folder.path(), 0o700);
        if is_root() {
            chown(&path, Some(OTHER), None).unwrap();
            check("belongs to user 65534, who can write to it");
            chown(&path, Some(ROOT), None).unwrap();
            chown(folder.path(), Some(OTHER), None).unwrap();
            check("is in a folder of user 65534, who can put another one in its place");
            chown(folder.path(), Some(ROOT), None).unwrap();
        }
        check("");
    }

    #[test]
    fn the_links_of_a_mounted_secret_are_followed_and_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("..2026");
        fs::create_dir(&real).unwrap();
        fs::write(real.join("tokens.csv"), "a").unwrap();
        fs::set_permissions(real.join("tokens.csv"), fs::Permissions::from_mode(0o440)).unwrap();
        symlink("..2026", folder.path().join("..data")).unwrap();
        symlink("..data/tokens.csv", folder.path().join("tokens.csv")).unwrap();
        let read = || secrets(&folder.path().join("tokens.csv"), true).map_err(|error| error.what);
        assert_eq!(read(), Ok(b"a".to_vec()));
        fs::set_permissions(&real, fs::Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(read(), Err("is in a folder that everybody can write to".to_owned()));
    }
}
