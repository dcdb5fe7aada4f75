//! Keeps a flood of failures from becoming a flood of log lines: a few lines a second, and a count of
//! those that were left out. Counters miss nothing.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines in one window. Enough to see what kind of failure it is, and from where.
const LINES: u32 = 5;

/// Length of a window.
const WINDOW: Duration = Duration::from_secs(1);

/// An allowance of log lines.
#[derive(Debug, Default)]
pub(crate) struct LogBudget(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    window_began: Option<Instant>,
    used: u32,
    left_out: u64,
}

impl LogBudget {
    /// Whether a line may be written now; with it, how many were left out since the last one.
    pub(crate) fn spend(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = state.window_began.is_none_or(|began| now.saturating_duration_since(began) >= WINDOW);
        if fresh {
            state.window_began = Some(now);
            state.used = 0;
        }
        if state.used == LINES {
            state.left_out += 1;
            return None;
        }
        state.used += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_lines_a_second_and_the_count_of_the_rest() {
        let budget = LogBudget::default();
        let start = Instant::now();
        let spend = |millis| budget.spend(start + Duration::from_millis(millis));
        let first: Vec<_> = (0..8).map(spend).collect();
        assert_eq!(first, [Some(0), Some(0), Some(0), Some(0), Some(0), None, None, None]);
        assert_eq!(spend(999), None);
        assert_eq!(spend(1_000), Some(4));
        assert_eq!(spend(1_001), Some(0));
    }
}
