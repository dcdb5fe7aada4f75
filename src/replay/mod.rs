//! Recorded requests, decided under two snapshots: which decisions would differ. Nothing is sent.
//!
//! The requests are lines of an access log, or a built-in sample of the shapes that real clients send. An access log
//! has no credentials, no cookies and no queries in it: a request that needs one of these is judged by the row of the
//! account that the log names.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Serialize;
use serde_json::Value;

use crate::explain::{Question, Shown, explain};
use crate::policy::holding;
use crate::policy::ids::AccountId;
use crate::policy::moves::is_write;
use crate::policy::snapshot::Snapshot;

/// Shapes of requests of real clients, with tokens that are none.
pub const SAMPLE: &str = include_str!("request_shapes.jsonl");

/// Most differing requests that are listed; all are counted. What is beyond says nothing new to a person.
const MAX_LISTED: usize = 1_000;

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// Requests that were decided.
    pub requests: u64,
    /// Lines that are no request.
    pub unreadable: u64,
    /// Requests that are decided differently.
    pub different: u64,
    /// These, like ones together, the most frequent first.
    pub differences: Vec<Difference>,
}

/// Requests that are decided differently in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Method, host and path.
    pub request: String,
    /// How often it stands there.
    pub count: u64,
    /// What happens now.
    pub before: String,
    /// What would happen.
    pub after: String,
}

/// Decides every line under both at `now` (seconds since the Unix epoch).
pub fn replay<'a>(
    lines: impl IntoIterator<Item = &'a str>,
    before: &Snapshot,
    after: &Snapshot,
    now: u64,
) -> Replayed {
    let mut replayed = Replayed::default();
    let mut kinds: BTreeMap<(String, String, String), u64> = BTreeMap::new();
    for line in lines.into_iter().filter(|line| !line.trim().is_empty()) {
        let Some(recorded) = Recorded::read(line) else {
            replayed.unreadable += 1;
            continue;
        };
        replayed.requests += 1;
        let (old, new) = (recorded.decide(before, now), recorded.decide(after, now));
        if old != new {
            replayed.different += 1;
            let kind = (recorded.shown(), old, new);
            if kinds.len() < MAX_LISTED || kinds.contains_key(&kind) {
                *kinds.entry(kind).or_default() += 1;
            }
        }
    }
    let difference = |((request, before, after), count)| Difference { request, count, before, after };
    replayed.differences = kinds.into_iter().map(difference).collect();
    replayed.differences.sort_by_key(|difference| std::cmp::Reverse(difference.count));
    replayed
}

/// A request as it was recorded.
struct Recorded {
    question: Question,
    /// Whose it was by the log.
    account: Option<AccountId>,
    /// That is known from something that the log does not hold.
    unseen: bool,
}

impl Recorded {
    fn read(line: &str) -> Option<Self> {
        let line: Value = serde_json::from_str(line).ok()?;
        let text = |key: &str| line.get(key)?.as_str();
        let mut headers = HeaderMap::new();
        for (name, value) in line.get("headers").and_then(Value::as_object).into_iter().flatten() {
            if name.starts_with(':') {
                // A pseudo-header field of HTTP/2 (RFC 9113 section 8.3): method, host and path say the same.
                continue;
            }
            let (name, value) =
                (HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value.as_str()?).ok()?);
            if name != http::header::HOST {
                headers.append(name, value);
            }
        }
        let question = Question {
            method: Method::from_bytes(text("method")?.as_bytes()).ok()?,
            host: text("host")?.to_owned(),
            target: text("path")?.to_owned(),
            headers,
            tls: text("scheme") != Some("http"),
            shown: Shown::Accepted,
        };
        let unseen = matches!(text("source"), Some("query" | "header" | "credential" | "cookie"));
        let account = line.get("account").and_then(Value::as_u64);
        let account = account.and_then(|id| AccountId::parse(id.to_string().as_bytes()).ok());
        Some(Self { question, account, unseen })
    }

    fn decide(&self, snapshot: &Snapshot, now: u64) -> String {
        let explanation = explain(snapshot, None, &self.question, now);
        // Its credential was not recorded; what it would have been let through to is its account's cell.
        let account = self.account.filter(|_| self.unseen || explanation.lacks_credential());
        match account.map(|id| (id, snapshot.accounts.by_id(id))) {
            Some((id, Some(row))) => {
                let waits = holding::holds(snapshot, id, is_write(&self.question.method));
                let waits = if waits { "waits at " } else { "" };
                format!("{waits}{} (account {id})", snapshot.cell(row.cell).name)
            }
            Some((id, None)) => format!("account {id} has no row"),
            None => explanation.decision(),
        }
    }

    fn shown(&self) -> String {
        let Question { method, host, target, .. } = &self.question;
        let path = target.split_once('?').map_or(target.as_str(), |(path, _)| path);
        format!("{method} {host}{path}")
    }
}
