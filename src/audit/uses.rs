//! How much came by each integration on the days of the books, added up: requests by status since a day, and what only days
//! have of the last ones. Days are wide and many, so they are read once and in their order, and integrations after them.

use std::collections::{BTreeMap, HashMap};

use crate::policy::ids::AccountId;
use crate::policy::legacy_use::{DAY, HOUR};
use crate::telemetry::labels::CLASSES;

use super::month::Month;
use super::report::{ClientUsage, Usage, total};
use super::shelf::{Reading, Row, Shelf};

/// Days whose writes are counted, today among them.
const WRITES_DAYS: i64 = 7;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The first day whose requests are counted (days since the Unix epoch); nothing where nobody wants to know.
    pub since: Option<i64>,
    /// Only this account.
    pub only: Option<AccountId>,
    /// Unix seconds.
    pub now: i64,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Uses {
    /// Since the day that was asked for.
    pub accounts: BTreeMap<u64, Usage>,
    pub unattributed: Usage,
    pub unmapped: Usage,
    /// By account.
    pub late: HashMap<u64, Late>,
}

/// What only days have.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Late {
    pub of_24_hours: u64,
    /// Of the last [`WRITES_DAYS`].
    pub writes: u64,
}

/// Of one integration.
#[derive(Debug, Default)]
struct Use {
    /// Since the day that was asked for, where there was anything since then.
    statuses: Option<[u64; CLASSES.len()]>,
    late: Late,
}

/// Of the integrations of one month, by their ids.
#[derive(Default)]
struct OfMonth {
    month: Option<Month>,
    uses: HashMap<i64, Use>,
}

impl Uses {
    /// Reads them.
    pub fn read(books: &Shelf, asked: Asked) -> Reading<Self> {
        let (mut query, mut integrations) = (query(asked.now), INTEGRATIONS.to_owned());
        let only = asked.only.map(|account| account.value() as i64);
        if only.is_some() {
            query += " AND integration IN (SELECT id FROM integrations WHERE subject = 'account' AND account = ?3)";
            integrations += " WHERE subject = 'account' AND account = ?1";
        }
        let first = asked.since.unwrap_or(i64::MAX).min(asked.today() - WRITES_DAYS + 1);
        let params: Vec<_> = [first, asked.today()].into_iter().chain(only).map(Some).collect();
        // Nothing of a month is of a day after it.
        let since = Some(Month::of_day(first));
        let months = books.fold(since, &query, &params, |sum: &mut OfMonth, month, row| {
            sum.month = Some(month);
            sum.add(row, asked)
        })?;
        let months: BTreeMap<_, _> = months.iter().filter_map(|of| Some((of.month?, &of.uses))).collect();
        let (mut uses, only) = (Self::default(), only.map(Some));
        books.each(since, &integrations, only.as_slice(), |month, row| {
            let found = months.get(&month).zip(Some(row.int(0)?));
            found.and_then(|(of, id)| of.get(&id)).map_or(Ok(()), |of| uses.add(row, of))
        })?;
        Ok(uses)
    }

    fn add(&mut self, row: &Row<'_>, of: &Use) -> Reading<()> {
        let (subject, account) = (row.text(1)?, row.count(2)?);
        if subject == "account" {
            let late = self.late.entry(account).or_default();
            late.of_24_hours = late.of_24_hours.saturating_add(of.late.of_24_hours);
            late.writes = late.writes.saturating_add(of.late.writes);
        }
        let Some(statuses) = of.statuses else { return Ok(()) };
        let usage = match subject {
            "account" => self.accounts.entry(account).or_default(),
            "unattributed" => &mut self.unattributed,
            // The schema admits these three.
            _ => &mut self.unmapped,
        };
        let client = ClientUsage {
            client: row.text(3)?.to_owned(),
            surface: row.text(4)?.to_owned(),
            requests: total(statuses),
            last_seen: row.int(6)?,
            endpoint: row.text(7)?.to_owned(),
            recipe: None,
        };
        usage.add(statuses, row.int(5)?, client);
        Ok(())
    }
}

impl Asked {
    const fn today(&self) -> i64 {
        self.now.div_euclid(DAY)
    }
}

impl OfMonth {
    fn add(&mut self, row: &Row<'_>, asked: Asked) -> Reading<()> {
        let (day, today) = (row.int(0)?, asked.today());
        let of = self.uses.entry(row.int(1)?).or_default();
        let mut all = 0u64;
        let is_asked = asked.since.is_some_and(|since| day >= since);
        let mut statuses = is_asked.then(|| of.statuses.get_or_insert_default());
        for class in 0..CLASSES.len() {
            let count = row.count(2 + class)?;
            all = all.saturating_add(count);
            if let Some(statuses) = &mut statuses {
                statuses[class] = statuses[class].saturating_add(count);
            }
        }
        if day > today - WRITES_DAYS {
            of.late.writes = of.late.writes.saturating_add(row.count(7)?);
            let late = if day == today { all } else { row.count(8)? };
            of.late.of_24_hours = of.late.of_24_hours.saturating_add(late);
        }
        Ok(())
    }
}

/// Days from the first that is asked for on. Of yesterday the hours after this one, for the last 24 begin there.
fn query(now: i64) -> String {
    let hour = now.rem_euclid(DAY) / HOUR;
    let late: String = (hour + 1..24).map(|hour| format!(" + h{hour:02}")).collect();
    format!(
        "SELECT day, integration, status_1xx, status_2xx, status_3xx, status_4xx, status_5xx, writes,
             CAST(CASE day WHEN ?2 - 1 THEN 0{late} ELSE 0 END AS BIGINT)
         FROM use_by_day WHERE day >= ?1"
    )
}

const INTEGRATIONS: &str =
    "SELECT id, subject, account, client, surface, first_seen, last_seen, template FROM integrations";
