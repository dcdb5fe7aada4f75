//! What a reload says to the audit trail: a line before the swap (what is about to change, and who asked), without
//! which there is no swap, and one with the outcome.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::outcome::{Objection, Pushed, ReloadOutcome, Trigger};
use super::repeats::Repeats;
use crate::config::Change;
use crate::config::time::parse_moment;
use crate::history::{NOTE_FILE, Note};
use crate::policy::access::Asker;
use crate::policy::code::Code;
use crate::policy::ids::Generation;
use crate::readiness::{NoteReady, Readiness, Reason};
use crate::start::Changed;
use crate::state_file::Ownership;
use crate::telemetry::metrics::TrailMeters;
use crate::trail::check::Checked;
use crate::trail::{Event, Head, Record, Trail, TrailError, Version};

/// As a guard, by this name: what cannot be written down does not happen.
pub const GUARD: &str = "audit_trail";

/// What to do about that.
pub const WAY_OUT: &str = "make the state folder writable again (df, mount and ls -l say why it is not)";

/// Writes to the trail of a state folder, and shows its head. Its copies are one: whoever has one (the task that reloads, the
/// thread that keeps the levers) writes behind what the others have written.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Mutex<Book>>);

#[derive(Debug)]
struct Book {
    trail: Trail,
    meters: TrailMeters,
    readiness: Arc<Readiness>,
    /// Held from a line that was not taken to the next that is.
    note: Option<NoteReady>,
    repeats: Repeats,
}

/// What is about to serve in the place of what.
#[derive(Debug)]
pub struct Intent<'a> {
    /// What set it off.
    pub trigger: Trigger,
    /// Who has asked for it, where somebody has: checked.
    pub caller: Option<&'a str>,
    /// What serves.
    pub from: Version,
    /// What is to serve.
    pub to: Version,
    /// The difference, in words.
    pub changes: &'a str,
    /// Digest of its plan, as people have read and approved it.
    pub plan: &'a str,
    /// What the change says of itself.
    pub said: &'a Said,
    /// Who has approved it: checked.
    pub approved_by: &'a [String],
}

/// What a change says of itself, checked by nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The author that the configuration names; a note beside it takes nothing from that.
    pub author: Option<String>,
    /// Whom else it names, and the operator whose override lets it through.
    pub who: Vec<String>,
    /// What it is for.
    pub why: Option<String>,
    /// The number in the history of what is restored.
    pub restores: Option<u64>,
}

impl Said {
    /// In the configuration, which approvals are of, and in a note beside it, which anybody may write.
    pub fn of(change: &Change, note: Option<Note>) -> Self {
        let own = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        let (reason, Note { who, why, restores, .. }) = (own(&change.reason), note.unwrap_or_default());
        let why = match (reason, why) {
            (Some(reason), Some(why)) if why != reason => Some(format!("{reason} ({NOTE_FILE}: {why})")),
            (reason, why) => reason.or(why),
        };
        Self { author: own(&change.author), who: who.into_iter().collect(), why, restores }
    }
}

/// A generation with its configuration hash.
pub fn version(generation: Generation, hash: &str) -> Version {
    Version { generation: generation.0, hash: hash.to_owned() }
}

/// What becomes of a lever.
#[derive(Clone, Copy, Debug)]
pub struct LeverLine<'a> {
    /// `admin`, or `time` where nobody asked.
    pub trigger: &'static str,
    /// Who has asked for it, or had asked for what is over: checked.
    pub caller: Option<&'a str>,
    /// `pulled`, `released`, `over`, `failed`, `lost`.
    pub outcome: &'static str,
    /// For whom, as they say, it was pulled or released; `None` where they name nobody else.
    pub by: Option<&'a str>,
    /// Why.
    pub reason: &'a str,
    /// Its number, its words, until when.
    pub told: &'a str,
}

/// A call of the admin plane.
#[derive(Clone, Debug)]
pub struct CallLine<'a> {
    /// Who: checked. `None` where they could not say.
    pub caller: Option<&'a str>,
    /// By which door.
    pub door: &'static str,
    /// What: `POST /reload`.
    pub what: &'a str,
    /// `asked`, `refused`, `failed`.
    pub outcome: &'static str,
    /// Why.
    pub reasons: Vec<String>,
}

/// With what a process begins.
#[derive(Clone, Debug)]
pub struct Start {
    /// What is to serve.
    pub serving: Version,
    /// What that changes, where it is not what served last.
    pub changed: Option<Changed>,
    /// What it says of itself.
    pub said: Said,
    /// Who has approved it.
    pub approved_by: Vec<String>,
    /// Why it is not what the files say, where it is not.
    pub reasons: Vec<String>,
}

impl Journal {
    /// In a state folder.
    pub fn new(state_dir: &Path, meters: TrailMeters, readiness: Arc<Readiness>) -> Self {
        let book =
            Book { trail: Trail::new(state_dir), meters, readiness, note: None, repeats: Repeats::default() };
        Self(Arc::new(Mutex::new(book)))
    }

    /// Shows the end of the trail as it is on the disk, where it is not as we have left it: what was cut off is seen
    /// before somebody changes the configuration. Who does not own the state folder does not look.
    pub fn look(&self, state: &Ownership) {
        let Some(Some(found)) = state.write(|| self.book().trail.look()) else { return };
        let (head, at) = match found {
            Ok(Checked { head, last_at, .. }) => (head, last_at.as_deref().and_then(parse_moment)),
            Err(error) => {
                tracing::error!(code = %Code::TrailUnwritable, %error, "the audit trail cannot be read");
                (None, None)
            }
        };
        let seq = head.map_or(0, |head| head.seq);
        tracing::warn!(code = %Code::TrailBroken,
            seq,
            "the audit trail is not as this process has left it; see `cellgate audit verify`"
        );
        self.book().meters.ends(seq, at.unwrap_or(0));
    }

    /// A process begins to serve.
    ///
    /// # Errors
    /// As [`intent`](Self::intent).
    pub fn start(&self, start: Start, at: i64) -> Result<Head, Objection> {
        let Start { serving, changed, said, approved_by, reasons } = start;
        let Said { author, who, why, .. } = said;
        // Generations count from each start anew: what served last had none here.
        let from = changed.as_ref().map(|changed| version(Generation::default(), &changed.from));
        let (changes, plan) = changed.map(|changed| (changed.changes, changed.plan)).unzip();
        let (trigger, to) = (Some(Trigger::Start.as_str().to_owned()), Some(serving));
        let record =
            Record { trigger, from, to, changes, plan, author, who, why, ..Record::new(Event::Start) };
        self.record(Record { approved_by, reasons, ..record }, at)
    }

    /// A swap is about to happen at `at` (seconds since the Unix epoch).
    ///
    /// # Errors
    /// It is not on the disk, and must not happen.
    pub fn intent(&self, change: &Intent<'_>, at: i64) -> Result<Head, Objection> {
        let Said { author, who, why, restores } = change.said.clone();
        let common = Record {
            trigger: Some(change.trigger.as_str().to_owned()),
            caller: change.caller.map(str::to_owned),
            approved_by: change.approved_by.to_vec(),
            author,
            who,
            why,
            from: Some(change.from.clone()),
            to: Some(change.to.clone()),
            plan: Some(change.plan.to_owned()),
            ..Record::new(Event::Intent)
        };
        if restores.is_some() {
            self.record(Record { event: Event::Rollback, restores, ..common.clone() }, at)?;
        }
        self.record(Record { changes: Some(change.changes.to_owned()), ..common }, at)
    }

    /// A reload has ended. What serves cannot be undone, so a line that is not taken is said in the log. Of those of one caller
    /// that change nothing, so many have a line; the rest is counted in one.
    pub fn outcome(
        &self,
        (trigger, caller): (Trigger, Option<&str>),
        outcome: &ReloadOutcome,
        serving: Version,
        at: i64,
    ) {
        let reasons = match outcome {
            ReloadOutcome::Rejected(problems) => problems.iter().map(ToString::to_string).collect(),
            ReloadOutcome::Refused(objections, _) => objections.iter().map(ToString::to_string).collect(),
            ReloadOutcome::NeedsRestart(fields) => fields.clone(),
            ReloadOutcome::RolledBack { hash, reasons } => {
                [format!("the configuration {hash} is taken back")].iter().chain(reasons).cloned().collect()
            }
            ReloadOutcome::Unchanged | ReloadOutcome::Applied { .. } | ReloadOutcome::Staged { .. } => {
                Vec::new()
            }
        };
        let mut record = ended(trigger, outcome.label().as_str(), serving, reasons);
        record.caller = caller.map(str::to_owned);
        if let Some(Pushed { hash, plan, said }) = outcome.pushed().as_deref() {
            (record.candidate, record.plan) = (Some(hash.to_string()), plan.clone());
            let Said { author, who, why, .. } = said.clone();
            (record.author, record.who, record.why) = (author, who, why);
        }
        let changes = matches!(outcome, ReloadOutcome::Applied { .. } | ReloadOutcome::Staged { .. });
        let line = if changes { Some(record) } else { self.book().repeats.take(record, Instant::now()) };
        if let Some(record) = line {
            self.end(record, at);
        }
    }

    /// Tells of reloads that have changed nothing and have no line of their own, where there is room for one by now.
    pub fn tell_left_out(&self, now: Instant, at: i64) {
        let due = self.book().repeats.due(now);
        due.into_iter().for_each(|record| self.end(record, at));
    }

    /// A candidate is taken away before it was whole, and not because of what it did.
    pub fn withdrawn(&self, trigger: Trigger, candidate: Version, serving: Version, why: &str, at: i64) {
        let reason =
            format!("the configuration {} (generation {}): {why}", candidate.hash, candidate.generation);
        let record = ended(trigger, "withdrawn", serving, vec![reason]);
        self.end(Record { candidate: Some(candidate.hash), ..record }, at);
    }

    fn end(&self, record: Record, at: i64) {
        let outcome = record.outcome.clone();
        match self.record(record, at) {
            Ok(Head { seq, sha256 }) => tracing::info!(seq, sha256, "head of the audit trail"),
            Err(objection) => {
                tracing::error!(code = %Code::TrailGap,
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
    pub fn override_by(&self, by: &Asker, told: &str, at: i64) -> Result<Head, Objection> {
        let trigger = Some(Trigger::Admin.as_str().to_owned());
        let Asker { caller, claimed } = by;
        let (caller, who) = (Some(caller.to_string()), claimed.iter().map(ToString::to_string).collect());
        let record =
            Record { trigger, caller, who, reasons: vec![told.to_owned()], ..Record::new(Event::Override) };
        self.record(record, at)
    }

    /// Somebody has called the admin plane, and no line of another kind says so.
    ///
    /// # Errors
    /// As [`intent`](Self::intent).
    pub fn call(&self, line: CallLine<'_>, at: i64) -> Result<Head, Objection> {
        let CallLine { caller, door, what, outcome, reasons } = line;
        let record = Record {
            trigger: Some(door.to_owned()),
            caller: caller.map(str::to_owned),
            changes: Some(what.to_owned()),
            outcome: Some(outcome.to_owned()),
            reasons,
            ..Record::new(Event::Call)
        };
        self.record(record, at)
    }

    /// What becomes of a lever.
    ///
    /// # Errors
    /// As [`intent`](Self::intent).
    pub fn lever(&self, line: LeverLine<'_>, at: i64) -> Result<Head, Objection> {
        let LeverLine { trigger, caller, outcome, by, reason, told } = line;
        let record = Record {
            trigger: Some(trigger.to_owned()),
            caller: caller.map(str::to_owned),
            who: by.map(str::to_owned).into_iter().collect(),
            why: Some(reason.to_owned()),
            changes: Some(told.to_owned()),
            outcome: Some(outcome.to_owned()),
            ..Record::new(Event::Lever)
        };
        self.record(record, at)
    }

    fn record(&self, record: Record, at: i64) -> Result<Head, Objection> {
        let mut book = self.book();
        let head = book.trail.append(at, record).map_err(|error| {
            book.note = Some(book.readiness.note(Reason::Unwritten { what: told(&error) }));
            objection(&error)
        })?;
        book.note = None;
        book.meters.ends(head.seq, at);
        Ok(head)
    }

    /// Where another holder has panicked, the trail reads its own end again before it adds a line.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// With the system's reason.
fn told(error: &TrailError) -> String {
    let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
    format!("{error}{cause}")
}

fn objection(error: &TrailError) -> Objection {
    unwritten(format!("nothing is changed that cannot be written down first: {}", told(error)))
}

/// What must be on the disk before a change cannot be written.
pub fn unwritten(what: String) -> Objection {
    Objection { guard: GUARD.to_owned(), what, hint: Some(format!("{WAY_OUT}, then reload once more")) }
}

fn ended(trigger: Trigger, outcome: &str, serving: Version, reasons: Vec<String>) -> Record {
    Record {
        trigger: Some(trigger.as_str().to_owned()),
        to: Some(serving),
        outcome: Some(outcome.to_owned()),
        reasons,
        ..Record::new(Event::Outcome)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
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
        let journal = Journal::new(dir.path(), metrics.trail(), Arc::default());
        let serving = || version(Generation(8), "def");
        for at in 100..103 {
            journal.outcome((Trigger::Signal, None), &ReloadOutcome::Unchanged, serving(), at);
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
        journal.outcome((Trigger::Signal, None), &ReloadOutcome::Unchanged, serving(), 200);
        assert_eq!(shown(&metrics), [5.0, 200.0], "a line says that it is broken, and then it goes on");
    }

    fn change(said: &Said) -> Intent<'_> {
        Intent {
            trigger: Trigger::Signal,
            caller: None,
            from: version(Generation(7), "abc"),
            to: version(Generation(8), "def"),
            changes: "1 accounts moved from a to b",
            plan: "feed",
            said,
            approved_by: &[],
        }
    }

    #[test]
    fn a_configuration_can_say_who_has_changed_it_and_why() {
        assert_eq!(Said::of(&Change::default(), None), Said::default());
        let change = Change { author: Some("ann".into()), reason: Some("us1 is full".into()) };
        let said = Said::of(&change, None);
        assert_eq!((said.author.as_deref(), said.why.as_deref()), (Some("ann"), Some("us1 is full")));
        // A note beside it adds its claims, and takes nothing away.
        let (who, why) = (Some("bob (SHA256:abc)".to_owned()), Some("tidying".to_owned()));
        let said = Said::of(&change, Some(Note { who, why, ..Note::default() }));
        assert_eq!((said.author.as_deref(), &*said.who), (Some("ann"), &["bob (SHA256:abc)".to_owned()][..]));
        assert_eq!(said.why.as_deref(), Some("us1 is full (change.json: tidying)"));
    }

    #[test]
    fn an_intent_and_its_outcome_are_two_lines() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        let journal = Journal::new(dir.path(), metrics.trail(), Arc::default());
        let note = Note {
            hash: "def".into(),
            who: Some("ann".into()),
            why: Some("cell-2 is slow".into()),
            restores: Some(3),
        };
        journal.intent(&change(&Said::of(&Change::default(), Some(note))), 5).unwrap();
        let applied = ReloadOutcome::Applied { generation: Generation(8) };
        journal.outcome((Trigger::Signal, None), &applied, version(Generation(8), "def"), 6);
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
    fn who_was_checked_and_what_was_refused_stand_in_fields_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path(), Metrics::new().trail(), Arc::default());
        let said = Said { who: vec!["carol (SHA256:c)".into()], ..Said::default() };
        let approved_by = &["bob (SHA256:b)".to_owned()];
        journal.intent(&Intent { approved_by, ..change(&said) }, 5).unwrap();
        let by_dan = Said { author: Some("dan".into()), why: Some("slow".into()), ..said.clone() };
        let pushed = Arc::new(Pushed { hash: "cafe".into(), plan: Some("feed".into()), said: by_dan });
        let (refused, generation) =
            (ReloadOutcome::Refused(Vec::new(), Some(Arc::clone(&pushed))), Generation(8));
        for outcome in [refused, ReloadOutcome::Staged { generation, pushed }] {
            journal.outcome((Trigger::Signal, None), &outcome, version(Generation(7), "abc"), 6);
        }
        let text = std::fs::read_to_string(dir.path().join(FILE_NAME)).unwrap();
        let records: Vec<Record> =
            text.lines().map(|line| Line::read(line.as_bytes()).unwrap().record).collect();
        assert_eq!((&*records[0].approved_by, &records[0].who), (&approved_by[..], &said.who));
        for record in &records[1..] {
            let found = (record.candidate.as_deref(), record.plan.as_deref());
            assert_eq!(found, (Some("cafe"), Some("feed")), "{text}");
            let offered = (record.author.as_deref(), record.who.len(), record.why.as_deref());
            assert_eq!(offered, (Some("dan"), 1, Some("slow")), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused_with_the_file_the_reason_and_the_way_out() {
        let objection = Journal::new(Path::new("/nonexistent"), Metrics::new().trail(), Arc::default())
            .intent(&change(&Said::default()), 0)
            .unwrap_err();
        assert_eq!(objection.guard, GUARD);
        for expected in ["/nonexistent/audit.jsonl", "No such file"] {
            assert!(objection.what.contains(expected), "{objection:?}");
        }
        assert!(objection.hint.unwrap().contains("reload"));
    }
}
