//! Tells when a cell's first SETTINGS are in force on a new HTTP/2 connection. Before that the engine believes
//! that the cell allows as many streams as we want; a burst would open too many, and have them refused.
//!
//! The engine says nothing about it, but the acknowledgement that it must send does (RFC 9113 section 6.5.3).

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::frames::{FrameHeads, PREFACE};
use super::wire::ByteStream;

/// A connection to a cell, with an eye on what is sent.
#[derive(Debug)]
pub struct Settling<S> {
    io: S,
    outgoing: FrameHeads,
    settled: Arc<Settled>,
}

/// Waits for it.
#[derive(Debug, Default)]
pub struct Settled(Notify);

impl Settled {
    /// Ready when SETTINGS are in force, or when the connection has ended without.
    pub async fn happened(&self) {
        self.0.notified().await;
    }
}

impl<S: ByteStream> Settling<S> {
    /// Before anything was read or written.
    pub fn new(io: S) -> Self {
        Self { io, outgoing: FrameHeads::after(PREFACE), settled: Arc::default() }
    }

    /// To wait on, once.
    pub fn settled(&self) -> Arc<Settled> {
        Arc::clone(&self.settled)
    }
}

impl<S> Drop for Settling<S> {
    fn drop(&mut self) {
        self.settled.0.notify_one();
    }
}

impl<S: ByteStream> AsyncRead for Settling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        if read.is_err() || buf.filled().len() == before {
            self.settled.0.notify_one();
        }
        Poll::Ready(read)
    }
}

impl<S: ByteStream> AsyncWrite for Settling<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, data))?;
        let Self { outgoing, settled, .. } = &mut *self;
        let Ok(()) = outgoing.feed(&data[..written], |head| {
            if head.kind == SETTINGS && head.flags & ACK != 0 {
                settled.0.notify_one();
            }
            Ok::<(), Infallible>(())
        });
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// RFC 9113 section 6.5.
const SETTINGS: u8 = 4;
const ACK: u8 = 1;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    async fn has_settled(settled: &Settled) -> bool {
        tokio::time::timeout(Duration::from_secs(1), settled.happened()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_acknowledgement_tells_and_our_own_settings_do_not() {
        let (near, _far) = duplex(4096);
        let mut io = Settling::new(near);
        let settled = io.settled();
        io.write_all(&[&[b'p'; 24][..], &[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]].concat()).await.unwrap();
        assert!(!has_settled(&settled).await);
        io.write_all(&[0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0]).await.unwrap();
        assert!(has_settled(&settled).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_tells_too() {
        let (near, far) = duplex(4096);
        let mut io = Settling::new(near);
        let settled = io.settled();
        drop(far);
        assert_eq!(io.read(&mut [0]).await.unwrap(), 0);
        assert!(has_settled(&settled).await);
        let (near, _far) = duplex(4096);
        let io = Settling::new(near);
        let settled = io.settled();
        drop(io);
        assert!(has_settled(&settled).await);
    }
}
