//! A cell's side of HTTP/1.1: kept connections, bodies by `Content-Length`, WebSockets.

use std::io;
use std::mem::MaybeUninit;

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Answers, BODY, CELL_HEADER};
use crate::bench::incoming::{HEAD_BYTES_MAX, Incoming};
use crate::cell::websocket::accept_key;

/// Answers one request after the other, until the connection ends.
pub(super) async fn converse(mut stream: TcpStream, answers: &Answers) -> io::Result<()> {
    let mut incoming = Incoming::of(HEAD_BYTES_MAX);
    loop {
        let Some(head) = head(incoming.unread())? else {
            incoming.fill(&mut stream).await?;
            continue;
        };
        incoming.consume(head.bytes);
        incoming.skip(head.body_bytes, &mut stream).await?;
        match head.wanted {
            Wanted::Usual if head.body_bytes == 0 => stream.write_all(&answers.usual).await?,
            Wanted::Usual => stream.write_all(&answers.received(head.body_bytes)).await?,
            Wanted::Head => stream.write_all(&answers.usual[..answers.usual_head_bytes]).await?,
            Wanted::Bytes(count) => answers.send_many(&mut stream, count).await?,
            Wanted::WebSocket { accept } => return echo(stream, incoming.unread(), answers, &accept).await,
            Wanted::Unreadable => return stream.write_all(UNREADABLE).await,
        }
    }
}

/// What a request wants.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// What most get.
    Usual,
    /// The head of it alone.
    Head,
    /// So many bytes.
    Bytes(u64),
    /// Every message back; with the proof that the key was read.
    WebSocket { accept: String },
    /// What this reader does not read: no contestant sends chunks for a body whose length was said.
    Unreadable,
}

const UNREADABLE: &[u8] = b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// One request, without its body.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    bytes: usize,
    body_bytes: u64,
    wanted: Wanted,
}

/// Fields of one head; the benchmark sends six, and proxies add as many.
const FIELDS_MAX: usize = 48;

/// Bytes that one answer has at most: a mistyped number is no reason to send for an hour.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The first head in `bytes`; none where its end has not come yet.
fn head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, &mut fields).map_err(io::Error::other)?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let mut head = Head { bytes: length, body_bytes: 0, wanted: wanted(&request) };
    for field in request.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        match field.name.len() {
            14 if is("content-length") => match number(field.value) {
                Some(length) => head.body_bytes = length,
                None => head.wanted = Wanted::Unreadable,
            },
            17 if is("transfer-encoding") => head.wanted = Wanted::Unreadable,
            17 if is("sec-websocket-key") => {
                head.wanted = Wanted::WebSocket { accept: accept_key(field.value) };
            }
            _ => {}
        }
    }
    Ok(Some(head))
}

fn wanted(request: &httparse::Request<'_, '_>) -> Wanted {
    if request.method == Some("HEAD") {
        return Wanted::Head;
    }
    let count = request.path.and_then(|path| number(path.strip_prefix("/bytes/")?.as_bytes()));
    count.map_or(Wanted::Usual, |count| Wanted::Bytes(count.min(ANSWER_BYTES_MAX)))
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl Answers {
    /// The usual answer to a request with a body.
    fn received(&self, bytes: u64) -> Vec<u8> {
        let received = format!("X-Received: {bytes}\r\n\r\n{BODY}");
        let fields = &self.usual[..self.usual_head_bytes - b"\r\n".len()];
        [fields, received.as_bytes()].concat()
    }

    async fn send_many(&self, stream: &mut TcpStream, count: u64) -> io::Result<()> {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {count}\r\n\
             {CELL_HEADER}: {}\r\n\r\n",
            self.cell
        );
        stream.write_all(head.as_bytes()).await?;
        let mut left = count;
        while left > 0 {
            let length = self.filling.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            stream.write_all(&self.filling[..length]).await?;
            left -= length as u64;
        }
        Ok(())
    }
}

async fn echo(mut stream: TcpStream, unread: &[u8], answers: &Answers, accept: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{CELL_HEADER}: {}\r\n\r\n",
        answers.cell
    );
    stream.write_all(head.as_bytes()).await?;
    let mut socket = WebSocketStream::from_partially_read(stream, unread.to_vec(), Role::Server, None).await;
    while let Some(message) = socket.next().await {
        let message = message.map_err(io::Error::other)?;
        // Pings and closes are answered by the library.
        if message.is_text() || message.is_binary() {
            socket.send(message).await.map_err(io::Error::other)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_what_is_wanted_and_how_much_follows_it() {
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        // The proof of RFC 6455 section 1.3.
        let socket = Wanted::WebSocket { accept: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".into() };
        for (line, fields, body_bytes, expected) in [
            ("GET / HTTP/1.1", "", 0, Wanted::Usual),
            ("POST / HTTP/1.1", "content-LENGTH: 12\r\n", 12, Wanted::Usual),
            ("HEAD /bytes/5 HTTP/1.1", "", 0, Wanted::Head),
            ("GET /bytes/5 HTTP/1.1", "", 0, Wanted::Bytes(5)),
            ("GET /bytes/many HTTP/1.1", "", 0, Wanted::Usual),
            ("GET /bytes/99999999999 HTTP/1.1", "", 0, Wanted::Bytes(ANSWER_BYTES_MAX)),
            ("POST / HTTP/1.1", "Transfer-Encoding: chunked\r\n", 0, Wanted::Unreadable),
            ("POST / HTTP/1.1", "Content-Length: 1, 1\r\n", 0, Wanted::Unreadable),
            ("GET /ws HTTP/1.1", key, 0, socket),
        ] {
            let text = format!("{line}\r\nHost: h\r\n{fields}\r\n");
            let head_expected = Head { bytes: text.len(), body_bytes, wanted: expected };
            assert_eq!(head(format!("{text}more").as_bytes()).unwrap(), Some(head_expected), "{text}");
            assert_eq!(head(&text.as_bytes()[..text.len() - 1]).unwrap(), None, "{text}");
        }
        assert!(head(b"\0\0\0\0\0\0").is_err());
    }
}
