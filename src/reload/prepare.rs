//! From the files to what may be put in force, or to why it may not. Changes nothing; takes a core-second for a million rows,
//! and runs where it holds up nobody.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::break_glass::{self, kept_out};
use super::journal::Said;
use super::known::Known;
use super::moves_first::{Offered, Rest, or_refuse};
use super::outcome::{Pushed, ReloadOutcome};
use super::views;
use crate::approval::break_glass::Override;
use crate::approval_files::{Approved, Approvers};
use crate::config::compiled::Compiled;
use crate::config::guard::{Guard, Objection};
use crate::config::plan::{Plan, Verdict};
use crate::config::{self, Boot, Sources};
use crate::load::Place;
use crate::policy::snapshot::Snapshot;
use crate::telemetry::wall_time::unix_seconds;
use crate::{compiled_file, history, load, start};

/// A generation that can be put in force.
pub(super) struct Ready {
    pub next: Arc<Snapshot>,
    pub sources: Sources,
    /// Its objections do not stop it: those of guards that only watch, or those that people have lifted.
    pub plan: Plan,
    pub pushed: Arc<Pushed>,
    /// Who has lifted them.
    pub lifted: Option<Lifted>,
    /// An operator restores what has served here before: that needs no trial.
    pub has_served: bool,
    /// They are the moves of a push, and this is what becomes of the rest of it.
    pub rest: Option<Rest>,
}

/// Who lets through what guards refuse.
#[derive(Clone)]
pub(super) enum Lifted {
    /// Enough people, who have signed.
    Approved(Approved),
    /// One operator, for a time.
    Overridden(String),
}

impl Lifted {
    /// Who has signed.
    pub(super) fn approved_by(&self) -> Vec<String> {
        match self {
            Self::Approved(approved) => approved.each(),
            Self::Overridden(_) => Vec::new(),
        }
    }

    /// Who says so alone.
    pub(super) fn overridden_by(&self) -> Option<String> {
        match self {
            Self::Approved(_) => None,
            Self::Overridden(by) => Some(by.clone()),
        }
    }
}

pub(super) enum Prepared {
    Ready(Box<Ready>),
    Unchanged { sources: Sources },
    Refused(Refused),
    Not(ReloadOutcome),
}

/// What guards do not let through.
pub(super) struct Refused {
    pub objections: Vec<Objection>,
    /// Why approvals do not lift them.
    pub missing: Vec<String>,
    /// The hash of files that mix moves with what those cannot come without.
    pub mixed: Option<Box<str>>,
    pub pushed: Arc<Pushed>,
}

/// Reads the files and says what becomes of them.
pub(super) fn prepare(
    place: &Place,
    state_dir: Option<&Path>,
    (boot, live): (&Boot, &Snapshot),
    requests: start::RequestsIn<'_>,
    (approvers, asked): (&Approvers, Option<&Override>),
    known: &Known,
) -> Prepared {
    let sources = load::load(place.clone());
    let now = unix_seconds(SystemTime::now());
    let parsed = compiled_file::parse_all(&sources, Some(&boot.state_dir), Some(Compiled::of(live)), now);
    let (mut new_boot, config) = match parsed {
        Ok(parsed) => parsed,
        Err(problems) => return Prepared::Not(ReloadOutcome::Rejected(views(&problems))),
    };
    if let Some(state_dir) = state_dir {
        new_boot = new_boot.in_state_dir(state_dir);
    }
    let changed = config::boot_changes(boot, &new_boot);
    if !changed.is_empty() {
        return Prepared::Not(ReloadOutcome::NeedsRestart(changed));
    }
    if config.hash == live.hash {
        return Prepared::Unchanged { sources };
    }
    let said = || Said::of(&config.change, history::note(&place.folder, &config.hash));
    if let Some(kept) = asked.filter(|asked| asked.keeps(now)) {
        let pushed = Pushed { hash: config.hash.clone(), plan: None, said: said() };
        return Prepared::Not(ReloadOutcome::Refused(vec![kept_out(kept)], Some(Arc::new(pushed))));
    }
    let restores = || break_glass::restores(place, &boot.state_dir, &config.hash, now);
    let restored = asked.filter(|asked| asked.restores(now) && restores());
    if let Some(answer) = known.answer(&config.hash).filter(|_| restored.is_none()) {
        return Prepared::Not(answer);
    }
    let mut plan = Plan::of_reload(&boot.guards, live, &config, requests(&boot.state_dir));
    let taken_back = known.taken_back(live, &config).filter(|_| restored.is_none());
    match taken_back {
        // Moves are not held up by what is wrong with the rest.
        Some(_) if plan.refuses(Guard::Mixed) => {}
        Some(answer) => return Prepared::Not(answer),
        None => plan.objections.retain(|objection| objection.guard != Guard::Mixed || !known.is_at_once()),
    }
    let pushed = Arc::new(Pushed { hash: config.hash.clone(), plan: Some(plan.digest()), said: said() });
    let mut lifted = None;
    if plan.verdict() == Verdict::Refused {
        let author = config.change.author.as_deref();
        match approvers.judge(&place.folder, &boot.state_dir, &plan, author, now) {
            Ok(enough) => lifted = Some(Lifted::Approved(enough)),
            Err(mut missing) => {
                let lifts = |asked: &Override| asked.lifts(&plan, restored.is_some(), now);
                match asked.map(|asked| lifts(asked).map(|()| asked.to_string())) {
                    Some(Ok(by)) => lifted = Some(Lifted::Overridden(by)),
                    _ if !plan.refuses(Guard::Mixed) && known.lifted_in(&config).is_some() => {
                        lifted = known.lifted_in(&config);
                    }
                    not => {
                        missing.extend(not.and_then(Result::err).into_iter().flatten());
                        let offered = Offered { sources, config, plan, missing, pushed };
                        return or_refuse(place, (boot, live), offered, requests, known, now);
                    }
                }
            }
        }
    }
    let has_served = restored.is_some();
    let next = Arc::new(known.numbered(config::compile(config, Some(live))));
    Prepared::Ready(Box::new(Ready { next, sources, plan, pushed, lifted, has_served, rest: None }))
}
