//! Fleets: many WebSockets or gRPC streams held open at once, each of which says something every so often and
//! checks the echo. Whatever ends one of them before it is asked to end is a drop, and is reported with its reason.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::ask::Ask;
use crate::cell::behaviour::lock;
use crate::client::Client;
use crate::load::{Histogram, Latency};
use crate::wait::until;

mod member;

use member::{Ended, Member};

/// A fleet to be held open.
#[derive(Clone)]
pub struct FleetPlan {
    /// Where to, and over which protocol. Each member has a connection of its own.
    pub client: Client,
    /// Host, path and header fields that open a member; for gRPC a [`call`](crate::call::call) without messages
    /// whose path ends in `/Bidi`.
    pub ask: Ask,
    /// What its members are.
    pub of: FleetOf,
    /// How many.
    pub size: usize,
    /// How often each speaks.
    pub every: Duration,
    /// How long it waits to be opened, for an echo, and to be closed.
    pub timeout: Duration,
    /// The cell that must answer; any, if none is given.
    pub cell: Option<String>,
}

/// What the members of a fleet are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetOf {
    /// WebSockets, over h1 by upgrade and over h2 by extended CONNECT.
    WebSockets,
    /// gRPC streams both ways; over h2 only.
    GrpcStreams,
}

impl FleetPlan {
    /// `size` WebSockets to `host` and `path` that speak every 100 ms.
    pub fn websockets(client: Client, host: &str, path: &str, size: usize) -> Self {
        Self {
            client,
            ask: Ask::get(host, path),
            of: FleetOf::WebSockets,
            size,
            every: Duration::from_millis(100),
            timeout: Duration::from_secs(10),
            cell: None,
        }
    }

    /// `size` gRPC streams to `host` and `path`, which must end in `/Bidi`, that speak every 100 ms.
    pub fn grpc_streams(client: Client, host: &str, path: &str, size: usize) -> Self {
        Self {
            ask: crate::call::call(host, path, &[]),
            of: FleetOf::GrpcStreams,
            ..Self::websockets(client, host, path, size)
        }
    }

    /// Expects this cell.
    pub fn cell(mut self, cell: &str) -> Self {
        self.cell = Some(cell.to_owned());
        self
    }

    /// Speaks as often as this.
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// With another time-out.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// What became of a fleet, or its state so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetReport {
    /// Members wanted.
    pub size: usize,
    /// Members that opened.
    pub opened: usize,
    /// Members open now.
    pub open: usize,
    /// Why the others did not open.
    pub not_opened: Vec<Drop>,
    /// Members that another cell answered.
    pub wrong_cell: Vec<Drop>,
    /// Members that ended before they were asked to.
    pub drops: Vec<Drop>,
    /// Members that ended in order when they were asked to.
    pub closed: usize,
    /// Messages that came back as they were sent.
    pub echoes: u64,
    /// How long they took.
    pub latency: Latency,
}

/// One member that did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drop {
    /// Its number, from 0.
    pub member: usize,
    /// When, in ms since the start.
    pub at_ms: u64,
    /// Why.
    pub reason: String,
}

impl FleetReport {
    /// Whether all opened in the right cell and none was dropped.
    pub fn is_clean(&self) -> bool {
        self.opened == self.size
            && self.not_opened.is_empty()
            && self.wrong_cell.is_empty()
            && self.drops.is_empty()
    }
}

impl fmt::Display for FleetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} of {} opened, {} open now, {} closed in order, {} dropped, {} in the wrong cell",
            self.opened,
            self.size,
            self.open,
            self.closed,
            self.drops.len(),
            self.wrong_cell.len()
        )?;
        let names = ["p50 ms", "p90", "p99", "p99.9", "max"].map(|name| format!("{name:>10}"));
        writeln!(f, "{:>16}{}", "", names.concat())?;
        writeln!(f, "{:>10} echoes{}", self.echoes, self.latency)?;
        for (what, list) in
            [("not opened", &self.not_opened), ("wrong cell", &self.wrong_cell), ("dropped", &self.drops)]
        {
            for one in list.iter().take(SHOWN_MAX) {
                let (member, at_ms, reason) = (one.member, one.at_ms, &one.reason);
                writeln!(f, "  {what} at {at_ms} ms, member {member}: {reason}")?;
            }
        }
        Ok(())
    }
}

/// Enough to see what goes wrong, few enough to read.
const SHOWN_MAX: usize = 10;

/// Holds fleets open.
pub struct Fleet;

impl Fleet {
    /// Opens a fleet on the current runtime, and returns when each member is open or has failed to.
    pub async fn open(plan: FleetPlan) -> RunningFleet {
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            started: Instant::now(),
            settled: watch::Sender::new(0),
            plan,
        });
        let task = tokio::spawn(sail(shared.clone(), stopped));
        let mut settled = shared.settled.subscribe();
        // The sender is in `shared`, which lives on.
        let _ = settled.wait_for(|n| *n == shared.plan.size).await;
        RunningFleet { shared, stop, task }
    }
}

/// A fleet that is open. Dropping it ends it at once and out of order.
#[must_use = "the fleet ends when this is dropped"]
pub struct RunningFleet {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl RunningFleet {
    /// How it stands.
    pub fn report(&self) -> FleetReport {
        self.shared.report()
    }

    /// Waits until `enough` of how it stands; false if the fleet ends first.
    pub async fn until(&self, mut enough: impl FnMut(&FleetReport) -> bool) -> bool {
        until(&self.task, || enough(&self.report())).await
    }

    /// Closes every member in order.
    pub async fn stop(mut self) -> FleetReport {
        self.stop.send_replace(true);
        // It is never aborted before this, and if it panicked the report lacks what it did not count.
        let _ = (&mut self.task).await;
        self.shared.report()
    }
}

impl std::ops::Drop for RunningFleet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Members opened at the same time: as many as a browser farm behind one address would, and no SYN flood.
const OPENING_MAX: usize = 32;

struct Shared {
    plan: FleetPlan,
    state: Mutex<State>,
    started: Instant,
    /// Members that have opened or failed to.
    settled: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    report: FleetReport,
    times: Histogram,
}

impl Shared {
    fn report(&self) -> FleetReport {
        let state = lock(&self.state);
        FleetReport { size: self.plan.size, latency: state.times.latency(), ..state.report.clone() }
    }

    fn note(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
    }

    fn drop_of(&self, member: usize, reason: String) -> Drop {
        Drop { member, at_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX), reason }
    }
}

async fn sail(shared: Arc<Shared>, stopped: watch::Receiver<bool>) {
    let opening = Arc::new(Semaphore::new(OPENING_MAX));
    let mut members = JoinSet::new();
    for number in 0..shared.plan.size {
        let (shared, stopped, opening) = (shared.clone(), stopped.clone(), opening.clone());
        members.spawn(async move {
            let slot = opening.acquire().await;
            let member = open(&shared, number).await;
            drop(slot);
            shared.settled.send_modify(|settled| *settled += 1);
            if let Some(member) = member {
                live(&shared, number, member, stopped).await;
            }
        });
    }
    while members.join_next().await.is_some() {}
}

async fn open(shared: &Shared, number: usize) -> Option<Member> {
    let plan = &shared.plan;
    let opened = Member::open(plan.of, &plan.client, &plan.ask);
    let reason = match tokio::time::timeout(plan.timeout, opened).await {
        Ok(Ok(member)) => {
            let cell = member.cell().map(str::to_owned);
            let wrong = plan.cell.is_some() && plan.cell != cell;
            let told = format!("answered by {}", cell.as_deref().unwrap_or("none"));
            shared.note(|state| {
                state.report.opened += 1;
                state.report.open += 1;
                if wrong {
                    state.report.wrong_cell.push(shared.drop_of(number, told));
                }
            });
            return Some(member);
        }
        Ok(Err(reason)) => reason,
        Err(_) => format!("not open within {:?}", plan.timeout),
    };
    shared.note(|state| state.report.not_opened.push(shared.drop_of(number, reason)));
    None
}

/// Speaks until it is asked to end or ends by itself.
async fn live(shared: &Shared, number: usize, mut member: Member, mut stopped: watch::Receiver<bool>) {
    let plan = &shared.plan;
    // Spread over the interval, so that the fleet does not speak in one voice.
    let share = number as f64 / plan.size as f64;
    let mut tick = tokio::time::interval_at(
        tokio::time::Instant::now() + plan.every.mul_f64(share),
        plan.every.max(Duration::from_millis(1)),
    );
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut said = 0u64;
    let ended = loop {
        tokio::select! {
            // Either the stop, or its sender has gone, which is a stop too.
            _ = stopped.wait_for(|stopped| *stopped) => break None,
            ended = member.listen() => break Some(ended),
            _ = tick.tick() => {}
        }
        let message = format!("member {number} message {said}");
        said += 1;
        let start = Instant::now();
        match tokio::time::timeout(plan.timeout, member.echo(&message)).await {
            Ok(Ok(())) => shared.note(|state| {
                state.report.echoes += 1;
                state.times.add(start.elapsed());
            }),
            Ok(Err(ended)) => break Some(ended),
            Err(_) => break Some(Ended(format!("no echo within {:?}", plan.timeout))),
        }
    };
    let ended = match ended {
        Some(ended) => Err(ended),
        None => match tokio::time::timeout(plan.timeout, member.close()).await {
            Ok(closed) => closed,
            Err(_) => Err(Ended(format!("not closed within {:?}", plan.timeout))),
        },
    };
    shared.note(|state| {
        state.report.open -= 1;
        match ended {
            Ok(()) => state.report.closed += 1,
            Err(Ended(reason)) => state.report.drops.push(shared.drop_of(number, reason)),
        }
    });
}
