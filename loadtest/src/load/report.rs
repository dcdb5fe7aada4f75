//! What became of a load, as numbers, as JSON and as a table for a person.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::histogram::{Histogram, Latency};
use crate::failure::FailureKind;

/// A load's result, or its state so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LoadReport {
    /// How long it has run.
    pub seconds: f64,
    /// All requests together.
    pub all: Tally,
    /// Each template by itself, in the plan's order.
    pub templates: Vec<TemplateReport>,
    /// Requests sent once more because the kept connection ended before they were answered.
    pub resent: u64,
    /// Connections opened.
    pub connections: u64,
    /// The longest that a request was sent after it was due: the generator's own lateness, part of every latency.
    pub late_max_us: u64,
    /// What happened second by second, by when requests were due.
    pub per_second: Vec<Second>,
    /// The first failures of each kind in full, at most [`SAMPLES_MAX`] of one.
    pub samples: Vec<FailureSample>,
}

/// What became of a number of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Requests that were due, whatever became of them.
    pub sent: u64,
    /// Answered as expected.
    pub ok: u64,
    /// The others, by kind.
    pub failures: BTreeMap<FailureKind, u64>,
    /// Of those answered as expected, counted from when they were due.
    pub latency: Latency,
}

/// What became of one template's requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateReport {
    /// The template's name.
    pub name: String,
    /// What became of them.
    pub tally: Tally,
}

/// What became of the requests due in one second of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Second {
    /// Answered as expected.
    pub ok: u64,
    /// Failed, but for those refused.
    pub failed: u64,
    /// Connection refused.
    pub refused: u64,
}

/// One failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureSample {
    /// When the request was due, in ms since the start.
    pub due_ms: u64,
    /// Its template.
    pub template: String,
    /// Its kind.
    pub kind: FailureKind,
    /// What exactly.
    pub detail: String,
}

/// Enough samples of a kind to see what goes wrong, few enough to read.
pub const SAMPLES_MAX: usize = 20;

impl Tally {
    /// All failures but refused connections: what must be zero while anything listens.
    pub fn failed(&self) -> u64 {
        let failed = self.failures.iter();
        failed.filter(|(kind, _)| **kind != FailureKind::ConnectRefused).map(|(_, count)| count).sum()
    }

    /// Failures of one kind.
    pub fn count(&self, kind: FailureKind) -> u64 {
        self.failures.get(&kind).copied().unwrap_or(0)
    }

    /// Connections refused: nothing listened.
    pub fn refused(&self) -> u64 {
        self.count(FailureKind::ConnectRefused)
    }
}

impl LoadReport {
    /// One template's tally; empty for a name that is not in the plan.
    pub fn template(&self, name: &str) -> Tally {
        let found = self.templates.iter().find(|template| template.name == name);
        found.map(|template| template.tally.clone()).unwrap_or_default()
    }

    /// All failures but refused connections.
    pub fn failed(&self) -> u64 {
        self.all.failed()
    }

    /// Whether anything was sent at all and nothing failed; refused connections are not held against it.
    pub fn is_clean(&self) -> bool {
        self.all.ok > 0 && self.failed() == 0
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.templates.iter().map(|t| t.name.len()).max().unwrap_or(0).max(5);
        let columns = ["sent", "ok", "failed", "refused"].map(|name| format!("{name:>9}"));
        let times = ["p50 ms", "p90", "p99", "p99.9", "max"].map(|name| format!("{name:>10}"));
        writeln!(f, "{:width$}{}{}", "", columns.concat(), times.concat())?;
        let rows = self.templates.iter().map(|t| (t.name.as_str(), &t.tally));
        for (name, tally) in rows.chain([("all", &self.all)]) {
            let (failed, refused) = (tally.failed(), tally.refused());
            write!(f, "{name:width$}{:>9}{:>9}{failed:>9}{refused:>9}", tally.sent, tally.ok)?;
            writeln!(f, "{}", tally.latency)?;
        }
        let rate = self.all.ok as f64 / self.seconds.max(f64::MIN_POSITIVE);
        let (connections, resent) = (self.connections, self.resent);
        let late = self.late_max_us as f64 / 1_000.0;
        writeln!(
            f,
            "{rate:.0} good answers a second over {:.1} s; {connections} connections; {resent} resent; sent at most \
             {late:.1} ms late",
            self.seconds
        )?;
        for (kind, count) in &self.all.failures {
            writeln!(f, "  {kind:?}: {count}")?;
        }
        for sample in &self.samples {
            let FailureSample { due_ms, template, kind, detail } = sample;
            writeln!(f, "  at {due_ms} ms, {template}: {kind:?}: {detail}")?;
        }
        Ok(())
    }
}

/// The counts of a load while it runs.
pub(super) struct Counting {
    templates: Vec<(String, Counts)>,
    resent: u64,
    late_max: Duration,
    per_second: Vec<Second>,
    samples: Vec<FailureSample>,
}

#[derive(Default)]
struct Counts {
    sent: u64,
    ok: u64,
    failures: BTreeMap<FailureKind, u64>,
    times: Histogram,
}

/// What became of one request.
pub(super) struct Outcome {
    /// Index of its template.
    pub(super) template: usize,
    /// When it was due, since the start.
    pub(super) due: Duration,
    /// How long it took since it was due, or why it failed.
    pub(super) result: Result<Duration, (FailureKind, String)>,
    pub(super) resent: u64,
}

impl Counting {
    pub(super) fn of(templates: impl Iterator<Item = String>) -> Self {
        Self {
            templates: templates.map(|name| (name, Counts::default())).collect(),
            resent: 0,
            late_max: Duration::ZERO,
            per_second: Vec::new(),
            samples: Vec::new(),
        }
    }

    pub(super) fn sent_late(&mut self, late: Duration) {
        self.late_max = self.late_max.max(late);
    }

    pub(super) fn add(&mut self, outcome: Outcome) {
        let second = outcome.due.as_secs() as usize; // A run of more than 2^64 seconds ends before that.
        if self.per_second.len() <= second {
            self.per_second.resize(second + 1, Second::default());
        }
        let second = &mut self.per_second[second];
        let (name, counts) = &mut self.templates[outcome.template];
        counts.sent += 1;
        self.resent += outcome.resent;
        match outcome.result {
            Ok(time) => {
                counts.ok += 1;
                second.ok += 1;
                counts.times.add(time);
            }
            Err((kind, detail)) => {
                match kind {
                    FailureKind::ConnectRefused => second.refused += 1,
                    _ => second.failed += 1,
                }
                *counts.failures.entry(kind).or_default() += 1;
                if self.samples.iter().filter(|sample| sample.kind == kind).count() < SAMPLES_MAX {
                    self.samples.push(FailureSample {
                        due_ms: u64::try_from(outcome.due.as_millis()).unwrap_or(u64::MAX),
                        template: name.clone(),
                        kind,
                        detail,
                    });
                }
            }
        }
    }

    pub(super) fn report(&self, ran: Duration, connections: u64) -> LoadReport {
        let mut all = Counts::default();
        for (_, counts) in &self.templates {
            all.sent += counts.sent;
            all.ok += counts.ok;
            all.times.merge(&counts.times);
            for (kind, count) in &counts.failures {
                *all.failures.entry(*kind).or_default() += count;
            }
        }
        let templates = self
            .templates
            .iter()
            .map(|(name, counts)| TemplateReport { name: name.clone(), tally: counts.tally() });
        LoadReport {
            seconds: ran.as_secs_f64(),
            all: all.tally(),
            templates: templates.collect(),
            resent: self.resent,
            connections,
            late_max_us: u64::try_from(self.late_max.as_micros()).unwrap_or(u64::MAX),
            per_second: self.per_second.clone(),
            samples: self.samples.clone(),
        }
    }
}

impl Counts {
    fn tally(&self) -> Tally {
        Tally { sent: self.sent, ok: self.ok, failures: self.failures.clone(), latency: self.times.latency() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn counted() -> LoadReport {
        let mut counting = Counting::of(["one".to_owned(), "two".to_owned()].into_iter());
        let outcome = |template, due_ms, result| Outcome {
            template,
            due: Duration::from_millis(due_ms),
            result,
            resent: 0,
        };
        let refused = || Err((FailureKind::ConnectRefused, "refused".to_owned()));
        counting.add(outcome(0, 0, Ok(Duration::from_millis(2))));
        counting.add(outcome(0, 900, refused()));
        counting.add(outcome(1, 2_100, Err((FailureKind::WrongCell, "cell-2".to_owned()))));
        counting.report(Duration::from_secs(3), 5)
    }

    #[test]
    fn refused_connections_are_counted_apart() {
        let report = counted();
        assert_eq!((report.failed(), report.all.refused()), (1, 1));
        assert!(report.template("one").failed() == 0 && report.template("one").refused() == 1);
        assert!(!report.is_clean());
    }

    #[test]
    fn seconds_are_those_in_which_requests_were_due() {
        let second = |ok, failed, refused| Second { ok, failed, refused };
        let expected = [second(1, 0, 1), second(0, 0, 0), second(0, 1, 0)];
        assert_eq!(counted().per_second, expected);
    }

    #[test]
    fn the_table_names_templates_kinds_and_samples() {
        let table = counted().to_string();
        let first = "          sent       ok   failed  refused    p50 ms       p90       p99     p99.9       max\n\
                     one          2        1        0        1      2.00      2.00      2.00      2.00      2.00\n";
        assert!(table.starts_with(first), "{table}");
        assert!(table.contains("at 2100 ms, two: WrongCell: cell-2"), "{table}");
    }

    #[test]
    fn json_reads_back() {
        let report = counted();
        let json = serde_json::to_string(&report).unwrap();
        assert!(json.contains(r#""connect_refused":1"#), "{json}");
        let read: LoadReport = serde_json::from_str(&json).unwrap();
        assert_eq!(read.all, report.all);
    }

    #[test]
    fn nothing_sent_is_not_clean() {
        assert!(!LoadReport::default().is_clean());
    }
}
