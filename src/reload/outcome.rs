//! How a reload ends, and how others ask for one. The vocabulary between the task that owns reloading
//! and everybody who asks it or shows what it did; nothing here can change a configuration.

mod handle;
mod recent;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tokio::sync::oneshot;

use super::journal::Said;
use crate::policy::access::Asker;
use crate::policy::code::Code;
use crate::policy::ids::{Generation, Label};
use crate::telemetry::labels::Reload;
pub use handle::{QUEUED_REQUESTS, ReloadHandle, ReloadInbox, handles};
pub use recent::{RecentReloads, ReloadSummary};

/// How a reload ended. Only `Applied` has changed anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// The files say what is in force already.
    Unchanged,
    /// The files have problems: all of them.
    Rejected(Vec<ProblemView>),
    /// The files are well formed, and guards object to the change.
    /// `None` of what is not known: what a start did not let in.
    Refused(Vec<Objection>, Option<Arc<Pushed>>),
    /// The change touches fields that only a restart can change, by path.
    NeedsRestart(Vec<String>),
    /// A new generation is in force.
    Applied {
        /// Its number.
        generation: Generation,
    },
    /// A new generation is on trial, or waits for its turn; what serves goes on serving all others.
    Staged {
        /// Its number.
        generation: Generation,
        /// By what else it is known.
        pushed: Arc<Pushed>,
    },
    /// A generation on trial was taken back, now or before; what serves goes on serving.
    RolledBack {
        /// Its configuration hash.
        hash: Box<str>,
        /// Why, a line each.
        reasons: Vec<String>,
    },
}

/// What was offered: by this it is found again, in the files of whoever has pushed it and in the approvals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its configuration hash.
    pub hash: Box<str>,
    /// Digest of its plan, where one was made.
    pub plan: Option<String>,
    /// What is said of who offers it, and why.
    pub said: Said,
}

/// One problem of the files as it is shown to people; `config` has its own type for finding them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ProblemView {
    /// File, relative to the configuration folder.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: Option<u64>,
    /// Column, from 1.
    pub column: Option<u64>,
    /// Where in the structure: `cells.us1.groups[0].endpoints`.
    pub path: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What was expected instead.
    pub expected: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// Which kind of problem it is, such as `E0121`; `cellgate help` explains each. Of older cellgates there is none.
    pub code: Option<String>,
}

impl ProblemView {
    /// Where it is and of which kind, without a word of the files: `accounts.csv:12 [E0121]`.
    pub fn place(&self) -> String {
        let line = self.line.map_or_else(String::new, |line| format!(":{line}"));
        let code = self.code.as_ref().map_or_else(String::new, |code| format!(" [{code}]"));
        format!("{}{line}{code}", self.file.as_deref().unwrap_or("no file"))
    }
}

impl fmt::Display for ProblemView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            f.write_str(file)?;
            for number in [self.line, self.column].into_iter().flatten() {
                write!(f, ":{number}")?;
            }
            f.write_str(": ")?;
        }
        if let Some(path) = &self.path {
            write!(f, "{path}: ")?;
        }
        f.write_str(&self.what)?;
        if let Some(expected) = &self.expected {
            write!(f, "; expected {expected}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        self.code.as_ref().map_or(Ok(()), |code| write!(f, " [{code}]"))
    }
}

/// As a guard, by this name: what an override keeps, it keeps from being swapped.
pub const BREAK_GLASS: &str = "break_glass";

/// Why a guard does not let a change through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// Name of the guard.
    pub guard: String,
    /// What it objects to.
    pub what: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Objection {
    /// The code of its guard; `None` of a guard that only another version has.
    pub fn code(&self) -> Option<Code> {
        Code::named(&self.guard)
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.guard, self.what)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        self.code().map_or(Ok(()), |code| write!(f, " [{code}]"))
    }
}

/// Who asked for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The start of the process.
    Start,
    /// A file has changed.
    FileChange,
    /// SIGHUP.
    Signal,
    /// An admin call.
    Admin,
    /// An admin call that wants to try again what was rolled back.
    Again,
    /// An admin call that wants no steps.
    AtOnce,
    /// Both.
    AgainAtOnce,
}

/// The last reload, as the admin plane shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadReport {
    /// Who asked.
    pub trigger: Trigger,
    /// When it ended.
    pub at: SystemTime,
    /// How it ended.
    pub outcome: ReloadOutcome,
    /// When the generation in force was put in force, by this reload or an earlier one.
    pub loaded_at: SystemTime,
}

/// A candidate, as the admin plane shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedReport {
    /// Its number.
    pub generation: Generation,
    /// Its configuration hash.
    pub hash: Box<str>,
    /// Which share of the accounts it serves; `None` while it waits for the first replicas.
    pub share: Option<String>,
    /// The step that it is in, from 1.
    pub step: usize,
    /// How many there are.
    pub steps: usize,
    /// When it was accepted.
    pub since: SystemTime,
    /// When the step, or the waiting, ends.
    pub ends: SystemTime,
    /// Requests that it has served.
    pub requests: u64,
    /// How many of them failed.
    pub failed: u64,
    /// The same by cell, beside what the cell does for all others.
    pub cells: Vec<CellReport>,
    /// What served when this was looked at: its moves of accounts are the candidate's too.
    pub beside: Generation,
}

/// A cell while there is a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellReport {
    /// Its name.
    pub cell: Label,
    /// Requests that the candidate serves.
    pub with: Counted,
    /// Those of all other accounts.
    pub without: Counted,
}

/// What was counted of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// All of them.
    pub requests: u64,
    /// Those whose clients saw them fail because of the cell or of us.
    pub failed: u64,
    /// Those that the cell answered with 4xx.
    pub denied: u64,
}

/// An admin call's wish for a reload.
#[derive(Debug)]
pub struct ReloadRequest {
    /// The generation that the caller means to replace; the task compares, so that two callers cannot
    /// both replace the same one. `None` is whatever is in force.
    pub expected: Option<Generation>,
    /// [`Trigger::Admin`], or what else the caller wants.
    pub trigger: Trigger,
    /// Who the caller is: checked.
    pub caller: Box<str>,
    /// Where the answer goes. A caller who has gone away does not stop the reload.
    pub reply: oneshot::Sender<Result<ReloadOutcome, StaleGeneration>>,
}

/// What an operator asks for over a broken glass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// An override, in place of the one in force.
    Begin {
        /// `keep` or `restore`.
        aim: String,
        /// Why.
        reason: String,
        /// Who says so.
        by: Asker,
        /// How long it is to hold.
        lasts: Duration,
    },
    /// Its end before its time.
    End {
        /// Who says so.
        by: Asker,
        /// Why, where they say.
        reason: Option<String>,
    },
}

impl Asked {
    /// Who asks.
    pub const fn by(&self) -> &Asker {
        match self {
            Self::Begin { by, .. } | Self::End { by, .. } => by,
        }
    }
}

/// An admin call's override. What the files say is looked at anew under it.
#[derive(Debug)]
pub struct OverrideRequest {
    /// What is asked.
    pub asked: Asked,
    /// What has been taken and the outcome of looking at the files, or why nothing has changed.
    pub reply: oneshot::Sender<Result<(Taken, ReloadOutcome), Objection>>,
}

/// An override that was taken, or its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// As the audit trail has it.
    pub told: String,
    /// The one that it stands in place of.
    pub replaced: Option<String>,
}

/// Another generation is in force than the caller meant to replace; nothing was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("generation {current} is in force, not the one that was to be replaced")]
pub struct StaleGeneration {
    /// What is in force.
    pub current: Generation,
}

impl ReloadOutcome {
    /// Whether the files are what serves.
    pub const fn is_good(&self) -> bool {
        matches!(self, Self::Unchanged | Self::Applied { .. } | Self::Staged { .. })
    }

    /// Whether it says anything that is not known from the outcome before it. Files that are found bad in the same
    /// way, or good and unchanged as before, do not; good ones after bad ones do.
    pub fn is_news_after(&self, before: &Self) -> bool {
        let as_before = *self == Self::Unchanged && before.is_good();
        !as_before && self != before
    }

    /// What was offered, where that is known and is not what serves.
    pub fn pushed(&self) -> Option<Arc<Pushed>> {
        match self {
            Self::Refused(_, pushed) => pushed.clone(),
            Self::Staged { pushed, .. } => Some(Arc::clone(pushed)),
            Self::RolledBack { hash, .. } => {
                Some(Arc::new(Pushed { hash: hash.clone(), plan: None, said: Said::default() }))
            }
            Self::Unchanged | Self::Rejected(_) | Self::NeedsRestart(_) | Self::Applied { .. } => None,
        }
    }

    /// The closed value that is counted.
    pub const fn label(&self) -> Reload {
        match self {
            Self::Unchanged => Reload::Unchanged,
            Self::Rejected(_) => Reload::Rejected,
            Self::Refused(..) => Reload::Refused,
            Self::NeedsRestart(_) => Reload::NeedsRestart,
            Self::Applied { .. } => Reload::Applied,
            Self::Staged { .. } => Reload::Staged,
            Self::RolledBack { .. } => Reload::RolledBack,
        }
    }
}

impl Trigger {
    /// Log and JSON value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::FileChange => "file_change",
            Self::Signal => "signal",
            Self::Admin => "admin",
            Self::Again => "admin_again",
            Self::AtOnce => "admin_at_once",
            Self::AgainAtOnce => "admin_again_at_once",
        }
    }

    /// An admin call with these wishes.
    pub const fn admin(again: bool, at_once: bool) -> Self {
        match (again, at_once) {
            (false, false) => Self::Admin,
            (true, false) => Self::Again,
            (false, true) => Self::AtOnce,
            (true, true) => Self::AgainAtOnce,
        }
    }

    /// What was rolled back is to be tried again.
    pub const fn is_again(self) -> bool {
        matches!(self, Self::Again | Self::AgainAtOnce)
    }

    /// No steps are wanted.
    pub const fn is_at_once(self) -> bool {
        matches!(self, Self::AtOnce | Self::AgainAtOnce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_tells_only_what_is_not_known() {
        let rejected = |what: &str| {
            ReloadOutcome::Rejected(vec![ProblemView { what: what.to_owned(), ..ProblemView::default() }])
        };
        let applied = |number| ReloadOutcome::Applied { generation: Generation(number) };
        let restart = || ReloadOutcome::NeedsRestart(vec!["workers".to_owned()]);
        for (outcome, before, news) in [
            (ReloadOutcome::Unchanged, applied(1), false),
            (ReloadOutcome::Unchanged, ReloadOutcome::Unchanged, false),
            (ReloadOutcome::Unchanged, rejected("a"), true),
            (ReloadOutcome::Unchanged, restart(), true),
            (rejected("a"), applied(1), true),
            (rejected("a"), rejected("a"), false),
            (rejected("a"), rejected("b"), true),
            (restart(), restart(), false),
            (applied(2), applied(1), true),
            (applied(2), rejected("a"), true),
        ] {
            assert_eq!(outcome.is_news_after(&before), news, "{outcome:?} after {before:?}");
        }
    }
}
