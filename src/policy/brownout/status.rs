//! How each brownout stands: what is in force, what comes next, and for how many accounts. For people and programs that look,
//! never for a request: the accounts are counted one by one.

use std::fmt;

use super::{Brownout, BrownoutIndex, BrownoutMode, Exemption, Window};
use crate::policy::accounts::Account;
use crate::policy::calendar::show_moment;
use crate::policy::canary::Share;
use crate::policy::ids::{AccountId, Label};
use crate::policy::snapshot::Snapshot;

/// One brownout at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which.
    pub id: Label,
    /// What it does.
    pub mode: BrownoutMode,
    /// Of which part of the accounts.
    pub share: Share,
    /// The window that it is in.
    pub window: Option<Window>,
    /// The one after that.
    pub next: Option<Window>,
    /// An operator has ended it before its time.
    pub is_cancelled: bool,
    /// Accounts of the table that are in the cohort, exempt ones too.
    pub accounts: usize,
    /// Accounts of those that are exempt at the moment.
    pub exempt: usize,
}

/// Every brownout at `now`, in seconds since the Unix epoch.
pub fn statuses(snapshot: &Snapshot, now: i64, is_cancelled: impl Fn(&Label) -> bool) -> Vec<Status> {
    let status = |(index, brownout): (BrownoutIndex, &Brownout)| {
        let cohort = snapshot.accounts.iter().filter(|account| brownout.has(account.id));
        let (mut accounts, mut exempt) = (0, 0);
        for account in cohort {
            accounts += 1;
            exempt += usize::from(snapshot.brownouts.is_exempt(account.id, index, now));
        }
        Status {
            id: brownout.id.clone(),
            mode: brownout.mode,
            share: brownout.share,
            window: brownout.windows.at(now),
            next: brownout.windows.after(now),
            is_cancelled: is_cancelled(&brownout.id),
            accounts,
            exempt,
        }
    };
    snapshot.brownouts.indexed().map(status).collect()
}

/// One account of a cohort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'s> {
    /// Which, and where it lives.
    pub account: Account<'s>,
    /// What it is spared by at the moment; of several the one that lasts longest.
    pub spared: Option<&'s Exemption>,
}

/// The accounts of the table that are in the cohort of a brownout, at `now`; `None` where there is no such brownout.
pub fn members<'s>(snapshot: &'s Snapshot, id: &str, now: i64) -> Option<Vec<Member<'s>>> {
    let brownouts = &snapshot.brownouts;
    let (index, brownout) = brownouts.indexed().find(|(_, brownout)| brownout.id.as_str() == id)?;
    let spared = |account: AccountId| {
        let lasts = |exemption: &&Exemption| exemption.names(index) && now < exemption.until;
        brownouts.of(account).filter(lasts).max_by_key(|exemption| exemption.until)
    };
    let cohort = snapshot.accounts.iter().filter(|account| brownout.has(account.id));
    Some(cohort.map(|account| Member { account, spared: spared(account.id) }).collect())
}

/// What operators should know at `now` without asking: a line for each brownout that is in force.
pub fn notes(snapshot: &Snapshot, now: i64, is_cancelled: impl Fn(&Label) -> bool) -> Vec<String> {
    let in_force = |brownout: &Brownout| brownout.windows.at(now).map(|window| (brownout.clone(), window));
    let note = |(brownout, window): (Brownout, Window)| {
        let Brownout { id, mode, .. } = &brownout;
        let does = match (is_cancelled(id), mode) {
            (true, _) => "is cancelled by a lever",
            (false, BrownoutMode::Observe) => "only observes: it REFUSES NOBODY",
            (false, BrownoutMode::Soft) => "answers legacy requests with 503",
            (false, BrownoutMode::Hard) => "answers legacy requests with 410",
        };
        format!("Brownout {id} ({}, until {}) {does}.", whom(&brownout), show_moment(window.end))
    };
    snapshot.brownouts.all.iter().filter_map(in_force).map(note).collect()
}

/// Of whom it is about.
fn whom(brownout: &Brownout) -> String {
    let Brownout { share, accounts, schedules, surfaces, classes, .. } = brownout;
    let of = match accounts.len() {
        0 => format!("{share} of the accounts"),
        1 => "1 account".to_owned(),
        many if *share == Share::percent(100) => format!("{many} accounts"),
        many => format!("{share} of {many} accounts"),
    };
    let is_part = !(schedules.is_empty() && surfaces.is_empty() && classes.is_empty());
    if is_part { format!("{of}, some of their requests") } else { of }
}

impl Status {
    /// Whether requests feel it, or are counted.
    pub const fn is_in_force(&self) -> bool {
        self.window.is_some() && !self.is_cancelled
    }
}

/// `2026-11-24T14:00:00Z to 2026-11-24T15:00:00Z`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", show_moment(self.start), show_moment(self.end))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Brownouts;
    use super::*;
    use crate::test_snapshot::{account, brownouts, example};

    fn snapshot() -> Snapshot {
        let mut snapshot = example().build();
        let all = [("watch", BrownoutMode::Observe, (10, 20)), ("hard", BrownoutMode::Hard, (15, 30))];
        let exemption = Exemption {
            account: account(777),
            until: 18,
            reason: "a promise".into(),
            brownouts: Box::default(),
        };
        snapshot.brownouts = Brownouts::new(brownouts(&all).all, vec![exemption], Vec::new());
        snapshot
    }

    #[test]
    fn what_is_in_force_what_comes_and_for_whom() {
        let snapshot = snapshot();
        let of = |now, cancelled: &str| statuses(&snapshot, now, |id| id.as_str() == cancelled);
        let [watch, hard]: [Status; 2] = of(12, "").try_into().unwrap();
        assert!(watch.is_in_force() && !hard.is_in_force());
        assert_eq!((watch.next, hard.next.map(|window| window.start)), (None, Some(15)));
        assert_eq!((watch.accounts, watch.exempt), (snapshot.accounts.len(), 1));
        let [watch, hard]: [Status; 2] = of(18, "hard").try_into().unwrap();
        assert!(watch.is_in_force() && hard.is_cancelled && !hard.is_in_force());
        assert_eq!(watch.exempt, 0, "its day has come");
    }

    #[test]
    fn whom_it_is_about_is_told_account_by_account() {
        let snapshot = snapshot();
        let spared = |id: &str, now| -> Vec<u64> {
            let members = members(&snapshot, id, now).unwrap();
            assert_eq!(members.len(), snapshot.accounts.len());
            members
                .iter()
                .filter(|member| member.spared.is_some())
                .map(|member| member.account.id.value())
                .collect()
        };
        assert_eq!(spared("watch", 12), [777]);
        assert_eq!(spared("hard", 18), Vec::<u64>::new(), "its day has come");
        assert_eq!(members(&snapshot, "none", 12), None);
    }

    #[test]
    fn what_only_observes_is_said_loudly() {
        let snapshot = snapshot();
        let of = |now, cancelled: &str| notes(&snapshot, now, |id| id.as_str() == cancelled);
        assert_eq!(of(9, ""), Vec::<String>::new());
        let until = "until 1970-01-01T00:00:20Z";
        assert_eq!(
            of(12, ""),
            [format!("Brownout watch (100% of the accounts, {until}) only observes: it REFUSES NOBODY.")]
        );
        let mut few = snapshot.brownouts.all[0].clone();
        few.accounts = [1, 2, 3].map(account).into();
        assert_eq!(whom(&few), "3 accounts");
        few.classes = Box::new([few.id.clone()]);
        few.share = Share::percent(10);
        assert_eq!(whom(&few), "10% of 3 accounts, some of their requests");
        let notes = of(16, "hard");
        assert!(notes[1].ends_with("is cancelled by a lever."), "{notes:?}");
    }
}
