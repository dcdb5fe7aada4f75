//! The access log: one JSON line per request, made where the request ends and written by a thread of its own.
//!
//! The line is a list of named fields and nothing else gets in: no header value, no query, no body. A
//! slow or full disk costs lines, which are counted, and never a request.

mod sheets;

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::EventSink;
use crate::policy::log_lines::LogLines;

use super::ending::{Ending, Running, ending};
use super::event::RequestEvent;
use super::metrics::AccessLogMeters;
use crate::policy::code::Code;
use sheets::{Batch, SHEET_BYTES, Sheets};

/// How long a file that could not be opened or written is left alone before the next try.
const RETRY: Duration = Duration::from_secs(1);

/// How often it is looked whether the file is still the one at its path: `logrotate` and whoever deletes a log tell nobody.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The log contains client addresses and account ids: for its owner and the owner's group.
const FILE_MODE: u32 = 0o640;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to.
    File(PathBuf),
}

/// A running access log.
#[derive(Debug)]
pub struct AccessLog {
    sheets: Arc<Sheets>,
    reopen: Arc<AtomicBool>,
    writer: Thread,
    ending: Ending,
}

impl AccessLog {
    /// Starts the writer. A file that cannot be opened does not end the start of a proxy: it is
    /// reported in the process log, tried again every second, and the lines meanwhile are counted.
    ///
    /// # Errors
    /// The operating system has no thread left.
    pub fn start(target: Target, lines: LogLines, meters: AccessLogMeters) -> io::Result<Self> {
        let sheets = Arc::new(Sheets::new(lines, SHEET_BYTES, meters.clone()));
        let reopen = Arc::new(AtomicBool::new(false));
        let (running, ending) = ending();
        let (collected, asked) = (Arc::clone(&sheets), Arc::clone(&reopen));
        let writer = std::thread::Builder::new().name("access-log".into()).spawn(move || {
            write_lines(&collected, Output::new(target, meters), &asked, running);
        })?;
        Ok(Self { sheets, reopen, writer: writer.thread().clone(), ending })
    }
}

impl EventSink for AccessLog {
    fn offer(&self, event: &RequestEvent) {
        self.sheets.offer(event);
        if self.sheets.wants_waking() {
            self.writer.unpark();
        }
    }

    fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
        self.writer.unpark();
    }

    fn close(&self, within: Duration) -> bool {
        self.sheets.close();
        self.writer.unpark();
        self.ending.comes(within)
    }
}

fn write_lines(sheets: &Sheets, mut output: Output, reopen: &AtomicBool, _running: Running) {
    let (mut looked, mut batch) = (Instant::now(), Batch::default());
    loop {
        sheets.wait();
        // Before the lines are fetched: those of before the end are there then.
        let ended = sheets.is_closed();
        if looked.elapsed() >= LOOK_EVERY {
            looked = Instant::now();
            output.follow();
        }
        sheets.collect(&mut batch, |batch| output.write(batch));
        // After the write: lines of before the call belong into the file of before the call.
        if reopen.swap(false, Ordering::Relaxed) {
            output.reopen();
        }
        if ended {
            return;
        }
    }
}

/// The file or standard output, with what is known of its health.
struct Output {
    target: Target,
    writer: Option<Box<dyn Write + Send>>,
    /// Which file that is, where it is one that can be moved.
    file: Option<FileId>,
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
        let (writer, file) = (None, None);
        let mut made = Self { target, writer, file, retry_at: None, torn: false, failing: false, meters };
        made.open();
        made
    }

    /// Opens the file anew where somebody has moved or deleted it. One that cannot be made anew is tried again with the
    /// next lines.
    fn follow(&mut self) {
        let (Target::File(path), Some(ours)) = (&self.target, self.file) else { return };
        let there = std::fs::metadata(path).ok().and_then(|file| FileId::of(&file));
        if there != Some(ours) {
            self.reopen();
        }
    }

    fn reopen(&mut self) {
        (self.writer, self.file) = (None, None);
        self.retry_at = None;
        self.torn = false;
        self.open();
    }

    /// Writes the batch and empties it; what could not be written is counted.
    fn write(&mut self, batch: &mut Batch) {
        if self.writer.is_none() && self.retry_at.is_none_or(|at| Instant::now() >= at) {
            self.open();
        }
        let (written, error) = match &mut self.writer {
            Some(writer) => write_up_to(writer, &mut self.torn, &batch.bytes),
            None => (0, None),
        };
        let whole = match written == batch.bytes.len() {
            true => batch.lines,
            false => memchr::memchr_iter(b'\n', &batch.bytes[..written]).count() as u64,
        };
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
        batch.clear();
    }

    fn open(&mut self) {
        let opened = match &self.target {
            Target::Stdout => Ok((Box::new(io::stdout()) as Box<dyn Write + Send>, None)),
            Target::Stderr => Ok((Box::new(io::stderr()) as Box<_>, None)),
            Target::File(path) => open_file(path).map(|file| {
                let id = file.metadata().ok().and_then(|file| FileId::of(&file));
                (Box::new(file) as Box<_>, id)
            }),
        };
        match opened {
            Ok((writer, file)) => (self.writer, self.file) = (Some(writer), file),
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &io::Error) {
        // A file on a full disk stays open: its next write succeeds when there is room again.
        self.retry_at = Some(Instant::now() + RETRY);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(code = %Code::AccessLogUnwritable,
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

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Of an ordinary file: nobody rotates a pipe or a device.
    fn of(file: &Metadata) -> Option<Self> {
        file.is_file().then(|| Self { device: file.dev(), inode: file.ino() })
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
    use crate::telemetry::fixture::{legacy_event, series, snapshot, wait_until};
    use crate::telemetry::metrics::Metrics;

    const PATIENCE: Duration = Duration::from_secs(10);
    const QUEUE: &str = r#"cellgate_access_log_dropped_total{reason="queue"}"#;
    const WRITE: &str = r#"cellgate_access_log_dropped_total{reason="write"}"#;
    const LINES: &str = "cellgate_access_log_lines_total";

    fn event() -> RequestEvent {
        legacy_event(&snapshot(1))
    }

    #[test]
    fn lines_reach_the_file_and_reopen_follows_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let metrics = Metrics::new();
        let log =
            AccessLog::start(Target::File(path.clone()), LogLines::default(), metrics.access_log()).unwrap();
        let lines = |path: &Path| std::fs::read_to_string(path).map_or(0, |text| text.lines().count());
        log.offer(&event());
        wait_until(|| lines(&path) == 1);
        std::fs::rename(&path, &moved).unwrap();
        log.reopen();
        wait_until(|| path.exists());
        log.offer(&event());
        assert!(log.close(PATIENCE));
        assert_eq!((lines(&moved), lines(&path)), (1, 1));
        assert_eq!(series(&metrics, LINES), 2);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        log.offer(&event());
        assert_eq!(series(&metrics, QUEUE), 1, "after the end an event is dropped and counted");
    }

    #[test]
    fn a_file_that_is_moved_or_deleted_is_made_anew_without_a_word() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let metrics = Metrics::new();
        let log =
            AccessLog::start(Target::File(path.clone()), LogLines::default(), metrics.access_log()).unwrap();
        let lines = |path: &Path| std::fs::read_to_string(path).map_or(0, |text| text.lines().count());
        log.offer(&event());
        wait_until(|| lines(&path) == 1);
        std::fs::rename(&path, &moved).unwrap();
        wait_until(|| path.exists());
        log.offer(&event());
        wait_until(|| lines(&path) == 1);
        std::fs::remove_file(&path).unwrap();
        wait_until(|| path.exists());
        log.offer(&event());
        wait_until(|| lines(&path) == 1);
        // Truncated, as `copytruncate` has it: the next line is at the beginning.
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        log.offer(&event());
        wait_until(|| lines(&path) == 1);
        assert!(std::fs::read(&path).unwrap().starts_with(b"{"), "no hole before it");
        assert!(log.close(PATIENCE));
        assert_eq!((lines(&moved), series(&metrics, LINES)), (1, 4));
    }

    #[test]
    fn a_full_disk_and_a_missing_folder_cost_lines_and_nothing_else() {
        for path in ["/dev/full", "/nonexistent/access.log"] {
            let metrics = Metrics::new();
            let log = AccessLog::start(Target::File(path.into()), LogLines::default(), metrics.access_log())
                .unwrap();
            for _ in 0..3 {
                log.offer(&event());
            }
            assert!(log.close(PATIENCE), "{path}");
            assert_eq!((series(&metrics, WRITE), series(&metrics, LINES)), (3, 0), "{path}");
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
        let sheets = Sheets::new(LogLines::default(), SHEET_BYTES, metrics.access_log());
        sheets.offer(&event());
        let mut one = 0;
        sheets.collect(&mut Batch::default(), |batch| {
            one = batch.bytes.len();
            batch.clear();
        });
        let room = Arc::new(AtomicUsize::new(one * 2 + 10));
        let kept = Arc::new(Mutex::new(Vec::new()));
        let mut output = Output::new(Target::Stdout, metrics.access_log());
        output.writer = Some(Box::new(SmallDisk { room: Arc::clone(&room), kept: Arc::clone(&kept) }));
        let write = |output: &mut Output, lines: usize| {
            (0..lines).for_each(|_| sheets.offer(&event()));
            sheets.collect(&mut Batch::default(), |batch| {
                output.write(batch);
                assert!(batch.bytes.is_empty() && batch.lines == 0);
            });
        };
        write(&mut output, 3);
        write(&mut output, 1);
        room.store(one * 9, Ordering::Relaxed);
        write(&mut output, 2);
        assert_eq!((series(&metrics, LINES), series(&metrics, WRITE)), (4, 2));
        let text = String::from_utf8(kept.lock().unwrap().clone()).unwrap();
        let whole = text.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok());
        assert_eq!((whole.count(), text.lines().count()), (4, 5), "{text}");
    }
}
