//! Everything before the first byte of HTTP: sockets, the accept loop, the PROXY protocol, TLS,
//! connection limits, and the drain at the end.
//!
//! A connection comes out of here as a [`connection::Connection`]: a byte stream and the facts about
//! it. What is spoken on the stream, and what it means, is for `proxy` and `policy` to say. The order
//! of reading: `spec` (what to listen on), `connection` (what comes out), `bind` and `serve` (the
//! loop), `handshake` with `proxy_protocol` and `tls` (what happens to one connection), then the
//! values that are held meanwhile: `limits`, `drain` with `lookout`, and who is told: `observe`.

pub mod bind;
pub mod connection;
pub mod drain;
mod handshake;
pub mod limits;
pub(crate) mod log_budget;
pub mod lookout;
pub mod observe;
pub mod proxy_protocol;
pub mod serve;
pub mod spec;
mod tickets;
pub mod tls;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod trust_tests;
