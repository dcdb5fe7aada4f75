//! When a brownout would reach whom: windows of one length ranked by the accounts that call in them against the writes that
//! they hit. Plain functions on what the books have counted by hour of the week; which accounts those are is the caller's.
//!
//! What is ranked is an estimate: that next week is like those that were counted.

use super::ids::AccountId;

/// Hours of a week, from Monday 00:00 UTC.
pub const HOURS: usize = 168;

const HOUR_S: i64 = 3_600;

/// Windows that are ranked at most: all hours of eight weeks. Whoever looks further ahead knows less than last month's books.
pub const MOST_WINDOWS: usize = 8 * HOURS;

/// What one account does on legacy hosts, by hour of the week, over all weeks that were counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Which account.
    pub account: AccountId,
    /// Requests.
    pub requests: [u32; HOURS],
    /// Those of them that are writes.
    pub writes: [u32; HOURS],
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The first second that a window may begin at, since the Unix epoch.
    pub from: i64,
    /// The first second that no window may reach.
    pub until: i64,
    /// How long a window lasts, in seconds; begun hours count as whole ones.
    pub length_s: i64,
    /// How many weeks were counted; at least one.
    pub weeks: u32,
    /// No window with more writes than this, expected of it.
    pub most_writes: Option<u64>,
}

/// One window that could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// When it begins, on a whole hour.
    pub start: i64,
    /// When it ends.
    pub end: i64,
    /// Accounts that have called in its hours of the week.
    pub reached: usize,
    /// Requests that it would hit, by the average of the weeks, rounded up.
    pub requests: u64,
    /// Writes that it would hit, likewise.
    pub writes: u64,
}

/// An account that a choice of windows does not reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unnoticed {
    /// Which.
    pub account: AccountId,
    /// When it calls instead.
    pub habit: Habit,
}

/// When an account calls, as far as that tells which second window would reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Habit {
    /// Only between 22:00 and 06:00 UTC: nightly jobs.
    Nights,
    /// Only on Saturdays and Sundays.
    Weekends,
    /// Not more than two hours of the week.
    Rarely {
        /// The hour of the week in which it calls most.
        hour: u8,
    },
    /// Anything else.
    Otherwise {
        /// The hour of the week in which it calls most.
        hour: u8,
    },
    /// Never, in the weeks that were counted.
    Never,
}

/// All windows, the best first: those that reach most accounts; of equal ones the one that hits fewest writes, then fewest
/// requests, then the earliest.
pub fn rank(activities: &[Activity], wanted: &Wanted) -> Vec<Candidate> {
    let hours = hours_of(wanted);
    let totals = Totals::of(activities);
    let mut candidates: Vec<Candidate> = starts(wanted)
        .map(|start| {
            let first = hour_of_week(start);
            let average = |counts: &[u64; HOURS]| {
                let sum: u64 = (0..hours).map(|hour| counts[(first + hour) % HOURS]).sum();
                sum.div_ceil(u64::from(wanted.weeks.max(1)))
            };
            let reached = activities.iter().filter(|activity| activity.calls_in(first, hours)).count();
            let (requests, writes) = (average(&totals.requests), average(&totals.writes));
            Candidate { start, end: start + wanted.length_s, reached, requests, writes }
        })
        .filter(|candidate| wanted.most_writes.is_none_or(|most| candidate.writes <= most))
        .collect();
    candidates.sort_by_key(|c| (std::cmp::Reverse(c.reached), c.writes, c.requests, c.start));
    candidates
}

/// Who would not notice any of these windows, and when they would, by account.
pub fn unnoticed(activities: &[Activity], windows: &[Candidate]) -> Vec<Unnoticed> {
    let reaches = |activity: &Activity, window: &Candidate| {
        activity.calls_in(hour_of_week(window.start), hours_between(window.end - window.start))
    };
    let missed = activities.iter().filter(|activity| !windows.iter().any(|window| reaches(activity, window)));
    let mut missed: Vec<Unnoticed> =
        missed.map(|activity| Unnoticed { account: activity.account, habit: activity.habit() }).collect();
    missed.sort_by_key(|missed| missed.account);
    missed
}

/// A window to add to those that are chosen: the one that reaches most of whom none of them reaches. `None` where none
/// reaches anybody more.
pub fn next_to(activities: &[Activity], chosen: &[Candidate], wanted: &Wanted) -> Option<Candidate> {
    let missed = unnoticed(activities, chosen);
    let left: Vec<Activity> = activities
        .iter()
        .filter(|activity| missed.iter().any(|missed| missed.account == activity.account))
        .cloned()
        .collect();
    let best = rank(&left, &Wanted { most_writes: None, ..*wanted }).into_iter();
    // Of those alone it is chosen; what it hits, it hits of all.
    let whole = rank(activities, wanted);
    best.filter(|best| best.reached > 0)
        .find_map(|best| whole.iter().find(|candidate| candidate.start == best.start).copied())
}

impl Activity {
    fn calls_in(&self, first: usize, hours: usize) -> bool {
        (0..hours).any(|hour| self.requests[(first + hour) % HOURS] > 0)
    }

    fn habit(&self) -> Habit {
        let active: Vec<usize> = (0..HOURS).filter(|hour| self.requests[*hour] > 0).collect();
        // The first of equal ones.
        let busiest = active.iter().copied().min_by_key(|hour| std::cmp::Reverse(self.requests[*hour]));
        let Some(busiest) = busiest else { return Habit::Never };
        let hour = u8::try_from(busiest).unwrap_or(u8::MAX);
        let is_night = |hour: &usize| !(6..22).contains(&(hour % 24));
        let is_weekend = |hour: &usize| hour / 24 >= 5;
        if active.len() <= 2 {
            Habit::Rarely { hour }
        } else if active.iter().all(is_night) {
            Habit::Nights
        } else if active.iter().all(is_weekend) {
            Habit::Weekends
        } else {
            Habit::Otherwise { hour }
        }
    }
}

/// The hour of the week of a moment, from Monday 00:00 UTC.
pub fn hour_of_week(moment: i64) -> usize {
    // 1 January 1970 was a Thursday: three days after a Monday.
    let hours = moment.div_euclid(HOUR_S) + 3 * 24;
    usize::try_from(hours.rem_euclid(HOURS as i64)).expect("a remainder is not negative")
}

/// What all accounts do together.
struct Totals {
    requests: [u64; HOURS],
    writes: [u64; HOURS],
}

impl Totals {
    fn of(activities: &[Activity]) -> Self {
        let mut totals = Self { requests: [0; HOURS], writes: [0; HOURS] };
        for activity in activities {
            for hour in 0..HOURS {
                totals.requests[hour] += u64::from(activity.requests[hour]);
                totals.writes[hour] += u64::from(activity.writes[hour]);
            }
        }
        totals
    }
}

/// Whole hours at which a window may begin.
fn starts(wanted: &Wanted) -> impl Iterator<Item = i64> {
    let first = wanted.from.div_euclid(HOUR_S) + i64::from(wanted.from.rem_euclid(HOUR_S) > 0);
    let (until, length) = (wanted.until, wanted.length_s);
    (first..).map(|hour| hour * HOUR_S).take_while(move |start| start + length <= until).take(MOST_WINDOWS)
}

fn hours_of(wanted: &Wanted) -> usize {
    hours_between(wanted.length_s)
}

/// A window that is longer than a week has every hour once.
fn hours_between(length_s: i64) -> usize {
    usize::try_from(length_s.max(1)).unwrap_or(usize::MAX).div_ceil(HOUR_S.unsigned_abs() as usize).min(HOURS)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::test_snapshot::account;

    /// Monday, 23 November 2026, 00:00 UTC.
    const MONDAY: i64 = 1_795_392_000;

    /// Requests, and writes among them, in these hours of the week.
    fn activity(id: u64, hours: impl IntoIterator<Item = usize>, requests: u32, writes: u32) -> Activity {
        let mut activity = Activity { account: account(id), requests: [0; HOURS], writes: [0; HOURS] };
        for hour in hours {
            (activity.requests[hour], activity.writes[hour]) = (requests, writes);
        }
        activity
    }

    fn wanted(days: i64) -> Wanted {
        let (from, until) = (MONDAY, MONDAY + days * 86_400);
        Wanted { from, until, length_s: HOUR_S, weeks: 4, most_writes: None }
    }

    fn each_day(hours: std::ops::Range<usize>) -> impl Iterator<Item = usize> {
        (0..7).flat_map(move |day| hours.clone().map(move |hour| day * 24 + hour))
    }

    #[test]
    fn a_week_begins_on_monday() {
        assert_eq!(hour_of_week(MONDAY), 0);
        assert_eq!(hour_of_week(MONDAY - 1), HOURS - 1);
        assert_eq!(hour_of_week(MONDAY + 26 * HOUR_S + 7), 26);
        assert_eq!(hour_of_week(0), 72, "a Thursday");
    }

    #[test]
    fn the_window_that_reaches_most_and_hits_fewest_writes_is_first() {
        let all = [
            activity(1, each_day(8..18), 40, 4),
            activity(2, each_day(8..18), 40, 0),
            // On Tuesdays at ten nobody writes much.
            activity(3, [34, 35], 8, 0),
            activity(4, each_day(2..3), 400, 400),
        ];
        let mut all = all.to_vec();
        all[0].writes[34] = 0;
        let ranked = rank(&all, &wanted(5));
        assert_eq!(ranked.len(), 5 * 24);
        let best = ranked[0];
        assert_eq!((best.start, best.reached), (MONDAY + 34 * HOUR_S, 3));
        assert_eq!((best.requests, best.writes), (22, 0), "the average of four weeks");
        assert_eq!((ranked[1].start, ranked[1].writes), (MONDAY + 35 * HOUR_S, 1));
        assert_eq!(ranked.last().unwrap().reached, 0);
        let gentle = rank(&all, &Wanted { most_writes: Some(0), ..wanted(5) });
        assert!(gentle.iter().all(|window| window.writes == 0));
        assert!(!gentle.is_empty() && gentle.len() < ranked.len());
    }

    #[test]
    fn windows_lie_whole_in_their_range_and_over_the_end_of_a_week() {
        let all = [activity(1, [0], 4, 0), activity(2, [HOURS - 1], 4, 0)];
        let (from, until) = (MONDAY + 6 * 86_400 + 1, MONDAY + 8 * 86_400);
        let of = |length_s| rank(&all, &Wanted { from, until, length_s, ..wanted(0) });
        let both = of(2 * HOUR_S);
        assert_eq!((both[0].start, both[0].reached), (MONDAY + (HOURS as i64 - 1) * HOUR_S, 2));
        assert!(both.iter().all(|window| window.start >= from && window.end <= until), "{both:?}");
        assert_eq!(both.len(), 46, "the first whole hour is one");
        // Ten minutes hit what their hour does, at most.
        assert_eq!(of(600)[0].reached, 1);
        assert_eq!(of(86_400 * 3), [], "longer than the range");
        assert_eq!(rank(&all, &Wanted { until: i64::MAX / 2, ..wanted(0) }).len(), MOST_WINDOWS);
        assert_eq!(rank(&[], &wanted(1))[0].reached, 0);
    }

    #[test]
    fn who_does_not_notice_is_told_with_what_would_reach_them() {
        let all = [
            activity(5, each_day(4..18), 1, 0),
            activity(4, each_day(2..4), 9, 9),
            activity(3, each_day(8..18).filter(|hour| hour / 24 >= 5), 1, 0),
            activity(2, [100], 1, 1),
            activity(1, [], 0, 0),
            activity(6, 100..110, 1, 0),
        ];
        let window = rank(&all, &wanted(1)).into_iter().find(|window| window.start == MONDAY + 9 * HOUR_S);
        let window = window.unwrap();
        let missed = unnoticed(&all, &[window]);
        let told: Vec<(u64, Habit)> =
            missed.iter().map(|missed| (missed.account.value(), missed.habit)).collect();
        let expect = [
            (1, Habit::Never),
            (2, Habit::Rarely { hour: 100 }),
            (3, Habit::Weekends),
            (4, Habit::Nights),
            (6, Habit::Otherwise { hour: 100 }),
        ];
        assert_eq!(told, expect);

        let second = next_to(&all, &[window], &wanted(7)).unwrap();
        assert_eq!(hour_of_week(second.start), 100, "two of the missed call then");
        assert_eq!(second.reached, 3, "of all, and not of the missed alone");
        let mut chosen = vec![window];
        while let Some(next) = next_to(&all, &chosen, &wanted(7)) {
            chosen.push(next);
            assert!(chosen.len() < 10, "each reaches somebody more");
        }
        assert_eq!(unnoticed(&all, &chosen).len(), 1, "only who never calls");
    }
}
