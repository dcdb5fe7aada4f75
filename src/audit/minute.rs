//! What an incident took from whom: how requests ended, by the minute; and the calls that somebody has to make again.
//!
//! A call that may have changed something and was refused, or whose outcome nobody knows, is kept as it was: whose, what,
//! when, and the id under which cell and client know it. No body, no query, no credential.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policy::cover::{covered, shown_method};
use crate::policy::decide::Decision;
use crate::policy::facts::{Upgrade, path_of};
use crate::policy::refusal::Refusal;
use crate::policy::snapshot::Snapshot;
use crate::telemetry::event::{End, RequestEvent};
use crate::telemetry::labels::NONE;
use crate::telemetry::wall_time::unix_seconds;

use super::key::{Credential, Place};

/// Whoever waited so long was delayed: the two that incident reports count.
pub(super) const DELAYS: [Duration; 2] = [Duration::from_secs(120), Duration::from_secs(300)];

/// Longest path that is kept of a lost call. Those that trigger something are far shorter.
const MAX_PATH: usize = 512;

/// How requests ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ends {
    pub requests: u64,
    /// Refused by cellgate with 429 or 5xx, answered 5xx by the cell, or cut off. What was announced is none.
    pub failed: u64,
    /// First byte after more than two minutes, and after more than five.
    pub late: [u64; DELAYS.len()],
}

/// Why somebody may want to make a call again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// Nothing of it has left for a cell.
    NotSent,
    /// It was sent, and no answer came: the cell may have done it or not.
    Unknown,
    /// The cell said that it failed.
    Failed,
}

/// A call that may have to be made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LostCall {
    /// Unix seconds of its beginning.
    pub at: i64,
    /// 0 where nothing named one.
    pub account: u64,
    pub method: String,
    /// Without a query, cut to [`MAX_PATH`].
    pub path: String,
    pub request_id: String,
    /// `not_sent`, `unknown` or `failed`.
    pub outcome: String,
    pub status: u16,
    /// Why cellgate answered itself, where it did.
    pub refusal: Option<String>,
    pub cell: String,
    pub class: String,
    /// As in an integration.
    pub credential: String,
}

/// Its parts as tables and lists have them.
pub(super) const LOST_CALL_COLUMNS: [&str; 11] = [
    "at",
    "account",
    "method",
    "path",
    "request_id",
    "outcome",
    "status",
    "refusal",
    "cell",
    "class",
    "credential",
];

impl Ends {
    /// Of one request.
    pub fn of(event: &RequestEvent) -> Self {
        let waited = event.timings.first_byte.unwrap_or(event.timings.total);
        let is_late = |limit: &Duration| waited >= *limit && !may_wait(event);
        Self {
            requests: 1,
            failed: u64::from(is_failed(event)),
            late: DELAYS.each_ref().map(|limit| u64::from(is_late(limit))),
        }
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.requests, other.requests);
        add(&mut self.failed, other.failed);
        add(&mut self.late[0], other.late[0]);
        add(&mut self.late[1], other.late[1]);
    }

    /// Whether something went wrong.
    pub fn is_harm(&self) -> bool {
        self.failed + self.late[0] > 0
    }
}

impl Lost {
    /// Of a request; `None` where it needs no second look.
    pub fn of(event: &RequestEvent, decision: &Decision) -> Option<Self> {
        if !decision.writes || event.upgrade != Upgrade::None {
            return None;
        }
        let unanswered = match event.refusal {
            // Also what was announced: the call was refused all the same.
            Some(refusal) => refusal.status() >= 429 || is_planned(refusal),
            None => event.end == End::ClientGone && event.status == 499,
        };
        match (unanswered, event.sends) {
            (true, 0) => Some(Self::NotSent),
            (true, _) => Some(Self::Unknown),
            (false, _) => (event.refusal.is_none() && event.status >= 500).then_some(Self::Failed),
        }
    }

    /// Name in the books.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
        }
    }
}

impl LostCall {
    /// Of a request that was lost.
    pub fn new(event: &RequestEvent, decision: &Decision, lost: Lost) -> Self {
        let snapshot = &event.snapshot;
        let cell = Place::of_cell(event).name(NONE, |at| cell_name(snapshot, at));
        let class = Place::of_class(event).name(NONE, |at| class_name(snapshot, at));
        Self {
            at: unix_seconds(event.started),
            account: decision.account.map_or(0, |account| account.value()),
            method: shown_method(&event.method).to_owned(),
            path: path(event),
            request_id: event.request_id.to_string(),
            outcome: lost.as_str().to_owned(),
            status: event.status,
            refusal: event.refusal.map(|refusal| refusal.label().to_owned()),
            cell: cell.to_owned(),
            class: class.to_owned(),
            credential: Credential::of(event.status, decision).name(snapshot),
        }
    }
}

/// Name of a cell by its place.
pub(super) fn cell_name(snapshot: &Snapshot, at: usize) -> Option<&str> {
    snapshot.cells.get(at).map(|cell| cell.name.as_str())
}

/// Name of an endpoint class by its place.
pub(super) fn class_name(snapshot: &Snapshot, at: usize) -> Option<&str> {
    snapshot.endpoint_classes.names().nth(at).map(|name| name.as_str())
}

fn is_failed(event: &RequestEvent) -> bool {
    let cut = matches!(event.end, End::CellGone | End::TimedOut | End::Drain | End::Moved);
    match event.refusal {
        // What was announced is no incident.
        Some(refusal) if is_planned(refusal) => false,
        Some(refusal) => refusal.status() == 429 || refusal.status() >= 500,
        None => event.status >= 500 || cut && event.upgrade == Upgrade::None,
    }
}

const fn is_planned(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::BrownoutSoft | Refusal::BrownoutHard | Refusal::Sunset | Refusal::Gone)
}

/// Long polls and tunnels wait on purpose.
fn may_wait(event: &RequestEvent) -> bool {
    event.upgrade != Upgrade::None || event.snapshot.endpoint_classes.of(&event.path).is_long_lived()
}

/// Without a credential: some programs put theirs into the path.
fn path(event: &RequestEvent) -> String {
    // No event has a query; this is the last place at which one could get into a file.
    let path = path_of(&event.path);
    let shown = covered(&event.snapshot.identify.credentials, path, '/');
    shown[..shown.floor_char_boundary(MAX_PATH)].to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::policy::cell_failure::Unreachable;
    use crate::telemetry::fixture::{legacy_event, snapshot};

    fn told(change: impl FnOnce(&mut RequestEvent)) -> (bool, Option<&'static str>) {
        let mut event = legacy_event(&snapshot(1));
        event.decision.as_mut().unwrap().writes = true;
        change(&mut event);
        let lost = Lost::of(&event, event.decision.as_ref().unwrap());
        (Ends::of(&event).failed == 1, lost.map(Lost::as_str))
    }

    #[test]
    fn a_call_is_lost_where_it_was_refused_or_nobody_knows_what_came_of_it() {
        let refused = |refusal: Refusal, sends| {
            told(|event| {
                (event.refusal, event.status, event.sends) = (Some(refusal), refusal.status(), sends)
            })
        };
        let unreachable = Refusal::CellUnreachable(Unreachable::Refused);
        assert_eq!(told(|_| {}), (false, None));
        assert_eq!(refused(unreachable, 0), (true, Some("not_sent")));
        assert_eq!(refused(unreachable, 1), (true, Some("unknown")));
        // Announced: no failure, and lost for whoever made it.
        assert_eq!(refused(Refusal::BrownoutSoft, 0), (false, Some("not_sent")));
        assert_eq!(refused(Refusal::Gone, 0), (false, Some("not_sent")));
        // What the client did wrong it knows.
        assert_eq!(refused(Refusal::NoAccount, 0), (false, None));
        assert_eq!(refused(Refusal::TargetTooLong, 0), (false, None));
        assert_eq!(told(|event| event.status = 503), (true, Some("failed")));
        assert_eq!(told(|event| event.status = 409), (false, None));
        // The answer had begun: that it was done is known.
        assert_eq!(told(|event| event.end = End::CellGone), (true, None));
        let gone =
            |sends| told(|event| (event.end, event.status, event.sends) = (End::ClientGone, 499, sends));
        assert_eq!((gone(0), gone(1)), ((false, Some("not_sent")), (false, Some("unknown"))));
        let read = told(|event| {
            event.decision.as_mut().unwrap().writes = false;
            event.status = 503;
        });
        assert_eq!(read, (true, None));
    }
}
