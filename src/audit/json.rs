//! Prints a report as JSON: views of its values, with a version. docs/report.schema.json says what is in it.

mod host;

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::policy::legacy_use::activity::Cadence;

use super::fleet::{Fleet, FleetAccount};
use super::recipes::Recipe;
use super::render::rfc3339;
use super::report::{AccountUsage, ClientUsage, GapLine, Report, Usage};

pub(super) use host::IntegrationView;
use host::{HostView, KnownView};

/// Version of the JSON; grows when a field changes its meaning or goes.
pub(super) const JSON_VERSION: u32 = 2;

/// A report, and how the host stands, as one JSON document; of at most so many accounts, those with the most requests first.
///
/// # Errors
/// Never for a report; the type is serde_json's.
pub fn print(report: &Report, fleet: &Fleet, most: usize) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(&ReportView::new(report, fleet, most))?;
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
    /// Nothing of it where only one account was asked for.
    host: Option<HostView<'a>>,
    accounts: Vec<AccountView<'a>>,
    accounts_left_out: usize,
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
    #[serde(flatten)]
    known: Option<KnownView<'a>>,
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

impl<'a> From<&'a Recipe> for FixView<'a> {
    fn from(recipe: &'a Recipe) -> Self {
        Self { why: recipe.why.as_deref(), how: &recipe.how }
    }
}

#[derive(Serialize)]
struct GapView<'a> {
    until: String,
    reason: &'a str,
    requests: Option<u64>,
    note: Option<&'a str>,
}

impl<'a> ReportView<'a> {
    fn new(report: &'a Report, fleet: &'a Fleet, most: usize) -> Self {
        let known: HashMap<u64, &FleetAccount> = fleet.accounts.iter().map(|of| (of.account, of)).collect();
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
            known: known.get(&account.account).map(|of| KnownView::new(of)),
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
            host: report.only.is_none().then(|| HostView::new(fleet)),
            accounts: report.accounts.iter().take(most).map(account).collect(),
            accounts_left_out: report.accounts.len().saturating_sub(most),
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
            fix: client.recipe.as_ref().map(FixView::from),
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
    use super::super::made_up::{made_up, report_of};
    use super::super::render::tests::full;
    use super::*;

    #[test]
    fn json_has_everything() {
        let read: serde_json::Value = serde_json::from_str(&print(&full(), &made_up(0), 9).unwrap()).unwrap();
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
        assert_eq!(
            (&read["accounts_left_out"], &read["host"]["hosts"][0]),
            (&0.into(), &"cloud.getdbt.com".into())
        );
        assert_eq!(read["unattributed"]["requests"], 12);
        assert_eq!(read["unmapped"]["last_seen"], serde_json::Value::Null);
    }

    #[test]
    fn json_has_the_host_as_people_read_it() {
        let fleet = made_up(300);
        let read: serde_json::Value =
            serde_json::from_str(&print(&report_of(&fleet), &fleet, 7).unwrap()).unwrap();
        let host = &read["host"];
        assert_eq!(host["headline"]["state"], "off_pace");
        assert!(host["headline"]["who"].as_str().unwrap().starts_with("131 accounts still come"), "{host}");
        assert_eq!(host["verdicts"]["ACTIVE"], serde_json::json!({"now": 98, "week_ago": 109}));
        assert_eq!(host["curve"].as_array().unwrap().len(), fleet.days.len());
        assert_eq!(host["curve"][196]["day"], "2026-11-20");
        assert_eq!(host["forecast"]["status"], "known");
        let pace = |name: &str| host["forecast"][name].as_f64().unwrap();
        assert!(pace("required_weekly") < pace("pace_weekly") && pace("pace_weekly") < 0.0, "{host}");
        assert_eq!(host["brownouts"][2]["mode"], "hard");
        assert_eq!(host["changes"].as_array().unwrap().len(), 3);
        assert_eq!(
            (read["accounts"].as_array().unwrap().len(), &read["accounts_left_out"]),
            (7, &293.into())
        );
        let account = &read["accounts"][0];
        assert_eq!(account["requests_7d"], account["requests"]);
        assert_eq!(account["detail"]["week_hours"].as_array().unwrap().len(), 7);
        assert!(account["detail"]["integrations"][0]["fix"]["how"].is_string(), "{account}");
        // Of one account the numbers of a host would be its own.
        let mut report = report_of(&fleet);
        report.only = Some(70_000);
        let one: serde_json::Value = serde_json::from_str(&print(&report, &fleet, 7).unwrap()).unwrap();
        assert_eq!(one["host"], serde_json::Value::Null);
    }
}
