//! Fills a [`Fleet`] from the books: how a legacy host and everybody who still calls it stand. What is not in the books, such
//! as addresses and recipes, comes from the configuration ([`recipes`](super::recipes)).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::rc::Rc;

use rusqlite::params;

use crate::policy::hosts::Role;
use crate::policy::ids::AccountId;
use crate::policy::legacy_use::activity::Activity;
use crate::policy::legacy_use::coverage::Coverage;
use crate::policy::legacy_use::forecast::{Point, forecast};
use crate::policy::legacy_use::verdict::{Judgement, LEAST_COVERAGE, Verdict};
use crate::policy::legacy_use::{DAY, HOUR};
use crate::policy::snapshot::Snapshot;

use super::detail::detail;
use super::fleet::{BooksCoverage, CURVE_DAYS, Count, Fleet, FleetAccount, FleetDay, Mover, Recent};
use super::known::{Known, KnownAccount};
use super::month::Month;
use super::recipes;
use super::report::{Question, Report, answer, facts, gaps};
use super::shelf::{ReportError, Shelf, ask, count_at};
use super::verdicts::{coverage, judge_all};

/// Accounts of which each integration is told on a page: as many as somebody works off.
pub const DETAILED: usize = 200;

/// Days that coverage is told of: the shortest silence of a verdict.
const COVERED_DAYS: i64 = 36;

/// Any number: the same books give the same band.
const SEED: u64 = 1;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The legacy hosts.
    pub hosts: Vec<String>,
    /// Since when their use is discouraged (Unix seconds).
    pub deprecated_since: Option<i64>,
    /// When they are to be switched off (Unix seconds).
    pub sunset_at: Option<i64>,
    /// Of how many accounts each integration is told; those that matter most first.
    pub detailed: usize,
}

impl Default for Host {
    fn default() -> Self {
        Self { hosts: Vec::new(), deprecated_since: None, sunset_at: None, detailed: DETAILED }
    }
}

impl Host {
    /// The legacy hosts of a configuration, and the dates of the first one that has a schedule.
    pub fn of(snapshot: &Snapshot) -> Self {
        let legacy = || snapshot.hosts.iter().filter(|rule| rule.role == Role::Legacy);
        let schedule = legacy().find_map(|rule| rule.schedule).map(|at| snapshot.schedule(at));
        Self {
            hosts: legacy().map(|rule| rule.pattern.to_string()).collect(),
            deprecated_since: schedule.map(|schedule| schedule.deprecated_since),
            sunset_at: schedule.map(|schedule| schedule.sunset_at),
            ..Self::default()
        }
    }
}

/// Reads how a host stands from the books in a state folder, at `now` (Unix seconds); of one account only where that is asked
/// for.
///
/// # Errors
/// There is no file, or one cannot be read.
pub fn read(folder: &Path, host: &Host, only: Option<AccountId>, now: i64) -> Result<Fleet, ReportError> {
    ask(folder, |books| {
        let (known, coverage) = (Known::read(books, only, now)?, coverage(books, now)?);
        let judged = judge_all(&known, &coverage, now);
        survey(books, (&known, &coverage, &judged), host, only, now)
    })
}

/// Both, with the dates, addresses and recipes of a configuration where there is one; each integration is told of so many
/// accounts.
///
/// # Errors
/// As [`read`].
pub fn configured(
    folder: &Path,
    snapshot: Option<&Snapshot>,
    question: Question,
    detailed: usize,
) -> Result<(Report, Fleet), ReportError> {
    let host = Host { detailed, ..snapshot.map(Host::of).unwrap_or_default() };
    let (mut report, mut fleet) = read_with_report(folder, &host, question)?;
    if let Some(snapshot) = snapshot {
        recipes::add(&mut report, snapshot);
        recipes::add_to_fleet(&mut fleet, snapshot);
    }
    Ok((report, fleet))
}

/// Both, as of one moment and from one reading.
///
/// # Errors
/// As [`read`].
pub fn read_with_report(
    folder: &Path,
    host: &Host,
    question: Question,
) -> Result<(Report, Fleet), ReportError> {
    let Question { account, now, .. } = question;
    ask(folder, |books| {
        let (known, coverage) = (Known::read(books, account, now)?, coverage(books, now)?);
        let judged = judge_all(&known, &coverage, now);
        let report = answer(books, &known, &judged, question)?;
        Ok((report, survey(books, (&known, &coverage, &judged), host, account, now)?))
    })
}

fn survey(
    books: &Shelf,
    (known, coverage, judged): (&Known, &Coverage, &BTreeMap<u64, Judgement>),
    host: &Host,
    only: Option<AccountId>,
    now: i64,
) -> rusqlite::Result<Fleet> {
    let kept_since =
        books.rows("SELECT min(started_at) FROM coverage", [], |row| row.get::<_, Option<i64>>(0))?;
    let kept_since = kept_since.into_iter().flatten().min().unwrap_or(now);
    let days = days(known, coverage, now);
    let points = days.iter().filter_map(|of| Some(Point { day: of.day, accounts: of.accounts_7d? }));
    let points: Vec<Point> = points.collect();
    let (requests, unattributed) = week_of(known, now);
    let (clients, integrations) = movers(known);
    let returned = judged.iter().filter(|(_, judged)| judged.verdict == Verdict::Returned);
    let mut fleet = Fleet {
        generated_at: now,
        hosts: host.hosts.clone(),
        deprecated_since: host.deprecated_since,
        sunset_at: host.sunset_at,
        coverage: covered(coverage, kept_since, gaps(books, now - COVERED_DAYS * DAY)?, now),
        verdicts: counts(known, judged, coverage, now),
        requests,
        unattributed,
        forecast: forecast(&points, host.sunset_at.map(|at| at.div_euclid(DAY)), SEED),
        days,
        clients,
        integrations,
        new_accounts: new_accounts(known, kept_since, now),
        returned: returned.map(|(account, _)| *account).collect(),
        accounts: accounts(books, known, judged, only, now)?,
        brownouts: Vec::new(),
        changes: Vec::new(),
    };
    detail(books, &mut fleet, host.detailed, now)?;
    Ok(fleet)
}

fn covered(
    coverage: &Coverage,
    kept_since: i64,
    gaps: Vec<super::report::GapLine>,
    now: i64,
) -> BooksCoverage {
    let from = kept_since.max(now - COVERED_DAYS * DAY);
    let days = u32::try_from((now - from).div_euclid(DAY)).unwrap_or(0);
    BooksCoverage { share: coverage.share(from, now), days, gaps }
}

/// How many have which verdict, and had it a week ago.
fn counts(
    known: &Known,
    judged: &BTreeMap<u64, Judgement>,
    coverage: &Coverage,
    now: i64,
) -> BTreeMap<Verdict, Count> {
    let then = now - 7 * DAY;
    let mut counts = BTreeMap::<Verdict, Count>::new();
    for judged in judged.values() {
        counts.entry(judged.verdict).or_default().now += 1;
    }
    let before = judge_all(&known.as_of(then), coverage, then);
    // Where nobody was known then, there is nothing to compare with.
    if !before.is_empty() {
        counts.values_mut().for_each(|count| count.week_ago = Some(0));
        for judged in before.values() {
            *counts.entry(judged.verdict).or_default().week_ago.get_or_insert(0) += 1;
        }
    }
    counts
}

/// Each day since the first; of today there are no accounts of seven days yet.
fn days(known: &Known, coverage: &Coverage, now: i64) -> Vec<FleetDay> {
    let today = now.div_euclid(DAY);
    let Some((first, _)) = known.requests.first_key_value() else { return Vec::new() };
    // Where an account begins to be among those of the last seven days, and where it ends to be.
    let mut changes = BTreeMap::<i64, i64>::new();
    for account in known.accounts.values() {
        let mut until = i64::MIN;
        for seen in account.days().days() {
            // Else it was among them all the time.
            if seen.day > until {
                *changes.entry(seen.day).or_default() += 1;
                if until > i64::MIN {
                    *changes.entry(until).or_default() -= 1;
                }
            }
            until = seen.day + 7;
        }
        if until > i64::MIN {
            *changes.entry(until).or_default() -= 1;
        }
    }
    let mut accounts = 0;
    let day = |day: i64| {
        accounts += changes.get(&day).copied().unwrap_or(0);
        let whole = day < today && coverage.share((day - 6) * DAY, (day + 1) * DAY) >= LEAST_COVERAGE;
        let accounts_7d = whole.then(|| u64::try_from(accounts).unwrap_or(0));
        FleetDay { day, accounts_7d, requests: known.requests.get(&day).map_or(0, |(all, _)| *all) }
    };
    (*first..=today).map(day).collect()
}

/// Requests of the last seven days, today among them, and those of no account.
fn week_of(known: &Known, now: i64) -> (u64, u64) {
    let today = now.div_euclid(DAY);
    let week = known.requests.range(today - 6..=today);
    week.fold((0_u64, 0_u64), |(all, of_nobody), (_, (more, nobody))| {
        (all.saturating_add(*more), of_nobody.saturating_add(*nobody))
    })
}

/// Client families, and client families with what they call, by the accounts that they would move.
fn movers(known: &Known) -> (Vec<Mover>, Vec<Mover>) {
    let (mut clients, mut integrations) = (BTreeMap::new(), BTreeMap::new());
    for account in known.accounts.values() {
        let mut own = BTreeMap::<String, u64>::new();
        for ([client, surface, class], lately) in account.lately.iter().filter(|(_, lately)| lately.week > 0)
        {
            let sum = own.entry(client.to_string()).or_default();
            *sum = sum.saturating_add(lately.week);
            let what = if **class == *"none" { surface } else { class };
            add(&mut integrations, format!("{client}, {what}"), lately.week);
        }
        own.into_iter().for_each(|(client, requests)| add(&mut clients, client, requests));
    }
    (in_order(clients), in_order(integrations))
}

fn add(movers: &mut BTreeMap<String, Mover>, name: String, requests: u64) {
    let mover = Mover { name: name.clone(), accounts: 0, requests: 0, recipe: None };
    let mover = movers.entry(name).or_insert(mover);
    (mover.accounts, mover.requests) = (mover.accounts + 1, mover.requests.saturating_add(requests));
}

/// Those of the most accounts first.
fn in_order(movers: BTreeMap<String, Mover>) -> Vec<Mover> {
    let mut movers: Vec<Mover> = movers.into_values().collect();
    movers.sort_by_key(|mover| std::cmp::Reverse((mover.accounts, mover.requests)));
    movers
}

/// Who came for the first time in the last seven days, where the books are older than that.
fn new_accounts(known: &Known, kept_since: i64, now: i64) -> Vec<u64> {
    let since = now - 7 * DAY;
    let is_new = |of: &KnownAccount| kept_since < since - 7 * DAY && of.first_seen >= since;
    known.accounts.iter().filter(|(_, of)| is_new(of)).map(|(account, _)| *account).collect()
}

fn accounts(
    books: &Shelf,
    known: &Known,
    judged: &BTreeMap<u64, Judgement>,
    only: Option<AccountId>,
    now: i64,
) -> rusqlite::Result<Vec<FleetAccount>> {
    let mut facts = facts(books, only)?;
    let counted = last_days(books, only, now)?;
    let account = |(id, of): (&u64, &KnownAccount)| {
        let (prefix, cell) = facts.remove(id).map_or((None, None), |(prefix, cell)| (prefix, Some(cell)));
        let counted = counted.get(id).copied().unwrap_or_default();
        let lately = of.lately.values();
        let sum = lately.fold((0_u64, 0_u64), |(week, month), one| {
            (week.saturating_add(one.week), month.saturating_add(one.month))
        });
        Some(FleetAccount {
            account: *id,
            prefix,
            address: None,
            cell,
            judged: judged.get(id)?.clone(),
            first_seen: of.first_seen,
            last_seen: of.last_seen,
            requests: Recent { day: counted.of_24_hours, week: sum.0, month: sum.1 },
            curve: curve(of.days(), now),
            integrations: of.habits.iter().filter(|habit| was_seen(habit, now)).count(),
            top_client: top_client(of),
            writes_daily: counted.writes as f64 / 7.0,
            details: Vec::new(),
        })
    };
    Ok(known.accounts.iter().filter_map(account).collect())
}

/// Requests of each of the last days, today last.
fn curve(days: &Activity, now: i64) -> [u64; CURVE_DAYS] {
    let mut curve = [0; CURVE_DAYS];
    let first = now.div_euclid(DAY) - (CURVE_DAYS as i64 - 1);
    for seen in days.days() {
        if let Some(place) = usize::try_from(seen.day - first).ok().and_then(|at| curve.get_mut(at)) {
            *place = seen.requests;
        }
    }
    curve
}

fn was_seen(habit: &Activity, now: i64) -> bool {
    let since = now.div_euclid(DAY) - (CURVE_DAYS as i64 - 1);
    habit.days().last().is_some_and(|last| last.day >= since)
}

/// By requests of the last 30 days; of two with as many, the first by name.
fn top_client(of: &KnownAccount) -> Option<String> {
    let mut sums = BTreeMap::<&Rc<str>, u64>::new();
    for ([client, ..], lately) in &of.lately {
        let sum = sums.entry(client).or_default();
        *sum = sum.saturating_add(lately.month);
    }
    let top = sums.into_iter().max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(a.0)));
    top.map(|(client, _)| client.to_string())
}

/// What only days have by the hour.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    of_24_hours: u64,
    /// Of the last seven days.
    writes: u64,
}

fn last_days(books: &Shelf, only: Option<AccountId>, now: i64) -> rusqlite::Result<HashMap<u64, Counted>> {
    let (today, hour) = (now.div_euclid(DAY), now.rem_euclid(DAY) / HOUR);
    // Of yesterday the hours after this one: the last 24 begin there.
    let late: String = (hour + 1..24).map(|hour| format!(" + h{hour:02}")).collect();
    let query = format!(
        "SELECT account, sum(writes), sum(CASE day WHEN ?1 THEN status_1xx + status_2xx + status_3xx + status_4xx
             + status_5xx WHEN ?1 - 1 THEN 0{late} ELSE 0 END)
         FROM use_by_day CROSS JOIN integrations ON id = integration
         WHERE day > ?1 - 7 AND subject = 'account' AND (?2 IS NULL OR account = ?2) GROUP BY account"
    );
    let mut counted = HashMap::<u64, Counted>::new();
    let only = only.map(|account| account.value() as i64);
    for (_, file) in books.months().filter(|(month, _)| *month >= Month::of_day(today - 6)) {
        let mut query = file.prepare(&query)?;
        let mut rows = query.query(params![today, only])?;
        while let Some(row) = rows.next()? {
            let of = counted.entry(count_at(row, 0)?).or_default();
            of.writes = of.writes.saturating_add(count_at(row, 1)?);
            of.of_24_hours = of.of_24_hours.saturating_add(count_at(row, 2)?);
        }
    }
    Ok(counted)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::frame::tests::{NOON, frame, uses};
    use super::super::frame::{Account, Use};
    use super::super::store::Store;
    use super::*;
    use crate::policy::legacy_use::forecast::Forecast;

    /// Days before that of [`NOON`].
    fn ago(days: i64, mut of: Use) -> Use {
        of.day -= days;
        (of.first_seen, of.last_seen) = (of.first_seen - days * DAY, of.last_seen - days * DAY);
        of
    }

    /// Account 1 comes by airflow each day and by curl today; account 2 came each day until 20 days ago; account 3 is new. The
    /// books are complete for 70 days.
    fn books(folder: &Path) -> i64 {
        let mut all = Vec::new();
        for days in 0..70 {
            all.push(ago(days, uses(1, "airflow", 10)));
            all.extend((days > 20).then(|| ago(days, uses(2, "airflow", 1))));
        }
        let mut curl = uses(1, "curl", 3);
        (curl.integration.credential, curl.writes) = ("k1:9f3a1c20be41".into(), 2);
        curl.integration.class = "trigger".into();
        all.push(curl);
        all.push(uses(3, "curl", 1));
        let mut nobody = uses(0, "curl", 4);
        nobody.integration.subject = "unattributed".into();
        all.push(nobody);
        let now = NOON + HOUR;
        let mut frame = frame("a", 1, all);
        (frame.started_at, frame.ended_at) = (NOON - 70 * DAY, now);
        frame.accounts = vec![Account { id: 1, prefix: Some("ab123".into()), cell: "us1".into() }];
        Store::new(folder).write(&frame, now).unwrap();
        now
    }

    #[test]
    fn a_fleet_is_what_the_books_know() {
        let folder = tempfile::tempdir().unwrap();
        let now = books(folder.path());
        let host = Host {
            hosts: vec!["cloud.getdbt.com".into()],
            sunset_at: Some(NOON - 19 * DAY),
            ..Host::default()
        };
        let fleet = read(folder.path(), &host, None, now).unwrap();
        let verdicts: Vec<_> =
            fleet.verdicts.iter().map(|(verdict, of)| (*verdict, of.now, of.week_ago)).collect();
        assert_eq!(verdicts, [(Verdict::Active, 2, Some(1)), (Verdict::Quiet, 1, Some(1))]);
        assert_eq!((fleet.requests, fleet.unattributed), (7 * 10 + 3 + 1 + 4, 4));
        assert_eq!((fleet.new_accounts, fleet.returned), (vec![3], vec![]));
        assert!(fleet.coverage.share > 0.999 && fleet.coverage.days == 36, "{:?}", fleet.coverage);
        // Seven days after its last one, account 2 is among those of a week no more.
        let weeks: BTreeMap<_, _> =
            fleet.days.iter().map(|of| (of.day, (of.accounts_7d, of.requests))).collect();
        let today = NOON.div_euclid(DAY);
        assert_eq!(weeks[&(today - 1)], (Some(1), 10));
        assert_eq!((weeks[&(today - 15)].0, weeks[&(today - 14)].0), (Some(2), Some(1)));
        assert_eq!(weeks[&(today - 69)].0, None, "the books were not kept for a week");
        assert_eq!(weeks[&today], (None, 18), "today is not over");
        assert!(matches!(fleet.forecast, Forecast::Known(_)));
        let movers = |of: &[Mover]| {
            of.iter().map(|of| (of.name.clone(), of.accounts, of.requests)).collect::<Vec<_>>()
        };
        assert_eq!(movers(&fleet.clients), [("curl".into(), 2, 4), ("airflow".into(), 1, 70)]);
        assert_eq!(movers(&fleet.integrations)[0], ("airflow, app".into(), 1, 70));
        let first = &fleet.accounts[0];
        assert_eq!(
            (first.account, first.prefix.as_deref(), first.cell.as_deref()),
            (1, Some("ab123"), Some("us1"))
        );
        assert_eq!(first.requests, Recent { day: 13, week: 73, month: 303 });
        assert_eq!((first.curve[29], first.curve[28], first.integrations), (13, 10, 2));
        assert_eq!(first.top_client.as_deref(), Some("airflow"));
        assert!((first.writes_daily - 2.0 / 7.0).abs() < 1e-9);
    }

    #[test]
    fn an_account_is_told_by_integration_with_the_hours_of_its_week() {
        let folder = tempfile::tempdir().unwrap();
        let now = books(folder.path());
        let only = Some(crate::test_snapshot::account(1));
        let fleet = read(folder.path(), &Host::default(), only, now).unwrap();
        assert_eq!(fleet.accounts.len(), 1);
        let told: Vec<_> = fleet.accounts[0]
            .details
            .iter()
            .map(|of| (of.client.as_str(), of.credential.as_deref(), of.requests, of.endpoints.join(" ")))
            .collect();
        assert_eq!(
            told,
            [
                ("airflow", None, 300, "app".to_owned()),
                ("curl", Some("k1:9f3a1c20be41"), 3, "trigger app".to_owned())
            ]
        );
        let airflow = &fleet.accounts[0].details[0];
        // 20 November 2026 is a Friday: four of each day of the week, all at ten.
        assert!(airflow.hours.iter().all(|day| day[10] == 40 && day.iter().sum::<u64>() == 40));
        assert_eq!(fleet.accounts[0].details[1].hours[4][10], 3);
    }

    #[test]
    fn young_books_call_nobody_new() {
        let folder = tempfile::tempdir().unwrap();
        Store::new(folder.path()).write(&frame("a", 1, vec![uses(1, "curl", 1)]), NOON).unwrap();
        let fleet = read(folder.path(), &Host::default(), None, NOON + 20).unwrap();
        assert_eq!((fleet.new_accounts.len(), fleet.days.len()), (0, 1));
        assert_eq!(fleet.verdicts[&Verdict::Active], Count { now: 1, week_ago: None });
        assert_eq!(fleet.forecast, Forecast::TooEarly(0));
    }
}
