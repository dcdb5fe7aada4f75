//! What a request has that goes to its cell, what became of it, and whether it would have gone were all enforced. Plain
//! data; what it holds is [`Standing`](super::Standing)'s to take back.

use super::super::super::guard::Mode;
use super::super::health::AttemptEnd;
use super::super::modes::Modes;
use super::super::observed::Observation;
use super::super::priority::Priority;

/// What a request holds that goes; [`end`](super::Standing::end) takes it back.
#[derive(Clone, Copy, Debug)]
#[must_use = "what it holds is held until Standing::end"]
pub struct Pass {
    pub(super) held: Held,
    /// The group that it is to go to; any where it is `None`.
    pub group: Option<usize>,
    /// That is not its own: it is lost, drained, or on its way back.
    pub is_moved: bool,
    /// Its class; not the first where its account asks for too much of that.
    pub priority: Priority,
    /// The group that it would go to, where failover is observed.
    pub would_group: Option<usize>,
    /// Whether what becomes of it is to be told.
    pub(super) teaches: bool,
    pub(super) watched: Watched,
}

/// Whether a request is one of those that would have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// Nothing is observed.
    No,
    /// As far as is known.
    Comes,
    /// To another endpoint than it goes to, where this most likely becomes of it.
    Elsewhere(Outcome),
    /// The same, and it has been told what would have become of it.
    Told,
    /// It would have been refused.
    Not,
}

impl Pass {
    /// Of a request that asks nobody: it goes wherever something is left, holds nothing here and teaches nothing.
    pub const OPERATOR: Self = Self {
        held: Held::Nothing,
        group: None,
        is_moved: false,
        priority: Priority::Critical,
        would_group: None,
        teaches: false,
        watched: Watched::No,
    };

    /// Of one that asks.
    pub(super) fn asking(modes: &Modes, priority: Priority) -> Self {
        let watched = if modes.observed().next().is_some() { Watched::Comes } else { Watched::No };
        Self { teaches: true, priority, watched, ..Self::OPERATOR }
    }

    /// Whether a part of this mode looks at it.
    pub(super) fn is_for(&self, mode: Mode) -> bool {
        match mode {
            Mode::Off => false,
            Mode::Observe => self.would_come(),
            Mode::Enforce => true,
        }
    }

    /// Whether something is observed that has not refused it so far, or would not have.
    pub fn would_come(&self) -> bool {
        !matches!(self.watched, Watched::No | Watched::Not)
    }

    /// Of a request that would have gone to another endpoint, which failed the last that asked it or did not: nobody knows
    /// what would have become of this one, and most likely the same.
    pub fn elsewhere(self, is_failing: bool) -> Self {
        let outcome = if is_failing { Outcome::Failed } else { Outcome::Served };
        let watched = if self.watched == Watched::Comes { Watched::Elsewhere(outcome) } else { self.watched };
        Self { watched, ..self }
    }

    /// Of one that has been told of, as far as it goes elsewhere: what else becomes of it is of another attempt.
    pub fn told(self) -> Self {
        let is_elsewhere = matches!(self.watched, Watched::Elsewhere(_));
        let watched = if is_elsewhere { Watched::Told } else { self.watched };
        Self { watched, ..self }
    }

    /// Of one that would have been refused after all, which [`would_refuse`](super::Standing::would_refuse) knows.
    pub fn left(self) -> Self {
        let held = match self.held {
            Held::Observation(_) | Held::ObservedLongLived => Held::Nothing,
            held @ (Held::Nothing | Held::Permit | Held::LongLived) => held,
        };
        Self { watched: Watched::Not, held, ..self }
    }
}

/// What it holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Held {
    Nothing,
    Permit,
    LongLived,
    Observation(Observation),
    ObservedLongLived,
}

/// What became of a request at the cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The cell answered, and not that it cannot.
    Served,
    /// It said that it has too much to do.
    PushedBack,
    /// No answer, or one that says that the cell cannot.
    Failed,
}

impl Outcome {
    /// Of an attempt that got an answer.
    pub const fn of(end: AttemptEnd) -> Self {
        match end {
            AttemptEnd::Answered | AttemptEnd::AppError => Self::Served,
            AttemptEnd::Pushback => Self::PushedBack,
            AttemptEnd::Gateway | AttemptEnd::Unconnected | AttemptEnd::Broken => Self::Failed,
        }
    }
}

/// How it goes to an endpoint that is not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forced {
    /// As its probe, if nobody else is.
    Probe,
    /// As one of many.
    Open,
}
