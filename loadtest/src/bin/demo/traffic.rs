//! Background traffic: requests of the shapes that real clients send, one after the other, gently, until it is dropped. Not a
//! load generator; that is `loadtest::load`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http::Method;
use loadtest::client::{Ask, Client, Http, Line, Reply, SendError};
use loadtest::tls::ClientTls;
use serde_json::Value;
use tokio::task::{JoinHandle, JoinSet};

use crate::place::{CELLS, Place};
use crate::start::{Edge, MOVED_TOKEN, SHARED_TOKEN};
use crate::tally::{Ended, Tally};

/// The shapes, as `cellgate plan` replays them too.
const SHAPES: &str = include_str!("../../../../src/replay/request_shapes.jsonl");

/// Between two requests: forty a second move every number of the live view, and leave a laptop cool.
const EVERY: Duration = Duration::from_millis(25);

/// As long as an impatient API client waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests under way at most; beyond, one is left out. Ten seconds of silence of everything, at [`EVERY`].
const UNDER_WAY: usize = 400;

/// The account whose requests most of the shapes are, and the one of those on own addresses: id and prefix.
const RECORDED: [(&str, &str); 2] = [("12345", "acme"), ("70403103966603", "ab123")];

/// Accounts that call with the same clients: id, prefix, credential, and its cell's position in [`CELLS`].
const ALSO: [(&str, &str, &str, usize); 2] =
    [("1001", "mt001", SHARED_TOKEN, 3), ("26228", "initech", MOVED_TOKEN, 2)];

/// One request that is sent again and again.
#[derive(Clone, Debug)]
struct Shape {
    ask: Ask,
    http: Http,
    /// Position in [`CELLS`] of its account's cell.
    cell: usize,
    legacy: bool,
}

/// Traffic that runs. Ends when it is dropped.
#[derive(Debug)]
pub struct Traffic {
    started: Instant,
    tally: Arc<Mutex<Tally>>,
    task: JoinHandle<()>,
}

impl Traffic {
    /// Starts it, over TLS.
    pub fn start(place: &Place, edge: &Edge) -> Result<Self> {
        let pem =
            std::fs::read_to_string(&place.ca).with_context(|| format!("reading {}", place.ca.display()))?;
        let tls = ClientTls::trusting(&pem);
        let senders = Arc::new(Senders {
            h1: Client::tls(edge.https, Http::H1, &tls)?,
            h2: Client::tls(edge.https, Http::H2, &tls)?,
            kept: Mutex::default(),
        });
        let (started, tally) = (Instant::now(), Arc::new(Mutex::new(Tally::default())));
        let task = tokio::spawn(run(shapes(), senders, started, tally.clone()));
        Ok(Self { started, tally, task })
    }

    /// Time since the start, by which everything is counted.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// What was counted.
    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(shapes: Vec<Shape>, senders: Arc<Senders>, started: Instant, tally: Arc<Mutex<Tally>>) {
    let mut due = tokio::time::interval(EVERY);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    // Ends with this task: what is under way is then of no use to anybody.
    let mut under_way = JoinSet::new();
    for shape in shapes.into_iter().map(Arc::new).collect::<Vec<_>>().iter().cycle() {
        due.tick().await;
        while under_way.try_join_next().is_some() {}
        if under_way.len() >= UNDER_WAY {
            continue;
        }
        let (shape, senders, tally) = (shape.clone(), senders.clone(), tally.clone());
        under_way.spawn(async move {
            let sent = Instant::now();
            let reply = tokio::time::timeout(PATIENCE, senders.send(&shape)).await;
            let reply = reply.ok().and_then(Result::ok);
            let ended = shape.ended(reply.as_ref(), started.elapsed(), sent.elapsed());
            lock(&tally).add(ended);
        });
    }
}

impl Shape {
    fn ended(&self, reply: Option<&Reply>, at: Duration, took: Duration) -> Ended {
        let by = reply.and_then(Reply::cell);
        let by = by.and_then(|name| CELLS.iter().position(|(known, _)| *known == name));
        let failed = by.is_none() || reply.is_none_or(|reply| reply.status.is_server_error());
        let retry_after = reply.and_then(|reply| reply.header("retry-after")?.parse().ok());
        Ended { at, took, cell: by.unwrap_or(self.cell), legacy: self.legacy, failed, retry_after }
    }
}

/// Connections that are kept for a host's next request, as client libraries do it.
struct Senders {
    h1: Client,
    h2: Client,
    kept: Mutex<HashMap<String, Vec<Line>>>,
}

impl Senders {
    async fn send(&self, shape: &Shape) -> Result<Reply, SendError> {
        if shape.http == Http::H2 {
            return self.h2.ask(&shape.ask).await;
        }
        let host = &shape.ask.host;
        let kept = lock(&self.kept).get_mut(host).and_then(Vec::pop).filter(|line| !line.is_closed());
        let line = match kept {
            Some(line) => line,
            None => self.h1.open(host).await?,
        };
        let reply = line.ask(&shape.ask).await?;
        // A WebSocket is closed at once, by dropping its line.
        let reusable = reply.status.as_u16() != 101 && reply.header("connection") != Some("close");
        if reusable && !line.is_closed() {
            lock(&self.kept).entry(host.clone()).or_default().push(line);
        }
        Ok(reply)
    }
}

/// What holds a lock here never panics in between.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every recorded shape that the simulated cells can answer, each followed by the same request of other accounts.
fn shapes() -> Vec<Shape> {
    let rows = SHAPES.lines().filter_map(|row| serde_json::from_str::<Value>(row).ok());
    rows.filter_map(|row| read(&row))
        .flat_map(|shape| {
            let others: Vec<Shape> = ALSO.iter().filter_map(|other| shape.of(other)).collect();
            std::iter::once(shape).chain(others)
        })
        .collect()
}

/// `None` of a shape without a credential, to which a simulated cell says no, and of the one of an account that is nowhere.
fn read(row: &Value) -> Option<Shape> {
    let text = |name: &str| row[name].as_str();
    let (host, path) = (text("host")?, text("path")?);
    let method = Method::from_bytes(text("method")?.as_bytes()).ok()?;
    let mut ask = Ask::get(host, path).method(method);
    for (name, value) in row["headers"].as_object()?.iter().filter(|(name, _)| !name.starts_with(':')) {
        ask = ask.header(name, value.as_str()?);
    }
    let header = |name: &str| ask.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    header("authorization").or_else(|| header("cookie"))?;
    let grpc = header("content-type").is_some_and(|(_, value)| value == "application/grpc");
    if ask.method != Method::GET && !grpc {
        ask.body = b"{}".as_slice().into();
    }
    let home = [
        ("999999999", None),
        ("ab123.", Some(0)),
        ("70403103966603", Some(0)),
        ("whoami", Some(0)),
        ("70471823417825", Some(2)),
    ];
    let named = |what: &&(&str, Option<usize>)| host.starts_with(what.0) || path.contains(what.0);
    let cell = home.iter().find(named).map_or(Some(1), |(_, cell)| *cell)?;
    let http = if grpc { Http::H2 } else { Http::H1 };
    let legacy = host.ends_with("cloud.getdbt.com");
    Some(Shape { ask, http, cell, legacy })
}

impl Shape {
    /// The same request of another account, where nothing but host, path and token says whose it is.
    fn of(&self, (id, prefix, token, cell): &(&str, &str, &str, usize)) -> Option<Self> {
        let mut shape = Self { cell: *cell, ..self.clone() };
        for (recorded, label) in RECORDED {
            shape.ask.path = shape.ask.path.replace(&format!("/{recorded}/"), &format!("/{id}/"));
            if let Some(rest) = shape.ask.host.strip_prefix(&format!("{label}.")) {
                shape.ask.host = format!("{prefix}.{rest}");
            }
        }
        let is_other = shape.ask.path != self.ask.path || shape.ask.host != self.ask.host;
        let is_bound = |name: &str| name.contains("environment") || name.eq_ignore_ascii_case("cookie");
        if !is_other || shape.ask.headers.iter().any(|(name, _)| is_bound(&name.to_lowercase())) {
            return None;
        }
        let credential = |name: &str| name.eq_ignore_ascii_case("authorization");
        for (_, value) in shape.ask.headers.iter_mut().filter(|(name, _)| credential(name)) {
            let scheme = value.split(' ').next().unwrap_or_default();
            *value = format!("{scheme} {token}");
        }
        Some(shape)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_recorded_shape_with_a_credential_is_sent_and_each_cell_is_asked() {
        let recorded = SHAPES.lines().count();
        let shapes = shapes();
        // The token call of OAuth has no credential, and one shape names an account that nobody has.
        let own = shapes.iter().filter(|shape| !ALSO.iter().any(|(_, _, token, _)| shape.has(token))).count();
        assert_eq!(own, recorded - 2);
        for cell in 0..CELLS.len() {
            assert!(shapes.iter().any(|shape| shape.cell == cell && shape.legacy), "{cell}");
        }
        let families =
            ["terraform", "airflow", "prefect", "python-requests", "curl", "Okta", "Mozilla", "JDBC"];
        for family in families {
            assert!(shapes.iter().any(|shape| shape.has(family)), "{family}");
        }
        let shared: Vec<&Shape> = shapes.iter().filter(|shape| shape.cell == 3).collect();
        assert!(shared.len() >= 10 && shared.iter().any(|shape| !shape.legacy), "{}", shared.len());
        for shape in shared {
            assert!(!shape.ask.path.contains("12345") && shape.has(SHARED_TOKEN), "{shape:?}");
        }
    }

    impl Shape {
        fn has(&self, text: &str) -> bool {
            self.ask.headers.iter().any(|(_, value)| value.contains(text))
        }
    }
}
