//! A connection whose writes never wait: what the socket does not take at once is queued, and the
//! forward loop, which sees both directions, decides when to let more in.
//!
//! Why: pingora's sessions own their stream and read and write through one `&mut`. A write that waits
//! inside such a session stops the reading of the same connection; when the peer in turn waits for us
//! to read before it reads, nothing moves again (a full-duplex upload does that within a second).
//! With a queue, a session's `write_body` always returns, and back-pressure is kept by the loop: it
//! takes the next chunk for a connection only after [`WireHandle::settled`].
//!
//! It knows nothing of HTTP, but it can be given a judge of what comes in: the bytes of a chunked body pass here
//! and nowhere else of ours before the engine has read them. For HTTP/2, which has flow control of its own, writes go straight through.

use std::any::Any;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::listen::connection::Transport;
use crate::policy::gate::ChunkReader;

/// A queue never grows past this: the loop lets in one chunk (64 KiB, the engine's body buffer) at a
/// time and a head (64 KiB at most) before it. Past it, writes wait, which only a defect can cause.
const QUEUE_LIMIT: usize = 512 * 1024;

/// Any byte stream that a [`Wire`] can carry.
pub trait ByteStream: AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin + 'static {
    /// What it is.
    fn as_any(&self) -> &dyn Any;
}

impl<T: AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin + 'static> ByteStream for T {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The connection itself; pingora's sessions own it as their stream.
#[derive(Debug)]
pub struct Wire(Arc<Mutex<Inner>>);

/// A second hand on the same connection, for the forward loop.
#[derive(Clone, Debug)]
pub struct WireHandle(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    io: Box<dyn ByteStream>,
    id: UniqueIDType,
    mode: Mode,
    /// Most bytes that one read takes.
    piece: u64,
    queue: BytesMut,
    /// Bytes that the stream below was given, also those that it may not have taken: after a failed write
    /// nobody knows how much of it left.
    given: u64,
    /// Bytes that came from it.
    received: u64,
    /// Bytes were accepted since the stream below was last flushed.
    unflushed: bool,
    /// Judges what is read until its body has ended.
    chunks: Option<ChunkReader>,
    /// Our half is to be closed after the queue.
    end: End,
    /// A queued write failed; told to whoever writes, flushes or settles next.
    failed: Option<io::ErrorKind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Queued,
    Direct,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Asked,
    Done,
}

impl Wire {
    /// For HTTP/1: writes never wait. `id` tells connections apart in engine logs (the descriptor).
    pub fn queued(io: impl ByteStream, id: UniqueIDType) -> Self {
        Self::new(Box::new(io), id, Mode::Queued)
    }

    /// For HTTP/2: writes wait as the socket does.
    pub fn direct(io: impl ByteStream, id: UniqueIDType) -> Self {
        Self::new(Box::new(io), id, Mode::Direct)
    }

    /// A second hand on this connection.
    pub fn handle(&self) -> WireHandle {
        WireHandle(Arc::clone(&self.0))
    }

    /// Whether an idle connection can be used again: nothing to read, not closed, nothing queued. An
    /// answer that comes without a request, or a close, makes it unusable (stale keep-alive, RFC 9112
    /// section 9.6; response queue poisoning).
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0u8; 1];
        let mut buf = ReadBuf::new(&mut byte);
        let mut context = Context::from_waker(Waker::noop());
        let mut inner = lock(&self.0);
        inner.queue.is_empty()
            && inner.failed.is_none()
            && Pin::new(&mut inner.io).poll_read(&mut context, &mut buf).is_pending()
    }

    fn new(io: Box<dyn ByteStream>, id: UniqueIDType, mode: Mode) -> Self {
        let inner = Inner {
            io,
            id,
            mode,
            piece: u64::MAX,
            queue: BytesMut::new(),
            given: 0,
            received: 0,
            unflushed: false,
            chunks: None,
            end: End::Open,
            failed: None,
        };
        Self(Arc::new(Mutex::new(inner)))
    }
}

impl WireHandle {
    /// Whether everything written, and the end where it was asked for, has been handed to the socket.
    pub fn is_settled(&self) -> bool {
        let inner = lock(&self.0);
        inner.queue.is_empty() && !inner.unflushed && inner.end != End::Asked && inner.failed.is_none()
    }

    /// The descriptor of its socket, as long as it is open.
    pub fn id(&self) -> UniqueIDType {
        lock(&self.0).id
    }

    /// How many bytes the stream below was given so far. Where that has not grown, nothing was sent.
    pub fn given(&self) -> u64 {
        lock(&self.0).given
    }

    /// How many bytes came from the stream below so far.
    pub fn received(&self) -> u64 {
        lock(&self.0).received
    }

    /// Has the body that is being read judged; `chunks` has seen what was read of it before. A body that breaks
    /// its framing makes reading fail with `InvalidData`.
    pub fn judge(&self, chunks: ChunkReader) {
        lock(&self.0).chunks = Some(chunks).filter(|chunks| !chunks.is_done());
    }

    /// From now on each read takes at most so many bytes, however much room there is.
    pub fn take_at_most(&self, bytes: usize) {
        lock(&self.0).piece = bytes as u64;
    }

    /// Closes our half after what is queued; the peer may go on sending.
    pub fn end(&self) {
        let mut inner = lock(&self.0);
        if inner.end == End::Open {
            inner.end = End::Asked;
        }
    }

    /// Whether a client's connection is reset when it is closed: see [`Transport::reset_on_close`].
    pub fn reset_on_close(&self, reset: bool) {
        let inner = lock(&self.0);
        if let Some(client) = (*inner.io).as_any().downcast_ref::<Box<dyn Transport>>() {
            (**client).reset_on_close(reset);
        }
    }

    /// Another descriptor of a client's socket: see [`Transport::second_descriptor`].
    pub fn second_descriptor(&self) -> Option<OwnedFd> {
        let inner = lock(&self.0);
        (**(*inner.io).as_any().downcast_ref::<Box<dyn Transport>>()?).second_descriptor()
    }

    /// Moves the queue; ready when everything written has been handed to the socket.
    ///
    /// # Errors
    /// As [`settled`](Self::settled).
    pub fn poll_settled(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_settle(cx)
    }

    /// Waits until everything written has been handed to the socket.
    ///
    /// # Errors
    /// The socket's, also when an earlier queued write met it.
    pub async fn settled(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_settled(cx)).await
    }
}

impl Inner {
    fn poll_settle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_queue(cx))?;
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        if self.end == End::Asked {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.end = End::Done;
        }
        Poll::Ready(Ok(()))
    }

    /// Moves the queue into the socket.
    fn poll_queue(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(kind) = self.failed {
            return Poll::Ready(Err(kind.into()));
        }
        while !self.queue.is_empty() {
            let queue = std::mem::take(&mut self.queue);
            let given = self.poll_give(cx, &queue);
            self.queue = queue;
            let written = match ready!(given) {
                Ok(0) => Err(io::ErrorKind::WriteZero),
                Ok(written) => Ok(written),
                Err(error) => Err(error.kind()),
            };
            match written {
                Ok(written) if written < self.queue.len() => self.queue.advance(written),
                // Its room goes with it: a connection is idle for far longer than its peer is behind.
                Ok(_) => self.queue = BytesMut::new(),
                Err(kind) => {
                    self.failed = Some(kind);
                    return Poll::Ready(Err(kind.into()));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Gives bytes to the stream below.
    fn poll_give(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let taken = ready!(Pin::new(&mut self.io).poll_write(cx, data));
        self.given += *taken.as_ref().unwrap_or(&data.len()) as u64;
        Poll::Ready(taken)
    }

    fn poll_write_queued(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let settled = self.poll_queue(cx)?;
        self.unflushed = true;
        let taken = match settled {
            Poll::Ready(()) => match self.poll_give(cx, data)? {
                Poll::Ready(taken) => taken,
                Poll::Pending => 0,
            },
            Poll::Pending if self.queue.len() >= QUEUE_LIMIT => return Poll::Pending,
            Poll::Pending => 0,
        };
        self.queue.extend_from_slice(&data[taken..]);
        Poll::Ready(Ok(data.len()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        if inner.mode == Mode::Queued {
            // Reading also moves the queue: whoever waits for an answer must not hold back the question.
            // A failure is told to the writing side; what the peer sent before it is still worth reading.
            let _ = inner.poll_settle(cx);
        }
        let before = buf.filled().len();
        let piece = inner.piece;
        ready!(Pin::new(&mut (&mut inner.io).take(piece)).poll_read(cx, buf))?;
        inner.received += (buf.filled().len() - before) as u64;
        if let Some(chunks) = &mut inner.chunks {
            if chunks.read(&buf.filled()[before..]).is_err() {
                buf.set_filled(before);
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            if chunks.is_done() {
                inner.chunks = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = lock(&self.0);
        match inner.mode {
            Mode::Direct => inner.poll_give(cx, data),
            Mode::Queued => inner.poll_write_queued(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        match inner.mode {
            Mode::Direct => Pin::new(&mut inner.io).poll_flush(cx),
            // Begun, not awaited: a flush that waits would stop the reading as a write would.
            Mode::Queued => match inner.poll_settle(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
            },
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        if inner.mode == Mode::Queued {
            ready!(inner.poll_settle(cx))?;
        }
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }
}

/// A poisoned lock means that another holder panicked inside an I/O call; the bytes are as they were.
fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

// === what pingora asks of a stream ===

#[async_trait::async_trait]
impl Shutdown for Wire {
    async fn shutdown(&mut self) {
        // The peer may be gone already; there is nobody left to tell.
        let _ = tokio::io::AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Wire {
    fn id(&self) -> UniqueIDType {
        lock(&self.0).id
    }
}

impl Ssl for Wire {}
impl Peek for Wire {}

impl GetTimingDigest for Wire {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Wire {
    fn get_proxy_digest(&self) -> Option<Arc<pingora::protocols::raw_connect::ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Wire {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_write_that_the_socket_does_not_take_is_queued_and_arrives_whole() {
        let (near, mut far) = duplex(16);
        let mut wire = Wire::queued(near, 0);
        let handle = wire.handle();
        let sent: Vec<u8> = (0..1000u32).map(|n| n.to_le_bytes()[0]).collect();
        wire.write_all(&sent).await.unwrap();
        wire.flush().await.unwrap();
        assert!(!handle.is_settled());
        let mut received = vec![0u8; sent.len()];
        let (settled, read) = tokio::join!(handle.settled(), far.read_exact(&mut received));
        settled.unwrap();
        read.unwrap();
        assert_eq!(received, sent);
        assert!(handle.is_settled());
        assert!(!lock(&handle.0).queue.try_reclaim(1), "an idle connection holds no room for a queue");
    }

    #[tokio::test]
    async fn a_read_takes_no_more_than_it_is_told() {
        let (near, mut far) = duplex(100);
        let mut wire = Wire::queued(near, 0);
        far.write_all(&[7u8; 100]).await.unwrap();
        let mut room = [0u8; 100];
        wire.handle().take_at_most(30);
        assert_eq!(wire.read(&mut room).await.unwrap(), 30);
        assert_eq!(wire.read(&mut room).await.unwrap(), 30);
        wire.handle().take_at_most(1000);
        assert_eq!(wire.read(&mut room).await.unwrap(), 40);
    }

    #[tokio::test]
    async fn reading_moves_the_queue() {
        let (near, mut far) = duplex(16);
        let mut wire = Wire::queued(near, 0);
        wire.write_all(&[7u8; 100]).await.unwrap();
        let peer = tokio::spawn(async move {
            let mut question = [0u8; 100];
            far.read_exact(&mut question).await.unwrap();
            far.write_all(b"answer").await.unwrap();
        });
        let mut answer = [0u8; 6];
        wire.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
        peer.await.unwrap();
    }

    #[tokio::test]
    async fn a_failed_queued_write_is_told_to_the_one_who_settles() {
        let (near, far) = duplex(16);
        let mut wire = Wire::queued(near, 0);
        wire.write_all(&[7u8; 100]).await.unwrap();
        drop(far);
        assert!(wire.handle().settled().await.is_err());
        assert!(wire.write_all(b"more").await.is_err());
    }

    #[tokio::test]
    async fn the_end_comes_after_what_is_queued_and_the_peer_may_go_on() {
        let (near, mut far) = duplex(16);
        let mut wire = Wire::queued(near, 0);
        let handle = wire.handle();
        wire.write_all(&[7u8; 100]).await.unwrap();
        handle.end();
        assert!(!handle.is_settled());
        let mut received = Vec::new();
        let (settled, read) = tokio::join!(handle.settled(), far.read_to_end(&mut received));
        settled.unwrap();
        assert_eq!(read.unwrap(), 100);
        far.write_all(b"still").await.unwrap();
        let mut word = [0u8; 5];
        wire.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"still");
    }

    #[tokio::test]
    async fn an_idle_connection_is_quiet_until_the_peer_speaks_or_closes() {
        let (near, mut far) = duplex(16);
        let mut wire = Wire::queued(near, 0);
        assert!(wire.is_quiet());
        far.write_all(b"!").await.unwrap();
        assert!(!wire.is_quiet());
        let (near, far) = duplex(16);
        let mut wire = Wire::queued(near, 0);
        drop(far);
        assert!(!wire.is_quiet());
    }
}
