//! Why a request failed, sorted the way a report counts it, and whether sending it again would be safe.

use std::error::Error;
use std::io;

use serde::{Deserialize, Serialize};

/// The kinds of failure that a report counts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Nothing listens: the system refused the connection. Expected in a listener gap, and never a served request.
    ConnectRefused,
    /// Connecting failed otherwise, or took too long.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// A new connection ended before the first byte of an answer: it was never accepted, or was dropped.
    LostNew,
    /// A connection or stream that had answered before ended without an answer to this request.
    Reset,
    /// No whole answer in time.
    Timeout,
    /// Another status than expected.
    Status,
    /// Another cell than expected answered, or none is named.
    WrongCell,
    /// A header field that the answer should have is missing.
    Header,
    /// The body broke off or is not the one expected.
    Body,
    /// The gRPC status or the messages are not those expected.
    Grpc,
    /// Never sent: the generator had its fill of requests under way.
    NotSent,
}

/// Why there is no answer. Its text holds all causes, since reports keep text; so it names none as its source.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// TCP.
    #[error("connecting: {0}")]
    Connect(io::Error),
    /// No connection within [`OPEN_MAX`](crate::client::OPEN_MAX).
    #[error("connecting took too long")]
    ConnectTimeout,
    /// TLS.
    #[error("TLS handshake: {0}")]
    Tls(io::Error),
    /// The connection no longer took requests: this one was never sent.
    #[error("the connection takes no more requests: {}", chain(.0))]
    NotTaken(hyper::Error),
    /// HTTP, before the head of the answer.
    #[error("{}", chain(.0))]
    Http(hyper::Error),
    /// HTTP, after the head of the answer.
    #[error("reading the answer: {}", chain(.0))]
    Body(hyper::Error),
    /// The request cannot be put into HTTP.
    #[error("a request that cannot be sent: {0}")]
    Unusable(String),
}

impl From<hyper::Error> for SendError {
    fn from(error: hyper::Error) -> Self {
        Self::Http(error)
    }
}

impl SendError {
    /// How a report counts it; `new` if the connection had answered nothing before.
    pub fn kind(&self, new: bool) -> FailureKind {
        match self {
            Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                FailureKind::ConnectRefused
            }
            Self::Connect(_) | Self::ConnectTimeout => FailureKind::Connect,
            Self::Tls(_) => FailureKind::Tls,
            Self::Http(_) | Self::NotTaken(_) if new => FailureKind::LostNew,
            Self::Http(_) | Self::NotTaken(_) => FailureKind::Reset,
            Self::Body(_) => FailureKind::Body,
            Self::Unusable(_) => FailureKind::NotSent,
        }
    }

    /// Whether the server surely did not begin on the request: never sent, or refused by h2 (RFC 9113 section 8.7).
    pub fn unprocessed(&self) -> bool {
        let error = match self {
            Self::Http(error) => error,
            Self::NotTaken(_) => return true,
            _ => return false,
        };
        if error.is_canceled() {
            return true;
        }
        let h2 = sources(error).find_map(|cause| cause.downcast_ref::<h2::Error>());
        h2.is_some_and(|h2| {
            let refused = h2.reason() == Some(h2::Reason::REFUSED_STREAM);
            h2.is_remote() && (refused || h2.is_go_away())
        })
    }

    /// Whether the connection ended with nothing of an answer, as a kept connection does when the server closes
    /// it just then; an idempotent request may be sent again (RFC 9112 section 9.3.1).
    pub fn ended_unanswered(&self) -> bool {
        let Self::Http(error) = self else {
            return false;
        };
        let io = sources(error).find_map(|cause| cause.downcast_ref::<io::Error>());
        error.is_incomplete_message()
            || error.is_closed()
            || io.is_some_and(|io| {
                matches!(io.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
            })
    }
}

fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// An error with all its causes: the HTTP library's own text alone says little.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes: Vec<String> = sources(error).map(|cause| cause.to_string()).collect();
    causes.join(": ")
}
