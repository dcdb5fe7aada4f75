//! Whether a cell answers 401 far more often than it should: then its 401s say something about the cell
//! (a broken authentication service) and nothing about the credentials, and teach nothing.

use std::sync::atomic::{AtomicU64, Ordering};

/// Length of a window in seconds: long enough for a ratio, short enough to notice an outage before the
/// repeated 401s that would demote a credential have come together.
pub const WINDOW_SECS: u64 = 30;

/// Answers in a window below which a ratio says nothing.
pub const MIN_ANSWERS: u64 = 20;

/// Percentage of 401 among a window's answers from which it is abnormal. Normal traffic has a few per
/// cent (expired tokens); one client in a retry loop on a quiet cell may reach a third.
pub const ABNORMAL_PERCENT: u64 = 50;

/// Answers of one cell in the present and the last window. Counts are approximate where two threads meet
/// at a window's edge: some answers land in the neighbour, which a ratio does not notice.
#[derive(Debug, Default)]
pub struct Unauthorized {
    /// Window number, its answers, its 401s; two of them, by parity of the number.
    windows: [Window; 2],
}

#[derive(Debug, Default)]
struct Window {
    number: AtomicU64,
    answers: AtomicU64,
    unauthorized: AtomicU64,
}

impl Unauthorized {
    /// Counts an answer at `now`, in seconds since the Unix epoch.
    pub fn count(&self, unauthorized: bool, now: u64) {
        let window = self.window(now / WINDOW_SECS);
        window.answers.fetch_add(1, Ordering::Relaxed);
        if unauthorized {
            window.unauthorized.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether this window or the last is abnormal.
    pub fn is_abnormal(&self, now: u64) -> bool {
        let number = now / WINDOW_SECS;
        self.windows.iter().any(|window| {
            let recent = number.saturating_sub(window.number.load(Ordering::Relaxed)) <= 1;
            let answers = window.answers.load(Ordering::Relaxed);
            let unauthorized = window.unauthorized.load(Ordering::Relaxed);
            recent && answers >= MIN_ANSWERS && unauthorized * 100 >= answers * ABNORMAL_PERCENT
        })
    }

    fn window(&self, number: u64) -> &Window {
        let window = &self.windows[usize::from(number % 2 == 1)];
        // Looked at before it is written: in thirty seconds there is one who has something to write.
        if window.number.load(Ordering::Relaxed) != number
            && window.number.swap(number, Ordering::Relaxed) != number
        {
            window.answers.store(0, Ordering::Relaxed);
            window.unauthorized.store(0, Ordering::Relaxed);
        }
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(answers: u64, unauthorized: u64) -> Unauthorized {
        let cell = Unauthorized::default();
        for answer in 0..answers {
            cell.count(answer < unauthorized, 1000);
        }
        cell
    }

    #[test]
    fn half_of_many_answers_is_abnormal_and_all_of_few_is_not() {
        assert!(after(20, 10).is_abnormal(1000));
        assert!(!after(20, 9).is_abnormal(1000));
        assert!(!after(19, 19).is_abnormal(1000));
    }

    #[test]
    fn it_is_remembered_for_the_next_window_and_then_forgotten() {
        let cell = after(100, 100);
        assert!(cell.is_abnormal(1000 + WINDOW_SECS));
        assert!(!cell.is_abnormal(1000 + 2 * WINDOW_SECS));
        // The same place is used again two windows later.
        cell.count(false, 1000 + 2 * WINDOW_SECS);
        assert!(!cell.is_abnormal(1000 + 2 * WINDOW_SECS));
    }
}
