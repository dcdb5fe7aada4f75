//! What a gate knows of the last seconds: how many were served and refused, and how many waited.

use std::time::Duration;

use super::super::super::moment::Moment;
use super::super::fullness::WHOLE;
use super::super::priority::Priority;
use super::super::queue::{Queue, QueueRules};
use super::super::retry_after::{self, LEAST_SPREAD_SECS, Refusals};

/// Weight of a look in what is served and refused a second: with ten looks a second, about the last second.
const LOOK: f64 = 0.2;

/// Weight of a look in how full it usually is: about the last two seconds. With the last half second the lowest class
/// that is served goes in and out by turns.
const USUAL: f64 = 0.05;

/// Whoever is refused by a cell that serves nobody comes again as if it served so many a second: probes need somebody who
/// asks, and what comes back must be met.
const LEAST_ASKED_RPS: f64 = 5.0;

/// Nobody is told to come again at once.
pub const BASE_SECS: u32 = 1;

const SHARES_FADE: Duration = Duration::from_secs(1);

/// What was so at the last looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looked {
    /// When the last one was.
    pub at: Moment,
    faded: Moment,
    ended: u64,
    refused: u64,
    served_rps: f64,
    refused_rps: f64,
    /// Since when more are refused than served.
    refusing_since: Option<Moment>,
    full: f64,
}

impl Looked {
    /// So many ended and were refused since the beginning.
    pub fn count(&mut self, now: Moment, ended: u64, refused: u64) {
        let secs = now.since(self.at).as_secs_f64();
        let smooth = |before: f64, many: u64| before + LOOK * (many as f64 / secs - before);
        self.served_rps = smooth(self.served_rps, ended - self.ended);
        self.refused_rps = smooth(self.refused_rps, refused - self.refused);
        (self.at, self.ended, self.refused) = (now, ended, refused);
        let refuses = self.refused_rps > self.served_rps;
        self.refusing_since = refuses.then(|| self.refusing_since.unwrap_or(now));
    }

    /// Requests a second that end.
    pub fn served_rps(&self) -> f64 {
        self.served_rps
    }

    /// As many are served in this time.
    pub fn served_in(&self, time: Duration) -> u32 {
        (self.served_rps * time.as_secs_f64()) as u32
    }

    /// So many waited on average since the last look; gives how full it usually is.
    pub fn fill(&mut self, waited: f64, room: u32) -> u32 {
        let full = (waited / f64::from(room)).min(1.0);
        self.full += USUAL * (full - self.full);
        (self.full * f64::from(WHOLE)) as u32
    }

    /// Over how many seconds those come again who are refused now. They find the room that what is served leaves, as it
    /// comes free. Where most are refused nobody knows how long that lasts: most likely about as long as it has lasted, and
    /// half of that adds little to it.
    pub fn spread_secs(&self) -> u32 {
        let Self { served_rps, refused_rps, .. } = *self;
        let spare_rps = served_rps.max(LEAST_ASKED_RPS);
        let spread = retry_after::spread_secs(Refusals { refused_rps, spare_rps, base_secs: BASE_SECS });
        let lasted = self.refusing_since.map_or(u64::MAX, |since| self.at.since(since).as_secs());
        spread.min(u32::try_from(lasted / 2).unwrap_or(u32::MAX)).max(LEAST_SPREAD_SECS)
    }

    /// Once a second.
    pub fn is_time_to_fade(&mut self, now: Moment) -> bool {
        let is_time = now.since(self.faded) >= SHARES_FADE;
        if is_time {
            self.faded = now;
        }
        is_time
    }
}

/// Those who wait, and how many of them there were for how long since the last look.
#[derive(Debug)]
pub struct Line<T> {
    /// They.
    pub queue: Queue<T>,
    /// How many they are.
    pub len: u32,
    waited: Duration,
    since: Moment,
}

impl<T> Line<T> {
    /// For so many.
    pub fn new(rules: QueueRules, most: u32) -> Self {
        let queue = Queue::new(rules, most as usize);
        Self { queue, len: 0, waited: Duration::ZERO, since: Moment::START }
    }

    /// The number of those who wait may have changed.
    pub fn count(&mut self, now: Moment) {
        self.waited += now.since(self.since) * self.len;
        // At most 1,024.
        (self.len, self.since) = (self.queue.len() as u32, now);
    }

    /// How many waited on average since this was asked last, so long ago.
    pub fn take_mean_len(&mut self, now: Moment, long: Duration) -> f64 {
        self.count(now);
        std::mem::take(&mut self.waited).as_secs_f64() / long.as_secs_f64()
    }

    /// Whether nobody goes before somebody of this class who comes now.
    pub fn is_first(&self, priority: Priority) -> bool {
        match priority {
            Priority::Critical => self.queue.len_of(Priority::Critical) == 0,
            _ => self.queue.is_empty(),
        }
    }
}
