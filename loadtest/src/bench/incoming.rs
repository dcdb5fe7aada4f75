//! What has been read of a connection and not been used yet: one buffer of a fixed size, filled by one read at a time.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest head that either side reads: twice what any contestant makes of the benchmark's own.
pub(super) const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Bytes that have come, in order.
pub(super) struct Incoming {
    bytes: Box<[u8]>,
    begin: usize,
    end: usize,
}

impl Incoming {
    /// Room for so many bytes that nobody has used yet.
    pub(super) fn of(capacity_bytes: usize) -> Self {
        Self { bytes: vec![0; capacity_bytes].into(), begin: 0, end: 0 }
    }

    /// What has come and has not been used.
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.begin..self.end]
    }

    /// Takes the first `count` of what is unread away; there must be as many.
    pub(super) fn consume(&mut self, count: usize) {
        self.begin += count;
        debug_assert!(self.begin <= self.end, "more is used than has come");
        if self.begin == self.end {
            self.clear();
        }
    }

    /// Forgets what is unread: another connection begins.
    pub(super) fn clear(&mut self) {
        (self.begin, self.end) = (0, 0);
    }

    /// Waits for more, and reads once.
    ///
    /// # Errors
    /// The connection has failed or ended, or what is unread fills the whole buffer.
    pub(super) async fn fill(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        if self.end == self.bytes.len() {
            if self.begin == 0 {
                let text = format!("{} bytes have come without an end to their head", self.end);
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            self.bytes.copy_within(self.begin.., 0);
            (self.begin, self.end) = (0, self.end - self.begin);
        }
        match from.read(&mut self.bytes[self.end..]).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }

    /// Reads past the next `count` bytes, whatever they are.
    ///
    /// # Errors
    /// The connection has failed or ended before.
    pub(super) async fn skip(
        &mut self,
        mut count: u64,
        from: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<()> {
        loop {
            let there = self.unread().len();
            let used = usize::try_from(count).unwrap_or(usize::MAX).min(there);
            self.consume(used);
            count -= used as u64;
            if count == 0 {
                return Ok(());
            }
            self.fill(from).await?;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_skipped_may_be_longer_than_the_buffer_and_ends_where_it_ends() {
        let mut incoming = Incoming::of(16);
        let stream = [&[b'x'; 100][..], b"after"].concat();
        let mut from = &stream[..];
        incoming.skip(100, &mut from).await.unwrap();
        while incoming.unread().len() < 5 {
            incoming.fill(&mut from).await.unwrap();
        }
        assert_eq!(incoming.unread(), b"after");
        let error = incoming.skip(6, &mut from).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn what_is_unread_is_moved_to_make_room_and_never_beyond_the_buffer() {
        let mut incoming = Incoming::of(4);
        let mut from = &b"abcdefgh"[..];
        incoming.fill(&mut from).await.unwrap();
        incoming.consume(3);
        incoming.fill(&mut from).await.unwrap();
        assert_eq!(incoming.unread(), b"defg");
        let error = incoming.fill(&mut from).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
