//! The benchmark's load and its cells: that they count what happened, right, wrong, lost and late. Not how fast they are.
#![allow(clippy::unwrap_used)]

mod cells;
mod counted;
mod edge;
mod kinds;
mod origin;
