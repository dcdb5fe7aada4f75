//! What guards have against a change.

use super::super::diff::moves::Noted;
use super::super::diff::rows::RowChanges;
use super::super::diff::{Diff, Traffic};
use super::{Allowance, Guard, Guards, Objection, TableSize, TrafficShare, default};
use crate::policy::snapshot::Cell;

/// A change, as guards look at it.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// From what serves to what is offered.
    pub diff: &'a Diff,
    /// The cells that are offered.
    pub cells: &'a [Cell],
    /// Which traffic it concerns; `None` where the books cannot say.
    pub traffic: Option<Traffic>,
}

/// Most names in an objection. The plan lists all of them.
const MAX_NAMES: usize = 10;

/// Everything that the guards have against a change, those first that refuse.
pub fn judge(guards: &Guards, change: Change<'_>) -> Vec<Objection> {
    let Change { diff, cells, traffic } = change;
    let mut objections = Vec::new();
    let mut object = |guard: Guard, what: Option<String>| {
        let mode = guards.mode(guard);
        objections.extend(what.filter(|_| mode != super::Mode::Off).map(|what| Objection {
            guard,
            mode,
            what,
        }));
    };
    for (kind, names) in [
        ("cells", &diff.cells.removed),
        ("hosts", &diff.hosts.removed),
        ("listeners", &diff.listeners_removed),
        ("certificates, authorities and keys", &diff.assets.removed),
    ] {
        object(Guard::Removal, gone(kind, names));
    }
    for cell in &guards.protected_cells {
        object(Guard::ProtectedCell, protected(diff, cell.as_str()));
    }
    let rows = diff.rows;
    let (removed, moved) = (diff.removed(), diff.moves.newly_leaving(&diff.accounts_moved, |_| true));
    for (guard, allowance, count, what) in [
        (Guard::AccountsRemoved, &guards.accounts_removed, removed, "removed"),
        (Guard::AccountsMoved, &guards.accounts_moved, moved, "moved to another cell"),
    ] {
        object(guard, beyond(allowance, (count, rows.before), "accounts", what));
    }
    for (kind, RowChanges { rows, removed, repointed, .. }) in diff.tables() {
        for (guard, allowance, noted, what) in [
            (Guard::RowsRemoved, &guards.rows_removed, removed, "removed"),
            (Guard::RowsRepointed, &guards.rows_repointed, repointed, "re-pointed to another account"),
        ] {
            let refused = beyond(allowance, (noted.count, rows.before), kind, what);
            object(guard, refused.map(|refused| format!("{refused}: {noted}")));
        }
    }
    object(Guard::Hold, noted(&diff.moves.unheld, "change their cell without a move"));
    object(
        Guard::Hold,
        noted(&diff.moves.unseen, "change their cell without having been held by what serves"),
    );
    object(Guard::Epoch, noted(&diff.moves.backwards, "have been moved less often than what serves says"));
    object(Guard::Epoch, noted(&diff.moves.skipped, "have moves that leave out a state or go elsewhere"));
    object(Guard::TableSize, too_large(&guards.table_size, rows.before, rows.after));
    object(Guard::Traffic, traffic.and_then(|traffic| too_much(&guards.traffic, traffic)));
    let touched = |cell: &&Cell| {
        let named = |names: &[Box<str>]| names.iter().any(|name| **name == *cell.name.as_str());
        named(&diff.cells.added) || named(&diff.cells.changed)
    };
    for cell in cells.iter().filter(touched) {
        object(Guard::Capacity, lacking(cell));
    }
    for id in &diff.brownouts.everybody {
        object(Guard::Brownouts, Some(everybody(id, rows.after)));
    }
    object(Guard::Mixed, (guards.steps && diff.is_mixed()).then(|| mixed(moved)));
    objections.sort_by_key(|objection| std::cmp::Reverse(objection.mode));
    objections
}

/// Some names, and how many more there are.
fn some<S: AsRef<str>>(names: &[S]) -> String {
    let shown: Vec<&str> = names.iter().take(MAX_NAMES).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn gone(kind: &str, names: &[Box<str>]) -> Option<String> {
    (!names.is_empty()).then(|| format!("{kind} that served are gone: {}", some(names)))
}

fn protected(diff: &Diff, cell: &str) -> Option<String> {
    let named = |names: &[Box<str>]| names.iter().any(|name| &**name == cell);
    let removed = diff.accounts_removed.get(cell).copied().unwrap_or(0);
    let moved = diff.moves.newly_leaving(&diff.accounts_moved, |from| from == cell);
    let rerouted = |rows: &RowChanges, kind: &str| {
        let count = rows.repointed_from.get(cell).copied().unwrap_or(0);
        (count > 0).then(|| format!("loses {count} {kind} that are re-pointed to another account"))
    };
    let parts = [
        named(&diff.cells.removed).then(|| "is removed".to_owned()),
        named(&diff.cells.changed).then(|| "changes".to_owned()),
        (removed > 0).then(|| format!("loses {removed} accounts that are removed")),
        (moved > 0).then(|| format!("loses {moved} accounts that move elsewhere")),
        rerouted(&diff.environments, "environments"),
        rerouted(&diff.credentials, "credentials"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("the protected cell {cell} {}", parts.join(", ")))
}

fn beyond(allowance: &Allowance, (count, of): (usize, usize), kind: &str, what: &str) -> Option<String> {
    let Allowance { most, percent, free, .. } = *allowance;
    let too_many = count > most as usize;
    let too_large_a_share = exceeds(count as u64, u64::from(percent), of as u64);
    let refused = count > free as usize && (too_many || too_large_a_share);
    refused.then(|| {
        let share = share(count as u64, of as u64);
        format!(
            "{count} {kind} of {of} ({share}) are {what}; at most {most} and {percent} % may be, or {free}"
        )
    })
}

fn noted(accounts: &Noted, what: &str) -> Option<String> {
    (accounts.count > 0).then(|| format!("{} accounts {what}: {accounts}", accounts.count))
}

fn too_large(limit: &TableSize, before: usize, after: usize) -> Option<String> {
    let TableSize { rows, growth_percent, .. } = *limit;
    if after > rows as usize {
        return Some(format!("the account table has {after} rows; at most {rows} are allowed"));
    }
    let grown = after.saturating_sub(before);
    let jumped = before > 0
        && grown > default::FREE_GROWTH
        && exceeds(grown as u64, u64::from(growth_percent), before as u64);
    jumped.then(|| {
        format!("the account table grows from {before} rows to {after}; at most {growth_percent} % at once are allowed")
    })
}

fn too_much(limit: &TrafficShare, traffic: Traffic) -> Option<String> {
    let Traffic { total, concerned } = traffic;
    let TrafficShare { percent, at_least, .. } = *limit;
    (total >= at_least && exceeds(concerned, u64::from(percent), total)).then(|| {
        let share = share(concerned, total);
        format!(
            "the accounts that are removed or moved made {share} of the last 7 days' {total} requests; \
             at most {percent} % may be concerned"
        )
    })
}

fn lacking(cell: &Cell) -> Option<String> {
    let unknown = cell.groups.iter().filter(|group| group.capacity_rps.is_none());
    let unknown: Vec<&str> = unknown.map(|group| group.zone.as_str()).collect();
    let mut zones: Vec<&str> = cell.groups.iter().map(|group| group.zone.as_str()).collect();
    zones.sort_unstable();
    zones.dedup();
    let parts = [
        (!unknown.is_empty()).then(|| format!("declares no capacity_rps in {}", some(&unknown))),
        (zones.len() < 2).then(|| format!("stands in one zone only ({})", zones.concat())),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("cell {} {}", cell.name, parts.join(" and ")))
}

fn everybody(id: &str, accounts: usize) -> String {
    format!(
        "brownout {id} is hard for every account: in its windows the jobs of {accounts} accounts fail at once, which nobody \
         retries"
    )
}

fn mixed(moved: usize) -> String {
    format!(
        "{moved} accounts move to another cell and other things change as well; moves come in force at once and are never \
         taken back, all else goes in steps"
    )
}

/// Whether `part` is more than `percent` of `whole`, without rounding.
fn exceeds(part: u64, percent: u64, whole: u64) -> bool {
    u128::from(part) * 100 > u128::from(whole) * u128::from(percent)
}

/// `0.4 %`, `38 %`; all of nothing is `0 %`.
pub(in super::super) fn share(part: u64, whole: u64) -> String {
    let tenths = if whole == 0 { 0 } else { u128::from(part) * 1_000 / u128::from(whole) };
    match tenths {
        0 if part > 0 => "less than 0.1 %".to_owned(),
        _ if tenths >= 100 || tenths % 10 == 0 => format!("{} %", tenths / 10),
        _ => format!("{}.{} %", tenths / 10, tenths % 10),
    }
}
