//! Clients of a cell in virtual time, who come again: some when they were told to, some when they like.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use cellgate::policy::moment::Moment;
use cellgate::policy::protection::priority::Priority;
use fastrand::Rng;

/// How many replicas there are in front of a cell.
pub const REPLICAS: u32 = 3;

/// How often a replica looks.
pub const STEP: Duration = Duration::from_millis(100);

/// Somebody who wants something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    pub priority: Priority,
    pub account: u64,
    /// Whether it waits as long as it is told to.
    pub honours: bool,
    /// Requests that it still has to make.
    pub left: u32,
    /// Refusals that it takes before it leaves.
    pub patience: u32,
}

impl Client {
    pub fn any(rng: &mut Rng) -> Self {
        let priority = match rng.u32(..100) {
            0..5 => Priority::Critical,
            5..50 => Priority::Interactive,
            50..90 => Priority::Api,
            _ => Priority::Bulk,
        };
        // Few accounts ask for much: the square of an even number.
        let account = (rng.f64().powi(2) * 1_000.0) as u64;
        let account = account.wrapping_mul(0xd134_2543_de82_ef95);
        Self { priority, account, honours: rng.bool(), left: 1, patience: 4 }
    }

    /// When it comes again after a refusal; never, once it has lost its patience.
    pub fn again(&mut self, now: Moment, rng: &mut Rng) -> Option<Moment> {
        self.patience = self.patience.checked_sub(1)?;
        let wait = if self.honours { 10.0 + 50.0 * rng.f64() } else { 0.5 + rng.f64() };
        Some(now + Duration::from_secs_f64(wait))
    }
}

/// Who comes when.
#[derive(Default)]
pub struct Queue(BinaryHeap<Reverse<(Moment, u64, Client)>>, u64);

impl Queue {
    pub fn add(&mut self, at: Moment, client: Client) {
        self.1 += 1;
        self.0.push(Reverse((at, self.1, client)));
    }

    pub fn next(&self) -> Option<Moment> {
        self.0.peek().map(|Reverse((at, ..))| *at)
    }

    pub fn take(&mut self) -> Option<Client> {
        self.0.pop().map(|Reverse((.., client))| client)
    }
}

/// When the next of those comes who come by chance, at so many a second.
pub fn by_chance(now: Moment, rate: f64, rng: &mut Rng) -> Moment {
    now + Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / rate)
}

pub fn second(at: f64) -> Moment {
    Moment::START + Duration::from_secs_f64(at)
}

/// Most in any second that begins with one of them; `among` in the order of time.
pub fn most_in_a_second(among: &[Moment]) -> usize {
    let mut first = 0;
    let count = |(last, at): (usize, &Moment)| {
        while at.since(among[first]) >= Duration::from_secs(1) {
            first += 1;
        }
        last + 1 - first
    };
    among.iter().enumerate().map(count).max().unwrap_or_default()
}

/// How many seeds are tried: more where there is time.
pub fn seeds(usual: u64) -> std::ops::Range<u64> {
    let long = std::env::var("CELLGATE_TEST_LONG").is_ok_and(|long| long == "1");
    0..if long { usual * 10 } else { usual }
}

/// Says how to see a failure again.
pub struct Seed(pub u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was seed {}", self.0);
        }
    }
}
