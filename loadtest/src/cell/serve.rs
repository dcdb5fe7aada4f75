//! The cell's connections: listening, TLS, and one HTTP connection from accept to end. What is answered is
//! decided in [`answer`](super::answer).

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::Shared;
use super::answer::answer;
use super::behaviour::lock;
use super::seen::{Origin, Seen, TlsSeen, describe};
use super::tap::{FIELDS_MAX, Gated, Io, Tap, Tapped};
use crate::body::{AnyBody, BodyError, sha256_hex};

/// How the bytes after accept are to be read.
#[derive(Clone)]
pub(crate) enum Wire {
    /// Clear text, h1 only.
    H1,
    /// Clear text, h2 only (prior knowledge, RFC 9113 section 3.3).
    H2c,
    /// TLS, and by ALPN h2 or h1.
    Tls(TlsAcceptor),
}

/// A listener's port, held whether or not anything listens on it, so that nobody else takes it meanwhile.
pub(crate) enum Door {
    Open(TcpListener),
    Shut(Socket),
}

impl Door {
    /// Binds and listens; port 0 takes a free one.
    pub(crate) fn open(address: SocketAddr) -> io::Result<(Self, SocketAddr)> {
        let listener = listen(bind(address)?)?;
        let address = listener.local_addr()?;
        Ok((Self::Open(listener), address))
    }

    async fn turn(self, closed: bool, address: SocketAddr) -> io::Result<Self> {
        match (self, closed) {
            (Self::Open(listener), true) => {
                drop(listener);
                bind_again(address).await.map(Self::Shut)
            }
            (Self::Shut(socket), false) => listen(socket).map(Self::Open),
            (same, _) => Ok(same),
        }
    }
}

/// Runs one listener: accepts while it is open, and tells in `applied` which change of behaviour it has followed.
pub(crate) async fn run(
    mut door: Door,
    address: SocketAddr,
    wire: Wire,
    shared: Arc<Shared>,
    applied: watch::Sender<Result<u64, String>>,
) {
    let mut turns = shared.switch.watch();
    loop {
        let turn = turns.borrow_and_update().clone();
        door = match door.turn(turn.behaviour.closes_listeners(), address).await {
            Ok(door) => door,
            Err(error) => {
                let problem = format!("listening on {address}: {error}");
                applied.send_modify(|state| *state = Err(problem));
                return;
            }
        };
        applied.send_modify(|state| *state = Ok(turn.number));
        let changed = match &door {
            Door::Shut(_) => turns.changed().await,
            Door::Open(listener) => tokio::select! {
                changed = turns.changed() => changed,
                accepted = listener.accept() => {
                    if let Ok((stream, peer)) = accepted {
                        let connection = connect(shared.clone(), wire.clone(), stream, peer);
                        shared.tasks.spawn(connection);
                    }
                    Ok(())
                }
            },
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Tasks that end with the cell: connections, h2 streams, WebSockets.
#[derive(Clone, Default)]
pub(crate) struct Tasks(Arc<Mutex<TaskSet>>);

#[derive(Default)]
struct TaskSet {
    running: JoinSet<()>,
    closed: bool,
}

impl Tasks {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.0);
        while tasks.running.try_join_next().is_some() {}
        if !tasks.closed {
            tasks.running.spawn(task);
        }
    }

    /// Ends all that run now, and returns when they have ended.
    pub(crate) async fn end_all(&self) {
        let mut running = std::mem::take(&mut lock(&self.0).running);
        running.shutdown().await;
    }

    /// Ends all that run now and whatever would be started later.
    pub(crate) fn close(&self) {
        let mut tasks = lock(&self.0);
        tasks.closed = true;
        tasks.running.abort_all();
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(async move {
            task.await;
        });
    }
}

/// One connection, as its requests see it.
pub(crate) struct Connection {
    pub(crate) cell: Arc<Shared>,
    pub(crate) tap: Option<Tap>,
    pub(crate) order: watch::Sender<Order>,
    peer: SocketAddr,
    number: u64,
    requests: AtomicU64,
    tls: Option<TlsSeen>,
}

/// How a request wants its connection to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Not at all.
    Stay,
    /// After announcing it, and after what is under way.
    GoAway,
    /// At this moment, without a word.
    HangUp(Instant),
}

impl Connection {
    /// Describes the head of a request that has just come in.
    pub(crate) fn see(&self, request: &Request<Incoming>) -> Seen {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let origin = Origin {
            cell: &self.cell.name,
            peer: self.peer,
            connection: self.number,
            request: number,
            tls: self.tls.as_ref(),
        };
        describe(origin, request, self.tap.as_ref().and_then(Tap::head))
    }
}

/// A client that opens a connection and says nothing in TLS has this long.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Room for the large heads that tests send; the library's own bound is 16 KiB.
const H2_HEADERS_MAX: u32 = 256 * 1024;

/// Connections that wait to be accepted: what Linux allows by default.
const BACKLOG: i32 = 4096;

async fn connect(cell: Arc<Shared>, wire: Wire, stream: TcpStream, peer: SocketAddr) {
    let number = cell.counters.connection();
    let _open = cell.counters.open_connection();
    // Not being able to turn Nagle off costs latency, nothing else.
    let _ = stream.set_nodelay(true);
    let prior_knowledge = matches!(wire, Wire::H1) && begins_with_preface(&stream).await;
    let stream = Gated::new(stream, cell.switch.watch());
    match wire {
        Wire::H1 => serve(cell, stream, prior_knowledge, None, peer, number).await,
        Wire::H2c => serve(cell, stream, true, None, peer, number).await,
        Wire::Tls(acceptor) => {
            let handshake = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await;
            let Ok(Ok(stream)) = handshake else {
                cell.counters.failed_handshake();
                return;
            };
            let tls = tls_seen(stream.get_ref().1);
            let h2 = tls.alpn.as_deref() == Some("h2");
            serve(cell, stream, h2, Some(tls), peer, number).await;
        }
    }
}

/// Whether a client on the plain port opens with HTTP/2's preface, as `protocol: auto` does for gRPC.
async fn begins_with_preface(stream: &TcpStream) -> bool {
    let mut first = [0; 3];
    loop {
        match stream.peek(&mut first).await {
            Ok(read) if read < first.len() && read > 0 && b"PRI".starts_with(&first[..read]) => {
                // Peeking at once would spin.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(read) => return first[..read] == *b"PRI",
            Err(_) => return false,
        }
    }
}

async fn serve<S: Io>(
    cell: Arc<Shared>,
    stream: S,
    h2: bool,
    tls: Option<TlsSeen>,
    peer: SocketAddr,
    number: u64,
) {
    let (order, given) = watch::channel(Order::Stay);
    let tap = (!h2).then(Tap::default);
    let service = CellService(Arc::new(Connection {
        cell: cell.clone(),
        tap: tap.clone(),
        order,
        peer,
        number,
        requests: AtomicU64::new(0),
        tls,
    }));
    let mut connection = match tap {
        Some(tap) => over_h1(Tapped::new(stream, tap), service),
        None => over_h2(stream, service, &cell),
    };
    let mut orders = Orders { given, hang_up: None };
    while let Next::GoAway = orders.next(connection.as_mut()).await {
        connection.as_mut().go_away();
    }
}

/// Answers the requests of one connection.
struct CellService(Arc<Connection>);

impl Service<Request<Incoming>> for CellService {
    type Response = Response<AnyBody>;
    type Error = BodyError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        answer(self.0.clone(), request).boxed()
    }
}

/// A connection of either protocol. The two are boxed before they are awaited, because the compiler cannot
/// prove the types of the HTTP library `Send` from within an async function.
trait Served: Future<Output = hyper::Result<()>> + Send {
    /// Announces the end of the connection and lets what is under way finish.
    fn go_away(self: Pin<&mut Self>);
}

impl<S: Io> Served for http1::UpgradeableConnection<TokioIo<Tapped<S>>, CellService> {
    fn go_away(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S: Io> Served for http2::Connection<TokioIo<S>, CellService, Tasks> {
    fn go_away(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

fn over_h1<S: Io>(stream: Tapped<S>, service: CellService) -> Pin<Box<dyn Served>> {
    let connection = http1::Builder::new()
        .max_headers(FIELDS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    Box::pin(connection)
}

fn over_h2<S: Io>(stream: S, service: CellService, cell: &Shared) -> Pin<Box<dyn Served>> {
    let connection = http2::Builder::new(cell.tasks.clone())
        .enable_connect_protocol()
        .max_concurrent_streams(cell.h2_streams_max)
        .max_header_list_size(H2_HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    Box::pin(connection)
}

/// What ends a connection, or is to be done with it first.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    GoAway,
    Over,
}

/// The orders of a connection's requests, and the one that is being waited for.
struct Orders {
    given: watch::Receiver<Order>,
    hang_up: Option<Instant>,
}

impl Orders {
    /// Drives the connection until it is over or a request orders something.
    async fn next(&mut self, mut connection: Pin<&mut dyn Served>) -> Next {
        loop {
            let hang_up = self.hang_up;
            let end = async move {
                match hang_up {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let given = tokio::select! {
                // The connection first, so that an answer is written before its order ends the connection.
                biased;
                _ = connection.as_mut() => return Next::Over,
                () = end => return Next::Over,
                given = self.given.changed() => given,
            };
            if given.is_err() {
                // The service is gone, and so is the connection but for its last bytes.
                // An error is an end like any other.
                let _ = connection.await;
                return Next::Over;
            }
            let order = *self.given.borrow_and_update();
            match order {
                Order::GoAway => return Next::GoAway,
                // The first order stands.
                Order::HangUp(at) => self.hang_up = self.hang_up.or(Some(at)),
                Order::Stay => {}
            }
        }
    }
}

fn tls_seen(tls: &rustls::ServerConnection) -> TlsSeen {
    let leaf = tls.peer_certificates().and_then(|chain| chain.first());
    TlsSeen {
        sni: tls.server_name().map(str::to_owned),
        alpn: tls.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        version: tls.protocol_version().map(|version| format!("{version:?}")),
        client_certificate_sha256: leaf.map(|cert| sha256_hex(cert)),
        resumed: tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
    }
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A port whose last connections still linger can be bound again at once.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Binds a port that was ours a moment ago: the kernel may still be closing it.
async fn bind_again(address: SocketAddr) -> io::Result<Socket> {
    let give_up = Instant::now() + Duration::from_secs(2);
    loop {
        match bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < give_up => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            done => return done,
        }
    }
}

fn listen(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
