//! Verdicts on who still uses a legacy host, day after day over years: clients that come hourly, daily, weekly, monthly and
//! quarterly, holidays, restarts, and books that were not kept for a while.

use std::ops::Range;

use cellgate::policy::legacy_use::activity::{Activity, Cadence};
use cellgate::policy::legacy_use::coverage::Coverage;
use cellgate::policy::legacy_use::verdict::{Judgement, LONGEST_WINDOW, Subject, Verdict, judge};
use fastrand::Rng;

use super::clients::{Seed, seeds};

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

/// 1 January 2026, in days since the Unix epoch: a Thursday.
const BEGIN: i64 = 20_454;

/// Two years are watched, neither of them a leap year.
const YEARS: i64 = 2;
const MONTHS: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// As many days as the books keep.
const KEPT: i64 = 200;

/// When somebody comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    Hourly,
    Daily,
    Weekdays,
    /// On one day of the week; each eighth time it does not (a holiday).
    Weekly,
    /// On the first of the month.
    FirstOfMonth,
    LastOfMonth,
    /// On the last Friday of the month, which is up to five weeks after the one before.
    LastFriday,
    FirstMonday,
    Every30Days,
    Every60Days,
    Quarterly,
}

const MONTHLY: [Habit; 5] =
    [Habit::FirstOfMonth, Habit::LastOfMonth, Habit::LastFriday, Habit::FirstMonday, Habit::Every30Days];

/// Whom to watch.
struct Client {
    habit: Habit,
    hour: i64,
    phase: i64,
    /// Comes on these days, since [`BEGIN`].
    lives: Range<i64>,
}

impl Client {
    fn new(habit: Habit, lives: Range<i64>, rng: &mut Rng) -> Self {
        Self { habit, hour: rng.i64(0..24), phase: rng.i64(0..365), lives }
    }

    /// The hours of this day, since [`BEGIN`], in which it comes.
    fn hours(&self, day: i64) -> Range<i64> {
        let (month, of_month) = date(day);
        let left = MONTHS[month] - 1 - of_month;
        let weekday = (BEGIN + day + 4).rem_euclid(7);
        let comes = match self.habit {
            Habit::Hourly => return if self.lives.contains(&day) { 0..24 } else { 0..0 },
            Habit::Daily => true,
            Habit::Weekdays => (1..=5).contains(&weekday),
            Habit::Weekly => weekday == self.phase % 7 && day / 7 % 8 != self.phase % 8,
            Habit::FirstOfMonth => of_month == 0,
            Habit::LastOfMonth => left == 0,
            Habit::LastFriday => weekday == 5 && left < 7,
            Habit::FirstMonday => weekday == 1 && of_month < 7,
            Habit::Every30Days => day % 30 == self.phase % 30,
            Habit::Every60Days => day % 60 == self.phase % 60,
            Habit::Quarterly => of_month == 0 && month % 3 == 0,
        };
        if comes && self.lives.contains(&day) { self.hour..self.hour + 1 } else { 0..0 }
    }
}

/// Month and day of the month, both from 0.
fn date(day: i64) -> (usize, i64) {
    let mut left = day.rem_euclid(365);
    for (month, days) in MONTHS.into_iter().enumerate() {
        if left < days {
            return (month, left);
        }
        left -= days;
    }
    unreachable!("a year has 365 days")
}

/// What is said of an account with these clients at the end of each day, from the first visit on.
fn watch(clients: &[Client], coverage: &Coverage) -> Vec<(i64, Judgement)> {
    let mut seen = vec![Activity::default(); clients.len()];
    let (mut last_seen, mut said) = (None, Vec::new());
    for day in 0..YEARS * 365 {
        for (client, seen) in clients.iter().zip(&mut seen) {
            for hour in client.hours(day) {
                let at = (BEGIN + day) * 24 + hour;
                // What came while nobody looked is not in the books.
                if coverage.share(at * HOUR, (at + 1) * HOUR) > 0.5 {
                    seen.add(at, 3);
                    last_seen = last_seen.max(Some(at * HOUR + HOUR / 2));
                }
            }
        }
        let oldest = BEGIN + day - KEPT;
        let kept = |all: &Activity| {
            let mut kept = Activity::default();
            for day in all.days().iter().filter(|day| day.day >= oldest) {
                let hours = (0..24).filter(|hour| day.hours & 1 << hour != 0);
                hours.for_each(|hour| kept.add(day.day * 24 + hour, 3));
            }
            kept
        };
        let kept: Vec<Activity> = seen.iter().map(kept).collect();
        if let Some(last_seen) = last_seen.filter(|_| kept.iter().any(|one| !one.days().is_empty())) {
            let subject = Subject { integrations: &kept, last_seen, cut_at: None, is_migrated: true };
            said.push((day, judge(&subject, coverage, (BEGIN + day + 1) * DAY)));
        }
    }
    said
}

/// All of both years but the restarts of each day, of a few seconds.
fn with_restarts() -> Coverage {
    let restarts = (0..YEARS * 365).map(|day| ((BEGIN + day) * DAY + 100, (BEGIN + day) * DAY + 105));
    Coverage::new(vec![((BEGIN - 400) * DAY, (BEGIN + YEARS * 365 + 1) * DAY)], restarts.collect())
}

fn ready_days(said: &[(i64, Judgement)]) -> Vec<i64> {
    said.iter().filter(|(_, judged)| judged.verdict == Verdict::Ready).map(|(day, _)| *day).collect()
}

#[test]
fn nobody_who_comes_once_a_month_is_ready_while_they_live_and_all_are_when_they_are_gone() {
    let often = [Habit::Hourly, Habit::Daily, Habit::Weekdays, Habit::Weekly];
    for seed in seeds(4) {
        let (replay, mut rng) = (Seed(seed), Rng::with_seed(seed));
        for habit in often.into_iter().chain(MONTHLY) {
            let lives = rng.i64(0..60)..rng.i64(300..500);
            let clients = [Client::new(habit, lives.clone(), &mut rng)];
            let said = watch(&clients, &with_restarts());
            let ready = ready_days(&said);
            let first = *ready.first().expect("gone for more than half a year");
            assert!(first >= lives.end, "{habit:?}, alive until {}: ready on {first}", lives.end);
            // The last visit is a month before the end of its life, at most.
            assert!(first <= lives.end + LONGEST_WINDOW, "{habit:?}: ready on {first} only");
            // By the day that was told, all of them are. (A silence that the books forget makes it sooner.)
            for (day, judged) in said.iter().filter(|(day, _)| *day < first && *day >= lives.end) {
                let promised = judged.ready_at.expect("not ready yet") - BEGIN * DAY;
                assert!(promised > first * DAY, "{habit:?} on {day}");
            }
        }
        drop(replay);
    }
}

#[test]
fn who_comes_each_second_month_is_not_hidden_by_who_comes_all_the_time() {
    for seed in seeds(8) {
        let (replay, mut rng) = (Seed(seed), Rng::with_seed(seed));
        let busy = Client::new(Habit::Hourly, 0..200, &mut rng);
        let rare = Client::new(Habit::Every60Days, 0..450, &mut rng);
        let said = watch(&[busy, rare], &with_restarts());
        let first = *ready_days(&said).first().expect("both are gone");
        assert!(first >= 450, "ready on {first}");
        drop(replay);
    }
}

#[test]
fn who_comes_once_a_quarter_is_ready_once_and_never_again_after_they_returned() {
    for seed in seeds(4) {
        let (replay, mut rng) = (Seed(seed), Rng::with_seed(seed));
        let said = watch(&[Client::new(Habit::Quarterly, 0..730, &mut rng)], &with_restarts());
        // One silence of a quarter must be seen before the next can be expected.
        assert!(ready_days(&said).into_iter().all(|day| day < 90), "{:?}", ready_days(&said));
        let returned = said.iter().find(|(_, judged)| judged.verdict == Verdict::Returned);
        assert_eq!(returned.map(|(day, _)| *day), Some(90), "on the first of April");
        assert!(said.iter().any(|(_, judged)| judged.cadence == Some(Cadence::Quarterly)));
        drop(replay);
    }
}

#[test]
fn books_with_a_hole_make_nobody_ready() {
    for seed in seeds(4) {
        let (replay, mut rng) = (Seed(seed), Rng::with_seed(seed));
        for habit in [Habit::Hourly, Habit::Daily, Habit::Weekdays, Habit::Weekly].into_iter().chain(MONTHLY)
        {
            // Ten weeks of which the books know nothing.
            let from = rng.i64(200..400);
            let kept = vec![(0, (BEGIN + from) * DAY), ((BEGIN + from + 70) * DAY, (BEGIN + 731) * DAY)];
            let said = watch(&[Client::new(habit, 0..730, &mut rng)], &Coverage::new(kept, Vec::new()));
            assert!(ready_days(&said).is_empty(), "{habit:?}, not kept from {from} on");
            assert!(said.iter().any(|(_, judged)| judged.verdict == Verdict::Unknown), "{habit:?}");
        }
        drop(replay);
    }
}
