//! Serving both doors: connections are few, short and guarded by deadlines.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::socket::{Socket, may_connect};

/// Most connections of each door: a fleet's scrapers, probes and people are a handful, and neither
/// door can use up the places of the other.
const MAX_CONNECTIONS: u32 = 64;

/// The head of a request comes in one packet from any honest client on the same machine.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);

/// One connection carries one request; the longest waits [`super::routes::RELOAD_PATIENCE`] for a
/// reload, and the rest is for head and answer.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(75);

/// The size of a request head; hyper's smallest is 8 KiB.
const HEAD_BYTES: usize = 16 * 1024;

/// How long calls in progress may take when the admin plane ends: answers are made in milliseconds.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// When the process has no file descriptor left, an immediate retry would only burn CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What each door answers.
#[derive(Clone, Debug)]
pub(super) struct Doors {
    /// The unix socket: everything.
    pub open: Router,
    /// The loopback port.
    pub read_only: Router,
}

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
pub(super) async fn serve(
    tcp: Option<TcpListener>,
    unix: Option<Socket>,
    doors: Doors,
    mut gate: watch::Receiver<Gate>,
) {
    let opened = gate.wait_for(|gate| *gate != Gate::Held).await.is_ok_and(|gate| *gate == Gate::Open);
    if !opened {
        return;
    }
    let (tcp_places, unix_places) = (places(), places());
    let serve_tcp = serve_tcp(tcp, &doors.read_only, &tcp_places);
    let serve_unix = serve_unix(unix.as_ref(), &doors.open, &unix_places);
    tokio::select! {
        never = serve_tcp => match never {},
        never = serve_unix => match never {},
        // A dropped sender ends the admin plane as well.
        _ = gate.wait_for(|gate| *gate == Gate::Stopped) => {}
    }
    let all_ended = async {
        for places in [&tcp_places, &unix_places] {
            let _ = places.acquire_many(MAX_CONNECTIONS).await;
        }
    };
    let _ = tokio::time::timeout(STOP_PATIENCE, all_ended).await;
}

async fn serve_tcp(listener: Option<TcpListener>, router: &Router, places: &Arc<Semaphore>) -> Infallible {
    let listener = listener.map(tokio::net::TcpListener::from_std);
    let Some(listener) = opened(listener) else { return std::future::pending().await };
    loop {
        let place = place(places).await;
        match listener.accept().await {
            Ok((stream, _)) => serve_connection(stream, router.clone(), place),
            Err(error) => accept_failed(&error).await,
        }
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
                serve_connection(stream, router.clone(), place);
            }
            Ok(peer) => {
                tracing::warn!(uid = peer.uid(), "another user called the admin socket; not answered")
            }
            Err(error) => {
                tracing::warn!(%error, "a caller of the admin socket has no credentials; not answered")
            }
        }
    }
}

fn serve_connection<S>(stream: S, router: Router, place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(HEAD_BYTES)
        // An idle caller would hold one of few places.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::spawn(async move {
        // A broken or slow caller is its own affair.
        let _ = tokio::time::timeout(CONNECTION_DEADLINE, connection).await;
        drop(place);
    });
}

fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_CONNECTIONS as usize))
}

async fn place(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(places).acquire_owned().await.expect("the semaphore of a door is never closed")
}

fn opened<L>(listener: Option<std::io::Result<L>>) -> Option<L> {
    listener?
        .inspect_err(
            |error| tracing::error!(%error, "an admin listener cannot be served; restart to get it back"),
        )
        .ok()
}

async fn accept_failed(error: &std::io::Error) {
    tracing::warn!(%error, "the admin plane cannot accept a connection");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}
