//! The files of the books.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;

use super::super::frame::tests::{NOON, frame, uses};
use super::super::frame::{Account, Use};
use super::super::report::requests_by_account;
use super::super::report::{Question, read};
use super::file::{KEEP_CELL_USE_DAYS, MAX_PAGES};
use super::*;
use crate::test_snapshot::account;

const DAY: i64 = 86_400;

fn november(folder: &Path) -> PathBuf {
    Month::of(NOON).file(folder)
}

/// The same, so many days earlier.
fn ago(days: i64, of: Use) -> Use {
    Use { day: of.day - days, ..of }
}

fn requests(folder: &Path) -> u64 {
    read(folder, Question::default()).unwrap().requests()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_frame_counts_once_and_frames_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::new(folder.path());
    for (writer, number, expect) in
        [("a", 1, 3), ("a", 1, 3), ("a", 2, 6), ("a", 1, 6), ("b", 1, 9), ("b", 1, 9), ("a", 3, 12)]
    {
        store.write(&frame(writer, number, vec![uses(1, "curl", 3)]), NOON).unwrap();
        assert_eq!(requests(folder.path()), expect, "{writer} {number}");
        // As after a crash.
        store = Store::new(folder.path());
    }
    let file = Connection::open(november(folder.path())).unwrap();
    let coverage: (i64, i64) = file
        .query_row("SELECT started_at, ended_at FROM coverage WHERE writer = 'a'", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(coverage, (NOON, NOON + 30));
    let mode = fs::metadata(november(folder.path())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_frame_of_two_months_is_written_to_both_once_and_covers_both() {
    let folder = tempfile::tempdir().unwrap();
    let midnight = Month::of(NOON).seconds().end;
    let next = Use { day: midnight.div_euclid(DAY), ..uses(1, "curl", 4) };
    let mut both = frame("a", 1, vec![uses(1, "curl", 3), next]);
    (both.started_at, both.ended_at) = (midnight - 4, midnight + 6);
    for _ in 0..2 {
        Store::new(folder.path()).write(&both, NOON).unwrap();
    }
    assert_eq!(names(folder.path()).iter().filter(|name| name.ends_with(".sqlite")).count(), 2);
    assert_eq!(requests(folder.path()), 7);
    // One file was written, the other not, and the frame comes again.
    Connection::open(Month::of(midnight).file(folder.path()))
        .unwrap()
        .execute_batch("DELETE FROM use_by_day; DELETE FROM integrations; DELETE FROM writers")
        .unwrap();
    Store::new(folder.path()).write(&both, NOON).unwrap();
    assert_eq!(requests(folder.path()), 7);
    let spans: Vec<(i64, i64)> = [NOON, midnight]
        .map(|at| {
            let file = Connection::open(Month::of(at).file(folder.path())).unwrap();
            let query = "SELECT started_at, ended_at FROM coverage";
            file.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
        })
        .into();
    assert_eq!(spans, [(midnight - 4, midnight), (midnight, midnight + 6)]);
}

#[test]
fn a_late_request_of_another_month_says_nothing_of_what_was_watched_then() {
    let folder = tempfile::tempdir().unwrap();
    let late = frame("a", 1, vec![ago(40, uses(1, "curl", 3))]);
    let mut store = Store::new(folder.path());
    store.write(&late, NOON).unwrap();
    assert_eq!(requests(folder.path()), 3);
    let october = Connection::open(Month::of(NOON - 40 * DAY).file(folder.path())).unwrap();
    let many: i64 = october.query_row("SELECT count(*) FROM coverage", [], |row| row.get(0)).unwrap();
    assert_eq!(many, 0);
}

#[test]
fn a_frame_that_fails_in_the_middle_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::new(folder.path());
    store.write(&frame("a", 1, vec![]), NOON).unwrap();
    let file = Connection::open(november(folder.path())).unwrap();
    file.execute_batch("ALTER TABLE gaps RENAME TO hidden").unwrap();
    let mut broken = frame("a", 2, vec![uses(1, "curl", 3)]);
    broken.gaps.push(Gap {
        reason: "spool".into(),
        started_at: None,
        ended_at: NOON,
        requests: None,
        note: None,
    });
    assert!(store.write(&broken, NOON).is_err());
    file.execute_batch("ALTER TABLE hidden RENAME TO gaps").unwrap();
    assert_eq!(requests(folder.path()), 0);
    store.write(&broken, NOON).unwrap();
    assert_eq!(requests(folder.path()), 3);
}

#[test]
fn a_full_disk_changes_nothing_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = MonthFile::open(folder.path(), Month::of(NOON)).unwrap();
    let pages: i64 = file.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    file.connection.pragma_update(None, "max_page_count", pages).unwrap();
    // Notes fill whole pages, so that the last one is surely full.
    let note = Some("x".repeat(4096));
    let gap = Gap { reason: "removed".into(), started_at: None, ended_at: 1, requests: None, note };
    let mut filled = 0;
    while file.record_gap("a", &gap).is_ok() {
        filled += 1;
        assert!(filled < 100, "the page limit does not hold");
    }
    let error = file.record_gap("a", &gap).unwrap_err();
    assert!(!error.is_damage(), "{error}");
    file.connection.pragma_update(None, "max_page_count", MAX_PAGES).unwrap();
    file.write(&[frame("a", 1, vec![uses(1, "curl", 2)])]).unwrap();
    assert_eq!(requests(folder.path()), 2);
}

#[test]
fn the_schema_is_made_once_and_a_later_one_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let file = MonthFile::open(folder.path(), Month::of(NOON)).unwrap();
        assert_eq!(check_version(&file.connection, &november(folder.path())).unwrap(), 3);
    }
    let later = Connection::open(november(folder.path())).unwrap();
    later.execute("INSERT INTO schema_version (version) VALUES (99)", []).unwrap();
    let error = Store::new(folder.path()).write(&frame("a", 1, vec![]), NOON).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    assert!(!error.is_damage());
}

#[test]
fn damage_is_told_from_other_trouble_and_only_the_damaged_month_is_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::new(folder.path());
    let october = frame("a", 1, vec![ago(30, uses(1, "curl", 5))]);
    store.write(&october, NOON).unwrap();
    drop(store);
    fs::write(november(folder.path()), "these are no books".repeat(1000)).unwrap();
    assert!(MonthFile::open(folder.path(), Month::of(NOON)).unwrap_err().is_damage());
    assert!(!MonthFile::open(&folder.path().join("missing"), Month::of(NOON)).unwrap_err().is_damage());
    let mut store = Store::new(folder.path());
    store.write(&frame("a", 2, vec![uses(1, "curl", 3)]), NOON + 20).unwrap();
    assert_eq!(requests(folder.path()), 8);
    let gap = &read(folder.path(), Question::default()).unwrap().gaps[0];
    let aside = format!("books-2026-11.sqlite.damaged-{}", NOON + 20);
    assert_eq!((gap.reason.as_str(), gap.note.as_deref()), ("damaged", Some(aside.as_str())));
    assert!(names(folder.path()).contains(&aside));
}

#[test]
fn damaged_files_are_kept_with_their_journals_but_not_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let path = november(folder.path());
    for now in 1..=5 {
        fs::write(&path, "x").unwrap();
        fs::write(with_suffix(&path, "-wal"), "x").unwrap();
        move_aside(folder.path(), Month::of(NOON), now).unwrap();
    }
    let name = "books-2026-11.sqlite.damaged";
    let expect: Vec<_> =
        (3..=5).flat_map(|now| [format!("{name}-{now}"), format!("{name}-{now}-wal")]).collect();
    assert_eq!(names(folder.path()), expect);
}

#[test]
fn old_months_go_as_files_and_the_days_of_half_a_year_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::new(folder.path());
    for (number, days_ago) in (1..).zip([0, 40, 100, 199, 240]) {
        let late = frame("a", number, vec![ago(days_ago, uses(1, "curl", 1))]);
        store.write(&late, NOON).unwrap();
    }
    fs::write(folder.path().join("books-2019-01.sqlite-wal"), "of another").unwrap();
    store.prune(NOON).unwrap();
    assert_eq!(requests(folder.path()), 4);
    store.prune(NOON + 3_599).unwrap();
    assert!(names(folder.path()).contains(&"books-2019-01.sqlite-wal".to_owned()), "no month of ours");
    store.prune(NOON + 100 * DAY).unwrap();
    assert_eq!(requests(folder.path()), 3);
}

#[test]
fn requests_on_cell_hosts_are_kept_for_some_days() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, today) = (Store::new(folder.path()), NOON.div_euclid(DAY));
    let mut first = frame("a", 1, vec![uses(1, "curl", 7)]);
    first.on_cell_hosts = vec![(today, 1, 3), (today, 9, 2), (today + 1, 9, 1)];
    for _ in 0..2 {
        store.write(&first, NOON).unwrap();
    }
    let found = || requests_by_account(folder.path(), 0).unwrap();
    assert_eq!(found(), [(account(1), 10), (account(9), 3)]);
    store.prune(NOON + (KEEP_CELL_USE_DAYS + 1) * DAY).unwrap();
    assert_eq!(found(), [(account(1), 7), (account(9), 1)], "what is older than a week goes");
    assert_eq!(requests(folder.path()), 7, "and is no legacy use");
}

#[test]
fn a_window_that_is_missing_between_two_is_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::new(folder.path());
    for number in [1, 2, 5] {
        store.write(&frame("a", number, vec![]), NOON).unwrap();
    }
    let file = Connection::open(november(folder.path())).unwrap();
    let gap: (i64, i64, String) = file
        .query_row("SELECT started_at, ended_at, reason FROM gaps", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(gap, (NOON + 20, NOON + 40, "spool".into()));
}

#[test]
fn reports_go_without_an_earlier_month_that_cannot_be_read_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    Store::new(folder.path()).write(&frame("a", 1, vec![uses(1, "curl", 3)]), NOON).unwrap();
    for name in ["books-2026-08.sqlite", "books-2026-09.sqlite"] {
        fs::write(folder.path().join(name), if name.contains("08") { "" } else { "no books" }.repeat(1000))
            .unwrap();
    }
    let report = read(folder.path(), Question::default()).unwrap();
    let notes: Vec<_> = report.gaps.iter().filter_map(|gap| gap.note.as_deref()).collect();
    assert_eq!((report.requests(), notes), (3, vec!["books-2026-08.sqlite", "books-2026-09.sqlite"]));
}

#[test]
fn windows_that_are_written_together_are_written_as_if_one_by_one() {
    let rows = |folder: &Path| {
        let file = Connection::open(november(folder)).unwrap();
        let tables = [
            "SELECT subject || account || client || surface || class || credential || network || template || first_seen || last_seen || hex(days) FROM integrations",
            "SELECT day || client || account || status_1xx || status_2xx || status_3xx || status_4xx || status_5xx || writes || refused || h09 || h10 || h11
                 FROM use_by_day JOIN integrations ON id = integration",
            "SELECT account || coalesce(prefix, '-') || cell || seen_at FROM accounts",
            "SELECT day || ' ' || account || ' ' || requests FROM cell_use",
            "SELECT writer || started_at || ended_at FROM coverage",
            "SELECT writer || last_window FROM writers",
            "SELECT reason || coalesce(started_at, '-') || ended_at FROM gaps",
        ];
        tables.map(|query| {
            let mut query = file.prepare(query).unwrap();
            let mut rows: Vec<String> =
                query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
            rows.sort();
            rows
        })
    };
    let mut rng = fastrand::Rng::with_seed(4);
    let frames: Vec<Frame> = (1..=30)
        .filter(|number| *number != 17)
        .map(|number| {
            let many = rng.usize(0..20);
            let made_up = (0..many).map(|_| {
                let mut of = ago(
                    rng.i64(0..3),
                    uses(rng.u64(1..9), ["curl", "airflow"][rng.usize(0..2)], rng.u64(1..5)),
                );
                of.hours = vec![(rng.u8(9..12), of.statuses[1])];
                of.template = ["other", "/a"][rng.usize(0..2)].into();
                (of.first_seen, of.last_seen) = (NOON - rng.i64(0..99), NOON + rng.i64(0..99));
                of
            });
            let mut frame = frame("a", number, made_up.collect());
            let (id, cell) = (rng.u64(1..4), ["us1", "us2"][rng.usize(0..2)].into());
            frame.accounts = vec![Account { id, prefix: Some("ab123".into()), cell }].into();
            frame.on_cell_hosts = (1..rng.u64(2..5)).map(|id| (NOON / DAY, id, rng.u64(1..9))).collect();
            frame
        })
        .collect();
    let [one_by_one, together] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for frame in &frames {
        Store::new(one_by_one.path()).write(frame, NOON).unwrap();
    }
    let mut store = Store::new(together.path());
    store.write_all(&frames[..3], NOON).unwrap();
    // Some of them are in already.
    store.write_all(&frames[1..], NOON).unwrap();
    assert_eq!(rows(together.path()), rows(one_by_one.path()));
    assert_eq!(rows(together.path())[6].len(), 1, "the window that is missing");
}
