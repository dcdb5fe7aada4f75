//! The ground floor: every decision about a request, as plain functions on plain data.
//!
//! Nothing here reads a clock, a random source, the environment, a file or a socket, and nothing is
//! async: time and randomness are arguments. If a test needs a socket to check a decision, the
//! decision is in the wrong room.

pub mod accounts;
pub mod address;
pub mod admit;
pub mod annotate;
pub mod bad_request;
pub mod brownout;
pub mod brownout_plan;
pub mod calendar;
pub mod canary;
pub mod cell_failure;
pub mod certificates;
pub mod client;
pub mod client_certificate;
pub mod columns;
pub mod cors;
pub mod cover;
pub mod credential;
pub mod decide;
pub mod endpoint_class;
pub mod envelope;
pub mod extension;
pub mod facts;
pub mod forwarding;
pub mod gate;
pub mod guard;
pub mod hex;
pub mod holding;
pub mod hosts;
pub mod html;
pub mod http2;
pub mod identify;
pub mod ids;
pub mod keyed;
pub mod learned;
pub mod legacy_use;
pub mod location;
pub mod moment;
pub mod moves;
pub mod path;
pub mod pick;
pub mod protection;
pub mod refusal;
pub mod retry;
pub mod routing_cookie;
pub mod seal;
pub mod secure;
pub mod snapshot;
pub mod standings;
pub mod tickets;
pub mod unauthorized;
pub mod validity;
pub mod writes;
