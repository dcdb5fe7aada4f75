//! An HTTP/2 connection as the engine's sessions take it, and a second hand on it that knows how much has moved.
//! Writes go straight through: HTTP/2 has flow control of its own. Connections of HTTP/1 are [`wire`](super::wire)'s.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::ByteStream;

/// The connection itself; the engine's sessions own it as their stream.
#[derive(Debug)]
pub struct H2Wire(Arc<Mutex<Inner>>);

/// A second hand on the same connection. It holds the connection open, so that its descriptor stays its own.
#[derive(Clone, Debug)]
pub struct H2WireHandle(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    io: Box<dyn ByteStream>,
    id: UniqueIDType,
    /// Bytes that the stream below was given, also those that it may not have taken: after a failed write
    /// nobody knows how much of it left.
    given: u64,
    /// Bytes that came from it.
    received: u64,
}

impl H2Wire {
    /// `id` tells connections apart in engine logs (the descriptor).
    pub fn new(io: impl ByteStream, id: UniqueIDType) -> Self {
        Self(Arc::new(Mutex::new(Inner { io: Box::new(io), id, given: 0, received: 0 })))
    }

    /// A second hand on this connection.
    pub fn handle(&self) -> H2WireHandle {
        H2WireHandle(Arc::clone(&self.0))
    }
}

impl H2WireHandle {
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
}

impl AsyncRead for H2Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        let before = buf.filled().len();
        ready!(Pin::new(&mut inner.io).poll_read(cx, buf))?;
        inner.received += (buf.filled().len() - before) as u64;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for H2Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = lock(&self.0);
        let taken = ready!(Pin::new(&mut inner.io).poll_write(cx, data));
        inner.given += *taken.as_ref().unwrap_or(&data.len()) as u64;
        Poll::Ready(taken)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0).io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0).io).poll_shutdown(cx)
    }
}

/// A poisoned lock means that another holder panicked inside an I/O call; the bytes are as they were.
fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

// === what the engine asks of a stream ===

#[async_trait::async_trait]
impl Shutdown for H2Wire {
    async fn shutdown(&mut self) {
        // The peer may be gone already; there is nobody left to tell.
        let _ = tokio::io::AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for H2Wire {
    fn id(&self) -> UniqueIDType {
        lock(&self.0).id
    }
}

impl Ssl for H2Wire {}
impl Peek for H2Wire {}

impl GetTimingDigest for H2Wire {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for H2Wire {
    fn get_proxy_digest(&self) -> Option<Arc<pingora::protocols::raw_connect::ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for H2Wire {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
