//! Requests on cell hosts by account: how much of the traffic an account makes, for the guard that weighs changes.
//! Never legacy use, and never a place on a sheet of the books: who has changed their address must not push out
//! those who have not. Counting one here is a look-up of two cache lines and one atomic addition.
//!
//! A weight, not a bill: accounts beyond the places of a window are counted together.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::policy::decide::{Verdict, Why};
use crate::policy::ids::AccountId;
use crate::telemetry::event::RequestEvent;

/// Accounts of one window: as many as a window of legacy use has keys. At 16 bytes, and twice, 2 MiB.
const PLACES: usize = 64 * 1024;

/// Places that are tried for an account, two to three cache lines: with three of four places taken, one account in
/// some hundred finds none.
const TRIES: usize = 12;

/// The counters. Two halves take turns: one is counted in, the other is emptied.
#[derive(Debug)]
pub(super) struct CellUse {
    halves: [Half; 2],
    /// Which half is counted in.
    counting: AtomicUsize,
}

#[derive(Debug)]
struct Half {
    places: Box<[Place]>,
    /// Requests of accounts that found no place.
    beyond: AtomicU64,
}

/// 0 where it is free: no account has that id.
#[derive(Debug, Default)]
struct Place {
    account: AtomicU64,
    requests: AtomicU64,
}

impl Default for CellUse {
    fn default() -> Self {
        Self::with_places(PLACES)
    }
}

impl CellUse {
    /// `places` is a power of two.
    fn with_places(places: usize) -> Self {
        debug_assert!(places.is_power_of_two());
        let half =
            || Half { places: (0..places).map(|_| Place::default()).collect(), beyond: AtomicU64::new(0) };
        Self { halves: [half(), half()], counting: AtomicUsize::new(0) }
    }

    /// Counts a request. Called on the request path.
    pub fn count(&self, account: AccountId) {
        let half = &self.halves[self.counting.load(Ordering::Acquire) & 1];
        match half.place(account.value()) {
            Some(place) => &place.requests,
            None => &half.beyond,
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    /// Empties the half that nobody has counted in since the last turn, and lets it be counted in from now on. Gives
    /// each account with its requests to `each`, and says how many requests found no place.
    ///
    /// Only one thread may do that. A request that began to count before the last turn and ends after this one, a
    /// window later, may be counted for another account: no request is worth a lock.
    pub fn turn(&self, each: impl FnMut(AccountId, u64)) -> u64 {
        let idle = (self.counting.load(Ordering::Relaxed) & 1) ^ 1;
        let beyond = self.halves[idle].empty(each);
        self.counting.store(idle, Ordering::Release);
        beyond
    }
}

impl Half {
    fn place(&self, account: u64) -> Option<&Place> {
        // Multiplied by 2^64 over the golden ratio, the upper bits are even also for ids that follow one another.
        let start = (account.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        (start..start + TRIES).map(|at| &self.places[at & (self.places.len() - 1)]).find(|place| {
            let owner = match place.account.load(Ordering::Relaxed) {
                0 => {
                    let taken =
                        place.account.compare_exchange(0, account, Ordering::Relaxed, Ordering::Relaxed);
                    taken.map_or_else(|other| other, |_| account)
                }
                owner => owner,
            };
            owner == account
        })
    }

    fn empty(&self, mut each: impl FnMut(AccountId, u64)) -> u64 {
        for place in &self.places {
            let Some(account) = AccountId::from_value(place.account.load(Ordering::Relaxed)) else {
                continue;
            };
            let requests = place.requests.swap(0, Ordering::Relaxed);
            if requests > 0 {
                each(account, requests);
            }
            place.account.store(0, Ordering::Relaxed);
        }
        self.beyond.swap(0, Ordering::Relaxed)
    }
}

/// The account that a request on a cell host is traffic of: one with a row, whose cell it is sent to. What names an
/// account and is refused says nothing about it.
pub(super) fn account_of(event: &RequestEvent) -> Option<AccountId> {
    let decision = event.decision.as_ref()?;
    match decision.verdict {
        Verdict::Forward { why: Why::Mapped, .. } | Verdict::Hold { .. } => decision.account,
        Verdict::Forward { .. } | Verdict::Redirect { .. } | Verdict::Refuse(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::test_snapshot::account;

    fn turned(cell_use: &CellUse) -> (BTreeMap<u64, u64>, u64) {
        let mut found = BTreeMap::new();
        let beyond =
            cell_use.turn(|account, requests| *found.entry(account.value()).or_default() += requests);
        (found, beyond)
    }

    #[test]
    fn what_is_counted_comes_out_once_and_a_turn_later() {
        let cell_use = CellUse::default();
        for id in [7, 8, 7, 70_403_103_966_603, 7] {
            cell_use.count(account(id));
        }
        assert_eq!(turned(&cell_use), (BTreeMap::new(), 0), "it may still be counted in");
        cell_use.count(account(9));
        assert_eq!(turned(&cell_use), (BTreeMap::from([(7, 3), (8, 1), (70_403_103_966_603, 1)]), 0));
        assert_eq!(turned(&cell_use), (BTreeMap::from([(9, 1)]), 0));
        assert_eq!(turned(&cell_use), (BTreeMap::new(), 0));
    }

    #[test]
    fn accounts_beyond_the_places_are_counted_together_and_places_are_used_again() {
        let cell_use = CellUse::with_places(16);
        for window in 0..3 {
            for id in 1..=100 {
                (0..2).for_each(|_| cell_use.count(account(window * 100 + id)));
            }
            assert_eq!(turned(&cell_use), (BTreeMap::new(), 0));
            let (found, beyond) = turned(&cell_use);
            assert!((12..=16).contains(&found.len()), "{found:?}");
            assert!(found.iter().all(|(id, requests)| id / 100 >= window && *requests == 2), "{found:?}");
            assert_eq!(found.values().sum::<u64>() + beyond, 200);
        }
    }

    #[test]
    fn a_window_has_room_for_as_many_accounts_as_it_says() {
        let cell_use = CellUse::default();
        let most = PLACES as u64 * 3 / 4;
        (1..=most).for_each(|id| cell_use.count(account(id)));
        turned(&cell_use);
        let (found, beyond) = turned(&cell_use);
        assert!(beyond < most / 50, "{beyond} of {most}");
        assert_eq!(found.len() as u64 + beyond, most);
    }

    #[test]
    fn nothing_is_lost_while_threads_count_and_halves_take_turns() {
        const EACH: u64 = 50_000;
        let (cell_use, done) = (CellUse::with_places(64), AtomicBool::new(false));
        let mut sum = 0;
        std::thread::scope(|scope| {
            let counting: Vec<_> = (0..4)
                .map(|thread| {
                    let cell_use = &cell_use;
                    scope.spawn(move || {
                        (0..EACH).for_each(|n| cell_use.count(account(1 + (thread + n) % 200)));
                    })
                })
                .collect();
            let done = &done;
            scope.spawn(move || {
                counting.into_iter().for_each(|thread| thread.join().unwrap());
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                let beyond = cell_use.turn(|_, requests| sum += requests);
                sum += beyond;
            }
        });
        // Also what was added to a place after it was emptied: it waits there.
        let halves = cell_use.halves.iter();
        let waits =
            halves.flat_map(|half| half.places.iter().map(|place| &place.requests).chain([&half.beyond]));
        sum += waits.map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
        assert_eq!(sum, 4 * EACH);
    }
}
