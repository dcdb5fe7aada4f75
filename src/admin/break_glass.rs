//! `/break-glass`: what one operator decides alone, and its end.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::AdminState;
use super::access::Asking;
use super::routes::{RELOAD_PATIENCE, json_body, json_body_or_none, trouble};
use super::views::{OutcomeView, TakenView};
use crate::reload::outcome::{Asked, OverrideRequest, Taken};

/// What `POST /break-glass` is told.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BreakGlass {
    aim: String,
    reason: String,
    #[serde(default)]
    by: Option<String>,
    seconds: u64,
}

/// What `DELETE /break-glass` is told.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MendGlass {
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

pub(super) async fn begin(
    State(state): State<AdminState>,
    Extension(asking): Extension<Asking>,
    body: Body,
) -> Response {
    let expected = r#"Send {"aim": "keep" or "restore", "reason": "...", "by": "...", "seconds": 3600}."#;
    match json_body::<BreakGlass>(body, expected).await {
        Ok(BreakGlass { aim, reason, by, seconds }) => {
            let (by, lasts) = (asking.asker(by.as_deref()), Duration::from_secs(seconds));
            override_with(&state, Asked::Begin { aim, reason, by, lasts }).await
        }
        Err(trouble) => trouble,
    }
}

pub(super) async fn end(
    State(state): State<AdminState>,
    Extension(asking): Extension<Asking>,
    body: Body,
) -> Response {
    match json_body_or_none::<MendGlass>(body, r#"Send {"by": "...", "reason": "..."}."#).await {
        Ok(MendGlass { by, reason }) => {
            override_with(&state, Asked::End { by: asking.asker(by.as_deref()), reason }).await
        }
        Err(trouble) => trouble,
    }
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
