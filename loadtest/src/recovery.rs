//! A cell that comes back with cold caches while ten times its demand waits, behind one proxy after the other: what gets
//! through to it, what it answers, and whether it falls again. Real processes and real sockets, all on loopback;
//! `docs/recovery.md` has the results and how to repeat them.
//!
//! - [`model`]: what the cell can do, and how it breaks; [`workers`]: the same in real time, behind a
//!   [simulated cell](crate::cell);
//! - [`attempt`]: one request of a client; [`herd`]: all clients, who come again;
//! - [`peer`]: nginx, HAProxy and cellgate with their configurations;
//! - [`run`]: one arm from beginning to end; [`curve`]: what happened in each second; [`plot`]: the same as a picture.
//!
//! No benchmark: nothing here is about how fast a proxy is.

pub mod attempt;
pub mod curve;
pub mod herd;
pub mod model;
pub mod peer;
pub mod plot;
pub mod run;
pub mod workers;
