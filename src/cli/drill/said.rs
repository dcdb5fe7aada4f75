//! What is said of rehearsals: what was assumed and simulated at the beginning, what came of all at the end, and the
//! same for programs. What came of each is [`Report`]'s to say.

use serde_json::json;

use super::{Args, Drill, Rehearsal};
use crate::drill::clients::MIX;
use crate::drill::finding::percent;
use crate::drill::report::Report;
use crate::drill::rules::DrillRules;
use crate::drill::text::wrapped;
use crate::policy::ids::Label;

impl Drill<'_> {
    pub(super) fn head(&self, rehearsals: &[Rehearsal]) -> String {
        let DrillRules { service_median, cold, bears, patience, collapse_secs, honours, .. } = &self.rules;
        let Args { load, demand, seed, .. } = self.args;
        let said: Vec<String> =
            demand.iter().map(|(cell, rps)| format!("{rps} rps for {cell} (--demand), ")).collect();
        let [critical, interactive, api, bulk] = MIX;
        let assumed = [
            (
                "demand",
                format!(
                    "{}{:.0} % of what a cell's serving groups declare (--load)",
                    said.concat(),
                    load * 100.0
                ),
            ),
            ("answers", format!("half of them within {} ms (--service-time)", service_median.as_millis())),
            (
                "groups",
                format!(
                    "bear {:.0} % of their capacity_rps, and thrash when {collapse_secs} s of work waits in them",
                    bears * 100.0
                ),
            ),
            (
                "cold",
                format!(
                    "a cell that was down works at {:.0} % of its speed for {} s (--cold, --cold-for)",
                    cold.0 * 100.0,
                    cold.1.as_secs()
                ),
            ),
            (
                "clients",
                format!(
                    "wait {} s; come again up to three times, {:.0} % of them not before Retry-After says so; are {critical} % \
                     critical, {interactive} % interactive, {api} % api, {bulk} % bulk",
                    patience.as_secs(),
                    honours * 100.0
                ),
            ),
        ];
        let mut text = String::new();
        let cells = self.demand.rps.iter().filter(|rps| **rps > 0.0).count();
        let all: f64 = self.demand.rps.iter().sum();
        let of = &self.first.hash[..12];
        let folder = self.args.config.folder.display();
        let paragraph = |text: &mut String, begin: &str, said: &str| {
            wrapped(text, begin, said).expect("a string takes whatever is written to it");
        };
        paragraph(
            &mut text,
            "",
            &format!("Rehearsal of {folder} ({of}), {cells} cells, {all:.0} rps, seed {seed}."),
        );
        paragraph(
            &mut text,
            "",
            "The configuration says cells, capacity_rps, limits, modes, timeouts, checks and protection.replicas. Assumed is:",
        );
        for (name, what) in assumed {
            paragraph(&mut text, &format!("  {name:<9}"), &what);
        }
        if let Some(said) = self.simulated(rehearsals) {
            paragraph(&mut text, "", &said);
        }
        text
    }

    /// How much of all replicas is simulated.
    fn simulated(&self, rehearsals: &[Rehearsal]) -> Option<String> {
        let mut parts: Vec<(&str, f64)> = Vec::new();
        for Rehearsal { scenario, batch, .. } in rehearsals {
            let (name, part) = (scenario.as_str(), 1.0 / batch.scale());
            match parts.iter_mut().find(|(known, _)| *known == name) {
                Some((_, least)) => *least = least.min(part),
                None => parts.push((name, part)),
            }
        }
        parts.retain(|(_, part)| *part < 1.0);
        let said: Vec<String> =
            parts.iter().map(|(name, part)| format!("{} % of {name}", percent(*part))).collect();
        let is_smaller = rehearsals.iter().any(|one| one.batch.of > one.batch.configured);
        let smaller =
            "; where that is less than a replica, what comes unevenly weighs more than in a whole one";
        (!said.is_empty()).then(|| {
            format!(
                "To take seconds, a part is simulated, of demand, capacity and limits alike: {}{}. Numbers below are those \
                 of all replicas.",
                said.join(", "),
                if is_smaller { smaller } else { "" }
            )
        })
    }

    /// What came of all of it, at the end, where a terminal shows it.
    pub(super) fn result(&self, reports: &[Report], holds: bool) -> String {
        let said = match (holds, reports.iter().all(Report::holds)) {
            (true, _) => "holds",
            (false, false) => "does NOT hold",
            (false, true) if reports.is_empty() => "nobody knows; nothing could be rehearsed",
            (false, true) => "what was rehearsed holds, and of the rest nobody knows",
        };
        let mut text = format!("\n== result: {said}\n");
        let mut paragraph = |begin: &str, said: &str| {
            wrapped(&mut text, begin, said).expect("a string takes whatever is written to it");
        };
        for report in reports {
            let name = format!("  {:<22}", format!("{} {}", report.scenario.as_str(), report.what));
            let failing = report.cells.iter().filter(|cell| !cell.finding.holds);
            let names: Vec<&str> = failing
                .flat_map(|cell| std::iter::once(&cell.cell).chain(&cell.like))
                .map(Label::as_str)
                .collect();
            match names.is_empty() {
                true => paragraph(&name, "holds"),
                false => paragraph(&name, &format!("does NOT hold for {}", names.join(", "))),
            }
        }
        for unknown in &self.demand.unknown {
            paragraph(&format!("  {:<22}", "not rehearsed"), &unknown.to_string());
        }
        text
    }

    pub(super) fn to_json(
        &self,
        rehearsals: &[Rehearsal],
        reports: &[Report],
        holds: bool,
    ) -> serde_json::Value {
        let unknown: Vec<String> = self.demand.unknown.iter().map(ToString::to_string).collect();
        let DrillRules { service_median, cold, bears, patience, honours, .. } = &self.rules;
        let least = rehearsals.iter().map(|one| 1.0 / one.batch.scale()).fold(1.0, f64::min);
        json!({
            "hash": self.first.hash,
            "seed": self.args.seed,
            "holds": holds,
            "not_rehearsed": unknown,
            "replicas": self.first.protection.replicas,
            "simulated_at_least": least,
            "assumed": {
                "load": self.args.load, "service_median_ms": service_median.as_millis() as u64, "bears": bears,
                "cold": cold.0, "cold_seconds": cold.1.as_secs(), "patience_seconds": patience.as_secs(),
                "heed_retry_after": honours,
            },
            "scenarios": reports.iter().map(Report::to_json).collect::<Vec<_>>(),
        })
    }
}
