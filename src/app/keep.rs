//! What a start leaves in the state folder: its line in the audit trail, and what it serves, for later starts.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, anyhow};

use super::{Options, Shared};
use crate::approval_files::Approved;
use crate::config::{self, Sources};
use crate::last_good::{self, LastGoodError};
use crate::policy::code::Code;
use crate::policy::snapshot::Snapshot;
use crate::readiness::NoteReady;
use crate::reload::journal::{Journal, Said, Start, WAY_OUT, version};
use crate::reload::{keep_in_history, serve_first, unsaved};
use crate::start::{Changed, Fallback, Started, Why};
use crate::{quiet, start};

/// What a start is about to serve, and what is to be written down of it.
pub(super) struct Begins {
    /// The files.
    pub sources: Sources,
    /// Who has let them through.
    pub approved: Option<Approved>,
    /// What they change, where they are not what served last.
    pub changed: Option<Changed>,
    /// What they say of themselves.
    pub said: Said,
}

/// What a start has put down before the first request, and what follows from that.
pub(super) struct Begun {
    /// Why what serves is not what the files say.
    pub fallback: Option<Fallback>,
    /// The trail, behind the line of the start.
    pub journal: Journal,
    /// Held while what serves is not kept for later starts.
    pub unsaved: Option<NoteReady>,
    /// What is still being kept.
    pub keeping: Option<JoinHandle<()>>,
}

impl Shared {
    /// Puts down what must be on the disk before this start serves. Files that have not served yet do not serve without
    /// it: the last good configuration does. What has served is no change, and does.
    ///
    /// # Errors
    /// The state folder cannot be written, and there is nothing to fall back to; or a predecessor serves, and goes on.
    pub(super) fn begin(
        &mut self,
        options: &Options,
        begins: Begins,
        mut fallback: Option<Fallback>,
        now: i64,
    ) -> anyhow::Result<Begun> {
        let state_dir = self.boot.state_dir.clone();
        let journal = Journal::new(&state_dir, self.metrics.trail(), Arc::clone(&self.readiness));
        let serves = self.live.pin();
        let has_served = fallback.is_some() || last_good::is_saved(&state_dir, &serves.hash);
        let Begins { sources, approved, changed, said } = begins;
        let approved_by = approved.as_ref().map(Approved::each).unwrap_or_default();
        let start = Start { changed, said, approved_by, ..line_of(&serves, fallback.as_ref()) };
        let used_up = approved.map_or(Ok(()), |approved| use_up(&approved, &state_dir, now));
        let written = used_up.and_then(|()| begin_trail(&journal, start, now));
        let written = match written {
            Err(what) if !has_served => {
                fallback = Some(self.fall_back(options, what)?);
                begin_trail(&journal, line_of(&self.live.pin(), fallback.as_ref()), now)
            }
            written => written,
        };
        if let Err(reason) = &written {
            tracing::error!(code = %Code::TrailGap, reason, "this start is not in the audit trail");
        }
        let mut begun = Begun { fallback, journal, unsaved: None, keeping: None };
        if begun.fallback.is_none() {
            match self.keep(sources, &serves, written.ok(), now) {
                Ok(keeping) => begun.keeping = keeping,
                Err(error) if last_good::load(&state_dir).is_ok() => {
                    begun.unsaved = Some(unsaved(&self.readiness, &error));
                }
                Err(error) => return Err(error).context("saving the last good configuration"),
            }
        }
        Ok(begun)
    }

    /// Serves the last good configuration in place of files that are good, for `what` cannot be written.
    fn fall_back(&mut self, options: &Options, what: String) -> anyhow::Result<Fallback> {
        let fails = || anyhow!("{what} ({WAY_OUT}, then start again)");
        // What a predecessor has moved, and what it holds, was looked for in the files: it serves on.
        if !self.lineage.draining().is_empty() {
            return Err(fails());
        }
        let started = start::fall_back_late(&options.given(), &self.boot, Why::Unwritten(what.clone()));
        let Ok(Started { boot, config, fallback: Some(fallback), .. }) = started else { return Err(fails()) };
        self.boot = boot;
        let serves = Arc::new(config::compile(config, None));
        self.metrics.prepare(&serves);
        serve_first(&self.live, serves);
        Ok(fallback)
    }

    /// Keeps what serves for later starts: before the first request, or in the background where it is there already
    /// and only its date is new. A million accounts take longer to write than a start may.
    fn keep(
        &self,
        sources: Sources,
        serves: &Arc<Snapshot>,
        number: Option<u64>,
        now: i64,
    ) -> Result<Option<JoinHandle<()>>, LastGoodError> {
        let state_dir = self.boot.state_dir.clone();
        if !last_good::is_saved(&state_dir, &serves.hash) {
            start::keep(&state_dir, &sources, serves, now)?;
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
fn use_up(approved: &Approved, state_dir: &Path, now: i64) -> Result<(), String> {
    approved.remember(state_dir, now).map_err(|error| {
        let error = anyhow::Error::new(error).context("putting down the approvals that let this serve");
        format!("{error:#}")
    })?;
    tracing::warn!(by = approved.by(), "a change that guards refuse is approved");
    Ok(())
}

/// Writes the line of a start into the audit trail, before it serves, and gives its number.
fn begin_trail(journal: &Journal, start: Start, now: i64) -> Result<u64, String> {
    let head = journal.start(start, now).map_err(|objection| objection.what)?;
    tracing::info!(seq = head.seq, sha256 = head.sha256, "head of the audit trail");
    Ok(head.seq)
}

/// What there is to say of any start: what serves, and why that is not what the files say.
fn line_of(serves: &Snapshot, fallback: Option<&Fallback>) -> Start {
    Start {
        serving: version(serves.generation, &serves.hash),
        changed: None,
        said: Said::default(),
        approved_by: Vec::new(),
        reasons: fallback.map_or_else(Vec::new, |fallback| fallback.why.lines()),
    }
}
