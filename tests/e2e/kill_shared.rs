//! The main promise: the shared cell dies, and no account with a cell of its own loses a request. Load comes
//! at a pace of its own over HTTP/1.1 and HTTP/2, by every way in which a request names its account.

use std::time::Duration;

use loadtest::cell::Behaviour;
use loadtest::client::{Ask, Client, FailureKind, Http};
use loadtest::load::{Load, LoadPlan, LoadReport, RunningLoad, Template};
use loadtest::tls::ClientTls;

use crate::process::{Process, quiet_port};
use crate::running::{Folder, PATIENCE, authority, eventually};
use crate::world::{TOKEN_12345, TOKEN_AB123, World, addresses, load_lane, runtime, start_cells};

/// Requests a second of accounts with a cell of their own, over both protocols together.
const RATE: f64 = 300.0;

/// How long the shared cell is dead.
const DEAD: Duration = Duration::from_secs(4);

/// A time that a test can wait for, where the example's shared cell would be waited for a minute. A cell that is well
/// answers in it on a busy machine, too.
fn impatient(folder: &Folder) {
    folder.tune("shared", &["timeouts: { response_head: 2s }"]);
}

/// Requests of accounts that have a cell of their own, by each source of the account.
fn own(http: Http) -> Vec<Template> {
    let legacy = |name: &str, ask: Ask, cell: &str| Template::new(name, ask).cell(cell).with("deprecation");
    let token = format!("Token {TOKEN_12345}");
    let bearer = format!("Bearer {TOKEN_AB123}");
    let api = |path: &str| Ask::get("cloud.getdbt.com", path).header("authorization", &token);
    let mut templates = vec![
        legacy("path", api("/api/v2/accounts/12345/runs/?limit=100"), "cell-2"),
        legacy("path, moved", api("/api/v3/accounts/41007/projects/"), "cell-1"),
        legacy("query", Ask::get("cloud.getdbt.com", "/x?account_id=26228"), "cell-3"),
        legacy(
            "token",
            Ask::get("cloud.getdbt.com", "/api/v2/whoami").header("authorization", &bearer),
            "cell-1",
        ),
        legacy(
            "cookie",
            Ask::get("cloud.getdbt.com", "/cloud-cli").header("cookie", "sessionid=FAKE"),
            "cell-2",
        ),
        legacy(
            "environment",
            Ask::get("semantic-layer.cloud.getdbt.com", "/api/graphql").header("environmentid", "88991"),
            "cell-2",
        ),
        legacy("prefix on the legacy host", Ask::get("hj210.cloud.getdbt.com", "/"), "cell-1"),
        Template::new("own address", Ask::get("ab123.us1.dbt.com", "/api/private/accounts/1001/"))
            .cell("cell-1"),
        Template::new("own metadata", Ask::get("globex.metadata.us1.dbt.com", "/graphql")).cell("cell-2"),
    ];
    if http == Http::H2 {
        let run = Ask::post("cloud.getdbt.com", "/api/v2/accounts/12345/jobs/1/run/", r#"{"cause":"x"}"#);
        templates.push(legacy("trigger", run.header("authorization", &token), "cell-2"));
        let service = "/arrow.flight.protocol.FlightService/DoGet";
        let host = "ab123.semantic-layer.us1.dbt.com";
        templates.push(Template::grpc_unary("gRPC", host, service, b"ticket").cell("cell-1"));
    }
    templates
}

/// Requests of accounts that are still in the shared cell.
fn shared(status: Option<u16>) -> Vec<Template> {
    let token = format!("Token {TOKEN_12345}");
    let api = Ask::get("cloud.getdbt.com", "/api/v2/accounts/1001/").header("authorization", &token);
    let asks = [("path", api), ("own address", Ask::get("hooli.us1.dbt.com", "/"))];
    let template = |(name, ask): (&str, Ask)| match status {
        None => Template::new(name, ask).cell("shared"),
        Some(status) => {
            Template::new(name, ask).status(status).with("proxy-status").with("x-cellgate-outcome")
        }
    };
    asks.map(template).to_vec()
}

fn load(client: Client, templates: Vec<Template>, rate: f64, duration: Duration) -> RunningLoad {
    Load::start(LoadPlan::at_rate(client, templates, rate, duration))
}

/// Both protocols, half the rate each.
fn own_load(plain: Client, tls: Client, duration: Duration) -> [RunningLoad; 2] {
    [(plain, Http::H1), (tls, Http::H2)].map(|(client, http)| load(client, own(http), RATE / 2.0, duration))
}

fn clean(report: &LoadReport) {
    assert!(report.is_clean() && report.all.refused() == 0, "{report}");
    assert!(report.templates.iter().all(|template| template.tally.ok > 0), "{report}");
}

/// Load before, during and after; `answer` is what requests to the dead cell get meanwhile.
fn dies(behaviour: Behaviour, answer: u16) {
    let _lane = load_lane();
    let world = World::prepared(impatient);
    let (plain, tls) = (world.edge.plain(Http::H1), world.edge.tls(Http::H2));
    let shared_cell = world.cell("shared");
    world.block_on(async {
        let loads = own_load(plain.clone(), tls.clone(), DEAD + Duration::from_secs(3));
        let alive = load(plain.clone(), shared(None), 40.0, Duration::from_millis(500)).finish().await;
        clean(&alive);
        shared_cell.behave(behaviour).await.unwrap();
        let dead = [plain.clone(), tls].map(|client| load(client, shared(Some(answer)), 10.0, DEAD));
        for load in dead {
            clean(&load.finish().await);
        }
        shared_cell.behave(Behaviour::Normal).await.unwrap();
        clean(&load(plain, shared(None), 40.0, Duration::from_millis(500)).finish().await);
        for load in loads {
            clean(&load.finish().await);
        }
    });
    let snapshot = world.edge.running().snapshot();
    // A permit ends a moment after its client has the last byte.
    eventually("all permits to be back", || {
        (snapshot.cells.iter().all(|cell| cell.load.in_flight() == 0)).then_some(())
    });
}

#[test]
fn a_shared_cell_that_refuses_connections_costs_no_other_account_a_request() {
    dies(Behaviour::Killed, 502);
}

#[test]
fn a_shared_cell_that_swallows_everything_costs_no_other_account_a_request() {
    dies(Behaviour::BlackHole, 504);
}

#[test]
fn a_shared_cell_that_answers_after_30_seconds_costs_no_other_account_a_request() {
    dies(Behaviour::Delay(Duration::from_secs(30)), 504);
}

/// cellgate itself is replaced while the shared cell is dead: before the new one listens, connections are
/// refused, and nothing else fails.
#[test]
fn a_restart_while_the_shared_cell_is_dead_only_refuses_connections_while_nothing_listens() {
    let _lane = load_lane();
    let runtime = runtime();
    let cells = start_cells(&runtime, crate::world::CELLS.map(loadtest::cell::CellOptions::named).to_vec());
    let folder = Folder::example(&addresses(&cells));
    impatient(&folder);
    let (http, https) = fixed_ports(&folder);
    let mut first = Process::start(&folder);
    let plain = Client::new(([127, 0, 0, 1], http).into(), Http::H1);
    let trust = ClientTls::trusting(authority().ca_pem());
    let tls = Client::tls(([127, 0, 0, 1], https).into(), Http::H2, &trust).unwrap();
    let (reports, _second) = runtime.block_on(async {
        cells["shared"].behave(Behaviour::BlackHole).await.unwrap();
        // Stopped some time after another process serves.
        let loads = own_load(plain.clone(), tls, PATIENCE * 4);
        let shared = load(plain, shared(Some(504)), 10.0, Duration::from_secs(1));
        assert!(loads[0].until(|report| report.all.ok > 150).await);
        clean(&shared.finish().await);
        first.signal("TERM");
        let second = tokio::task::spawn_blocking(move || {
            assert_eq!(first.ended().code(), Some(0));
            Process::start(&folder)
        });
        let second = tokio::time::timeout(PATIENCE * 2, second).await.unwrap().unwrap();
        let (serves, mut reports) = (loads[0].report().seconds, Vec::new());
        for load in loads {
            // The last second but one began when it served already.
            assert!(load.until(|report| report.per_second.len() as f64 > serves + 3.0).await);
            load.stop();
            reports.push(load.finish().await);
        }
        (reports, second)
    });
    for report in reports {
        assert_eq!(report.failed(), unbegun(&report), "{report}");
        let last = report.per_second.iter().rev().nth(1).copied().unwrap_or_default();
        assert_eq!((last.failed, last.refused), (0, 0), "it serves again at the end: {report}");
        assert!(last.ok > 0, "{report}");
    }
}

/// Requests on connections that were opened while the old process was leaving, and that surely nobody began:
/// the system resets what a closed listener had not accepted, and HTTP/2 says GOAWAY before the first stream,
/// after which a client sends again elsewhere (RFC 9113 section 8.7). Apart, like refused connections.
fn unbegun(report: &LoadReport) -> u64 {
    let said = ["reset by peer", "operation was canceled", "not a result of an error"];
    let unbegun = report.samples.iter().filter(|sample| {
        // The reset may come even before the connection is there, or before its TLS is.
        matches!(sample.kind, FailureKind::LostNew | FailureKind::Connect | FailureKind::Tls)
            && said.iter().any(|said| sample.detail.contains(said))
    });
    unbegun.count() as u64
}

fn fixed_ports(folder: &Folder) -> (u16, u16) {
    let [http, https] = ["http", "https"].map(|name| {
        let (port, line) = (quiet_port(), format!("name: {name}, address: 127.0.0.1:"));
        folder.edit("config/boot.yaml", &format!("{line}0"), &format!("{line}{port}"));
        port
    });
    (http, https)
}
