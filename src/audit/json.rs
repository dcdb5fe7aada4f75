//! Prints a report as JSON: views of its values, with a version.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::policy::legacy_use::activity::Cadence;

use super::render::rfc3339;
use super::report::{AccountUsage, ClientUsage, GapLine, Report, Usage};

/// Version of the JSON; grows when a field changes its meaning or goes.
pub(super) const JSON_VERSION: u32 = 2;

/// The whole report as one JSON document.
///
/// # Errors
/// Never for a report; the type is serde_json's.
pub fn print(report: &Report) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(&ReportView::new(report))?;
    text.push('\n');
    Ok(text)
}

#[derive(Serialize)]
struct ReportView<'a> {
    version: u32,
    since: String,
    books_since: Option<String>,
    written_at: Option<String>,
    totals: TotalsView,
    /// Of all accounts in the books, whenever they were seen.
    verdicts: BTreeMap<&'static str, usize>,
    accounts: Vec<AccountView<'a>>,
    unattributed: UsageView<'a>,
    unmapped: UsageView<'a>,
    gaps: Vec<GapView<'a>>,
}

#[derive(Serialize)]
struct TotalsView {
    accounts: usize,
    requests: u64,
}

#[derive(Serialize)]
struct AccountView<'a> {
    account: u64,
    prefix: Option<&'a str>,
    cell: Option<&'a str>,
    verdict: &'static str,
    reasons: Vec<String>,
    cadence: Option<&'static str>,
    window_days: i64,
    ready_at: Option<String>,
    #[serde(flatten)]
    usage: UsageView<'a>,
}

#[derive(Serialize)]
struct UsageView<'a> {
    requests: u64,
    status: StatusView,
    first_seen: Option<String>,
    last_seen: Option<String>,
    clients: Vec<ClientView<'a>>,
}

#[derive(Serialize)]
struct StatusView {
    #[serde(rename = "1xx")]
    informational: u64,
    #[serde(rename = "2xx")]
    ok: u64,
    #[serde(rename = "3xx")]
    redirects: u64,
    #[serde(rename = "4xx")]
    client_errors: u64,
    #[serde(rename = "5xx")]
    server_errors: u64,
}

#[derive(Serialize)]
struct ClientView<'a> {
    client: &'a str,
    surface: &'a str,
    requests: u64,
    share: f64,
    last_seen: String,
    endpoint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<FixView<'a>>,
}

#[derive(Serialize)]
struct FixView<'a> {
    why: Option<&'a str>,
    how: &'a str,
}

#[derive(Serialize)]
struct GapView<'a> {
    until: String,
    reason: &'a str,
    requests: Option<u64>,
    note: Option<&'a str>,
}

impl<'a> ReportView<'a> {
    fn new(report: &'a Report) -> Self {
        let account = |account: &'a AccountUsage| AccountView {
            account: account.account,
            prefix: account.prefix.as_deref(),
            cell: account.cell.as_deref(),
            verdict: account.judged.verdict.as_str(),
            reasons: account.judged.reasons.iter().map(ToString::to_string).collect(),
            cadence: account.judged.cadence.map(Cadence::as_str),
            window_days: account.judged.window_days,
            ready_at: account.judged.ready_at.map(rfc3339),
            usage: UsageView::new(&account.usage),
        };
        let gap = |gap: &'a GapLine| GapView {
            until: rfc3339(gap.ended_at),
            reason: &gap.reason,
            requests: gap.requests,
            note: gap.note.as_deref(),
        };
        Self {
            version: JSON_VERSION,
            since: rfc3339(report.since),
            books_since: report.kept_since.map(rfc3339),
            written_at: report.written_at.map(rfc3339),
            totals: TotalsView { accounts: report.accounts.len(), requests: report.requests() },
            verdicts: report.verdicts.iter().map(|(verdict, many)| (verdict.as_str(), *many)).collect(),
            accounts: report.accounts.iter().map(account).collect(),
            unattributed: UsageView::new(&report.unattributed),
            unmapped: UsageView::new(&report.unmapped),
            gaps: report.gaps.iter().map(gap).collect(),
        }
    }
}

impl<'a> UsageView<'a> {
    fn new(usage: &'a Usage) -> Self {
        let [informational, ok, redirects, client_errors, server_errors] = usage.statuses;
        let total = usage.requests();
        let client = |client: &'a ClientUsage| ClientView {
            client: &client.client,
            surface: &client.surface,
            requests: client.requests,
            // Four decimals: shares of a hundredth of a percent are the finest that anybody compares.
            share: (client.requests as f64 / total as f64 * 10_000.0).round() / 10_000.0,
            last_seen: rfc3339(client.last_seen),
            endpoint: &client.endpoint,
            fix: client
                .recipe
                .as_ref()
                .map(|recipe| FixView { why: recipe.why.as_deref(), how: &recipe.how }),
        };
        Self {
            requests: total,
            status: StatusView { informational, ok, redirects, client_errors, server_errors },
            first_seen: (usage.first_seen > 0).then(|| rfc3339(usage.first_seen)),
            last_seen: (usage.last_seen > 0).then(|| rfc3339(usage.last_seen)),
            clients: usage.clients.iter().map(client).collect(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::render::tests::full;
    use super::*;

    #[test]
    fn json_has_everything() {
        let read: serde_json::Value = serde_json::from_str(&print(&full()).unwrap()).unwrap();
        assert_eq!(read["version"], 2);
        assert_eq!(read["verdicts"], serde_json::json!({"ACTIVE": 2, "READY": 7}));
        assert_eq!(read["totals"], serde_json::json!({"accounts": 2, "requests": 41_817}));
        assert_eq!(
            read["accounts"][1],
            serde_json::json!({
                "account": 5, "prefix": null, "cell": null, "requests": 3,
                "verdict": "ACTIVE", "reasons": ["last seen 25 h ago", "comes daily"], "cadence": "daily",
                "window_days": 35, "ready_at": "2026-12-24T09:00:00Z",
                "status": {"1xx": 1, "2xx": 0, "3xx": 0, "4xx": 0, "5xx": 2},
                "first_seen": "2026-11-19T10:00:00Z", "last_seen": "2026-11-19T09:00:00Z",
                "clients": [{"client": "curl", "surface": "app", "requests": 3, "share": 1.0,
                             "last_seen": "2026-11-20T09:56:40Z", "endpoint": "/api/v2/accounts/{account}"}],
            })
        );
        assert_eq!(read["unattributed"]["requests"], 12);
        assert_eq!(read["unmapped"]["last_seen"], serde_json::Value::Null);
    }
}
