//! Everything that sees requests, put together from the boot configuration.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;

use super::settings;
use crate::audit::books::{Books, new_writer};
use crate::config::boot::{Boot, LogTarget};
use crate::telemetry::access_log::{AccessLog, Target};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::{EventSink, Telemetry};
use crate::traces::Spans;

/// Access log, books and spans, as far as they are asked for.
///
/// # Errors
/// A file cannot be opened, or a thread not be started.
pub(super) fn start(boot: &Boot, metrics: &Arc<Metrics>) -> anyhow::Result<Telemetry> {
    let target = match &boot.access_log.target {
        LogTarget::Stdout => Target::Stdout,
        LogTarget::Stderr => Target::Stderr,
        LogTarget::File(path) => Target::File(path.clone()),
    };
    let lines = boot.access_log.lines.clone();
    let log = AccessLog::start(target, lines, metrics.access_log()).context("starting the access log")?;
    let writer = new_writer(SystemTime::now(), fastrand::u64(..));
    let books = settings::books_settings(boot, writer);
    let books = Books::start(books, metrics).context("starting the books")?;
    let mut sinks: Vec<Box<dyn EventSink>> = vec![Box::new(log), Box::new(books)];
    if let Some(traces) = &boot.traces {
        // Last: what it waits for at the end is not taken from the others.
        let spans = Spans::start(settings::traces_settings(traces, boot), metrics.spans());
        sinks.push(Box::new(spans.context("starting the thread that sends spans")?));
    }
    let rules = boot.traces.as_ref().map(|traces| traces.rules.clone());
    Ok(Telemetry::start(Arc::clone(metrics), sinks).context("starting telemetry")?.traced(rules))
}
