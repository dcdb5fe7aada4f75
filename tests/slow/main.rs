//! Clients that are slow on purpose, by the hundred (with `CELLGATE_TEST_LONG`, by the thousand): half a TLS
//! handshake, a head or a body that drips, an answer that is not read, a connection that says nothing more.
//! Each is cut after its deadline and not before, the memory that it held comes back, and an honest client of
//! another cell is answered all the while.
//!
//! What decides is order, counts, and how many bytes a connection holds. How late the cuts were, when memory came back
//! and how the honest client's latency changed is printed; only the long suite judges those.

#![allow(clippy::unwrap_used)]
// Figures are half of what these tests are for.
#![allow(clippy::print_stdout)]

#[path = "../support/process.rs"]
mod process;
#[path = "../support/raw_http.rs"]
mod raw_http;
#[path = "../support/running.rs"]
mod running;

mod attack;
mod deadlines;
mod honest;
mod siege;
mod wire;

use attack::Kind;
use siege::besiege;

#[test]
fn half_handshakes() {
    besiege(Kind::HalfHandshake);
}

#[test]
fn slow_heads_over_http1() {
    besiege(Kind::HeadH1);
}

#[test]
fn slow_heads_over_http2() {
    besiege(Kind::HeadH2);
}

#[test]
fn http2_without_a_preface() {
    besiege(Kind::NoPreface);
}

#[test]
fn slow_bodies_over_http1_are_answered_408() {
    besiege(Kind::BodyH1);
}

#[test]
fn slow_bodies_over_http2_are_answered_408() {
    besiege(Kind::BodyH2);
}

#[test]
fn bodies_that_drip_are_answered_408_at_the_end_of_the_whole() {
    besiege(Kind::DripH1);
}

#[test]
fn slow_readers_over_http1() {
    besiege(Kind::ReaderH1);
}

#[test]
fn slow_readers_over_http2() {
    besiege(Kind::ReaderH2);
}

#[test]
fn idle_connections_of_http1() {
    besiege(Kind::IdleH1);
}

#[test]
fn idle_connections_of_http2() {
    besiege(Kind::IdleH2);
}
