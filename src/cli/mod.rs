//! One file a command.

pub mod report;
