//! One cell under judgement: its endpoints, its groups, its ramp and its limit, stepped in this order.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::super::guard::Mode;
use super::super::super::ids::Label;
use super::super::super::moment::Moment;
use super::super::super::snapshot::{Cell, Endpoint, EndpointAddress, EndpointKey, Group};
use super::super::concurrency::{Limit, LimitRules, WindowSample};
use super::super::failover::{self, Failover, FailoverRules, Published, SavedGroup, Standing};
use super::super::health::{
    self, FAIL_OPEN_SHARE, Health, HealthRules, Member, Panic, Siblings, Summary, TRICKLE_LEAST_PER_SECOND,
    TRICKLE_SHARE, usable_set,
};
use super::super::histogram::Latencies;
use super::super::observing::{Alarm, Observing};
use super::super::outcomes::Came;
use super::super::policies::Policy;
use super::super::ramp::{self, Phase, Pin, Ramp, RampRules};
use super::super::verdict::Verdicts;
use super::begin::Begin;
use super::recent::RecentGroups;
use super::report::{CellReport, EndpointReport, GroupReport};
use super::scene::{Scene, capacity, count, declared, may_eject, nowhere, ramp_rules, would_have};
use super::{Change, Look, SavedCell, place};

/// Over so many seconds the 95th percentile of a cell is taken: a ramp's period.
const SECONDS: usize = 5;

/// Weight of a second in what is usual for a cell: about the last minutes.
const USUAL: f64 = 0.01;

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
    declared: u32,
    /// Of this second so far.
    second: Came,
    /// The last seconds.
    latencies: [Latencies; SECONDS],
    usual: Option<Duration>,
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
            declared,
            second: Came::default(),
            latencies: [Latencies::NONE; SECONDS],
            usual: saved.as_ref().and_then(|saved| saved.usual_p95),
            good_rate: saved.as_ref().map_or(0.0, |saved| saved.good_rate),
            panic: Panic::Calm,
            observing: Observing::default(),
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
            let count = would_have(cell).iter().sum();
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
            self.endpoints.iter_mut().for_each(|(_, health)| health.rest(scene.look.now));
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
                changes.push(Change::Endpoint(scene.cell.name.clone(), endpoint.address.to_string(), change));
            }
        }
    }

    /// What is done where most of the cell is out; how many endpoints may be used.
    fn panic(&mut self, scene: &Scene<'_>) -> u32 {
        let everywhere = scene.verdicts.freezes(&nowhere(scene.cell));
        let members: Vec<Member> = self
            .each(scene)
            .map(|(zone, address, health)| Member {
                usable: health.watch().usable(),
                drained: scene.is_drained(zone, address),
            })
            .collect();
        let set = usable_set(&members, everywhere);
        self.panic = set.panic;
        let standing = &scene.cell.load.standing;
        standing.panic.store(set.panic as u8, Ordering::Relaxed);
        let share = if set.panic == Panic::FailOpen { FAIL_OPEN_SHARE } else { TRICKLE_SHARE };
        let least = TRICKLE_LEAST_PER_SECOND / f64::from(scene.look.snapshot.protection.replicas.get());
        let rate = (self.good_rate * share).max(least);
        standing.trickle.set(rate, super::super::pace::BURST, scene.look.now);
        // A cell that fails open has what it lets in.
        u32::try_from(set.open.len()).unwrap_or(u32::MAX)
    }

    fn groups(&mut self, scene: &Scene<'_>, changes: &mut Vec<Change>) {
        let protection = &scene.look.snapshot.protection;
        let rules = FailoverRules { replicas: protection.replicas, ..FailoverRules::default() };
        let group = |group: &Group| {
            let gone = scene.verdicts.evacuate(&group.zone);
            let usable = scene.count_usable(group);
            failover::Group {
                priority: group.priority,
                capacity: group.capacity_rps.map(f64::from),
                endpoints: count(group.endpoints.len()),
                usable: if gone { 0 } else { usable },
                answers: gone && usable > 0,
                is_drained: group.endpoints.iter().any(|one| scene.is_drained(&group.zone, &one.address)),
            }
        };
        let mut groups: Vec<failover::Group> = scene.cell.groups.iter().map(group).collect();
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
        let came = standing.outcomes.take();
        let pinned = scene.look.levers.and_then(|levers| levers.ramp(scene.cell.name.as_str()));
        // Renewed by each look as long as the lever is pulled.
        let pin = pinned.map(|of| Pin { rate: f64::from(of.value), until: now + super::SECOND });
        self.ramp.set_pin(pin, now);
        let look = ramp::Look {
            declared: capacity(scene.cell),
            usable,
            succeeded: came.served.into(),
            failed: came.failed.into(),
            failing_accounts: came.failing_accounts,
            group_serves: self.recent.another_serves(scene),
            p95: self.p95(),
            baseline: self.usual,
            queue_share: f64::from(standing.queued()) / f64::from(self.limit.value().max(1)),
        };
        self.second.add(&came);
        if let Some(change) = self.ramp.step(&ramp_rules(scene.look.snapshot), &look, &standing.envelope, now)
        {
            changes.push(Change::Ramp(scene.cell.name.clone(), change));
        }
    }

    fn count_second(&mut self, scene: &Scene<'_>) {
        let came = std::mem::take(&mut self.second);
        let (gate, now) = (&scene.cell.load.standing.gate, scene.look.now);
        let (median, first_bytes) = (came.first_bytes.median(0.0), came.first_bytes.count());
        let sample = WindowSample {
            started: came.served + came.failed + came.pushed_back,
            dropped: came.failed + came.pushed_back,
            first_byte_p50: median.map_or(Duration::ZERO, |(median, _)| median),
            first_bytes: u32::try_from(first_bytes).unwrap_or(u32::MAX),
            in_flight_max: gate.take_in_flight_max(),
        };
        self.limit.step(&sample, now);
        self.latencies.rotate_right(1);
        self.latencies[0] = came.first_bytes;
        if self.ramp.phase() == Phase::Full {
            if let Some(p95) = self.p95() {
                let usual = self.usual.unwrap_or(p95);
                self.usual = Some(usual.mul_f64(1.0 - USUAL) + p95.mul_f64(USUAL));
            }
            self.good_rate += (f64::from(came.served) - self.good_rate) * RATE;
        }
    }

    fn limit(&mut self, scene: &Scene<'_>) {
        let declared = declared(scene.cell);
        if declared != self.declared {
            self.declared = declared;
            self.limit.declare(declared);
        }
        let standing = &scene.cell.load.standing;
        let fraction =
            if scene.mode(Policy::Recovery) == Mode::Enforce { standing.envelope.fraction() } else { 1.0 };
        let caps = scene.look.levers.map(|levers| levers.cap(scene.cell.name.as_str())).unwrap_or_default();
        standing.cap.look(caps.rps.map(|of| of.value), scene.look.now);
        let most = caps.in_flight.map_or(u32::MAX, |of| of.value);
        // Truncates to whole requests.
        let own = ((f64::from(self.limit.value()) * fraction) as u32).max(1);
        // An operator's word is enforced also where what is learned is not.
        let only_capped = caps.in_flight.is_some() && scene.mode(Policy::Limit) != Mode::Enforce;
        let limit = if only_capped { most } else { own.min(most) };
        standing.gate.bound(declared.min(most));
        standing.wake(scene.look.now, standing.gate.step(scene.look.now, limit));
        let _ = standing.observed.step(scene.look.now, limit);
    }

    fn p95(&self) -> Option<Duration> {
        let mut all = Latencies::NONE;
        self.latencies.iter().for_each(|second| all.add(second));
        let rank = (all.count() * 95).div_ceil(100);
        all.at_rank(rank).map(|(from, to)| (from + to) / 2)
    }

    fn each<'a>(
        &'a self,
        scene: &'a Scene<'_>,
    ) -> impl Iterator<Item = (&'a Label, &'a EndpointAddress, &'a Health)> {
        let endpoints =
            scene.cell.groups.iter().flat_map(|group| {
                group.endpoints.iter().map(move |endpoint| (&group.zone, &endpoint.address))
            });
        endpoints.zip(&self.endpoints).map(|((zone, address), (_, health))| (zone, address, health))
    }

    pub(super) fn is_busy(&self) -> bool {
        let groups = self.failover.evidence().groups.iter();
        self.ramp.phase() != Phase::Full
            || groups.into_iter().any(|group| group.standing != Standing::Serving)
    }

    pub(super) fn saved(&self, name: &Label, rules: &RampRules, now: Moment, now_secs: u64) -> SavedCell {
        let groups = self.zones.iter().cloned().zip(self.failover.saved());
        let endpoints = self.endpoints.iter();
        SavedCell {
            cell: name.clone(),
            ramp: ramp::Saved { pin: None, ..self.ramp.saved(rules, now, now_secs) },
            limit: self.limit.saved(),
            usual_p95: self.usual,
            good_rate: self.good_rate,
            groups: groups.filter_map(|(zone, saved)| Some((zone, saved?))).collect(),
            endpoints: endpoints.map(|(key, one)| ((*key.0).into(), one.saved(now, now_secs))).collect(),
        }
    }

    pub(super) fn report(&self, cell: &Cell, now: Moment) -> CellReport {
        let mut endpoints = self.endpoints.iter();
        let groups = cell.groups.iter().enumerate().map(|(at, group)| GroupReport {
            zone: group.zone.clone(),
            failover: self.failover.evidence().groups.get(at).copied(),
            in_flight: group.requests.permits.taken(),
            most_in_flight: group.requests.most,
            connections: group.endpoints.first().map_or(0, |one| one.connections.permits.taken()),
            most_connections: group.endpoints.first().map_or(0, |one| one.connections.most),
            endpoints: group
                .endpoints
                .iter()
                .zip(endpoints.by_ref())
                .map(|(endpoint, (_, health))| EndpointReport::new(endpoint, health, now))
                .collect(),
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
            usual_p95: self.usual,
            would_have: would_have(cell),
            alarm: self.alarm,
            groups,
        }
    }
}
