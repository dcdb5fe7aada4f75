//! A difference on one line, for logs and the audit trail. `cellgate plan` has room for more.

use std::fmt;

use super::Diff;
use super::brownouts::CohortChange;

/// Settings that a line tells; `cellgate plan` tells a hundred.
const SETTINGS_TOLD: usize = 3;

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
        parts.extend(self.dates.iter().map(ToString::to_string));
        for CohortChange { id, enter, leave } in &self.brownouts.cohorts {
            parts.push(format!("brownout {id}: {enter} accounts enter, {leave} leave"));
        }
        if self.brownouts.promises.count > 0 {
            parts.push(format!(
                "{} promised sunsets: {}",
                self.brownouts.promises.count, self.brownouts.promises
            ));
        }
        parts.extend(self.settings.iter().take(SETTINGS_TOLD).map(ToString::to_string));
        if self.settings.len() > SETTINGS_TOLD {
            parts.push(format!("{} other settings", self.settings.len() - SETTINGS_TOLD));
        }
        match parts.as_slice() {
            [] => f.write_str("no change of accounts, cells, hosts, dates or settings"),
            parts => f.write_str(&parts.join("; ")),
        }
    }
}
