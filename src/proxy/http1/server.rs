//! A client's HTTP/1 connection during one exchange: the request that was read on it, what is read of its body, and the
//! answer. Reading heads, and what becomes of the connection afterwards, is [`h1`](crate::proxy::h1)'s.

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::ext::ReasonPhrase;
use pingora::protocols::http::date::get_cached_date;
use pingora::{BError, Error, ErrorType, Result};

use super::body::{BodyReader, BodyWriter, Room, Taken};
use super::text::Lines;
use crate::policy::facts::WireVersion;
use crate::policy::gate::Framing;
use crate::proxy::head::RequestHead;
use crate::proxy::pieces;
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
        let keep_alive = head.persistence.goes_on(head.version != WireVersion::Http10);
        Self {
            wire,
            buffer,
            head,
            body: framing.into(),
            room: Room::up_to(pieces::UPLOADED),
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

    /// Sends a head below 200 as it is. For those that are not 101: one that is final takes [`answer`](Self::answer).
    pub fn inform(&mut self, head: &Parts) {
        let mut lines = Lines::behind(self.wire.text());
        status_line(&mut lines, head);
        head.headers.iter().for_each(|(name, value)| lines.field(name, value.as_bytes()));
        lines.line([]);
    }

    /// Sends the final head; `end` when no body follows. Says whether nothing but the close of the connection ends what
    /// follows.
    pub fn answer(&mut self, head: &mut Parts, end: bool) -> bool {
        if self.head.version == WireVersion::Http10 {
            // It knows no chunks (RFC 9112 section 6.3).
            head.headers.remove(header::TRANSFER_ENCODING);
        }
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            self.inform(head);
            self.keep_alive = false;
            self.upgraded = true;
            self.body = BodyReader::UntilClose;
            self.answer = BodyWriter::UntilClose;
            return false;
        }
        let mut lines = Lines::behind(self.wire.text());
        status_line(&mut lines, head);
        let mut said = SaidOfBody::default();
        for (name, value) in &head.headers {
            match *name {
                header::DATE | header::CONNECTION => continue,
                header::TRANSFER_ENCODING => said.chunked = true,
                header::CONTENT_LENGTH => said.length = said.length.or(Some(value)),
                _ => {}
            }
            lines.field(name, value.as_bytes());
        }
        let (answer, added) = frame(&self.head, head.status, &said, end);
        if let Some((name, value)) = added {
            lines.field(&name, value.as_bytes());
        }
        let until_close = matches!(answer, BodyWriter::UntilClose);
        self.answer = answer;
        if until_close || !self.body.is_done() {
            // Nobody will read the rest of a body that is answered before its end.
            self.keep_alive = false;
        }
        lines.field(&header::DATE, get_cached_date().as_bytes());
        let connection = if self.keep_alive { "keep-alive" } else { "close" };
        lines.field(&header::CONNECTION, connection.as_bytes());
        lines.line([]);
        until_close
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
}

/// What the fields of an answer say of the end of its body.
#[derive(Default)]
struct SaidOfBody<'a> {
    chunked: bool,
    length: Option<&'a HeaderValue>,
}

/// A field that is added to a head.
type Added = (HeaderName, &'static str);

/// Chooses how the client learns where the body ends, where the cell's framing cannot be kept:
/// HTTP/2 cells need none, HTTP/1.0 clients know no chunks (RFC 9112 section 6.3).
fn frame(
    asked: &RequestHead,
    status: StatusCode,
    said: &SaidOfBody<'_>,
    end: bool,
) -> (BodyWriter, Option<Added>) {
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless || asked.method == Method::HEAD {
        return (BodyWriter::Done, None);
    }
    if said.chunked {
        return (BodyWriter::Chunked, None);
    }
    if let Some(length) = said.length {
        let length = length.to_str().ok().and_then(|text| text.trim().parse().ok());
        return (BodyWriter::Length(length.unwrap_or(0)), None);
    }
    if end {
        // An HTTP/2 cell says so with END_STREAM alone.
        return (BodyWriter::Done, Some((header::CONTENT_LENGTH, "0")));
    }
    if asked.version == WireVersion::Http10 {
        return (BodyWriter::UntilClose, None);
    }
    (BodyWriter::Chunked, Some((header::TRANSFER_ENCODING, "chunked")))
}

fn status_line(lines: &mut Lines<'_>, head: &Parts) {
    let reason = match head.extensions.get::<ReasonPhrase>() {
        Some(own) => own.as_bytes(),
        None => head.status.canonical_reason().unwrap_or_default().as_bytes(),
    };
    lines.line([b"HTTP/1.1 ", head.status.as_str().as_bytes(), b" ", reason]);
}

fn gone(doing: &'static str) -> BError {
    Error::explain(ErrorType::ConnectionClosed, doing)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;
    use crate::policy::gate::{HeadStatus, read_head};
    use crate::policy::snapshot::RequestLimits;

    /// What a client reads of an answer to its request, without its Date, and whether only the close ends it.
    async fn answered(request: &str, status: u16, fields: &[(&str, &str)], end: bool) -> (String, bool) {
        let raw = Bytes::from(format!("{request}\r\nHost: a.test\r\n\r\n"));
        let Ok(HeadStatus::Complete(read)) = read_head(&raw, &RequestLimits::default()) else {
            unreachable!("the gate reads {request:?}")
        };
        let asked = RequestHead::http1(&read, &raw).unwrap();
        let (near, mut far) = duplex(4096);
        let mut session = Session::new(Wire::new(near, 0), BytesMut::new(), asked, read.framing);
        let mut head = http::Response::builder().status(status);
        for (name, value) in fields {
            head = head.header(*name, *value);
        }
        let until_close = session.answer(&mut head.body(()).unwrap().into_parts().0, end);
        session.wire().settled().await.unwrap();
        drop(session);
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        let dates = text.matches("\r\nDate: ").count();
        assert_eq!(dates, usize::from(status != 101), "{text}");
        let lines = text.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: "));
        (lines.collect(), until_close)
    }

    #[tokio::test]
    async fn an_answer_has_its_fields_in_order_and_says_once_where_its_body_ends() {
        let length =
            [("content-type", "a"), ("date", "x"), ("content-length", "5"), ("connection", "x"), ("b", "c")];
        let chunked = [("transfer-encoding", "chunked"), ("b", "c")];
        let switching = [("connection", "upgrade"), ("upgrade", "websocket")];
        let (get, old, head) = ("GET / HTTP/1.1", "GET / HTTP/1.0", "HEAD / HTTP/1.1");
        type Case<'a> = (&'a str, u16, &'a [(&'a str, &'a str)], bool, &'a str, bool);
        let cases: [Case<'_>; 8] = [
            (
                get,
                200,
                &length,
                false,
                "200 OK\r\nContent-Type: a\r\nContent-Length: 5\r\nb: c\r\nConnection: keep-alive\r\n",
                false,
            ),
            (
                get,
                200,
                &chunked,
                false,
                "200 OK\r\nTransfer-Encoding: chunked\r\nb: c\r\nConnection: keep-alive\r\n",
                false,
            ),
            (
                get,
                200,
                &[],
                false,
                "200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n",
                false,
            ),
            (get, 404, &[], true, "404 Not Found\r\nContent-Length: 0\r\nConnection: keep-alive\r\n", false),
            (get, 204, &[], true, "204 No Content\r\nConnection: keep-alive\r\n", false),
            (head, 200, &[], true, "200 OK\r\nConnection: keep-alive\r\n", false),
            (old, 200, &chunked, false, "200 OK\r\nb: c\r\nConnection: close\r\n", true),
            (
                get,
                101,
                &switching,
                false,
                "101 Switching Protocols\r\nConnection: upgrade\r\nupgrade: websocket\r\n",
                false,
            ),
        ];
        for (request, status, fields, end, expect, until_close) in cases {
            let expect = (format!("HTTP/1.1 {expect}\r\n"), until_close);
            assert_eq!(answered(request, status, fields, end).await, expect, "{request} {status} {fields:?}");
        }
    }
}
