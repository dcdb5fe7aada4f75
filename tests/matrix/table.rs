//! A topic's rows, and how they are run: from a settled state, each within a time, all of them before the
//! topic fails.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::client::{Fixture, LEGS, Legs};
use crate::edge::Edge;
use crate::sockets::held_to;

type Run = Box<dyn Fn(Arc<Fixture>) -> Pin<Box<dyn Future<Output = Result<String>> + Send>> + Send + Sync>;

/// One row.
struct Case {
    name: String,
    run: Run,
}

/// A row that takes longer is stuck: the slowest by design, 100 MB both ways in a debug build, takes a few
/// seconds when other tests compete for two cores. Below every deadline of 50 seconds and more, which no row waits for.
const LIMIT: Duration = Duration::from_secs(45);

/// Whatever is to happen happens at once; this is for a machine that is busy, and below the 10 seconds that cellgate
/// gives to slow clients and cells.
pub const SOON: Duration = Duration::from_secs(8);

/// A sweep runs once a second.
const SWEPT: Duration = Duration::from_secs(15);

/// The rows of one topic.
#[derive(Default)]
pub struct Table {
    rows: Vec<Case>,
    side_by_side: bool,
    cold: bool,
}

impl Table {
    /// A row that chooses its protocols itself.
    pub fn add<F, Fut>(&mut self, name: impl Into<String>, run: F)
    where
        F: Fn(Arc<Fixture>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String>> + Send + 'static,
    {
        let run: Run = Box::new(move |fixture| Box::pin(run(fixture)));
        self.rows.push(Case { name: name.into(), run });
    }

    /// The same row over each of these pairs of protocols.
    pub fn each<F, Fut>(&mut self, name: &str, legs: &[Legs], run: F)
    where
        F: Fn(Arc<Fixture>, Legs) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = Result<String>> + Send + 'static,
    {
        for legs in legs.iter().copied() {
            let run = run.clone();
            self.add(format!("{name} {legs}"), move |fixture| run(fixture, legs));
        }
    }

    /// The same row over all pairs without TLS.
    pub fn all_legs<F, Fut>(&mut self, name: &str, run: F)
    where
        F: Fn(Arc<Fixture>, Legs) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = Result<String>> + Send + 'static,
    {
        self.each(name, &LEGS, run);
    }

    /// Rows of this topic wait more than they work and set no traps, so they may run at once.
    pub fn side_by_side(&mut self) {
        self.side_by_side = true;
    }

    /// Rows of this topic begin without a connection to a cell.
    pub fn cold(&mut self) {
        self.cold = true;
    }
}

/// Runs a topic; panics with every row that failed.
pub fn check(rows: fn(&mut Table)) {
    let mut table = Table::default();
    rows(&mut table);
    assert!(!table.rows.is_empty(), "a topic without rows checks nothing");
    let edge = Edge::start();
    let outcomes = edge.run(async |fixture| {
        if table.side_by_side { at_once(table, fixture).await } else { in_turn(table, fixture).await }
    });
    let failed: Vec<_> = outcomes
        .iter()
        .filter_map(|(name, took, outcome)| {
            let error = outcome.as_ref().err()?;
            Some(format!("{name} ({} ms): {error:#}", took.as_millis()))
        })
        .collect();
    for (name, took, outcome) in &outcomes {
        let said = outcome.as_ref().map_or("FAILED", String::as_str);
        println!("{name} ({} ms) {said}", took.as_millis());
    }
    assert!(failed.is_empty(), "{} of {} rows failed:\n{}", failed.len(), outcomes.len(), failed.join("\n"));
}

type Outcome = (String, Duration, Result<String>);

/// After the cells have closed every connection, the edge holds none (its sweep runs once a second), and all
/// permits are back.
async fn nothing_held(fixture: &Fixture) -> Outcome {
    let begun = Instant::now();
    let name = "no connection to a cell and no permit is left behind".to_owned();
    if let Err(error) = fixture.settle().await {
        return (name, begun.elapsed(), Err(error));
    }
    loop {
        let held = [&fixture.origin_h1, &fixture.origin_h2].map(|origin| held_to(origin.addr));
        let permits: u32 = fixture.snapshot.cells.iter().map(|cell| cell.load.in_flight()).sum();
        if held == [0, 0] && permits == 0 {
            return (name, begun.elapsed(), Ok(String::new()));
        }
        if begun.elapsed() > SWEPT {
            return (
                name,
                begun.elapsed(),
                Err(anyhow!("held to the h1 and h2 cell: {held:?}, permits: {permits}")),
            );
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn in_turn(table: Table, fixture: Arc<Fixture>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for case in table.rows {
        let settled = async {
            fixture.settle().await?;
            if table.cold { Ok(()) } else { fixture.connected().await }
        };
        let settled = settled.await.context("settling before the row");
        let outcome = match settled {
            Ok(()) => one(case, &fixture).await,
            Err(error) => (case.name, Duration::ZERO, Err(error)),
        };
        let tidy = fixture.tidy(SOON).await;
        let (name, took, result) = outcome;
        outcomes.push((name, took, result.and_then(|said| tidy.map(|()| said))));
    }
    outcomes.push(nothing_held(&fixture).await);
    outcomes
}

async fn at_once(table: Table, fixture: Arc<Fixture>) -> Vec<Outcome> {
    let mut running = tokio::task::JoinSet::new();
    for case in table.rows {
        let fixture = Arc::clone(&fixture);
        running.spawn(async move { one(case, &fixture).await });
    }
    let mut outcomes = running.join_all().await;
    let tidy = fixture.tidy(SOON).await;
    outcomes.push(("no exchange is left behind".into(), Duration::ZERO, tidy.map(|()| String::new())));
    outcomes.push(nothing_held(&fixture).await);
    outcomes
}

async fn one(case: Case, fixture: &Arc<Fixture>) -> Outcome {
    let begun = Instant::now();
    let result = tokio::time::timeout(LIMIT, (case.run)(Arc::clone(fixture))).await;
    let result = result.unwrap_or_else(|_| Err(anyhow!("HUNG: no end within {LIMIT:?}")));
    (case.name, begun.elapsed(), result)
}
