//! The lines of a credential table: how an export is written, and how a table is taken apart and put together again
//! around what people wrote in it. Which credentials are in it is decided in the module above.

use std::collections::{BTreeMap, HashMap};

use super::{Entry, Export, Input};
use crate::config::problem::Problem;
use crate::config::tables::CREDENTIAL_COLUMNS;
use crate::policy::code::Code;
use crate::policy::credential::Fingerprint;
use crate::policy::ids::Label;
use crate::policy::learned::{EXPIRES_AFTER_SECS, LearnedEntry, LearnedExport};

/// Begins an export, which says how much there is in it: of one that was cut short on its way, what keeps
/// credentials out may be missing.
const COUNTED: &str = "# What one replica has learned: ";

/// Begins the comment that keeps a credential out.
const AMBIGUOUS: &str = "# ambiguous: ";

/// Begins the part of the table that is sorted anew by each merge; what stands before it is left as it is.
pub(super) const LEARNED: &str = "# Learned by replicas, and sorted by `cellgate credentials merge`:";

/// The note of rows that nobody has written by hand.
const NOTE: &str = "learned";

/// What a replica has learned, as a table: each row with the key that its fingerprint was made under. `now` in seconds
/// since the Unix epoch.
pub fn export(learned: &LearnedExport, now: u64) -> Export {
    let fresh = |confirmed: u64| now.saturating_sub(confirmed) <= EXPIRES_AFTER_SECS;
    let (live, expired): (Vec<&LearnedEntry>, Vec<_>) =
        learned.entries.iter().partition(|entry| fresh(entry.confirmed));
    let (ambiguous, routable): (Vec<_>, Vec<_>) = live.into_iter().partition(|entry| entry.ambiguous);
    let columns = CREDENTIAL_COLUMNS.map(str::to_owned);
    let row = |entry: &&LearnedEntry| Entry {
        key_id: entry.key.to_string(),
        account: entry.account,
        fingerprint: entry.fingerprint,
    };
    let mut rows: Vec<Entry> = routable.iter().map(row).collect();
    rows.sort();
    let mut vetoes: Vec<(Fingerprint, String)> =
        ambiguous.iter().map(|entry| (entry.fingerprint, entry.key.to_string())).collect();
    vetoes.sort();
    let mut by_key = BTreeMap::new();
    for row in &rows {
        *by_key.entry(row.key_id.clone()).or_default() += 1;
    }
    let mut text = format!("{}{}\n", counted(rows.len(), vetoes.len()), columns.join(","));
    rows.iter().for_each(|row| text.push_str(&row.line(&columns, "\n")));
    vetoes.iter().for_each(|(of, key_id)| text.push_str(&veto(key_id, *of, "\n")));
    Export { text, rows, by_key, ambiguous: vetoes, expired: expired.len() }
}

/// The present table, while it is written anew.
pub(super) struct Table {
    /// Its columns, in its order.
    columns: Vec<String>,
    /// How its lines end.
    end: &'static str,
    /// Lines that stay as they are: comments, the header, and rows before [`LEARNED`].
    lines: Vec<String>,
    /// Comments behind [`LEARNED`] that are none of ours.
    remarks: Vec<String>,
    /// Credentials of the present table that stay in it, and whether they stay in their line.
    pub(super) kept: BTreeMap<Fingerprint, bool>,
    /// Credentials that are kept out, with the ids of their keys.
    vetoes: BTreeMap<Fingerprint, String>,
}

impl Table {
    /// Takes the present text apart. `rows` says in which lines credentials stand.
    pub(super) fn new(
        text: &str,
        rows: &HashMap<u32, Fingerprint>,
        good: &BTreeMap<Fingerprint, Entry>,
    ) -> Self {
        let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let mut table = Self {
            columns: CREDENTIAL_COLUMNS.map(str::to_owned).to_vec(),
            end,
            lines: Vec::new(),
            remarks: Vec::new(),
            kept: BTreeMap::new(),
            vetoes: BTreeMap::new(),
        };
        let (mut sorted, mut headed, mut dropping) = (false, false, false);
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(fingerprint) = rows.get(&number) {
                let first = !table.kept.contains_key(fingerprint);
                dropping = sorted || !first || !good.contains_key(fingerprint);
                if first && good.contains_key(fingerprint) {
                    table.kept.insert(*fingerprint, !sorted);
                }
            } else if let Some((key_id, fingerprint)) = read_veto(line) {
                table.vetoes.insert(fingerprint, key_id);
                continue;
            } else if line.starts_with(COUNTED) {
                continue;
            } else if line == LEARNED {
                (sorted, dropping) = (true, false);
                continue;
            } else if line.starts_with('#') || line.trim().is_empty() {
                dropping = false;
            } else if !headed {
                headed = true;
                let header = line.trim_start_matches('\u{feff}').split(',');
                table.columns = header.map(|name| name.trim_matches('"').to_owned()).collect();
            }
            // A row with a line break in its note goes, or stays, with all of its lines.
            match (dropping, sorted) {
                (true, _) => {}
                (false, true) => table.remarks.push(line.to_owned()),
                (false, false) => table.lines.push(line.to_owned()),
            }
        }
        if !headed {
            table.lines.push(CREDENTIAL_COLUMNS.join(","));
        }
        table
    }

    pub(super) fn keep_out(&mut self, key_id: &str, fingerprint: Fingerprint) {
        self.vetoes.entry(fingerprint).or_insert_with(|| key_id.to_owned());
    }

    /// The text: what stays in its line, then everything else in order.
    pub(super) fn write(self, good: &BTreeMap<Fingerprint, Entry>) -> String {
        let in_place = |fingerprint: &Fingerprint| self.kept.get(fingerprint) == Some(&true);
        let mut rows: Vec<&Entry> = good.values().filter(|entry| !in_place(&entry.fingerprint)).collect();
        rows.sort();
        let mut text = String::new();
        let mut line = |line: &str| {
            text.push_str(line);
            text.push_str(self.end);
        };
        self.lines.iter().for_each(|kept| line(kept));
        if !(rows.is_empty() && self.vetoes.is_empty() && self.remarks.is_empty()) {
            line(LEARNED);
        }
        self.remarks.iter().for_each(|kept| line(kept));
        rows.iter().for_each(|row| text.push_str(&row.line(&self.columns, self.end)));
        self.vetoes.iter().for_each(|(of, key_id)| text.push_str(&veto(key_id, *of, self.end)));
        text
    }
}

impl Entry {
    /// As a line of a table with these columns.
    fn line(&self, columns: &[String], end: &str) -> String {
        let field = |column: &String| match column.as_str() {
            "key_id" => self.key_id.clone(),
            "fingerprint" => self.fingerprint.to_string(),
            "account" => self.account.to_string(),
            _ => NOTE.to_owned(),
        };
        columns.iter().map(field).collect::<Vec<_>>().join(",") + end
    }
}

fn veto(key_id: &str, fingerprint: Fingerprint, end: &str) -> String {
    format!("{AMBIGUOUS}{key_id},{fingerprint}{end}")
}

pub(super) fn read_veto(line: &str) -> Option<(String, Fingerprint)> {
    let (key_id, digits) = line.strip_prefix(AMBIGUOUS)?.trim_end().split_once(',')?;
    let bytes = crate::config::secret::unhex(digits)?.try_into().ok()?;
    Label::parse(key_id).ok()?;
    Some((key_id.to_owned(), Fingerprint(bytes)))
}

fn counted(entries: usize, ambiguous: usize) -> String {
    format!("{COUNTED}{entries} credentials, and {ambiguous} that are ambiguous.\n")
}

/// An export that does not hold what it says at its beginning.
pub(super) fn cut_short(input: Input<'_>, entries: usize, ambiguous: usize) -> Option<Problem> {
    let (expected, found) = (input.text.strip_prefix(COUNTED.as_bytes())?, counted(entries, ambiguous));
    let found = found.strip_prefix(COUNTED)?;
    let whole = expected.starts_with(found.trim_end().as_bytes());
    let problem = || {
        let what = format!("the file has {}", found.trim_end().trim_end_matches('.'));
        let expected = "what its first line says; it was cut short or changed on its way here";
        Problem::in_file(Code::HeaderLine, input.name, what, expected).at_line(1)
    };
    (!whole).then(problem)
}
