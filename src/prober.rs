//! Active checks of endpoints: one task that looks ten times a second which are due, and makes them beside each other,
//! each on a connection of its own. What an answer means is for `policy::protection::health` to say, and what follows from
//! it for whoever takes it from the endpoint.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::live::{Live, Pinned};
use crate::policy::ids::Label;
use crate::policy::moment::Moment;
use crate::policy::protection::health::checks::{CheckEnd, CheckRules, CheckSchedule};
use crate::policy::snapshot::{Cell, Endpoint, EndpointKey, Snapshot};
use crate::proxy::connect::Connector;
use crate::telemetry::metrics::Metrics;

/// As often as health is judged: a check is taken in the step after it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A check is a file descriptor. 500 endpoints of which each takes the whole of its second, of the usual interval of
/// five, are a hundred at once; more than this are late.
const MOST_AT_ONCE: usize = 256;

/// A quarter: a cell of many endpoints that all hang leaves the checks of others their room.
const MOST_OF_CELL: usize = MOST_AT_ONCE / 4;

/// Whoever can check one endpoint.
pub trait Checks: Send + Sync + 'static {
    /// What came of it; `None` where it says nothing of the endpoint. Always ends.
    fn check(&self, place: &Place) -> impl Future<Output = Option<CheckEnd>> + Send;
}

/// An endpoint that is to be checked, in the snapshot that has it.
#[derive(Clone, Debug)]
pub struct Place {
    snapshot: Arc<Snapshot>,
    cell: usize,
    group: usize,
    endpoint: usize,
}

impl Checks for Connector {
    async fn check(&self, place: &Place) -> Option<CheckEnd> {
        let rules = place.rules()?;
        let answer = self.check(place.cell(), place.endpoint(), rules).await?;
        Some(rules.kind.judge(answer))
    }
}

impl Place {
    /// All that are to be checked.
    fn all(snapshot: &Arc<Snapshot>) -> impl Iterator<Item = Self> {
        let checked = |(_, cell): &(usize, &Cell)| cell.protection.checks().is_some();
        let cells = snapshot.cells.iter().enumerate().filter(checked);
        cells.flat_map(move |(cell, of)| {
            of.groups.iter().enumerate().flat_map(move |(group, of)| {
                (0..of.endpoints.len()).map(move |endpoint| Self {
                    snapshot: Arc::clone(snapshot),
                    cell,
                    group,
                    endpoint,
                })
            })
        })
    }

    /// The cell that it belongs to.
    pub fn cell(&self) -> &Cell {
        &self.snapshot.cells[self.cell]
    }

    /// The endpoint itself.
    pub fn endpoint(&self) -> &Endpoint {
        &self.cell().groups[self.group].endpoints[self.endpoint]
    }

    /// How it is checked.
    fn rules(&self) -> Option<&CheckRules> {
        self.cell().protection.checks()
    }
}

/// Checks the endpoints of what serves, and those that a candidate adds. Never ends.
pub async fn run(checks: Arc<impl Checks>, live: Arc<Live>, metrics: Arc<Metrics>, clock: Clock) {
    let mut prober = Prober::new(checks, live, metrics, clock);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    // After a halt one look sees as much as a hundred.
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => prober.look(),
            Some(ended) = prober.under_way.join_next_with_id() => prober.ended(ended),
        }
    }
}

struct Prober<C> {
    checks: Arc<C>,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    clock: Clock,
    planned: HashMap<EndpointKey, Planned>,
    /// Number of this look, to tell what is gone.
    look: u64,
    under_way: JoinSet<()>,
    /// Whose they are.
    owners: HashMap<Id, (EndpointKey, Label)>,
    by_cell: HashMap<Label, usize>,
}

/// An endpoint that is checked. Goes on over reloads, by its key.
struct Planned {
    schedule: CheckSchedule,
    interval: Duration,
    waits_for_probe: bool,
    seen: u64,
}

impl<C: Checks> Prober<C> {
    fn new(checks: Arc<C>, live: Arc<Live>, metrics: Arc<Metrics>, clock: Clock) -> Self {
        Self {
            checks,
            live,
            metrics,
            clock,
            planned: HashMap::new(),
            look: 0,
            under_way: JoinSet::new(),
            owners: HashMap::new(),
            by_cell: HashMap::new(),
        }
    }

    /// Begins the checks that are due, those first that have waited longest.
    fn look(&mut self) {
        let now = self.clock.now();
        self.look += 1;
        let Pinned { stable, candidate } = self.live.pin_both();
        let mut due: Vec<(Moment, Place)> = Vec::new();
        // What stands in both is checked as what serves has it.
        for snapshot in [Some(stable), candidate.map(|candidate| Arc::clone(&candidate.snapshot))] {
            let places = snapshot.iter().flat_map(Place::all);
            due.extend(places.filter_map(|place| self.plan(&place, now).map(|since| (since, place))));
        }
        self.planned.retain(|_, planned| planned.seen == self.look);
        due.sort_unstable_by_key(|(since, _)| *since);
        for (_, place) in due {
            self.begin(place, now);
        }
    }

    /// Since when a check of this endpoint is due, if it is.
    fn plan(&mut self, place: &Place, now: Moment) -> Option<Moment> {
        let (endpoint, interval) = (place.endpoint(), place.rules()?.interval);
        let planned = self.planned.entry(endpoint.key.clone()).or_insert_with(|| Planned {
            schedule: CheckSchedule::new(now, interval, fastrand::f64()),
            interval,
            waits_for_probe: false,
            seen: 0,
        });
        if planned.seen == self.look {
            return None;
        }
        planned.seen = self.look;
        if planned.interval != interval {
            planned.interval = interval;
            planned.schedule.paced(now, interval, fastrand::f64());
        }
        let waits = endpoint.load.watch.wants_check();
        // Once for each time that it waits: hurried at each look, it would be checked at each.
        if waits && !planned.waits_for_probe {
            planned.schedule.hurry(now, interval, fastrand::f64());
        }
        planned.waits_for_probe = waits;
        planned.schedule.is_due(now).then(|| planned.schedule.next())
    }

    /// Begins a check where there is room; otherwise it stays due.
    fn begin(&mut self, place: Place, now: Moment) {
        let (key, cell) = (place.endpoint().key.clone(), place.cell().name.clone());
        let of_cell = self.by_cell.get(&cell).copied().unwrap_or(0);
        if self.under_way.len() >= MOST_AT_ONCE || of_cell >= MOST_OF_CELL {
            return;
        }
        let Some(planned) = self.planned.get_mut(&key) else { return };
        if !planned.schedule.begin(now, planned.interval, fastrand::f64()) {
            return;
        }
        let (checks, metrics) = (Arc::clone(&self.checks), Arc::clone(&self.metrics));
        let check = self.under_way.spawn(async move {
            let end = checks.check(&place).await;
            if let Some(end) = end {
                place.endpoint().load.checked(end);
            }
            metrics.endpoint_checked(place.cell().name.as_str(), end);
        });
        self.by_cell.insert(cell.clone(), of_cell + 1);
        self.owners.insert(check.id(), (key, cell));
    }

    /// A check has ended, or its task has.
    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        let Some((key, cell)) = self.owners.remove(&id) else { return };
        if let Some(planned) = self.planned.get_mut(&key) {
            planned.schedule.end();
        }
        match self.by_cell.get_mut(&cell) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.by_cell.remove(&cell)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
#[allow(clippy::disallowed_methods)] // Stands in for the reload task.
mod tests {
    use std::sync::Mutex;

    use tokio::time::Instant;

    use super::*;
    use crate::policy::canary::{Candidate, Share};
    use crate::policy::guard::Mode;
    use crate::policy::protection::health::checks::Check;
    use crate::policy::protection::health::{Health, HealthRules, Look, Saved, Siblings, State};
    use crate::policy::protection::policies::Policy;
    use crate::test_snapshot::SnapshotBuilder;

    const SECOND: Duration = Duration::from_secs(1);

    /// An endpoint's number and when its check began.
    type Begun = (usize, Instant);

    /// Answers at once, but for those endpoints of which something else is said.
    #[derive(Default)]
    struct Fake {
        begun: Mutex<Vec<Begun>>,
        takes: HashMap<usize, Duration>,
        panics: bool,
        /// Under way: of all, and of the first cell; and most of both so far.
        now: Mutex<[[usize; 2]; 2]>,
    }

    impl Fake {
        fn count(&self, place: &Place, step: impl Fn(usize) -> usize) {
            let [now, most] = &mut *self.now.lock().unwrap();
            for counted in 0..if place.cell == 0 { 2 } else { 1 } {
                now[counted] = step(now[counted]);
                most[counted] = most[counted].max(now[counted]);
            }
        }

        fn of(&self, number: usize) -> Vec<Instant> {
            let begun = self.begun.lock().unwrap();
            begun.iter().filter(|(of, _)| *of == number).map(|(_, at)| *at).collect()
        }

        /// How long after the check before each check of this endpoint began.
        fn gaps(&self, number: usize) -> Vec<Duration> {
            self.of(number).windows(2).map(|pair| pair[1] - pair[0]).collect()
        }
    }

    impl Checks for Fake {
        async fn check(&self, place: &Place) -> Option<CheckEnd> {
            let number: usize = place.endpoint().key.0.rsplit(' ').next().unwrap().parse().unwrap();
            self.begun.lock().unwrap().push((number, Instant::now()));
            assert!(!self.panics, "as it was told to");
            self.count(place, |now| now + 1);
            if let Some(takes) = self.takes.get(&number) {
                tokio::time::sleep(*takes).await;
            }
            self.count(place, |now| now - 1);
            Some(CheckEnd::Passed)
        }
    }

    fn every(interval: Duration) -> Option<Check> {
        Some(Check { rules: CheckRules { interval, ..CheckRules::default() }, ..Check::default() })
    }

    /// Cells with the numbers of their endpoints, which `before` may have already.
    fn snapshot(
        cells: &[(&str, Option<Check>, std::ops::Range<usize>)],
        before: Option<&Snapshot>,
    ) -> Arc<Snapshot> {
        let builder = cells.iter().fold(SnapshotBuilder::new(), |b, (name, ..)| b.cell(name, "us1.dbt.com"));
        let mut snapshot = builder.build();
        let known: Vec<_> =
            before.iter().flat_map(|before| &before.cells).flat_map(Cell::endpoints).collect();
        for (cell, (name, check, numbers)) in snapshot.cells.iter_mut().zip(cells) {
            cell.protection.check.clone_from(check);
            let first = cell.groups[0].endpoints.remove(0);
            cell.groups[0].endpoints.extend(numbers.clone().map(|number| {
                let key = EndpointKey(format!("{name} {number}").into());
                let known = known.iter().find(|known| known.key == key);
                let load = known.map_or_else(Arc::default, |known| Arc::clone(&known.load));
                Endpoint { address: first.address.clone(), key, connections: first.connections.clone(), load }
            }));
        }
        Arc::new(snapshot)
    }

    struct World {
        fake: Arc<Fake>,
        live: Arc<Live>,
        _task: JoinSet<()>,
    }

    impl World {
        fn of(fake: Fake, snapshot: &Arc<Snapshot>) -> Self {
            let (fake, live) = (Arc::new(fake), Arc::new(Live::new(Arc::clone(snapshot))));
            let mut task = JoinSet::new();
            let (checks, live_) = (Arc::clone(&fake), Arc::clone(&live));
            task.spawn(run(checks, live_, Arc::new(Metrics::new()), Clock::begin()));
            Self { fake, live, _task: task }
        }

        fn begun(&self) -> usize {
            self.fake.begun.lock().unwrap().len()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_endpoint_is_checked_once_an_interval_and_not_all_together() {
        let interval = 5 * SECOND;
        let snapshot = snapshot(&[("a", every(interval), 0..20), ("b", None, 20..30)], None);
        let world = World::of(Fake::default(), &snapshot);
        tokio::time::sleep(100 * interval).await;
        let mut gaps = Vec::new();
        for number in 0..20 {
            let first = world.fake.of(number)[0];
            assert!(first.elapsed() >= 99 * interval - LOOK_EVERY, "the first is in the first interval");
            gaps.extend(world.fake.gaps(number));
        }
        assert!((1_900..=2_040).contains(&gaps.len()), "{} checks", gaps.len());
        let (least, most) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
        assert!(*least >= interval.mul_f64(0.8) && *most <= interval.mul_f64(1.2) + LOOK_EVERY);
        assert!(*most - *least > interval / 4, "the waits differ: {least:?} to {most:?}");
        assert!((20..30).all(|number| world.fake.of(number).is_empty()), "a cell without checks has none");
        let told = snapshot.cells[0].endpoints().map(|endpoint| endpoint.load.take_checks());
        assert!(told.into_iter().all(|ends| !ends.is_empty() && ends.iter().all(|end| end.has_passed())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_delays_no_other_and_is_not_made_twice() {
        let takes = HashMap::from([(0, 60 * SECOND)]);
        let snapshot = snapshot(&[("a", every(SECOND), 0..3)], None);
        let world = World::of(Fake { takes, ..Fake::default() }, &snapshot);
        tokio::time::sleep(50 * SECOND).await;
        assert_eq!(world.fake.of(0).len(), 1, "the one that hangs");
        for number in [1, 2] {
            assert!(world.fake.of(number).len() >= 40, "{:?}", world.fake.of(number).len());
        }
        tokio::time::sleep(30 * SECOND).await;
        assert_eq!(world.fake.of(0).len(), 2, "once more after its end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cell_of_many_endpoints_that_hang_leaves_room_for_others_and_all_have_their_turn() {
        let takes = (0..2_000).map(|number| (number, SECOND)).collect();
        // More of one cell than there is room for, and more of all.
        let many = |name, first| (name, every(5 * SECOND), first..first + 400);
        let cells = [many("a", 0), many("b", 400), many("c", 800), many("d", 1_200), many("e", 1_600)];
        let well = ("well", every(SECOND), 9_000..9_001);
        let world =
            World::of(Fake { takes, ..Fake::default() }, &snapshot(&[&cells[..1], &[well]].concat(), None));
        tokio::time::sleep(50 * SECOND).await;
        let [_, most] = *world.fake.now.lock().unwrap();
        assert!((MOST_OF_CELL / 2..=MOST_OF_CELL).contains(&most[1]), "of one cell: {most:?}");
        assert!(world.fake.of(9_000).len() >= 40, "the cell beside it");
        let untouched = (0..400).filter(|number| world.fake.of(*number).is_empty()).count();
        assert_eq!(untouched, 0, "each had its turn");
        world.live.replace(snapshot(&cells, None));
        tokio::time::sleep(50 * SECOND).await;
        let [_, most] = *world.fake.now.lock().unwrap();
        assert!((MOST_AT_ONCE / 2..=MOST_AT_ONCE).contains(&most[0]), "of all: {most:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_schedule_goes_on_over_reloads_and_what_is_gone_is_forgotten() {
        let interval = 100 * SECOND;
        let cells = [("a", every(interval), 0..2), ("b", every(interval), 2..3)];
        let world = World::of(Fake::default(), &snapshot(&cells, None));
        for _ in 0..1_000 {
            tokio::time::sleep(SECOND).await;
            world.live.replace(snapshot(&cells, None));
        }
        for number in 0..3 {
            let gaps = world.fake.gaps(number);
            // The first comes within an interval, and each other within 1.2 of them: seven are there by then.
            assert!(gaps.len() >= 7 && gaps.iter().all(|gap| *gap >= interval.mul_f64(0.8)), "{gaps:?}");
        }
        let before = world.fake.of(2).len();
        world.live.replace(snapshot(&cells[..1], None));
        tokio::time::sleep(10 * interval).await;
        assert_eq!(world.fake.of(2).len(), before, "it is gone");
        assert!(world.fake.of(0).len() >= 16);
        let live = Arc::new(Live::new(snapshot(&cells, None)));
        let mut prober = Prober::new(
            Arc::new(Fake::default()),
            Arc::clone(&live),
            Arc::new(Metrics::new()),
            Clock::begin(),
        );
        prober.look();
        assert_eq!(prober.planned.len(), 3);
        live.replace(snapshot(&cells[1..], None));
        prober.look();
        assert_eq!(prober.planned.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_interval_holds_at_once() {
        let world = World::of(Fake::default(), &snapshot(&[("a", every(300 * SECOND), 0..1)], None));
        tokio::time::sleep(301 * SECOND).await;
        let before = world.begun();
        world.live.replace(snapshot(&[("a", every(SECOND), 0..1)], None));
        tokio::time::sleep(10 * SECOND).await;
        assert!((8..=13).contains(&(world.begun() - before)), "{}", world.begun() - before);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_checked_where_health_is_off_and_all_is_where_it_watches() {
        for (mode, is_checked) in [(Mode::Off, false), (Mode::Observe, true), (Mode::Enforce, true)] {
            let mut snapshot = snapshot(&[("a", every(SECOND), 0..1)], None);
            let protection = &mut Arc::get_mut(&mut snapshot).unwrap().cells[0].protection;
            protection.modes = protection.modes.with(Policy::Health, mode);
            let world = World::of(Fake::default(), &snapshot);
            tokio::time::sleep(10 * SECOND).await;
            assert_eq!(world.begun() > 0, is_checked, "{mode:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn endpoints_that_a_candidate_adds_are_checked_and_those_of_both_once() {
        let stable = snapshot(&[("a", every(10 * SECOND), 0..2)], None);
        let next = snapshot(&[("a", every(SECOND), 1..3)], Some(&stable));
        let world = World::of(Fake::default(), &stable);
        let share = Share::parse("1%").unwrap();
        let candidate = Arc::new(Candidate::new(Arc::clone(&next), &stable, share));
        world.live.try_out(Some(candidate));
        tokio::time::sleep(100 * SECOND).await;
        for (number, expect) in [(0, 8..=13), (1, 8..=13), (2, 80..=130)] {
            let count = world.fake.of(number).len();
            assert!(expect.contains(&count), "{number}: {count}");
        }
        let added = next.cells[0].endpoints().nth(1).unwrap();
        assert!(!added.load.take_checks().is_empty());
        world.live.try_out(None);
        tokio::time::sleep(100 * SECOND).await;
        let before = world.fake.of(2).len();
        assert!(before <= 131, "a candidate that was refused is not checked any more: {before}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_waits_for_its_probe_is_checked_soon_and_once() {
        let interval = 300 * SECOND;
        let snapshot = snapshot(&[("a", every(interval), 0..1)], None);
        let world = World::of(Fake::default(), &snapshot);
        tokio::time::sleep(interval).await;
        let before = world.begun();
        let watch = &snapshot.cells[0].groups[0].endpoints[0].load.watch;
        let saved = Saved { state: State::Ejected, times: 1, left_secs: 0, unix_secs: 0 };
        let rules = HealthRules::default();
        let mut health = Health::restored(Arc::clone(watch), saved, Moment::START, 0, &rules);
        let look = Look {
            taken: &watch.take(),
            siblings: Siblings::default(),
            checks: Some(&[]),
            frozen: false,
            may_eject: true,
            enforce: true,
            random: 0.5,
            rules: &rules,
        };
        health.step(&look, Moment::START);
        assert!(watch.wants_check());
        tokio::time::sleep(interval / 10 + 2 * LOOK_EVERY).await;
        assert_eq!(world.begun(), before + 1, "within a tenth of the interval");
        tokio::time::sleep(interval / 2).await;
        assert_eq!(world.begun(), before + 1, "and then as ever");
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_whose_task_ends_without_an_end_is_made_again() {
        let snapshot = snapshot(&[("a", every(SECOND), 0..1)], None);
        let world = World::of(Fake { panics: true, ..Fake::default() }, &snapshot);
        tokio::time::sleep(10 * SECOND).await;
        assert!(world.begun() >= 8);
        assert_eq!(snapshot.cells[0].groups[0].endpoints[0].load.take_checks(), []);
    }
}
