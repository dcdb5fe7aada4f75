//! Asking replicas what is live: once, or for as long as the program runs, each on a thread of its own; and what to do where one
//! does not answer.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, SystemTime};

use rustix::fs::{Access, access};

use super::super::admin_socket::{Bounds, Door, page};
use super::document::Document;
use super::fleet::Fleet;

/// An admin plane answers within milliseconds, a tunnel within a round trip. The largest document has thousands of cells at some
/// kilobytes.
const BOUNDS: Bounds = Bounds { within: Duration::from_secs(2), most: 16 * 1024 * 1024 };

/// Longest pause between two questions to who does not answer: whoever waits for a restart waits no longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Answers that wait to be shown: what is older than the newest of each replica interests nobody.
const WAITING: usize = 2;

/// What a replica has said, by its position.
pub type Heard = (usize, Result<Document, String>);

/// The answers of all, asked at once.
pub fn all(doors: &[(Box<str>, Door)]) -> Vec<Result<String, String>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = doors.iter().map(|(_, door)| scope.spawn(|| live(door))).collect();
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("asking it ended in a panic".to_owned())));
        ended.collect()
    })
}

/// The same into what is known.
pub fn hear_all(fleet: &mut Fleet) {
    let doors: Vec<_> =
        fleet.replicas.iter().map(|replica| (replica.name.clone(), replica.door.clone())).collect();
    for (at, said) in all(&doors).into_iter().enumerate() {
        fleet.hear(at, said.and_then(|body| Document::parse(&body)), SystemTime::now());
    }
}

/// Threads that ask until nobody listens any more, and not while it is paused.
pub fn begin(
    fleet: &Fleet,
    every: Duration,
    is_paused: &Arc<AtomicBool>,
) -> std::io::Result<Receiver<Heard>> {
    let (sender, receiver) = sync_channel(WAITING * fleet.replicas.len());
    for (at, replica) in fleet.replicas.iter().enumerate() {
        let (sender, door, is_paused) = (sender.clone(), replica.door.clone(), Arc::clone(is_paused));
        let ask = move || {
            let mut pause = every;
            loop {
                if !is_paused.load(Ordering::Relaxed) {
                    let said = live(&door).and_then(|body| Document::parse(&body));
                    pause = if said.is_ok() { every } else { longer(pause, every) };
                    if sender.send((at, said)).is_err() {
                        return;
                    }
                }
                std::thread::sleep(pause);
            }
        };
        std::thread::Builder::new().name("asking".into()).spawn(ask)?;
    }
    Ok(receiver)
}

/// After another question without an answer.
fn longer(pause: Duration, every: Duration) -> Duration {
    (pause * 2).min(LONGEST_PAUSE).max(every)
}

fn live(door: &Door) -> Result<String, String> {
    page(door, "/live", BOUNDS).map_err(|why| match door {
        Door::Unix(path) => format!("{why}. {}", advice(&seen(path), rustix::process::geteuid().as_raw())),
        Door::Http(_) | Door::Remote(_) => {
            format!("{why}. Is cellgate running there, and the way to it open?")
        }
    })
}

/// What is to be seen of a socket.
#[derive(Clone, Copy, Debug)]
enum Seen {
    Nothing,
    /// A folder on the way to it is closed.
    Hidden,
    NoSocket,
    Socket {
        owner: u32,
        group: u32,
        mode: u32,
        may_write: bool,
    },
}

fn seen(path: &Path) -> Seen {
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Seen::Hidden,
        Err(_) => Seen::Nothing,
        Ok(found) if !found.file_type().is_socket() => Seen::NoSocket,
        Ok(found) => Seen::Socket {
            owner: found.uid(),
            group: found.gid(),
            mode: found.mode(),
            may_write: access(path, Access::WRITE_OK).is_ok(),
        },
    }
}

/// What to do next.
fn advice(seen: &Seen, me: u32) -> String {
    match *seen {
        Seen::Nothing => "There is no socket: is cellgate running here? --socket names it (admin.unix of boot.yaml)".to_owned(),
        Seen::Hidden => "A folder on the way is closed for you: run this as the user of cellgate (sudo -u USER cellgate top)".to_owned(),
        Seen::NoSocket => "That is no socket: --socket names it (admin.unix of boot.yaml)".to_owned(),
        Seen::Socket { owner, group, mode, may_write: false } => {
            // Group members may write where the operator has opened it to them.
            let or_group = if mode & 0o020 != 0 { format!(", or join group {group}") } else { String::new() };
            format!("It is not yours: sudo -u '#{owner}' cellgate top --socket PATH{or_group}")
        }
        // The file lets everybody in, and the process has looked who called.
        Seen::Socket { owner, mode, .. } if me != owner && me != 0 && mode & 0o066 == 0 => {
            format!("It is not yours: sudo -u '#{owner}' cellgate top --socket PATH")
        }
        Seen::Socket { .. } => "The socket is there: has cellgate ended, or does it hang?".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_let_in_is_told_who_is() {
        let socket = |mode, may_write| Seen::Socket { owner: 990, group: 991, mode, may_write };
        for (seen, me, expect) in [
            (Seen::Nothing, 1_000, "no socket: is cellgate running"),
            (Seen::Hidden, 1_000, "sudo -u USER"),
            (Seen::NoSocket, 1_000, "no socket: --socket names it"),
            (socket(0o600, false), 1_000, "sudo -u '#990' cellgate top --socket PATH"),
            (socket(0o660, false), 1_000, "or join group 991"),
            (socket(0o600, true), 1_000, "sudo -u '#990'"),
            (socket(0o600, true), 0, "has cellgate ended"),
            (socket(0o660, true), 1_000, "has cellgate ended"),
            (socket(0o600, true), 990, "has cellgate ended"),
        ] {
            let said = advice(&seen, me);
            assert!(said.contains(expect), "{seen:?} by {me}: {said}");
        }
        assert!(!advice(&socket(0o600, false), 1_000).contains("group"));
    }

    #[test]
    fn a_socket_is_told_from_a_file_and_from_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        assert!(matches!(seen(&path), Seen::Nothing));
        fs::write(&path, "").unwrap();
        assert!(matches!(seen(&path), Seen::NoSocket));
        fs::remove_file(&path).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(matches!(seen(&path), Seen::Socket { may_write: true, .. }));
    }

    #[test]
    fn who_does_not_answer_is_asked_more_and_more_seldom_and_never_stops_being_asked() {
        let every = Duration::from_secs(1);
        let mut pauses = vec![every];
        for _ in 0..5 {
            pauses.push(longer(pauses[pauses.len() - 1], every));
        }
        assert_eq!(pauses.iter().map(Duration::as_secs).collect::<Vec<_>>(), [1, 2, 4, 8, 8, 8]);
        let seldom = Duration::from_secs(60);
        assert_eq!(longer(seldom, seldom), seldom);
    }
}
