//! One member of a fleet: a WebSocket or a gRPC stream, as something that echoes.

use futures_util::{SinkExt, StreamExt};
use http::StatusCode;

use super::FleetOf;
use crate::ask::Ask;
use crate::call::Bidi;
use crate::client::Client;
use crate::socket::{self, Socket, tungstenite::Message};

pub(super) enum Member {
    WebSocket(Socket),
    Grpc(Bidi),
}

/// Why a member has ended.
pub(super) struct Ended(pub(super) String);

impl Member {
    pub(super) async fn open(of: FleetOf, client: &Client, ask: &Ask) -> Result<Self, String> {
        match of {
            FleetOf::WebSockets => match socket::open(client, ask).await {
                Ok(socket) => Ok(Self::WebSocket(socket)),
                Err(error) => Err(error.to_string()),
            },
            FleetOf::GrpcStreams => {
                let line = client.open(&ask.host).await.map_err(|e| e.to_string())?;
                let bidi = Bidi::open(&line, ask).await.map_err(|e| e.to_string())?;
                match (bidi.http_status(), bidi.headers().get("grpc-status")) {
                    (StatusCode::OK, None) => Ok(Self::Grpc(bidi)),
                    (status, grpc) => Err(format!("answered {status}, grpc-status {grpc:?}")),
                }
            }
        }
    }

    pub(super) fn cell(&self) -> Option<&str> {
        match self {
            Self::WebSocket(socket) => socket.cell(),
            Self::Grpc(bidi) => bidi.cell(),
        }
    }

    /// Waits for what should not come: anything while nothing was said. Pings are answered meanwhile.
    pub(super) async fn listen(&mut self) -> Ended {
        match self {
            Self::WebSocket(socket) => loop {
                match socket.stream.next().await {
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => return Ended(unexpected(other)),
                }
            },
            Self::Grpc(bidi) => match bidi.next().await {
                Ok(Some(message)) => Ended(format!("a message unasked: {message:?}")),
                Ok(None) => Ended("the server ended the stream".to_owned()),
                Err(error) => Ended(error.to_string()),
            },
        }
    }

    /// Says `message` and waits for it to come back.
    pub(super) async fn echo(&mut self, message: &str) -> Result<(), Ended> {
        let same = |got: &str| match got == message {
            true => Ok(()),
            false => Err(Ended(format!("said {message:?}, got {got:?} back"))),
        };
        match self {
            Self::WebSocket(socket) => {
                let sent = socket.stream.send(Message::text(message)).await;
                sent.map_err(|error| Ended(format!("speaking: {error}")))?;
                loop {
                    match socket.stream.next().await {
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        Some(Ok(Message::Text(text))) => return same(&text),
                        other => return Err(Ended(unexpected(other))),
                    }
                }
            }
            Self::Grpc(bidi) => {
                if !bidi.send(message.as_bytes()).await {
                    return Err(Ended("the stream takes no more messages".to_owned()));
                }
                match bidi.next().await {
                    Ok(Some(got)) => same(&String::from_utf8_lossy(&got)),
                    Ok(None) => Err(Ended("the server ended the stream".to_owned())),
                    Err(error) => Err(Ended(error.to_string())),
                }
            }
        }
    }

    /// Ends in order: a close frame that is answered, or trailers with `grpc-status: 0`.
    pub(super) async fn close(self) -> Result<(), Ended> {
        match self {
            Self::WebSocket(mut socket) => {
                let closed = socket.stream.close(None).await;
                closed.map_err(|error| Ended(format!("closing: {error}")))?;
                loop {
                    match socket.stream.next().await {
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        Some(Ok(Message::Close(_))) => return Ok(()),
                        other => return Err(Ended(format!("closing: {}", unexpected(other)))),
                    }
                }
            }
            Self::Grpc(bidi) => match bidi.end().await {
                Ok(end) if end.status() == Some(0) => Ok(()),
                Ok(end) => Err(Ended(format!("closing: grpc-status {:?}", end.status()))),
                Err(error) => Err(Ended(format!("closing: {error}"))),
            },
        }
    }
}

fn unexpected(message: Option<Result<Message, socket::tungstenite::Error>>) -> String {
    match message {
        Some(Ok(Message::Close(Some(frame)))) => format!("closed by the server: {frame}"),
        Some(Ok(Message::Close(None))) => "closed by the server without a code".to_owned(),
        Some(Ok(message)) => format!("a message unasked: {message:?}"),
        Some(Err(error)) => error.to_string(),
        None => "ended without a close frame".to_owned(),
    }
}
