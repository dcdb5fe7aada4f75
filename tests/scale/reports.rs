//! What reports take of books that are made up: half a year of accounts of which half come each day, and the others on
//! weekdays, once a week or once a month; some leave meanwhile. Sizes decide, times are printed.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cellgate::audit::books::{Books, BooksSettings, LEAST_SPOOL_BYTES};
use cellgate::audit::report::{Question, read};
use cellgate::audit::survey::{self, Host};
use cellgate::audit::{headline, html, render};
use cellgate::telemetry::EventSink;
use cellgate::telemetry::metrics::Metrics;
use fastrand::Rng;
use rusqlite::{Connection, params};

use crate::cost::{built, cpu};

/// Days of books.
const DAYS: i64 = 200;

/// Bytes of the page: what a mail takes.
const PAGE_BYTES: usize = 3_000_000;

/// One program of an account.
struct Habit {
    account: i64,
    client: &'static str,
    /// Comes on days of which this is a multiple, `phase` days later.
    every: i64,
    phase: i64,
    hours: u32,
    /// Days since the Unix epoch.
    last_day: i64,
}

fn habits(accounts: u64, today: i64, rng: &mut Rng) -> Vec<Habit> {
    let mut habits = Vec::new();
    for account in 1..=i64::try_from(accounts).unwrap() {
        for _ in 0..rng.u32(1..=4) {
            let every = rng.choice([1, 1, 1, 1, 1, 7, 30]).unwrap_or(1);
            habits.push(Habit {
                account,
                client: rng.choice(["airflow", "curl", "python-requests", "terraform"]).unwrap_or("curl"),
                every,
                phase: rng.i64(0..30),
                hours: if rng.bool() { 0x00ff_ffff } else { 1 << rng.u32(0..24) },
                last_day: if rng.bool() { today } else { today - rng.i64(0..DAYS) },
            });
        }
    }
    habits
}

/// The file of a month that has the tables and nothing in them.
fn empty_month(folder: &Path) -> std::path::PathBuf {
    let settings = BooksSettings {
        folder: folder.to_owned(),
        window: Duration::from_secs(300),
        spool_bytes: LEAST_SPOOL_BYTES,
        writer: "a".into(),
        replica: String::new(),
        shipping: None,
    };
    let books = Books::start(settings, &Metrics::new()).unwrap();
    assert!(books.close(Duration::from_secs(20)));
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_month =
        |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "sqlite");
    files.into_iter().find(is_month).unwrap()
}

/// Year, month and first day of the month in which a day lies, and the first day of the next one.
fn month_of(day: i64) -> (i32, u8, i64, i64) {
    let epoch = time::Date::from_calendar_date(1970, time::Month::January, 1).unwrap();
    let date = epoch + time::Duration::days(day);
    let first = day - i64::from(date.day()) + 1;
    (date.year(), date.month().into(), first, first + i64::from(date.month().length(date.year())))
}

/// Rows of use that were written.
fn make(folder: &Path, accounts: u64, now: i64) -> u64 {
    let today = now / 86_400;
    let habits = habits(accounts, today, &mut Rng::with_seed(7));
    let empty = empty_month(folder);
    let (mut day, mut rows) = (today - DAYS + 1, 0);
    while day <= today {
        let (year, month, first, next) = month_of(day);
        let path = folder.join(format!("books-{year:04}-{month:02}.sqlite"));
        if path != empty {
            std::fs::copy(&empty, &path).unwrap();
        }
        let mut file = Connection::open(&path).unwrap();
        let transaction = file.transaction().unwrap();
        transaction.execute("DELETE FROM coverage", []).unwrap();
        let (from, to) = (day.max(first) * 86_400, (next * 86_400).min(now));
        transaction.execute("INSERT INTO coverage VALUES ('a', ?1, ?2)", [from, to]).unwrap();
        let columns = (0..24).map(|hour| format!("h{hour:02}")).collect::<Vec<_>>().join(", ");
        let hours = (6..30).map(|place| format!("?{place}")).collect::<Vec<_>>().join(", ");
        let mut integration = transaction
            .prepare(
                "INSERT INTO integrations (subject, account, client, surface, class, credential, network, template,
                     first_seen, last_seen, days) VALUES ('account', ?1, ?2, 'app', 'interactive', ?3, ?4, 'other', ?5, ?6, ?7)",
            )
            .unwrap();
        let mut use_by_day = transaction
            .prepare(&format!(
                "INSERT INTO use_by_day (day, integration, status_1xx, status_2xx, status_3xx, status_4xx, status_5xx,
                     writes, refused, {columns}) VALUES (?1, ?2, 0, ?3, 0, ?4, 0, ?5, 0, {hours})"
            ))
            .unwrap();
        // By day, as they come.
        let mut ids = Vec::with_capacity(habits.len());
        for (at, habit) in habits.iter().enumerate() {
            let mut days = [0u8; 248];
            let mut seen = None;
            for one in day..next.min(today + 1) {
                if (one + habit.phase) % habit.every == 0 && one <= habit.last_day {
                    let place = usize::try_from(one - first).unwrap() * 8;
                    days[place..place + 4].copy_from_slice(&habit.hours.to_be_bytes());
                    days[place + 4..place + 8].copy_from_slice(&(habit.hours.count_ones() * 3).to_be_bytes());
                    seen = Some((seen.map_or(one, |(first, _)| first), one));
                }
            }
            let Some((first_seen, last_seen)) = seen else {
                ids.push(None);
                continue;
            };
            let (credential, network) =
                (format!("k1:{at:012x}"), format!("10.{}.{}.0/24", at % 200, at % 250));
            let (first_seen, last_seen) = (first_seen * 86_400, last_seen * 86_400 + 3_600);
            integration
                .execute(params![
                    habit.account,
                    habit.client,
                    credential,
                    network,
                    first_seen,
                    last_seen,
                    days
                ])
                .unwrap();
            ids.push(Some(transaction.last_insert_rowid()));
        }
        for one in day.max(today - 40)..next.min(today + 1) {
            for (habit, id) in habits.iter().zip(&ids) {
                if let Some(id) = id
                    && (one + habit.phase) % habit.every == 0
                    && one <= habit.last_day
                {
                    let hours = (0..24).map(|hour| i64::from(habit.hours >> hour & 1) * 3);
                    let requests = i64::from(habit.hours.count_ones()) * 3;
                    let values = [one, *id, requests - 1, 1, 1].into_iter().chain(hours);
                    use_by_day.execute(rusqlite::params_from_iter(values)).unwrap();
                    rows += 1;
                }
            }
        }
        drop((integration, use_by_day));
        transaction.commit().unwrap();
        day = next;
    }
    rows
}

/// Prints how long something took, and of how many bytes it is: as time goes by, and of all processors together.
fn timed<T>(what: &str, work: impl FnOnce() -> (usize, T)) -> T {
    let (begun, before) = (Instant::now(), cpu(std::process::id()));
    let (bytes, of) = work();
    let (took, spent) = (begun.elapsed().as_secs_f64(), cpu(std::process::id()) - before);
    println!("  {what}: {took:.2} s, {spent:.2} s of a processor, {bytes} bytes");
    of
}

#[test]
fn reports_of_many_accounts_are_small() {
    let accounts = if cfg!(debug_assertions) { 2_000 } else { 100_000 };
    let folder = tempfile::tempdir().unwrap();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let rows = make(folder.path(), accounts, now);
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap());
    let bytes: u64 = files.map(|file| file.metadata().unwrap().len()).sum();
    println!(
        "{accounts} accounts, {DAYS} days, {rows} rows of the last 40, {} MB of books ({}):",
        bytes >> 20,
        built()
    );

    let question = Question { since: now - 7 * 86_400, account: None, all: false, now };
    let report = timed("the table", || {
        let report = read(folder.path(), question).unwrap();
        (render::table(&report, now).len(), report)
    });
    let fleet = timed("the page", || {
        let fleet = survey::read(folder.path(), &Host::default(), None, now).unwrap();
        let page = html::page(&fleet, html::Place::File).len();
        assert!(page < PAGE_BYTES, "{page} bytes");
        (page, fleet)
    });
    timed("as the command does, which reads both", || {
        let (report, fleet) = survey::read_with_report(folder.path(), &Host::default(), question).unwrap();
        (headline::lines(&fleet).len() + render::table(&report, now).len(), ())
    });
    let only = cellgate::policy::ids::AccountId::from_value(7);
    let one = timed("one account", || {
        let one = survey::read(folder.path(), &Host::default(), only, now).unwrap();
        (headline::lines(&one).len(), one)
    });
    assert_eq!(one.accounts.len(), 1);
    let known: u64 = fleet.verdicts.values().map(|count| count.now).sum();
    assert!(known > accounts * 9 / 10 && known <= accounts, "{known}");
    assert_eq!(report.verdicts.values().sum::<usize>() as u64, known);
}
