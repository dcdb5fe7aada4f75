//! A candidate beside what serves: whose requests it serves first, and what is counted of them. Whether it may go on
//! is [`judge`]'s matter; when it is asked, and what is done then, the reload task's.
//!
//! A share is of accounts, never of requests: what an account sees does not go to and fro. Replicas that never talk to
//! each other choose the same accounts, for the choice follows from the account and the candidate's hash.

mod counts;
pub mod judge;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::columns::{hash_number, hash_text};
use super::decide::Why;
use super::ids::{AccountId, CellIndex, Label};
use super::snapshot::Snapshot;

pub use counts::{CellStats, Counts, Ending, Sample};

/// A part of the accounts, or of the replicas, in hundredths of a per cent: 1 to 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u16);

/// So many hundredths of a per cent are everything.
const WHOLE: u16 = 10_000;

impl Share {
    /// `1%`, `0.5%`, `12.25%`: more than nothing, at most everything, and no finer than a hundredth of a per cent.
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%')?.trim_end();
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 2 || whole.len() > 3 {
            return None;
        }
        let hundredths: u16 = format!("{part:0<2}").parse().ok()?;
        let points = whole.parse::<u16>().ok()?.checked_mul(100)?.checked_add(hundredths)?;
        (1..=WHOLE).contains(&points).then_some(Self(points))
    }

    /// Of 1.
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }

    /// So many per cent; for constants.
    pub const fn percent(percent: u8) -> Self {
        assert!(percent >= 1 && percent <= 100, "a share is more than nothing and at most everything");
        Self(percent as u16 * 100)
    }

    /// Whether something with this hash is in the share. Of two shares, the larger has all that the smaller has.
    pub fn has(self, hash: u64) -> bool {
        // The upper bits of the product spread the hash evenly over any number of places (Lemire, 2019).
        (u128::from(hash) * u128::from(WHOLE)) >> 64 < u128::from(self.0)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{}%", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02}%"),
        }
    }
}

/// What makes the choice of one candidate another than that of the next: with one choice for all of them, the same
/// customers would meet every mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(u64);

impl Salt {
    /// Of a configuration hash.
    pub fn of(hash: &str) -> Self {
        Self(hash_text(hash.as_bytes()))
    }
}

/// Whether a candidate with this salt serves this account, at this share.
pub fn has_account(share: Share, salt: Salt, account: AccountId) -> bool {
    share.has(place(salt, account))
}

/// Whether the replica of this name is among those that begin with this candidate.
pub fn has_replica(share: Share, salt: Salt, name: &str) -> bool {
    share.has(hash_number(hash_text(name.as_bytes()) ^ salt.0))
}

fn place(salt: Salt, account: AccountId) -> u64 {
    hash_number(account.value() ^ salt.0)
}

/// A snapshot that serves a share of the accounts, and what is counted while it does.
#[derive(Debug)]
pub struct Candidate {
    /// What it serves them with.
    pub snapshot: Arc<Snapshot>,
    /// Which share.
    pub share: Share,
    salt: Salt,
    counts: Arc<Sides>,
}

/// What is counted on both sides of a share.
#[derive(Debug)]
struct Sides {
    /// Requests that the candidate serves, by its cells.
    moved: Counts,
    /// Requests of the other accounts, by the cells of what serves.
    unmoved: Counts,
    /// Names of the cells of what serves.
    stable: Vec<Label>,
}

impl Sides {
    /// Nothing yet.
    fn new(candidate: &Snapshot, stable: &Snapshot) -> Self {
        Self {
            moved: Counts::new(candidate.cells.len()),
            unmoved: Counts::new(stable.cells.len()),
            stable: stable.cells.iter().map(|cell| cell.name.clone()).collect(),
        }
    }
}

/// Where a request stands while there is a candidate.
#[derive(Clone, Debug)]
pub struct Side {
    /// The candidate.
    pub candidate: Arc<Candidate>,
    /// It serves this request.
    pub is_moved: bool,
    account: AccountId,
    /// The cell that the request would go to without it, and why.
    stable: Option<(CellIndex, Why)>,
}

/// What was counted since the look before, by cell: with the candidate, and without it.
pub type Look = BTreeMap<Label, (CellStats, CellStats)>;

impl Candidate {
    /// That has served nobody yet, beside `stable`.
    pub fn new(snapshot: Arc<Snapshot>, stable: &Snapshot, share: Share) -> Self {
        let salt = Salt::of(&snapshot.hash);
        Self { counts: Arc::new(Sides::new(&snapshot, stable)), salt, snapshot, share }
    }

    /// The same trial with newer moves in it and in `stable`: the same accounts are in its share.
    #[must_use]
    pub fn with_moves(&self, snapshot: Arc<Snapshot>, stable: &Snapshot) -> Self {
        let counts = Arc::new(Sides::new(&snapshot, stable));
        Self { counts, salt: self.salt, snapshot, share: self.share }
    }

    /// The same with another share. What its requests still bring is counted with that of this one.
    #[must_use]
    pub fn with_share(&self, share: Share) -> Self {
        Self {
            snapshot: Arc::clone(&self.snapshot),
            share,
            salt: self.salt,
            counts: Arc::clone(&self.counts),
        }
    }

    /// Where a request of this account stands, that goes to `stable` without the candidate. The account need not have a
    /// row: its id alone says on which side it is.
    pub fn side(self: &Arc<Self>, account: AccountId, stable: Option<(CellIndex, Why)>) -> Side {
        let is_moved = has_account(self.share, self.salt, account);
        Side { candidate: Arc::clone(self), is_moved, account, stable }
    }

    /// What was counted since the last look. Cells without a request are left out.
    pub fn look(&self) -> Look {
        let Sides { moved, unmoved, stable } = &*self.counts;
        let mut look = Look::new();
        for (cell, stats) in self.snapshot.cells.iter().zip(moved.take()).filter(has_requests) {
            look.entry(cell.name.clone()).or_default().0 = stats;
        }
        for (name, stats) in stable.iter().zip(unmoved.take()).filter(has_requests) {
            look.entry(name.clone()).or_default().1 = stats;
        }
        look
    }
}

impl Side {
    /// Counts the end of the request. Some atomic additions; cannot fail.
    pub fn count(&self, sample: &Sample) {
        let Candidate { snapshot, counts, .. } = &*self.candidate;
        let account = place(self.candidate.salt, self.account);
        match (self.is_moved, sample.cell) {
            (false, Some(cell)) => counts.unmoved.count(cell, account, sample),
            (true, Some(cell)) => counts.moved.count(cell, account, sample),
            (true, None) if sample.ending == Ending::Refused && !self.is_removed(snapshot) => {
                let name = self.stable.and_then(|(cell, _)| counts.stable.get(usize::from(cell.0)));
                let cell = snapshot.cells.iter().zip(0..).find(|(cell, _)| Some(&cell.name) == name);
                if let Some((_, cell)) = cell {
                    counts.moved.count(CellIndex(cell), account, sample);
                }
            }
            (_, None) => {}
        }
    }

    /// Whether the push takes the account's row away: that it is refused then is what the push is for, and guards have let
    /// it pass. Whoever was served without a row has lost its way by mistake.
    fn is_removed(&self, candidate: &Snapshot) -> bool {
        let had_a_row = matches!(self.stable, Some((_, Why::Mapped)));
        had_a_row && candidate.accounts.by_id(self.account).is_none()
    }
}

fn has_requests<T>((_, stats): &(T, CellStats)) -> bool {
    stats.requests > 0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::test_snapshot::{SnapshotBuilder, account};

    /// Accounts with ids as they are: counted up, and made in cells (`2^46 + cell * 2^35 + n`).
    fn accounts() -> impl Iterator<Item = AccountId> {
        let made = |cell: u64| (0..20_000).map(move |n| (1 << 46) + (cell << 35) + n);
        (1..=40_000).chain(made(1)).chain(made(2)).chain(made(3)).map(account)
    }

    #[test]
    fn shares_are_read_as_people_write_them() {
        for (text, points) in [
            ("1%", Some(100)),
            ("0.5%", Some(50)),
            ("0.05%", Some(5)),
            ("12.25%", Some(1_225)),
            ("100%", Some(10_000)),
            ("10 %", Some(1_000)),
            ("0%", None),
            ("0.00%", None),
            ("100.01%", None),
            ("0.005%", None),
            ("1", None),
            ("-1%", None),
            ("%", None),
            (".5%", None),
            ("1.%", None),
            ("9999%", None),
        ] {
            let share = Share::parse(text);
            assert_eq!(share, points.map(Share), "{text}");
            if let Some(share) = share {
                assert_eq!(Share::parse(&share.to_string()), Some(share), "{text} is shown as {share}");
            }
        }
    }

    #[test]
    fn an_account_stays_on_its_side_and_a_larger_share_keeps_whom_a_smaller_one_has() {
        let salt = Salt::of("feed");
        let [small, large, all] = [1, 10, 100].map(Share::percent);
        for account in accounts() {
            let [in_small, in_large, in_all] =
                [small, large, all].map(|share| has_account(share, salt, account));
            assert_eq!(in_small, has_account(small, salt, account), "asked twice");
            assert!(!in_small || in_large, "{account}");
            assert!(in_all, "{account}");
        }
    }

    #[test]
    fn a_share_has_as_many_accounts_as_it_says() {
        let all = accounts().count() as f64;
        for (hash, text) in [("a", "1%"), ("b", "10%"), ("c", "50%"), ("d", "0.1%")] {
            let share = Share::parse(text).unwrap();
            let found = accounts().filter(|id| has_account(share, Salt::of(hash), *id)).count() as f64;
            let expected = all * share.ratio();
            // Five standard deviations of a fair draw.
            let spread = 5.0 * (expected * (1.0 - share.ratio())).sqrt();
            assert!((found - expected).abs() < spread, "{text}: {found} of {expected} expected, +-{spread}");
        }
    }

    #[test]
    fn another_candidate_begins_with_others() {
        let share = Share::percent(10);
        let of =
            |hash: &str| accounts().filter(|id| has_account(share, Salt::of(hash), *id)).collect::<Vec<_>>();
        let (first, second) = (of("one push"), of("the next"));
        let both = first.iter().filter(|id| second.contains(id)).count();
        let expected = first.len() / 10;
        assert!((expected / 2..expected * 2).contains(&both), "{both} in both; by chance {expected}");
        let replicas = |hash: &str| -> Vec<bool> {
            (0..64).map(|n| has_replica(Share::percent(50), Salt::of(hash), &format!("edge-{n}"))).collect()
        };
        assert_ne!(replicas("one push"), replicas("the next"));
        assert!(replicas("one push").contains(&true) && replicas("one push").contains(&false));
    }

    #[test]
    fn requests_count_on_their_side_and_by_the_name_of_their_cell() {
        let build = |cells: [&str; 2]| {
            let builder = cells.iter().fold(SnapshotBuilder::new(), |all, cell| all.cell(cell, "x.example"));
            Arc::new(builder.account(1, "us1", &[]).build())
        };
        // The same cells at other places.
        let (stable, next) = (build(["us1", "us2"]), build(["us2", "us1"]));
        let candidate = Arc::new(Candidate::new(next, &stable, Share::percent(50)));
        let at = |why| Some((CellIndex(0), why));
        let mut sides = (1..100).map(|id| candidate.side(account(id), at(Why::Mapped)));
        let moved = candidate.side(account(1), at(Why::Mapped));
        let (moved, unmoved) = match moved.is_moved {
            true => (moved, sides.find(|side| !side.is_moved).unwrap()),
            false => (Side { is_moved: true, ..moved.clone() }, moved),
        };
        let sample = |cell: Option<u16>, ending| Sample { cell: cell.map(CellIndex), ending, latency: None };
        moved.count(&sample(Some(1), Ending::Served));
        unmoved.count(&sample(Some(0), Ending::Served));
        unmoved.count(&sample(Some(1), Ending::Served));
        // What goes to a cell today, and is refused by the candidate, counts against it there.
        moved.count(&sample(None, Ending::Refused));
        // A redirect is no refusal, and an account whose row the candidate takes away is meant to be refused.
        moved.count(&sample(None, Ending::Served));
        let removed = Side { account: account(7), ..moved };
        removed.count(&sample(None, Ending::Refused));
        // One that never had a row, and that a fallback serves today, is not.
        Side { stable: at(Why::Fallback), ..removed }.count(&sample(None, Ending::Refused));
        let look = candidate.look();
        let seen: Vec<_> = look
            .iter()
            .map(|(name, (moved, unmoved))| (name.as_str(), (moved.requests, moved.failed), unmoved.requests))
            .collect();
        assert_eq!(seen, [("us1", (3, 2), 1), ("us2", (0, 0), 1)]);
        assert!(candidate.with_share(Share::percent(100)).look().is_empty(), "a look takes what it has seen");
    }
}
