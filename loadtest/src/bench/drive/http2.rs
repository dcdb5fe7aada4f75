//! HTTP/2: many requests at once on few connections, and gRPC calls.

use std::rc::Rc;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::header::{AUTHORIZATION, CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use tokio::sync::Mutex;
use tokio::task::spawn_local;

use super::GRPC_STREAMS;
use super::answer::{DEPRECATION, Fault, Told, cell};
use super::ask::{Ask, CALL_TARGET, FIELDS};
use super::load::{Answered, Load, Worker};
use crate::bench::table::{CELL_HEADER, LEGACY_HOST};
use crate::frame::framed;

/// Workers that ask about accounts, to the legacy host and to cell hosts by turns.
pub(super) fn gets(connections: usize, streams: usize) -> Vec<Streams> {
    workers(connections, streams, false)
}

/// Workers that make gRPC calls.
pub(super) fn calls(connections: usize) -> Vec<Streams> {
    workers(connections, GRPC_STREAMS, true)
}

fn workers(connections: usize, streams: usize, grpc: bool) -> Vec<Streams> {
    let connections = (0..connections).map(|_| Rc::new(Connection::default()));
    connections
        .flat_map(|connection| (0..streams).map(move |_| connection.clone()))
        .map(|connection| Streams { connection, sender: None, written: Vec::new(), grpc, legacy: false })
        .collect()
}

/// One stream at a time of a connection that others use too.
pub(super) struct Streams {
    connection: Rc<Connection>,
    /// Of the present connection, with its number.
    sender: Option<Numbered>,
    /// Kept to write hosts, targets and tokens into.
    written: Vec<u8>,
    grpc: bool,
    legacy: bool,
}

/// A connection, opened again when it has ended.
#[derive(Default)]
struct Connection(Mutex<Option<Numbered>>);

/// How many connections there were before this one, so that whoever has seen it fail knows whether another has opened the
/// next already.
#[derive(Clone)]
struct Numbered {
    number: u64,
    sender: SendRequest<Bytes>,
}

/// What a stream and a connection may be sent before we say to go on: enough that nobody waits for us.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * STREAM_WINDOW_BYTES;

impl Connection {
    /// The present connection, or the next where that is `failed`.
    async fn sender(&self, load: &Load, failed: Option<u64>) -> Result<Numbered, Fault> {
        let mut kept = self.0.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| failed != Some(kept.number)) {
            return Ok(kept.clone());
        }
        let line = load.connect(LEGACY_HOST).await?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(STREAM_WINDOW_BYTES);
        builder.initial_connection_window_size(CONNECTION_WINDOW_BYTES).enable_push(false);
        let (sender, connection) = builder.handshake(line).await.map_err(Fault::lost)?;
        // What ends it is seen by each of its streams.
        spawn_local(async move {
            let _ = connection.await;
        });
        let number = kept.as_ref().map_or(0, |kept| kept.number + 1);
        Ok(kept.insert(Numbered { number, sender }).clone())
    }
}

impl Worker for Streams {
    async fn open(&mut self, load: &Load) -> Result<(), Fault> {
        if self.sender.is_none() {
            self.sender = Some(self.connection.sender(load, None).await?);
        }
        Ok(())
    }

    async fn ask(&mut self, load: &Load) -> Result<Answered, Fault> {
        let mut sender = self.ready(load).await?;
        self.legacy = !self.legacy && !self.grpc;
        let ask = load.pick(self.legacy);
        let request = self.request(load, ask)?;
        let answered = match self.grpc {
            false => whole(&mut sender, request, None, load, ask).await.map(|_| ()),
            true => call(&mut sender, request, load, ask).await,
        };
        if let Err(Fault::Lost(_)) = answered {
            // The stream alone may have failed; whether the connection has is seen before the next.
            self.sender = None;
        }
        answered.map(|()| Answered::default())
    }
}

impl Streams {
    /// Waits until the connection takes another stream. One that takes none, because it was told to end (GOAWAY), has failed
    /// nobody: the request goes on the next.
    async fn ready(&mut self, load: &Load) -> Result<SendRequest<Bytes>, Fault> {
        let mut failed = None;
        loop {
            let now = match self.sender.take() {
                Some(now) if failed.is_none() => now,
                _ => self.connection.sender(load, failed).await?,
            };
            match now.sender.clone().ready().await {
                Ok(ready) => {
                    self.sender = Some(now);
                    return Ok(ready);
                }
                Err(error) if failed.is_some() => return Err(Fault::lost(error)),
                Err(_) => failed = Some(now.number),
            }
        }
    }

    fn request(&mut self, load: &Load, ask: Ask) -> Result<Request<()>, Fault> {
        let mut request = Request::new(());
        self.written.clear();
        self.written.extend_from_slice(if load.door.tls.is_some() { b"https://" } else { b"http://" });
        ask.write_host(load.table, &mut self.written);
        match self.grpc {
            false => ask.write_target(load.table, &mut self.written),
            true => self.written.extend_from_slice(CALL_TARGET.as_bytes()),
        }
        *request.uri_mut() = Uri::try_from(&self.written[..]).map_err(Fault::lost)?;
        let headers = request.headers_mut();
        for (name, value) in FIELDS {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        self.written.clear();
        ask.write_token(load.table, &mut self.written);
        headers.insert(AUTHORIZATION, HeaderValue::from_bytes(&self.written).map_err(Fault::lost)?);
        if self.grpc {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(TE, HeaderValue::from_static("trailers"));
            *request.method_mut() = Method::POST;
        }
        Ok(request)
    }
}

/// Sends a request, with this body if there is one, and reads its whole answer, which must be 200 from the right cell.
async fn whole(
    sender: &mut SendRequest<Bytes>,
    request: Request<()>,
    body: Option<Bytes>,
    load: &Load,
    ask: Ask,
) -> Result<(Vec<u8>, Option<HeaderMap>), Fault> {
    let (response, mut sending) = sender.send_request(request, body.is_none()).map_err(Fault::lost)?;
    if let Some(body) = body {
        sending.send_data(body, true).map_err(Fault::lost)?;
    }
    let (parts, body) = response.await.map_err(Fault::lost)?.into_parts();
    let read = read(body).await.map_err(Fault::lost)?;
    let told = Told {
        status: parts.status.as_u16(),
        cell: parts.headers.get(CELL_HEADER).and_then(|name| cell(name.as_bytes())),
        deprecated: parts.headers.contains_key(DEPRECATION),
    };
    told.check(200, ask, load.table, load.expected)?;
    Ok(read)
}

async fn read(mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        bytes.extend_from_slice(&piece);
    }
    Ok((bytes, body.trailers().await?))
}

/// A message is as long as the answer to a small query, in bytes.
const MESSAGE: [u8; 100] = [b'm'; 100];

/// A call, whose message must come back and whose status must be 0.
async fn call(
    sender: &mut SendRequest<Bytes>,
    request: Request<()>,
    load: &Load,
    ask: Ask,
) -> Result<(), Fault> {
    let message = framed(&MESSAGE);
    let (echo, trailers) = whole(sender, request, Some(message.clone()), load, ask).await?;
    let status = trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
    if status.is_none_or(|status| status != "0") {
        return Err(Fault::Wrong(format!("grpc-status {status:?} instead of 0")));
    }
    if echo != message {
        return Err(Fault::Wrong("another message than the one sent".to_owned()));
    }
    Ok(())
}
