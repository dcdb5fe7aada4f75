//! What was changed about the end of a legacy host, and by whom, from the audit trail: dates that moved, brownouts, promises.
//! For the page; `cellgate history` and `cellgate audit show` tell all changes.

use std::path::Path;

use super::audit::{people, plain};
use crate::audit::fleet::Change;
use crate::config::diff::text::{OF_THE_END, is_below};
use crate::config::time::parse_moment;
use crate::trail::check::Checker;
use crate::trail::{self, Event, Line, Record, TrailError};

/// The words of the lever that ends a brownout.
const CANCEL: &str = "brownout cancel";

/// What became of a change that is not in force any more, as outcomes have it.
const TAKEN_BACK: [&str; 2] = ["rolled_back", "withdrawn"];

/// All of them, in order; none where the trail cannot be read. What is wrong with it is told to `complain`.
pub(crate) fn read(state_dir: &Path, complain: impl Fn(&str)) -> Vec<Change> {
    from_trail(state_dir, &complain).unwrap_or_else(|error| {
        complain(&format!("What was changed, and by whom, is left out: {error}"));
        Vec::new()
    })
}

fn from_trail(state_dir: &Path, complain: &impl Fn(&str)) -> Result<Vec<Change>, TrailError> {
    let mut found: Vec<(Change, Option<String>)> = Vec::new();
    let checked = trail::check(&trail::files::all(state_dir)?, Checker::default(), true, |line| {
        found.extend(change(line));
        let taken_back =
            taken_back(&line.record).filter(|hash| found.iter().any(|(_, of)| of.as_ref() == Some(hash)));
        found.extend(taken_back.map(|hash| {
            let what = format!("taken back: the configuration {}", hash.chars().take(12).collect::<String>());
            (of(line, what), None)
        }));
    })?;
    if checked.broken.is_some() {
        complain(
            "The audit trail is broken, so what was changed, and by whom, may be false: see cellgate audit verify",
        );
    }
    Ok(found.into_iter().map(|(change, _)| change).collect())
}

/// What a line changes of it, and the configuration hash that it puts in force.
fn change(line: &Line) -> Option<(Change, Option<String>)> {
    let record = &line.record;
    let told = record.changes.as_deref()?;
    let parts: Vec<&str> = match record.event {
        Event::Start | Event::Intent => {
            told.split("; ").filter(|part| is_of_the_end(part) && !is_a_matter_of_course(part)).collect()
        }
        Event::Lever if told.contains(CANCEL) => vec![told],
        _ => Vec::new(),
    };
    if parts.is_empty() {
        return None;
    }
    let outcome = record.outcome.as_ref().map(|outcome| format!(" ({outcome})")).unwrap_or_default();
    let why = record.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let what = plain(&format!("{}{outcome}{why}", parts.join("; ")));
    Some((of(line, what), record.to.as_ref().map(|to| to.hash.clone())))
}

/// As [`Diff`](crate::config::diff::Diff) is told on a line.
fn is_of_the_end(part: &str) -> bool {
    ["sunset of ", "deprecation of ", "schedule ", "brownout "].iter().any(|start| part.starts_with(start))
        || part.contains(" promised sunsets: ")
        || OF_THE_END.iter().any(|list| is_below(part, list))
}

/// What is new has a name, and lists have an order: both are told by what else is said of it.
fn is_a_matter_of_course(part: &str) -> bool {
    part.contains("].id: (not set) -> ")
        || part.contains("].account: (not set) -> ")
        || part.contains(", in their order from #")
}

fn taken_back(record: &Record) -> Option<&String> {
    let outcome = record.outcome.as_deref().filter(|_| record.event == Event::Outcome)?;
    record.candidate.as_ref().filter(|_| TAKEN_BACK.contains(&outcome))
}

fn of(line: &Line, what: String) -> Change {
    let who = people(&line.record).join(", ");
    Change {
        at: parse_moment(&line.at).unwrap_or(0),
        who: Some(plain(&who)).filter(|who| !who.is_empty()),
        what,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::trail::{Trail, Version};

    #[test]
    fn a_report_says_which_dates_were_moved_by_whom_and_what_was_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut trail = Trail::new(folder.path());
        let mut add = |at: i64, record: Record| {
            trail.append(at, record).unwrap();
        };
        let to = |hash: &str| Some(Version { generation: 2, hash: hash.repeat(32) });
        let intent = |hash: &str, changes: &str, who: &[&str]| Record {
            to: to(hash),
            changes: Some(changes.to_owned()),
            who: who.iter().map(|who| (*who).to_owned()).collect(),
            why: Some("finance closes the year".to_owned()),
            ..Record::new(Event::Intent)
        };
        let moved = "sunset of a moved from 2026-11-01T00:00:00Z to 2027-01-31T00:00:00Z";
        add(1_000, intent("aa", &format!("3 accounts moved from x to y; {moved}"), &["kim"]));
        add(2_000, intent("bb", "cells changed: us1; limits.head_bytes: 1 -> 2; brownoutsish: 1", &[]));
        add(
            3_000,
            intent(
                "cc",
                "brownouts[bo-1].id: (not set) -> bo-1; brownouts[bo-1].mode: (not set) -> hard; \
                 brownout bo-1: 3 accounts enter, 0 leave",
                &[],
            ),
        );
        let outcome = |outcome: &str, hash: &str| Record {
            outcome: Some(outcome.to_owned()),
            candidate: Some(hash.repeat(32)),
            ..Record::new(Event::Outcome)
        };
        add(4_000, outcome("rolled_back", "cc"));
        add(5_000, outcome("rolled_back", "bb"));
        let lever = |changes: &str| Record {
            changes: Some(changes.to_owned()),
            outcome: Some("pulled".to_owned()),
            ..Record::new(Event::Lever)
        };
        add(6_000, lever("1 brownout cancel bo-1"));
        add(7_000, lever("2 drain us1"));
        let told: Vec<_> = read(folder.path(), |what| assert_eq!(what, ""))
            .into_iter()
            .map(|c| (c.at, c.who, c.what))
            .collect();
        let people = told[0].1.clone();
        assert!(people.is_some_and(|who| who.contains("kim")));
        let what: Vec<_> = told.into_iter().map(|(at, _, what)| (at, what)).collect();
        assert_eq!(
            what,
            [
                (1_000, format!("{moved}: finance closes the year")),
                (
                    3_000,
                    "brownouts[bo-1].mode: (not set) -> hard; brownout bo-1: 3 accounts enter, 0 leave: finance closes the year"
                        .to_owned()
                ),
                (4_000, "taken back: the configuration cccccccccccc".to_owned()),
                (6_000, "1 brownout cancel bo-1 (pulled)".to_owned()),
            ]
        );
        let told = std::cell::RefCell::new(String::new());
        assert_eq!(read(&folder.path().join("none"), |what| told.borrow_mut().push_str(what)), []);
        assert!(told.borrow().contains("is left out: "), "{}", told.borrow());
    }
}
