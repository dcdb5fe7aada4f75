//! What each door answers. Reading is the same on both; whatever changes something exists on the unix
//! socket alone.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::{Body, to_bytes};
use axum::extract::{self, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_MATCH, REFERRER_POLICY, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use crate::policy::ids::{AccountId, Generation};
use crate::reload::outcome::{Asked, OverrideRequest, ReloadOutcome, ReloadRequest, Taken, Trigger};

use super::cells::CellsView;
use super::host::AllowedHosts;
use super::moves::MovesView;
use super::views::{AccountView, ConfigView, OutcomeView, ReadyView, TakenView, Trouble};
use super::{AdminState, brownouts, levers, page, report, upgrade};

/// How long a caller waits for its reload: 100,000 accounts take a second or two, a network file
/// system its time. The reload goes on when the caller has gone.
pub(super) const RELOAD_PATIENCE: Duration = Duration::from_secs(60);

/// Largest body: a reason and a name, or two words for a reload. What is sent otherwise is read and ignored, but not
/// without end.
const MAX_BODY: usize = 1024 * 1024;

/// The index page has one inline style and nothing else.
const CSP: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                   frame-ancestors 'none'";

/// The unix socket's routes.
pub(super) fn everything(state: AdminState, socket: Option<&Path>) -> Router {
    report::shown(reading(socket, true))
        .route("/accounts/{id}", get(account))
        .route("/credentials", get(credentials))
        .route("/reload", post(reload))
        .route("/upgrade", post(upgrade::upgrade))
        .route("/break-glass", post(break_glass).delete(mend_glass))
        .route("/levers", get(levers::list).post(levers::pull))
        .route("/levers/{id}", delete(levers::release))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::map_response(harden))
        .with_state(state)
}

/// The loopback port's routes: reading, under an allowed name; reports only where that was asked for.
pub(super) fn read_only(
    state: AdminState,
    socket: Option<&Path>,
    hosts: AllowedHosts,
    reports: bool,
) -> Router {
    let routes = if reports { report::shown } else { report::hidden };
    routes(reading(socket, reports))
        .fallback(not_found)
        .layer(middleware::from_fn_with_state(Arc::new(hosts), guard))
        .layer(middleware::map_response(harden))
        .with_state(state)
}

fn reading(socket: Option<&Path>, reports: bool) -> Router<AdminState> {
    let index = page::index(socket, reports);
    Router::new()
        .route("/", get(|| async { axum::response::Html(index) }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/config", get(config))
        .route("/cells", get(cells))
        .route("/moves", get(moves))
        .route("/brownouts", get(brownouts::list))
}

async fn guard(State(hosts): State<Arc<AllowedHosts>>, request: Request, next: Next) -> Response {
    if !hosts.allow(request.uri(), request.headers()) {
        let what = "This port answers only under the names localhost, 127.0.0.1 and [::1].";
        let next = "Call it under one of them, or add the name to admin.allowed_hosts.";
        return trouble(StatusCode::FORBIDDEN, "host_not_allowed", what, next);
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let what = "This port is read-only: nothing here can be changed.";
        return trouble(StatusCode::NOT_FOUND, "read_only", what, "Use the admin socket (see /).");
    }
    next.run(request).await
}

async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Reports bring a stricter one, which names their style and their script.
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(CSP));
    response
}

async fn not_found() -> Response {
    trouble(StatusCode::NOT_FOUND, "not_found", "There is no such page.", "See / for what there is.")
}

async fn wrong_method() -> Response {
    let what = "This page is not called by this method.";
    trouble(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        what,
        "Use the one that Allow names (see /).",
    )
}

async fn readyz(State(state): State<AdminState>) -> Response {
    let (live, levers) = ((state.live)(), state.levers.pulled());
    let view = ReadyView::new(&state.readiness, &live, &levers, SystemTime::now());
    let status = if view.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(view)).into_response()
}

async fn metrics(State(state): State<AdminState>) -> Response {
    let text = state.metrics.render(&(state.live)(), SystemTime::now());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn config(State(state): State<AdminState>) -> Response {
    let live = (state.live)();
    let report = state.reload.last.borrow().clone();
    let staged = state.reload.staged.borrow().clone();
    ([(ETAG, etag(live.generation))], Json(ConfigView::new(&live, &report, staged.as_deref())))
        .into_response()
}

async fn cells(State(state): State<AdminState>) -> Response {
    Json(CellsView::new(&(state.live)(), &state.metrics.standing.last())).into_response()
}

async fn moves(State(state): State<AdminState>) -> Response {
    // Before what serves is pinned: of another generation it is not believed.
    let staged = state.reload.staged.borrow().clone();
    match MovesView::new(&(state.live)(), staged.as_deref(), &state.lineage) {
        Some(view) => Json(view).into_response(),
        None => {
            let what = "An upgrade is under way, and another process may serve already.";
            trouble(StatusCode::SERVICE_UNAVAILABLE, "gives_way", what, "Ask again: that one will answer.")
        }
    }
}

async fn account(State(state): State<AdminState>, extract::Path(id): extract::Path<String>) -> Response {
    let id = match AccountId::parse(id.as_bytes()) {
        Ok(id) => id,
        Err(error) => {
            let what = format!("The account id {error}.");
            return trouble(StatusCode::BAD_REQUEST, "bad_account", what, "Write it as it stands in a URL.");
        }
    };
    let live = (state.live)();
    match live.accounts.by_id(id) {
        Some(row) => Json(AccountView::new(&live, row)).into_response(),
        None => {
            let what = format!("Account {id} has no row in generation {}.", live.generation);
            let next = "Check the account table; requests that name it are refused.";
            trouble(StatusCode::NOT_FOUND, "unmapped_account", what, next)
        }
    }
}

async fn credentials(State(state): State<AdminState>) -> Response {
    match (state.learned)() {
        Some(text) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        None => {
            let what = "Nothing is learned here: the configuration has no fingerprint key.";
            let next = "See identify.credentials of cellgate.yaml.";
            trouble(StatusCode::NOT_FOUND, "nothing_learned", what, next)
        }
    }
}

async fn reload(State(state): State<AdminState>, headers: HeaderMap, body: Body) -> Response {
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        let what = "The body is larger than 1 MiB or broke off.";
        return trouble(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", what, "Send no body.");
    };
    let Some(ReloadWish { again, at_once }) = wish(&body) else {
        let what = "The body is not what a reload can be told.";
        let next = "Send none, or {\"again\": true} to try once more what was rolled back, {\"at_once\": true} to skip the steps.";
        return trouble(StatusCode::BAD_REQUEST, "bad_body", what, next);
    };
    let Ok(expected) = expected(&headers) else {
        let what = "If-Match is not a generation number.";
        let next = "Send the number that /config shows, or no If-Match.";
        return trouble(StatusCode::BAD_REQUEST, "bad_if_match", what, next);
    };
    let (trigger, (reply, answer)) = (Trigger::admin(again, at_once), oneshot::channel());
    if let Err(error) = state.reload.requests.try_send(ReloadRequest { expected, trigger, reply }) {
        return not_taken(&error);
    }
    match tokio::time::timeout(RELOAD_PATIENCE, answer).await {
        Ok(Ok(Ok(outcome))) => answered(&outcome),
        Ok(Ok(Err(stale))) => {
            let next = "Look at /config, and decide again whether to reload.";
            let mut response =
                trouble(StatusCode::PRECONDITION_FAILED, "stale_generation", format!("{stale}."), next);
            response.headers_mut().insert(ETAG, etag(stale.current));
            response
        }
        Ok(Err(_)) => {
            let what = "The process is ending; the reload was not done.";
            trouble(StatusCode::SERVICE_UNAVAILABLE, "ending", what, "Start it again: it reads the files.")
        }
        Err(_) => {
            let what = "The reload takes longer than a minute. It goes on.";
            trouble(StatusCode::GATEWAY_TIMEOUT, "still_reloading", what, "Look at /config for its outcome.")
        }
    }
}

/// What `POST /break-glass` is told.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BreakGlass {
    aim: String,
    reason: String,
    by: String,
    seconds: u64,
}

/// What `DELETE /break-glass` is told.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MendGlass {
    by: String,
    #[serde(default)]
    reason: Option<String>,
}

async fn break_glass(State(state): State<AdminState>, body: Body) -> Response {
    let expected = r#"Send {"aim": "keep" or "restore", "reason": "...", "by": "...", "seconds": 3600}."#;
    match json_body::<BreakGlass>(body, expected).await {
        Ok(BreakGlass { aim, reason, by, seconds }) => {
            let lasts = Duration::from_secs(seconds);
            override_with(&state, Asked::Begin { aim, reason, by, lasts }).await
        }
        Err(trouble) => trouble,
    }
}

async fn mend_glass(State(state): State<AdminState>, body: Body) -> Response {
    match json_body::<MendGlass>(body, r#"Send {"by": "...", "reason": "..."}."#).await {
        Ok(MendGlass { by, reason }) => override_with(&state, Asked::End { by, reason }).await,
        Err(trouble) => trouble,
    }
}

pub(super) async fn json_body<T: DeserializeOwned>(body: Body, expected: &str) -> Result<T, Response> {
    let bytes = to_bytes(body, MAX_BODY).await.unwrap_or_default();
    serde_json::from_slice(&bytes).map_err(|error| {
        let what = format!("The body is not what is asked for: {error}.");
        trouble(StatusCode::BAD_REQUEST, "bad_body", what, expected)
    })
}

async fn override_with(state: &AdminState, asked: Asked) -> Response {
    let (reply, answer) = oneshot::channel();
    if state.reload.overrides.try_send(OverrideRequest { asked, reply }).is_err() {
        let what = "The process is ending, or somebody else is breaking the glass right now.";
        return trouble(StatusCode::SERVICE_UNAVAILABLE, "not_now", what, "Look at /readyz, and ask again.");
    }
    match tokio::time::timeout(RELOAD_PATIENCE, answer).await {
        Ok(Ok(Ok((Taken { told, replaced }, outcome)))) => {
            Json(TakenView { told, replaced, files: OutcomeView::new(&outcome) }).into_response()
        }
        Ok(Ok(Err(objection))) => {
            let next = objection.hint.unwrap_or_default();
            trouble(StatusCode::CONFLICT, "not_overridden", format!("{}.", objection.what), &next)
        }
        Ok(Err(_)) | Err(_) => {
            let what = "The files could not be looked at anew within a minute, or the process is ending.";
            let next = "Look at /readyz whether the override is in force.";
            trouble(StatusCode::GATEWAY_TIMEOUT, "still_reloading", what, next)
        }
    }
}

fn answered(outcome: &ReloadOutcome) -> Response {
    let status = match outcome {
        ReloadOutcome::Unchanged | ReloadOutcome::Applied { .. } => StatusCode::OK,
        ReloadOutcome::Staged { .. } => StatusCode::ACCEPTED,
        ReloadOutcome::Rejected(_) => StatusCode::UNPROCESSABLE_ENTITY,
        ReloadOutcome::Refused(..) | ReloadOutcome::NeedsRestart(_) | ReloadOutcome::RolledBack { .. } => {
            StatusCode::CONFLICT
        }
    };
    (status, Json(OutcomeView::new(outcome))).into_response()
}

fn not_taken(error: &TrySendError<ReloadRequest>) -> Response {
    match error {
        TrySendError::Full(_) => {
            let what = "Too many reloads are waiting already.";
            let next = "Try again in a second; the waiting ones read the same files.";
            let mut response = trouble(StatusCode::SERVICE_UNAVAILABLE, "busy", what, next);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            response
        }
        TrySendError::Closed(_) => {
            let what = "The process is ending and reloads nothing any more.";
            trouble(StatusCode::SERVICE_UNAVAILABLE, "ending", what, "Start it again: it reads the files.")
        }
    }
}

/// What the body of `POST /reload` may say.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ReloadWish {
    /// Try once more what was rolled back.
    again: bool,
    /// Skip the steps.
    at_once: bool,
}

fn wish(body: &[u8]) -> Option<ReloadWish> {
    if body.trim_ascii().is_empty() {
        return Some(ReloadWish::default());
    }
    serde_json::from_slice(body).ok()
}

/// The generation of `If-Match`: plain, or quoted like the ETag of `/config`; none and `*` are any.
fn expected(headers: &HeaderMap) -> Result<Option<Generation>, ()> {
    let mut values = headers.get_all(IF_MATCH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(());
    }
    let text = value.to_str().map_err(drop)?.trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(());
    }
    number.parse().map(|number| Some(Generation(number))).map_err(drop)
}

fn etag(generation: Generation) -> HeaderValue {
    HeaderValue::try_from(format!("\"{generation}\"")).expect("digits in quotes are a header value")
}

pub(super) fn trouble(
    status: StatusCode,
    error: &'static str,
    what: impl Into<String>,
    next: &str,
) -> Response {
    (status, Json(Trouble { error, what: what.into(), next: next.to_owned() })).into_response()
}
