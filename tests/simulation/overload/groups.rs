//! A cell of three groups with everything that requests ask and the judge decides, in virtual time: what a slow group
//! takes from the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cellgate::drill::model::{Model, ModelEnd, ModelRules};
use cellgate::policy::admit::Bound;
use cellgate::policy::guard::Mode;
use cellgate::policy::ids::AccountId;
use cellgate::policy::moment::Moment;
use cellgate::policy::protection::endpoint_load::Asked;
use cellgate::policy::protection::gate::Refused;
use cellgate::policy::protection::group_load::GroupPermit;
use cellgate::policy::protection::health::AttemptEnd;
use cellgate::policy::protection::judge::{CellReport, Judge, Look};
use cellgate::policy::protection::modes::Modes;
use cellgate::policy::protection::policies::Policy;
use cellgate::policy::protection::priority::Priority;
use cellgate::policy::protection::standing::{Admission, Ask, Outcome, Pass, Standing, Waiter};
use cellgate::policy::snapshot::{EndpointKey, Group, Snapshot};
use fastrand::Rng;

use crate::snapshot::{self, label};

/// Groups of the cell.
pub const GROUPS: usize = 3;

/// Requests a second of each.
pub const CAPACITY: f64 = 500.0;

const ACCOUNTS: u64 = 300;

const STEP: Duration = Duration::from_millis(100);

/// Part of each class.
const CLASSES: [f64; 4] = [0.05, 0.45, 0.3, 0.2];

pub struct World {
    snapshot: &'static Snapshot,
    judge: Judge,
    pub models: Vec<Model>,
    modes: Modes,
    /// What each request was, and how it ended.
    pub seen: Vec<Seen>,
    /// How many each group has answered since.
    pub answered_by: [u32; GROUPS],
    /// Whether groups are asked for permits.
    pub limited: bool,
    /// Requests a second of all.
    rps: f64,
    open: HashMap<u64, Open>,
    homes: HashMap<u64, usize>,
    told: Arc<Mutex<Vec<(u64, bool)>>>,
    waiting: HashMap<u64, (Ask, Pass)>,
    /// Of ids in `seen`, those before it began anew.
    forgotten: u64,
    random: Rng,
    now: Moment,
    next_arrival: Moment,
    next_step: Moment,
}

#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub account: u64,
    pub priority: Priority,
    pub end: End,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Open,
    Answered,
    /// Refused, or no answer.
    Lost,
}

struct Open {
    ask: Ask,
    pass: Pass,
    sent: Moment,
    asked: Asked<'static>,
    _permit: Option<GroupPermit>,
}

#[derive(Debug)]
struct Told(u64, Arc<Mutex<Vec<(u64, bool)>>>);

impl Waiter for Told {
    fn go(self: Box<Self>) -> bool {
        self.1.lock().unwrap().push((self.0, true));
        true
    }

    fn refuse(self: Box<Self>, _: Refused) {
        self.1.lock().unwrap().push((self.0, false));
    }
}

impl World {
    /// `declared` times what the models have workers; `capacity_rps` is what each group declares to bear.
    pub fn new(seed: u64, declared: f64, capacity_rps: Option<u32>) -> Self {
        let rules = ModelRules { capacity_rps: CAPACITY, cold: None, ..ModelRules::default() };
        let models: Vec<Model> =
            (0..GROUPS as u64).map(|group| Model::new(rules.clone(), seed * 10 + group)).collect();
        let workers: usize = models.iter().map(Model::workers).sum();
        let most = (workers as f64 * declared).round() as u32;
        // What would take the group out altogether, or begins slowly, is another's to test.
        let modes = Modes::default().with(Policy::Health, Mode::Observe).with(Policy::Recovery, Mode::Off);
        let mut snapshot = snapshot::SnapshotBuilder::new().cell("cell-1", "us1.dbt.com").build();
        snapshot.protection.verdict = Mode::Off;
        let cell = &mut snapshot.cells[0];
        cell.protection.modes = modes;
        cell.max_in_flight = most;
        let like = cell.groups[0].clone();
        cell.groups = (0..GROUPS).map(|at| group(&like, at, most, capacity_rps)).collect();
        Self {
            snapshot: Box::leak(Box::new(snapshot)),
            judge: Judge::default(),
            models,
            modes,
            seen: Vec::new(),
            answered_by: [0; GROUPS],
            limited: true,
            rps: 0.7 * CAPACITY * GROUPS as f64,
            open: HashMap::new(),
            homes: HashMap::new(),
            told: Arc::default(),
            waiting: HashMap::new(),
            forgotten: 0,
            random: Rng::with_seed(seed),
            now: Moment::START,
            next_arrival: Moment::START,
            next_step: Moment::START + STEP,
        }
    }

    /// Runs until so many seconds after the beginning.
    pub fn run_until(&mut self, secs: u64) {
        let end = Moment::START + Duration::from_secs(secs);
        loop {
            let dues = self.models.iter().map(|model| model.due().unwrap_or(end));
            let (due, group) = dues.zip(0..).min().unwrap_or((end, 0));
            let now = due.min(self.next_arrival).min(self.next_step);
            self.now = now.min(end);
            if now >= end {
                return;
            }
            if now == due {
                self.finish(group);
            } else if now == self.next_arrival {
                self.arrive();
            } else {
                self.next_step = now + STEP;
                let now_secs = now.nanos() / 1_000_000_000;
                let late = Duration::ZERO;
                let look = Look { snapshot: self.snapshot, levers: None, late, now, now_secs };
                self.judge.look(&look, &mut || 0.5);
            }
            self.told();
        }
    }

    pub fn now(&self) -> Moment {
        self.now
    }

    /// Begins to count anew; what is open then is not counted.
    pub fn forget(&mut self) {
        self.forgotten += self.seen.len() as u64;
        self.seen.clear();
        self.answered_by = [0; GROUPS];
    }

    /// What is said of the cell.
    pub fn report(&self) -> CellReport {
        self.judge.report(self.snapshot, self.now).cells.remove(0)
    }

    /// Part of the requests of accounts of this group that were not answered, of those of these classes.
    pub fn lost(&self, group: usize, is: impl Fn(Priority) -> bool) -> f64 {
        let (mut lost, mut all) = (0_u32, 0_u32);
        for seen in self.seen.iter().filter(|seen| seen.end != End::Open && is(seen.priority)) {
            if self.homes.get(&seen.account) == Some(&group) {
                lost += u32::from(seen.end == End::Lost);
                all += 1;
            }
        }
        f64::from(lost) / f64::from(all.max(1))
    }

    fn standing(&self) -> &'static Standing {
        &self.snapshot.cells[0].load.standing
    }

    fn arrive(&mut self) {
        let now = self.now;
        let gap = -(1.0 - self.random.f64()).ln() / self.rps;
        self.next_arrival = now + Duration::from_secs_f64(gap);
        let account = self.random.u64(1..=ACCOUNTS);
        let mut draw = self.random.f64();
        let class = CLASSES.iter().position(|part| {
            draw -= part;
            draw < 0.0
        });
        let priority = Priority::ALL[class.unwrap_or(3)];
        let id = self.forgotten + self.seen.len() as u64;
        self.seen.push(Seen { account, priority, end: End::Open });
        let account = AccountId::from_value(account);
        let ask = Ask { priority, account, long_lived: false, left: None, random: self.random.u64(..) };
        let told = Arc::clone(&self.told);
        match self.standing().ask(now, &ask, &self.modes, || Box::new(Told(id, told))) {
            Admission::Go(pass) => self.send(id, ask, pass),
            Admission::Wait(_, pass) => drop(self.waiting.insert(id, (ask, pass))),
            Admission::Refused(..) => self.end(id, End::Lost),
        }
    }

    /// As the proxy does with a request that is admitted.
    fn send(&mut self, id: u64, ask: Ask, pass: Pass) {
        let (now, standing) = (self.now, self.standing());
        let groups: &'static [Group] = &self.snapshot.cells[0].groups;
        let mut at = pass.group.expect("failover says which group");
        // Before the first look all belong to the first.
        if let (Some(account), false, true) = (ask.account, pass.is_moved, now > Moment::START + STEP * 2) {
            self.homes.entry(account.value()).or_insert(at);
        }
        let take = |at: usize| groups[at].load.try_take(pass.priority, standing.has_few_left(true));
        let mut permit = self.limited.then(|| take(at)).flatten();
        if self.limited && permit.is_none() {
            let Some((other, other_permit)) = standing.overflow(now, &pass, at, take) else {
                standing.end(now, pass);
                return self.end(id, End::Lost);
            };
            (at, permit) = (other, Some(other_permit));
        }
        let attempt = groups[at].endpoints[0].load.enter(ask.account).expect("health only watches");
        self.models[at].arrive(now, id);
        self.open.insert(id, Open { ask, pass, sent: now, asked: attempt.asked(), _permit: permit });
    }

    fn finish(&mut self, group: usize) {
        let now = self.now;
        for (id, end) in self.models[group].finish(now) {
            let Some(Open { ask, pass, sent, asked, .. }) = self.open.remove(&id) else { continue };
            let standing = self.standing();
            if end == ModelEnd::Answered {
                let first_byte = Some(now.since(sent));
                standing.tell(now, &pass, &ask, Outcome::Served, first_byte);
                asked.answered(AttemptEnd::Answered, first_byte);
                self.answered_by[group] += 1;
                self.end(id, End::Answered);
            } else {
                standing.tell(now, &pass, &ask, Outcome::Failed, None);
                asked.answered(AttemptEnd::Gateway, None);
                self.end(id, End::Lost);
            }
            standing.end(now, pass);
        }
    }

    fn told(&mut self) {
        loop {
            let told = std::mem::take(&mut *self.told.lock().unwrap());
            if told.is_empty() {
                return;
            }
            for (id, goes) in told {
                // Told before it was known to wait: it has given way at once.
                let Some((ask, pass)) = self.waiting.remove(&id) else { continue };
                match goes {
                    true => self.send(id, ask, pass),
                    false => self.end(id, End::Lost),
                }
            }
        }
    }

    fn end(&mut self, id: u64, end: End) {
        let Some(at) = id.checked_sub(self.forgotten) else { return };
        if let Some(seen) = self.seen.get_mut(at as usize) {
            seen.end = end;
        }
    }
}

fn group(like: &Group, at: usize, most: u32, capacity_rps: Option<u32>) -> Group {
    let mut group = like.clone();
    group.zone = label(&format!("zone-{at}"));
    group.capacity_rps = capacity_rps;
    group.requests = Bound::new(most);
    group.load = Arc::default();
    group.endpoints[0].key = EndpointKey(format!("endpoint {at}").into());
    group.endpoints[0].load = Arc::default();
    group
}
