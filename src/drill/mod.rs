//! Cells that fail on purpose, in virtual time: what the parts that keep cells standing are tried against before a
//! real cell has to be. No sockets, no threads, and the same result for the same seed.

pub mod model;
