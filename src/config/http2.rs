//! `limits.http2` of `boot.yaml` and `cells[].http2` of `cellgate.yaml`.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::raw;
use super::slot::At;
use crate::policy::code::Code;
use crate::policy::http2::{CellHttp2, ClientHttp2, ControlAllowance, LEAST_WINDOW, Windows};

/// The values of keys that are absent, each with its reason.
pub mod default {
    use std::time::Duration;

    /// Ten times what the busiest client we know sends without having earned it (keep-alive PINGs, priorities of
    /// a page); at 3 us a frame, the dearest kind, a flood costs a connection 3 ms of processor in
    /// [`CONTROL_WINDOW`].
    pub const CONTROL_FRAMES: u32 = 1_000;
    /// Long enough that the burst in which a browser or a gRPC channel begins is a part of it.
    pub const CONTROL_WINDOW: Duration = Duration::from_secs(10);
    /// 20 MB/s at 50 ms for one upload. The 64 KiB of the RFC give 1.3 MB/s.
    pub const STREAM_WINDOW: u32 = 1024 * 1024;
    /// Four busy uploads on one connection.
    pub const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
    /// 256 connections that use their whole window while their cells read nothing; an eighth of a machine with
    /// 8 GiB.
    pub const WINDOW_MEMORY: u64 = 1024 * 1024 * 1024;
    /// What RFC 9113 section 6.5.2 recommends to allow at least, and most servers do.
    pub const CELL_STREAMS: u32 = 100;
    /// As for clients. A server has earned most of what it sends by the requests that it gets; what is left are
    /// keep-alive PINGs and what it says about streams that are over.
    pub const CELL_CONTROL_FRAMES: u32 = 1_000;
    /// As for clients.
    pub const CELL_CONTROL_WINDOW: Duration = Duration::from_secs(10);
    /// 20 MB/s at 50 ms, and what one slow client makes us hold.
    pub const CELL_STREAM_WINDOW: u32 = 1024 * 1024;
    /// Sixteen busy streams; one client that does not read leaves the others fifteen sixteenths.
    pub const CELL_CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
}

/// Above, one connection could hold more than a small machine has. Below the first a peer cannot be held.
const CONNECTION_WINDOWS: RangeInclusive<u32> = LEAST_WINDOW..=256 * 1024 * 1024;

/// A frame of the common size must fit (RFC 9113 section 4.2).
const STREAM_WINDOWS: RangeInclusive<u32> = 16_384..=256 * 1024 * 1024;

/// Below a second there is no rate to speak of, above an hour it is no limit any more.
const CONTROL_WINDOWS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);

/// Fewer frames than the first, and a handshake is a flood.
const CONTROL_FRAMES: RangeInclusive<u32> = 16..=10_000_000;

/// Most memory for windows: 1 TiB.
const WINDOW_MEMORY: RangeInclusive<u64> = 0..=1024 * 1024 * 1024 * 1024;

pub(super) fn client(raw: raw::ClientHttp2, at: &At<'_>) -> ClientHttp2 {
    let mut raw = at.open(raw);
    let frames = raw.control_frames(at).number(CONTROL_FRAMES).or(default::CONTROL_FRAMES);
    let windows = Windows {
        stream: raw.stream_window_bytes(at).number(STREAM_WINDOWS).or(default::STREAM_WINDOW),
        connection: raw.connection_window_bytes(at).number(CONNECTION_WINDOWS).or(default::CONNECTION_WINDOW),
    };
    fits(windows, at);
    ClientHttp2 {
        control: allowance(
            frames,
            raw.control_window(at).duration(CONTROL_WINDOWS).or(default::CONTROL_WINDOW),
        ),
        windows,
        window_memory: raw.window_memory_bytes(at).number(WINDOW_MEMORY).or(default::WINDOW_MEMORY),
    }
}

pub(super) fn cell(raw: raw::CellHttp2, at: &At<'_>) -> CellHttp2 {
    let mut raw = at.open(raw);
    let windows = Windows {
        stream: raw.stream_window_bytes(at).number(STREAM_WINDOWS).or(default::CELL_STREAM_WINDOW),
        connection: raw
            .connection_window_bytes(at)
            .number(CONNECTION_WINDOWS)
            .or(default::CELL_CONNECTION_WINDOW),
    };
    fits(windows, at);
    let frames = raw.control_frames(at).number(CONTROL_FRAMES).or(default::CELL_CONTROL_FRAMES);
    CellHttp2 {
        streams_per_connection: raw
            .max_streams_per_connection(at)
            .number(1..=MOST_STREAMS)
            .or(default::CELL_STREAMS),
        control: allowance(
            frames,
            raw.control_window(at).duration(CONTROL_WINDOWS).or(default::CELL_CONTROL_WINDOW),
        ),
        windows,
    }
}

fn allowance(frames: u32, per: Duration) -> ControlAllowance {
    ControlAllowance { frames: NonZeroU32::new(frames).expect("the range begins above 0"), per }
}

/// More than any server allows.
const MOST_STREAMS: u32 = 100_000;

fn fits(windows: Windows, at: &At<'_>) {
    if windows.stream > windows.connection {
        at.key("stream_window_bytes").refuse(
            Code::WindowLargerThanConnection,
            format!("{} is more than connection_window_bytes, {}", windows.stream, windows.connection),
            "a stream's window that the connection's can hold",
        );
    }
}
