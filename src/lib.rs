//! cellgate: an edge proxy that takes every request to its account's own cell.
//!
//! The modules, in reading order. Arrows point down this list: `policy` names nobody, `config` names
//! `policy`, and only `app` sees everything (`tests/tidy.rs` holds that).

pub mod policy;

pub mod config;

pub mod approval;

pub mod live;
pub mod readiness;
pub mod telemetry;

pub mod clock;
pub mod listen;
pub mod proxy;
pub mod standing;
pub mod standing_file;
pub mod status_file;

pub mod prober;

pub mod handover;
pub mod quiet;
pub mod state_file;
pub mod state_lock;
pub mod state_volume;
pub mod systemd;

pub mod compiled_file;
pub mod last_good;
pub mod learned_file;
pub mod levers_file;
pub mod rolled_back;
pub mod trail;

pub mod history;
pub mod load;

pub mod access_files;
pub mod approval_files;
pub mod attempts;
pub mod break_glass_file;
pub mod levers;
pub mod reload;
pub mod start;

mod authorities;
pub mod status;
pub mod webhooks;

pub mod admin;
pub mod audit;
pub mod explain;
pub mod import;
pub mod init;
pub mod replay;

pub mod traces;

pub mod descriptors;
pub mod drill;

pub mod app;
pub mod cli;

// Unit tests build snapshots with the file that the tests of the whole crate use, which says `cellgate`.
#[cfg(test)]
extern crate self as cellgate;
#[cfg(test)]
#[path = "../tests/support/snapshot.rs"]
mod test_snapshot;
