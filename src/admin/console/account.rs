//! `/accounts?find=`: where an account goes and why, by whatever somebody has in hand: its id, a prefix, a host, a URL of a request.
//! How a request of it would go is decided by the code that decides, on made-up requests; nothing is sent.

use std::time::SystemTime;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::AdminState;
use super::super::brownouts::WindowView;
use super::super::moves::MoveView;
use super::super::routes::trouble;
use super::refusals::{self, RefusalView};
use crate::explain::{Question, Shown, explain};
use crate::policy::accounts::Account;
use crate::policy::address::own_address;
use crate::policy::brownout::{Brownout, BrownoutIndex};
use crate::policy::holding::reported_of;
use crate::policy::hosts::Role;
use crate::policy::ids::{AccountId, SurfaceIndex};
use crate::policy::snapshot::{PathTemplate, Segment, Snapshot};
use crate::telemetry::wall_time::unix_seconds;

/// Longest text that is looked for: a URL that somebody has copied from a log.
const MAX_SOUGHT: usize = 2_048;

/// What stands for the credential of a request: routes that ask for one look at no account before they have seen it.
const CREDENTIAL: HeaderValue = HeaderValue::from_static("Token asked-by-the-console");

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    find: String,
}

/// `GET /accounts?find=`.
#[derive(Debug, Serialize)]
struct FoundView {
    generation: u64,
    account: u64,
    found_by: &'static str,
    /// `null` where it has none.
    row: Option<RowView>,
    #[serde(rename = "move")]
    moves: Option<MoveView>,
    /// Whose cohort it is in.
    brownouts: Vec<CohortView>,
    /// Those that are about this account.
    levers: Vec<String>,
    ways: Vec<WayView>,
    refusals: Vec<RefusalView>,
}

#[derive(Debug, Serialize)]
struct RowView {
    prefixes: Vec<String>,
    cell: String,
    shared: bool,
    redirect_browsers: bool,
}

#[derive(Debug, Serialize)]
struct CohortView {
    id: String,
    mode: &'static str,
    in_force: bool,
    exempt: bool,
    next: Option<WindowView>,
}

/// One request, and what would become of it.
#[derive(Debug, Serialize)]
struct WayView {
    host: String,
    path: String,
    #[serde(flatten)]
    decided: Value,
}

/// Why nothing was found.
#[derive(Debug, PartialEq, Eq)]
struct NotFound(String);

pub(super) async fn find(State(state): State<AdminState>, Query(asked): Query<Asked>) -> Response {
    let (live, now) = ((state.live)(), unix_seconds(SystemTime::now()));
    match identified(&live, asked.find.trim(), now) {
        Ok((account, found_by)) => {
            Json(FoundView::new(&state, &live, account, found_by, now)).into_response()
        }
        Err(NotFound(what)) => {
            let next = "Try its id, a prefix, a host of its own, or the URL of a request.";
            trouble(StatusCode::NOT_FOUND, "no_account", what, next)
        }
    }
}

/// Whom a text means, and how that is known. An id need not have a row.
fn identified(live: &Snapshot, sought: &str, now: i64) -> Result<(AccountId, &'static str), NotFound> {
    if sought.is_empty() || sought.len() > MAX_SOUGHT {
        return Err(NotFound(format!("Nothing can be found by a text of {} bytes.", sought.len())));
    }
    if sought.bytes().all(|byte| byte.is_ascii_digit()) {
        let id = AccountId::parse(sought.as_bytes());
        return id.map(|id| (id, "id")).map_err(|error| NotFound(format!("The account id {error}.")));
    }
    let bare = sought.split_once("://").map_or(sought, |(_, rest)| rest);
    if let Some(at) = bare.find('/') {
        let (host, target) = bare.split_at(at);
        let said = decided(live, host, target, now);
        let id = said["account"].as_u64().and_then(|id| AccountId::parse(id.to_string().as_bytes()).ok());
        let what = || {
            NotFound(
                "A request for this URL names no account, or is refused before one is looked for.".into(),
            )
        };
        return id.map(|id| (id, "url")).ok_or_else(what);
    }
    let name = bare.split(':').next().unwrap_or_default().to_ascii_lowercase();
    if !name.contains('.') {
        let row = live.accounts.by_prefix(&name).map(|row| (row.id, "prefix"));
        return row.ok_or_else(|| NotFound("No account of the table has this prefix.".into()));
    }
    let host = live.hosts.find(&name).ok_or_else(|| NotFound("This host is not served here.".into()))?;
    let prefix = host.prefix.ok_or_else(|| NotFound("This host is of no single account.".into()))?;
    let row = live.accounts.by_prefix(prefix).map(|row| (row.id, "host"));
    row.ok_or_else(|| NotFound("The host is served, and no account of the table has its prefix.".into()))
}

impl FoundView {
    fn new(
        state: &AdminState,
        live: &Snapshot,
        account: AccountId,
        found_by: &'static str,
        now: i64,
    ) -> Self {
        let (row, levers) = (live.accounts.by_id(account), state.levers.pulled());
        let about = levers.iter().filter(|pulled| pulled.lever.account() == Some(account));
        Self {
            generation: live.generation.0,
            account: account.value(),
            found_by,
            row: row.map(|row| RowView::new(live, row)),
            moves: reported_of(live, account).map(|one| MoveView::new(live, one)),
            brownouts: CohortView::all(state, live, account, now),
            levers: about.map(|pulled| pulled.lever.to_string()).collect(),
            ways: ways(live, account, row, now),
            refusals: refusals::of(&state.metrics.pulse.failures(), account),
        }
    }
}

impl RowView {
    fn new(live: &Snapshot, row: Account<'_>) -> Self {
        let cell = live.cell(row.cell);
        Self {
            prefixes: row.prefixes.map(ToString::to_string).collect(),
            cell: cell.name.to_string(),
            shared: cell.shared,
            redirect_browsers: row.redirect_browsers,
        }
    }
}

impl CohortView {
    fn all(state: &AdminState, live: &Snapshot, account: AccountId, now: i64) -> Vec<Self> {
        let levers = state.levers.pulled();
        let of = live.brownouts.indexed().filter(|(_, brownout)| brownout.has(account));
        let view = |(index, brownout): (BrownoutIndex, &Brownout)| Self {
            id: brownout.id.to_string(),
            mode: brownout.mode.as_str(),
            in_force: brownout.windows.at(now).is_some() && levers.cancels(&brownout.id).is_none(),
            exempt: live.brownouts.is_exempt(account, index, now),
            next: brownout.windows.after(now).map(WindowView::from),
        };
        of.map(view).collect()
    }
}

/// A request at each of its own addresses, and one at each legacy host.
fn ways(live: &Snapshot, account: AccountId, row: Option<Account<'_>>, now: i64) -> Vec<WayView> {
    let path = path_of(live, account);
    let prefix = row.and_then(|row| row.prefixes.first());
    let surfaces = (0..live.surfaces.len()).filter_map(|at| at.try_into().ok().map(SurfaceIndex));
    let own = surfaces.filter_map(|surface| Some(own_address(live, row?, surface)?.to_string()));
    let legacy = live.hosts.iter().filter(|rule| rule.role == Role::Legacy).filter_map(|rule| {
        let pattern = rule.pattern.to_string();
        match (pattern.contains("{prefix}"), prefix) {
            (true, None) => None,
            (true, Some(prefix)) if !pattern.contains("{surface}") => {
                Some(pattern.replace("{prefix}", prefix))
            }
            (true, Some(_)) => None,
            (false, _) => Some(pattern),
        }
    });
    let way = |host: String| WayView { decided: decided(live, &host, &path, now), host, path: path.clone() };
    own.chain(legacy).map(way).collect()
}

/// The first path of the configuration that names an account, with this one in it.
fn path_of(live: &Snapshot, account: AccountId) -> String {
    let names = |template: &&PathTemplate| template.segments.contains(&Segment::Account);
    let plain = |template: &&PathTemplate| {
        template.segments.iter().all(|segment| matches!(segment, Segment::Literal(_) | Segment::Account))
    };
    let Some(template) = live.identify.paths.iter().filter(names).find(plain) else { return "/".to_owned() };
    let segment = |segment: &Segment| match segment {
        Segment::Literal(text) => format!("/{text}"),
        _ => format!("/{account}"),
    };
    template.segments.iter().map(segment).collect::<String>() + "/"
}

/// What would become of it.
fn decided(live: &Snapshot, host: &str, target: &str, now: i64) -> Value {
    let headers = HeaderMap::from_iter([(AUTHORIZATION, CREDENTIAL)]);
    let (host, target) = (host.to_owned(), target.to_owned());
    let question = Question { method: Method::GET, host, target, headers, tls: true, shown: Shown::Accepted };
    let mut said = explain(live, None, &question, u64::try_from(now).unwrap_or(0)).to_json();
    let mut kept = serde_json::Map::new();
    for name in ["verdict", "account", "source", "cell", "why", "refusal", "brownout", "conflicts"] {
        kept.insert(name.to_owned(), said[name].take());
    }
    Value::Object(kept)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::test_snapshot::example;

    #[test]
    fn an_account_is_found_by_whatever_somebody_has_in_hand() {
        let live = example().build();
        let check = |sought: &str, expect: Result<(u64, &'static str), &str>| {
            let found = identified(&live, sought, 0).map(|(account, by)| (account.value(), by));
            let fits = match (&found, &expect) {
                (Err(NotFound(what)), Err(part)) => what.contains(part),
                (found, expect) => found.as_ref().ok() == expect.as_ref().ok(),
            };
            assert!(fits, "{sought}: {found:?}, not {expect:?}");
        };
        for (sought, expect) in [
            ("12345", (12_345, "id")),
            ("999", (999, "id")),
            ("acme", (70_403_103_966_603, "prefix")),
            ("AB123", (70_403_103_966_603, "prefix")),
            ("ab123.us1.dbt.com", (70_403_103_966_603, "host")),
            ("ab123.metadata.us1.dbt.com:443", (70_403_103_966_603, "host")),
            ("https://ab123.us1.dbt.com/deploy", (70_403_103_966_603, "url")),
            ("https://cloud.getdbt.com/api/v2/accounts/26228/jobs/7/?a=b", (26_228, "url")),
            ("cloud.getdbt.com/api/v2/accounts/26228/", (26_228, "url")),
        ] {
            check(sought, Ok(expect));
        }
        for (sought, part) in [
            ("", "0 bytes"),
            ("0", "account id"),
            ("nobody", "No account"),
            ("elsewhere.example", "not served"),
            ("cloud.getdbt.com", "no single account"),
            ("zz999.us1.dbt.com", "no account of the table"),
            ("https://cloud.getdbt.com/", "names no account"),
            ("a b/\u{1}", "names no account"),
        ] {
            check(sought, Err(part));
        }
        check(&"9".repeat(3_000), Err("3000 bytes"));
    }

    #[test]
    fn its_ways_are_decided_by_what_decides() {
        let live = example().build();
        let row = live.accounts.by_prefix("ab123");
        let found = ways(&live, row.unwrap().id, row, 0);
        let sources: Vec<(&str, &str)> =
            found.iter().map(|way| (&*way.host, way.decided["source"].as_str().unwrap())).collect();
        assert!(sources.contains(&("ab123.us1.dbt.com", "host_prefix")), "{sources:?}");
        assert!(sources.contains(&("cloud.getdbt.com", "path")), "{sources:?}");
        assert!(found.iter().all(|way| way.decided["cell"] == "us1-c1"), "{found:?}");
        let nobody = ways(&live, AccountId::parse(b"999").unwrap(), None, 0);
        assert!(!nobody.is_empty());
        assert!(
            nobody.iter().all(|way| way.decided["refusal"]["reason"] == "unmapped_account"),
            "{nobody:?}"
        );
    }
}
