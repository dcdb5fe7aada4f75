//! All messages, some at once, each until the receiver has it or will not have it. A receiver that takes nothing any more is left
//! alone.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::task::JoinSet;

use super::post::{Letter, Line};
use super::retry::{Next, next};
use super::{Message, Secret, Target};

/// Connections at once: receivers are small programs.
const LINES: usize = 4;

/// Messages that wait for a connection: the next one is there when one is free.
const WAITING: usize = 2 * LINES;

/// So many in a row that failed, and the rest is not sent: it would fail too, and each takes half a minute.
const HOPELESS: u32 = 10;

/// With what messages are sent.
pub struct Courier {
    /// Where to.
    pub target: Arc<Target>,
    /// The newest first; more than one while receivers change from one to the other.
    pub secrets: Vec<Secret>,
    /// Whom to trust.
    pub tls: Arc<ClientConfig>,
    /// Unix seconds.
    pub now: fn() -> i64,
    /// From 0 to 1.
    pub random: fn() -> f64,
    /// Hears of each message that the receiver has, by its id, as soon as it has it.
    pub accepted: Box<dyn Fn(&str) + Send + Sync>,
    /// Hears of each message that failed, as soon as it has.
    pub failed: Box<dyn Fn(&Failure) + Send + Sync>,
}

/// A message that the receiver does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its id.
    pub id: String,
    /// What it is about.
    pub about: String,
    /// Why, as words behind the receiver's name.
    pub why: String,
}

/// What came of all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The receiver has them.
    pub accepted: u64,
    /// It does not.
    pub failed: u64,
    /// They were not sent, for it would not have had them.
    pub unsent: u64,
    /// Why they were not.
    pub stopped: Option<String>,
}

/// What all connections share.
struct Office {
    courier: Courier,
    queue: AsyncMutex<mpsc::Receiver<Message>>,
    summary: Mutex<Summary>,
    failed_in_a_row: AtomicU32,
}

/// Sends them, in no order.
pub async fn send(courier: Courier, messages: impl Iterator<Item = Message>) -> Summary {
    let (queue, waiting) = mpsc::channel(WAITING);
    let office = Arc::new(Office {
        courier,
        queue: AsyncMutex::new(waiting),
        summary: Mutex::default(),
        failed_in_a_row: AtomicU32::new(0),
    });
    let mut lines = JoinSet::new();
    for _ in 0..LINES {
        lines.spawn(Arc::clone(&office).serve());
    }
    let mut messages = messages;
    let mut unsent = 0;
    for message in messages.by_ref() {
        if office.is_stopped() || queue.send(message).await.is_err() {
            unsent += 1;
            break;
        }
    }
    drop(queue);
    unsent += messages.count() as u64;
    while lines.join_next().await.is_some() {}
    let mut summary = office.summary().clone();
    summary.unsent += unsent;
    summary
}

impl Office {
    async fn serve(self: Arc<Self>) {
        let mut line = Line::new(Arc::clone(&self.courier.target), Arc::clone(&self.courier.tls));
        loop {
            let message = self.queue.lock().await.recv().await;
            let Some(message) = message else { return };
            if self.is_stopped() {
                self.summary().unsent += 1;
            } else {
                self.deliver(&mut line, message).await;
            }
        }
    }

    async fn deliver(&self, line: &mut Line, message: Message) {
        let mut number = 0;
        let (why, stop) = loop {
            number += 1;
            let tried = line.post(&self.signed(&message)).await;
            match next(&tried, number, (self.courier.random)()) {
                Next::Accepted => {
                    self.failed_in_a_row.store(0, Ordering::Relaxed);
                    self.summary().accepted += 1;
                    (self.courier.accepted)(&message.id);
                    return;
                }
                Next::Again(pause) => tokio::time::sleep(pause).await,
                Next::Failed(why) => break (why, None),
                Next::Stop(why) => break (why.clone(), Some(why)),
            }
            if self.is_stopped() {
                self.summary().unsent += 1;
                return;
            }
        };
        let row = self.failed_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        let hopeless = || (row >= HOPELESS).then(|| format!("{row} messages in a row failed"));
        {
            let mut summary = self.summary();
            summary.failed += 1;
            summary.stopped = summary.stopped.take().or(stop).or_else(hopeless);
        }
        (self.courier.failed)(&Failure { id: message.id, about: message.about, why });
    }

    /// Signed anew for each try: receivers refuse what is minutes old.
    fn signed<'a>(&self, message: &'a Message) -> Letter<'a> {
        let at = (self.courier.now)();
        let sign = |secret: &Secret| secret.sign(&message.id, at, &message.body);
        let signatures = self.courier.secrets.iter().map(sign).collect::<Vec<_>>().join(" ");
        Letter { id: &message.id, at, signatures, body: &message.body }
    }

    fn is_stopped(&self) -> bool {
        self.summary().stopped.is_some()
    }

    fn summary(&self) -> std::sync::MutexGuard<'_, Summary> {
        // Nothing that holds it can panic half-way.
        self.summary.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
