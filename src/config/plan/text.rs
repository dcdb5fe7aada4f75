//! A plan for people: on a terminal, and as Markdown for a review.

use std::fmt::{self, Write};

use serde::Deserialize;
use serde_json::Value;

use super::super::diff::moves::Noted;
use super::super::guard::share;
use super::digest::content_of;
use super::{
    ChangesView, CohortView, Content, InCell, Movement, NotedView, Plan, RowsView, TAKEN_BACK, Verdict,
};

/// Hex digits of a hash that people compare.
const SHORT: usize = 12;

impl Plan {
    /// For a terminal.
    pub fn to_text(&self) -> String {
        let mut text = format!("{} -> {}\n", short(&self.base), short(&self.candidate));
        let lines = self.lines();
        if lines.is_empty() {
            text.push_str("\nNo change of accounts, cells, hosts, trust, dates or settings.\n");
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
            text.push_str("No change of accounts, cells, hosts, trust, dates or settings.\n");
        } else {
            text.push_str("| | what | |\n|---|---|---|\n");
        }
        for Line { sign, kind, what } in lines {
            let _ = writeln!(text, "| {sign} | {kind} | {} |", code_span(&what));
        }
        for objection in &self.objections {
            let word = if objection.refuses() { "**Refused**" } else { "Observed" };
            let _ =
                write!(text, "\n- {word} by `{}`: {}", objection.guard.as_str(), code_span(&objection.what));
        }
        let _ = writeln!(text, "\n\n{}", self.sentence());
        text
    }

    fn lines(&self) -> Vec<Line> {
        let mut lines = lines_of(&self.content());
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
            Verdict::Changes if lines_of(&self.content()).is_empty() && self.boot.is_empty() => {
                "Other bytes that say the same; no guard refuses it.".to_owned()
            }
            Verdict::Changes => "No guard refuses it.".to_owned(),
            Verdict::Refused if refusing == 1 => "It would be REFUSED, by 1 guard.".to_owned(),
            Verdict::Refused => format!("It would be REFUSED: {refusing} objections."),
        };
        format!("{text}.\n{end} Plan {}.", self.digest())
    }
}

/// What the digest of a plan, as JSON, covers: a line each, for whoever is to sign it. A plan that is not as this version
/// writes it is shown as it stands, so that nothing of it is signed unseen.
pub fn covered(plan: &Value) -> Vec<String> {
    let content = content_of(plan);
    let Ok(known) = Content::deserialize(&content) else {
        let text = serde_json::to_string_pretty(&content).expect("what was read as JSON can be written");
        return text.lines().map(str::to_owned).collect();
    };
    let accounts = &known.accounts;
    let rows = format!("{} before, {} after", grouped(accounts.before), grouped(accounts.after));
    let all = lines_of(&known).into_iter().chain([line('=', "accounts", rows)]);
    all.map(|Line { sign, kind, what }| format!("{sign} {kind:<10} {what}")).collect()
}

fn lines_of(content: &Content<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    let named = [("cells", &content.cells), ("hosts", &content.hosts), ("trust", &content.trust)];
    for (kind, changes) in named {
        lines.extend(of_changes(kind, changes));
    }
    lines.extend(content.listeners_removed.iter().map(|name| line('-', "listeners", name.to_string())));
    lines.extend(of_accounts(content));
    let tables = [("environments", &content.environments), ("credentials", &content.credentials)];
    for (kind, rows) in tables {
        lines.extend(rows.iter().flat_map(|rows| of_rows(kind, rows)));
    }
    lines.extend(content.dates.iter().map(|date| line('~', "dates", date.clone())));
    lines.extend(of_brownouts(content));
    lines.extend(content.settings.iter().map(|setting| line('~', "settings", setting.clone())));
    lines
}

fn of_brownouts(content: &Content<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for CohortView { brownout, enter, leave } in &content.brownouts {
        for (sign, count, word) in [('+', *enter, "enter"), ('-', *leave, "leave")] {
            let verb = if count == 1 { format!("{word}s") } else { word.to_owned() };
            let what = format!("{} {verb} {brownout}", accounts(count));
            lines.extend((count > 0).then(|| line(sign, "brownouts", what)));
        }
    }
    lines.extend(content.extensions.iter().map(|NotedView { rows, first }| {
        let shown = Noted { count: *rows, first: first.to_vec() };
        line('~', "dates", format!("{} promised: {shown}", grouped(*rows)))
    }));
    lines
}

fn accounts(count: usize) -> String {
    if count == 1 { "1 account".to_owned() } else { format!("{} accounts", grouped(count)) }
}

fn of_accounts(content: &Content<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for InCell { cell, accounts: count } in &content.accounts.removed {
        lines.push(line('-', "accounts", format!("{} removed from {cell}", accounts(*count))));
    }
    for Movement { from, to, accounts: count } in &content.accounts.moved {
        lines.push(line('~', "accounts", format!("{from} -> {to}: {}", grouped(*count))));
    }
    for of in &content.moves {
        let state = if of.state == TAKEN_BACK { "taken back" } else { &*of.state };
        let what = format!("{} -> {}: {} {state}", of.from, of.to, grouped(of.accounts));
        lines.push(line('~', "moves", what));
    }
    for InCell { cell, accounts: count } in &content.accounts.added {
        lines.push(line('+', "accounts", format!("{} added to {cell}", accounts(*count))));
    }
    if content.accounts.changed > 0 {
        let changed = accounts(content.accounts.changed);
        lines.push(line('~', "accounts", format!("{changed} with other prefixes, redirects or schedules")));
    }
    lines
}

fn of_rows(kind: &'static str, rows: &RowsView<'_>) -> impl Iterator<Item = Line> {
    let words =
        [('-', "removed", &rows.removed), ('~', "re-pointed", &rows.repointed), ('+', "added", &rows.added)];
    words.into_iter().filter(|(.., noted)| noted.rows > 0).map(move |(sign, word, noted)| {
        let shown = Noted { count: noted.rows, first: noted.first.to_vec() };
        line(sign, kind, format!("{} {word}: {shown}", grouped(noted.rows)))
    })
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

fn of_changes<'a>(kind: &'static str, changes: &'a ChangesView<'_>) -> impl Iterator<Item = Line> + 'a {
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

/// As Markdown that stands for nothing but itself, also in a cell of a table: names and values are foreign, and `*` is part
/// of a path.
pub fn code_span(text: &str) -> String {
    format!("`{}`", text.replace('`', "'").replace('|', "\\|"))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}
