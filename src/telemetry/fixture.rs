//! A small snapshot and events on it, for the tests of everything that sees.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::policy::client::{ClientFamily, ClientMatch};
use crate::policy::decide::{Decision, Source, Verdict, Why};
use crate::policy::facts::{Scheme, Upgrade, WireVersion};
use crate::policy::hosts::Role;
use crate::policy::ids::{CellIndex, Generation, SurfaceIndex};
use crate::policy::protection::health::checks::Check;
use crate::policy::refusal::Refusal;
use crate::policy::snapshot::{EndpointAddress, Snapshot};
use crate::test_snapshot::{SnapshotBuilder, account};

use super::event::{End, RequestEvent, Timings};
use super::metrics::Metrics;

/// Cells `us1` and `mt` (shared), with room for 10 and 20 requests; clients `airflow` and `curl`; account 1
/// (`ab123`) in `us1` and 2 (`cd456`) in `mt`. The endpoint of `us1` has a name, that of `mt` an address.
pub(crate) fn snapshot(generation: u64) -> Arc<Snapshot> {
    let mut snapshot = SnapshotBuilder::new()
        .cell("us1", "us1.dbt.com")
        .cell("mt", "mt.dbt.com")
        .account(1, "us1", &["ab123"])
        .account(2, "mt", &["cd456"])
        .path("/api/v2/accounts/{account}/jobs", true)
        .path("/api/v2/accounts/{account}", true)
        .build();
    snapshot.generation = Generation(generation);
    snapshot.clients = ["airflow", "curl"].map(client).into();
    snapshot.cells[0].max_in_flight = 10;
    snapshot.cells[0].protection.check = Some(Check::default());
    snapshot.cells[1].max_in_flight = 20;
    snapshot.cells[0].groups[0].endpoints[0].address = EndpointAddress::Name("us1.internal".into(), 443);
    Arc::new(snapshot)
}

fn client(name: &str) -> ClientFamily {
    ClientFamily { name: name.into(), matches: vec![ClientMatch::UserAgentPrefix(name.into())], fix: None }
}

/// Account 1 on the legacy host, forwarded to `us1`, by airflow.
pub(crate) fn legacy_event(snapshot: &Arc<Snapshot>) -> RequestEvent {
    RequestEvent {
        snapshot: Arc::clone(snapshot),
        listener: "https".into(),
        started: UNIX_EPOCH + Duration::from_secs(1_795_168_800),
        request_id: "req-0001".into(),
        client_ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        scheme: Scheme::Https,
        version: WireVersion::Http11,
        upgrade: Upgrade::None,
        method: http::Method::GET,
        host: "cloud.getdbt.com".into(),
        path: "/api/v2/accounts/1/jobs/7/".into(),
        user_agent: Some("airflow/1".into()),
        decision: Some(Decision {
            verdict: Verdict::Forward { cell: CellIndex(0), why: Why::Mapped },
            account: Some(account(1)),
            source: Source::Path,
            role: Some(Role::Legacy),
            surface: Some(SurfaceIndex(0)),
            client: Some(0),
            ..Decision::refused(Refusal::Internal)
        }),
        status: 200,
        refusal: None,
        end: End::Complete,
        bytes_in: 10,
        bytes_out: 2000,
        timings: Timings {
            held: None,
            queued: None,
            asked: Some(Duration::from_micros(250)),
            connected: Some(Duration::from_micros(1_250)),
            first_byte: Some(Duration::from_millis(80)),
            total: Duration::from_millis(83),
        },
        endpoint: Some(([127, 0, 0, 1], 8443).into()),
        attempts: 1,
        sends: 1,
        retry_budget_empty: false,
        reused: true,
        upstream_deprecated: false,
        planned: None,
        traced: None,
    }
}

/// Waits for a condition that another thread brings about; fails after longer than anything takes on a busy machine.
pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "waited thirty seconds in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Counts a request as its end does, for tests that tick the pulse themselves: [`Telemetry`](super::Telemetry) ticks it
/// by a clock of its own.
pub(crate) fn count(metrics: &Metrics, event: &RequestEvent) {
    metrics.request(event);
}

/// What a page of metrics says of a series.
pub(crate) fn series(metrics: &Metrics, name: &str) -> u64 {
    let page = metrics.render(&snapshot(1), UNIX_EPOCH);
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).expect("the series is there, and a whole number")
}
