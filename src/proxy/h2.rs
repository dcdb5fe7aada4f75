//! One HTTP/2 connection: the engine's accept loop with our deadlines, each stream an exchange on a
//! task of its own.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pingora::protocols::http::v2::server::{H2Accept, H2Options, HttpSession, default_h2_options, handshake};
use pingora::protocols::{Digest, Stream, UniqueIDType};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::after_others::after_others;
use super::downstream::Downstream;
use super::metered::{Flooded, Metered};
use super::preface::Prefaced;
use super::request::Peer;
use super::service::{Granted, Service};
use super::wire::ByteStream;
use super::wire_h2::H2Wire;
use crate::listen::drain::{Phase, Shutdown};
use crate::listen::lookout::Lookout;
use crate::policy::http2::Windows;
use crate::telemetry::labels::ConnectionCut;

/// Malformed requests on one connection before it is closed: a client library makes none, a scanner
/// many. The engine's own budget has the same size but is not shared across calls.
const MALFORMED_BUDGET: usize = 32;

/// How long an idle client may take to close after GOAWAY.
const LINGER: Duration = Duration::from_secs(2);

/// Streams that the client itself makes us reset by breaking the protocol on them (as MadeYouReset does,
/// CVE-2025-8671) before the connection is closed. An honest client makes none; the engine's default is 1024.
const BROKEN_STREAMS: usize = 128;

/// Serves one connection to its end. `id` tells connections apart in engine logs.
pub async fn serve(service: &Arc<Service>, peer: Arc<Peer>, stream: impl ByteStream, id: UniqueIDType) {
    let patience = service.limits().preface_timeout;
    // Boxed: what it takes to begin is given back before the connection's long life.
    let begun = Box::pin(tokio::time::timeout(patience, begin(service, stream, id)));
    let Ok(Ok(begun)) = begun.await else { return };
    let active = Active::default();
    accept(service, peer, begun, &active).await;
    // A drain does not end before the last of them is in log and books, also where the client has gone before.
    active.none().await;
}

/// Accepts streams until the connection ends, which may be before they do.
async fn accept(service: &Arc<Service>, peer: Arc<Peer>, begun: Begun, active: &Active) {
    let Begun { mut connection, flooded, granted: _granted } = begun;
    let limits = service.limits();
    let digest = Arc::new(Digest::default());
    let mut shutdown = service.shutdown();
    let (mut malformed, mut served) = (0usize, 0u32);
    // Since when the client has been told.
    let mut closing = None::<Instant>;
    // When it was first seen that its answers are not wholly taken.
    let mut left_since = None::<Instant>;
    let mut lifetime = std::pin::pin!(tokio::time::sleep(limits.connection_lifetime));
    loop {
        let idle_until = match closing {
            // A request may have crossed what it was told.
            Some(told) => active.idle_since().max(told) + LINGER,
            None => active.idle_since() + limits.h2_idle_timeout,
        };
        let accepted = tokio::select! {
            biased;
            () = shutdown.reached(leave_at(served, &shutdown)), if closing.is_none() => {
                if shutdown.phase() < leave_at(served, &shutdown) {
                    continue;
                }
                closing = farewell(&mut connection);
                continue;
            }
            () = &mut lifetime, if closing.is_none() => {
                closing = farewell(&mut connection);
                continue;
            }
            () = flooded.happened() => {
                service.telemetry().metrics.connection_cut(ConnectionCut::ControlFrames);
                break;
            }
            accepted = after_others(HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest))) => accepted,
            () = active.ended() => continue,
            () = tokio::time::sleep_until(idle_until), if active.is_idle() => {
                if closing.is_none() {
                    closing = farewell(&mut connection);
                } else if has_left(&connection, &mut left_since, limits.idle_timeout, &shutdown) {
                    closing = Some(Instant::now());
                } else {
                    return;
                }
                continue;
            }
        };
        match accepted {
            Ok(Some(H2Accept::Session(session))) => {
                served = served.saturating_add(1);
                if served >= limits.requests_per_connection && closing.is_none() {
                    closing = farewell(&mut connection);
                }
                begin_stream(service, &peer, session, active.enter());
            }
            Ok(Some(H2Accept::Rejected)) => {
                malformed += 1;
                service.rejected_stream(&peer);
                if malformed >= MALFORMED_BUDGET {
                    service.telemetry().metrics.connection_cut(ConnectionCut::Malformed);
                    break;
                }
            }
            Ok(None) | Err(_) => return,
        }
    }
    // Out here: in the loop, what was accepted last would have its room in each connection.
    Box::pin(calm_down(connection)).await;
}

/// A connection whose client speaks HTTP/2.
struct Begun {
    connection: h2::server::Connection<Stream, Bytes>,
    flooded: Arc<Flooded>,
    granted: Granted,
}

/// Whether streams that have ended here have left something behind, for a client that is slow. It is waited for since
/// `since`, and not for longer than `patience`, whatever the client takes meanwhile; nor when a process ends for that alone.
fn has_left<S>(
    connection: &h2::server::Connection<S, Bytes>,
    since: &mut Option<Instant>,
    patience: Duration,
    shutdown: &Shutdown,
) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let since = *since.get_or_insert_with(Instant::now);
    connection.has_streams() && since.elapsed() < patience && shutdown.phase() < Phase::Ending
}

/// Waits for the preface, and makes the engine's session.
async fn begin(service: &Arc<Service>, stream: impl ByteStream, id: UniqueIDType) -> io::Result<Begun> {
    let prefaced = Prefaced::read(stream).await?;
    let limits = service.limits();
    let granted = service.grant();
    let metered = Metered::client(prefaced, limits.http2.control);
    let flooded = metered.flooded();
    let options = options(service.head_limits().head_bytes, limits.streams_per_connection, granted.windows);
    let connection = handshake(Box::new(H2Wire::new(metered, id)), Some(options)).await;
    Ok(Begun { connection: connection.map_err(io::Error::other)?, flooded, granted })
}

/// Tells the client to begin nothing more; the moment of that.
fn farewell<S>(connection: &mut h2::server::Connection<S, Bytes>) -> Option<Instant>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    connection.graceful_shutdown();
    Some(Instant::now())
}

/// Tells the client why its connection ends, and ends it.
async fn calm_down<S>(mut connection: h2::server::Connection<S, Bytes>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
    // Whoever floods us and does not read the answer misses nothing.
    let _ = tokio::time::timeout(LINGER, poll_fn(|cx| connection.poll_closed(cx))).await;
}

/// When a connection is told to finish. Not before its first request, which is under way: a client that is told
/// so on every new connection could send none at all.
fn leave_at(served: u32, shutdown: &Shutdown) -> Phase {
    match served {
        0 if shutdown.is_handed_over() => Phase::Ending,
        0 => Phase::Closed,
        _ => Phase::Draining,
    }
}

/// Serves a stream on a task of its own.
fn begin_stream(service: &Arc<Service>, peer: &Arc<Peer>, session: HttpSession, entered: Entered) {
    let stream = one_stream(Arc::clone(service), Arc::clone(peer), Box::new(session), entered);
    // Boxed: a task is moved several times before it runs.
    tokio::spawn(Box::pin(stream));
}

async fn one_stream(service: Arc<Service>, peer: Arc<Peer>, session: Box<HttpSession>, _active: Entered) {
    let pinned = service.pin_both();
    let mut down = Downstream::h2(session);
    let mut lookout = Lookout::new(service.shutdown());
    service.exchange(&peer, pinned, &mut down, &mut lookout).await;
    down.hear_out().await;
}

fn options(head_bytes: usize, streams: u32, windows: Windows) -> H2Options {
    let mut options = default_h2_options();
    options
        .initial_window_size(windows.stream)
        .initial_connection_window_size(windows.connection)
        .max_local_error_reset_streams(Some(BROKEN_STREAMS))
        .max_concurrent_streams(streams)
        .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
        // RFC 8441: WebSocket over HTTP/2.
        .enable_connect_protocol();
    options
}

/// Streams in progress, and since when there are none.
#[derive(Clone)]
struct Active(Arc<Counts>);

struct Counts {
    streams: AtomicUsize,
    /// Milliseconds after `born`.
    idle_since_ms: AtomicU64,
    born: Instant,
    ended: tokio::sync::Notify,
}

#[must_use]
struct Entered(Arc<Counts>);

impl Default for Active {
    fn default() -> Self {
        Self(Arc::new(Counts {
            streams: AtomicUsize::new(0),
            idle_since_ms: 0.into(),
            born: Instant::now(),
            ended: tokio::sync::Notify::new(),
        }))
    }
}

impl Active {
    fn enter(&self) -> Entered {
        self.0.streams.fetch_add(1, Ordering::Relaxed);
        Entered(Arc::clone(&self.0))
    }

    /// All have ended.
    async fn none(&self) {
        while !self.is_idle() {
            self.ended().await;
        }
    }

    /// None are left.
    async fn ended(&self) {
        self.0.ended.notified().await;
    }

    fn is_idle(&self) -> bool {
        self.0.streams.load(Ordering::Acquire) == 0
    }

    fn idle_since(&self) -> Instant {
        self.0.born + Duration::from_millis(self.0.idle_since_ms.load(Ordering::Acquire))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // The one that has begun: of an idle time, nothing is cut off.
        let now = u64::try_from(self.0.born.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        self.0.idle_since_ms.store(now, Ordering::Release);
        if self.0.streams.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ended.notify_one();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_that_panics_is_over_like_any_other() {
        let active = Active::default();
        let entered = active.enter();
        assert!(!active.is_idle());
        let stream = tokio::spawn(async move {
            let _entered = entered;
            // As a panic does, but without its message.
            std::panic::resume_unwind(Box::new("defect"));
        });
        active.none().await;
        assert!(stream.await.unwrap_err().is_panic());
    }
}
