//! What one HTTP/2 connection may cost: how many frames that carry neither a request nor an answer a client or
//! a cell may send, and how many bytes a peer may have under way to us. No frame is read here and no clock:
//! what was seen, and when, are arguments.

use std::num::NonZeroU32;
use std::time::Duration;

/// The window that every HTTP/2 connection and stream begins with (RFC 9113 section 6.9.2). No peer can
/// be made to do with less for the connection.
pub const LEAST_WINDOW: u32 = 65_535;

/// What HTTP/2 clients are allowed on each connection, besides the number of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHttp2 {
    /// Frames that carry no request.
    pub control: ControlAllowance,
    /// Request bytes under way.
    pub windows: Windows,
    /// Bytes that the windows of all connections together may add up to, beyond [`LEAST_WINDOW`] each.
    pub window_memory: u64,
}

/// How HTTP/2 connections to a cell are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellHttp2 {
    /// Most streams that we open on one connection; the cell's SETTINGS may allow fewer.
    pub streams_per_connection: u32,
    /// Frames that carry no answer.
    pub control: ControlAllowance,
    /// Response bytes under way.
    pub windows: Windows,
}

/// Flow-control windows in bytes (RFC 9113 section 5.2): what a peer may send before we have passed it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Of each stream.
    pub stream: u32,
    /// Of the connection, for all its streams together.
    pub connection: u32,
}

impl Windows {
    /// What a new connection gets when `left` bytes of the memory for windows are free: what is
    /// configured, but never more than a 64th of what is left, and never less than every connection has
    /// by the RFC. So a few connections get all they can use, thousands get less each, and no number of
    /// them needs more than the memory and [`LEAST_WINDOW`] each.
    pub fn within(self, left: u64) -> Self {
        let share = u32::try_from(left / SHARES).unwrap_or(u32::MAX).max(LEAST_WINDOW);
        Self { stream: self.stream.min(share), connection: self.connection.min(share) }
    }

    /// What a connection with these windows takes of the memory.
    pub fn reserved(self) -> u64 {
        u64::from(self.connection - self.connection.min(LEAST_WINDOW))
    }
}

/// At the defaults (1 GiB, 4 MiB) the windows begin to shrink when three quarters of the memory are
/// taken, by 192 connections that upload at once.
const SHARES: u64 = 64;

/// So many control frames in any such time are taken for an accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlAllowance {
    /// Frames.
    pub frames: NonZeroU32,
    /// The time.
    pub per: Duration,
}

/// A frame, as far as its cost goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// HEADERS: a request, an answer, or trailers. The number of requests has limits of its own.
    Head,
    /// DATA: bounded by windows, and empty ones by the engine.
    Body,
    /// RST_STREAM: costs a request that nobody wants any more.
    Reset,
    /// All others, known or not: each costs us work, and none asks for anything.
    Control,
}

impl Seen {
    /// By frame type (RFC 9113 section 6).
    pub const fn of(kind: u8) -> Self {
        match kind {
            0 => Self::Body,
            1 => Self::Head,
            3 => Self::Reset,
            _ => Self::Control,
        }
    }
}

/// Who sends the frames that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Asks; what it sends without asking costs us work.
    Client,
    /// Answers; what it sends without having been asked costs us work.
    Cell,
}

/// The peer sends more control frames than the allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood;

/// Counts the control frames that one peer sends on one connection.
///
/// Some are earned. A client may say something about each request (PRIORITY, WINDOW_UPDATE), and either peer must
/// acknowledge what it is sent, or nothing more comes. A cell's HEADERS and RST_STREAM are earned by requests too, for
/// without a request there is nothing to answer and nothing to reset. The rest, and every RST_STREAM of a client (rapid
/// reset, CVE-2023-44487), draw on the allowance, which fills again evenly (generic cell rate algorithm).
#[derive(Clone, Copy, Debug)]
pub struct ControlFrames {
    from: Sender,
    allowance: ControlAllowance,
    /// Frames that cost nothing any more.
    earned: u32,
    /// When the allowance will be full again, since the connection began.
    full_at: Duration,
}

/// Earned by a request: one each of PRIORITY, WINDOW_UPDATE and an extension (RFC 9218's
/// PRIORITY_UPDATE), or the CONTINUATION frames of a head of 64 KiB.
const PER_REQUEST: u32 = 3;

/// Earned by a cell with each request that it gets: the head of an answer of 64 KiB, which is one HEADERS and three
/// CONTINUATION, one 1xx before it, trailers, RST_STREAM, and a WINDOW_UPDATE for what it has read.
const PER_ANSWER: u32 = 8;

/// Bytes of DATA that earn [`PER_DATA`]: the least of which a common peer sends a WINDOW_UPDATE
/// (Go's net/http2; others wait for half a window).
const DATA_UNIT: u32 = 4096;

/// One WINDOW_UPDATE for the stream, one for the connection, and a PING of those who measure the link
/// (gRPC does with every burst).
const PER_DATA: u32 = 3;

/// Most that can be earned and not used: acknowledgements of the 64 MiB that the largest windows of
/// common peers have under way.
const EARNED_MAX: u32 = 64 * 1024 * 1024 / DATA_UNIT * PER_DATA;

impl ControlFrames {
    /// Of a connection that has just begun.
    pub const fn new(from: Sender, allowance: ControlAllowance) -> Self {
        Self { from, allowance, earned: 0, full_at: Duration::ZERO }
    }

    /// A frame has come, so long after the connection began.
    ///
    /// # Errors
    /// [`Flood`] when it is one too many; the connection is to be closed.
    pub fn came(&mut self, seen: Seen, at: Duration) -> Result<(), Flood> {
        let can_be_earned = match (self.from, seen) {
            (_, Seen::Body) => return Ok(()),
            (Sender::Client, Seen::Head) => {
                self.earn(PER_REQUEST);
                return Ok(());
            }
            (Sender::Client, Seen::Reset) => false,
            (_, Seen::Control) | (Sender::Cell, Seen::Head | Seen::Reset) => true,
        };
        if can_be_earned && self.earned > 0 {
            self.earned -= 1;
            return Ok(());
        }
        let cost = self.allowance.per / self.allowance.frames.get();
        let full_at = self.full_at.max(at) + cost;
        if full_at > at + self.allowance.per {
            return Err(Flood);
        }
        self.full_at = full_at;
        Ok(())
    }

    /// A frame with so many bytes has been sent to the peer.
    pub fn sent(&mut self, seen: Seen, bytes: u32) {
        match (self.from, seen) {
            (_, Seen::Body) => self.earn(bytes.div_ceil(DATA_UNIT).saturating_mul(PER_DATA)),
            (Sender::Cell, Seen::Head) => self.earn(PER_ANSWER),
            (Sender::Client, Seen::Head) | (_, Seen::Reset | Seen::Control) => {}
        }
    }

    fn earn(&mut self, frames: u32) {
        self.earned = self.earned.saturating_add(frames).min(EARNED_MAX);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn frames(frames: u32, per: Duration) -> ControlFrames {
        ControlFrames::new(Sender::Client, ControlAllowance { frames: NonZeroU32::new(frames).unwrap(), per })
    }

    fn until_flood(meter: &mut ControlFrames, at: Duration) -> usize {
        (0..).take_while(|_| meter.came(Seen::Control, at).is_ok()).count()
    }

    #[test]
    fn the_allowance_is_spent_by_control_frames_alone() {
        let mut meter = frames(10, SECOND);
        for _ in 0..1000 {
            meter.came(Seen::Body, SECOND).unwrap();
        }
        assert_eq!(until_flood(&mut meter, SECOND), 10);
        assert_eq!(meter.came(Seen::Body, SECOND), Ok(()));
        assert_eq!(meter.came(Seen::Control, SECOND), Err(Flood));
    }

    #[test]
    fn it_fills_again_evenly_and_never_over() {
        let mut meter = frames(10, SECOND);
        assert_eq!(until_flood(&mut meter, Duration::ZERO), 10);
        assert_eq!(until_flood(&mut meter, SECOND / 2), 5);
        assert_eq!(until_flood(&mut meter, SECOND * 100), 10);
    }

    #[test]
    fn a_frame_a_cost_for_ever_is_no_flood() {
        let mut meter = frames(10, SECOND);
        for tenth in 0..10_000u32 {
            assert_eq!(meter.came(Seen::Control, SECOND / 10 * tenth), Ok(()), "frame {tenth}");
        }
    }

    #[test]
    fn requests_and_data_earn_frames() {
        let mut meter = frames(10, SECOND);
        meter.came(Seen::Head, Duration::ZERO).unwrap();
        meter.sent(Seen::Body, 1);
        meter.sent(Seen::Body, 16_384);
        assert_eq!(until_flood(&mut meter, Duration::ZERO), 3 + 3 + 12 + 10);
    }

    #[test]
    fn a_cell_earns_its_answers_and_nothing_by_sending_them() {
        let allowance = frames(10, SECOND).allowance;
        let mut meter = ControlFrames::new(Sender::Cell, allowance);
        let answers = |meter: &mut ControlFrames, seen| {
            (0..1000).take_while(|_| meter.came(seen, Duration::ZERO).is_ok()).count()
        };
        for seen in [Seen::Head, Seen::Reset, Seen::Control] {
            meter.sent(Seen::Head, 100);
            assert_eq!(answers(&mut meter, seen), 8 + if seen == Seen::Head { 10 } else { 0 }, "{seen:?}");
        }
        assert_eq!(meter.came(Seen::Body, Duration::ZERO), Ok(()));
        meter.sent(Seen::Body, 4096);
        assert_eq!(answers(&mut meter, Seen::Control), 3);
        // Ten thousand answers with a hint, trailers and a reset each are no flood.
        for _ in 0..10_000 {
            meter.sent(Seen::Head, 100);
            for seen in [Seen::Head, Seen::Head, Seen::Head, Seen::Reset, Seen::Control] {
                assert_eq!(meter.came(seen, Duration::ZERO), Ok(()));
            }
        }
    }

    #[test]
    fn resets_are_not_earned() {
        let mut meter = frames(10, SECOND);
        let reset = |_: &usize| {
            meter.came(Seen::Head, Duration::ZERO).unwrap();
            meter.came(Seen::Reset, Duration::ZERO).is_ok()
        };
        assert_eq!((0..100).take_while(reset).count(), 10);
    }

    #[test]
    fn a_download_whose_every_piece_is_acknowledged_twice_is_no_flood() {
        let mut meter = frames(10, SECOND);
        for _ in 0..100_000 {
            meter.sent(Seen::Body, 16_384);
            for _ in 0..8 {
                assert_eq!(meter.came(Seen::Control, Duration::ZERO), Ok(()));
            }
        }
    }

    #[test]
    fn what_is_earned_has_an_end() {
        let mut meter = frames(10, SECOND);
        for _ in 0..1_000_000 {
            meter.sent(Seen::Body, 16_384);
        }
        assert_eq!(until_flood(&mut meter, Duration::ZERO), EARNED_MAX as usize + 10);
    }

    #[test]
    fn windows_shrink_with_the_memory_that_is_left_and_never_need_more() {
        const MIB: u32 = 1024 * 1024;
        let asked = Windows { stream: MIB, connection: 4 * MIB };
        let memory = 1024 * u64::from(MIB);
        let mut left = memory;
        let mut granted = Vec::new();
        for _ in 0..20_000 {
            let windows = asked.within(left);
            assert!(windows.stream <= windows.connection && windows.connection >= LEAST_WINDOW);
            left = left.checked_sub(windows.reserved()).unwrap();
            granted.push(windows);
        }
        assert!(granted[..192].iter().all(|windows| *windows == asked));
        assert!(granted.windows(2).all(|pair| pair[1].connection <= pair[0].connection));
        assert_eq!(granted[19_999], Windows { stream: LEAST_WINDOW, connection: LEAST_WINDOW });
    }

    #[test]
    fn a_window_below_the_least_reserves_nothing() {
        assert_eq!(Windows { stream: 1000, connection: LEAST_WINDOW }.reserved(), 0);
    }
}
