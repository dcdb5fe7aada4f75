//! Keeping what a start serves in the state folder, for later starts.

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;

use super::Shared;
use crate::config::Sources;
use crate::policy::snapshot::Snapshot;
use crate::reload::keep_in_history;
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
