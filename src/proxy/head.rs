//! The head of a client's request as values, the same for HTTP/1 and HTTP/2.

use bytes::Bytes;
use h2::ext::Protocol;
use http::header::InvalidHeaderName;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use memchr::memchr_iter;
use pingora::http::RequestHeader;

use crate::policy::facts::WireVersion;
use crate::policy::forwarding::{
    TRACEPARENT, TRACESTATE, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REQUEST_ID,
};
use crate::policy::gate::{Head, Span};
use crate::policy::refusal::BadRequest;
use crate::policy::text::Text;

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
    /// What the client says of its connection. Of HTTP/2, nothing.
    pub persistence: Persistence,
    /// What its texts are parts of. Of HTTP/2 each is by itself, and this is empty.
    raw: Bytes,
}

/// What the head of a message says of the connection that it came on (RFC 9112 section 9.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Persistence {
    close: bool,
    keep_alive: bool,
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
        // Of these lines the first is the request's and the last is empty.
        let lines = memchr_iter(b'\n', &raw[head.target.end..head.len]).count();
        // At once: a map that grows is copied.
        let mut headers = HeaderMap::with_capacity(lines - 2);
        let mut persistence = Persistence::default();
        for (name, value) in head.fields(raw) {
            let name = field_name(name).map_err(|_| BadRequest::HeaderLine)?;
            let value = HeaderValue::from_maybe_shared(part(value)).map_err(|_| BadRequest::HeaderLine)?;
            if matches!(name, header::CONNECTION) {
                persistence.read(&value);
            }
            headers.append(name, value);
        }
        Ok(Self {
            method: Method::from_bytes(head.method.of(raw)).map_err(|_| BadRequest::RequestLine)?,
            version: head.version,
            authority: head.authority(raw).map(Into::into),
            target: target.map_err(|_| BadRequest::RequestLine)?,
            protocol: None,
            headers,
            persistence,
            raw: raw.clone(),
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
            persistence: Persistence::default(),
            raw: Bytes::new(),
        }
    }

    /// A text that was read of it.
    pub fn text(&self, text: &str) -> Text {
        Text::within(&self.raw, text)
    }
}

impl Persistence {
    /// Reads one line of Connection.
    pub fn read(&mut self, value: &HeaderValue) {
        for option in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// Whether the connection is to go on; `usual` in the version of the message.
    pub fn goes_on(self, usual: bool) -> bool {
        !self.close && (usual || self.keep_alive)
    }
}

/// The name of a field. What most heads have is found as most programs spell it, with capitals or without: that costs a
/// fraction of reading a name letter by letter, and one that the library does not know is not copied.
///
/// # Errors
/// It can be none.
pub fn field_name(spelled: &[u8]) -> Result<HeaderName, InvalidHeaderName> {
    Ok(match spelled {
        b"Host" | b"host" => header::HOST,
        b"Date" | b"date" => header::DATE,
        b"ETag" | b"etag" => header::ETAG,
        b"Vary" | b"vary" => header::VARY,
        b"Accept" | b"accept" => header::ACCEPT,
        b"Cookie" | b"cookie" => header::COOKIE,
        b"Origin" | b"origin" => header::ORIGIN,
        b"Server" | b"server" => header::SERVER,
        b"Referer" | b"referer" => header::REFERER,
        b"Connection" | b"connection" => header::CONNECTION,
        b"Set-Cookie" | b"set-cookie" => header::SET_COOKIE,
        b"User-Agent" | b"user-agent" => header::USER_AGENT,
        b"Traceparent" | b"traceparent" => TRACEPARENT,
        b"Tracestate" | b"tracestate" => TRACESTATE,
        b"Content-Type" | b"content-type" => header::CONTENT_TYPE,
        b"X-Request-ID" | b"X-Request-Id" | b"x-request-id" => X_REQUEST_ID,
        b"Authorization" | b"authorization" => header::AUTHORIZATION,
        b"Cache-Control" | b"cache-control" => header::CACHE_CONTROL,
        b"Content-Length" | b"content-length" => header::CONTENT_LENGTH,
        b"Accept-Encoding" | b"accept-encoding" => header::ACCEPT_ENCODING,
        b"Accept-Language" | b"accept-language" => header::ACCEPT_LANGUAGE,
        b"X-Forwarded-For" | b"x-forwarded-for" => X_FORWARDED_FOR,
        b"Content-Encoding" | b"content-encoding" => header::CONTENT_ENCODING,
        b"X-Forwarded-Host" | b"x-forwarded-host" => X_FORWARDED_HOST,
        b"X-Forwarded-Proto" | b"x-forwarded-proto" => X_FORWARDED_PROTO,
        b"Transfer-Encoding" | b"transfer-encoding" => header::TRANSFER_ENCODING,
        _ => return HeaderName::from_bytes(spelled),
    })
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
    fn a_name_is_the_same_however_it_is_found() {
        let known = "host date etag vary accept cookie origin server referer connection set-cookie user-agent \
            traceparent tracestate content-type x-request-id authorization cache-control content-length \
            accept-encoding accept-language x-forwarded-for content-encoding x-forwarded-host \
            x-forwarded-proto transfer-encoding";
        let others = "x-forwarded-server keep-alive x";
        for name in known.split(' ').chain(others.split(' ')) {
            let mut titled = name.to_owned();
            let starts = std::iter::once(0).chain(name.match_indices('-').map(|(at, _)| at + 1));
            starts.for_each(|at| titled[at..=at].make_ascii_uppercase());
            for spelled in [name.to_owned(), titled, name.to_uppercase()] {
                assert_eq!(field_name(spelled.as_bytes()).unwrap().as_str(), name, "{spelled}");
            }
        }
        for (spelled, name) in [("ETag", "etag"), ("X-Request-ID", "x-request-id")] {
            assert_eq!(field_name(spelled.as_bytes()).unwrap().as_str(), name);
        }
        for wrong in ["", "a b", "host:", "höst"] {
            assert!(field_name(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_connection_goes_on_as_its_head_says() {
        let heads: [(&str, &[&str], bool); 9] = [
            ("1.1", &[], true),
            ("1.0", &[], false),
            ("1.1", &["close"], false),
            ("1.0", &["Keep-Alive"], true),
            ("1.1", &["keep-alive, Close"], false),
            ("1.1", &["close", "keep-alive"], false),
            ("1.0", &["upgrade", "x ,\tkeep-alive"], true),
            ("1.0", &["keep-alives", ""], false),
            ("1.1", &["closed"], true),
        ];
        for (version, lines, goes_on) in heads {
            let lines: String = lines.iter().map(|line| format!("connection: {line}\r\n")).collect();
            let text = format!("GET / HTTP/{version}\r\nHost: a.test\r\n{lines}\r\n").leak();
            let usual = version == "1.1";
            assert_eq!(http1(text).unwrap().persistence.goes_on(usual), goes_on, "{text}");
        }
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
