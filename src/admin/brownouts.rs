//! `/brownouts`: what is in force, what comes next, and for how many accounts. Reading only: one is ended by a lever.

use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::AdminState;
use crate::policy::brownout::Window;
use crate::policy::brownout::status::{Status, statuses};
use crate::telemetry::wall_time::{Seconds, from_unix_seconds, unix_seconds};

/// `GET /brownouts`.
#[derive(Serialize)]
struct BrownoutsView {
    generation: u64,
    brownouts: Vec<BrownoutView>,
}

#[derive(Serialize)]
struct BrownoutView {
    id: String,
    mode: &'static str,
    in_force: bool,
    cancelled: bool,
    share: String,
    accounts: usize,
    exempt: usize,
    window: Option<WindowView>,
    next: Option<WindowView>,
}

/// From when until when.
#[derive(Debug, Serialize)]
pub(super) struct WindowView {
    start: String,
    end: String,
}

pub(super) async fn list(State(state): State<AdminState>) -> Response {
    let (live, levers) = ((state.live)(), state.levers.pulled());
    let now = unix_seconds(SystemTime::now());
    let statuses = statuses(&live, now, |id| levers.cancels(id).is_some());
    let brownouts = statuses.into_iter().map(BrownoutView::from).collect();
    Json(BrownoutsView { generation: live.generation.0, brownouts }).into_response()
}

impl From<Status> for BrownoutView {
    fn from(status: Status) -> Self {
        let in_force = status.is_in_force();
        let Status { id, mode, share, window, next, is_cancelled, accounts, exempt } = status;
        Self {
            id: id.to_string(),
            mode: mode.as_str(),
            in_force,
            cancelled: is_cancelled,
            share: share.to_string(),
            accounts,
            exempt,
            window: window.map(WindowView::from),
            next: next.map(WindowView::from),
        }
    }
}

impl From<Window> for WindowView {
    fn from(Window { start, end }: Window) -> Self {
        let moment = |seconds| Seconds(from_unix_seconds(seconds)).to_string();
        Self { start: moment(start), end: moment(end) }
    }
}
