//! Tells each integration of an account, with the hours of its week: what somebody has to change, one by one.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use crate::policy::legacy_use::DAY;
use crate::policy::legacy_use::verdict::Verdict;

use super::days::Days;
use super::fleet::{CURVE_DAYS, Fleet, FleetAccount, Integration, WeekHours};
use super::month::Month;
use super::shelf::{Shelf, count_at};

/// Days that the week of an integration is added up from: four weeks.
const HEAT_DAYS: i64 = 28;

/// Tells each integration of the accounts that matter most.
pub(super) fn detail(books: &Shelf, fleet: &mut Fleet, most: usize, now: i64) -> rusqlite::Result<()> {
    let matters = |of: &&&FleetAccount| of.judged.verdict != Verdict::Ready || fleet.accounts.len() == 1;
    let wanted: BTreeSet<u64> =
        fleet.by_weight().iter().filter(matters).take(most).map(|of| of.account).collect();
    for account in fleet.accounts.iter_mut().filter(|of| wanted.contains(&of.account)) {
        account.details = details_of(books, account.account, now)?;
    }
    Ok(())
}

fn details_of(books: &Shelf, account: u64, now: i64) -> rusqlite::Result<Vec<Integration>> {
    let since = now.div_euclid(DAY) - (CURVE_DAYS as i64 - 1);
    let mut found = BTreeMap::<[String; 3], Integration>::new();
    for (month, file) in books.months().filter(|(month, _)| *month >= Month::of_day(since)) {
        let mut query = file.prepare_cached(
            "SELECT id, client, credential, network, class, template, first_seen, last_seen, days, surface
             FROM integrations WHERE subject = 'account' AND account = ?1",
        )?;
        let mut rows = query.query([account as i64])?;
        while let Some(row) = rows.next()? {
            let days = Days::of_bytes(row.get_ref(8)?.as_blob()?);
            let days: Vec<_> = days.seen(month.first_day()).filter(|day| day.day >= since).collect();
            if days.is_empty() {
                continue;
            }
            let name = [row.get(1)?, row.get(2)?, row.get(3)?];
            let (first_seen, last_seen) = (row.get(6)?, row.get(7)?);
            let integration =
                found.entry(name).or_insert_with_key(|[client, credential, network]| Integration {
                    client: client.clone(),
                    credential: told(credential),
                    network: told(network),
                    endpoints: Vec::new(),
                    first_seen,
                    last_seen,
                    requests: 0,
                    hours: WeekHours::default(),
                    recipe: None,
                });
            integration.first_seen = integration.first_seen.min(first_seen);
            integration.last_seen = integration.last_seen.max(last_seen);
            integration.requests =
                days.iter().map(|day| day.requests).fold(integration.requests, u64::saturating_add);
            for endpoint in
                [row.get(4)?, row.get(5)?, row.get(9)?].iter().filter_map(|name: &String| told(name))
            {
                if !integration.endpoints.contains(&endpoint) {
                    integration.endpoints.push(endpoint);
                }
            }
            let heat = now.div_euclid(DAY) - (HEAT_DAYS - 1);
            for day in days.iter().filter(|day| day.day >= heat) {
                add_hours(file, day.day, row.get(0)?, &mut integration.hours)?;
            }
        }
    }
    let mut details: Vec<Integration> = found.into_values().collect();
    details.sort_by_key(|of| std::cmp::Reverse(of.requests));
    Ok(details)
}

fn add_hours(file: &Connection, day: i64, integration: i64, hours: &mut WeekHours) -> rusqlite::Result<()> {
    let mut query = file.prepare_cached("SELECT * FROM use_by_day WHERE day = ?1 AND integration = ?2")?;
    let mut rows = query.query([day, integration])?;
    // The Unix epoch was a Thursday, and a week begins with Monday.
    let week_day = usize::try_from((day + 3).rem_euclid(7)).expect("below 7");
    while let Some(row) = rows.next()? {
        for (hour, place) in hours[week_day].iter_mut().enumerate() {
            *place = place.saturating_add(count_at(row, FIRST_HOUR + hour)?);
        }
    }
    Ok(())
}

/// The column of `h00`.
const FIRST_HOUR: usize = 9;

/// Nothing where there is nothing to tell.
fn told(name: &str) -> Option<String> {
    (name != "none" && name != "other").then(|| name.to_owned())
}
