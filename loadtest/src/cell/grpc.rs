//! gRPC as a simulated cell speaks it, for any service: the last segment of the path chooses.
//!
//! | last segment | answer |
//! |---|---|
//! | `ServerStream` | `messages` (3) times the first message, each followed by `#` and its number from 0 |
//! | `Bidi` | every message as it comes, until the client has ended |
//! | `Fail` | no message: trailers only, status `grpc_status` (5, not found) |
//! | any other | the first message |
//!
//! All but `Fail` end with trailers, status `grpc_status` (0) of the request's `x-sim`.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};

use super::Shared;
use super::control::Control;
use crate::body::{self, AnyBody, BodyError};
use crate::frame::{Deframer, framed};

/// Whether a request is gRPC (gRPC over HTTP/2, "Requests").
pub(crate) fn asked_for<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Answers one call.
pub(crate) async fn answer(
    cell: Arc<Shared>,
    request: Request<Incoming>,
    control: Control,
) -> Response<AnyBody> {
    let method = request.uri().path().rsplit('/').next().unwrap_or("").to_owned();
    let mut messages = Messages::new(request.into_body());
    if method == "Fail" {
        return trailers_only(&cell, control.grpc_status.unwrap_or(NOT_FOUND), "asked to fail");
    }
    if control.hang {
        return started(&cell, body::frames(stream::pending()));
    }
    if method == "Bidi" {
        let status = control.grpc_status.unwrap_or(OK);
        return started(&cell, body::frames(bidi(messages, status)));
    }
    let first = match messages.next().await {
        Ok(Some(first)) => first,
        Ok(None) => return trailers_only(&cell, INVALID_ARGUMENT, "a message was expected"),
        Err(problem) => return trailers_only(&cell, INTERNAL, &problem),
    };
    let answers = if method == "ServerStream" {
        let number = control.messages.unwrap_or(3);
        (0..number).map(|n| numbered(&first, n)).collect()
    } else if let Some(status) = control.grpc_status.filter(|status| *status != OK) {
        return trailers_only(&cell, status, "asked to fail");
    } else {
        vec![first]
    };
    let status = control.grpc_status.unwrap_or(OK);
    let every = control.every;
    let data = stream::iter(answers.into_iter().enumerate()).then(move |(n, message)| async move {
        if n > 0 {
            tokio::time::sleep(every).await;
        }
        Ok(Frame::data(framed(&message)))
    });
    let last = stream::once(async move { Ok(Frame::trailers(trailers(status, ""))) });
    started(&cell, body::frames(data.chain(last)))
}

/// gRPC status codes (gRPC core, "Status codes and their use").
const OK: u32 = 0;
const INVALID_ARGUMENT: u32 = 3;
const NOT_FOUND: u32 = 5;
const INTERNAL: u32 = 13;

/// The messages of a call as they come in.
struct Messages {
    body: Incoming,
    deframer: Deframer,
}

impl Messages {
    fn new(body: Incoming) -> Self {
        Self { body, deframer: Deframer::default() }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            if let Some(message) = self.deframer.next_message().map_err(|e| e.to_string())? {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.deframer.push(&data);
                    }
                }
                Some(Err(error)) => return Err(format!("reading the call: {error}")),
                None => {
                    self.deframer.finish().map_err(|e| e.to_string())?;
                    return Ok(None);
                }
            }
        }
    }
}

fn numbered(message: &[u8], number: u32) -> Bytes {
    let mut bytes = message.to_vec();
    bytes.extend_from_slice(format!("#{number}").as_bytes());
    bytes.into()
}

fn bidi(
    messages: Messages,
    status: u32,
) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, BodyError>> + Send {
    stream::unfold(Some(messages), move |messages| async move {
        let mut messages = messages?;
        Some(match messages.next().await {
            Ok(Some(message)) => (Ok(Frame::data(framed(&message))), Some(messages)),
            Ok(None) => (Ok(Frame::trailers(trailers(status, ""))), None),
            Err(problem) => (Ok(Frame::trailers(trailers(INTERNAL, &problem))), None),
        })
    })
}

fn started(cell: &Shared, body: AnyBody) -> Response<AnyBody> {
    let mut response = cell.response(StatusCode::OK, body);
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, grpc);
    response
}

/// Headers and trailers in one block that ends the stream.
fn trailers_only(cell: &Shared, status: u32, message: &str) -> Response<AnyBody> {
    let mut response = started(cell, body::empty());
    response.headers_mut().extend(trailers(status, message));
    response
}

fn trailers(status: u32, message: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(status));
    if let Ok(message) = HeaderValue::from_str(message)
        && !message.is_empty()
    {
        trailers.insert("grpc-message", message);
    }
    trailers
}
