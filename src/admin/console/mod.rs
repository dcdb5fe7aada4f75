//! `/console`, and what it asks for beside `/live`: an account, recent refusals, the history. What names accounts follows one rule.

mod account;
mod page;
mod refusals;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::AdminState;
use super::live::LiveDesk;
use super::routes::{Rows, trouble};
use crate::quiet;

/// Whoever has the audit trail.
pub trait HistorySource: Send + Sync {
    /// The newest lines, as JSON; reads files. The error is for people.
    ///
    /// # Errors
    /// The trail cannot be read.
    fn newest(&self) -> Result<String, String>;
}

/// What the console needs beside the pages that are there.
#[derive(Clone, Default)]
pub struct Console {
    pub(super) live: Arc<LiveDesk>,
    history: Option<Arc<dyn HistorySource>>,
    /// When one was begun to be read, and what it said. Locked while it is read: the next one reads for all who ask meanwhile.
    kept: Arc<Mutex<Option<(Instant, Bytes)>>>,
    /// The loopback door, once it is bound.
    loopback: Arc<OnceLock<SocketAddr>>,
}

impl Console {
    /// With somebody who has the audit trail.
    pub fn new(history: Arc<dyn HistorySource>) -> Self {
        Self { history: Some(history), ..Self::default() }
    }

    /// The loopback door is at this address.
    pub(super) fn is_at(&self, loopback: SocketAddr) {
        // The first stays: there is one door.
        let _ = self.loopback.set(loopback);
    }

    /// Where the page is, where there is a loopback door.
    pub(super) fn url(&self) -> Option<String> {
        self.loopback.get().map(|address| format!("http://{address}/console"))
    }

    async fn history(&self) -> Result<Bytes, String> {
        let Some(source) = self.history.clone() else {
            return Err("Nobody keeps a history here.".to_owned());
        };
        let asked = Instant::now();
        let mut kept = self.kept.lock().await;
        // What was begun to be read after this was asked has all that whoever asks has heard of.
        if let Some((_, text)) = kept.as_ref().filter(|(begun, _)| *begun >= asked) {
            return Ok(text.clone());
        }
        let begun = Instant::now();
        let read = quiet::run(move || source.newest()).await;
        let text = read.unwrap_or_else(|| Err("Reading the audit trail ended unexpectedly.".to_owned()))?;
        let text = Bytes::from(text);
        *kept = Some((begun, text.clone()));
        Ok(text)
    }
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").field("live", &self.live).finish_non_exhaustive()
    }
}

/// The page, and what it asks for. `accounts`: the page may ask for what names them.
pub(super) fn rows(rows: Rows, accounts: bool) -> Rows {
    rows.row("GET", "/console", get(move || async move { page::response(accounts) }))
        .row("GET", "/accounts", get(account::find))
        .row("GET", "/refusals", get(refusals::list))
        .row("GET", "/history", get(history))
}

/// `GET /history`.
async fn history(State(state): State<AdminState>) -> Response {
    match state.console.history().await {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        Err(what) => {
            let next = "Look at the state folder: cellgate audit verify says what is wrong.";
            trouble(StatusCode::INTERNAL_SERVER_ERROR, "no_history", what, next)
        }
    }
}
