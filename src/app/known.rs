//! What makes callers of the admin plane known, and what writes down who has tried what: beside all planes, from before the first
//! call to after the last.

use std::sync::Arc;

use anyhow::Context;

use crate::access_files::{AccessKeeper, AccessThread};
use crate::admin::access::AccessView;
use crate::attempts::handle::{AttemptHandle, AttemptInbox, handles};
use crate::attempts::{AttemptThread, Scribe};
use crate::config::Boot;
use crate::reload::journal::Journal;
use crate::state_file::Ownership;

/// Read, and not yet looked after.
pub(super) struct Known {
    files: AccessKeeper,
    attempts: (AttemptHandle, AttemptInbox),
}

/// The threads that look after it. They end after the admin plane, which asks them.
pub(super) struct Knowing {
    _attempts: AttemptThread,
    _files: AccessThread,
}

impl Known {
    /// By the files of this configuration.
    pub(super) fn begin(boot: &Boot) -> Self {
        Self { files: AccessKeeper::begin(boot.admin.clone()), attempts: handles() }
    }

    /// What the admin plane has of it.
    pub(super) fn for_admin(&self) -> (AccessView, AttemptHandle) {
        (self.files.access(), self.attempts.0.clone())
    }

    /// Looks after it from here on.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn start(self, journal: Journal, state: &Arc<Ownership>) -> anyhow::Result<Knowing> {
        let (handle, inbox) = self.attempts;
        let attempts = Scribe::new(journal, Arc::clone(state)).start(handle, inbox);
        let attempts = attempts.context("starting the thread of attempts")?;
        let files = self.files.start().context("starting the thread of the admin plane's files")?;
        Ok(Knowing { _attempts: attempts, _files: files })
    }
}
