//! Which accounts ask for far more than the others: counted in a small table that accounts share, so that a million of
//! them need no more memory than ten.
//!
//! A count-min sketch (Cormode and Muthukrishnan, 2005): it never says too little of an account, and rarely too much.

use std::sync::atomic::{AtomicU32, Ordering};

use super::priority::Priority;

/// Counters in a row: some thousand active accounts of a cell share them by few.
const COLUMNS: usize = 1_024;

/// Rows: an account meets a heavy one in both of them once in a million.
const ROWS: usize = 2;

/// An account may ask for so many times what accounts ask for on average before it is over its share: ordinary accounts
/// differ by that much. What it asks in the first class alone may be as much: where a twentieth of all requests are
/// heartbeats, as usual, an account loses none of them before it asks for eighty times the average.
const SHARE_OF_MEAN: f64 = 4.0;

/// Who has asked less often lately is never over its share: ten may be one page of a browser.
const LEAST_SHARE: f64 = 10.0;

/// The same for the first class: a few a second come in bunches, and no heartbeat is to be lost for that.
const LEAST_FIRST: f64 = 20.0;

/// And no account has more of the first class than this part of what the cell serves: an average of few accounts is
/// mostly that of the one who asks too much. Twice and a half what heartbeats and callbacks of all of them usually are.
const MOST_FIRST: f64 = 0.125;

/// Counts are of about so many seconds when they are looked at: each fade leaves half.
const COUNTED_SECS: f64 = 2.0;

/// What accounts have asked lately. Requests count, [`Shares::fade`] is called once a second.
#[derive(Debug)]
pub struct Shares {
    all: Sketch,
    /// Of these, those of the first class.
    first: Sketch,
    share: AtomicU32,
    first_share: AtomicU32,
}

#[derive(Debug)]
struct Sketch(Box<[[AtomicU32; COLUMNS]; ROWS]>);

impl Default for Shares {
    fn default() -> Self {
        let [share, first_share] = [const { AtomicU32::new(u32::MAX) }; 2];
        Self { all: Sketch::default(), first: Sketch::default(), share, first_share }
    }
}

impl Shares {
    /// Counts a request, and says whether it is over its account's share. Of what an account asks, a part is within it:
    /// which requests these are is a matter of chance (`random` is even over 0..2^32). Those of the first class are
    /// weighed by themselves, so that no heartbeat is lost for what else its account asks.
    pub fn count(&self, account_hash: u64, random: u32, priority: Priority) -> bool {
        let asked = self.all.add(account_hash);
        match priority {
            Priority::Critical => is_over(self.first.add(account_hash), &self.first_share, random),
            _ => is_over(asked, &self.share, random),
        }
    }

    /// What [`Shares::count`] would say of a request of the first class now; counts nothing.
    pub fn is_first_over(&self, account_hash: u64, random: u32) -> bool {
        is_over(self.first.asked(account_hash), &self.first_share, random)
    }

    /// A second has passed: halves all counts, so that they are of the last two seconds or so, and looks anew how much
    /// the share of an account is where the cell serves so many a second.
    pub fn fade(&self, served_rps: f64) {
        let (total, used) = self.all.fade();
        self.first.fade();
        let accounts = accounts(used);
        let share = share(total, accounts);
        // Who is alone is over nobody's.
        let most = if accounts < 1.5 { f64::INFINITY } else { served_rps * COUNTED_SECS * MOST_FIRST };
        self.share.store(share.max(LEAST_SHARE).ceil() as u32, Ordering::Relaxed);
        self.first_share.store(share.min(most).max(LEAST_FIRST).ceil() as u32, Ordering::Relaxed);
    }

    /// How often an account may have asked lately before it is over its share.
    pub fn share(&self) -> u32 {
        self.share.load(Ordering::Relaxed)
    }
}

impl Default for Sketch {
    fn default() -> Self {
        let row = || std::array::from_fn(|_| AtomicU32::new(0));
        Self(Box::new(std::array::from_fn(|_| row())))
    }
}

impl Sketch {
    /// One more of this account; how many that are.
    fn add(&self, account_hash: u64) -> u32 {
        let add = |counter: &AtomicU32| counter.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.counters(account_hash).map(add).into_iter().min().unwrap_or_default()
    }

    fn asked(&self, account_hash: u64) -> u32 {
        let asked = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        self.counters(account_hash).map(asked).into_iter().min().unwrap_or_default()
    }

    /// One of each row, by another half of the hash.
    fn counters(&self, account_hash: u64) -> [&AtomicU32; ROWS] {
        let [first, second] = &*self.0;
        let columns = COLUMNS as u64;
        [&first[(account_hash % columns) as usize], &second[((account_hash >> 32) % columns) as usize]]
    }

    /// Halves all counts; gives the sum of what was in a row, and how many of its columns were used.
    fn fade(&self) -> (u64, usize) {
        let (mut total, mut used) = (0_u64, 0_usize);
        for (row, counts) in self.0.iter().enumerate() {
            for count in counts {
                let before = count.load(Ordering::Relaxed);
                if before == 0 {
                    continue;
                }
                // What is counted meanwhile is kept.
                count.fetch_sub(before - before / 2, Ordering::Relaxed);
                if row == 0 {
                    total += u64::from(before);
                    used += 1;
                }
            }
        }
        (total, used)
    }
}

/// Of what an account has asked, a part is within its share.
fn is_over(asked: u32, share: &AtomicU32, random: u32) -> bool {
    let share = share.load(Ordering::Relaxed);
    asked > share && (u64::from(random) * u64::from(asked)) >> 32 >= u64::from(share)
}

/// So many accounts leave so many columns empty (linear counting; Whang and others, 1990).
fn accounts(used: usize) -> f64 {
    let columns = COLUMNS as f64;
    let empty = (columns - used as f64).max(1.0);
    (columns * (columns / empty).ln()).max(1.0)
}

fn share(total: u64, accounts: f64) -> f64 {
    let total = total as f64;
    // What an account of the average finds in its column: its own, and that of those it shares it with.
    let mean = (total / accounts).max(total / COLUMNS as f64);
    mean * SHARE_OF_MEAN
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Per cent over the share, of an account that asks `times` as much as the others, and of the others.
    fn over(accounts: u64, times: u32, seed: u64) -> (u32, u32) {
        let mut random = fastrand::Rng::with_seed(seed);
        let shares = Shares::default();
        let hashes: Vec<u64> = (0..accounts).map(|_| random.u64(..)).collect();
        let (mut heavy, mut others) = ((0, 0), (0, 0));
        for second in 0..10 {
            for _ in 0..20 {
                for (number, hash) in hashes.iter().enumerate() {
                    for _ in 0..if number == 0 { times } else { 1 } {
                        let is_over = shares.count(*hash, random.u32(..), Priority::Api);
                        let counts = if number == 0 { &mut heavy } else { &mut others };
                        // The first seconds are for the mean to be known.
                        counts.0 += u32::from(is_over && second > 2);
                        counts.1 += u32::from(second > 2);
                    }
                }
            }
            shares.fade(f64::INFINITY);
        }
        (heavy.0 * 100 / heavy.1, others.0 * 100 / others.1.max(1))
    }

    #[test]
    fn who_asks_fifty_times_as_much_keeps_its_share_and_the_others_all_of_theirs() {
        // Accounts, times, at least and at most per cent over of the one.
        for (accounts, times, least, most) in [
            (1, 50, 0, 0),
            (100, 50, 75, 92),
            (1_000, 50, 70, 92),
            (5_000, 50, 20, 92),
            (100, 1, 0, 0),
            (100, 3, 0, 10),
        ] {
            let (heavy, others) = over(accounts, times, accounts);
            assert!((least..=most).contains(&heavy), "{times} times of {accounts}: {heavy} % over");
            assert_eq!(others, 0, "{accounts} accounts");
        }
    }

    #[test]
    fn what_is_of_the_first_class_is_weighed_by_itself() {
        // Times as much as others, of which so many of 20 are of the first class, where so many are served in a second;
        // whether some of those are over.
        let all = f64::INFINITY;
        for (times, of_20, served, expect) in [
            (50, 1, all, false),
            (50, 2, all, true),
            (50, 20, all, true),
            (3, 20, all, false),
            // 60 a second.
            (3, 20, 600.0, false),
            (3, 20, 300.0, true),
        ] {
            let mut random = fastrand::Rng::with_seed(u64::from(times + of_20));
            let (shares, mut over) = (Shares::default(), 0);
            let hashes: Vec<u64> = (0..200).map(|_| random.u64(..)).collect();
            for number in 0..10 * 20 {
                for (at, hash) in hashes.iter().enumerate() {
                    for _ in 0..if at == 0 { times } else { 1 } {
                        let is_first = random.u32(..20) < if at == 0 { of_20 } else { 1 };
                        let priority = if is_first { Priority::Critical } else { Priority::Api };
                        let draw = random.u32(..);
                        let foretold = shares.is_first_over(*hash, draw);
                        let is_over = shares.count(*hash, draw, priority);
                        if is_first {
                            assert!(at == 0 || !is_over, "others lose nothing");
                            assert!(is_over || !foretold, "it is one more by now");
                            over += u32::from(is_over);
                        }
                    }
                }
                if number % 20 == 19 {
                    shares.fade(served);
                }
            }
            assert_eq!(over > 0, expect, "{times} times, {of_20} of 20, {served}: {over} over");
        }
    }
}
