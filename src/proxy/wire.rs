//! An HTTP/1 connection whose writes never wait: what the socket does not take at once is queued, and the
//! forward loop, which sees both directions, decides when to let more in.
//!
//! Why: a write that waits inside a session stops the reading of the same connection; when the peer in turn waits for
//! us to read before it reads, nothing moves again (a full-duplex upload does that within a second). With a queue,
//! writing always returns, and back-pressure is kept by the loop: it takes the next chunk for a connection only after
//! [`Wire::poll_settled`].
//!
//! What is queued waits for what is at hand to come with it ([`Wire::is_gathering`]): a head and its body leave in one
//! write. It knows nothing of HTTP. Connections of HTTP/2 are [`wire_h2`](super::wire_h2)'s.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{OwnedFd, RawFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::task::coop::unconstrained;

use crate::listen::connection::Transport;

/// Most bytes that are read by way of the stack, into a buffer that then fits: most heads, and whole answers of an API.
pub const PIECE: usize = 4 * 1024;

/// A part of a body up to this length is copied to what is queued: so it leaves with it in one piece, and copying it costs
/// less than a second slice.
const COPIED: usize = 4 * 1024;

/// So much is gathered before it is written: a TLS record.
const GATHERED: usize = 16 * 1024;

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

/// The connection.
#[derive(Debug)]
pub struct Wire {
    io: Box<dyn ByteStream>,
    id: RawFd,
    queue: Queue,
    /// Nothing of the queue was offered to the socket yet.
    gathering: bool,
    /// Bytes that the stream below was given, also those that it may not have taken: after a failed write
    /// nobody knows how much of it left.
    given: u64,
    /// Bytes that came from it.
    received: u64,
    /// Bytes were accepted since the stream below was last flushed.
    unflushed: bool,
    /// Our half is to be closed after the queue.
    end: End,
    /// A queued write failed; told to whoever settles next.
    failed: Option<io::ErrorKind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Asked,
    Done,
}

/// What is to be written, in order. One part of a body at most is not copied: the loop lets in one at a time.
#[derive(Debug, Default)]
struct Queue {
    front: BytesMut,
    part: Bytes,
    back: BytesMut,
}

impl Wire {
    /// `id` is the descriptor of its socket. In its box from the start: it goes from hand to hand, and each would have
    /// room for it.
    pub fn new(io: impl ByteStream, id: RawFd) -> Box<Self> {
        Box::new(Self {
            io: Box::new(io),
            id,
            queue: Queue::default(),
            gathering: false,
            given: 0,
            received: 0,
            unflushed: false,
            end: End::Open,
            failed: None,
        })
    }

    /// Whether an idle connection can be used again: nothing to read, not closed, nothing queued. An
    /// answer that comes without a request, or a close, makes it unusable (stale keep-alive, RFC 9112
    /// section 9.6; response queue poisoning).
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0u8; 1];
        let mut buf = ReadBuf::new(&mut byte);
        let io = &mut self.io;
        // Of a task that has used up its turn the runtime would say that there is nothing to read.
        let read = unconstrained(poll_fn(|cx| Pin::new(&mut *io).poll_read(cx, &mut buf)));
        let mut context = Context::from_waker(Waker::noop());
        self.queue.is_empty() && self.failed.is_none() && pin!(read).poll(&mut context).is_pending()
    }

    /// The descriptor of its socket.
    pub fn id(&self) -> RawFd {
        self.id
    }

    /// How many bytes the stream below was given so far. Where that has not grown, nothing was sent.
    pub fn given(&self) -> u64 {
        self.given
    }

    /// How many bytes came from the stream below so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Queues text, which the caller writes.
    pub fn text(&mut self) -> &mut BytesMut {
        self.begin_write();
        self.queue.text()
    }

    /// Queues a part of a body.
    pub fn part(&mut self, part: Bytes) {
        self.begin_write();
        self.queue.part(part);
    }

    /// Closes our half after what is queued; the peer may go on sending.
    pub fn end(&mut self) {
        if self.end == End::Open {
            self.end = End::Asked;
        }
    }

    /// Whether a client's connection is reset when it is closed: see [`Transport::reset_on_close`].
    pub fn reset_on_close(&self, reset: bool) {
        if let Some(client) = self.client() {
            client.reset_on_close(reset);
        }
    }

    /// Another descriptor of a client's socket: see [`Transport::second_descriptor`].
    pub fn second_descriptor(&self) -> Option<OwnedFd> {
        self.client()?.second_descriptor()
    }

    /// Whether everything written, and the end where it was asked for, has been handed to the socket.
    pub fn is_settled(&self) -> bool {
        self.queue.is_empty() && !self.unflushed && self.end != End::Asked && self.failed.is_none()
    }

    /// Whether what is queued was not offered to the socket yet and is little, so that more may come with it.
    pub fn is_gathering(&self) -> bool {
        self.gathering && self.queue.len() < GATHERED
    }

    /// Moves the queue; ready when everything written has been handed to the socket.
    ///
    /// # Errors
    /// The socket's, also when an earlier queued write met it.
    pub fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.gathering = false;
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

    /// Waits until everything written has been handed to the socket.
    ///
    /// # Errors
    /// As [`poll_settled`](Self::poll_settled).
    pub async fn settled(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_settled(cx)).await
    }

    /// Reads on behind what `buffer` holds, at most so many bytes; 0 at the end. Nothing is lost when it is pending, and
    /// a buffer that held nothing has no room then unless a larger piece is asked for.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        if !self.is_settled() {
            // Reading also moves the queue: whoever waits for an answer must not hold back the question.
            // A failure is told to the writing side; what the peer sent before it is still worth reading.
            let _ = self.poll_settled(cx);
        }
        let read = if most <= PIECE {
            let mut room = [MaybeUninit::uninit(); PIECE];
            let mut piece = ReadBuf::uninit(&mut room[..most]);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut piece))?;
            buffer.extend_from_slice(piece.filled());
            piece.filled().len()
        } else {
            buffer.reserve(most);
            ready!(pin!(self.io.read_buf(&mut buffer.limit(most))).poll(cx))?
        };
        self.received += read as u64;
        Poll::Ready(Ok(read))
    }

    /// Waits until something can be read: see [`poll_read`](Self::poll_read).
    ///
    /// # Errors
    /// The socket's.
    pub async fn read(&mut self, buffer: &mut BytesMut, most: usize) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_read(cx, buffer, most)).await
    }

    /// Closes our half after what is queued, and waits for both.
    ///
    /// # Errors
    /// The peer is gone.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.end();
        self.settled().await
    }

    fn client(&self) -> Option<&dyn Transport> {
        (*self.io).as_any().downcast_ref::<Box<dyn Transport>>().map(|client| &**client)
    }

    fn begin_write(&mut self) {
        self.gathering |= self.queue.is_empty();
        self.unflushed = true;
    }

    /// Moves the queue into the socket.
    fn poll_queue(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(kind) = self.failed {
            return Poll::Ready(Err(kind.into()));
        }
        while !self.queue.is_empty() {
            let (queue, len) = (&self.queue, self.queue.len());
            let written = if queue.part.is_empty() && queue.back.is_empty() {
                Pin::new(&mut self.io).poll_write(cx, &queue.front)
            } else {
                Pin::new(&mut self.io).poll_write_vectored(cx, &queue.slices())
            };
            let written = ready!(written);
            self.given += *written.as_ref().unwrap_or(&len) as u64;
            let failed = match written {
                Ok(0) => io::ErrorKind::WriteZero,
                Ok(written) => {
                    self.queue.advance(written);
                    continue;
                }
                Err(error) => error.kind(),
            };
            self.failed = Some(failed);
            return Poll::Ready(Err(failed.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl Queue {
    fn len(&self) -> usize {
        self.front.len() + self.part.len() + self.back.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn text(&mut self) -> &mut BytesMut {
        if self.part.is_empty() { &mut self.front } else { &mut self.back }
    }

    fn part(&mut self, part: Bytes) {
        if self.part.is_empty() && part.len() > COPIED {
            self.part = part;
        } else {
            self.text().extend_from_slice(&part);
        }
    }

    /// Empty slices say nothing, and streams that take one slice at a time take the first that is not.
    fn slices(&self) -> [IoSlice<'_>; 3] {
        [&self.front[..], &self.part[..], &self.back[..]].map(IoSlice::new)
    }

    /// So much has been written. What is empty gives its room back: a connection is idle for far longer than its peer is
    /// behind.
    fn advance(&mut self, mut written: usize) {
        if written == self.len() {
            *self = Self::default();
            return;
        }
        let front = written.min(self.front.len());
        self.front.advance(front);
        written -= front;
        let part = written.min(self.part.len());
        self.part.advance(part);
        self.back.advance(written - part);
        if self.front.is_empty() && self.part.is_empty() {
            // Parts go to the back only while one is in front of it.
            self.front = std::mem::take(&mut self.back);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn write(wire: &mut Wire, bytes: &[u8]) {
        wire.text().extend_from_slice(bytes);
    }

    async fn read(wire: &mut Wire, most: usize) -> io::Result<BytesMut> {
        let mut buffer = BytesMut::new();
        wire.read(&mut buffer, most).await.map(|_| buffer)
    }

    #[tokio::test]
    async fn a_write_that_the_socket_does_not_take_is_queued_and_arrives_whole() {
        let (near, mut far) = duplex(16);
        let mut wire = Wire::new(near, 0);
        let sent: Vec<u8> = (0..30_000u32).map(|n| n.to_le_bytes()[0]).collect();
        write(&mut wire, &sent[..1000]);
        wire.part(sent[1000..1100].to_vec().into());
        wire.part(sent[1100..20_000].to_vec().into());
        write(&mut wire, &sent[20_000..20_002]);
        wire.part(sent[20_002..].to_vec().into());
        let now = poll_fn(|cx| Poll::Ready(wire.poll_settled(cx))).await;
        assert!(now.is_pending() && !wire.is_settled());
        let mut received = vec![0u8; sent.len()];
        let (settled, read) = tokio::join!(wire.settled(), far.read_exact(&mut received));
        settled.unwrap();
        read.unwrap();
        assert_eq!(received, sent);
        assert!(wire.is_settled());
        assert!(!wire.queue.front.try_reclaim(1), "an idle connection holds no room for a queue");
    }

    #[tokio::test]
    async fn what_is_queued_is_gathered_until_it_is_offered_or_much() {
        let (near, _far) = duplex(16);
        let mut wire = Wire::new(near, 0);
        assert!(!wire.is_gathering());
        write(&mut wire, b"head");
        assert!(wire.is_gathering());
        wire.part(vec![0; GATHERED].into());
        assert!(!wire.is_gathering());
        let (near, _far) = duplex(2);
        let mut wire = Wire::new(near, 0);
        write(&mut wire, b"head");
        assert!(poll_fn(|cx| Poll::Ready(wire.poll_settled(cx))).await.is_pending());
        write(&mut wire, b"more");
        assert!(!wire.is_gathering(), "its peer is behind");
    }

    #[tokio::test]
    async fn a_read_takes_no_more_than_it_is_told() {
        let (near, mut far) = duplex(20_000);
        let mut wire = Wire::new(near, 0);
        far.write_all(&[7u8; 20_000]).await.unwrap();
        for most in [30, PIECE, PIECE + 1, 10_000] {
            assert_eq!(read(&mut wire, most).await.unwrap().len(), most);
        }
        assert_eq!(wire.received(), 30 + 2 * PIECE as u64 + 1 + 10_000);
    }

    #[tokio::test]
    async fn reading_moves_the_queue() {
        let (near, mut far) = duplex(16);
        let mut wire = Wire::new(near, 0);
        write(&mut wire, &[7u8; 100]);
        let peer = tokio::spawn(async move {
            let mut question = [0u8; 100];
            far.read_exact(&mut question).await.unwrap();
            far.write_all(b"answer").await.unwrap();
        });
        assert_eq!(read(&mut wire, 6).await.unwrap(), &b"answer"[..]);
        peer.await.unwrap();
    }

    #[tokio::test]
    async fn a_failed_queued_write_is_told_to_the_one_who_settles() {
        let (near, far) = duplex(16);
        let mut wire = Wire::new(near, 0);
        write(&mut wire, &[7u8; 100]);
        drop(far);
        assert!(wire.settled().await.is_err());
        assert!(wire.settled().await.is_err());
        assert!(!wire.is_settled() && wire.given() >= 100);
    }

    #[tokio::test]
    async fn the_end_comes_after_what_is_queued_and_the_peer_may_go_on() {
        let (near, mut far) = duplex(16);
        let mut wire = Wire::new(near, 0);
        write(&mut wire, &[7u8; 100]);
        wire.end();
        assert!(!wire.is_settled());
        let mut received = Vec::new();
        let (settled, heard) = tokio::join!(wire.settled(), far.read_to_end(&mut received));
        settled.unwrap();
        assert_eq!(heard.unwrap(), 100);
        far.write_all(b"still").await.unwrap();
        assert_eq!(read(&mut wire, 10).await.unwrap(), &b"still"[..]);
    }

    #[tokio::test]
    async fn an_idle_connection_is_quiet_until_the_peer_speaks_or_closes() {
        let (near, mut far) = duplex(16);
        let mut wire = Wire::new(near, 0);
        assert!(wire.is_quiet());
        far.write_all(b"!").await.unwrap();
        assert!(!wire.is_quiet());
        let (near, far) = duplex(16);
        let mut wire = Wire::new(near, 0);
        drop(far);
        assert!(!wire.is_quiet());
    }

    #[tokio::test]
    async fn a_closed_connection_is_not_quiet_for_a_task_that_has_used_up_its_turn() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut wires = Vec::new();
        // More than a task may ask in one turn (128).
        for _ in 0..200 {
            let near = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            drop(listener.accept().await.unwrap());
            near.readable().await.unwrap();
            wires.push(Wire::new(near, 0));
        }
        tokio::task::yield_now().await;
        let quiet = wires.iter_mut().map(|wire| wire.is_quiet()).filter(|is_quiet| *is_quiet);
        assert_eq!(quiet.count(), 0);
    }
}
