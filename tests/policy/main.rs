//! The policy from the outside: requests through the gate and the decision, under snapshots built by
//! hand.

#[path = "../support/servers.rs"]
mod servers;
#[path = "../support/snapshot.rs"]
mod snapshot;

mod canary;
mod decide;
mod holding;
mod properties;
mod routing_cookie;
mod seal;
mod secure;
mod shapes;
mod sources;
