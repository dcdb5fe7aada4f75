//! Points in time as people and machines read them: RFC 3339 in UTC, and Unix seconds. Formats what it
//! is given; reads no clock.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// RFC 3339 with milliseconds: `2026-11-20T10:04:00.123Z`.
#[derive(Clone, Copy, Debug)]
pub struct Millis(pub SystemTime);

/// RFC 3339 to the second: `2026-11-20T10:04:00Z`.
#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub SystemTime);

/// Writes one point in time after another, as [`Millis`] does. Most are in the second of the one before, whose text is kept: a
/// date takes as long as half a line of the access log.
#[derive(Debug)]
pub struct Stamps {
    second: u64,
    text: [u8; 24],
}

/// Whole seconds since the Unix epoch; 0 for anything before it.
pub fn unix_seconds(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The point in time of a Unix second; the epoch for anything before it.
pub fn from_unix_seconds(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

impl Millis {
    fn digits(self) -> [u8; 24] {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        write_seconds(&mut text, since.as_secs());
        write_digits(&mut text[20..23], since.subsec_millis().into());
        text
    }
}

impl Seconds {
    fn digits(self) -> [u8; 20] {
        let mut text = *b"0000-00-00T00:00:00Z";
        write_seconds(&mut text, self.0.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs());
        text
    }
}

impl Default for Stamps {
    fn default() -> Self {
        Self { second: 0, text: Millis(UNIX_EPOCH).digits() }
    }
}

impl Stamps {
    /// The text, as ASCII.
    pub fn millis(&mut self, at: SystemTime) -> &[u8; 24] {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if since.as_secs() == self.second {
            write_digits(&mut self.text[20..23], since.subsec_millis().into());
        } else {
            (self.second, self.text) = (since.as_secs(), Millis(at).digits());
        }
        &self.text
    }
}

/// What `digits` gave, as text.
fn text_of(digits: &[u8]) -> &str {
    std::str::from_utf8(digits).expect("digits are ASCII")
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text_of(&self.digits()))
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text_of(&self.digits()))
    }
}

/// Into `0000-00-00T00:00:00`, with whatever follows. Years after 9999 keep their last four digits.
fn write_seconds(text: &mut [u8], seconds: u64) {
    let (year, month, day) = civil(seconds / 86_400);
    write_digits(&mut text[..4], year);
    let parts = [month, day, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60];
    for (place, part) in [5, 8, 11, 14, 17].into_iter().zip(parts) {
        write_digits(&mut text[place..place + 2], part);
    }
}

fn write_digits(text: &mut [u8], mut number: u64) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Year, month and day of a day number since 1970-01-01, in the proleptic Gregorian calendar (Howard
/// Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    // Years begin in March, so that the leap day is the last of its year; eras have 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_points_in_time() {
        let check = |millis: u64, expect: &str| {
            let at = UNIX_EPOCH + Duration::from_millis(millis);
            assert_eq!(Millis(at).to_string(), expect);
            assert_eq!(Seconds(at).to_string(), format!("{}Z", &expect[..19]));
        };
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_399_999, "2000-02-28T23:59:59.999Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(1_793_491_200_000, "2026-11-01T00:00:00.000Z");
        check(1_709_251_199_001, "2024-02-29T23:59:59.001Z");
        check(4_102_444_800_000, "2100-01-01T00:00:00.000Z");
        // 2100 is no leap year.
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn a_clock_before_the_epoch_is_the_epoch() {
        assert_eq!(Millis(UNIX_EPOCH - Duration::from_secs(1)).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(from_unix_seconds(-1), UNIX_EPOCH);
    }

    #[test]
    fn stamps_are_the_same_text_whatever_was_stamped_before() {
        let mut stamps = Stamps::default();
        for millis in [0, 7, 999, 1_000, 999, 1_709_251_199_001, 1_709_251_199_999, 1_709_251_200_000, 1] {
            let at = UNIX_EPOCH + Duration::from_millis(millis);
            assert_eq!(text_of(stamps.millis(at)), Millis(at).to_string());
        }
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(text_of(stamps.millis(before)), Millis(before).to_string());
    }

    #[test]
    fn agrees_with_the_http_date_of_every_day_of_an_era() {
        for day in (0..146_097u64).step_by(7) {
            let at = UNIX_EPOCH + Duration::from_secs(day * 86_400);
            // httpdate ends with the year 9999, the era with 2370.
            let (year, month, date) = civil(day);
            let http = httpdate::fmt_http_date(at);
            assert_eq!(http[5..7].parse(), Ok(date), "{http}");
            assert_eq!(http[12..16].parse(), Ok(year), "{http}");
            let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
            assert_eq!(months.find(&http[8..11]), Some((month as usize - 1) * 3), "{http}");
        }
    }
}
