//! How somebody uses a legacy host, and what that says: still there, leaving, quiet, or safe to cut. Plain functions on
//! hours that the books have counted; where they come from and how they are shown is not known here.

pub mod activity;
pub mod coverage;
pub mod forecast;
mod reasons;
pub mod verdict;

/// Seconds of a day.
pub(crate) const DAY: i64 = 86_400;

/// Seconds of an hour.
pub(crate) const HOUR: i64 = 3_600;
