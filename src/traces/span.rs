//! The spans of one request, made of its event: one for the request, and one for what its cell was asked. Names and attributes
//! are those of OpenTelemetry's conventions for HTTP (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>), and
//! below `cellgate.` what they do not know. Nothing gets in that the access log does not have.

use std::borrow::Cow;

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::policy::server_timing::millis;
use crate::policy::snapshot::UpstreamHost;
use crate::policy::trace_context::Traced;
use crate::telemetry::event::{End, RequestEvent};
use crate::telemetry::labels::version_label;

/// Methods that the conventions know; any other is `_OTHER`, so that no client makes up names of spans.
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// The spans of a request; none where it belongs to no trace.
pub(super) fn spans(event: &RequestEvent) -> impl Iterator<Item = SpanData> {
    let traced = event.traced.as_deref();
    let server = traced.map(|traced| server(event, traced));
    let client = traced.and_then(|traced| client(event, traced));
    server.into_iter().chain(client)
}

fn server(event: &RequestEvent, traced: &Traced) -> SpanData {
    let mut attributes = vec![KeyValue::new("http.request.method", method(event))];
    let mut add = |key: &'static str, value: Value| attributes.push(KeyValue::new(key, value));
    add("url.scheme", event.scheme.as_str().into());
    add("url.path", event.shown_path().into_owned().into());
    if !event.host.is_empty() {
        add("server.address", event.shown_host().into_owned().into());
    }
    add("client.address", event.client_ip.to_string().into());
    add("http.response.status_code", i64::from(event.status).into());
    add("network.protocol.version", version_label(event.version).into());
    add("cellgate.request_id", event.request_id.to_string().into());
    add("cellgate.listener", event.listener.to_string().into());
    add("cellgate.generation", integer(event.snapshot.generation.0));
    add("cellgate.end", event.end.as_str().into());
    if let Some(refusal) = event.refusal {
        add("cellgate.refusal", refusal.label().into());
    }
    decided(event, &mut add);
    let error = server_error(event);
    if let Some(error) = &error {
        add("error.type", error.clone().into());
    }
    SpanData {
        span_context: context(traced, traced.span),
        parent_span_id: traced.parent.map_or(SpanId::INVALID, SpanId::from),
        parent_span_is_remote: traced.parent.is_some(),
        span_kind: SpanKind::Server,
        name: name(event),
        start_time: event.started,
        end_time: event.started + event.timings.total,
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: links(traced),
        status: status(error.is_some()),
        instrumentation_scope: scope(),
    }
}

/// What the cell was asked, from when a connection was wanted to the end. Of several attempts the last one's endpoint is known.
fn client(event: &RequestEvent, traced: &Traced) -> Option<SpanData> {
    let asked = event.timings.asked?;
    let cell = event.snapshot.cells.get(usize::from(event.cell()?.0))?;
    let mut attributes = vec![KeyValue::new("http.request.method", method(event))];
    let mut add = |key: &'static str, value: Value| attributes.push(KeyValue::new(key, value));
    let own = event.decision.as_ref().and_then(|decision| decision.own_address(&event.snapshot));
    let own = own.filter(|_| cell.host == UpstreamHost::Account).map(|own| own.to_string());
    let authority = own.unwrap_or_else(|| event.shown_host().into_owned());
    let scheme = if cell.tls.is_some() { "https" } else { "http" };
    add("url.full", format!("{scheme}://{authority}{}", event.shown_path()).into());
    if let Some(endpoint) = event.endpoint {
        add("server.address", endpoint.ip().to_string().into());
        add("server.port", i64::from(endpoint.port()).into());
        add("network.peer.address", endpoint.ip().to_string().into());
        add("network.peer.port", i64::from(endpoint.port()).into());
    }
    if event.sends > 1 {
        add("http.request.resend_count", i64::from(event.sends - 1).into());
    }
    add("cellgate.cell", cell.name.to_string().into());
    add("cellgate.attempts", i64::from(event.attempts).into());
    add("cellgate.reused", event.reused.into());
    let answered = event.refusal.is_none() && event.timings.first_byte.is_some();
    if answered {
        add("http.response.status_code", i64::from(event.status).into());
    }
    let error = client_error(event, answered);
    if let Some(error) = &error {
        add("error.type", error.clone().into());
    }
    Some(SpanData {
        span_context: context(traced, traced.to_cell),
        parent_span_id: traced.span.into(),
        parent_span_is_remote: false,
        span_kind: SpanKind::Client,
        name: name(event),
        start_time: event.started + asked,
        end_time: event.started + event.timings.total,
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: status(error.is_some()),
        instrumentation_scope: scope(),
    })
}

/// Whose it was, and where it was to go.
fn decided(event: &RequestEvent, add: &mut impl FnMut(&'static str, Value)) {
    let Some(decision) = &event.decision else { return };
    add("cellgate.source", decision.source.as_str().into());
    if let Some(account) = decision.account {
        add("cellgate.account", integer(account.value()));
    }
    let names = [
        ("cellgate.cell", event.cell_name()),
        ("cellgate.surface", event.surface_name()),
        ("cellgate.client", event.client_name()),
    ];
    for (key, name) in names {
        if let Some(name) = name {
            add(key, name.to_owned().into());
        }
    }
    let waits = [("cellgate.held_ms", event.timings.held), ("cellgate.queued_ms", event.timings.queued)];
    for (key, waited) in waits {
        if let Some(waited) = waited {
            add(key, millis(waited).into());
        }
    }
}

/// Why a request failed because of a cell or of us; what a client did wrong is no error of a server (the conventions, "Status").
fn server_error(event: &RequestEvent) -> Option<Cow<'static, str>> {
    match event.refusal {
        Some(refusal) if refusal.status() >= 500 => Some(refusal.label().into()),
        None if event.status >= 500 => Some(event.status.to_string().into()),
        _ => cut(event),
    }
}

/// The same of what the cell was asked, where 4xx is an error, too.
fn client_error(event: &RequestEvent, answered: bool) -> Option<Cow<'static, str>> {
    match event.refusal {
        Some(refusal) => Some(refusal.cell_error().unwrap_or(refusal.label()).into()),
        None if answered && event.status >= 400 => Some(event.status.to_string().into()),
        None => cut(event),
    }
}

/// An answer that broke off, where its client did not want it so.
fn cut(event: &RequestEvent) -> Option<Cow<'static, str>> {
    match event.end {
        End::Complete | End::ClientGone => None,
        End::CellGone | End::TimedOut | End::Drain | End::Moved => Some(event.end.as_str().into()),
    }
}

fn status(is_error: bool) -> Status {
    // `error.type` says what it was.
    if is_error { Status::error("") } else { Status::Unset }
}

fn method(event: &RequestEvent) -> &'static str {
    METHODS.into_iter().find(|known| *known == event.method.as_str()).unwrap_or("_OTHER")
}

/// The method alone: a path is different for each account.
fn name(event: &RequestEvent) -> Cow<'static, str> {
    match method(event) {
        "_OTHER" => "HTTP".into(),
        known => known.into(),
    }
}

fn integer(value: u64) -> Value {
    // There are no unsigned ones. Ids beyond are not given out.
    i64::try_from(value).unwrap_or(i64::MAX).into()
}

fn context(traced: &Traced, span: u64) -> SpanContext {
    let flags = TraceFlags::default().with_sampled(traced.sampled);
    SpanContext::new(traced.trace.into(), span.into(), flags, false, TraceState::NONE)
}

/// To what a client that is not trusted took for its own trace.
fn links(traced: &Traced) -> SpanLinks {
    let mut links = SpanLinks::default();
    links.links.extend(traced.link.map(|(trace, span)| {
        let (trace, span) = (TraceId::from(trace), SpanId::from(span));
        Link::with_context(SpanContext::new(trace, span, TraceFlags::default(), true, TraceState::NONE))
    }));
    links
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("cellgate").with_version(env!("CARGO_PKG_VERSION")).build()
}
