//! What the books know of each account, read in one pass over the integrations of all months: on which days it came by what.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use crate::policy::ids::AccountId;
use crate::policy::legacy_use::activity::{Activity, Day};

use super::month::Month;
use super::renamed::NewestNames;
use super::shelf::{Reading, Row, Shelf};

/// How far a clock may go before that of the reader. What lies further in the future is taken to be of then.
const SKEW: i64 = 86_400;

/// All accounts, and requests without one.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub accounts: BTreeMap<u64, KnownAccount>,
    /// By day, in days since the Unix epoch: all requests, and those of no account.
    pub requests: BTreeMap<i64, (u64, u64)>,
}

/// One account.
#[derive(Debug)]
pub(super) struct KnownAccount {
    /// What verdicts look at one by one. Who runs a program knows its networks and endpoints as one: what comes with one
    /// credential, a client family on a surface.
    pub habits: Vec<Activity>,
    /// All habits together.
    all: Activity,
    /// Of each habit: client family, surface, credential.
    names: Vec<[Rc<str>; 3]>,
    /// By client family, surface and endpoint class, as far as they were seen lately.
    pub lately: HashMap<[Rc<str>; 3], Lately>,
    /// Unix seconds.
    pub first_seen: i64,
    /// Unix seconds.
    pub last_seen: i64,
}

/// Requests until today.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lately {
    /// Of today and the six days before it.
    pub week: u64,
    /// Of today and the 29 days before it.
    pub month: u64,
}

impl Default for KnownAccount {
    fn default() -> Self {
        Self {
            habits: Vec::new(),
            all: Activity::default(),
            names: Vec::new(),
            lately: HashMap::new(),
            first_seen: i64::MAX,
            last_seen: 0,
        }
    }
}

impl Known {
    /// Reads all accounts, or only one of them, as of `now` (Unix seconds).
    pub fn read(books: &Shelf, only: Option<AccountId>, now: i64) -> Reading<Self> {
        let (mut known, mut names) = (Self::default(), Names::default());
        let newest = NewestNames::read(books, only)?;
        let only = only.map(|account| account.value() as i64);
        let query = "SELECT subject, account, client, surface, class, credential, first_seen, last_seen, days
             FROM integrations WHERE ?1 IS NULL OR (subject = 'account' AND account = ?1)";
        books.each(None, query, &[only], |month, row| known.add(row, month, (&mut names, &newest), now))?;
        for account in known.accounts.values_mut() {
            account.sort();
            account.all = Activity::of_all(&account.habits);
        }
        Ok(known)
    }

    /// What was known at a moment (Unix seconds): nothing of later days.
    pub fn as_of(&self, then: i64) -> Self {
        let last = then.div_euclid(86_400);
        let before = |of: &KnownAccount| {
            let habits = of.habits.iter().map(|habit| habit.until(last));
            let habits: Vec<_> = habits.filter(|habit| !habit.days().is_empty()).collect();
            let last_day = habits.iter().filter_map(|habit| habit.days().last()).map(|day| day.day).max()?;
            // Of an earlier day it is not known when in it.
            let last_seen = of.last_seen.min((last_day + 1) * 86_400 - 1).min(then);
            Some(KnownAccount { habits, last_seen, first_seen: of.first_seen, ..KnownAccount::default() })
        };
        let accounts = self.accounts.iter().filter_map(|(id, of)| Some((*id, before(of)?)));
        Self { accounts: accounts.collect(), requests: BTreeMap::new() }
    }

    fn add(
        &mut self,
        row: &Row<'_>,
        month: Month,
        (names, newest): (&mut Names, &NewestNames),
        now: i64,
    ) -> Reading<()> {
        let last_day = latest(now).div_euclid(86_400);
        let of_account = row.text(0)? == "account";
        let days = row.days(8)?;
        let days = days.seen(month.first_day()).map(|day| Day { day: day.day.clamp(0, last_day), ..day });
        if !of_account {
            for day in days {
                self.count(&day, false);
            }
            return Ok(());
        }
        let mut name = |column| row.text(column).map(|text| names.of(text));
        let [client, surface, class] = [name(2)?, name(3)?, name(4)?];
        let credential = names.of(newest.newest(row.count(1)?, row.text(5)?));
        let mut lately = Lately::default();
        let mut seen = Vec::new();
        for day in days {
            self.count(&day, true);
            lately.add(&day, now);
            seen.push(day);
        }
        let account = self.accounts.entry(row.count(1)?).or_default();
        account.first_seen = account.first_seen.min(row.int(6)?);
        // Who came on a day was seen on it, whatever else stands there.
        let last_day = seen.last().map_or(0, |day: &Day| day.day * 86_400);
        account.last_seen = account.last_seen.max(row.int(7)?).max(last_day);
        let habit = account.habit([Rc::clone(&client), Rc::clone(&surface), credential]);
        seen.into_iter().for_each(|day| habit.merge(day));
        if lately.month > 0 {
            let sum = account.lately.entry([client, surface, class]).or_default();
            (sum.week, sum.month) = (sum.week + lately.week, sum.month + lately.month);
        }
        Ok(())
    }

    fn count(&mut self, day: &Day, of_account: bool) {
        let (all, of_nobody) = self.requests.entry(day.day).or_default();
        *all += day.requests;
        *of_nobody += if of_account { 0 } else { day.requests };
    }
}

impl KnownAccount {
    /// What [`judge`](crate::policy::legacy_use::verdict::judge) is to take it as seen last.
    pub fn last_seen_by(&self, now: i64) -> i64 {
        self.last_seen.min(latest(now))
    }

    /// All its days, whatever came on them.
    pub const fn days(&self) -> &Activity {
        &self.all
    }

    /// By name: rows come in another order from a file than from a database.
    fn sort(&mut self) {
        let mut habits: Vec<_> = self.names.drain(..).zip(self.habits.drain(..)).collect();
        habits.sort_by(|a, b| a.0.cmp(&b.0));
        (self.names, self.habits) = habits.into_iter().unzip();
    }

    fn habit(&mut self, names: [Rc<str>; 3]) -> &mut Activity {
        // Accounts have few: looking at each is quicker than a map.
        let at = self.names.iter().position(|known| *known == names).unwrap_or_else(|| {
            self.names.push(names);
            self.habits.push(Activity::default());
            self.habits.len() - 1
        });
        &mut self.habits[at]
    }
}

impl Lately {
    fn add(&mut self, day: &Day, now: i64) {
        let ago = now.div_euclid(86_400) - day.day;
        self.week += if ago < 7 { day.requests } else { 0 };
        self.month += if ago < 30 { day.requests } else { 0 };
    }
}

fn latest(now: i64) -> i64 {
    now.saturating_add(SKEW)
}

/// Each name once: rows have few different ones.
#[derive(Default)]
struct Names(HashMap<Box<str>, Rc<str>>);

impl Names {
    fn of(&mut self, text: &str) -> Rc<str> {
        match self.0.get(text) {
            Some(name) => Rc::clone(name),
            None => Rc::clone(self.0.entry(text.into()).or_insert_with(|| text.into())),
        }
    }
}
