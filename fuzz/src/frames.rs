//! Bytes as a connection of HTTP/2.

use std::num::NonZeroU32;
use std::time::Duration;

use cellgate::policy::http2::{ControlAllowance, ControlFrames, Seen, Sender};
use cellgate::proxy::frames::{FrameHead, FrameHeads, PREFACE};

/// Type, flags and length of a frame.
type Found = (u8, u8, u32);

/// The same frames are found however the bytes are cut, as far as the caller wants to hear of them; and control
/// frames are counted right. The first byte says where the first frame is, the second how the
/// rest is cut. Returns whether there was a frame.
pub fn frames(data: &[u8]) -> bool {
    let [preface, cuts, stream @ ..] = data else { return false };
    let skip = if preface % 2 == 0 { PREFACE } else { 0 };
    let expected = by_hand(skip, stream);
    let most = usize::from(preface / 2);
    for step in [stream.len().max(1), 1, 2, 9, usize::from(*cuts) + 1] {
        let (found, stopped) = fed(skip, stream, step, most);
        assert_eq!(found, expected[..expected.len().min(most + 1)], "in pieces of {step}");
        assert_eq!(stopped, expected.len() > most, "in pieces of {step}");
    }
    floods(&expected);
    !expected.is_empty()
}

fn by_hand(skip: u32, stream: &[u8]) -> Vec<Found> {
    let mut at = skip as usize;
    let mut found = Vec::new();
    while let Some([a, b, c, kind, flags, _, _, _, _]) = stream.get(at..at + 9) {
        let length = u32::from(*a) << 16 | u32::from(*b) << 8 | u32::from(*c);
        found.push((*kind, *flags, length));
        at += 9 + length as usize;
    }
    found
}

/// Feeds until more than `most` frames were found; whether it was stopped then.
fn fed(skip: u32, stream: &[u8], step: usize, most: usize) -> (Vec<Found>, bool) {
    let mut heads = FrameHeads::after(skip);
    let mut found = Vec::new();
    for piece in stream.chunks(step) {
        let went_on = heads.feed(piece, |FrameHead { kind, flags, length }| {
            found.push((kind, flags, length));
            if found.len() > most { Err(()) } else { Ok(()) }
        });
        if went_on.is_err() {
            return (found, true);
        }
    }
    (found, false)
}

/// Control frames that cost a client nothing.
const ALLOWED: NonZeroU32 = NonZeroU32::new(10).expect("not zero");

/// Who sends all this at once is taken for a flood at the frame that is one too many.
fn floods(frames: &[Found]) {
    let allowance = ControlAllowance { frames: ALLOWED, per: Duration::from_secs(10) };
    let mut counted = ControlFrames::new(Sender::Client, allowance);
    let (mut earned, mut spent) = (0, 0);
    for (kind, ..) in frames {
        match Seen::of(*kind) {
            Seen::Body => {}
            // A request may be followed by three frames about it; resets are never earned.
            Seen::Head => earned += 3,
            Seen::Control if earned > 0 => earned -= 1,
            Seen::Control | Seen::Reset => spent += 1,
        }
        let flood = counted.came(Seen::of(*kind), Duration::ZERO).is_err();
        assert_eq!(flood, spent > ALLOWED.get(), "{spent} spent, {earned} earned");
        if flood {
            return;
        }
    }
}
