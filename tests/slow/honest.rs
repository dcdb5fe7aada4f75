//! The honest client: asks its own cell again and again, on kept and on new connections, and wants every answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use loadtest::client::{Ask, Client};
use tokio::task::JoinHandle;

/// Of another cell than the one under attack.
const HOST: &str = "cloud.getdbt.com";
const PATH: &str = "/api/v2/accounts/12345/runs/";

/// Between two requests.
const PACE: Duration = Duration::from_millis(10);

/// Requests on one connection.
const KEPT: usize = 20;

/// An honest client that runs until it is asked for its report.
pub struct Honest {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<Answered>>,
}

/// One answer.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// When it was asked for.
    pub asked: Instant,
    /// How long it took.
    pub latency: Duration,
}

impl Honest {
    /// Begins. Must be called on a runtime.
    pub fn start(client: Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(ask_on(client, Arc::clone(&stop)));
        Self { stop, task }
    }

    /// All its answers; fails where a request had none.
    pub async fn report(self) -> Vec<Answered> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// How long each answer took that was asked for between two moments.
pub fn latencies(answers: &[Answered], from: Instant, until: Instant) -> Vec<Duration> {
    let between = answers.iter().filter(|answer| (from..until).contains(&answer.asked));
    between.map(|answer| answer.latency).collect()
}

/// What so many of a hundred are not above; zero where there are none.
pub fn percentile(mut latencies: Vec<Duration>, of_hundred: usize) -> Duration {
    latencies.sort_unstable();
    let rank = (latencies.len() * of_hundred).div_ceil(100);
    latencies.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

async fn ask_on(client: Client, stop: Arc<AtomicBool>) -> Vec<Answered> {
    let ask = Ask::get(HOST, PATH).header("authorization", "Token dbtc_FAKE");
    let mut answers = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let line = client.open(HOST).await.unwrap();
        for _ in 0..KEPT {
            let asked = Instant::now();
            let reply = line.ask(&ask).await.unwrap();
            assert_eq!((reply.status.as_u16(), reply.cell()), (200, Some("cell-2")));
            answers.push(Answered { asked, latency: asked.elapsed() });
            tokio::time::sleep(PACE).await;
        }
    }
    answers
}
