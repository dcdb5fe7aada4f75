//! The protocol matrix: what must hold between any client and any cell, over each pair of protocols, driven
//! through a cellgate of its own for each topic.
//!
//! Rows of a table, not a test each: a topic starts one edge and two cells, checks every row from a settled
//! state, and fails with all that broke. The cells here are not `loadtest`'s: the rows turn on moments that an
//! HTTP library hides (the first body byte, the way an exchange breaks, bytes written, a trap for the next
//! request), and on clients that leave or dawdle at any of them.
//!
//! Where the engine's codecs cannot do what HTTP asks, the row asserts what happens instead, so that it is
//! noticed when that changes; `docs/decisions/0001-engine.md` lists these.
#![allow(clippy::print_stdout)] // The table of rows is what this prints.
#![allow(clippy::unwrap_used)]

mod behave;
mod cases;
mod client;
mod edge;
mod leaving;
mod origin;
mod registry;
mod sockets;
mod table;
mod wire;

use table::check;

#[test]
fn simple() {
    check(cases::simple::rows);
}

#[test]
fn semantics() {
    check(cases::semantics::rows);
}

#[test]
fn grpc() {
    check(cases::grpc::rows);
}

#[test]
fn upgrade() {
    check(cases::upgrade::rows);
}

#[test]
fn websocket() {
    check(cases::websocket::rows);
}

#[test]
fn bulk() {
    check(cases::bulk::rows);
}

#[test]
fn flow() {
    check(cases::flow::rows);
}

#[test]
fn early() {
    check(cases::early::rows);
}

#[test]
fn gone_client() {
    check(cases::gone_client::rows);
}

#[test]
fn gone_cell() {
    check(cases::gone_cell::rows);
}

#[test]
fn pool() {
    check(cases::pool::rows);
}
