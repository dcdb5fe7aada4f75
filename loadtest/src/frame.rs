//! gRPC's length-prefixed messages (gRPC over HTTP/2, "Length-Prefixed-Message"): five bytes of head, then
//! the message. No protobuf: messages are bytes here.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Longest message accepted: gRPC's own default limit for receivers.
pub const MESSAGE_MAX: usize = 4 * 1024 * 1024;

/// `message` with its five bytes of head, not compressed.
pub fn framed(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEAD + message.len());
    bytes.put_u8(0);
    // A message of 4 GiB does not fit a test's memory; cut rather than wrap around.
    bytes.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    bytes.put_slice(message);
    bytes.freeze()
}

/// Finds messages in a stream of pieces that know nothing of their borders.
#[derive(Debug, Default)]
pub struct Deframer {
    buffered: BytesMut,
}

/// Why a stream of messages cannot go on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The compressed flag is set; no compression was agreed on.
    #[error("a gRPC message is compressed; expected identity encoding")]
    Compressed,
    /// Its length is above [`MESSAGE_MAX`].
    #[error("a gRPC message of {0} bytes is longer than {MESSAGE_MAX}")]
    TooLong(usize),
    /// The stream ended within a message.
    #[error("the stream ended {0} bytes into a gRPC message")]
    Truncated(usize),
}

impl Deframer {
    /// Adds the next piece of the stream.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffered.extend_from_slice(piece);
    }

    /// Takes the next whole message out, if there is one.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some((&flag, mut length)) = self.buffered.get(..HEAD).and_then(|head| head.split_first()) else {
            return Ok(None);
        };
        if flag != 0 {
            return Err(FrameError::Compressed);
        }
        let length = length.get_u32() as usize;
        if length > MESSAGE_MAX {
            return Err(FrameError::TooLong(length));
        }
        if self.buffered.len() < HEAD + length {
            return Ok(None);
        }
        self.buffered.advance(HEAD);
        Ok(Some(self.buffered.split_to(length).freeze()))
    }

    /// To be asked at the end of the stream: whether a message was cut off.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.buffered.len() {
            0 => Ok(()),
            left => Err(FrameError::Truncated(left)),
        }
    }
}

/// One byte of flag and four of length.
const HEAD: usize = 5;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_the_stream_is_cut() {
        let stream = [framed(b"one"), framed(b""), framed(&[7; 300])].concat();
        for size in [1, 2, 5, 6, 100, stream.len()] {
            let mut deframer = Deframer::default();
            let mut lengths = Vec::new();
            for piece in stream.chunks(size) {
                deframer.push(piece);
                while let Some(message) = deframer.next_message().unwrap() {
                    lengths.push(message.len());
                }
            }
            assert_eq!(lengths, [3, 0, 300], "pieces of {size}");
            assert_eq!(deframer.finish(), Ok(()));
        }
    }

    #[test]
    fn a_stream_that_is_not_messages_is_refused() {
        let mut compressed = Deframer::default();
        compressed.push(&[1, 0, 0, 0, 0]);
        assert_eq!(compressed.next_message(), Err(FrameError::Compressed));

        let mut long = Deframer::default();
        long.push(&[0, 0xff, 0, 0, 0]);
        assert_eq!(long.next_message(), Err(FrameError::TooLong(0xff00_0000)));

        let mut cut = Deframer::default();
        cut.push(&framed(b"one")[..6]);
        assert_eq!(cut.next_message(), Ok(None));
        assert_eq!(cut.finish(), Err(FrameError::Truncated(6)));
    }
}
