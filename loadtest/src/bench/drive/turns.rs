//! When requests are sent: at once, or at fixed moments that no answer can move.

use std::cell::{Cell, OnceCell};
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::Semaphore;

use super::Pace;

/// What is measured, counted from the first request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub warmup: Duration,
    pub duration: Duration,
}

impl Window {
    /// When nothing more is sent.
    pub(super) fn end(self) -> Duration {
        self.warmup + self.duration
    }

    /// Whether a request of this moment is measured.
    pub(super) fn holds(self, moment: Duration) -> bool {
        (self.warmup..self.end()).contains(&moment)
    }
}

/// Requests in equal steps from the first moment on: number `n` is due `n / per_second` seconds after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    per_second: u64,
}

const NANOSECONDS: u64 = 1_000_000_000;

impl Schedule {
    /// When a request is due. A whole nanosecond, never before its time.
    fn due(self, number: u64) -> Duration {
        Duration::from_nanos((number * NANOSECONDS).div_ceil(self.per_second))
    }

    /// How many are due by this moment.
    fn due_by(self, moment: Duration) -> u64 {
        // An hour at a million a second is 3.6e18, below 2^64.
        moment.as_nanos() as u64 * self.per_second / NANOSECONDS + 1
    }

    /// How many are due before this moment.
    fn due_before(self, moment: Duration) -> u64 {
        moment.checked_sub(Duration::from_nanos(1)).map_or(0, |before| self.due_by(before))
    }

    /// Between two looks at what is due: a step, and for rates whose steps are shorter than a timer is good for, that.
    fn step(self) -> Duration {
        Duration::from_nanos(NANOSECONDS.div_ceil(self.per_second)).max(STEP_MIN)
    }
}

/// A wake-up costs about 5 microseconds: at twenty thousand a second a tenth of the CPU that the cells need too.
const STEP_MIN: Duration = Duration::from_micros(50);

/// One request that may be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// From when its latency counts.
    pub moment: Instant,
    /// Whether it is measured.
    pub measured: bool,
}

/// Hands out turns until the window ends.
pub(super) struct Turns {
    window: Window,
    begun: OnceCell<Instant>,
    /// Requests handed out, and those of them in the window.
    given: Cell<u64>,
    measured: Cell<u64>,
    open: Option<Open>,
}

struct Open {
    schedule: Schedule,
    /// One permit for each request that is due and not taken.
    due: Semaphore,
    /// Taken by whoever lets requests go.
    timer: Cell<Option<Timer>>,
}

impl Turns {
    /// # Errors
    /// The system has no timer for us.
    pub(super) fn of(pace: Pace, window: Window) -> io::Result<Self> {
        let open = match pace {
            Pace::Closed { .. } => None,
            Pace::Open { per_second, .. } => {
                let schedule = Schedule { per_second: per_second.into() };
                Some(Open { schedule, due: Semaphore::new(0), timer: Cell::new(Some(Timer::new()?)) })
            }
        };
        Ok(Self { window, begun: OnceCell::new(), given: Cell::new(0), measured: Cell::new(0), open })
    }

    /// The window.
    pub(super) fn window(&self) -> Window {
        self.window
    }

    /// The first moment; the first call decides.
    pub(super) fn begun(&self) -> Instant {
        *self.begun.get_or_init(Instant::now)
    }

    /// The next request, when it is due; none when all have been handed out.
    pub(super) async fn next(&self) -> Option<Turn> {
        let moment = match &self.open {
            None => Instant::now(),
            Some(open) => {
                // It is never closed.
                open.due.acquire().await.ok()?.forget();
                self.begun() + open.schedule.due(self.given.get())
            }
        };
        let offset = moment - self.begun();
        if offset >= self.window.end() {
            return None;
        }
        let measured = self.window.holds(offset);
        self.given.set(self.given.get() + 1);
        self.measured.set(self.measured.get() + u64::from(measured));
        Some(Turn { moment, measured })
    }

    /// Lets go what is due, until all is; then once more for each of the `workers`, so that none waits for more. Nothing to
    /// do where nothing is due at fixed moments.
    ///
    /// # Errors
    /// The timer fails: what it has not let go is never sent, and counted as such.
    pub(super) async fn pace(&self, workers: usize) -> io::Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        let Some(mut timer) = open.timer.take() else { return Ok(()) };
        let all = open.schedule.due_before(self.window.end());
        let mut released = 0;
        // From the first moment on, so that each end of a step is a moment when something is due.
        timer.start(open.schedule.step())?;
        while released < all {
            let due = open.schedule.due_by(self.begun().elapsed()).min(all);
            open.due.add_permits((due - released) as usize); // Below all of a run.
            released = due;
            timer.tick().await?;
        }
        open.due.add_permits(workers);
        Ok(())
    }

    /// Requests that were or should have been handed out, and those of them in the window.
    pub(super) fn due(&self) -> (u64, u64) {
        match &self.open {
            None => (self.given.get(), self.measured.get()),
            Some(Open { schedule, .. }) => {
                let all = schedule.due_before(self.window.end());
                (all, all - schedule.due_before(self.window.warmup))
            }
        }
    }
}

/// A timer of the system, because those of the event loop are a millisecond coarse. It is read as a pipe is: the event
/// loop's own type for any descriptor cannot be made in safe code.
struct Timer(pipe::Receiver);

impl Timer {
    fn new() -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self(pipe::Receiver::from_owned_fd_unchecked(timer)?))
    }

    /// Begins its first step now; each of the others begins with the end of the one before.
    fn start(&self, step: Duration) -> io::Result<()> {
        let step = Timespec { tv_sec: step.as_secs() as i64, tv_nsec: step.subsec_nanos().into() };
        let times = Itimerspec { it_interval: step, it_value: step };
        timerfd_settime(self.0.as_fd(), TimerfdTimerFlags::empty(), &times)?;
        Ok(())
    }

    /// Waits for the end of the present step.
    async fn tick(&mut self) -> io::Result<()> {
        // Twice what is read: a buffer that is filled would be read into once more, to see that there is nothing left.
        let mut steps = [0; 16];
        self.0.read(&mut steps).await.map(|_| ())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_in_equal_steps_however_long_it_takes() {
        for per_second in [1, 3, 6_000, 7_001, 1_000_000] {
            let schedule = Schedule { per_second };
            assert_eq!(schedule.due(0), Duration::ZERO);
            assert_eq!(schedule.due(per_second * 60), Duration::from_secs(60));
            for number in [0, 1, 2, 999, 123_456_789] {
                let due = schedule.due(number);
                let step = Duration::from_nanos(1);
                assert_eq!(schedule.due_by(due), number + 1, "{per_second} {number}");
                assert_eq!(schedule.due_before(due), number, "{per_second} {number}");
                assert_eq!(schedule.due_before(due + step), number + 1, "{per_second} {number}");
            }
        }
    }

    #[test]
    fn a_window_holds_its_first_moment_and_not_the_one_after_its_last() {
        let second = Duration::from_secs(1);
        let window = Window { warmup: second, duration: second * 2 };
        let nanosecond = Duration::from_nanos(1);
        assert!(window.holds(second) && window.holds(second * 3 - nanosecond));
        assert!(!window.holds(second - nanosecond) && !window.holds(second * 3));
    }

    #[tokio::test]
    async fn what_is_due_waits_for_whoever_is_free_and_none_is_left_out() {
        let ms = Duration::from_millis;
        let window = Window { warmup: ms(10), duration: ms(40) };
        let turns = Turns::of(Pace::Open { per_second: 1_000, connections: 1 }, window).unwrap();
        turns.begun();
        // Everything becomes due while nobody is free.
        turns.pace(1).await.unwrap();
        let mut due = Vec::new();
        while let Some(turn) = turns.next().await {
            due.push((turn.moment - turns.begun(), turn.measured));
        }
        let expected: Vec<_> = (0..50).map(|number| (ms(number), number >= 10)).collect();
        assert_eq!(due, expected);
        assert_eq!(turns.due(), (50, 40));
    }
}
