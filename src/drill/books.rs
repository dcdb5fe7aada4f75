//! What is written down of a rehearsal. Counts, by the second in which a request came; no judgement.

use std::collections::VecDeque;
use std::time::Duration;

use crate::policy::moment::Moment;
use crate::policy::protection::judge::Change;
use crate::policy::protection::priority::Priority;
use crate::policy::protection::shed::Shed;

/// How requests of one class ended that came in one second. All of them have ended, or the rehearsal has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests, repeated ones among them.
    pub asked: u64,
    /// Those that were not repeated.
    pub new: u64,
    /// Answered in time.
    pub served: u64,
    /// Answered in time, of the new.
    pub new_served: u64,
    /// Sent and not answered, or not in time.
    pub failed: u64,
    /// Refused here, by [`Shed::ALL`].
    pub shed: [u64; Shed::ALL.len()],
    /// They had to wait for a permit.
    pub waited: u64,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Served,
    Failed,
    Shed(Shed),
}

/// One second of one cell, by class.
pub type Second = [Counts; Priority::ALL.len()];

/// One cell.
#[derive(Clone, Debug, Default)]
pub struct CellBooks {
    /// From the beginning on.
    pub seconds: Vec<Second>,
    /// By position of the group.
    pub groups: Vec<Peak>,
    /// When a group began to thrash.
    pub collapses: Vec<Moment>,
    /// How many times a replica let more through in a second than its rate and 2 % and one request.
    pub over_envelope: u64,
    /// Most requests in flight at one replica at once.
    pub most_in_flight: u32,
    /// Most open connections to one group at one replica at once.
    pub most_connections: u32,
}

/// The busiest second of a group, wherever it began.
#[derive(Clone, Debug, Default)]
pub struct Peak {
    /// Requests that were sent to it in that second.
    pub most: usize,
    /// Of these, those that were moved from other groups.
    pub moved: usize,
    /// When that second ended.
    pub at: Moment,
    last: VecDeque<Moment>,
    last_moved: VecDeque<Moment>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// By position.
    pub cells: Vec<CellBooks>,
    /// What the judges did, by replica.
    pub changes: Vec<(Moment, usize, Change)>,
}

/// A second.
pub(super) const SECOND: Duration = Duration::from_secs(1);

impl Counts {
    /// All that were refused here.
    pub fn shed_all(&self) -> u64 {
        self.shed.iter().sum()
    }

    /// Not served.
    pub fn lost(&self) -> u64 {
        self.failed + self.shed_all()
    }

    /// So many times as many.
    pub fn times(self, factor: f64) -> Self {
        let times = |count: u64| (count as f64 * factor).round() as u64;
        Self {
            asked: times(self.asked),
            new: times(self.new),
            served: times(self.served),
            new_served: times(self.new_served),
            failed: times(self.failed),
            shed: self.shed.map(times),
            waited: times(self.waited),
        }
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        self.new += other.new;
        self.served += other.served;
        self.new_served += other.new_served;
        self.failed += other.failed;
        self.waited += other.waited;
        for (sum, more) in self.shed.iter_mut().zip(other.shed) {
            *sum += more;
        }
    }
}

impl CellBooks {
    /// Requests that came from one second on, and before another, by class.
    pub fn between(&self, from: usize, to: usize) -> Second {
        let mut sum = Second::default();
        let to = to.min(self.seconds.len());
        for second in self.seconds.get(from.min(to)..to).unwrap_or_default() {
            sum.iter_mut().zip(second).for_each(|(sum, counts)| sum.add(counts));
        }
        sum
    }

    /// The same of all classes together.
    pub fn all_between(&self, from: usize, to: usize) -> Counts {
        let mut sum = Counts::default();
        self.between(from, to).iter().for_each(|counts| sum.add(counts));
        sum
    }

    pub(super) fn counts(&mut self, came: Moment, priority: Priority) -> &mut Counts {
        let second = usize::try_from(came.since(Moment::START).as_secs()).unwrap_or_default();
        if self.seconds.len() <= second {
            self.seconds.resize(second + 1, Second::default());
        }
        &mut self.seconds[second][priority as usize]
    }
}

impl Peak {
    pub(super) fn count(&mut self, now: Moment, is_moved: bool) {
        let found = in_last_second(&mut self.last, now);
        if is_moved {
            self.last_moved.push_back(now);
        }
        forget_old(&mut self.last_moved, now);
        if found > self.most {
            (self.most, self.moved, self.at) = (found, self.last_moved.len(), now);
        }
    }

    /// What was before was another time.
    pub(super) fn forget(&mut self) {
        (self.most, self.moved) = (0, 0);
    }
}

/// Adds one that happens now, and says how many there were in the second that ends now.
pub(super) fn in_last_second(last: &mut VecDeque<Moment>, now: Moment) -> usize {
    last.push_back(now);
    forget_old(last, now);
    last.len()
}

fn forget_old(last: &mut VecDeque<Moment>, now: Moment) {
    while last.front().is_some_and(|first| now.since(*first) >= SECOND) {
        last.pop_front();
    }
}
