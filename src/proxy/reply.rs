//! cellgate's own answers on the wire: a refusal or a redirect as head and body, for HTTP/1, HTTP/2
//! and gRPC. What they say is decided in `policy`.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::policy::envelope::{ErrorShape, Said, envelope, grpc_message};
use crate::policy::forwarding::PROXY_STATUS;
use crate::policy::refusal::Refusal;

/// Whether a cell may have seen the request: safe to repeat or not.
pub const OUTCOME: HeaderName = HeaderName::from_static("x-cellgate-outcome");
/// The id that client, cell and log share.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a gRPC client reads a refusal from: in its only head, or in trailers where its response had begun.
pub fn grpc_status(said: &Said<'_>, fields: &mut HeaderMap) {
    fields.insert("grpc-status", u16::from(said.refusal.grpc_status()).into());
    fields.insert("grpc-message", text(&grpc_message(said)));
}

/// One whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: StatusCode,
    /// Fields, without framing.
    pub headers: HeaderMap,
    /// Body; empty for gRPC, whose error is in the fields.
    pub body: Bytes,
}

impl Reply {
    /// The answer to a refused request; `retry_after_s` is the refusal's own delay with jitter added.
    pub fn refusal(said: &Said<'_>, shape: ErrorShape, grpc: bool, retry_after_s: Option<u64>) -> Self {
        let refusal = said.refusal;
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(OUTCOME, HeaderValue::from_static(said.outcome.as_str()));
        headers.insert(PROXY_STATUS, text(&proxy_status(said)));
        headers.insert(REQUEST_ID, text(said.request_id));
        if let Some(seconds) = retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        match refusal {
            Refusal::CredentialRequired => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Refusal::MethodNotAllowed => {
                let allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
                headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
            }
            _ => {}
        }
        if grpc {
            return Self::grpc(said, headers);
        }
        let (media_type, body) = envelope(said, shape);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        if shape == ErrorShape::Html {
            let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
            headers.insert(header::CONTENT_SECURITY_POLICY, nothing);
        }
        let status = StatusCode::from_u16(refusal.status()).expect("refusals have valid status codes");
        Self { status, headers, body: body.into() }
    }

    /// A redirect that no cache keeps: it may be withdrawn any day.
    pub fn redirect(status: StatusCode, location: &str, request_id: &str) -> Self {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::LOCATION, text(location));
        headers.insert(REQUEST_ID, text(request_id));
        Self { status, headers, body: Bytes::new() }
    }

    /// As bytes of HTTP/1.1, for a connection whose request could not be read. Always closes.
    pub fn to_closing_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(1024);
        bytes.put_slice(b"HTTP/1.1 ");
        bytes.put_slice(self.status.as_str().as_bytes());
        bytes.put_slice(b" ");
        bytes.put_slice(self.status.canonical_reason().unwrap_or("Error").as_bytes());
        bytes.put_slice(b"\r\n");
        for (name, value) in &self.headers {
            bytes.put_slice(name.as_str().as_bytes());
            bytes.put_slice(b": ");
            bytes.put_slice(value.as_bytes());
            bytes.put_slice(b"\r\n");
        }
        bytes.put_slice(
            format!("content-length: {}\r\nconnection: close\r\n\r\n", self.body.len()).as_bytes(),
        );
        bytes.put_slice(&self.body);
        bytes.freeze()
    }

    /// Trailers-only (gRPC over HTTP/2, "Responses"): HTTP 200 and the error in the head.
    fn grpc(said: &Said<'_>, mut headers: HeaderMap) -> Self {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        grpc_status(said, &mut headers);
        Self { status: StatusCode::OK, headers, body: Bytes::new() }
    }
}

fn proxy_status(said: &Said<'_>) -> String {
    let error = said.refusal.proxy_error();
    match said.notice {
        // An id is a label: nothing in it ends a quoted string.
        Some(notice) => format!("cellgate; error={error}; details=\"{}\"", notice.details()),
        None => format!("cellgate; error={error}"),
    }
}

/// Values here are made of configuration that `config` has checked and of ids that are header-safe.
fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::cell_failure::Unreachable;
    use crate::policy::refusal::{BadRequest, Outcome};

    fn said(refusal: Refusal) -> Said<'static> {
        Said { refusal, outcome: Outcome::NotForwarded, request_id: "req-12345", guide: "", notice: None }
    }

    #[test]
    fn a_malformed_request_gets_one_whole_closing_answer() {
        let refusal = Refusal::BadRequest(BadRequest::Host);
        let bytes = Reply::refusal(&said(refusal), ErrorShape::Status, false, None).to_closing_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
        for expected in
            ["connection: close\r\n", "x-cellgate-outcome: not-forwarded\r\n", "\"title\":\"bad_host\""]
        {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }

    #[test]
    fn a_grpc_client_gets_trailers_only() {
        let reply = Reply::refusal(
            &said(Refusal::CellUnreachable(Unreachable::Unresolved)),
            ErrorShape::Status,
            true,
            None,
        );
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.headers["grpc-status"], "14");
        assert_eq!(reply.headers["proxy-status"], "cellgate; error=dns_error");
        assert!(reply.body.is_empty());
    }
}
