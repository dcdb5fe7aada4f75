//! The audit log of reloads: one JSON line before a swap (what is about to change, and who asked) and one
//! with the outcome. A line without its outcome is a process that died in between.
//!
//! A disk that does not take the line does not stop a reload: on the day when the disk is full, the reload
//! may be the cure. It is said in the process log instead.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::outcome::{ReloadOutcome, Trigger};
use crate::policy::ids::Generation;

/// Name of the file in the state folder.
pub const FILE_NAME: &str = "reloads.jsonl";

/// Longest summary of a difference that is kept: the counts come first, and single rows of a million
/// that move need no second home.
const MAX_SUMMARY: usize = 16 * 1024;

/// Appends to the file.
#[derive(Clone, Debug)]
pub struct Journal(PathBuf);

impl Journal {
    /// In a state folder.
    pub fn new(state_dir: &Path) -> Self {
        Self(state_dir.join(FILE_NAME))
    }

    /// A swap is about to happen at `at` (seconds since the Unix epoch).
    pub fn intent(
        &self,
        trigger: Trigger,
        from: Generation,
        to: Generation,
        hash: &str,
        summary: &str,
        at: i64,
    ) {
        let summary = &summary[..summary.floor_char_boundary(MAX_SUMMARY)];
        self.append(&json!({
            "at": at, "event": "intent", "trigger": trigger.as_str(), "from": from.0, "to": to.0, "hash": hash,
            "changes": summary,
        }));
    }

    /// A reload has ended.
    pub fn outcome(&self, trigger: Trigger, outcome: &ReloadOutcome, serving: Generation, at: i64) {
        let reasons: Value = match outcome {
            ReloadOutcome::Rejected(problems) => problems.iter().map(ToString::to_string).collect(),
            ReloadOutcome::Refused(objections) => objections.iter().map(ToString::to_string).collect(),
            ReloadOutcome::NeedsRestart(fields) => fields.iter().cloned().collect(),
            ReloadOutcome::Unchanged | ReloadOutcome::Applied { .. } => Value::Null,
        };
        self.append(&json!({
            "at": at, "event": "outcome", "trigger": trigger.as_str(), "outcome": outcome.label().as_str(),
            "serving": serving.0, "reasons": reasons,
        }));
    }

    fn append(&self, line: &Value) {
        let write = || {
            let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.0)?;
            // One write, so that lines of a second process cannot run into ours.
            file.write_all(format!("{line}\n").as_bytes())?;
            file.sync_data()
        };
        if let Err(error) = write() {
            tracing::error!(path = %self.0.display(), %error, %line, "the audit log of reloads does not take its line");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_and_its_outcome_are_two_lines() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path());
        let next = Generation(8);
        journal.intent(Trigger::Signal, Generation(7), next, "abc", "1 account moves", 5);
        journal.outcome(Trigger::Signal, &ReloadOutcome::Applied { generation: next }, next, 6);
        let text = std::fs::read_to_string(dir.path().join(FILE_NAME)).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["event"], "intent");
        assert_eq!(lines[0]["to"], 8);
        assert_eq!(lines[1]["outcome"], "applied");
    }

    #[test]
    fn a_missing_folder_stops_nothing() {
        Journal::new(Path::new("/nonexistent")).outcome(
            Trigger::Admin,
            &ReloadOutcome::Unchanged,
            Generation(1),
            0,
        );
    }
}
