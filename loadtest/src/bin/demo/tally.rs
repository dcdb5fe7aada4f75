//! What has become of the background traffic, as numbers: by cell, and since the shared cell died. Plain data; moments are
//! arguments.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::place::CELLS;
use crate::tour::Shared;

/// How far back "now" reaches in the live view: long enough for a steady figure, short enough that a death shows at once.
pub const RECENT: Duration = Duration::from_secs(5);

/// How one request ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// When, since the start of the traffic.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
    /// Position in [`CELLS`] of the cell that answered, or else of the one that holds its account.
    pub cell: usize,
    /// It went to a legacy host.
    pub legacy: bool,
    /// It failed: no cell answered, or a cell with 5xx.
    pub failed: bool,
    /// Seconds of `Retry-After`, where the answer had one.
    pub retry_after: Option<u64>,
}

/// Counts of one cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that ended.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Those of them that went to a legacy host.
    pub legacy: u64,
}

/// Everything that was counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    cells: [Counts; CELLS.len()],
    recent: VecDeque<Ended>,
    outage: Option<Outage>,
}

/// From the death of the shared cell to its first answer.
#[derive(Clone, Debug)]
pub struct Outage {
    began: Duration,
    /// When its process was started again.
    restarted: Option<Duration>,
    before: [Counts; CELLS.len()],
    /// The moment and the counts of the end.
    ended: Option<(Duration, [Counts; CELLS.len()])>,
    retry_after: Option<RangeInclusive<u64>>,
}

/// What the shared cell does, since it died for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its process is gone.
    Dead,
    /// Its process runs again, for so long; it has not answered yet, as far as anybody was let through to it.
    Restarted(Duration),
    /// It has answered again.
    Back,
}

/// The shared cell stands last in [`CELLS`].
pub const SHARED: usize = CELLS.len() - 1;

impl Tally {
    /// Counts a request.
    pub fn add(&mut self, ended: Ended) {
        let counts = &mut self.cells[ended.cell];
        counts.requests += 1;
        counts.failed += u64::from(ended.failed);
        counts.legacy += u64::from(ended.legacy);
        let (at, of_shared) = (ended.at, ended.cell == SHARED);
        if let Some(outage) = self.outage.as_mut().filter(|outage| outage.ended.is_none() && of_shared) {
            if ended.failed {
                outage.told(ended.retry_after);
            } else if ended.at.saturating_sub(ended.took) >= outage.began {
                // What was under way when it died may still have been answered; this was asked after.
                outage.ended = Some((at, self.cells.clone()));
            }
        }
        self.recent.push_back(ended);
        while self.recent.front().is_some_and(|oldest| oldest.at + RECENT < at) {
            self.recent.pop_front();
        }
    }

    /// The shared cell has died.
    pub fn shared_died(&mut self, at: Duration) {
        match self.outage.as_mut().filter(|outage| outage.ended.is_none()) {
            // It never answered in between: the same outage.
            Some(outage) => outage.restarted = None,
            None => {
                let before = self.cells.clone();
                self.outage =
                    Some(Outage { began: at, restarted: None, before, ended: None, retry_after: None });
            }
        }
    }

    /// The process of the shared cell was started again.
    pub fn shared_restarted(&mut self, at: Duration) {
        if let Some(outage) = &mut self.outage {
            outage.restarted = Some(at);
        }
    }

    /// The last outage.
    pub fn outage(&self) -> Option<&Outage> {
        self.outage.as_ref()
    }

    /// Counts of a cell since the start.
    pub fn counts(&self, cell: usize) -> &Counts {
        &self.cells[cell]
    }

    /// Requests of a cell within [`RECENT`] before `now`: how many, how many failed, and the slowest.
    pub fn recent(&self, cell: usize, now: Duration) -> (u64, u64, Duration) {
        let young = self.recent.iter().filter(|ended| ended.cell == cell && ended.at + RECENT >= now);
        young.fold((0, 0, Duration::ZERO), |(requests, failed, slowest), ended| {
            (requests + 1, failed + u64::from(ended.failed), slowest.max(ended.took))
        })
    }

    /// How many of those were told to come again: nothing is broken, they must wait.
    pub fn recently_told_to_wait(&self, cell: usize, now: Duration) -> u64 {
        let young = self.recent.iter().filter(|ended| ended.cell == cell && ended.at + RECENT >= now);
        young.fold(0, |told, ended| told + u64::from(ended.failed && ended.retry_after.is_some()))
    }

    /// What the shared cell does now.
    pub fn shared(&self, now: Duration) -> Shared {
        let fails = self.recent(SHARED, now).1 > 0;
        match self.outage().map(|outage| outage.phase(now)) {
            Some(Phase::Dead) => Shared::Dead,
            Some(Phase::Restarted(_)) => Shared::ComesBack,
            Some(Phase::Back) if fails => Shared::ComesBack,
            Some(Phase::Back) | None => Shared::Answers,
        }
    }

    /// All requests, and those of them that went to legacy hosts.
    pub fn legacy(&self) -> (u64, u64) {
        self.cells
            .iter()
            .fold((0, 0), |(all, legacy), counts| (all + counts.requests, legacy + counts.legacy))
    }
}

impl Outage {
    /// How far it is.
    pub fn phase(&self, now: Duration) -> Phase {
        match (&self.ended, self.restarted) {
            (Some(_), _) => Phase::Back,
            (None, Some(at)) => Phase::Restarted(now.saturating_sub(at)),
            (None, None) => Phase::Dead,
        }
    }

    /// How long it has lasted.
    pub fn lasted(&self, now: Duration) -> Duration {
        self.ended.as_ref().map_or(now, |(at, _)| *at).saturating_sub(self.began)
    }

    /// What it did to the shared cell's accounts, and to all others.
    pub fn effect(&self, tally: &Tally) -> (Counts, Counts) {
        let after = self.ended.as_ref().map_or(&tally.cells, |(_, counts)| counts);
        let since = |cell: usize| Counts {
            requests: after[cell].requests - self.before[cell].requests,
            failed: after[cell].failed - self.before[cell].failed,
            legacy: after[cell].legacy - self.before[cell].legacy,
        };
        let others = (0..SHARED).map(since).fold(Counts::default(), |sum, one| Counts {
            requests: sum.requests + one.requests,
            failed: sum.failed + one.failed,
            legacy: sum.legacy + one.legacy,
        });
        (since(SHARED), others)
    }

    /// The smallest and the largest `Retry-After` of its refusals.
    pub fn retry_after(&self) -> Option<&RangeInclusive<u64>> {
        self.retry_after.as_ref()
    }

    fn told(&mut self, secs: Option<u64>) {
        let Some(secs) = secs else { return };
        let told = self.retry_after.take().unwrap_or(secs..=secs);
        self.retry_after = Some(*told.start().min(&secs)..=*told.end().max(&secs));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ended(at_ms: u64, cell: usize, failed: bool) -> Ended {
        let (at, took) = (Duration::from_millis(at_ms), Duration::from_millis(2));
        Ended { at, took, cell, legacy: true, failed, retry_after: failed.then_some(at_ms % 5) }
    }

    #[test]
    fn an_outage_counts_what_came_between_the_death_and_the_first_answer_after_it() {
        let mut tally = Tally::default();
        (0..10).for_each(|n| tally.add(ended(n, usize::try_from(n).unwrap() % CELLS.len(), false)));
        tally.shared_died(Duration::from_millis(100));
        tally.add(ended(101, SHARED, false));
        let phase = |tally: &Tally| tally.outage().unwrap().phase(Duration::from_millis(150));
        assert_eq!(phase(&tally), Phase::Dead, "asked before it died, answered after");
        tally.add(ended(103, SHARED, true));
        tally.add(ended(104, SHARED, true));
        tally.add(ended(105, 0, false));
        let outage = tally.outage().unwrap();
        let (own, others) = outage.effect(&tally);
        assert_eq!((own.requests, own.failed, others.requests, others.failed), (3, 2, 1, 0));
        assert_eq!(outage.retry_after(), Some(&(3..=4)));
        assert_eq!(outage.lasted(Duration::from_millis(150)), Duration::from_millis(50));
        tally.shared_restarted(Duration::from_millis(140));
        assert_eq!(phase(&tally), Phase::Restarted(Duration::from_millis(10)));
        tally.shared_died(Duration::from_millis(145));
        assert_eq!(phase(&tally), Phase::Dead, "it never came back: the same outage");
        tally.add(ended(160, SHARED, false));
        tally.add(ended(170, 1, false));
        let (own, others) = tally.outage().unwrap().effect(&tally);
        assert_eq!((own.requests, own.failed, others.requests), (4, 2, 1), "what comes later is not of it");
        assert_eq!(phase(&tally), Phase::Back);
        assert_eq!(tally.outage().unwrap().lasted(Duration::from_secs(9)), Duration::from_millis(60));
    }

    #[test]
    fn what_is_older_than_a_few_seconds_is_not_now() {
        let mut tally = Tally::default();
        tally.add(ended(0, 0, true));
        tally.add(ended(4_000, 0, false));
        assert_eq!(tally.recent(0, Duration::from_secs(5)), (2, 1, Duration::from_millis(2)));
        assert_eq!(tally.recent(0, Duration::from_secs(6)), (1, 0, Duration::from_millis(2)));
        assert_eq!(tally.counts(0).requests, 2);
        assert_eq!(tally.legacy(), (2, 2));
    }
}
