//! The end of a WebSocket that outlives its process: where its frames end in each direction, so that a close
//! frame of our own (RFC 6455 section 5.5.1, 1001 "going away") can stand between two of them. Bytes are not
//! changed and messages not looked into; where nothing ends, nothing is said.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};

/// First byte of a close frame: final, opcode 8.
const CLOSE: u8 = 0x88;

/// Its payload: the status 1001, an endpoint is "going away" (RFC 6455 section 7.4.1).
const GOING_AWAY: [u8; 2] = 1001u16.to_be_bytes();

/// Set in the second byte of a masked frame.
const MASKED: u8 = 0x80;

/// A tunnel's two directions, and when to say goodbye.
pub struct Tunnel {
    goodbye: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    to_client: Direction,
    to_cell: Direction,
}

/// One direction.
#[derive(Debug)]
struct Direction {
    frames: Frames,
    state: State,
    /// How our own frame is masked: what clients send is (RFC 6455 section 5.3).
    mask: Option<[u8; 4]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// What comes is passed on.
    Open,
    /// The same until the frame in progress ends; then comes ours.
    Leaving,
    /// A close frame of theirs was passed on: the end is their affair.
    Theirs,
    /// Ours was sent, and nothing may follow it.
    Left,
}

/// Finds the ends of frames in pieces of a stream.
#[derive(Debug, Default)]
struct Frames {
    /// What is known of a head that has begun: at most 14 bytes.
    head: Vec<u8>,
    /// Payload bytes of the frame in progress that are still to come.
    left: u64,
}

impl Tunnel {
    /// A tunnel that says goodbye when `goodbye` is ready. `mask` need not be unpredictable to anybody: the two
    /// bytes under it are no attacker's choice.
    pub fn new(goodbye: impl Future<Output = ()> + Send + 'static, mask: [u8; 4]) -> Self {
        let direction = |mask| Direction { frames: Frames::default(), state: State::Open, mask };
        Self { goodbye: Some(Box::pin(goodbye)), to_client: direction(None), to_cell: direction(Some(mask)) }
    }

    /// Ready once, when goodbye is to be said.
    pub fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(goodbye) = &mut self.goodbye else { return Poll::Pending };
        ready!(goodbye.as_mut().poll(cx));
        self.goodbye = None;
        Poll::Ready(())
    }

    /// Says goodbye both ways: what is to be sent to the client and to the cell now. Where a frame is in
    /// progress, nothing is; its end is waited for.
    pub fn leave(&mut self) -> (Option<Bytes>, Option<Bytes>) {
        (self.to_client.leave(), self.to_cell.leave())
    }

    /// What of a cell's chunk goes to the client.
    pub fn toward_client(&mut self, chunk: Bytes) -> Bytes {
        self.to_client.pass(chunk)
    }

    /// What of a client's chunk goes to the cell.
    pub fn toward_cell(&mut self, chunk: Bytes) -> Bytes {
        self.to_cell.pass(chunk)
    }
}

impl Direction {
    fn leave(&mut self) -> Option<Bytes> {
        if self.state != State::Open {
            return None;
        }
        if self.frames.is_between() {
            self.state = State::Left;
            return Some(close(self.mask));
        }
        self.state = State::Leaving;
        None
    }

    fn pass(&mut self, mut chunk: Bytes) -> Bytes {
        match self.state {
            State::Open => {
                if self.frames.read(&chunk, false).1 {
                    self.state = State::Theirs;
                }
                chunk
            }
            State::Leaving => {
                let (read, closing) = self.frames.read(&chunk, true);
                chunk.truncate(read);
                if closing {
                    self.state = State::Theirs;
                } else if self.frames.is_between() {
                    self.state = State::Left;
                    let mut last = BytesMut::from(&chunk[..]);
                    last.extend_from_slice(&close(self.mask));
                    return last.freeze();
                }
                chunk
            }
            State::Theirs => chunk,
            State::Left => Bytes::new(),
        }
    }
}

impl Frames {
    fn is_between(&self) -> bool {
        self.left == 0 && self.head.is_empty()
    }

    /// Reads on; to the end of the chunk, or to the first end of a frame. Says how far, and whether a close frame
    /// has begun: what comes after one is no frame.
    fn read(&mut self, chunk: &[u8], to_end_of_frame: bool) -> (usize, bool) {
        let mut at = 0;
        while at < chunk.len() {
            let rest = &chunk[at..];
            if self.left > 0 {
                let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
                self.left -= taken as u64;
                at += taken;
            } else {
                self.head.push(rest[0]);
                at += 1;
                let Some(length) = payload(&self.head) else { continue };
                self.left = length;
                if self.head.first().is_some_and(|first| first & 0x0f == CLOSE & 0x0f) {
                    return (chunk.len(), true);
                }
                self.head.clear();
            }
            if to_end_of_frame && self.is_between() {
                break;
            }
        }
        (at, false)
    }
}

/// The length of the payload, once the head is whole (RFC 6455 section 5.2).
fn payload(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let extended = match second & !MASKED {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & MASKED == 0 { 0 } else { 4 };
    if head.len() < 2 + extended + mask {
        return None;
    }
    Some(match extended {
        0 => u64::from(second & !MASKED),
        _ => head[2..2 + extended].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
    })
}

fn close(mask: Option<[u8; 4]>) -> Bytes {
    let [one, two] = GOING_AWAY;
    match mask {
        None => Bytes::copy_from_slice(&[CLOSE, 2, one, two]),
        Some([a, b, c, d]) => Bytes::copy_from_slice(&[CLOSE, 2 | MASKED, a, b, c, d, one ^ a, two ^ b]),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [1, 2, 3, 4];

    fn frame(first: u8, length: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
        let masked = if mask.is_some() { MASKED } else { 0 };
        let mut frame = vec![first];
        match length {
            0..=125 => frame.push(u8::try_from(length).unwrap() | masked),
            126..=0xffff => {
                frame.push(126 | masked);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(127 | masked);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(mask.unwrap_or_default().iter().take(if mask.is_some() { 4 } else { 0 }));
        frame.extend(std::iter::repeat_n(0x88, length));
        frame
    }

    fn tunnel() -> Tunnel {
        Tunnel::new(std::future::pending(), MASK)
    }

    /// What a client gets of `stream`, cut in pieces of `size`, when goodbye is said after `told` bytes.
    fn through(stream: &[u8], size: usize, told: usize) -> Vec<u8> {
        let (mut tunnel, mut got, mut at) = (tunnel(), Vec::new(), 0);
        for piece in stream.chunks(size) {
            if at >= told && at < told + size {
                got.extend(tunnel.leave().0.unwrap_or_default());
            }
            got.extend(tunnel.toward_client(Bytes::copy_from_slice(piece)));
            at += piece.len();
        }
        got
    }

    #[test]
    fn our_close_frame_stands_where_a_frame_ends_however_the_stream_is_cut() {
        let lengths = [0, 5, 125, 126, 300, 70_000, 1];
        let frames: Vec<_> = lengths.iter().map(|length| frame(0x82, *length, None)).collect();
        let stream = frames.concat();
        let ends: Vec<usize> = frames
            .iter()
            .scan(0, |end, frame| {
                *end += frame.len();
                Some(*end)
            })
            .collect();
        for size in [1, 2, 3, 7, 64, 1000, stream.len()] {
            for told in [0, 1, 3, 9, 140, 400, 1000, 70_000] {
                let told = told / size * size;
                let got = through(&stream, size, told);
                let end = if told == 0 { 0 } else { *ends.iter().find(|end| **end >= told).unwrap() };
                let expect = [&stream[..end], &[0x88, 2, 0x03, 0xe9]].concat();
                assert!(got == expect, "pieces of {size}, told at {told}: {} of {}", got.len(), expect.len());
            }
        }
    }

    #[test]
    fn nothing_is_changed_before_goodbye_and_a_close_frame_of_theirs_stays_theirs() {
        let stream = [frame(0x81, 10, None), frame(CLOSE, 2, None), vec![1, 2, 3]].concat();
        for size in [1, 5, stream.len()] {
            assert_eq!(through(&stream, size, usize::MAX / 2), stream);
        }
        // The close frame was on its way when goodbye came: no second one.
        assert_eq!(through(&stream, 1, 13), stream);
        assert_eq!(through(&stream, 1, 15), stream);
    }

    #[test]
    fn the_cell_is_told_as_a_client_tells_it() {
        let mut tunnel = tunnel();
        let said = frame(0x81, 200, Some(MASK));
        assert_eq!(tunnel.toward_cell(Bytes::copy_from_slice(&said)), said);
        let (client, cell) = tunnel.leave();
        assert_eq!(client.unwrap(), [0x88, 2, 0x03, 0xe9][..]);
        let cell = cell.unwrap();
        assert_eq!(cell, [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe9 ^ 2][..]);
        assert_eq!(tunnel.leave(), (None, None), "once");
        assert!(tunnel.toward_cell(Bytes::from_static(b"more")).is_empty());
    }

    #[test]
    fn what_is_no_websocket_neither_panics_nor_hangs() {
        let noise: Vec<u8> = (0..5000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for size in [1, 3, 100, 5000] {
            for told in [0, 100, 3000] {
                assert!(through(&noise, size, told).len() <= noise.len() + 4);
            }
        }
    }
}
