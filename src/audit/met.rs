//! Whom brownouts have met: requests by brownout, window, day and account, on their way from a thread's sheet to a table.
//! Counted only where a brownout was planned for a request, so that no other request pays for it.

use serde::{Deserialize, Serialize};

use crate::policy::brownout::{BrownoutIndex, Planned};
use crate::policy::decide::Decision;
use crate::policy::snapshot::Snapshot;
use crate::telemetry::event::RequestEvent;
use crate::telemetry::wall_time::unix_seconds;

use super::key::Subject;

/// What requests are counted by, under one generation. There are as many as accounts in the table, for each brownout in
/// force: clients can make up none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Met {
    brownout: BrownoutIndex,
    /// Unix seconds: the end of its window.
    until: i64,
    /// Days since the Unix epoch.
    day: i64,
    subject: Subject,
}

/// Requests, and how many of them could have changed something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hits {
    pub requests: u64,
    pub writes: u64,
}

/// One line of the books: what one brownout did to one account on one day of one window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct BrownoutUse {
    /// Days since the Unix epoch.
    pub day: i64,
    /// Its id.
    pub brownout: String,
    /// `observe`, `soft` or `hard`.
    pub mode: String,
    /// Unix seconds: the window.
    pub started_at: i64,
    /// Unix seconds.
    pub ended_at: i64,
    /// 0 where nothing named an account of the table.
    pub account: u64,
    pub requests: u64,
    /// How many of them could have changed something.
    pub writes: u64,
}

/// What a line is about: all of it but the counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct About {
    day: i64,
    brownout: Box<str>,
    mode: &'static str,
    window: (i64, i64),
    account: u64,
}

impl Met {
    /// Of a request; `None` where no brownout was planned for it.
    pub fn of(event: &RequestEvent, decision: &Decision) -> Option<(Self, Hits)> {
        let Some(Planned::Brownout { index, until, .. }) = event.planned else { return None };
        let day = unix_seconds(event.started).div_euclid(86_400);
        let met = Self { brownout: index, until, day, subject: Subject::of(event, decision) };
        Some((met, Hits { requests: 1, writes: u64::from(decision.writes) }))
    }

    /// The same by names; `None` where the snapshot has no such window, and so did not plan it.
    pub fn about(&self, snapshot: &Snapshot) -> Option<About> {
        let brownout = snapshot.brownouts.all.get(usize::from(self.brownout.0))?;
        let window = brownout.windows.iter().find(|window| window.end == self.until)?;
        Some(About {
            day: self.day,
            brownout: brownout.id.as_str().into(),
            mode: brownout.mode.as_str(),
            window: (window.start, window.end),
            account: self.subject.account(),
        })
    }
}

impl Hits {
    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.writes += other.writes;
    }
}

impl About {
    /// As a line of a frame.
    pub fn line(&self, hits: Hits) -> BrownoutUse {
        BrownoutUse {
            day: self.day,
            brownout: self.brownout.to_string(),
            mode: self.mode.to_owned(),
            started_at: self.window.0,
            ended_at: self.window.1,
            account: self.account,
            requests: hits.requests,
            writes: hits.writes,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::super::frame::Frame;
    use super::super::frame::tests::frame;
    use super::super::window::tests::window;
    use super::*;
    use crate::policy::brownout::BrownoutMode;
    use crate::policy::refusal::Refusal;
    use crate::telemetry::fixture::{legacy_event, snapshot};
    use crate::test_snapshot::{account, brownouts};

    #[test]
    fn a_window_has_whom_brownouts_met_and_nobody_else() {
        let mut snapshot = Arc::into_inner(snapshot(1)).unwrap();
        snapshot.brownouts =
            brownouts(&[("watch", BrownoutMode::Observe, (10, 20)), ("hard", BrownoutMode::Hard, (15, 30))]);
        let snapshot = Arc::new(snapshot);
        let event = |id: Option<u64>, planned, refusal, writes| {
            let mut event = legacy_event(&snapshot);
            (event.planned, event.refusal) = (planned, refusal);
            let decision = event.decision.as_mut().unwrap();
            (decision.account, decision.writes) = (id.map(account), writes);
            event
        };
        let met = |index, mode, until| Some(Planned::Brownout { index: BrownoutIndex(index), mode, until });
        let hard = met(1, BrownoutMode::Hard, 30);
        let refused = Some(Refusal::BrownoutHard);
        let all = [
            event(Some(1), hard, refused, false),
            event(Some(1), hard, refused, true),
            event(Some(2), hard, refused, false),
            event(None, hard, refused, false),
            event(Some(1), met(0, BrownoutMode::Observe, 20), None, false),
            // After the sunset, without any, and of windows and brownouts that the snapshot does not have.
            event(Some(1), Some(Planned::Sunset { gone: true }), Some(Refusal::Gone), false),
            event(Some(1), None, None, true),
            event(Some(1), met(1, BrownoutMode::Hard, 77), refused, false),
            event(Some(1), met(9, BrownoutMode::Hard, 30), refused, false),
        ];
        let frame = window(0, &all).frame("a", 1, 10);
        let lines = frame.brownouts.iter().map(|of| {
            let BrownoutUse { brownout, mode, started_at, ended_at, account, requests, writes, .. } = of;
            (brownout.as_str(), mode.as_str(), (*started_at, *ended_at), *account, *requests, *writes)
        });
        assert_eq!(
            lines.collect::<Vec<_>>(),
            [
                ("hard", "hard", (15, 30), 0, 1, 0),
                ("hard", "hard", (15, 30), 1, 2, 1),
                ("hard", "hard", (15, 30), 2, 1, 0),
                ("watch", "observe", (10, 20), 1, 1, 0),
            ]
        );
        assert_eq!(Frame::decode(&frame.encode().unwrap()).unwrap(), frame);
    }

    #[test]
    fn a_frame_of_an_edition_before_has_met_nobody() {
        let old = serde_json::to_value(frame("a", 1, Vec::new())).unwrap();
        let mut old = old.as_object().unwrap().clone();
        assert!(old.remove("brownouts").is_some());
        let read: Frame = serde_json::from_value(old.into()).unwrap();
        assert_eq!(read, frame("a", 1, Vec::new()));
    }
}
