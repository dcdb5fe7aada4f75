//! How requests ended at each group of a cell in the last seconds: whether what fails is the cell, or one group of it.
//! A group whose load can be moved is `failover`'s to replace. Were the cell called down for it, the groups that are well
//! would be refused their load, and come back from 1 % though they never went.

use std::collections::VecDeque;

use super::super::super::guard::Mode;
use super::super::super::moment::Moment;
use super::super::super::snapshot::Group;
use super::super::health::{AttemptEnd, Taken};
use super::super::policies::Policy;
use super::super::ramp::RampRules;
use super::scene::Scene;

/// See the file; by position of the group.
#[derive(Debug, Default)]
pub(super) struct RecentGroups(Vec<VecDeque<Ended>>);

/// What ended between two looks.
#[derive(Debug)]
struct Ended {
    at: Moment,
    all: u32,
    failed: u32,
}

impl RecentGroups {
    /// A look begins.
    pub(super) fn begin(&mut self, groups: usize, now: Moment) {
        self.0.resize_with(groups, VecDeque::new);
        // As long as failures count against the cell.
        let window = RampRules::default().down_after;
        for group in &mut self.0 {
            while group.front().is_some_and(|ended| now.since(ended.at) >= window) {
                group.pop_front();
            }
            group.push_back(Ended { at: now, all: 0, failed: 0 });
        }
    }

    /// What was taken of an endpoint of this group.
    pub(super) fn count(&mut self, group: usize, taken: &Taken) {
        if let Some(ended) = self.0.get_mut(group).and_then(VecDeque::back_mut) {
            let failures = AttemptEnd::ALL.into_iter().filter(|end| end.is_failure());
            ended.all = ended.all.saturating_add(taken.attempts());
            ended.failed = failures.fold(ended.failed, |sum, end| sum.saturating_add(taken.count(end)));
        }
    }

    /// Whether one of several groups serves most of what it is asked. One that was not asked is taken to be well where
    /// load may be moved to it: the first requests that are will tell.
    pub(super) fn another_serves(&self, scene: &Scene<'_>) -> bool {
        let moves = scene.mode(Policy::Failover) == Mode::Enforce;
        let serves = |(group, ends): (&Group, &VecDeque<Ended>)| {
            let sum = |of: fn(&Ended) -> u32| ends.iter().map(|ended| u64::from(of(ended))).sum::<u64>();
            let (all, failed) = (sum(|ended| ended.all), sum(|ended| ended.failed));
            scene.is_sure(group)
                && if all > 0 { failed * 2 < all } else { moves && group.capacity_rps.is_some() }
        };
        let groups = &scene.cell.groups;
        groups.len() > 1 && groups.len() == self.0.len() && groups.iter().zip(&self.0).any(serves)
    }
}
