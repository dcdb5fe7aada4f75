//! Which code a refusal and a guard have: total functions, so that a new one cannot be added without a code.

use super::Code;
use crate::policy::guard::Guard;
use crate::policy::protection::shed::Shed;
use crate::policy::refusal::{BadRequest, Refusal};

impl Refusal {
    /// Its code. What exactly was wrong with a cell is not in it, as in [`label`](Self::label).
    pub const fn code(self) -> Code {
        match self {
            Self::BadRequest(detail) => detail.code(),
            Self::NoAccount => Code::NoAccount,
            Self::UnmappedAccount => Code::UnmappedAccount,
            Self::CredentialRequired => Code::CredentialRequired,
            Self::ConflictingAccounts => Code::ConflictingAccounts,
            Self::Misdirected => Code::Misdirected,
            Self::MethodNotAllowed => Code::MethodNotAllowed,
            Self::ExpectationFailed => Code::ExpectationFailed,
            Self::TargetTooLong => Code::TargetTooLong,
            Self::HeadersTooLarge => Code::HeadersTooLarge,
            Self::ClientTimeout => Code::ClientTimeout,
            Self::NotImplemented => Code::NotImplemented,
            Self::CellUnreachable(_) => Code::CellUnreachable,
            Self::CellBroken(_) => Code::CellBroken,
            Self::CellTimeout(_) => Code::CellTimeout,
            Self::Shed(why) => why.code(),
            Self::AccountMoving => Code::AccountMoving,
            Self::CutByMove => Code::CutByMove,
            Self::Drain => Code::Drain,
            Self::BrownoutSoft => Code::BrownoutSoft,
            Self::BrownoutHard => Code::BrownoutHard,
            Self::Sunset => Code::Sunset,
            Self::Gone => Code::Gone,
            Self::Loop => Code::Loop,
            Self::Internal => Code::Internal,
        }
    }
}

impl BadRequest {
    /// Its code.
    const fn code(self) -> Code {
        match self {
            Self::RequestLine => Code::BadRequestLine,
            Self::HeaderLine => Code::BadHeaderLine,
            Self::Host => Code::BadHost,
            Self::HostMismatch => Code::HostMismatch,
            Self::ContentLength => Code::BadContentLength,
            Self::TransferEncoding => Code::BadTransferEncoding,
            Self::Path => Code::BadPath,
            Self::AccountId => Code::BadAccountId,
            Self::DuplicateKey => Code::DuplicateKey,
            Self::Connection => Code::BadConnectionHeader,
            Self::Body => Code::BadBody,
            Self::Stream => Code::BadStream,
        }
    }
}

impl Shed {
    /// Its code.
    const fn code(self) -> Code {
        match self {
            Self::ProcessFull => Code::ProcessFull,
            Self::CellFull => Code::CellFull,
            Self::GroupFull => Code::GroupFull,
            Self::LowPriority => Code::LowPriority,
            Self::QueueFull => Code::QueueFull,
            Self::WaitedTooLong => Code::WaitedTooLong,
            Self::Recovering => Code::Recovering,
            Self::NoHeadroom => Code::NoHeadroom,
            Self::CellDown => Code::CellDown,
            Self::Operator => Code::Operator,
        }
    }
}

impl Guard {
    /// The code of what it objects to.
    pub const fn code(self) -> Code {
        match self {
            Self::Baseline => Code::Baseline,
            Self::Removal => Code::Removal,
            Self::ProtectedCell => Code::ProtectedCell,
            Self::AccountsRemoved => Code::AccountsRemoved,
            Self::AccountsMoved => Code::AccountsMoved,
            Self::RowsRemoved => Code::RowsRemoved,
            Self::RowsRepointed => Code::RowsRepointed,
            Self::TableSize => Code::TableSize,
            Self::Traffic => Code::Traffic,
            Self::Capacity => Code::Capacity,
            Self::Hold => Code::Hold,
            Self::Epoch => Code::GuardedEpoch,
            Self::Weakened => Code::Weakened,
            Self::Mixed => Code::Mixed,
            Self::Brownouts => Code::Brownouts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_and_refusals_are_explained_under_their_names() {
        for guard in Guard::ALL {
            assert_eq!(guard.code().explanation().name, Some(guard.as_str()));
        }
        for shed in Shed::ALL {
            assert_eq!(Refusal::Shed(shed).code().explanation().name, Some(shed.label()));
        }
        for refusal in [Refusal::Loop, Refusal::Gone, Refusal::BadRequest(BadRequest::Stream)] {
            assert_eq!(refusal.code().explanation().name, Some(refusal.label()));
        }
    }
}
