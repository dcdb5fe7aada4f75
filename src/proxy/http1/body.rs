//! Where bodies begin and end in HTTP/1 (RFC 9112 sections 6 and 7): what is read without its framing, and what is
//! written with it.

use std::fmt::Write;

use bytes::{Buf, Bytes, BytesMut};
use pingora::{Error, ErrorType, Result};

use crate::policy::gate::{ChunkReader, Framing};
use crate::proxy::wire::{PIECE, Wire};

/// Chunks that can be read in two ways.
const INVALID_CHUNK: ErrorType = ErrorType::new("InvalidChunk");

/// A body that is shorter than was promised.
const PREMATURE_END: ErrorType = ErrorType::new("PrematureBodyEnd");

/// Reads one body.
#[derive(Debug)]
pub enum BodyReader {
    /// Nothing more of it comes.
    Done,
    /// So many bytes are missing, at least one.
    Length(u64),
    /// Chunks, to their last.
    Chunked(ChunkReader),
    /// Until the connection ends.
    UntilClose,
}

/// What the bytes at hand begin with.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Some of the body.
    Part(Bytes),
    /// The body has ended; what is left is behind it.
    End,
    /// Nothing that is whole: more bytes are needed.
    Nothing,
}

impl BodyReader {
    /// Takes on from `buffer`.
    ///
    /// # Errors
    /// Its chunks can be read in two ways.
    pub fn take(&mut self, buffer: &mut BytesMut) -> Result<Taken> {
        match self {
            Self::Done => Ok(Taken::End),
            Self::Length(_) | Self::UntilClose if buffer.is_empty() => Ok(Taken::Nothing),
            Self::UntilClose => Ok(Taken::Part(first(buffer, usize::MAX))),
            Self::Length(left) => {
                let part = first(buffer, usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= part.len() as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Taken::Part(part))
            }
            Self::Chunked(chunks) => {
                let next = chunks.next(buffer);
                let next = next.map_err(|_| Error::explain(INVALID_CHUNK, "it has two readings"))?;
                buffer.advance(next.framing);
                if next.payload > 0 {
                    return Ok(Taken::Part(first(buffer, next.payload)));
                }
                if chunks.is_done() {
                    *self = Self::Done;
                    return Ok(Taken::End);
                }
                Ok(Taken::Nothing)
            }
        }
    }

    /// Whether nothing more of it comes.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// So many bytes of what is read next can belong to it.
    pub fn missing(&self) -> usize {
        match self {
            Self::Done => 0,
            Self::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX),
            Self::Chunked(_) | Self::UntilClose => usize::MAX,
        }
    }
}

impl From<Framing> for BodyReader {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(ChunkReader::default()),
        }
    }
}

/// The first bytes of a buffer, at most so many. A large buffer keeps its room, for what is read next.
fn first(buffer: &mut BytesMut, most: usize) -> Bytes {
    if buffer.len() > most {
        return buffer.split_to(most).freeze();
    }
    if buffer.len() > PIECE { buffer.split().freeze() } else { std::mem::take(buffer).freeze() }
}

/// How much is read at a time: little until a peer has shown that it has more to say.
#[derive(Debug)]
pub struct Room {
    bytes: usize,
    most: usize,
}

impl Room {
    /// That grows to so many bytes.
    pub fn up_to(most: usize) -> Self {
        Self { bytes: PIECE, most }
    }

    /// So many bytes next.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// `read` bytes came where `asked` were asked for.
    pub fn learn(&mut self, asked: usize, read: usize) {
        if read == asked {
            self.bytes = (asked.max(self.bytes) * 4).min(self.most);
        } else if read < asked / 4 {
            self.bytes = PIECE;
        }
    }
}

/// Writes one body.
#[derive(Debug)]
pub enum BodyWriter {
    /// Nothing more may be written.
    Done,
    /// So many bytes are promised and missing.
    Length(u64),
    /// Each part a chunk.
    Chunked,
    /// To the end of the connection, or of the tunnel.
    UntilClose,
}

impl BodyWriter {
    /// Writes a part, which is not empty: in chunks, that would be the last. What goes beyond the promised length is left
    /// out.
    pub fn part(&mut self, mut part: Bytes, wire: &mut Wire) {
        match self {
            Self::Done => {}
            Self::Length(left) => {
                part.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= part.len() as u64;
                wire.part(part);
            }
            Self::UntilClose => wire.part(part),
            Self::Chunked => {
                write!(wire.text(), "{:X}\r\n", part.len()).expect("a buffer grows");
                wire.part(part);
                wire.text().extend_from_slice(b"\r\n");
            }
        }
    }

    /// Whether all that was promised has been written, so that something else may follow.
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Done | Self::Length(0))
    }

    /// Ends it.
    ///
    /// # Errors
    /// It is shorter than was promised.
    pub fn finish(&mut self, wire: &mut Wire) -> Result<()> {
        match std::mem::replace(self, Self::Done) {
            Self::Done | Self::Length(0) | Self::UntilClose => Ok(()),
            Self::Length(left) => Err(Error::explain(PREMATURE_END, format!("{left} bytes are missing"))),
            Self::Chunked => {
                wire.text().extend_from_slice(b"0\r\n\r\n");
                Ok(())
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    /// What is read of `bytes` that come in pieces of `size`: the body, whether it has ended, and what is left.
    fn read(mut reader: BodyReader, bytes: &[u8], size: usize) -> Result<(Vec<u8>, bool, Vec<u8>)> {
        let (mut buffer, mut body) = (BytesMut::new(), Vec::new());
        let mut pieces = bytes.chunks(size);
        loop {
            match reader.take(&mut buffer)? {
                Taken::Part(part) => {
                    assert!(!part.is_empty());
                    body.extend_from_slice(&part);
                }
                Taken::End => {
                    pieces.for_each(|piece| buffer.extend_from_slice(piece));
                    return Ok((body, true, buffer.to_vec()));
                }
                Taken::Nothing => match pieces.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None => return Ok((body, false, buffer.to_vec())),
                },
            }
        }
    }

    #[test]
    fn a_body_is_read_without_its_framing_however_it_comes_and_what_follows_is_left() {
        let chunked = b"5\r\nhello\r\n00001;x=\"y\"\r\n \r\n5 \r\nworld\r\n0;z\r\nX-Sum: 1\r\n\r\nGET /";
        for size in 1..=chunked.len() {
            let whole = (b"hello world".to_vec(), true, b"GET /".to_vec());
            assert_eq!(read(Framing::Chunked.into(), chunked, size).unwrap(), whole, "chunks by {size}");
            let counted = read(Framing::Length(11).into(), b"hello worldGET /", size).unwrap();
            assert_eq!(counted, whole, "a length by {size}");
        }
        assert_eq!(read(Framing::None.into(), b"GET /", 5).unwrap(), (vec![], true, b"GET /".to_vec()));
        assert_eq!(read(Framing::Length(9).into(), b"hello", 2).unwrap(), (b"hello".to_vec(), false, vec![]));
        let (body, ended, _) = read(BodyReader::UntilClose, b"hello", 2).unwrap();
        assert_eq!((&body[..], ended), (&b"hello"[..], false));
    }

    #[test]
    fn chunks_with_two_readings_end_the_body() {
        for wrong in [&b"5\r\nhello0\r\n\r\n"[..], b"5\nhello", b"x\r\n", b"0\r\n\n", b"-1\r\n"] {
            assert!(read(Framing::Chunked.into(), wrong, 1).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn more_is_read_at_a_time_the_more_comes() {
        const MOST: usize = 100_000;
        let mut room = Room::up_to(MOST);
        assert_eq!(room.bytes(), PIECE);
        for _ in 0..10 {
            room.learn(room.bytes(), room.bytes());
        }
        assert_eq!(room.bytes(), MOST);
        room.learn(room.bytes(), MOST / 2);
        assert_eq!(room.bytes(), MOST, "the end of a large body is no sign");
        room.learn(room.bytes(), 100);
        assert_eq!(room.bytes(), PIECE);
    }

    /// What a cell or a client reads of these parts.
    async fn written(mut writer: BodyWriter, parts: &[&'static [u8]]) -> (String, bool) {
        let (near, mut far) = duplex(100_000);
        let mut wire = Wire::new(near, 0);
        for part in parts {
            writer.part(Bytes::from_static(part), &mut wire);
        }
        let whole = writer.finish(&mut wire).is_ok();
        wire.settled().await.unwrap();
        drop(wire);
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        (text, whole)
    }

    #[tokio::test]
    async fn a_body_is_written_with_its_framing() {
        let long = [b'x'; 5000];
        let parts: [&[u8]; 2] = [b"hello", Vec::from(long).leak()];
        let expect = format!("5\r\nhello\r\n1388\r\n{}\r\n0\r\n\r\n", "x".repeat(5000));
        assert_eq!(written(BodyWriter::Chunked, &parts).await, (expect, true));
        let expect = format!("hello{}", "x".repeat(5000));
        assert_eq!(written(BodyWriter::UntilClose, &parts).await, (expect.clone(), true));
        assert_eq!(written(BodyWriter::Length(5005), &parts).await, (expect.clone(), true));
        assert_eq!(written(BodyWriter::Length(5006), &parts).await, (expect, false), "too short");
        assert_eq!(written(BodyWriter::Length(3), &parts).await, ("hel".into(), true), "too long");
        assert_eq!(written(BodyWriter::Done, &parts).await, (String::new(), true));
    }
}
