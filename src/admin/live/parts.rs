//! Parts of the document of `/live` that no other page has in this form: brownouts without counts of accounts, which are counted
//! one by one; moves by cells in place of accounts; reloads in short.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::brownouts::WindowView;
use super::super::moves::{MOST, cell_name};
use crate::policy::brownout::Brownout;
use crate::policy::holding::reported;
use crate::policy::protection::levers::Levers;
use crate::policy::snapshot::Snapshot;
use crate::reload::outcome::ReloadSummary;
use crate::telemetry::wall_time::Seconds;

/// One brownout.
#[derive(Debug, Serialize)]
pub(super) struct BrownoutView {
    id: String,
    mode: &'static str,
    share: String,
    in_force: bool,
    cancelled: bool,
    window: Option<WindowView>,
    next: Option<WindowView>,
}

/// Accounts that move from one cell to another and are as far as each other.
#[derive(Debug, Serialize)]
pub(super) struct MovesView {
    from: Option<String>,
    to: Option<String>,
    state: &'static str,
    accounts: u32,
    writes_at_old_cell: u32,
    waiting: u32,
}

/// One reload in short.
#[derive(Debug, Serialize)]
pub(super) struct ReloadView {
    at: String,
    trigger: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    problems: usize,
    guards: Vec<String>,
}

impl BrownoutView {
    /// Those that are in force, or will be, at `now`.
    pub fn all(live: &Snapshot, levers: &Levers, now: i64) -> Vec<Self> {
        let view = |brownout: &Brownout| {
            let (window, next) = (brownout.windows.at(now), brownout.windows.after(now));
            let cancelled = levers.cancels(&brownout.id).is_some();
            let view = || Self {
                id: brownout.id.to_string(),
                mode: brownout.mode.as_str(),
                share: brownout.share.to_string(),
                in_force: window.is_some() && !cancelled,
                cancelled,
                window: window.map(WindowView::from),
                next: next.map(WindowView::from),
            };
            (window.is_some() || next.is_some()).then(view)
        };
        live.brownouts.all.iter().filter_map(view).collect()
    }
}

impl MovesView {
    /// All that are on their way and that `/moves` would list, added up.
    pub fn all(live: &Snapshot) -> Vec<Self> {
        let name = |cell| cell_name(live, cell);
        let mut sums: BTreeMap<_, [u32; 3]> = BTreeMap::new();
        for one in reported(live, MOST) {
            let sum = sums.entry((name(one.of.from), name(one.of.to), one.of.state.as_str())).or_default();
            sum[0] += 1;
            sum[1] = sum[1].saturating_add(one.writes_at_old_cell);
            sum[2] = sum[2].saturating_add(one.waiting);
        }
        let view = |((from, to, state), [accounts, writes_at_old_cell, waiting]): (_, [u32; 3])| Self {
            from,
            to,
            state,
            accounts,
            writes_at_old_cell,
            waiting,
        };
        sums.into_iter().map(view).collect()
    }
}

impl ReloadView {
    /// Of what is kept.
    pub fn new(reload: &ReloadSummary) -> Self {
        Self {
            at: Seconds(reload.at).to_string(),
            trigger: reload.trigger.as_str(),
            outcome: reload.outcome.as_str(),
            generation: reload.generation,
            hash: reload.hash.as_ref().map(ToString::to_string),
            problems: reload.problems,
            guards: reload.guards.clone(),
        }
    }
}
