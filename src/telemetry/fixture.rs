//! A small snapshot and events on it, for the tests of everything that sees.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::policy::accounts::{Account, AccountTable};
use crate::policy::admit::CellLoad;
use crate::policy::decide::{Decision, Source, Verdict, Why};
use crate::policy::envelope::ErrorShape;
use crate::policy::facts::{Scheme, Upgrade, WireVersion};
use crate::policy::hosts::{HostTable, Role};
use crate::policy::ids::{AccountId, CellIndex, Generation, Label, SurfaceIndex};
use crate::policy::snapshot::{
    Cell, CellProtocol, CellTimeouts, ClientFamily, ClientMatch, Endpoint, EndpointAddress, EndpointKey,
    Group, IdentifyRules, PathTemplate, RequestLimits, Segment, Snapshot, Surface, UpstreamHost,
};

use super::event::{End, RequestEvent, Timings};

pub(crate) fn label(text: &str) -> Label {
    Label::parse(text).expect("a test label is a label")
}

pub(crate) fn account(id: u64) -> AccountId {
    AccountId::parse(id.to_string().as_bytes()).expect("a test id is an id")
}

/// Cells `us1` and `mt` (shared); surfaces `app` and `metadata`; clients `airflow` and `curl`;
/// account 1 (`ab123`) in `us1` and 2 (`cd456`) in `mt`.
pub(crate) fn snapshot(generation: u64) -> Arc<Snapshot> {
    let row = |id, prefix, cell| Account {
        id: account(id),
        prefixes: vec![label(prefix)],
        cell: CellIndex(cell),
        redirect_browsers: false,
        schedule: None,
    };
    let accounts = AccountTable::new(vec![row(1, "ab123", 0), row(2, "cd456", 1)]);
    let literal = |text: &str| Segment::Literal(text.into());
    let template = |segments| PathTemplate { segments, authenticated: true };
    Arc::new(Snapshot {
        generation: Generation(generation),
        hash: "c0ffee".into(),
        surfaces: ["app", "metadata"]
            .map(|name| Surface { name: label(name), errors: ErrorShape::Status })
            .into(),
        redirect_exceptions: Vec::new(),
        hosts: HostTable::default(),
        cells: vec![cell("us1", false, 10), cell("mt", true, 20)],
        accounts: accounts.expect("no duplicates"),
        environments: HashMap::new(),
        schedules: Vec::new(),
        identify: IdentifyRules {
            paths: vec![
                template(vec![
                    literal("api"),
                    literal("v2"),
                    literal("accounts"),
                    Segment::Account,
                    literal("jobs"),
                ]),
                template(vec![literal("api"), literal("v2"), literal("accounts"), Segment::Account]),
            ],
            ..IdentifyRules::default()
        },
        clients: vec![client("airflow"), client("curl")],
        limits: RequestLimits::default(),
        trusted_proxies: Vec::new(),
        guide: "https://docs.example.com/url".into(),
        certificates: Default::default(),
    })
}

fn client(name: &str) -> ClientFamily {
    ClientFamily { name: name.into(), matches: vec![ClientMatch::UserAgentPrefix(name.into())] }
}

fn cell(name: &str, shared: bool, max_in_flight: u32) -> Cell {
    Cell {
        name: label(name),
        shared,
        domain: format!("{name}.dbt.com").into(),
        groups: vec![Group {
            zone: label("a"),
            priority: 0,
            capacity_rps: None,
            endpoints: vec![Endpoint {
                address: EndpointAddress::Name(format!("{name}.internal").into(), 443),
                key: EndpointKey("key".into()),
            }],
        }],
        max_in_flight,
        timeouts: CellTimeouts {
            tunnel_idle: Duration::from_secs(3600),
            connect: Duration::from_secs(1),
            response_head: Duration::from_secs(1),
            idle: Duration::from_secs(1),
            keep_alive: Duration::from_secs(1),
        },
        protocol: CellProtocol::Http1,
        tls: None,
        host: UpstreamHost::Preserve,
        seal: None,
        load: Arc::new(CellLoad::default()),
    }
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
            conflicts: Vec::new(),
            role: Some(Role::Legacy),
            surface: Some(SurfaceIndex(0)),
            misordered_host: false,
            schedule: None,
            fingerprint: None,
            learned: None,
            credential_known: false,
            may_learn: false,
            may_mark: false,
            client: Some(0),
        }),
        status: 200,
        refusal: None,
        end: End::Complete,
        bytes_in: 10,
        bytes_out: 2000,
        timings: Timings {
            connected: Some(Duration::from_micros(1_250)),
            first_byte: Some(Duration::from_millis(80)),
            total: Duration::from_millis(83),
        },
        endpoint: Some(([127, 0, 0, 1], 8443).into()),
        attempts: 1,
        reused: true,
        upstream_deprecated: false,
    }
}

/// Waits for a condition that another thread brings about; fails after ten seconds.
pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "waited ten seconds in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}
