//! One question to a running cellgate, over one of its admin doors. No HTTP client: the other side is ours, and its
//! answers are short.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

/// Most of an answer that is read; the longest has every learned credential, at 80 bytes each.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// What it says.
pub(super) struct Answer {
    /// Its status is 200.
    pub is_ok: bool,
    /// The body.
    pub body: String,
}

/// Asks `GET /path` or `POST /path`, and waits for the answer for no longer than `within` at a time.
pub(super) fn ask(socket: &Path, what: &str, within: Duration) -> anyhow::Result<Answer> {
    ask_with(socket, what, "", within)
}

/// The same with a body.
pub(super) fn ask_with(socket: &Path, what: &str, body: &str, within: Duration) -> anyhow::Result<Answer> {
    let answer = exchange(socket, what, body, within)
        .with_context(|| format!("asking {}: is cellgate running, and as this user?", socket.display()))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    Ok(Answer { is_ok: answer.starts_with("HTTP/1.1 200 "), body })
}

fn exchange(socket: &Path, what: &str, body: &str, within: Duration) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(within))?;
    stream.set_write_timeout(Some(within))?;
    let head = format!("Host: localhost\r\nContent-Length: {}\r\nConnection: close", body.len());
    stream.write_all(format!("{what} HTTP/1.1\r\n{head}\r\n\r\n{body}").as_bytes())?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

/// An admin door of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// The unix socket.
    Unix(PathBuf),
    /// The loopback port, or the near end of a tunnel to one.
    Http(SocketAddr),
}

/// Asks `GET path` of a process that may be anything: the answer, of at most so many bytes, must be there whole within
/// this time in all.
pub(super) fn ask_door(door: &Door, path: &str, within: Duration, most: u64) -> Result<String, String> {
    let until = Instant::now() + within;
    let slow =
        || io::Error::new(io::ErrorKind::TimedOut, format!("nothing within {} ms", within.as_millis()));
    let answer = match door {
        Door::Unix(socket) => UnixStream::connect(socket)
            .and_then(|stream| whole(stream, ("localhost", path), until, most, UnixStream::set_read_timeout)),
        Door::Http(address) => TcpStream::connect_timeout(address, within).and_then(|stream| {
            whole(stream, (&address.to_string(), path), until, most, TcpStream::set_read_timeout)
        }),
    };
    let is_slow =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
    let answer = answer.map_err(|error| if is_slow(&error) { slow() } else { error });
    body(&answer.map_err(|error| error.to_string())?)
}

/// Writes a request and reads all that comes.
fn whole<S: Read + Write>(
    mut stream: S,
    (host, path): (&str, &str),
    until: Instant,
    most: u64,
    patience: impl Fn(&S, Option<Duration>) -> io::Result<()>,
) -> io::Result<Vec<u8>> {
    // It fits the socket's buffer, so that nobody can hold it up.
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let (mut answer, mut piece) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        patience(&stream, Some(left))?;
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Ok(answer);
        }
        answer.extend_from_slice(&piece[..read]);
        if answer.len() as u64 > most {
            return Err(io::Error::other(format!("its answer has more than {most} bytes")));
        }
    }
}

/// The body of a whole answer with status 200.
fn body(answer: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(answer).map_err(|_| "its answer is no text".to_owned())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("its answer has no end")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3));
    match status {
        Some("200") => {}
        Some("404") => return Err("it has no such page (404): is it of an older version?".to_owned()),
        Some(other) => return Err(format!("it answered {}", other.escape_default())),
        None => return Err("it does not speak HTTP".to_owned()),
    }
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    if length == Some(body.len()) { Ok(body.to_owned()) } else { Err("its answer is not whole".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_answer_of_200_is_one() {
        let whole = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(body(whole.as_bytes()), Ok("ok".to_owned()));
        for (answer, expect) in [
            (&*whole.replace("200", "503"), "it answered 503"),
            (&*whole.replace("200", "404"), "older version"),
            (&whole[..whole.len() - 1], "not whole"),
            (&*whole.replace("Content-Length: 2\r\n", ""), "not whole"),
            (&whole[..30], "no end"),
            ("SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
            ("", "no end"),
        ] {
            let said = body(answer.as_bytes()).expect_err(answer);
            assert!(said.contains(expect), "{answer:?}: {said}");
        }
        assert_eq!(body(b"HTTP/1.1 200 OK\r\n\r\n\xff"), Err("its answer is no text".to_owned()));
    }
}
