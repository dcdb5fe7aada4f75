//! One HTTP/2 connection: the engine's accept loop with our deadlines, each stream an exchange on a
//! task of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use pingora::protocols::Digest;
use pingora::protocols::http::v2::server::{H2Accept, H2Options, HttpSession, default_h2_options, handshake};
use tokio::time::Instant;

use super::downstream::Downstream;
use super::request::Peer;
use super::service::Service;
use super::wire::Wire;
use crate::listen::drain::{Phase, Shutdown};

/// Bytes of request body that one stream may have under way to us: 20 MB/s at 50 ms. The engine's
/// default of 64 KiB gives 1.3 MB/s.
const STREAM_WINDOW: u32 = 1024 * 1024;

/// The same for a whole connection: four busy uploads.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Malformed requests on one connection before it is closed: a client library makes none, a scanner
/// many. The engine's own budget has the same size but is not shared across calls.
const MALFORMED_BUDGET: usize = 32;

/// How long an idle client may take to close after GOAWAY.
const LINGER: Duration = Duration::from_secs(2);

/// Serves one connection to its end.
pub async fn serve(service: &Arc<Service>, peer: &Arc<Peer>, wire: Wire) {
    let limits = service.limits();
    let options = options(service.pin().limits.head_bytes, limits.streams_per_connection);
    let handshake = handshake(Box::new(wire), Some(options));
    let Ok(Ok(mut connection)) = tokio::time::timeout(limits.head_timeout, handshake).await else { return };
    let digest = Arc::new(Digest::default());
    let active = Active::default();
    let mut shutdown = service.shutdown();
    let (mut malformed, mut served) = (0usize, 0u32);
    // Since when the client has been told.
    let mut closing = None::<Instant>;
    let lifetime = tokio::time::sleep(limits.connection_lifetime);
    tokio::pin!(lifetime);
    loop {
        let idle_until = match closing {
            // A request may have crossed what it was told.
            Some(told) => active.idle_since().max(told) + LINGER,
            None => active.idle_since() + limits.keep_alive_timeout,
        };
        let accepted = tokio::select! {
            biased;
            () = shutdown.reached(leave_at(served, &shutdown)), if closing.is_none() => {
                if shutdown.phase() < leave_at(served, &shutdown) {
                    continue;
                }
                connection.graceful_shutdown();
                closing = Some(Instant::now());
                continue;
            }
            () = &mut lifetime, if closing.is_none() => {
                connection.graceful_shutdown();
                closing = Some(Instant::now());
                continue;
            }
            accepted = HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)) => accepted,
            () = active.changed() => continue,
            () = tokio::time::sleep_until(idle_until), if active.is_idle() => {
                if closing.is_some() {
                    return;
                }
                connection.graceful_shutdown();
                closing = Some(Instant::now());
                continue;
            }
        };
        match accepted {
            Ok(Some(H2Accept::Session(session))) => {
                served = served.saturating_add(1);
                if served >= limits.requests_per_connection && closing.is_none() {
                    connection.graceful_shutdown();
                    closing = Some(Instant::now());
                }
                tokio::spawn(stream(Arc::clone(service), Arc::clone(peer), session, active.enter()));
            }
            Ok(Some(H2Accept::Rejected)) => {
                malformed += 1;
                service.rejected_stream(peer);
                if malformed >= MALFORMED_BUDGET {
                    return;
                }
            }
            Ok(None) | Err(_) => return,
        }
    }
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

async fn stream(service: Arc<Service>, peer: Arc<Peer>, session: HttpSession, _active: Entered) {
    let snapshot = service.pin();
    let mut down = Downstream::h2(session);
    service.exchange(&peer, snapshot, &mut down, None).await;
}

fn options(head_bytes: usize, streams: u32) -> H2Options {
    let mut options = default_h2_options();
    options
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
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
    changed: tokio::sync::Notify,
}

#[must_use]
struct Entered(Arc<Counts>);

impl Default for Active {
    fn default() -> Self {
        Self(Arc::new(Counts {
            streams: AtomicUsize::new(0),
            idle_since_ms: 0.into(),
            born: Instant::now(),
            changed: tokio::sync::Notify::new(),
        }))
    }
}

impl Active {
    fn enter(&self) -> Entered {
        self.0.streams.fetch_add(1, Ordering::Relaxed);
        Entered(Arc::clone(&self.0))
    }

    /// A stream has ended.
    async fn changed(&self) {
        self.0.changed.notified().await;
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
        let now = u64::try_from(self.0.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.idle_since_ms.store(now, Ordering::Release);
        self.0.streams.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_one();
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
        active.changed().await;
        assert!(active.is_idle());
        assert!(stream.await.unwrap_err().is_panic());
    }
}
