//! The client's side of one exchange: our HTTP/1 session or an HTTP/2 server session of the engine, seen alike.
//! Nothing here waits for the client to read.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::protocols::http::v2::server::HttpSession as H2Session;
use pingora::{BError, Result};

use super::after_others::before_me;
use super::compact::compact;
use super::deadline::Deadline;
use super::head::RequestHead;
use super::http1::server::Session as H1Session;
use super::kept::Kept;
use super::sink::Sink;
use crate::policy::facts::WireVersion;

/// How long a client may take what it was sent before its response was broken off. Most take it at once; one that
/// was cut because it does not read never will.
const BREAK_OFF: Duration = Duration::from_millis(500);

/// A round trip to the other end of the world, and time to answer a close.
const HEAR_OUT: Duration = Duration::from_secs(2);

/// What is read of a body that nobody wants, so that the answer to it arrives: more than a client sends before it sees that.
const HEAR_OUT_BYTES: usize = 1024 * 1024;

/// How a response that is not whole is shown to its client.
#[derive(Debug)]
pub enum Breach {
    /// Something has broken: no end is seen, or a reset.
    Broken,
    /// It was cut, with these trailers where they can say why.
    Cut(Option<HeaderMap>),
}

/// The client's side of one exchange.
pub struct Downstream {
    /// The connection or the stream, with the request that was read on it.
    pub source: Source,
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
    /// When something must have moved.
    pub deadline: Deadline,
    /// Nothing but the close tells the client where the response ends.
    until_close: bool,
}

/// The session that owns the connection, or the stream.
pub enum Source {
    /// HTTP/1.0 or 1.1.
    H1(Box<H1Session>),
    /// HTTP/2.
    H2(Box<Http2>),
}

/// One stream of an HTTP/2 connection.
pub struct Http2 {
    session: H2Session,
    head: RequestHead,
    /// Where the response body goes.
    sink: Sink,
}

impl Downstream {
    /// Over an HTTP/1 session whose head has been read. In its box from the start: a future that has once held a
    /// session keeps room for it. `deadline` is one that the connection has used before.
    pub fn h1(session: Box<H1Session>, deadline: Deadline) -> Self {
        Self::new(Source::H1(session), deadline)
    }

    /// Over one stream of an HTTP/2 connection.
    pub fn h2(mut session: Box<H2Session>) -> Self {
        let head = RequestHead::http2(session.req_header_mut());
        let http2 = Http2 { session: *session, head, sink: Sink::Idle };
        Self::new(Source::H2(Box::new(http2)), Deadline::default())
    }

    /// The request head.
    pub fn request(&self) -> &RequestHead {
        match &self.source {
            Source::H1(session) => session.head(),
            Source::H2(http2) => &http2.head,
        }
    }

    /// The connection carries no further request. Streams of HTTP/2 end by themselves.
    pub fn close(&mut self) {
        if let Source::H1(session) = &mut self.source {
            session.close();
        }
    }

    /// Sends a 1xx head. HTTP/2 sessions of the engine cannot, and HTTP/1.0 clients must not see one
    /// (RFC 9110 section 15.2): then it is dropped.
    pub fn inform(&mut self, head: &Parts) {
        match &mut self.source {
            Source::H1(session) if session.head().version == WireVersion::Http11 => session.inform(head),
            Source::H1(_) | Source::H2(_) => {}
        }
    }

    /// Sends the final head; `end` when no body follows.
    ///
    /// # Errors
    /// The client is gone.
    pub fn head(&mut self, mut head: Box<Parts>, end: bool) -> Result<()> {
        self.status = Some(head.status);
        match &mut self.source {
            Source::H1(session) => {
                self.until_close = session.answer(&mut head, end);
                if self.until_close {
                    // Also where nobody is left to break it off: the process is killed, the task has panicked.
                    session.wire().reset_on_close(true);
                }
                Ok(())
            }
            Source::H2(http2) => {
                compact(&mut head.headers);
                http2.session.write_response_header(Box::new(ResponseHeader::from(*head)), end)?;
                if let Some(stream) = http2.session.take_response_body_writer() {
                    http2.sink = Sink::stream(stream, end);
                }
                Ok(())
            }
        }
    }

    /// Takes a chunk of the response body. Call only when it is clear. An empty one is nothing: written in chunks, it
    /// would be the last.
    pub fn body(&mut self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        self.bytes_out += chunk.len() as u64;
        match &mut self.source {
            Source::H1(session) => session.part(chunk),
            Source::H2(http2) => http2.sink.send(chunk),
        }
    }

    /// Ends the response body whole. Trailers reach HTTP/2 clients only.
    ///
    /// # Errors
    /// It is shorter than was promised.
    pub fn finish(&mut self, mut trailers: Option<HeaderMap>) -> Result<()> {
        match &mut self.source {
            Source::H1(session) => {
                if self.until_close {
                    session.wire().reset_on_close(false);
                }
                session.finish()
            }
            Source::H2(http2) => {
                if let Some(fields) = &mut trailers {
                    compact(fields);
                }
                http2.sink.finish(trailers);
                Ok(())
            }
        }
    }

    /// Whether everything that was sent has left, so that the next chunk may come.
    pub fn is_clear(&self) -> bool {
        match &self.source {
            Source::H1(session) => session.is_settled(),
            Source::H2(http2) => http2.sink.is_clear(),
        }
    }

    /// Whether more may leave with what was sent last.
    pub fn is_gathering(&self) -> bool {
        matches!(&self.source, Source::H1(session) if session.is_gathering())
    }

    /// Moves what waits; ready when all has left.
    ///
    /// # Errors
    /// The client is gone.
    pub fn poll_clear(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.source {
            Source::H1(session) => session.wire().poll_settled(cx),
            Source::H2(http2) => http2.sink.poll_clear(cx),
        }
    }

    /// Ready when the client has reset its stream. Of an HTTP/1 connection, reading tells.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.source {
            Source::H1(_) => Poll::Pending,
            Source::H2(http2) => http2.sink.poll_reset(cx),
        }
    }

    /// Ready when the client has gone away, while its request body waits. Over HTTP/1 what it sends may be that body.
    pub fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.source {
            Source::H1(_) => Poll::Pending,
            Source::H2(_) => self.source.poll_gone(cx).map(|_| ()),
        }
    }

    /// Ends a response that is not whole, so that its client sees it.
    pub async fn break_off(&mut self, breach: Breach) {
        self.broken_off = true;
        match breach {
            Breach::Broken => self.tear().await,
            Breach::Cut(trailers) => self.cut(trailers).await,
        }
    }

    /// HTTP/1 closes before the promised end, or resets the connection where none was promised, HTTP/2 resets the
    /// stream.
    async fn tear(&mut self) {
        match &mut self.source {
            Source::H1(session) if self.until_close => {
                session.wire().reset_on_close(true);
                // No word of an end, TLS's neither: the connection is dropped.
                let _ = tokio::time::timeout(BREAK_OFF, session.wire().settled()).await;
            }
            Source::H1(session) => {
                session.close();
                // What is queued goes first, and a client that does not read takes none of it.
                let _ = tokio::time::timeout(BREAK_OFF, session.wire().shutdown()).await;
            }
            Source::H2(http2) => match &mut http2.sink {
                Sink::Stream(stream) => {
                    before_me().await;
                    stream.reset(h2::Reason::INTERNAL_ERROR);
                }
                Sink::Idle => http2.session.shutdown(),
            },
        }
    }

    /// CANCEL tells an HTTP/2 client that it is nobody's fault; NO_ERROR could be taken for the end of the body (RFC 9113
    /// section 8.1).
    async fn cut(&mut self, trailers: Option<HeaderMap>) {
        if let Source::H2(http2) = &mut self.source
            && let Sink::Stream(stream) = &mut http2.sink
        {
            if let Some(trailers) = trailers
                && let Ok(Ok(())) = tokio::time::timeout(BREAK_OFF, stream.end_with(trailers)).await
            {
                return;
            }
            before_me().await;
            return stream.reset(h2::Reason::CANCEL);
        }
        self.tear().await;
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

    /// Whether some of the request body can be taken without waiting for the client, or it has ended.
    pub fn has_body_at_hand(&mut self) -> bool {
        let come = match &self.source {
            Source::H1(session) => session.has_at_hand(),
            Source::H2(_) => false,
        };
        come || !self.kept.is_spent()
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
        let length = self.request().headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok());
        length.and_then(|length| length.parse().ok()) == Some(self.bytes_in)
    }

    fn new(source: Source, deadline: Deadline) -> Self {
        Self {
            source,
            status: None,
            bytes_out: 0,
            bytes_in: 0,
            kept: Kept::default(),
            broken_off: false,
            deadline,
            until_close: false,
        }
    }
}

impl Source {
    /// Whether nothing more of the request body comes.
    pub fn is_done(&mut self) -> bool {
        match self {
            Self::H1(session) => session.is_body_done(),
            Self::H2(http2) => http2.session.is_body_done(),
        }
    }

    /// The next chunk of the request body; `None` at its end. Nothing is lost when it is pending.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        match self {
            Self::H1(session) => session.poll_body(cx),
            Self::H2(http2) => pin!(http2.session.read_body_bytes()).poll(cx),
        }
    }

    /// Ready when the client has gone away. For use while no request body is expected; what an HTTP/1
    /// client sends meanwhile is kept for its next request.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<BError> {
        match self {
            Self::H1(session) => session.poll_gone(cx),
            // After the head the sink holds the stream, and its reset is watched there.
            Self::H2(http2) if http2.session.response_written().is_some() => Poll::Pending,
            Self::H2(http2) => pin!(http2.session.idle()).poll(cx).map(|reason| {
                let reason = reason.map_or_else(|error| error.to_string(), |reason| reason.to_string());
                pingora::Error::explain(pingora::ErrorType::ConnectionClosed, reason)
            }),
        }
    }
}
