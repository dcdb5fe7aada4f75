//! cellgate from end to end: real sockets, simulated cells, real clients. One binary, so that it is linked
//! once. Every wait has a generous end, and no time that something took decides whether a test passes.

#![allow(clippy::unwrap_used)]

#[path = "../support/bad_files.rs"]
mod bad_files;
#[path = "../support/broken.rs"]
mod broken;
#[path = "../support/fleet.rs"]
mod fleet;
#[path = "../support/ocsp.rs"]
mod ocsp;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/python.rs"]
mod python;
#[path = "../support/raw_http.rs"]
mod raw_http;
#[path = "../support/running.rs"]
mod running;

mod access;
mod access_log;
mod answers;
mod audit_trail;
mod books;
mod brownouts;
mod bulkheads;
mod canaries;
mod checks;
mod client_certificates;
mod clients;
mod cold_replica;
mod command_line;
mod credentials;
mod drill;
mod first_steps;
mod fleet_books;
mod forms;
mod full_disk;
mod holding;
mod hops;
mod kill_shared;
mod levers;
mod move_command;
mod moves;
mod open_files;
mod plan;
mod reload;
mod retries;
mod routing_cookie;
mod schemas;
mod server_timing;
mod shapes;
mod shell;
mod standing;
mod state_folder;
mod status;
mod steps;
mod threats;
mod top;
mod traces;
mod upgrade;
mod webhooks;
mod world;
