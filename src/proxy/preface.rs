//! The first bytes of an HTTP/2 connection. They are read before the engine's session is made, which holds 28 KiB
//! of buffers from its first moment, and are given to it then. Whether they are right, the engine judges.
//!
//! The client's preface comes first: it does not wait for our SETTINGS (RFC 9113 section 3.4).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::wire::ByteStream;

/// What a client begins with (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client's connection with its first bytes still to be read.
#[derive(Debug)]
pub struct Prefaced<S> {
    io: S,
    bytes: [u8; PREFACE.len()],
    /// How many of them have come, and how many have been given on.
    have: usize,
    given: usize,
}

impl<S: ByteStream> Prefaced<S> {
    /// Waits until the whole preface is there, or something that is none.
    ///
    /// # Errors
    /// The connection's; or the client has closed it before.
    pub async fn read(mut io: S) -> io::Result<Self> {
        let mut bytes = [0; PREFACE.len()];
        let mut have = 0;
        while have < bytes.len() && PREFACE.starts_with(&bytes[..have]) {
            match io.read(&mut bytes[have..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => have += read,
            }
        }
        Ok(Self { io, bytes, have, given: 0 })
    }
}

impl<S: ByteStream> AsyncRead for Prefaced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.given == self.have {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let until = self.have.min(self.given + buf.remaining());
        buf.put_slice(&self.bytes[self.given..until]);
        self.given = until;
        Poll::Ready(Ok(()))
    }
}

impl<S: ByteStream> AsyncWrite for Prefaced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    /// What comes out after these pieces came in, one by one, and then the end.
    async fn through(pieces: &[&[u8]]) -> io::Result<Vec<u8>> {
        let (near, mut far) = duplex(1);
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let client = tokio::spawn(async move {
            for piece in pieces {
                far.write_all(&piece).await.unwrap();
            }
        });
        let mut prefaced = Prefaced::read(near).await?;
        let mut all = Vec::new();
        let mut buf = [0; 5];
        loop {
            match prefaced.read(&mut buf).await? {
                0 => break,
                read => all.extend_from_slice(&buf[..read]),
            }
        }
        client.await.unwrap();
        Ok(all)
    }

    #[tokio::test]
    async fn every_byte_comes_out_once_and_in_order() {
        let (first, rest) = PREFACE.split_at(10);
        let all = through(&[first, rest, b"and frames"]).await.unwrap();
        assert_eq!(all, [&PREFACE[..], b"and frames"].concat());
    }

    #[tokio::test]
    async fn what_is_no_preface_goes_on_as_soon_as_that_is_seen() {
        assert_eq!(through(&[b"PRX"]).await.unwrap(), b"PRX");
        assert_eq!(through(&[b"GET / HTTP/1.1\r\n\r\n"]).await.unwrap(), b"GET / HTTP/1.1\r\n\r\n");
    }

    #[tokio::test]
    async fn half_a_preface_and_the_end_is_an_error() {
        let error = through(&[&PREFACE[..23]]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
