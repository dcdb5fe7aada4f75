//! Running a plan: the pace, the requests, and the handle on both.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use http::Method;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use super::plan::{LoadPlan, Pace};
use super::pool::Pool;
use super::report::{Counting, LoadReport, Outcome};
use crate::cell::behaviour::lock;
use crate::failure::{FailureKind, SendError};
use crate::wait::until;

/// Makes load.
pub struct Load;

impl Load {
    /// Runs a plan to its end.
    pub async fn run(plan: LoadPlan) -> LoadReport {
        Self::start(plan).finish().await
    }

    /// Starts a plan on the current runtime; meanwhile the test does something to the server.
    pub fn start(plan: LoadPlan) -> RunningLoad {
        let shared = Arc::new(Shared {
            pool: Pool::new(plan.client.clone(), plan.h2_connections),
            counting: Mutex::new(Counting::of(plan.templates.iter().map(|t| t.name.clone()))),
            started: Instant::now(),
            next: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            plan,
        });
        let task = match shared.plan.pace {
            // Nothing to send is nothing to do; the report says so.
            _ if shared.plan.templates.is_empty() => tokio::spawn(async {}),
            Pace::Rate(rate) => tokio::spawn(at_rate(shared.clone(), rate)),
            Pace::Closed(clients) => tokio::spawn(closed(shared.clone(), clients)),
        };
        RunningLoad { shared, task }
    }
}

/// Load that runs. Dropping it ends it without waiting for answers.
#[must_use = "the load ends when this is dropped"]
pub struct RunningLoad {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl RunningLoad {
    /// What has become of the requests answered so far.
    pub fn report(&self) -> LoadReport {
        self.shared.report()
    }

    /// Whether all has been sent and answered.
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Sends no more; answers are still waited for by [`RunningLoad::finish`].
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }

    /// Waits until `enough` of the report so far; false if the load ends first.
    pub async fn until(&self, mut enough: impl FnMut(&LoadReport) -> bool) -> bool {
        until(&self.task, || enough(&self.report())).await
    }

    /// Waits for the end of the plan and for all answers.
    pub async fn finish(mut self) -> LoadReport {
        // It is never aborted before this, and if it panicked the report lacks what it did not count.
        let _ = (&mut self.task).await;
        self.shared.report()
    }
}

impl Drop for RunningLoad {
    fn drop(&mut self) {
        self.stop();
        self.task.abort();
    }
}

struct Shared {
    plan: LoadPlan,
    pool: Pool,
    counting: Mutex<Counting>,
    started: Instant,
    next: AtomicU64,
    stopped: AtomicBool,
}

/// The longest sleep of the pace, so that it notices a stop soon.
const NAP: Duration = Duration::from_millis(20);

/// How long a closed client waits after a failure: a busy retry loop's usual first pause.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

impl Shared {
    fn report(&self) -> LoadReport {
        lock(&self.counting).report(self.started.elapsed(), self.pool.opened())
    }

    fn is_over(&self, now: Instant) -> bool {
        self.stopped.load(Ordering::Relaxed) || now - self.started >= self.plan.duration
    }

    fn count(&self, number: u64, due: Instant, result: Result<(), Failure>, resent: u64) {
        let outcome = Outcome {
            template: self.template(number),
            due: due - self.started,
            result: result.map(|()| due.elapsed()),
            resent,
        };
        lock(&self.counting).add(outcome);
    }

    fn template(&self, number: u64) -> usize {
        (number % self.plan.templates.len() as u64) as usize // Below the length.
    }

    /// One request from when it is due to its count; whether it was good.
    async fn request(&self, number: u64, due: Instant) -> bool {
        lock(&self.counting).sent_late(due.elapsed());
        let mut resent = 0;
        let answered = self.exchange(number, &mut resent);
        let result = match tokio::time::timeout(self.plan.timeout, answered).await {
            Ok(result) => result,
            Err(_) => {
                let text = format!("no answer within {:?}", self.plan.timeout);
                Err((FailureKind::Timeout, text))
            }
        };
        let good = result.is_ok();
        self.count(number, due, result, resent);
        good
    }

    async fn exchange(&self, number: u64, resent: &mut u64) -> Result<(), Failure> {
        let template = &self.plan.templates[self.template(number)];
        let host = &template.ask.host;
        let failed = |error: SendError, new| (error.kind(new), error.to_string());
        let mut kept = self.pool.take(host).await.map_err(|e| failed(e, true))?;
        let reply = loop {
            let (new, first) = (kept.is_new(), kept.is_first());
            match kept.line.ask(&template.ask).await {
                Ok(reply) => break reply,
                Err(error) if *resent == 0 && may_resend(&error, new, first, &template.ask.method) => {
                    *resent = 1;
                    kept = self.pool.replace(host, kept).await.map_err(|e| failed(e, true))?;
                }
                Err(error) => return Err(failed(error, new)),
            }
        };
        kept.has_answered();
        if reply.header("connection") != Some("close") {
            self.pool.give_back(host, kept);
        }
        template.expect.check(reply)
    }
}

type Failure = (FailureKind, String);

/// As careful as a good client library: only where a kept connection had just ended, and then if the request was
/// surely not begun or is idempotent (RFC 9110 section 9.2.2, RFC 9112 section 9.3.1). Over h2 a connection may be
/// told to take no more (GOAWAY) while its first request is under way; what was not begun is then sent elsewhere.
fn may_resend(error: &SendError, new: bool, first: bool, method: &Method) -> bool {
    let idempotent = !new && error.ended_unanswered() && method.is_idempotent();
    !first && error.unprocessed() || idempotent
}

/// Sends what is due, when it is due, each request a task of its own.
async fn at_rate(shared: Arc<Shared>, rate: f64) {
    let (tell, mut due) = mpsc::unbounded_channel();
    let pacing = shared.clone();
    // A thread of its own, since the runtime's timers are a millisecond coarse; it ends at the end or at a stop.
    thread::spawn(move || pace(&pacing, rate, &tell));
    let slots = Arc::new(Semaphore::new(shared.plan.in_flight_max));
    let mut requests = JoinSet::new();
    while let Some((number, due)) = due.recv().await {
        while requests.try_join_next().is_some() {}
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            let text = format!("{} requests were under way", shared.plan.in_flight_max);
            shared.count(number, due, Err((FailureKind::NotSent, text)), 0);
            continue;
        };
        let shared = shared.clone();
        requests.spawn(async move {
            shared.request(number, due).await;
            drop(slot);
        });
    }
    while requests.join_next().await.is_some() {}
}

/// Tells the number and the moment of each request, from the first at the start to the last before the end.
fn pace(shared: &Shared, rate: f64, tell: &mpsc::UnboundedSender<(u64, Instant)>) {
    let mut number = 0;
    loop {
        let Ok(after) = Duration::try_from_secs_f64(number as f64 / rate) else {
            return; // A rate of nothing.
        };
        if after >= shared.plan.duration {
            return;
        }
        let due = shared.started + after;
        loop {
            if shared.stopped.load(Ordering::Relaxed) {
                return;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::sleep(left.min(NAP));
        }
        if tell.send((number, due)).is_err() {
            return;
        }
        number += 1;
    }
}

/// Each client sends, waits, and sends again.
async fn closed(shared: Arc<Shared>, clients: usize) {
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let shared = shared.clone();
        running.spawn(async move {
            loop {
                let now = Instant::now();
                if shared.is_over(now) {
                    return;
                }
                let number = shared.next.fetch_add(1, Ordering::Relaxed);
                if !shared.request(number, now).await {
                    // What fails at once must not be tried a million times a second.
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        });
    }
    while running.join_next().await.is_some() {}
}
