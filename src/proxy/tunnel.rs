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
    /// A close frame has been sent, theirs or ours: nothing may follow it.
    Closed,
}

/// Finds the ends of frames in pieces of a stream.
#[derive(Debug, Default)]
struct Frames {
    /// What is known of a head that has begun: at most 14 bytes.
    head: Vec<u8>,
    /// Payload bytes of the frame in progress that are still to come.
    left: u64,
    /// Whether the frame in progress is a close frame.
    closing: bool,
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
    pub fn to_client(&mut self, chunk: Bytes) -> Bytes {
        self.to_client.pass(chunk)
    }

    /// What of a client's chunk goes to the cell.
    pub fn to_cell(&mut self, chunk: Bytes) -> Bytes {
        self.to_cell.pass(chunk)
    }
}

impl Direction {
    fn leave(&mut self) -> Option<Bytes> {
        if self.state != State::Open {
            return None;
        }
        if self.frames.is_between() {
            self.state = State::Closed;
            return Some(close(self.mask));
        }
        self.state = State::Leaving;
        None
    }

    fn pass(&mut self, chunk: Bytes) -> Bytes {
        match self.state {
            State::Open => {
                if self.frames.read(&chunk, false).1 {
                    // Whatever follows is theirs to answer for.
                    self.state = State::Closed;
                }
                chunk
            }
            State::Leaving => {
                let (read, closed) = self.frames.read(&chunk, true);
                let mut passed = BytesMut::from(&chunk[..read]);
                if closed || self.frames.is_between() {
                    self.state = State::Closed;
                }
                if self.state == State::Closed && !closed {
                    passed.extend_from_slice(&close(self.mask));
                }
                passed.freeze()
            }
            State::Closed if self.frames.passed_close => chunk,
            State::Closed => Bytes::new(),
        }
    }
}
