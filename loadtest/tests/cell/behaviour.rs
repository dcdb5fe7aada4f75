//! Behaviours of the whole cell, and its end.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt, StreamBody};
use loadtest::cell::{Behaviour, CellOptions, RunningCell};
use loadtest::client::FailureKind;

use super::*;

#[tokio::test]
async fn a_cell_that_refuses_keeps_its_connections_and_its_port() {
    let cell = cell().await;
    for client in clients(&cell) {
        let line = client.open("h").await.unwrap();
        assert_eq!(line.ask(&get("")).await.unwrap().status, 200);
        cell.behave(Behaviour::RefuseConnections).await.unwrap();
        let refused = client.open("h").await.map(|_| ()).unwrap_err();
        assert_eq!(refused.kind(true), FailureKind::ConnectRefused, "{refused}");
        assert_eq!(line.ask(&get("")).await.unwrap().status, 200);
        cell.behave(Behaviour::Normal).await.unwrap();
        assert_eq!(client.ask(&get("")).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_killed_cell_takes_its_connections_with_it() {
    let cell = cell().await;
    for client in clients(&cell) {
        let line = client.open("h").await.unwrap();
        let waiting = {
            let line = line.clone();
            tokio::spawn(async move { line.ask(&get("delay_ms=60000")).await })
        };
        let before = cell.requests();
        while cell.counts().in_flight == 0 {
            assert_eq!(cell.requests(), before);
            tokio::task::yield_now().await;
        }
        cell.behave(Behaviour::Killed).await.unwrap();
        assert_eq!(waiting.await.unwrap().unwrap_err().kind(false), FailureKind::Reset);
        assert!(client.open("h").await.is_err());
        assert_eq!(cell.counts().open_connections, 0);
        cell.behave(Behaviour::Normal).await.unwrap();
        assert_eq!(client.ask(&get("")).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_black_hole_swallows_old_connections_and_new() {
    let cell = cell().await;
    for client in clients(&cell) {
        let line = client.open("h").await.unwrap();
        assert_eq!(line.ask(&get("")).await.unwrap().status, 200);
        let before = cell.requests();
        cell.behave(Behaviour::BlackHole).await.unwrap();
        let old = tokio::spawn(async move { line.ask(&get("")).await });
        let new = {
            let client = client.clone();
            tokio::spawn(async move { client.ask(&get("")).await })
        };
        tokio::time::sleep(NEVER).await;
        assert!(!old.is_finished() && !new.is_finished());
        assert_eq!(cell.requests(), before);
        cell.behave(Behaviour::Normal).await.unwrap();
        assert_eq!(old.await.unwrap().unwrap().status, 200);
        assert_eq!(new.await.unwrap().unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_behaviour_holds_for_all_requests() {
    let cell = cell().await;
    for client in clients(&cell) {
        let line = client.open("h").await.unwrap();
        cell.behave(Behaviour::Status(503, "no\n".into())).await.unwrap();
        let reply = line.ask(&get("")).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (503, "no\n"));
        assert_eq!(reply.cell(), Some("cell-1"));

        cell.behave(Behaviour::Delay(Duration::from_millis(80))).await.unwrap();
        let start = Instant::now();
        assert_eq!(line.ask(&get("")).await.unwrap().status, 200);
        assert!(start.elapsed() >= Duration::from_millis(80));

        cell.behave(Behaviour::Hang).await.unwrap();
        let nothing = StreamBody::new(futures_util::stream::empty());
        let mut hanging = line.stream(&get(""), nothing).await.unwrap();
        assert_eq!(hanging.status(), 200);
        let body = tokio::time::timeout(NEVER, hanging.body_mut().frame());
        assert!(body.await.is_err(), "the body came");

        cell.behave(Behaviour::Abort).await.unwrap();
        assert!(client.ask(&get("")).await.is_err());
        cell.behave(Behaviour::Normal).await.unwrap();
        assert_eq!(client.ask(&get("")).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_stopped_cell_leaves_nothing_behind() {
    let cell = cell().await;
    let address = cell.addr();
    let [h1, _] = clients(&cell);
    let line = h1.open("h").await.unwrap();
    cell.stop().await;
    assert!(line.closes(SOON).await);
    let refused = h1.open("h").await.map(|_| ()).unwrap_err();
    assert_eq!(refused.kind(true), FailureKind::ConnectRefused);
    let mut options = CellOptions::named("cell-2");
    options.listen = address;
    let next = RunningCell::start(options).await.unwrap();
    assert_eq!(h1.ask(&get("")).await.unwrap().cell(), Some("cell-2"));
    assert_eq!(next.addr(), address);
}

#[tokio::test]
async fn a_dropped_cell_stops() {
    let cell = cell().await;
    let [h1, _] = clients(&cell);
    let line = h1.open("h").await.unwrap();
    drop(cell);
    assert!(line.closes(SOON).await);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let cell = cell().await;
    let mut options = CellOptions::named("cell-2");
    options.listen = cell.addr();
    let error = RunningCell::start(options).await.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("cell-2") && error.contains(&cell.addr().to_string()), "{error}");
}
