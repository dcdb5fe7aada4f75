//! A difference on one line, for logs and the audit trail. `cellgate plan` has room for more.

use std::fmt;

use super::brownouts::CohortChange;
use super::{DateChange, Diff};
use crate::config::time::show_moment;

/// Settings that a line tells; `cellgate plan` tells a hundred.
const SETTINGS_TOLD: usize = 3;

/// Of those that say how a legacy host ends a line tells more: the audit trail is where a report has that from.
const END_TOLD: usize = 20;

/// Where these stand in `cellgate.yaml`.
pub const OF_THE_END: [&str; 5] =
    ["schedules", "brownouts", "exemptions", "extensions", "brownout_exceptions"];

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        parts.extend(self.accounts_added.iter().map(|(cell, n)| format!("{n} accounts added to {cell}")));
        parts.extend(
            self.accounts_removed.iter().map(|(cell, n)| format!("{n} accounts removed from {cell}")),
        );
        let moved = self.accounts_moved.iter();
        parts.extend(moved.map(|((from, to), n)| format!("{n} accounts moved from {from} to {to}")));
        parts.extend(
            self.moves
                .by_state
                .iter()
                .map(|((from, to, state), n)| format!("{n} moves from {from} to {to} {}", state.as_str())),
        );
        let back = self.moves.taken_back.iter();
        parts.extend(back.map(|((from, to), n)| format!("{n} moves from {from} to {to} taken back")));
        if self.accounts_changed > 0 {
            parts.push(format!("{} accounts changed", self.accounts_changed));
        }
        for (kind, rows) in self.tables() {
            for (word, noted) in rows.by_word() {
                parts.push(format!("{} {kind} {word}: {noted}", noted.count));
            }
        }
        for (kind, changes) in [("cells", &self.cells), ("hosts", &self.hosts), ("trust", &self.assets)] {
            let words =
                [("added", &changes.added), ("removed", &changes.removed), ("changed", &changes.changed)];
            let some = words.into_iter().filter(|(_, names)| !names.is_empty());
            parts.extend(some.map(|(word, names)| format!("{kind} {word}: {}", names.join(", "))));
        }
        parts.extend(self.dates.iter().flat_map(redated));
        for CohortChange { id, enter, leave } in &self.brownouts.cohorts {
            parts.push(format!("brownout {id}: {enter} accounts enter, {leave} leave"));
        }
        if self.brownouts.promises.count > 0 {
            parts.push(format!(
                "{} promised sunsets: {}",
                self.brownouts.promises.count, self.brownouts.promises
            ));
        }
        let (end, others): (Vec<_>, Vec<_>) = self
            .settings
            .iter()
            .partition(|change| OF_THE_END.iter().any(|list| is_below(&change.path, list)));
        parts.extend(end.iter().take(END_TOLD).map(ToString::to_string));
        parts.extend(others.iter().take(SETTINGS_TOLD).map(ToString::to_string));
        let more = end.len().saturating_sub(END_TOLD) + others.len().saturating_sub(SETTINGS_TOLD);
        if more > 0 {
            parts.push(format!("{more} other settings"));
        }
        match parts.as_slice() {
            [] => f.write_str("no change of accounts, cells, hosts, dates or settings"),
            parts => f.write_str(&parts.join("; ")),
        }
    }
}

/// Whether a path of a setting lies in a list of the file: `brownouts[0].mode` in `brownouts`.
pub fn is_below(path: &str, list: &str) -> bool {
    path.strip_prefix(list).is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.', ':']))
}

/// Which dates of a schedule are others, a sentence each.
fn redated(change: &DateChange) -> Vec<String> {
    let (name, show) = (&change.schedule, |at: i64| show_moment(at));
    match (change.before, change.after) {
        (Some((since, sunset)), Some((now_since, now_sunset))) => {
            let one = |what: &str, from: i64, to: i64| {
                (from != to).then(|| format!("{what} of {name} moved from {} to {}", show(from), show(to)))
            };
            one("sunset", sunset, now_sunset)
                .into_iter()
                .chain(one("deprecation", since, now_since))
                .collect()
        }
        (None, Some((since, sunset))) => {
            vec![format!("sunset of {name} set to {}, deprecated since {}", show(sunset), show(since))]
        }
        (Some((_, sunset)), None) => vec![format!("sunset of {name} taken away, which was {}", show(sunset))],
        (None, None) => Vec::new(),
    }
}
