//! Break-glass: what a local operator may do without approvals, with a reason and for a limited time. It lifts objections
//! to what keeps or restores, and never one about a protected cell. Who may ask, and where it is written down and shown,
//! is the caller's business.

use crate::config::problem::quoted;
use crate::config::time::{show_duration, show_moment};

/// Longest time: half a working day. What takes longer finds two people awake.
pub const MAX_SECONDS: i64 = 4 * 3_600;

/// Longest reason, in bytes: some sentences, on one line of the log.
const MAX_REASON: usize = 500;

/// Longest name of who asks: that of an address of mail (RFC 5321 section 4.5.3.1).
const MAX_NAME: usize = 320;

/// That somebody takes the responsibility.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    reason: String,
    until: i64,
    asked_by: String,
}

/// Why it is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// Nobody will know why.
    #[error("the override has no reason; expected a sentence that tells those who read the audit trail why")]
    NoReason,
    /// Nobody will know who.
    #[error("the override does not say who asks; expected a name")]
    NoName,
    /// Too long for a line.
    #[error("the {which} has {found} bytes; expected at most {most}")]
    TooLong {
        /// `reason` or `name`.
        which: &'static str,
        /// How many bytes it has.
        found: usize,
        /// The most.
        most: usize,
    },
    /// More than a line.
    #[error("the {which} {found} has a line break or another control character; expected one line of text")]
    NotALine {
        /// `reason` or `name`.
        which: &'static str,
        /// The beginning, quoted.
        found: String,
    },
    /// It would be over before it begins.
    #[error("the override ends at {}, which has passed; expected a time to come", show_moment(*.until))]
    Over {
        /// In seconds since the Unix epoch.
        until: i64,
    },
    /// It would last too long.
    #[error(
        "the override ends at {}; expected {} at the latest, {} from now",
        show_moment(*.until),
        show_moment(*.latest),
        show_duration(std::time::Duration::from_secs(MAX_SECONDS.unsigned_abs()))
    )]
    TooLate {
        /// In seconds since the Unix epoch.
        until: i64,
        /// The latest that is allowed now.
        latest: i64,
    },
}

impl Override {
    /// Reads what an operator has asked for. `until` and `now` are in seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`OverrideError`].
    pub fn parse(reason: &str, until: i64, asked_by: &str, now: i64) -> Result<Self, OverrideError> {
        let (reason, asked_by) = (reason.trim(), asked_by.trim());
        if reason.is_empty() {
            return Err(OverrideError::NoReason);
        }
        if asked_by.is_empty() {
            return Err(OverrideError::NoName);
        }
        for (which, text, most) in [("reason", reason, MAX_REASON), ("name", asked_by, MAX_NAME)] {
            if text.len() > most {
                return Err(OverrideError::TooLong { which, found: text.len(), most });
            }
            if text.contains(char::is_control) {
                return Err(OverrideError::NotALine { which, found: quoted(text) });
            }
        }
        let latest = now.saturating_add(MAX_SECONDS);
        match until {
            _ if until <= now => Err(OverrideError::Over { until }),
            _ if until > latest => Err(OverrideError::TooLate { until, latest }),
            _ => Ok(Self { reason: reason.to_owned(), until, asked_by: asked_by.to_owned() }),
        }
    }

    /// Why.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Until when, in seconds since the Unix epoch.
    pub fn until(&self) -> i64 {
        self.until
    }

    /// Who.
    pub fn asked_by(&self) -> &str {
        &self.asked_by
    }

    /// Whether it is in force.
    pub fn holds(&self, now: i64) -> bool {
        now < self.until
    }
}

/// What an objection is about, as far as an override goes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// What serves stays as it is.
    Keeps,
    /// What served before serves again.
    Restores,
    /// Something that serves would be taken away or moved to where it was not before.
    TakesAway,
    /// A protected cell or an account of one, whatever is done to it.
    Protected,
}

/// Why an objection stands in spite of an override.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Standing {
    /// Its time is over.
    #[error("the override ended at {}; ask for another one, or for approvals", show_moment(*.until))]
    Ended {
        /// In seconds since the Unix epoch.
        until: i64,
    },
    /// It goes further than an override does.
    #[error("an override keeps what serves or restores what served before; what takes away needs approvals")]
    TakesAway,
    /// Nobody alone takes from a protected cell.
    #[error("an override never touches a protected cell or its accounts; that needs approvals")]
    Protected,
}

/// What becomes of each objection under an override: lifted, or why it stands.
pub fn judge_override<T>(
    asked: &Override,
    objections: impl IntoIterator<Item = (T, Reach)>,
    now: i64,
) -> Vec<(T, Result<(), Standing>)> {
    let judge = |reach| match reach {
        // Said even of an override that is over: another one would not help.
        Reach::Protected => Err(Standing::Protected),
        Reach::TakesAway => Err(Standing::TakesAway),
        Reach::Keeps | Reach::Restores if asked.holds(now) => Ok(()),
        Reach::Keeps | Reach::Restores => Err(Standing::Ended { until: asked.until }),
    };
    objections.into_iter().map(|(objection, reach)| (objection, judge(reach))).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_132_800;

    #[test]
    fn an_override_has_a_reason_a_name_and_an_end() {
        let parse = |reason: &str, until: i64, asked_by: &str| Override::parse(reason, until, asked_by, NOW);
        let good = parse("  us1 is on fire ", NOW + MAX_SECONDS, " alice ").unwrap();
        assert_eq!((good.reason(), good.asked_by(), good.until()), ("us1 is on fire", "alice", NOW + 14_400));
        let check = |reason: &str, until: i64, asked_by: &str, expect: &str| {
            let error = parse(reason, until, asked_by).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(" \t\n", NOW + 60, "alice", "has no reason");
        check("fire", NOW + 60, " ", "who asks");
        check(&"f".repeat(501), NOW + 60, "alice", "the reason has 501 bytes; expected at most 500");
        check("fire", NOW + 60, &"a".repeat(321), "the name has 321 bytes; expected at most 320");
        check("fire\nall is well", NOW + 60, "alice", "the reason \"fire\\nall is well\" has a line break");
        check("fire", NOW + 60, "a\u{1b}[2J", "the name");
        check("fire", NOW, "alice", "has passed");
        check(
            "fire",
            NOW + MAX_SECONDS + 1,
            "alice",
            "expected 2026-11-20T04:00:00Z at the latest, 4h from now",
        );
        check("fire", i64::MAX, "alice", "at the latest");
    }

    #[test]
    fn it_lifts_what_keeps_and_restores_while_it_holds() {
        let asked = Override::parse("us1 is on fire", NOW + 60, "alice", NOW).unwrap();
        let judged = |reach, now| judge_override(&asked, [("it", reach)], now)[0].1;
        for reach in [Reach::Keeps, Reach::Restores] {
            assert_eq!(judged(reach, NOW + 59), Ok(()));
            assert_eq!(judged(reach, NOW + 60), Err(Standing::Ended { until: NOW + 60 }));
        }
        for now in [NOW, NOW + 60] {
            assert_eq!(judged(Reach::TakesAway, now), Err(Standing::TakesAway));
            assert_eq!(judged(Reach::Protected, now), Err(Standing::Protected));
        }
    }

    #[test]
    fn each_objection_is_judged_by_itself() {
        let asked = Override::parse("us1 is on fire", NOW + 60, "alice", NOW).unwrap();
        let judged =
            judge_override(&asked, [(1, Reach::Restores), (2, Reach::Protected), (3, Reach::Keeps)], NOW);
        assert_eq!(judged, [(1, Ok(())), (2, Err(Standing::Protected)), (3, Ok(()))]);
    }
}
