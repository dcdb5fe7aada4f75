//! Serving the doors: connections are few, short and guarded by deadlines.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::access::{AccessView, Peer};
use super::places::{Bounds, Places};
use super::socket::{Socket, may_connect};
use super::tls;
use crate::policy::code::Code;

/// Most connections of each door: a fleet's scrapers, probes and people are a handful, and no door can use up the places of
/// another.
pub(super) const MAX_CONNECTIONS: u32 = 64;

/// The head of a request comes in one packet from any honest client on the same machine.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);

/// One connection carries one request, which is answered in this time or is a stream; the longest waits [`super::routes::RELOAD_PATIENCE`] for a
/// reload, and the rest is for head and answer.
pub(super) const CONNECTION_DEADLINE: Duration = Duration::from_secs(75);

/// The size of a request head; hyper's smallest is 8 KiB.
const HEAD_BYTES: usize = 16 * 1024;

/// How long calls in progress may take when the admin plane ends: answers are made in milliseconds.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// When the process has no file descriptor left, an immediate retry would only burn CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The listening sockets.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    pub unix: Option<Socket>,
    pub loopback: Option<TcpListener>,
    pub tls: Option<TcpListener>,
    pub status: Option<TcpListener>,
}

/// What each door answers.
#[derive(Clone, Debug)]
pub(super) struct Doors {
    /// The unix socket.
    pub unix: Router,
    /// The loopback port.
    pub loopback: Router,
    /// The TLS port, and what it shows.
    pub tls: (Router, AccessView),
    /// The public door of the status.
    pub status: Router,
}

/// The places of the public door, of which none is one of another door: a crowd looks when something is wrong, and each looks for
/// some milliseconds. With a buffer each they are some MB. Half of them may be readers of events, so that whoever only looks
/// always finds a place.
///
/// One address may have all that nobody else wants: behind a proxy that terminates TLS, or a CDN, it is everybody. When they
/// are taken, the address with most connections gives one up, the oldest first.
const STATUS_BOUNDS: Bounds =
    Bounds { most: 512, newcomers: 512, settled: 256, each: 512, each_newcomers: 512 };

/// How long one of those lives: a reader of events is told of them for ten minutes.
const STATUS_DEADLINE: Duration = Duration::from_secs(615);

/// Whether calls are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Not yet.
    Held,
    /// Yes.
    Open,
    /// No more.
    Stopped,
}

/// Serves from the opening of the gate until it is stopped or its sender is gone.
pub(super) async fn serve(sockets: Sockets, doors: Doors, mut gate: watch::Receiver<Gate>) {
    let opened = gate.wait_for(|gate| *gate != Gate::Held).await.is_ok_and(|gate| *gate == Gate::Open);
    if !opened {
        return;
    }
    let Sockets { unix, loopback, tls, status } = sockets;
    let [loopback_places, unix_places] = [(); 2].map(|()| places(MAX_CONNECTIONS));
    let [tls_places, status_places] = [tls::BOUNDS, STATUS_BOUNDS].map(Places::new);
    let serve_loopback = serve_loopback(loopback, &doors.loopback, &loopback_places);
    let serve_status = serve_status(status, &doors.status, &status_places);
    let serve_unix = serve_unix(unix.as_ref(), &doors.unix, &unix_places);
    let serve_tls = tls::serve(tls, &doors.tls, &tls_places);
    tokio::select! {
        never = serve_loopback => match never {},
        never = serve_unix => match never {},
        never = serve_tls => match never {},
        never = serve_status => match never {},
        // A dropped sender ends the admin plane as well.
        _ = gate.wait_for(|gate| *gate == Gate::Stopped) => {}
    }
    let all_ended = async {
        for places in [&loopback_places, &unix_places] {
            let _ = places.acquire_many(MAX_CONNECTIONS).await;
        }
        status_places.all_left().await;
        tls_places.all_left().await;
    };
    let _ = tokio::time::timeout(STOP_PATIENCE, all_ended).await;
}

async fn serve_loopback(
    listener: Option<TcpListener>,
    router: &Router,
    places: &Arc<Semaphore>,
) -> Infallible {
    let listener = listener.map(tokio::net::TcpListener::from_std);
    let Some(listener) = opened(listener) else { return std::future::pending().await };
    loop {
        let place = place(places).await;
        let (stream, _) = accepted(&listener).await;
        serve_connection(stream, router, Peer::Loopback, place);
    }
}

/// Whoever reads events settles; all others are newcomers for as long as they are there.
async fn serve_status(listener: Option<TcpListener>, router: &Router, places: &Arc<Places>) -> Infallible {
    let listener = listener.map(tokio::net::TcpListener::from_std);
    let Some(listener) = opened(listener) else { return std::future::pending().await };
    loop {
        let (stream, from) = accepted(&listener).await;
        let Some(mut place) = places.take(from.ip()).await else { continue };
        let times = Times { head: HEAD_DEADLINE, whole: STATUS_DEADLINE };
        let answered = answer(stream, router.clone().layer(Extension(place.mark())), times);
        tokio::spawn(async move {
            tokio::select! {
                () = answered => {}
                () = place.is_lost() => {}
            }
        });
    }
}

async fn serve_unix(socket: Option<&Socket>, router: &Router, places: &Arc<Semaphore>) -> Infallible {
    let Some(socket) = socket else { return std::future::pending().await };
    let listener = socket.listener.try_clone().and_then(tokio::net::UnixListener::from_std);
    let Some(listener) = opened(Some(listener)) else { return std::future::pending().await };
    loop {
        let place = place(places).await;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                accept_failed(&error).await;
                continue;
            }
        };
        match stream.peer_cred() {
            Ok(peer) if may_connect(socket, peer.uid()) => {
                serve_connection(stream, router, Peer::Unix { uid: peer.uid() }, place);
            }
            Ok(peer) => {
                tracing::warn!(code = %Code::AnotherUser, uid = peer.uid(), "another user called the admin socket; not answered")
            }
            Err(error) => {
                tracing::warn!(%error, "a caller of the admin socket has no credentials; not answered")
            }
        }
    }
}

/// When a connection has lasted long enough. A stream begins it again with each thing that its reader has taken: who reads is
/// served for as long as they read, and who does not is let go.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    until: Arc<watch::Sender<Instant>>,
    lasts: Duration,
}

impl Patience {
    /// That begins now and lasts for so long.
    pub fn begin(lasts: Duration) -> Self {
        Self { until: Arc::new(watch::channel(Instant::now() + lasts).0), lasts }
    }

    /// From the beginning once more.
    pub fn begin_again(&self) {
        self.until.send_replace(Instant::now() + self.lasts);
    }

    /// Waits for its end.
    async fn is_over(&self) {
        loop {
            let until = *self.until.borrow();
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

fn serve_connection<S>(stream: S, router: &Router, peer: Peer, place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let times = Times { head: HEAD_DEADLINE, whole: CONNECTION_DEADLINE };
    let answered = answer(stream, router.clone().layer(Extension(peer)), times);
    tokio::spawn(async move {
        answered.await;
        drop(place);
    });
}

/// How long a connection has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Until the head of its request is there.
    pub head: Duration,
    /// Until it is answered.
    pub whole: Duration,
}

/// Answers one request, in this time.
pub(super) fn answer<S>(stream: S, router: Router, times: Times) -> impl Future<Output = ()> + Send + use<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let patience = Patience::begin(times.whole);
    let router = router.layer(Extension(patience.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(times.head)
        .max_buf_size(HEAD_BYTES)
        // An idle caller would hold one of few places.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    async move {
        // A broken or slow caller is its own affair.
        tokio::select! {
            _ = connection => {}
            () = patience.is_over() => {}
        }
    }
}

fn places(most: u32) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(most as usize))
}

async fn place(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(places).acquire_owned().await.expect("the semaphore of a door is never closed")
}

pub(super) fn opened<L>(listener: Option<std::io::Result<L>>) -> Option<L> {
    listener?
        .inspect_err(
            |error| tracing::error!(%error, "an admin listener cannot be served; restart to get it back"),
        )
        .ok()
}

/// The next connection; one that cannot be accepted is told in the log.
pub(super) async fn accepted(listener: &tokio::net::TcpListener) -> (tokio::net::TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => accept_failed(&error).await,
        }
    }
}

async fn accept_failed(error: &std::io::Error) {
    tracing::warn!(%error, "the admin plane cannot accept a connection");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn one_address_does_not_take_the_public_door_from_others() {
        let places = Places::new(STATUS_BOUNDS);
        let take = |address: &str| places.take(address.parse().unwrap()).now_or_never().flatten().unwrap();
        let mut idle: Vec<_> = (0..512).map(|_| take("127.0.9.1")).collect();
        assert!(
            idle.iter_mut().all(|place| place.is_lost().now_or_never().is_none()),
            "nobody else wants them"
        );
        let mut other = take("192.0.2.1");
        idle.extend((0..512).map(|_| take("127.0.9.1")));
        assert!(other.is_lost().now_or_never().is_none());
        drop(idle);
        let readers: Vec<_> = (0..256).map(|_| take("127.0.9.1")).collect();
        assert!(readers.iter().all(|place| place.mark().settle()));
        assert!(!take("127.0.9.1").mark().settle(), "half of the places are for those who look");
        assert!(other.mark().settle(), "and of the readers somebody else may be one");
    }

    #[tokio::test(start_paused = true)]
    async fn patience_lasts_for_as_long_as_somebody_reads() {
        let (patience, begun) = (Patience::begin(CONNECTION_DEADLINE), Instant::now());
        let reader = patience.clone();
        let reads = tokio::spawn(async move {
            for _ in 0..100 {
                tokio::time::sleep(CONNECTION_DEADLINE / 2).await;
                reader.begin_again();
            }
        });
        patience.is_over().await;
        assert_eq!(begun.elapsed(), CONNECTION_DEADLINE * 51);
        assert!(reads.is_finished());
    }
}
