//! One question to a running cellgate on this machine, over its admin socket. No HTTP client: the other side is
//! ours, and its answers are short.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

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
