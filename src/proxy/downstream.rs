//! The client's side of one exchange: an HTTP/1 or HTTP/2 server session of the engine, seen alike.
//!
//! Two fields, so that reading and clearing can be polled side by side: `source` is the session, `sink`
//! the way out. Nothing here waits for the client to read.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use hyper::ext::ReasonPhrase;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::v1::server::HttpSession as H1Session;
use pingora::protocols::http::v2::server::HttpSession as H2Session;
use pingora::{BError, Result};

use super::compact::compact;
use super::kept::Kept;
use super::sink::Sink;
use super::wire::WireHandle;

/// How long a client may take what it was sent before its response was broken off. Most take it at once; one that
/// was cut because it does not read never will.
const BREAK_OFF: Duration = Duration::from_millis(500);

/// A round trip to the other end of the world, and time to answer a close.
const HEAR_OUT: Duration = Duration::from_secs(2);

/// What is read of a body that nobody wants, so that the answer to it arrives: more than a client sends before it sees that.
const HEAR_OUT_BYTES: usize = 1024 * 1024;

/// The client's side of one exchange.
pub struct Downstream {
    /// Where the request body comes from.
    pub source: Source,
    /// Where the response body goes.
    pub sink: Sink,
    /// Status of the final head, once sent.
    pub status: Option<StatusCode>,
    /// Response body bytes sent.
    pub bytes_out: u64,
    /// Request body bytes received.
    pub bytes_in: u64,
    /// Those of them that can be sent again.
    pub kept: Kept,
    /// The response was broken off: nothing more can be said on an HTTP/1 connection.
    pub broken_off: bool,
    /// Nothing but the close tells the client where the response ends.
    until_close: bool,
}

/// The session that owns the connection, or the stream.
pub enum Source {
    /// HTTP/1.0 or 1.1.
    H1(Box<H1Session>),
    /// HTTP/2.
    H2(Box<H2Session>),
}

impl Downstream {
    /// Over an HTTP/1 session whose head has been read. In its box from the start: a future that has once held a
    /// session keeps room for it.
    pub fn h1(session: Box<H1Session>, wire: WireHandle) -> Self {
        Self::new(Source::H1(session), Sink::Wire(wire))
    }

    /// Over one stream of an HTTP/2 connection.
    pub fn h2(session: Box<H2Session>) -> Self {
        Self::new(Source::H2(session), Sink::Idle)
    }

    /// The request head as the engine read it.
    pub fn request(&self) -> &RequestHeader {
        match &self.source {
            Source::H1(session) => session.req_header(),
            Source::H2(session) => session.req_header(),
        }
    }

    /// Sends a 1xx head. HTTP/2 sessions of the engine cannot, and HTTP/1.0 clients must not see one
    /// (RFC 9110 section 15.2): then it is dropped.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn inform(&mut self, head: Box<Parts>) -> Result<()> {
        match &mut self.source {
            Source::H1(session) if session.req_header().version == Version::HTTP_11 => {
                session.write_response_header(for_engine(*head)).await
            }
            Source::H1(_) | Source::H2(_) => Ok(()),
        }
    }

    /// Sends the final head; `end` when no body follows.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn head(&mut self, mut head: Box<Parts>, end: bool) -> Result<()> {
        self.status = Some(head.status);
        match &mut self.source {
            Source::H1(session) => {
                self.until_close = frame_for_h1(session, &mut head, end) == Framed::UntilClose;
                if self.until_close {
                    // Also where nobody is left to break it off: the process is killed, the task has panicked.
                    self.sink.reset_on_close(true);
                }
                session.write_response_header(for_engine(*head)).await
            }
            Source::H2(session) => {
                compact(&mut head.headers);
                session.write_response_header(for_engine(*head), end)?;
                if let Some(stream) = session.take_response_body_writer() {
                    self.sink = Sink::stream(stream, end);
                }
                Ok(())
            }
        }
    }

    /// Takes a chunk of the response body. Call only when the sink is clear. An empty one (the engine gives
    /// one when only the line end of a chunk has arrived) is nothing: written, it would be the last.
    ///
    /// # Errors
    /// The client is gone, or the chunk exceeds the promised length.
    pub async fn body(&mut self, chunk: Bytes) -> Result<()> {
        if chunk.is_empty() {
            return Ok(());
        }
        self.bytes_out += chunk.len() as u64;
        match &mut self.source {
            Source::H1(session) => session.write_body(&chunk).await.map(|_| ()),
            Source::H2(_) => {
                self.sink.send(chunk);
                Ok(())
            }
        }
    }

    /// Ends the response body whole. Trailers reach HTTP/2 clients only.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn finish(&mut self, mut trailers: Option<HeaderMap>) -> Result<()> {
        match &mut self.source {
            Source::H1(session) => {
                if self.until_close {
                    self.sink.reset_on_close(false);
                }
                session.finish_body().await.map(|_| ())
            }
            Source::H2(_) => {
                if let Some(fields) = &mut trailers {
                    compact(fields);
                }
                self.sink.finish(trailers);
                Ok(())
            }
        }
    }

    /// Breaks the response off so that the client sees it is not whole: HTTP/1 closes before the
    /// promised end, or resets the connection where none was promised, HTTP/2 resets the stream.
    pub async fn break_off(&mut self) {
        self.broken_off = true;
        match (&mut self.source, &mut self.sink) {
            (Source::H1(_), Sink::Wire(wire)) if self.until_close => {
                wire.reset_on_close(true);
                // No word of an end, TLS's neither: the connection is dropped.
                let _ = tokio::time::timeout(BREAK_OFF, wire.settled()).await;
            }
            (Source::H1(session), _) => {
                session.set_server_keepalive(None);
                // What is queued goes first, and a client that does not read takes none of it.
                let _ = tokio::time::timeout(BREAK_OFF, session.shutdown()).await;
            }
            (Source::H2(_), Sink::Stream(stream)) => stream.reset(h2::Reason::INTERNAL_ERROR),
            (Source::H2(session), Sink::Wire(_) | Sink::Idle) => session.shutdown(),
        }
    }

    /// Cuts the response at the end of the process, so that the client sees it: with these trailers where they can say
    /// so, else as [`break_off`](Self::break_off) does. CANCEL tells an HTTP/2 client that it is nobody's fault; NO_ERROR
    /// could be taken for the end of the body (RFC 9113 section 8.1).
    pub async fn cut(&mut self, trailers: Option<HeaderMap>) {
        let (Source::H2(_), Sink::Stream(stream)) = (&self.source, &mut self.sink) else {
            return self.break_off().await;
        };
        self.broken_off = true;
        if let Some(trailers) = trailers
            && let Ok(Ok(())) = tokio::time::timeout(BREAK_OFF, stream.end_with(trailers)).await
        {
            return;
        }
        stream.reset(h2::Reason::CANCEL);
    }

    /// Waits for the end of what an HTTP/2 client still says behind a response that is whole, and throws it away. To let go
    /// of its stream at once resets it (RFC 9113 section 8.1): what of the response was not on its way is lost with it, and
    /// some clients take that for a failure of the whole exchange.
    pub async fn hear_out(&mut self) {
        if self.broken_off || !(self.was_tunnel() || self.owes_its_end()) {
            return;
        }
        let mut heard = 0;
        let rest = poll_fn(|cx| {
            while let Some(Ok(chunk)) = ready!(self.source.poll_body(cx).map(Result::transpose)) {
                heard += chunk.len();
                if heard > HEAR_OUT_BYTES {
                    break;
                }
            }
            Poll::Ready(())
        });
        let _ = tokio::time::timeout(HEAR_OUT, rest).await;
    }

    /// The next chunk of the request body: first what an earlier attempt has taken, then the client's.
    /// `None` at its end. Nothing is lost when it is pending.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if let Some(chunk) = self.kept.again() {
            return Poll::Ready(Ok(Some(chunk)));
        }
        if self.source.is_done() {
            return Poll::Ready(Ok(None));
        }
        let chunk = ready!(self.source.poll_body(cx))?;
        if let Some(chunk) = &chunk {
            self.bytes_in += chunk.len() as u64;
            self.kept.take(chunk);
        }
        Poll::Ready(Ok(chunk))
    }

    /// Whether no byte of the request body is left to be sent in this attempt.
    pub fn nothing_to_send(&mut self) -> bool {
        self.kept.is_spent() && self.source.is_done()
    }

    /// Whether the whole request body has been read.
    pub fn request_done(&mut self) -> bool {
        self.source.is_done()
    }

    /// The client's answer to a WebSocket's close may be under way.
    fn was_tunnel(&self) -> bool {
        self.request().method == Method::CONNECT && self.status == Some(StatusCode::OK)
    }

    /// Its body was not read to the end, for it was answered without; or all that was promised has come, so nothing waited
    /// for the frame that ends it: some clients send it by itself.
    fn owes_its_end(&mut self) -> bool {
        let Source::H2(_) = self.source else { return false };
        if !self.source.is_done() {
            return true;
        }
        let length =
            self.request().headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        length.and_then(|length| length.parse().ok()) == Some(self.bytes_in)
    }

    fn new(source: Source, sink: Sink) -> Self {
        Self {
            source,
            sink,
            status: None,
            bytes_out: 0,
            bytes_in: 0,
            kept: Kept::default(),
            broken_off: false,
            until_close: false,
        }
    }
}

impl Source {
    /// Whether nothing more of the request body comes.
    pub fn is_done(&mut self) -> bool {
        match self {
            Self::H1(session) => session.is_body_done(),
            Self::H2(session) => session.is_body_done(),
        }
    }

    /// The next chunk of the request body; `None` at its end. Nothing is lost when it is pending.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        match self {
            Self::H1(session) => pin!(session.read_body_bytes()).poll(cx),
            Self::H2(session) => pin!(session.read_body_bytes()).poll(cx),
        }
    }

    /// Ready when the client has gone away. For use while no request body is expected; what an HTTP/1
    /// client sends meanwhile is kept for its next request.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<BError> {
        match self {
            Self::H1(session) => match pin!(session.read_body_or_idle(true)).poll(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(error),
                Poll::Ready(Ok(_)) | Poll::Pending => Poll::Pending,
            },
            // After the head the sink holds the stream, and its reset is watched there.
            Self::H2(session) if session.response_written().is_some() => Poll::Pending,
            Self::H2(session) => pin!(session.idle()).poll(cx).map(|reason| {
                let reason = reason.map_or_else(|error| error.to_string(), |reason| reason.to_string());
                pingora::Error::explain(pingora::ErrorType::ConnectionClosed, reason)
            }),
        }
    }
}

/// How an HTTP/1 client learns where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framed {
    /// The head says so.
    Said,
    /// It is where the connection ends.
    UntilClose,
}

/// Chooses how an HTTP/1 client learns where the body ends, where the cell's framing cannot be kept:
/// HTTP/2 cells need none, HTTP/1.0 clients know no chunks (RFC 9112 section 6.3).
fn frame_for_h1(session: &mut H1Session, head: &mut Parts, end: bool) -> Framed {
    let request = session.req_header();
    let old_client = request.version == Version::HTTP_10;
    let bodiless = request.method == http::Method::HEAD
        || head.status.is_informational()
        || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    head.version = Version::HTTP_11;
    if old_client {
        head.headers.remove(header::TRANSFER_ENCODING);
    }
    let framed = head.headers.contains_key(header::CONTENT_LENGTH)
        || head.headers.contains_key(header::TRANSFER_ENCODING);
    if bodiless || framed {
        return Framed::Said;
    }
    if end {
        // An HTTP/2 cell says so with END_STREAM alone.
        head.headers.insert(header::CONTENT_LENGTH, 0.into());
    } else if old_client {
        session.set_server_keepalive(None);
        return Framed::UntilClose;
    } else {
        head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    Framed::Said
}

fn for_engine(mut head: Parts) -> Box<ResponseHeader> {
    let reason = head.extensions.remove::<ReasonPhrase>();
    let mut head = Box::new(ResponseHeader::from(head));
    if let Some(reason) = reason.as_ref().and_then(|reason| std::str::from_utf8(reason.as_bytes()).ok()) {
        head.set_reason_phrase(Some(reason)).expect("it takes every text");
    }
    head
}
