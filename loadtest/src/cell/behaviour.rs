//! How a simulated cell treats all its requests, switchable while it runs; and the rule that applies it
//! to one request. What one request asks for itself is in [`control`](super::control).

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

/// What a cell does with everything that reaches it.
///
/// As text (`FromStr` and `Display`, for the admin page and the command line): `normal`, `delay MS`,
/// `status CODE [BODY]`, `refuse`, `killed`, `black-hole`, `hang`, `abort`, `fail RATIO`,
/// `capacity rps=N above=wait|refuse`, `capacity slots=N service_ms=M above=wait|refuse`.
#[derive(Clone, Debug, PartialEq)]
pub enum Behaviour {
    /// Answers at once.
    Normal,
    /// Answers after this long.
    Delay(Duration),
    /// Answers every request with this status and body, reading no request body.
    Status(u16, String),
    /// The listener is closed: new connections are refused, established ones live on.
    RefuseConnections,
    /// As if the process had been killed: listener and all connections are gone.
    Killed,
    /// Accepts, and neither reads nor writes another byte, on old connections too, TLS handshakes included.
    BlackHole,
    /// Sends the head of a normal answer and never its body.
    Hang,
    /// Ends every request without an answer: h1 closes the connection, h2 resets the stream.
    Abort,
    /// Can only do so much.
    Capacity(Capacity),
    /// Answers this share of requests (0 to 1) with 500, chosen by the cell's seeded generator.
    FailRatio(f64),
}

/// How much a cell can do, and what happens to the rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// The bound.
    pub limit: Limit,
    /// What happens above it.
    pub above: Above,
}

/// The two ways in which a server runs out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// So many requests a second, in order of arrival.
    PerSecond(f64),
    /// So many at once, each of which takes `service`.
    Concurrent {
        /// Requests worked on at the same time.
        slots: usize,
        /// How long each takes.
        service: Duration,
    },
}

/// What happens to a request above the [`Limit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Above {
    /// It waits its turn, so latency grows; one that would wait over a minute gets 503.
    Wait,
    /// It gets 503 at once.
    Refuse,
}

impl Behaviour {
    /// Whether nothing should be listening.
    pub(crate) fn closes_listeners(&self) -> bool {
        matches!(self, Self::RefuseConnections | Self::Killed)
    }
}

/// The behaviour now in force, with the number of the change that brought it.
pub(crate) struct Turn {
    pub(crate) number: u64,
    pub(crate) behaviour: Behaviour,
    slots: Arc<Semaphore>,
    /// When [`Limit::PerSecond`] can take the next request.
    next_free: Mutex<Option<Instant>>,
}

/// What is to be done with one request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Serve,
    Answer(StatusCode, String),
    Hang,
    Abort,
}

/// The one place where the behaviour changes.
pub(crate) struct Switch {
    turns: watch::Sender<Arc<Turn>>,
    rng: Mutex<u64>,
}

impl Switch {
    pub(crate) fn new(seed: u64) -> Self {
        Self { turns: watch::Sender::new(Arc::new(Turn::new(0, Behaviour::Normal))), rng: Mutex::new(seed) }
    }

    pub(crate) fn now(&self) -> Arc<Turn> {
        self.turns.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Turn>> {
        self.turns.subscribe()
    }

    /// Returns the number of this change.
    pub(crate) fn set(&self, behaviour: Behaviour) -> u64 {
        let mut number = 0;
        self.turns.send_modify(|turn| {
            number = turn.number + 1;
            *turn = Arc::new(Turn::new(number, behaviour));
        });
        number
    }

    /// Applies the behaviour in force when the request came; returns when it is its turn.
    pub(crate) async fn admit(&self) -> Admission {
        let turn = self.now();
        match &turn.behaviour {
            Behaviour::Normal | Behaviour::RefuseConnections | Behaviour::Killed | Behaviour::BlackHole => {
                Admission::Serve
            }
            Behaviour::Delay(delay) => {
                tokio::time::sleep(*delay).await;
                Admission::Serve
            }
            Behaviour::Status(status, body) => Admission::Answer(
                StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                body.clone(),
            ),
            Behaviour::Hang => Admission::Hang,
            Behaviour::Abort => Admission::Abort,
            Behaviour::FailRatio(ratio) => {
                if unit(&mut lock(&self.rng)) < *ratio {
                    let text = "failed by the configured ratio\n".to_owned();
                    Admission::Answer(StatusCode::INTERNAL_SERVER_ERROR, text)
                } else {
                    Admission::Serve
                }
            }
            Behaviour::Capacity(capacity) => turn.within(*capacity).await,
        }
    }
}

/// Longest wait in a queue; a client has given up by then.
const QUEUE_MAX: Duration = Duration::from_secs(60);

/// How far above its rate a cell that refuses lets arrivals bunch: a tenth of a second's worth, since
/// even a perfectly even client does not arrive evenly.
const BUNCH: Duration = Duration::from_millis(100);

impl Turn {
    fn new(number: u64, behaviour: Behaviour) -> Self {
        let slots = match &behaviour {
            Behaviour::Capacity(Capacity { limit: Limit::Concurrent { slots, .. }, .. }) => {
                (*slots).min(Semaphore::MAX_PERMITS)
            }
            _ => 0,
        };
        Self { number, behaviour, slots: Arc::new(Semaphore::new(slots)), next_free: Mutex::new(None) }
    }

    async fn within(&self, capacity: Capacity) -> Admission {
        let full =
            Admission::Answer(StatusCode::SERVICE_UNAVAILABLE, "above the configured capacity\n".to_owned());
        match capacity.limit {
            Limit::PerSecond(rate) => match self.queue(rate, capacity.above) {
                Some(start) => tokio::time::sleep_until(start).await,
                None => return full,
            },
            Limit::Concurrent { service, .. } => {
                let slot = match capacity.above {
                    Above::Refuse => self.slots.try_acquire().ok(),
                    Above::Wait => {
                        tokio::time::timeout(QUEUE_MAX, self.slots.acquire()).await.ok().and_then(Result::ok)
                    }
                };
                let Some(_slot) = slot else { return full };
                tokio::time::sleep(service).await;
            }
        }
        Admission::Serve
    }

    /// When a request that comes now is served, or none if the queue is too long for it.
    fn queue(&self, rate: f64, above: Above) -> Option<Instant> {
        let now = Instant::now();
        let mut next_free = lock(&self.next_free);
        let start = next_free.map_or(now, |free| free.max(now));
        let longest = match above {
            Above::Wait => QUEUE_MAX,
            Above::Refuse => BUNCH,
        };
        if start - now > longest {
            return None;
        }
        // A rate of nothing serves one request and then none for longer than anybody waits.
        let interval = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(QUEUE_MAX * 2);
        *next_free = Some(start + interval.min(QUEUE_MAX * 2));
        Some(start)
    }
}

/// A test that panicked elsewhere must not hide behind a poisoned lock here: the data is still whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next number from 0 up to 1, by splitmix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
pub(crate) fn unit(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    // 53 bits are what an f64 holds exactly.
    (z >> 11) as f64 / (1u64 << 53) as f64
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Delay(delay) => write!(f, "delay {}", delay.as_millis()),
            Self::Status(status, body) if body.is_empty() => write!(f, "status {status}"),
            Self::Status(status, body) => write!(f, "status {status} {body}"),
            Self::RefuseConnections => f.write_str("refuse"),
            Self::Killed => f.write_str("killed"),
            Self::BlackHole => f.write_str("black-hole"),
            Self::Hang => f.write_str("hang"),
            Self::Abort => f.write_str("abort"),
            Self::FailRatio(ratio) => write!(f, "fail {ratio}"),
            Self::Capacity(Capacity { limit, above }) => {
                match limit {
                    Limit::PerSecond(rate) => write!(f, "capacity rps={rate}")?,
                    Limit::Concurrent { slots, service } => {
                        let service = service.as_millis();
                        write!(f, "capacity slots={slots} service_ms={service}")?;
                    }
                }
                f.write_str(match above {
                    Above::Wait => " above=wait",
                    Above::Refuse => " above=refuse",
                })
            }
        }
    }
}

/// A behaviour's text that was not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "behaviour {0:?} is not one of: normal, delay MS, status CODE [BODY], refuse, killed, black-hole, hang, \
     abort, fail RATIO, capacity rps=N above=wait|refuse, capacity slots=N service_ms=M above=wait|refuse"
)]
pub struct BehaviourError(String);

impl FromStr for Behaviour {
    type Err = BehaviourError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read(text.trim()).ok_or_else(|| BehaviourError(text.trim().to_owned()))
    }
}

fn read(text: &str) -> Option<Behaviour> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    Some(match (word, rest) {
        ("normal", "") => Behaviour::Normal,
        ("refuse", "") => Behaviour::RefuseConnections,
        ("killed", "") => Behaviour::Killed,
        ("black-hole", "") => Behaviour::BlackHole,
        ("hang", "") => Behaviour::Hang,
        ("abort", "") => Behaviour::Abort,
        ("delay", ms) => Behaviour::Delay(Duration::from_millis(ms.parse().ok()?)),
        ("fail", ratio) => {
            let ratio = ratio.parse().ok()?;
            (0.0..=1.0).contains(&ratio).then_some(Behaviour::FailRatio(ratio))?
        }
        ("status", rest) => {
            let (status, body) = rest.split_once(' ').unwrap_or((rest, ""));
            let status = status.parse().ok()?;
            (200..1000).contains(&status).then(|| Behaviour::Status(status, body.to_owned()))?
        }
        ("capacity", rest) => Behaviour::Capacity(read_capacity(rest)?),
        _ => return None,
    })
}

fn read_capacity(text: &str) -> Option<Capacity> {
    let (mut rps, mut slots, mut service, mut above) = (None, None, None, None);
    for item in text.split_whitespace() {
        let (key, value) = item.split_once('=')?;
        match key {
            "rps" => rps = Some(value.parse::<f64>().ok().filter(|rps| *rps >= 0.0)?),
            "slots" => slots = Some(value.parse().ok()?),
            "service_ms" => service = Some(Duration::from_millis(value.parse().ok()?)),
            "above" if value == "wait" => above = Some(Above::Wait),
            "above" if value == "refuse" => above = Some(Above::Refuse),
            _ => return None,
        }
    }
    let limit = match (rps, slots, service) {
        (Some(rps), None, None) => Limit::PerSecond(rps),
        (None, Some(slots), Some(service)) => Limit::Concurrent { slots, service },
        _ => return None,
    };
    Some(Capacity { limit, above: above? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_behaviour_has_a_text_that_reads_back() {
        let wait_at_ten = Capacity { limit: Limit::PerSecond(10.5), above: Above::Wait };
        let four_slots = Capacity {
            limit: Limit::Concurrent { slots: 4, service: Duration::from_millis(50) },
            above: Above::Refuse,
        };
        for (behaviour, text) in [
            (Behaviour::Normal, "normal"),
            (Behaviour::Delay(Duration::from_secs(30)), "delay 30000"),
            (Behaviour::Status(502, String::new()), "status 502"),
            (Behaviour::Status(503, "not now".into()), "status 503 not now"),
            (Behaviour::RefuseConnections, "refuse"),
            (Behaviour::Killed, "killed"),
            (Behaviour::BlackHole, "black-hole"),
            (Behaviour::Hang, "hang"),
            (Behaviour::Abort, "abort"),
            (Behaviour::FailRatio(0.25), "fail 0.25"),
            (Behaviour::Capacity(wait_at_ten), "capacity rps=10.5 above=wait"),
            (Behaviour::Capacity(four_slots), "capacity slots=4 service_ms=50 above=refuse"),
        ] {
            assert_eq!(behaviour.to_string(), text);
            assert_eq!(text.parse(), Ok(behaviour), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_behaviour_is_answered_with_all_of_them() {
        for text in [
            "",
            "Normal",
            "normal now",
            "delay",
            "delay 1s",
            "status 99",
            "fail 2",
            "fail NaN",
            "capacity",
            "capacity rps=5",
            "capacity rps=5 slots=1 service_ms=1 above=wait",
            "capacity slots=1 above=wait",
            "capacity rps=-1 above=wait",
        ] {
            let error = text.parse::<Behaviour>().unwrap_err().to_string();
            assert!(error.contains("black-hole"), "{text}: {error}");
        }
    }

    async fn admitted(behaviour: Behaviour, requests: usize) -> Vec<(Admission, u64)> {
        let switch = Arc::new(Switch::new(1));
        switch.set(behaviour);
        let start = Instant::now();
        let asked: Vec<_> = (0..requests)
            .map(|_| {
                let switch = switch.clone();
                tokio::spawn(async move {
                    let admission = switch.admit().await;
                    (admission, start.elapsed().as_millis() as u64)
                })
            })
            .collect();
        let mut answers = Vec::new();
        for answer in asked {
            answers.push(answer.await.unwrap());
        }
        answers
    }

    fn served(answers: &[(Admission, u64)]) -> Vec<u64> {
        let served = answers.iter().filter(|(a, _)| *a == Admission::Serve);
        served.map(|(_, at)| *at).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn requests_above_a_rate_wait_in_order() {
        let text = "capacity rps=10 above=wait";
        let answers = admitted(text.parse().unwrap(), 4).await;
        assert_eq!(served(&answers), [0, 100, 200, 300]);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_above_a_rate_are_refused() {
        let text = "capacity rps=10 above=refuse";
        let answers = admitted(text.parse().unwrap(), 5).await;
        assert_eq!(served(&answers), [0, 100]);
        assert!(matches!(&answers[4].0, Admission::Answer(StatusCode::SERVICE_UNAVAILABLE, _)));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_above_the_slots_wait_for_one() {
        let text = "capacity slots=2 service_ms=50 above=wait";
        let answers = admitted(text.parse().unwrap(), 5).await;
        assert_eq!(served(&answers), [50, 50, 100, 100, 150]);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_above_the_slots_are_refused() {
        let text = "capacity slots=2 service_ms=50 above=refuse";
        let answers = admitted(text.parse().unwrap(), 5).await;
        assert_eq!(served(&answers), [50, 50]);
    }

    #[tokio::test]
    async fn the_same_seed_fails_the_same_requests() {
        let run = async |seed| {
            let switch = Switch::new(seed);
            switch.set(Behaviour::FailRatio(0.25));
            let mut outcome = Vec::new();
            for _ in 0..1_000 {
                outcome.push(switch.admit().await == Admission::Serve);
            }
            outcome
        };
        let first = run(7).await;
        assert_eq!(first, run(7).await);
        assert_ne!(first, run(8).await);
        let failed = first.iter().filter(|served| !**served).count();
        assert!((200..300).contains(&failed), "{failed} of 1000 at 0.25");
    }
}
