//! The running books. The threads that serve requests count each on a sheet of their own; one thread collects the sheets
//! and makes a frame of each window, another takes frames from the outbox to the files. Requests on cell hosts are only
//! counted by account, where they end.
//!
//! A killed process loses the window that was open, and no more: a frame is on the disk before it is in a file, in space that
//! was taken beforehand. Where that is used up too, because the files take nothing for hours, the window stays open: nothing
//! is lost, memory stays bounded by the keys of a window, and no request notices.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant, SystemTime};

use crate::policy::code::Code;
use crate::policy::hosts::Role;
use crate::quiet::give_way;
use crate::telemetry::EventSink;
use crate::telemetry::event::RequestEvent;
use crate::telemetry::metrics::{BooksMeters, Metrics};
use crate::telemetry::wall_time::unix_seconds;

use super::cell_use::{CellUse, account_of};
use super::database::Shipping;
use super::database::shipper::Shipper;
use super::outbox::Outbox;
use super::sheets::Sheets;
use super::spool::Reader;
use super::told::Told;
use super::window::Window;
use super::writer::Writer;

pub use super::spool::LEAST_BYTES as LEAST_SPOOL_BYTES;

/// How often sheets are collected, where a window is not shorter: bounds what a sheet has to hold.
const TURN: Duration = Duration::from_secs(1);

/// How long the end of the process waits for the last shipment. What was not shipped is in the spool.
const LAST_SHIPMENT: Duration = Duration::from_secs(5);

/// Where and how the books are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BooksSettings {
    /// The state folder; files in it are made where there are none.
    pub folder: PathBuf,
    /// How long a window is.
    pub window: Duration,
    /// Size of the spool; at least [`LEAST_SPOOL_BYTES`].
    pub spool_bytes: u64,
    /// Names this run of this process; never the same again. See [`new_writer`].
    pub writer: String,
    /// Names this replica among others of a fleet.
    pub replica: String,
    /// Ships to the database of a fleet, too.
    pub shipping: Option<Shipping>,
}

/// Running books.
#[derive(Debug)]
pub struct Books {
    sheets: Arc<Sheets>,
    cell_use: Arc<CellUse>,
    lost: metrics::Counter,
    stop: SyncSender<()>,
    ended: Mutex<Receiver<()>>,
}

/// A name for a run of a process: its start and its process id tell it from every other run on this
/// machine, the random part from those of other machines.
pub fn new_writer(started: SystemTime, random: u64) -> String {
    format!("{}-{}-{random:016x}", unix_seconds(started), std::process::id())
}

impl Books {
    /// Starts the threads. Files or a database that cannot be written do not end the start of a proxy: that is
    /// reported in the process log and tried again.
    ///
    /// # Errors
    /// The operating system has no thread left.
    pub fn start(settings: BooksSettings, metrics: &Metrics) -> io::Result<Self> {
        let (stop, stopped) = sync_channel(1);
        let (ended, end) = sync_channel::<()>(1);
        let (sheets, cell_use) = (Arc::<Sheets>::default(), Arc::<CellUse>::default());
        warn_of_earlier(&settings.folder);
        let outbox = Outbox::new(settings.folder.clone(), settings.spool_bytes, settings.shipping.is_some());
        let shared = Arc::new(Shared::new(outbox, metrics.books()));
        let lost = shared.meters.lost.clone();
        let writer = Writer::new(&settings.folder, Arc::clone(&shared));
        let writer = std::thread::Builder::new().name("books-writer".into()).spawn(move || {
            give_way();
            writer.run();
        })?;
        let shipper = settings.shipping.clone().map(|shipping| {
            let shipper = Shipper::new(shipping, Arc::clone(&shared), metrics.shipments());
            let (done, end) = sync_channel::<()>(1);
            let thread = std::thread::Builder::new().name("books-fleet".into()).spawn(move || {
                give_way();
                shipper.run();
                drop(done);
            });
            thread.map(|thread| ShipperThread { thread: thread.thread().clone(), end })
        });
        let collector = Collector {
            sheets: Arc::clone(&sheets),
            cell_use: Arc::clone(&cell_use),
            told: Told::default(),
            window: Window::new(unix_seconds(SystemTime::now())),
            number: 0,
            settings,
            writer: writer.thread().clone(),
            shipper: shipper.transpose()?,
            shared,
        };
        std::thread::Builder::new().name("books".into()).spawn(move || {
            // A second's counts are 30 ms of work at a time, which requests of a busy core waited for. With every core
            // busy it has a tenth of one: sheets then hold what they can, and what they cannot is counted without detail.
            give_way();
            collector.run(&stopped, writer);
            drop(ended);
        })?;
        Ok(Self { sheets, cell_use, lost, stop, ended: Mutex::new(end) })
    }
}

/// Editions before kept one file, which nothing reads any more.
fn warn_of_earlier(folder: &Path) {
    let earlier = folder.join("books.sqlite");
    if earlier.exists() {
        tracing::warn!(
            file = %earlier.display(),
            "books of an earlier cellgate are not read any more: reports begin anew. Keep the file for that edition, or delete it"
        );
    }
}

impl EventSink for Books {
    fn offer(&self, event: &RequestEvent) {
        let role = event.role();
        if !self.sheets.count(event) && role == Some(Role::Legacy) {
            self.lost.increment(1);
        }
        if role == Some(Role::Cell)
            && let Some(account) = account_of(event)
        {
            self.cell_use.count(account);
        }
    }

    fn close(&self, within: Duration) -> bool {
        self.sheets.close();
        // Full when it was closed before.
        let _ = self.stop.try_send(());
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing is ever sent: the end is the disconnection.
        matches!(ended.recv_timeout(within), Err(RecvTimeoutError::Disconnected))
    }
}

/// What the threads have in common.
#[derive(Debug)]
pub(super) struct Shared {
    outbox: Mutex<Outbox>,
    /// Nothing more will come.
    pub ending: AtomicBool,
    pub meters: BooksMeters,
}

/// The thread that ships, which ends when `end` is disconnected.
struct ShipperThread {
    thread: Thread,
    end: Receiver<()>,
}

impl Shared {
    pub fn new(outbox: Outbox, meters: BooksMeters) -> Self {
        Self { outbox: Mutex::new(outbox), ending: AtomicBool::new(false), meters }
    }

    /// Held for the time of a look into the spool, never while something is written elsewhere.
    pub fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The collecting thread.
struct Collector {
    sheets: Arc<Sheets>,
    cell_use: Arc<CellUse>,
    told: Told,
    window: Window,
    /// Of the last window that was sealed.
    number: i64,
    settings: BooksSettings,
    writer: Thread,
    shipper: Option<ShipperThread>,
    shared: Arc<Shared>,
}

impl Collector {
    fn run(mut self, stopped: &Receiver<()>, writer: JoinHandle<()>) {
        // The first window is sealed at once: a report then knows since when there are books.
        let (mut due, mut is_stuck) = (Instant::now(), false);
        loop {
            self.collect();
            // One that could be kept nowhere is not made again at every turn.
            if Instant::now() >= due || self.window.is_full() && !is_stuck {
                is_stuck = self.seal(false).is_some();
                due = Instant::now() + self.settings.window;
            }
            let turn = due.saturating_duration_since(Instant::now()).min(TURN);
            if !matches!(stopped.recv_timeout(turn), Err(RecvTimeoutError::Timeout)) {
                break;
            }
        }
        // A window of requests on cell hosts comes out a turn later.
        self.count_on_cell_hosts(unix_seconds(SystemTime::now()));
        self.collect();
        let last = self.seal(true);
        if let Some(requests) = last {
            self.shared.meters.lost.increment(requests);
            tracing::error!(code = %Code::BooksIncomplete,
                requests,
                "legacy requests are missing in the books: the process ends and the disk is full"
            );
        }
        self.shared.ending.store(true, Ordering::Release);
        self.writer.unpark();
        if let Some(shipper) = &self.shipper {
            shipper.thread.unpark();
        }
        if writer.join().is_err() {
            tracing::error!(code = %Code::Panicked, "the writer of the books ended with a panic; report it");
        }
        if let Some(shipper) = &self.shipper {
            let _ = shipper.end.recv_timeout(LAST_SHIPMENT);
        }
    }

    fn collect(&mut self) {
        let Self { sheets, window, told, shared, .. } = self;
        sheets.collect(|sheet| shared.meters.without_detail.increment(window.add(sheet, told)));
    }

    fn count_on_cell_hosts(&mut self, now: i64) {
        let left_out = self.window.count_on_cell_hosts(&self.cell_use, now);
        self.shared.meters.cell_hosts.increment(left_out);
    }

    /// Makes a frame of the window and begins the next one; where the frame can be kept nowhere, the window stays open, and
    /// how many requests it has is returned.
    fn seal(&mut self, last: bool) -> Option<u64> {
        // Windows follow one another without a hole, also when the clock is set back.
        let now = unix_seconds(SystemTime::now()).max(self.window.started_at);
        self.count_on_cell_hosts(now);
        let mut frame = self.window.frame(&self.settings.writer, self.number + 1, now);
        (frame.replica, frame.last) = (self.settings.replica.clone(), last);
        let requests = frame.requests();
        let mut outbox = self.shared.outbox();
        let kept = outbox.put(frame, now);
        self.shared.meters.waiting.set(outbox.len(Reader::Files) as f64);
        drop(outbox);
        if !kept {
            return Some(requests);
        }
        self.number += 1;
        self.window = self.window.next(now);
        self.writer.unpark();
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::path::Path;

    use rusqlite::Connection;

    use super::super::month::Month;
    use super::super::report::{Question, read, requests_by_account};
    use super::super::store::months;
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
        let spool_bytes = LEAST_SPOOL_BYTES;
        let settings = BooksSettings {
            folder: folder.into(),
            window,
            spool_bytes,
            writer: writer.into(),
            replica: String::new(),
            shipping: None,
        };
        let books = Books::start(settings, &metrics).unwrap();
        Running { metrics, books }
    }

    impl Running {
        fn offer(&self, requests: u64) {
            self.offer_of(SystemTime::now(), requests);
        }

        fn offer_of(&self, started: SystemTime, requests: u64) {
            let mut event = legacy_event(&snapshot(1));
            event.started = started;
            (0..requests).for_each(|_| self.books.offer(&event));
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

    /// The file of this month, in which all windows of these tests are, and what is offered as of now.
    fn file(folder: &Path) -> std::path::PathBuf {
        Month::of(unix_seconds(SystemTime::now())).file(folder)
    }

    /// Requests in the files; what cannot be read (yet) has none.
    fn written(folder: &Path) -> u64 {
        let read = |month: Month| {
            let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
            let books = Connection::open_with_flags(month.file(folder), flags)?;
            let sum = "SELECT coalesce(sum(status_2xx), 0) FROM use_by_day";
            books.query_row(sum, [], |row| row.get::<_, u32>(0))
        };
        months(folder).unwrap_or_default().into_iter().map(|month| read(month).map_or(0, u64::from)).sum()
    }

    fn gaps(folder: &Path) -> Vec<(String, Option<i64>)> {
        let read = |month: Month| {
            let books = Connection::open(month.file(folder)).unwrap();
            let mut gaps = books.prepare("SELECT reason, requests FROM gaps ORDER BY rowid").unwrap();
            let rows = gaps.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            rows.map(Result::unwrap).collect::<Vec<_>>()
        };
        months(folder).unwrap().into_iter().flat_map(read).collect()
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
        let other = Connection::open(file(folder.path())).unwrap();
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
        fs::write(file(folder.path()), "no books at all".repeat(1000)).unwrap();
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
        let path = file(folder.path());
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
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", file(folder.path()).display()));
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
    fn requests_on_cell_hosts_are_counted_by_account_and_are_no_legacy_use() {
        let folder = tempfile::tempdir().unwrap();
        // A day may end meanwhile.
        let since = unix_seconds(SystemTime::now());
        for run in 1..=2u64 {
            let running = start(folder.path(), &format!("run-{run}"));
            // Of days before, maybe of another month.
            running.offer_of(SystemTime::now() - Duration::from_secs(3 * 86_400), 5);
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
