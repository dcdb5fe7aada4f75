//! What went wrong between this proxy and a cell, each in the word that RFC 9209 section 2.3 has for it. Whether
//! the cell may have seen the request, and what the client is told to do, is [`refusal`](super::refusal)'s
//! matter: there all of one kind are one refusal.

/// Why no connection to a cell could be made. Nothing of the request was sent in that attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unreachable {
    /// The cell has no endpoint to try.
    NoEndpoint,
    /// The endpoint's name has no address.
    Unresolved,
    /// Nobody has answered in time what the endpoint's address is.
    ResolveTimeout,
    /// Nobody listens there.
    Refused,
    /// There is no way to the address.
    Unroutable,
    /// The connection was not there in time, TLS and HTTP/2 included.
    Timeout,
    /// It was made, and closed before a request could be sent.
    Terminated,
    /// The cell's certificate is not one that this cell is trusted by: name, authority, validity, revocation.
    Certificate,
    /// The cell has ended the handshake with an alert: it may want another certificate of ours, or another
    /// version.
    TlsAlert,
    /// What came was no TLS, or none that we speak.
    TlsProtocol,
    /// What came was no HTTP/2.
    Protocol,
    /// The part of the cell that it belongs to has as many connections as it may have.
    TooMany,
    /// The system had another reason, or the cell allows no stream.
    Other,
}

/// Why what a cell has sent is no answer. It may have acted on the request, unless it has said that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BrokenAnswer {
    /// The connection ended before a byte of an answer.
    Terminated,
    /// The answer ended in its head, or the cell reset its stream.
    Incomplete,
    /// The cell has ended the TLS session with an alert: in TLS 1.3 it judges our certificate only after the
    /// handshake.
    TlsAlert,
    /// The bytes were not of the TLS session.
    TlsProtocol,
    /// The fields of the head are too many or too large.
    HeaderSize,
    /// A transfer coding other than exactly `chunked`.
    TransferCoding,
    /// It switches to a protocol that nobody asked for, or does not switch where only that is an answer.
    Upgrade,
    /// Anything else that is not HTTP.
    Protocol,
}

/// What a cell did not do in time. It may have acted on the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Silence {
    /// It sent nothing.
    Unanswered,
    /// It did not take the request's body.
    Unread,
    /// The time for the whole request was over before its answer.
    Whole,
}

impl Unreachable {
    /// The `error` parameter of `Proxy-Status`.
    pub const fn proxy_error(self) -> &'static str {
        match self {
            Self::NoEndpoint | Self::Other => "destination_unavailable",
            Self::Unresolved => "dns_error",
            Self::ResolveTimeout => "dns_timeout",
            Self::Refused => "connection_refused",
            Self::Unroutable => "destination_ip_unroutable",
            Self::Timeout => "connection_timeout",
            Self::Terminated => "connection_terminated",
            Self::Certificate => "tls_certificate_error",
            Self::TlsAlert => "tls_alert_received",
            Self::TlsProtocol => "tls_protocol_error",
            Self::Protocol => "http_protocol_error",
            Self::TooMany => "connection_limit_reached",
        }
    }
}

impl BrokenAnswer {
    /// The `error` parameter of `Proxy-Status`.
    pub const fn proxy_error(self) -> &'static str {
        match self {
            Self::Terminated => "connection_terminated",
            Self::Incomplete => "http_response_incomplete",
            Self::TlsAlert => "tls_alert_received",
            Self::TlsProtocol => "tls_protocol_error",
            Self::HeaderSize => "http_response_header_section_size",
            Self::TransferCoding => "http_response_transfer_coding",
            Self::Upgrade => "http_upgrade_failed",
            Self::Protocol => "http_protocol_error",
        }
    }
}

impl Silence {
    /// The `error` parameter of `Proxy-Status`.
    pub const fn proxy_error(self) -> &'static str {
        match self {
            Self::Unanswered => "connection_read_timeout",
            Self::Unread => "connection_write_timeout",
            Self::Whole => "http_response_timeout",
        }
    }
}
