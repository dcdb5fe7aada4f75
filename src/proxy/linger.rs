//! A client's HTTP/2 connection at its end: after our half is closed, what the client has sent meanwhile is read
//! and thrown away until it closes too. Closing a socket with unread bytes resets it, and a reset destroys the
//! GOAWAY that tells the client which of its requests were not begun (RFC 9113 section 6.8).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::wire::ByteStream;

/// A round trip to the other end of the world, and time to notice.
const AT_MOST: Duration = Duration::from_secs(2);

/// Twice the window of a connection: more than an honest client has under way.
const BYTES: usize = 8 * 1024 * 1024;

/// As it goes through, until the shutdown.
#[derive(Debug)]
pub struct Lingering<S> {
    io: S,
    end: Option<Pin<Box<Sleep>>>,
    left: usize,
}

impl<S> Lingering<S> {
    /// Over a client's connection.
    pub fn new(io: S) -> Self {
        Self { io, end: None, left: BYTES }
    }
}

impl<S: ByteStream> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<S: ByteStream> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.end.is_none() {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.end = Some(Box::pin(tokio::time::sleep(AT_MOST)));
        }
        let mut bytes = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut bytes);
            let read = Pin::new(&mut self.io).poll_read(cx, &mut buf);
            let count = buf.filled().len();
            match read {
                Poll::Ready(Ok(())) if count > 0 && count <= self.left => self.left -= count,
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        let end = self.end.as_mut().expect("it is set above");
        end.as_mut().poll(cx).map(Ok)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_late_is_read_until_the_client_closes_or_the_time_is_up() {
        for (close_after, expect) in [(1, 1), (10, 2)] {
            let (near, mut far) = duplex(64);
            let mut near = Lingering::new(near);
            let started = Instant::now();
            let client = tokio::spawn(async move {
                // More than fits in between.
                let late = far.write_all(&[7; 1000]).await;
                let mut said = Vec::new();
                far.read_to_end(&mut said).await.unwrap();
                tokio::time::sleep(Duration::from_secs(close_after)).await;
                (late.is_ok(), said)
            });
            near.write_all(b"GOAWAY").await.unwrap();
            near.shutdown().await.unwrap();
            assert_eq!(started.elapsed(), Duration::from_secs(expect));
            drop(near);
            assert_eq!(client.await.unwrap(), (true, b"GOAWAY".to_vec()));
        }
    }
}
