//! The audit trail as the console shows it: what was started, changed and pulled lately, the newest first.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::admin::console::HistorySource;
use crate::trail::check::Checker;
use crate::trail::{self, Event, Line, Version};

/// Most lines that are shown: a bad day. `cellgate audit show` has all.
const MOST_LINES: usize = 100;

/// Files of the trail that are read, the newest: the one that is written to and the one before, some thousand lines.
const FILES: usize = 2;

/// The trail of a state folder.
pub(super) struct Trailed {
    /// The state folder.
    pub folder: PathBuf,
}

impl HistorySource for Trailed {
    fn newest(&self) -> Result<String, String> {
        let all =
            trail::files::all(&self.folder).map_err(|error| format!("{:#}.", anyhow::Error::from(error)))?;
        let (mut lines, whole) = (Vec::new(), all.len() <= FILES);
        let newest = &all[all.len().saturating_sub(FILES)..];
        let checked = trail::check(newest, Checker::default(), whole, |line| lines.push(line.clone()));
        let checked = checked.map_err(|error| format!("{:#}.", anyhow::Error::from(error)))?;
        let shown: Vec<Value> = shown(lines).iter().map(Line::to_json).collect();
        Ok(json!({ "is_whole": checked.broken.is_none(), "lines": shown }).to_string())
    }
}

/// The newest first. What was meant and what came of it are told as one, where it came about.
fn shown(mut lines: Vec<Line>) -> Vec<Line> {
    lines.reverse();
    let mut shown: Vec<Line> = Vec::new();
    for line in lines {
        let is_of = |outcome: &Line| {
            let hash = |version: &Option<Version>| version.as_ref().map(|version| version.hash.clone());
            outcome.record.event == Event::Outcome
                && outcome.record.changes.is_none()
                && hash(&line.record.to).is_some()
                && hash(&outcome.record.to) == hash(&line.record.to)
        };
        if let Some(outcome) =
            shown.last_mut().filter(|last| line.record.event == Event::Intent && is_of(last))
        {
            let result = outcome.record.outcome.take();
            outcome.record = trail::Record { outcome: result, event: Event::Outcome, ..line.record };
        } else if shown.len() == MOST_LINES {
            break;
        } else {
            shown.push(line);
        }
    }
    shown
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::trail::{Record, Trail};

    fn version(generation: u64, hash: &str) -> Option<Version> {
        Some(Version { generation, hash: hash.to_owned() })
    }

    #[test]
    fn the_newest_comes_first_and_a_reload_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut trail = Trail::new(folder.path());
        let mut add = |record: Record| drop(trail.append(0, record).unwrap());
        let text = |text: &str| Some(text.to_owned());
        add(Record { to: version(1, "a"), ..Record::new(Event::Start) });
        let why = (text("a cell more"), text("cells: +us2"));
        add(Record { to: version(2, "b"), why: why.0, changes: why.1, ..Record::new(Event::Intent) });
        add(Record { to: version(2, "b"), outcome: text("applied"), ..Record::new(Event::Outcome) });
        let reasons = vec!["cells.yaml:3: unknown key".to_owned()];
        add(Record {
            to: version(2, "b"),
            outcome: text("rejected"),
            reasons,
            ..Record::new(Event::Outcome)
        });
        let source = Trailed { folder: folder.path().to_owned() };
        let said: Value = serde_json::from_str(&source.newest().unwrap()).unwrap();
        assert_eq!(said["is_whole"], true);
        let lines = said["lines"].as_array().unwrap();
        assert_eq!(lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [4, 3, 1]);
        assert_eq!(lines[0]["reasons"][0], "cells.yaml:3: unknown key");
        assert_eq!((&lines[1]["outcome"], &lines[1]["why"]), (&json!("applied"), &json!("a cell more")));
        assert_eq!(lines[1]["changes"], "cells: +us2");
    }

    #[test]
    fn a_bad_day_is_shown_and_not_a_year() {
        let folder = tempfile::tempdir().unwrap();
        let mut trail = Trail::new(folder.path());
        for _ in 0..150 {
            trail.append(0, Record::new(Event::Lever)).unwrap();
        }
        let said: Value =
            serde_json::from_str(&Trailed { folder: folder.path().to_owned() }.newest().unwrap()).unwrap();
        let lines = said["lines"].as_array().unwrap();
        assert_eq!((lines.len(), &lines[0]["seq"], &lines[99]["seq"]), (100, &json!(150), &json!(51)));
        let none = tempfile::tempdir().unwrap();
        let said = Trailed { folder: none.path().to_owned() }.newest().unwrap();
        assert!(said.contains("\"lines\":[]"), "before the first line: {said}");
        let missing = Trailed { folder: none.path().join("none") }.newest().unwrap_err();
        assert!(missing.contains("the audit trail"), "{missing}");
    }
}
