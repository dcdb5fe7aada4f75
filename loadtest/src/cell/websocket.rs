//! A WebSocket at a simulated cell: accepts the upgrade of h1 (RFC 6455) and of h2 (RFC 8441) and echoes.
//!
//! Text and binary messages come back as they were, pings are answered, a close is answered with its own
//! code, and what breaks the protocol with 1002, 1007 or 1009 (RFC 6455 section 7.4.1). A text that begins with `sim:` is a command:
//!
//! | command | the cell then |
//! |---|---|
//! | `sim:seen` | sends the JSON description of the request that opened this socket |
//! | `sim:close CODE [REASON]` | closes with that code |
//! | `sim:ping TEXT` | sends a ping with that payload |
//! | `sim:push N MS` | sends `push 0` to `push N-1`, MS ms apart |
//! | `sim:drop` | ends the connection without a close frame |

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::Shared;
use super::seen::Seen;
use crate::body::{self, AnyBody};

/// Whether a request opens a WebSocket.
pub(crate) fn asked_for<B>(request: &Request<B>) -> bool {
    let over_h2 = request.method() == Method::CONNECT
        && request.extensions().get::<Protocol>().map(Protocol::as_str) == Some("websocket");
    let upgrade = request.headers().get(UPGRADE);
    over_h2 || upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Accepts and goes on echoing until the cell or the socket ends.
pub(crate) fn accept(cell: Arc<Shared>, mut request: Request<Incoming>, seen: Seen) -> Response<AnyBody> {
    let over_h2 = request.method() == Method::CONNECT;
    let key = request.headers().get(SEC_WEBSOCKET_KEY).cloned();
    let protocol = request.headers().get(SEC_WEBSOCKET_PROTOCOL).and_then(first);
    let upgraded = hyper::upgrade::on(&mut request);
    let mut response = match (over_h2, key) {
        (true, _) => cell.response(StatusCode::OK, body::empty()),
        (false, Some(key)) => switching(&cell, &key),
        (false, None) => {
            let text = "a WebSocket upgrade needs Sec-WebSocket-Key (RFC 6455 section 4.1)\n";
            return cell.told(StatusCode::BAD_REQUEST, text.to_owned());
        }
    };
    if let Some(protocol) = protocol {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    let tasks = cell.tasks.clone();
    tasks.spawn(async move {
        // A client that goes away between its request and the answer leaves nothing to do.
        if let Ok(upgraded) = upgraded.await {
            let open = cell.counters.open_websocket();
            let stream = TokioIo::new(upgraded);
            let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
            // Likewise: the socket's end is the end of this task, however it came.
            if let Ok(Over::Closed) = echo(&mut socket, &seen).await {
                drop(open);
                linger(socket.get_mut()).await;
            }
        }
    });
    response
}

/// The proof that the handshake was understood (RFC 6455 section 4.2.2, item 5.4).
pub(crate) fn accept_key(key: &[u8]) -> String {
    use aws_lc_rs::digest;
    let mut sum = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    sum.update(key);
    sum.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(sum.finish())
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;
type SocketError = tokio_tungstenite::tungstenite::Error;

fn switching(cell: &Shared, key: &HeaderValue) -> Response<AnyBody> {
    let mut response = cell.response(StatusCode::SWITCHING_PROTOCOLS, body::empty());
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(&accept_key(key.as_bytes()));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept.expect("base64 is a header value"));
    response
}

/// The first of the subprotocols offered.
fn first(offered: &HeaderValue) -> Option<HeaderValue> {
    let first = offered.to_str().ok()?.split(',').next()?.trim();
    HeaderValue::from_str(first).ok()
}

/// How an echo ended.
enum Over {
    /// With close frames.
    Closed,
    /// Because it was asked to drop the connection.
    Dropped,
}

/// Whoever is still sending after the close frames gets this long to notice, so that our close does not become a
/// reset that destroys them.
const LINGER: Duration = Duration::from_secs(2);

/// Ends our half, and reads what the client still sends.
async fn linger(stream: &mut TokioIo<Upgraded>) {
    let read = async {
        stream.shutdown().await?;
        tokio::io::copy(stream, &mut tokio::io::sink()).await
    };
    // Either it is closed or the time is up: both end here.
    let _ = tokio::time::timeout(LINGER, read).await;
}

/// What a client that broke the protocol is told, and whether it is told anything.
fn fault(error: &SocketError) -> Option<CloseFrame> {
    let code = match error {
        SocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return None,
        SocketError::Protocol(_) => CloseCode::Protocol,
        SocketError::Utf8(_) => CloseCode::Invalid,
        SocketError::Capacity(_) => CloseCode::Size,
        _ => return None,
    };
    Some(CloseFrame { code, reason: "".into() })
}

async fn echo(socket: &mut Socket, seen: &Seen) -> Result<Over, SocketError> {
    while let Some(message) = socket.next().await {
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                let Some(fault) = fault(&error) else { return Err(error) };
                socket.close(Some(fault)).await?;
                return Ok(Over::Closed);
            }
        };
        match message {
            Message::Text(text) => match text.as_str().strip_prefix("sim:") {
                Some("drop") => return Ok(Over::Dropped),
                Some(command) => obey(socket, command, seen).await?,
                None => socket.send(Message::Text(text)).await?,
            },
            Message::Binary(bytes) => socket.send(Message::Binary(bytes)).await?,
            // The library answers pings and closes itself, when it is next polled.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
        }
    }
    Ok(Over::Closed)
}

async fn obey(socket: &mut Socket, command: &str, seen: &Seen) -> Result<(), SocketError> {
    let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
    let (number, more) = rest.split_once(' ').unwrap_or((rest, ""));
    match (word, number.parse::<u16>()) {
        ("seen", _) => {
            let json = serde_json::to_string(seen).expect("strings and numbers are always JSON");
            socket.send(Message::text(json)).await
        }
        ("close", Ok(code)) => {
            let close = CloseFrame { code: code.into(), reason: more.into() };
            socket.close(Some(close)).await
        }
        ("ping", _) => {
            let payload = bytes::Bytes::copy_from_slice(rest.as_bytes());
            socket.send(Message::Ping(payload)).await
        }
        ("push", Ok(times)) => {
            let every = Duration::from_millis(more.parse().unwrap_or(0));
            for number in 0..times {
                tokio::time::sleep(every).await;
                socket.send(Message::text(format!("push {number}"))).await?;
            }
            Ok(())
        }
        _ => socket.send(Message::text(format!("sim: not understood: {command}"))).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_is_the_one_of_the_rfc() {
        // RFC 6455 section 1.3.
        let key = accept_key(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(key, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
