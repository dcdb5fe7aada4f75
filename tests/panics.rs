//! A defect that panics on the data path costs its own request and nothing else: not the streams beside it, not
//! the listener, and none of what the request had taken.
//!
//! The defect is a snapshot that `config::compile` would never make: a row that points at a deprecation schedule
//! that is not there. It is met when the cell has answered, with its permit and its connection in hand.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use cellgate::clock::Clock;
use cellgate::listen::bind;
use cellgate::listen::drain::Drain;
use cellgate::listen::limits::ConnectionCounts;
use cellgate::listen::observe::Unobserved;
use cellgate::listen::serve::Shell;
use cellgate::listen::spec::{ConnectionLimits, ListenerSpec, Protocol};
use cellgate::listen::tls::{TlsSettings, install_provider};
use cellgate::live::Live;
use cellgate::policy::accounts::ScheduleIndex;
use cellgate::policy::hosts::Role;
use cellgate::policy::http2::{ClientHttp2, ControlAllowance, LEAST_WINDOW, Windows};
use cellgate::policy::snapshot::{EndpointAddress, Snapshot};
use cellgate::proxy::connect::Connector;
use cellgate::proxy::resolver::Resolver;
use cellgate::proxy::service::{ClientLimits, Service, ServiceHandle};
use cellgate::telemetry::Telemetry;
use cellgate::telemetry::metrics::Metrics;
use loadtest::cell::{CellOptions, RunningCell};
use loadtest::client::{Ask, Client, Http, Line};
use snapshot::SnapshotBuilder;

#[path = "support/snapshot.rs"]
mod snapshot;

const HOST: &str = "cloud.getdbt.com";

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of an account whose row is whole, and of one whose row is not.
const WHOLE: &str = "/accounts/1/";
const BROKEN: &str = "/accounts/2/";

fn snapshot(cell: SocketAddr) -> Snapshot {
    let mut snapshot = SnapshotBuilder::new()
        .schedule("legacy", 1_769_904_000, 1_793_491_200)
        .host(Role::Legacy, HOST, 0)
        .cell("cell", "us1.dbt.com")
        .account(1, "cell", &["one"])
        .account(2, "cell", &["two"])
        .with_row(|row| row.schedule = Some(ScheduleIndex(99)))
        .path("/accounts/{account}", false)
        .build();
    snapshot.cells[0].groups[0].endpoints[0].address = EndpointAddress::Socket(cell);
    snapshot
}

/// What `app` wires, less what it reads and writes; the address to connect to.
fn serve(snapshot: Arc<Snapshot>, protocol: Protocol, drain: &Drain) -> SocketAddr {
    let live = Arc::new(Live::new(snapshot));
    let spec = ListenerSpec {
        name: "test".into(),
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        protocol,
        proxy_protocol: None,
        redirect_to_https: None,
        forwarded_scheme: None,
        handshake_deadline: PATIENCE,
    };
    let limits = ClientLimits {
        head_timeout: PATIENCE,
        preface_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        h2_idle_timeout: PATIENCE,
        keep_alive_timeout: PATIENCE,
        body_timeout: PATIENCE,
        connection_lifetime: Duration::from_secs(3_600),
        requests_per_connection: 1_000,
        streams_per_connection: 100,
        requests: 1_000,
        http2: ClientHttp2 {
            control: ControlAllowance { frames: NonZeroU32::MAX, per: PATIENCE },
            windows: Windows { stream: LEAST_WINDOW, connection: LEAST_WINDOW },
            window_memory: 0,
        },
    };
    let pinned = Arc::clone(&live);
    let shell = Shell {
        tls: TlsSettings::new(Arc::new(move || pinned.pin())).unwrap(),
        counts: ConnectionCounts::new(ConnectionLimits {
            total: 100,
            per_source: 100,
            handshakes: 100,
            exempt: Vec::new(),
        }),
        observer: Arc::new(Unobserved),
        shutdown: drain.shutdown(),
    };
    let metrics = Arc::new(Metrics::new());
    let service = Service::new(
        live,
        Arc::new(Connector::new(Resolver::system().unwrap(), Arc::clone(&metrics))),
        Arc::default(),
        Arc::new(Telemetry::start(metrics, Vec::new()).unwrap()),
        (limits, Arc::default()),
        (Clock::begin(), drain.shutdown()),
    );
    let bound = bind::bind(spec).unwrap();
    let address = bound.local_addr();
    tokio::spawn(bound.serve(Arc::new(ServiceHandle(Arc::new(service))), shell));
    address
}

/// A request that the cell answers in pieces, so that others come and go meanwhile.
fn slowly(path: &str) -> Ask {
    Ask::get(HOST, path).sim("body=2000;piece=100;every_ms=10")
}

async fn whole(line: &Line, ask: Ask) -> bool {
    line.ask(&ask).await.is_ok_and(|reply| reply.status == 200 && reply.header("deprecation").is_some())
}

async fn check(http: Http, protocol: Protocol) {
    install_provider_once();
    let options = CellOptions::named("cell");
    let cell = RunningCell::start(options).await.unwrap();
    let snapshot = Arc::new(snapshot(cell.addr()));
    let (drain, _shutdown) = Drain::new();
    let address = serve(Arc::clone(&snapshot), protocol, &drain);
    let client = Client::new(address, http);

    let beside = client.open(HOST).await.unwrap();
    // On HTTP/2 the broken request is a stream of the same connection; HTTP/1 has one request on each.
    let broken = match http {
        Http::H1 => client.open(HOST).await.unwrap(),
        Http::H2 => beside.clone(),
    };
    let defect = slowly(BROKEN);
    let (held, failed) = tokio::join!(whole(&beside, slowly(WHOLE)), broken.ask(&defect));
    assert!(held, "{http:?}: the request beside it was not answered whole");
    assert!(failed.is_err(), "{http:?}: the broken one was answered: {failed:?}");
    assert!(whole(&beside, Ask::get(HOST, WHOLE)).await, "{http:?}: the connection beside it has ended");
    let another = client.open(HOST).await.unwrap();
    assert!(whole(&another, Ask::get(HOST, WHOLE)).await, "{http:?}: nothing is accepted any more");

    let load = &snapshot.cells[0].load;
    let freed = async {
        while load.in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.expect("the permit of the broken request is given back");
    drop((beside, broken, another));
    // Every connection's token is given back too, else the drain would wait for the deadline.
    drain.stop_accepting();
    tokio::time::timeout(PATIENCE, drain.drained()).await.expect("no connection is left behind");
}

fn install_provider_once() {
    static INSTALLED: std::sync::Once = std::sync::Once::new();
    INSTALLED.call_once(|| install_provider().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_costs_one_request_on_http1() {
    check(Http::H1, Protocol::Http).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_costs_one_stream_on_http2() {
    check(Http::H2, Protocol::H2c).await;
}
