//! Times as they are written in the configuration: spans (`10s`) and moments (RFC 3339, UTC only).
//! Reads no clock.

use std::time::Duration;

pub use crate::policy::calendar::{show_day, show_moment};

/// Seconds in a day without leap second, as Unix time counts them.
const DAY: i64 = 86_400;

/// Reads a whole number with a unit: `ms`, `s`, `m`, `h` or `d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    // A leading zero is a slip of the fingers in `05m` and an octal number to some readers.
    if number.is_empty() || (number.len() > 1 && number.starts_with('0')) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    let millis_each = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis_each).map(Duration::from_millis)
}

/// Writes a span in the largest unit that says it whole.
pub fn show_duration(span: Duration) -> String {
    let millis = span.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    for (unit, each) in units {
        if millis.is_multiple_of(each) {
            return format!("{}{unit}", millis / each);
        }
    }
    format!("{millis}ms")
}

/// Reads `2026-11-01T00:00:00Z` (RFC 3339 section 5.6, offset `Z` only) as seconds since the Unix epoch.
/// Years before 1970 are refused: no address was deprecated then, but a missing digit looks like it.
pub fn parse_moment(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != "2026-11-01T00:00:00Z".len() || bytes[19] != b'Z' {
        return None;
    }
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|(at, separator)| bytes[*at] != *separator) {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = &bytes[from..to];
        let value = digits.iter().fold(0, |n, b| n * 10 + i64::from(b.wrapping_sub(b'0')));
        digits.iter().all(u8::is_ascii_digit).then_some(value)
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let real = year >= 1970
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    real.then(|| days_since_epoch(year, month, day) * DAY + hour * 3_600 + minute * 60 + second)
}

/// The same with an offset from UTC in place of `Z`, too: `2026-11-24T09:00:00-05:00`.
pub fn parse_moment_with_offset(text: &str) -> Option<i64> {
    let Some((local, offset)) = text.len().checked_sub(6).and_then(|at| text.split_at_checked(at)) else {
        return parse_moment(text);
    };
    let (sign, hours, minutes) = match offset.as_bytes() {
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => (*sign, &offset[1..3], &offset[4..6]),
        _ => return parse_moment(text),
    };
    let digits = |text: &str, below: i64| -> Option<i64> {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?.filter(|n| *n < below)
    };
    let seconds = digits(hours, 24)? * 3_600 + digits(minutes, 60)? * 60;
    let local = parse_moment(&format!("{local}Z"))?;
    Some(if sign == b'+' { local - seconds } else { local + seconds })
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar. Years begin in March here, so that the leap
/// day comes last (the algorithm of Howard Hinnant's `days_from_civil`).
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_numbers_with_a_unit() {
        let check = |text: &str, expect: Option<u64>| {
            assert_eq!(parse_duration(text), expect.map(Duration::from_millis), "{text:?}");
            if let Some(span) = parse_duration(text) {
                assert_eq!(parse_duration(&show_duration(span)), Some(span), "{text:?}");
            }
        };
        check("0s", Some(0));
        check("500ms", Some(500));
        check("90s", Some(90_000));
        check("5m", Some(300_000));
        check("2h", Some(7_200_000));
        check("30d", Some(2_592_000_000));
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "1 s",
            "10S",
            "05m",
            "1w",
            "99999999999999999999s",
            "9999999999999999999d",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn moments_are_rfc_3339_in_utc() {
        let check = |text: &str, expect: Option<i64>| {
            assert_eq!(parse_moment(text), expect, "{text:?}");
            if let Some(seconds) = expect {
                assert_eq!(show_moment(seconds), text);
            }
        };
        // From `date -u -d ... +%s`.
        check("1970-01-01T00:00:00Z", Some(0));
        check("2026-02-01T00:00:00Z", Some(1_769_904_000));
        check("2026-11-01T00:00:00Z", Some(1_793_491_200));
        check("2000-02-29T23:59:59Z", Some(951_868_799));
        check("2100-03-01T00:00:00Z", Some(4_107_542_400));
        let wrong = [
            "2026-11-01",
            "2026-11-01T00:00:00",
            "2026-11-01T00:00:00+00:00",
            "2026-11-01 00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-11-31T00:00:00Z",
            "2026-11-01T24:00:00Z",
            "2026-11-01T00:60:00Z",
            "0026-11-01T00:00:00Z",
            "2026-1\u{661}-01T00:00:00",
            "2026-11-01t00:00:00z",
            "+026-11-01T00:00:00Z",
        ];
        for text in wrong {
            check(text, None);
        }
    }

    #[test]
    fn a_moment_may_have_an_offset() {
        let check = |text: &str, same: Option<&str>| {
            assert_eq!(parse_moment_with_offset(text), same.and_then(parse_moment), "{text:?}");
            assert!(same.is_none() || parse_moment_with_offset(text).is_some(), "{text:?}");
        };
        check("2026-11-24T14:00:00Z", Some("2026-11-24T14:00:00Z"));
        check("2026-11-24T09:00:00-05:00", Some("2026-11-24T14:00:00Z"));
        check("2026-11-24T00:30:00+05:30", Some("2026-11-23T19:00:00Z"));
        check("2026-11-24T14:00:00+00:00", Some("2026-11-24T14:00:00Z"));
        for wrong in [
            "2026-11-24T09:00:00-0500",
            "2026-11-24T09:00:00-24:00",
            "2026-11-24T09:00:00-05:60",
            "2026-11-24T09:00:00--5:00",
            "2026-11-24T09:00:00\u{661}:00",
            "2026-11-24T09:00:00Z-05:00",
            "-05:00",
            "",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn every_day_of_four_centuries_survives_both_ways() {
        for days in 0..146_097 {
            let text = show_moment(days * DAY);
            assert_eq!(parse_moment(&text), Some(days * DAY), "{text}");
        }
    }
}
