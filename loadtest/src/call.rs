//! gRPC calls over a [`Line`]: unary, server streams and streams both ways, by hand, so that a test sees the
//! frames and trailers as they came. Messages are bytes; there is no protobuf and no deadline of its own.

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::mpsc;

use crate::cell::CELL_HEADER;
use crate::client::{Ask, Line, Reply, SendError};
use crate::frame::{Deframer, FrameError, framed};

/// A call that has ended, as it came.
#[derive(Clone, Debug)]
pub struct CallReply {
    /// HTTP status; 200 for anything that is gRPC.
    pub http_status: StatusCode,
    /// Initial metadata, or all there is if `trailers_only`.
    pub headers: HeaderMap,
    /// Messages in order, without their frames.
    pub messages: Vec<Bytes>,
    /// Trailing metadata.
    pub trailers: HeaderMap,
    /// Whether the status came in the only block of headers (gRPC over HTTP/2, "Trailers-Only").
    pub trailers_only: bool,
}

impl CallReply {
    /// `grpc-status`, if it came and is a number.
    pub fn status(&self) -> Option<u32> {
        self.ending().get("grpc-status")?.to_str().ok()?.parse().ok()
    }

    /// `grpc-message`, as it came (percent-encoded).
    pub fn message(&self) -> Option<&str> {
        self.ending().get("grpc-message")?.to_str().ok()
    }

    /// The simulated cell that answered.
    pub fn cell(&self) -> Option<&str> {
        self.headers.get(CELL_HEADER)?.to_str().ok()
    }

    fn ending(&self) -> &HeaderMap {
        if self.trailers_only { &self.headers } else { &self.trailers }
    }

    /// Reads the frames of a whole answer.
    pub fn of(reply: Reply) -> Result<Self, FrameError> {
        let mut deframer = Deframer::default();
        deframer.push(&reply.body);
        let mut messages = Vec::new();
        while let Some(message) = deframer.next_message()? {
            messages.push(message);
        }
        deframer.finish()?;
        Ok(Self {
            http_status: reply.status,
            trailers_only: reply.headers.contains_key("grpc-status"),
            headers: reply.headers,
            messages,
            trailers: reply.trailers,
        })
    }
}

/// Why a call has no reply.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No whole HTTP answer.
    #[error(transparent)]
    Http(#[from] SendError),
    /// An HTTP answer whose body is not gRPC.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// The request of a call with these messages, for [`Line::ask`] or a load template.
pub fn call(host: &str, path: &str, messages: &[&[u8]]) -> Ask {
    let body: Vec<Bytes> = messages.iter().map(|message| framed(message)).collect();
    Ask::post(host, path, body.concat()).header("content-type", "application/grpc").header("te", "trailers")
}

/// Makes a call and waits for its end: unary with one message, or a server stream.
pub async fn finish(line: &Line, call: &Ask) -> Result<CallReply, CallError> {
    Ok(CallReply::of(line.ask(call).await?)?)
}

/// A stream both ways that is open.
pub struct Bidi {
    /// Dropped to end this side.
    sending: Option<mpsc::Sender<Bytes>>,
    response: Response<Incoming>,
    deframer: Deframer,
    trailers: HeaderMap,
    /// Holds the connection.
    _line: Line,
}

/// Messages that may wait to be sent: the peer's window is the real bound.
const SENDING_MAX: usize = 16;

impl Bidi {
    /// Opens a stream; `head` is a [`call`] without messages. Returns when the head of the answer is there.
    pub async fn open(line: &Line, head: &Ask) -> Result<Self, SendError> {
        let (sending, messages) = mpsc::channel(SENDING_MAX);
        let frames = stream::unfold(messages, async |mut messages: mpsc::Receiver<Bytes>| {
            let message = messages.recv().await?;
            Some((Ok(Frame::data(message)), messages))
        });
        Ok(Self {
            sending: Some(sending),
            response: line.stream(head, StreamBody::new(Box::pin(frames))).await?,
            deframer: Deframer::default(),
            trailers: HeaderMap::new(),
            _line: line.clone(),
        })
    }

    /// HTTP status of the answer.
    pub fn http_status(&self) -> StatusCode {
        self.response.status()
    }

    /// Header fields of the answer.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The simulated cell that answers.
    pub fn cell(&self) -> Option<&str> {
        self.headers().get(CELL_HEADER)?.to_str().ok()
    }

    /// Sends a message; false if the stream no longer takes any.
    pub async fn send(&mut self, message: &[u8]) -> bool {
        match &self.sending {
            Some(sending) => sending.send(framed(message)).await.is_ok(),
            None => false,
        }
    }

    /// The next message; none at the end of the stream, after which [`Bidi::end`] knows the trailers.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        loop {
            if let Some(message) = self.deframer.next_message()? {
                return Ok(Some(message));
            }
            let Some(frame) = self.response.body_mut().frame().await else {
                self.deframer.finish()?;
                return Ok(None);
            };
            match frame.map_err(SendError::Body)?.into_data() {
                Ok(data) => self.deframer.push(&data),
                Err(other) => self.trailers.extend(other.into_trailers().unwrap_or_default()),
            }
        }
    }

    /// Ends this side, reads what still comes, and returns how the call ended.
    pub async fn end(mut self) -> Result<CallReply, CallError> {
        self.sending = None;
        let mut messages = Vec::new();
        while let Some(message) = self.next().await? {
            messages.push(message);
        }
        let headers = self.response.headers().clone();
        Ok(CallReply {
            http_status: self.response.status(),
            trailers_only: headers.contains_key("grpc-status"),
            headers,
            messages,
            trailers: self.trailers,
        })
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    #[test]
    fn a_call_is_a_post_of_framed_messages() {
        let ask = call("h", "/s/M", &[b"a", b"bc"]);
        assert_eq!(ask.method, Method::POST);
        assert_eq!(&ask.body[..], b"\0\0\0\0\x01a\0\0\0\0\x02bc");
    }
}
