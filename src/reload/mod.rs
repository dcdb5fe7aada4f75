//! One task owns reloading: file change, signal and admin call are events to it.

pub mod outcome;
