//! The last reloads in short, for whoever looks: when, by what, how they ended. What they said in full stands in the audit trail.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::{ReloadOutcome, ReloadReport, Trigger};
use crate::telemetry::labels::Reload;

/// Most that are kept: a bad hour of somebody who corrects a file once in three minutes. Some hundred bytes each.
const KEPT: usize = 20;

/// One reload in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadSummary {
    /// When it ended.
    pub at: SystemTime,
    /// Who asked.
    pub trigger: Trigger,
    /// How it ended.
    pub outcome: Reload,
    /// The generation that it has put in force or on trial.
    pub generation: Option<u64>,
    /// Configuration hash of what was offered, where it does not serve and is known.
    pub hash: Option<Box<str>>,
    /// Problems of the files.
    pub problems: usize,
    /// Guards that object, each once.
    pub guards: Vec<String>,
}

/// The last of them. Both ends of a pair have the same.
#[derive(Clone, Debug, Default)]
pub struct RecentReloads(Arc<Mutex<VecDeque<ReloadSummary>>>);

impl RecentReloads {
    /// One more.
    pub(super) fn add(&self, report: &ReloadReport) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_back();
        }
        kept.push_front(ReloadSummary::new(report));
    }

    /// The newest first.
    pub fn newest_first(&self) -> Vec<ReloadSummary> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl ReloadSummary {
    fn new(report: &ReloadReport) -> Self {
        let ReloadReport { trigger, at, outcome, .. } = report;
        let (mut problems, mut guards, mut generation) = (0, Vec::new(), None);
        match outcome {
            ReloadOutcome::Rejected(all) => problems = all.len(),
            ReloadOutcome::Refused(objections, _) => {
                guards = objections.iter().map(|objection| objection.guard.clone()).collect();
                guards.sort_unstable();
                guards.dedup();
            }
            ReloadOutcome::Applied { generation: new } | ReloadOutcome::Staged { generation: new, .. } => {
                generation = Some(new.0);
            }
            ReloadOutcome::Unchanged | ReloadOutcome::NeedsRestart(_) | ReloadOutcome::RolledBack { .. } => {}
        }
        let hash = outcome.pushed().map(|pushed| pushed.hash.clone());
        Self { at: *at, trigger: *trigger, outcome: outcome.label(), generation, hash, problems, guards }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Objection, ProblemView};
    use super::*;
    use crate::policy::ids::Generation;

    fn report(outcome: ReloadOutcome) -> ReloadReport {
        let at = SystemTime::UNIX_EPOCH;
        ReloadReport { trigger: Trigger::Admin, at, outcome, loaded_at: at }
    }

    #[test]
    fn the_newest_are_kept_in_short() {
        let recent = RecentReloads::default();
        for generation in 1..=30 {
            recent.add(&report(ReloadOutcome::Applied { generation: Generation(generation) }));
        }
        let objection = |guard: &str| Objection { guard: guard.into(), what: "w".into(), hint: None };
        let refused = vec![objection("cell_exodus"), objection("table_shrink"), objection("cell_exodus")];
        recent.add(&report(ReloadOutcome::Refused(refused, None)));
        recent.add(&report(ReloadOutcome::Rejected(vec![ProblemView::default(); 3])));
        let kept = recent.newest_first();
        assert_eq!(kept.len(), KEPT);
        assert_eq!((kept[0].outcome, kept[0].problems), (Reload::Rejected, 3));
        assert_eq!((kept[1].outcome, kept[1].guards.len()), (Reload::Refused, 2));
        assert_eq!((kept[2].generation, kept[19].generation), (Some(30), Some(13)));
    }
}
