//! The head of a client's request as values, the same for HTTP/1 and HTTP/2.

use bytes::Bytes;
use h2::ext::Protocol;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use memchr::memchr_iter;
use pingora::http::RequestHeader;

use crate::policy::facts::WireVersion;
use crate::policy::gate::{Head, Span};
use crate::policy::refusal::BadRequest;

/// A request head that has been read.
#[derive(Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The wire version.
    pub version: WireVersion,
    /// `:authority`, or the authority of an absolute target; Host is among the fields.
    pub authority: Option<Box<str>>,
    /// Origin-form, or `*`.
    pub target: PathAndQuery,
    /// `:protocol` of an extended CONNECT (RFC 8441).
    pub protocol: Option<Protocol>,
    /// The fields; values are slices of what the client has sent.
    pub headers: HeaderMap,
}

impl RequestHead {
    /// Of HTTP/1, once the gate has read it; `raw` begins with the bytes that it has read.
    ///
    /// # Errors
    /// The gate lets it through, but no URI may hold it (RFC 3986).
    pub fn http1(head: &Head, raw: &Bytes) -> Result<Self, BadRequest> {
        let part = |span: Span| raw.slice(span.start..span.end);
        let target = match head.authority(raw) {
            None => PathAndQuery::from_maybe_shared(part(head.target)),
            Some(_) => PathAndQuery::try_from(&*head.origin_target(raw)),
        };
        // At once: a map that grows is copied.
        let mut headers =
            HeaderMap::with_capacity(memchr_iter(b'\n', &raw[head.target.end..head.len]).count());
        for (name, value) in head.fields(raw) {
            let name = HeaderName::from_bytes(name).map_err(|_| BadRequest::HeaderLine)?;
            let value = HeaderValue::from_maybe_shared(part(value)).map_err(|_| BadRequest::HeaderLine)?;
            headers.append(name, value);
        }
        Ok(Self {
            method: Method::from_bytes(head.method.of(raw)).map_err(|_| BadRequest::RequestLine)?,
            version: head.version,
            authority: head.authority(raw).map(Into::into),
            target: target.map_err(|_| BadRequest::RequestLine)?,
            protocol: None,
            headers,
        })
    }

    /// Of HTTP/2, out of the engine's session, which keeps what it still looks at: the method, and whether a body was
    /// promised.
    pub fn http2(read: &mut RequestHeader) -> Self {
        let mut left = http::Request::new(()).into_parts().0;
        left.method = read.method.clone();
        if let Some(length) = read.headers.get(header::CONTENT_LENGTH) {
            left.headers.insert(header::CONTENT_LENGTH, length.clone());
        }
        let read = std::mem::replace(read, RequestHeader::from(left));
        let mut read = http::request::Parts::from(read);
        Self {
            method: read.method,
            version: WireVersion::Http2,
            authority: read.uri.authority().map(|authority| authority.as_str().into()),
            // Only a CONNECT that is none of RFC 8441 has no path, and is refused for it.
            target: read.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
            protocol: read.extensions.remove(),
            headers: read.headers,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::policy::gate::{HeadStatus, read_head};
    use crate::policy::snapshot::RequestLimits;

    fn http1(text: &'static str) -> Result<RequestHead, BadRequest> {
        let raw = Bytes::from_static(text.as_bytes());
        let Ok(HeadStatus::Complete(head)) = read_head(&raw, &RequestLimits::default()) else {
            unreachable!("the gate reads {text:?}")
        };
        RequestHead::http1(&head, &raw)
    }

    #[test]
    fn fields_are_what_stands_in_their_lines() {
        let text = "\r\nPOST /a?b=c HTTP/1.1\r\nHost: a.test\r\nX-A:1\r\nx-a: \t 2 \t\r\nEmpty:\r\nBlank: \t \r\n\
                    Colon: a:b\r\nContent-Length: 4\r\n\r\nbody";
        let head = http1(text).unwrap();
        let fields: Vec<_> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(
            fields,
            [
                ("host", "a.test"),
                ("x-a", "1"),
                ("x-a", "2"),
                ("empty", ""),
                ("blank", ""),
                ("colon", "a:b"),
                ("content-length", "4"),
            ]
        );
        assert_eq!((head.method, head.version), (Method::POST, WireVersion::Http11));
        assert_eq!((head.target.as_str(), head.authority), ("/a?b=c", None));
    }

    #[test]
    fn an_absolute_target_is_divided() {
        for (target, authority, rest) in
            [("http://a.test/x?y", "a.test", "/x?y"), ("https://b.test:8?y", "b.test:8", "/?y")]
        {
            let text = format!("GET {target} HTTP/1.0\r\n\r\n").leak();
            let head = http1(text).unwrap();
            assert_eq!((head.authority.as_deref(), head.target.as_str()), (Some(authority), rest));
            assert_eq!(head.version, WireVersion::Http10);
        }
    }

    #[test]
    fn what_no_uri_may_hold_is_refused() {
        for path in ["/<script>", "/a`b"] {
            let text = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n").leak();
            assert_eq!(http1(text).unwrap_err(), BadRequest::RequestLine, "{path}");
        }
    }

    #[test]
    fn of_http2_the_engine_keeps_what_it_looks_at() {
        let mut parts =
            http::Request::post("https://a.test/x").header("content-length", "0").body(()).unwrap();
        parts.headers_mut().insert("x-a", "1".parse().unwrap());
        let mut engines = RequestHeader::from(parts.into_parts().0);
        let head = RequestHead::http2(&mut engines);
        assert_eq!((head.authority.as_deref(), head.target.as_str()), (Some("a.test"), "/x"));
        assert_eq!(head.headers.len(), 2);
        assert_eq!((engines.headers.len(), &engines.method), (1, &Method::POST));
    }
}
