//! A counter of frames before and behind the engine's HTTP/2 session, towards clients and towards cells: the engine
//! answers floods of control frames for ever. Here they are only told to `policy::http2`, which decides; nothing is
//! changed.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::frames::{FrameHeads, PREFACE};
use super::wire::ByteStream;
use crate::policy::http2::{ControlAllowance, ControlFrames, Flood, Seen, Sender};

/// A connection whose frames are counted. After a flood nothing more of it is read.
#[derive(Debug)]
pub struct Metered<S> {
    io: S,
    born: Instant,
    frames: ControlFrames,
    incoming: FrameHeads,
    outgoing: FrameHeads,
    flooded: Arc<Flooded>,
}

/// Tells whoever serves the connection that it must end.
#[derive(Debug, Default)]
pub struct Flooded(Notify);

impl Flooded {
    /// Waits for a flood.
    pub async fn happened(&self) {
        self.0.notified().await;
    }
}

impl<S: ByteStream> Metered<S> {
    /// A client's, before anything was read or written.
    pub fn client(io: S, allowance: ControlAllowance) -> Self {
        Self::new(io, ControlFrames::new(Sender::Client, allowance), PREFACE, 0)
    }

    /// A cell's, before anything was read or written.
    pub fn cell(io: S, allowance: ControlAllowance) -> Self {
        Self::new(io, ControlFrames::new(Sender::Cell, allowance), 0, PREFACE)
    }

    /// To wait on.
    pub fn flooded(&self) -> Arc<Flooded> {
        Arc::clone(&self.flooded)
    }

    /// With so many bytes before the first frame that comes, and the first that goes.
    fn new(io: S, frames: ControlFrames, before_incoming: u32, before_outgoing: u32) -> Self {
        Self {
            io,
            born: Instant::now(),
            frames,
            incoming: FrameHeads::after(before_incoming),
            outgoing: FrameHeads::after(before_outgoing),
            flooded: Arc::default(),
        }
    }
}

impl<S: ByteStream> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let Self { incoming, frames, born, .. } = &mut *self;
        let at = born.elapsed();
        let counted = incoming.feed(&buf.filled()[before..], |head| frames.came(Seen::of(head.kind), at));
        if counted == Err(Flood) {
            // What came with it is not looked at. The connection ends by way of `flooded`; until then it is silent.
            buf.set_filled(before);
            self.flooded.0.notify_one();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: ByteStream> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, data))?;
        let Self { outgoing, frames, .. } = &mut *self;
        let Ok(()) = outgoing.feed(&data[..written], |head| {
            frames.sent(Seen::of(head.kind), head.length);
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind], &[0; 5], payload].concat()
    }

    fn allowance(frames: u32) -> ControlAllowance {
        ControlAllowance { frames: NonZeroU32::new(frames).unwrap(), per: Duration::from_secs(10) }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_flood_nothing_is_read_and_it_is_told() {
        let (near, mut far) = duplex(4096);
        let mut metered = Metered::client(near, allowance(2));
        let flooded = metered.flooded();
        let ping = frame(6, &[0; 8]);
        far.write_all(&[vec![0; 24], ping.clone(), ping.clone()].concat()).await.unwrap();
        let mut read = vec![0; 24 + 2 * ping.len()];
        metered.read_exact(&mut read).await.unwrap();
        far.write_all(&ping).await.unwrap();
        let silent = tokio::time::timeout(Duration::from_secs(1), metered.read(&mut [0; 64])).await;
        assert!(silent.is_err());
        flooded.happened().await;
    }

    #[tokio::test(start_paused = true)]
    async fn data_that_is_sent_pays_for_frames_that_come() {
        let (near, mut far) = duplex(65_536);
        let mut metered = Metered::client(near, allowance(1));
        metered.write_all(&frame(0, &[0; 4096])).await.unwrap();
        let update = frame(8, &[0; 4]);
        far.write_all(&[vec![0; 24], update.repeat(4)].concat()).await.unwrap();
        let mut read = vec![0; 24 + 4 * update.len()];
        metered.read_exact(&mut read).await.unwrap();
        far.write_all(&update).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(1), metered.read(&mut [0; 64])).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_cell_begins_with_a_frame_and_a_request_pays_for_its_answer() {
        let (near, mut far) = duplex(65_536);
        let mut metered = Metered::cell(near, allowance(2));
        metered.write_all(&[vec![0; 24], frame(1, b"a request")].concat()).await.unwrap();
        let head = frame(1, b"an answer");
        // Eight for the request, two that are allowed, and one too many.
        far.write_all(&head.repeat(10)).await.unwrap();
        let mut read = vec![0; 10 * head.len()];
        metered.read_exact(&mut read).await.unwrap();
        far.write_all(&head).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(1), metered.read(&mut [0; 64])).await.is_err());
        metered.flooded().happened().await;
    }
}
