//! The last requests that were refused or have failed, for a person who looks. Kept with names, since a snapshot would be
//! kept by them; bounded in number and in how many come in a second, so that a flood of refusals costs a look at a counter.

use std::array;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::policy::cover::{covered, shown_method};
use crate::policy::facts::path_of;
use crate::policy::ids::AccountId;
use crate::telemetry::event::RequestEvent;
use crate::telemetry::refusals::{REFUSALS, refusal_slot};

use super::answer::Answer;

/// How many are kept: some screens, and below 400 KB.
pub const KEPT_FAILURES: usize = 200;

/// Of one reason in a second: enough to see that there are many and whose they are.
const OF_A_REASON: u32 = 4;

/// Longest path and host that are kept: what a line of a terminal shows, twice.
const MAX_TEXT: usize = 256;

/// Longest request id that is kept; ids that we accept or make are below it.
const MAX_REQUEST_ID: usize = 128;

/// Reasons of those that cellgate has not refused: 5xx of the cell, an answer that was cut, a client that went away.
const BY_STATUS: &str = "cell_status";
const CUT: &str = "cut";
const CLIENT_GONE: &str = "client_gone";

/// All reasons: refusals, and the three that are none.
const REASONS: usize = REFUSALS.len() + 3;

/// One of them. Text is as the client sent it, but for credentials: whoever prints it escapes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenFailure {
    /// When it had ended.
    pub at: SystemTime,
    /// Also in the access log.
    pub request_id: Box<str>,
    /// Where one was named; it may have no row.
    pub account: Option<AccountId>,
    /// Credentials covered, cut at 256 bytes.
    pub host: Box<str>,
    /// A registered one, or `other`.
    pub method: Box<str>,
    /// Without query, credentials covered, cut at 256 bytes.
    pub path: Box<str>,
    /// Where it was to go.
    pub cell: Option<Box<str>>,
    /// The surface of its host.
    pub surface: Option<Box<str>>,
    /// As the client saw it; 499 where it went away first.
    pub status: u16,
    /// What it counts as.
    pub answer: Answer,
    /// The metric label of its refusal; or `cell_status`, `cut`, `client_gone`.
    pub reason: &'static str,
    /// What was wrong with the cell, where it was the cell.
    pub cell_error: Option<&'static str>,
}

/// See the file.
#[derive(Debug)]
pub(super) struct Failures {
    /// How many of each reason came in this second.
    came: [AtomicU32; REASONS],
    kept: Mutex<VecDeque<SeenFailure>>,
}

impl Default for Failures {
    fn default() -> Self {
        Self { came: array::from_fn(|_| AtomicU32::new(0)), kept: Mutex::default() }
    }
}

impl Failures {
    /// Keeps it, where there was not enough of its kind in this second.
    pub fn offer(&self, event: &RequestEvent, answer: Answer) {
        let (slot, reason) = reason(event, answer);
        let came = &self.came[slot];
        // Looked at before it is written: in a flood all threads read one value that nobody changes.
        if came.load(Ordering::Relaxed) >= OF_A_REASON || came.fetch_add(1, Ordering::Relaxed) >= OF_A_REASON
        {
            return;
        }
        let failure = SeenFailure::new(event, answer, reason);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_FAILURES {
            make_room(&mut kept);
        }
        kept.push_back(failure);
    }

    /// A second has ended.
    pub fn next_second(&self) {
        self.came.iter().for_each(|came| came.store(0, Ordering::Relaxed));
    }

    /// All that are kept.
    pub fn newest_first(&self) -> Vec<SeenFailure> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }
}

/// Drops the oldest of the reason that has most: what happens all the time does not push out what happened once.
fn make_room(kept: &mut VecDeque<SeenFailure>) {
    let mut counts = HashMap::<&str, usize>::new();
    kept.iter().for_each(|failure| *counts.entry(failure.reason).or_default() += 1);
    let most = counts.into_iter().max_by_key(|(reason, count)| (*count, *reason));
    let oldest = most.and_then(|(reason, _)| kept.iter().position(|failure| failure.reason == reason));
    if let Some(oldest) = oldest {
        kept.remove(oldest);
    }
}

fn reason(event: &RequestEvent, answer: Answer) -> (usize, &'static str) {
    match (event.refusal, answer) {
        (Some(refusal), _) => (refusal_slot(refusal), refusal.label()),
        (None, Answer::Failed) if event.status >= 500 => (REFUSALS.len(), BY_STATUS),
        (None, Answer::ByClient) => (REFUSALS.len() + 1, CLIENT_GONE),
        (None, _) => (REFUSALS.len() + 2, CUT),
    }
}

impl SeenFailure {
    fn new(event: &RequestEvent, answer: Answer, reason: &'static str) -> Self {
        let snapshot = &event.snapshot;
        let rules = &snapshot.identify.credentials;
        let decision = event.decision.as_ref();
        let surface = decision.and_then(|decision| decision.surface);
        // Covered before it is cut: the first half of a credential would not be known as one.
        let text = |text: &str, separator, most| cut(&covered(rules, text, separator), most).into();
        Self {
            at: event.started.checked_add(event.timings.total).unwrap_or(event.started),
            request_id: text(&event.request_id, '.', MAX_REQUEST_ID),
            account: decision.and_then(|decision| decision.account),
            host: text(&event.host, '.', MAX_TEXT),
            method: shown_method(&event.method).into(),
            path: text(path_of(&event.path), '/', MAX_TEXT),
            cell: event
                .cell()
                .and_then(|cell| snapshot.cells.get(usize::from(cell.0)))
                .map(|cell| cell.name.as_str().into()),
            surface: surface
                .and_then(|at| snapshot.surfaces.get(usize::from(at.0)))
                .map(|surface| surface.name.as_str().into()),
            status: event.status,
            answer,
            reason,
            cell_error: event.refusal.and_then(|refusal| refusal.cell_error()),
        }
    }
}

fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
