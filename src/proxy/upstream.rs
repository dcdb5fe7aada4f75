//! The cell's side of one exchange: our HTTP/1 session or an HTTP/2 client session of the engine, seen alike.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use pingora::Result;
use pingora::http::RequestHeader;
use pingora::protocols::http::v2::client::Http2Session as H2Session;

use super::http1::client::{Answered, Session as H1Session};
use super::sink::Sink;
use super::socket;
use super::wire::Wire;
use super::wire_h2::H2WireHandle;

/// The cell's side of one exchange.
pub struct Upstream {
    source: Source,
    /// How much the connection had been given before the request.
    given_before: u64,
    /// How much had come from it then.
    received_before: u64,
    /// The cell takes no more of the request.
    abandoned: bool,
}

enum Source {
    H1(Box<H1Session>),
    H2(Box<Http2>),
}

/// A stream of an HTTP/2 connection.
struct Http2 {
    session: H2Session,
    wire: H2WireHandle,
    /// Where the request body goes.
    sink: Sink,
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
    pub fn h1(wire: Box<Wire>) -> Self {
        Self::new(Source::H1(Box::new(H1Session::new(wire))))
    }

    /// Over a new stream of an HTTP/2 connection, on this wire.
    pub fn h2(session: H2Session, wire: H2WireHandle) -> Self {
        Self::new(Source::H2(Box::new(Http2 { session, wire, sink: Sink::Idle })))
    }

    /// Whether surely no byte of the request has left. Streams share a wire, so another one's bytes may
    /// hide that none of this one's did.
    pub fn nothing_sent(&self) -> bool {
        self.source.given() == self.given_before
    }

    /// Whether a byte has come since the request. Of HTTP/2 that is not known: streams share a wire.
    pub fn has_begun(&self) -> bool {
        !self.is_h2() && self.source.received() != self.received_before
    }

    /// The cell has not answered in time. A connection on which nothing at all has come since the request may be one
    /// whose other end is gone: no further request takes it. One of HTTP/1 ends with its exchange.
    pub fn distrust(&self) {
        if let Source::H2(http2) = &self.source
            && http2.wire.received() == self.received_before
        {
            http2.session.conn.mark_shutdown();
        }
    }

    /// What the kernel says of the connection.
    pub(super) fn socket(&self) -> Option<crate::policy::protection::verdict::counters::Socket> {
        socket::ask(match &self.source {
            Source::H1(session) => session.wire_ref().id(),
            Source::H2(http2) => http2.wire.id(),
        })
    }

    /// Whether the request head must be written for HTTP/2.
    pub fn is_h2(&self) -> bool {
        matches!(self.source, Source::H2(_))
    }

    /// Begins a request over HTTP/1, on this session; `None` where it is one for [`request_h2`](Self::request_h2).
    pub fn request_h1(&mut self) -> Option<&mut H1Session> {
        (self.given_before, self.received_before) = (self.source.given(), self.source.received());
        match &mut self.source {
            Source::H1(session) => Some(session),
            Source::H2(_) => None,
        }
    }

    /// Sends a request head over HTTP/2, and nothing over HTTP/1; `end` when no body follows.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn request_h2(&mut self, head: Box<RequestHeader>, end: bool) -> Result<()> {
        (self.given_before, self.received_before) = (self.source.given(), self.source.received());
        if let Source::H2(http2) = &mut self.source {
            http2.session.write_request_header(head, end)?;
            if let Some(stream) = http2.session.take_request_body_writer() {
                http2.sink = Sink::stream(stream, end);
            }
        }
        Ok(())
    }

    /// Takes a chunk of the request body. Call only when it is clear. An empty one is nothing: written in chunks, it
    /// would be the last.
    pub fn body(&mut self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        match &mut self.source {
            Source::H1(session) => session.part(chunk),
            Source::H2(http2) => http2.sink.send(chunk),
        }
    }

    /// Ends the request body whole.
    ///
    /// # Errors
    /// It is shorter than was promised.
    pub fn finish(&mut self) -> Result<()> {
        match &mut self.source {
            Source::H1(session) => session.finish(),
            Source::H2(http2) => {
                http2.sink.finish(None);
                Ok(())
            }
        }
    }

    /// The cell takes no more of the request: what waits of it is not waited for.
    pub fn abandon_request(&mut self) {
        self.abandoned = true;
        if let Source::H2(http2) = &mut self.source {
            http2.sink = Sink::Idle;
        }
    }

    /// Whether everything that was sent has left, so that the next chunk may come.
    pub fn is_clear(&self) -> bool {
        self.abandoned
            || match &self.source {
                Source::H1(session) => session.wire_ref().is_settled(),
                Source::H2(http2) => http2.sink.is_clear(),
            }
    }

    /// Whether more may leave with what was sent last.
    pub fn is_gathering(&self) -> bool {
        matches!(&self.source, Source::H1(session) if session.wire_ref().is_gathering())
    }

    /// Moves what waits; ready when all has left.
    ///
    /// # Errors
    /// The cell takes no more.
    pub fn poll_clear(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.source {
            Source::H1(session) => session.wire().poll_settled(cx),
            Source::H2(http2) => http2.sink.poll_clear(cx),
        }
    }

    /// After a 101: from here on the request body is whatever the client sends.
    pub fn become_tunnel(&mut self) {
        if let Source::H1(session) = &mut self.source {
            session.become_tunnel();
        }
    }

    /// Ends our half of a tunnel after what was sent; the cell may go on.
    pub fn end_tunnel(&mut self) {
        match &mut self.source {
            Source::H1(session) => session.wire().end(),
            Source::H2(http2) => http2.sink.finish(None),
        }
    }

    /// Whether something of the answer, or its end, can be taken without waiting for the cell.
    pub fn has_at_hand(&self) -> bool {
        matches!(&self.source, Source::H1(session) if session.has_at_hand())
    }

    /// Whether all of the body has been taken. Of HTTP/2 its end has to be asked for: trailers may follow, or an error.
    pub fn is_over(&self) -> bool {
        matches!(&self.source, Source::H1(session) if session.is_over())
    }

    /// The next head. Nothing is lost when it is pending.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event>> {
        match &mut self.source {
            Source::H1(session) => Poll::Ready(Ok(match ready!(session.poll_head(cx))? {
                Answered::Informational(head) => Event::Informational(head),
                Answered::Final(head, end) => Event::Head { head, end },
            })),
            Source::H2(http2) => {
                let session = &mut http2.session;
                ready!(pin!(session.read_response_header()).poll(cx))?;
                let head = Box::new(session.response_header().expect("just read").as_owned_parts());
                // DATA behind a head that can have none is nobody's (RFC 9110 section 6.4.1). Of HEAD the engine knows.
                let bodiless = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
                let end = session.check_response_end_or_error()? || bodiless;
                Poll::Ready(Ok(Event::Head { head, end }))
            }
        }
    }

    /// From now on the parts of the body are at most so long. Over HTTP/2 the window bounds them.
    pub fn take_at_most(&mut self, bytes: usize) {
        if let Source::H1(session) = &mut self.source {
            session.take_at_most(bytes);
        }
    }

    /// The next part of the body. Nothing is lost when it is pending.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event>> {
        match &mut self.source {
            Source::H1(session) => {
                let body = ready!(session.poll_body(cx))?;
                Poll::Ready(Ok(body.map_or(Event::End(None), Event::Body)))
            }
            Source::H2(http2) => {
                let chunk = ready!(pin!(http2.session.read_response_body()).poll(cx))?;
                if let Some(chunk) = chunk {
                    return Poll::Ready(Ok(Event::Body(chunk)));
                }
                let trailers = ready!(pin!(http2.session.read_trailers()).poll(cx))?;
                Poll::Ready(Ok(Event::End(trailers)))
            }
        }
    }

    /// The connection for the pool, when the exchange ended whole on both sides and the cell keeps it
    /// open. Anything else is closed here. An HTTP/2 connection stays in its pool by itself.
    pub async fn into_reusable(self) -> Option<Box<Wire>> {
        match self.source {
            Source::H1(session) => session.into_reusable().await,
            Source::H2(_) => None,
        }
    }

    fn new(source: Source) -> Self {
        let (given_before, received_before) = (source.given(), source.received());
        Self { source, given_before, received_before, abandoned: false }
    }
}

impl Source {
    fn given(&self) -> u64 {
        match self {
            Self::H1(session) => session.wire_ref().given(),
            Self::H2(http2) => http2.wire.given(),
        }
    }

    fn received(&self) -> u64 {
        match self {
            Self::H1(session) => session.wire_ref().received(),
            Self::H2(http2) => http2.wire.received(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::poll_fn;

    use pingora::connectors::http::v2::{ConnectionRef, H2HandshakeSettings, handshake};
    use tokio::io::{DuplexStream, duplex};

    use super::super::wire_h2::H2Wire;
    use super::*;

    async fn connection() -> (ConnectionRef, H2WireHandle, h2::server::Connection<DuplexStream, Bytes>) {
        let (near, far) = duplex(4096);
        let wire = H2Wire::new(near, 0);
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
        upstream.request_h2(head(), true).unwrap();
        assert!(poll_fn(|cx| upstream.poll_head(cx)).await.is_err());
        assert!(upstream.nothing_sent());
    }

    #[tokio::test]
    async fn a_stream_whose_head_the_cell_has_read_has_sent_something() {
        let (connection, wire, mut server) = connection().await;
        let session = connection.spawn_stream().await.unwrap().unwrap();
        let mut upstream = Upstream::h2(session, wire);
        assert!(upstream.nothing_sent(), "there is no request yet");
        upstream.request_h2(head(), true).unwrap();
        assert!(upstream.nothing_sent(), "nobody has moved it yet");
        let (request, _) = server.accept().await.unwrap().unwrap();
        drop((request, server));
        assert!(poll_fn(|cx| upstream.poll_head(cx)).await.is_err());
        assert!(!upstream.nothing_sent());
    }
}
