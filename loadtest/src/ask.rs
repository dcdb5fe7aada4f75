//! What is sent and what comes back: one request for either protocol, and one whole answer. Plain data.

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version};

use crate::body::AnyBody;
use crate::cell::control::CONTROL_HEADER;
use crate::cell::{CELL_HEADER, Seen};
use crate::client::Http;
use crate::failure::SendError;

/// A request to be sent, over either protocol.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its method.
    pub method: Method,
    /// What becomes `Host` on h1 and `:authority` on h2; with TLS, without its port, also the server name.
    pub host: String,
    /// Path and query, as they are to stand on the wire.
    pub path: String,
    /// Header fields in order.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Bytes,
}

impl Ask {
    /// A GET without further fields.
    pub fn get(host: &str, path: &str) -> Self {
        Self {
            method: Method::GET,
            host: host.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// A POST of these bytes.
    pub fn post(host: &str, path: &str, body: impl Into<Bytes>) -> Self {
        Self { method: Method::POST, body: body.into(), ..Self::get(host, path) }
    }

    /// With another method.
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// With one header field more.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a wish for the simulated cell ([`control`](crate::cell::control)).
    pub fn sim(self, control: &str) -> Self {
        self.header(CONTROL_HEADER, control)
    }

    /// As a request of the HTTP library for a connection of this kind.
    pub(crate) fn request(
        &self,
        http: Http,
        tls: bool,
        body: AnyBody,
    ) -> Result<Request<AnyBody>, SendError> {
        let unusable = |error: &dyn std::fmt::Display| {
            let (method, host, path) = (&self.method, &self.host, &self.path);
            SendError::Unusable(format!("{method} {host}{path}: {error}"))
        };
        let scheme = if tls { "https" } else { "http" };
        let uri = match http {
            Http::H1 => self.path.clone(),
            Http::H2 => format!("{scheme}://{}{}", self.host, self.path),
        };
        let mut request =
            Request::builder().method(self.method.clone()).uri(uri).body(body).map_err(|e| unusable(&e))?;
        let headers = request.headers_mut();
        if http == Http::H1 {
            let host = HeaderValue::from_str(&self.host).map_err(|e| unusable(&e))?;
            headers.insert(HOST, host);
        }
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| unusable(&e))?;
            let value = HeaderValue::from_str(value).map_err(|e| unusable(&e))?;
            headers.append(name, value);
        }
        Ok(request)
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Protocol that it came by.
    pub version: Version,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Its trailer fields.
    pub trailers: HeaderMap,
    /// Status of each informational response before it (h1 only).
    pub informational: Vec<u16>,
}

impl Reply {
    /// The first value of a header field, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The simulated cell that answered.
    pub fn cell(&self) -> Option<&str> {
        self.header(CELL_HEADER)
    }

    /// What the cell says has reached it, if this is a cell's normal answer.
    pub fn seen(&self) -> Option<Seen> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body as text, what is not UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
