//! `/refusals`: the last requests that were refused or have failed, and which of them: by cell, reason, account. They are kept with
//! credentials covered and without queries (`telemetry::pulse`).

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::super::AdminState;
use crate::policy::ids::AccountId;
use crate::telemetry::pulse::SeenFailure;
use crate::telemetry::wall_time::Millis;

/// Which are asked for; what is empty asks for all.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    cell: String,
    reason: String,
}

/// `GET /refusals`.
#[derive(Serialize)]
struct RefusalsView {
    /// The newest first.
    refusals: Vec<RefusalView>,
    /// Of all that are kept, how many of each reason, the commonest first.
    reasons: Vec<ReasonView>,
}

#[derive(Serialize)]
struct ReasonView {
    reason: &'static str,
    count: usize,
}

/// One of them.
#[derive(Debug, Serialize)]
pub(super) struct RefusalView {
    at: String,
    request_id: String,
    account: Option<u64>,
    method: String,
    host: String,
    path: String,
    cell: Option<String>,
    surface: Option<String>,
    status: u16,
    answer: &'static str,
    reason: &'static str,
    cell_error: Option<&'static str>,
}

pub(super) async fn list(State(state): State<AdminState>, Query(asked): Query<Asked>) -> Response {
    Json(RefusalsView::new(&state.metrics.pulse.failures(), &asked)).into_response()
}

/// Those of one account, the newest first.
pub(super) fn of(kept: &[SeenFailure], account: AccountId) -> Vec<RefusalView> {
    kept.iter().filter(|one| one.account == Some(account)).map(RefusalView::new).collect()
}

impl RefusalsView {
    fn new(kept: &[SeenFailure], asked: &Asked) -> Self {
        let fits = |one: &&SeenFailure| {
            let in_cell = asked.cell.is_empty() || one.cell.as_deref() == Some(&*asked.cell);
            in_cell && (asked.reason.is_empty() || one.reason == asked.reason)
        };
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        kept.iter().for_each(|one| *counts.entry(one.reason).or_default() += 1);
        let mut reasons: Vec<_> =
            counts.into_iter().map(|(reason, count)| ReasonView { reason, count }).collect();
        reasons.sort_by_key(|one| std::cmp::Reverse(one.count));
        Self { refusals: kept.iter().filter(fits).map(RefusalView::new).collect(), reasons }
    }
}

impl RefusalView {
    fn new(one: &SeenFailure) -> Self {
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        Self {
            at: Millis(one.at).to_string(),
            request_id: one.request_id.to_string(),
            account: one.account.map(|account| account.value()),
            method: one.method.to_string(),
            host: one.host.to_string(),
            path: one.path.to_string(),
            cell: text(&one.cell),
            surface: text(&one.surface),
            status: one.status,
            answer: one.answer.as_str(),
            reason: one.reason,
            cell_error: one.cell_error,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::telemetry::pulse::Answer;
    use crate::test_snapshot::account;

    fn failure(id: u64, cell: &str, reason: &'static str) -> SeenFailure {
        SeenFailure {
            at: SystemTime::UNIX_EPOCH,
            request_id: "r".into(),
            account: Some(account(id)),
            host: "cloud.getdbt.com".into(),
            method: "GET".into(),
            path: "/".into(),
            cell: Some(cell.into()),
            surface: None,
            status: 503,
            answer: Answer::NoRoom,
            reason,
            cell_error: None,
        }
    }

    #[test]
    fn they_are_found_by_cell_reason_and_account() {
        let kept = [failure(1, "us1", "shed_a"), failure(2, "mt", "shed_b"), failure(1, "mt", "shed_b")];
        let count = |cell: &str, reason: &str| {
            RefusalsView::new(&kept, &Asked { cell: cell.into(), reason: reason.into() }).refusals.len()
        };
        for (cell, reason, expect) in [
            ("", "", 3),
            ("mt", "", 2),
            ("", "shed_a", 1),
            ("mt", "shed_a", 0),
            ("mt", "shed_b", 2),
            ("eu", "", 0),
        ] {
            assert_eq!(count(cell, reason), expect, "{cell} {reason}");
        }
        assert_eq!(of(&kept, account(1)).len(), 2);
        let reasons = RefusalsView::new(&kept, &Asked { cell: "us1".into(), ..Asked::default() }).reasons;
        let reasons: Vec<_> = reasons.iter().map(|one| (one.reason, one.count)).collect();
        assert_eq!(reasons, [("shed_b", 2), ("shed_a", 1)], "of all, so that a list of them stays as it is");
    }
}
