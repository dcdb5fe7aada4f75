//! Opens WebSockets over h1 (RFC 6455) and h2 (RFC 8441). What is said on them is the caller's.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, Method, StatusCode};
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::body;
use crate::cell::CELL_HEADER;
use crate::cell::websocket::accept_key;
use crate::client::{Ask, Client, Http, Line, Reply, SendError, read};

pub use tokio_tungstenite::tungstenite;

/// A WebSocket that is open. It holds its connection.
pub struct Socket {
    /// The messages; a `Stream` and a `Sink` of [`tungstenite::Message`].
    pub stream: WebSocketStream<TokioIo<Upgraded>>,
    /// Header fields of the answer that opened it.
    pub headers: HeaderMap,
    _line: Line,
}

impl Socket {
    /// The simulated cell at the other end.
    pub fn cell(&self) -> Option<&str> {
        self.headers.get(CELL_HEADER)?.to_str().ok()
    }
}

/// Why a WebSocket did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No answer.
    #[error(transparent)]
    Http(#[from] SendError),
    /// An answer that is not a WebSocket.
    #[error("the upgrade was answered {} {}", .0.status, .0.text().trim_end())]
    Refused(Box<Reply>),
    /// The key's proof is missing or wrong (RFC 6455 section 4.1, item 4).
    #[error("Sec-WebSocket-Accept is {0:?}")]
    BadAccept(Option<String>),
    /// The server does not allow extended CONNECT (RFC 8441 section 3).
    #[error("the h2 server did not allow extended CONNECT within {ALLOW_MAX:?}")]
    NotAllowed,
}

/// The server says in its first frame whether it allows extended CONNECT; this is for a slow one.
const ALLOW_MAX: Duration = Duration::from_secs(10);

/// Opens a WebSocket on a connection of its own, over the client's protocol. `ask` gives host, path and further
/// header fields.
pub async fn open(client: &Client, ask: &Ask) -> Result<Socket, OpenError> {
    let line = client.open(&ask.host).await?;
    open_on(line, ask).await
}

/// Opens a WebSocket on this connection: over h1 it becomes the connection, over h2 one of its streams.
pub async fn open_on(line: Line, ask: &Ask) -> Result<Socket, OpenError> {
    let (response, expected) = match line.http() {
        Http::H1 => {
            let key = STANDARD.encode(NONCE);
            let ask = ask
                .clone()
                .header("connection", "upgrade")
                .header(UPGRADE.as_str(), "websocket")
                .header(SEC_WEBSOCKET_VERSION.as_str(), "13")
                .header(SEC_WEBSOCKET_KEY.as_str(), &key);
            let request = ask.request(Http::H1, line.is_tls(), body::empty())?;
            (line.send(request).await?, Some(accept_key(key.as_bytes())))
        }
        Http::H2 => {
            if !line.allows_extended_connect(ALLOW_MAX).await {
                return Err(OpenError::NotAllowed);
            }
            let ask = ask.clone().method(Method::CONNECT).header(SEC_WEBSOCKET_VERSION.as_str(), "13");
            let mut request = ask.request(Http::H2, line.is_tls(), body::empty())?;
            let protocol = Protocol::from_static("websocket");
            request.extensions_mut().insert(protocol);
            (line.send(request).await?, None)
        }
    };
    let opened = match expected {
        Some(_) => StatusCode::SWITCHING_PROTOCOLS,
        None => StatusCode::OK,
    };
    if response.status() != opened {
        return Err(OpenError::Refused(Box::new(read(response).await?)));
    }
    let headers = response.headers().clone();
    if let Some(expected) = expected {
        let accept = headers.get(SEC_WEBSOCKET_ACCEPT);
        if accept.is_none_or(|accept| accept.as_bytes() != expected.as_bytes()) {
            let accept = accept.map(|a| String::from_utf8_lossy(a.as_bytes()).into_owned());
            return Err(OpenError::BadAccept(accept));
        }
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(SendError::Http)?;
    let stream = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
    Ok(Socket { stream, headers, _line: line })
}

/// The key proves that the server read it, not that it is random; a fixed one makes failures repeatable.
const NONCE: [u8; 16] = *b"cellgate-loadtst";
