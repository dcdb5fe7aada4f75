//! Which accounts ask for far more than the others: counted in a small table that accounts share, so that a million of
//! them need no more memory than ten.
//!
//! A count-min sketch (Cormode and Muthukrishnan, 2005): it never says too little of an account, and rarely too much.

use std::sync::atomic::{AtomicU32, Ordering};

/// Counters in a row: some thousand active accounts of a cell share them by few.
const COLUMNS: usize = 1_024;

/// Rows: an account meets a heavy one in both of them once in a million.
const ROWS: usize = 2;

/// An account may ask for so many times what accounts ask for on average before it is over its share: ordinary accounts
/// differ by that much.
const SHARE_OF_MEAN: f64 = 4.0;

/// Who has asked less often lately is never over its share: ten may be one page of a browser.
const LEAST_SHARE: f64 = 10.0;

/// What accounts have asked lately. Requests count, [`Shares::fade`] is called once a second.
#[derive(Debug)]
pub struct Shares {
    counts: Box<[[AtomicU32; COLUMNS]; ROWS]>,
    share: AtomicU32,
}

impl Default for Shares {
    fn default() -> Self {
        let row = || std::array::from_fn(|_| AtomicU32::new(0));
        Self { counts: Box::new(std::array::from_fn(|_| row())), share: AtomicU32::new(u32::MAX) }
    }
}

impl Shares {
    /// Counts a request, and says whether it is over its account's share. Of what an account asks, a part is within it:
    /// which requests these are is a matter of chance (`random` is even over 0..2^32).
    pub fn count(&self, account_hash: u64, random: u32) -> bool {
        let [first, second] = &*self.counts;
        let columns = COLUMNS as u64;
        let count = |row: &[AtomicU32; COLUMNS], hash: u64| {
            row[(hash % columns) as usize].fetch_add(1, Ordering::Relaxed).saturating_add(1)
        };
        let asked = count(first, account_hash).min(count(second, account_hash >> 32));
        let share = self.share.load(Ordering::Relaxed);
        asked > share && (u64::from(random) * u64::from(asked)) >> 32 >= u64::from(share)
    }

    /// A second has passed: halves all counts, so that they are of the last two seconds or so, and looks anew how much
    /// the share of an account is.
    pub fn fade(&self) {
        let (mut total, mut used) = (0_u64, 0_usize);
        for (row, counts) in self.counts.iter().enumerate() {
            for count in counts {
                let before = count.load(Ordering::Relaxed);
                // What is counted meanwhile is kept.
                count.fetch_sub(before - before / 2, Ordering::Relaxed);
                if row == 0 {
                    total += u64::from(before);
                    used += usize::from(before > 0);
                }
            }
        }
        self.share.store(share(total, used), Ordering::Relaxed);
    }

    /// How often an account may have asked lately before it is over its share.
    pub fn share(&self) -> u32 {
        self.share.load(Ordering::Relaxed)
    }
}

fn share(total: u64, used: usize) -> u32 {
    let (total, columns) = (total as f64, COLUMNS as f64);
    // So many accounts leave so many columns empty (linear counting; Whang and others, 1990).
    let empty = (columns - used as f64).max(1.0);
    let accounts = (columns * (columns / empty).ln()).max(1.0);
    // What an account of the average finds in its column: its own, and that of those it shares it with.
    let mean = (total / accounts).max(total / columns);
    (mean * SHARE_OF_MEAN).max(LEAST_SHARE).ceil() as u32
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
                        let is_over = shares.count(*hash, random.u32(..));
                        let counts = if number == 0 { &mut heavy } else { &mut others };
                        // The first seconds are for the mean to be known.
                        counts.0 += u32::from(is_over && second > 2);
                        counts.1 += u32::from(second > 2);
                    }
                }
            }
            shares.fade();
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
}
