//! Whether what is written into the state folder outlives the process: what kind of mount it lies on, by the kernel's
//! list. What that list cannot say is not known here, such as a disk that is thrown away with its machine.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The mounts as this process sees them: proc_pid_mountinfo(5).
const MOUNTS: &str = "/proc/self/mountinfo";

/// Digits of the name that a container engine makes up for a volume that was given none.
const MADE_UP_DIGITS: usize = 64;

/// Why what is in a folder does not last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ephemeral {
    /// It is in memory: gone with the machine, or with whoever mounted it.
    Memory,
    /// It is in the layer that a container writes over its image: gone with the container.
    ContainerLayer,
    /// Kubernetes made it for one pod: gone with the pod.
    EmptyDir,
    /// The container engine made it for one container: the next one gets another.
    UnnamedVolume,
}

impl fmt::Display for Ephemeral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "it lies in memory (tmpfs)",
            Self::ContainerLayer => "no volume is mounted there, so it goes with its container",
            Self::EmptyDir => "it is an emptyDir of Kubernetes, which goes with its pod",
            Self::UnnamedVolume => "its volume has no name, so the next container gets another",
        })
    }
}

/// What is lost with it, and what to do, behind [`Ephemeral`].
pub const WAY_OUT: &str = "the last good configuration, the books and learned credentials do not outlive it; put state_dir \
                           on a volume that stays (docs/deploy.md)";

/// Why a folder does not last, as far as the system knows; `None` where nothing speaks against it.
///
/// # Errors
/// The folder is not there, or the system does not say what is mounted.
pub fn look(folder: &Path) -> io::Result<Option<Ephemeral>> {
    let folder = folder.canonicalize()?;
    // Names of mounts may be any bytes; one that is no text is not replaced by another.
    let mounts = std::fs::read(MOUNTS)?;
    Ok(ephemeral(&String::from_utf8_lossy(&mounts), &folder))
}

/// The same by a list of mounts and a path without links.
pub fn ephemeral(mounts: &str, folder: &Path) -> Option<Ephemeral> {
    let mounts = mounts.lines().filter_map(Mount::of).filter(|mount| folder.starts_with(&mount.point));
    // The innermost; of two on one point the later covers the earlier.
    mounts.max_by_key(|mount| mount.point.components().count())?.ephemeral()
}

/// A line of the list.
struct Mount<'a> {
    /// Where it is seen.
    point: PathBuf,
    /// Which folder of its file system is seen there.
    root: &'a str,
    kind: &'a str,
}

impl<'a> Mount<'a> {
    fn of(line: &'a str) -> Option<Self> {
        // Number, parent, device, root, point, options, any number of fields, `-`, kind.
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        Some(Self { point: unescaped(point), root, kind: after.split(' ').next()? })
    }

    fn ephemeral(&self) -> Option<Ephemeral> {
        let is_unnamed = || {
            let name = self.root.strip_suffix("/_data").and_then(|path| path.rsplit_once("/volumes/"));
            name.is_some_and(|(_, name)| {
                name.len() == MADE_UP_DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
        };
        match self.kind {
            "tmpfs" | "ramfs" => Some(Ephemeral::Memory),
            "overlay" | "fuse.fuse-overlayfs" | "aufs" => Some(Ephemeral::ContainerLayer),
            _ if self.root.contains("/volumes/kubernetes.io~empty-dir/") => Some(Ephemeral::EmptyDir),
            _ if is_unnamed() => Some(Ephemeral::UnnamedVolume),
            _ => None,
        }
    }
}

/// Space, tab, line feed and backslash stand as `\` and three octal digits.
fn unescaped(field: &str) -> PathBuf {
    let escapes = [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", r"\")];
    escapes.iter().fold(field.to_owned(), |text, (escape, byte)| text.replace(escape, byte)).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A machine with the usual, and what container engines and Kubernetes bring along, as they write it.
    const LIST: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 27 0:27 / /run rw,nosuid shared:2 master:1 - tmpfs tmpfs rw,size=24684084k
31 27 0:44 / /srv rw - xfs /dev/vdb rw
32 31 0:45 / /srv/fast rw - ramfs none rw
33 27 8:1 /var/lib/kubelet/pods/0d4f/volumes/kubernetes.io~empty-dir/state /pod/state rw - ext4 /dev/sda1 rw
34 27 8:2 /var/lib/kubelet/pods/0d4f/volumes/kubernetes.io~csi/pvc-1/mount /pod/kept rw - ext4 /dev/sdb rw
35 27 0:50 / /container rw - overlay overlay rw,lowerdir=/a,upperdir=/b,workdir=/c
36 35 8:1 /var/lib/docker/volumes/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/_data /container/unnamed rw - ext4 /dev/sda1 rw
37 35 8:1 /var/lib/docker/volumes/cellgate-state/_data /container/named rw - ext4 /dev/sda1 rw
38 27 0:51 / /with\\040space rw - tmpfs tmpfs rw
39 27 0:52 / /twice rw - tmpfs tmpfs rw
40 39 8:3 / /twice rw - ext4 /dev/sdc rw
41 27 0:53 / /rootless rw - fuse.fuse-overlayfs fuse-overlayfs rw
";

    #[test]
    fn the_innermost_mount_says_whether_a_folder_lasts() {
        for (folder, expect) in [
            ("/var/lib/cellgate", None),
            ("/run/cellgate", Some(Ephemeral::Memory)),
            ("/runner/cellgate", None),
            ("/srv/state", None),
            ("/srv/fast/state", Some(Ephemeral::Memory)),
            ("/pod/state", Some(Ephemeral::EmptyDir)),
            ("/pod/state/below", Some(Ephemeral::EmptyDir)),
            ("/pod/kept", None),
            ("/container/var/lib/cellgate", Some(Ephemeral::ContainerLayer)),
            ("/container/unnamed", Some(Ephemeral::UnnamedVolume)),
            ("/container/named/cellgate", None),
            ("/with space/state", Some(Ephemeral::Memory)),
            ("/twice/state", None),
            ("/rootless/state", Some(Ephemeral::ContainerLayer)),
        ] {
            assert_eq!(ephemeral(LIST, Path::new(folder)), expect, "{folder}");
        }
        assert_eq!(ephemeral("no list at all", Path::new("/var")), None);
    }

    #[test]
    fn the_list_of_this_machine_is_read() {
        // Every Linux has it, in memory.
        assert_eq!(look(Path::new("/dev/shm")).unwrap(), Some(Ephemeral::Memory));
        assert_eq!(look(Path::new("/proc")).unwrap(), None);
        assert!(look(Path::new("/nowhere/at/all")).is_err());
    }
}
