//! What a change does to the dates that clients are told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::super::time::show_moment;
use crate::policy::snapshot::Schedule;

/// The dates of one schedule, in seconds since the Unix epoch: `deprecated_since` and `sunset_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DateChange {
    /// Name of the schedule.
    pub schedule: Box<str>,
    /// Dates before, where there were any.
    pub before: Option<(i64, i64)>,
    /// Dates after, where there are any.
    pub after: Option<(i64, i64)>,
}

impl fmt::Display for DateChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |dates: Option<(i64, i64)>| match dates {
            Some((since, sunset)) => format!("{} to {}", show_moment(since), show_moment(sunset)),
            None => "none".to_owned(),
        };
        write!(f, "schedule {}: {} -> {}", self.schedule, show(self.before), show(self.after))
    }
}

/// What becomes of the dates, by the name of the schedule.
pub(super) fn changes(before: &[Schedule], after: &[Schedule]) -> Vec<DateChange> {
    fn of(schedules: &[Schedule]) -> BTreeMap<&str, (i64, i64)> {
        schedules.iter().map(|s| (s.name.as_str(), (s.deprecated_since, s.sunset_at))).collect()
    }
    let (before, after) = (of(before), of(after));
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    let change = |name: &str| {
        let (before, after) = (before.get(name).copied(), after.get(name).copied());
        (before != after).then(|| DateChange { schedule: name.into(), before, after })
    };
    names.into_iter().filter_map(change).collect()
}
