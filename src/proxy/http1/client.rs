//! A cell's HTTP/1 connection during one exchange: the request that it is sent, and its answer. Whether an answer may be
//! passed on, `policy::gate` says; what comes here as a head is at least one, and its body has one end.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use httparse::{ParserConfig, Status};
use hyper::ext::ReasonPhrase;
use pingora::http::header_value_from_raw;
use pingora::{BError, Error, ErrorType, Result};

use super::body::{BodyReader, BodyWriter, Room, Taken};
use super::server::asks_to_keep_alive;
use super::text;
use crate::policy::gate::ANSWER_BYTES;
use crate::proxy::pieces;
use crate::proxy::wire::Wire;

/// Most fields in the head of an answer: more than any has, and they lie on the stack while it is read.
const FIELDS: usize = 256;

/// Most bytes that are read of a head that has not ended: twice what one may have, for names and line ends.
const HEAD_BYTES: usize = 2 * ANSWER_BYTES;

/// How long a cell may take to be told that its connection ends: a request holds its permits meanwhile.
const CLOSE: Duration = Duration::from_millis(500);

/// A head that is longer than [`HEAD_BYTES`].
pub const HEAD_TOO_LARGE: ErrorType = ErrorType::new("HeadTooLarge");

/// One exchange with a cell.
#[derive(Debug)]
pub struct Session {
    wire: Box<Wire>,
    /// What has come and was not taken yet.
    buffer: BytesMut,
    request: BodyWriter,
    /// The answer has no body, whatever its head says (RFC 9110 section 9.3.2).
    is_head: bool,
    /// `None` before the final head.
    answer: Option<BodyReader>,
    room: Room,
    /// Most bytes of the body that are taken at a time.
    most: usize,
    /// The cell keeps the connection open.
    keep_alive: bool,
}

/// How the cell learns where the request body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestBody {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// What has been read of an answer.
#[derive(Debug)]
pub enum Answered {
    /// A head below 200, other than 101.
    Informational(Box<Parts>),
    /// The final head, and whether no body follows.
    Final(Box<Parts>, bool),
}

impl Session {
    /// Over a connection that is idle.
    pub fn new(wire: Box<Wire>) -> Self {
        Self {
            wire,
            buffer: BytesMut::new(),
            request: BodyWriter::Done,
            is_head: false,
            answer: None,
            room: Room::default(),
            most: pieces::WHOLE,
            keep_alive: false,
        }
    }

    /// The connection.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// What is known of the connection.
    pub fn wire_ref(&self) -> &Wire {
        &self.wire
    }

    /// Sends a request head. `write` writes its fields, most of which are `client`'s.
    pub fn request(
        &mut self,
        (method, target): (&Method, &str),
        body: RequestBody,
        client: &HeaderMap,
        write: impl FnOnce(&mut Fields<'_>),
    ) {
        let text = self.wire.text();
        text::reserve(text, client);
        text.put_slice(method.as_str().as_bytes());
        text.put_u8(b' ');
        text.put_slice(target.as_bytes());
        text.put_slice(b" HTTP/1.1\r\n");
        write(&mut Fields(text));
        text.put_slice(b"\r\n");
        self.is_head = method == Method::HEAD;
        self.request = match body {
            RequestBody::Length(length) => BodyWriter::Length(length),
            RequestBody::Chunked => BodyWriter::Chunked,
        };
    }

    /// Sends a part of the request body, which is not empty.
    pub fn part(&mut self, part: Bytes) {
        self.request.part(part, &mut self.wire);
    }

    /// Ends the request body whole.
    ///
    /// # Errors
    /// It is shorter than was promised.
    pub fn finish(&mut self) -> Result<()> {
        self.request.finish(&mut self.wire)
    }

    /// After a 101: from here on the request body is whatever the client sends.
    pub fn become_tunnel(&mut self) {
        self.request = BodyWriter::UntilClose;
    }

    /// From now on the parts of the body are at most so long.
    pub fn take_at_most(&mut self, bytes: usize) {
        self.most = bytes;
    }

    /// Whether something has come that was not taken yet, the end of the body too.
    pub fn has_at_hand(&self) -> bool {
        !self.buffer.is_empty() || self.answer.as_ref().is_some_and(BodyReader::is_done)
    }

    /// The next head. Nothing is lost when it is pending.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answered>> {
        loop {
            if let Some((head, len)) = read_head(&self.buffer)? {
                let head = head.into_parts(self.buffer.split_to(len).freeze())?;
                return Poll::Ready(self.answered(head));
            }
            if self.buffer.len() > HEAD_BYTES {
                return Poll::Ready(Err(Error::explain(HEAD_TOO_LARGE, "an answer whose head does not end")));
            }
            let most = self.room.bytes();
            match ready!(self.wire.poll_read(cx, &mut self.buffer, most)) {
                Ok(0) => return Poll::Ready(Err(Error::explain(ErrorType::ConnectionClosed, "answer head"))),
                Ok(read) => self.room.learn(most, read),
                Err(error) => return Poll::Ready(Err(unread(error))),
            }
        }
    }

    /// The next part of the body; `None` at its end. Nothing is lost when it is pending.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
            let body = self.answer.as_mut().expect("a body is read after its head");
            match body.take(&mut self.buffer)? {
                Taken::Part(part) => return Poll::Ready(Ok(Some(part))),
                Taken::End => return Poll::Ready(Ok(None)),
                Taken::Nothing => {}
            }
            // No further: what a cell sends behind its answer is nobody's, and stays where the pool sees it.
            let most = self.room.bytes().min(self.most).min(body.missing()).max(1);
            match ready!(self.wire.poll_read(cx, &mut self.buffer, most)) {
                // It can carry nothing more either way.
                Ok(0) if matches!(body, BodyReader::UntilClose) => return Poll::Ready(Ok(None)),
                Ok(0) => return Poll::Ready(Err(Error::explain(ErrorType::ConnectionClosed, "answer body"))),
                Ok(read) => self.room.learn(most, read),
                Err(error) => return Poll::Ready(Err(unread(error))),
            }
        }
    }

    /// The connection for the pool, when the exchange ended whole on both sides and the cell keeps it
    /// open. Anything else is closed here.
    pub async fn into_reusable(mut self) -> Option<Box<Wire>> {
        // What follows a request that is not whole is a part of it to the cell.
        let whole = self.request.is_whole() && self.answer.as_ref().is_some_and(BodyReader::is_done);
        // What has come behind the answer answers nothing.
        if whole && self.keep_alive && self.buffer.is_empty() {
            return Some(self.wire);
        }
        // Whether it hears of it changes nothing, and one that reads nothing is not waited for.
        let _ = tokio::time::timeout(CLOSE, self.wire.shutdown()).await;
        None
    }

    fn answered(&mut self, head: Box<Parts>) -> Result<Answered> {
        if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Answered::Informational(head));
        }
        self.keep_alive = asks_to_keep_alive(&head.headers, head.version == Version::HTTP_11);
        let body = if self.is_head { BodyReader::Done } else { body_of(&head)? };
        let end = body.is_done();
        self.answer = Some(body);
        Ok(Answered::Final(head, end))
    }
}

/// Takes the fields of a request head.
#[derive(Debug)]
pub struct Fields<'a>(&'a mut BytesMut);

impl Fields<'_> {
    /// Writes one field.
    pub fn write(&mut self, name: &HeaderName, value: &HeaderValue) {
        text::field(self.0, name, value.as_bytes());
    }
}

/// Where the body ends. What is doubtful here is an answer that nobody may have: `policy::gate` refuses it then.
fn body_of(head: &Parts) -> Result<BodyReader> {
    match head.status {
        StatusCode::SWITCHING_PROTOCOLS => return Ok(BodyReader::UntilClose),
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => return Ok(BodyReader::Done),
        _ => {}
    }
    let chunked = head.headers.contains_key(header::TRANSFER_ENCODING);
    let length = length(&head.headers)?;
    match (chunked, length) {
        (true, None) => Ok(BodyReader::Chunked(Default::default())),
        (true, Some(_)) => Err(malformed("Content-Length together with Transfer-Encoding")),
        (false, Some(0)) => Ok(BodyReader::Done),
        (false, Some(length)) => Ok(BodyReader::Length(length)),
        (false, None) => Ok(BodyReader::UntilClose),
    }
}

/// What Content-Length says, over all its lines and members.
fn length(headers: &HeaderMap) -> Result<Option<u64>> {
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        for text in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let digits = Some(text).filter(|text| text.iter().all(u8::is_ascii_digit));
            let read = digits.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
            let read: u64 = read.ok_or_else(|| malformed("Content-Length"))?;
            if length.is_some_and(|length| length != read) {
                return Err(malformed("Content-Length"));
            }
            length = Some(read);
        }
    }
    Ok(length)
}

/// A head as positions in what was read.
struct ReadHead {
    status: u16,
    version: Version,
    reason: (usize, usize),
    fields: Vec<(Place, Place)>,
}

type Place = (usize, usize);

/// Reads a head; `None` where it has not ended. Bare line feeds, folded lines and blanks behind a name are read, and
/// written anew: servers that send them are old, not hostile.
fn read_head(bytes: &[u8]) -> Result<Option<(ReadHead, usize)>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut read = httparse::Response::new(&mut fields);
    let mut parser = ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    parser.allow_obsolete_multiline_headers_in_responses(true);
    let parsed = parser.parse_response(&mut read, bytes);
    let Status::Complete(len) =
        parsed.map_err(|error| Error::because(ErrorType::InvalidHTTPHeader, "answer", error))?
    else {
        return Ok(None);
    };
    let place = |part: &[u8]| {
        if part.is_empty() {
            // It need not be a slice of what was read.
            return (0, 0);
        }
        let start = part.as_ptr().addr() - bytes.as_ptr().addr();
        (start, start + part.len())
    };
    let version = if read.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let fields =
        read.headers.iter().map(|field| (place(field.name.as_bytes()), place(field.value))).collect();
    let reason = place(read.reason.unwrap_or_default().as_bytes());
    Ok(Some((ReadHead { status: read.code.unwrap_or(0), version, reason, fields }, len)))
}

impl ReadHead {
    /// With values that are slices of `raw`, the bytes that it was read from.
    fn into_parts(self, raw: Bytes) -> Result<Box<Parts>> {
        let mut head = Box::new(http::Response::new(()).into_parts().0);
        head.status = StatusCode::from_u16(self.status).map_err(|_| malformed("status"))?;
        head.version = self.version;
        head.headers = HeaderMap::with_capacity(self.fields.len() + ADDED);
        for ((name, name_end), (value, value_end)) in self.fields {
            let name = HeaderName::from_bytes(&raw[name..name_end]).map_err(|_| malformed("field name"))?;
            head.headers.append(name, header_value_from_raw(raw.slice(value..value_end)));
        }
        let reason = &raw[self.reason.0..self.reason.1];
        if !reason.is_empty() && Some(reason) != head.status.canonical_reason().map(str::as_bytes) {
            head.extensions.insert(ReasonPhrase::try_from(reason).map_err(|_| malformed("reason"))?);
        }
        Ok(head)
    }
}

/// Fields that are added to an answer on its way, at most: a map that grows is copied.
const ADDED: usize = 6;

fn malformed(what: &'static str) -> BError {
    Error::explain(ErrorType::InvalidHTTPHeader, what)
}

fn unread(error: std::io::Error) -> BError {
    Error::because(ErrorType::ReadError, "answer", error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    /// Whether the connection goes back to the pool after this request and a whole answer.
    async fn is_reused(body: RequestBody, parts: &[&'static [u8]], finish: bool) -> bool {
        let (near, mut far) = duplex(4096);
        let mut session = Session::new(Wire::new(near, 0));
        session.request((&Method::POST, "/"), body, &HeaderMap::new(), |_| {});
        parts.iter().for_each(|part| session.part(Bytes::from_static(part)));
        if finish {
            session.finish().unwrap();
        }
        far.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        let head = poll_fn(|cx| session.poll_head(cx)).await.unwrap();
        assert!(matches!(head, Answered::Final(_, true)), "{head:?}");
        session.wire().settled().await.unwrap();
        session.into_reusable().await.is_some()
    }

    #[tokio::test]
    async fn a_connection_on_which_a_request_is_not_whole_carries_no_other() {
        assert!(is_reused(RequestBody::Length(0), &[], false).await);
        assert!(is_reused(RequestBody::Length(5), &[b"hello"], true).await);
        assert!(is_reused(RequestBody::Chunked, &[b"hello"], true).await);
        assert!(!is_reused(RequestBody::Length(5), &[b"hell"], false).await);
        assert!(!is_reused(RequestBody::Length(5), &[], false).await);
        assert!(!is_reused(RequestBody::Chunked, &[b"hello"], false).await);
        assert!(!is_reused(RequestBody::Chunked, &[], false).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cell_that_reads_nothing_is_not_waited_for() {
        let (near, _far) = duplex(16);
        let mut session = Session::new(Wire::new(near, 0));
        session.request((&Method::GET, "/"), RequestBody::Length(0), &HeaderMap::new(), |_| {});
        assert!(session.into_reusable().await.is_none());
    }
}
