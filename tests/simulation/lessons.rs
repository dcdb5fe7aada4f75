//! The learned table next to what must be true of it. The table is the real one; kept here is what no
//! sequence of lessons, refusals and evictions may undo.

use std::collections::{BTreeMap, BTreeSet};

use cellgate::policy::credential::{Fingerprint, Learning};
use cellgate::policy::ids::AccountId;
use cellgate::policy::learned::{EXPIRES_AFTER_SECS, Learned, LearnedTable, STRIKES_TO_DEMOTE, Taught};

use crate::world::{TOKENS, World, fingerprint_under};

#[derive(Default)]
pub struct Lessons {
    pub table: LearnedTable,
    /// Every fingerprint that a client can have, by key and token.
    fingerprints: BTreeMap<(String, usize), Fingerprint>,
    /// Proven for two accounts.
    ambiguous: BTreeSet<Fingerprint>,
    /// 401s since something last spoke for the entry.
    strikes: BTreeMap<Fingerprint, u8>,
    /// What happened, and how often.
    pub seen: BTreeMap<String, u32>,
}

impl Lessons {
    /// Whose token it is under the files of `world`: the configured row, else what was learned, else
    /// nobody's. A token that was proven for two accounts, under whichever keys, is nobody's.
    pub fn known(&self, world: &World, number: usize) -> Option<u64> {
        if let Some((_, account)) = world.credentials.get(&number) {
            return Some(*account);
        }
        let mut accounts = BTreeSet::new();
        for key in &world.keys {
            match self.table.lookup(self.fingerprints[&(key.clone(), number)]) {
                Learned::Account(account) => drop(accounts.insert(account.value())),
                Learned::Ambiguous => return None,
                Learned::None => {}
            }
        }
        if accounts.len() == 1 { accounts.first().copied() } else { None }
    }

    /// From now on clients come with these keys' fingerprints too.
    pub fn watch(&mut self, world: &World) {
        for key in &world.keys {
            for number in 0..TOKENS {
                let token = (key.clone(), number);
                self.fingerprints.entry(token).or_insert_with(|| fingerprint_under(key, number));
            }
        }
    }

    pub fn teach(&mut self, token: Fingerprint, account: AccountId, bounds: &Learning, now: u64) {
        let before = self.entries();
        let taught = self.table.teach(token, "k", account, bounds, now);
        let after = self.entries();
        let is = (before.get(&token).copied(), after.get(&token).copied());
        match (is, taught) {
            ((None, Some(Learned::Account(now))), Taught::New) => assert_eq!(now, account),
            ((None, None), Taught::NoRoom) => {}
            ((Some(Learned::Account(was)), Some(Learned::Account(now))), Taught::Confirmed) => {
                assert_eq!((was, now), (account, account));
            }
            ((Some(Learned::Account(was)), Some(Learned::Ambiguous)), Taught::Ambiguous) => {
                assert_ne!(was, account);
                self.ambiguous.insert(token);
            }
            ((Some(Learned::Ambiguous), Some(Learned::Ambiguous)), Taught::Ambiguous) => {}
            (is, taught) => panic!("{taught:?} to {account} made {is:?}"),
        }
        self.note(&format!("taught {taught:?}"));
        if before.len() == after.len() && taught == Taught::New {
            self.note("evicted");
        }
        if taught != Taught::NoRoom {
            self.strikes.remove(&token);
        }
        // A lesson for one account costs nobody else anything.
        for (other, was) in before.iter().filter(|(other, _)| **other != token) {
            let is = after.get(other).copied();
            let evicted_by_its_own = is.is_none() && *was == Learned::Account(account);
            assert!(is == Some(*was) || evicted_by_its_own, "a lesson for {account} made {was:?} {is:?}");
        }
        self.check();
    }

    /// A request was routed by this entry alone, so the entry says so, and its strikes hit nobody else.
    pub fn routed(&mut self, token: Fingerprint, account: Option<AccountId>) {
        assert_eq!(Some(self.table.lookup(token)), account.map(Learned::Account));
        self.note("routed by a learned entry");
    }

    pub fn accepted(&mut self, token: Fingerprint, now: u64) {
        let before = self.entries();
        self.table.accepted(token, now);
        assert_eq!(before, self.entries(), "an answer that says yes changes no entry");
        self.strikes.remove(&token);
    }

    pub fn rejected(&mut self, token: Fingerprint, now: u64, abnormal: bool) {
        let mut before = self.entries();
        let demoted = self.table.rejected(token, now, abnormal);
        let strikes = self.strikes.entry(token).or_default();
        *strikes = strikes.saturating_add(u8::from(!abnormal));
        if demoted {
            assert!(!abnormal && *strikes >= STRIKES_TO_DEMOTE, "demoted by {strikes} strikes");
            assert!(
                matches!(before.remove(&token), Some(Learned::Account(_))),
                "only a sure entry is demoted"
            );
            self.strikes.remove(&token);
            self.note("demoted");
        }
        assert_eq!(before, self.entries(), "one token's 401 is no other token's");
        self.check();
    }

    /// Forgets everything, as after a long silence.
    pub fn silence(&mut self, now: &mut u64) {
        *now += EXPIRES_AFTER_SECS + 1;
        self.table.expire(*now);
        assert!(self.table.is_empty() && self.entries().is_empty());
        self.ambiguous.clear();
        self.strikes.clear();
    }

    /// Through a file and back, as by a restart.
    pub fn restart(&mut self, bounds: &Learning, now: u64) {
        let before = self.entries();
        let export = self.table.export();
        self.table = LearnedTable::default();
        let taken = self.table.import(&export, bounds, now).expect("our own version");
        let after = self.entries();
        assert!(taken <= bounds.entries && taken == after.len());
        for (token, is) in &after {
            assert_eq!(before.get(token), Some(is), "a restart invents nothing");
        }
        // What found no room is forgotten, doubts included: then the token is nobody's again.
        self.ambiguous.retain(|token| after.contains_key(token));
        self.strikes.clear();
    }

    fn note(&mut self, what: &str) {
        *self.seen.entry(what.to_owned()).or_default() += 1;
    }

    fn entries(&self) -> BTreeMap<Fingerprint, Learned> {
        let entries = self.fingerprints.values().map(|token| (*token, self.table.lookup(*token)));
        entries.filter(|(_, is)| *is != Learned::None).collect()
    }

    fn check(&self) {
        for token in &self.ambiguous {
            assert_eq!(
                self.table.lookup(*token),
                Learned::Ambiguous,
                "{token:?} was proven for two accounts"
            );
        }
        assert_eq!(self.table.len(), self.entries().len(), "the table counts what it knows");
    }
}
