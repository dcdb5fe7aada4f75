//! The line of a start in the audit trail, before it serves.

use anyhow::bail;

use crate::policy::snapshot::Snapshot;
use crate::reload::journal::{Journal, version};
use crate::start::Fallback;

/// Writes it, and gives its number.
///
/// # Errors
/// The state folder cannot be written. What served before serves on without: nothing changes by it.
pub(super) fn write_down(
    journal: &mut Journal,
    snapshot: &Snapshot,
    fallback: Option<&Fallback>,
    now: i64,
) -> anyhow::Result<Option<u64>> {
    let serving = version(snapshot.generation, &snapshot.hash);
    let reasons = fallback.map_or_else(Vec::new, |fallback| fallback.why.lines());
    match (journal.start(serving, reasons, now), fallback) {
        (Ok(head), _) => {
            tracing::info!(seq = head.seq, sha256 = head.sha256, "head of the audit trail");
            Ok(Some(head.seq))
        }
        (Err(objection), Some(_)) => {
            tracing::error!(reason = objection.what, "this start is not in the audit trail");
            Ok(None)
        }
        (Err(objection), None) => bail!("{} ({})", objection.what, objection.hint.unwrap_or_default()),
    }
}
