//! What all workers of one run share, and the run from its first connection to its last answer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;

use super::answer::{Expected, Fault};
use super::ask::Ask;
use super::halves::Halves;
use super::line::Line;
use super::turns::{Turn, Turns, Window};
use super::{Door, DriveError, Driven, Order, Pace, Work};
use crate::bench::table::Table;
use crate::cell::behaviour::unit;

/// Whoever sends one request at a time.
pub(super) trait Worker: 'static {
    /// Opens what is kept from one request to the next; nothing to do where it is open.
    async fn open(&mut self, load: &Load) -> Result<(), Fault>;

    /// Sends one request and reads its whole answer. After a fault the next request needs [`Worker::open`].
    async fn ask(&mut self, load: &Load) -> Result<Answered, Fault>;
}

/// A right answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Answered {
    /// Whether it came on a connection whose TLS session was resumed.
    pub resumed: bool,
}

/// What all workers share.
pub(super) struct Load {
    pub door: Door,
    pub table: Table,
    pub expected: Expected,
    /// Without sessions: those who keep one have a connector of their own.
    tls: Option<TlsConnector>,
    random: Cell<u64>,
    turns: Turns,
    driven: RefCell<Driven>,
    latency: RefCell<Halves>,
    /// Requests of which it is known what became of them.
    settled: Cell<u64>,
}

/// For all connections and first handshakes together: ten thousand of these take ten seconds of CPU time, and the machine
/// may be busy.
const OPENING_MAX: Duration = Duration::from_secs(120);

/// For what was sent or due and is not answered when the window ends; no proxy here waits longer for a cell, and the machine
/// may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// After a failure; what fails at once must not be tried a million times a second.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

impl Load {
    pub(super) fn of(order: &Order) -> Result<Self, DriveError> {
        let missing = match (order.table.accounts, order.pace, order.work) {
            (0, ..) => true,
            (_, Pace::Open { per_second: 0, .. }, _) => true,
            (.., Work::H2Get { connections, streams }) => connections * streams == 0,
            (.., Work::Idle { connections }) => connections == 0,
            (.., Work::Resumptions { clients: 0 }) => true,
            (_, pace, _) => pace.connections() == 0,
        };
        if missing {
            let text = format!("{:?}, {:?}, {} accounts", order.work, order.pace, order.table.accounts);
            return Err(DriveError::Nothing(text));
        }
        let window = Window { warmup: order.warmup, duration: order.duration };
        Ok(Self {
            door: order.door.clone(),
            table: order.table,
            expected: Expected::of(order),
            tls: connector(order, Resumption::disabled()),
            random: Cell::new(order.seed),
            turns: Turns::of(order.pace, window)?,
            driven: RefCell::default(),
            latency: RefCell::default(),
            settled: Cell::new(0),
        })
    }

    /// Another account, on the legacy host or on its own.
    pub(super) fn pick(&self, legacy: bool) -> Ask {
        let mut state = self.random.get();
        let account = unit(&mut state) * f64::from(self.table.accounts);
        self.random.set(state);
        Ask { account: account as u32, legacy } // Below the number of accounts.
    }

    /// Connects without a session to resume.
    pub(super) async fn connect(&self, server: &str) -> Result<Line, Fault> {
        Ok(Line::open(self.door.address, self.tls.as_ref(), server).await?)
    }

    /// Opens all workers, lets them take turns until the window ends, and says what came of it.
    pub(super) async fn measure<W: Worker>(
        self: Rc<Self>,
        workers: Vec<W>,
        on_begin: impl FnOnce(),
        on_end: impl FnOnce(),
    ) -> Result<Driven, DriveError> {
        let workers = timeout(OPENING_MAX, self.opened(workers)).await;
        let workers =
            workers.unwrap_or_else(|_| Err(Fault::lost(format!("not open within {OPENING_MAX:?}"))));
        let workers = workers
            .map_err(|fault| DriveError::Opening { address: self.door.address, fault: fault.to_string() })?;
        let begun = self.turns.begun();
        let window = self.turns.window();
        let count = workers.len();
        let mut running = JoinSet::new();
        for worker in workers {
            running.spawn_local(self.clone().take_turns(worker));
        }
        let load = self.clone();
        spawn_local(async move { load.turns.pace(count).await });
        sleep_until((begun + window.warmup).into()).await;
        on_begin();
        let measured = Instant::now();
        sleep_until((begun + window.end()).into()).await;
        let elapsed = measured.elapsed();
        on_end();
        // Who has no answer by now has none; what was due and not sent is lost too.
        let _ = timeout(PATIENCE, async { while running.join_next().await.is_some() {} }).await;
        Ok(self.driven(elapsed))
    }

    async fn opened<W: Worker>(self: &Rc<Self>, workers: Vec<W>) -> Result<Vec<W>, Fault> {
        let mut opening = JoinSet::new();
        let mut open = Vec::with_capacity(workers.len());
        for mut worker in workers {
            let load = self.clone();
            opening.spawn_local(async move { worker.open(&load).await.map(|()| worker) });
        }
        while let Some(opened) = opening.join_next().await {
            open.push(opened.map_err(Fault::lost)??);
        }
        Ok(open)
    }

    async fn take_turns<W: Worker>(self: Rc<Self>, mut worker: W) {
        while let Some(turn) = self.turns.next().await {
            let result = match worker.open(&self).await {
                Ok(()) => worker.ask(&self).await,
                Err(fault) => Err(fault),
            };
            let failed = result.is_err();
            self.settle(turn, result);
            if failed {
                sleep(AFTER_FAILURE).await;
            }
        }
    }

    /// Counts what became of a request.
    pub(super) fn settle(&self, turn: Turn, result: Result<Answered, Fault>) {
        self.settled.set(self.settled.get() + 1);
        let mut driven = self.driven.borrow_mut();
        match result {
            Ok(answered) if turn.measured => {
                let window = self.turns.begun() + self.turns.window().warmup;
                let offset = turn.moment.saturating_duration_since(window);
                self.latency.borrow_mut().add(offset, turn.moment.elapsed());
                driven.resumed += u64::from(answered.resumed);
            }
            Ok(_) => {}
            Err(fault) => {
                match fault {
                    Fault::Lost(_) => driven.failed += 1,
                    Fault::Wrong(_) => driven.wrong += 1,
                }
                driven.remark.get_or_insert_with(|| fault.to_string());
            }
        }
    }

    /// Says something that is no answer's fault.
    pub(super) fn remark(&self, text: String) {
        self.driven.borrow_mut().remark.get_or_insert(text);
    }

    /// The result. What is not settled by now is lost.
    fn driven(&self, elapsed: Duration) -> Driven {
        let (due, measured) = self.turns.due();
        let mut driven = self.driven.take();
        let lost = due - self.settled.get();
        if lost > 0 {
            driven
                .remark
                .get_or_insert_with(|| format!("{lost} requests without an answer after {PATIENCE:?}"));
        }
        let driven = Driven { failed: driven.failed + lost, ..driven };
        self.whole(driven, measured, elapsed)
    }

    /// The result where nobody takes turns, and so many requests were measured.
    pub(super) fn driven_of(&self, requests: u64, elapsed: Duration) -> Driven {
        self.whole(self.driven.take(), requests, elapsed)
    }

    fn whole(&self, driven: Driven, requests: u64, elapsed: Duration) -> Driven {
        let halves = self.latency.take();
        let (latency, worst_p99_us) = (halves.whole(), halves.worst_p99_us());
        Driven { requests, elapsed, latency, worst_p99_us, ..driven }
    }
}

/// TLS to the order's door, with the protocol that its work speaks.
pub(super) fn connector(order: &Order, sessions: Resumption) -> Option<TlsConnector> {
    let mut config = order.door.tls.as_deref()?.clone();
    config.resumption = sessions;
    let protocol = match order.work {
        Work::H2Get { .. } | Work::GrpcUnary => "h2",
        _ => "http/1.1",
    };
    config.alpn_protocols = vec![protocol.into()];
    Some(TlsConnector::from(Arc::new(config)))
}
