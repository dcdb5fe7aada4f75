//! Writes under way in one cell, counted by account, and what each of them is told while its account moves away.
//!
//! The count is exact and outlives reloads with the cell's other counters ([`CellLoad`](super::admit::CellLoad)): a
//! write that was pinned before anybody spoke of a move is in it. Whether a write may begin is
//! [`holding`](super::holding)'s to say; who looks, and in which order, is the data plane's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::columns::hash_number;
use super::ids::AccountId;

/// Tables that the accounts are spread over: several times the threads of a large machine, so that two of them
/// seldom want the same one at once.
const SHARDS: usize = 64;

/// A shard that has been larger than this gives its room back when nothing is left in it.
const KEPT_ROOM: usize = 64;

/// What a write under way is told. Each is stronger than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// Nothing.
    #[default]
    Stay,
    /// The account takes no new writes here: what lives long (tunnels, streams) says goodbye.
    Leave,
    /// Its time is over: it is cut, so that the client sees it.
    Cut,
}

/// The writes of one cell. Its memory is bounded by the writes under way.
#[derive(Debug)]
pub struct Writes([Mutex<Shard>; SHARDS]);

/// A write under way; it is over when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the write that it counts"]
pub struct WriteGuard {
    writes: Arc<Writes>,
    account: AccountId,
    /// Its place in the shard of its account.
    at: usize,
}

#[derive(Debug, Default)]
struct Shard {
    /// Every write of its accounts, at the place that its guard knows. Counting them is a walk, which nobody waits for:
    /// a write begins and ends a thousand times as often as anybody asks how many there are.
    told: Vec<Option<Told>>,
    /// The places that are free.
    free: Vec<usize>,
}

#[derive(Debug)]
struct Told {
    account: AccountId,
    call: Call,
    waker: Option<Waker>,
}

impl Default for Writes {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Writes {
    /// Counts a write of this account, until the guard is dropped.
    pub fn begin(self: &Arc<Self>, account: AccountId) -> WriteGuard {
        let mut shard = self.shard(account);
        let told = Some(Told { account, call: Call::Stay, waker: None });
        let at = if let Some(at) = shard.free.pop() {
            shard.told[at] = told;
            at
        } else {
            shard.told.push(told);
            shard.told.len() - 1
        };
        drop(shard);
        WriteGuard { writes: Arc::clone(self), account, at }
    }

    /// How many writes of this account are under way.
    pub fn in_flight(&self, account: AccountId) -> u32 {
        let count = self.shard(account).of(account).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The accounts that have writes under way.
    pub fn accounts(&self) -> Vec<AccountId> {
        let told = |shard: &Mutex<Shard>| -> Vec<AccountId> {
            lock(shard).told.iter().flatten().map(|told| told.account).collect()
        };
        let mut accounts: Vec<_> = self.0.iter().flat_map(told).collect();
        accounts.sort_unstable();
        accounts.dedup();
        accounts
    }

    /// Tells the writes of this account that are under way, and wakes those for whom it is news.
    pub fn call(&self, account: AccountId, call: Call) {
        let mut woken = Vec::new();
        let mut shard = self.shard(account);
        for told in shard.told.iter_mut().flatten().filter(|told| told.account == account) {
            if told.call != call {
                told.call = call;
                woken.extend(told.waker.take());
            }
        }
        drop(shard);
        woken.into_iter().for_each(Waker::wake);
    }

    fn shard(&self, account: AccountId) -> MutexGuard<'_, Shard> {
        lock(&self.0[hash_number(account.value()) as usize % SHARDS])
    }
}

impl WriteGuard {
    /// Ready when the write has been told this much. Of two tasks that ask, the last one is woken.
    pub fn poll_called(&self, cx: &mut Context<'_>, at_least: Call) -> Poll<()> {
        let mut shard = self.writes.shard(self.account);
        let told = shard.told[self.at].as_mut().expect("its place is its own until it is dropped");
        if told.call >= at_least {
            return Poll::Ready(());
        }
        if !told.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            told.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        let mut shard = self.writes.shard(self.account);
        let told = shard.told[self.at].take();
        shard.free.push(self.at);
        if shard.free.len() == shard.told.len() && shard.told.len() > KEPT_ROOM {
            *shard = Shard::default();
        }
        drop(shard);
        // Dropping a waker may run code of its task's runtime; not under the lock.
        drop(told);
    }
}

impl Shard {
    fn of(&self, account: AccountId) -> impl Iterator<Item = &Told> {
        self.told.iter().flatten().filter(move |told| told.account == account)
    }
}

/// A poisoned lock means that another holder panicked between two whole changes.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    fn account(id: u64) -> AccountId {
        AccountId::from_value(id).unwrap()
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_account_has_its_own_count_and_a_write_ends_with_its_guard() {
        let writes = Arc::new(Writes::default());
        let guards: Vec<_> = (0..1_000).map(|number| writes.begin(account(1 + number % 10))).collect();
        assert_eq!((writes.in_flight(account(1)), writes.in_flight(account(11))), (100, 0));
        assert_eq!(writes.accounts(), (1..=10).map(account).collect::<Vec<_>>());
        drop(guards);
        assert_eq!((writes.in_flight(account(1)), writes.accounts()), (0, vec![]));
    }

    #[test]
    fn room_that_is_not_needed_any_more_is_given_back() {
        let writes = Arc::new(Writes::default());
        let guards: Vec<_> = (0..10_000).map(|_| writes.begin(account(1))).collect();
        drop(guards);
        let room = |shard: &Mutex<Shard>| {
            let shard = lock(shard);
            shard.told.capacity().max(shard.free.capacity())
        };
        assert!(writes.0.iter().all(|shard| room(shard) <= KEPT_ROOM));
        // And places are used again, by whoever comes next.
        for _ in 0..10_000 {
            drop(writes.begin(account(1)));
        }
        assert_eq!(writes.0.iter().map(|shard| lock(shard).told.len()).sum::<usize>(), 1);
    }

    #[test]
    fn only_the_writes_of_the_account_are_woken_and_only_by_news() {
        let writes = Arc::new(Writes::default());
        let guards = [1, 1, 2].map(|id| writes.begin(account(id)));
        let woken: [Arc<Woken>; 3] = Default::default();
        let poll = |number: usize, call| {
            let waker = Arc::clone(&woken[number]).into();
            guards[number].poll_called(&mut Context::from_waker(&waker), call).is_ready()
        };
        let wakes = || woken.each_ref().map(|woken| woken.0.load(Ordering::Relaxed));
        assert!((0..3).all(|number| !poll(number, Call::Leave)));
        writes.call(account(1), Call::Leave);
        assert_eq!(wakes(), [1, 1, 0]);
        assert!(poll(0, Call::Leave) && !poll(0, Call::Cut) && !poll(2, Call::Leave));
        writes.call(account(1), Call::Leave);
        assert_eq!(wakes(), [1, 1, 0], "it is no news");
        writes.call(account(1), Call::Cut);
        assert_eq!(wakes(), [2, 1, 0], "the second was not asked again");
        assert!(poll(1, Call::Cut));
        // Whoever begins later has been told nothing, also in a place that was used.
        drop(guards);
        let later = writes.begin(account(1));
        assert!(later.poll_called(&mut Context::from_waker(Waker::noop()), Call::Leave).is_pending());
    }
}
