//! Clients who come when they like, whatever the server does, and come again when they were not served. What waits while a
//! cell is down is not made up: it is everybody who came meanwhile and has not left.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::attempt::{Attempt, End, attempt};
use super::curve::Curve;
use crate::cell::behaviour::unit;

/// Who comes, and how they behave.
#[derive(Clone, Debug, PartialEq)]
pub struct HerdRules {
    /// New clients a second, by chance (Poisson). Each wants one answer.
    pub demand_rps: f64,
    /// Accounts that they belong to.
    pub accounts: u32,
    /// The part of the clients that stays away as long as it is told to.
    pub patient: f64,
    /// How long a patient client waits for an answer.
    pub patient_timeout: Duration,
    /// Attempts that a patient client makes at most.
    pub patient_attempts: u32,
    /// How long a hasty client waits for an answer.
    pub hasty_timeout: Duration,
    /// How long a hasty client waits before it repeats, whatever it is told.
    pub hasty_pause: Duration,
    /// Attempts that a hasty client makes at most.
    pub hasty_attempts: u32,
}

impl HerdRules {
    /// So many new clients a second, four of five of them patient.
    pub fn of(demand_rps: f64) -> Self {
        Self {
            demand_rps,
            accounts: ACCOUNTS,
            patient: 0.8,
            // What people give `timeout=` in Python's requests.
            patient_timeout: Duration::from_secs(10),
            // The total of urllib3's Retry.
            patient_attempts: 10,
            hasty_timeout: Duration::from_secs(5),
            hasty_pause: Duration::from_secs(1),
            // A minute of trying: then somebody stops the script.
            hasty_attempts: 60,
        }
    }
}

/// Accounts of a cell in a run, with the ids from [`FIRST_ACCOUNT`] on.
pub const ACCOUNTS: u32 = 1_000;

/// The id of the first account.
pub const FIRST_ACCOUNT: u32 = 1_001;

/// The host that all requests name.
pub const HOST: &str = "old.test";

/// Most attempts under way at once; one more is counted as failed. Two sockets each, in several processes, stay
/// below the usual limit of 20,000 files.
const UNDER_WAY_MAX: usize = 6_000;

/// Longest wait between the attempts of a client that was not told how long, as in urllib3 (BACKOFF_MAX is 120 s
/// there) and `curl --retry` (10 minutes): less, so that they come back within the run.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// One client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Client {
    account: u32,
    patient: bool,
    attempts: u32,
}

impl Client {
    /// When it comes again after an attempt that was in vain; never, once it has tried often enough.
    fn again(&self, rules: &HerdRules, told: Option<Duration>) -> Option<Duration> {
        let most = if self.patient { rules.patient_attempts } else { rules.hasty_attempts };
        if self.attempts >= most {
            return None;
        }
        // 1, 2, 4, ... s: urllib3 with `backoff_factor=1` after its first retry, and curl.
        let backoff = Duration::from_secs(1 << (self.attempts - 1).min(10)).min(BACKOFF_MAX);
        Some(if self.patient { told.unwrap_or(backoff) } else { rules.hasty_pause })
    }
}

/// Lets clients come to `edge` until `end`, and writes down in `curve` what they do and what becomes of it. The same seed
/// brings the same clients at the same moments.
pub async fn run(rules: HerdRules, edge: SocketAddr, seed: u64, curve: &Curve, end: Instant) {
    let mut herd = Herd::new(rules, seed, Instant::now());
    let (tell, mut told) = mpsc::channel::<(Client, Attempt)>(UNDER_WAY_MAX);
    let mut under_way = 0;
    loop {
        let next = herd.next().min(end);
        tokio::select! {
            Some((client, attempt)) = told.recv() => {
                under_way -= 1;
                curve.ended(attempt.end);
                if !herd.comes_again(client, attempt, Instant::now()) {
                    curve.left();
                }
            }
            () = tokio::time::sleep_until(next) => {
                if next == end {
                    return;
                }
                let mut client = herd.take(next);
                client.attempts += 1;
                curve.offered();
                if under_way == UNDER_WAY_MAX {
                    curve.ended(End::Failed);
                    let attempt = Attempt { end: End::Failed, retry_after: None };
                    herd.comes_again(client, attempt, Instant::now());
                    continue;
                }
                under_way += 1;
                let tell = tell.clone();
                let patience =
                    if client.patient { herd.rules.patient_timeout } else { herd.rules.hasty_timeout };
                tokio::spawn(async move {
                    let attempt = attempt(edge, request(client.account).as_bytes(), patience).await;
                    // Nobody listens any more when the run is over.
                    let _ = tell.send((client, attempt)).await;
                });
            }
        }
    }
}

/// What a client of an account sends.
pub fn request(account: u32) -> String {
    format!(
        "GET /api/v2/accounts/{account}/runs/ HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: python-requests/2.32.3\r\n\
         Accept: */*\r\nX-Account: {account}\r\nConnection: close\r\n\r\n"
    )
}

struct Herd {
    rules: HerdRules,
    random: u64,
    /// When the next new client comes.
    fresh: Instant,
    /// Who comes again, and when; the number keeps the order of those who come at once.
    waiting: BinaryHeap<Reverse<(Instant, u64, Client)>>,
    number: u64,
}

impl Herd {
    fn new(rules: HerdRules, seed: u64, now: Instant) -> Self {
        Self { rules, random: seed, fresh: now, waiting: BinaryHeap::new(), number: 0 }
    }

    fn next(&self) -> Instant {
        self.waiting.peek().map_or(self.fresh, |Reverse((at, ..))| self.fresh.min(*at))
    }

    /// Who comes `at` the moment that `next` has said.
    fn take(&mut self, at: Instant) -> Client {
        if self.fresh <= at {
            let wait = -(1.0 - unit(&mut self.random)).ln() / self.rules.demand_rps;
            self.fresh += Duration::from_secs_f64(wait);
            // Few accounts ask for much: the square of an even number.
            let account = unit(&mut self.random).powi(2) * f64::from(self.rules.accounts);
            let patient = unit(&mut self.random) < self.rules.patient;
            return Client { account: FIRST_ACCOUNT + account as u32, patient, attempts: 0 };
        }
        let Reverse((_, _, client)) = self.waiting.pop().expect("next() has said that somebody comes now");
        client
    }

    /// False if the client leaves without an answer.
    fn comes_again(&mut self, client: Client, attempt: Attempt, now: Instant) -> bool {
        if attempt.end == End::Good {
            return true;
        }
        let Some(wait) = client.again(&self.rules, attempt.retry_after) else { return false };
        self.number += 1;
        self.waiting.push(Reverse((now + wait, self.number, client)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Attempt = Attempt { end: End::Refused, retry_after: Some(Duration::from_secs(10)) };

    #[tokio::test(start_paused = true)]
    async fn the_same_seed_brings_the_same_clients() {
        let come = |seed| {
            let start = Instant::now();
            let mut herd = Herd::new(HerdRules::of(100.0), seed, start);
            let of = |herd: &mut Herd| {
                let at = herd.next();
                (at - start, herd.take(at))
            };
            (0..10_000).map(|_| of(&mut herd)).collect::<Vec<_>>()
        };
        let found = come(7);
        assert_eq!(found, come(7));
        assert_ne!(found, come(8));
        let last = found[found.len() - 1].0.as_secs_f64();
        assert!((97.0..103.0).contains(&last), "10,000 at 100 a second take {last} s");
        let patient = found.iter().filter(|(_, client)| client.patient).count();
        assert!((7_800..8_200).contains(&patient), "{patient} patient ones");
    }

    #[test]
    fn clients_come_again_as_they_are() {
        let rules = HerdRules::of(1.0);
        let (ten, none) = (Some(Duration::from_secs(10)), None);
        // Patient, attempts so far, what it was told; seconds until it comes again.
        let cases = [
            (true, 1, ten, Some(10)),
            (true, 1, none, Some(1)),
            (true, 4, none, Some(8)),
            (true, 9, none, Some(60)),
            (true, 10, ten, None),
            (false, 1, ten, Some(1)),
            (false, 59, none, Some(1)),
            (false, 60, none, None),
        ];
        for (patient, attempts, told, expected) in cases {
            let client = Client { account: 1, patient, attempts };
            let found = client.again(&rules, told).map(|wait| wait.as_secs());
            assert_eq!(found, expected, "{client:?} {told:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_refused_comes_before_who_comes_later() {
        let start = Instant::now();
        let mut herd = Herd::new(HerdRules { demand_rps: 0.001, ..HerdRules::of(1.0) }, 1, start);
        let first = herd.take(start);
        assert!(herd.comes_again(Client { attempts: 1, patient: true, ..first }, REFUSED, start));
        assert_eq!(herd.next() - start, Duration::from_secs(10));
        assert_eq!(herd.take(herd.next()).attempts, 1);
        assert!(!herd.comes_again(Client { attempts: 10, patient: true, ..first }, REFUSED, start));
    }
}
