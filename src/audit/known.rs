//! What the books know of each account and what is said of it, read in one pass over the integrations of all months.

use std::collections::BTreeMap;

use crate::policy::ids::AccountId;
use crate::policy::legacy_use::DAY;
use crate::policy::legacy_use::activity::{Activity, Day};
use crate::policy::legacy_use::verdict::{Judgement, Verdict};

use super::fleet::CURVE_DAYS;
use super::renamed::NewestNames;
use super::seen::{COLUMNS, Seen, SeenInMonth, name};
use super::shelf::{Reading, Shelf};
use super::side_by_side;
use super::verdicts::Judging;

/// How far a clock may go before that of the reader. What lies further in the future is taken to be of then.
const SKEW: i64 = DAY;

/// All accounts, and requests without one.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub accounts: BTreeMap<u64, KnownAccount>,
    /// By day, in days since the Unix epoch: all requests, and those of no account.
    pub requests: BTreeMap<i64, (u64, u64)>,
    /// What [`Name`] stands for, in order.
    names: Vec<Box<str>>,
}

/// A client family, surface or endpoint class. The order is that of the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name(u32);

/// One account, and what is said of it.
#[derive(Debug)]
pub(super) struct KnownAccount {
    /// Unix seconds.
    pub first_seen: i64,
    /// Unix seconds.
    pub last_seen: i64,
    /// What is said of it.
    pub judged: Judgement,
    /// What was said of it [`WEEK_AGO`], where it was known then.
    pub week_ago: Option<Verdict>,
    /// By client family, surface and endpoint class, in this order, as far as they were seen lately.
    pub lately: Vec<([Name; 3], Lately)>,
    /// Requests of each of the last days, today last.
    pub curve: [u64; CURVE_DAYS],
    /// How many habits were seen in these days.
    pub habits: usize,
    /// From which day on, and until before which, it is among those that were seen in the last seven days.
    pub weeks: Vec<(i64, i64)>,
}

/// Seconds: with what was said then, what is said now is compared.
pub(super) const WEEK_AGO: i64 = 7 * DAY;

/// Requests until today.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lately {
    /// Of today and the six days before it.
    pub week: u64,
    /// Of today and the 29 days before it.
    pub month: u64,
}

impl Known {
    /// Reads all accounts, or only one of them, as of `now` (Unix seconds).
    pub fn read(books: &Shelf, only: Option<AccountId>, judging: &Judging<'_>, now: i64) -> Reading<Self> {
        let newest = NewestNames::read(books, only)?;
        let mut query = format!("SELECT {COLUMNS} FROM integrations");
        let only = only.map(|account| Some(account.value() as i64));
        if only.is_some() {
            query += " WHERE subject = 'account' AND account = ?1";
        }
        let mut months = books.fold(None, &query, only.as_slice(), |of: &mut SeenInMonth, month, row| {
            of.add(month, row, &newest)
        })?;
        let names = name(&mut months);
        let (mut known, last_day) = (Self { names, ..Self::default() }, last_day(now));
        for (day, (all, of_nobody)) in months.iter().flat_map(SeenInMonth::requests) {
            let sum = known.requests.entry(day.clamp(0, last_day)).or_default();
            *sum = (sum.0.saturating_add(all), sum.1.saturating_add(of_nobody));
        }
        known.accounts = accounts(&months, judging, now);
        Ok(known)
    }

    /// The text of a name.
    pub fn name(&self, name: Name) -> &str {
        &self.names[name.0 as usize]
    }
}

/// Rows of one account come together, whatever the months have them in. Its days are many, and nobody needs them after that.
fn accounts(months: &[SeenInMonth], judging: &Judging<'_>, now: i64) -> BTreeMap<u64, KnownAccount> {
    let rows = months.iter().flat_map(|month| month.rows.iter().map(move |row| (month, row)));
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|(_, row)| row.account);
    let accounts = rows.chunk_by_mut(|(_, a), (_, b)| a.account == b.account).collect();
    let accounts = side_by_side::each(accounts, |rows: &mut [_]| {
        (rows[0].1.account, KnownAccount::of(History::of(rows, now), judging, now))
    });
    accounts.into_iter().collect()
}

/// When an account came by what.
struct History {
    /// What verdicts look at one by one. Who runs a program knows its networks and endpoints as one: what comes with one
    /// credential, a client family on a surface. In the order of these names.
    habits: Vec<Activity>,
    /// All habits together.
    all: Activity,
    lately: Vec<([Name; 3], Lately)>,
    account: u64,
    first_seen: i64,
    last_seen: i64,
}

impl KnownAccount {
    fn of(of: History, judging: &Judging<'_>, now: i64) -> Self {
        let since = now.div_euclid(DAY) - (CURVE_DAYS as i64 - 1);
        let is_late = |habit: &&Activity| habit.days().last().is_some_and(|last| last.day >= since);
        Self {
            first_seen: of.first_seen,
            last_seen: of.last_seen,
            judged: of.judged(judging, now),
            week_ago: of.verdict_as_of(judging, now - WEEK_AGO),
            curve: curve(&of.all, since),
            habits: of.habits.iter().filter(is_late).count(),
            weeks: weeks(&of.all),
            lately: of.lately,
        }
    }
}

/// Requests of each day from one on.
fn curve(days: &Activity, since: i64) -> [u64; CURVE_DAYS] {
    let mut curve = [0; CURVE_DAYS];
    for seen in days.days() {
        if let Some(place) = usize::try_from(seen.day - since).ok().and_then(|at| curve.get_mut(at)) {
            *place = seen.requests;
        }
    }
    curve
}

fn weeks(days: &Activity) -> Vec<(i64, i64)> {
    let mut weeks: Vec<(i64, i64)> = Vec::new();
    for seen in days.days() {
        match weeks.last_mut() {
            // It was among them all the time.
            Some((_, until)) if seen.day <= *until => *until = seen.day + 7,
            _ => weeks.push((seen.day, seen.day + 7)),
        }
    }
    weeks
}

impl History {
    fn of(rows: &mut [(&SeenInMonth, &Seen)], now: i64) -> Self {
        // Stable: months stay in their order.
        rows.sort_by(|(a, one), (b, other)| a.habit(one).cmp(&b.habit(other)));
        let mut of = Self {
            habits: Vec::new(),
            all: Activity::default(),
            lately: Vec::new(),
            account: rows[0].1.account,
            first_seen: i64::MAX,
            last_seen: 0,
        };
        let mut lately = Vec::new();
        for rows in rows.chunk_by(|(a, one), (b, other)| a.habit(one) == b.habit(other)) {
            let days = rows.iter().map(|(_, row)| SeenInMonth::many_days(row)).sum();
            let mut habit = Activity::with_room_for(days);
            for (month, row) in rows {
                of.add(month, row, &mut habit, &mut lately, now);
            }
            of.habits.push(habit);
        }
        lately.sort_unstable_by_key(|(names, _)| *names);
        for (names, more) in lately {
            match of.lately.last_mut() {
                Some((last, sum)) if *last == names => sum.merge(more),
                _ => of.lately.push((names, more)),
            }
        }
        of.all = Activity::of_all(&of.habits);
        of
    }

    fn add(
        &mut self,
        month: &SeenInMonth,
        row: &Seen,
        habit: &mut Activity,
        lately: &mut Vec<([Name; 3], Lately)>,
        now: i64,
    ) {
        let (mut sum, mut last, last_day) = (Lately::default(), 0, last_day(now));
        for day in month.days(row) {
            let day = Day { day: day.day.clamp(0, last_day), ..day };
            sum.add(&day, now);
            last = day.day;
            habit.merge(day);
        }
        self.first_seen = self.first_seen.min(row.first_seen);
        // Who came on a day was seen on it, whatever else stands there.
        self.last_seen = self.last_seen.max(row.last_seen).max(last * DAY);
        if sum.month > 0 {
            lately.push((row.names.map(Name), sum));
        }
    }

    fn judged(&self, judging: &Judging<'_>, now: i64) -> Judgement {
        // Verdicts count seconds until now.
        judging.judge(self.account, &self.habits, &self.all, self.last_seen.min(latest(now)), now)
    }

    /// What was said at an earlier moment (Unix seconds), when nothing of later days was known.
    fn verdict_as_of(&self, judging: &Judging<'_>, then: i64) -> Option<Verdict> {
        let last = then.div_euclid(DAY);
        let all = self.all.until(last);
        // Of an earlier day it is not known when in it.
        let last_seen = self.last_seen.min((all.days().last()?.day + 1) * DAY - 1).min(then);
        let habits = self.habits.iter().map(|habit| habit.until(last));
        let habits: Vec<_> = habits.filter(|habit| !habit.days().is_empty()).collect();
        Some(judging.judge(self.account, &habits, &all, last_seen, then).verdict)
    }
}

impl Lately {
    fn add(&mut self, day: &Day, now: i64) {
        let ago = now.div_euclid(DAY) - day.day;
        let of = |days: i64| if ago < days { day.requests } else { 0 };
        self.merge(Self { week: of(7), month: of(30) });
    }

    /// Adds more.
    pub fn merge(&mut self, more: Self) {
        self.week = self.week.saturating_add(more.week);
        self.month = self.month.saturating_add(more.month);
    }
}

fn latest(now: i64) -> i64 {
    now.saturating_add(SKEW)
}

/// The day of [`latest`].
fn last_day(now: i64) -> i64 {
    latest(now).div_euclid(DAY)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::frame::tests::{NOON, frame, uses};
    use super::super::shelf::ask;
    use super::super::store::Store;
    use super::*;
    use crate::policy::legacy_use::coverage::Coverage;
    use crate::policy::standings::Standings;

    #[test]
    fn an_account_is_what_all_months_have_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let today = NOON.div_euclid(DAY);
        // From another network each time. In the last two rows a clock is months ahead of ours.
        let rows = [(0, "curl"), (30, "curl"), (7, "curl"), (60, "airflow"), (-70, "curl"), (-71, "curl")];
        let rows = rows.into_iter().enumerate().map(|(at, (ago, client))| {
            let mut of = uses(7, client, 10);
            of.integration.network = format!("192.0.{at}.0/24");
            (of.day, of.first_seen, of.last_seen) = (of.day - ago, NOON - ago * DAY, NOON - ago * DAY);
            of
        });
        let mut nobody = uses(0, "curl", 1);
        nobody.integration.subject = "unmapped".into();
        let rows = rows.chain([nobody]).collect();
        Store::new(folder.path()).write(&frame("a", 1, rows), NOON).unwrap();
        let (coverage, standings) = (Coverage::default(), Standings::default());
        let judging = Judging { coverage: &coverage, standings: &standings };
        let known = ask(folder.path(), |books| Known::read(books, None, &judging, NOON)).unwrap();
        let days: Vec<_> = known.requests.iter().map(|(day, requests)| (day - today, *requests)).collect();
        assert_eq!(days, [(-60, (10, 0)), (-30, (10, 0)), (-7, (10, 0)), (0, (11, 1)), (1, (20, 0))]);
        let of = &known.accounts[&7];
        assert_eq!((of.first_seen, of.last_seen), (NOON - 60 * DAY, NOON + 71 * DAY));
        assert_eq!((of.habits, of.curve[29], of.curve[22]), (1, 10, 10));
        let weeks: Vec<_> = of.weeks.iter().map(|(from, until)| (from - today, until - today)).collect();
        assert_eq!(weeks, [(-60, -53), (-30, -23), (-7, 8)]);
        let lately: Vec<_> = of
            .lately
            .iter()
            .map(|(names, of)| (names.map(|name| known.name(name)), of.week, of.month))
            .collect();
        assert_eq!(lately, [(["curl", "app", "none"], 30, 40)]);
    }

    #[test]
    fn a_week_of_seven_days_goes_on_where_the_next_one_begins() {
        let seen = |days: &[i64]| {
            let mut activity = Activity::default();
            days.iter().for_each(|day| activity.add(day * 24, 1));
            weeks(&activity)
        };
        assert_eq!(seen(&[]), []);
        assert_eq!(seen(&[3, 4, 10, 17]), [(3, 24)]);
        assert_eq!(seen(&[3, 11]), [(3, 10), (11, 18)]);
    }
}
