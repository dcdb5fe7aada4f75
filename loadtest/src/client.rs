//! An HTTP client that does what it is told, once: one connection is one [`Line`], one request one answer. No
//! redirects, no cookies, no pool and no retry, so that a test sees what the server did. The load generator
//! builds its own pool of lines.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

pub use crate::ask::{Ask, Reply};
pub use crate::failure::{FailureKind, SendError};

use crate::body::{self, AnyBody};
use crate::cell::behaviour::lock;
use crate::tls::{ClientTls, TlsError};

/// The protocol of a connection. With TLS it is asked for by ALPN, without TLS h2 is spoken by prior knowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    /// HTTP/1.1
    H1,
    /// HTTP/2
    H2,
}

/// Where to connect and how; opens [`Line`]s.
#[derive(Clone)]
pub struct Client {
    target: SocketAddr,
    http: Http,
    tls: Option<TlsConnector>,
}

impl Client {
    /// A client for `target`, without TLS.
    pub fn new(target: SocketAddr, http: Http) -> Self {
        Self { target, http, tls: None }
    }

    /// A client for `target` over TLS; each line names its host in SNI.
    pub fn tls(target: SocketAddr, http: Http, tls: &ClientTls) -> Result<Self, TlsError> {
        let alpn = match http {
            Http::H1 => "http/1.1",
            Http::H2 => "h2",
        };
        Ok(Self { target, http, tls: Some(tls.connector(&[alpn])?) })
    }

    /// The protocol that its lines speak.
    pub fn http(&self) -> Http {
        self.http
    }

    /// Opens a connection for `host`, TLS and HTTP handshake included, within [`OPEN_MAX`].
    pub async fn open(&self, host: &str) -> Result<Line, SendError> {
        let opened = tokio::time::timeout(OPEN_MAX, self.dial(host)).await;
        opened.unwrap_or(Err(SendError::ConnectTimeout))
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, ask: &Ask) -> Result<Reply, SendError> {
        self.open(&ask.host).await?.ask(ask).await
    }

    async fn dial(&self, host: &str) -> Result<Line, SendError> {
        let stream = TcpStream::connect(self.target).await.map_err(SendError::Connect)?;
        stream.set_nodelay(true).map_err(SendError::Connect)?;
        let Some(tls) = &self.tls else {
            return Line::over(stream, self.http, false).await;
        };
        let name = ServerName::try_from(host_name(host).to_owned())
            .map_err(|_| SendError::Unusable(format!("{host:?} is no server name for TLS")))?;
        let stream = tls.connect(name, stream).await.map_err(SendError::Tls)?;
        Line::over(stream, self.http, true).await
    }
}

/// Longest wait for a connection: longer than any listener that works, shorter than a test's patience.
pub const OPEN_MAX: Duration = Duration::from_secs(10);

/// One connection. It closes when the line and all its clones (h2) are dropped.
#[derive(Clone)]
pub struct Line {
    sender: Sender,
    tls: bool,
    driver: Arc<Driver>,
}

#[derive(Clone)]
enum Sender {
    /// Locked while a request is sent: one at a time on a connection.
    H1(Arc<tokio::sync::Mutex<http1::SendRequest<AnyBody>>>),
    H2 {
        sender: http2::SendRequest<AnyBody>,
        /// Whether the server has allowed extended CONNECT.
        extended_connect: watch::Receiver<bool>,
    },
}

/// The task that moves a connection's bytes; ends with its line.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Line {
    async fn over<S>(stream: S, http: Http, tls: bool) -> Result<Self, SendError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        // In both cases: how a connection ends is told to the requests on it.
        let (sender, driver) = match http {
            Http::H1 => {
                let (sender, connection) = http1::handshake(io).await?;
                let connection = connection.with_upgrades();
                let driver = tokio::spawn(async move { drop(connection.await) });
                (Sender::H1(Arc::new(sender.into())), driver)
            }
            Http::H2 => {
                let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .max_header_list_size(H2_HEADERS_MAX)
                    .handshake(io)
                    .await?;
                let (allowed, extended_connect) = watch::channel(false);
                let driver = tokio::spawn(drive_h2(connection, allowed));
                let sender = Sender::H2 { sender, extended_connect };
                (sender, driver)
            }
        };
        Ok(Self { sender, tls, driver: Arc::new(Driver(driver)) })
    }

    /// The protocol spoken.
    pub fn http(&self) -> Http {
        match self.sender {
            Sender::H1(_) => Http::H1,
            Sender::H2 { .. } => Http::H2,
        }
    }

    /// Whether the connection is known to be over.
    pub fn is_closed(&self) -> bool {
        self.driver.0.is_finished()
            || match &self.sender {
                Sender::H1(sender) => sender.try_lock().is_ok_and(|sender| sender.is_closed()),
                Sender::H2 { sender, .. } => sender.is_closed(),
            }
    }

    /// Waits until the connection is over, however it ends; false if it is not `within` the time.
    pub async fn closes(&self, within: Duration) -> bool {
        let closed = async {
            while !self.driver.0.is_finished() {
                tokio::time::sleep(STATE_POLL).await;
            }
        };
        tokio::time::timeout(within, closed).await.is_ok()
    }

    /// Sends a request and reads the whole answer.
    pub async fn ask(&self, ask: &Ask) -> Result<Reply, SendError> {
        let mut request = ask.request(self.http(), self.tls, body::full(ask.body.clone()))?;
        let informational = Arc::new(Mutex::new(Vec::new()));
        let noted = informational.clone();
        hyper::ext::on_informational(&mut request, move |response| {
            lock(&noted).push(response.status().as_u16());
        });
        let mut reply = read(self.send(request).await?).await?;
        reply.informational = std::mem::take(&mut lock(&informational));
        Ok(reply)
    }

    /// Sends a head with a body that is streamed, and returns as soon as the head of the answer is there. The
    /// body is any `http_body` that can be boxed.
    pub async fn stream<B>(&self, ask: &Ask, body: B) -> Result<Response<Incoming>, SendError>
    where
        B: hyper::body::Body<Data = Bytes, Error = std::convert::Infallible> + Send + 'static,
    {
        let body = body.map_err(body::never).boxed_unsync();
        self.send(ask.request(self.http(), self.tls, body)?).await
    }

    /// Waits until the server has allowed extended CONNECT (RFC 8441 section 3), which it does in its first frame.
    pub(crate) async fn allows_extended_connect(&self, within: Duration) -> bool {
        let Sender::H2 { extended_connect, .. } = &self.sender else {
            return false;
        };
        let mut allowed = extended_connect.clone();
        let allowed = allowed.wait_for(|allowed| *allowed);
        tokio::time::timeout(within, allowed).await.is_ok_and(|said| said.is_ok())
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls
    }

    /// Sends a request of the HTTP library.
    pub(crate) async fn send(&self, request: Request<AnyBody>) -> Result<Response<Incoming>, SendError> {
        match &self.sender {
            Sender::H1(sender) => {
                let answer = {
                    let mut sender = sender.lock().await;
                    sender.ready().await.map_err(SendError::NotTaken)?;
                    sender.send_request(request)
                };
                Ok(answer.await?)
            }
            Sender::H2 { sender, .. } => {
                let mut sender = sender.clone();
                sender.ready().await.map_err(SendError::NotTaken)?;
                Ok(sender.send_request(request).await?)
            }
        }
    }
}

/// Moves an h2 connection's bytes, and tells once when the server has allowed extended CONNECT.
async fn drive_h2<S>(
    mut connection: http2::Connection<TokioIo<S>, AnyBody, TokioExecutor>,
    allowed: watch::Sender<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut looks = ALLOW_LOOKS;
    while looks > 0 {
        tokio::select! {
            over = &mut connection => return drop(over),
            // The library learns it in a task of its own, so there is nothing to wait for.
            () = tokio::time::sleep(STATE_POLL) => looks -= 1,
        }
        if connection.is_extended_connect_protocol_enabled() {
            allowed.send_modify(|allowed| *allowed = true);
            break;
        }
    }
    // How a connection ends is told to the requests on it.
    drop(connection.await);
}

/// How often to look whether extended CONNECT is allowed: for some seconds, then the server has long said no.
const ALLOW_LOOKS: u32 = 1_000;

/// How often a state is looked at that tells nobody when it changes.
const STATE_POLL: Duration = Duration::from_millis(2);

/// Room for the large heads that tests send.
const H2_HEADERS_MAX: u32 = 256 * 1024;

/// Reads an answer to its end.
pub(crate) async fn read(response: Response<Incoming>) -> Result<Reply, SendError> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(SendError::Body)?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok(Reply {
        status: head.status,
        version: head.version,
        headers: head.headers,
        body: body.to_bytes(),
        trailers,
        informational: Vec::new(),
    })
}

/// A host without its port.
fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    }
}
