//! Sees phases of the drain come, one after another, for one task. What wakes the task stays where it is from wait to
//! wait: to put it there and to take it away are locks and counts that all threads share, and a connection would do both
//! for each of its requests.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::task::coop::unconstrained;

use super::drain::{Phase, Shutdown};

/// See the file.
#[derive(Debug)]
pub struct Lookout {
    shutdown: Shutdown,
    /// None before anybody has waited.
    asked: Option<Asked>,
}

/// Somebody is woken when a phase is over.
struct Asked {
    /// Ready then, and wakes for nothing else: until the phase is over nobody looks at it again.
    change: Pin<Box<dyn Future<Output = ()> + Send>>,
    phase: Phase,
    waker: Waker,
}

impl Lookout {
    /// Has asked for nothing yet.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { shutdown, asked: None }
    }

    /// Ready once the phase is `at_least` this far.
    pub fn poll(&mut self, cx: &mut Context<'_>, at_least: Phase) -> Poll<()> {
        loop {
            let phase = self.shutdown.phase();
            if phase >= at_least {
                return Poll::Ready(());
            }
            let asked = match self.asked.take().filter(|asked| asked.phase == phase) {
                Some(asked) if asked.waker.will_wake(cx.waker()) => {
                    self.asked = Some(asked);
                    return Poll::Pending;
                }
                // Another task waits now.
                Some(asked) => Asked { waker: cx.waker().clone(), ..asked },
                None => Asked::new(self.shutdown.clone(), phase, cx.waker().clone()),
            };
            // A phase that was over before anybody could be woken for it is seen in the next turn.
            if self.asked.insert(asked).change.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.asked = None;
        }
    }

    /// Returns once the phase is `at_least` this far.
    pub async fn reached(&mut self, at_least: Phase) {
        poll_fn(|cx| self.poll(cx, at_least)).await;
    }
}

impl Asked {
    fn new(shutdown: Shutdown, phase: Phase, waker: Waker) -> Self {
        // Of a task that has used up its turn the runtime would say that it waits, and not put it among those who are
        // woken.
        Self { change: Box::pin(unconstrained(shutdown.over(phase))), phase, waker }
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("phase", &self.phase).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::sync::{Arc, Mutex};
    use std::task::Wake;

    use super::super::drain::Drain;
    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Woken {
        fn times(&self) -> u32 {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn is_there(lookout: &mut Lookout, at_least: Phase, whom: &Arc<Woken>) -> bool {
        let waker = Waker::from(Arc::clone(whom));
        lookout.poll(&mut Context::from_waker(&waker), at_least).is_ready()
    }

    #[test]
    fn each_phase_wakes_who_waits_once_and_one_that_is_not_waited_for_ends_no_wait() {
        let (drain, shutdown) = Drain::new();
        let (mut lookout, woken) = (Lookout::new(shutdown), Arc::<Woken>::default());
        // From wait to wait, for one phase or another.
        for at_least in [Phase::Draining, Phase::Cutting, Phase::Closed] {
            assert!(!is_there(&mut lookout, at_least, &woken), "{at_least:?}");
        }
        drain.begin();
        assert_eq!(woken.times(), 1);
        assert!(is_there(&mut lookout, Phase::Draining, &woken));
        assert!(!is_there(&mut lookout, Phase::Closed, &woken));
        drain.stop_accepting();
        assert_eq!(woken.times(), 2);
        assert!(
            is_there(&mut lookout, Phase::Closed, &woken) && !is_there(&mut lookout, Phase::Killed, &woken)
        );
        drain.kill();
        assert_eq!(woken.times(), 3);
        assert!(is_there(&mut lookout, Phase::Killed, &woken));
    }

    #[test]
    fn a_phase_that_nobody_has_looked_at_is_seen_when_somebody_does() {
        let (drain, shutdown) = Drain::new();
        let (mut lookout, woken) = (Lookout::new(shutdown), Arc::<Woken>::default());
        assert!(!is_there(&mut lookout, Phase::Draining, &woken));
        drain.begin();
        drain.stop_accepting();
        assert!(!is_there(&mut lookout, Phase::Ending, &woken));
        drain.kill();
        assert_eq!(woken.times(), 2, "once for both, and once for the last");
        assert!(is_there(&mut lookout, Phase::Ending, &woken));
    }

    #[test]
    fn of_two_who_wait_the_last_is_woken() {
        let (drain, shutdown) = Drain::new();
        let mut lookout = Lookout::new(shutdown);
        let [first, last] = [(); 2].map(|()| Arc::<Woken>::default());
        for whom in [&first, &last] {
            assert!(!is_there(&mut lookout, Phase::Draining, whom));
        }
        drain.begin();
        assert_eq!((first.times(), last.times()), (0, 1));
    }

    /// Looks again as soon as it is woken, as a task on another thread may: while others are still being woken.
    struct Eager {
        lookout: Mutex<Lookout>,
        is_there: AtomicBool,
    }

    impl Wake for Eager {
        fn wake(self: Arc<Self>) {
            let waker = Waker::from(Arc::clone(&self));
            let mut lookout = self.lookout.lock().unwrap();
            let polled = lookout.poll(&mut Context::from_waker(&waker), Phase::Killed);
            self.is_there.store(polled.is_ready(), Ordering::Relaxed);
        }
    }

    #[test]
    fn nobody_is_lost_who_asks_for_the_next_phase_while_others_hear_of_this_one() {
        let (drain, shutdown) = Drain::new();
        let eager: Vec<_> = (0..64)
            .map(|_| {
                let lookout = Mutex::new(Lookout::new(shutdown.clone()));
                Arc::new(Eager { lookout, is_there: AtomicBool::new(false) })
            })
            .collect();
        eager.iter().for_each(|one| Arc::clone(one).wake());
        drain.begin();
        drain.stop_accepting();
        drain.kill();
        let there = eager.iter().filter(|one| one.is_there.load(Ordering::Relaxed));
        assert_eq!(there.count(), 64);
    }

    #[tokio::test]
    async fn a_task_that_has_used_up_its_turn_is_woken_too() {
        let (drain, shutdown) = Drain::new();
        let (mut lookout, woken) = (Lookout::new(shutdown), Arc::<Woken>::default());
        poll_fn(|cx| {
            // A turn is 128 steps.
            for _ in 0..1_000 {
                if let Poll::Ready(used) = tokio::task::coop::poll_proceed(cx) {
                    used.made_progress();
                }
            }
            assert!(!tokio::task::coop::has_budget_remaining());
            assert!(!is_there(&mut lookout, Phase::Draining, &woken));
            Poll::Ready(())
        })
        .await;
        drain.begin();
        assert_eq!(woken.times(), 1);
    }
}
