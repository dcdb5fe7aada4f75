//! What the listeners tell: the trait that is told, and closed enums of what happens to connections, as
//! finely as the log tells them apart. What they are counted as, more coarsely, is not known here.

use std::fmt;

use super::spec::ListenerSpec;

/// Is told what happens to connections. Called on the accept path: must not block.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// A connection was accepted and is counted until `connection_closed`.
    fn connection_opened(&self, _listener: &ListenerSpec) {}

    /// A counted connection is gone, for whatever reason.
    fn connection_closed(&self, _listener: &ListenerSpec) {}

    /// A connection was closed before it could say anything.
    fn connection_refused(&self, _listener: &ListenerSpec, _reason: Refusal) {}

    /// A TLS handshake ended.
    fn handshake(&self, _listener: &ListenerSpec, _result: Result<HandshakeKind, HandshakeFailure>) {}

    /// A ClientHello named no host that a certificate covers.
    fn unknown_sni(&self, _listener: &ListenerSpec, _kind: UnknownSni) {}

    /// `accept` itself failed.
    fn accept_failed(&self, _listener: &ListenerSpec, _kind: AcceptFailure) {}
}

/// Counts nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

impl Observer for Unobserved {}

/// Why a connection was closed before TLS or HTTP began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// [`ConnectionLimits::total`](super::spec::ConnectionLimits) is reached.
    TotalLimit,
    /// [`ConnectionLimits::per_source`](super::spec::ConnectionLimits) is reached.
    SourceLimit,
    /// [`ConnectionLimits::handshakes`](super::spec::ConnectionLimits) is reached.
    HandshakeLimit,
    /// The listener wants PROXY headers, and the peer is not in a network that may send them.
    ProxyUntrusted,
    /// The first bytes are not a PROXY protocol header.
    ProxyInvalid,
    /// The PROXY header did not come in time.
    ProxyTimeout,
    /// The peer closed before its PROXY header was complete: usually a balancer's TCP health check.
    ProxyAbandoned,
}

/// How a TLS handshake succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeKind {
    /// With certificate and signature.
    Full,
    /// From a ticket or a cached session.
    Resumed,
}

/// How a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeFailure {
    /// Not complete at the deadline.
    Timeout,
    /// The client closed or reset the connection: a port scan, a TCP health check, a lost network.
    Disconnected,
    /// The first bytes are not TLS, such as plain HTTP.
    NotTls,
    /// No certificate for the server name; counted by kind as well.
    UnknownName,
    /// No TLS version, cipher suite, key exchange or signature scheme in common.
    Incompatible,
    /// ALPN offers nothing that is spoken here.
    NoProtocol,
    /// The client ended the handshake with an alert: mostly, it does not trust our certificate.
    ClientAlert,
    /// The client showed no certificate where one is required, or one that is not accepted.
    ClientCertificate,
    /// The client broke the protocol.
    Misbehaved,
    /// Our own fault: no certificate is configured, or no randomness was to be had.
    Internal,
}

/// What is wrong with the server name of a ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownSni {
    /// A host that is served, but no certificate covers it: ours to mend.
    Uncovered,
    /// A host of ours with prefix and surface swapped (`metadata.ab123.us1.dbt.com`), which a
    /// wildcard certificate of a region does not cover.
    Misordered,
    /// No host of ours.
    Unknown,
    /// Not a host name.
    Invalid,
    /// No server name at all. The first certificate is presented; nothing is refused.
    Absent,
}

/// Why `accept` gave no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AcceptFailure {
    /// EMFILE: the process is out of file descriptors.
    ProcessDescriptors,
    /// ENFILE: the machine is out of file descriptors.
    SystemDescriptors,
    /// ENOBUFS or ENOMEM: the kernel is out of memory for sockets.
    Memory,
    /// The connection was gone before it could be accepted.
    Aborted,
    /// Anything else.
    Other,
}

impl Refusal {
    /// As log lines have it.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TotalLimit => "total_limit",
            Self::SourceLimit => "source_limit",
            Self::HandshakeLimit => "handshake_limit",
            Self::ProxyUntrusted => "proxy_untrusted",
            Self::ProxyInvalid => "proxy_invalid",
            Self::ProxyTimeout => "proxy_timeout",
            Self::ProxyAbandoned => "proxy_abandoned",
        }
    }
}

impl HandshakeFailure {
    /// As log lines have it.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Disconnected => "disconnected",
            Self::NotTls => "not_tls",
            Self::UnknownName => "unknown_name",
            Self::Incompatible => "incompatible",
            Self::NoProtocol => "no_protocol",
            Self::ClientAlert => "client_alert",
            Self::ClientCertificate => "client_certificate",
            Self::Misbehaved => "misbehaved",
            Self::Internal => "internal",
        }
    }
}

impl AcceptFailure {
    /// As log lines have it.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::ProcessDescriptors => "process_descriptors",
            Self::SystemDescriptors => "system_descriptors",
            Self::Memory => "memory",
            Self::Aborted => "aborted",
            Self::Other => "other",
        }
    }
}
