//! A plan for people: on a terminal, and as Markdown for a review.

use std::fmt::{self, Write};

use super::super::diff::Changes;
use super::super::guard::share;
use super::{Plan, Verdict};

/// Hex digits of a hash that people compare.
const SHORT: usize = 12;

impl Plan {
    /// For a terminal.
    pub fn to_text(&self) -> String {
        let mut text = format!("{} -> {}\n", short(&self.base), short(&self.candidate));
        let lines = self.lines();
        if lines.is_empty() {
            text.push_str("\nNo change of accounts, cells, hosts, trust or dates.\n");
        } else {
            text.push('\n');
        }
        for Line { sign, kind, what } in lines {
            let _ = writeln!(text, "  {sign} {kind:<10} {what}");
        }
        if !self.objections.is_empty() {
            text.push('\n');
        }
        for objection in &self.objections {
            let word = if objection.refuses() { "REFUSED " } else { "observed" };
            let guard = objection.guard;
            let _ = writeln!(text, "  {word} {}: {}", guard.as_str(), objection.what);
            let _ = writeln!(text, "           {}", guard.hint());
        }
        let _ = writeln!(text, "\n{}", self.sentence());
        text
    }

    /// For a review.
    pub fn to_markdown(&self) -> String {
        let mut text =
            format!("### cellgate plan `{}` → `{}`\n\n", short(&self.base), short(&self.candidate));
        let lines = self.lines();
        if lines.is_empty() {
            text.push_str("No change of accounts, cells, hosts, trust or dates.\n");
        } else {
            text.push_str("| | what | |\n|---|---|---|\n");
        }
        for Line { sign, kind, what } in lines {
            let _ = writeln!(text, "| {sign} | {kind} | {} |", escaped(&what));
        }
        for objection in &self.objections {
            let word = if objection.refuses() { "**Refused**" } else { "Observed" };
            let _ =
                write!(text, "\n- {word} by `{}`: {}", objection.guard.as_str(), escaped(&objection.what));
        }
        let _ = writeln!(text, "\n\n{}", self.sentence());
        text
    }

    fn lines(&self) -> Vec<Line> {
        let diff = &self.diff;
        let mut lines = Vec::new();
        for (kind, changes) in [("cells", &diff.cells), ("hosts", &diff.hosts), ("trust", &diff.assets)] {
            lines.extend(of_changes(kind, changes));
        }
        lines.extend(diff.listeners_removed.iter().map(|name| line('-', "listeners", name.to_string())));
        let accounts = |count: usize| {
            if count == 1 { "1 account".to_owned() } else { format!("{} accounts", grouped(count)) }
        };
        for (cell, count) in &diff.accounts_removed {
            lines.push(line('-', "accounts", format!("{} removed from {cell}", accounts(*count))));
        }
        for ((from, to), count) in &diff.accounts_moved {
            lines.push(line('~', "accounts", format!("{from} -> {to}: {}", grouped(*count))));
        }
        for ((from, to, state), count) in &diff.moves.by_state {
            let what = format!("{from} -> {to}: {} {}", grouped(*count), state.as_str());
            lines.push(line('~', "moves", what));
        }
        for ((from, to), count) in &diff.moves.taken_back {
            lines.push(line('~', "moves", format!("{from} -> {to}: {} taken back", grouped(*count))));
        }
        for (cell, count) in &diff.accounts_added {
            lines.push(line('+', "accounts", format!("{} added to {cell}", accounts(*count))));
        }
        if diff.accounts_changed > 0 {
            let what =
                format!("{} with other prefixes, redirects or schedules", accounts(diff.accounts_changed));
            lines.push(line('~', "accounts", what));
        }
        for (kind, rows) in diff.tables() {
            for (word, noted) in rows.by_word() {
                let sign = match word {
                    "removed" => '-',
                    "added" => '+',
                    _ => '~',
                };
                lines.push(line(sign, kind, format!("{} {word}: {noted}", grouped(noted.count))));
            }
        }
        lines.extend(diff.dates.iter().map(|date| line('~', "dates", date.to_string())));
        lines.extend(
            self.boot.iter().map(|field| line('!', "boot.yaml", format!("{field} differs: needs a restart"))),
        );
        lines
    }

    /// How much of everything it concerns, and what happens next.
    fn sentence(&self) -> String {
        let touched = self.diff.removed() + self.diff.moved();
        let rows = self.diff.rows.before;
        let mut text = format!(
            "{} of {} accounts ({}) are removed or change their cell",
            grouped(touched),
            grouped(rows),
            share(touched as u64, rows as u64)
        );
        if let Some(traffic) = self.traffic {
            let share = share(traffic.concerned, traffic.total);
            let _ = write!(text, "; they made {share} of the last 7 days' {} requests", traffic.total);
        }
        let refusing = self.objections.iter().filter(|objection| objection.refuses()).count();
        let end = match self.verdict() {
            Verdict::Nothing => "Nothing to do.".to_owned(),
            Verdict::Changes => "No guard refuses it.".to_owned(),
            Verdict::Refused if refusing == 1 => "It would be REFUSED, by 1 guard.".to_owned(),
            Verdict::Refused => format!("It would be REFUSED: {refusing} objections."),
        };
        format!("{text}.\n{end} Plan {}.", self.digest())
    }
}

/// One line of a plan: `+` comes, `-` goes, `~` changes, `!` is not applied.
struct Line {
    sign: char,
    kind: &'static str,
    what: String,
}

fn line(sign: char, kind: &'static str, what: String) -> Line {
    Line { sign, kind, what }
}

fn of_changes<'a>(kind: &'static str, changes: &'a Changes) -> impl Iterator<Item = Line> + 'a {
    let signed = [('-', &changes.removed), ('~', &changes.changed), ('+', &changes.added)];
    signed
        .into_iter()
        .flat_map(move |(sign, names)| names.iter().map(move |name| line(sign, kind, name.to_string())))
}

fn short(hash: &str) -> &str {
    hash.get(..SHORT).unwrap_or(hash)
}

/// `1,204`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap_or_default())
        .collect();
    groups.join(",")
}

/// A cell of a table ends with `|`.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}
