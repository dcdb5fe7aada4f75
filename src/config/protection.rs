//! `protection:` of `cellgate.yaml`, and the modes of a cell.

use std::num::NonZeroU32;

use super::raw;
use super::slot::{At, Slot};
use super::time::{parse_moment, show_moment};
use crate::policy::guard::Mode;
use crate::policy::protection::modes::Modes;
use crate::policy::protection::policies::Policy;
use crate::policy::protection::{CellProtection, Protection};
use crate::policy::snapshot::{Cell, Group};

/// More replicas than any load balancer has targets.
const MAX_REPLICAS: u32 = 10_000;

const MOMENT: &str = "a moment in UTC such as 2026-12-24T00:00:00Z";

/// Reads what is one for all cells.
pub(super) fn read(slot: Slot<'_, raw::Protection>) -> Protection {
    let at = slot.at.clone();
    let mut raw = at.open(slot.or(raw::Protection::default()));
    let replicas = raw.replicas(&at).number(1..=MAX_REPLICAS).or(1);
    let verdict = mode(raw.verdict(&at));
    let observe_until = until(raw.observe_until(&at), verdict == Mode::Observe);
    Protection { replicas: NonZeroU32::new(replicas).unwrap_or(NonZeroU32::MIN), verdict, observe_until }
}

/// Reads what a cell says.
pub(super) fn of_cell(slot: Slot<'_, raw::CellModes>) -> CellProtection {
    let at = slot.at.clone();
    let mut raw = at.open(slot.or(raw::CellModes::default()));
    let limit_at = at.key("limit");
    let written = [
        (Policy::Bulkhead, mode(raw.bulkhead(&at))),
        (Policy::Health, mode(raw.health(&at))),
        (Policy::Limit, mode(raw.limit(&at))),
        (Policy::Queue, mode(raw.queue(&at))),
        (Policy::Failover, mode(raw.failover(&at))),
        (Policy::Recovery, mode(raw.recovery(&at))),
    ];
    let modes = written.into_iter().fold(Modes::default(), |modes, (policy, mode)| modes.with(policy, mode));
    if modes.of(Policy::Limit) == Mode::Off {
        limit_at.refuse("a cell without a limiter takes whatever comes until it falls", "observe or enforce");
    }
    let observe_until = until(raw.observe_until(&at), modes.observed().next().is_some());
    CellProtection { modes, observe_until }
}

/// What is to be said of protections that are well formed and may be no protection. `now` is in seconds since the Unix
/// epoch.
pub fn remarks<'a>(
    protection: &Protection,
    cells: impl Iterator<Item = &'a Cell> + Clone,
    now: i64,
) -> Vec<Remark> {
    let mut remarks = Vec::new();
    if protection.verdict == Mode::Observe {
        remarks.push(watched("protection.verdict".into(), protection.observe_until, now));
    }
    for cell in cells {
        let modes = cell.protection.modes;
        let names: Vec<&str> = modes.observed().map(Policy::as_str).collect();
        if !names.is_empty() {
            let what = format!("cell {}: {}", cell.name, names.join(", "));
            remarks.push(watched(what, cell.protection.observe_until, now));
        }
        let off: Vec<&str> = Policy::ALL
            .into_iter()
            .filter(|policy| modes.of(*policy) == Mode::Off)
            .map(Policy::as_str)
            .collect();
        if !off.is_empty() {
            remarks.push(Remark::note(format!("cell {}: off: {}", cell.name, off.join(", "))));
        }
        let silent: Vec<&str> = undeclared(&cell.groups).map(|group| group.zone.as_str()).collect();
        if cell.groups.len() > 1 && !silent.is_empty() {
            remarks.push(Remark::note(format!(
                "cell {}: no failover to {}, which declares no capacity_rps",
                cell.name,
                silent.join(", ")
            )));
        }
    }
    remarks
}

/// One thing that is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// What.
    pub what: String,
    /// Whether `check --strict` fails for it.
    pub is_overdue: bool,
}

impl Remark {
    fn note(what: String) -> Self {
        Self { what, is_overdue: false }
    }
}

fn watched(what: String, until: Option<i64>, now: i64) -> Remark {
    let is_overdue = until.is_none_or(|until| until <= now);
    let until = until.map_or_else(|| "no end".into(), show_moment);
    let meant = if is_overdue { "was meant until" } else { "is meant until" };
    Remark { what: format!("{what}: in observe, which protects nothing and {meant} {until}"), is_overdue }
}

/// Groups that can take no load of others.
fn undeclared(groups: &[Group]) -> impl Iterator<Item = &Group> {
    groups.iter().filter(|group| group.capacity_rps.is_none())
}

fn mode(slot: Slot<'_, String>) -> Mode {
    let words = [Mode::Off, Mode::Observe, Mode::Enforce].map(|mode| (mode.as_str(), mode));
    slot.word(&words).or(Mode::Enforce)
}

/// Until when; required where something is observed, and without meaning where nothing is.
fn until(slot: Slot<'_, String>, is_observed: bool) -> Option<i64> {
    let (at, is_there): (At<'_>, bool) = (slot.at.clone(), slot.is_there());
    if is_observed && !is_there {
        at.refuse("missing", "until when observe is meant, because it protects nothing");
    }
    if !is_observed && is_there {
        at.refuse("nothing is in observe", "no observe_until");
    }
    slot.parse(MOMENT, |text| parse_moment(&text)).optional()
}
