//! The wire: nothing that a client or a cell sends may be read in two ways.
//!
//! The lab sends ambiguous requests by the thousand through cellgate to cells that are five different HTTP
//! servers, each of which writes down what it read, and compares that with cellgate's access log. No answer may
//! reach another client, and no request a cell that cellgate does not account for.

#![allow(clippy::unwrap_used)]
#![allow(clippy::panic)] // Ends a test with words.
#![allow(clippy::print_stdout)] // The counts of a run.

mod canonical;
mod cells;
mod client;
mod corpus;
mod edge;
#[path = "../support/h2_raw.rs"]
mod h2_raw;
mod hostile;
mod hostile_h2;
mod lab;
mod mutations;
mod oracle;
#[path = "../support/python.rs"]
mod python;
