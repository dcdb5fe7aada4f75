//! In which hours of which days somebody was seen, and how regular that is. Days and hours are those of UTC.

use std::fmt;

/// One day on which somebody was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// Days since the Unix epoch.
    pub day: i64,
    /// A bit for each hour, the lowest for the first after midnight.
    pub hours: u32,
    /// Of the whole day.
    pub requests: u64,
}

/// The days on which somebody was seen, each once, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    days: Vec<Day>,
}

/// How often somebody comes. Of who was seen on less than three days nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cadence {
    /// In half of all hours, or more.
    Hourly,
    /// On all days.
    Daily,
    /// On all days from Monday to Friday.
    Weekdays,
    /// Once a week.
    Weekly,
    /// Once a month.
    Monthly,
    /// Once a quarter.
    Quarterly,
    /// None of these.
    Sporadic,
}

/// Days that a cadence is read from.
const LEAST_DAYS: usize = 3;

/// Weekends that somebody must have stayed away from before it counts: two, for the first may have been by chance.
const WEEKENDS: i64 = 2;

impl Activity {
    /// Of nobody yet, with room for so many days.
    pub fn with_room_for(days: usize) -> Self {
        Self { days: Vec::with_capacity(days) }
    }

    /// Somebody was seen so often in this hour (since the Unix epoch). Hours come in any order.
    pub fn add(&mut self, hour: i64, requests: u64) {
        let (day, bit) = (hour.div_euclid(24), 1 << hour.rem_euclid(24));
        self.merge(Day { day, hours: bit, requests });
    }

    /// Somebody was seen on this day, perhaps besides what is known of it.
    pub fn merge(&mut self, of: Day) {
        // Books are read in the order of time.
        if self.days.last().is_none_or(|last| last.day < of.day) {
            return self.days.push(of);
        }
        match self.days.binary_search_by_key(&of.day, |day| day.day) {
            Ok(at) => {
                self.days[at].hours |= of.hours;
                self.days[at].requests = self.days[at].requests.saturating_add(of.requests);
            }
            Err(at) => self.days.insert(at, of),
        }
    }

    /// All days of several.
    pub fn of_all<'a>(several: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut several = several.into_iter();
        let mut all = several.next().cloned().unwrap_or_default();
        for one in several {
            all.days.extend(&one.days);
        }
        // Two sorted runs or more: what sorting by merging is made for.
        all.days.sort_by_key(|day| day.day);
        all.days.dedup_by(|later, earlier| {
            let same = later.day == earlier.day;
            if same {
                earlier.hours |= later.hours;
                earlier.requests = earlier.requests.saturating_add(later.requests);
            }
            same
        });
        all
    }

    /// What was seen until the end of a day.
    pub fn until(&self, day: i64) -> Self {
        Self { days: self.days[..self.days.partition_point(|seen| seen.day <= day)].to_vec() }
    }

    /// The days, in order.
    pub fn days(&self) -> &[Day] {
        &self.days
    }

    /// Requests of these days, the last not among them.
    pub fn requests(&self, days: std::ops::Range<i64>) -> u64 {
        let of = self.days.iter().filter(|day| days.contains(&day.day));
        of.fold(0, |sum, day| sum.saturating_add(day.requests))
    }

    /// All hours of the day in which somebody was ever seen, as a bit each.
    pub fn usual_hours(&self) -> u32 {
        self.days.iter().fold(0, |hours, day| hours | day.hours)
    }

    /// Most days from one that was seen to the next, among those up to `until`; 0 where there are less than two.
    pub fn longest_gap_days(&self, until: i64) -> i64 {
        let seen = self.days.windows(2).take_while(|pair| pair[1].day <= until);
        seen.map(|pair| pair[1].day - pair[0].day).max().unwrap_or(0)
    }

    /// How often somebody comes, by the middle one of the gaps between days.
    pub fn cadence(&self) -> Option<Cadence> {
        if self.days.len() < LEAST_DAYS {
            return None;
        }
        let mut gaps: Vec<i64> = self.days.windows(2).map(|pair| pair[1].day - pair[0].day).collect();
        gaps.sort_unstable();
        Some(match gaps[gaps.len() / 2] {
            ..=1 if self.hours_a_day() >= 12 => Cadence::Hourly,
            ..=1 if self.has_free_weekends() => Cadence::Weekdays,
            ..=1 => Cadence::Daily,
            6..=8 => Cadence::Weekly,
            // The last Friday of a month is up to five weeks after the one before.
            27..=35 => Cadence::Monthly,
            85..=98 => Cadence::Quarterly,
            _ => Cadence::Sporadic,
        })
    }

    fn hours_a_day(&self) -> u32 {
        let hours: u32 = self.days.iter().map(|day| day.hours.count_ones()).sum();
        hours / u32::try_from(self.days.len()).unwrap_or(u32::MAX).max(1)
    }

    fn has_free_weekends(&self) -> bool {
        let (Some(first), Some(last)) = (self.days.first(), self.days.last()) else { return false };
        last.day - first.day >= WEEKENDS * 7 && self.days.iter().all(|day| !is_weekend(day.day))
    }
}

impl Cadence {
    /// Days from one visit to the next.
    pub const fn period_days(self) -> i64 {
        match self {
            Self::Hourly | Self::Daily => 1,
            // From Friday to Monday.
            Self::Weekdays => 3,
            Self::Weekly | Self::Sporadic => 7,
            Self::Monthly => 31,
            Self::Quarterly => 92,
        }
    }

    /// Name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekdays => "weekdays",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Quarterly => "quarterly",
            Self::Sporadic => "sporadic",
        }
    }
}

impl fmt::Display for Cadence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The Unix epoch was a Thursday.
fn is_weekend(day: i64) -> bool {
    matches!((day + 4).rem_euclid(7), 0 | 6)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Friday, 20 November 2026.
    const FRIDAY: i64 = 20_777;

    fn on(days: impl IntoIterator<Item = i64>, hours: std::ops::Range<i64>) -> Activity {
        let mut activity = Activity::default();
        for day in days {
            hours.clone().for_each(|hour| activity.add(day * 24 + hour, 1));
        }
        activity
    }

    #[test]
    fn hours_come_in_any_order_and_each_day_is_there_once() {
        let mut activity = Activity::default();
        for (hour, requests) in [(49, 1), (1, 2), (49, 3), (25, 4), (47, 5)] {
            activity.add(hour, requests);
        }
        let days = [
            Day { day: 0, hours: 0b10, requests: 2 },
            Day { day: 1, hours: 1 << 23 | 0b10, requests: 9 },
            Day { day: 2, hours: 0b10, requests: 4 },
        ];
        assert_eq!(activity.days(), days);
        assert_eq!((activity.requests(1..3), activity.usual_hours()), (13, 1 << 23 | 0b10));
        assert_eq!(Activity::of_all([&activity, &activity]).requests(0..9), 30);
    }

    #[test]
    fn the_longest_gap_is_of_what_was_seen_until_then() {
        let activity = on([0, 31, 33, 95], 9..10);
        for (until, expect) in [(30, 0), (31, 31), (94, 31), (95, 62)] {
            assert_eq!(activity.longest_gap_days(until), expect, "{until}");
        }
    }

    #[test]
    fn what_is_regular_has_a_name() {
        let weekdays = (FRIDAY..FRIDAY + 21).filter(|day| !is_weekend(*day));
        for (activity, expect) in [
            (on(FRIDAY..FRIDAY + 9, 0..24), Some(Cadence::Hourly)),
            (on(FRIDAY..FRIDAY + 9, 3..4), Some(Cadence::Daily)),
            (on(weekdays, 3..4), Some(Cadence::Weekdays)),
            (on((0..5).map(|week| week * 7), 3..4), Some(Cadence::Weekly)),
            (on([0, 31, 59, 90], 3..4), Some(Cadence::Monthly)),
            (on([0, 92, 182], 3..4), Some(Cadence::Quarterly)),
            (on([0, 3, 17, 20, 60], 3..4), Some(Cadence::Sporadic)),
            (on([0, 31], 3..4), None),
        ] {
            assert_eq!(activity.cadence(), expect, "{activity:?}");
        }
    }
}
