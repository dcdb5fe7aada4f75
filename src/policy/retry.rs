//! Which requests may be sent a second time, and how many of them. Whether a byte has left, and what the
//! cell said of it, are for the shell to know.
//!
//! Two rules. A request that a cell may have acted on goes again only if doing it twice is doing it once.
//! And what goes again is a small share of what is answered, so that a cell in trouble never gets much more
//! work from us than its clients ask for.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use http::Method;

/// Connections tried for one request: an endpoint that refuses is passed over, a pooled connection that
/// had gone stale is replaced. More would only hold the client on a dead cell.
pub const MAX_CONNECTIONS: u8 = 3;

/// Times that a byte of one request may leave: the first and one more.
pub const MAX_SENDS: u8 = 2;

/// How an attempt ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// There was no connection.
    NoConnection,
    /// The connection ended before a byte of the request had left.
    Unsent,
    /// The cell has ended the connection with a GOAWAY whose last stream is below this one: it has not looked
    /// at the request (RFC 9113 section 6.8).
    Excluded,
    /// The cell has reset the stream with REFUSED_STREAM: it has not looked at the request (RFC 9113 section
    /// 8.7), because it has enough to do.
    Refused,
    /// The connection broke, and nobody knows what the cell has done.
    Lost,
}

/// What has been tried for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// Connections, made or not.
    pub connections: u8,
    /// Times that a byte of it has left.
    pub sends: u8,
}

/// Whether a request may go again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// The client gets the failure.
    No,
    /// The cell has not taken it, and this is no second request.
    Free,
    /// If a [`RetryBudget`] has room for it.
    Charged,
}

/// Judges a failed attempt. `repeatable` is [`is_idempotent`] and no tunnel; `held` says that all of the body
/// that was taken from the client is still here.
pub fn again(unanswered: Unanswered, tried: Tried, repeatable: bool, held: bool) -> Again {
    let room = tried.connections < MAX_CONNECTIONS;
    let once_more = room && held && tried.sends < MAX_SENDS;
    match unanswered {
        Unanswered::NoConnection if room => Again::Free,
        Unanswered::Unsent if room && held => Again::Free,
        Unanswered::Excluded if once_more => Again::Free,
        Unanswered::Refused if once_more => Again::Charged,
        Unanswered::Lost if once_more && repeatable => Again::Charged,
        _ => Again::No,
    }
}

/// Whether doing it twice is doing it once (RFC 9110 section 9.2.2). TRACE never gets here.
pub fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

/// How many requests may be sent again: a tenth of those that got an answer, and a few at the beginning.
/// Failed requests add nothing, so with every second one failing it is less than a tenth of all.
#[derive(Debug)]
pub struct RetryBudget {
    /// In [`ANSWER`]s.
    balance: AtomicU32,
    most: u32,
    /// When [`TRICKLE_SECS`] were last waited for, in seconds since the Unix epoch.
    trickled: AtomicU64,
}

/// What an answer adds.
const ANSWER: u32 = 1;

/// What a retry costs: 10 % is what Google's SRE book grants a client (chapter 21), and what gRPC's throttle
/// has as its ratio (gRFC A6).
const RETRY: u32 = 10 * ANSWER;

/// A cell that closes its idle connections costs a few requests at once, and has answered none yet after a
/// start.
const AT_FIRST: u32 = 10 * RETRY;

/// A cell that restarts while it has a hundred connections; more would be a storm.
const MOST_OF_CELL: u32 = 100 * RETRY;

/// Ten cells that restart at once.
const MOST_OF_PROCESS: u32 = 1_000 * RETRY;

/// One retry is granted each so many seconds, whatever the balance: a cell with a request a minute, each of
/// which meets a stale connection, would never earn one.
const TRICKLE_SECS: u64 = 10;

impl RetryBudget {
    /// For the requests of one cell.
    pub const fn of_cell() -> Self {
        Self::new(MOST_OF_CELL)
    }

    /// For all requests of the process.
    pub const fn of_process() -> Self {
        Self::new(MOST_OF_PROCESS)
    }

    const fn new(most: u32) -> Self {
        Self { balance: AtomicU32::new(AT_FIRST), most, trickled: AtomicU64::new(0) }
    }

    /// A cell has answered.
    pub fn answered(&self) {
        self.add(ANSWER);
    }

    /// Takes a retry at `now`, in seconds since the Unix epoch.
    fn take(&self, now: u64) -> bool {
        let pay = |balance: u32| balance.checked_sub(RETRY);
        let paid = self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok();
        let waited = |since: u64| (now >= since.saturating_add(TRICKLE_SECS)).then_some(now);
        paid || self.trickled.fetch_update(Ordering::Relaxed, Ordering::Relaxed, waited).is_ok()
    }

    fn add(&self, amount: u32) {
        let below = |balance: u32| (balance < self.most).then(|| (balance + amount).min(self.most));
        // At the most there is nothing to write, so cores do not fight over a quiet budget.
        let _ = self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below);
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::of_cell()
    }
}

/// Takes a retry of both budgets, or of none.
pub fn take(cell: &RetryBudget, process: &RetryBudget, now: u64) -> bool {
    // The cell first: one that fails all its requests may not use up what the others have.
    if !cell.take(now) {
        return false;
    }
    let granted = process.take(now);
    if !granted {
        cell.add(RETRY);
    }
    granted
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_770_000_000;
    const FIRST: Tried = Tried { connections: 1, sends: 1 };

    #[test]
    fn what_has_not_left_goes_again_and_what_may_have_been_done_only_if_it_may_be_done_twice() {
        let table = [
            // what happened, tried, repeatable, held
            (Unanswered::NoConnection, Tried { connections: 1, sends: 0 }, false, true, Again::Free),
            (Unanswered::NoConnection, Tried { connections: 2, sends: 1 }, false, true, Again::Free),
            (Unanswered::NoConnection, Tried { connections: 3, sends: 0 }, true, true, Again::No),
            (Unanswered::Unsent, Tried { connections: 1, sends: 0 }, false, true, Again::Free),
            (Unanswered::Unsent, Tried { connections: 1, sends: 0 }, true, false, Again::No),
            (Unanswered::Unsent, Tried { connections: 3, sends: 0 }, true, true, Again::No),
            (Unanswered::Excluded, FIRST, false, true, Again::Free),
            (Unanswered::Excluded, FIRST, false, false, Again::No),
            (Unanswered::Excluded, Tried { connections: 2, sends: 2 }, true, true, Again::No),
            (Unanswered::Refused, FIRST, false, true, Again::Charged),
            (Unanswered::Refused, FIRST, false, false, Again::No),
            (Unanswered::Refused, Tried { connections: 2, sends: 2 }, true, true, Again::No),
            (Unanswered::Lost, FIRST, true, true, Again::Charged),
            (Unanswered::Lost, FIRST, false, true, Again::No),
            (Unanswered::Lost, FIRST, true, false, Again::No),
            (Unanswered::Lost, Tried { connections: 2, sends: 2 }, true, true, Again::No),
        ];
        for (unanswered, tried, repeatable, held, expect) in table {
            let found = again(unanswered, tried, repeatable, held);
            assert_eq!(found, expect, "{unanswered:?} {tried:?} repeatable {repeatable} held {held}");
        }
    }

    #[test]
    fn methods_are_repeated_by_their_definition() {
        let repeated = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"];
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH", "CONNECT", "PURGE", "get"]
        {
            let parsed = Method::from_bytes(method.as_bytes()).expect("a token");
            assert_eq!(is_idempotent(&parsed), repeated.contains(&method), "{method}");
        }
    }

    /// How often the cell gets a request, for each that a client sends, when it fails this share of them.
    fn amplification(failing: f64, requests: u32) -> f64 {
        let (cell, process) = (RetryBudget::of_cell(), RetryBudget::of_process());
        let mut random = fastrand::Rng::with_seed(7);
        let mut sent = 0;
        for number in 0..requests {
            // A thousand requests a second.
            let now = NOW + u64::from(number) / 1_000;
            for attempt in 0.. {
                sent += 1;
                if random.f64() >= failing {
                    cell.answered();
                    process.answered();
                    break;
                }
                if attempt == 1 || !take(&cell, &process, now) {
                    break;
                }
            }
        }
        f64::from(sent) / f64::from(requests)
    }

    #[test]
    fn a_failing_cell_gets_at_most_a_tenth_more() {
        for failing in [0.0, 0.01, 0.05, 0.1, 0.5, 0.9, 1.0] {
            let amplified = amplification(failing, 10_000);
            assert!(amplified <= 1.1, "{amplified} at {failing}");
            // And while few fail, all of them go again.
            assert!(failing > 0.05 || amplified >= 1.0 + failing * 0.8, "{amplified} at {failing}");
        }
    }

    #[test]
    fn an_idle_cell_gets_one_retry_in_ten_seconds() {
        let (cell, process) = (RetryBudget::of_cell(), RetryBudget::of_process());
        let taken = (0..100).filter(|_| take(&cell, &process, NOW)).count();
        assert_eq!(taken, 11, "ten at first, and the one of these ten seconds");
        assert!(!take(&cell, &process, NOW + TRICKLE_SECS - 1));
        assert!(take(&cell, &process, NOW + TRICKLE_SECS));
        assert!(!take(&cell, &process, NOW + TRICKLE_SECS));
        // A clock that is set back grants nothing.
        assert!(!take(&cell, &process, 0));
    }

    #[test]
    fn what_the_process_has_not_the_cell_keeps() {
        let (cell, process) = (RetryBudget::of_cell(), RetryBudget::new(AT_FIRST));
        let others = RetryBudget::of_cell();
        while take(&others, &process, NOW) {}
        // The others' last try took the process's trickle or failed at their own: either way nothing is left.
        while process.take(NOW) {}
        assert!(!take(&cell, &process, NOW));
        assert_eq!(cell.balance.load(Ordering::Relaxed), AT_FIRST);
    }

    #[test]
    fn a_long_quiet_time_saves_up_no_storm() {
        let cell = RetryBudget::of_cell();
        for _ in 0..1_000_000 {
            cell.answered();
        }
        assert_eq!(cell.balance.load(Ordering::Relaxed), MOST_OF_CELL);
    }
}
