//! What each door answers. Who may have which of it stands in [`policy::access::routes`](crate::policy::access::routes).

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::{Body, to_bytes};
use axum::extract::{self, State};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_MATCH, REFERRER_POLICY, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use crate::attempts::handle::Ended;
use crate::policy::access::Denied;
use crate::policy::access::routes::route;
use crate::policy::ids::{AccountId, Generation};
use crate::reload::outcome::{ReloadOutcome, ReloadRequest, Trigger};

use super::access::{Asking, Keeper, NotDone, refused};
use super::cells::CellsView;
use super::moves::MovesView;
use super::views::{AccountView, ConfigView, OutcomeView, ReadyView, Trouble};
use super::{
    AdminState, access, break_glass, brownouts, console, levers, live, page, report, status, upgrade,
};

/// How long a caller waits for its reload: 100,000 accounts take a second or two, a network file
/// system its time. The reload goes on when the caller has gone.
pub(super) const RELOAD_PATIENCE: Duration = Duration::from_secs(60);

/// Largest body: a reason and a name, or two words for a reload. What is sent otherwise is read and ignored, but not
/// without end.
const MAX_BODY: usize = 1024 * 1024;

/// The index page has one inline style and nothing else.
const CSP: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                   frame-ancestors 'none'";

/// What a door answers: the rows of [`policy::access::routes`](crate::policy::access::routes), each behind its guard.
pub(super) fn routes(state: AdminState, keeper: Arc<Keeper>, socket: Option<&Path>) -> Router {
    let shows = keeper.shows_report();
    let index = page::index(socket, shows);
    let rows = Rows { router: Router::new(), keeper: Arc::clone(&keeper) };
    let rows = rows
        .row("GET", "/", get(|| async { axum::response::Html(index) }))
        .row("GET", "/whoami", get(access::whoami))
        .row("GET", "/healthz", get(|| async { "ok\n" }))
        .row("GET", "/readyz", get(readyz))
        .row("GET", "/metrics", get(metrics))
        .row("GET", "/config", get(config))
        .row("GET", "/cells", get(cells))
        .row("GET", "/moves", get(moves))
        .row("GET", "/brownouts", get(brownouts::list))
        .row("GET", "/accounts/{id}", get(account))
        .row("GET", "/credentials", get(credentials))
        .row("POST", "/reload", post(reload))
        .row("POST", "/upgrade", post(upgrade::upgrade))
        .row("POST", "/break-glass", post(break_glass::begin))
        .row("DELETE", "/break-glass", delete(break_glass::end))
        .row("GET", "/levers", get(levers::list))
        .row("POST", "/levers", post(levers::pull))
        .row("DELETE", "/levers/{id}", delete(levers::release));
    let rows = status::rows(report::rows(live::rows(console::rows(rows, shows))), &state.status);
    rows.router
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(keeper, access::strangers))
        .layer(middleware::map_response(harden))
        .with_state(state)
}

/// Routes that are being put together.
pub(super) struct Rows {
    router: Router<AdminState>,
    keeper: Arc<Keeper>,
}

impl Rows {
    /// Answers a row of the table, where this door has it.
    pub(super) fn row(
        self,
        method: &'static str,
        path: &'static str,
        answer: MethodRouter<AdminState>,
    ) -> Self {
        let row =
            route(method, path, None).expect("a route that is answered has a row in policy::access::routes");
        if !self.keeper.has(row) {
            return self;
        }
        let guard = middleware::from_fn_with_state(self.keeper.guarded(row), access::guard);
        Self { router: self.router.route(path, answer.route_layer(guard)), ..self }
    }
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

async fn reload(
    State(state): State<AdminState>,
    Extension(asking): Extension<Asking>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let body = match whole(body, "Send no body.").await {
        Ok(body) => body,
        Err(trouble) => return trouble,
    };
    let Some(ReloadWish { again, at_once }) = wish(&body) else {
        let what = "The body is not what a reload can be told.";
        let next = "Send none, or {\"again\": true} to try once more what was rolled back, {\"at_once\": true} to skip the steps.";
        return trouble(StatusCode::BAD_REQUEST, "bad_body", what, next);
    };
    if let Err(denied) = may_wish(&asking, again, at_once) {
        return refused(denied);
    }
    let Ok(expected) = expected(&headers) else {
        let what = "If-Match is not a generation number.";
        let next = "Send the number that /config shows, or no If-Match.";
        return trouble(StatusCode::BAD_REQUEST, "bad_if_match", what, next);
    };
    let (trigger, (reply, answer)) = (Trigger::admin(again, at_once), oneshot::channel());
    let request = ReloadRequest { expected, trigger, caller: asking.name(), reply };
    if let Err(error) = state.reload.requests.try_send(request) {
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

/// What a trial would have kept out takes more than a reload does.
fn may_wish(asking: &Asking, again: bool, at_once: bool) -> Result<(), Denied> {
    let wishes = [("again", again), ("at_once", at_once)];
    let mut wished = wishes.into_iter().filter(|(_, is_wished)| *is_wished);
    wished.try_for_each(|(with, _)| asking.may("POST", "/reload", with))
}

/// What a body says.
pub(super) async fn json_body<T: DeserializeOwned>(body: Body, expected: &str) -> Result<T, Response> {
    object(&whole(body, expected).await?).map_err(bad_body(expected))
}

/// The same where there may be none, for nothing in it has to be said.
pub(super) async fn json_body_or_none<T: DeserializeOwned + Default>(
    body: Body,
    expected: &str,
) -> Result<T, Response> {
    let bytes = whole(body, expected).await?;
    if bytes.trim_ascii().is_empty() { Ok(T::default()) } else { object(&bytes).map_err(bad_body(expected)) }
}

async fn whole(body: Body, expected: &str) -> Result<Bytes, Response> {
    to_bytes(body, MAX_BODY).await.map_err(|_| {
        let what = format!("The body is larger than {} MiB, or broke off.", MAX_BODY >> 20);
        trouble(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", what, expected)
    })
}

fn bad_body(expected: &str) -> impl FnOnce(serde_json::Error) -> Response {
    move |error| {
        let what = format!("The body is not what is asked for: {error}.");
        trouble(StatusCode::BAD_REQUEST, "bad_body", what, expected)
    }
}

/// A JSON object, whose names say what is what: a list of values would be taken for one, by their places.
pub(super) fn object<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    if bytes.trim_ascii().starts_with(b"[") {
        return Err(serde::de::Error::custom("it is a list; expected an object"));
    }
    serde_json::from_slice(bytes)
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
    object(body).ok()
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
    let mut response =
        (status, Json(Trouble { error, what: what.into(), next: next.to_owned() })).into_response();
    response.extensions_mut().insert(NotDone { why: error, ended: Ended::Failed });
    response
}
