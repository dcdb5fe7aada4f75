//! The numbers behind a verdict, as people read them.

use std::fmt;

use super::activity::Cadence;
use super::{DAY, HOUR};

/// One line of why. Times are seconds before now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// So long ago.
    LastSeen(i64),
    /// How often.
    Comes(Cadence),
    /// How often, before.
    Came(Cadence),
    /// How long a silence must be, and the longest that has ended, both in days.
    Window {
        /// So long.
        days: i64,
        /// The longest; 0 where there was none.
        gap: i64,
    },
    /// Which part of that time the books are complete for, of 1.
    Coverage(f64),
    /// The longest time for which they are not.
    Missing {
        /// For so long.
        long: i64,
        /// Until then.
        ago: i64,
    },
    /// When somebody could have come unseen.
    Hole {
        /// For so long.
        long: i64,
        /// Until then.
        ago: i64,
    },
    /// Much less than it was.
    Less {
        /// Requests in the last days.
        last: u64,
        /// In as many days before, usually.
        usual: u64,
        /// So many.
        days: i64,
    },
    /// Came back, in days.
    Returned {
        /// After a silence of so many.
        after: i64,
        /// So many ago.
        days_ago: i64,
    },
    /// Is refused on purpose, because its sunset was so long ago; whether it was refused since then, the files do not say.
    Cut(i64),
    /// Comes nevertheless.
    Knocks,
    /// Lives where legacy hosts lead anyway.
    NotMigrated,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::LastSeen(ago) => write!(f, "last seen {} ago", Span(ago)),
            Self::Comes(cadence) => write!(f, "comes {cadence}"),
            Self::Came(cadence) => write!(f, "came {cadence}"),
            Self::Window { days, gap } if gap * 2 == days => {
                write!(f, "ready after {days} d of silence, twice the longest until now ({gap} d)")
            }
            Self::Window { days, gap } if gap * 2 > days => {
                write!(f, "ready after {days} d of silence, the most that is waited for ({gap} d until now)")
            }
            Self::Window { days, .. } => {
                write!(f, "ready after {days} d of silence, longer than any month")
            }
            // Rounded down: what is not all is never told as all.
            Self::Coverage(share) => {
                let percent = (share * 10_000.0).floor() / 100.0;
                write!(f, "the books are complete for {percent:.2} % of that time")
            }
            Self::Missing { long, ago } => {
                let (long, ago) = (Span(long), Span(ago));
                write!(f, "at worst {long} until {ago} ago are missing")
            }
            Self::Hole { long, ago } => {
                let (long, ago) = (Span(long), Span(ago));
                write!(f, "the books miss {long} until {ago} ago, at a time of day at which it comes")
            }
            Self::Less { last, usual, days } => {
                write!(f, "{last} requests in the last {days} days, usually {usual}")
            }
            Self::Returned { after, days_ago } => {
                write!(f, "came back {days_ago} d ago after {after} d, when it could have been cut")
            }
            Self::Cut(ago) => write!(f, "refused for good: its sunset was {} ago", Span(ago)),
            Self::Knocks => f.write_str("still knocks"),
            Self::NotMigrated => f.write_str("lives in the shared environment, with no other address"),
        }
    }
}

/// Seconds in the unit that people would choose.
struct Span(i64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.max(0) {
            seconds @ 0..120 => write!(f, "{seconds} s"),
            seconds if seconds < 2 * HOUR => write!(f, "{} min", seconds / 60),
            seconds if seconds < 2 * DAY => write!(f, "{} h", seconds / HOUR),
            seconds => write!(f, "{} d", seconds / DAY),
        }
    }
}
