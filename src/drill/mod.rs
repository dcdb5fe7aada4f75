//! Cells that fail on purpose, in virtual time: what the parts that keep cells standing are tried against before a
//! real cell has to be. No sockets, no threads, no files, and the same result for the same seed.
//!
//! A rehearsal is the operator's own configuration, compiled as for serving, with a [`model`] in place of each group.
//! Requests take the way that `proxy` takes (`Standing`, `pick`, `EndpointLoad`), and the judge is the same.

pub mod books;
pub mod clients;
pub mod demand;
pub mod finding;
mod flight;
mod json;
pub mod model;
pub mod plan;
pub mod report;
pub mod rules;
pub mod run;
pub mod scenario;
pub mod text;
pub mod world;
