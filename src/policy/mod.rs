//! The ground floor: every decision about a request, as plain functions on plain data.
//!
//! Nothing here reads a clock, a random source, the environment, a file or a socket, and nothing is
//! async: time and randomness are arguments. If a test needs a socket to check a decision, the
//! decision is in the wrong room.

pub mod access;
pub mod accounts;
pub mod address;
pub mod admit;
pub mod annotate;
pub mod bad_request;
mod beginnings;
pub mod brownout;
pub mod brownout_plan;
pub mod calendar;
pub mod canary;
pub mod cell_failure;
pub mod certificates;
pub mod client;
pub mod client_certificate;
pub mod code;
pub mod columns;
pub mod cors;
pub mod cover;
pub mod credential;
pub mod decide;
pub mod endpoint_class;
pub mod envelope;
pub mod extension;
pub mod facts;
pub mod fields;
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
pub mod ip_text;
pub mod keyed;
pub mod learned;
pub mod legacy_use;
pub mod line;
pub mod location;
pub mod log_lines;
pub mod moment;
pub mod moves;
pub mod path;
pub mod pick;
pub mod protection;
pub mod refusal;
pub mod request_id;
pub mod retry;
pub mod routing_cookie;
pub mod seal;
pub mod secure;
pub mod server_timing;
pub mod snapshot;
pub mod standings;
pub mod status;
pub mod tickets;
pub mod trace_context;
pub mod unauthorized;
pub mod validity;
pub mod writes;
