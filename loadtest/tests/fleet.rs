//! Fleets against a simulated cell: what is held open, what is dropped, and why.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use loadtest::cell::{Behaviour, CellOptions, RunningCell};
use loadtest::client::{Client, Http};
use loadtest::fleet::{Fleet, FleetPlan};

const SIZE: usize = 40;

/// Every kind of fleet there is, on a cell that they expect.
async fn fleets() -> (RunningCell, Vec<FleetPlan>) {
    let options = CellOptions::named("cell-1").with_h2c();
    let cell = RunningCell::start(options).await.unwrap();
    let h1 = Client::new(cell.addr(), Http::H1);
    let h2 = Client::new(cell.h2c_addr().unwrap(), Http::H2);
    let plans = [
        FleetPlan::websockets(h1, "h", "/ws", SIZE),
        FleetPlan::websockets(h2.clone(), "h", "/ws", SIZE),
        FleetPlan::grpc_streams(h2, "h", "/s.S/Bidi", SIZE),
    ];
    let soon = Duration::from_millis(20);
    let plans = plans.map(|plan| plan.cell("cell-1").every(soon));
    (cell, plans.into())
}

#[tokio::test]
async fn a_fleet_stays_open_and_echoes_until_it_is_stopped() {
    let (cell, plans) = fleets().await;
    for plan in plans {
        let fleet = Fleet::open(plan).await;
        assert_eq!(fleet.report().open, SIZE, "{}", fleet.report());
        assert!(fleet.until(|report| report.echoes > 5 * SIZE as u64).await);
        let report = fleet.stop().await;
        assert!(report.is_clean(), "{report}");
        assert_eq!((report.opened, report.open, report.closed), (SIZE, 0, SIZE));
        assert!(report.latency.p50_us > 0, "{report}");
        while cell.counts().open_connections + cell.counts().open_websockets > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn every_member_of_a_killed_cell_is_a_drop() {
    let (cell, plans) = fleets().await;
    for plan in plans {
        let fleet = Fleet::open(plan).await;
        assert!(fleet.until(|report| report.echoes > 0).await);
        cell.behave(Behaviour::Killed).await.unwrap();
        assert!(fleet.until(|report| report.drops.len() == SIZE).await);
        let report = fleet.stop().await;
        assert!(!report.is_clean());
        assert_eq!((report.open, report.closed), (0, 0), "{report}");
        cell.behave(Behaviour::Normal).await.unwrap();
    }
}

#[tokio::test]
async fn a_black_hole_is_noticed_by_the_echo_that_does_not_come() {
    let (cell, plans) = fleets().await;
    for plan in plans {
        // It is also how long opening may take.
        let fleet = Fleet::open(plan.timeout(Duration::from_secs(1))).await;
        assert!(fleet.until(|report| report.echoes > 0).await);
        cell.behave(Behaviour::BlackHole).await.unwrap();
        assert!(fleet.until(|report| report.drops.len() == report.opened).await);
        let report = fleet.stop().await;
        assert!(report.drops[0].reason.contains("no echo within"), "{report}");
        cell.behave(Behaviour::Normal).await.unwrap();
    }
}

#[tokio::test]
async fn members_that_do_not_open_or_are_in_the_wrong_cell_are_told_apart() {
    let (cell, plans) = fleets().await;
    for plan in plans {
        let mut elsewhere = plan.clone().cell("cell-2");
        elsewhere.size = 2;
        let report = Fleet::open(elsewhere).await.stop().await;
        assert_eq!((report.opened, report.wrong_cell.len()), (2, 2), "{report}");
        assert!(!report.is_clean());

        cell.behave(Behaviour::Status(503, "no".into())).await.unwrap();
        let mut refused = plan;
        refused.size = 2;
        let report = Fleet::open(refused).await.stop().await;
        assert_eq!((report.opened, report.not_opened.len()), (0, 2), "{report}");
        assert!(!report.is_clean());
        cell.behave(Behaviour::Normal).await.unwrap();
    }
}
