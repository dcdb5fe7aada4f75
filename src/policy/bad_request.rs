//! What can be wrong with a request that cannot be read in one way.

/// What is wrong with a malformed request. Each is answered with 400 and a closed connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BadRequest {
    /// The request line is not `method SP target SP HTTP/1.x`.
    RequestLine,
    /// A header line that is not `token ":" value`, with obsolete folding, NUL or a bare CR or LF.
    HeaderLine,
    /// No Host, several, an empty one, or one that is not a host name or address with a port.
    Host,
    /// Host and the authority of an absolute target or `:authority` differ.
    HostMismatch,
    /// Content-Length doubled, a list, signed, not a number, or together with Transfer-Encoding.
    ContentLength,
    /// Transfer-Encoding in HTTP/1.0, or repeated.
    TransferEncoding,
    /// A dot segment, `//`, `;`, backslash, control byte or percent escape in the part of the path
    /// that names the account.
    Path,
    /// An account or environment id that is not plain digits.
    AccountId,
    /// One key named twice with different values, spelled with percent escapes, behind a `;`, or, in a header, with
    /// `_` for `-`.
    DuplicateKey,
    /// `Connection` names a field that must not be removed (Host, Content-Length, routing headers).
    Connection,
    /// A body that broke its own framing.
    Body,
    /// An HTTP/2 head that the protocol forbids (RFC 9113 sections 8.2 and 8.3); the engine says no more.
    Stream,
}

impl BadRequest {
    /// See [`Refusal::label`](super::refusal::Refusal::label).
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::RequestLine => "bad_request_line",
            Self::HeaderLine => "bad_header_line",
            Self::Host => "bad_host",
            Self::HostMismatch => "host_mismatch",
            Self::ContentLength => "bad_content_length",
            Self::TransferEncoding => "bad_transfer_encoding",
            Self::Path => "bad_path",
            Self::AccountId => "bad_account_id",
            Self::DuplicateKey => "duplicate_key",
            Self::Connection => "bad_connection_header",
            Self::Body => "bad_body",
            Self::Stream => "bad_stream",
        }
    }

    /// See [`Refusal::advice`](super::refusal::Refusal::advice).
    pub(super) const fn advice(self) -> &'static str {
        match self {
            Self::RequestLine => "The request line is malformed. Expected: METHOD SP target SP HTTP/1.1.",
            Self::HeaderLine => "A header line is malformed. Expected: name, colon, value, CRLF; no folding.",
            Self::Host => "Expected exactly one Host header with a host name.",
            Self::HostMismatch => {
                "Host and the authority of the request target differ. Send the same in both."
            }
            Self::ContentLength => {
                "Expected at most one Content-Length, a plain number, and never together with Transfer-Encoding."
            }
            Self::TransferEncoding => "Expected a single `Transfer-Encoding: chunked`, in HTTP/1.1 only.",
            Self::Path => {
                "The path up to the account id must be plain: no dot segments, empty segments, ';', \
                 backslash or percent escapes."
            }
            Self::AccountId => "The account id must be plain digits without sign or leading zero.",
            Self::DuplicateKey => {
                "The account must be named once and plainly: the query key that names it without percent \
                 escapes and after '?' or '&' (not ';'), the header without '_' for '-', and no two values."
            }
            Self::Connection => "The Connection header names a field that cannot be removed.",
            Self::Body => "The request body does not match its own framing.",
            Self::Stream => "The stream does not begin with a request of HTTP/2.",
        }
    }
}
