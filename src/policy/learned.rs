//! Learned credentials: which account a token was seen to belong to.
//!
//! A hint for requests that name no account, never a permission: the cell still checks the token. It
//! is bounded, and built so that whatever the clients of one account do, no other account's entries
//! move: quotas and evictions are per account, and a token that proves itself for two accounts is
//! routed on for neither. Time is an argument, in seconds since the Unix epoch.

mod export;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::credential::{Fingerprint, Learning};
use super::ids::AccountId;
pub use export::{EXPORT_VERSION, LearnedEntry, LearnedExport, UnknownVersion};

/// An entry that nothing has confirmed for this long is forgotten: the longest month and four days of
/// slack, so that a monthly job still finds its way.
pub const EXPIRES_AFTER_SECS: u64 = 35 * 24 * 3600;

/// 401 answers that demote an entry. Three: one may be a race with a rotation, two its retry.
pub const STRIKES_TO_DEMOTE: u8 = 3;

/// 401 answers closer together than this count once, so that a burst of parallel requests is one
/// strike: the Terraform provider alone sends ten at a time.
pub const STRIKE_SPACING_SECS: u64 = 10;

/// What is known of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Learned {
    /// It proved itself for this account and for no other.
    Account(AccountId),
    /// It proved itself for two accounts: never routed on.
    Ambiguous,
    /// Nothing.
    None,
}

/// What became of a lesson.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Taught {
    /// A new entry.
    New,
    /// Known already.
    Confirmed,
    /// It was another account's: ambiguous from now on, or was so before.
    Ambiguous,
    /// The account's quota is full of ambiguous entries, or the table is full of other accounts'.
    NoRoom,
}

/// The table. Shared by all generations of the configuration; bounds are arguments, because a reload
/// may change them. A bound lowered below the live count evicts nothing by itself.
#[derive(Debug)]
pub struct LearnedTable {
    shards: [Mutex<Shard>; SHARDS],
    /// Taken before a shard's lock, never after it; no two shards are locked at once.
    owners: Mutex<Owners>,
    epoch: AtomicU64,
}

type Shard = HashMap<Fingerprint, Entry>;

#[derive(Clone, Debug)]
struct Entry {
    /// The id of the key that the fingerprint was made under, shared with all entries of that key.
    key: Arc<str>,
    /// Whose quota it counts against: of an ambiguous entry, the account that came second, so that
    /// nobody can fill another's quota.
    account: AccountId,
    ambiguous: bool,
    confirmed: u64,
    strikes: u8,
    struck: u64,
}

#[derive(Debug, Default)]
struct Owners {
    by_account: HashMap<AccountId, Vec<Fingerprint>>,
    /// The ids of keys that entries were made under.
    keys: Vec<Arc<str>>,
    total: usize,
    swept: u64,
}

impl Default for LearnedTable {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            owners: Mutex::default(),
            epoch: AtomicU64::new(0),
        }
    }
}

impl LearnedTable {
    /// What is known of a token.
    pub fn lookup(&self, token: Fingerprint) -> Learned {
        match self.shard(token).get(&token) {
            None => Learned::None,
            Some(Entry { ambiguous: true, .. }) => Learned::Ambiguous,
            Some(entry) => Learned::Account(entry.account),
        }
    }

    /// A token, fingerprinted under the key with the id `key`, has proved itself for an account: see `Decision::lesson`
    /// for when it has.
    pub fn teach(
        &self,
        token: Fingerprint,
        key: &str,
        account: AccountId,
        bounds: &Learning,
        now: u64,
    ) -> Taught {
        if let Some(taught) = self.confirm(token, account, now) {
            return taught;
        }
        let mut owners = lock(&self.owners);
        let mut shard = self.shard(token);
        if let Some(entry) = shard.get_mut(&token) {
            // Only the account that came second may be here with an entry that is not its own yet.
            if entry.account != account && !entry.ambiguous {
                owners.disown(entry.account, token);
                owners.own(account, token);
                *entry = Entry { ambiguous: true, ..Entry::new(Arc::clone(&entry.key), account, now) };
                self.changed();
            }
            return if entry.ambiguous { Taught::Ambiguous } else { Taught::Confirmed };
        }
        drop(shard);
        if !self.make_room(&mut owners, account, bounds, now) {
            return Taught::NoRoom;
        }
        owners.own(account, token);
        let key = owners.key(key);
        self.shard(token).insert(token, Entry::new(key, account, now));
        self.changed();
        Taught::New
    }

    /// A request that was routed by this entry alone was accepted by the cell.
    pub fn accepted(&self, token: Fingerprint, now: u64) {
        if let Some(entry) = self.shard(token).get_mut(&token)
            && !entry.ambiguous
        {
            entry.refresh(now);
        }
    }

    /// A request that was routed by this entry alone was answered with 401; whether that demoted it.
    /// While a cell refuses everybody, its answers say nothing about a token.
    pub fn rejected(&self, token: Fingerprint, now: u64, cell_401_abnormal: bool) -> bool {
        if cell_401_abnormal || !self.strike(token, now) {
            return false;
        }
        let mut owners = lock(&self.owners);
        let mut shard = self.shard(token);
        // Between the two locks another request may have confirmed it.
        match shard.get(&token) {
            Some(entry) if entry.strikes >= STRIKES_TO_DEMOTE && !entry.ambiguous => {
                owners.disown(entry.account, token);
                shard.remove(&token);
                self.changed();
                true
            }
            _ => false,
        }
    }

    /// Forgets what has expired; says how many entries that was.
    pub fn expire(&self, now: u64) -> usize {
        self.sweep(&mut lock(&self.owners), now)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        lock(&self.owners).total
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries name one account, and how many are ambiguous.
    pub fn counts(&self) -> (usize, usize) {
        let of_shard = |shard: &Mutex<Shard>| {
            let shard = lock(shard);
            let ambiguous = shard.values().filter(|entry| entry.ambiguous).count();
            (shard.len() - ambiguous, ambiguous)
        };
        let counts = self.shards.iter().map(of_shard);
        counts.fold((0, 0), |(one, two), (routable, ambiguous)| (one + routable, two + ambiguous))
    }

    /// Counts up whenever an entry comes, goes or becomes ambiguous: says whether a saved export is
    /// still complete (dates of confirmation apart).
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// The common case of [`teach`](Self::teach), under one lock: the entry is there and stays.
    fn confirm(&self, token: Fingerprint, account: AccountId, now: u64) -> Option<Taught> {
        let mut shard = self.shard(token);
        let entry = shard.get_mut(&token)?;
        match (entry.ambiguous, entry.account == account) {
            (false, true) => {
                entry.refresh(now);
                Some(Taught::Confirmed)
            }
            (false, false) => None,
            (true, own) => {
                // Ambiguity lasts as long as both accounts use the token: only the one that came first
                // renews it, so that it lapses when that one is gone.
                if !own {
                    entry.refresh(now);
                }
                Some(Taught::Ambiguous)
            }
        }
    }

    /// Counts a strike; whether it was the last one.
    fn strike(&self, token: Fingerprint, now: u64) -> bool {
        let mut shard = self.shard(token);
        let Some(entry) = shard.get_mut(&token) else { return false };
        if entry.strikes == 0 || now.saturating_sub(entry.struck) >= STRIKE_SPACING_SECS {
            entry.strikes = entry.strikes.saturating_add(1);
            entry.struck = now;
        }
        entry.strikes >= STRIKES_TO_DEMOTE
    }

    /// Makes room for one more entry of an account, at nobody's cost but its own.
    fn make_room(&self, owners: &mut Owners, account: AccountId, bounds: &Learning, now: u64) -> bool {
        if owners.has_room(account, bounds) {
            return true;
        }
        if let Some(oldest) = self.oldest(owners, account) {
            owners.disown(account, oldest);
            self.shard(oldest).remove(&oldest);
        } else if now >= owners.swept + SWEEP_SPACING_SECS {
            owners.swept = now;
            self.sweep(owners, now);
        }
        owners.has_room(account, bounds)
    }

    /// The entry of an account that was confirmed longest ago. Ambiguous ones are no candidates: who
    /// could evict them could make a token routable again.
    fn oldest(&self, owners: &Owners, account: AccountId) -> Option<Fingerprint> {
        let own = owners.by_account.get(&account)?;
        let routable = own.iter().filter_map(|token| {
            let shard = self.shard(*token);
            let entry = shard.get(token)?;
            (!entry.ambiguous).then_some((entry.confirmed, *token))
        });
        routable.min().map(|(_, token)| token)
    }

    fn sweep(&self, owners: &mut Owners, now: u64) -> usize {
        let before = owners.total;
        for shard in &self.shards {
            lock(shard).retain(|token, entry| {
                let keep = !expired(entry.confirmed, now);
                if !keep {
                    owners.disown(entry.account, *token);
                }
                keep
            });
        }
        let gone = before - owners.total;
        if gone > 0 {
            self.changed();
        }
        gone
    }

    fn shard(&self, token: Fingerprint) -> MutexGuard<'_, Shard> {
        // The bytes are those of a keyed hash: any of them spreads evenly.
        lock(&self.shards[usize::from(token.0[0]) % SHARDS])
    }

    fn changed(&self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }
}

impl Entry {
    const fn new(key: Arc<str>, account: AccountId, now: u64) -> Self {
        Self { key, account, ambiguous: false, confirmed: now, strikes: 0, struck: 0 }
    }

    fn refresh(&mut self, now: u64) {
        self.confirmed = self.confirmed.max(now);
        self.strikes = 0;
    }
}

impl Owners {
    fn has_room(&self, account: AccountId, bounds: &Learning) -> bool {
        let own = self.by_account.get(&account).map_or(0, Vec::len);
        self.total < bounds.entries && own < bounds.per_account
    }

    /// The id of a key, shared; those that no entry has any more are forgotten.
    fn key(&mut self, id: &str) -> Arc<str> {
        if let Some(known) = self.keys.iter().find(|known| ***known == *id) {
            return Arc::clone(known);
        }
        self.keys.retain(|known| Arc::strong_count(known) > 1);
        let key: Arc<str> = id.into();
        self.keys.push(Arc::clone(&key));
        key
    }

    fn own(&mut self, account: AccountId, token: Fingerprint) {
        self.by_account.entry(account).or_default().push(token);
        self.total += 1;
    }

    fn disown(&mut self, account: AccountId, token: Fingerprint) {
        let Some(own) = self.by_account.get_mut(&account) else { return };
        if let Some(position) = own.iter().position(|other| *other == token) {
            own.swap_remove(position);
            self.total -= 1;
        }
        if own.is_empty() {
            self.by_account.remove(&account);
        }
    }
}

const fn expired(confirmed: u64, now: u64) -> bool {
    now.saturating_sub(confirmed) > EXPIRES_AFTER_SECS
}

/// A panic while a lock is held cannot leave an entry half written: the value is usable as it is.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many threads must look up at once before two meet at one lock by necessity; eight times the
/// cores of a large edge machine.
const SHARDS: usize = 256;

/// How often a full table is searched for expired entries because a lesson found no room. The search
/// walks the whole table, so it must not happen on every request.
const SWEEP_SPACING_SECS: u64 = 300;

#[cfg(test)]
mod tests;
