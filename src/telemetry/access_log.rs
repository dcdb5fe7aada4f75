//! The access log: one JSON line per request, written by a thread of its own.
//!
//! The line is a list of named fields and nothing else gets in: no header value, no query, no body. A
//! slow or full disk costs lines, which are counted, and never a request.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::EventSink;
use super::access_line::append_line;
use super::event::RequestEvent;
use super::lane::{LANE_EVENTS, Lane, LaneEnd, Next, lane};
use super::metrics::AccessLogMeters;

/// Lines are collected up to this size before they are written: 64 KiB is about 100 lines, and the
/// size from which larger writes to a file no longer get cheaper.
const BATCH_BYTES: usize = 64 * 1024;

/// How long an idle writer sleeps; a wake-up call ends it early.
const IDLE: Duration = Duration::from_secs(1);

/// How long a file that could not be opened or written is left alone before the next try.
const RETRY: Duration = Duration::from_secs(1);

/// The log contains client addresses and account ids: for its owner and the owner's group.
const FILE_MODE: u32 = 0o640;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

/// A running access log.
#[derive(Debug)]
pub struct AccessLog {
    lane: Lane,
    reopen: Arc<AtomicBool>,
}

impl Target {
    /// `-` is standard output, everything else a path.
    pub fn parse(text: &str) -> Self {
        match text {
            "-" => Self::Stdout,
            path => Self::File(path.into()),
        }
    }
}

impl AccessLog {
    /// Starts the writer. A file that cannot be opened does not end the start of a proxy: it is
    /// reported in the process log, tried again every second, and the lines meanwhile are counted.
    ///
    /// # Errors
    /// The operating system has no thread left.
    pub fn start(target: Target, meters: AccessLogMeters) -> io::Result<Self> {
        let (lane, end) = lane(LANE_EVENTS, meters.queue_full.clone());
        let reopen = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&reopen);
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_lines(&end, Output::new(target, meters), &asked))?;
        Ok(Self { lane, reopen })
    }
}

impl EventSink for AccessLog {
    fn offer(&self, event: &Arc<RequestEvent>) {
        // The lane has counted it if it is not kept.
        let _ = self.lane.offer(event);
    }

    fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
        self.lane.wake();
    }

    fn close(&self, within: Duration) -> bool {
        self.lane.close(within)
    }
}

fn write_lines(end: &LaneEnd, mut output: Output, reopen: &AtomicBool) {
    let mut batch = Batch::default();
    loop {
        let mut next = end.next(IDLE);
        let ended = loop {
            match next {
                Next::Event(event) => batch.push(&event),
                Next::Nothing => break false,
                Next::End => break true,
            }
            if batch.bytes.len() >= BATCH_BYTES {
                break false;
            }
            next = end.at_once();
        };
        output.write(&mut batch);
        // After the write: lines of before the call belong into the file of before the call.
        if reopen.swap(false, Ordering::Relaxed) {
            output.reopen();
        }
        if ended {
            return;
        }
    }
}

/// Lines on their way, in a buffer that is used again and again.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
}

impl Batch {
    fn push(&mut self, event: &RequestEvent) {
        append_line(&mut self.bytes, event);
        self.lines += 1;
    }
}

/// The file or standard output, with what is known of its health.
struct Output {
    target: Target,
    writer: Option<Box<dyn Write + Send>>,
    /// Not before this is a broken output tried again.
    retry_at: Option<Instant>,
    /// A write ended in the middle of a line: the next begins with a line feed.
    torn: bool,
    /// Whether the last attempt failed, so that the process log hears of changes only.
    failing: bool,
    meters: AccessLogMeters,
}

impl Output {
    fn new(target: Target, meters: AccessLogMeters) -> Self {
        let mut made = Self { target, writer: None, retry_at: None, torn: false, failing: false, meters };
        made.open();
        made
    }

    fn reopen(&mut self) {
        self.writer = None;
        self.retry_at = None;
        self.torn = false;
        self.open();
    }

    /// Writes the batch and empties it; what could not be written is counted.
    fn write(&mut self, batch: &mut Batch) {
        if batch.lines == 0 {
            return;
        }
        if self.writer.is_none() && self.retry_at.is_none_or(|at| Instant::now() >= at) {
            self.open();
        }
        let (written, error) = match &mut self.writer {
            Some(writer) => write_up_to(writer, &mut self.torn, &batch.bytes),
            None => (0, None),
        };
        let whole = batch.bytes[..written].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.meters.lines.increment(whole);
        self.meters.unwritten.increment(batch.lines - whole);
        if written > 0 {
            self.torn = batch.bytes[written - 1] != b'\n';
        }
        match error {
            Some(error) => self.failed(&error),
            None if self.writer.is_some() => self.recovered(),
            None => {}
        }
        batch.bytes.clear();
        batch.lines = 0;
    }

    fn open(&mut self) {
        let opened: io::Result<Box<dyn Write + Send>> = match &self.target {
            Target::Stdout => Ok(Box::new(io::stdout())),
            Target::File(path) => open_file(path).map(|file| Box::new(file) as Box<_>),
        };
        match opened {
            Ok(writer) => self.writer = Some(writer),
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &io::Error) {
        // A file on a full disk stays open: its next write succeeds when there is room again.
        self.retry_at = Some(Instant::now() + RETRY);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(
                target = ?self.target, %error,
                "the access log cannot be written: lines are lost and counted until it can; \
                 check the path, its permissions and the space on its disk"
            );
        }
    }

    fn recovered(&mut self) {
        if std::mem::replace(&mut self.failing, false) {
            tracing::info!(target = ?self.target, "the access log is written again");
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)
}

/// Writes as much as can be written; how much that was, and what stopped it.
fn write_up_to(writer: &mut dyn Write, torn: &mut bool, bytes: &[u8]) -> (usize, Option<io::Error>) {
    if *torn && let Err(error) = writer.write_all(b"\n") {
        return (0, Some(error));
    }
    *torn = false;
    let mut written = 0;
    while written < bytes.len() {
        match writer.write(&bytes[written..]) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Some(error)),
        }
    }
    (written, writer.flush().err())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::telemetry::fixture::{legacy_event, snapshot, wait_until};
    use crate::telemetry::metrics::Metrics;

    const PATIENCE: Duration = Duration::from_secs(10);
    const QUEUE: &str = r#"cellgate_access_log_dropped_total{reason="queue"}"#;
    const WRITE: &str = r#"cellgate_access_log_dropped_total{reason="write"}"#;
    const LINES: &str = "cellgate_access_log_lines_total";

    fn value(metrics: &Metrics, series: &str) -> u64 {
        let page = metrics.render(&snapshot(1), std::time::UNIX_EPOCH);
        let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap().parse().unwrap()
    }

    fn event() -> Arc<RequestEvent> {
        Arc::new(legacy_event(&snapshot(1)))
    }

    #[test]
    fn lines_reach_the_file_and_reopen_follows_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let metrics = Metrics::new();
        let log = AccessLog::start(Target::File(path.clone()), metrics.access_log()).unwrap();
        let lines = |path: &Path| std::fs::read_to_string(path).map_or(0, |text| text.lines().count());
        log.offer(&event());
        wait_until(|| lines(&path) == 1);
        std::fs::rename(&path, &moved).unwrap();
        log.reopen();
        wait_until(|| path.exists());
        log.offer(&event());
        assert!(log.close(PATIENCE));
        assert_eq!((lines(&moved), lines(&path)), (1, 1));
        assert_eq!(value(&metrics, LINES), 2);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        log.offer(&event());
        assert_eq!(value(&metrics, QUEUE), 1, "after the end an event is dropped and counted");
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_does_not_wait() {
        let metrics = Metrics::new();
        let (lane, end) = lane(4, metrics.access_log().queue_full);
        for _ in 0..10 {
            lane.offer(&event());
        }
        assert_eq!(value(&metrics, QUEUE), 6);
        assert!(!lane.close(Duration::ZERO), "the thread is still there");
        drop(end);
        assert!(lane.close(PATIENCE));
    }

    #[test]
    fn a_full_disk_and_a_missing_folder_cost_lines_and_nothing_else() {
        for path in ["/dev/full", "/nonexistent/access.log"] {
            let metrics = Metrics::new();
            let log = AccessLog::start(Target::File(path.into()), metrics.access_log()).unwrap();
            for _ in 0..3 {
                log.offer(&event());
            }
            assert!(log.close(PATIENCE), "{path}");
            assert_eq!((value(&metrics, WRITE), value(&metrics, LINES)), (3, 0), "{path}");
        }
    }

    /// Takes `room` bytes and is full then, until somebody makes room.
    struct SmallDisk {
        room: Arc<AtomicUsize>,
        kept: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for SmallDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let take = self.room.load(Ordering::Relaxed).min(bytes.len());
            if take == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room.fetch_sub(take, Ordering::Relaxed);
            self.kept.lock().unwrap().extend_from_slice(&bytes[..take]);
            Ok(take)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_torn_line_does_not_spoil_the_next_and_every_line_is_accounted_for() {
        let metrics = Metrics::new();
        let mut one = Vec::new();
        append_line(&mut one, &event());
        let room = Arc::new(AtomicUsize::new(one.len() * 2 + 10));
        let kept = Arc::new(Mutex::new(Vec::new()));
        let mut output = Output::new(Target::Stdout, metrics.access_log());
        output.writer = Some(Box::new(SmallDisk { room: Arc::clone(&room), kept: Arc::clone(&kept) }));
        let write = |output: &mut Output, lines: usize| {
            let mut batch = Batch::default();
            (0..lines).for_each(|_| batch.push(&event()));
            output.write(&mut batch);
            assert!(batch.bytes.is_empty() && batch.lines == 0);
        };
        write(&mut output, 3);
        write(&mut output, 1);
        room.store(one.len() * 9, Ordering::Relaxed);
        write(&mut output, 2);
        assert_eq!((value(&metrics, LINES), value(&metrics, WRITE)), (4, 2));
        let text = String::from_utf8(kept.lock().unwrap().clone()).unwrap();
        let whole = text.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok());
        assert_eq!((whole.count(), text.lines().count()), (4, 5), "{text}");
    }
}
