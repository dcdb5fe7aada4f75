//! Fills a [`Fleet`] from the books: how a legacy host and everybody who still calls it stand. What is not in the books, such
//! as addresses and recipes, comes from the configuration ([`recipes`](super::recipes)).

use std::collections::{BTreeMap, HashMap};

use crate::policy::hosts::Role;
use crate::policy::ids::AccountId;
use crate::policy::legacy_use::DAY;
use crate::policy::legacy_use::coverage::Coverage;
use crate::policy::legacy_use::forecast::{Point, forecast};
use crate::policy::legacy_use::verdict::{LEAST_COVERAGE, Verdict};
use crate::policy::snapshot::Snapshot;
use crate::policy::standings::Standings;

use super::brownouts::effects;
use super::detail::detail;
use super::fleet::{BooksCoverage, Count, Fleet, FleetAccount, FleetDay, Mover, Recent};
use super::known::{Known, KnownAccount, Lately, Name};
use super::recipes;
use super::report::{Question, Report, answer, facts, gaps};
use super::shelf::{Reading, ReportError, Shelf, Source, ask};
use super::uses::{Asked, Late, Uses};
use super::verdicts::{Judging, coverage};

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
    /// Who is cut, and who has nowhere to go.
    pub standings: Standings,
}

impl Default for Host {
    fn default() -> Self {
        let (hosts, standings) = (Vec::new(), Standings::default());
        Self { hosts, deprecated_since: None, sunset_at: None, detailed: DETAILED, standings }
    }
}

impl Host {
    fn judging<'a>(&'a self, coverage: &'a Coverage) -> Judging<'a> {
        Judging { coverage, standings: &self.standings }
    }

    /// The legacy hosts of a configuration, and the dates of the first one that has a schedule.
    pub fn of(snapshot: &Snapshot) -> Self {
        let legacy = || snapshot.hosts.iter().filter(|rule| rule.role == Role::Legacy);
        let schedule = legacy().find_map(|rule| rule.schedule).map(|at| snapshot.schedule(at));
        Self {
            hosts: legacy().map(|rule| rule.pattern.to_string()).collect(),
            deprecated_since: schedule.map(|schedule| schedule.deprecated_since),
            sunset_at: schedule.map(|schedule| schedule.sunset_at),
            standings: Standings::of(snapshot),
            ..Self::default()
        }
    }
}

/// Reads how a host stands from the books, at `now` (Unix seconds); of one account only where that is asked
/// for.
///
/// # Errors
/// There are none, or they cannot be read.
pub fn read<'a>(
    books: impl Into<Source<'a>>,
    host: &Host,
    only: Option<AccountId>,
    now: i64,
) -> Result<Fleet, ReportError> {
    ask(books, |books| {
        let coverage = coverage(books, now)?;
        let known = Known::read(books, only, &host.judging(&coverage), now)?;
        let uses = Uses::read(books, Asked { since: None, only, now })?;
        survey(books, (&known, &coverage, &uses.late), host, only, now)
    })
}

/// Both, with the dates, addresses and recipes of a configuration where there is one; each integration is told of so many
/// accounts.
///
/// # Errors
/// As [`read`].
pub fn configured<'a>(
    books: impl Into<Source<'a>>,
    snapshot: Option<&Snapshot>,
    question: Question,
    detailed: usize,
) -> Result<(Report, Fleet), ReportError> {
    let host = Host { detailed, ..snapshot.map(Host::of).unwrap_or_default() };
    let (mut report, mut fleet) = read_with_report(books, &host, question)?;
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
pub fn read_with_report<'a>(
    books: impl Into<Source<'a>>,
    host: &Host,
    question: Question,
) -> Result<(Report, Fleet), ReportError> {
    let Question { account, now, .. } = question;
    ask(books, |books| {
        let coverage = coverage(books, now)?;
        let known = Known::read(books, account, &host.judging(&coverage), now)?;
        let mut uses = Uses::read(books, question.of_uses())?;
        let late = std::mem::take(&mut uses.late);
        let report = answer(books, &known, uses, question)?;
        Ok((report, survey(books, (&known, &coverage, &late), host, account, now)?))
    })
}

fn survey(
    books: &Shelf,
    (known, coverage, late): (&Known, &Coverage, &HashMap<u64, Late>),
    host: &Host,
    only: Option<AccountId>,
    now: i64,
) -> Reading<Fleet> {
    let kept_since = books.rows("SELECT min(started_at) FROM coverage", &[], |row| row.int_if_any(0))?;
    let kept_since = kept_since.into_iter().flatten().min().unwrap_or(now);
    let days = days(known, coverage, now);
    let points = days.iter().filter_map(|of| Some(Point { day: of.day, accounts: of.accounts_7d? }));
    let points: Vec<Point> = points.collect();
    let (requests, unattributed) = week_of(known, now);
    let (clients, integrations) = movers(known);
    let returned = known.accounts.iter().filter(|(_, of)| of.judged.verdict == Verdict::Returned);
    let mut fleet = Fleet {
        generated_at: now,
        hosts: host.hosts.clone(),
        deprecated_since: host.deprecated_since,
        sunset_at: host.sunset_at,
        coverage: covered(coverage, kept_since, gaps(books, now - COVERED_DAYS * DAY, now)?, now),
        verdicts: counts(known),
        requests,
        unattributed,
        forecast: forecast(&points, host.sunset_at.map(|at| at.div_euclid(DAY)), SEED),
        days,
        clients,
        integrations,
        new_accounts: new_accounts(known, kept_since, now),
        returned: returned.map(|(account, _)| *account).collect(),
        accounts: accounts(known, facts(books, only)?, late),
        brownouts: effects(books, known, coverage, only, now)?,
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
fn counts(known: &Known) -> BTreeMap<Verdict, Count> {
    let mut counts = BTreeMap::<Verdict, Count>::new();
    for account in known.accounts.values() {
        counts.entry(account.judged.verdict).or_default().now += 1;
    }
    let before: Vec<Verdict> = known.accounts.values().filter_map(|account| account.week_ago).collect();
    // Where nobody was known then, there is nothing to compare with.
    if !before.is_empty() {
        counts.values_mut().for_each(|count| count.week_ago = Some(0));
        for verdict in before {
            *counts.entry(verdict).or_default().week_ago.get_or_insert(0) += 1;
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
    for (from, until) in known.accounts.values().flat_map(|account| &account.weeks) {
        *changes.entry(*from).or_default() += 1;
        *changes.entry(*until).or_default() -= 1;
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
    week.fold((0u64, 0u64), |(all, of_nobody), (_, (more, nobody))| {
        (all.saturating_add(*more), of_nobody.saturating_add(*nobody))
    })
}

/// Client families, and client families with what they call, by the accounts that they would move.
fn movers(known: &Known) -> (Vec<Mover>, Vec<Mover>) {
    let (mut clients, mut integrations) = (BTreeMap::new(), BTreeMap::new());
    for account in known.accounts.values() {
        let lately = account.lately.iter().filter(|(_, lately)| lately.week > 0);
        let lately = lately.map(|(names, lately)| (names, lately.week));
        // By client family first.
        for of in lately.clone().collect::<Vec<_>>().chunk_by(|([a, ..], _), ([b, ..], _)| a == b) {
            let requests = of.iter().fold(0u64, |sum, (_, requests)| sum.saturating_add(*requests));
            add(&mut clients, of[0].0[0], requests);
        }
        lately.for_each(|(names, requests)| add(&mut integrations, *names, requests));
    }
    let mut by_text = BTreeMap::<String, (u64, u64)>::new();
    for ([client, surface, class], (accounts, requests)) in integrations {
        let [client, surface, class] = [client, surface, class].map(|name| known.name(name));
        let what = if class == "none" { surface } else { class };
        let sum = by_text.entry(format!("{client}, {what}")).or_default();
        *sum = (sum.0 + accounts, sum.1.saturating_add(requests));
    }
    let clients = clients.into_iter().map(|(client, sum)| (known.name(client).to_owned(), sum));
    (in_order(clients.collect()), in_order(by_text))
}

fn add<T: Ord>(movers: &mut BTreeMap<T, (u64, u64)>, name: T, requests: u64) {
    let (accounts, sum) = movers.entry(name).or_default();
    (*accounts, *sum) = (*accounts + 1, sum.saturating_add(requests));
}

/// Those of the most accounts first.
fn in_order(movers: BTreeMap<String, (u64, u64)>) -> Vec<Mover> {
    let mover = |(name, (accounts, requests))| Mover { name, accounts, requests, recipe: None };
    let mut movers: Vec<Mover> = movers.into_iter().map(mover).collect();
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
    known: &Known,
    mut facts: BTreeMap<u64, (Option<String>, String)>,
    late: &HashMap<u64, Late>,
) -> Vec<FleetAccount> {
    let account = |(id, of): (&u64, &KnownAccount)| {
        let (prefix, cell) = facts.remove(id).map_or((None, None), |(prefix, cell)| (prefix, Some(cell)));
        let late = late.get(id).copied().unwrap_or_default();
        let mut lately = Lately::default();
        of.lately.iter().for_each(|(_, more)| lately.merge(*more));
        FleetAccount {
            account: *id,
            prefix,
            address: None,
            cell,
            judged: of.judged.clone(),
            first_seen: of.first_seen,
            last_seen: of.last_seen,
            requests: Recent { day: late.of_24_hours, week: lately.week, month: lately.month },
            curve: of.curve,
            integrations: of.habits,
            top_client: top_client(known, of),
            writes_daily: late.writes as f64 / 7.0,
            details: Vec::new(),
        }
    };
    known.accounts.iter().map(account).collect()
}

/// By requests of the last 30 days; of two with as many, the first by name.
fn top_client(known: &Known, of: &KnownAccount) -> Option<String> {
    let mut top: Option<(Name, u64)> = None;
    for of in of.lately.chunk_by(|([a, ..], _), ([b, ..], _)| a == b) {
        let requests = of.iter().fold(0u64, |sum, (_, lately)| sum.saturating_add(lately.month));
        if top.is_none_or(|(_, most)| requests > most) {
            top = Some((of[0].0[0], requests));
        }
    }
    top.map(|(client, _)| known.name(client).to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::super::frame::tests::{NOON, frame, uses};
    use super::super::frame::{Account, Use};
    use super::super::store::Store;
    use super::*;
    use crate::policy::legacy_use::HOUR;
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
        frame.accounts = vec![Account { id: 1, prefix: Some("ab123".into()), cell: "us1".into() }].into();
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
    fn who_is_refused_for_good_is_cut_and_who_lives_in_the_shared_cell_is_not_active() {
        use crate::policy::brownout::AfterSunset;
        use crate::policy::hosts::Role;
        use crate::test_snapshot::SnapshotBuilder;
        let folder = tempfile::tempdir().unwrap();
        let now = books(folder.path());
        let mut snapshot = SnapshotBuilder::new()
            .cell("us1", "us1.dbt.com")
            .cell("mt", "mt.dbt.com")
            .schedule("legacy", 0, now - 3 * DAY)
            .host(Role::Legacy, "cloud.getdbt.com", 0)
            .account(1, "us1", &["ab123"])
            .account(2, "mt", &["cd456"])
            .account(3, "mt", &["ef789"])
            .build();
        snapshot.cells[1].shared = true;
        let told = |snapshot: &crate::policy::snapshot::Snapshot| {
            let host = Host { standings: Standings::of(snapshot), ..Host::default() };
            let fleet = read(folder.path(), &host, None, now).unwrap();
            fleet.verdicts.iter().map(|(verdict, of)| (*verdict, of.now, of.week_ago)).collect::<Vec<_>>()
        };
        assert_eq!(
            told(&snapshot),
            [(Verdict::Active, 1, Some(1)), (Verdict::NotMigrated, 2, Some(1))],
            "account 3 was not known a week ago"
        );
        snapshot.schedules[0].after_sunset = AfterSunset::Refuse;
        assert_eq!(
            told(&snapshot),
            [(Verdict::Active, 0, Some(1)), (Verdict::NotMigrated, 0, Some(1)), (Verdict::Cut, 3, Some(0))],
            "a week ago nobody was refused"
        );
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
