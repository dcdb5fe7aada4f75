//! A push that moves accounts and changes other things as well: its moves come in force at once, by themselves, and the rest
//! is looked at anew against them. Moves that cannot come without the rest are refused with it (the guard `mixed`).

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::known::Known;
use super::outcome::Pushed;
use super::prepare::{Prepared, Ready, Refused};
use super::retired::Retired;
use super::staged::{Staged, Staging};
use super::{Reloader, serving};
use crate::config::compiled::Compiled;
use crate::config::guard::Guard;
use crate::config::plan::{Plan, Verdict};
use crate::config::{self, Boot, CannotPart, Config, MovesAlone, Sources, moves_alone};
use crate::load::Place;
use crate::policy::snapshot::Snapshot;
use crate::readiness::NoteReady;
use crate::start::RequestsIn;
use crate::telemetry::wall_time::unix_seconds;
use crate::{compiled_file, last_good, start};

/// The rest of a push whose moves are about to come in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    /// It is what is on trial, and nothing else: the trial goes on with the moves in it.
    pub carries_on: bool,
}

/// What waits for the rest of a push to be looked at.
pub(super) struct Aside {
    /// The trial that goes on in it, where one does.
    pub trial: Option<Staged>,
    is_due: bool,
}

/// What was offered, and is refused as it stands.
pub(super) struct Offered {
    pub sources: Sources,
    pub config: Config,
    pub plan: Plan,
    /// Why approvals do not lift that.
    pub missing: Vec<String>,
    pub pushed: Arc<Pushed>,
}

/// The moves of a push that is refused for nothing else than having them; or the refusal.
pub(super) fn or_refuse(
    place: &Place,
    (boot, live): (&Boot, &Snapshot),
    offered: Offered,
    requests: RequestsIn<'_>,
    known: &Known,
    now: i64,
) -> Prepared {
    let Offered { sources, config, mut plan, missing, pushed } = offered;
    let said = pushed.said.clone();
    let refused = |objections, mixed| Prepared::Refused(Refused { objections, missing, mixed, pushed });
    let refusing = || plan.objections.iter().filter(|objection| objection.refuses());
    let is_all_about_moves = refusing().all(|objection| objection.guard == Guard::Mixed);
    if !is_all_about_moves && known.lifted_in(&config).is_none() {
        return refused(plan.objections, None);
    }
    let hash = config.hash.clone();
    let rest = Rest { carries_on: known.goes_on_in(&config) };
    let alone = served(place, &boot.state_dir, live)
        .and_then(|base| moves_alone(base, live, &sources, &config).map_err(|why| why.to_string()));
    // Tables of a million rows are not to be there three times.
    drop(config);
    match alone.and_then(|alone| read(alone, boot, live, now)) {
        Ok((sources, config)) => {
            let plan = Plan::of_reload(&boot.guards, live, &config, requests(&boot.state_dir));
            if plan.verdict() == Verdict::Refused {
                return refused(plan.objections, None);
            }
            let next = Arc::new(known.numbered(config::compile(config, Some(live))));
            let (lifted, has_served) = (None, false);
            let pushed = Arc::new(Pushed { hash: next.hash.clone(), plan: Some(plan.digest()), said });
            let ready = Ready { next, sources, plan, pushed, lifted, has_served, rest: Some(rest) };
            Prepared::Ready(Box::new(ready))
        }
        Err(why) => {
            for objection in plan.objections.iter_mut().filter(|one| one.guard == Guard::Mixed) {
                objection.what.push_str(&format!("; the moves cannot come first: {why}"));
            }
            refused(plan.objections, Some(hash))
        }
    }
}

/// The files of what serves.
fn served(place: &Place, state_dir: &Path, live: &Snapshot) -> Result<Sources, String> {
    let saved = last_good::load(state_dir).map_err(|error| error.to_string())?;
    if *saved.hash != *live.hash {
        return Err("what serves was not saved in the state folder".to_owned());
    }
    Ok(start::to_sources(place, saved.files))
}

fn read(alone: MovesAlone, boot: &Boot, live: &Snapshot, now: i64) -> Result<(Sources, Config), String> {
    let parsed =
        compiled_file::parse_all(&alone.sources, Some(&boot.state_dir), Some(Compiled::of(live)), now);
    let (_, config) =
        parsed.map_err(|problems| problems.first().map(ToString::to_string).unwrap_or_default())?;
    alone.check(&config).map_err(|why| why.to_string())?;
    if config.hash == live.hash {
        return Err(CannotPart::Nothing.to_string());
    }
    Ok((alone.sources, config))
}

impl Staging {
    /// Whether the moves of a push are in force and the rest of it is still to be looked at; says so once.
    pub(super) fn has_rest(&mut self) -> bool {
        self.rest.as_mut().is_some_and(|aside| std::mem::take(&mut aside.is_due))
    }
}

impl Reloader {
    /// The moves of a push are about to come in force. A trial that the rest of it carries on is put aside for so long.
    pub(super) fn put_aside(&mut self, rest: Rest, retired: &mut Retired) {
        if !rest.carries_on {
            self.withdraw("moves and another push have taken its place", retired);
        }
        let trial = self.staging.standing.take();
        self.staging.rest = Some(Aside { trial, is_due: true });
    }

    /// Ends a trial that was put aside and did not go on.
    pub(super) fn let_go(&mut self, why: &str, retired: &mut Retired) {
        if let Some(Aside { trial: Some(trial), .. }) = self.staging.rest.take() {
            self.end(trial, why, retired);
        }
    }

    /// The same trial with newer moves in it: the same accounts, the same step, and what was seen of it still counts.
    pub(super) fn go_on(
        &mut self,
        before: Staged,
        ready: Ready,
        number: Option<u64>,
        note: NoteReady,
        retired: &mut Retired,
    ) {
        let (next, stable) = (Arc::clone(&ready.next), self.live.pin());
        let was = (serving(&before.ready.next), before.trigger);
        let candidate = before.candidate.as_ref().map(|one| Arc::new(one.with_moves(next, &stable)));
        retired.add(Arc::clone(&before.ready.next));
        self.staging.standing = Some(Staged { ready, number, candidate: candidate.clone(), note, ..before });
        if let Some(candidate) = candidate {
            self.stand(Some(candidate));
        }
        let (state, journal, now) = (&self.state, &self.journal, unix_seconds(SystemTime::now()));
        let why = "its trial goes on with newer moves in it";
        state.write(|| journal.withdrawn(was.1, was.0, serving(&stable), why, now));
    }
}
