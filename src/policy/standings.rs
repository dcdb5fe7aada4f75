//! Where accounts stand by the configuration, whatever they do: who still lives in a shared cell and has no other address to
//! go to, and who is refused on legacy hosts for good, and since when.

use std::collections::{HashMap, HashSet};

use super::accounts::{Account, ScheduleIndex};
use super::brownout::AfterSunset;
use super::hosts::Role;
use super::ids::AccountId;
use super::snapshot::Snapshot;

/// Of all accounts of a table; of nobody where there is no configuration to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standings {
    shared: HashSet<AccountId>,
    /// Unix seconds, also of days that are still to come.
    ends: HashMap<AccountId, i64>,
}

impl Standings {
    /// By what a snapshot says.
    pub fn of(snapshot: &Snapshot) -> Self {
        let legacy = snapshot.hosts.iter().filter(|rule| rule.role == Role::Legacy);
        let mut hosts: Vec<Option<ScheduleIndex>> = legacy.map(|rule| rule.schedule).collect();
        hosts.sort_by_key(|schedule| schedule.map(|index| index.0));
        hosts.dedup();
        let mut standings = Self::default();
        for account in snapshot.accounts.iter() {
            if snapshot.cell(account.cell).shared {
                standings.shared.insert(account.id);
            }
            if let Some(end) = end(snapshot, &hosts, account) {
                standings.ends.insert(account.id, end);
            }
        }
        standings
    }

    /// Since when an account is refused on purpose on every legacy host, in Unix seconds; `None` where it is not at `now`.
    pub fn cut_at(&self, account: AccountId, now: i64) -> Option<i64> {
        self.ends.get(&account).copied().filter(|at| *at <= now)
    }

    /// Whether an account still lives in a shared cell.
    pub fn is_in_shared_cell(&self, account: AccountId) -> bool {
        self.shared.contains(&account)
    }
}

/// When the last of the legacy hosts ends for an account; `None` where one of them never does, or there is none.
fn end(snapshot: &Snapshot, hosts: &[Option<ScheduleIndex>], account: Account<'_>) -> Option<i64> {
    let end = |host: &Option<ScheduleIndex>| {
        let index = account.schedule.or(*host)?;
        let schedule = snapshot.schedule(snapshot.extensions.of(account.id, index));
        (schedule.after_sunset != AfterSunset::Keep).then_some(schedule.sunset_at)
    };
    let ends: Option<Vec<i64>> = hosts.iter().map(end).collect();
    ends?.into_iter().max()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::extension::{Extension, Extensions};
    use super::*;
    use crate::test_snapshot::{SnapshotBuilder, account};

    /// Account 3 has the schedule that ends later, account 4 a promise beyond both; the rest have that of their host.
    fn snapshot(after: [AfterSunset; 2]) -> Snapshot {
        let mut snapshot = SnapshotBuilder::new()
            .cell("us1", "us1.dbt.com")
            .cell("mt", "mt.dbt.com")
            .schedule("early", 0, 1_000)
            .schedule("late", 0, 2_000)
            .host(Role::Legacy, "cloud.getdbt.com", 0)
            .account(1, "us1", &["ab1"])
            .account(2, "mt", &["ab2"])
            .account(3, "us1", &["ab3"])
            .with_row(|row| row.schedule = Some(ScheduleIndex(1)))
            .account(4, "us1", &["ab4"])
            .build();
        snapshot.cells[1].shared = true;
        for (schedule, after) in snapshot.schedules.iter_mut().zip(after) {
            schedule.after_sunset = after;
        }
        let promise = Extension {
            account: account(4),
            sunset_at: 5_000,
            reason: "a promise".into(),
            after_sunset: None,
        };
        snapshot.extensions = Extensions::new(vec![promise], &snapshot.schedules);
        snapshot
    }

    fn cut(snapshot: &Snapshot, now: i64) -> [Option<i64>; 4] {
        let standings = Standings::of(snapshot);
        [1, 2, 3, 4].map(|id| standings.cut_at(account(id), now))
    }

    #[test]
    fn who_is_refused_for_good_is_cut_from_the_day_of_its_own_schedule_on() {
        use AfterSunset::{Gone, Keep, Refuse};
        assert_eq!(cut(&snapshot([Keep, Keep]), 9_000), [None; 4], "a date alone cuts nobody");
        let both = snapshot([Refuse, Gone]);
        assert_eq!(cut(&both, 999), [None; 4]);
        assert_eq!(cut(&both, 1_000), [Some(1_000), Some(1_000), None, None]);
        assert_eq!(cut(&both, 2_000)[2], Some(2_000));
        assert_eq!(cut(&both, 5_000)[3], Some(5_000), "a promise is kept first");
        assert_eq!(cut(&snapshot([Keep, Refuse]), 9_000), [None, None, Some(2_000), None]);
    }

    #[test]
    fn who_is_served_on_one_legacy_host_is_not_cut() {
        let snapshot = snapshot([AfterSunset::Gone; 2]);
        let of = |id: u64, hosts: &[Option<u16>]| {
            let hosts: Vec<_> = hosts.iter().map(|host| host.map(ScheduleIndex)).collect();
            end(&snapshot, &hosts, snapshot.accounts.by_id(account(id)).unwrap())
        };
        assert_eq!(of(1, &[Some(0), Some(1)]), Some(2_000), "the other one ends later");
        assert_eq!(of(1, &[None, Some(0)]), None, "and one without dates never");
        assert_eq!(of(3, &[None, Some(0)]), Some(2_000), "but for who has dates of its own");
        assert_eq!(of(1, &[]), None);
    }

    #[test]
    fn who_lives_in_a_shared_cell_has_nowhere_to_go() {
        let standings = Standings::of(&snapshot([AfterSunset::Keep; 2]));
        assert_eq!(
            [1, 2, 3, 9].map(|id| standings.is_in_shared_cell(account(id))),
            [false, true, false, false]
        );
        assert!(!Standings::default().is_in_shared_cell(account(2)));
    }
}
