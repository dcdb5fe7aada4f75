//! A cell whose primary group dies, with a standby of two fifths of it that collapses a little above, in front
//! of three replicas that know nothing of each other.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use cellgate::drill::model::{Model, ModelEnd, ModelRules};
use cellgate::policy::moment::Moment;
use cellgate::policy::protection::failover::{
    Chosen, Failover, FailoverRules, Group, Published, choose_group,
};
use fastrand::Rng;

use super::clients::{Client, Queue, REPLICAS, STEP, Seed, by_chance, most_in_a_second, second, seeds};

/// When the primary dies.
const DIES: f64 = 20.0;

/// When it is there again.
const BACK: f64 = 140.0;

struct World {
    now: Moment,
    rules: FailoverRules,
    rng: Rng,
    groups: Vec<Group>,
    models: Vec<Model>,
    replicas: Vec<(Failover, Published)>,
    /// Whether everything goes wherever there is an endpoint, as weights do.
    uncapped: bool,
    frozen: bool,
    queue: Queue,
    demand: f64,
    fresh: Moment,
    stepped: Moment,
    sent: Vec<Client>,
    /// What went to each group, and what of that was answered.
    taken: Vec<Vec<Moment>>,
    answered: Vec<Vec<Moment>>,
    /// Of the last while: those of an account that were served and that were shed.
    accounts: BTreeMap<u64, (u32, u32)>,
    /// The same by class.
    classes: [(u32, u32); 4],
    thrashed: bool,
}

impl World {
    /// Demand 100 times `scale`, a primary of 100, a standby of 40 that collapses at 45.
    fn new(scale: f64, standby: Option<f64>, seed: u64) -> Self {
        let rules = FailoverRules { replicas: NonZeroU32::new(REPLICAS).unwrap(), ..Default::default() };
        let group = |priority, capacity: Option<f64>| Group {
            priority,
            capacity: capacity.map(|capacity| capacity * scale),
            endpoints: 2,
            usable: 2,
            is_drained: false,
            answers: false,
        };
        let model = |capacity: f64| {
            let capacity_rps = capacity * scale;
            let rules = ModelRules {
                capacity_rps,
                queue_limit: (capacity_rps * 2.0) as usize,
                collapse_queue: (capacity_rps / 3.0) as usize,
                cold: None,
                ..ModelRules::default()
            };
            Model::new(rules, seed)
        };
        Self {
            now: Moment::START,
            rules,
            rng: Rng::with_seed(seed),
            groups: vec![group(0, Some(120.0)), group(1, standby)],
            models: vec![model(130.0), model(45.0)],
            replicas: (0..REPLICAS).map(|_| (Failover::new(2), Published::new(2))).collect(),
            uncapped: false,
            frozen: false,
            queue: Queue::default(),
            demand: 100.0 * scale,
            fresh: Moment::START,
            stepped: Moment::START,
            sent: Vec::new(),
            taken: vec![Vec::new(); 2],
            answered: vec![Vec::new(); 2],
            accounts: BTreeMap::new(),
            classes: [(0, 0); 4],
            thrashed: false,
        }
    }

    fn run(&mut self, until: f64) {
        let (until, never) = (second(until), second(9e9));
        loop {
            let dues: Vec<Moment> = self.models.iter().map(|model| model.due().unwrap_or(never)).collect();
            let due = dues[0].min(dues[1]);
            let next = self.queue.next().unwrap_or(never);
            let at = due.min(next).min(self.fresh).min(self.stepped + STEP);
            if at > until {
                self.now = until;
                return;
            }
            self.now = self.now.max(at);
            if at == due {
                self.end(usize::from(dues[1] == due));
            } else if at == next {
                let client = self.queue.take().unwrap();
                self.arrive(client);
            } else if at == self.fresh {
                self.fresh = by_chance(self.now, self.demand, &mut self.rng);
                let client = Client::any(&mut self.rng);
                self.arrive(client);
            } else {
                self.stepped = self.now;
                for (failover, published) in &mut self.replicas {
                    failover.step(&self.rules, &self.groups, self.frozen, published, self.now);
                }
                self.thrashed |= self.models[1].is_thrashing();
            }
        }
    }

    fn arrive(&mut self, client: Client) {
        let published = &self.replicas[self.rng.usize(..self.replicas.len())].1;
        let ticket = self.rng.u64(..);
        let chosen = choose_group(published, ticket, Some(client.account), client.priority, self.now);
        let group = match chosen {
            Chosen::Own(group) | Chosen::Moved(group) => Some(group),
            Chosen::Shed => None,
        };
        let group = match self.uncapped {
            true => self.groups.iter().position(|group| group.usable > 0),
            false => group.filter(|group| self.groups[*group].usable > 0),
        };
        let account = self.accounts.entry(client.account).or_default();
        let class = &mut self.classes[client.priority as usize];
        for count in [account, class] {
            *count = (count.0 + u32::from(group.is_some()), count.1 + u32::from(group.is_none()));
        }
        let Some(group) = group else { return self.again(client) };
        self.taken[group].push(self.now);
        self.models[group].arrive(self.now, self.sent.len() as u64);
        self.sent.push(client);
    }

    fn again(&mut self, mut client: Client) {
        if let Some(at) = client.again(self.now, &mut self.rng) {
            self.queue.add(at, client);
        }
    }

    fn end(&mut self, group: usize) {
        for (id, end) in self.models[group].finish(self.now) {
            match end {
                ModelEnd::Answered => self.answered[group].push(self.now),
                _ => self.again(self.sent[usize::try_from(id).unwrap()]),
            }
        }
    }

    fn primary(&mut self, up: bool) {
        self.models[0].set_down(self.now, !up);
        self.groups[0].usable = if up { 2 } else { 0 };
    }

    fn forget(&mut self) {
        self.accounts.clear();
        self.classes = [(0, 0); 4];
    }

    fn rate(of: &[Moment], from: f64, to: f64) -> f64 {
        of.iter().filter(|at| (second(from)..second(to)).contains(*at)).count() as f64 / (to - from)
    }
}

#[test]
fn a_standby_of_40_never_has_more_than_40() {
    for (scale, count, least) in [(1.0, 6, 0.7), (10.0, 1, 0.95)] {
        for seed in seeds(count) {
            let replay = Seed(seed);
            let mut world = World::new(scale, Some(40.0), seed);
            world.run(DIES);
            world.primary(false);
            world.run(BACK - 30.0);
            world.forget();
            world.run(BACK);
            let classes = world.classes;
            let mixed = world.accounts.values().filter(|(served, shed)| *served > 3 && *shed > 3).count();
            let all = world.accounts.len();
            world.primary(true);
            world.run(BACK + 250.0);
            let most = most_in_a_second(&world.taken[1]) as f64;
            assert!(most <= 40.0 * scale * 1.02, "{most} in a second");
            assert!(!world.thrashed);
            let good = World::rate(&world.answered[1], DIES + 60.0, BACK);
            let cap = 40.0 * scale * (1.0 - world.rules.reserve);
            assert!(good >= least * cap, "{good} of {cap}");
            // The first class is served, the last is not.
            let served = classes.map(|(served, shed)| f64::from(served) / f64::from((served + shed).max(1)));
            assert!(served[0] > if scale > 1.0 { 0.97 } else { 0.8 } && served[3] < 0.01, "{served:?}");
            let (moved, own) = (&world.taken[1], &world.taken[0]);
            let back = [
                World::rate(moved, BACK + 240.0, BACK + 250.0),
                World::rate(own, BACK + 240.0, BACK + 250.0),
            ];
            assert!(back[0] < 2.0 * scale && back[1] > 85.0 * scale, "{back:?}");
            eprintln!(
                "failover x{scale}, {seed}: {most} in a second, {good:.1}/s good, by class {served:.2?}, \
                 {mixed} of {all} accounts in part"
            );
            drop(replay);
        }
    }
}

#[test]
fn weights_would_break_the_standby() {
    for seed in seeds(3) {
        let mut world = World::new(1.0, Some(40.0), seed);
        world.uncapped = true;
        world.run(DIES);
        world.primary(false);
        world.run(BACK);
        let good = World::rate(&world.answered[1], DIES + 60.0, BACK);
        eprintln!("weights, {seed}: {} in a second, {good:.1}/s good", most_in_a_second(&world.taken[1]));
        assert!(world.thrashed && good < 20.0, "{good}");
    }
}

#[test]
fn moved_load_grows_by_a_tenth_in_five_seconds() {
    let mut world = World::new(10.0, Some(40.0), 1);
    world.run(DIES);
    world.primary(false);
    world.run(DIES + 2.9);
    assert_eq!(world.taken[1].len(), 0, "two seconds are no loss");
    let mut before = 0.0;
    for step in 0..9 {
        let from = DIES + 3.2 + 5.0 * f64::from(step);
        world.run(from + 5.0);
        let rate = World::rate(&world.taken[1], from, from + 4.8);
        assert!(rate <= 0.1 * 400.0 * f64::from(step + 1) * 1.05, "{rate} after {before}");
        assert!(step > 6 || rate >= before * 0.95, "{rate} after {before}");
        before = rate;
    }
    assert!(before > 300.0, "{before}");
    // It is there again, and gets its own back by steps, not before a minute.
    world.run(80.0);
    world.primary(true);
    world.run(80.0 + 60.0);
    assert_eq!(World::rate(&world.taken[0], 80.0, 140.0), 0.0);
    let mut before = 0.0;
    for step in 0..11 {
        let from = 140.2 + 5.0 * f64::from(step);
        world.run(from + 5.0);
        let rate = World::rate(&world.taken[0], from, from + 5.0);
        assert!(rate <= 0.1 * 1_200.0 * f64::from(step + 1) * 1.05, "{rate} after {before}");
        before = rate;
    }
    world.run(310.0);
    let own = World::rate(&world.taken[0], 300.0, 310.0);
    assert!((900.0..1_100.0).contains(&own), "{own}");
}

#[test]
fn nothing_goes_where_nobody_said_what_it_bears_or_while_the_path_is_suspected() {
    for (standby, frozen) in [(None, false), (Some(40.0), true)] {
        let mut world = World::new(1.0, standby, 1);
        world.run(DIES);
        world.primary(false);
        world.frozen = frozen;
        world.run(DIES + 60.0);
        assert_eq!(world.taken[1].len(), 0, "{standby:?}, frozen: {frozen}");
        assert_eq!(world.replicas[0].0.evidence().frozen, frozen);
        world.frozen = false;
        world.run(DIES + 120.0);
        assert_eq!(world.taken[1].is_empty(), standby.is_none());
    }
}

#[test]
fn two_zones_share_and_one_takes_what_it_has_room_for() {
    let mut world = World::new(1.0, Some(100.0), 3);
    world.models[1] = Model::new(ModelRules { capacity_rps: 110.0, cold: None, ..ModelRules::default() }, 3);
    world.groups[0].capacity = Some(50.0);
    world.groups[1].priority = 0;
    world.run(DIES);
    let share = world.taken[0].len() as f64 / (world.taken[0].len() + world.taken[1].len()) as f64;
    assert!((0.25..0.42).contains(&share), "a third by capacity, by account: {share}");
    world.primary(false);
    world.run(DIES + 60.0);
    let rate = World::rate(&world.taken[1], DIES + 40.0, DIES + 60.0);
    assert!((75.0..=102.0).contains(&rate), "{rate}");
    let most = most_in_a_second(&world.taken[1]);
    assert!(most <= 105, "{most} in a second");
}
