//! What the origins saw, by the `id` that each request carries in its query.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::sync::watch;

/// One thing an origin saw of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Saw {
    /// A whole request head, on this connection.
    Head(u64),
    /// The request body's clean end, with its length.
    Body(u64),
    /// The first bytes of the request body.
    BodyBegan,
    /// The response was written to its end.
    Answered,
    /// The exchange broke from the proxy's side.
    Aborted(String),
}

#[derive(Default)]
struct Seen {
    by_id: HashMap<String, Vec<(Instant, Saw)>>,
    heads_on: HashMap<u64, u64>,
    in_flight: i64,
    written: HashMap<String, u64>,
    taken: HashMap<String, u64>,
    connections: i64,
    accepted: u64,
}

/// Shared by both origins and the cases.
pub struct Registry {
    seen: Mutex<Seen>,
    version: watch::Sender<u64>,
}

/// Counts one unit up, and down again on drop.
pub struct Counted(Arc<Registry>, Unit);

#[derive(Clone, Copy)]
pub enum Unit {
    InFlight,
    Connection,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count(self.1, -1);
    }
}

impl Registry {
    pub fn new() -> Arc<Self> {
        Arc::new(Registry { seen: Mutex::default(), version: watch::Sender::new(0) })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Seen) -> T) -> T {
        let result = act(&mut self.seen.lock().expect("no holder of this lock panics"));
        self.version.send_modify(|v| *v += 1);
        result
    }

    fn look<T>(&self, act: impl FnOnce(&Seen) -> T) -> T {
        act(&self.seen.lock().expect("no holder of this lock panics"))
    }

    fn count(&self, unit: Unit, by: i64) {
        self.with(|s| match unit {
            Unit::InFlight => s.in_flight += by,
            Unit::Connection => s.connections += by,
        });
    }

    pub fn hold(self: &Arc<Self>, unit: Unit) -> Counted {
        self.count(unit, 1);
        if matches!(unit, Unit::Connection) {
            self.with(|s| s.accepted += 1);
        }
        Counted(self.clone(), unit)
    }

    pub fn note(&self, id: &str, saw: Saw) {
        self.with(|s| {
            if let Saw::Head(connection) = saw {
                *s.heads_on.entry(connection).or_default() += 1;
            }
            s.by_id.entry(id.to_string()).or_default().push((Instant::now(), saw));
        });
    }

    pub fn wrote(&self, id: &str, bytes: u64) {
        self.with(|s| *s.written.entry(id.to_string()).or_default() += bytes);
    }

    pub fn written(&self, id: &str) -> u64 {
        self.look(|s| s.written.get(id).copied().unwrap_or(0))
    }

    /// The client of `id` has got more of the answer's body.
    pub fn took(&self, id: &str, bytes: usize) {
        self.with(|s| *s.taken.entry(id.to_string()).or_default() += bytes as u64);
    }

    pub fn taken(&self, id: &str) -> u64 {
        self.look(|s| s.taken.get(id).copied().unwrap_or(0))
    }

    pub fn of(&self, id: &str) -> Vec<Saw> {
        self.look(|s| {
            s.by_id.get(id).map(|v| v.iter().map(|(_, saw)| saw.clone()).collect()).unwrap_or_default()
        })
    }

    pub fn heads(&self, id: &str) -> usize {
        self.of(id).iter().filter(|saw| matches!(saw, Saw::Head(_))).count()
    }

    pub fn heads_on(&self, connection: u64) -> u64 {
        self.look(|s| s.heads_on.get(&connection).copied().unwrap_or(0))
    }

    /// The connection that carried the first head of `id`.
    pub fn connection_of(&self, id: &str) -> Option<u64> {
        self.of(id).iter().find_map(|saw| match saw {
            Saw::Head(connection) => Some(*connection),
            _ => None,
        })
    }

    pub fn in_flight(&self) -> i64 {
        self.look(|s| s.in_flight)
    }

    pub fn accepted(&self) -> u64 {
        self.look(|s| s.accepted)
    }

    pub fn connections(&self) -> i64 {
        self.look(|s| s.connections)
    }

    /// Waits until `done` holds; the error says what was seen instead.
    pub async fn wait(
        &self,
        what: &str,
        limit: Duration,
        done: impl Fn(&Registry) -> bool,
    ) -> Result<Duration> {
        let begun = Instant::now();
        let mut version = self.version.subscribe();
        loop {
            version.borrow_and_update();
            if done(self) {
                return Ok(begun.elapsed());
            }
            let left = limit.saturating_sub(begun.elapsed());
            if tokio::time::timeout(left, version.changed()).await.is_err() {
                bail!("not within {limit:?}: {what}");
            }
        }
    }

    pub async fn saw(
        &self,
        id: &str,
        limit: Duration,
        want: impl Fn(&Saw) -> bool,
        what: &str,
    ) -> Result<Duration> {
        let waited = self.wait(what, limit, |r| r.of(id).iter().any(&want)).await;
        waited.map_err(|e| e.context(format!("origin saw {:?}", self.of(id))))
    }
}
