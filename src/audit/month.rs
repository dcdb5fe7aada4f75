//! Calendar months, in UTC: each has a file of the books, so that old ones go by being deleted. A full disk cannot free
//! anything inside a database, but it can lose a file.

use std::fmt;
use std::path::{Path, PathBuf};

use time::{Date, Month as Name};

/// Days since the Unix epoch of 1970-01-01 in the count of `time`.
const EPOCH: i64 = 2_440_588;

/// A month of a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Month {
    year: i32,
    /// 1 to 12.
    month: u8,
}

impl Month {
    /// The month in which a day lies (days since the Unix epoch). Days beyond the years that a calendar has, which no clock
    /// of ours says, are taken to be of the first.
    pub fn of_day(day: i64) -> Self {
        let date =
            i32::try_from(day.saturating_add(EPOCH)).ok().and_then(|day| Date::from_julian_day(day).ok());
        let date = date.unwrap_or(Date::MIN);
        Self { year: date.year(), month: date.month().into() }
    }

    /// The month in which a moment lies (Unix seconds).
    pub fn of(seconds: i64) -> Self {
        Self::of_day(seconds.div_euclid(86_400))
    }

    /// Its first day, in days since the Unix epoch.
    pub fn first_day(self) -> i64 {
        let name = Name::try_from(self.month).expect("a month is made of a date");
        let date = Date::from_calendar_date(self.year, name, 1).expect("each month has a first day");
        i64::from(date.to_julian_day()) - EPOCH
    }

    /// The one after it.
    pub fn next(self) -> Self {
        // No month is longer than 31 days, and none shorter than 28.
        Self::of_day(self.first_day() + 31)
    }

    /// Its seconds, from the first to the first of the next month (Unix seconds).
    pub fn seconds(self) -> std::ops::Range<i64> {
        self.first_day() * 86_400..self.next().first_day() * 86_400
    }

    /// Its file in a folder.
    pub fn file(self, folder: &Path) -> PathBuf {
        folder.join(format!("{FILE_PREFIX}{self}{FILE_SUFFIX}"))
    }

    /// The month of a file, by its name; `None` where it is none of the books.
    pub fn of_file(name: &str) -> Option<Self> {
        Self::of_name(name.strip_prefix(FILE_PREFIX)?.strip_suffix(FILE_SUFFIX)?)
    }

    /// Of the text that it prints as.
    pub fn of_name(name: &str) -> Option<Self> {
        let (year, month) = name.split_once('-')?;
        let digits =
            |text: &str, many: usize| text.len() == many && text.bytes().all(|byte| byte.is_ascii_digit());
        let found = Self { year: year.parse().ok()?, month: month.parse().ok()? };
        (digits(year, 4) && digits(month, 2) && (1..=12).contains(&found.month)).then_some(found)
    }
}

/// How the name of a month's file begins and ends; in between is the month.
pub(super) const FILE_PREFIX: &str = "books-";
const FILE_SUFFIX: &str = ".sqlite";

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_has_its_days_and_its_file() {
        for (day, text, first, next) in [
            (0, "1970-01", 0, "1970-02"),
            (20_777, "2026-11", 20_758, "2026-12"),
            (20_818, "2026-12", 20_788, "2027-01"),
            (21_243, "2028-02", 21_215, "2028-03"),
        ] {
            let month = Month::of_day(day);
            let said = (month.to_string(), month.first_day(), month.next().to_string());
            assert_eq!(said, (text.to_owned(), first, next.to_owned()));
            let file = month.file(Path::new("state"));
            assert_eq!(file, Path::new(&format!("state/books-{text}.sqlite")));
            assert_eq!(file.file_name().and_then(|name| Month::of_file(name.to_str()?)), Some(month));
        }
        let november = Month::of(1_795_168_800).seconds();
        assert!(november.contains(&1_795_168_800) && (november.end - november.start) == 30 * 86_400);
    }

    #[test]
    fn other_files_are_no_months() {
        for name in [
            "books.sqlite",
            "books-2026-13.sqlite",
            "books-2026-00.sqlite",
            "books-2026-1.sqlite",
            "books-+026-11.sqlite",
            "books-2026-11.sqlite-wal",
            "books-2026-11.sqlite.damaged-7",
        ] {
            assert_eq!(Month::of_file(name), None, "{name}");
        }
    }

    #[test]
    fn days_beyond_all_calendars_have_a_month_too() {
        assert_eq!(Month::of_day(i64::MAX), Month::of_day(i64::MIN));
    }
}
