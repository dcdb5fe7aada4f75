//! The clients: HTTP/1.1 and prior-knowledge h2 behind one `Client` / `Call` pair.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use cellgate::policy::snapshot::Snapshot;
use loadtest::cell::RunningCell;
use loadtest::tls::ClientTls;
use tokio::net::TcpStream;

use crate::edge::{HOST_H1, HOST_H2};
use crate::leaving::Leaving;
use crate::origin::{Door, Origin};
use crate::registry::Registry;
use crate::table::SOON;
use crate::wire::{AnySocket, BodyRx, BodyTx, H1Rx, H1Tx, Head};

/// A protocol on one side of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proto {
    H1,
    H2,
}

/// Both sides: what the client speaks, what the cell speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Legs {
    pub down: Proto,
    pub up: Proto,
    /// The client comes by TLS.
    pub tls: bool,
}

impl Legs {
    pub const fn clear(down: Proto, up: Proto) -> Self {
        Self { down, up, tls: false }
    }

    const fn over_tls(down: Proto, up: Proto) -> Self {
        Self { down, up, tls: true }
    }
}

pub const LEGS: [Legs; 4] = [
    Legs::clear(Proto::H1, Proto::H1),
    Legs::clear(Proto::H1, Proto::H2),
    Legs::clear(Proto::H2, Proto::H1),
    Legs::clear(Proto::H2, Proto::H2),
];

/// Clients by TLS. A TLS stream buffers, so pace and deadlocks can differ.
pub const TLS_LEGS: [Legs; 4] = [
    Legs::over_tls(Proto::H1, Proto::H1),
    Legs::over_tls(Proto::H1, Proto::H2),
    Legs::over_tls(Proto::H2, Proto::H1),
    Legs::over_tls(Proto::H2, Proto::H2),
];

pub const H1_CLIENT: [Legs; 2] = [LEGS[0], LEGS[1]];
pub const H1_CELL: [Legs; 2] = [LEGS[0], LEGS[2]];
pub const BOTH_H1: Legs = LEGS[0];
pub const BOTH_H2: Legs = LEGS[3];

impl std::fmt::Display for Legs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |p| if p == Proto::H1 { "h1" } else { "h2" };
        let tls = if self.tls { "+tls" } else { "" };
        write!(f, "{}{tls}->{}", name(self.down), name(self.up))
    }
}

/// An edge under test and the cells behind it.
pub struct Fixture {
    pub http: SocketAddr,
    pub h2c: SocketAddr,
    pub https: SocketAddr,
    pub tls: ClientTls,
    pub registry: Arc<Registry>,
    pub origin_h1: Origin,
    pub origin_h2: Origin,
    pub simulated: RunningCell,
    pub leaving: Leaving,
    pub snapshot: Arc<Snapshot>,
}

impl Fixture {
    pub fn host(&self, up: Proto) -> &'static str {
        if up == Proto::H1 { HOST_H1 } else { HOST_H2 }
    }

    pub fn origin(&self, up: Proto) -> &Origin {
        if up == Proto::H1 { &self.origin_h1 } else { &self.origin_h2 }
    }

    /// The target of a behaviour with a fresh id; returns both.
    pub fn target(&self, behaviour: &str) -> (String, String) {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let id = format!("r{}", IDS.fetch_add(1, Ordering::Relaxed));
        let join = if behaviour.contains('?') { '&' } else { '?' };
        (format!("/mx/{behaviour}{join}id={id}"), id)
    }

    /// Where a client of these legs connects.
    pub fn door(&self, legs: Legs) -> SocketAddr {
        match (legs.tls, legs.down) {
            (true, _) => self.https,
            (false, Proto::H1) => self.http,
            (false, Proto::H2) => self.h2c,
        }
    }

    pub async fn client(&self, legs: Legs) -> Result<Client> {
        let tcp = TcpStream::connect(self.door(legs)).await.context("connecting to the edge")?;
        tcp.set_nodelay(true)?;
        let (tcp, control) = with_control(tcp)?;
        let socket: AnySocket = if legs.tls {
            let alpn = if legs.down == Proto::H1 { "http/1.1" } else { "h2" };
            let connector = self.tls.connector(&[alpn])?;
            let name = rustls::pki_types::ServerName::try_from(self.host(legs.up))?;
            Box::new(connector.connect(name, tcp).await.context("TLS with the edge")?)
        } else {
            Box::new(tcp)
        };
        Client::over(socket, legs.down, control).await
    }

    pub fn request(&self, legs: Legs, method: &str, behaviour: &str) -> Request {
        let (target, id) = self.target(behaviour);
        Request {
            id,
            method: method.into(),
            scheme: if legs.tls { "https" } else { "http" },
            host: self.host(legs.up).into(),
            target,
            headers: Vec::new(),
            body: Body::None,
        }
    }

    /// One request on a fresh connection.
    pub async fn call(&self, legs: Legs, request: &Request) -> Result<Call> {
        self.client(legs).await?.send(request).await
    }

    /// The next piece of an answer whose cell waits with each for the one before: what is held back never comes.
    pub async fn step(&self, id: &str, rx: &mut CallRx) -> Result<Option<Bytes>> {
        let next = tokio::time::timeout(SOON, rx.data()).await;
        let piece = next.map_err(|_| anyhow!("held back after {} bytes", self.registry.taken(id)))??;
        self.registry.took(id, piece.as_ref().map_or(0, Bytes::len));
        Ok(piece)
    }

    /// The state between two rows: doors open, and no pooled connection that a row has set a trap on.
    pub async fn settle(&self) -> Result<()> {
        self.origin_h1.set(Door::Open).await?;
        self.origin_h2.set(Door::Open).await?;
        self.cold().await
    }

    /// Closes what is open to the cells.
    pub async fn cold(&self) -> Result<()> {
        self.origin_h1.kill_connections();
        self.origin_h2.kill_connections();
        let closed = "all connections to the cells closed";
        self.registry.wait(closed, SOON, |r| r.connections() == 0).await.map(drop)
    }

    /// The edge may not have seen yet that its HTTP/2 connection to a cell is closed: a request that must not go twice would
    /// be lost on it. Afterwards the next request finds one that is open.
    pub async fn connected(&self) -> Result<()> {
        let legs = Legs { down: Proto::H1, up: Proto::H2, tls: false };
        let get = || async { self.call(legs, &self.request(legs, "GET", "hello")).await?.whole().await };
        // The first may meet the old connection at a time when the cell's budget for sending again is used up.
        if get().await?.0.status == 502 {
            expect_status(&get().await?.0, &[200])?;
        }
        Ok(())
    }

    /// Waits until no exchange is left running at a cell.
    pub async fn tidy(&self, within: Duration) -> Result<()> {
        let left = self.registry.wait("no exchange left running at a cell", within, |r| r.in_flight() == 0);
        left.await.map(drop)
    }
}

/// A second hand on the socket, to reset it by; closing takes both.
fn with_control(tcp: TcpStream) -> Result<(TcpStream, std::net::TcpStream)> {
    let tcp = tcp.into_std()?;
    let control = tcp.try_clone()?;
    Ok((TcpStream::from_std(tcp)?, control))
}

/// How a request's body is announced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Body {
    None,
    Length(u64),
    /// Chunked on h1, unannounced on h2.
    Stream,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub id: String,
    pub method: String,
    scheme: &'static str,
    pub host: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Body,
}

impl Request {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// The head as HTTP/1.1 text.
    pub fn h1_head(&self) -> String {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.target, self.host);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.body {
            Body::None => {}
            Body::Length(n) => text.push_str(&format!("Content-Length: {n}\r\n")),
            Body::Stream => text.push_str("Transfer-Encoding: chunked\r\n"),
        }
        text + "\r\n"
    }

    fn h2(&self) -> Result<http::Request<()>> {
        let uri = http::Uri::builder()
            .scheme(self.scheme)
            .authority(self.host.as_str())
            .path_and_query(self.target.as_str())
            .build()?;
        let mut request =
            http::Request::builder().method(self.method.as_str()).uri(uri).version(http::Version::HTTP_2);
        for (name, value) in &self.headers {
            request = request.header(name.as_str(), value.as_str());
        }
        if let Body::Length(n) = self.body {
            request = request.header("content-length", n);
        }
        Ok(request.body(())?)
    }
}

/// A client connection with no call on it.
pub enum Client {
    H1(H1Rx, H1Tx, std::net::TcpStream),
    H2(H2Client),
}

/// One h2 connection; it lives while a handle lives.
#[derive(Clone)]
pub struct H2Client {
    send: h2::client::SendRequest<Bytes>,
    _task: Arc<AbortOnDrop>,
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    async fn over(socket: AnySocket, down: Proto, control: std::net::TcpStream) -> Result<Client> {
        if down == Proto::H1 {
            let (r, w) = tokio::io::split(socket);
            return Ok(Client::H1(H1Rx::new(r), H1Tx::new(w), control));
        }
        let mut builder = h2::client::Builder::new();
        // As the cell's: fast, and a missing back-pressure still shows.
        builder.initial_window_size(1 << 20).initial_connection_window_size(4 << 20).enable_push(false);
        let (send, connection) = builder.handshake(socket).await?;
        let task = Arc::new(AbortOnDrop(tokio::spawn(async move {
            let _ = connection.await;
        })));
        Ok(Client::H2(H2Client { send, _task: task }))
    }

    pub async fn send(self, request: &Request) -> Result<Call> {
        match self {
            Client::H1(rx, mut tx, control) => {
                tx.raw(request.h1_head()).await?;
                tx.chunked = request.body == Body::Stream;
                Ok(Call {
                    method: request.method.clone(),
                    tx: BodyTx::H1(tx),
                    rx: CallRx::H1(rx),
                    line: Line::H1(control),
                    informational: Vec::new(),
                })
            }
            Client::H2(h2) => {
                let mut ready = h2.send.clone().ready().await?;
                let (response, stream) = ready.send_request(request.h2()?, request.body == Body::None)?;
                let rx = CallRx::H2 { response, body: None };
                Ok(Call {
                    method: request.method.clone(),
                    tx: BodyTx::H2(stream),
                    rx,
                    line: Line::H2(h2),
                    informational: Vec::new(),
                })
            }
        }
    }
}

pub enum CallRx {
    H1(H1Rx),
    H2 { response: h2::client::ResponseFuture, body: Option<BodyRx> },
}

/// What outlives the call.
enum Line {
    H1(std::net::TcpStream),
    H2(H2Client),
}

/// One exchange; both halves may be used at once.
pub struct Call {
    method: String,
    pub tx: BodyTx,
    pub rx: CallRx,
    line: Line,
    pub informational: Vec<Head>,
}

impl CallRx {
    pub async fn data(&mut self) -> Result<Option<Bytes>> {
        match self {
            CallRx::H1(rx) => rx.data().await,
            CallRx::H2 { body, .. } => body.as_mut().ok_or_else(|| anyhow!("no head yet"))?.data().await,
        }
    }

    pub async fn text(&mut self) -> Result<String> {
        let mut all = Vec::new();
        while let Some(piece) = self.data().await? {
            all.extend_from_slice(&piece);
        }
        Ok(String::from_utf8_lossy(&all).into_owned())
    }

    pub async fn trailers(&mut self) -> Result<Vec<(String, String)>> {
        match self {
            CallRx::H1(rx) => Ok(rx.trailers.clone()),
            CallRx::H2 { body, .. } => body.as_mut().ok_or_else(|| anyhow!("no head yet"))?.trailers().await,
        }
    }

    /// The next head, informational or final.
    pub async fn any_head(&mut self, method: &str) -> Result<Head> {
        match self {
            CallRx::H1(rx) => {
                let head = rx.head().await?.ok_or_else(|| anyhow!("closed without a response"))?;
                rx.expect_response_body(&head, method)?;
                Ok(head)
            }
            CallRx::H2 { response, body } => {
                let early = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
                if let Some(Ok(early)) = early {
                    return Ok(Head {
                        status: early.status().as_u16(),
                        version: 20,
                        headers: Head::from_headers(early.headers()),
                        ..Head::default()
                    });
                }
                let (parts, stream) = response.await.context("no response")?.into_parts();
                *body = Some(BodyRx::H2(stream));
                Ok(Head {
                    status: parts.status.as_u16(),
                    version: 20,
                    headers: Head::from_headers(&parts.headers),
                    ..Head::default()
                })
            }
        }
    }

    /// The final head; informational ones on the way are returned beside it.
    pub async fn final_head(&mut self, method: &str) -> Result<(Head, Vec<Head>)> {
        let mut early = Vec::new();
        loop {
            let head = self.any_head(method).await?;
            if head.status >= 200 || head.status == 101 {
                return Ok((head, early));
            }
            early.push(head);
        }
    }
}

impl Call {
    pub async fn head(&mut self) -> Result<Head> {
        let (head, early) = self.rx.final_head(&self.method).await?;
        self.informational = early;
        Ok(head)
    }

    pub async fn any_head(&mut self) -> Result<Head> {
        self.rx.any_head(&self.method).await
    }

    /// Head and whole body of a small response.
    pub async fn whole(&mut self) -> Result<(Head, String)> {
        let head = self.head().await?;
        let text = self.rx.text().await?;
        Ok((head, text))
    }

    /// A second handle on an h2 connection, for calls side by side.
    pub fn reuse_handle(&self) -> Option<Client> {
        match &self.line {
            Line::H2(h2) => Some(Client::H2(h2.clone())),
            Line::H1(_) => None,
        }
    }

    /// Gives the connection back for another call.
    pub fn reuse(self) -> Result<Client> {
        match (self.line, self.rx, self.tx) {
            (Line::H2(h2), _, _) => Ok(Client::H2(h2)),
            (Line::H1(control), CallRx::H1(rx), BodyTx::H1(tx)) => Ok(Client::H1(rx, tx, control)),
            _ => bail!("mixed halves"),
        }
    }

    /// Closes the connection: FIN.
    pub fn close(self) {}

    /// Resets: on h2 the stream, while the connection lives on in what is returned; on h1 the connection.
    pub fn reset(self) -> Result<Option<H2Client>> {
        match (self.line, self.tx) {
            (Line::H2(h2), BodyTx::H2(mut stream)) => {
                stream.send_reset(h2::Reason::CANCEL);
                Ok(Some(h2))
            }
            (Line::H1(control), _) => {
                socket2::SockRef::from(&control).set_linger(Some(Duration::ZERO))?;
                Ok(None)
            }
            (Line::H2(_), BodyTx::H1(_)) => bail!("mixed halves"),
        }
    }
}

/// What every plain case asserts.
pub fn expect_status(head: &Head, allowed: &[u16]) -> Result<()> {
    ensure!(
        allowed.contains(&head.status),
        "status {}, wanted one of {allowed:?}: {:?}",
        head.status,
        head.headers
    );
    Ok(())
}

/// Splits a gRPC body into messages.
pub fn messages(mut body: &[u8]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    while !body.is_empty() {
        ensure!(body.len() >= 5, "half a gRPC prefix");
        let n = u32::from_be_bytes([body[1], body[2], body[3], body[4]]) as usize;
        ensure!(body.len() >= 5 + n, "half a gRPC message");
        all.push(String::from_utf8_lossy(&body[5..5 + n]).into_owned());
        body = &body[5 + n..];
    }
    Ok(all)
}
