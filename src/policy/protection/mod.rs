//! What keeps cells standing: how much of a cell may be asked at once, which of its endpoints are well, where load
//! goes that has lost its group, how a cell comes back, and whether it is the cell that is sick or the network.
//!
//! State machines and counters with `now` passed in; requests count, one task judges (docs/decisions/0016-standing.md).
//! Nothing here is async, and nothing reads a clock.

pub mod levers;
pub mod policies;
pub mod priority;
