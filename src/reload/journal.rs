//! What a reload says to the audit trail: a line before the swap (what is about to change, and who asked), without
//! which there is no swap, and one with the outcome.

use std::path::Path;

use super::outcome::{Objection, ReloadOutcome, Trigger};
use crate::config::Change;
use crate::config::time::parse_moment;
use crate::history::Note;
use crate::policy::ids::Generation;
use crate::state_file::Ownership;
use crate::telemetry::metrics::TrailMeters;
use crate::trail::check::Checked;
use crate::trail::{Event, Head, Record, Trail, TrailError, Version};

/// As a guard, by this name: what cannot be written down does not happen.
pub const GUARD: &str = "audit_trail";

/// Writes to the trail of a state folder, and shows its head.
#[derive(Debug)]
pub struct Journal {
    trail: Trail,
    meters: TrailMeters,
}

/// What is about to serve in the place of what.
#[derive(Debug)]
pub struct Intent<'a> {
    /// What set it off.
    pub trigger: Trigger,
    /// What serves.
    pub from: Version,
    /// What is to serve.
    pub to: Version,
    /// The difference, in words.
    pub changes: &'a str,
    /// Digest of its plan, as people have read and approved it.
    pub plan: &'a str,
    /// What the change says of itself.
    pub note: Option<&'a Note>,
    /// Who else stands behind it: approvals.
    pub who: &'a [String],
}

/// A generation with its configuration hash.
pub fn version(generation: Generation, hash: &str) -> Version {
    Version { generation: generation.0, hash: hash.to_owned() }
}

impl Journal {
    /// In a state folder.
    pub fn new(state_dir: &Path, meters: TrailMeters) -> Self {
        Self { trail: Trail::new(state_dir), meters }
    }

    /// Shows the end of the trail as it is on the disk, where it is not as we have left it: what was cut off is seen
    /// before somebody changes the configuration. Who does not own the state folder does not look.
    pub fn look(&mut self, state: &Ownership) {
        let Some(Some(found)) = state.write(|| self.trail.look()) else { return };
        let (head, at) = match found {
            Ok(Checked { head, last_at, .. }) => (head, last_at.as_deref().and_then(parse_moment)),
            Err(error) => {
                tracing::error!(%error, "the audit trail cannot be read");
                (None, None)
            }
        };
        let seq = head.map_or(0, |head| head.seq);
        tracing::warn!(
            seq,
            "the audit trail is not as this process has left it; see `cellgate audit verify`"
        );
        self.meters.ends(seq, at.unwrap_or(0));
    }

    /// A process begins to serve. `who` has approved that; `reasons` say why it is not what the files say, where it is
    /// not.
    ///
    /// # Errors
    /// As [`intent`](Self::intent).
    pub fn start(
        &mut self,
        serving: Version,
        who: Vec<String>,
        reasons: Vec<String>,
        at: i64,
    ) -> Result<Head, Objection> {
        let trigger = Some(Trigger::Start.as_str().to_owned());
        self.record(Record { trigger, to: Some(serving), who, reasons, ..Record::new(Event::Start) }, at)
    }

    /// A swap is about to happen at `at` (seconds since the Unix epoch).
    ///
    /// # Errors
    /// It is not on the disk, and must not happen.
    pub fn intent(&mut self, change: &Intent<'_>, at: i64) -> Result<Head, Objection> {
        let note = change.note;
        let claimed = note.and_then(|note| note.who.clone());
        let why = note.and_then(|note| note.why.clone());
        let who: Vec<String> = claimed.into_iter().chain(change.who.iter().cloned()).collect();
        let common = Record {
            trigger: Some(change.trigger.as_str().to_owned()),
            who,
            why,
            from: Some(change.from.clone()),
            to: Some(change.to.clone()),
            plan: Some(change.plan.to_owned()),
            ..Record::new(Event::Intent)
        };
        if let Some(restores) = note.and_then(|note| note.restores) {
            let restores = Some(restores);
            self.record(Record { event: Event::Rollback, restores, ..common.clone() }, at)?;
        }
        self.record(Record { changes: Some(change.changes.to_owned()), ..common }, at)
    }

    /// A reload has ended. What serves cannot be undone, so a line that is not taken is said in the log.
    pub fn outcome(&mut self, trigger: Trigger, outcome: &ReloadOutcome, serving: Version, at: i64) {
        let reasons = match outcome {
            ReloadOutcome::Rejected(problems) => problems.iter().map(ToString::to_string).collect(),
            ReloadOutcome::Refused(objections) => objections.iter().map(ToString::to_string).collect(),
            ReloadOutcome::NeedsRestart(fields) => fields.clone(),
            ReloadOutcome::RolledBack { hash, reasons } => {
                [format!("the configuration {hash} is taken back")].iter().chain(reasons).cloned().collect()
            }
            ReloadOutcome::Unchanged | ReloadOutcome::Applied { .. } | ReloadOutcome::Staged { .. } => {
                Vec::new()
            }
        };
        self.ended(trigger, outcome.label().as_str(), serving, reasons, at);
    }

    /// A candidate is taken away before it was whole, and not because of what it did.
    pub fn withdrawn(&mut self, trigger: Trigger, candidate: Version, serving: Version, why: &str, at: i64) {
        let reason =
            format!("the configuration {} (generation {}): {why}", candidate.hash, candidate.generation);
        self.ended(trigger, "withdrawn", serving, vec![reason], at);
    }

    fn ended(&mut self, trigger: Trigger, outcome: &str, serving: Version, reasons: Vec<String>, at: i64) {
        let record = Record {
            trigger: Some(trigger.as_str().to_owned()),
            to: Some(serving),
            outcome: Some(outcome.to_owned()),
            reasons,
            ..Record::new(Event::Outcome)
        };
        match self.record(record, at) {
            Ok(Head { seq, sha256 }) => tracing::info!(seq, sha256, "head of the audit trail"),
            Err(objection) => {
                tracing::error!(
                    reason = objection.what,
                    outcome,
                    "the outcome of the reload is not in the audit trail"
                );
            }
        }
    }

    /// An operator breaks the glass, or mends it.
    ///
    /// # Errors
    /// As [`intent`](Self::intent).
    pub fn override_by(&mut self, by: &str, told: &str, at: i64) -> Result<Head, Objection> {
        let (trigger, who) = (Some(Trigger::Admin.as_str().to_owned()), vec![by.to_owned()]);
        let record = Record { trigger, who, reasons: vec![told.to_owned()], ..Record::new(Event::Override) };
        self.record(record, at)
    }

    fn record(&mut self, record: Record, at: i64) -> Result<Head, Objection> {
        let head = self.trail.append(at, record).map_err(|error| objection(&error))?;
        self.meters.ends(head.seq, at);
        Ok(head)
    }
}

fn objection(error: &TrailError) -> Objection {
    let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
    Objection {
        guard: GUARD.to_owned(),
        what: format!("nothing is changed that cannot be written down first: {error}{cause}"),
        hint: Some(
            "make the state folder writable again (df, mount and ls -l say why it is not), then reload once more"
                .to_owned(),
        ),
    }
}

/// What a configuration says of itself, where no note lies beside it.
pub fn note_of(change: &Change, hash: &str) -> Option<Note> {
    let said = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    let (who, why) = (said(&change.author), said(&change.reason));
    (who.is_some() || why.is_some()).then(|| Note { hash: hash.to_owned(), who, why, restores: None })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::telemetry::fixture::snapshot;
    use crate::telemetry::metrics::Metrics;
    use crate::trail::{FILE_NAME, Line};

    /// Number and time of the last line, as the page has them.
    fn shown(metrics: &Metrics) -> [f64; 2] {
        let page = metrics.render(&snapshot(1), SystemTime::UNIX_EPOCH);
        ["cellgate_audit_trail_head ", "cellgate_audit_trail_last_entry_timestamp_seconds "]
            .map(|name| page.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap())
    }

    #[test]
    fn the_head_of_the_trail_is_shown_and_so_is_one_that_was_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let (metrics, state) = (Metrics::new(), Ownership::default());
        let mut journal = Journal::new(dir.path(), metrics.trail());
        let serving = || version(Generation(8), "def");
        for at in 100..103 {
            journal.outcome(Trigger::Signal, &ReloadOutcome::Unchanged, serving(), at);
            journal.look(&state);
            assert_eq!(shown(&metrics), [(at - 99) as f64, at as f64]);
        }
        let file = dir.path().join(FILE_NAME);
        let text = std::fs::read_to_string(&file).unwrap();
        let cut = text.split_inclusive('\n').take(2).collect::<String>();
        std::fs::write(&file, cut).unwrap();
        let given_up = state.give_up();
        journal.look(&state);
        assert_eq!(shown(&metrics), [3.0, 102.0], "it is another's now");
        drop(given_up);
        journal.look(&state);
        assert_eq!(shown(&metrics), [2.0, 101.0]);
        std::fs::remove_file(&file).unwrap();
        journal.look(&state);
        assert_eq!(shown(&metrics), [0.0, 0.0]);
        journal.outcome(Trigger::Signal, &ReloadOutcome::Unchanged, serving(), 200);
        assert_eq!(shown(&metrics), [5.0, 200.0], "a line says that it is broken, and then it goes on");
    }

    fn change(note: Option<&Note>) -> Intent<'_> {
        Intent {
            trigger: Trigger::Signal,
            from: version(Generation(7), "abc"),
            to: version(Generation(8), "def"),
            changes: "1 accounts moved from a to b",
            plan: "feed",
            note,
            who: &[],
        }
    }

    #[test]
    fn a_configuration_can_say_who_has_changed_it_and_why() {
        assert_eq!(note_of(&Change::default(), "b"), None);
        let change = Change { author: Some("ann".into()), reason: Some("us1 is full".into()) };
        let (who, why) = (Some("ann".into()), Some("us1 is full".into()));
        assert_eq!(note_of(&change, "b"), Some(Note { hash: "b".into(), who, why, restores: None }));
    }

    #[test]
    fn an_intent_and_its_outcome_are_two_lines() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        let mut journal = Journal::new(dir.path(), metrics.trail());
        let note = Note {
            hash: "def".into(),
            who: Some("ann".into()),
            why: Some("cell-2 is slow".into()),
            restores: Some(3),
        };
        journal.intent(&change(Some(&note)), 5).unwrap();
        let applied = ReloadOutcome::Applied { generation: Generation(8) };
        journal.outcome(Trigger::Signal, &applied, version(Generation(8), "def"), 6);
        let text = std::fs::read_to_string(dir.path().join(crate::trail::FILE_NAME)).unwrap();
        let lines: Vec<Line> = text.lines().map(|line| Line::read(line.as_bytes()).unwrap()).collect();
        let [rollback, intent, outcome] = &lines[..] else { unreachable!("{text}") };
        assert_eq!((rollback.record.event, rollback.record.restores), (Event::Rollback, Some(3)));
        assert_eq!(intent.record.event, Event::Intent);
        assert_eq!(
            (&*intent.record.who, intent.record.why.as_deref()),
            (&["ann".to_owned()][..], Some("cell-2 is slow"))
        );
        assert_eq!(intent.record.to, Some(version(Generation(8), "def")));
        assert_eq!(outcome.record.outcome.as_deref(), Some("applied"));
    }

    #[test]
    fn what_cannot_be_written_is_refused_with_the_file_the_reason_and_the_way_out() {
        let objection = Journal::new(Path::new("/nonexistent"), Metrics::new().trail())
            .intent(&change(None), 0)
            .unwrap_err();
        assert_eq!(objection.guard, GUARD);
        for expected in ["/nonexistent/audit.jsonl", "No such file"] {
            assert!(objection.what.contains(expected), "{objection:?}");
        }
        assert!(objection.hint.unwrap().contains("reload"));
    }
}
