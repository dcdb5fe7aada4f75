//! Bodies that both sides of a test agree on: a deterministic pattern, checksums, and the boxed
//! stream type that the simulated cell answers with. No protocol here.

use std::convert::Infallible;
use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Body, Frame};

/// How a body may end before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// It was asked to.
    #[error("broken off, as it was asked to")]
    BrokenOff,
    /// The body that it repeats did.
    #[error("repeating a body")]
    Http(#[from] hyper::Error),
}

/// Any body, of the cell's answers and of the load generator's requests.
pub(crate) type AnyBody = UnsyncBoxBody<Bytes, BodyError>;

/// `len` bytes of the pattern from position `offset`: byte `i` is `i mod 251`, so that a lost,
/// doubled or moved piece of any length that is not a multiple of 251 shows.
pub fn pattern(offset: u64, len: usize) -> Bytes {
    let start = phase(offset);
    if len <= BLOCK {
        return PATTERN.slice(start..start + len);
    }
    let byte = |i: u64| phase(i) as u8; // Below 251, see PERIOD.
    (offset..offset + len as u64).map(byte).collect()
}

/// Whether `bytes` is the pattern from position `offset` on.
pub fn is_pattern(offset: u64, bytes: &[u8]) -> bool {
    let mut at = offset;
    bytes.chunks(BLOCK).all(|chunk| {
        let start = phase(at);
        at += chunk.len() as u64;
        PATTERN[start..start + chunk.len()] == *chunk
    })
}

/// A body of `total` bytes of the pattern that is made while it is sent, for [`Line::stream`](crate::client::Line::stream).
pub fn pattern_body(total: u64) -> impl Body<Data = Bytes, Error = Infallible> + Send + 'static {
    let pieces = pattern_pieces(total, PIECE, Duration::ZERO);
    StreamBody::new(Box::pin(pieces.map(|piece| Ok(Frame::data(piece)))))
}

/// SHA-256 of `bytes` in lowercase hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    let mut sum = Checksum::new();
    sum.add(bytes);
    sum.hex()
}

/// A SHA-256 that grows with a streamed body.
pub(crate) struct Checksum(digest::Context);

impl Checksum {
    pub(crate) fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn hex(self) -> String {
        hex(self.0.finish().as_ref())
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The whole of `bytes`, with a known length.
pub(crate) fn full(bytes: impl Into<Bytes>) -> AnyBody {
    Full::new(bytes.into()).map_err(never).boxed_unsync()
}

/// Nothing; ends with the head.
pub(crate) fn empty() -> AnyBody {
    Empty::new().map_err(never).boxed_unsync()
}

/// A body of unknown length from frames; an error cuts it off (h1 closes, h2 resets the stream).
pub(crate) fn frames<S>(frames: S) -> AnyBody
where
    S: Stream<Item = Result<Frame<Bytes>, BodyError>> + Send + 'static,
{
    StreamBody::new(frames).boxed_unsync()
}

/// `total` bytes of the pattern in pieces of `piece`, a pause of `every` before each but the first.
pub(crate) fn pattern_pieces(total: u64, piece: usize, every: Duration) -> impl Stream<Item = Bytes> + Send {
    let piece = piece.max(1);
    stream::unfold(0u64, move |at| async move {
        if at >= total {
            return None;
        }
        if at > 0 && !every.is_zero() {
            tokio::time::sleep(every).await;
        }
        let len = usize::try_from(total - at).map_or(piece, |left| left.min(piece));
        Some((pattern(at, len), at + len as u64))
    })
}

/// Length of a piece where nobody asks for another: what one DATA frame or a few TLS records hold.
pub(crate) const PIECE: usize = 16 * 1024;

/// The pattern repeats after this many bytes: a prime that fits a byte and divides no buffer size.
const PERIOD: u64 = 251;

/// Longest piece that is answered without copying: what fits one or a few TLS records.
const BLOCK: usize = 64 * 1024;

/// One block and one period: any piece of up to a block is a slice of it.
static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
    let byte = |i: u64| phase(i) as u8; // Below 251, see PERIOD.
    (0..BLOCK as u64 + PERIOD).map(byte).collect()
});

fn phase(position: u64) -> usize {
    (position % PERIOD) as usize // Below 251, see PERIOD.
}

pub(crate) fn never(impossible: Infallible) -> BodyError {
    match impossible {}
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_is_the_same_however_it_is_cut() {
        let whole = pattern(0, 200_000);
        assert_eq!(whole.len(), 200_000);
        for (offset, len) in [(0, 1), (1, 250), (251, 251), (65_535, 65_536), (100_000, 100_000)] {
            let piece = pattern(offset as u64, len);
            assert_eq!(piece, whole.slice(offset..offset + len), "{offset}+{len}");
            assert!(is_pattern(offset as u64, &piece), "{offset}+{len}");
        }
    }

    #[test]
    fn a_moved_or_changed_byte_is_not_the_pattern() {
        let mut bytes = pattern(7, 100_000).to_vec();
        assert!(is_pattern(7, &bytes));
        assert!(!is_pattern(8, &bytes));
        bytes[99_999] ^= 1;
        assert!(!is_pattern(7, &bytes));
    }

    #[test]
    fn checksums_are_sha_256() {
        // FIPS 180-4, the empty message and "abc".
        assert_eq!(sha256_hex(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[tokio::test]
    async fn pieces_add_up_to_the_whole() {
        let pieces = pattern_pieces(1_000, 300, Duration::ZERO);
        let lengths: Vec<usize> = pieces.map(|piece| piece.len()).collect().await;
        assert_eq!(lengths, [300, 300, 300, 100]);
    }
}
