//! The document of `/live` as `top` reads it (docs/console.md has every field): what an older or a newer cellgate does not say
//! is empty, and no character in it does anything to a terminal.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::super::audit::plain;
use super::changes::span;

/// The meaning of fields that this program knows.
const VERSION: u32 = 1;

/// Everything that is live in one process at one moment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Document {
    version: u32,
    pub at: Word,
    pub process: Word,
    pub program: Word,
    pub generation: u64,
    pub hash: Word,
    pub serves_for_s: u64,
    pub ready: bool,
    pub reasons: Vec<Reason>,
    pub cells: Vec<Cell>,
    pub no_cell: Option<Traffic>,
    pub verdicts: Vec<Verdict>,
    pub verdict_observe_alarm: Option<Word>,
    pub levers: Vec<Lever>,
    pub brownouts: Vec<Brownout>,
    pub moves: Vec<Moves>,
    pub candidate: Option<Candidate>,
    pub reloads: Vec<Reload>,
}

/// Why it is not ready, or what should be known besides.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Reason {
    pub reason: Word,
    pub blocks: bool,
    pub detail: Word,
}

/// A cell, as it stands and what it answers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cell {
    pub name: Word,
    pub shared: bool,
    pub domain: Word,
    pub protocol: Word,
    pub in_flight: u64,
    pub max_in_flight: u64,
    pub groups: Vec<Declared>,
    /// Nothing in the first second of a process.
    pub standing: Option<Standing>,
    /// Nothing where there was no request for a minute.
    pub traffic: Option<Traffic>,
}

/// A group as it is configured.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Declared {
    pub zone: Word,
    pub priority: u8,
    pub capacity_rps: Option<u64>,
    pub endpoints: Vec<Word>,
}

/// How a cell stands.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Standing {
    pub phase: Word,
    pub panic: Word,
    pub admitted_rps: Option<f64>,
    pub ramp: Ramp,
    pub limit: u64,
    pub limit_why: Word,
    pub in_flight: u64,
    pub long_lived: u64,
    pub queued: u64,
    pub queue_room: u64,
    pub no_headroom_rps: f64,
    pub failover_frozen: bool,
    pub retries: bool,
    pub p95_ms: Option<f64>,
    pub usual_p95_ms: Option<f64>,
    pub would_have: Vec<(Word, Word, u64)>,
    pub would_have_refused: Vec<(Word, u64)>,
    pub observe_alarm: Option<Word>,
    pub would_act_s: Option<u64>,
    pub groups: Vec<Group>,
}

/// What a ramp is measured by.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ramp {
    pub capacity_rps: Option<f64>,
    pub capacity_from: Word,
}

/// A group as it stands.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Group {
    pub zone: Word,
    pub standing: Option<Word>,
    pub failover: Option<Failover>,
    pub in_flight: u64,
    pub max_in_flight: u64,
    pub limit: Option<u64>,
    pub limit_why: Option<Word>,
    pub connections: u64,
    pub max_connections: u64,
    pub endpoints: Vec<Endpoint>,
}

/// What goes to other groups.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Failover {
    /// The part of its own that it serves.
    pub kept: f64,
    pub moved_here_rps: f64,
    pub overflow_here_rps: f64,
}

/// One address.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    pub address: Word,
    pub state: Word,
    pub ejections: u64,
    pub out_for_s: u64,
    pub requests_10s: u64,
    pub failed_10s: u64,
    pub median_ms: Option<f64>,
    pub held: Option<(Word, Word)>,
}

/// The last minute of a cell.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// Of each second, the newest last.
    pub requests: Vec<u64>,
    pub last_10s: Window,
    pub last_60s: Window,
    pub surfaces: Vec<Surface>,
}

/// The same of one surface.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Surface {
    pub surface: Word,
    pub last_10s: Window,
    pub last_60s: Window,
}

/// Some seconds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Window {
    pub seconds: f64,
    /// By how they have ended, each of them once.
    pub ended: BTreeMap<Word, u64>,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

/// Who is sick.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Verdict {
    pub verdict: Word,
    pub stands_for_s: u64,
    pub found_s_ago: u64,
    pub held_for_s: u64,
    pub evidence: Word,
    /// What is there now, where it is not that any more.
    pub present: Option<Word>,
}

impl Verdict {
    /// Who, since when, and by what; of one that is only held, when that was, until when, and what is there now.
    pub fn words(&self) -> String {
        let told = format!("{}, for {}: {}", self.verdict, span(self.stands_for_s), self.evidence);
        match &self.present {
            None => told,
            Some(present) => format!(
                "{told} (seen {} ago, held for {} more; now {present})",
                span(self.found_s_ago),
                span(self.held_for_s)
            ),
        }
    }
}

/// What somebody has pulled.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Lever {
    pub id: u64,
    pub lever: Word,
    pub by: Word,
    pub reason: Word,
    pub since: Word,
    pub until: Word,
    pub seconds_left: u64,
    pub requests: u64,
}

/// One that is in force or will be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Brownout {
    pub id: Word,
    pub mode: Word,
    pub share: Word,
    pub in_force: bool,
    pub cancelled: bool,
    pub window: Option<Times>,
    pub next: Option<Times>,
}

/// From when until when.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Times {
    pub start: Word,
    pub end: Word,
}

/// Accounts that are as far as each other.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Moves {
    pub from: Option<Word>,
    pub to: Option<Word>,
    pub state: Word,
    pub accounts: u64,
    pub writes_at_old_cell: u64,
    pub waiting: u64,
}

/// What is on trial.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Candidate {
    pub generation: u64,
    pub hash: Word,
    pub share: Option<Word>,
    pub step: u64,
    pub steps: u64,
    pub seconds_left: u64,
    pub requests: u64,
    pub failed: u64,
}

/// A reload in short.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Reload {
    pub at: Word,
    pub trigger: Word,
    pub outcome: Word,
    pub generation: Option<u64>,
    pub hash: Option<Word>,
    pub problems: u64,
    pub guards: Vec<Word>,
}

/// Text of somebody else, fit for a terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word(String);

impl Document {
    /// Of the body of an answer.
    pub fn parse(body: &str) -> Result<Self, String> {
        let document: Self = serde_json::from_str(body)
            .map_err(|error| format!("it does not answer as cellgate does ({error})"))?;
        match document.version {
            VERSION => Ok(document),
            0 => Err("it does not answer as cellgate does (no version)".to_owned()),
            other => Err(format!(
                "its document has version {other}, and this program knows {VERSION}: use the cellgate of that process"
            )),
        }
    }
}

impl Window {
    /// Requests a second that have ended so.
    pub fn per_second(&self, how: &[&str]) -> f64 {
        self.over_time(how.iter().map(|how| self.count(how)).sum())
    }

    /// All requests a second. The document has it too, but rounded: of few requests a part could be more than all.
    pub fn rps(&self) -> f64 {
        self.over_time(self.requests())
    }

    /// All requests.
    pub fn requests(&self) -> u64 {
        self.ended.values().sum()
    }

    fn over_time(&self, count: u64) -> f64 {
        // Less than a second says nothing yet.
        count as f64 / self.seconds.max(1.0)
    }

    /// Requests that have ended so.
    pub fn count(&self, how: &str) -> u64 {
        self.ended.iter().find(|(word, _)| &***word == how).map_or(0, |(_, count)| *count)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(plain(&String::deserialize(deserializer)?)))
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Self(plain(text))
    }
}

impl std::ops::Deref for Word {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_the_wire_do_not_reach_a_terminal() {
        let body = r#"{"version": 1, "cells": [{"name": "us\u001b[2J1\u0007\u202e"}], "reasons": [{"detail": "a\u009bb"}]}"#;
        let document = Document::parse(body).unwrap();
        assert_eq!(&*document.cells[0].name, "us [2J1  ");
        assert_eq!(&*document.reasons[0].detail, "a b");
    }

    #[test]
    fn what_is_not_a_document_is_told_from_one_of_another_version() {
        for (body, expect) in [
            ("{}", "no version"),
            ("<html>", "does not answer as cellgate does"),
            (r#"{"version": 2}"#, "version 2, and this program knows 1"),
            (r#"{"version": 1, "cells": 4}"#, "invalid type"),
        ] {
            let said = Document::parse(body).unwrap_err();
            assert!(said.contains(expect), "{body}: {said}");
        }
        assert!(Document::parse(r#"{"version": 1, "of_tomorrow": [1]}"#).is_ok());
    }

    #[test]
    fn a_rate_counts_each_way_of_ending_once() {
        let window = Window {
            seconds: 10.0,
            ended: BTreeMap::from([("down".into(), 30), ("served".into(), 50), ("no_room".into(), 20)]),
            ..Window::default()
        };
        assert_eq!(window.per_second(&["down", "no_room", "moving"]), 5.0);
        assert_eq!(window.rps(), 10.0);
        assert_eq!(Window { seconds: 0.1, ..window }.per_second(&["down"]), 30.0);
    }

    #[test]
    fn no_part_is_more_than_all_however_short_the_time_and_few_the_requests() {
        // As cellgate rounds them: one request in four seconds, and in a tenth of one.
        for (seconds, rps) in [(4.0, 0.2), (0.1, 10.0), (0.0, 0.0), (9.9, 0.1)] {
            let window = format!(r#"{{"seconds": {seconds}, "rps": {rps}, "ended": {{"failed": 1}}}}"#);
            let window: Window = serde_json::from_str(&window).unwrap();
            let rates = super::super::rows::Rates::of(&window);
            assert_eq!(rates.percent(rates.failed), 100.0, "{window:?}");
        }
    }
}
