//! What a start leaves in the state folder: its line in the audit trail, and what it serves, for later starts.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, bail};

use super::Shared;
use crate::approval_files::Approved;
use crate::config::Sources;
use crate::policy::snapshot::Snapshot;
use crate::reload::journal::{Journal, version};
use crate::reload::keep_in_history;
use crate::start::Fallback;
use crate::{last_good, quiet, start};

impl Shared {
    /// Keeps what serves for later starts: before the first request, or in the background where it is there already
    /// and only its date is new. A million accounts take longer to write than a start may.
    pub(super) fn keep(
        &self,
        sources: Sources,
        serves: &Arc<Snapshot>,
        number: Option<u64>,
        now: i64,
    ) -> anyhow::Result<Option<JoinHandle<()>>> {
        let state_dir = self.boot.state_dir.clone();
        if !last_good::is_saved(&state_dir, &serves.hash) {
            start::keep(&state_dir, &sources, serves, now).context("saving the last good configuration")?;
            keep_in_history(&state_dir, number);
            return Ok(None);
        }
        keep_in_history(&state_dir, number);
        let (state, live, serves) = (Arc::clone(&self.state), Arc::clone(&self.live), Arc::clone(serves));
        Ok(quiet::start(move || {
            // What a reload has put in its place meanwhile, the reload keeps.
            let keep =
                || (live.pin().hash == serves.hash).then(|| start::keep(&state_dir, &sources, &serves, now));
            if let Some(Some(Err(error))) = state.write(keep) {
                tracing::warn!(%error, "the last good configuration keeps the date of an earlier start");
            }
        }))
    }
}

/// Puts down the approvals that let this start serve, before it does: they count once.
pub(super) fn use_up(approved: &Approved, state_dir: &Path, now: i64) -> anyhow::Result<()> {
    approved.remember(state_dir, now).context("putting down the approvals that let this serve")?;
    tracing::warn!(by = approved.by(), "a change that guards refuse is approved");
    Ok(())
}

/// Writes the line of a start into the audit trail, before it serves, and gives its number.
///
/// # Errors
/// The state folder cannot be written. What served before serves on without: nothing changes by it.
pub(super) fn begin_trail(
    journal: &mut Journal,
    snapshot: &Snapshot,
    approved: Option<&Approved>,
    fallback: Option<&Fallback>,
    now: i64,
) -> anyhow::Result<Option<u64>> {
    let serving = version(snapshot.generation, &snapshot.hash);
    let reasons = fallback.map_or_else(Vec::new, |fallback| fallback.why.lines());
    let who = approved.map(|approved| vec![approved.by()]).unwrap_or_default();
    match (journal.start(serving, who, reasons, now), fallback) {
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
