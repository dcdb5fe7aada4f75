//! Real packets, really lost: cellgate in a network namespace of its own, cells in three others, and a router between
//! them that drops, refuses and queues. What the detector says of that is the verdict that it would say of a zone.
//!
//! ```text
//!  edge                        router                     zone 1, 2, 3
//!  cellgate, clients  10.90.0.2 === 10.90.0.1   10.90.Z.1 === 10.90.Z.11 cell-1 ... 10.90.Z.17 cell-7
//! ```
//!
//! Faults are rules of nftables and a `tbf` queue in the router, for packets on their way through it; nothing else
//! of the machine is touched. What is there ends by guards, after a panic as well. A test that is killed leaves
//! namespaces behind that hold no process: `ip netns list` shows them as `cellgate-packets-...`.
//!
//! Every run sees that packets are lost and that the kernel counts them (a few seconds). With `CELLGATE_TEST_LONG`
//! each fault of the table in `scenario.rs` gets a cellgate of its own, which first learns what is usual, then has the
//! fault, and one gets none for as long as any: some ten minutes. What decides is who is said to be sick, and counts; how
//! long it took is printed. `CELLGATE_TEST_PACKETS` runs those alone whose names have it, such as `zone`.
//!
//! Needs root, `ip` with `netns`, `tc` and `nft` (`scripts/setup test` installs them); it fails where they are missing.

#![allow(clippy::unwrap_used)]
// Figures are half of what these tests are for.
#![allow(clippy::print_stdout)]

#[path = "../support/process.rs"]
mod process;
#[path = "../support/raw_http.rs"]
mod raw_http;
#[path = "../support/running.rs"]
mod running;

mod fault;
mod inside;
mod network;
mod said;
mod scenario;
mod smoke;
mod world;

use std::sync::{Mutex, MutexGuard, PoisonError};

#[test]
fn lost_packets_are_counted_by_the_kernel() {
    let _lane = lane();
    network::requirements();
    smoke::packets_are_lost_and_counted();
}

#[test]
fn what_is_said_of_real_packets() {
    let _lane = lane();
    if std::env::var_os("CELLGATE_TEST_LONG").is_none() {
        println!("only with CELLGATE_TEST_LONG: a detector takes a minute to learn what is usual");
        return;
    }
    network::requirements();
    scenario::run_all();
}

/// One at a time: two would measure each other.
fn lane() -> MutexGuard<'static, ()> {
    static LANE: Mutex<()> = Mutex::new(());
    LANE.lock().unwrap_or_else(PoisonError::into_inner)
}
