//! What arrived at a simulated cell, exactly: the body of its normal answer and the record that a test
//! reads. A description only; nothing here decides.

use std::net::SocketAddr;

use http::{HeaderMap, Request, Version};
use serde::{Deserialize, Serialize};

use super::tap::RawHead;

/// One request as it reached the cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Name of the cell that it reached.
    pub cell: String,
    /// Where the connection came from.
    pub peer: SocketAddr,
    /// Number of the connection at this cell, from 1.
    pub connection: u64,
    /// Number of the request on its connection, from 1.
    pub request: u64,
    /// Method, case as sent.
    pub method: String,
    /// Request target: on h1 byte for byte from the request line, on h2 the `:path` (the authority for CONNECT).
    pub target: String,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// `:scheme` on h2, or the scheme of an absolute target on h1.
    pub scheme: Option<String>,
    /// `:authority` on h2, or the authority of an absolute target on h1.
    pub authority: Option<String>,
    /// Header fields as [name, value], each byte of a value as the character of that number (ISO 8859-1).
    pub headers: Vec<(String, String)>,
    /// Whether `headers` has case and order from the wire (h1). Without it names are in lower case, and fields of
    /// one name stand together (h2, or h1 requests sent without waiting for the answer to the one before).
    pub exact: bool,
    /// The request body; none where the cell answered without reading it or streamed it.
    pub body: Option<BodySeen>,
    /// Trailer fields of the request.
    pub trailers: Vec<(String, String)>,
    /// The account that `tokens` knows for the request's `Authorization`.
    pub authenticated: Option<String>,
    /// None without TLS.
    pub tls: Option<TlsSeen>,
}

/// A request body that was read to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodySeen {
    /// Its length after transfer coding.
    pub bytes: u64,
    /// SHA-256 of it, lowercase hexadecimal.
    pub sha256: String,
}

/// What TLS told about the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsSeen {
    /// Server name asked for (RFC 6066 section 3).
    pub sni: Option<String>,
    /// Protocol agreed on (RFC 7301).
    pub alpn: Option<String>,
    /// Protocol version, as `TLSv1_3`.
    pub version: Option<String>,
    /// SHA-256 of the client certificate in DER, lowercase hexadecimal.
    pub client_certificate_sha256: Option<String>,
    /// Whether the session continued an earlier one.
    #[serde(default)]
    pub resumed: bool,
}

impl Seen {
    /// The first value of a header field; `name` in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// All values of a header field, in order of arrival; `name` in any case.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// Where a request came in: what [`Seen`] takes from its connection.
pub(crate) struct Origin<'a> {
    pub(crate) cell: &'a str,
    pub(crate) peer: SocketAddr,
    pub(crate) connection: u64,
    pub(crate) request: u64,
    pub(crate) tls: Option<&'a TlsSeen>,
}

/// Describes a request's head; `raw` is the head from the wire, used only if it is this request's.
pub(crate) fn describe<B>(origin: Origin<'_>, request: &Request<B>, raw: Option<RawHead>) -> Seen {
    let uri = request.uri();
    let parsed = pairs(request.headers());
    let raw = raw.filter(|raw| raw.method == request.method().as_str() && same_fields(&raw.headers, &parsed));
    let target = match uri.path_and_query() {
        Some(path) if request.version() == Version::HTTP_2 => path.as_str().to_owned(),
        _ => uri.to_string(),
    };
    let exact = raw.is_some();
    let (target, headers) = match raw {
        Some(raw) => (raw.target, raw.headers),
        None => (target, parsed),
    };
    Seen {
        cell: origin.cell.to_owned(),
        peer: origin.peer,
        connection: origin.connection,
        request: origin.request,
        method: request.method().to_string(),
        target,
        version: format!("{:?}", request.version()),
        scheme: uri.scheme_str().map(str::to_owned),
        authority: uri.authority().map(|authority| authority.to_string()),
        headers,
        exact,
        body: None,
        trailers: Vec::new(),
        authenticated: None,
        tls: origin.tls.cloned(),
    }
}

/// Fields as names and values, each byte of a value as the character of that number.
pub(crate) fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.to_string(), latin1(value.as_bytes()))).collect()
}

pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// Whether both hold the same fields, whatever their order and the case of their names.
fn same_fields(raw: &[(String, String)], parsed: &[(String, String)]) -> bool {
    let sorted = |fields: &[(String, String)]| {
        let mut fields: Vec<_> =
            fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        fields.sort();
        fields
    };
    sorted(raw) == sorted(parsed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn seen(raw: Option<RawHead>) -> Seen {
        let request = Request::get("/a?b").header("x-one", "1").header("x-two", "2").body(()).unwrap();
        let origin =
            Origin { cell: "cell-1", peer: ([127, 0, 0, 1], 1).into(), connection: 1, request: 1, tls: None };
        describe(origin, &request, raw)
    }

    fn raw(headers: &[(&str, &str)]) -> RawHead {
        let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        RawHead { method: "GET".into(), target: "/a?b".into(), headers: headers.iter().map(own).collect() }
    }

    #[test]
    fn the_head_from_the_wire_keeps_case_and_order() {
        let seen = seen(Some(raw(&[("X-Two", "2"), ("x-ONE", "1")])));
        assert!(seen.exact);
        assert_eq!(seen.headers[0], ("X-Two".into(), "2".into()));
        assert_eq!(seen.header("x-one"), Some("1"));
    }

    #[test]
    fn the_head_of_another_request_is_not_believed() {
        for other in [
            raw(&[("x-one", "1"), ("x-two", "other")]),
            raw(&[("x-one", "1")]),
            RawHead { method: "POST".into(), ..raw(&[("x-one", "1"), ("x-two", "2")]) },
        ] {
            let seen = seen(Some(other));
            assert!(!seen.exact);
            assert_eq!(seen.headers[0], ("x-one".into(), "1".into()));
        }
    }

    #[test]
    fn bytes_above_ascii_survive_as_characters() {
        assert_eq!(latin1(&[0x41, 0xff]), "A\u{ff}");
    }
}
