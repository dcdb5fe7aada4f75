//! The measurement of a recovery, small: that its parts still fit together. What it measures is in `docs/recovery.md`.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use loadtest::cell::CellOptions;
use loadtest::place::private_folder;
use loadtest::recovery::curve::{Plan, Second};
use loadtest::recovery::peer::{Arm, Kind, PeerError, RunningPeer, Site, check};
use loadtest::recovery::run::Scenario;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("recovery-{name}-{}", std::process::id()));
        private_folder(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left behind, it harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Arms whose programs are not of this repository; `tests/recovery.rs` of the repository asks cellgate.
fn foreign() -> impl Iterator<Item = Arm> {
    Arm::ALL.into_iter().filter(|arm| arm.kind != Kind::Cellgate)
}

#[tokio::test]
async fn every_configuration_is_accepted_and_a_wrong_one_is_not() {
    let scenario = Scenario::of(50, PathBuf::from("cellgate"));
    let (cell, _workers) = scenario.cell().await.unwrap();
    for arm in foreign() {
        let folder = Folder::new(&format!("check-{arm}"));
        let site = scenario.site(folder.0.clone(), &cell);
        check(arm, &site).await.unwrap_or_else(|error| panic!("{error}"));
        // nginx and HAProxy both refuse a port that there is not.
        let nowhere = Site { cell: "127.0.0.1:0".parse().unwrap(), ..site };
        let refused = check(arm, &nowhere).await;
        let expected = arm.kind == Kind::Bare || matches!(refused, Err(PeerError::Refused { .. }));
        assert!(expected, "{arm}: {refused:?}");
    }
}

#[tokio::test]
async fn a_request_comes_through_every_proxy() {
    let scenario = Scenario::of(50, PathBuf::from("cellgate"));
    for arm in foreign() {
        let folder = Folder::new(&format!("start-{arm}"));
        let (cell, workers) = scenario.cell().await.unwrap();
        let peer = RunningPeer::start(arm, &scenario.site(folder.0.clone(), &cell)).await;
        let peer = peer.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(workers.seen().arrived.len(), 1, "{arm}");
        let address = peer.address;
        peer.stop().await;
        let listens = tokio::net::TcpStream::connect(address).await.is_ok();
        assert_eq!(listens, arm.kind == Kind::Bare, "{arm}: nothing is left of it");
    }
}

#[tokio::test]
async fn a_cell_that_nobody_protects_falls_again() {
    let mut scenario = Scenario::of(50, PathBuf::from("cellgate"));
    let seconds = Duration::from_secs;
    scenario.plan = Plan { before: seconds(2), outage: seconds(4), after: seconds(7), ..scenario.plan };
    let folder = Folder::new("bare");
    let recorded = scenario.run(Arm::BARE, folder.0.clone()).await.unwrap();
    let found = recorded.summary();
    // Counts that a slow machine only makes clearer.
    assert!(found.collapses >= 1, "{found:?}");
    assert!(found.most_of_envelope > 5.0 && found.seconds_over >= 5, "{found:?}");
    assert!(found.good_rps < 0.5 * scenario.plan.demand_rps && found.failed > 50, "{found:?}");
    assert_eq!(recorded.csv().lines().count(), 1 + 13);
    let total = |of: fn(&Second) -> u32| recorded.seconds.iter().map(of).sum::<u32>();
    assert!(total(|second| second.good) > 0, "there were good times");
    let ended = total(|second| second.good + second.refused + second.failed);
    assert!(ended <= total(|second| second.offered), "nothing ends that has not begun");
    let down = &recorded.seconds[3..5];
    assert!(down.iter().all(|second| second.arrived == 0 && second.good == 0), "{down:?}");
}

#[tokio::test]
async fn a_cell_without_workers_answers_at_once() {
    let cell = loadtest::cell::RunningCell::start(CellOptions::named("cell")).await.unwrap();
    let client = loadtest::client::Client::new(cell.addr(), loadtest::client::Http::H1);
    let reply = client.ask(&loadtest::ask::Ask::get("h", "/")).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.cell()), (200, Some("cell")));
}

#[test]
fn a_wrong_command_line_is_64_and_says_what_was_expected() {
    let cases = [
        (vec!["--arms", "nobody"], "haproxy-guessed"),
        (vec!["--capacity", "5"], "10..=1000"),
        (vec!["--seconds", "1", "2"], "BEFORE"),
    ];
    for (args, expected) in cases {
        let out = Command::new(Path::new(env!("CARGO_BIN_EXE_recovery"))).args(&args).output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(64), "{args:?}: {text}");
        assert!(text.contains(expected), "{args:?}: {text}");
    }
}
