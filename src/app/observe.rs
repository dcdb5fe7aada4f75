//! From what `listen` tells to what `telemetry` counts, which is coarser. The two meet here, so that
//! neither module has to know the other.

use std::fmt;
use std::sync::Arc;

use crate::listen::observe::{AcceptFailure, HandshakeFailure, HandshakeKind, Observer, Refusal, UnknownSni};
use crate::listen::spec::ListenerSpec;
use crate::telemetry::labels;
use crate::telemetry::metrics::Metrics;

/// Counts.
pub struct Observed(Arc<Metrics>);

impl Observed {
    /// Into these metrics.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self(metrics)
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observed")
    }
}

impl Observer for Observed {
    fn connection_opened(&self, _: &ListenerSpec) {
        self.0.connection_opened();
    }

    fn connection_closed(&self, _: &ListenerSpec) {
        self.0.connection_closed();
    }

    fn connection_refused(&self, _: &ListenerSpec, reason: Refusal) {
        self.0.connection_refused(match reason {
            Refusal::TotalLimit | Refusal::SourceLimit => labels::ConnectionRefused::Limit,
            Refusal::HandshakeLimit => labels::ConnectionRefused::Handshakes,
            Refusal::ProxyUntrusted => labels::ConnectionRefused::UntrustedPeer,
            Refusal::ProxyInvalid | Refusal::ProxyTimeout | Refusal::ProxyAbandoned => {
                labels::ConnectionRefused::ProxyHeader
            }
        });
    }

    fn handshake(&self, _: &ListenerSpec, result: Result<HandshakeKind, HandshakeFailure>) {
        self.0.handshake(match result {
            Ok(HandshakeKind::Full) => labels::Handshake::Full,
            Ok(HandshakeKind::Resumed) => labels::Handshake::Resumed,
            Err(HandshakeFailure::UnknownName) => labels::Handshake::UnknownName,
            Err(HandshakeFailure::Timeout) => labels::Handshake::TimedOut,
            Err(HandshakeFailure::Disconnected | HandshakeFailure::ClientAlert) => {
                labels::Handshake::ClientGone
            }
            Err(HandshakeFailure::ClientCertificate) => labels::Handshake::ClientCertificate,
            Err(
                HandshakeFailure::NotTls
                | HandshakeFailure::Incompatible
                | HandshakeFailure::NoProtocol
                | HandshakeFailure::Misbehaved
                | HandshakeFailure::Internal,
            ) => labels::Handshake::Failed,
        });
    }

    fn unknown_sni(&self, _: &ListenerSpec, kind: UnknownSni) {
        self.0.unknown_sni(match kind {
            UnknownSni::Absent => labels::UnknownSni::Absent,
            UnknownSni::Misordered => labels::UnknownSni::Misordered,
            UnknownSni::Uncovered => labels::UnknownSni::Uncovered,
            UnknownSni::Unknown | UnknownSni::Invalid => labels::UnknownSni::Foreign,
        });
    }

    fn accept_failed(&self, _: &ListenerSpec, _: AcceptFailure) {
        self.0.connection_refused(labels::ConnectionRefused::Accept);
    }
}
