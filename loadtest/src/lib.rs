//! Everything that stands around cellgate in a test or a demo, and nothing of cellgate itself: simulated
//! cells, hostile servers, an open-loop load generator, fleets of WebSockets and gRPC streams.
//!
//! In reading order:
//! - [`cell`]: a simulated cell that says what reached it and misbehaves on command;
//! - [`raw`]: servers that play a script of bytes, for answers that no HTTP library would give;
//! - [`client`]: a client that does what it is told, once; [`call`] for gRPC, [`socket`] for WebSockets;
//! - [`ask`], [`body`], [`failure`], [`frame`], [`tls`]: what they share.

pub mod ask;
pub mod body;
pub mod call;
pub mod cell;
pub mod client;
pub mod failure;
pub mod frame;
pub mod raw;
pub mod socket;
pub mod tls;
pub mod usage;
