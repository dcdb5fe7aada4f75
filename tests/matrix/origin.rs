//! The simulated cells: one HTTP/1 and one h2c origin that do what the path says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::behave::{Exchange, Reply, Trap};
use crate::edge::ANY;
use crate::registry::{Registry, Saw, Unit};
use crate::wire::{AnySocket, BodyRx, H1Rx, H1Tx, Head};

/// Whether the origin's door is open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Door {
    Open,
    /// The listener is closed: connects are refused.
    Refuse,
    /// Accepts and closes at once.
    Slam,
}

/// Handle on one origin.
pub struct Origin {
    pub addr: SocketAddr,
    door: watch::Sender<Door>,
    now: watch::Receiver<Door>,
    kill: watch::Sender<u64>,
}

impl Origin {
    /// On a free port; inside a runtime.
    pub fn start(h2: bool, registry: Arc<Registry>) -> Result<Origin> {
        let listener = listen(bind(ANY)?)?;
        let addr = listener.local_addr()?;
        let (door, wanted) = watch::channel(Door::Open);
        let (is, now) = watch::channel(Door::Open);
        let kill = watch::Sender::new(0);
        tokio::spawn(accept(addr, listener, h2, registry, wanted, is, kill.clone()));
        Ok(Origin { addr, door, now, kill })
    }

    /// Sets the door and waits until it is so.
    pub async fn set(&self, door: Door) -> Result<()> {
        self.door.send_replace(door);
        let mut now = self.now.clone();
        now.wait_for(|is| *is == door).await?;
        Ok(())
    }

    /// Closes every open connection.
    pub fn kill_connections(&self) {
        self.kill.send_modify(|n| *n += 1);
    }
}

/// The port, held whether or not anything listens on it, so that nobody else takes it meanwhile.
enum Port {
    Open(TcpListener),
    Shut(Socket),
}

fn bind(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Binds a port that was ours a moment ago: a program that is being started at this moment has its listener, too, until it
/// is that program.
async fn bind_again(address: SocketAddr) -> std::io::Result<Socket> {
    let give_up = Instant::now() + Duration::from_secs(10);
    loop {
        match bind(address) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < give_up => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            done => return done,
        }
    }
}

fn listen(socket: Socket) -> std::io::Result<TcpListener> {
    // What Linux allows by default.
    socket.listen(4096)?;
    TcpListener::from_std(socket.into())
}

impl Port {
    async fn turn(self, door: Door, addr: SocketAddr) -> std::io::Result<Self> {
        match (self, door) {
            (Self::Open(listener), Door::Refuse) => {
                drop(listener);
                Ok(Self::Shut(bind_again(addr).await?))
            }
            (Self::Shut(socket), Door::Open | Door::Slam) => Ok(Self::Open(listen(socket)?)),
            (same, _) => Ok(same),
        }
    }
}

async fn accept(
    addr: SocketAddr,
    listener: TcpListener,
    h2: bool,
    registry: Arc<Registry>,
    mut wanted: watch::Receiver<Door>,
    is: watch::Sender<Door>,
    kill: watch::Sender<u64>,
) {
    let mut port = Port::Open(listener);
    loop {
        let door = *wanted.borrow_and_update();
        port = port.turn(door, addr).await.expect("a port that was ours a moment ago is free");
        is.send_replace(door);
        let changed = match &port {
            Port::Shut(_) => wanted.changed().await,
            Port::Open(listener) => tokio::select! {
                changed = wanted.changed() => changed,
                accepted = listener.accept() => {
                    if let Ok((socket, _)) = accepted
                        && door == Door::Open
                    {
                        tokio::spawn(serve(socket, h2, Arc::clone(&registry), kill.subscribe()));
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

async fn serve(socket: TcpStream, h2: bool, registry: Arc<Registry>, mut kill: watch::Receiver<u64>) {
    static IDS: AtomicU64 = AtomicU64::new(1);
    let id = IDS.fetch_add(1, Ordering::Relaxed);
    let _counted = registry.hold(Unit::Connection);
    let _ = socket.set_nodelay(true);
    let serving = async {
        if h2 {
            serve_h2(socket, id, registry.clone()).await
        } else {
            serve_h1(socket, id, registry.clone()).await
        }
    };
    tokio::select! {
        _ = serving => {}
        _ = kill.changed() => {}
    }
}

async fn serve_h1(socket: TcpStream, connection: u64, registry: Arc<Registry>) -> Result<()> {
    let (r, w) = tokio::io::split(Box::new(hair_trigger(socket)?) as AnySocket);
    let (mut rx, mut tx) = (H1Rx::new(r), H1Tx::new(w));
    let mut trap = Trap::None;
    while let Some(head) = rx.head().await? {
        let id = query(&head.target, "id").unwrap_or_default();
        let _in_flight = registry.hold(Unit::InFlight);
        registry.note(&id, Saw::Head(connection));
        rx.expect_request_body(&head)?;
        let close =
            head.first("connection").is_some_and(|v| v.eq_ignore_ascii_case("close")) || head.version == 0;
        let mut exchange = Exchange {
            id: id.clone(),
            connection,
            head,
            rx: BodyRx::H1(rx),
            reply: Reply::H1(tx),
            registry: registry.clone(),
            trap,
            next: None,
            spent: false,
        };
        let result = exchange.run().await;
        let (BodyRx::H1(rx_back), Reply::H1(tx_back)) = (exchange.rx, exchange.reply) else {
            bail!("an h1 exchange stays h1");
        };
        (rx, tx, trap) = (rx_back, tx_back, exchange.trap);
        if let Err(e) = result {
            registry.note(&id, Saw::Aborted(format!("{e:#}")));
            return Err(e);
        }
        if exchange.spent || close {
            return Ok(());
        }
    }
    Ok(())
}

/// Spins for a moment until the first request is there, so that the answer leaves within microseconds of it: the
/// fastest cell is the one that finds a proxy's races. After that moment reading goes on as usual.
fn hair_trigger(socket: TcpStream) -> Result<TcpStream> {
    // A proxy sends its first request within some tens of microseconds of the connect.
    const MOMENT: Duration = Duration::from_micros(300);
    let socket = socket.into_std()?;
    let begun = Instant::now();
    while begun.elapsed() < MOMENT
        && socket.peek(&mut [0]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
    {
        std::hint::spin_loop();
    }
    Ok(TcpStream::from_std(socket)?)
}

async fn serve_h2(socket: TcpStream, connection: u64, registry: Arc<Registry>) -> Result<()> {
    let mut builder = h2::server::Builder::new();
    // A window that lets a fast stream run and still shows missing back-pressure within a few MB.
    builder.initial_window_size(1 << 20).initial_connection_window_size(4 << 20).max_concurrent_streams(256);
    let mut server = builder.handshake::<_, Bytes>(socket).await?;
    let (trap_to, mut trap) = watch::channel(Trap::None);
    loop {
        let Some(next) = server.accept().await else { return Ok(()) };
        let (request, respond) = next?;
        let head = Head {
            method: request.method().to_string(),
            target: request.uri().path_and_query().map(|p| p.to_string()).unwrap_or_default(),
            status: 0,
            version: 20,
            headers: authority(&request).into_iter().chain(Head::from_headers(request.headers())).collect(),
        };
        let id = query(&head.target, "id").unwrap_or_default();
        registry.note(&id, Saw::Head(connection));
        let now = *trap.borrow_and_update();
        if now == Trap::Close {
            return Ok(());
        }
        let in_flight = registry.hold(Unit::InFlight);
        let mut exchange = Exchange {
            id,
            connection,
            head,
            rx: BodyRx::H2(request.into_body()),
            reply: Reply::H2 { respond, body: None },
            registry: registry.clone(),
            trap: now,
            next: Some(trap_to.clone()),
            spent: false,
        };
        let registry = registry.clone();
        tokio::spawn(async move {
            let _in_flight = in_flight;
            if let Err(e) = exchange.run().await {
                registry.note(&exchange.id, Saw::Aborted(format!("{e:#}")));
            }
        });
    }
}

fn authority<B>(request: &http::Request<B>) -> Option<(String, String)> {
    request.uri().authority().map(|a| (":authority".to_string(), a.to_string()))
}

/// The value of `key` in the query of `target`.
pub fn query(target: &str, key: &str) -> Option<String> {
    let (_, query) = target.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=').map(str::to_string))
}
