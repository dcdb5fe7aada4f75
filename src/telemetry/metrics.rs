//! The metrics of one process: a registry that belongs to a value, the handles that requests and
//! connections count in, and the page that a scrape gets. Nothing here is global.

mod configuration;
mod towards_cells;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Counter, Gauge};

use crate::policy::decide::{Source, Verdict};
use crate::policy::ids::Generation;
use crate::policy::snapshot::Snapshot;
use crate::policy::validity::{Ending, Kind, endings};

use super::admin_meters::AdminMeters;
use super::brownout_meters::{self, BrownoutMeters};
use super::candidate_meters::CandidateMeters;
use super::event::RequestEvent;
use super::families;
use super::guard_meters::GuardMeters;
use super::labels::{
    ConnectionCut, ConnectionRefused, ENDS, Handshake, LearnedState, METHODS, REFUSALS, ROLES, Reload,
    SOURCES, UnknownSni, Upgrade, VERSIONS, end_slot, method_slot, refusal_slot, role_label, role_slot,
    source_slot, trust_label, version_label, version_slot,
};
use super::meters::{CellMeters, Meters, increment};
use super::move_meters::MoveMeters;
use super::pulse::Pulse;
use super::registry::Registry;
use super::standing_meters::StandingMeters;
pub use super::writers::{AccessLogMeters, BooksMeters, ShipmentMeters, SpanMeters, TrailMeters};

/// How many generations keep ready handles. A request of an older one (a stream that has outlived
/// this many reloads) is counted as well, by way of a slower look-up.
const KEPT_GENERATIONS: usize = 4;

/// Everything that is counted, by all threads. No lock is held for longer than it takes to count one request.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    meters: RwLock<VecDeque<Meters>>,
    refusals: Vec<Counter>,
    redirects: Counter,
    identify: Vec<Counter>,
    by_method: Vec<Counter>,
    conflicts: Vec<Counter>,
    ends: Vec<Counter>,
    misordered: Counter,
    connections: Counter,
    connections_open: Gauge,
    connections_refused: Vec<Counter>,
    connections_cut: Vec<Counter>,
    handshakes: Vec<Counter>,
    unknown_sni: Vec<Counter>,
    reloads: Vec<Counter>,
    upgrades: Vec<Counter>,
    /// What guards do and have done.
    pub guards: GuardMeters,
    /// What moves of accounts cost.
    pub moves: MoveMeters,
    /// What keeps cells standing.
    pub standing: StandingMeters,
    /// What is refused on purpose.
    pub brownouts: BrownoutMeters,
    /// What the doors of the admin plane refuse.
    pub admin: AdminMeters,
    /// What each cell and surface answers, second by second.
    pub pulse: Pulse,
    last_reload_ok: Gauge,
    last_success: Gauge,
    /// What is on trial.
    pub candidate: CandidateMeters,
    learned: Vec<Gauge>,
    learned_evictions: Counter,
    panics: Counter,
    scraped: Mutex<Scraped>,
}

/// What is only looked at when somebody scrapes.
#[derive(Debug, Default)]
struct Scraped {
    /// Names of cells that have a series, so that those of a former configuration can be told from
    /// those in force.
    cells: HashSet<Box<str>>,
    /// The same of everything that ends.
    endings: HashSet<(Kind, String)>,
    last_good_since: Option<SystemTime>,
}

impl Metrics {
    /// An empty registry with every series that does not depend on the configuration.
    pub fn new() -> Self {
        let registry = Registry::new();
        let plain = |family| registry.counter(family, &[]);
        let identify = SOURCES.into_iter().flat_map(|source| {
            ROLES.map(|role| {
                let labels = [("source", source.as_str()), ("role", role_label(role))];
                registry.counter(&families::IDENTIFY, &labels)
            })
        });
        let learned = LearnedState::ALL
            .iter()
            .map(|state| registry.gauge(&families::LEARNED_CREDENTIALS, &[("state", state.as_str())]));
        registry.gauge(&families::BUILD_INFO, &[("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
        Self {
            meters: RwLock::default(),
            refusals: registry.closed(&families::REFUSALS, "reason", REFUSALS.iter().map(|r| r.label())),
            redirects: plain(&families::REDIRECTS),
            identify: identify.collect(),
            by_method: by_method(&registry),
            conflicts: conflicts(&registry),
            ends: ENDS.map(|end| registry.counter(&families::REQUEST_ENDS, &[("end", end.as_str())])).into(),
            misordered: plain(&families::MISORDERED_HOSTS),
            connections: plain(&families::CONNECTIONS),
            connections_open: registry.gauge(&families::CONNECTIONS_OPEN, &[]),
            connections_refused: registry.closed(
                &families::CONNECTIONS_REFUSED,
                "reason",
                ConnectionRefused::ALL.iter().map(|reason| reason.as_str()),
            ),
            connections_cut: registry.closed(
                &families::CONNECTIONS_CUT,
                "reason",
                ConnectionCut::ALL.iter().map(|reason| reason.as_str()),
            ),
            handshakes: registry.closed(
                &families::HANDSHAKES,
                "result",
                Handshake::ALL.iter().map(|result| result.as_str()),
            ),
            unknown_sni: registry.closed(
                &families::UNKNOWN_SNI,
                "kind",
                UnknownSni::ALL.iter().map(|kind| kind.as_str()),
            ),
            reloads: registry.closed(
                &families::RELOADS,
                "outcome",
                Reload::ALL.iter().map(|outcome| outcome.as_str()),
            ),
            guards: GuardMeters::new(&registry),
            admin: AdminMeters::new(&registry),
            moves: MoveMeters::new(&registry),
            standing: StandingMeters::new(&registry),
            brownouts: BrownoutMeters::default(),
            pulse: Pulse::default(),
            upgrades: registry.closed(
                &families::UPGRADES,
                "result",
                Upgrade::ALL.iter().map(|result| result.as_str()),
            ),
            last_reload_ok: registry.gauge(&families::CONFIG_LAST_OK, &[]),
            last_success: registry.gauge(&families::CONFIG_LAST_SUCCESS, &[]),
            candidate: CandidateMeters::new(&registry),
            learned: learned.collect(),
            learned_evictions: plain(&families::LEARNED_EVICTIONS),
            panics: plain(&families::PANICS),
            scraped: Mutex::default(),
            registry,
        }
    }

    /// Makes the handles of a snapshot before it is swapped in, so that its requests find them. Cannot fail.
    pub fn prepare(&self, snapshot: &Snapshot) {
        let made = Meters::new(&self.registry, snapshot);
        let mut meters = self.meters.write().unwrap_or_else(PoisonError::into_inner);
        meters.retain(|kept| kept.generation != made.generation);
        meters.push_front(made);
        meters.truncate(KEPT_GENERATIONS);
    }

    /// Counts a finished request.
    pub(super) fn request(&self, event: &RequestEvent) {
        self.pulse.count(event);
        let met = brownout_meters::position(event.planned);
        let counted = self.with_meters(event.snapshot.generation, |meters| {
            meters.of(event).count(&self.registry, event);
            if let Some(met) = met {
                increment(&meters.brownouts, met, 1);
            }
        });
        if counted.is_none() {
            CellMeters::of(&self.registry, event).count(&self.registry, event);
            if let Some(met) = met {
                increment(&brownout_meters::counters(&self.registry, &event.snapshot), met, 1);
            }
        }
        let method = role_slot(event.role()) * METHODS.len() + method_slot(&event.method);
        increment(&self.by_method, method * VERSIONS.len() + version_slot(event.version), 1);
        increment(&self.ends, end_slot(event.end), 1);
        if let Some(refusal) = event.refusal {
            increment(&self.refusals, refusal_slot(refusal), 1);
        }
        let Some(decision) = &event.decision else { return };
        let source = source_slot(decision.source) * ROLES.len() + role_slot(decision.role);
        increment(&self.identify, source, 1);
        for conflict in &decision.conflicts {
            let pair = source_slot(conflict.followed) * SOURCES.len() + source_slot(conflict.against);
            increment(&self.conflicts, pair, 1);
        }
        if decision.misordered_host {
            self.misordered.increment(1);
        }
        if matches!(decision.verdict, Verdict::Redirect { .. }) {
            self.redirects.increment(1);
        }
    }

    /// Counts a connection as open until [`connection_closed`](Self::connection_closed). The guard that
    /// pairs the two is `listen`'s.
    pub fn connection_opened(&self) {
        self.connections.increment(1);
        self.connections_open.increment(1.0);
    }

    /// Counts a connection as gone.
    pub fn connection_closed(&self) {
        self.connections_open.decrement(1.0);
    }

    /// Counts a connection that was closed before a request was read.
    pub fn connection_refused(&self, reason: ConnectionRefused) {
        increment(&self.connections_refused, reason as usize, 1);
    }

    /// Counts an HTTP/2 connection that was ended for what was sent on it.
    pub fn connection_cut(&self, reason: ConnectionCut) {
        increment(&self.connections_cut, reason as usize, 1);
    }

    /// Counts a TLS handshake.
    pub fn handshake(&self, result: Handshake) {
        increment(&self.handshakes, result as usize, 1);
    }

    /// Counts a ClientHello whose name no certificate covers.
    pub fn unknown_sni(&self, kind: UnknownSni) {
        increment(&self.unknown_sni, kind as usize, 1);
    }

    /// Counts an upgrade.
    pub fn upgrade(&self, result: Upgrade) {
        increment(&self.upgrades, result as usize, 1);
    }

    /// Sets the size of the learned credential table.
    pub fn learned_credentials(&self, state: LearnedState, entries: usize) {
        if let Some(gauge) = self.learned.get(state as usize) {
            gauge.set(entries as f64);
        }
    }

    /// Counts learned credentials that a limit of the table pushed out.
    pub fn learned_evicted(&self, entries: u64) {
        self.learned_evictions.increment(entries);
    }

    /// Counts a defect that ended a task; for the panic hook.
    pub fn panicked(&self) {
        self.panics.increment(1);
    }

    /// The handles of the access log.
    pub fn access_log(&self) -> AccessLogMeters {
        AccessLogMeters::new(&self.registry)
    }

    /// Handles of the spans.
    pub fn spans(&self) -> SpanMeters {
        SpanMeters::new(&self.registry)
    }

    /// The handles of the books.
    pub fn books(&self) -> BooksMeters {
        BooksMeters::new(&self.registry)
    }

    /// The handles of shipping them to the database of a fleet.
    pub fn shipments(&self) -> ShipmentMeters {
        ShipmentMeters::new(&self.registry)
    }

    /// The handles of the audit trail.
    pub fn trail(&self) -> TrailMeters {
        TrailMeters::new(&self.registry)
    }

    /// The exposition page, with the gauges that are read off the live snapshot and the clock.
    pub fn render(&self, live: &Snapshot, now: SystemTime) -> String {
        self.look_at(live, now);
        self.registry.render()
    }

    /// What `count` makes of the handles of a generation, if there are some ready.
    fn with_meters<T>(&self, generation: Generation, count: impl FnOnce(&Meters) -> T) -> Option<T> {
        let meters = self.meters.read().unwrap_or_else(PoisonError::into_inner);
        meters.iter().find(|kept| kept.generation == generation).map(count)
    }

    fn look_at(&self, live: &Snapshot, now: SystemTime) {
        let mut scraped = self.scraped.lock().unwrap_or_else(PoisonError::into_inner);
        let set = |family, value| self.registry.gauge(family, &[]).set(value);
        set(&families::CONFIG_GENERATION, live.generation.0 as f64);
        set(&families::ACCOUNTS, live.accounts.len() as f64);
        set(&families::REPLICAS_DECLARED, f64::from(live.protection.replicas.get()));
        let age = |since| now.duration_since(since).unwrap_or(Duration::ZERO).as_secs_f64();
        set(&families::LAST_GOOD_AGE, scraped.last_good_since.map_or(0.0, age));
        let named =
            |family, label, name: &str, value| self.registry.gauge(family, &[(label, name)]).set(value);
        for gone in &scraped.cells {
            named(&families::IN_FLIGHT, "cell", gone, 0.0);
            named(&families::IN_FLIGHT_LIMIT, "cell", gone, 0.0);
            named(&families::WAITING, "cell", gone, 0.0);
        }
        for cell in &live.cells {
            let name = cell.name.as_str();
            named(&families::IN_FLIGHT, "cell", name, f64::from(cell.load.in_flight()));
            named(&families::IN_FLIGHT_LIMIT, "cell", name, f64::from(cell.max_in_flight));
            named(&families::WAITING, "cell", name, f64::from(cell.load.waiting.taken()));
            scraped.cells.insert(name.into());
        }
        MoveMeters::look_at(&self.registry, live);
        self.standing.look_at(&self.registry);
        self.brownouts.look_at(&self.registry, live, unix_seconds(now) as i64);
        // A name may stand for several; what ends first is what matters.
        let mut until: HashMap<(Kind, String), f64> = HashMap::new();
        until.extend(scraped.endings.iter().map(|gone| (gone.clone(), f64::NAN)));
        for Ending { kind, name, until: end } in endings(live) {
            let first = until.entry((kind, name)).or_insert(f64::NAN);
            // The other one where one is no number.
            *first = first.min(end as f64);
        }
        for ((kind, name), until) in until {
            match trust_label(kind) {
                None => named(&families::CERTIFICATE_NOT_AFTER, "name", &name, until),
                Some(label) => {
                    let labels = [("kind", label), ("name", name.as_str())];
                    self.registry.gauge(&families::TRUST_UNTIL, &labels).set(until);
                }
            }
            scraped.endings.insert((kind, name));
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn by_method(registry: &Registry) -> Vec<Counter> {
    let mut made = Vec::with_capacity(ROLES.len() * METHODS.len() * VERSIONS.len());
    for role in ROLES {
        for method in METHODS {
            for version in VERSIONS {
                let labels =
                    [("role", role_label(role)), ("method", method), ("version", version_label(version))];
                made.push(registry.counter(&families::REQUESTS_BY_METHOD, &labels));
            }
        }
    }
    made
}

/// By followed and against; a source never disagrees with itself, and none with nobody.
fn conflicts(registry: &Registry) -> Vec<Counter> {
    let mut made = Vec::with_capacity(SOURCES.len() * SOURCES.len());
    for followed in SOURCES {
        for against in SOURCES {
            let nothing = [followed, against].contains(&Source::None);
            made.push(if nothing || followed == against {
                Counter::noop()
            } else {
                let labels = [("followed", followed.as_str()), ("against", against.as_str())];
                registry.counter(&families::CONFLICTS, &labels)
            });
        }
    }
    made
}

fn unix_seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::hash::{BuildHasher, RandomState};
    use std::num::NonZeroU32;
    use std::sync::Arc;

    use super::*;
    use crate::policy::brownout::BrownoutMode;
    use crate::policy::decide::{Conflict, Why};
    use crate::policy::hosts::Role;
    use crate::policy::ids::{CellIndex, SurfaceIndex};
    use crate::policy::moment::Moment;
    use crate::policy::protection::judge::{self, Judge};
    use crate::policy::refusal::Refusal;
    use crate::telemetry::fixture::{legacy_event, snapshot};
    use crate::telemetry::labels::Connect;
    use crate::test_snapshot::{brownouts, label};

    const NOW: SystemTime = UNIX_EPOCH;

    fn page(metrics: &Metrics) -> String {
        metrics.render(&snapshot(1), NOW)
    }

    fn series(metrics: &Metrics) -> usize {
        page(metrics).lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count()
    }

    fn assert_values(metrics: &Metrics, rows: &[(&str, &str)]) {
        let page = page(metrics);
        for (series, expect) in rows {
            let found = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            assert_eq!(found, Some(*expect), "{series} in\n{page}");
        }
    }

    #[test]
    fn a_request_is_counted_in_every_family() {
        let metrics = Metrics::new();
        let snapshot = snapshot(1);
        metrics.prepare(&snapshot);
        let mut event = legacy_event(&snapshot);
        let decision = event.decision.as_mut().unwrap();
        decision.conflicts.push(Conflict { followed: Source::Path, against: Source::Cookie });
        decision.misordered_host = true;
        event.attempts = 3;
        event.sends = 2;
        event.retry_budget_empty = true;
        event.upstream_deprecated = true;
        metrics.request(&event);
        assert_values(
            &metrics,
            &[
                (r#"cellgate_requests_total{cell="us1",surface="app",status="2xx"}"#, "1"),
                (r#"cellgate_requests_total{cell="mt",surface="app",status="2xx"}"#, "0"),
                (r#"cellgate_requests_by_method_total{role="legacy",method="GET",version="1.1"}"#, "1"),
                (r#"cellgate_request_ends_total{end="complete"}"#, "1"),
                (r#"cellgate_identify_total{source="path",role="legacy"}"#, "1"),
                (r#"cellgate_conflicts_total{followed="path",against="cookie"}"#, "1"),
                ("cellgate_misordered_hosts_total", "1"),
                (r#"cellgate_legacy_requests_total{cell="us1",surface="app",client="airflow"}"#, "1"),
                (r#"cellgate_resolutions_total{cell="us1",why="mapped"}"#, "1"),
                (r#"cellgate_request_body_bytes_total{cell="us1"}"#, "10"),
                (r#"cellgate_response_body_bytes_total{cell="us1"}"#, "2000"),
                (r#"cellgate_upstream_requests_total{cell="us1",connection="reused"}"#, "1"),
                (r#"cellgate_upstream_retries_total{cell="us1"}"#, "1"),
                (r#"cellgate_upstream_retries_denied_total{cell="us1"}"#, "1"),
                (r#"cellgate_upstream_deprecated_total{cell="us1"}"#, "1"),
                (r#"cellgate_request_duration_seconds_bucket{cell="us1",le="0.064"}"#, "0"),
                (r#"cellgate_request_duration_seconds_bucket{cell="us1",le="0.128"}"#, "1"),
                (r#"cellgate_upstream_first_byte_seconds_count{cell="us1"}"#, "1"),
            ],
        );
    }

    #[test]
    fn a_tunnel_has_no_duration() {
        let metrics = Metrics::new();
        let snapshot = snapshot(1);
        let mut event = legacy_event(&snapshot);
        event.upgrade = crate::policy::facts::Upgrade::WebSocket;
        event.status = 101;
        metrics.request(&event);
        assert_values(
            &metrics,
            &[
                (r#"cellgate_requests_total{cell="us1",surface="app",status="1xx"}"#, "1"),
                (r#"cellgate_request_duration_seconds_count{cell="us1"}"#, "0"),
            ],
        );
    }

    #[test]
    fn a_refusal_is_counted_by_reason_and_without_a_cell() {
        let metrics = Metrics::new();
        let snapshot = snapshot(1);
        metrics.prepare(&snapshot);
        for (position, refusal) in REFUSALS.into_iter().enumerate() {
            let mut event = legacy_event(&snapshot);
            event.decision.as_mut().unwrap().verdict = Verdict::Refuse(refusal);
            event.refusal = Some(refusal);
            event.status = refusal.status();
            (0..=position).for_each(|_| metrics.request(&event));
        }
        for (position, refusal) in REFUSALS.into_iter().enumerate() {
            let series = format!("cellgate_refusals_total{{reason=\"{}\"}}", refusal.label());
            assert_values(&metrics, &[(&series, &(position + 1).to_string())]);
        }
        let in_cell = r#"cellgate_requests_total{cell="us1",surface="app",status="4xx"}"#;
        assert_values(&metrics, &[(in_cell, "0")]);
    }

    #[test]
    fn clients_cannot_make_series() {
        let metrics = Metrics::new();
        let snapshot = snapshot(1);
        metrics.prepare(&snapshot);
        let before = series(&metrics);
        assert!(before > 200, "{before}");
        // A new seed each time: the property holds for every seed.
        let seed = RandomState::new();
        for round in 0..1_500u64 {
            let noise = seed.hash_one(round);
            let mut event = legacy_event(&snapshot);
            event.host = format!("{noise:x}.example.com").into();
            event.path = format!("/{noise}").into();
            event.user_agent = Some(format!("agent-{noise}").into());
            event.method = http::Method::from_bytes(format!("M{noise}").as_bytes()).unwrap();
            event.status = u16::try_from(noise % 1_000).unwrap();
            event.request_id = noise.to_string().into();
            let decision = event.decision.as_mut().unwrap();
            decision.client = None;
            decision.role = [None, Some(Role::Legacy), Some(Role::Cell)][round as usize % 3];
            if round % 2 == 0 {
                decision.verdict = Verdict::Refuse(Refusal::NoAccount);
                event.refusal = Some(Refusal::NoAccount);
            }
            metrics.request(&event);
        }
        assert_eq!(series(&metrics), before);
        let other = r#"cellgate_requests_by_method_total{role="none",method="other",version="1.1"}"#;
        assert_values(&metrics, &[(other, "500")]);
    }

    #[test]
    fn indexes_of_another_snapshot_neither_panic_nor_make_series() {
        let metrics = Metrics::new();
        let snapshot = snapshot(1);
        metrics.prepare(&snapshot);
        let before = series(&metrics);
        let mut event = legacy_event(&snapshot);
        let decision = event.decision.as_mut().unwrap();
        decision.verdict = Verdict::Forward { cell: CellIndex(77), why: Why::Mapped };
        decision.surface = Some(SurfaceIndex(200));
        decision.client = Some(999);
        metrics.request(&event);
        metrics.upstream_connection(&snapshot, CellIndex(77), Connect::Connected);
        assert_eq!(series(&metrics), before);
        let nowhere = r#"cellgate_requests_total{cell="none",surface="none",status="2xx"}"#;
        assert_values(&metrics, &[(nowhere, "1")]);
    }

    #[test]
    fn a_generation_without_ready_handles_counts_in_the_same_series() {
        let metrics = Metrics::new();
        (1..=6).for_each(|generation| metrics.prepare(&snapshot(generation)));
        for generation in [1, 6, 7] {
            let snapshot = snapshot(generation);
            metrics.request(&legacy_event(&snapshot));
            metrics.upstream_connection(&snapshot, CellIndex(1), Connect::TimedOut);
        }
        assert_values(
            &metrics,
            &[
                (r#"cellgate_requests_total{cell="us1",surface="app",status="2xx"}"#, "3"),
                (r#"cellgate_upstream_connections_total{cell="mt",result="timed_out"}"#, "3"),
            ],
        );
    }

    #[test]
    fn gauges_follow_the_live_snapshot() {
        let metrics = Metrics::new();
        let live = snapshot(3);
        let check = |live: &Snapshot, age: u64, rows: &[&str]| {
            let page = metrics.render(live, NOW + Duration::from_secs(age));
            for row in rows {
                assert!(page.lines().any(|line| line == *row), "{row} in\n{page}");
            }
        };
        let permit = live.cells[0].load.try_acquire(10).unwrap();
        check(
            &live,
            0,
            &[
                r#"cellgate_in_flight_requests{cell="us1"} 1"#,
                r#"cellgate_in_flight_limit{cell="mt"} 20"#,
                "cellgate_config_generation 3",
                "cellgate_accounts 2",
                "cellgate_replicas_declared 1",
                "cellgate_last_good_age_seconds 0",
            ],
        );
        drop(permit);
        let mut next = Arc::into_inner(snapshot(4)).unwrap();
        next.cells[1].name = label("us9");
        next.protection.replicas = NonZeroU32::new(6).unwrap();
        metrics.serving_last_good(Some(NOW));
        check(
            &next,
            90,
            &[
                r#"cellgate_in_flight_requests{cell="us1"} 0"#,
                r#"cellgate_in_flight_limit{cell="mt"} 0"#,
                r#"cellgate_in_flight_limit{cell="us9"} 20"#,
                "cellgate_replicas_declared 6",
                "cellgate_last_good_age_seconds 90",
            ],
        );
    }

    #[test]
    fn connections_handshakes_and_reloads_are_counted() {
        let metrics = Metrics::new();
        metrics.connection_opened();
        metrics.connection_opened();
        metrics.connection_closed();
        metrics.connection_refused(ConnectionRefused::Limit);
        metrics.handshake(Handshake::Full);
        metrics.unknown_sni(UnknownSni::Misordered);
        metrics.reload(Reload::Applied, NOW + Duration::from_secs(5));
        metrics.reload(Reload::Rejected, NOW + Duration::from_secs(9));
        metrics.learned_credentials(LearnedState::Ambiguous, 4);
        metrics.learned_evicted(2);
        metrics.panicked();
        assert_values(
            &metrics,
            &[
                ("cellgate_connections_open", "1"),
                ("cellgate_connections_total", "2"),
                (r#"cellgate_connections_refused_total{reason="limit"}"#, "1"),
                (r#"cellgate_tls_handshakes_total{result="full"}"#, "1"),
                (r#"cellgate_tls_handshakes_total{result="resumed"}"#, "0"),
                (r#"cellgate_unknown_sni_total{kind="misordered"}"#, "1"),
                (r#"cellgate_reloads_total{outcome="rejected"}"#, "1"),
                ("cellgate_config_last_reload_successful", "0"),
                ("cellgate_config_last_success_timestamp_seconds", "5"),
                (r#"cellgate_learned_credentials{state="ambiguous"}"#, "4"),
                ("cellgate_learned_credential_evictions_total", "2"),
                ("cellgate_panics_total", "1"),
            ],
        );
        metrics.connection_closed();
        assert_values(&metrics, &[("cellgate_connections_open", "0")]);
    }

    #[test]
    fn what_ends_has_a_series_while_it_is_in_force() {
        use crate::policy::client_certificate::ClientPolicy;
        use crate::policy::hosts::Role;
        let asking = |until: &[i64]| {
            let mut hosts = crate::test_snapshot::SnapshotBuilder::new();
            for until in until {
                let policy = ClientPolicy {
                    required: true,
                    known: true,
                    identity: "a".into(),
                    authorities: [].into(),
                    verifier: rustls::server::WebPkiClientVerifier::no_client_auth(),
                    crl_until: Some(*until),
                };
                hosts = hosts.host(Role::Cell, "{prefix}.us1.dbt.com", 0).asking(Arc::new(policy));
            }
            hosts.build()
        };
        let metrics = Metrics::new();
        let shown = |snapshot: &Snapshot, expect: &str| {
            let page = metrics.render(snapshot, NOW);
            let line = format!(
                "cellgate_trust_until_seconds{{kind=\"client_crl\",name=\"{{prefix}}.us1.dbt.com\"}} {expect}\n"
            );
            assert!(page.contains(&line), "{line} in {page}");
        };
        shown(&asking(&[1_900_000_000]), "1900000000");
        shown(&asking(&[1_900_000_000, 1_800_000_000]), "1800000000");
        shown(&asking(&[]), "NaN");
        shown(&asking(&[1_950_000_000]), "1950000000");
    }

    #[test]
    fn every_family_on_the_page_has_its_help() {
        let metrics = Metrics::new();
        let mut live = Arc::into_inner(snapshot(1)).unwrap();
        live.brownouts = brownouts(&[("bo-1", BrownoutMode::Soft, (0, 1))]);
        let dated = crate::test_snapshot::example().build();
        (live.hosts, live.schedules, live.surfaces) = (dated.hosts, dated.schedules, dated.surfaces);
        let snapshot = Arc::new(live);
        metrics.prepare(&snapshot);
        let _ =
            (metrics.access_log(), metrics.books(), metrics.shipments(), metrics.trail(), metrics.spans());
        metrics.state_ephemeral(false);
        metrics.request(&legacy_event(&snapshot));
        let (mut judge, now) = (Judge::default(), Moment::START);
        let look = judge::Look { snapshot: &snapshot, levers: None, late: Duration::ZERO, now, now_secs: 0 };
        judge.look(&look, &mut || 0.5);
        metrics.standing.report(judge.report(&snapshot, now));
        metrics.state_ephemeral(false);
        let page = metrics.render(&snapshot, NOW);
        // The fixture has nothing that ends, and nothing that only watches.
        let without = [families::CERTIFICATE_NOT_AFTER, families::TRUST_UNTIL, families::WOULD_HAVE_ACTED];
        let shown = families::ALL.iter().filter(|family| !without.contains(family));
        let mut count = 0;
        for family in shown {
            let help = format!("# HELP {} {}\n", family.name, family.help);
            assert!(page.contains(&help), "{} in\n{page}", family.name);
            count += 1;
        }
        assert_eq!(page.lines().filter(|line| line.starts_with("# TYPE ")).count(), count);
    }
}
