//! One cell under judgement: its endpoints, its groups, its ramp and its limit, stepped in this order.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::super::guard::Mode;
use super::super::super::ids::Label;
use super::super::super::moment::Moment;
use super::super::super::snapshot::{Cell, Endpoint, EndpointKey};
use super::super::concurrency::{Limit, LimitRules, Why, WindowSample};
use super::super::failover::{self, Failover, FailoverRules, Published, SavedGroup, Standing};
use super::super::health::{
    self, FAIL_OPEN_SHARE, Health, HealthRules, Panic, Siblings, State, Summary, TRICKLE_LEAST_PER_SECOND,
    TRICKLE_SHARE,
};
use super::super::histogram::Latencies;
use super::super::observing::{Alarm, Observing};
use super::super::outcomes::Came;
use super::super::policies::Policy;
use super::super::ramp::{self, Phase, Pin, Ramp, RampRules};
use super::super::verdict::Verdicts;
use super::super::verdict::said::Verdict;
use super::super::would::Act;
use super::begin::Begin;
use super::groups::GroupLimits;
use super::recent::RecentGroups;
use super::report::{CellReport, EndpointReport, GroupReport};
use super::scene::{Scene, capacity, count, declared, may_eject, nowhere, ramp_rules, zones};
use super::usual::Usual;
use super::{Change, Look, SavedCell, place};

/// Over so many seconds the 95th percentile of a cell is taken: a ramp's period.
const SECONDS: usize = 5;

/// Weight of a second in the good rate of a cell.
const RATE: f64 = 0.1;

/// See the file.
#[derive(Debug)]
pub(super) struct CellJudge {
    endpoints: Vec<(EndpointKey, Health)>,
    zones: Vec<Label>,
    failover: Failover,
    published: Arc<Published>,
    ramp: Ramp,
    limit: Limit,
    group_limits: GroupLimits,
    declared: u32,
    /// Of this second so far, as recovery sees it, as the limit does, and as health does.
    second: [Came; 3],
    /// The last seconds.
    latencies: [Latencies; SECONDS],
    usual: Usual,
    /// Requests a second that were served, while things were well.
    good_rate: f64,
    panic: Panic,
    observing: Observing,
    alarm: Option<Alarm>,
    recent: RecentGroups,
}

impl CellJudge {
    pub(super) fn new(cell: &Cell, look: &Look<'_>, offset: f64, begin: Begin) -> Self {
        let (is_warm, saved) = begin.parts();
        let Look { now, now_secs, .. } = *look;
        let rules = ramp_rules(look.snapshot);
        let before = saved.as_ref().map(|saved| &saved.ramp);
        let ramp = match is_warm {
            true => Ramp::full(offset, now),
            false => Ramp::started(&rules, before, capacity(cell), offset, now, now_secs),
        };
        let (declared, known) = (declared(cell), LimitRules::of(declared(cell)));
        let limit = match &saved {
            Some(saved) => Limit::restored(known, saved.limit),
            None => Limit::new(known),
        };
        let endpoint = |endpoint: &Endpoint| {
            let (_, before) = saved.as_ref()?.endpoints.iter().find(|(key, _)| **key == *endpoint.key.0)?;
            let watch = Arc::clone(&endpoint.load.watch);
            let health = Health::restored(watch, *before, now, now_secs, &HealthRules::default());
            Some((endpoint.key.clone(), health))
        };
        let (zones, groups) = saved.iter().flat_map(|saved| saved.groups.iter().cloned()).unzip();
        let (zones, groups): (Vec<Label>, Vec<SavedGroup>) = (zones, groups);
        let published = Arc::new(Published::new(zones.len()));
        if !zones.is_empty() {
            cell.load.standing.publish_groups(Arc::clone(&published));
        }
        let judge = Self {
            endpoints: cell.endpoints().filter_map(endpoint).collect(),
            zones,
            failover: Failover::restored(&groups.into_iter().map(Some).collect::<Vec<_>>()),
            published: Arc::clone(&published),
            ramp,
            limit,
            group_limits: GroupLimits::restored(
                cell,
                saved.as_ref().map_or(&[], |saved| &saved.group_limits),
            ),
            declared,
            second: Default::default(),
            latencies: [Latencies::NONE; SECONDS],
            usual: Usual::restored(saved.as_ref().and_then(|saved| saved.usual_p95)),
            good_rate: saved.as_ref().map_or(0.0, |saved| saved.good_rate),
            panic: Panic::Calm,
            observing: Observing::restored(saved.as_ref().and_then(|saved| saved.would_act)),
            alarm: None,
            recent: RecentGroups::default(),
        };
        // What came before anybody looked is of no second.
        cell.load.standing.outcomes.take();
        judge
    }

    pub(super) fn look(
        &mut self,
        cell: &Cell,
        look: &Look<'_>,
        verdicts: &Verdicts,
        new_second: bool,
        random: &mut dyn FnMut() -> f64,
        changes: &mut Vec<Change>,
    ) {
        let scene = Scene { cell, look, verdicts };
        self.know_endpoints(&scene);
        self.health(&scene, random, changes);
        let usable = self.panic(&scene);
        self.groups(&scene, changes);
        self.ramp(&scene, usable, changes);
        if new_second {
            self.count_second(&scene);
            let until = cell.protection.observe_until;
            let count = cell.load.standing.would_have().total();
            self.alarm = self.observing.look(count, until, look.now, look.now_secs);
        }
        self.limit(&scene);
        let may_retry = verdicts.retries_allowed(&cell.name)
            && (!matches!(self.ramp.phase(), Phase::Down | Phase::Probing)
                || scene.mode(Policy::Recovery) != Mode::Enforce);
        cell.load.standing.may_retry.store(may_retry, Ordering::Relaxed);
    }

    /// Goes on with those that are still there, by key.
    fn know_endpoints(&mut self, scene: &Scene<'_>) {
        let now = scene.look.now;
        let same = scene.cell.endpoints().map(|one| &one.key).eq(self.endpoints.iter().map(|(key, _)| key));
        if !same {
            let mut before = std::mem::take(&mut self.endpoints);
            for endpoint in scene.cell.endpoints() {
                let known = before.iter().position(|(key, _)| *key == endpoint.key);
                let health = known.map(|at| before.swap_remove(at).1);
                let health = health.unwrap_or_else(|| Health::new(Arc::clone(&endpoint.load.watch), now));
                self.endpoints.push((endpoint.key.clone(), health));
            }
        }
        let zones = || scene.cell.groups.iter().map(|group| &group.zone);
        if !zones().eq(&self.zones) {
            let saved = self.failover.saved();
            let of = |zone: &Label| saved.get(self.zones.iter().position(|known| known == zone)?).copied()?;
            self.failover = Failover::restored(&zones().map(of).collect::<Vec<_>>());
            self.zones = zones().cloned().collect();
            self.published = Arc::new(Published::new(self.zones.len()));
            scene.cell.load.standing.publish_groups(Arc::clone(&self.published));
        }
    }

    fn health(&mut self, scene: &Scene<'_>, random: &mut dyn FnMut() -> f64, changes: &mut Vec<Change>) {
        let mode = scene.mode(Policy::Health);
        if mode == Mode::Off {
            for ((_, health), zone) in self.endpoints.iter_mut().zip(zones(scene.cell)) {
                self.group_limits.count(zone, &health.rest(scene.look.now));
            }
            return;
        }
        let checked = scene.cell.protection.check.as_ref();
        let rules = checked.map_or_else(HealthRules::default, |check| HealthRules {
            fall: check.fall,
            rise: check.rise,
            ..HealthRules::default()
        });
        let summaries: Vec<Summary> = self.endpoints.iter().map(|(_, health)| health.summary()).collect();
        self.recent.begin(scene.cell.groups.len(), scene.look.now);
        let groups = scene.cell.groups.iter().enumerate();
        let endpoints = groups.flat_map(|(of, group)| group.endpoints.iter().map(move |e| (of, group, e)));
        for (at, (of, group, endpoint)) in endpoints.enumerate() {
            let place = place(scene.cell, &group.zone, &endpoint.address);
            let taken = endpoint.load.watch.take();
            self.group_limits.count(&group.zone, &taken);
            self.recent.count(of, &taken);
            let checks = endpoint.load.take_checks();
            let look = health::Look {
                taken: &taken,
                siblings: Siblings::of(&summaries, at),
                checks: (!checks.is_empty() || scene.cell.protection.is_checked()).then_some(&checks[..]),
                frozen: scene.verdicts.freezes(&place),
                may_eject: may_eject(&summaries, at),
                enforce: mode == Mode::Enforce,
                random: random(),
                rules: &rules,
            };
            if let Some(change) = self.endpoints[at].1.step(&look, scene.look.now) {
                if change.would_have && matches!(change.to, State::Ejected | State::Down) {
                    scene.cell.load.standing.would.act(Policy::Health, Act::Ejected);
                }
                changes.push(Change::Endpoint(scene.cell.name.clone(), endpoint.address.to_string(), change));
            }
        }
    }

    /// What is done where most of the cell is out; how many endpoints may be used.
    fn panic(&mut self, scene: &Scene<'_>) -> u32 {
        let set = scene.usable_set(Policy::Health);
        self.panic = set.panic;
        let standing = &scene.cell.load.standing;
        standing.panic.store(set.panic as u8, Ordering::Relaxed);
        let share = if set.panic == Panic::FailOpen { FAIL_OPEN_SHARE } else { TRICKLE_SHARE };
        let least = TRICKLE_LEAST_PER_SECOND / f64::from(scene.look.snapshot.protection.replicas.get());
        let rate = (self.good_rate * share).max(least);
        standing.trickle.set(rate, super::super::pace::BURST, scene.look.now);
        // A cell that fails open has what it lets in. One that operators have drained has not fallen.
        match count(scene.usable_set(Policy::Recovery).open.len()) {
            0 => scene.count_well(Policy::Recovery),
            open => open,
        }
    }

    fn groups(&mut self, scene: &Scene<'_>, changes: &mut Vec<Change>) {
        let protection = &scene.look.snapshot.protection;
        let rules = FailoverRules { replicas: protection.replicas, ..FailoverRules::default() };
        let mut groups: Vec<failover::Group> =
            scene.cell.groups.iter().map(|group| scene.as_seen(group)).collect();
        // Where no group is known to be well, nothing can be moved. How such a cell comes back is the ramp's to say: were
        // its load withheld here besides, nobody would ever find out that it is back.
        if groups.len() < 2 || !scene.cell.groups.iter().any(|group| scene.is_sure(group)) {
            groups.iter_mut().for_each(|group| group.usable = group.endpoints);
        }
        let frozen = scene.verdicts.freezes(&nowhere(scene.cell));
        let found = self.failover.step(&rules, &groups, frozen, &self.published, scene.look.now);
        let named = |change: failover::Transition| {
            Change::Group(scene.cell.name.clone(), self.zones[change.group].clone(), change)
        };
        changes.extend(found.into_iter().map(named));
    }

    fn ramp(&mut self, scene: &Scene<'_>, usable: u32, changes: &mut Vec<Change>) {
        let Look { now, .. } = *scene.look;
        let standing = &scene.cell.load.standing;
        let all = scene.came([Policy::Recovery, Policy::Limit, Policy::Health]);
        let came = &all[0];
        let pinned = scene.look.levers.and_then(|levers| levers.ramp(scene.cell.name.as_str()));
        // Renewed by each look as long as the lever is pulled.
        let pin = pinned.map(|of| Pin { rate: f64::from(of.value), until: now + super::SECOND });
        self.ramp.set_pin(pin, now);
        let look = ramp::Look {
            declared: capacity(scene.cell),
            usable,
            succeeded: came.served.into(),
            // A process that sleeps lets requests die of old age.
            failed: if scene.verdicts.stands(&Verdict::Proxy) { 0 } else { came.failed.into() },
            failing_accounts: came.failing_accounts,
            group_serves: self.recent.another_serves(scene),
            p95: self.p95(),
            baseline: self.usual.p95(),
            queue_share: f64::from(scene.queued()) / f64::from(self.limit.value().max(1)),
        };
        self.second.iter_mut().zip(&all).for_each(|(second, came)| second.add(came));
        if let Some(change) = self.ramp.step(&ramp_rules(scene.look.snapshot), &look, &standing.envelope, now)
        {
            changes.push(Change::Ramp(scene.cell.name.clone(), change));
        }
    }

    fn count_second(&mut self, scene: &Scene<'_>) {
        let [came, of_limit, of_health] = std::mem::take(&mut self.second);
        let now = scene.look.now;
        let first_bytes = of_limit.first_bytes.count();
        let sample = WindowSample {
            started: of_limit.served + of_limit.failed + of_limit.pushed_back,
            dropped: of_limit.failed + of_limit.pushed_back,
            first_byte_p50: of_limit.first_bytes.middle().unwrap_or_default(),
            first_bytes: u32::try_from(first_bytes).unwrap_or(u32::MAX),
            in_flight_max: scene.in_flight_max(),
        };
        self.limit.step(&self.group_limits.second(scene, sample), now);
        self.latencies.rotate_right(1);
        self.latencies[0] = came.first_bytes;
        // A ramp that only watches has no say in what is usual.
        let is_well = match scene.mode(Policy::Recovery) {
            Mode::Enforce => self.ramp.phase() == Phase::Full,
            Mode::Observe | Mode::Off => self.panic == Panic::Calm,
        };
        if is_well {
            if let Some(p95) = self.p95() {
                let zones = scene.cell.groups.iter().map(|group| &group.zone);
                let is_limited = matches!(self.limit.why(), Why::Losses | Why::Late);
                let is_sick = is_limited || scene.verdicts.concern(&scene.cell.name, zones);
                self.usual.learn(p95, is_sick);
            }
            self.good_rate += (f64::from(of_health.served) - self.good_rate) * RATE;
        }
    }

    fn limit(&mut self, scene: &Scene<'_>) {
        let declared = declared(scene.cell);
        if declared != self.declared {
            self.declared = declared;
            self.limit.declare(declared);
        }
        let standing = &scene.cell.load.standing;
        let caps = scene.look.levers.map(|levers| levers.cap(scene.cell.name.as_str())).unwrap_or_default();
        standing.cap.look(caps.rps.map(|of| of.value), scene.look.now);
        let most = caps.in_flight.map_or(u32::MAX, |of| of.value);
        // An operator's word is enforced also where what is learned is not.
        let only_capped = caps.in_flight.is_some() && scene.mode(Policy::Limit) != Mode::Enforce;
        let limit = scene.step_gates((!only_capped).then(|| self.limit.value()), most, declared);
        self.group_limits.publish(scene, declared.min(most), limit, only_capped);
    }

    fn p95(&self) -> Option<Duration> {
        let mut all = Latencies::NONE;
        self.latencies.iter().for_each(|second| all.add(second));
        let rank = (all.count() * 95).div_ceil(100);
        all.at_rank(rank).map(|(from, to)| (from + to) / 2)
    }

    pub(super) fn is_busy(&self) -> bool {
        let groups = self.failover.evidence().groups.iter();
        self.ramp.phase() != Phase::Full
            || self.endpoints.iter().any(|(_, health)| health.state() != State::Up)
            || groups.into_iter().any(|group| group.standing != Standing::Serving)
    }

    pub(super) fn saved(&self, name: &Label, rules: &RampRules, now: Moment, now_secs: u64) -> SavedCell {
        let groups = self.zones.iter().cloned().zip(self.failover.saved());
        let endpoints = self.endpoints.iter();
        SavedCell {
            cell: name.clone(),
            ramp: ramp::Saved { pin: None, ..self.ramp.saved(rules, now, now_secs) },
            limit: self.limit.saved(),
            usual_p95: self.usual.p95(),
            good_rate: self.good_rate,
            groups: groups.filter_map(|(zone, saved)| Some((zone, saved?))).collect(),
            group_limits: self.group_limits.saved(),
            endpoints: endpoints.map(|(key, one)| ((*key.0).into(), one.saved(now, now_secs))).collect(),
            would_act: self.observing.longest(),
        }
    }

    pub(super) fn report(&self, cell: &Cell, now: Moment) -> CellReport {
        let mut endpoints = self.endpoints.iter();
        let groups = cell.groups.iter().enumerate().map(|(at, group)| GroupReport {
            failover: self.failover.evidence().groups.get(at).copied(),
            limit: self.group_limits.of(at),
            endpoints: group
                .endpoints
                .iter()
                .zip(endpoints.by_ref())
                .map(|(endpoint, (_, health))| EndpointReport::new(endpoint, health, now))
                .collect(),
            ..GroupReport::new(group)
        });
        let groups = groups.collect();
        let standing = &cell.load.standing;
        CellReport {
            cell: cell.name.clone(),
            phase: self.ramp.phase(),
            ramp: *self.ramp.evidence(),
            panic: self.panic,
            limit: self.limit.value(),
            limit_why: self.limit.why(),
            declared: self.declared,
            in_flight: standing.gate.in_flight(),
            long_lived: standing.gate.long_lived(),
            queued: standing.gate.queued(),
            room: standing.gate.room(),
            demand: self.failover.evidence().demand,
            shed: self.failover.evidence().shed,
            frozen: self.failover.evidence().frozen,
            may_retry: standing.may_retry(),
            p95: self.p95(),
            usual_p95: self.usual.p95(),
            would_have: standing.would_have(),
            alarm: self.alarm,
            would_act: self.observing.longest(),
            groups,
        }
    }
}
