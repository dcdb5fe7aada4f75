//! Tells each integration of an account, with the hours of its week: what somebody has to change, one by one.

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::legacy_use::DAY;
use crate::policy::legacy_use::verdict::Verdict;

use super::fleet::{CURVE_DAYS, Fleet, FleetAccount, Integration, WeekHours};
use super::month::Month;
use super::renamed::NewestNames;
use super::shelf::{Reading, Row, Shelf};

/// Days that the week of an integration is added up from: four weeks.
const HEAT_DAYS: i64 = 28;

/// Tells each integration of the accounts that matter most.
pub(super) fn detail(books: &Shelf, fleet: &mut Fleet, most: usize, now: i64) -> Reading<()> {
    let is_done = |of: &FleetAccount| matches!(of.judged.verdict, Verdict::Ready | Verdict::NotMigrated);
    let matters = |of: &&&FleetAccount| !is_done(of) || fleet.accounts.len() == 1;
    let wanted: BTreeSet<u64> =
        fleet.by_weight().iter().filter(matters).take(most).map(|of| of.account).collect();
    let newest = NewestNames::read(books, None)?;
    for account in fleet.accounts.iter_mut().filter(|of| wanted.contains(&of.account)) {
        account.details = details_of(books, &newest, account.account, now)?;
    }
    Ok(())
}

fn details_of(books: &Shelf, newest: &NewestNames, account: u64, now: i64) -> Reading<Vec<Integration>> {
    let since = now.div_euclid(DAY) - (CURVE_DAYS as i64 - 1);
    let mut found = BTreeMap::<[String; 3], Integration>::new();
    let query = "SELECT client, credential, network, class, template, surface, first_seen, last_seen, days
         FROM integrations WHERE subject = 'account' AND account = ?1
         ORDER BY client, credential, network, class, template, surface";
    books.each(Some(Month::of_day(since)), query, &[Some(account as i64)], |month, row| {
        let days = row.days(8)?;
        let days: Vec<_> = days.seen(month.first_day()).filter(|day| day.day >= since).collect();
        if days.is_empty() {
            return Ok(());
        }
        let (first_seen, last_seen) = (row.int(6)?, row.int(7)?);
        let integration =
            found.entry(name(row, account, newest)?).or_insert_with_key(|[client, credential, network]| {
                Integration {
                    client: client.clone(),
                    credential: told(credential),
                    network: told(network),
                    endpoints: Vec::new(),
                    first_seen,
                    last_seen,
                    requests: 0,
                    hours: WeekHours::default(),
                    recipe: None,
                }
            });
        integration.first_seen = integration.first_seen.min(first_seen);
        integration.last_seen = integration.last_seen.max(last_seen);
        integration.requests += days.iter().map(|day| day.requests).sum::<u64>();
        for column in 3..=5 {
            if let Some(endpoint) = told(row.text(column)?).filter(|of| !integration.endpoints.contains(of)) {
                integration.endpoints.push(endpoint);
            }
        }
        Ok(())
    })?;
    add_hours(books, (newest, account), &mut found, now)?;
    let mut details: Vec<Integration> = found.into_values().collect();
    details.sort_by_key(|of| std::cmp::Reverse(of.requests));
    Ok(details)
}

/// The hours of the week of each integration, from the last four weeks.
fn add_hours(
    books: &Shelf,
    (newest, account): (&NewestNames, u64),
    integrations: &mut BTreeMap<[String; 3], Integration>,
    now: i64,
) -> Reading<()> {
    let heat = now.div_euclid(DAY) - (HEAT_DAYS - 1);
    let days = (heat..heat + HEAT_DAYS).map(|day| day.to_string()).collect::<Vec<_>>().join(", ");
    let hours = (0..24).map(|hour| format!("h{hour:02}")).collect::<Vec<_>>().join(", ");
    // Few integrations are of an account. Days that are named are looked up; a range of them would be read from end to end.
    let query = format!(
        "SELECT client, credential, network, day, {hours}
         FROM integrations CROSS JOIN use_by_day ON id = integration AND day IN ({days})
         WHERE subject = 'account' AND account = ?1"
    );
    books.each(Some(Month::of_day(heat)), &query, &[Some(account as i64)], |_, row| {
        let Some(integration) = integrations.get_mut(&name(row, account, newest)?) else { return Ok(()) };
        // The Unix epoch was a Thursday, and a week begins with Monday.
        let week_day = usize::try_from((row.int(3)? + 3).rem_euclid(7)).expect("below 7");
        for (hour, place) in integration.hours[week_day].iter_mut().enumerate() {
            *place = place.saturating_add(row.count(FIRST_HOUR + hour)?);
        }
        Ok(())
    })
}

/// The column of `h00`.
const FIRST_HOUR: usize = 4;

/// Client family, credential and network: the first columns.
fn name(row: &Row<'_>, account: u64, newest: &NewestNames) -> Reading<[String; 3]> {
    Ok([row.text(0)?, newest.newest(account, row.text(1)?), row.text(2)?].map(str::to_owned))
}

/// Nothing where there is nothing to tell.
fn told(name: &str) -> Option<String> {
    (name != "none" && name != "other").then(|| name.to_owned())
}
