//! What a reload says of itself in the log and to the admin plane. Nothing is decided here.

use super::outcome::{self, ProblemView, ReloadOutcome, Trigger};
use crate::config::Problem;
use crate::config::guard::Objection;
use crate::policy::code::Code;
use crate::telemetry::metrics::Metrics;

/// How it has ended, for people.
pub(super) fn log(trigger: Trigger, outcome: &ReloadOutcome) {
    match outcome {
        ReloadOutcome::Applied { generation } => {
            tracing::info!(?trigger, %generation, "configuration applied")
        }
        ReloadOutcome::Staged { generation, .. } => {
            tracing::info!(?trigger, %generation, "configuration accepted: it comes in force in steps");
        }
        // Each reason stands in the log since then.
        ReloadOutcome::RolledBack { hash, .. } => {
            tracing::error!(code = %Code::RolledBack,
                ?trigger,
                hash = &**hash,
                "this configuration was rolled back: the one before goes on serving"
            );
        }
        ReloadOutcome::Unchanged => tracing::info!(?trigger, "configuration unchanged"),
        ReloadOutcome::NeedsRestart(fields) => {
            tracing::warn!(code = %Code::NeedsRestart,
                ?trigger,
                ?fields,
                "configuration not applied: these fields of boot.yaml need a restart"
            );
        }
        ReloadOutcome::Refused(objections, _) => {
            for objection in objections {
                tracing::error!(?trigger, %objection, "configuration refused: the one before goes on serving");
            }
        }
        ReloadOutcome::Rejected(problems) => {
            for problem in problems {
                tracing::error!(?trigger, %problem, "configuration rejected: the one before goes on serving");
            }
        }
    }
}

/// Counts what guards object to, and says what those would have refused that only watch.
pub fn note_objections(metrics: &Metrics, objections: &[Objection]) {
    for objection in objections {
        metrics.guards.objected(objection.guard, objection.mode);
        if !objection.refuses() {
            tracing::warn!(%objection, "a guard in observe mode would have refused this change");
        }
    }
}

/// Says what an operator should know of what is now in force.
pub fn warn_of(remarks: &[String]) {
    for remark in remarks {
        tracing::warn!("{remark}");
    }
}

/// Objections that have refused a change, as the admin plane and the log show them.
/// `missing` says why approvals have not lifted them.
pub fn refusals(objections: &[Objection], missing: Vec<String>) -> Vec<outcome::Objection> {
    let view = |objection: &Objection| outcome::Objection {
        guard: objection.guard.as_str().to_owned(),
        what: objection.what.clone(),
        hint: Some(objection.guard.hint().to_owned()),
    };
    let missing = missing.into_iter().map(|what| outcome::Objection {
        guard: "approvals".to_owned(),
        what,
        hint: None,
    });
    objections.iter().filter(|objection| objection.refuses()).map(view).chain(missing).collect()
}

/// Problems as the admin plane and the log show them.
pub fn views(problems: &[Problem]) -> Vec<ProblemView> {
    let view = |problem: &Problem| ProblemView {
        file: Some(problem.file.to_string()),
        line: problem.line.map(u64::from),
        column: problem.column.map(u64::from),
        path: (!problem.path.is_empty()).then(|| problem.path.to_string()),
        what: problem.what.to_string(),
        expected: (!problem.expected.is_empty()).then(|| problem.expected.to_string()),
        hint: problem.hint.as_ref().map(ToString::to_string),
        code: Some(problem.code.to_string()),
    };
    problems.iter().map(view).collect()
}
