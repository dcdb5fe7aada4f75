//! One HTTP/2 connection to a cell: preface, SETTINGS, and the task that moves it to its end. Which connection a
//! request takes is `connect`'s.
//!
//! Why not pingora's handshake: it lets a cell send 16 MiB of fields in one head, counts no frames, and waits for ever
//! for a cell that does not take the last bytes of a connection that nobody uses any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, Connection};
use pingora::connectors::http::v2::ConnectionRef;
use pingora::protocols::{Digest, UniqueIDType};
use tokio::sync::watch;

use super::after_others::after_others;
use super::metered::{Flooded, Metered};
use super::settled::Settling;
use super::wire::ByteStream;
use super::wire_h2::{H2Wire, H2WireHandle};
use crate::listen::log_budget::LogBudget;
use crate::policy::code::Code;
use crate::policy::gate;
use crate::policy::http2::ControlAllowance;
use crate::policy::snapshot::Cell;
use crate::telemetry::labels::ConnectionCut;
use crate::telemetry::metrics::Metrics;

/// Most bytes of fields in one head, counted as HTTP/2 does: 32 more for each (RFC 9113 section 6.5.2). So what
/// `gate::check_answer` lets through fits, down to fields of 28 bytes.
const HEAD_BYTES: u32 = 2 * gate::ANSWER_BYTES as u32;

/// Larger than the common 16 KiB, so that fewer heads of DATA frames are read; as much as a body buffer of the
/// engine.
const FRAME_BYTES: u32 = 64 * 1024;

/// Streams that a cell makes us reset by breaking the protocol on them before its connection is closed. An honest
/// server makes none, and those of a broken one fail one by one until then.
const BROKEN_STREAMS: usize = 128;

/// How long a connection that nobody uses any more may take to say goodbye. Two round trips across the world; a cell
/// that reads nothing never lets it.
const LINGER: Duration = Duration::from_secs(10);

/// Who is told of connections that were cut.
#[derive(Debug)]
pub(super) struct Cuts {
    metrics: Arc<Metrics>,
    log: LogBudget,
}

impl Cuts {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, log: LogBudget::default() }
    }

    fn flooded(&self, cell: &str, allowance: ControlAllowance) {
        self.metrics.upstream_cut(cell, ConnectionCut::ControlFrames);
        let Some(left_out) = self.log.spend(Instant::now()) else { return };
        let ControlAllowance { frames, per } = allowance;
        tracing::warn!(code = %Code::FramesWithoutAnswer,
            cell, %frames, ?per, left_out,
            "an HTTP/2 connection to a cell was closed: it sent more frames without an answer than \
             cells[].http2.control_frames allows; if it means them, allow more"
        );
    }
}

/// Shakes hands on a new connection. When this returns it may be used, or is closed: then the cell does not speak
/// HTTP/2, and whoever asks for a stream is told why.
///
/// # Errors
/// The connection is gone.
pub(super) async fn open(
    io: impl ByteStream,
    id: UniqueIDType,
    cell: &Cell,
    cuts: &Arc<Cuts>,
) -> Result<(ConnectionRef, H2WireHandle), h2::Error> {
    let http2 = cell.http2;
    let metered = Metered::cell(io, http2.control);
    let flooded = metered.flooded();
    let io = Settling::new(metered);
    let settled = io.settled();
    let wire = H2Wire::new(io, id);
    let handle = wire.handle();
    let most = usize::try_from(http2.streams_per_connection).unwrap_or(usize::MAX);
    let (requests, connection) = Builder::new()
        .enable_push(false)
        // Until the cell has said how many it allows.
        .initial_max_send_streams(most)
        .max_frame_size(FRAME_BYTES)
        .max_header_list_size(HEAD_BYTES)
        .max_local_error_reset_streams(Some(BROKEN_STREAMS))
        .initial_window_size(http2.windows.stream)
        .initial_connection_window_size(http2.windows.connection)
        .handshake::<_, Bytes>(wire)
        .await?;
    let (closed, is_closed) = watch::channel(false);
    let mut over = is_closed.clone();
    let (cuts, name) = (Arc::clone(cuts), cell.name.clone());
    tokio::spawn(async move {
        if drive(connection, &flooded, &closed).await == Ended::Flooded {
            cuts.flooded(name.as_str(), http2.control);
        }
        // Nobody is left to tell where nobody uses it.
        let _ = closed.send(true);
    });
    let shared = ConnectionRef::new(requests, is_closed, Arc::default(), id, most, Digest::default());
    tokio::select! {
        // Nobody else may use it before it is known how many streams the cell allows.
        () = settled.happened() => {}
        // `handle` holds the stream open, so its end alone would not be noticed.
        _ = over.wait_for(|over| *over) => {}
    }
    Ok((shared, handle))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Closed,
    Flooded,
}

/// Moves a connection until it is over. Streams that are open when it ends see that it has.
async fn drive(
    connection: Connection<H2Wire, Bytes>,
    flooded: &Flooded,
    users: &watch::Sender<bool>,
) -> Ended {
    let unused = async {
        users.closed().await;
        tokio::time::sleep(LINGER).await;
    };
    tokio::select! {
        biased;
        () = flooded.happened() => Ended::Flooded,
        // Whoever has a stream on it is told why.
        _ = after_others(connection) => Ended::Closed,
        () = unused => Ended::Closed,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_cell_that_does_not_speak_http2_is_known_as_soon_as_it_has_spoken() {
        let snapshot = crate::test_snapshot::example().build();
        let cuts = Arc::new(Cuts::new(Arc::new(Metrics::new())));
        let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], &[0; 8]].concat();
        for said in [b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), ping.repeat(2_000)] {
            let (near, mut far) = duplex(64 * 1024);
            far.write_all(&said).await.unwrap();
            // It closes nothing.
            let opening = open(near, 0, &snapshot.cells[0], &cuts);
            let opened = tokio::time::timeout(Duration::from_secs(1), opening).await;
            let (connection, _) = opened.expect("nothing more will come").unwrap();
            assert!(connection.is_closed());
        }
    }
}
