//! In which hours of a week each account calls the legacy hosts, over the last weeks: what a brownout is planned by.

use std::collections::BTreeMap;

use crate::policy::brownout_plan::{Activity, HOURS};
use crate::policy::ids::AccountId;
use crate::policy::legacy_use::DAY;

use super::month::Month;
use super::shelf::{Reading, ReportError, Shelf, Source, ask};

/// Weeks that are added up: more are of another season.
pub const WEEKS: u32 = 4;

/// The column of `h00`.
const FIRST_HOUR: usize = 4;

/// Reads each account's week from the books, as of `now` (Unix seconds): the last [`WEEKS`] whole weeks,
/// without today. Writes are known by day: they are taken to be spread over the hours as requests are, and are rounded up.
///
/// # Errors
/// There are none, or they cannot be read.
pub fn read<'a>(books: impl Into<Source<'a>>, now: i64) -> Result<Vec<Activity>, ReportError> {
    ask(books, |books| activities(books, now.div_euclid(DAY)))
}

fn activities(books: &Shelf, today: i64) -> Reading<Vec<Activity>> {
    let first = today - i64::from(WEEKS) * 7;
    let hours = (0..24).map(|hour| format!("CAST(sum(h{hour:02}) AS BIGINT)")).collect::<Vec<_>>().join(", ");
    let query = format!(
        "SELECT account, day, CAST(sum(writes) AS BIGINT),
             CAST(sum(status_1xx + status_2xx + status_3xx + status_4xx + status_5xx) AS BIGINT), {hours}
         FROM use_by_day CROSS JOIN integrations ON id = integration
         WHERE day >= ?1 AND day < ?2 AND subject = 'account' GROUP BY account, day"
    );
    let mut accounts = BTreeMap::<AccountId, Activity>::new();
    books.each(Some(Month::of_day(first)), &query, &[Some(first), Some(today)], |_, row| {
        let Some(account) = AccountId::from_value(row.count(0)?) else { return Ok(()) };
        let of = accounts.entry(account).or_insert_with(|| Activity {
            account,
            requests: [0; HOURS],
            writes: [0; HOURS],
        });
        // The Unix epoch was a Thursday, and a week begins with Monday.
        let monday = usize::try_from((row.int(1)? + 3).rem_euclid(7)).expect("below 7") * 24;
        let (writes, all) = (row.count(2)?, row.count(3)?.max(1));
        for hour in 0..24 {
            let requests = row.count(FIRST_HOUR + hour)?;
            let add =
                |sum: &mut u32, more: u64| *sum = sum.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
            add(&mut of.requests[monday + hour], requests);
            add(&mut of.writes[monday + hour], requests.saturating_mul(writes).div_ceil(all));
        }
        Ok(())
    })?;
    Ok(accounts.into_values().collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::frame::tests::{NOON, frame, uses};
    use super::super::store::Store;
    use super::*;

    #[test]
    fn weeks_add_up_by_hour_and_writes_are_spread_over_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut rows = Vec::new();
        for weeks in [0, 1, 2, 5] {
            let mut of = uses(7, "airflow", 10);
            of.day -= weeks * 7;
            (of.hours, of.writes) = (vec![(3, 8), (10, 2)], 5);
            rows.push(of);
        }
        let mut other = uses(7, "curl", 1);
        other.day -= 7;
        rows.push(other);
        Store::new(folder.path()).write(&frame("a", 1, rows), NOON).unwrap();
        let found = read(folder.path(), NOON).unwrap();
        assert_eq!(found.len(), 1);
        // 20 November 2026 is a Friday: today is not over, and five weeks ago is another season.
        let friday = 4 * 24;
        let of = &found[0];
        let told = [3, 10].map(|hour| (of.requests[friday + hour], of.writes[friday + hour]));
        assert_eq!(told, [(16, 8), (5, 3)]);
        assert_eq!(of.requests.iter().sum::<u32>(), 21);
    }
}
