//! One question to a running cellgate, over one of its admin doors, within bounds. No HTTP client: the other side is
//! ours, and its answers are short. An answer that is not whole is none.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, SockAddr, Socket, Type};

use super::admin_door::Remote;
use super::codes::Unanswered;

/// Most of an answer of the process on this machine; the longest has every learned credential, at 80 bytes each.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// What it says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its status is 200.
    pub is_ok: bool,
    /// The body.
    pub body: String,
    status: u16,
}

/// An admin door of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// The unix socket.
    Unix(PathBuf),
    /// The loopback port, or the near end of a tunnel to one.
    Http(SocketAddr),
    /// The port for other machines, with a token.
    Remote(Remote),
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Http(address) => write!(f, "http://{address}"),
            Self::Remote(remote) => write!(f, "https://{}", remote.place()),
        }
    }
}

/// What an answer may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Time until it is there whole.
    pub within: Duration,
    /// Bytes, with its head.
    pub most: u64,
}

/// Asks the process on this machine `GET /path` or `POST /path`. The answer must be there within this time in all.
pub(super) fn ask(socket: &Path, what: &str, within: Duration) -> anyhow::Result<Answer> {
    ask_door(&Door::Unix(socket.into()), what, "", within)
}

/// The same at any door, with a body.
pub(super) fn ask_door(door: &Door, what: &str, body: &str, within: Duration) -> anyhow::Result<Answer> {
    exchange(door, what, body, Bounds { within, most: MAX_ANSWER })
        .with_context(|| Unanswered { door: door.to_string(), is_here: matches!(door, Door::Unix(_)) })
}

/// The page that `GET path` of a process gives, which may be anything.
pub(super) fn page(door: &Door, path: &str, bounds: Bounds) -> Result<String, String> {
    let answer = exchange(door, &format!("GET {path}"), "", bounds).map_err(|error| error.to_string())?;
    match answer.status {
        200 => Ok(answer.body),
        404 => Err("it has no such page (404), as an older version would not".to_owned()),
        other => Err(format!("it answered {other}{}", reason(&answer.body))),
    }
}

/// What our own refusals say, in words; nothing where it is something else.
fn reason(body: &str) -> String {
    let said: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let words = said["what"].as_str().unwrap_or_default();
    let words: String = words.chars().take(QUOTED).flat_map(char::escape_debug).collect();
    if words.is_empty() { words } else { format!(": {}", words.trim_end_matches('.')) }
}

/// Longest piece of a foreign answer that is repeated, in characters.
const QUOTED: usize = 120;

fn exchange(door: &Door, what: &str, body: &str, bounds: Bounds) -> io::Result<Answer> {
    let until = Instant::now() + bounds.within;
    let answer = match door {
        Door::Unix(socket) => connect(socket, bounds.within)
            .and_then(|stream| whole(stream, ("localhost", "", what, body), until, bounds.most)),
        Door::Http(address) => TcpStream::connect_timeout(address, bounds.within)
            .and_then(|stream| whole(stream, (&address.to_string(), "", what, body), until, bounds.most)),
        Door::Remote(remote) => remote.connect(bounds.within).and_then(|stream| {
            let said = (remote.place(), &*remote.authorization(), what, body);
            whole(stream, said, until, bounds.most)
        }),
    };
    let answer = answer.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => io::Error::new(
            io::ErrorKind::TimedOut,
            format!("nothing within {} ms", bounds.within.as_millis()),
        ),
        _ => error,
    });
    read(&answer?).map_err(io::Error::other)
}

/// A process that hangs takes no connection; waiting for it ends too.
fn connect(path: &Path, within: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(within))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(UnixStream::from(OwnedFd::from(socket)))
}

/// A stream whose next step ends in time.
trait Patient: Read + Write {
    fn patience(&self, left: Duration) -> io::Result<()>;
}

impl Patient for UnixStream {
    fn patience(&self, left: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(left)).and_then(|()| self.set_write_timeout(Some(left)))
    }
}

impl Patient for TcpStream {
    fn patience(&self, left: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(left)).and_then(|()| self.set_write_timeout(Some(left)))
    }
}

impl Patient for StreamOwned<ClientConnection, TcpStream> {
    fn patience(&self, left: Duration) -> io::Result<()> {
        self.sock.patience(left)
    }
}

/// Writes a request and reads all that comes.
fn whole(
    mut stream: impl Patient,
    (host, fields, what, body): (&str, &str, &str, &str),
    until: Instant,
    most: u64,
) -> io::Result<Vec<u8>> {
    let left = || {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
    };
    let kind = "Content-Type: application/json";
    let length = body.len();
    let head = format!("Host: {host}\r\n{fields}{kind}\r\nContent-Length: {length}\r\nConnection: close");
    stream.patience(left()?)?;
    stream.write_all(format!("{what} HTTP/1.1\r\n{head}\r\n\r\n{body}").as_bytes())?;
    let (mut answer, mut piece) = (Vec::new(), [0; 16 * 1024]);
    loop {
        stream.patience(left()?)?;
        let read = match stream.read(&mut piece) {
            // Of TLS: an end that was not announced. Whether the answer is whole, its length says.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            read => read?,
        };
        if read == 0 {
            return Ok(answer);
        }
        answer.extend_from_slice(&piece[..read]);
        if answer.len() as u64 > most {
            return Err(io::Error::other(format!("its answer has more than {most} bytes")));
        }
    }
}

/// Reads a whole answer.
fn read(answer: &[u8]) -> Result<Answer, String> {
    let text = std::str::from_utf8(answer).map_err(|_| "its answer is no text".to_owned())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("its answer has no end")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse::<u16>().ok());
    let Some(status) = status else { return Err("it does not speak HTTP".to_owned()) };
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    if length != Some(body.len()) {
        return Err("its answer is not whole".to_owned());
    }
    Ok(Answer { is_ok: status == 200, body: body.to_owned(), status })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Asks a door whose process says this, whatever it is asked.
    fn answered(said: &str) -> Result<String, String> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let door = Door::Http(listener.local_addr().unwrap());
        let said = said.to_owned();
        let speaker = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            stream.write_all(said.as_bytes()).unwrap();
        });
        let page = page(&door, "/moves", Bounds { within: Duration::from_secs(20), most: 1_000 });
        speaker.join().unwrap();
        page
    }

    #[test]
    fn only_a_whole_answer_of_200_is_one() {
        let whole = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(answered(whole), Ok("ok".to_owned()));
        let trouble = r#"{"what":"A successor is about to serve."}"#;
        let refused =
            format!("HTTP/1.1 503 Service Unavailable\r\ncontent-length: {}\r\n\r\n{trouble}", trouble.len());
        for (answer, expect) in [
            (&*whole.replace("200", "503"), "it answered 503"),
            (&*refused, "it answered 503: A successor is about to serve"),
            (&*whole.replace("200", "404"), "an older version"),
            (&whole[..whole.len() - 1], "not whole"),
            (&*whole.replace("Content-Length: 2\r\n", ""), "not whole"),
            (&whole[..30], "no end"),
            ("SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
            ("", "no end"),
            (&*format!("{whole}{}", "x".repeat(1_000)), "more than 1000 bytes"),
        ] {
            let said = answered(answer).expect_err(answer);
            assert!(said.contains(expect), "{answer:?}: {said}");
        }
        assert_eq!(read(b"HTTP/1.1 200 OK\r\n\r\n\xff"), Err("its answer is no text".to_owned()));
    }

    #[test]
    fn a_process_that_hangs_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        // Room for one that nobody has accepted; the next finds none.
        listener.listen(0).unwrap();
        let bounds = Bounds { within: Duration::from_millis(50), most: 1_000 };
        let _queued = UnixStream::connect(&path).unwrap();
        let said = page(&Door::Unix(path), "/moves", bounds).unwrap_err();
        assert_eq!(said, "nothing within 50 ms");
    }
}
