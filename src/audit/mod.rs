//! The books: who still uses the legacy hosts. Counted off the request path, kept in one SQLite file in
//! the state folder, read by `cellgate report` while the proxy runs.
//!
//! Account, client family, surface and cell are the grain of this edition. The seam to serving is
//! [`RequestEvent`](crate::telemetry::event::RequestEvent) and nothing else.

pub mod books;
pub mod render;
pub mod report;
mod store;
mod tally;

/// The file of the books in the state folder.
pub const BOOKS_FILE: &str = "books.sqlite";
