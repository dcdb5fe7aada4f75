//! Lines of the access log on their way from the threads that serve to the one that writes. Each thread writes its lines on a
//! sheet of its own, which nobody else touches but who collects all sheets; a line costs a lock that nobody else wants, and
//! no thread waits for another one. A sheet that is full drops lines and counts them.
//!
//! Lines of one thread stay in their order; those of several come sheet by sheet, some milliseconds of each.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::park_timeout;
use std::time::Duration;

use thread_local::ThreadLocal;

use crate::policy::apart::Apart;
use crate::policy::log_lines::LogLines;
use crate::telemetry::access_line::{How, append_line};
use crate::telemetry::event::RequestEvent;
use crate::telemetry::metrics::AccessLogMeters;
use crate::telemetry::wall_time::Stamps;

/// Bytes that a sheet holds before it drops lines: some 4,000 lines, which are 200 ms of a writer that does nothing where a
/// thread serves 20,000 requests a second. A line is below 16 KiB, and a sheet no more than that beyond its size.
pub(super) const SHEET_BYTES: usize = 2 * 1024 * 1024;

/// Room that a sheet keeps when it is collected: what 5 ms of a busy thread take. More is given back.
const KEPT_BYTES: usize = 256 * 1024;

/// How long an idle writer sleeps; the first line ends it early.
const IDLE: Duration = Duration::from_secs(1);

/// How long the first line waits for others: 200 writes and wake-ups a second instead of one a request. As much is lost of a
/// process that is killed.
const GATHERED: Duration = Duration::from_millis(5);

/// All sheets.
#[derive(Debug)]
pub(super) struct Sheets {
    which: LogLines,
    is_sampled: bool,
    room: usize,
    sheets: ThreadLocal<Apart<Mutex<Sheet>>>,
    /// The writer sleeps until somebody wakes it.
    asleep: AtomicBool,
    closed: AtomicBool,
    meters: AccessLogMeters,
}

/// The lines of one thread that nobody has fetched yet.
#[derive(Debug, Default)]
struct Sheet {
    batch: Batch,
    /// Requests without a line since the last line of their kind: those that went well, and all others.
    silent: [u64; 2],
    stamps: Stamps,
}

/// Whole lines, in a buffer that is used again and again.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// With their line feeds.
    pub bytes: Vec<u8>,
    /// How many.
    pub lines: u64,
}

impl Sheets {
    /// Empty ones, with so much room each.
    pub fn new(which: LogLines, room: usize, meters: AccessLogMeters) -> Self {
        let (asleep, closed) = (AtomicBool::new(false), AtomicBool::new(false));
        let is_sampled = which.is_sampled();
        Self { which, is_sampled, room, sheets: ThreadLocal::new(), asleep, closed, meters }
    }

    /// Adds the line of an event to this thread's sheet, where it has one, or drops and counts it.
    pub fn offer(&self, event: &RequestEvent) {
        self.push(event, if self.is_sampled { fastrand::u64(..) } else { 0 });
    }

    /// `random` is spread over all values.
    fn push(&self, event: &RequestEvent, random: u64) {
        let sheet = self.sheets.get_or_default();
        // Writing a line cannot panic half way.
        let mut sheet = sheet.lock().unwrap_or_else(PoisonError::into_inner);
        // Below the lock: who has closed looks at each sheet once more, and sees what came before.
        if self.closed.load(Ordering::Relaxed) || sheet.batch.bytes.len() >= self.room {
            return self.meters.queue_full.increment(1);
        }
        let smooth = event.is_smooth();
        if self.which.excludes(smooth, &event.path) {
            return self.meters.excluded.increment(1);
        }
        let silent = &mut sheet.silent[usize::from(!smooth)];
        if !self.which.keeps(smooth, random) {
            *silent += 1;
            return self.meters.sampled_out.increment(1);
        }
        let requests = std::mem::take(silent) + 1;
        let how = How { profile: self.which.profile, requests: self.is_sampled.then_some(requests) };
        let Sheet { batch, stamps, .. } = &mut *sheet;
        append_line(&mut batch.bytes, stamps, event, how);
        batch.lines += 1;
    }

    /// Whether the writer is to be woken, since it sleeps; true for one of those that ask.
    pub fn wants_waking(&self) -> bool {
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
    }

    /// Takes nothing more but for what is there. Whoever calls wakes the writer.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether nothing more is to come, but for what is there.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Sleeps until there are lines, and a moment longer, so that others join them; not longer than [`IDLE`], nor when
    /// somebody unparks the thread.
    pub fn wait(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        // Looked at after it is said: who has added a line since then took the sheet's lock after us, and sees that we sleep. The
        // first line of a new thread may be missed, and waits until the next.
        if self.is_empty() && !self.is_closed() {
            park_timeout(IDLE);
        }
        self.asleep.store(false, Ordering::Relaxed);
        if !self.is_closed() {
            park_timeout(GATHERED);
        }
    }

    /// Hands out the lines of each sheet in `batch`, which is empty before and must be afterwards.
    pub fn collect(&self, batch: &mut Batch, mut each: impl FnMut(&mut Batch)) {
        for sheet in &self.sheets {
            std::mem::swap(&mut sheet.lock().unwrap_or_else(PoisonError::into_inner).batch, batch);
            if batch.lines > 0 {
                each(batch);
            }
            batch.bytes.shrink_to(KEPT_BYTES);
        }
    }

    fn is_empty(&self) -> bool {
        self.sheets.iter().all(|sheet| sheet.lock().unwrap_or_else(PoisonError::into_inner).batch.lines == 0)
    }
}

impl Batch {
    /// Forgets all lines.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.lines = 0;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::canary::Share;
    use crate::policy::log_lines::PathRule;
    use crate::telemetry::fixture::{legacy_event, series, snapshot};
    use crate::telemetry::metrics::Metrics;

    const QUEUE: &str = r#"cellgate_access_log_dropped_total{reason="queue"}"#;

    fn collected(sheets: &Sheets) -> String {
        let mut bytes = Vec::new();
        sheets.collect(&mut Batch::default(), |batch| {
            assert_eq!(batch.bytes.iter().filter(|byte| **byte == b'\n').count() as u64, batch.lines);
            bytes.extend_from_slice(&batch.bytes);
            batch.clear();
        });
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn every_request_is_in_a_line_or_in_what_a_line_stands_for() {
        let metrics = Metrics::new();
        let exclude = vec![PathRule::parse("/healthz").unwrap()];
        let smooth = Share::parse("10%");
        let which = LogLines { smooth, exclude, ..LogLines::default() };
        let sheets = Sheets::new(which, SHEET_BYTES, metrics.access_log());
        let mut random = fastrand::Rng::with_seed(7);
        let served = legacy_event(&snapshot(1));
        let mut failed = legacy_event(&snapshot(1));
        failed.status = 502;
        let mut healthy = legacy_event(&snapshot(1));
        healthy.path = "/healthz".into();
        for round in 0..1_000 {
            sheets.push(&served, random.u64(..));
            if round % 10 == 0 {
                sheets.push(&failed, random.u64(..));
                sheets.push(&healthy, random.u64(..));
            }
        }
        let text = collected(&sheets);
        let read = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let (failures, smooth): (Vec<_>, Vec<_>) =
            text.lines().map(read).partition(|line| line["status"] == 502);
        let stand_for = |lines: &[serde_json::Value]| -> u64 {
            lines.iter().map(|line| line["requests"].as_u64().unwrap()).sum()
        };
        assert_eq!((failures.len(), stand_for(&failures)), (100, 100));
        assert!((50..200).contains(&smooth.len()), "{} lines", smooth.len());
        let silent: u64 = sheets.sheets.iter().map(|sheet| sheet.lock().unwrap().silent[0]).sum();
        assert_eq!(stand_for(&smooth) + silent, 1_000);
        let left_out = |reason: &str| {
            series(&metrics, &format!("cellgate_access_log_left_out_total{{reason=\"{reason}\"}}"))
        };
        assert_eq!((left_out("path"), left_out("sample")), (100, 1_000 - smooth.len() as u64));
    }

    #[test]
    fn a_full_sheet_drops_and_counts_and_takes_lines_again_when_it_was_collected() {
        let metrics = Metrics::new();
        let sheets = Sheets::new(LogLines::default(), 1_000, metrics.access_log());
        let event = legacy_event(&snapshot(1));
        (0..10).for_each(|_| sheets.offer(&event));
        let kept = collected(&sheets).lines().count();
        assert!((2..10).contains(&kept), "{kept} lines in 1,000 bytes");
        assert_eq!(series(&metrics, QUEUE), 10 - kept as u64);
        sheets.offer(&event);
        sheets.close();
        sheets.offer(&event);
        assert_eq!((collected(&sheets).lines().count(), collected(&sheets).len()), (1, 0));
        assert_eq!(series(&metrics, QUEUE), 11 - kept as u64, "and what comes after the end");
    }

    #[test]
    fn lines_of_all_threads_are_collected_each_once_and_whole() {
        let metrics = Metrics::new();
        let sheets = Sheets::new(LogLines::default(), SHEET_BYTES, metrics.access_log());
        let snapshot = snapshot(1);
        let (threads, each) = (4, 500);
        let mut text = String::new();
        std::thread::scope(|scope| {
            let serving: Vec<_> = (0..threads)
                .map(|thread| {
                    let (sheets, snapshot) = (&sheets, Arc::clone(&snapshot));
                    scope.spawn(move || {
                        for number in 0..each {
                            let mut event = legacy_event(&snapshot);
                            event.request_id = format!("{thread}-{number}").into();
                            sheets.offer(&event);
                        }
                    })
                })
                .collect();
            while !serving.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                text += &collected(&sheets);
            }
        });
        text += &collected(&sheets);
        let id = |line: &str| -> (usize, usize) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let (thread, number) = line["request_id"].as_str().unwrap().split_once('-').unwrap();
            (thread.parse().unwrap(), number.parse().unwrap())
        };
        let mut next = vec![0; threads];
        for (thread, number) in text.lines().map(id) {
            assert_eq!(number, next[thread], "of thread {thread}, in their order");
            next[thread] += 1;
        }
        assert_eq!(next, vec![each; threads]);
    }

    #[test]
    fn a_writer_that_sleeps_is_woken_once_by_the_first_line() {
        let metrics = Metrics::new();
        let sheets = Sheets::new(LogLines::default(), SHEET_BYTES, metrics.access_log());
        assert!(!sheets.wants_waking(), "nobody sleeps");
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                while sheets.is_empty() {
                    sheets.wait();
                }
            });
            while !sheets.asleep.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            sheets.offer(&legacy_event(&snapshot(1)));
            if sheets.wants_waking() {
                writer.thread().unpark();
            }
        });
        sheets.asleep.store(true, Ordering::Relaxed);
        assert!(sheets.wants_waking() && !sheets.wants_waking(), "one of those that ask");
        assert_eq!(collected(&sheets).lines().count(), 1);
    }

    #[test]
    fn what_a_burst_needed_is_given_back() {
        let metrics = Metrics::new();
        let sheets = Sheets::new(LogLines::default(), SHEET_BYTES, metrics.access_log());
        let event = legacy_event(&snapshot(1));
        (0..5_000).for_each(|_| sheets.offer(&event));
        let (mut batch, mut most) = (Batch::default(), 0);
        for _ in 0..2 {
            sheets.collect(&mut batch, |batch| {
                most = most.max(batch.bytes.capacity());
                batch.clear();
            });
        }
        let kept =
            sheets.sheets.iter().map(|sheet| sheet.lock().unwrap().batch.bytes.capacity()).sum::<usize>();
        assert!(most > SHEET_BYTES / 2 && kept + batch.bytes.capacity() <= 2 * KEPT_BYTES, "{most}, {kept}");
    }
}
