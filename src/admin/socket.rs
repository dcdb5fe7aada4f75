//! The unix socket: made with its final mode, taking the place of a dead one and of nothing else, and
//! open to this process's own user and root; or a predecessor's, taken over where it stands.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, SockAddr, Type};

use super::{AdminError, SocketMode};

/// A bound socket. Its file goes when this is dropped, unless somebody else has replaced it.
#[derive(Debug)]
pub(super) struct Socket {
    /// Non-blocking, listening.
    pub listener: UnixListener,
    /// The user that this process runs as.
    pub owner: u32,
    /// Its mode.
    pub mode: SocketMode,
    place: Place,
}

/// Where a socket's file is. Whoever knows it can say that the file stays.
#[derive(Clone, Debug)]
pub(super) struct Place {
    path: PathBuf,
    inode: u64,
    stays: Arc<AtomicBool>,
}

/// Binds the socket. It is made in a private folder beside its place and moved there when it has its
/// mode, so that nobody can connect in between, and without touching the umask of the process.
pub(super) fn bind_socket(path: &Path, mode: SocketMode) -> Result<Socket, AdminError> {
    make_room(path)?;
    bind_beside(path, mode).map_err(|error| AdminError::Socket(path.into(), error))
}

/// Takes a predecessor's socket over, which stands at `path`. The file is the predecessor's until
/// [`Place::is_taken_over`] says otherwise: it goes on where this process comes to nothing.
pub(super) fn adopt_socket(
    path: &Path,
    mode: SocketMode,
    listener: UnixListener,
) -> Result<Socket, AdminError> {
    let adopt = || {
        fs::set_permissions(path, Permissions::from_mode(mode.0))?;
        let made = fs::symlink_metadata(path)?;
        listener.set_nonblocking(true)?;
        let place = Place::new(path, made.ino());
        place.stays();
        Ok(Socket { listener, owner: made.uid(), mode, place })
    };
    adopt().map_err(|error| AdminError::Socket(path.into(), error))
}

/// Whether a peer may talk to us. Where the operator has opened the mode to group or others, the kernel has
/// held the peer against it already, all its groups included.
pub(super) fn may_connect(socket: &Socket, peer: u32) -> bool {
    const ROOT: u32 = 0;
    const BEYOND_OWNER: u32 = 0o066;
    peer == socket.owner || peer == ROOT || socket.mode.0 & BEYOND_OWNER != 0
}

fn make_room(path: &Path) -> Result<(), AdminError> {
    let failed = |error| AdminError::Socket(path.into(), error);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(AdminError::NotASocket(path.into())),
        Ok(_) => {}
    }
    let caller = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    // A process that hangs has a full queue; a blocking connect would wait for it.
    caller.set_nonblocking(true).map_err(failed)?;
    match caller.connect(&SockAddr::unix(path).map_err(failed)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(()) => Err(AdminError::SocketInUse(path.into())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(AdminError::SocketInUse(path.into())),
        Err(error) => Err(failed(error)),
    }
}

fn bind_beside(path: &Path, mode: SocketMode) -> io::Result<Socket> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = PrivateFolder::create(parent.join(format!(".cg{}", std::process::id())))?;
    let beside = folder.0.join("s");
    let listener = UnixListener::bind(&beside)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(&beside, Permissions::from_mode(mode.0))?;
    let made = fs::symlink_metadata(&beside)?;
    fs::rename(&beside, path)?;
    Ok(Socket { listener, owner: made.uid(), mode, place: Place::new(path, made.ino()) })
}

/// A folder that only we can enter, and that goes when it is dropped.
struct PrivateFolder(PathBuf);

impl PrivateFolder {
    fn create(path: PathBuf) -> io::Result<Self> {
        // Left by a process of the same id that was killed in the middle.
        let _ = fs::remove_file(path.join("s"));
        let _ = fs::remove_dir(&path);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0.join("s"));
        let _ = fs::remove_dir(&self.0);
    }
}

impl Socket {
    /// Where its file is.
    pub(super) fn place(&self) -> Place {
        self.place.clone()
    }
}

impl Place {
    fn new(path: &Path, inode: u64) -> Self {
        Self { path: path.into(), inode, stays: Arc::default() }
    }

    /// Whether the file there is still this socket's.
    pub(super) fn is_ours(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode)
    }

    /// This process answers there from now on.
    pub(super) fn is_taken_over(&self) {
        self.stays.store(false, Ordering::Release);
    }

    /// Somebody else listens on the socket from now on.
    pub(super) fn stays(&self) {
        self.stays.store(true, Ordering::Release);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !self.place.stays.load(Ordering::Acquire) && self.place.is_ours() {
            let _ = fs::remove_file(&self.place.path);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::telemetry::fixture::wait_until;

    #[test]
    fn the_socket_is_private_from_the_start_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let socket = bind_socket(&path, SocketMode::default()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only the socket");
        drop(socket);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        // What a killed process leaves: std does not remove the file.
        drop(UnixListener::bind(&path).unwrap());
        // A child that another test starts at this moment has it, too, until it is another program.
        wait_until(|| UnixStream::connect(&path).is_err());
        let live = bind_socket(&path, SocketMode::default()).unwrap();
        assert!(matches!(bind_socket(&path, SocketMode::default()), Err(AdminError::SocketInUse(_))));
        assert!(path.exists());
        drop(live);
        assert!(bind_socket(&path, SocketMode::default()).is_ok());
    }

    #[test]
    fn what_is_not_a_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        fs::write(&path, "precious").unwrap();
        let error = bind_socket(&path, SocketMode::default()).unwrap_err();
        assert!(matches!(error, AdminError::NotASocket(_)), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let missing = folder.path().join("no/folder/admin.sock");
        assert!(matches!(bind_socket(&missing, SocketMode::default()), Err(AdminError::Socket(..))));
    }

    #[test]
    fn a_socket_that_replaced_ours_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let ours = bind_socket(&path, SocketMode::default()).unwrap();
        fs::remove_file(&path).unwrap();
        let theirs = bind_socket(&path, SocketMode::default()).unwrap();
        drop(ours);
        assert!(path.exists());
        drop(theirs);
    }

    #[test]
    fn a_socket_that_was_handed_over_stays_for_the_successor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let ours = bind_socket(&path, SocketMode::default()).unwrap();
        let listener = ours.listener.try_clone().unwrap();
        assert!(ours.place().is_ours());
        ours.place().stays();
        drop(ours);
        let came_to_nothing = adopt_socket(&path, SocketMode(0o660), listener.try_clone().unwrap()).unwrap();
        drop(came_to_nothing);
        assert!(path.exists(), "the one before answers there");
        let theirs = adopt_socket(&path, SocketMode(0o660), listener).unwrap();
        theirs.place().is_taken_over();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
        drop(theirs);
        assert!(!path.exists());
    }

    #[test]
    fn the_own_user_and_root_may_connect_and_whom_the_mode_admits() {
        let folder = tempfile::tempdir().unwrap();
        let mut socket = bind_socket(&folder.path().join("admin.sock"), SocketMode::default()).unwrap();
        for (owner, peer, mode, expect) in [
            (1000, 1000, 0o600, true),
            (1000, 0, 0o600, true),
            (1000, 1001, 0o600, false),
            (0, 0, 0o600, true),
            (0, 1000, 0o600, false),
            (0, 1000, 0o660, true),
        ] {
            (socket.owner, socket.mode) = (owner, SocketMode(mode));
            assert_eq!(may_connect(&socket, peer), expect, "{owner} {peer} {mode:o}");
        }
    }
}
