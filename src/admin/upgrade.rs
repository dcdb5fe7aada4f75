//! `POST /upgrade`: asks the process to give way to a successor, and waits for what comes of it.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use tokio::sync::oneshot;

use super::AdminState;
use super::routes::trouble;
use crate::handover::Successor;

/// How long a caller waits for an upgrade: the longest `drain.upgrade_timeout` is a minute, and the new process
/// has a few seconds more to begin.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(72);

pub(super) async fn upgrade(State(state): State<AdminState>) -> Response {
    let (reply, answer) = oneshot::channel();
    let goes_on = "This process goes on as before. Correct it and ask again.";
    if state.upgrade.try_send(reply).is_err() {
        let what = "This process cannot be upgraded now: it is starting, ending, or busy with an upgrade.";
        return trouble(StatusCode::SERVICE_UNAVAILABLE, "not_now", what, "Try again in a few seconds.");
    }
    match tokio::time::timeout(UPGRADE_PATIENCE, answer).await {
        Ok(Ok(Ok(Successor { pid }))) => {
            Json(serde_json::json!({ "outcome": "upgraded", "pid": pid })).into_response()
        }
        Ok(Ok(Err(error))) => {
            trouble(StatusCode::CONFLICT, "not_upgraded", format!("Not upgraded: {error}."), goes_on)
        }
        Ok(Err(_)) => {
            let what = "The process was told to end before the upgrade was through.";
            trouble(StatusCode::SERVICE_UNAVAILABLE, "ending", what, "Start it again.")
        }
        Err(_) => {
            let what = "The upgrade takes longer than it may.";
            trouble(StatusCode::GATEWAY_TIMEOUT, "still_upgrading", what, "Look at the log of the process.")
        }
    }
}
