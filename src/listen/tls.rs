//! TLS.

use std::fmt;
use std::sync::Arc;

use crate::policy::snapshot::Snapshot;

/// Gives the snapshot of now; called once for each handshake.
pub type SnapshotSource = Arc<dyn Fn() -> Arc<Snapshot> + Send + Sync>;

/// Certificates, tickets and sessions of all TLS listeners.
pub struct TlsSettings {
    snapshot: SnapshotSource,
}

impl TlsSettings {
    /// With certificates from the snapshot of the moment.
    pub fn new(snapshot: SnapshotSource) -> Result<Arc<Self>, rustls::Error> {
        Ok(Arc::new(Self { snapshot }))
    }
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings").finish_non_exhaustive()
    }
}
