//! A connection to a proxy, with TLS or without.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::HandshakeKind;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A connection that is open.
pub(super) enum Line {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Line {
    /// Connects; over TLS also shakes hands, with this name for the server.
    ///
    /// # Errors
    /// Any of it fails, or the name is none.
    pub(super) async fn open(
        address: SocketAddr,
        tls: Option<&TlsConnector>,
        server: &str,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        match tls {
            None => Ok(Self::Plain(stream)),
            Some(tls) => {
                let server = ServerName::try_from(server.to_owned()).map_err(io::Error::other)?;
                Ok(Self::Tls(Box::new(tls.connect(server, stream).await?)))
            }
        }
    }

    /// Whether the other side has ended it, or said something that nobody asked for, as far as the event loop knows: no
    /// system call where nothing has come. Over TLS what comes may be a ticket, and nothing is known.
    pub(super) fn ended(&self) -> bool {
        match self {
            Self::Plain(stream) => {
                !stream.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
            Self::Tls(_) => false,
        }
    }

    /// Whether its TLS session was resumed.
    pub(super) fn resumed(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, to),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, to),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, from),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, from),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_end_is_seen_before_anything_is_asked() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = Line::open(listener.local_addr().unwrap(), None, "").await.unwrap();
        let (other, _) = listener.accept().await.unwrap();
        assert!(!line.ended());
        drop(other);
        match &line {
            Line::Plain(stream) => stream.readable().await.unwrap(),
            Line::Tls(_) => unreachable!("no TLS was asked for"),
        }
        assert!(line.ended());
    }
}
