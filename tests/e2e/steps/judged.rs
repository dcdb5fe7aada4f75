//! What is a cell's doing, and what is an account's own.

use loadtest::client::Http;

use super::{
    LONG, asking, cell_of, config, ended, push_a_dead_port, push_another_place, share, stage, world,
};
use crate::running::eventually;
use crate::world::World;

/// So many requests of an account, that the cell answers with this status.
fn have_answered(world: &World, account: u64, count: usize, status: u16) {
    let client = world.edge.plain(Http::H1);
    world.block_on(async {
        let line = client.open("cloud.getdbt.com").await.unwrap();
        for _ in 0..count {
            let reply = line.ask(&asking(account).sim(&format!("status={status}"))).await.unwrap();
            assert_eq!(reply.status.as_u16(), status);
        }
    });
}

/// Accounts of cell-2 that a candidate serves at half.
fn moved(hash: &str) -> Vec<u64> {
    share(hash, "50%").into_iter().filter(|account| cell_of(*account) == "cell-2").collect()
}

/// Those that it does not.
fn unmoved(hash: &str) -> Vec<u64> {
    let moved = share(hash, "50%");
    super::ACCOUNTS.filter(|account| cell_of(*account) == "cell-2" && !moved.contains(account)).collect()
}

/// Waits until so many requests of the candidate have been looked at, and nothing was taken back.
fn looked_at(world: &World, requests: u64) {
    eventually("the look", || {
        let now = config(&world.edge);
        assert_eq!(now["last_reload"]["outcome"], "staged", "{now}");
        (now["candidate"]["requests"] == requests).then_some(())
    });
}

#[test]
fn a_dead_port_is_found_where_one_account_asks_that_cell() {
    let world = world(LONG);
    push_a_dead_port(&world.edge);
    let hash = stage(&world.edge);
    let client = world.edge.plain(Http::H1);
    world.block_on(async {
        let line = client.open("cloud.getdbt.com").await.unwrap();
        for _ in 0..5 {
            assert_eq!(line.ask(&asking(moved(&hash)[0])).await.unwrap().status, 502);
        }
    });
    let now = ended(&world.edge, "rolled_back");
    let reasons = now["last_reload"]["reasons"].to_string();
    assert!(reasons.contains("cell cell-2: 5 of 5 requests failed"), "{reasons}");
}

#[test]
fn what_one_account_alone_is_answered_with_takes_nothing_back_and_two_are_enough() {
    let world = world(LONG);
    push_another_place(&world);
    let hash = stage(&world.edge);
    let moved = moved(&hash);
    have_answered(&world, moved[0], 30, 500);
    looked_at(&world, 30);
    // Accounts are told apart by a hash of 64 places; of five, two differ.
    for account in &moved[1..5] {
        have_answered(&world, *account, 10, 500);
    }
    let reasons = ended(&world.edge, "rolled_back")["last_reload"]["reasons"].to_string();
    assert!(reasons.contains("cell cell-2: ") && reasons.contains("requests failed"), "{reasons}");
}

#[test]
fn a_cell_that_answers_4xx_to_everybody_is_taken_back_and_one_that_does_so_without_the_push_is_not() {
    for (without, outcome) in [(200, "rolled_back"), (421, "staged")] {
        let world = world(LONG);
        push_another_place(&world);
        let hash = stage(&world.edge);
        for account in unmoved(&hash).iter().take(50) {
            have_answered(&world, *account, 2, without);
        }
        for account in moved(&hash).iter().take(20) {
            have_answered(&world, *account, 3, 421);
        }
        if outcome == "staged" {
            looked_at(&world, 60);
            continue;
        }
        let reasons = ended(&world.edge, outcome)["last_reload"]["reasons"].to_string();
        assert!(reasons.contains("cell cell-2: ") && reasons.contains("were answered 4xx"), "{reasons}");
    }
}
