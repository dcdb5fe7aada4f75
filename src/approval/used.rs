//! Which approvals were used: each counts once. A value; the file it comes from is read and written by
//! [`approval_files`](crate::approval_files).

use std::collections::BTreeMap;

use super::judge::{Accepted, Demand};
use super::refusal::Refusal;
use super::statement::{Digest, Nonce};

/// Most uses that are remembered: at five approvals a plan, a hundred plans a day for a week. At 400 bytes each the
/// file has at most 1.6 MB.
pub const MAX_USES: usize = 4_000;

/// How long a use is remembered beyond its expiry, in seconds: clocks that are set back within a day bring nothing
/// back.
const KEPT_BEYOND: i64 = 86_400;

/// One approval that was accepted, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Digest of the plan.
    pub plan: Digest,
    /// Of the statement.
    pub nonce: Nonce,
    /// Content hash of the configuration that it let through.
    pub candidate: Digest,
    /// Who it was.
    pub principal: String,
    /// Fingerprint of the key.
    pub key: String,
    /// When it would have expired, in seconds since the Unix epoch.
    pub expires: i64,
    /// When it was used, in seconds since the Unix epoch.
    pub at: i64,
}

/// What this replica remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used(Memory);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Memory {
    Known(BTreeMap<(Digest, Nonce), Use>),
    /// It cannot be read: nothing can be used once, so nothing is accepted.
    Lost(String),
}

impl Default for Used {
    fn default() -> Self {
        Self(Memory::Known(BTreeMap::new()))
    }
}

impl Used {
    /// These; `None` where one is there twice or there are more than [`MAX_USES`].
    pub fn of(uses: impl IntoIterator<Item = Use>) -> Option<Self> {
        let mut known = BTreeMap::new();
        for one in uses {
            if known.len() == MAX_USES || known.insert((one.plan, one.nonce), one).is_some() {
                return None;
            }
        }
        Some(Self(Memory::Known(known)))
    }

    /// What was remembered is gone: every approval is refused for this reason.
    pub fn lost(reason: impl Into<String>) -> Self {
        Self(Memory::Lost(reason.into()))
    }

    /// Why nothing is accepted, where the memory is lost.
    pub fn why_lost(&self) -> Option<&str> {
        match &self.0 {
            Memory::Known(_) => None,
            Memory::Lost(reason) => Some(reason),
        }
    }

    /// All that are remembered, by plan.
    pub fn uses(&self) -> impl Iterator<Item = &Use> {
        match &self.0 {
            Memory::Known(uses) => Some(uses.values()),
            Memory::Lost(_) => None,
        }
        .into_iter()
        .flatten()
    }

    /// What let this configuration through, where that was approvals that are remembered: a start that finds it half
    /// applied need not ask again.
    pub fn for_candidate(&self, candidate: Digest) -> impl Iterator<Item = &Use> {
        self.uses().filter(move |one| one.candidate == candidate)
    }

    /// Refuses an approval that was used, or of which that cannot be known or remembered.
    pub(super) fn refuses(&self, plan: Digest, nonce: Nonce, now: i64) -> Result<(), Refusal> {
        match &self.0 {
            Memory::Lost(reason) => Err(Refusal::MemoryLost { reason: reason.clone() }),
            Memory::Known(uses) => match uses.get(&(plan, nonce)) {
                Some(Use { at, candidate, .. }) => {
                    Err(Refusal::UsedAlready { at: *at, candidate: *candidate, nonce })
                }
                None if uses.values().filter(|one| is_kept(one, now)).count() >= MAX_USES => {
                    Err(Refusal::MemoryFull { most: MAX_USES })
                }
                None => Ok(()),
            },
        }
    }

    /// The same, and that these were used now; what has long expired is forgotten.
    ///
    /// # Errors
    /// What was used before is not known, or no more can be remembered: then nothing must be acted on.
    pub fn with(&self, accepted: &[Accepted], demand: &Demand, now: i64) -> Result<Self, Refusal> {
        let mut uses = match &self.0 {
            Memory::Lost(reason) => return Err(Refusal::MemoryLost { reason: reason.clone() }),
            Memory::Known(uses) => uses.clone(),
        };
        uses.retain(|_, one| is_kept(one, now));
        for Accepted { file: _, principal, key, nonce, expires } in accepted {
            let (plan, candidate) = (demand.plan, demand.candidate);
            let (nonce, expires, at) = (*nonce, *expires, now);
            let one =
                Use { plan, nonce, candidate, principal: principal.clone(), key: key.clone(), expires, at };
            // Two may have signed one and the same statement.
            uses.insert((plan, nonce), one);
        }
        if uses.len() > MAX_USES {
            return Err(Refusal::MemoryFull { most: MAX_USES });
        }
        Ok(Self(Memory::Known(uses)))
    }
}

fn is_kept(one: &Use, now: i64) -> bool {
    one.expires.saturating_add(KEPT_BEYOND) > now
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::statement::FleetId;
    use super::*;

    const NOW: i64 = 1_795_132_800;

    fn nonce(number: usize) -> Nonce {
        Nonce((number as u128).to_be_bytes())
    }

    fn one(number: usize, expires: i64) -> Use {
        let (plan, candidate) = (Digest([1; 32]), Digest([2; 32]));
        let (principal, key) = ("alice@example.com".to_owned(), "SHA256:a".to_owned());
        Use { plan, nonce: nonce(number), candidate, principal, key, expires, at: NOW }
    }

    fn demand() -> Demand {
        Demand {
            fleet: FleetId::parse("prod").unwrap(),
            plan: Digest([1; 32]),
            candidate: Digest([2; 32]),
            base: None,
            needed: 1,
            author: None,
            max_age: MAX_USES as i64,
        }
    }

    fn accepted(number: usize) -> Accepted {
        let (principal, key) = ("bob@example.com".to_owned(), "SHA256:b".to_owned());
        Accepted { file: "b.approval".into(), principal, key, nonce: nonce(number), expires: NOW + 60 }
    }

    #[test]
    fn what_was_used_is_refused_until_it_has_long_expired() {
        let used = Used::default().with(&[accepted(7)], &demand(), NOW).unwrap();
        let refusal = used.refuses(demand().plan, nonce(7), NOW + 1).unwrap_err();
        assert_eq!(refusal.label(), "used_already");
        assert_eq!(used.refuses(demand().plan, nonce(8), NOW + 1), Ok(()));
        assert_eq!(used.refuses(Digest([9; 32]), nonce(7), NOW + 1), Ok(()));
        assert_eq!(used.for_candidate(demand().candidate).count(), 1);
        assert_eq!(used.for_candidate(Digest([9; 32])).count(), 0);
        let kept = used.with(&[], &demand(), NOW + 60 + KEPT_BEYOND - 1).unwrap();
        assert_eq!(kept.uses().count(), 1);
        let forgotten = used.with(&[], &demand(), NOW + 60 + KEPT_BEYOND).unwrap();
        assert_eq!(forgotten.uses().count(), 0);
    }

    #[test]
    fn a_lost_memory_accepts_nothing() {
        let lost = Used::lost("damaged");
        assert_eq!(lost.refuses(demand().plan, nonce(1), NOW).unwrap_err().label(), "memory_lost");
        assert_eq!(lost.with(&[], &demand(), NOW).unwrap_err().label(), "memory_lost");
        assert_eq!((lost.uses().count(), lost.why_lost()), (0, Some("damaged")));
    }

    #[test]
    fn a_full_memory_accepts_nothing_new_until_something_has_expired() {
        let old = one(0, NOW - KEPT_BEYOND);
        let full = Used::of((1..=MAX_USES).map(|number| one(number, NOW + 60))).unwrap();
        assert_eq!(full.refuses(demand().plan, nonce(0), NOW).unwrap_err().label(), "memory_full");
        assert_eq!(full.with(&[accepted(0)], &demand(), NOW).unwrap_err().label(), "memory_full");
        let with_old = (1..MAX_USES).map(|number| one(number, NOW + 60)).chain([old]);
        let room = Used::of(with_old).unwrap();
        assert_eq!(room.refuses(demand().plan, nonce(MAX_USES), NOW), Ok(()));
        assert_eq!(room.with(&[accepted(MAX_USES)], &demand(), NOW).unwrap().uses().count(), MAX_USES);
    }

    #[test]
    fn more_than_the_most_or_one_twice_is_no_memory() {
        assert!(Used::of((0..=MAX_USES).map(|number| one(number, NOW))).is_none());
        assert!(Used::of([one(1, NOW), one(1, NOW + 1)]).is_none());
    }
}
