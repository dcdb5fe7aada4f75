//! How a request went, for whoever looks at a cell: as few words as tell apart what the cell did, what cellgate did for its
//! sake, what people wanted so, and what says nothing of it.

use crate::policy::facts::Upgrade;
use crate::policy::protection::shed::Shed;
use crate::policy::refusal::Refusal;
use crate::telemetry::event::{End, RequestEvent};

/// See the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    /// The cell answered, and not with 5xx; or a browser was sent to the account's own address.
    Served,
    /// 5xx of the cell, no connection to it, no answer in time, or one that was cut.
    Failed,
    /// Refused: nothing of the cell, or of the part that the request belongs to, can be used.
    Down,
    /// Refused: the cell, or this process, has no room for it now.
    NoRoom,
    /// Refused because somebody wanted it so: a brownout, the sunset, a lever.
    OnPurpose,
    /// Refused or cut because its account moves.
    Moving,
    /// Refused for what the client sent, or the client went away before there was an answer.
    ByClient,
    /// Refused or cut by this process: it stops, or has a defect.
    Ours,
}

impl Answer {
    /// All of them, in the order of counts.
    pub const ALL: [Self; 8] = [
        Self::Served,
        Self::Failed,
        Self::Down,
        Self::NoRoom,
        Self::OnPurpose,
        Self::Moving,
        Self::ByClient,
        Self::Ours,
    ];

    /// A stable word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Failed => "failed",
            Self::Down => "down",
            Self::NoRoom => "no_room",
            Self::OnPurpose => "on_purpose",
            Self::Moving => "moving",
            Self::ByClient => "by_client",
            Self::Ours => "ours",
        }
    }

    /// Of a request that has ended.
    pub(super) fn of(event: &RequestEvent) -> Self {
        if let Some(refusal) = event.refusal {
            return Self::of_refusal(refusal);
        }
        // What tells that a tunnel has ended is no failure: that is how they end.
        let whole = event.upgrade != Upgrade::None;
        match (event.end, event.status) {
            (_, 499) => Self::ByClient,
            (_, 500..) => Self::Failed,
            (End::CellGone | End::TimedOut, _) if !whole => Self::Failed,
            (End::Moved, _) => Self::Moving,
            (End::Drain, _) => Self::Ours,
            _ => Self::Served,
        }
    }

    /// Written out, so that a new refusal does not compile without its place.
    const fn of_refusal(refusal: Refusal) -> Self {
        match refusal {
            Refusal::CellUnreachable(_) | Refusal::CellBroken(_) | Refusal::CellTimeout(_) => Self::Failed,
            Refusal::Shed(shed) => match shed {
                Shed::CellDown | Shed::NoHeadroom => Self::Down,
                Shed::Operator => Self::OnPurpose,
                Shed::ProcessFull
                | Shed::CellFull
                | Shed::GroupFull
                | Shed::LowPriority
                | Shed::QueueFull
                | Shed::WaitedTooLong
                | Shed::Recovering => Self::NoRoom,
            },
            Refusal::BrownoutSoft | Refusal::BrownoutHard | Refusal::Sunset | Refusal::Gone => {
                Self::OnPurpose
            }
            Refusal::AccountMoving | Refusal::CutByMove => Self::Moving,
            Refusal::Drain | Refusal::Internal | Refusal::Loop => Self::Ours,
            Refusal::BadRequest(_)
            | Refusal::NoAccount
            | Refusal::UnmappedAccount
            | Refusal::CredentialRequired
            | Refusal::ConflictingAccounts
            | Refusal::Misdirected
            | Refusal::MethodNotAllowed
            | Refusal::ExpectationFailed
            | Refusal::TargetTooLong
            | Refusal::HeadersTooLarge
            | Refusal::ClientTimeout
            | Refusal::NotImplemented => Self::ByClient,
        }
    }

    /// Whether somebody may want to see it one by one.
    pub(super) const fn is_worth_keeping(self) -> bool {
        !matches!(self, Self::Served)
    }
}
