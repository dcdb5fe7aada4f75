//! Sick cell or sick network? Once a second, from what is measured of each endpoint, to who is sick: an endpoint, a
//! cell, a zone, the way that all share, this process, or nobody knows. It acts on nothing: [`effects`] answers those
//! who do.
//!
//! On 4 February 2026 a transit gateway lost packets in one zone for two hours, and what was seen was latency of many
//! services that had nothing to do with each other. Judged one by one each of them is sick; together they stand in one
//! zone. An independent machine per endpoint ejects them all, tries again, and moves load to where there is no room.
//!
//! [`signals`] -> [`series`] (against a [`baseline`], summed by [`cusum`]) -> [`endpoint`] -> [`tree`] ->
//! [`detector`], which holds and clears -> [`effects`].

pub mod baseline;
pub mod counters;
pub mod cusum;
pub mod detector;
pub mod effects;
pub mod endpoint;
pub mod fisher;
pub mod groups;
pub mod said;
pub mod series;
pub mod signals;
pub mod tree;

pub use detector::{CLEARS_AFTER, Change, Detector, Held};
pub use effects::Verdicts;
pub use said::{Doubt, Evidence, Sick, Verdict};
