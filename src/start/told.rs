//! What is told of a start: what it changes, and why it serves something else than the files say.

use super::Why;
use crate::config::plan::Plan;

/// From what served last to what is to serve, for the audit trail.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Configuration hash of what served last.
    pub from: Box<str>,
    /// What changes, in counts and names.
    pub changes: String,
    /// Digest of the plan.
    pub plan: String,
}

impl Changed {
    /// As a plan has it.
    pub(super) fn of(plan: &Plan) -> Self {
        Self { from: plan.base.clone(), changes: plan.diff.to_string(), plan: plan.digest() }
    }
}

impl Why {
    /// `a problem`, `3 objections against it`.
    pub(super) fn count(&self) -> String {
        let (count, one, many) = match self {
            Self::Rejected(problems) => (problems.len(), "a problem", "problems"),
            Self::Kept(_) => (1, "an operator's override against it", ""),
            Self::Refused(objections, _) => {
                (objections.len(), "an objection against it", "objections against it")
            }
            Self::RolledBack(_) => (1, "a rollback behind it", ""),
            Self::Unwritten(_) => (1, "no place in the state folder", ""),
        };
        if count == 1 { one.to_owned() } else { format!("{count} {many}") }
    }

    /// One line each.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Rejected(problems) => problems.iter().map(ToString::to_string).collect(),
            Self::Kept(asked) => vec![asked.to_string()],
            Self::Unwritten(what) => vec![what.clone()],
            Self::Refused(objections, missing) => {
                objections.iter().map(ToString::to_string).chain(missing.iter().cloned()).collect()
            }
            Self::RolledBack(one) => {
                one.reasons.iter().map(|reason| format!("rolled_back: {reason}")).collect()
            }
        }
    }
}
