//! Sick cell or sick network?

pub mod signals;
