//! The thread that takes windows from the outbox to the files. A row of a file costs several times as much as counting it did,
//! and in a window of many accounts each has hardly more than one request. So where there are many rows, windows wait in the
//! spool until there are more requests to a row, and are written together; at once where a report asks for them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use crate::policy::code::Code;
use crate::telemetry::wall_time::unix_seconds;

use super::bell::{Bell, LOOK};
use super::books::Shared;
use super::frame::Frame;
use super::spool::Reader;
use super::store::{Store, StoreError};

/// First pause after a failed write; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Longest pause: a disk that has room again is noticed within half a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often frames are tried when the process ends. The second try follows a move of a damaged file.
const LAST_TRIES: u32 = 2;

/// Rows that the files get in a second, on average: at some ten microseconds each, a fortieth of a core. Up to 25,000 in a window
/// of ten seconds, each window is written when it ends.
const ROWS_A_SECOND: u64 = 2_500;

/// Longest that a window waits for others: what a process that is killed leaves in its spool is that much, and comes into
/// the files when the next one looks.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// Shortest: for less, nothing is held back.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Windows that are held back at most. More are an alarm (`CellgateBooksBehind` of monitoring/cellgate.rules.yaml). Where a
/// million accounts come at random, this many of 64 k rows have five requests to a row, and lie closer together in the files: with
/// 400,000 rows at a time the system's part of one is a third of what it is with 50,000.
const MOST_HELD: usize = 60;

/// Windows of one transaction. Packed, they are in memory together: at 64 k rows of some 20 bytes each, 80 MB.
const MOST_FRAMES: usize = 64;

/// The thread.
pub(super) struct Writer {
    store: Store,
    bell: Bell,
    /// Whether the last attempt failed, so that the process log hears of changes only.
    failing: bool,
    shared: Arc<Shared>,
}

impl Writer {
    /// Of the files of a folder.
    pub fn new(folder: &Path, shared: Arc<Shared>) -> Self {
        let bell = Bell::new(folder.to_owned());
        Self { store: Store::new(folder), bell, failing: false, shared }
    }

    /// Writes until the books end, and then all that waits.
    pub fn run(mut self) {
        let (mut pause, mut last_tries) = (FIRST_PAUSE, 0);
        // When the files may get something again.
        let mut due = Instant::now();
        loop {
            // Before the outbox is looked at: what is put in afterwards unparks.
            let ending = self.shared.ending.load(Ordering::Acquire);
            let left = due.saturating_duration_since(Instant::now());
            if !ending && !left.is_zero() && self.can_wait() {
                std::thread::park_timeout(left.min(LOOK));
                continue;
            }
            let now = unix_seconds(SystemTime::now());
            let frames = self.shared.outbox().some(Reader::Files, MOST_FRAMES, now);
            if frames.is_empty() {
                self.bell.release();
                if ending {
                    return;
                }
                // Whoever puts a frame in wakes this thread.
                std::thread::park();
                continue;
            }
            match self.store.write_all(&frames, now) {
                Ok(rows) => {
                    self.written(&frames, now);
                    (pause, last_tries) = (FIRST_PAUSE, 0);
                    let now = Instant::now();
                    due = (due.max(now) + wait_after(rows)).min(now + LONGEST_WAIT);
                    if self.shared.outbox().len(Reader::Files) == 0 {
                        self.bell.release();
                    }
                }
                Err(error) => {
                    self.failed(&error);
                    last_tries += u32::from(ending);
                    if last_tries >= LAST_TRIES {
                        return self.given_up();
                    }
                    if !ending {
                        std::thread::park_timeout(pause);
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        }
    }

    /// Whether nobody asks for what waits, and there is room for what comes meanwhile.
    fn can_wait(&mut self) -> bool {
        let outbox = self.shared.outbox();
        let windows = outbox.len(Reader::Files);
        let room = windows < MOST_HELD && !outbox.is_filling();
        drop(outbox);
        room && (windows == 0 || !self.bell.hold())
    }

    fn written(&mut self, frames: &[Frame], now: i64) {
        let meters = &self.shared.meters;
        let mut outbox = self.shared.outbox();
        outbox.all_taken(Reader::Files, frames);
        meters.waiting.set(outbox.len(Reader::Files) as f64);
        drop(outbox);
        meters.flushed.increment(frames.len() as u64);
        meters.last_flush.set(frames.last().map_or(now, |frame| frame.ended_at) as f64);
        if std::mem::replace(&mut self.failing, false) {
            tracing::info!("the books are written again; nothing is missing");
        }
        if let Err(error) = self.store.prune(now) {
            tracing::warn!(%error, "old days cannot be deleted from the books");
        }
    }

    fn failed(&mut self, error: &StoreError) {
        self.shared.meters.failed.increment(1);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(code = %Code::BooksUnwritable,
                folder = %self.store.folder().display(), %error,
                "the books cannot be written; they are kept in the spool and tried again. Check the \
                 folder, its permissions and the space on its disk"
            );
        }
    }

    /// The process ends.
    fn given_up(&self) {
        let outbox = self.shared.outbox();
        let requests = outbox.in_memory().map_or(0, Frame::requests);
        if requests > 0 {
            self.shared.meters.lost.increment(requests);
            tracing::error!(code = %Code::BooksIncomplete,
                requests,
                "legacy requests are missing in the books: the process ends and nothing can be written"
            );
        }
        tracing::warn!(
            windows = outbox.len(Reader::Files),
            "windows of the books stay in the spool until a process in this folder writes them"
        );
    }
}

/// How long the files get nothing after so many rows.
fn wait_after(rows: u64) -> Duration {
    let wait = Duration::from_millis(rows.saturating_mul(1_000) / ROWS_A_SECOND).min(LONGEST_WAIT);
    if wait < SHORTEST_WAIT { Duration::ZERO } else { wait }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::frame::Use;
    use super::super::frame::tests::{frame, uses};
    use super::super::outbox::Outbox;
    use super::super::report::{Question, read};
    use super::super::spool::LEAST_BYTES;
    use super::*;
    use crate::telemetry::fixture::wait_until;
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn what_waits_for_others_is_written_when_a_report_asks_for_it_and_when_the_books_end() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(folder.path().to_owned(), LEAST_BYTES, false);
        let shared = Arc::new(Shared::new(outbox, Metrics::new().books()));
        let writer = Writer::new(folder.path(), Arc::clone(&shared));
        let writer = std::thread::spawn(move || writer.run());
        let mut put = {
            let (mut number, since) = (0, unix_seconds(SystemTime::now()));
            let (shared, thread) = (Arc::clone(&shared), writer.thread().clone());
            move |accounts: u64| {
                number += 1;
                // Of now: what is older than the books keep is deleted.
                let now = unix_seconds(SystemTime::now());
                let (day, hours) = (now.div_euclid(86_400), vec![(0, 1)]);
                let row = |id| Use {
                    day,
                    hours: hours.clone(),
                    first_seen: now,
                    last_seen: now,
                    ..uses(id, "curl", 1)
                };
                let mut frame = frame("a", number, (1..=accounts).map(row).collect());
                (frame.started_at, frame.ended_at) = (since, now);
                assert!(shared.outbox().put(frame, now));
                thread.unpark();
            }
        };
        let many = 2 * ROWS_A_SECOND;
        put(many);
        wait_until(|| shared.outbox().len(Reader::Files) == 0);
        put(1);
        let holds = || std::fs::metadata(folder.path().join("books-1.held")).is_ok_and(|of| of.len() > 0);
        wait_until(|| holds() || shared.outbox().len(Reader::Files) == 0);
        let requests = || read(folder.path(), Question::default()).unwrap().requests();
        assert_eq!(requests(), many + 1);
        put(1);
        shared.ending.store(true, Ordering::Release);
        writer.thread().unpark();
        writer.join().unwrap();
        assert_eq!(requests(), many + 2);
        assert!(!folder.path().join("books-1.held").exists());
    }

    #[test]
    fn few_rows_are_written_with_each_window_and_a_million_wait_for_others() {
        assert!(wait_after(2_499).is_zero() && wait_after(25_000) <= Duration::from_secs(10));
        assert_eq!(wait_after(250_000), Duration::from_secs(100));
        assert_eq!(wait_after(u64::MAX), LONGEST_WAIT);
    }
}
