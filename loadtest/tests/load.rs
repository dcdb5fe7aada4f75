//! Load against a simulated cell that misbehaves: what the report says must be what happened.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use devcerts::{Authority, Usage};
use loadtest::ask::Ask;
use loadtest::cell::{Behaviour, CellOptions, RunningCell};
use loadtest::client::{Client, Http};
use loadtest::failure::FailureKind;
use loadtest::load::{BodyCheck, Load, LoadPlan, LoadReport, Template};
use loadtest::raw::{RawCell, RawScript};
use loadtest::tls::{ClientTls, ServerTls};

async fn cell() -> RunningCell {
    let options = CellOptions::named("cell-1").with_h2c();
    RunningCell::start(options).await.unwrap()
}

fn clients(cell: &RunningCell) -> [Client; 2] {
    [Client::new(cell.addr(), Http::H1), Client::new(cell.h2c_addr().unwrap(), Http::H2)]
}

fn get() -> Template {
    Template::new("get", Ask::get("h", "/")).cell("cell-1")
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// All failures of the report, as kinds and counts.
fn failures(report: &LoadReport) -> Vec<(FailureKind, u64)> {
    report.all.failures.iter().map(|(k, n)| (*k, *n)).collect()
}

#[tokio::test]
async fn a_rate_is_kept_and_every_template_gets_its_turn() {
    let cell = cell().await;
    for client in clients(&cell) {
        let pattern = Template::new("pattern", Ask::get("h", "/").sim("body=70000"));
        let templates = vec![get(), pattern.body(BodyCheck::Pattern(70_000))];
        let plan = LoadPlan::at_rate(client, templates, 200.0, millis(500));
        let report = Load::run(plan).await;
        assert!(report.is_clean(), "{report}");
        assert_eq!((report.all.sent, report.all.ok), (100, 100), "{report}");
        assert_eq!(report.template("get").ok, 50);
        assert_eq!(report.template("pattern").ok, 50);
        assert_eq!(report.per_second.len(), 1);
        assert!(report.seconds >= 0.49, "{report}");
    }
}

#[tokio::test]
async fn closed_clients_keep_their_connections() {
    let cell = cell().await;
    for client in clients(&cell) {
        let load = Load::start(LoadPlan::closed(client, vec![get()], 4, Duration::from_secs(30)));
        assert!(load.until(|report| report.all.ok > 200).await);
        load.stop();
        let report = load.finish().await;
        assert!(report.is_clean(), "{report}");
        assert_eq!((report.connections, report.resent), (4, 0), "{report}");
    }
}

#[tokio::test]
async fn over_tls_both_protocols_are_checked_the_same() {
    let authority = Authority::new("test authority").unwrap();
    let pair = authority.issue(&["*.cells.internal"], Usage::Server).unwrap();
    let options = CellOptions::named("cell-1").with_tls(ServerTls {
        cert_pem: pair.cert_pem,
        key_pem: pair.key_pem,
        client_ca_pem: None,
    });
    let cell = RunningCell::start(options).await.unwrap();
    let tls = ClientTls::trusting(authority.ca_pem());
    for http in [Http::H1, Http::H2] {
        let client = Client::tls(cell.addr(), http, &tls).unwrap();
        let hosts = ["a.cells.internal", "b.cells.internal:8443", "other.internal"];
        let templates = hosts.map(|host| Template::new(host, Ask::get(host, "/")).cell("cell-1"));
        let plan = LoadPlan::at_rate(client, templates.into(), 150.0, millis(200));
        let report = Load::run(plan).await;
        assert_eq!(failures(&report), [(FailureKind::Tls, 10)], "{report}");
        assert_eq!(report.template("other.internal").ok, 0);
    }
}

#[tokio::test]
async fn latency_counts_from_when_a_request_was_due() {
    let cell = cell().await;
    for client in clients(&cell) {
        // The cell answers 20 a second and is asked 40 times a second: each waits longer than the one before.
        let slow = "capacity rps=20 above=wait".parse().unwrap();
        cell.behave(slow).await.unwrap();
        let report = Load::run(LoadPlan::at_rate(client, vec![get()], 40.0, millis(500))).await;
        assert_eq!(report.all.ok, 20, "{report}");
        // The last of 20 is due at 475 ms and served at 950 ms.
        let max = report.all.latency.max_us;
        assert!((440_000..20_000_000).contains(&max), "{report}");
        assert!(report.all.latency.p50_us > 150_000, "{report}");
        cell.behave(Behaviour::Normal).await.unwrap();
    }
}

#[tokio::test]
async fn failures_are_counted_by_kind() {
    let cell = cell().await;
    let not_here = Template::new("not here", Ask::get("h", "/")).cell("cell-2");
    let header = get().with("deprecation");
    let cut = Template::new("cut", Ask::get("h", "/").sim("body=50000;cut=20000"));
    let slow = Template::new("slow", Ask::get("h", "/").sim("delay_ms=60000"));
    let wrong = Template::new("body", Ask::get("h", "/")).body(BodyCheck::Exactly("no".into()));
    let status = Template::new("status", Ask::get("h", "/").sim("status=503"));
    let grpc = Template::grpc_unary("grpc", "h", "/s.S/Fail", b"m");
    for client in clients(&cell) {
        for (template, kind) in [
            (&not_here, FailureKind::WrongCell),
            (&header, FailureKind::Header),
            (&cut, FailureKind::Body),
            (&slow, FailureKind::Timeout),
            (&wrong, FailureKind::Body),
            (&status, FailureKind::Status),
            (&grpc, FailureKind::Grpc),
        ] {
            let plan = LoadPlan::at_rate(client.clone(), vec![template.clone()], 100.0, millis(30));
            // Only the slow one is to be waited for in vain.
            let timeout = if kind == FailureKind::Timeout { 100 } else { 30_000 };
            let report = Load::run(plan.timeout(millis(timeout))).await;
            assert_eq!(failures(&report), [(kind, 3)], "{report}");
            assert_eq!(report.samples.len(), 3);
            assert!(!report.is_clean());
        }
    }
}

#[tokio::test]
async fn a_cell_that_refuses_is_counted_apart_and_seen_to_come_back() {
    let cell = cell().await;
    for client in clients(&cell) {
        let long = Duration::from_secs(60);
        let load = Load::start(LoadPlan::at_rate(client, vec![get()], 200.0, long));
        assert!(load.until(|report| report.all.ok > 10).await);
        cell.behave(Behaviour::Killed).await.unwrap();
        assert!(load.until(|report| report.all.refused() > 10).await);
        cell.behave(Behaviour::Normal).await.unwrap();
        let before = load.report().all.ok;
        assert!(load.until(|report| report.all.ok > before + 10).await);
        load.stop();
        let report = load.finish().await;
        assert!(report.all.refused() > 10, "{report}");
        // What was under way when the cell was killed is lost, and nothing else.
        let lost = [FailureKind::ConnectRefused, FailureKind::LostNew, FailureKind::Reset];
        assert!(report.all.failures.keys().all(|kind| lost.contains(kind)), "{report}");
    }
}

#[tokio::test]
async fn connections_that_end_are_replaced() {
    let cell = cell().await;
    for client in clients(&cell) {
        // One client: with more, the end of a connection would take another's request with it over h2.
        let stale = Template::new("stale", Ask::get("h", "/").sim("hangup_ms=5"));
        let load = Load::start(LoadPlan::closed(client, vec![stale], 1, Duration::from_secs(60)));
        assert!(load.until(|report| report.connections > 20).await, "{}", load.report());
        load.stop();
        let report = load.finish().await;
        assert!(report.is_clean(), "{report}");
    }
}

#[tokio::test]
async fn an_idempotent_request_on_a_stale_connection_is_sent_again_and_others_are_not() {
    // Answers once, and resets when the second request is there: nobody can know whether it was read.
    let once = RawScript::new([
        loadtest::raw::RawStep::ReadHead,
        loadtest::raw::RawStep::Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into()),
        loadtest::raw::RawStep::ReadHead,
        loadtest::raw::RawStep::Reset,
    ]);
    for (ask, good) in [(Ask::get("h", "/"), true), (Ask::post("h", "/", ""), false)] {
        let server = RawCell::start([once.clone()]).await.unwrap();
        let client = Client::new(server.addr(), Http::H1);
        let template = Template::new("once", ask);
        let load = Load::start(LoadPlan::closed(client, vec![template], 1, Duration::from_secs(60)));
        assert!(load.until(|report| report.all.sent >= 20).await);
        load.stop();
        let report = load.finish().await;
        assert_eq!(report.is_clean(), good, "{report}");
        assert_eq!(report.resent > 0, good, "{report}");
        if !good {
            assert_eq!(failures(&report)[0].0, FailureKind::Reset, "{report}");
        }
    }
}

#[tokio::test]
async fn a_new_connection_that_ends_unanswered_is_a_failure() {
    let server = RawCell::start([RawScript::silent_close()]).await.unwrap();
    let client = Client::new(server.addr(), Http::H1);
    let report = Load::run(LoadPlan::at_rate(client, vec![get()], 50.0, millis(100))).await;
    assert_eq!(failures(&report), [(FailureKind::LostNew, 5)], "{report}");
}

#[tokio::test]
async fn grpc_is_checked_to_its_trailers() {
    let cell = cell().await;
    let [_, h2] = clients(&cell);
    let templates = vec![
        Template::grpc_unary("unary", "h", "/s.S/Unary", b"hello").cell("cell-1"),
        Template::grpc_stream("stream", "h", "/s.S/ServerStream", b"m", 20).cell("cell-1"),
    ];
    let report = Load::run(LoadPlan::at_rate(h2, templates, 100.0, millis(200))).await;
    assert!(report.is_clean() && report.all.ok == 20, "{report}");
}

#[tokio::test]
async fn what_is_due_beyond_the_limit_is_counted_as_not_sent() {
    let cell = cell().await;
    // Nobody is answered before all have become due, however long that takes.
    cell.behave(Behaviour::BlackHole).await.unwrap();
    let [h1, _] = clients(&cell);
    let mut plan = LoadPlan::at_rate(h1, vec![get()], 100.0, millis(100)).timeout(Duration::from_secs(30));
    plan.in_flight_max = 4;
    let load = Load::start(plan);
    assert!(load.until(|report| failures(report) == [(FailureKind::NotSent, 6)]).await);
    cell.behave(Behaviour::Normal).await.unwrap();
    let report = load.finish().await;
    assert_eq!(report.all.ok, 4, "{report}");
    assert_eq!(failures(&report), [(FailureKind::NotSent, 6)], "{report}");
}

#[tokio::test]
async fn a_load_that_is_dropped_ends() {
    let cell = cell().await;
    let [h1, _] = clients(&cell);
    let load = Load::start(LoadPlan::closed(h1, vec![get()], 2, Duration::from_secs(60)));
    assert!(load.until(|report| report.all.ok > 2).await);
    drop(load);
    while cell.counts().open_connections > 0 {
        tokio::time::sleep(millis(5)).await;
    }
}

#[tokio::test]
async fn a_plan_without_templates_ends_and_is_not_clean() {
    let cell = cell().await;
    let [h1, _] = clients(&cell);
    let report = Load::run(LoadPlan::at_rate(h1, Vec::new(), 100.0, millis(50))).await;
    assert!(!report.is_clean());
}
