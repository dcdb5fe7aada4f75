//! A cell's HTTP/1 connection during one exchange: the request that it is sent, and its answer. Whether an answer may be
//! passed on, `policy::gate` says; what comes here as a head is at least one, and its body has one end.

use std::mem::MaybeUninit;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use httparse::{ParserConfig, Status};
use hyper::ext::ReasonPhrase;
use pingora::http::header_value_from_raw;
use pingora::{BError, Error, ErrorType, Result};

use super::body::{BodyReader, BodyWriter, Room, Taken};
use super::text::Lines;
use crate::policy::gate::ANSWER_BYTES;
use crate::proxy::head::{Persistence, field_name};
use crate::proxy::pieces;
use crate::proxy::wire::{PIECE, Wire};

/// Most fields in the head of an answer: more than any has, and they lie on the stack while it is read.
const FIELDS: usize = 256;

/// Up to so many have their places noted on the stack, too: answers of an API have fewer.
const FEW: usize = 32;

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
            room: Room::up_to(pieces::WHOLE),
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

    /// Sends a request head. `write` writes its fields.
    pub fn request(
        &mut self,
        (method, target): (&Method, &str),
        body: RequestBody,
        write: impl FnOnce(&mut Lines<'_>),
    ) {
        let mut lines = Lines::behind(self.wire.text());
        lines.line([method.as_str().as_bytes(), b" ", target.as_bytes(), b" HTTP/1.1"]);
        write(&mut lines);
        lines.line([]);
        drop(lines);
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
        !self.buffer.is_empty() || self.is_over()
    }

    /// Whether the whole body of the answer has been taken.
    pub fn is_over(&self) -> bool {
        self.answer.as_ref().is_some_and(BodyReader::is_done)
    }

    /// The next head. Nothing is lost when it is pending.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answered>> {
        loop {
            if let Some((head, said)) = take_head(&mut self.buffer)? {
                return Poll::Ready(self.answered(head, said));
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
            if most > PIECE && self.buffer.is_empty() && !self.buffer.try_reclaim(most) {
                // What grows has room for what was taken, too.
                self.buffer = BytesMut::with_capacity(most);
            }
            let Poll::Ready(read) = self.wire.poll_read(cx, &mut self.buffer, most) else {
                // It may be silent for an hour, and have sent much before.
                if self.buffer.is_empty() && most > pieces::MANY {
                    self.buffer = BytesMut::new();
                }
                return Poll::Pending;
            };
            match read {
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
        // What has come behind the answer answers nothing, and what a cell has not read yet would be in the next one's way.
        if whole && self.keep_alive && self.buffer.is_empty() && self.wire.is_settled() {
            return Some(self.wire);
        }
        // Whether it hears of it changes nothing, and one that reads nothing is not waited for.
        let _ = tokio::time::timeout(CLOSE, self.wire.shutdown()).await;
        None
    }

    fn answered(&mut self, head: Box<Parts>, said: Said) -> Result<Answered> {
        if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Answered::Informational(head));
        }
        self.keep_alive = said.persistence.goes_on(head.version == Version::HTTP_11);
        let body = if self.is_head { BodyReader::Done } else { body_of(head.status, &said)? };
        let end = body.is_done();
        self.answer = Some(body);
        Ok(Answered::Final(head, end))
    }
}

/// What the fields of an answer say of its connection and its body, noted while they are read.
#[derive(Debug, Default)]
struct Said {
    persistence: Persistence,
    chunked: bool,
    length: Length,
}

/// What Content-Length says, over all its lines and members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Length {
    /// Nothing.
    #[default]
    Open,
    /// So many bytes.
    Bytes(u64),
    /// What is no number, or two that differ.
    Malformed,
}

impl Length {
    /// With one line more.
    fn with(self, value: &[u8]) -> Self {
        let members = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        members.fold(self, |length, member| match (length, number(member)) {
            (Self::Open, Some(bytes)) => Self::Bytes(bytes),
            (Self::Bytes(before), Some(bytes)) if before == bytes => length,
            _ => Self::Malformed,
        })
    }
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = Some(text).filter(|text| text.iter().all(u8::is_ascii_digit))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Where the body ends. What is doubtful here is an answer that nobody may have: `policy::gate` refuses it then.
fn body_of(status: StatusCode, said: &Said) -> Result<BodyReader> {
    match status {
        StatusCode::SWITCHING_PROTOCOLS => return Ok(BodyReader::UntilClose),
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => return Ok(BodyReader::Done),
        _ => {}
    }
    match (said.chunked, said.length) {
        (_, Length::Malformed) => Err(malformed("Content-Length")),
        (true, Length::Open) => Ok(BodyReader::Chunked(Default::default())),
        (true, Length::Bytes(_)) => Err(malformed("Content-Length together with Transfer-Encoding")),
        (false, Length::Bytes(0)) => Ok(BodyReader::Done),
        (false, Length::Bytes(length)) => Ok(BodyReader::Length(length)),
        (false, Length::Open) => Ok(BodyReader::UntilClose),
    }
}

/// A part of what was read: its first byte, and one behind its last.
type Place = (usize, usize);

/// Takes a head off what has come; `None` where it has not ended. Bare line feeds, folded lines and blanks behind a
/// name are read, and written anew: servers that send them are old, not hostile.
fn take_head(buffer: &mut BytesMut) -> Result<Option<(Box<Parts>, Said)>> {
    if buffer.is_empty() {
        return Ok(None);
    }
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut read = httparse::Response::new(&mut []);
    let mut parser = ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    parser.allow_obsolete_multiline_headers_in_responses(true);
    let parsed = parser.parse_response_with_uninit_headers(&mut read, buffer, &mut fields);
    let Status::Complete(len) =
        parsed.map_err(|error| Error::because(ErrorType::InvalidHTTPHeader, "answer", error))?
    else {
        return Ok(None);
    };
    let first = buffer.as_ptr().addr();
    let place = |part: &[u8]| match part.as_ptr().addr() {
        // It need not be a slice of what was read.
        _ if part.is_empty() => (0, 0),
        start => (start - first, start - first + part.len()),
    };
    let (mut few, mut many) = ([((0, 0), (0, 0)); FEW], Vec::new());
    let places = match few.get_mut(..read.headers.len()) {
        Some(few) => few,
        None => {
            many.resize(read.headers.len(), ((0, 0), (0, 0)));
            &mut many[..]
        }
    };
    for (places, field) in places.iter_mut().zip(read.headers.iter()) {
        *places = (place(field.name.as_bytes()), place(field.value));
    }
    let reason = place(read.reason.unwrap_or_default().as_bytes());
    let status = StatusCode::from_u16(read.code.unwrap_or(0)).map_err(|_| malformed("status"))?;
    let version = if read.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let raw = buffer.split_to(len).freeze();
    let mut head = Box::new(http::Response::new(()).into_parts().0);
    (head.status, head.version) = (status, version);
    let said = read_fields(&raw, places, &mut head.headers)?;
    let reason = &raw[reason.0..reason.1];
    if !reason.is_empty() && Some(reason) != status.canonical_reason().map(str::as_bytes) {
        head.extensions.insert(ReasonPhrase::try_from(reason).map_err(|_| malformed("reason"))?);
    }
    Ok(Some((head, said)))
}

/// The fields at these places, with values that are slices of `raw`.
fn read_fields(raw: &Bytes, places: &[(Place, Place)], headers: &mut HeaderMap) -> Result<Said> {
    let mut said = Said::default();
    headers.reserve(places.len() + ADDED);
    for &((start, end), value) in places {
        let name = field_name(&raw[start..end]).map_err(|_| malformed("field name"))?;
        let value = field_value(raw, value);
        match name {
            header::CONNECTION => said.persistence.read(&value),
            header::CONTENT_LENGTH => said.length = said.length.with(value.as_bytes()),
            header::TRANSFER_ENCODING => said.chunked = true,
            _ => {}
        }
        headers.append(name, value);
    }
    Ok(said)
}

/// The value at this place. Of what the parser lets stand in one, only the ends of folded lines may not; they become
/// blanks.
fn field_value(raw: &Bytes, (start, end): Place) -> HeaderValue {
    HeaderValue::from_maybe_shared(raw.slice(start..end))
        .unwrap_or_else(|_| header_value_from_raw(raw.slice(start..end)))
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
        session.request((&Method::POST, "/"), body, |_| {});
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

    /// A head that is taken off `text`, and how many bytes are left.
    fn taken(text: &str) -> Result<Option<(Box<Parts>, Said, usize)>> {
        let mut buffer = BytesMut::from(text);
        let head = take_head(&mut buffer)?;
        Ok(head.map(|(head, said)| (head, said, buffer.len())))
    }

    #[test]
    fn fields_are_what_stands_in_their_lines_however_many_there_are() {
        for count in [0, 1, FEW - 1, FEW, FEW + 1, FIELDS] {
            let lines: String = (0..count).map(|n| format!("X-{n}: {n}\r\n")).collect();
            let (head, _, left) = taken(&format!("HTTP/1.1 200 OK\r\n{lines}\r\nbody")).unwrap().unwrap();
            let fields =
                head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
            let expect: Vec<_> = (0..count).map(|n| format!("x-{n}: {n}")).collect();
            assert_eq!((fields.collect::<Vec<_>>(), left), (expect, 4), "{count} fields");
        }
        let lines = "X: 1\r\n".repeat(FIELDS + 1);
        assert!(taken(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).is_err());
    }

    #[test]
    fn a_head_is_taken_whole_or_not_at_all() {
        let text =
            "HTTP/1.0 404 Nothing Here\r\nX-Old : 1\nEmpty:\r\nFolded: a\r\n  b\r\nLatin: \u{e9}\r\n\r\n";
        for end in 0..text.len() {
            let part = text.get(..end).map(taken);
            assert!(part.is_none_or(|part| part.unwrap().is_none()), "{end} bytes");
        }
        let (head, said, left) = taken(text).unwrap().unwrap();
        assert_eq!((head.status, head.version, left), (StatusCode::NOT_FOUND, Version::HTTP_10, 0));
        assert_eq!(head.extensions.get::<ReasonPhrase>().unwrap().as_bytes(), b"Nothing Here");
        let fields = ["x-old", "empty", "folded", "latin"].map(|name| head.headers[name].as_bytes());
        assert_eq!(fields, [&b"1"[..], b"", b"a b", "\u{e9}".as_bytes()]);
        assert!(!said.chunked && said.length == Length::Open);
        let (plain, ..) = taken("HTTP/1.1 404 Not Found\r\n\r\n").unwrap().unwrap();
        assert!(plain.extensions.get::<ReasonPhrase>().is_none());
    }

    #[test]
    fn where_a_body_ends_is_read_with_the_fields() {
        let length =
            |lines: &[&str]| lines.iter().fold(Length::Open, |length, line| length.with(line.as_bytes()));
        let lines: [(&[&str], Length); 8] = [
            (&[], Length::Open),
            (&["0"], Length::Bytes(0)),
            (&["5", "5, 5"], Length::Bytes(5)),
            (&["5", "6"], Length::Malformed),
            (&["5,6", "5"], Length::Malformed),
            (&["+5"], Length::Malformed),
            (&[""], Length::Malformed),
            (&["99999999999999999999"], Length::Malformed),
        ];
        for (lines, expect) in lines {
            assert_eq!(length(lines), expect, "{lines:?}");
        }
        let body = |lines: &str, status| {
            let (_, said, _) = taken(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).unwrap().unwrap();
            body_of(StatusCode::from_u16(status).unwrap(), &said)
        };
        assert!(matches!(body("Content-Length: 7\r\n", 200), Ok(BodyReader::Length(7))));
        assert!(matches!(body("content-length: 0\r\n", 200), Ok(BodyReader::Done)));
        assert!(matches!(body("Transfer-Encoding: chunked\r\n", 200), Ok(BodyReader::Chunked(_))));
        assert!(matches!(body("", 200), Ok(BodyReader::UntilClose)));
        assert!(matches!(body("Content-Length: x\r\n", 304), Ok(BodyReader::Done)));
        assert!(body("Content-Length: x\r\n", 200).is_err());
        assert!(body("Content-Length: 7\r\nTransfer-Encoding: chunked\r\n", 200).is_err());
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
    async fn a_connection_on_which_a_request_still_waits_carries_no_other() {
        const ROOM: usize = 64;
        let (near, mut far) = duplex(ROOM);
        let mut session = Session::new(Wire::new(near, 0));
        session.request((&Method::POST, "/"), RequestBody::Length(ROOM as u64), |_| {});
        session.part(Bytes::from_static(&[b'a'; ROOM]));
        session.finish().unwrap();
        far.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        let head = poll_fn(|cx| session.poll_head(cx)).await.unwrap();
        assert!(matches!(head, Answered::Final(_, true)), "{head:?}");
        assert!(session.into_reusable().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_cell_that_reads_nothing_is_not_waited_for() {
        let (near, _far) = duplex(16);
        let mut session = Session::new(Wire::new(near, 0));
        session.request((&Method::GET, "/"), RequestBody::Length(0), |_| {});
        assert!(session.into_reusable().await.is_none());
    }
}
