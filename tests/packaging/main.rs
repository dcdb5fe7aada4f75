//! What `packaging/` ships, each part held against a program that reads it as its platform does, and run as far as this
//! machine can: docs/deploy.md says by what. No container engine, no cluster and no cloud is had here.

#![allow(clippy::unwrap_used)]

#[path = "../support/markdown.rs"]
mod markdown;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/python.rs"]
mod python;
#[path = "../support/raw_http.rs"]
mod raw_http;
#[path = "../support/running.rs"]
mod running;

mod balancer;
mod checkers;
mod cluster;
mod container;
mod debian;
mod example;
mod kubernetes;
mod systemd;

/// A file of the repository.
fn read(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap()
}

fn path(file: &str) -> String {
    format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))
}
