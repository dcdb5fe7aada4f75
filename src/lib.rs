//! cellgate: an edge proxy that takes every request to its account's own cell.
//!
//! The modules, in reading order. Arrows point down this list: `policy` names nobody, `config` names
//! `policy`, and only `app` sees everything (`tests/tidy.rs` holds that).

pub mod admin;
pub mod audit;
pub mod cli;
pub mod policy;
pub mod readiness;
pub mod reload;
pub mod telemetry;
