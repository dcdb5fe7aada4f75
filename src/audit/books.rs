//! The running books: one thread adds legacy requests up in memory, another takes a window after the
//! other to disk. Requests on cell hosts are only counted by account, where they end.
//!
//! When the disk does not take a window, it is tried again until it does, and the window being counted
//! simply stays open longer: nothing is lost, memory stays bounded by the keys of two windows, and no
//! request notices.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use crate::policy::hosts::Role;
use crate::telemetry::EventSink;
use crate::telemetry::event::RequestEvent;
use crate::telemetry::lane::{LANE_EVENTS, Lane, LaneEnd, Next, lane};
use crate::telemetry::metrics::BooksMeters;
use crate::telemetry::wall_time::unix_seconds;

use super::cell_use::{CellUse, account_of};
use super::store::{Gap, Sealed, Store, StoreError, move_aside};
use super::tally::Window;

/// How long a window is by default: what a killed process loses at most, against one small write.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(10);

/// First pause after a failed write; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Longest pause: a disk that has room again is noticed within half a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often a window is tried when the process ends. The second try follows a move of a damaged file.
const LAST_TRIES: u32 = 2;

/// Where and how the books are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BooksSettings {
    /// The state folder; the file in it is made where there is none.
    pub folder: PathBuf,
    /// How long a window is.
    pub window: Duration,
    /// Names this run of this process; never the same again. See [`new_writer`].
    pub writer: String,
}

/// Running books.
#[derive(Debug)]
pub struct Books {
    lane: Lane,
    missed: Arc<AtomicU64>,
    cell_use: Arc<CellUse>,
}

/// A name for a run of a process: its start and its process id tell it from every other run on this
/// machine, the random part from those of other machines.
pub fn new_writer(started: SystemTime, random: u64) -> String {
    format!("{}-{}-{random:016x}", unix_seconds(started), std::process::id())
}

impl Books {
    /// Starts both threads. A file that cannot be written does not end the start of a proxy: it is
    /// reported in the process log and tried again.
    ///
    /// # Errors
    /// The operating system has no thread left.
    pub fn start(settings: BooksSettings, meters: BooksMeters) -> io::Result<Self> {
        let (lane, end) = lane(LANE_EVENTS, meters.queue_full.clone());
        let missed = Arc::new(AtomicU64::new(0));
        let cell_use = Arc::new(CellUse::default());
        let ending = Arc::new(AtomicBool::new(false));
        // One window waits while another is written; more would only make a failure longer.
        let (windows, sealed) = sync_channel(1);
        let counter = Counter {
            window: Window::new(unix_seconds(SystemTime::now())),
            number: 0,
            length: settings.window,
            missed: Arc::clone(&missed),
            cell_use: Arc::clone(&cell_use),
            overflow: meters.overflow.clone(),
            cell_hosts: meters.cell_hosts.clone(),
            windows,
        };
        let writer = Writer { settings, store: None, failing: false, ending: Arc::clone(&ending), meters };
        let writer =
            std::thread::Builder::new().name("books-writer".into()).spawn(move || writer.run(&sealed))?;
        std::thread::Builder::new().name("books".into()).spawn(move || {
            counter.run(&end, &ending, &writer);
            // The lane has ended when both have: `end` is dropped after this.
            if writer.join().is_err() {
                tracing::error!("the writer of the books ended with a panic; report it");
            }
            drop(end);
        })?;
        Ok(Self { lane, missed, cell_use })
    }
}

impl EventSink for Books {
    fn offer(&self, event: &Arc<RequestEvent>) {
        let role = event.role();
        if role == Some(Role::Legacy) && !self.lane.offer(event) {
            self.missed.fetch_add(1, Ordering::Relaxed);
        } else if role == Some(Role::Cell)
            && let Some(account) = account_of(event)
        {
            self.cell_use.count(account);
        }
    }

    fn close(&self, within: Duration) -> bool {
        self.lane.close(within)
    }
}

/// The counting thread.
struct Counter {
    window: Window,
    number: i64,
    length: Duration,
    missed: Arc<AtomicU64>,
    cell_use: Arc<CellUse>,
    overflow: metrics::Counter,
    cell_hosts: metrics::Counter,
    windows: SyncSender<Sealed>,
}

impl Counter {
    fn run(mut self, end: &LaneEnd, ending: &AtomicBool, writer: &std::thread::JoinHandle<()>) {
        // The first window is handed over at once: a report then knows since when there are books.
        let mut due = Instant::now();
        loop {
            match end.next(due.saturating_duration_since(Instant::now())) {
                Next::Event(event) => {
                    if !self.window.count(&event) {
                        self.overflow.increment(1);
                    }
                }
                Next::Nothing => {}
                Next::End => break,
            }
            if Instant::now() >= due {
                self.hand_over();
                due = Instant::now() + self.length;
            }
        }
        ending.store(true, Ordering::Relaxed);
        writer.thread().unpark();
        // A window of requests on cell hosts comes out a turn later.
        self.turn(unix_seconds(SystemTime::now()));
        let last = self.seal();
        // The writer ends when the channel does, not before; it gives up on windows by then.
        let _ = self.windows.send(last);
    }

    /// Gives the window to the writer, or keeps it open when the writer still has one waiting.
    fn hand_over(&mut self) {
        let sealed = self.seal();
        match self.windows.try_send(sealed) {
            Ok(()) => {}
            Err(TrySendError::Full(kept) | TrySendError::Disconnected(kept)) => {
                self.number -= 1;
                self.missed.fetch_add(kept.missed, Ordering::Relaxed);
                self.window = kept.window;
            }
        }
    }

    /// Takes over what was counted on cell hosts.
    fn turn(&mut self, now: i64) {
        let left_out = self.window.count_on_cell_hosts(&self.cell_use, now);
        self.cell_hosts.increment(left_out);
    }

    fn seal(&mut self) -> Sealed {
        // Windows follow one another without a hole, also when the clock is set back.
        let now = unix_seconds(SystemTime::now()).max(self.window.started_at);
        self.turn(now);
        self.number += 1;
        Sealed {
            number: self.number,
            ended_at: now,
            missed: self.missed.swap(0, Ordering::Relaxed),
            window: std::mem::replace(&mut self.window, Window::new(now)),
        }
    }
}

/// The writing thread.
struct Writer {
    settings: BooksSettings,
    store: Option<Store>,
    /// Whether the last attempt failed, so that the process log hears of changes only.
    failing: bool,
    ending: Arc<AtomicBool>,
    meters: BooksMeters,
}

impl Writer {
    fn run(mut self, windows: &Receiver<Sealed>) {
        while let Ok(sealed) = windows.recv() {
            self.write_until_done(&sealed);
        }
    }

    fn write_until_done(&mut self, sealed: &Sealed) {
        let mut pause = FIRST_PAUSE;
        let mut last_tries = 0;
        loop {
            match self.try_write(sealed) {
                Ok(()) => return self.written(sealed),
                Err(error) => self.failed(&error),
            }
            if self.ending.load(Ordering::Relaxed) {
                last_tries += 1;
                if last_tries >= LAST_TRIES {
                    self.meters.lost.increment(sealed.window.requests);
                    tracing::error!(
                        requests = sealed.window.requests,
                        "legacy requests are missing in the books: the process ends and the file \
                         cannot be written"
                    );
                    return;
                }
                continue;
            }
            std::thread::park_timeout(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn try_write(&mut self, sealed: &Sealed) -> Result<(), StoreError> {
        let written = self.with_store(|store, writer| store.write(writer, sealed));
        match written {
            Err(error) if error.is_damage() => {
                self.start_afresh(&error)?;
                self.with_store(|store, writer| store.write(writer, sealed))
            }
            other => other,
        }
    }

    fn with_store(
        &mut self,
        work: impl FnOnce(&mut Store, &str) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut store = match self.store.take() {
            Some(store) if store.is_in_place() => store,
            Some(_) => self.open_removed()?,
            None => Store::open(&self.settings.folder)?,
        };
        let done = work(&mut store, &self.settings.writer);
        // After damage the file is not touched again through this connection.
        if !done.as_ref().is_err_and(StoreError::is_damage) {
            self.store = Some(store);
        }
        done
    }

    /// Somebody has deleted or replaced the file: opens what is there now and says so in it.
    fn open_removed(&self) -> Result<Store, StoreError> {
        tracing::error!(
            folder = %self.settings.folder.display(),
            "the file of the books was removed or replaced while it was open; continuing in the one there now"
        );
        let mut store = Store::open(&self.settings.folder)?;
        let gap = Gap { reason: "removed", requests: None, note: None };
        store.record_gap(&self.settings.writer, unix_seconds(SystemTime::now()), &gap)?;
        Ok(store)
    }

    /// Puts a damaged file aside and says so in the new one.
    fn start_afresh(&mut self, damage: &StoreError) -> Result<(), StoreError> {
        let now = unix_seconds(SystemTime::now());
        let aside = move_aside(&self.settings.folder, now)?;
        tracing::error!(
            %damage, moved_to = %aside.display(),
            "the books are damaged: the file is moved aside and a new one begun"
        );
        let name = aside.file_name().map(|name| name.to_string_lossy().into_owned());
        let gap = Gap { reason: "damaged", requests: None, note: name.as_deref() };
        self.with_store(|store, writer| store.record_gap(writer, now, &gap))
    }

    fn written(&mut self, sealed: &Sealed) {
        self.meters.flushed.increment(1);
        self.meters.last_flush.set(sealed.ended_at as f64);
        if std::mem::replace(&mut self.failing, false) {
            tracing::info!("the books are written again; nothing is missing");
        }
        let pruned = self.with_store(|store, _| store.prune(sealed.ended_at));
        if let Err(error) = pruned {
            tracing::warn!(%error, "old hours cannot be deleted from the books");
        }
    }

    fn failed(&mut self, error: &StoreError) {
        self.meters.failed.increment(1);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(
                folder = %self.settings.folder.display(), %error,
                "the books cannot be written; they are kept in memory and tried again. Check the \
                 folder, its permissions and the space on its disk"
            );
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::path::Path;

    use rusqlite::Connection;

    use super::super::BOOKS_FILE;
    use super::super::report::{Question, read, requests_by_account};
    use super::*;
    use crate::policy::decide::{Decision, Verdict, Why};
    use crate::policy::ids::CellIndex;
    use crate::policy::refusal::Refusal;
    use crate::telemetry::fixture::{legacy_event, snapshot, wait_until};
    use crate::telemetry::metrics::Metrics;
    use crate::test_snapshot::account;

    const PATIENCE: Duration = Duration::from_secs(20);

    struct Running {
        metrics: Arc<Metrics>,
        books: Books,
    }

    fn start(folder: &Path, writer: &str) -> Running {
        let metrics = Arc::new(Metrics::new());
        let window = Duration::from_millis(20);
        let settings = BooksSettings { folder: folder.into(), window, writer: writer.into() };
        let books = Books::start(settings, metrics.books()).unwrap();
        Running { metrics, books }
    }

    impl Running {
        fn offer(&self, requests: u64) {
            let snapshot = snapshot(1);
            for _ in 0..requests {
                self.books.offer(&Arc::new(legacy_event(&snapshot)));
            }
        }

        fn value(&self, series: &str) -> u64 {
            let page = self.metrics.render(&snapshot(1), SystemTime::UNIX_EPOCH);
            let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            value.unwrap().parse().unwrap()
        }

        fn failures(&self) -> u64 {
            self.value(r#"cellgate_books_flushes_total{result="failed"}"#)
        }
    }

    /// Requests in the file; 0 where it cannot be read (yet).
    fn written(folder: &Path) -> u64 {
        let read = || {
            let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
            let books = Connection::open_with_flags(folder.join(BOOKS_FILE), flags)?;
            let sum = "SELECT coalesce(sum(status_2xx), 0) FROM legacy_use";
            books.query_row(sum, [], |row| row.get::<_, u32>(0))
        };
        read().map_or(0, u64::from)
    }

    fn gaps(folder: &Path) -> Vec<(String, Option<i64>)> {
        let books = Connection::open(folder.join(BOOKS_FILE)).unwrap();
        let mut gaps = books.prepare("SELECT reason, requests FROM gaps ORDER BY rowid").unwrap();
        let rows = gaps.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    #[test]
    fn what_was_sent_is_counted_once_windows_included() {
        let folder = tempfile::tempdir().unwrap();
        for run in 1..=3u64 {
            let running = start(folder.path(), &format!("run-{run}"));
            running.offer(500);
            wait_until(|| written(folder.path()) > (run - 1) * 1000);
            running.offer(500);
            assert!(running.books.close(PATIENCE));
            assert_eq!(written(folder.path()), run * 1000);
            assert!(running.value(r#"cellgate_books_flushes_total{result="ok"}"#) >= 2);
            assert_eq!(running.failures(), 0);
        }
        assert_eq!(gaps(folder.path()), []);
    }

    #[test]
    fn books_that_cannot_be_written_are_kept_until_they_can() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let running = start(&state, "a");
        running.offer(100);
        wait_until(|| running.failures() >= 2);
        running.offer(100);
        fs::create_dir(&state).unwrap();
        wait_until(|| written(&state) == 200);
        running.offer(1);
        assert!(running.books.close(PATIENCE));
        assert_eq!(written(&state), 201);
        assert_eq!(gaps(&state), []);
    }

    #[test]
    fn a_lock_held_by_another_process_delays_the_books_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let running = start(folder.path(), "a");
        running.offer(10);
        wait_until(|| written(folder.path()) == 10);
        let other = Connection::open(folder.path().join(BOOKS_FILE)).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        running.offer(10);
        wait_until(|| running.failures() >= 1);
        other.execute_batch("ROLLBACK").unwrap();
        assert!(running.books.close(PATIENCE));
        assert_eq!(written(folder.path()), 20);
    }

    #[test]
    fn a_damaged_file_is_put_aside_and_recorded() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(BOOKS_FILE), "no books at all".repeat(1000)).unwrap();
        let running = start(folder.path(), "a");
        running.offer(7);
        assert!(running.books.close(PATIENCE));
        assert_eq!(written(folder.path()), 7);
        assert_eq!(gaps(folder.path()), [("damaged".to_owned(), None)]);
        let aside = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.to_string_lossy().contains("damaged-"))
            .unwrap();
        assert!(fs::read_to_string(aside).unwrap().starts_with("no books at all"));
    }

    #[test]
    fn a_file_damaged_while_it_is_open_is_put_aside_too() {
        let folder = tempfile::tempdir().unwrap();
        let running = start(folder.path(), "a");
        running.offer(5);
        wait_until(|| written(folder.path()) == 5);
        let path = folder.path().join(BOOKS_FILE);
        Connection::open(&path).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        let size = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
        use std::os::unix::fs::FileExt;
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        // Every page but the first; its own header would be read again only at the next open.
        file.write_all_at(&vec![0xa5; size - 4096], 4096).unwrap();
        // Cached pages are trusted until another connection has written.
        let _ = Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 7");
        running.offer(3);
        wait_until(|| written(folder.path()) == 3);
        assert!(running.books.close(PATIENCE));
        assert_eq!(gaps(folder.path()), [("damaged".to_owned(), None)]);
    }

    #[test]
    fn a_file_that_somebody_deleted_is_begun_anew_and_the_gap_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let running = start(folder.path(), "a");
        running.offer(5);
        wait_until(|| written(folder.path()) == 5);
        for name in [BOOKS_FILE.to_owned(), format!("{BOOKS_FILE}-wal"), format!("{BOOKS_FILE}-shm")] {
            let _ = fs::remove_file(folder.path().join(name));
        }
        running.offer(4);
        assert!(running.books.close(PATIENCE));
        assert_eq!(written(folder.path()), 4);
        assert_eq!(gaps(folder.path()), [("removed".to_owned(), None)]);
    }

    #[test]
    fn what_cannot_be_written_before_the_end_is_counted_as_lost() {
        let folder = tempfile::tempdir().unwrap();
        let running = start(&folder.path().join("missing"), "a");
        running.offer(9);
        assert!(running.books.close(PATIENCE));
        assert_eq!(running.value(r#"cellgate_books_dropped_total{reason="lost"}"#), 9);
    }

    #[test]
    fn requests_that_found_the_queue_full_are_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        let (windows, sealed) = sync_channel(1);
        let missed = Arc::new(AtomicU64::new(0));
        let mut counter = Counter {
            window: Window::new(100),
            number: 0,
            length: Duration::ZERO,
            missed: Arc::clone(&missed),
            cell_use: Arc::default(),
            overflow: metrics.books().overflow,
            cell_hosts: metrics.books().cell_hosts,
            windows,
        };
        let (lane, end) = lane(2, metrics.books().queue_full);
        let books = Books { lane, missed, cell_use: Arc::default() };
        let event = Arc::new(legacy_event(&snapshot(1)));
        (0..5).for_each(|_| books.offer(&event));
        // The first is handed over, the second waits, the third has to be kept open and is the same.
        counter.hand_over();
        (0..2).for_each(|_| books.offer(&event));
        counter.hand_over();
        counter.hand_over();
        let mut store = Store::open(folder.path()).unwrap();
        store.write("a", &sealed.recv().unwrap()).unwrap();
        counter.hand_over();
        store.write("a", &sealed.recv().unwrap()).unwrap();
        assert_eq!(gaps(folder.path()), [("queue_full".into(), Some(3)), ("queue_full".into(), Some(2))]);
        drop(end);
    }

    #[test]
    fn only_legacy_requests_take_a_place_in_the_queue() {
        let metrics = Metrics::new();
        let (lane, end) = lane(1, metrics.books().queue_full);
        let books = Books { lane, missed: Arc::default(), cell_use: Arc::default() };
        let mut event = legacy_event(&snapshot(1));
        event.decision.as_mut().unwrap().role = Some(Role::Cell);
        books.offer(&Arc::new(event));
        assert!(matches!(end.at_once(), Next::Nothing));
    }

    #[test]
    fn requests_on_cell_hosts_are_counted_by_account_and_are_no_legacy_use() {
        let folder = tempfile::tempdir().unwrap();
        for run in 1..=2u64 {
            let running = start(folder.path(), &format!("run-{run}"));
            running.offer(5);
            let snapshot = snapshot(1);
            let on_cell_host = |change: &dyn Fn(&mut Decision)| {
                let mut event = legacy_event(&snapshot);
                event.host = "ab123.us1.dbt.com".into();
                event.started = SystemTime::now();
                let decision = event.decision.as_mut().unwrap();
                decision.role = Some(Role::Cell);
                change(decision);
                running.books.offer(&Arc::new(event));
            };
            for _ in 0..700 {
                on_cell_host(&|_| {});
                on_cell_host(&|decision| decision.account = Some(account(2)));
            }
            // Refused, sent to a fallback, of nobody: no traffic of the account's.
            on_cell_host(&|decision| decision.verdict = Verdict::Refuse(Refusal::NoAccount));
            on_cell_host(&|decision| {
                decision.verdict = Verdict::Forward { cell: CellIndex(0), why: Why::Fallback }
            });
            on_cell_host(&|decision| decision.account = None);
            assert!(running.books.close(PATIENCE));
            assert_eq!(running.value(r#"cellgate_books_dropped_total{reason="cell_hosts"}"#), 0);
            assert_eq!(written(folder.path()), run * 5);
            let since = unix_seconds(SystemTime::now());
            let found = requests_by_account(folder.path(), since).unwrap();
            assert_eq!(found, [(account(1), 700 * run), (account(2), 700 * run)]);
            let all = requests_by_account(folder.path(), 0).unwrap();
            assert_eq!(all, [(account(1), 705 * run), (account(2), 700 * run)], "legacy use counts too");
            let report = read(folder.path(), Question::default()).unwrap();
            assert_eq!((report.accounts.len(), report.requests()), (1, 5 * run));
        }
        assert_eq!(gaps(folder.path()), []);
    }

    #[test]
    fn a_writer_is_named_after_its_run() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        assert_ne!(new_writer(at, 1), new_writer(at, 2));
        assert!(new_writer(at, 0xab).ends_with("-00000000000000ab"));
    }
}
