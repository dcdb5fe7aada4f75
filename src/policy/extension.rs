//! Later sunsets: accounts that were promised more time than the schedule of their host says. Such an account has a schedule
//! of its own made of that one, so that its dates, links and what comes after are told from one place.

use std::collections::HashMap;

use super::accounts::ScheduleIndex;
use super::brownout::AfterSunset;
use super::ids::AccountId;
use super::snapshot::Schedule;

/// One promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// To whom.
    pub account: AccountId,
    /// Until when, in seconds since the Unix epoch.
    pub sunset_at: i64,
    /// Why, for those who read the configuration and the audit trail.
    pub reason: Box<str>,
    /// What comes then, where it is not what the schedule says.
    pub after_sunset: Option<AfterSunset>,
}

/// Most pairs of an extension and a schedule: so many schedules are made at most, each a kilobyte, and positions of
/// schedules have 16 bits.
pub const MAX_MADE: usize = 32_768;

/// All promises of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    all: Vec<Extension>,
    /// Schedules behind those of the configuration: a position counts on from theirs.
    made: Vec<Schedule>,
    by_account: HashMap<AccountId, Box<[ScheduleIndex]>>,
}

impl Extensions {
    /// What follows from these for accounts and hosts that have one of `schedules`. No account is in `all` twice, and there are
    /// [`MAX_MADE`] pairs of both at most.
    pub fn new(all: Vec<Extension>, schedules: &[Schedule]) -> Self {
        let mut made: Vec<Schedule> = Vec::new();
        let mut known: HashMap<(usize, i64, AfterSunset), usize> = HashMap::new();
        let mut by_account = HashMap::with_capacity(all.len());
        let position = |at: usize| {
            ScheduleIndex(u16::try_from(at).expect("there are MAX_MADE and some thousands at most"))
        };
        for extension in &all {
            let own = schedules.iter().enumerate().map(|(index, base)| {
                let extended = extension.of(base);
                if extended == *base {
                    return position(index);
                }
                let at =
                    *known.entry((index, extended.sunset_at, extended.after_sunset)).or_insert_with(|| {
                        made.push(extended);
                        made.len() - 1
                    });
                position(schedules.len() + at)
            });
            by_account.insert(extension.account, own.collect());
        }
        Self { all, made, by_account }
    }

    /// The schedule that an account has in place of this one.
    pub fn of(&self, account: AccountId, schedule: ScheduleIndex) -> ScheduleIndex {
        if self.by_account.is_empty() {
            return schedule;
        }
        let own = self.by_account.get(&account).and_then(|own| own.get(usize::from(schedule.0)));
        own.copied().unwrap_or(schedule)
    }

    /// The made schedule so far behind those of the configuration.
    pub fn made(&self, behind: usize) -> &Schedule {
        &self.made[behind]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Extension> {
        self.all.iter()
    }
}

impl Extension {
    /// A schedule as it is for this account. An extension makes no sunset earlier: where the schedule has been moved past
    /// it, nobody meant to take time away.
    fn of(&self, base: &Schedule) -> Schedule {
        let Schedule { name, deprecated_since, sunset_at, guide, policy, merge, after_sunset, .. } =
            base.clone();
        let sunset_at = sunset_at.max(self.sunset_at);
        let made = Schedule::new(name, deprecated_since, sunset_at, guide, policy, merge);
        Schedule { after_sunset: self.after_sunset.unwrap_or(after_sunset), ..made }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::annotate::annotate;
    use super::super::ids::Label;
    use super::super::snapshot::Merge;
    use super::*;

    fn schedule(name: &str, sunset_at: i64) -> Schedule {
        Schedule::new(
            Label::parse(name).unwrap(),
            0,
            sunset_at,
            "https://docs.test".into(),
            None,
            Merge::Ours,
        )
    }

    fn account(id: u64) -> AccountId {
        AccountId::from_value(id).unwrap()
    }

    #[test]
    fn an_extension_says_a_later_date_and_no_earlier_one() {
        let schedules = [schedule("a", 1_000), schedule("b", 2_000), schedule("c", 9_000)];
        let extension = |id, sunset_at, after_sunset| Extension {
            account: account(id),
            sunset_at,
            reason: "a promise".into(),
            after_sunset,
        };
        let gone = Some(AfterSunset::Gone);
        let all = vec![extension(7, 5_000, None), extension(8, 5_000, None), extension(9, 5_000, gone)];
        let extensions = Extensions::new(all, &schedules);
        let of = |id, index: u16| {
            let at = usize::from(extensions.of(account(id), ScheduleIndex(index)).0);
            schedules.get(at).unwrap_or_else(|| extensions.made(at - schedules.len()))
        };
        let dates = |id| [0, 1, 2].map(|index| of(id, index).sunset_at);
        assert_eq!(dates(6), [1_000, 2_000, 9_000], "of somebody else");
        assert_eq!(dates(7), [5_000, 5_000, 9_000]);
        assert_eq!(of(9, 0).after_sunset, AfterSunset::Gone);
        assert_eq!(of(7, 0).after_sunset, AfterSunset::Keep);
        assert_eq!(
            extensions.of(account(7), ScheduleIndex(0)),
            extensions.of(account(8), ScheduleIndex(0)),
            "made once"
        );
        let mut headers = http::HeaderMap::new();
        annotate(of(7, 0), None, &mut headers);
        assert_eq!(headers["sunset"], "Thu, 01 Jan 1970 01:23:20 GMT", "and the header says it");
    }
}
