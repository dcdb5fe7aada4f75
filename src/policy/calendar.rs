//! Moments as people read them: RFC 3339 in UTC. Reads no clock.

/// Seconds in a day without leap second, as Unix time counts them.
const DAY: i64 = 86_400;

/// Writes seconds since the Unix epoch as RFC 3339 in UTC.
pub fn show_moment(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = date_of(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

/// Writes the day of a moment, in UTC: `2026-11-01`.
pub fn show_day(seconds: i64) -> String {
    let (year, month, day) = date_of(seconds.div_euclid(DAY));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day so many days after 1970-01-01, in the proleptic Gregorian calendar. Years begin in March here, so that
/// the leap day comes last (the algorithm of Howard Hinnant's `civil_from_days`).
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_the_beginning_of_its_moments() {
        // From `date -u -d ... +%s`.
        for (seconds, expect) in
            [(0, "1970-01-01"), (951_868_799, "2000-02-29"), (1_793_491_200, "2026-11-01")]
        {
            assert_eq!(show_day(seconds), expect);
            assert!(show_moment(seconds).starts_with(expect));
        }
    }
}
