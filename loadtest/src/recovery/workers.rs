//! The [`Model`] in real time, behind a cell that speaks HTTP. A request that came is worked on to its end, whether or
//! not its client still waits: application servers notice too late, or never, that somebody has left.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::model::{Model, ModelRules};
use crate::cell::behaviour::lock;

/// Where a balancer asks whether the cell lives. It waits for a worker as any other request, as it does in application
/// servers with one pool of workers, but is not counted as arrived.
pub const HEALTH_PATH: &str = "/health";

/// The workers of one cell. Clones are the same workers; they end with the last of them.
#[derive(Clone)]
pub struct Workers {
    shared: Arc<Shared>,
    /// Ends the task behind them.
    _driver: Arc<Driver>,
}

/// What has happened to the workers so far; moments are since they started.
#[derive(Clone, Debug, Default)]
pub struct WorkSeen {
    /// When each request arrived, refused ones included and questions for health not.
    pub arrived: Vec<Duration>,
    /// When the cell began to thrash, each time.
    pub collapses: Vec<Duration>,
    /// How long it has thrashed in all.
    pub thrashed: Duration,
    /// Requests that wait for a worker now.
    pub waiting: usize,
    /// Requests served for nobody.
    pub wasted: u64,
}

struct Shared {
    state: Mutex<State>,
    changed: Notify,
    started: Instant,
}

struct State {
    model: Model,
    next_id: u64,
    askers: HashMap<u64, oneshot::Sender<()>>,
    arrived: Vec<Duration>,
    wasted: u64,
}

struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Workers {
    /// Warm and idle, on the current runtime.
    pub fn start(rules: ModelRules, seed: u64) -> Self {
        let state = State {
            model: Model::new(rules, seed),
            next_id: 0,
            askers: HashMap::new(),
            arrived: Vec::new(),
            wasted: 0,
        };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), changed: Notify::new(), started: Instant::now() });
        let driver = Driver(tokio::spawn(drive(shared.clone())));
        Self { shared, _driver: Arc::new(driver) }
    }

    /// Returns true when the request has been served, and false at once if the queue is full or all is lost meanwhile.
    /// Dropping this leaves the work in place.
    pub(crate) async fn serve(&self, target: &str) -> bool {
        let (tell, told) = oneshot::channel();
        {
            let now = self.shared.started.elapsed();
            let mut state = lock(&self.shared.state);
            if target != HEALTH_PATH {
                state.arrived.push(now);
            }
            let id = state.next_id;
            state.next_id += 1;
            if !state.model.arrive(now, id) {
                return false;
            }
            state.askers.insert(id, tell);
        }
        self.shared.changed.notify_one();
        told.await.is_ok()
    }

    /// Loses all work, and has cold caches from now on.
    pub fn restart(&self) {
        let mut state = lock(&self.shared.state);
        state.model.restart(self.shared.started.elapsed());
        state.askers.clear();
        drop(state);
        self.shared.changed.notify_one();
    }

    /// When they started.
    pub fn started(&self) -> Instant {
        self.shared.started
    }

    /// What has happened so far.
    pub fn seen(&self) -> WorkSeen {
        let state = lock(&self.shared.state);
        WorkSeen {
            arrived: state.arrived.clone(),
            collapses: state.model.collapses().to_vec(),
            thrashed: state.model.thrashed(),
            waiting: state.model.waiting(),
            wasted: state.wasted,
        }
    }

    /// Requests that wait for a worker now.
    pub fn waiting(&self) -> usize {
        lock(&self.shared.state).model.waiting()
    }
}

/// Tells those whose requests are done, when they are.
async fn drive(shared: Arc<Shared>) {
    loop {
        let due = {
            let mut state = lock(&shared.state);
            let state = &mut *state;
            for id in state.model.finish(shared.started.elapsed()) {
                let heard = state.askers.remove(&id).is_some_and(|asker| asker.send(()).is_ok());
                state.wasted += u64::from(!heard);
            }
            state.model.due()
        };
        match due {
            Some(due) => tokio::select! {
                () = tokio::time::sleep_until(shared.started + due) => {}
                () = shared.changed.notified() => {}
            },
            None => shared.changed.notified().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_for_clients_that_have_left() {
        let workers = Workers::start(ModelRules::of(40.0), 1);
        let asked = tokio::time::timeout(Duration::from_millis(1), workers.serve("/")).await;
        assert!(asked.is_err(), "nothing is served in a millisecond");
        for _ in 0..2 {
            assert!(workers.serve(HEALTH_PATH).await);
        }
        let seen = workers.seen();
        assert_eq!((seen.arrived.len(), seen.wasted, seen.waiting), (1, 1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_ends_all_that_wait() {
        let workers = Workers::start(ModelRules::of(40.0), 1);
        let asked = tokio::spawn({
            let workers = workers.clone();
            async move { workers.serve("/").await }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        workers.restart();
        assert!(!asked.await.expect("the request does not panic"));
        assert!(workers.serve("/").await, "and it works again");
    }
}
