//! A limiter for each group of a cell that has several: it learns from what ended in that group, so that one that is
//! slow gets less and the cell's other groups lose nothing by it.
//!
//! Two bounds beside what is learned. A group has at most twice its part of the cell's permits, so that one that gets
//! slow comes to where its limiter learns before it has all of them. And one that has more than its part by a quarter
//! leaves the last eighth of the cell to the others from the first moment on, while nothing is learned yet.

use super::super::super::ids::Label;
use super::super::super::snapshot::{Cell, Group};
use super::super::concurrency::{Limit, LimitRules, SavedLimit, Why, WindowSample};
use super::super::group_load::UNLIMITED;
use super::super::health::{AttemptEnd, Taken, Usable};
use super::super::histogram::Latencies;
use super::scene::{Scene, count};

/// A group that is asked for its part uses half of its bound, which is where a [`Limit`] begins to learn.
const MOST_PARTS: f64 = 2.0;

/// More than its part by so much is no accident of who asks when.
const OVER_PART: f64 = 1.25;

/// A group has no queue of its own, so that of its requests some may wait in it: with less than a quarter, one that is
/// well and busy is refused what comes in bunches.
const TOLERANCE: f64 = 1.25;

/// The groups of one cell.
#[derive(Debug, Default)]
pub(super) struct GroupLimits(Vec<GroupLimit>);

#[derive(Debug)]
struct GroupLimit {
    zone: Label,
    limit: Limit,
    declared: u32,
    /// Of what is declared for the cell.
    part: u32,
    /// The cell has others in use.
    is_one_of_several: bool,
    second: Second,
}

/// What ended in a group in this second so far.
#[derive(Debug, Default)]
struct Second {
    started: u32,
    dropped: u32,
    first_bytes: Latencies,
}

impl GroupLimits {
    /// Where they were before a restart.
    pub fn restored(cell: &Cell, saved: &[(Label, SavedLimit)]) -> Self {
        let one = |group: &Group| {
            let before = saved.iter().find(|(zone, _)| *zone == group.zone).map(|(_, saved)| *saved);
            GroupLimit::new(group, before)
        };
        Self(cell.groups.iter().map(one).collect())
    }

    /// Counts what ended at an endpoint of a zone.
    pub fn count(&mut self, zone: &Label, taken: &Taken) {
        if let Some(group) = self.0.iter_mut().find(|group| group.zone == *zone) {
            group.second.count(taken);
        }
    }

    /// A second has passed. Gives what it shows of the cell: a group that is held to its part is in trouble of its
    /// own and says nothing of the cell, as long as another one says something.
    pub fn second(&mut self, scene: &Scene<'_>, of_cell: WindowSample) -> WindowSample {
        let mut others = Second::default();
        let (mut one_is_held, mut in_flight_max_of_others) = (false, 0);
        for (group, limit) in scene.cell.groups.iter().zip(&mut self.0) {
            let second = std::mem::take(&mut limit.second);
            let in_flight_max = group.load.take_in_flight_max();
            limit.limit.step(&second.sample(in_flight_max), scene.look.now);
            // What is late is to be lowered from where it is felt.
            let over = group.load.take_over();
            if let (Some(part), Why::Late) = (over, limit.limit.why()) {
                limit.limit.lower(part);
            }
            match over.is_some() || limit.is_held() {
                true => one_is_held = true,
                false => {
                    others.add(&second);
                    in_flight_max_of_others += in_flight_max;
                }
            }
        }
        let least = LimitRules::of(0).least_samples;
        match one_is_held && others.started >= least {
            true => others.sample(in_flight_max_of_others.min(of_cell.in_flight_max)),
            false => of_cell,
        }
    }

    /// Goes on with the groups that are there, and tells requests how many each takes. `most` are declared for the cell,
    /// of which it takes `limit` now. Where an operator's cap alone is enforced, nothing that was learned is.
    pub fn publish(&mut self, scene: &Scene<'_>, most: u32, limit: u32, only_capped: bool) {
        let groups = &scene.cell.groups;
        if !groups.iter().map(|group| &group.zone).eq(self.0.iter().map(|known| &known.zone)) {
            let saved = self.saved();
            *self = Self::restored(scene.cell, &saved);
        }
        for (at, (group, known)) in groups.iter().zip(&mut self.0).enumerate() {
            let part = part(scene, at);
            known.is_one_of_several = part < 1.0;
            known.part = permits(most, part);
            known.declare(bound(group, most, part));
            if only_capped || !known.is_one_of_several {
                group.load.set(UNLIMITED, UNLIMITED);
            } else {
                group.load.set(known.limit.value(), permits(limit, part * OVER_PART));
            }
        }
    }

    /// How many a group takes, and why; none where the cell's limiter is its own.
    pub fn of(&self, at: usize) -> Option<(u32, Why)> {
        let known = self.0.get(at).filter(|known| known.is_one_of_several)?;
        Some((known.limit.value(), known.limit.why()))
    }

    /// For the state file.
    pub fn saved(&self) -> Vec<(Label, SavedLimit)> {
        self.0.iter().map(|known| (known.zone.clone(), known.limit.saved())).collect()
    }
}

impl GroupLimit {
    fn new(group: &Group, saved: Option<SavedLimit>) -> Self {
        let declared = group.requests.most;
        let rules = LimitRules { tolerance: TOLERANCE, ..LimitRules::of(declared) };
        let limit = saved.map_or_else(|| Limit::new(rules), |saved| Limit::restored(rules, saved));
        Self {
            zone: group.zone.clone(),
            limit,
            declared,
            part: 0,
            is_one_of_several: false,
            second: Second::default(),
        }
    }

    fn declare(&mut self, declared: u32) {
        if declared != self.declared {
            self.declared = declared;
            self.limit.declare(declared);
        }
    }

    fn is_held(&self) -> bool {
        self.is_one_of_several && self.limit.value() < self.part
    }
}

impl Second {
    fn count(&mut self, taken: &Taken) {
        use AttemptEnd::{Broken, Gateway, Pushback, Unconnected};
        let dropped = [Pushback, Gateway, Unconnected, Broken].map(|end| taken.count(end));
        self.started += taken.attempts();
        self.dropped += dropped.iter().sum::<u32>();
        self.first_bytes.add(&taken.first_bytes);
    }

    fn add(&mut self, other: &Self) {
        self.started += other.started;
        self.dropped += other.dropped;
        self.first_bytes.add(&other.first_bytes);
    }

    fn sample(&self, in_flight_max: u32) -> WindowSample {
        WindowSample {
            started: self.started,
            dropped: self.dropped,
            first_byte_p50: self.first_bytes.middle().unwrap_or_default(),
            first_bytes: u32::try_from(self.first_bytes.count()).unwrap_or(u32::MAX),
            in_flight_max,
        }
    }
}

/// The part of the cell that a group is: of those that can be used, and that are not used after it only.
fn part(scene: &Scene<'_>, at: usize) -> f64 {
    let groups = &scene.cell.groups;
    let declared = groups.iter().all(|group| group.capacity_rps.is_some());
    let weight = |group: &Group| match group.capacity_rps {
        Some(capacity) if declared => f64::from(capacity),
        _ => f64::from(count(group.endpoints.len())),
    };
    let is_used = |group: &Group| {
        group.endpoints.iter().any(|endpoint| {
            endpoint.load.watch.usable() != Usable::No && !scene.is_drained(&group.zone, &endpoint.address)
        })
    };
    let own = &groups[at];
    let others = groups
        .iter()
        .enumerate()
        .filter(|(other, group)| *other != at && group.priority <= own.priority && is_used(group));
    let others: f64 = others.map(|(_, group)| weight(group)).sum();
    weight(own) / (weight(own) + others).max(1.0)
}

/// A group without an endpoint has no part, and no bound matters.
fn bound(group: &Group, most: u32, part: f64) -> u32 {
    group.requests.most.min(permits(most, (part * MOST_PARTS).min(1.0)))
}

fn permits(of: u32, part: f64) -> u32 {
    // Saturates, which no number of permits comes near.
    ((f64::from(of) * part).ceil() as u32).max(1)
}
