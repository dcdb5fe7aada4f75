//! What a cell was able to do lately: the best rate of the last minutes at which nothing failed. It stands for
//! a capacity where none is declared, and only to come back to: it says what was asked of the cell, not what it
//! could have done.

use std::time::Duration;

use super::super::super::moment::Moment;

/// So many minutes count: longer than a fall takes to be noticed, shorter than a day's curve.
const MINUTES: usize = 10;

const MINUTE: Duration = Duration::from_secs(60);

/// A rate is counted over so long.
const COUNTED: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Learned {
    best: [f64; MINUTES],
    at: usize,
    minute_began: Moment,
    count_began: Moment,
    succeeded: u64,
    failed: u64,
}

impl Learned {
    pub fn new(best: f64, now: Moment) -> Self {
        let mut all = [0.0; MINUTES];
        all[0] = best;
        Self { best: all, at: 0, minute_began: now, count_began: now, succeeded: 0, failed: 0 }
    }

    /// Requests a second at this replica, if it has seen any.
    pub fn rate(&self) -> Option<f64> {
        let best = self.best.iter().copied().fold(0.0, f64::max);
        (best > 0.0).then_some(best)
    }

    /// While the cell is well and nothing limits it.
    pub fn add(&mut self, succeeded: u64, failed: u64, least_success: f64, now: Moment) {
        self.succeeded += succeeded;
        self.failed += failed;
        let counted = now.since(self.count_began);
        if counted < COUNTED {
            return;
        }
        let ended = (self.succeeded + self.failed) as f64;
        if self.succeeded as f64 >= least_success * ended {
            let rate = self.succeeded as f64 / counted.as_secs_f64();
            self.best[self.at] = self.best[self.at].max(rate);
        }
        (self.succeeded, self.failed, self.count_began) = (0, 0, now);
        if now.since(self.minute_began) >= MINUTE {
            self.at = (self.at + 1) % MINUTES;
            self.best[self.at] = 0.0;
            self.minute_began = now;
        }
    }

    /// Begins a new count: what was counted belongs to another time.
    pub fn restart(&mut self, now: Moment) {
        (self.succeeded, self.failed, self.count_began) = (0, 0, now);
    }
}
