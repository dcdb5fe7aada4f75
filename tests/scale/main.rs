//! A million accounts: how large their table is, that it is right, what of it survives a crash, and what a start and
//! a reload of it cost. And ten cells of which one is a black hole; and what keeping cells standing
//! costs a request, and counting it; and reports of a hundred thousand accounts.
//!
//! Counts, sizes and contents decide; times are printed. `CELLGATE_TEST_LONG=1` takes a million accounts and kills a
//! thousand times, `CELLGATE_TEST_ACCOUNTS=N` takes N. Times mean something in a release build.

#![allow(clippy::unwrap_used)]
// Figures are half of what these tests are for.
#![allow(clippy::print_stdout)]

#[path = "../slow/honest.rs"]
mod honest;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/raw_http.rs"]
mod raw_http;
#[path = "../support/running.rs"]
mod running;
#[path = "../support/snapshot.rs"]
mod snapshot;

mod black_hole;
mod compiled;
mod cost;
mod counting;
mod damage;
mod kill;
mod memory;
mod reports;
mod standing;
mod tables;
mod text;
mod world;

/// Whether there is time for more of the same.
fn is_long() -> bool {
    std::env::var_os("CELLGATE_TEST_LONG").is_some()
}

/// How many accounts: so many, a million in the long suite, or as the environment says.
fn accounts(ordinary: u64) -> u64 {
    let given = std::env::var("CELLGATE_TEST_ACCOUNTS").ok().map(|text| text.parse().unwrap());
    given.unwrap_or(if is_long() { 1_000_000 } else { ordinary })
}
