//! `/levers`: what an operator has pulled, pulling and releasing.

use std::time::{Duration, SystemTime};

use axum::body::{Body, to_bytes};
use axum::extract::{self, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::AdminState;
use super::access::{Asking, Tried};
use super::routes::{json_body, json_body_or_none, object, trouble};
use crate::levers::handle::{Done, NotDone, Wish};
use crate::policy::protection::levers::{Lever, LeverId, Levers, Pulled, PulledOrReplaced};
use crate::telemetry::wall_time::{Seconds, from_unix_seconds, unix_seconds};

/// How long a caller waits. A lever takes milliseconds; a disk that hangs must not leave the caller hanging, too.
const PATIENCE: Duration = Duration::from_secs(10);

/// Largest body that is looked at of somebody who is refused: words, a reason and a name at their longest.
const TRIED_BYTES: usize = 4 * 1024;

/// How long it is waited for: it comes with its head, from any client that is not up to something.
const TRIED_PATIENCE: Duration = Duration::from_secs(1);

/// Most characters that are told of what are no words of a lever: those of most levers are shorter.
const MAX_TRIED: usize = 120;

/// What is looked at in it.
#[derive(Deserialize)]
struct Wanted {
    lever: String,
}

/// What `POST /levers` is told.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pull {
    lever: String,
    reason: String,
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    seconds: Option<u64>,
}

/// What `DELETE /levers/{id}` is told.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

/// `GET /levers`.
#[derive(Serialize)]
struct LeversView {
    levers: Vec<LeverView>,
}

/// One that is pulled.
#[derive(Debug, Serialize)]
pub(super) struct LeverView {
    id: u32,
    kind: &'static str,
    lever: String,
    by: String,
    reason: String,
    since: String,
    until: String,
    seconds_left: u64,
    /// Requests that felt it.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<Box<LeverView>>,
    /// Cells that it has left without an endpoint.
    #[serde(rename = "cells_without_endpoint", skip_serializing_if = "Vec::is_empty")]
    bare: Vec<String>,
}

pub(super) async fn list(State(state): State<AdminState>) -> Response {
    let (levers, now) = (state.levers.pulled(), unix_seconds(SystemTime::now()));
    Json(LeversView {
        levers: levers.iter().map(|pulled| LeverView::counted(&levers, pulled, now)).collect(),
    })
    .into_response()
}

pub(super) async fn pull(
    State(state): State<AdminState>,
    Extension(asking): Extension<Asking>,
    body: Body,
) -> Response {
    let expected = r#"Send {"lever": "shed 50% cell us1", "reason": "...", "by": "...", "seconds": 1800}."#;
    match json_body::<Pull>(body, expected).await {
        Ok(Pull { lever, reason, by, seconds }) => {
            let (by, lasts) = (asking.asker(by.as_deref()), seconds.map(Duration::from_secs));
            let tried = Tried(told(&lever));
            let mut response = ask(&state, Wish::Pull { words: lever, by, reason, lasts }).await;
            response.extensions_mut().insert(tried);
            response
        }
        Err(trouble) => trouble,
    }
}

pub(super) async fn release(
    State(state): State<AdminState>,
    Extension(asking): Extension<Asking>,
    extract::Path(id): extract::Path<String>,
    body: Body,
) -> Response {
    let Ok(id) = id.parse() else {
        let what = "This is no number of a lever.";
        return trouble(StatusCode::BAD_REQUEST, "bad_lever", what, "GET /levers has the numbers.");
    };
    match json_body_or_none::<Release>(body, r#"Send {"by": "...", "reason": "..."}."#).await {
        Ok(Release { by, reason }) => {
            let by = asking.asker(by.as_deref());
            ask(&state, Wish::Release { id: LeverId(id), by, reason }).await
        }
        Err(trouble) => trouble,
    }
}

/// Which lever somebody wanted who may not, or not now; nothing where the body does not say or does not come.
pub(super) async fn tried(body: Body) -> String {
    let bytes = tokio::time::timeout(TRIED_PATIENCE, to_bytes(body, TRIED_BYTES)).await;
    let wanted = bytes.ok().and_then(Result::ok).and_then(|bytes| object::<Wanted>(&bytes).ok());
    wanted.map_or_else(String::new, |Wanted { lever }| told(&lever))
}

/// The words of a lever, which begin with its kind, for a line of the trail: in quotes and cut where they are none.
fn told(words: &str) -> String {
    match Lever::parse(words) {
        Ok(lever) => format!(": {lever}"),
        Err(_) => {
            let cut: String = words.chars().take(MAX_TRIED).collect();
            format!(": {cut:?}")
        }
    }
}

async fn ask(state: &AdminState, wish: Wish) -> Response {
    let Some(answer) = state.levers.ask(wish) else {
        let what = "The process is ending, or others are asking right now.";
        return trouble(StatusCode::SERVICE_UNAVAILABLE, "not_now", what, "Ask again.");
    };
    let now = unix_seconds(SystemTime::now());
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(Ok(Done::Pulled { done: PulledOrReplaced { pulled, replaced }, bare }))) => {
            let replaced = replaced.map(|replaced| Box::new(LeverView::new(&replaced, now)));
            // Of a moment that has begun with it all is left.
            Json(LeverView { replaced, bare, ..LeverView::new(&pulled, pulled.since) }).into_response()
        }
        Ok(Ok(Ok(Done::Released(pulled)))) => Json(LeverView::new(&pulled, now)).into_response(),
        Ok(Ok(Err(error))) => {
            let (status, name) = kind(&error);
            trouble(status, name, format!("{error}."), &format!("{}.", error.next()))
        }
        Ok(Err(_)) | Err(_) => {
            let what = "There is no answer: the disk of the state folder hangs, or the process is ending.";
            trouble(StatusCode::GATEWAY_TIMEOUT, "no_answer", what, "GET /levers says what is pulled.")
        }
    }
}

const fn kind(error: &NotDone) -> (StatusCode, &'static str) {
    match error {
        NotDone::Words(_) => (StatusCode::BAD_REQUEST, "bad_lever"),
        NotDone::Unknown(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unknown_name"),
        NotDone::Refused(_) => (StatusCode::CONFLICT, "not_pulled"),
        NotDone::Unwritten(_) => (StatusCode::CONFLICT, "not_written"),
        NotDone::Elsewhere => (StatusCode::SERVICE_UNAVAILABLE, "elsewhere"),
    }
}

impl LeverView {
    fn new(pulled: &Pulled, now: i64) -> Self {
        let Pulled { id, lever, by, reason, since, until } = pulled;
        let moment = |seconds| Seconds(from_unix_seconds(seconds)).to_string();
        Self {
            id: id.0,
            kind: lever.kind().as_str(),
            lever: lever.to_string(),
            by: by.clone(),
            reason: reason.clone(),
            since: moment(*since),
            until: moment(*until),
            seconds_left: u64::try_from(until.saturating_sub(now)).unwrap_or(0),
            requests: None,
            replaced: None,
            bare: Vec::new(),
        }
    }

    /// For whoever may call any door: with its words, but for the account.
    pub fn without_accounts(levers: &Levers, pulled: &Pulled, now: i64) -> Self {
        let view = Self::counted(levers, pulled, now);
        match pulled.lever.account() {
            Some(id) => {
                let lever = view.lever.replace(&format!("account {id}"), "account (see /levers)");
                Self { lever, ..view }
            }
            None => view,
        }
    }

    fn counted(levers: &Levers, pulled: &Pulled, now: i64) -> Self {
        Self { requests: Some(levers.touched(pulled.id)), ..Self::new(pulled, now) }
    }
}
