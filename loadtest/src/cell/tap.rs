//! Two wrappers around a cell's connection. [`Gated`] stands on the socket and lets nothing through while
//! the cell is a black hole. [`Tapped`] stands on the clear text of an h1 connection: it remembers the
//! bytes of the current request head, which the HTTP library would report only after normalising them, and
//! slips informational responses in, which it cannot send. Neither parses bodies.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::behaviour::{Behaviour, Turn, lock};
use super::seen::latin1;

/// Any byte stream that a connection may be.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

/// A socket of a cell that may be a black hole.
pub(crate) struct Gated<S> {
    inner: S,
    turns: watch::Receiver<Arc<Turn>>,
    /// Present while reading or writing waits for another behaviour.
    opens: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<S> Gated<S> {
    pub(crate) fn new(inner: S, turns: watch::Receiver<Arc<Turn>>) -> Self {
        Self { inner, turns, opens: None }
    }

    /// Ready when bytes may pass.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.turns.borrow().behaviour != Behaviour::BlackHole {
                self.opens = None;
                return Poll::Ready(());
            }
            let opens = self.opens.get_or_insert_with(|| {
                let mut turns = self.turns.clone();
                Box::pin(async move {
                    // An error means that the cell is gone, and this task with it.
                    let _ = turns.wait_for(|turn| turn.behaviour != Behaviour::BlackHole).await;
                })
            });
            ready!(opens.as_mut().poll(cx));
            self.opens = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gated<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx));
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gated<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx));
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx));
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx));
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx));
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// A request head as it stood on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawHead {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// The handle by which a request reads and writes around the HTTP library.
#[derive(Clone, Default)]
pub(crate) struct Tap(Arc<Mutex<Tapping>>);

#[derive(Default)]
struct Tapping {
    /// What was read since the last answer began.
    read: Vec<u8>,
    /// An answer has begun, so what is read next begins another request.
    answered: bool,
    /// To be written before anything else.
    inject: Vec<u8>,
}

/// A head longer than this is not remembered; the HTTP library refuses it at about the same size.
const HEAD_MAX: usize = 512 * 1024;

/// As many fields as the server accepts.
pub(crate) const FIELDS_MAX: usize = 256;

impl Tap {
    /// The head of the request now being answered, if it was seen whole.
    pub(crate) fn head(&self) -> Option<RawHead> {
        let tapping = lock(&self.0);
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Request::new(&mut fields);
        let parsed = head.parse(&tapping.read).ok()?;
        if parsed.is_partial() {
            return None;
        }
        let field = |field: &httparse::Header<'_>| (field.name.to_owned(), latin1(field.value));
        Some(RawHead {
            method: head.method?.to_owned(),
            target: head.path?.to_owned(),
            headers: head.headers.iter().map(field).collect(),
        })
    }

    /// Sends `bytes` before what the HTTP library writes next; goes out when it next flushes.
    pub(crate) fn inject(&self, bytes: &[u8]) {
        lock(&self.0).inject.extend_from_slice(bytes);
    }

    fn saw(&self, bytes: &[u8]) {
        let mut tapping = lock(&self.0);
        if tapping.answered {
            tapping.answered = false;
            tapping.read.clear();
        }
        let room = HEAD_MAX - tapping.read.len().min(HEAD_MAX);
        tapping.read.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// A clear-text h1 connection under a [`Tap`].
pub(crate) struct Tapped<S> {
    inner: S,
    tap: Tap,
}

impl<S: AsyncWrite + Unpin> Tapped<S> {
    pub(crate) fn new(inner: S, tap: Tap) -> Self {
        Self { inner, tap }
    }

    /// Ready when nothing is left to be slipped in.
    fn poll_injected(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut tapping = lock(&self.tap.0);
        while !tapping.inject.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &tapping.inject))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            tapping.inject.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.tap.saw(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_injected(cx))?;
        lock(&self.tap.0).answered = true;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_injected(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
