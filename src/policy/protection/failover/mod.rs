//! Where the load of a cell goes when one of its groups is lost: to other groups of the same cell, as much as
//! they have room for, and no further. Never to another cell: account data lives in one.
//!
//! Shares are in the space of account hashes, so that the same accounts are moved and the same are served; what
//! is moved is an absolute rate besides, because a share of twice the demand is twice the load. The room of a
//! group is `max(0, h * C * (1 - reserve) - O)`: its capacity as far as it is healthy, without a reserve, less
//! what it has of its own. A group without a declared capacity has no room: a standby of unknown size is how a
//! second region falls after the first (the incident of 22 June 2026). Each replica takes its part of a
//! capacity by the configured number of replicas, never by how many it sees.
//!
//! The reserve is also what bursts may use: a second that has more than its share stays within the declared
//! capacity.

mod overflow;
mod published;
mod seen;
mod state;

use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use self::overflow::Overflow;
pub use self::overflow::overflow;
use self::published::WHOLE;
pub use self::published::{Chosen, Published, choose_group};
pub use self::seen::{Evidence, Group, GroupEvidence, Standing, Transition};
use self::state::State;
use super::super::moment::Moment;
use super::cut::Cut;
use super::pace::BURST;

/// Part of a capacity that failover leaves free: declared capacities are estimates, and load comes in bursts.
const RESERVE: f64 = 0.15;

/// By this part of a group's capacity the moved load grows at once: caches and pools get time to follow.
const GROWTH: f64 = 0.1;

/// And not again for so long.
const GROWTH_PERIOD: Duration = Duration::from_secs(5);

/// A group that is worse for less long has lost nothing: restarts of a load balancer take a second or two.
const OUT_AFTER: Duration = Duration::from_secs(3);

/// A group that is better for less long may be about to fall again (flapping health checks moved capacity in
/// and out in AWS's us-east-1 in October 2025).
const BACK_AFTER: Duration = Duration::from_secs(60);

/// Rates are averages over about so long: short enough to follow a rush, long enough for ten requests a second.
const AVERAGED: Duration = Duration::from_secs(3);

/// Accounts differ in what they ask: the share of accounts is corrected by what came of it, between these
/// bounds, so that a wrong measurement cannot run away.
const CORRECTION: (f64, f64) = (0.25, 4.0);

/// So much more than fits is asked for: what comes by chance leaves gaps, and a tenth more fills most of them.
const ASKED: f64 = 1.1;

/// So many times as many accounts ask a group that is on its way back as its rate is for: the rate is what
/// holds, and it is to be used up, though accounts differ and requests come by chance.
const RETURNING: f64 = 2.0;

/// What may be changed of a failover.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailoverRules {
    /// Part of a capacity that failover leaves free, from 0 to below 1.
    pub reserve: f64,
    /// Part of a group's capacity by which moved load may grow in `growth_period`.
    pub growth: f64,
    /// See there.
    pub growth_period: Duration,
    /// How long a group must be worse before its load is moved.
    pub out_after: Duration,
    /// How long it must be better before its load comes back.
    pub back_after: Duration,
    /// How many replicas share a declared capacity; as configured.
    pub replicas: NonZeroU32,
}

impl Default for FailoverRules {
    fn default() -> Self {
        Self {
            reserve: RESERVE,
            growth: GROWTH,
            growth_period: GROWTH_PERIOD,
            out_after: OUT_AFTER,
            back_after: BACK_AFTER,
            replicas: NonZeroU32::MIN,
        }
    }
}

/// What a new process or a new configuration needs of a group, to go on where this one was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SavedGroup {
    /// The part of its endpoints that counts as healthy.
    pub healthy: f64,
    /// How far it is back, from 0 to 1.
    pub back: f64,
    /// Requests a second that it may take of others, at this replica.
    pub allowed: f64,
}

/// One cell.
#[derive(Debug)]
pub struct Failover {
    groups: Vec<State>,
    stepped: Option<Moment>,
    demand: [f64; 4],
    /// What of moved load asked for a place.
    asked: f64,
    /// When a request found its group full.
    full: Option<Moment>,
    /// How much more or less of the accounts must be let in than their number says.
    correction: f64,
    evidence: Evidence,
}

/// What a step works with, by group; rates are this replica's.
struct Plan {
    share: f64,
    capacity: Option<f64>,
    kept: f64,
    room: f64,
}

impl Failover {
    /// So many groups of which nothing is known.
    pub fn new(groups: usize) -> Self {
        Self::restored(&vec![None; groups])
    }

    /// Goes on from what was saved, by position.
    pub fn restored(saved: &[Option<SavedGroup>]) -> Self {
        let state = |saved: &Option<SavedGroup>| State {
            healthy: saved.map(|saved| saved.healthy),
            differs: None,
            drained: false,
            answers: false,
            back: saved.map_or(1.0, |saved| saved.back),
            limited: saved.is_some_and(|saved| saved.back < 1.0),
            back_grown: Moment::START,
            allowed: saved.map_or(0.0, |saved| saved.allowed),
            allowed_grown: None,
            assigned: saved.map_or(0.0, |saved| saved.allowed),
            own_load: 0.0,
            overflow: Overflow::default(),
            standing: Standing::Serving,
        };
        Self {
            groups: saved.iter().map(state).collect(),
            stepped: None,
            demand: [0.0; 4],
            asked: 0.0,
            full: None,
            correction: 1.0,
            evidence: Evidence::default(),
        }
    }

    /// What to hand on, by position.
    pub fn saved(&self) -> Vec<Option<SavedGroup>> {
        let saved = |state: &State| {
            let (back, allowed) = (state.back, state.allowed);
            state.healthy.map(|healthy| SavedGroup { healthy, back, allowed })
        };
        self.groups.iter().map(saved).collect()
    }

    /// Why things are as they are.
    pub const fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// Looks at the groups and publishes what follows; each 100 ms to 1 s. `groups` are as many as at the
    /// beginning, and `published` is of as many. `frozen` says that the path is suspected: nothing is moved
    /// then, and nothing comes back.
    pub fn step(
        &mut self,
        rules: &FailoverRules,
        groups: &[Group],
        frozen: bool,
        published: &Published,
        now: Moment,
    ) -> Vec<Transition> {
        self.measure(published, now);
        self.evidence.frozen = frozen;
        if frozen {
            self.groups.iter_mut().for_each(|state| state.differs = None);
            published.lanes.iter().for_each(|lane| lane.overflow.set(0.0, BURST, now));
            return Vec::new();
        }
        for (state, group) in self.groups.iter_mut().zip(groups) {
            let others =
                groups.iter().filter(|other| other.usable > 0).count() > usize::from(group.usable > 0);
            state.observe(group, rules, others, now);
        }
        let plans = self.plans(rules, groups);
        let lost: f64 = plans.iter().map(|plan| plan.share * (1.0 - plan.kept)).sum();
        let need = self.demand.map(|rate| rate * lost);
        self.grow(rules, &plans, lost > 0.0, now);
        self.assign(groups, &plans, need.iter().sum());
        self.explain(&plans, need.iter().sum());
        self.publish(rules, &plans, &need, published, now);
        self.transitions(now)
    }

    fn measure(&mut self, published: &Published, now: Moment) {
        let passed = self.stepped.map(|before| now.since(before));
        self.stepped = Some(now);
        let weight = match passed {
            // The first look: nothing was counted before.
            None => return,
            Some(passed) => 1.0 - (-passed.as_secs_f64() / AVERAGED.as_secs_f64()).exp(),
        };
        let seconds = passed.unwrap_or_default().as_secs_f64().max(1e-3);
        let average = |rate: &mut f64, count: u64| *rate += (count as f64 / seconds - *rate) * weight;
        for (rate, counter) in self.demand.iter_mut().zip(&published.offered) {
            average(rate, counter.swap(0, Ordering::Relaxed));
        }
        let mut asked = 0;
        for (state, lane) in self.groups.iter_mut().zip(&published.lanes) {
            average(&mut state.own_load, lane.own_count.swap(0, Ordering::Relaxed));
            average(&mut state.overflow.seen, lane.overflow_count.swap(0, Ordering::Relaxed));
            asked += lane.asked_count.swap(0, Ordering::Relaxed);
        }
        if published.full_count.swap(0, Ordering::Relaxed) > 0 {
            self.full = Some(now);
        }
        average(&mut self.asked, asked);
    }

    fn plans(&mut self, rules: &FailoverRules, groups: &[Group]) -> Vec<Plan> {
        let demand: f64 = self.demand.iter().sum();
        let replicas = f64::from(rules.replicas.get());
        let first = groups.iter().map(|group| group.priority).min();
        let serves = |group: &&Group| Some(group.priority) == first;
        let declared = groups.iter().filter(serves).all(|group| group.capacity.is_some());
        let weight = |group: &Group| match group.capacity {
            Some(capacity) if declared => capacity,
            _ => f64::from(group.endpoints),
        };
        let all: f64 = groups.iter().filter(serves).map(weight).sum();
        let plan = |(group, state): (&Group, &mut State)| {
            let share = if serves(&group) && all > 0.0 { weight(group) / all } else { 0.0 };
            let capacity = group.capacity.map(|capacity| capacity / replicas);
            state.settle(demand * share, capacity);
            let healthy = state.healthy.unwrap_or_default();
            // What has just been lost has no room, what has just come back has none yet.
            let now_healthy = healthy.min(group.healthy());
            let free = capacity.unwrap_or_default() * now_healthy * (1.0 - rules.reserve) - state.own_load;
            let room = if state.limited { 0.0 } else { free.max(0.0) };
            Plan { share, capacity, kept: state.kept(demand * share, capacity), room }
        };
        groups.iter().zip(&mut self.groups).map(plan).collect()
    }

    /// Moved load grows by steps, from what it was.
    fn grow(&mut self, rules: &FailoverRules, plans: &[Plan], lost: bool, now: Moment) {
        let overflows = self.full.is_some_and(|full| now.since(full) < rules.growth_period);
        for (state, plan) in self.groups.iter_mut().zip(plans) {
            let rests = state.allowed_grown.is_some_and(|grown| now.since(grown) < rules.growth_period);
            if !lost {
                state.allowed = 0.0;
            } else if !rests {
                state.allowed = state.assigned + plan.capacity.unwrap_or_default() * rules.growth;
                state.allowed_grown = Some(now);
            }
            state.allowed = state.allowed.min(plan.room);
            let (capacity, left) = (plan.capacity.unwrap_or_default(), plan.room - state.allowed);
            state.overflow.step(rules, capacity, left, overflows, now);
        }
    }

    /// The same number first, in proportion to what each may take; then the next.
    fn assign(&mut self, groups: &[Group], plans: &[Plan], need: f64) {
        let mut left = need;
        let mut levels: Vec<u8> = groups.iter().map(|group| group.priority).collect();
        levels.sort_unstable();
        levels.dedup();
        for level in levels {
            let here = |at: &usize| groups[*at].priority == level;
            let allowed: f64 = (0..plans.len()).filter(here).map(|at| self.groups[at].allowed).sum();
            let part = if allowed > left { left / allowed } else { 1.0 };
            for at in (0..plans.len()).filter(here) {
                self.groups[at].assigned = self.groups[at].allowed * part;
            }
            left = (left - allowed).max(0.0);
        }
        let fits = need - left;
        if left <= 0.0 {
            self.correction = 1.0;
        } else if self.asked > 0.0 && fits > 0.0 {
            // A hundredth a step: measurements are averages, and who is served should not change by chance.
            let better = self.correction * (ASKED * fits / self.asked).clamp(0.99, 1.01);
            self.correction = better.clamp(CORRECTION.0, CORRECTION.1);
        }
    }

    fn explain(&mut self, plans: &[Plan], need: f64) {
        let assigned: f64 = self.groups.iter().map(|state| state.assigned).sum();
        let group = |(state, plan): (&State, &Plan)| GroupEvidence {
            standing: state.now_stands(),
            capacity: plan.capacity,
            healthy: state.healthy.unwrap_or_default(),
            share: plan.share,
            kept: plan.kept,
            own_load: state.own_load,
            room: plan.room,
            allowed: state.allowed,
            assigned: state.assigned,
            overflow: state.overflow.seen,
        };
        self.evidence.demand = self.demand;
        self.evidence.need = need;
        self.evidence.shed = (need - assigned).max(0.0);
        self.evidence.groups = self.groups.iter().zip(plans).map(group).collect();
    }

    fn publish(
        &self,
        rules: &FailoverRules,
        plans: &[Plan],
        need: &[f64; 4],
        published: &Published,
        now: Moment,
    ) {
        let _update = published.update();
        let all: f64 = need.iter().sum();
        let (mut end, mut assigned) = (0.0, 0.0);
        for ((state, plan), lane) in self.groups.iter().zip(plans).zip(&published.lanes) {
            end += plan.share;
            assigned += state.assigned;
            let fits = assigned >= all * (1.0 - 1e-9) && state.allowed > 0.0;
            let cut = if fits { Cut::ALL } else { Cut::of(need, assigned * self.correction) };
            // Nobody is sent where nothing may go: a class that nobody asks for would be.
            let cut = if assigned > 0.0 || fits { cut } else { Cut::NONE };
            let healthy = state.healthy.unwrap_or_default();
            let capacity = plan.capacity.map_or(f64::INFINITY, |capacity| capacity * healthy);
            let takes = state.allowed + state.overflow.allowed > 0.0;
            let total = if takes { capacity * (1.0 - rules.reserve) } else { f64::INFINITY };
            let burst = if takes { burst_requests(rules, capacity) } else { 0.0 };
            let own = if state.limited { capacity * state.back } else { f64::INFINITY };
            lane.home_end.store(parts(end), Ordering::Relaxed);
            let kept = if state.limited { plan.kept * RETURNING } else { plan.kept };
            lane.kept.store(parts(kept), Ordering::Relaxed);
            lane.takes_the_rest.store(state.takes_the_rest(), Ordering::Relaxed);
            lane.cut.store(cut.bits(), Ordering::Relaxed);
            // Its own may come as unevenly as the reserve bears.
            lane.own.set(own, at_once(rules.reserve * capacity, own), now);
            lane.total.set(total, at_once(burst, total), now);
            for (pace, rate) in [(&lane.moved, state.allowed), (&lane.overflow, state.overflow.allowed)] {
                pace.set(rate, at_once(burst, rate), now);
            }
        }
    }

    fn transitions(&mut self, at: Moment) -> Vec<Transition> {
        let mut found = Vec::new();
        for (group, state) in self.groups.iter_mut().enumerate() {
            let (from, to) = (state.standing, state.now_stands());
            state.standing = to;
            if from != to {
                found.push(Transition { group, from, to, at, healthy: state.healthy.unwrap_or_default() });
            }
        }
        found
    }
}

fn parts(share: f64) -> u64 {
    ((share * WHOLE as f64).round() as u64).min(WHOLE)
}

/// So many requests may come at once beyond the one that is due: as many as keep a second within the capacity
/// and 2 %, beside the rate that leaves the reserve free. Whole ones, for the others cannot be counted.
fn burst_requests(rules: &FailoverRules, capacity: f64) -> f64 {
    let rate = capacity * (1.0 - rules.reserve);
    ((capacity * (1.0 + BURST.as_secs_f64())).floor() - rate).max(0.0)
}

/// So many requests as time at a rate.
fn at_once(requests: f64, rate: f64) -> Duration {
    if rate > 0.0 && rate.is_finite() { Duration::from_secs_f64((requests / rate).min(1.0)) } else { BURST }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_unknown_size_is_told_of_and_takes_nothing() {
        let group = |priority, capacity, usable| Group {
            priority,
            capacity,
            endpoints: 2,
            usable,
            is_drained: false,
            answers: false,
        };
        let groups = [group(0, Some(100.0), 0), group(1, None, 2), group(2, Some(50.0), 2)];
        let published = Published::new(3);
        let mut failover = Failover::new(3);
        for step in 0..100u64 {
            let now = Moment::from_nanos(step * 1_000_000_000);
            failover.step(&FailoverRules::default(), &groups, false, &published, now);
            for number in 0..20 {
                let key = step * 20 + number;
                let chosen = choose_group(&published, key, None, super::super::priority::Priority::Api, now);
                assert!(matches!(chosen, Chosen::Shed | Chosen::Moved(2)), "{chosen:?}");
            }
        }
        let assigned = failover.evidence().groups.iter().map(|group| group.assigned).collect::<Vec<_>>();
        assert!(assigned[1] == 0.0 && assigned[2] > 15.0, "{assigned:?}");
        let again = Failover::restored(&failover.saved());
        assert_eq!(again.saved(), failover.saved(), "what is handed on is what was");
    }
    #[test]
    fn what_nobody_has_room_for_stays_in_a_zone_that_is_left_and_answers() {
        let group = |usable, answers| {
            let capacity = Some(50.0);
            Group { priority: 0, capacity, endpoints: 2, usable, is_drained: false, answers }
        };
        let published = Published::new(2);
        let mut failover = Failover::new(2);
        let mut counts = |seconds: std::ops::Range<u64>, first: Group| {
            let (mut moved, mut shed) = (0, 0);
            for step in seconds.start * 10..seconds.end * 10 {
                let now = Moment::from_nanos(step * 100_000_000);
                failover.step(&FailoverRules::default(), &[first, group(2, false)], false, &published, now);
                for number in 0..8 {
                    let key = step * 8 + number;
                    let class = super::super::priority::Priority::Api;
                    match choose_group(&published, key, None, class, now) {
                        Chosen::Own(_) => {}
                        Chosen::Moved(_) => moved += 1,
                        Chosen::Shed => shed += 1,
                    }
                }
            }
            (moved > 0, shed)
        };
        assert_eq!(counts(0..20, group(2, false)), (false, 0), "all is well");
        // Half of 80 a second have two of fifty left to go to.
        assert_eq!(counts(20..60, group(0, true)), (true, 0), "its zone is sick");
        assert_eq!(
            counts(60..200, group(2, false)),
            (true, 0),
            "the zone is well again, and it comes back by steps"
        );
        assert_eq!(counts(200..210, group(2, false)), (false, 0));
        assert_eq!(counts(210..240, group(0, true)), (true, 0));
        let (moved, shed) = counts(240..250, group(0, false));
        assert!(moved && shed > 100, "nothing is left of it: {shed}");
        assert!(counts(250..300, group(2, false)).1 > 100, "and then it is cold");
    }
}
