//! Small snapshots and requests for tests, built by hand: no configuration files, no sockets.

#![allow(dead_code, clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use cellgate::policy::accounts::{AccountTable, AccountTableBuilder, NewAccount, ScheduleIndex};
use cellgate::policy::admit::Bound;
use cellgate::policy::brownout::{self, Brownout, BrownoutMode, Brownouts, Window};
use cellgate::policy::canary::Share;
use cellgate::policy::certificates::CertificateTable;
use cellgate::policy::client::{ClientFamily, ClientMatch};
use cellgate::policy::client_certificate::ClientPolicy;
use cellgate::policy::credential::{self, CredentialRules, FingerprintKey, Learning, TokenShape};
use cellgate::policy::decide::{Decision, decide};
use cellgate::policy::envelope::ErrorShape;
use cellgate::policy::facts::{ConnectionFacts, RequestFacts, Scheme, WireVersion};
use cellgate::policy::gate::{self, ParsedHead};
use cellgate::policy::hosts::{Fallback, HostRule, HostTable, Labels, Role};
use cellgate::policy::http2::{CellHttp2, ControlAllowance, Windows};
use cellgate::policy::ids::{AccountId, CellIndex, EntityId, Generation, Label, SurfaceIndex};
use cellgate::policy::keyed::KeyTable;
use cellgate::policy::learned::LearnedTable;
use cellgate::policy::refusal::Refusal;
use cellgate::policy::routing_cookie::{CookieKey, RoutingCookie};
use cellgate::policy::snapshot::{
    Cell, CellProtocol, CellTimeouts, Endpoint, EndpointAddress, EndpointKey, Group, IdRange, IdentifyRules,
    Merge, Names, PathTemplate, RequestLimits, Schedule, Segment, Snapshot, Surface, UpstreamHost,
};
use cellgate::policy::tickets::TicketRules;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// When requests are decided that do not say when: 2026-02-02T02:40:00Z.
pub const NOW: u64 = 1_770_000_000;

/// Surfaces in the order of [`SurfaceIndex`].
pub const SURFACES: [&str; 3] = ["app", "metadata", "semantic-layer"];

pub fn label(text: &str) -> Label {
    Label::parse(text).unwrap()
}

pub fn account(id: u64) -> AccountId {
    AccountId::parse(id.to_string().as_bytes()).unwrap()
}

pub fn entity(id: u64) -> EntityId {
    EntityId::parse(id.to_string().as_bytes()).unwrap()
}

pub fn fingerprint_key(id: &str) -> FingerprintKey {
    let key = hmac::Key::new(hmac::HMAC_SHA256, id.as_bytes());
    FingerprintKey { id: id.into(), key: Arc::new(key) }
}

/// A row of the account table that is not built yet.
pub struct Row {
    pub id: AccountId,
    pub prefixes: Vec<Label>,
    pub cell: CellIndex,
    pub redirect_browsers: bool,
    pub schedule: Option<ScheduleIndex>,
}

/// The table of these rows, which must differ in ids and prefixes.
pub fn account_table(rows: &[Row]) -> AccountTable {
    let mut builder = AccountTableBuilder::with_capacity(rows.len());
    for row in rows {
        let prefixes: Vec<&str> = row.prefixes.iter().map(Label::as_str).collect();
        let Row { id, cell, redirect_browsers, schedule, .. } = *row;
        builder.push(NewAccount { id, prefixes: &prefixes, cell, redirect_browsers, schedule });
    }
    let (table, duplicates) = builder.finish();
    assert_eq!(duplicates, []);
    table
}

/// Brownouts of all accounts, each with one window.
pub fn brownouts(all: &[(&str, BrownoutMode, (i64, i64))]) -> Brownouts {
    let brownout = |(id, mode, (start, end)): &(&str, BrownoutMode, (i64, i64))| Brownout {
        id: label(id),
        mode: *mode,
        windows: brownout::Windows::new(vec![Window { start: *start, end: *end }]).unwrap(),
        share: Share::percent(100),
        accounts: Box::default(),
        schedules: Box::default(),
        surfaces: Box::default(),
        classes: Box::default(),
        no_account: false,
        everybody: false,
    };
    Brownouts::new(all.iter().map(brownout).collect(), Vec::new(), Vec::new())
}

/// Builds a [`Snapshot`] row by row. Cells and schedules are named before they are used.
pub struct SnapshotBuilder {
    pub snapshot: Snapshot,
    rows: Vec<Row>,
    hosts: Vec<(Labels, Box<str>, HostRule)>,
}

impl SnapshotBuilder {
    /// The three surfaces, no hosts, no cells, no accounts, no rules.
    pub fn new() -> Self {
        let snapshot = Snapshot {
            generation: Generation(1),
            hash: "0123456789abcdef".into(),
            rest: "fedcba9876543210".into(),
            settings: Default::default(),
            surfaces: SURFACES.map(|name| Surface { name: label(name), errors: ErrorShape::Status }).to_vec(),
            hosts: HostTable::default(),
            cells: Vec::new(),
            protection: Default::default(),
            accounts: AccountTable::default(),
            environments: KeyTable::default(),
            moves: cellgate::policy::moves::Moves::default(),
            schedules: Vec::new(),
            extensions: Default::default(),
            brownouts: Default::default(),
            identify: IdentifyRules::default(),
            redirect_exceptions: Vec::new(),
            cors_origins: Vec::new(),
            clients: Vec::new(),
            limits: RequestLimits::default(),
            endpoint_classes: Default::default(),
            trusted_proxies: Vec::new(),
            server_timing: Default::default(),
            guide: "https://docs.example.com/url-migration".into(),
            certificates: CertificateTable::default(),
            tickets: TicketRules::default(),
            warn_before: Duration::from_secs(21 * 86_400),
        };
        Self { snapshot, rows: Vec::new(), hosts: Vec::new() }
    }

    /// A cell with one endpoint.
    pub fn cell(mut self, name: &str, domain: &str) -> Self {
        let address =
            SocketAddr::from(([127, 0, 0, 1], 9000 + u16::try_from(self.snapshot.cells.len()).unwrap()));
        let endpoint = Endpoint {
            address: EndpointAddress::Socket(address),
            key: EndpointKey(format!("{name} {address}").into()),
            connections: Bound::new(1000),
            load: Arc::default(),
        };
        let timeouts = CellTimeouts {
            tunnel_idle: Duration::from_secs(3600),
            connect: Duration::from_secs(1),
            response_head: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            keep_alive: Duration::from_secs(60),
        };
        self.snapshot.cells.push(Cell {
            name: label(name),
            shared: name == "mt",
            domain: domain.into(),
            groups: vec![Group {
                zone: label("a"),
                priority: 0,
                capacity_rps: None,
                requests: Bound::new(1000),
                load: Arc::default(),
                endpoints: vec![endpoint],
            }],
            max_in_flight: 1000,
            share_percent: 100,
            protection: Default::default(),
            timeouts,
            http2: CellHttp2 {
                streams_per_connection: 100,
                control: ControlAllowance {
                    frames: NonZeroU32::new(1_000).unwrap(),
                    per: Duration::from_secs(10),
                },
                windows: Windows { stream: 65_535, connection: 65_535 },
            },
            protocol: CellProtocol::Auto,
            tls: None,
            host: UpstreamHost::Preserve,
            seal: None,
            load: Arc::default(),
        });
        self
    }

    pub fn cell_index(&self, name: &str) -> CellIndex {
        let position = self.snapshot.cells.iter().position(|cell| cell.name.as_str() == name).unwrap();
        CellIndex(u16::try_from(position).unwrap())
    }

    pub fn account(mut self, id: u64, cell: &str, prefixes: &[&str]) -> Self {
        let cell = self.cell_index(cell);
        let prefixes = prefixes.iter().map(|prefix| label(prefix)).collect();
        self.rows.push(Row { id: account(id), prefixes, cell, redirect_browsers: false, schedule: None });
        self
    }

    /// Changes the row that was added last.
    pub fn with_row(mut self, change: impl FnOnce(&mut Row)) -> Self {
        change(self.rows.last_mut().unwrap());
        self
    }

    pub fn schedule(mut self, name: &str, deprecated_since: i64, sunset_at: i64) -> Self {
        let guide = "https://docs.example.com/url-migration".into();
        let schedule = Schedule::new(label(name), deprecated_since, sunset_at, guide, None, Merge::Earliest);
        self.snapshot.schedules.push(schedule);
        self
    }

    /// `pattern` like `cloud.getdbt.com` or `{prefix}.{surface}.us1.dbt.com`.
    pub fn host(self, role: Role, pattern: &str, surface: u8) -> Self {
        self.host_with(role, pattern, surface, Fallback::Refuse, Fallback::Refuse)
    }

    /// What the host named last asks of its clients.
    pub fn asking(mut self, policy: Arc<ClientPolicy>) -> Self {
        self.hosts.last_mut().unwrap().2.client_certificate = Some(policy);
        self
    }

    pub fn host_with(
        mut self,
        role: Role,
        pattern: &str,
        surface: u8,
        no_account: Fallback,
        unmapped_account: Fallback,
    ) -> Self {
        let (labels, name) = match pattern.strip_prefix("{prefix}.") {
            None => (Labels::Exact, pattern),
            Some(rest) => match rest.strip_prefix("{surface}.") {
                None => (Labels::Prefix, rest),
                Some(rest) => (Labels::PrefixSurface, rest),
            },
        };
        let schedule = (role == Role::Legacy).then_some(ScheduleIndex(0));
        let surface = SurfaceIndex(surface);
        let rule = HostRule {
            role,
            pattern: pattern.into(),
            surface,
            schedule,
            no_account,
            unmapped_account,
            client_certificate: None,
            hsts: None,
        };
        self.hosts.push((labels, name.into(), rule));
        self
    }

    /// `/api/v2/accounts/{account}`, with `{entity}` and `{any}` as further free segments.
    pub fn path(mut self, text: &str, authenticated: bool) -> Self {
        let segments = text.split('/').skip(1).map(|segment| match segment {
            "{account}" => Segment::Account,
            "{entity}" => Segment::Entity,
            "{any}" => Segment::Any,
            literal => Segment::Literal(literal.into()),
        });
        self.snapshot.identify.paths.push(PathTemplate { segments: segments.collect(), authenticated });
        self
    }

    pub fn header(mut self, name: &'static str, names: Names) -> Self {
        self.snapshot.identify.headers.push((HeaderName::from_static(name), names));
        self
    }

    pub fn cookie(mut self, name: &str, names: Names) -> Self {
        self.snapshot.identify.cookies.push((name.into(), names));
        self
    }

    /// Our own cookie, which lasts twelve hours.
    pub fn routing_cookie(mut self) -> Self {
        self.snapshot.identify.routing_cookie = Some(RoutingCookie {
            name: "__Host-cellgate".into(),
            keys: ["c2", "c1"].map(|id| CookieKey { id: label(id), key: fingerprint_key(id).key }).to_vec(),
            max_age_secs: 12 * 3_600,
        });
        self
    }

    pub fn environment(mut self, environment: u64, of: u64) -> Self {
        let more = [(entity(environment), account(of))];
        self.snapshot.environments = self.snapshot.environments.iter().chain(more).collect();
        self
    }

    /// A row of the configured credential table, under the newest key.
    pub fn token(mut self, token: &str, of: u64) -> Self {
        let rules = &mut self.snapshot.identify.credentials;
        let more = [(credential::fingerprint(&rules.keys[0], token.as_bytes()), account(of))];
        rules.table = rules.table.iter().chain(more).collect();
        self
    }

    pub fn credentials(mut self) -> Self {
        let shape = |prefix: &str| TokenShape { prefix: prefix.into(), min_len: 4, max_len: 100 };
        self.snapshot.identify.credentials = CredentialRules {
            schemes: vec!["token".into(), "bearer".into()],
            shapes: ["dbtc_", "dbtu_", "FAKE"].map(shape).to_vec(),
            keys: vec![fingerprint_key("k2"), fingerprint_key("k1")],
            table: KeyTable::default(),
            learning: Some(Learning { entries: 1000, per_account: 32 }),
        };
        self
    }

    /// The range of ids made in cell number `n`: 2^46 + n * 2^35 and 2^35 ids from there.
    pub fn id_range(mut self, n: u64, cell: &str) -> Self {
        let first = (1 << 46) + (n << 35);
        let cell = self.cell_index(cell);
        self.snapshot.identify.id_ranges.push(IdRange {
            first,
            last: first + (1 << 35) - 1,
            cell,
            enabled: true,
        });
        self
    }

    pub fn build(self) -> Snapshot {
        let surfaces = SURFACES.iter().zip(0..).map(|(name, index)| (label(name), SurfaceIndex(index)));
        Snapshot {
            accounts: account_table(&self.rows),
            hosts: HostTable::new(self.hosts, surfaces.collect()),
            ..self.snapshot
        }
    }
}

/// The tokens of the request shapes.
pub const SERVICE_TOKEN: &str = "dbtc_FAKE1FAKE1FAKE1FAKE1FAKE1FAKE1FAKE1FAKE1FAKE1FAKE1";
/// See [`SERVICE_TOKEN`].
pub const USER_TOKEN: &str = "dbtu_FAKE0FAKE0FAKE0FAKE0FAKE0FAKE0FAKE0FAKE0FAKE0FAKE0";

/// The example of the request shapes: legacy hosts, cell hosts of two regions, a shared cell `mt` and
/// four others, one account with a vanity prefix, one per cell besides.
pub fn example() -> SnapshotBuilder {
    let mut builder = SnapshotBuilder::new()
        .schedule("legacy", 1_769_904_000, 1_793_491_200)
        .schedule("enterprise", 1_769_904_000, 1_796_083_200)
        .host(Role::Legacy, "cloud.getdbt.com", 0)
        .host(Role::Legacy, "metadata.cloud.getdbt.com", 1)
        .host(Role::Legacy, "semantic-layer.cloud.getdbt.com", 2)
        .host(Role::Legacy, "{prefix}.cloud.getdbt.com", 0)
        .host(Role::Cell, "{prefix}.us1.dbt.com", 0)
        .host(Role::Cell, "{prefix}.{surface}.us1.dbt.com", 0)
        .host(Role::Cell, "{prefix}.us2.dbt.com", 0)
        .host(Role::Cell, "{prefix}.{surface}.us2.dbt.com", 0)
        .cell("mt", "us1.dbt.com")
        .cell("us1-c1", "us1.dbt.com")
        .cell("us1-c2", "us1.dbt.com")
        .cell("us1-c3", "us1.dbt.com")
        .cell("us2-c1", "us2.dbt.com")
        .account(26228, "mt", &["gh012"])
        .account(12345, "us1-c1", &["mx789"])
        .account(70_403_103_966_603, "us1-c1", &["ab123", "acme"])
        .account(70_437_463_654_557, "us1-c2", &["cd456"])
        .account(70_471_823_417_825, "us1-c3", &["ef789"])
        .with_row(|row| row.schedule = Some(ScheduleIndex(1)))
        .account(70_506_183_150_011, "us2-c1", &["zz001"])
        .with_row(|row| row.redirect_browsers = true)
        .account(777, "us1-c2", &[])
        .environment(70_403_103_966_025, 70_403_103_966_603)
        .environment(70_403_103_966_026, 70_403_103_966_603)
        .environment(88991, 12345)
        .id_range(1, "us1-c1")
        .id_range(2, "us1-c2")
        .credentials()
        .token(SERVICE_TOKEN, 12345)
        .token(USER_TOKEN, 70_403_103_966_603)
        .token("FAKE", 70_437_463_654_557)
        .cookie("sessionid", Names::Credential)
        .cookie("account", Names::Account)
        .header("environmentid", Names::Environment)
        .header("x-dbt-prod-environment-id", Names::Environment)
        .header("x-dbt-dev-environment-id", Names::Environment)
        .header("x-account-id", Names::Account)
        .header("x-api-key", Names::Credential);
    for (path, authenticated) in [
        ("/api/v2/accounts/{account}", true),
        ("/api/v3/accounts/{account}", true),
        ("/api/private/accounts/{account}", true),
        ("/deploy/{account}", false),
        ("/develop/{account}", false),
        ("/explore/{account}", false),
        ("/api/v2/accounts", true),
        ("/api/v3/accounts", true),
        ("/api/v2/whoami", true),
        ("/api/v2/users/{entity}", true),
        ("/api/v3/users/{entity}", true),
        ("/graphql", true),
    ] {
        builder = builder.path(path, authenticated);
    }
    builder.snapshot.identify.query_keys = vec!["account_id".into()];
    builder.snapshot.redirect_exceptions = vec!["/complete/".into()];
    builder.snapshot.clients = vec![ClientFamily {
        name: "terraform".into(),
        matches: vec![ClientMatch::UserAgentPrefix("terraform-provider-dbtcloud/".into())],
        fix: None,
    }];
    builder
}

/// A request to be put to the gate and decided.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub host: String,
    pub target: String,
    pub headers: HeaderMap,
    pub version: WireVersion,
    /// `:protocol` of an extended CONNECT.
    pub protocol: Option<&'static str>,
    pub scheme: Scheme,
}

impl Request {
    /// `GET cloud.getdbt.com/api/v2/accounts/12345`.
    pub fn new(line: &str) -> Self {
        let (method, url) = line.split_once(' ').unwrap();
        let (host, target) = url.split_at(url.find('/').unwrap());
        Self {
            method: method.parse().unwrap(),
            host: host.into(),
            target: target.into(),
            headers: HeaderMap::new(),
            version: WireVersion::Http11,
            protocol: None,
            scheme: Scheme::Https,
        }
    }

    /// Further fields, each as `name: value`.
    pub fn with(mut self, fields: &[&str]) -> Self {
        for field in fields {
            let (name, value) = field.split_once(": ").unwrap();
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            self.headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        self
    }

    pub fn decide(&self, snapshot: &Snapshot, learned: &LearnedTable) -> Decision {
        self.decide_at(snapshot, learned, NOW)
    }

    pub fn decide_at(&self, snapshot: &Snapshot, learned: &LearnedTable, now: u64) -> Decision {
        match self.read(snapshot, |facts| decide(snapshot, learned, facts, now)) {
            Ok(decision) => decision,
            Err(refusal) => Decision::refused(refusal),
        }
    }

    /// Puts it to the gate, and what the gate reads to `then`.
    pub fn read<T>(
        &self,
        snapshot: &Snapshot,
        then: impl FnOnce(&RequestFacts<'_>) -> T,
    ) -> Result<T, Refusal> {
        let head = ParsedHead {
            method: &self.method,
            version: self.version,
            authority: Some(&self.host),
            target: &self.target,
            protocol: self.protocol,
            headers: &self.headers,
        };
        let connection = ConnectionFacts {
            scheme: self.scheme,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            certificate_names: None,
        };
        let mut scratch = String::new();
        gate::facts(head, connection, &snapshot.limits, &mut scratch).map(|facts| then(&facts))
    }
}
