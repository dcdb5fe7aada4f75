//! Finds the frames in the bytes of an HTTP/2 connection, for those who look on beside the engine. Nothing is
//! understood beyond the nine bytes before each payload.

/// Bytes of a client's preface (RFC 9113 section 3.4).
pub const PREFACE: u32 = 24;

/// Bytes before a frame's payload (RFC 9113 section 4.1).
const HEAD: usize = 9;

/// What stands before a payload, without the stream.
#[derive(Clone, Copy, Debug)]
pub struct FrameHead {
    /// Type.
    pub kind: u8,
    /// Flags, whose meaning depends on the type.
    pub flags: u8,
    /// Bytes of payload.
    pub length: u32,
}

/// Finds frame heads in a stream of bytes.
#[derive(Clone, Copy, Debug)]
pub struct FrameHeads {
    /// Bytes until the next head: of the preface, or of a payload.
    skip: u32,
    head: [u8; HEAD],
    /// How much of the head is there.
    have: usize,
}

impl FrameHeads {
    /// The first head comes after so many bytes.
    pub const fn after(skip: u32) -> Self {
        Self { skip, head: [0; HEAD], have: 0 }
    }

    /// Takes the next bytes, and tells each head that is complete. Ends with the first error.
    pub fn feed<E>(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(FrameHead) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
                bytes = &bytes[skipped..];
                self.skip -= u32::try_from(skipped).expect("at most what was to be skipped");
                continue;
            }
            let taken = bytes.len().min(HEAD - self.have);
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEAD {
                let [a, b, c, kind, flags, ..] = self.head;
                let length = u32::from_be_bytes([0, a, b, c]);
                (self.skip, self.have) = (length, 0);
                each(FrameHead { kind, flags, length })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn heads(skip: u32, pieces: &[&[u8]]) -> Vec<(u8, u32)> {
        let mut heads = FrameHeads::after(skip);
        let mut found = Vec::new();
        for piece in pieces {
            let taken: Result<(), Infallible> = heads.feed(piece, |head| {
                found.push((head.kind, head.length));
                Ok(())
            });
            taken.unwrap();
        }
        found
    }

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind], &[0; 5], payload].concat()
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let stream =
            [vec![b'p'; 24], frame(4, &[]), frame(0, &[9; 300]), frame(6, &[6; 8]), frame(22, &[1])].concat();
        let expected = [(4, 0), (0, 300), (6, 8), (22, 1)];
        assert_eq!(heads(24, &[&stream]), expected);
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(heads(24, &bytes), expected);
        for cut in 0..stream.len() {
            assert_eq!(heads(24, &[&stream[..cut], &stream[cut..]]), expected, "cut at {cut}");
        }
    }
}
