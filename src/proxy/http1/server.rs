//! A client's HTTP/1 connection during one exchange: the request that was read on it, what is read of its body, and the
//! answer. Reading heads, and what becomes of the connection afterwards, is [`h1`](crate::proxy::h1)'s.

use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderMap, Method, StatusCode, Version, header};
use hyper::ext::ReasonPhrase;
use pingora::protocols::http::date::get_cached_date;
use pingora::{BError, Error, ErrorType, Result};

use super::body::{BodyReader, BodyWriter, Room, Taken};
use super::text;
use crate::policy::facts::WireVersion;
use crate::policy::gate::Framing;
use crate::proxy::head::RequestHead;
use crate::proxy::wire::{PIECE, Wire};

/// One exchange with a client.
#[derive(Debug)]
pub struct Session {
    wire: Box<Wire>,
    /// What has come and was not taken yet: of the body, and behind it of the next request.
    buffer: BytesMut,
    head: RequestHead,
    body: BodyReader,
    room: Room,
    answer: BodyWriter,
    /// The connection may carry another request.
    keep_alive: bool,
    /// It has become a tunnel.
    upgraded: bool,
    /// The client has ended its half.
    gone: bool,
}

impl Session {
    /// Of a request whose head has been read; `buffer` is what has come behind it.
    pub fn new(wire: Box<Wire>, buffer: BytesMut, head: RequestHead, framing: Framing) -> Self {
        let keep_alive = asks_to_keep_alive(&head.headers, head.version != WireVersion::Http10);
        Self {
            wire,
            buffer,
            head,
            body: framing.into(),
            room: Room::default(),
            answer: BodyWriter::Done,
            keep_alive,
            upgraded: false,
            gone: false,
        }
    }

    /// The request head.
    pub fn head(&self) -> &RequestHead {
        &self.head
    }

    /// The connection.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// Whether what is to be written has left.
    pub fn is_settled(&self) -> bool {
        self.wire.is_settled()
    }

    /// Whether more may leave with what is queued.
    pub fn is_gathering(&self) -> bool {
        self.wire.is_gathering()
    }

    /// Whether the whole request body has been read.
    pub fn is_body_done(&self) -> bool {
        self.body.is_done()
    }

    /// Whether some of the body has come that was not taken yet.
    pub fn has_at_hand(&self) -> bool {
        !self.buffer.is_empty() || self.body.is_done()
    }

    /// The next part of the request body; `None` at its end. Nothing is lost when it is pending.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
            match self.body.take(&mut self.buffer)? {
                Taken::Part(part) => return Poll::Ready(Ok(Some(part))),
                Taken::End => return Poll::Ready(Ok(None)),
                Taken::Nothing => {}
            }
            // Not beyond its end: what comes there waits for its turn in the socket.
            let most = self.room.bytes().min(self.body.missing());
            let read = ready!(self.wire.poll_read(cx, &mut self.buffer, most));
            match read.map_err(|error| Error::because(ErrorType::ReadError, "request body", error))? {
                0 if matches!(self.body, BodyReader::UntilClose) => self.body = BodyReader::Done,
                0 => return Poll::Ready(Err(gone("request body"))),
                read => self.room.learn(most, read),
            }
        }
    }

    /// Ready when the client has gone away. For use while no request body is expected; what it sends meanwhile is kept
    /// for its next request, and then nothing more is noticed.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<BError> {
        if self.gone {
            return Poll::Ready(gone("the client has ended its half"));
        }
        if !self.buffer.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.wire.poll_read(cx, &mut self.buffer, PIECE)) {
            Ok(0) => {
                self.gone = true;
                self.keep_alive = false;
                Poll::Ready(gone("the client has ended its half"))
            }
            Ok(_) => Poll::Pending,
            Err(error) => Poll::Ready(Error::because(ErrorType::ReadError, "waiting for a client", error)),
        }
    }

    /// Sends a 1xx head other than 101.
    pub fn inform(&mut self, head: &Parts) {
        let text = self.wire.text();
        status_line(text, head);
        for (name, value) in &head.headers {
            text::field(text, name, value.as_bytes());
        }
        text.put_slice(b"\r\n");
    }

    /// Sends the final head; `end` when no body follows. Says whether nothing but the close of the connection ends what
    /// follows.
    pub fn answer(&mut self, head: &mut Parts, end: bool) -> bool {
        self.answer = self.frame(head, end);
        let until_close = matches!(self.answer, BodyWriter::UntilClose);
        if until_close || !self.body.is_done() {
            // Nobody will read the rest of a body that is answered before its end.
            self.keep_alive = false;
        }
        let text = self.wire.text();
        text::reserve(text, &head.headers);
        status_line(text, head);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            for (name, value) in &head.headers {
                text::field(text, name, value.as_bytes());
            }
            self.upgraded = true;
            self.body = BodyReader::UntilClose;
        } else {
            let theirs = head.headers.iter();
            for (name, value) in
                theirs.filter(|(name, _)| !matches!(**name, header::DATE | header::CONNECTION))
            {
                text::field(text, name, value.as_bytes());
            }
            text::field(text, &header::DATE, get_cached_date().as_bytes());
            let connection: &[u8] = if self.keep_alive { b"keep-alive" } else { b"close" };
            text::field(text, &header::CONNECTION, connection);
        }
        text.put_slice(b"\r\n");
        until_close && !self.upgraded
    }

    /// Sends a part of the answer's body, which is not empty.
    pub fn part(&mut self, part: Bytes) {
        self.answer.part(part, &mut self.wire);
    }

    /// Ends the answer's body whole; a tunnel is over then both ways.
    ///
    /// # Errors
    /// It is shorter than was promised.
    pub fn finish(&mut self) -> Result<()> {
        if self.upgraded {
            self.body = BodyReader::Done;
        }
        self.answer.finish(&mut self.wire)
    }

    /// The connection carries no further request.
    pub fn close(&mut self) {
        self.keep_alive = false;
    }

    /// Whether the connection may carry another request.
    pub fn will_keep_alive(&self) -> bool {
        self.keep_alive && self.answer.is_whole()
    }

    /// The connection, and what has come of the next request.
    pub fn into_parts(self) -> (Box<Wire>, BytesMut) {
        (self.wire, self.buffer)
    }

    /// Chooses how the client learns where the body ends, where the cell's framing cannot be kept:
    /// HTTP/2 cells need none, HTTP/1.0 clients know no chunks (RFC 9112 section 6.3).
    fn frame(&self, head: &mut Parts, end: bool) -> BodyWriter {
        let old_client = self.head.version == WireVersion::Http10;
        head.version = Version::HTTP_11;
        if old_client {
            head.headers.remove(header::TRANSFER_ENCODING);
        }
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return BodyWriter::UntilClose;
        }
        let bodiless = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if bodiless || self.head.method == Method::HEAD {
            return BodyWriter::Done;
        }
        if head.headers.contains_key(header::TRANSFER_ENCODING) {
            return BodyWriter::Chunked;
        }
        if let Some(length) = head.headers.get(header::CONTENT_LENGTH) {
            let length = length.to_str().ok().and_then(|text| text.trim().parse().ok());
            return BodyWriter::Length(length.unwrap_or(0));
        }
        if end {
            // An HTTP/2 cell says so with END_STREAM alone.
            head.headers.insert(header::CONTENT_LENGTH, 0.into());
            return BodyWriter::Done;
        }
        if old_client {
            return BodyWriter::UntilClose;
        }
        head.headers.insert(header::TRANSFER_ENCODING, http::HeaderValue::from_static("chunked"));
        BodyWriter::Chunked
    }
}

/// Whether a message asks for its connection to go on (RFC 9112 section 9.3); `usual` in its version.
pub(super) fn asks_to_keep_alive(headers: &HeaderMap, usual: bool) -> bool {
    let values = headers.get_all(header::CONNECTION).iter().map(http::HeaderValue::as_bytes);
    let mut keep_alive = usual;
    for option in values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii) {
        if option.eq_ignore_ascii_case(b"close") {
            return false;
        }
        keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
    }
    keep_alive
}

fn status_line(text: &mut BytesMut, head: &Parts) {
    text.put_slice(b"HTTP/1.1 ");
    text.put_slice(head.status.as_str().as_bytes());
    text.put_u8(b' ');
    match head.extensions.get::<ReasonPhrase>() {
        Some(own) => text.put_slice(own.as_bytes()),
        None => text.put_slice(head.status.canonical_reason().unwrap_or_default().as_bytes()),
    }
    text.put_slice(b"\r\n");
}

fn gone(doing: &'static str) -> BError {
    Error::explain(ErrorType::ConnectionClosed, doing)
}
