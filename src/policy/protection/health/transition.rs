//! The words for what a state machine of health has done: states, reasons, and a change with all numbers that it was
//! made from. Labels of metrics and lines of a status page; no judgement.

use std::time::Duration;

use super::trip::Evidence;

/// Where an endpoint stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// It is asked. A new endpoint begins here: to ask it is how one learns, and a cell that starts has no others.
    #[default]
    Up,
    /// Out, for a time that doubles.
    Ejected,
    /// The time is over, and one request or active check finds out.
    Probing,
    /// Active checks fail. It comes back by active checks.
    Down,
}

/// Why an endpoint changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Attempts in a row got no answer.
    LocalRun,
    /// Attempts in a row got the answer of a gateway.
    GatewayRun,
    /// Half of all failed.
    FailureShare,
    /// More failed than at its siblings.
    WorseThanSiblings,
    /// Answers take longer than at its siblings, and than they did.
    SlowerThanSiblings,
    /// Active checks failed in a row.
    ChecksFailed,
    /// Active checks passed in a row.
    ChecksPassed,
    /// There are no active checks any more.
    ChecksEnded,
    /// The time of the ejection is over.
    TimeOver,
    /// The probe found it well.
    ProbePassed,
    /// The probe failed, or was pushed back.
    ProbeFailed,
    /// The probe was answered, and as slowly as before.
    ProbeSlow,
}

/// A change of state, with all that it was made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// Before.
    pub from: State,
    /// After.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// Ejections that are remembered, this one included.
    pub times: u32,
    /// How long it is out, where that is a time.
    pub out_for: Option<Duration>,
    /// It is only observed: requests go there as before.
    pub would_have: bool,
    /// The numbers.
    pub evidence: Evidence,
}

/// An endpoint that should be out and is not.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Why it should be.
    pub reason: Reason,
    /// Why it is not.
    pub by: HeldBy,
    /// The numbers.
    pub evidence: Evidence,
}

/// Why an endpoint that should be out is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeldBy {
    /// It may be the network.
    Frozen,
    /// The cell cannot do without it.
    Headroom,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Up, Self::Ejected, Self::Probing, Self::Down];

    /// Label of metrics, and name in the state folder.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Ejected => "ejected",
            Self::Probing => "probing",
            Self::Down => "down",
        }
    }

    /// Reads [`as_str`](Self::as_str).
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl Reason {
    /// Label of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LocalRun => "local_run",
            Self::GatewayRun => "gateway_run",
            Self::FailureShare => "failure_share",
            Self::WorseThanSiblings => "worse_than_siblings",
            Self::SlowerThanSiblings => "slower_than_siblings",
            Self::ChecksFailed => "checks_failed",
            Self::ChecksPassed => "checks_passed",
            Self::ChecksEnded => "checks_ended",
            Self::TimeOver => "time_over",
            Self::ProbePassed => "probe_passed",
            Self::ProbeFailed => "probe_failed",
            Self::ProbeSlow => "probe_slow",
        }
    }
}

impl HeldBy {
    /// Label of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Frozen => "frozen",
            Self::Headroom => "headroom",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_is_written() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        assert_eq!(State::parse("sideways"), None);
    }
}
