//! The framing of a chunked request body, byte by byte (RFC 9112 section 7.1): sizes, extensions and trailer
//! lines that every reader ends at the same byte. The data between them is not looked at, and nothing is kept.
//!
//! Most servers read chunks with more patience. Where a balancer in front of us reads them with less, or with
//! another kind of patience, the two would disagree about where a request ends.

use super::super::refusal::BadRequest;

/// Most hexadecimal digits of a size: with fifteen it stays below 2^60, far more than anybody can send.
const SIZE_DIGITS: u8 = 15;

/// Most bytes of one line, of a size with its extensions or of the trailers: nobody needs either, and what has
/// no bound is a way to send for ever. nginx and Node.js have bounds of the same order.
const LINE_BYTES: u16 = 4 * 1024;

/// Most trailer lines; as many as fields in a head by default.
const TRAILER_LINES: u8 = 100;

/// How far a body is.
#[derive(Clone, Copy, Debug)]
pub struct ChunkReader {
    state: State,
    /// Value of the size so far.
    size: u64,
    digits: u8,
    /// Bytes of the present line.
    line: u16,
    trailers: u8,
}

/// What bytes of a chunked body begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextData {
    /// So many bytes of framing.
    pub framing: usize,
    /// Behind them, so many bytes of data.
    pub payload: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    /// Blanks behind a size, which nothing but an extension or the end may follow.
    Blank,
    Extension,
    /// The line feed of a size line.
    SizeEnd,
    Data(u64),
    /// Carriage return, then line feed, behind the data.
    DataEnd,
    DataFeed,
    /// At the beginning of a trailer line, or of the empty one that ends the body.
    TrailerStart,
    Trailer,
    TrailerEnd,
    LastFeed,
    Done,
}

impl Default for ChunkReader {
    fn default() -> Self {
        Self { state: State::Size, size: 0, digits: 0, line: 0, trailers: 0 }
    }
}

impl ChunkReader {
    /// Looks at the next bytes. What comes after the body is the next request, and not looked at.
    ///
    /// # Errors
    /// [`BadRequest::Body`]: two readers may see two things in it.
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<(), BadRequest> {
        loop {
            let next = self.next(bytes)?;
            bytes = &bytes[next.framing + next.payload..];
            if next.payload == 0 {
                return Ok(());
            }
        }
    }

    /// Reads on to the next data, which is where the framing in front of it ends. Without any, either the body has
    /// ended there or all bytes were framing.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn next(&mut self, bytes: &[u8]) -> Result<NextData, BadRequest> {
        let mut framing = 0;
        while let Some(byte) = bytes.get(framing) {
            self.state = match self.state {
                State::Done => break,
                State::Data(left) => {
                    let payload = (bytes.len() - framing).min(usize::try_from(left).unwrap_or(usize::MAX));
                    let left = left - payload as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    return Ok(NextData { framing, payload });
                }
                _ => self.step(*byte).ok_or(BadRequest::Body)?,
            };
            framing += 1;
        }
        Ok(NextData { framing, payload: 0 })
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The state after a byte of framing.
    fn step(&mut self, byte: u8) -> Option<State> {
        self.line += 1;
        if self.line > LINE_BYTES {
            return None;
        }
        match (self.state, byte) {
            (State::Size, byte) if byte.is_ascii_hexdigit() && self.digits < SIZE_DIGITS => {
                self.digits += 1;
                self.size = self.size * 16 + u64::from(char::from(byte).to_digit(16)?);
                Some(State::Size)
            }
            (State::Size, _) if self.digits == 0 => None,
            (State::Size | State::Blank | State::Extension, b'\r') => Some(State::SizeEnd),
            (State::Size | State::Blank, b' ' | b'\t') => Some(State::Blank),
            (State::Size | State::Blank, b';') => Some(State::Extension),
            (State::Extension, byte) if is_text(byte) => Some(State::Extension),
            (State::SizeEnd, b'\n') => Some(self.sized()),
            (State::DataEnd, b'\r') => Some(State::DataFeed),
            (State::DataFeed, b'\n') => {
                self.line = 0;
                Some(State::Size)
            }
            (State::TrailerStart, b'\r') => Some(State::LastFeed),
            // A line that begins with a blank continues the one before, for some.
            (State::TrailerStart, byte) if is_text(byte) && !matches!(byte, b' ' | b'\t') => {
                self.trailers += 1;
                (self.trailers <= TRAILER_LINES).then_some(State::Trailer)
            }
            (State::Trailer, b'\r') => Some(State::TrailerEnd),
            (State::Trailer, byte) if is_text(byte) => Some(State::Trailer),
            (State::TrailerEnd, b'\n') => {
                self.line = 0;
                Some(State::TrailerStart)
            }
            (State::LastFeed, b'\n') => Some(State::Done),
            _ => None,
        }
    }

    /// After a size line.
    fn sized(&mut self) -> State {
        let size = std::mem::take(&mut self.size);
        self.digits = 0;
        self.line = 0;
        if size == 0 { State::TrailerStart } else { State::Data(size) }
    }
}

/// What may stand in a line: no control byte but the tab (RFC 9110 section 5.5).
fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How a body is read, whole and in every two pieces: done, not done yet, or refused.
    fn read(body: &[u8]) -> Result<bool, BadRequest> {
        let whole = |pieces: &[&[u8]]| {
            let mut reader = ChunkReader::default();
            pieces.iter().try_for_each(|piece| reader.read(piece)).map(|()| reader.is_done())
        };
        let expect = whole(&[body]);
        for at in 0..body.len() {
            let (first, second) = body.split_at(at);
            assert_eq!(whole(&[first, second]), expect, "{:?} at {at}", String::from_utf8_lossy(body));
        }
        expect
    }

    #[test]
    fn bodies_are_read_to_their_end_and_no_further() {
        for body in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "00a\r\n0123456789\r\n000\r\n\r\n",
            "3;name=value;other=\"a b\"\r\nabc\r\n0;last\r\n\r\n",
            "3 ; name\r\nabc\r\n0 \r\n\r\n",
            "3\r\n\r\n\n\r\n0\r\n\r\n",
            "0\r\nX-Sum: 1\r\nX-More: \u{e4}\r\n\r\n",
            "0\r\n\r\nGET / HTTP/1.1\n\n\0",
        ] {
            assert_eq!(read(body.as_bytes()), Ok(true), "{body:?}");
        }
        for body in ["", "3", "3\r\nab", "3\r\nabc\r\n", "0\r\n", "0\r\nX: y\r\n"] {
            assert_eq!(read(body.as_bytes()), Ok(false), "{body:?}");
        }
    }

    #[test]
    fn what_two_readers_end_at_two_places_is_refused() {
        let long = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(usize::from(LINE_BYTES)));
        let trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(usize::from(TRAILER_LINES) + 1));
        for body in [
            "3\nabc\r\n0\r\n\r\n",
            "3;a\nb\r\nabc\r\n0\r\n\r\n",
            "3;a\0b\r\nabc\r\n0\r\n\r\n",
            "3;a\rb\r\nabc\r\n0\r\n\r\n",
            "0;\n\r\n\r\n",
            "3 x\r\nabc\r\n",
            "3 3\r\nabc\r\n",
            "\r\n3\r\nabc\r\n",
            " 3\r\nabc\r\n",
            "+3\r\nabc\r\n",
            "0x3\r\nabc\r\n",
            ";a\r\n",
            "\r\n",
            "3\r\nabc0\r\n",
            "3\r\nabc\n0\r\n",
            "3\r\nabcd\r\n",
            "1000000000000000\r\n",
            "0\r\nX: y\n\r\n",
            "0\r\nX: \0\r\n\r\n",
            "0\r\n folded: x\r\n\r\n",
            "0\r\n\n",
            &long,
            &trailers,
        ] {
            assert_eq!(read(body.as_bytes()), Err(BadRequest::Body), "{body:?}");
        }
    }
}
