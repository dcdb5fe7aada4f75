//! Break-glass: what one operator on the machine may decide alone, with a reason and for a limited time. To *keep*: whatever
//! the files say, what serves goes on. To *restore*: what has served here before may serve again, although guards object.
//! Never one alone: to take anything from a protected cell, or to take accounts back to where they were.
//!
//! Plain decisions. Who may ask is the door's business; where it is written down and shown, the reload task's.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::plan::Plan;
use crate::config::problem::quoted;
use crate::config::time::{show_duration, show_moment};
use crate::policy::cover::holds_admin_token;
use crate::policy::guard::Guard;
use crate::policy::line::is_line;

/// Longest time: half a working day. What takes longer finds two people awake.
pub const LONGEST: Duration = Duration::from_secs(4 * 3_600);

/// Shortest time: nobody types the next command sooner.
pub const SHORTEST: Duration = Duration::from_secs(60);

/// Longest reason, in bytes: some sentences, on one line of the log.
const MAX_REASON: usize = 500;

/// Longest name of who asks: that of an address of mail (RFC 5321 section 4.5.3.1).
const MAX_NAME: usize = 320;

/// What it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aim {
    /// What serves goes on, whatever the files say.
    Keep,
    /// What served before may serve again.
    Restore,
}

/// That somebody takes the responsibility.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// What it is for.
    pub aim: Aim,
    /// Why.
    pub reason: String,
    /// Who says so.
    pub by: String,
    /// Until when, in seconds since the Unix epoch.
    pub until: i64,
}

/// Why it is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// Nobody will know why, or who.
    #[error("there is no {0}; those who read the audit trail need one")]
    Missing(&'static str),
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
    /// It would stand in the trail, where who reads it could use it.
    #[error(
        "the {0} has a token of cellgate in it; say it without, and take that token out of the file of tokens: it has been shown"
    )]
    Token(&'static str),
    /// More than a line, or one that looks like another.
    #[error(
        "the {which} {found} has a line break, a control character or one that turns the direction of reading; expected one line of text"
    )]
    NotALine {
        /// `reason` or `name`.
        which: &'static str,
        /// The beginning, quoted.
        found: String,
    },
    /// Over before it begins, or longer than one may decide alone.
    #[error("it would last {}; expected {} to {}", show_duration(*.0), show_duration(SHORTEST), show_duration(LONGEST))]
    Length(Duration),
}

impl Aim {
    /// The word in commands, logs and files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Restore => "restore",
        }
    }
}

impl Override {
    /// What an operator has asked for at `now` (seconds since the Unix epoch).
    ///
    /// # Errors
    /// [`OverrideError`].
    pub fn new(aim: Aim, reason: &str, by: &str, lasts: Duration, now: i64) -> Result<Self, OverrideError> {
        let (reason, by) = (reason_of(reason)?, name_of(by)?);
        if !(SHORTEST..=LONGEST).contains(&lasts) {
            return Err(OverrideError::Length(lasts));
        }
        let lasts = i64::try_from(lasts.as_secs()).expect("it is some hours at most");
        Ok(Self { aim, reason: reason.to_owned(), by: by.to_owned(), until: now.saturating_add(lasts) })
    }

    /// What is told of its end before its time.
    ///
    /// # Errors
    /// [`OverrideError`].
    pub fn ended(&self, reason: Option<&str>) -> Result<String, OverrideError> {
        let why =
            reason.map(reason_of).transpose()?.map_or_else(String::new, |reason| format!(", for {reason:?}"));
        Ok(format!("ended before its time{why}: {self}"))
    }

    /// Whether it is in force.
    pub fn holds(&self, now: i64) -> bool {
        now < self.until
    }

    /// Whether what serves goes on, whatever is offered.
    pub fn keeps(&self, now: i64) -> bool {
        self.aim == Aim::Keep && self.holds(now)
    }

    /// Whether what has served before may serve again.
    pub fn restores(&self, now: i64) -> bool {
        self.aim == Aim::Restore && self.holds(now)
    }

    /// Whether it lifts everything that refuses this plan. `restores` says that what is offered has served here before, or
    /// differs from that only in leaving accounts where they are.
    ///
    /// # Errors
    /// Why it does not, one line for each reason.
    pub fn lifts(&self, plan: &Plan, restores: bool, now: i64) -> Result<(), Vec<String>> {
        if !self.restores(now) {
            return Err(Vec::new());
        }
        if !restores {
            let what = "the override restores only what has served here before (cellgate history lists it), and this has not";
            return Err(vec![what.to_owned()]);
        }
        let stands = |guard: Guard| match guard {
            Guard::ProtectedCell => {
                Some("no override touches a protected cell or its accounts; that needs approvals")
            }
            Guard::AccountsMoved | Guard::Traffic if plan.diff.moved() > 0 => Some(
                "no override takes accounts back to where they were: cellgate rollback writes it without that",
            ),
            Guard::Hold | Guard::Epoch | Guard::Mixed => Some(
                "no override moves accounts without a hold, or forgets a move: cellgate rollback leaves moves as they are",
            ),
            Guard::Baseline | Guard::Weakened => Some("no override loosens the guards themselves"),
            Guard::AccountsMoved
            | Guard::Traffic
            | Guard::Removal
            | Guard::AccountsRemoved
            | Guard::RowsRemoved
            | Guard::RowsRepointed
            | Guard::TableSize
            | Guard::Capacity
            | Guard::Brownouts => None,
        };
        let refuses = plan.objections.iter().filter(|objection| objection.refuses());
        let mut standing: Vec<String> =
            refuses.filter_map(|objection| stands(objection.guard)).map(str::to_owned).collect();
        standing.dedup();
        if standing.is_empty() { Ok(()) } else { Err(standing) }
    }
}

/// A reason as it is written down.
fn reason_of(text: &str) -> Result<&str, OverrideError> {
    one_line("reason", text, MAX_REASON)
}

/// The name of who decides, as it is written down.
///
/// # Errors
/// [`OverrideError`].
pub fn name_of(text: &str) -> Result<&str, OverrideError> {
    one_line("name", text, MAX_NAME)
}

fn one_line<'t>(which: &'static str, text: &'t str, most: usize) -> Result<&'t str, OverrideError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(OverrideError::Missing(which));
    }
    if text.len() > most {
        return Err(OverrideError::TooLong { which, found: text.len(), most });
    }
    if !is_line(text) {
        return Err(OverrideError::NotALine { which, found: quoted(text) });
    }
    if holds_admin_token(text) {
        return Err(OverrideError::Token(which));
    }
    Ok(text)
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { aim, reason, by, until } = self;
        // In quotes that neither can end.
        write!(f, "override to {} until {}, by {by:?}: {reason:?}", aim.as_str(), show_moment(*until))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::Diff;
    use crate::config::guard::{Mode, Objection};

    const NOW: i64 = 1_795_132_800;
    const HOUR: Duration = Duration::from_secs(3_600);

    fn asked(aim: Aim) -> Override {
        Override::new(aim, "us1 is on fire", "alice", HOUR, NOW).unwrap()
    }

    /// A plan to which these guards object, with so many accounts that move.
    fn plan(guards: &[Guard], moved: usize) -> Plan {
        let mut diff = Diff::default();
        if moved > 0 {
            diff.accounts_moved.insert(("a".into(), "b".into()), moved);
        }
        let object = |guard: &Guard| Objection { guard: *guard, mode: Mode::Enforce, what: String::new() };
        Plan {
            fleet: None,
            base: "base".into(),
            candidate: "candidate".into(),
            diff,
            boot: Vec::new(),
            traffic: None,
            objections: guards.iter().map(object).collect(),
        }
    }

    #[test]
    fn an_override_has_a_reason_a_name_and_an_end() {
        let new = |reason: &str, by: &str, lasts| Override::new(Aim::Keep, reason, by, lasts, NOW);
        let good = new("  us1 is on fire ", " alice ", LONGEST).unwrap();
        assert_eq!((&*good.reason, &*good.by, good.until), ("us1 is on fire", "alice", NOW + 14_400));
        assert_eq!(
            good.to_string(),
            r#"override to keep until 2026-11-20T04:00:00Z, by "alice": "us1 is on fire""#
        );
        let check = |reason: &str, by: &str, lasts, expect: &str| {
            let error = new(reason, by, lasts).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(" \t\n", "alice", HOUR, "there is no reason");
        check("fire", " ", HOUR, "there is no name");
        check(&"f".repeat(501), "alice", HOUR, "the reason has 501 bytes; expected at most 500");
        check("fire", &"a".repeat(321), HOUR, "the name has 321 bytes; expected at most 320");
        check("fire\nall is well", "alice", HOUR, "the reason \"fire\\nall is well\" has a line break");
        check("fire", "a\u{1b}[2J", HOUR, "the name");
        check("fire\u{202e}llew si lla", "alice", HOUR, "one that turns the direction of reading");
        let token = crate::policy::access::token::minted([7; 32]);
        for (reason, by) in [(&*token, "alice"), ("fire", &*token)] {
            check(reason, by, HOUR, "has a token of cellgate in it");
            assert!(!new(reason, by, HOUR).unwrap_err().to_string().contains(&token[..12]));
        }
        check("fire", "alice", Duration::ZERO, "it would last 0s; expected 1m to 4h");
        check("fire", "alice", LONGEST + SHORTEST, "it would last 241m; expected 1m to 4h");
    }

    #[test]
    fn it_keeps_or_restores_while_it_holds_and_never_both() {
        let (keep, restore) = (asked(Aim::Keep), asked(Aim::Restore));
        let end = keep.until;
        assert_eq!([NOW, end - 1, end].map(|now| keep.keeps(now)), [true, true, false]);
        assert!(!restore.keeps(NOW));
        let removal = plan(&[Guard::Removal, Guard::TableSize], 0);
        assert_eq!(restore.lifts(&removal, true, end - 1), Ok(()));
        assert_eq!(restore.lifts(&removal, true, end), Err(Vec::new()));
        assert_eq!(keep.lifts(&removal, true, NOW), Err(Vec::new()));
    }

    #[test]
    fn it_lifts_nothing_that_takes_away_what_was_never_without() {
        let restore = asked(Aim::Restore);
        let said =
            |guards: &[Guard], moved, restores| match restore.lifts(&plan(guards, moved), restores, NOW) {
                Ok(()) => String::new(),
                Err(lines) => lines.join("\n"),
            };
        assert!(said(&[Guard::Removal], 0, false).contains("only what has served here before"));
        assert!(said(&[Guard::Removal, Guard::ProtectedCell], 0, true).contains("protected cell"));
        assert!(said(&[Guard::AccountsMoved], 3, true).contains("cellgate rollback"));
        assert!(said(&[Guard::Traffic, Guard::AccountsMoved], 3, true).lines().count() == 1);
        assert_eq!(said(&[Guard::Traffic, Guard::AccountsRemoved, Guard::Capacity], 0, true), "");
        assert!(said(&[Guard::Weakened], 0, true).contains("guards themselves"));
    }
}
