//! What is known of a legacy host and of everybody who still calls it, as one value: what the page, the Markdown, the head
//! of the table and the letters are made of. It is filled from the books; nothing here reads them or knows how it is shown.
//!
//! Texts may come from clients (a user agent, a path): whoever prints them makes them harmless.

use std::collections::BTreeMap;

pub use crate::policy::brownout::BrownoutMode;
use crate::policy::legacy_use::DAY;
use crate::policy::legacy_use::forecast::Forecast;
use crate::policy::legacy_use::verdict::{Judgement, LEAST_COVERAGE, Verdict};

use super::recipes::Recipe;
use super::report::GapLine;

/// Days in the little curve of an account.
pub const CURVE_DAYS: usize = 30;

/// Accounts in a list of the largest ones: as many as somebody reads.
pub const TOP_ACCOUNTS: usize = 20;

/// Requests of a week by day, Monday first, and hour, in UTC.
pub type WeekHours = [[u64; 24]; 7];

/// Everything. Times are Unix seconds, days are days since the Unix epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// When this was read from the books.
    pub generated_at: i64,
    /// The legacy hosts.
    pub hosts: Vec<String>,
    /// Since when their use is discouraged, as their headers say.
    pub deprecated_since: Option<i64>,
    /// When they are to be switched off.
    pub sunset_at: Option<i64>,
    /// How far the books can be trusted.
    pub coverage: BooksCoverage,
    /// Of all accounts that the books know.
    pub verdicts: BTreeMap<Verdict, Count>,
    /// Requests of the last seven days.
    pub requests: u64,
    /// Those of them in which nothing named an account.
    pub unattributed: u64,
    /// Each day that the books know, in order.
    pub days: Vec<FleetDay>,
    /// When nobody will be left.
    pub forecast: Forecast,
    /// Client families, and what their owners change.
    pub clients: Vec<Mover>,
    /// Client families on a surface or an endpoint class.
    pub integrations: Vec<Mover>,
    /// Accounts, in any order.
    pub accounts: Vec<FleetAccount>,
    /// Accounts that were never seen before the last seven days.
    pub new_accounts: Vec<u64>,
    /// Accounts that were ready to be cut and came back.
    pub returned: Vec<u64>,
    /// What brownouts did, in order.
    pub brownouts: Vec<Brownout>,
    /// What was changed about the host and when, in order.
    pub changes: Vec<Change>,
}

/// How far the books can be trusted.
#[derive(Clone, Debug, PartialEq)]
pub struct BooksCoverage {
    /// For which part of the time they are complete, of 1.
    pub share: f64,
    /// Of so many days.
    pub days: u32,
    /// What is missing.
    pub gaps: Vec<GapLine>,
}

/// How many accounts have a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Now.
    pub now: u64,
    /// A week ago, where that is known.
    pub week_ago: Option<u64>,
}

/// One day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetDay {
    /// Days since the Unix epoch.
    pub day: i64,
    /// Accounts that were seen in the seven days that end with it; nothing where the books do not have them all.
    pub accounts_7d: Option<u64>,
    /// Requests of this day alone.
    pub requests: u64,
}

/// Something that many accounts have in common, over the last seven days: who changes it moves them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mover {
    /// Client family, or client family and endpoint class.
    pub name: String,
    /// Accounts that use it.
    pub accounts: u64,
    /// Their requests with it.
    pub requests: u64,
    /// What its owner changes. The address in it is a placeholder: each account has its own.
    pub recipe: Option<Recipe>,
}

/// One account.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetAccount {
    /// Its id.
    pub account: u64,
    /// Its prefix, where it has one.
    pub prefix: Option<String>,
    /// The host under which its cell serves it.
    pub address: Option<String>,
    /// Where it lives.
    pub cell: Option<String>,
    /// What is said of it.
    pub judged: Judgement,
    /// Unix seconds.
    pub first_seen: i64,
    /// Unix seconds.
    pub last_seen: i64,
    /// On legacy hosts.
    pub requests: Recent,
    /// Requests of each of the last days, today last.
    pub curve: [u64; CURVE_DAYS],
    /// How many integrations were seen in the last 30 days.
    pub integrations: usize,
    /// The client family with the most requests.
    pub top_client: Option<String>,
    /// Requests a day that change something, over the last seven days.
    pub writes_daily: f64,
    /// Each integration by itself, those with the most requests first; empty where nobody asked for them.
    pub details: Vec<Integration>,
}

/// Requests until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// Of 24 hours.
    pub day: u64,
    /// Of 7 days.
    pub week: u64,
    /// Of 30 days.
    pub month: u64,
}

/// What somebody must change: one client with one credential, from one network.
#[derive(Clone, Debug, PartialEq)]
pub struct Integration {
    /// Client family.
    pub client: String,
    /// The short form of the credential's fingerprint, or the token's name; nothing where there was no credential.
    pub credential: Option<String>,
    /// Where it comes from.
    pub network: Option<String>,
    /// What it calls.
    pub endpoints: Vec<String>,
    /// Unix seconds.
    pub first_seen: i64,
    /// Unix seconds.
    pub last_seen: i64,
    /// Of the last 30 days.
    pub requests: u64,
    /// When in the week it comes.
    pub hours: WeekHours,
    /// What its owner changes, with the account's own address in it.
    pub recipe: Option<Recipe>,
}

/// What one brownout did in one of its windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brownout {
    /// As its schedule names it.
    pub id: String,
    /// Unix seconds.
    pub started_at: i64,
    /// Unix seconds.
    pub ended_at: i64,
    /// How hard.
    pub mode: BrownoutMode,
    /// Accounts that were refused, or would have been.
    pub accounts: u64,
    /// The requests that it met, also those that name no account.
    pub requests: u64,
    /// How many of them could have changed something.
    pub writes: u64,
    /// Of these accounts, how many have stopped since: they have not come for longer than usual. Nothing in the two days after
    /// it, before which that cannot be said of anybody, and where the books are not complete since.
    pub left: Option<u64>,
}

/// A change of the host's dates or rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Unix seconds.
    pub at: i64,
    /// Who, where that is known.
    pub who: Option<String>,
    /// What, for people.
    pub what: String,
}

/// How it stands, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Everybody can be cut, and nobody is hidden in requests without an account.
    Zero,
    /// Nobody will be left at the sunset.
    OnPace,
    /// Somebody will.
    OffPace,
    /// The sunset is past and somebody is left.
    PastSunset,
    /// The books are too young to foretell anything.
    TooEarly,
    /// There is no sunset to be late for.
    NoSunset,
}

impl Fleet {
    /// Accounts of which this is said.
    pub fn count(&self, verdict: Verdict) -> u64 {
        self.verdicts.get(&verdict).map_or(0, |count| count.now)
    }

    /// All accounts that the books know.
    pub fn known(&self) -> u64 {
        self.verdicts.values().map(|count| count.now).sum()
    }

    /// Accounts that come.
    pub fn coming(&self) -> u64 {
        [Verdict::Active, Verdict::Returned, Verdict::Fading].map(|verdict| self.count(verdict)).iter().sum()
    }

    /// Accounts that live in the shared environment, and keep the host from being switched off whatever they do.
    pub fn not_migrated(&self) -> u64 {
        self.count(Verdict::NotMigrated)
    }

    /// Accounts that do not come, and cannot be cut yet.
    pub fn waiting(&self) -> u64 {
        self.count(Verdict::Quiet) + self.count(Verdict::Unknown)
    }

    /// Whether what is not in the books may be believed not to have been.
    pub fn is_complete(&self) -> bool {
        self.coverage.share >= LEAST_COVERAGE
    }

    /// How it stands.
    pub fn state(&self) -> State {
        let is_zero = self.coming() + self.waiting() + self.not_migrated() + self.unattributed == 0;
        match (&self.forecast, self.sunset_at) {
            _ if is_zero && self.is_complete() => State::Zero,
            (_, Some(sunset)) if sunset <= self.generated_at => State::PastSunset,
            (Forecast::TooEarly(_), _) => State::TooEarly,
            (_, None) => State::NoSunset,
            (Forecast::Known(outlook), Some(sunset)) => match outlook.zero.expected {
                Some(day) if day * DAY <= sunset => State::OnPace,
                _ => State::OffPace,
            },
        }
    }

    /// Accounts as they matter: those that come before those that do not, and of these those with the most requests first.
    pub fn by_weight(&self) -> Vec<&FleetAccount> {
        let mut accounts: Vec<_> = self.accounts.iter().collect();
        accounts
            .sort_by_key(|of| (weight(of.judged.verdict), std::cmp::Reverse(of.requests.week), of.account));
        accounts
    }

    /// The accounts with the most requests in the last seven days.
    pub fn top_accounts(&self) -> Vec<&FleetAccount> {
        let mut accounts: Vec<_> = self.accounts.iter().filter(|of| of.requests.week > 0).collect();
        accounts.sort_by_key(|of| (std::cmp::Reverse(of.requests.week), of.account));
        accounts.truncate(TOP_ACCOUNTS);
        accounts
    }
}

impl FleetAccount {
    /// When in the week it comes, all integrations together.
    pub fn hours(&self) -> WeekHours {
        let mut sums = WeekHours::default();
        for (day, counted) in self.details.iter().flat_map(|integration| integration.hours.iter().enumerate())
        {
            for (sum, counted) in sums[day].iter_mut().zip(counted) {
                *sum = sum.saturating_add(*counted);
            }
        }
        sums
    }
}

impl Brownout {
    /// How hard it was, for people.
    pub const fn mode_told(&self) -> &'static str {
        match self.mode {
            BrownoutMode::Observe => "observe",
            BrownoutMode::Soft => "soft (503)",
            BrownoutMode::Hard => "hard (410)",
        }
    }
}

/// The order in which verdicts are of interest to whoever has to write to somebody.
pub const VERDICTS: [Verdict; 8] = [
    Verdict::Active,
    Verdict::Returned,
    Verdict::Fading,
    Verdict::Unknown,
    Verdict::Quiet,
    Verdict::NotMigrated,
    Verdict::Ready,
    Verdict::Cut,
];

fn weight(verdict: Verdict) -> usize {
    VERDICTS.iter().position(|known| *known == verdict).unwrap_or(VERDICTS.len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::made_up::made_up;
    use super::*;

    #[test]
    fn how_it_stands_is_one_word() {
        let fleet = made_up(200);
        let now = fleet.generated_at;
        let check = |change: &dyn Fn(&mut Fleet), expect| {
            let mut fleet = fleet.clone();
            change(&mut fleet);
            assert_eq!(fleet.state(), expect);
        };
        check(&|_| {}, State::OffPace);
        let soon = |fleet: &mut Fleet| {
            let Forecast::Known(outlook) = &mut fleet.forecast else { return };
            outlook.zero.expected = Some(outlook.today + 10);
        };
        check(&soon, State::OnPace);
        check(&|fleet| fleet.sunset_at = Some(now), State::PastSunset);
        check(&|fleet| fleet.sunset_at = None, State::NoSunset);
        check(&|fleet| fleet.forecast = Forecast::TooEarly(2), State::TooEarly);
        let nobody = |fleet: &mut Fleet| {
            fleet.verdicts.retain(|verdict, _| matches!(verdict, Verdict::Ready | Verdict::Cut));
            fleet.unattributed = 0;
        };
        check(&nobody, State::Zero);
        // Requests of nobody may be anybody's, and what is not in the books may have been.
        check(&|fleet| (nobody(fleet), fleet.unattributed = 1).1, State::OffPace);
        let shared = Count { now: 1, week_ago: None };
        check(
            &|fleet| (nobody(fleet), _ = fleet.verdicts.insert(Verdict::NotMigrated, shared)).1,
            State::OffPace,
        );
        check(&|fleet| (nobody(fleet), fleet.coverage.share = 0.99).1, State::OffPace);
    }

    #[test]
    fn who_comes_stands_before_who_does_not_and_the_largest_first() {
        let fleet = made_up(200);
        let keys: Vec<_> = fleet
            .by_weight()
            .iter()
            .map(|of| (weight(of.judged.verdict), std::cmp::Reverse(of.requests.week)))
            .collect();
        assert!(keys.len() == 200 && keys.is_sorted());
        let top: Vec<u64> = fleet.top_accounts().iter().map(|of| of.requests.week).collect();
        assert!(top.len() == TOP_ACCOUNTS && top.is_sorted_by(|a, b| a >= b), "{top:?}");
        assert_eq!(fleet.known(), 200);
    }

    #[test]
    fn the_hours_of_an_account_are_those_of_its_integrations() {
        let mut account = made_up(1).accounts.remove(0);
        account.details.truncate(1);
        account.details.push(account.details[0].clone());
        let hours = account.hours();
        assert_eq!(hours[2][9], account.details[0].hours[2][9] * 2);
        account.details[0].hours[2][9] = u64::MAX;
        assert_eq!(account.hours()[2][9], u64::MAX);
    }
}
