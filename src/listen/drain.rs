//! The end of a process as values: a phase that only moves forward, and tokens that hold it open.
//!
//! Not here: when to drain, and what "finish" means on a connection; `app` and `proxy` know.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::policy::apart::Apart;

/// How long tasks that were told to stop at once may take to be gone. They are dropped at their next
/// await, so this only bounds a task that computes.
const KILL_GRACE: Duration = Duration::from_secs(1);

/// How long before the deadline tunnels are told: a closing handshake takes a round trip, and those of
/// thousands of clients, who all come back, are spread over the first half of it.
const ENDING: Duration = Duration::from_secs(10);

/// But no earlier than in the last quarter of a short drain.
const ENDING_PART: u32 = 4;

/// How long before the deadline what is still under way is cut: its last frame must reach the client before the
/// process ends. A few bytes each; thousands of them fit.
const CUTTING: Duration = Duration::from_millis(500);

/// But no earlier than in the last tenth of a short drain.
const CUTTING_PART: u32 = 10;

/// Those who wait for the same phase, which is every connection, wait in so many lists: each has a lock.
const SHARES: usize = 8;

/// How far the process is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Everything is normal.
    Running,
    /// Connections are told to finish (`Connection: close`, GOAWAY). New ones are still accepted:
    /// balancers and DNS caches go on sending for a while.
    Draining,
    /// No new connections. Requests in flight go on.
    Closed,
    /// The deadline is near: tunnels say goodbye while there is time for an answer.
    Ending,
    /// The deadline is at hand: exchanges that go on are cut, so that their clients see it.
    Cutting,
    /// The deadline has passed: everything is dropped.
    Killed,
}

impl Phase {
    const ALL: [Self; 6] =
        [Self::Running, Self::Draining, Self::Closed, Self::Ending, Self::Cutting, Self::Killed];

    /// The one of this number.
    fn of(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Killed)
    }
}

/// Moves the phase. One per process, with whoever handles signals.
#[derive(Debug)]
pub struct Drain {
    phase: watch::Sender<Phase>,
    held: Arc<Held>,
}

/// Sees the phase. Cloned to everything that must react to it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    phase: watch::Receiver<Phase>,
    held: Arc<Held>,
}

/// Holds the drain open: the process does not end before it is dropped, or the deadline has passed.
#[derive(Debug)]
#[must_use = "a token that is dropped at once holds nothing open"]
pub struct Token(Arc<Held>);

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything ended by itself.
    Clean,
    /// So many tokens were still held when the deadline was at hand.
    Cut(usize),
}

#[derive(Debug, Default)]
struct Held {
    count: AtomicUsize,
    none: Notify,
    handed_over: AtomicBool,
    /// Milliseconds after the beginning of [`Phase::Ending`] over which goodbyes are spread.
    goodbyes: AtomicU64,
    /// A [`Phase`], for those who look at each request: to look at a channel is to write to its lock.
    phase: Apart<AtomicU8>,
    /// Of each phase, who waits until it is over. Rung after that alone, so that nobody is woken in vain.
    over: [[Notify; SHARES]; Phase::ALL.len()],
}

impl Drain {
    /// A running process.
    pub fn new() -> (Self, Shutdown) {
        let (sender, receiver) = watch::channel(Phase::Running);
        let held = Arc::<Held>::default();
        (Self { phase: sender, held: Arc::clone(&held) }, Shutdown { phase: receiver, held })
    }

    /// Another observer.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown { phase: self.phase.subscribe(), held: Arc::clone(&self.held) }
    }

    /// Tells connections to finish; goes on accepting.
    pub fn begin(&self) {
        self.advance(Phase::Draining);
    }

    /// Ends the accept loops, and tells connections to finish.
    pub fn stop_accepting(&self) {
        self.advance(Phase::Closed);
    }

    /// A successor accepts from the same sockets: nobody waits for this process to end, so idle clients keep
    /// their time for one more request. To be said before the drain begins.
    pub fn hand_over(&self) {
        self.held.handed_over.store(true, Ordering::Release);
    }

    /// Drops what is left.
    pub fn kill(&self) {
        self.advance(Phase::Killed);
    }

    /// How many tokens are held.
    pub fn held(&self) -> usize {
        self.held.count.load(Ordering::Acquire)
    }

    /// Returns as soon as no token is held. Listeners hold one each until they are closed, so this
    /// does not return while connections may still be accepted.
    pub async fn drained(&self) {
        loop {
            // Made before the count is read: a drop between the two still wakes us.
            let none = self.held.none.notified();
            if self.held() == 0 {
                return;
            }
            none.await;
        }
    }

    /// Stops accepting, waits until the last connection is gone, cuts what is left before `within` is over, and
    /// kills what has not ended by then.
    pub async fn finish(&self, within: Duration) -> Drained {
        self.stop_accepting();
        let ending = ENDING.min(within / ENDING_PART);
        let goodbyes = u64::try_from((ending / 2).as_millis()).unwrap_or(u64::MAX);
        self.held.goodbyes.store(goodbyes, Ordering::Release);
        if tokio::time::timeout(within.saturating_sub(ending), self.drained()).await.is_ok() {
            return Drained::Clean;
        }
        let cutting = CUTTING.min(within / CUTTING_PART);
        self.advance(Phase::Ending);
        if tokio::time::timeout(ending.saturating_sub(cutting), self.drained()).await.is_ok() {
            return Drained::Clean;
        }
        let cut = self.held();
        self.advance(Phase::Cutting);
        if tokio::time::timeout(cutting, self.drained()).await.is_ok() {
            return Drained::Cut(cut);
        }
        self.kill();
        // Whether they were gone in time changes nothing: the process ends now.
        let _ = tokio::time::timeout(KILL_GRACE, self.drained()).await;
        Drained::Cut(cut)
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let later = *phase < to;
            *phase = to.max(*phase);
            // Before anybody is woken, who looks then.
            self.held.phase.store(*phase as u8, Ordering::Release);
            later
        });
        for over in self.held.over[..usize::from(to as u8)].iter().flatten() {
            over.notify_waiters();
        }
    }
}

impl Shutdown {
    /// The phase now.
    pub fn phase(&self) -> Phase {
        Phase::of(self.held.phase.load(Ordering::Acquire))
    }

    /// Whether connections should finish: no new request after the present one.
    pub fn is_draining(&self) -> bool {
        self.phase() >= Phase::Draining
    }

    /// Whether a successor has taken the listening sockets over.
    pub fn is_handed_over(&self) -> bool {
        self.held.handed_over.load(Ordering::Acquire)
    }

    /// Returns once the phase is `at_least` this far. Never returns when the [`Drain`] is gone before.
    pub async fn reached(&mut self, at_least: Phase) {
        if self.phase.wait_for(|phase| *phase >= at_least).await.is_err() {
            // Nobody is left who could move the phase.
            std::future::pending().await
        }
    }

    /// Returns once the phase is beyond this one, and wakes for nothing else. Never returns when the [`Drain`] is gone
    /// before.
    pub(super) async fn over(self, phase: Phase) {
        // Made before the phase is read: if it moves between the two, that is heard.
        let over = self.held.over[usize::from(phase as u8)][fastrand::usize(..SHARES)].notified();
        if self.phase() <= phase {
            over.await;
        }
    }

    /// Returns when one of many tunnels should say goodbye; `share`, from 0 to 1, chooses its place among them.
    pub async fn goodbye(mut self, share: f32) {
        self.reached(Phase::Ending).await;
        let spread = Duration::from_millis(self.held.goodbyes.load(Ordering::Acquire));
        tokio::time::sleep(spread.mul_f32(share.clamp(0.0, 1.0))).await;
    }

    /// Holds the drain open.
    pub fn token(&self) -> Token {
        self.held.count.fetch_add(1, Ordering::AcqRel);
        Token(Arc::clone(&self.held))
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[test]
    fn the_phase_never_goes_back() {
        let (drain, shutdown) = Drain::new();
        assert_eq!(shutdown.phase(), Phase::Running);
        assert!(!shutdown.is_draining());
        drain.stop_accepting();
        drain.begin();
        assert_eq!(shutdown.phase(), Phase::Closed);
        assert!(shutdown.is_draining());
        drain.kill();
        drain.stop_accepting();
        assert_eq!(drain.shutdown().phase(), Phase::Killed);
        assert_eq!(Phase::ALL.map(|phase| Phase::of(phase as u8)), Phase::ALL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_with_the_last_token_and_not_later() {
        let (drain, shutdown) = Drain::new();
        let started = Instant::now();
        let slow = [1, 3, 2].map(|seconds| {
            let token = shutdown.token();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                drop(token);
            })
        });
        assert_eq!(drain.finish(Duration::from_secs(30)).await, Drained::Clean);
        assert_eq!(started.elapsed(), Duration::from_secs(3));
        for task in slow {
            assert!(task.await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_at_the_deadline_is_killed_and_counted() {
        let (drain, shutdown) = Drain::new();
        let started = Instant::now();
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let (token, mut shutdown) = (shutdown.token(), shutdown.clone());
                tokio::spawn(async move {
                    shutdown.reached(Phase::Killed).await;
                    drop(token);
                })
            })
            .collect();
        assert_eq!(drain.finish(Duration::from_secs(5)).await, Drained::Cut(3));
        assert_eq!(started.elapsed(), Duration::from_secs(5));
        assert_eq!(drain.held(), 0);
        for task in tasks {
            assert!(task.await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tunnels_are_told_before_the_deadline() {
        for (within, first, last) in [(60, 50_000, 55_000), (20, 15_000, 17_500), (2, 1_500, 1_750)] {
            let (drain, shutdown) = Drain::new();
            let started = Instant::now();
            let tunnels = [0.0, 1.0].map(|share| {
                let (token, shutdown) = (shutdown.token(), shutdown.clone());
                tokio::spawn(async move {
                    shutdown.goodbye(share).await;
                    drop(token);
                    started.elapsed().as_millis()
                })
            });
            assert_eq!(drain.finish(Duration::from_secs(within)).await, Drained::Clean);
            for (tunnel, at) in tunnels.into_iter().zip([first, last]) {
                assert!(tunnel.await.is_ok_and(|told| told == at), "{at} ms of {within} s");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_cut_has_a_moment_before_the_deadline() {
        for (within, at) in [(60_000, 59_500), (1_000, 900)] {
            let (drain, shutdown) = Drain::new();
            let started = Instant::now();
            let (token, mut shutdown) = (shutdown.token(), shutdown.clone());
            let exchange = tokio::spawn(async move {
                shutdown.reached(Phase::Cutting).await;
                drop(token);
                started.elapsed().as_millis()
            });
            assert_eq!(drain.finish(Duration::from_millis(within)).await, Drained::Cut(1));
            assert!(exchange.await.is_ok_and(|cut| cut == at), "{at} ms of {within} ms");
            assert!(drain.shutdown().phase() == Phase::Cutting, "nothing was left to kill");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ignores_the_kill_does_not_hold_the_process() {
        let (drain, shutdown) = Drain::new();
        let token = shutdown.token();
        let started = Instant::now();
        assert_eq!(drain.finish(Duration::from_secs(5)).await, Drained::Cut(1));
        assert_eq!(started.elapsed(), Duration::from_secs(5) + KILL_GRACE);
        drop(token);
    }

    #[tokio::test]
    async fn nothing_held_drains_at_once() {
        let (drain, mut shutdown) = Drain::new();
        assert_eq!(drain.finish(Duration::ZERO).await, Drained::Clean);
        shutdown.reached(Phase::Closed).await;
    }
}
