//! Traces of requests on their way to a collector of OpenTelemetry: which finished requests become spans, and the thread that
//! sends them. Which trace a request belongs to was decided when it began (`policy::trace_context`); what its spans say is made
//! of its one event. A collector that is dead, slow or silent costs spans, which are counted, and never a request.

mod fields;
mod post;
mod span;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use http::Uri;
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::runtime::Runtime;

use crate::authorities::AuthoritiesError;
use crate::policy::canary::Ending;
use crate::policy::code::Code;
use crate::telemetry::EventSink;
use crate::telemetry::event::RequestEvent;
use crate::telemetry::lane::{LANE_EVENTS, Lane, LaneEnd, Next, lane};
use crate::telemetry::metrics::SpanMeters;
use fields::FieldsError;
use post::Post;

/// Spans that are sent together: the batch of OpenTelemetry's own processors.
const BATCH: usize = 512;

/// How long a span waits for others.
const LINGER: Duration = Duration::from_secs(1);

/// Failed requests of traces that are not kept, but for having failed, that are told each second. When a cell dies, all of its
/// requests fail in the same way.
const FAILURES_A_SECOND: u32 = 100;

/// How long the last spans of a process may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long a collector that did not take a batch is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Where spans go.
#[derive(Clone, Debug)]
pub struct TracesSettings {
    /// The whole address.
    pub endpoint: Uri,
    /// File with fields that are sent along.
    pub headers_file: Option<PathBuf>,
    /// File with the certificates that sign the collector's; `None` for those that this machine trusts.
    pub ca_file: Option<PathBuf>,
    /// How long the collector may take for a batch.
    pub timeout: Duration,
    /// `service.name`.
    pub service_name: String,
    /// `service.instance.id`.
    pub replica: String,
    /// Whether failed requests are told whose trace is not kept.
    pub failures: bool,
}

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
enum TracesError {
    #[error(transparent)]
    Fields(#[from] FieldsError),
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    #[error("making the exporter: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("{0}")]
    Collector(String),
}

/// Takes events, on the request path.
#[derive(Debug)]
pub struct Spans {
    lane: Lane,
    failures: bool,
}

impl Spans {
    /// Starts the thread that sends spans.
    ///
    /// # Errors
    /// The operating system has no thread left.
    pub fn start(settings: TracesSettings, meters: SpanMeters) -> io::Result<Self> {
        let (lane, end) = lane(LANE_EVENTS, meters.queue_full.clone());
        let failures = settings.failures;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sender = Sender { settings, meters, runtime, exporter: None, failing: false, not_before: None };
        std::thread::Builder::new().name("traces".into()).spawn(move || send_spans(&end, sender))?;
        Ok(Self { lane, failures })
    }
}

impl EventSink for Spans {
    fn offer(&self, event: &RequestEvent) {
        let Some(traced) = &event.traced else { return };
        if traced.sampled || (self.failures && has_failed(event)) {
            // The lane has counted it if it is not kept.
            let _ = self.lane.offer(event);
        }
    }

    /// A collector that takes nothing is not waited for: what it misses is not worth a process that ends late.
    fn close(&self, within: Duration) -> bool {
        if !self.lane.close(within.min(LAST_WORDS)) {
            tracing::warn!(within = ?LAST_WORDS, "the collector has not taken the last spans in time");
        }
        true
    }
}

/// Because of a cell or of us: what a client can bring about as it likes is no reason to keep anything.
fn has_failed(event: &RequestEvent) -> bool {
    matches!(event.sample().ending, Ending::Failed | Ending::Unreached)
}

fn send_spans(end: &LaneEnd, mut sender: Sender) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut failures = Failures::default();
    let mut deadline = None;
    loop {
        let patience =
            deadline.map_or(LINGER, |deadline: Instant| deadline.saturating_duration_since(Instant::now()));
        let (next, ended) = match end.next(patience) {
            Next::Event(event) => (Some(event), false),
            Next::Nothing => (None, false),
            Next::End => (None, true),
        };
        if let Some(event) = next {
            let is_kept = event.traced.as_ref().is_some_and(|traced| traced.sampled);
            if is_kept || failures.take(Instant::now()) {
                batch.extend(span::spans(&event));
                deadline.get_or_insert_with(|| Instant::now() + LINGER);
            } else {
                sender.meters.over_rate.increment(1);
            }
        }
        let is_due = ended || deadline.is_some_and(|deadline| deadline <= Instant::now());
        if batch.len() >= BATCH || (is_due && !batch.is_empty()) {
            deadline = None;
            sender.send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)), end.is_closing());
        }
        if ended {
            return;
        }
    }
}

/// Failures that were told in the present second.
#[derive(Debug, Default)]
struct Failures {
    since: Option<Instant>,
    told: u32,
}

impl Failures {
    /// Whether there is room for one more.
    fn take(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1)) {
            (self.since, self.told) = (Some(now), 0);
        }
        self.told += 1;
        self.told <= FAILURES_A_SECOND
    }
}

/// The collector, as far as it is known.
struct Sender {
    settings: TracesSettings,
    meters: SpanMeters,
    runtime: Runtime,
    exporter: Option<(SpanExporter, Post)>,
    /// Whether the last batch was lost, so that the process log hears of changes only.
    failing: bool,
    /// Not before this is it tried again.
    not_before: Option<Instant>,
}

impl Sender {
    /// Sends a batch, or drops and counts it. `closing`: nobody waits for a collector that takes nothing any more.
    fn send(&mut self, batch: Vec<SpanData>, closing: bool) {
        let many = batch.len() as u64;
        let pausing = self.not_before.is_some_and(|until| Instant::now() < until);
        if self.failing && (closing || pausing) {
            return self.meters.failed.increment(many);
        }
        match self.export(batch) {
            Ok(()) => {
                self.meters.exported.increment(many);
                if std::mem::replace(&mut self.failing, false) {
                    tracing::info!(collector = %self.settings.endpoint, "the collector takes spans again");
                }
            }
            Err(error) => {
                self.meters.failed.increment(many);
                // Its files may be new ones by the next time.
                (self.exporter, self.not_before) = (None, Some(Instant::now() + PAUSE));
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(
                        code = %Code::SpansLost,
                        collector = %self.settings.endpoint, %error,
                        "spans cannot be sent: they are lost and counted until they can; \
                         check traces of boot.yaml, and the collector"
                    );
                }
            }
        }
    }

    fn export(&mut self, batch: Vec<SpanData>) -> Result<(), TracesError> {
        let (exporter, post) = match &mut self.exporter {
            Some(made) => made,
            empty => empty.insert(exporter(&self.settings)?),
        };
        let sent = self.runtime.block_on(exporter.export(batch));
        sent.map_err(|error| TracesError::Collector(post.why().unwrap_or_else(|| error.to_string())))
    }
}

fn exporter(settings: &TracesSettings) -> Result<(SpanExporter, Post), TracesError> {
    let post = Post::new(settings)?;
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(settings.endpoint.to_string())
        .with_timeout(settings.timeout)
        .with_http_client(post.clone())
        // What it holds meanwhile would be waited for by all that comes behind; the next batch is the next try.
        .with_retry_policy(RetryPolicy::disabled())
        .build()?;
    exporter.set_resource(&resource(settings));
    Ok((exporter, post))
}

fn resource(settings: &TracesSettings) -> Resource {
    Resource::builder_empty()
        .with_service_name(settings.service_name.clone())
        .with_attributes([
            opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            opentelemetry::KeyValue::new("service.instance.id", settings.replica.clone()),
        ])
        .build()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
