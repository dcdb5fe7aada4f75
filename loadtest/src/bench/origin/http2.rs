//! A cell's side of HTTP/2 without TLS: gRPC calls with one message each way, and plain requests.

use std::rc::Rc;

use bytes::Bytes;
use h2::server::SendResponse;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use super::{Answers, BODY, CELL_HEADER};

/// What a stream and a connection may send before they are told to go on: enough that nobody ever waits for us.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * STREAM_WINDOW_BYTES;

/// Streams at once on one connection: proxies put all that they have on a few.
const STREAMS_MAX: u32 = 1_000;

/// Answers each stream of the connection, until it ends.
pub(super) async fn converse(stream: TcpStream, answers: Rc<Answers>) -> Result<(), h2::Error> {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(STREAM_WINDOW_BYTES).initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    builder.max_concurrent_streams(STREAMS_MAX);
    let mut connection = builder.handshake(stream).await?;
    while let Some(stream) = connection.accept().await {
        let (request, respond) = stream?;
        let answers = answers.clone();
        spawn_local(async move {
            // A stream that fails concerns whoever asked.
            let _ = answer(request, respond, &answers).await;
        });
    }
    Ok(())
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    answers: &Answers,
) -> Result<(), h2::Error> {
    let grpc = request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(GRPC));
    let mut body = request.into_body();
    let mut received = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        received.extend_from_slice(&piece);
    }
    let mut response = Response::new(());
    let headers = response.headers_mut();
    // Ours: `cell-` and a number.
    headers.extend(HeaderValue::from_str(&answers.cell).ok().map(|cell| (CELL, cell)));
    if !grpc {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut sending = respond.send_response(response, false)?;
        return sending.send_data(Bytes::from_static(BODY.as_bytes()), true);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut sending = respond.send_response(response, false)?;
    sending.send_data(received.into(), false)?;
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    sending.send_trailers(trailers)
}

const GRPC: &[u8] = b"application/grpc";

const CELL: http::HeaderName = http::HeaderName::from_static(CELL_HEADER);
