//! Making a plan: what a configuration would change, held against the guards that have a say in it.

use std::fmt::Display;

use super::super::diff::{Diff, Traffic, View, diff, weigh};
use super::super::guard::{Change, Guard, Guards, Mode, Objection, judge};
use super::super::{Boot, Config, boot_changes};
use super::{NO_BASE, Plan};
use crate::policy::ids::AccountId;
use crate::policy::snapshot::Snapshot;

/// Requests by account of the last days; `None` where the books cannot say.
pub type Requests = Option<Vec<(AccountId, u64)>>;

/// The boot files on both sides of a start.
#[derive(Clone, Copy, Debug)]
pub struct Boots<'a> {
    /// Of what served last.
    pub before: &'a Boot,
    /// Of what is offered.
    pub after: &'a Boot,
    /// The offered one lies in the folder that a push replaces. Who names it on the command line is not that push.
    pub is_pushed: bool,
    /// Who is to serve it.
    pub by: By,
}

/// Who is to serve what a plan offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A process that starts. It has nothing under way, and may have been away while others went through states of
    /// moves: what it has missed is no objection.
    Starting,
    /// A process that runs.
    Running,
}

impl Plan {
    /// Of a reload: `boot.yaml` is the same on both sides, and `guards` are its.
    pub fn of_reload(guards: &Guards, live: &Snapshot, offered: &Config, requests: Requests) -> Self {
        let traffic = traffic(live, offered, requests, false);
        Self::judged(guards, live.hash.clone(), offered, diff(live, offered), traffic)
    }

    /// The same against a configuration that would serve now, had it been read.
    pub fn between(guards: &Guards, before: &Config, offered: &Config, requests: Requests) -> Self {
        let traffic = traffic(before, offered, requests, false);
        Self::judged(guards, before.hash.clone(), offered, diff(before, offered), traffic)
    }

    /// Of a start, under the stricter of both sides' guards.
    pub fn of_start(boots: Boots<'_>, before: &Config, offered: &Config, requests: Requests) -> Self {
        let Boots { before: old, after: new, is_pushed, by } = boots;
        let guards = new.guards.stricter(&old.guards);
        // A million rows that are the same bytes need not be held against each other.
        let same = before.hash == offered.hash;
        let mut diff = if same { Diff::unchanged(offered.accounts.len()) } else { diff(before, offered) };
        let lost = old.listeners.iter().filter(|old| new.listeners.iter().all(|new| new.name != old.name));
        if by == By::Starting {
            diff.moves.forgive_what_was_missed();
        }
        diff.listeners_removed = lost.map(|listener| listener.name.as_str().into()).collect();
        let traffic = traffic(before, offered, requests, by == By::Starting);
        let mut plan = Self::judged(&guards, before.hash.clone(), offered, diff, traffic);
        let weaker = new.guards.weaker_than(&old.guards);
        if is_pushed && !weaker.is_empty() && guards.weakened != Mode::Off {
            let what = format!("the guards are weaker than those that served last: {}", weaker.join("; "));
            plan.objections.push(Objection { guard: Guard::Weakened, mode: guards.weakened, what });
        }
        plan.boot = boot_changes(old, new);
        plan
    }

    /// Of a start with nothing to compare with, for this reason. Somebody must say that this is the beginning.
    pub fn from_nothing(guards: &Guards, bootstrap: bool, why: &dyn Display, offered: &Config) -> Self {
        let mut plan = Self::of(guards, NO_BASE.into(), offered);
        if !bootstrap && guards.baseline != Mode::Off {
            let what = format!("{why}, so nothing shows what this would take away");
            plan.objections.push(Objection { guard: Guard::Baseline, mode: guards.baseline, what });
        }
        plan
    }

    fn judged(
        guards: &Guards,
        base: Box<str>,
        offered: &Config,
        diff: Diff,
        traffic: Option<Traffic>,
    ) -> Self {
        let objections = judge(guards, Change { diff: &diff, cells: &offered.cells, traffic });
        Self { diff, traffic, objections, ..Self::of(guards, base, offered) }
    }

    /// That changes nothing.
    fn of(guards: &Guards, base: Box<str>, offered: &Config) -> Self {
        Self {
            fleet: guards.approvals.as_ref().map(|approvals| approvals.fleet.as_str().into()),
            base,
            candidate: offered.hash.clone(),
            diff: Diff::default(),
            boot: Vec::new(),
            traffic: None,
            objections: Vec::new(),
        }
    }
}

fn traffic<'a>(
    before: impl Into<View<'a>>,
    after: &'a Config,
    requests: Requests,
    slept: bool,
) -> Option<Traffic> {
    Some(weigh(before, after, requests?, slept))
}
