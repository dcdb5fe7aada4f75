//! What keeping cells standing costs a request: everything that stands on its way from the look at the levers to the end
//! of its permits, as the proxy asks for it, and nothing else. Figures, printed.

use std::hint::black_box;
use std::time::{Duration, Instant};

use cellgate::clock::Clock;
use cellgate::policy::admit::Bound;
use cellgate::policy::protection::bulkhead;
use cellgate::policy::protection::health::AttemptEnd;
use cellgate::policy::protection::judge::{Judge, Look};
use cellgate::policy::protection::levers::board::LeverBoard;
use cellgate::policy::protection::modes::Modes;
use cellgate::policy::protection::priority::Priority;
use cellgate::policy::protection::standing::{Admission, Ask, Outcome};
use cellgate::policy::snapshot::Snapshot;
use fastrand::Rng;

use crate::cost::built;
use crate::snapshot::{account, example};

/// What a request meets.
struct Way {
    snapshot: Snapshot,
    board: LeverBoard,
    process: Bound,
    clock: Clock,
}

impl Way {
    fn new() -> Self {
        let snapshot = example().build();
        Self { snapshot, board: LeverBoard::default(), process: Bound::new(20_000), clock: Clock::begin() }
    }

    /// One request that goes through and is answered; whether it did.
    fn request(&self, rng: &mut Rng) -> bool {
        let cell = &self.snapshot.cells[0];
        let standing = &cell.load.standing;
        let levers = self.board.read();
        let ask = Ask {
            priority: Priority::Api,
            account: Some(account(rng.u64(1..1_000))),
            long_lived: false,
            left: Some(Duration::from_secs(30)),
            random: rng.u64(..),
        };
        let modes = if levers.is_none() { cell.protection.modes } else { Modes::default() };
        let admission = standing.ask(self.clock.now(), &ask, &modes, || unreachable!("there is room"));
        let Admission::Go(pass) = admission else { return false };
        let most = bulkhead::most_of_cell(self.process.most, cell.share_percent, cell.max_in_flight);
        let permits = (cell.load.try_acquire(most), self.process.try_take());
        let group = &cell.groups[pass.group.unwrap_or(0)];
        let in_group = group.requests.try_take();
        let endpoint = &group.endpoints[0];
        let Some(attempt) = endpoint.load.enter(ask.account) else { return false };
        let asked = attempt.asked();
        let wants_sample = asked.counters().wants_sample();
        let first_byte = Some(Duration::from_millis(20));
        standing.tell(&pass, &ask, Outcome::of(AttemptEnd::Answered), first_byte);
        asked.answered(AttemptEnd::Answered, first_byte);
        let went = permits.0.is_some() && permits.1.is_some() && in_group.is_some();
        standing.end(self.clock.now(), pass);
        black_box(wants_sample);
        went
    }

    /// So many requests one after the other, and how long each took, in nanoseconds.
    fn requests(&self, count: u32, seed: u64) -> f64 {
        let mut rng = Rng::with_seed(seed);
        let begun = Instant::now();
        let went = (0..count).filter(|_| self.request(&mut rng)).count();
        assert_eq!(went, count as usize);
        begun.elapsed().as_nanos() as f64 / f64::from(count)
    }

    /// The same without any of it: the random numbers and the id, and what a loop costs.
    fn nothing(&self, count: u32, seed: u64) -> f64 {
        let mut rng = Rng::with_seed(seed);
        let begun = Instant::now();
        for _ in 0..count {
            black_box((account(rng.u64(1..1_000)), rng.u64(..)));
        }
        begun.elapsed().as_nanos() as f64 / f64::from(count)
    }
}

#[test]
fn what_a_request_pays_for_it() {
    let count = if cfg!(debug_assertions) { 20_000 } else { 2_000_000 };
    println!("{count} requests of one cell in a row, all parts together ({}):", built());
    let way = Way::new();
    let mut judge = Judge::default();
    for round in 0..5 {
        let nothing = way.nothing(count, round);
        let alone = way.requests(count, round) - nothing;
        let two = std::thread::scope(|scope| {
            let other = scope.spawn(|| way.requests(count, round + 10));
            way.requests(count, round).max(other.join().unwrap())
        }) - nothing;
        // What they have counted is looked at, as it is ten times a second.
        let begun = Instant::now();
        let look = Look {
            snapshot: &way.snapshot,
            levers: None,
            late: Duration::ZERO,
            now: way.clock.now(),
            now_secs: 1_795_132_800,
        };
        let _ = judge.look(&look, &mut || 0.5);
        let looked = begun.elapsed().as_secs_f64() * 1e6 / way.snapshot.cells.len() as f64;
        println!(
            "  {alone:.0} ns on one thread, {two:.0} ns on two that ask the same cell; a look takes {looked:.1} us a cell"
        );
    }
}
