//! What has been said, kept in the state folder: put down when a state has turned or somebody was told, and each minute so that it
//! is known until when somebody looked. A folder that takes none, or gives back something else, costs a page that begins anew.

use std::path::PathBuf;
use std::sync::Arc;

use crate::policy::code::Code;
use crate::policy::snapshot::Snapshot;
use crate::policy::status::resume::{Existing, Resumed, Saved};
use crate::state_file::Ownership;
use crate::status_file;

/// How long it is not put down where nothing changes, in seconds: of the time after which it is not believed, a small part.
const PUT_DOWN_EVERY_S: i64 = 60;

/// Where it is kept, and what was put down last.
#[derive(Debug)]
pub struct Memory {
    state_dir: PathBuf,
    state: Arc<Ownership>,
    last: Option<Saved>,
    is_failing: bool,
}

impl Memory {
    /// In this state folder, as long as it is ours to write.
    pub fn new(state_dir: PathBuf, state: Arc<Ownership>) -> Self {
        Self { state_dir, state, last: None, is_failing: false }
    }

    /// What a process goes on with that starts at `now`, in seconds since the Unix epoch.
    pub(super) fn recall(&self, snapshot: &Snapshot, now: i64) -> Resumed {
        let saved = match status_file::load(&self.state_dir) {
            Ok(None) => return Resumed::default(),
            Ok(Some(saved)) => saved,
            Err(error) => {
                let file = status_file::FILE_NAME;
                tracing::warn!(code = %Code::StatusForgotten, file, %error, "what the status page has said cannot be read; it begins anew");
                return Resumed::default();
            }
        };
        let existing = Existing {
            cells: snapshot.cells.iter().map(|cell| cell.name.clone()).collect(),
            surfaces: snapshot.surfaces.iter().map(|surface| surface.name.clone()).collect(),
        };
        let resumed = saved.resume(&existing, now);
        if let Some(reason) = resumed.not_taken {
            tracing::info!(%reason, "how the status stood is not taken over; it begins anew");
        }
        resumed
    }

    /// Puts it down, unless that is what lies there, and not long ago.
    pub(super) fn keep(&mut self, saved: Saved) {
        let is_kept = self.last.as_ref().is_some_and(|last| {
            let is_recent = (0..PUT_DOWN_EVERY_S).contains(&saved.at.saturating_sub(last.at));
            is_recent && last.tells_the_same(&saved)
        });
        if !is_kept {
            self.put_down(saved);
        }
    }

    /// Puts it down, unless the folder is a successor's.
    pub(super) fn put_down(&mut self, saved: Saved) {
        let written = self.state.write_beside(|| status_file::save(&self.state_dir, &saved));
        match written {
            None => return,
            Some(Ok(())) => self.is_failing = false,
            Some(Err(error)) if !self.is_failing => {
                tracing::warn!(code = %Code::StatusForgotten, %error, "what the status page says cannot be kept; a restart would begin anew");
                self.is_failing = true;
            }
            Some(Err(_)) => {}
        }
        // Also where it failed: the next try is when there is something new, or in a minute.
        self.last = Some(saved);
    }
}
