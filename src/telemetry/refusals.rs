//! Every refusal as a label value.

use crate::policy::cell_failure::{BrokenAnswer, Silence, Unreachable};
use crate::policy::protection::shed::Shed;
use crate::policy::refusal::{BadRequest, Refusal};

/// Position of the first that keeps a cell standing; those are the last.
const FIRST_SHED: usize = 35;

/// Each once.
pub(super) const REFUSALS: [Refusal; FIRST_SHED + Shed::ALL.len()] = [
    Refusal::NoAccount,
    Refusal::UnmappedAccount,
    Refusal::CredentialRequired,
    Refusal::ConflictingAccounts,
    Refusal::Misdirected,
    Refusal::MethodNotAllowed,
    Refusal::ExpectationFailed,
    Refusal::TargetTooLong,
    Refusal::HeadersTooLarge,
    Refusal::ClientTimeout,
    Refusal::NotImplemented,
    // Their causes share a series.
    Refusal::CellUnreachable(Unreachable::Other),
    Refusal::CellBroken(BrokenAnswer::Protocol),
    Refusal::CellTimeout(Silence::Unanswered),
    Refusal::CutByMove,
    Refusal::Drain,
    Refusal::Loop,
    Refusal::Internal,
    Refusal::BadRequest(BadRequest::RequestLine),
    Refusal::BadRequest(BadRequest::HeaderLine),
    Refusal::BadRequest(BadRequest::Host),
    Refusal::BadRequest(BadRequest::HostMismatch),
    Refusal::BadRequest(BadRequest::ContentLength),
    Refusal::BadRequest(BadRequest::TransferEncoding),
    Refusal::BadRequest(BadRequest::Path),
    Refusal::BadRequest(BadRequest::AccountId),
    Refusal::BadRequest(BadRequest::DuplicateKey),
    Refusal::BadRequest(BadRequest::Connection),
    Refusal::BadRequest(BadRequest::Body),
    Refusal::BadRequest(BadRequest::Stream),
    Refusal::AccountMoving,
    Refusal::BrownoutSoft,
    Refusal::BrownoutHard,
    Refusal::Sunset,
    Refusal::Gone,
    Refusal::Shed(Shed::ProcessFull),
    Refusal::Shed(Shed::CellFull),
    Refusal::Shed(Shed::GroupFull),
    Refusal::Shed(Shed::LowPriority),
    Refusal::Shed(Shed::QueueFull),
    Refusal::Shed(Shed::WaitedTooLong),
    Refusal::Shed(Shed::Recovering),
    Refusal::Shed(Shed::NoHeadroom),
    Refusal::Shed(Shed::CellDown),
    Refusal::Shed(Shed::Operator),
];

/// Position in [`REFUSALS`]. Written out, so that a new refusal does not compile without its series.
pub(super) const fn refusal_slot(refusal: Refusal) -> usize {
    match refusal {
        Refusal::NoAccount => 0,
        Refusal::UnmappedAccount => 1,
        Refusal::CredentialRequired => 2,
        Refusal::ConflictingAccounts => 3,
        Refusal::Misdirected => 4,
        Refusal::MethodNotAllowed => 5,
        Refusal::ExpectationFailed => 6,
        Refusal::TargetTooLong => 7,
        Refusal::HeadersTooLarge => 8,
        Refusal::ClientTimeout => 9,
        Refusal::NotImplemented => 10,
        Refusal::CellUnreachable(_) => 11,
        Refusal::CellBroken(_) => 12,
        Refusal::CellTimeout(_) => 13,
        Refusal::CutByMove => 14,
        Refusal::AccountMoving => 30,
        Refusal::BrownoutSoft => 31,
        Refusal::BrownoutHard => 32,
        Refusal::Sunset => 33,
        Refusal::Gone => 34,
        // In the order of their declaration, which is the one above.
        Refusal::Shed(why) => FIRST_SHED + why as usize,
        Refusal::Drain => 15,
        Refusal::Loop => 16,
        Refusal::Internal => 17,
        Refusal::BadRequest(detail) => {
            18 + match detail {
                BadRequest::RequestLine => 0,
                BadRequest::HeaderLine => 1,
                BadRequest::Host => 2,
                BadRequest::HostMismatch => 3,
                BadRequest::ContentLength => 4,
                BadRequest::TransferEncoding => 5,
                BadRequest::Path => 6,
                BadRequest::AccountId => 7,
                BadRequest::DuplicateKey => 8,
                BadRequest::Connection => 9,
                BadRequest::Body => 10,
                BadRequest::Stream => 11,
            }
        }
    }
}
