//! The cell's side of one exchange: an HTTP/1 or HTTP/2 client session of the engine, seen alike.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::TRANSFER_ENCODING;
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use hyper::ext::ReasonPhrase;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Stream;
use pingora::protocols::http::v1::client::HttpSession as H1Session;
use pingora::protocols::http::v2::client::Http2Session as H2Session;
use pingora::{Error, ErrorType, Result};

use super::sink::Sink;
use super::socket;
use super::wire::{Wire, WireHandle};

/// The cell's side of one exchange.
pub struct Upstream {
    source: Source,
    wire: WireHandle,
    /// What [`WireHandle::given`] said before the request.
    given_before: u64,
    /// What [`WireHandle::received`] said then.
    received_before: u64,
    /// Where the request body goes.
    pub sink: Sink,
}

enum Source {
    H1(Box<H1Session>),
    H2(Box<H2Session>),
}

/// What a cell sends, in order: heads below 200, one head, body, end.
#[derive(Debug)]
pub enum Event {
    /// 100, 102, 103.
    Informational(Box<Parts>),
    /// The final head; `end` when no body follows.
    Head {
        /// Status and fields.
        head: Box<Parts>,
        /// No body follows.
        end: bool,
    },
    /// Some of the body.
    Body(Bytes),
    /// The body is whole.
    End(Option<HeaderMap>),
}

impl Upstream {
    /// Over an HTTP/1 connection, fresh or from the pool.
    pub fn h1(wire: Wire) -> Self {
        let handle: WireHandle = wire.handle();
        let session = H1Session::new(Box::new(wire) as Stream);
        Self::new(Source::H1(Box::new(session)), Sink::Wire(handle.clone()), handle)
    }

    /// Over a new stream of an HTTP/2 connection, on this wire.
    pub fn h2(session: H2Session, wire: WireHandle) -> Self {
        Self::new(Source::H2(Box::new(session)), Sink::Idle, wire)
    }

    /// Whether surely no byte of the request has left. Streams share a wire, so another one's bytes may
    /// hide that none of this one's did.
    pub fn nothing_sent(&self) -> bool {
        self.wire.given() == self.given_before
    }

    /// Whether a byte has come since the request. Of HTTP/2 that is not known: streams share a wire.
    pub fn has_begun(&self) -> bool {
        !self.is_h2() && self.wire.received() != self.received_before
    }

    /// The cell has not answered in time. A connection on which nothing at all has come since the request may be one
    /// whose other end is gone: no further request takes it. One of HTTP/1 ends with its exchange.
    pub fn distrust(&self) {
        if let Source::H2(session) = &self.source
            && self.wire.received() == self.received_before
        {
            session.conn.mark_shutdown();
        }
    }

    /// What the kernel says of the connection.
    pub(super) fn socket(&self) -> Option<crate::policy::protection::verdict::counters::Socket> {
        socket::ask(self.wire.id())
    }

    /// Whether the request head must be written for HTTP/2.
    pub fn is_h2(&self) -> bool {
        matches!(self.source, Source::H2(_))
    }

    /// Sends the request head; `end` when no body follows.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn request(&mut self, head: Box<RequestHeader>, end: bool) -> Result<()> {
        self.given_before = self.wire.given();
        self.received_before = self.wire.received();
        match &mut self.source {
            Source::H1(session) => session.write_request_header(head).await.map(|_| ()),
            Source::H2(session) => {
                session.write_request_header(head, end)?;
                if let Some(stream) = session.take_request_body_writer() {
                    self.sink = Sink::stream(stream, end);
                }
                Ok(())
            }
        }
    }

    /// Takes a chunk of the request body. Call only when the sink is clear. An empty one (the engine gives
    /// one when only the line end of a chunk has arrived) is nothing: written, it would be the last.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn body(&mut self, chunk: Bytes) -> Result<()> {
        if chunk.is_empty() {
            return Ok(());
        }
        match &mut self.source {
            Source::H1(session) => session.write_body(&chunk).await.map(|_| ()),
            Source::H2(_) => {
                self.sink.send(chunk);
                Ok(())
            }
        }
    }

    /// Ends the request body whole.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn finish(&mut self) -> Result<()> {
        match &mut self.source {
            Source::H1(session) => session.finish_body().await.map(|_| ()),
            Source::H2(_) => {
                self.sink.finish(None);
                Ok(())
            }
        }
    }

    /// After a 101: from here on the request body is whatever the client sends.
    pub fn become_tunnel(&mut self) {
        if let Source::H1(session) = &mut self.source {
            session.maybe_upgrade_body_writer();
        }
    }

    /// Ends our half of a tunnel after what was sent; the cell may go on.
    pub fn end_tunnel(&mut self) {
        match &mut self.sink {
            Sink::Wire(wire) => wire.end(),
            Sink::Stream(_) | Sink::Idle => self.sink.finish(None),
        }
    }

    /// The next head. Nothing is lost when it is pending.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event>> {
        match &mut self.source {
            Source::H1(session) => {
                ready!(pin!(session.read_response()).poll(cx))?;
                let head = head_of(session.resp_header().expect("read_response has just read it"));
                if head.headers.contains_key(TRANSFER_ENCODING)
                    && mentions_length(&session.get_headers_raw_bytes())
                {
                    let why = "Content-Length together with Transfer-Encoding";
                    return Poll::Ready(Err(Error::explain(ErrorType::InvalidHTTPHeader, why)));
                }
                if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
                    return Poll::Ready(Ok(Event::Informational(head)));
                }
                let end = session.is_body_done();
                Poll::Ready(Ok(Event::Head { head, end }))
            }
            Source::H2(session) => {
                ready!(pin!(session.read_response_header()).poll(cx))?;
                let head = head_of(session.response_header().expect("just read"));
                // DATA behind a head that can have none is nobody's (RFC 9110 section 6.4.1). Of HEAD the engine knows.
                let bodiless = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
                let end = session.check_response_end_or_error()? || bodiless;
                Poll::Ready(Ok(Event::Head { head, end }))
            }
        }
    }

    /// From now on the parts of the body are at most so long. Over HTTP/2 the window bounds them.
    pub fn take_at_most(&self, bytes: usize) {
        if let Source::H1(_) = self.source {
            self.wire.take_at_most(bytes);
        }
    }

    /// The next part of the body. Nothing is lost when it is pending.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event>> {
        match &mut self.source {
            Source::H1(session) => {
                let body = ready!(pin!(session.read_body_bytes()).poll(cx))?;
                Poll::Ready(Ok(body.map_or(Event::End(None), Event::Body)))
            }
            Source::H2(session) => {
                let chunk = ready!(pin!(session.read_response_body()).poll(cx))?;
                if let Some(chunk) = chunk {
                    return Poll::Ready(Ok(Event::Body(chunk)));
                }
                let trailers = ready!(pin!(session.read_trailers()).poll(cx))?;
                Poll::Ready(Ok(Event::End(trailers)))
            }
        }
    }

    /// The connection for the pool, when the exchange ended whole on both sides and the cell keeps it
    /// open. Anything else is closed here. An HTTP/2 connection stays in its pool by itself.
    pub async fn into_reusable(self) -> Option<Wire> {
        match self.source {
            Source::H1(mut session) => {
                session.respect_keepalive();
                let stream = session.reuse().await?;
                stream.into_any().downcast::<Wire>().ok().map(|wire| *wire)
            }
            Source::H2(_) => None,
        }
    }

    fn new(source: Source, sink: Sink, wire: WireHandle) -> Self {
        let (given_before, received_before) = (wire.given(), wire.received());
        Self { source, wire, given_before, received_before, sink }
    }
}

/// A head as the engine has read it, less how names were spelled: to keep that takes a second map.
fn head_of(read: &ResponseHeader) -> Box<Parts> {
    let mut head = Box::new(read.as_owned_parts());
    let own = read.get_reason_phrase().filter(|reason| Some(*reason) != head.status.canonical_reason());
    if let Some(reason) = own.and_then(|reason| ReasonPhrase::try_from(reason.as_bytes()).ok()) {
        head.extensions.insert(reason);
    }
    head
}

/// Whether a raw head has a Content-Length. Of an answer that has a transfer coding too, the engine forgets
/// it, and which of the two a cell meant is not known (RFC 9112 section 6.3).
fn mentions_length(raw: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length";
    raw.split(|byte| *byte == b'\n')
        .any(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::poll_fn;

    use pingora::connectors::http::v2::{ConnectionRef, H2HandshakeSettings, handshake};
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    async fn connection() -> (ConnectionRef, WireHandle, h2::server::Connection<DuplexStream, Bytes>) {
        let (near, far) = duplex(4096);
        let wire = Wire::direct(near, 0);
        let handle = wire.handle();
        let mut settings = H2HandshakeSettings::new();
        settings.max_streams = 10;
        let (client, server) = tokio::join!(handshake(Box::new(wire), settings), h2::server::handshake(far));
        (client.unwrap(), handle, server.unwrap())
    }

    fn head() -> Box<RequestHeader> {
        let mut head = RequestHeader::build("POST", b"/", None).unwrap();
        head.set_uri("http://cell/".parse().unwrap());
        head.set_version(http::Version::HTTP_2);
        Box::new(head)
    }

    /// One thread: the task of the connection runs only while a test waits.
    #[tokio::test(start_paused = true)]
    async fn a_stream_on_a_connection_that_the_cell_has_closed_has_sent_nothing() {
        let (connection, wire, mut server) = connection().await;
        // The cell acknowledges our settings, and we have nothing left to say.
        let settled = tokio::time::timeout(std::time::Duration::from_millis(50), server.accept()).await;
        assert!(settled.is_err(), "no request yet");
        let session = connection.spawn_stream().await.unwrap().unwrap();
        let mut upstream = Upstream::h2(session, wire);
        drop(server);
        upstream.request(head(), true).await.unwrap();
        assert!(poll_fn(|cx| upstream.poll_head(cx)).await.is_err());
        assert!(upstream.nothing_sent());
    }

    #[tokio::test]
    async fn a_stream_whose_head_the_cell_has_read_has_sent_something() {
        let (connection, wire, mut server) = connection().await;
        let session = connection.spawn_stream().await.unwrap().unwrap();
        let mut upstream = Upstream::h2(session, wire);
        assert!(upstream.nothing_sent(), "there is no request yet");
        upstream.request(head(), true).await.unwrap();
        assert!(upstream.nothing_sent(), "nobody has moved it yet");
        let (request, _) = server.accept().await.unwrap().unwrap();
        drop((request, server));
        assert!(poll_fn(|cx| upstream.poll_head(cx)).await.is_err());
        assert!(!upstream.nothing_sent());
    }
}
