//! Messages on open WebSockets (RFC 6455), each answered by its echo.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::answer::{Fault, head};
use super::ask::{Ask, SOCKET_TARGET};
use super::http1::Words;
use super::line::Line;
use super::load::{Answered, Load, Worker};
use crate::bench::incoming::HEAD_BYTES_MAX;
use crate::bench::table::LEGACY_HOST;
use crate::cell::websocket::accept_key;

/// Workers with a WebSocket each.
pub(super) fn sockets(count: usize) -> Vec<Sockets> {
    (0..count).map(|_| Sockets { kept: None, sent: 0 }).collect()
}

/// One WebSocket, opened again when it has ended.
pub(super) struct Sockets {
    kept: Option<WebSocketStream<Line>>,
    /// Messages so far: each is another, so that the echo of one is not taken for that of the next.
    sent: u64,
}

/// A message is as long as the answer to a small query, in bytes.
const MESSAGE_BYTES: usize = 100;

/// The key proves that the server read it, not that it is random.
const NONCE: [u8; 16] = *b"cellgate-bench-1";

impl Worker for Sockets {
    async fn open(&mut self, load: &Load) -> Result<(), Fault> {
        if self.kept.is_none() {
            self.kept = Some(opened(load, load.pick(false)).await?);
        }
        Ok(())
    }

    async fn ask(&mut self, _: &Load) -> Result<Answered, Fault> {
        let mut socket = self.kept.take().ok_or_else(|| Fault::lost("the WebSocket is not open"))?;
        self.sent += 1;
        let mut message = vec![b'm'; MESSAGE_BYTES];
        message[..8].copy_from_slice(&self.sent.to_be_bytes());
        let message = Bytes::from(message);
        socket.send(Message::Binary(message.clone())).await.map_err(Fault::lost)?;
        loop {
            match socket.next().await.transpose().map_err(Fault::lost)? {
                Some(Message::Binary(echo)) if echo == message => break,
                // The library answers a ping.
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                Some(Message::Binary(_) | Message::Text(_)) => {
                    return Err(Fault::Wrong("another message than the one sent".to_owned()));
                }
                _ => return Err(Fault::lost("the WebSocket was closed")),
            }
        }
        let resumed = socket.get_ref().resumed();
        self.kept = Some(socket);
        Ok(Answered { resumed })
    }
}

/// Opens a WebSocket to the account's own host.
async fn opened(load: &Load, ask: Ask) -> Result<WebSocketStream<Line>, Fault> {
    let mut line = load.connect(LEGACY_HOST).await?;
    let mut words = Words::with(HEAD_BYTES_MAX);
    let key = STANDARD.encode(NONCE);
    ask.write_get(load.table, Some(SOCKET_TARGET), &mut words.outgoing);
    words.outgoing.truncate(words.outgoing.len() - b"\r\n".len());
    let fields = format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    );
    words.outgoing.extend_from_slice(fields.as_bytes());
    words.send(&mut line).await?;
    let head = loop {
        match head(words.incoming.unread())? {
            Some(head) => break head,
            None => words.incoming.fill(&mut line).await?,
        }
    };
    head.told.check(101, ask, load.table, load.expected)?;
    let proof = accept_key(key.as_bytes());
    if !String::from_utf8_lossy(&words.incoming.unread()[..head.bytes]).contains(&proof) {
        return Err(Fault::Wrong(format!("an upgrade without the proof {proof}")));
    }
    words.incoming.consume(head.bytes);
    let unread = words.incoming.unread().to_vec();
    Ok(WebSocketStream::from_partially_read(line, unread, Role::Client, None).await)
}
