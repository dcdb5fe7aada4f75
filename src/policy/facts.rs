//! What is known of a request before anything is decided: the one canonical reading of its head,
//! borrowed from the bytes that will be forwarded. Made by `gate`, read by everything after it.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, Method};
use memchr::memchr;

use super::fields::{Field, Fields};

/// How a browser came by a request (Fetch, section 3.2.2).
pub const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// The connection a request came on; decided once, at accept.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionFacts<'a> {
    /// `https` for TLS, `http` otherwise. Behind a TLS-terminating balancer the listener says which.
    pub scheme: Scheme,
    /// The peer as the socket, or a trusted PROXY protocol header, names it.
    pub peer: IpAddr,
    /// The names that the presented certificate covers; `None` without TLS. An authority outside it
    /// is refused with 421.
    pub certificate_names: Option<&'a CertificateNames>,
}

/// How the client spoke to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

/// The wire version of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WireVersion {
    /// HTTP/1.0: no keep-alive unless asked for, no chunked.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

/// What the request wants the connection, or the stream, to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Upgrade {
    /// An ordinary exchange.
    None,
    /// `Upgrade: websocket` (RFC 6455) or `:protocol websocket` (RFC 8441).
    WebSocket,
}

/// A request as the router reads it. `target` is byte for byte what the cell receives.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    /// The method; never TRACE, CONNECT only as RFC 8441 WebSocket.
    pub method: &'a Method,
    /// Wire version on the client's side.
    pub version: WireVersion,
    /// Host name in lower case, without port and without a trailing dot; or an IP literal.
    pub host: &'a str,
    /// The authority as the client wrote it (for `X-Forwarded-Host`).
    pub authority: &'a str,
    /// Path and query, raw. Always begins with `/`, or is `*` for OPTIONS.
    pub target: &'a str,
    /// The fields as received, client copies of routing headers included.
    pub headers: &'a HeaderMap,
    /// What stands among them.
    pub fields: Fields,
    /// WebSocket or nothing.
    pub upgrade: Upgrade,
    /// The connection it came on.
    pub connection: ConnectionFacts<'a>,
}

/// The raw path of a target: everything before the first `?`.
pub fn path_of(target: &str) -> &str {
    split_target(target).0
}

/// The raw path, and the raw query where there is one. By bytes: it is asked for several times a request.
pub(super) fn split_target(target: &str) -> (&str, Option<&str>) {
    match memchr(b'?', target.as_bytes()) {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    }
}

impl<'a> RequestFacts<'a> {
    /// The raw path.
    pub fn path(&self) -> &'a str {
        path_of(self.target)
    }

    /// Whether a browser opens a page, as opposed to a program that calls an API (Fetch, section 3.2.2).
    pub fn is_navigation(&self) -> bool {
        self.method == Method::GET
            && self.fields.has(Field::SecFetchMode)
            && self.headers.get(SEC_FETCH_MODE).is_some_and(|mode| mode.as_bytes() == b"navigate")
    }

    /// Whether a browser asks what its script may send (Fetch, "CORS-preflight request"). It never sends
    /// credentials with that.
    pub fn is_preflight(&self) -> bool {
        *self.method == http::Method::OPTIONS
            && self.headers.contains_key(http::header::ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Whether the client speaks gRPC and must be answered in its manner.
    pub fn is_grpc(&self) -> bool {
        self.fields.has(Field::ContentType) && is_grpc(self.headers)
    }

    /// Whether it is gRPC proper, which has its status behind the body and so needs HTTP/2 all the way. gRPC-Web
    /// carries it inside.
    pub fn is_native_grpc(&self) -> bool {
        let web = |value: &http::HeaderValue| value.as_bytes().starts_with(b"application/grpc-web");
        self.is_grpc() && !self.headers.get(http::header::CONTENT_TYPE).is_some_and(web)
    }
}

/// Whether a client names a media type among those that it accepts, however much it likes it.
pub fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    headers
        .get_all(http::header::ACCEPT)
        .iter()
        .any(|value| memchr::memmem::find(value.as_bytes(), media_type.as_bytes()).is_some())
}

/// See [`RequestFacts::is_grpc`].
pub fn is_grpc(headers: &http::HeaderMap) -> bool {
    let content_type = headers.get(http::header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

impl Scheme {
    /// As it stands in a URL and in `X-Forwarded-Proto`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The DNS names of one certificate: exact names and single-label wildcards (RFC 6125 section 6.4.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    exact: Vec<Box<str>>,
    /// `*.us1.dbt.com` is kept as `us1.dbt.com`.
    wildcard_parents: Vec<Box<str>>,
}

impl CertificateNames {
    /// From the subject alternative names of a certificate, any case.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut made = Self::default();
        for name in names {
            let name = name.to_ascii_lowercase();
            match name.strip_prefix("*.") {
                Some(parent) => made.wildcard_parents.push(parent.into()),
                None => made.exact.push(name.into()),
            }
        }
        made
    }

    /// Whether a lower-case host name is one of them; a wildcard stands for exactly one label.
    pub fn covers(&self, host: &str) -> bool {
        self.exact.iter().any(|name| **name == *host)
            || host.split_once('.').is_some_and(|(label, parent)| {
                !label.is_empty() && self.wildcard_parents.iter().any(|name| **name == *parent)
            })
    }

    /// All names as they stood in the certificate, for messages and the admin view.
    pub fn iter(&self) -> impl Iterator<Item = String> + '_ {
        let wildcards = self.wildcard_parents.iter().map(|parent| format!("*.{parent}"));
        self.exact.iter().map(|name| name.to_string()).chain(wildcards)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let names = CertificateNames::new(["us1.dbt.com", "*.us1.dbt.com", "*.Metadata.us1.dbt.com"]);
        for host in ["us1.dbt.com", "ab123.us1.dbt.com", "ab123.metadata.us1.dbt.com"] {
            assert!(names.covers(host), "{host}");
        }
        for host in ["dbt.com", ".us1.dbt.com", "a.b.us1.dbt.com", "ab123.us2.dbt.com", ""] {
            assert!(!names.covers(host), "{host}");
        }
    }
}
