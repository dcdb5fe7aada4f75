//! Where body bytes go in HTTP/2. A sink takes one chunk at a time; when it is clear again, the next may come. Over
//! HTTP/1 the sessions queue them ([`http1`](super::http1)).

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;

/// The way out of one direction of an exchange.
#[derive(Debug)]
pub enum Sink {
    /// Bytes go to the stream as its window allows.
    Stream(StreamSink),
    /// Before the response head, or an exchange without a body in this direction.
    Idle,
}

/// One HTTP/2 stream's sending half, with at most one chunk that waits for window.
#[derive(Debug)]
pub struct StreamSink {
    stream: SendStream<Bytes>,
    waiting: Bytes,
    finish: Finish,
}

#[derive(Debug)]
enum Finish {
    Open,
    /// End the stream once nothing waits, with trailers where there are any.
    Asked(Option<HeaderMap>),
    Done,
}

impl Sink {
    /// Over a stream whose head has been sent; idle when nothing follows the head.
    pub fn stream(stream: SendStream<Bytes>, end: bool) -> Self {
        if end { Self::Idle } else { Self::Stream(StreamSink::new(stream)) }
    }

    /// Takes a chunk. Call only when the sink is clear.
    pub fn send(&mut self, chunk: Bytes) {
        if let Self::Stream(stream) = self {
            stream.send(chunk);
        }
    }

    /// Ends the stream after what waits.
    pub fn finish(&mut self, trailers: Option<HeaderMap>) {
        if let Self::Stream(stream) = self {
            stream.finish(trailers);
        }
    }

    /// Whether the next chunk may come.
    pub fn is_clear(&self) -> bool {
        match self {
            Self::Stream(stream) => stream.is_clear(),
            Self::Idle => true,
        }
    }

    /// Moves what waits; ready when the sink is clear.
    pub fn poll_clear(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Stream(stream) => stream.poll_clear(cx),
            Self::Idle => Poll::Ready(Ok(())),
        }
    }

    /// Ready when the peer has reset the stream.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Stream(StreamSink { stream, finish: Finish::Open | Finish::Asked(_), .. }) => {
                stream.poll_reset(cx).map(|_| ())
            }
            Self::Stream(_) | Self::Idle => Poll::Pending,
        }
    }
}

impl StreamSink {
    fn new(stream: SendStream<Bytes>) -> Self {
        Self { stream, waiting: Bytes::new(), finish: Finish::Open }
    }

    fn send(&mut self, chunk: Bytes) {
        debug_assert!(self.waiting.is_empty(), "one chunk at a time");
        self.waiting = chunk;
    }

    /// Ends the stream after what waits.
    pub fn finish(&mut self, trailers: Option<HeaderMap>) {
        if matches!(self.finish, Finish::Open) {
            self.finish = Finish::Asked(trailers);
        }
    }

    /// Ends the stream with these trailers, wherever its body is: ready when they are on their way.
    pub async fn end_with(&mut self, trailers: HeaderMap) -> io::Result<()> {
        self.finish(Some(trailers));
        std::future::poll_fn(|cx| self.poll_clear(cx)).await
    }

    /// Breaks the stream off: the peer sees that the body is not whole.
    pub fn reset(&mut self, reason: h2::Reason) {
        self.waiting = Bytes::new();
        self.finish = Finish::Done;
        self.stream.send_reset(reason);
    }

    fn is_clear(&self) -> bool {
        self.waiting.is_empty() && !matches!(self.finish, Finish::Asked(_))
    }

    fn poll_clear(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            self.stream.reserve_capacity(self.waiting.len());
            let window = match ready!(self.stream.poll_capacity(cx)) {
                Some(window) => window.map_err(io::Error::other)?,
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            };
            let part = self.waiting.split_to(window.min(self.waiting.len()));
            let end = self.waiting.is_empty() && matches!(self.finish, Finish::Asked(None));
            self.stream.send_data(part, end).map_err(io::Error::other)?;
            if end {
                self.finish = Finish::Done;
            }
        }
        match std::mem::replace(&mut self.finish, Finish::Done) {
            Finish::Asked(Some(trailers)) => self.stream.send_trailers(trailers).map_err(io::Error::other)?,
            Finish::Asked(None) => {
                self.stream.send_data(Bytes::new(), true).map_err(io::Error::other)?;
            }
            Finish::Open => self.finish = Finish::Open,
            Finish::Done => {}
        }
        Poll::Ready(Ok(()))
    }
}
