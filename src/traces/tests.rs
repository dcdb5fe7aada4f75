//! What a request's spans say, and which requests have some. That a collector understands them, and what one that does not
//! answer costs, is in `tests/e2e/traces.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use opentelemetry::trace::{SpanId, SpanKind, Status};

use super::*;
use crate::policy::cell_failure::Silence;
use crate::policy::refusal::{BadRequest, Refusal};
use crate::policy::trace_context::{Fresh, TraceRules, Traced};
use crate::telemetry::event::End;
use crate::telemetry::fixture::{legacy_event, snapshot, wait_until};
use crate::telemetry::metrics::Metrics;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn traced(client: &str) -> Box<Traced> {
    let tracing = TraceRules { trust_from: vec!["10.0.0.0/8".parse().unwrap()], ratio: None, failures: true };
    let headers =
        http::HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), PARENT.parse().unwrap())]);
    let fresh = Fresh { trace: 7, span: 8, to_cell: 9 };
    Box::new(Traced::of(&tracing, &headers, client.parse().unwrap(), fresh))
}

fn event() -> RequestEvent {
    let mut event = legacy_event(&snapshot(1));
    event.traced = Some(traced("10.0.0.1"));
    event
}

fn said(span: &SpanData) -> BTreeMap<String, String> {
    span.attributes.iter().map(|a| (a.key.to_string(), a.value.to_string())).collect()
}

fn pair(event: &RequestEvent) -> (SpanData, SpanData) {
    let spans: Vec<SpanData> = span::spans(event).collect();
    let [server, client] = spans.try_into().unwrap();
    (server, client)
}

#[test]
fn a_request_has_a_span_and_what_its_cell_was_asked_another_below_it() {
    let (server, client) = pair(&event());
    let started = UNIX_EPOCH + Duration::from_secs(1_795_168_800);
    assert_eq!((server.span_kind.clone(), &*server.name), (SpanKind::Server, "GET"));
    assert_eq!(server.span_context.trace_id().to_string(), &PARENT[3..35]);
    assert_eq!(client.span_context.trace_id(), server.span_context.trace_id());
    assert_eq!(
        (server.parent_span_id.to_string(), server.parent_span_is_remote),
        (PARENT[36..52].to_owned(), true)
    );
    assert_eq!((server.start_time, server.end_time), (started, started + Duration::from_millis(83)));
    assert_eq!((client.parent_span_id, client.span_context.span_id()), (SpanId::from(8), SpanId::from(9)));
    assert_eq!(client.start_time, started + Duration::from_micros(250));
    assert_eq!((&server.status, &client.status), (&Status::Unset, &Status::Unset));
    let text = |fields: &[(&str, &str)]| -> BTreeMap<String, String> {
        fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(
        said(&server),
        text(&[
            ("cellgate.account", "1"),
            ("cellgate.cell", "us1"),
            ("cellgate.client", "airflow"),
            ("cellgate.end", "complete"),
            ("cellgate.generation", "1"),
            ("cellgate.listener", "https"),
            ("cellgate.request_id", "req-0001"),
            ("cellgate.source", "path"),
            ("cellgate.surface", "app"),
            ("client.address", "192.0.2.7"),
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("network.protocol.version", "1.1"),
            ("server.address", "cloud.getdbt.com"),
            ("url.path", "/api/v2/accounts/1/jobs/7/"),
            ("url.scheme", "https"),
        ])
    );
    assert_eq!(
        said(&client),
        text(&[
            ("cellgate.attempts", "1"),
            ("cellgate.cell", "us1"),
            ("cellgate.reused", "true"),
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("network.peer.address", "127.0.0.1"),
            ("network.peer.port", "8443"),
            ("server.address", "127.0.0.1"),
            ("server.port", "8443"),
            ("url.full", "http://cloud.getdbt.com/api/v2/accounts/1/jobs/7/"),
        ])
    );
}

#[test]
fn who_is_not_trusted_is_linked_to_and_not_followed() {
    let mut event = event();
    event.traced = Some(traced("192.0.2.1"));
    let (server, _) = pair(&event);
    assert_eq!((server.parent_span_id, server.parent_span_is_remote), (SpanId::INVALID, false));
    assert_eq!(server.span_context.trace_id(), 7_u128.into());
    let links: Vec<String> =
        server.links.iter().map(|link| link.span_context.trace_id().to_string()).collect();
    assert_eq!(links, [&PARENT[3..35]]);
}

#[test]
fn what_failed_says_so_and_whose_fault_it_was() {
    let check = |change: &dyn Fn(&mut RequestEvent), server: Option<&str>, client: Option<&str>| {
        let mut event = event();
        change(&mut event);
        let (of_server, of_client) = pair(&event);
        for (span, expect) in [(of_server, server), (of_client, client)] {
            assert_eq!(said(&span).get("error.type").map(String::as_str), expect, "{span:?}");
            assert_eq!(span.status == Status::error(""), expect.is_some());
        }
    };
    check(&|event| event.status = 404, None, Some("404"));
    check(&|event| event.status = 503, Some("503"), Some("503"));
    let late = |event: &mut RequestEvent| {
        (event.refusal, event.status) = (Some(Refusal::CellTimeout(Silence::Unanswered)), 504);
        event.timings.first_byte = None;
    };
    check(&late, Some("cell_timeout"), Some("connection_read_timeout"));
    check(&|event| event.end = End::CellGone, Some("cell_gone"), Some("cell_gone"));
    check(&|event| event.end = End::ClientGone, None, None);
}

#[test]
fn no_secret_and_no_name_that_a_client_makes_up_gets_into_a_span() {
    let mut event = event();
    event.path = "/api/v2/accounts/1/?token=canary-query".into();
    event.user_agent = Some("canary-agent".into());
    event.method = http::Method::from_bytes(b"CANARY").unwrap();
    for span in span::spans(&event) {
        assert!(!format!("{span:?}").to_lowercase().contains("canary"), "{span:?}");
        assert_eq!((&*span.name, said(&span)["http.request.method"].as_str()), ("HTTP", "_OTHER"));
    }
    // What never came to a cell has no second span.
    event.timings.asked = None;
    event.refusal = Some(Refusal::BadRequest(BadRequest::Path));
    assert_eq!(span::spans(&event).count(), 1);
    event.traced = None;
    assert_eq!(span::spans(&event).count(), 0);
}

#[test]
fn failures_are_told_up_to_a_rate() {
    let (mut failures, now) = (Failures::default(), Instant::now());
    let told = (0..250).filter(|_| failures.take(now)).count();
    assert_eq!(told, 100);
    assert!(!failures.take(now + Duration::from_millis(999)));
    assert!(failures.take(now + Duration::from_secs(1)));
}

#[test]
fn only_what_is_kept_or_has_failed_for_no_fault_of_its_client_is_queued() {
    let takes = |failures: bool, change: &dyn Fn(&mut RequestEvent)| {
        let mut event = event();
        event.traced.as_mut().unwrap().sampled = false;
        change(&mut event);
        let metrics = Metrics::new();
        // A lane without room counts what was offered.
        let (lane, _end) = lane(0, metrics.spans().queue_full);
        let spans = Spans { lane, failures };
        spans.offer(&Arc::new(event));
        let page = metrics.render(&snapshot(1), UNIX_EPOCH);
        page.contains(r#"cellgate_spans_dropped_total{reason="queue"} 1"#)
    };
    let sampled = |event: &mut RequestEvent| event.traced.as_mut().unwrap().sampled = true;
    assert!(takes(false, &sampled) && !takes(true, &|_| {}));
    assert!(takes(true, &|event| event.status = 502) && !takes(false, &|event| event.status = 502));
    assert!(!takes(true, &|event| event.status = 404));
    let refused = |event: &mut RequestEvent| {
        event.decision = Some(crate::policy::decide::Decision::refused(Refusal::NoAccount));
        (event.refusal, event.status) = (Some(Refusal::NoAccount), 404);
    };
    assert!(!takes(true, &refused), "clients could fill the queue with these");
    assert!(!takes(true, &|event| event.traced = None));
}

#[test]
fn a_collector_that_cannot_be_reached_costs_spans_and_no_wait() {
    let settings = TracesSettings {
        // Nobody listens on the port of discard.
        endpoint: Uri::from_static("http://127.0.0.1:9/v1/traces"),
        headers_file: None,
        ca_file: None,
        timeout: Duration::from_secs(10),
        service_name: "cellgate".into(),
        replica: "a".into(),
        failures: true,
    };
    let metrics = Metrics::new();
    let spans = Spans::start(settings, metrics.spans()).unwrap();
    let mut event = event();
    event.traced.as_mut().unwrap().sampled = true;
    let event = Arc::new(event);
    for _ in 0..BATCH {
        spans.offer(&event);
    }
    let lost = || {
        let page = metrics.render(&snapshot(1), UNIX_EPOCH);
        page.contains(&format!(r#"cellgate_spans_dropped_total{{reason="collector"}} {}"#, 2 * BATCH))
    };
    wait_until(lost);
    assert!(spans.close(Duration::from_secs(10)));
}
