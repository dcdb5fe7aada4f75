//! The closed list of reasons for which cellgate answers a request itself instead of forwarding it.
//!
//! Status, metric label, gRPC code, `Proxy-Status` error, outcome and Retry-After are total functions
//! of the reason, so a new reason cannot be added without deciding all of them. How a refusal is
//! rendered for a client (JSON, gRPC trailers) is `proxy::reply`'s matter.

use std::time::Duration;

pub use super::bad_request::BadRequest;
use super::cell_failure::{BrokenAnswer, Silence, Unreachable};
use super::protection::shed::Shed;

/// Why a request was not answered by a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// Malformed head, ambiguous framing, forbidden target: see [`BadRequest`].
    BadRequest(BadRequest),
    /// The legacy host, and nothing in the request names an account.
    NoAccount,
    /// The request names an account that has no row in the table (or no account of this host).
    UnmappedAccount,
    /// A route that the configuration marks `authenticated`, on a legacy host, without any
    /// credential. Answered before the account is looked up, so that walking ids without a token
    /// shows no difference between accounts that exist and accounts that do not.
    CredentialRequired,
    /// Two explicit sources of one legacy request name different accounts.
    ConflictingAccounts,
    /// A host that no rule of the configuration covers, or one that the connection's certificate does
    /// not cover (RFC 9110 section 15.5.20).
    Misdirected,
    /// TRACE, or CONNECT without a protocol.
    MethodNotAllowed,
    /// `Expect` with anything but `100-continue`.
    ExpectationFailed,
    /// The request target is longer than the limit.
    TargetTooLong,
    /// Too many header fields, or too many bytes of them.
    HeadersTooLarge,
    /// The client did not finish its request head or body in time.
    ClientTimeout,
    /// A transfer coding other than exactly `chunked`, or an upgrade other than WebSocket.
    NotImplemented,
    /// No connection to the cell could be made.
    CellUnreachable(Unreachable),
    /// The cell closed the connection, or answered with bytes that are not an HTTP response.
    CellBroken(BrokenAnswer),
    /// The cell did not begin its answer in time.
    CellTimeout(Silence),
    /// To keep the cell standing: see [`Shed`].
    Shed(Shed),
    /// The account is moving to another cell, and the request has waited for as long as it may, or found no slot to
    /// wait in. Nothing of it was sent.
    AccountMoving,
    /// The account has begun to move, and its writes under way at the old cell were cut at the deadline.
    CutByMove,
    /// The drain's deadline came before the cell had begun its answer.
    Drain,
    /// A brownout of a legacy host that clients may wait out.
    BrownoutSoft,
    /// A brownout of a legacy host that clients must not wait out.
    BrownoutHard,
    /// The sunset of a legacy host has passed, for the account that the request names.
    Sunset,
    /// It has passed for everybody.
    Gone,
    /// The same request has passed this proxy before.
    Loop,
    /// A defect of cellgate itself; never a consequence of input.
    Internal,
}

/// Whether a cell may have seen the request: decides if a client can repeat it safely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// No byte of the request reached a cell, or the cell has said that it has not looked at it.
    NotForwarded,
    /// A cell may have acted on it.
    Unknown,
}

impl Outcome {
    /// The value of `X-Cellgate-Outcome`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotForwarded => "not-forwarded",
            Self::Unknown => "unknown",
        }
    }

    /// What a client is to make of it.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::NotForwarded => "It has not acted on the request, which can be repeated.",
            Self::Unknown => "It may have acted on the request.",
        }
    }
}

impl Refusal {
    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest(_) | Self::ConflictingAccounts => 400,
            Self::CredentialRequired => 401,
            Self::NoAccount | Self::UnmappedAccount => 404,
            Self::MethodNotAllowed => 405,
            Self::ClientTimeout => 408,
            Self::BrownoutHard | Self::Sunset | Self::Gone => 410,
            Self::TargetTooLong => 414,
            Self::ExpectationFailed => 417,
            Self::Misdirected => 421,
            Self::HeadersTooLarge => 431,
            Self::Internal => 500,
            Self::NotImplemented => 501,
            Self::CellUnreachable(_) | Self::CellBroken(_) => 502,
            Self::Shed(_) | Self::AccountMoving | Self::CutByMove | Self::Drain | Self::BrownoutSoft => 503,
            Self::CellTimeout(_) => 504,
            Self::Loop => 508,
        }
    }

    /// The `grpc-status` code a gRPC client reads (grpc.io "Status codes and their use").
    pub const fn grpc_status(self) -> u8 {
        match self {
            Self::BadRequest(_) | Self::ConflictingAccounts | Self::TargetTooLong => 3,
            Self::ClientTimeout | Self::CellTimeout(_) => 4,
            Self::NoAccount | Self::UnmappedAccount | Self::Misdirected => 5,
            Self::HeadersTooLarge => 8,
            // FAILED_PRECONDITION: not to be tried again before somebody has changed something.
            Self::BrownoutHard | Self::Sunset | Self::Gone => 9,
            Self::MethodNotAllowed | Self::NotImplemented | Self::ExpectationFailed => 12,
            Self::Internal | Self::Loop => 13,
            Self::CellUnreachable(_)
            | Self::CellBroken(_)
            | Self::Shed(_)
            | Self::AccountMoving
            | Self::CutByMove
            | Self::Drain
            | Self::BrownoutSoft => 14,
            Self::CredentialRequired => 16,
        }
    }

    /// The metric label and the `refusal` of the access log: stable, closed, snake case. What exactly was wrong
    /// with a cell is not in it, so that one alert covers all of a kind: see [`cell_error`](Self::cell_error).
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadRequest(detail) => detail.label(),
            Self::NoAccount => "no_account",
            Self::UnmappedAccount => "unmapped_account",
            Self::CredentialRequired => "credential_required",
            Self::ConflictingAccounts => "conflicting_accounts",
            Self::Misdirected => "misdirected",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::ExpectationFailed => "expectation_failed",
            Self::TargetTooLong => "target_too_long",
            Self::HeadersTooLarge => "headers_too_large",
            Self::ClientTimeout => "client_timeout",
            Self::NotImplemented => "not_implemented",
            Self::CellUnreachable(_) => "cell_unreachable",
            Self::CellBroken(_) => "cell_broken",
            Self::CellTimeout(_) => "cell_timeout",
            Self::Shed(why) => why.label(),
            Self::AccountMoving => "account_moving",
            Self::CutByMove => "cut_by_move",
            Self::Drain => "drain",
            Self::BrownoutSoft => "brownout_soft",
            Self::BrownoutHard => "brownout_hard",
            Self::Sunset => "sunset",
            Self::Gone => "gone",
            Self::Loop => "loop",
            Self::Internal => "internal",
        }
    }

    /// The `error` parameter of `Proxy-Status` (RFC 9209 section 2.3).
    pub const fn proxy_error(self) -> &'static str {
        match self {
            Self::BadRequest(_)
            | Self::ConflictingAccounts
            | Self::CredentialRequired
            | Self::MethodNotAllowed
            | Self::ExpectationFailed
            | Self::TargetTooLong
            | Self::HeadersTooLarge
            | Self::ClientTimeout
            | Self::NotImplemented => "http_request_error",
            Self::NoAccount | Self::UnmappedAccount | Self::Misdirected => "destination_not_found",
            Self::CellUnreachable(why) => why.proxy_error(),
            Self::CellBroken(how) => how.proxy_error(),
            Self::CellTimeout(silence) => silence.proxy_error(),
            Self::Shed(why) => why.proxy_error(),
            Self::AccountMoving => "destination_unavailable",
            Self::CutByMove | Self::Drain => "connection_terminated",
            Self::BrownoutSoft | Self::BrownoutHard | Self::Sunset | Self::Gone => "http_request_denied",
            Self::Loop => "proxy_loop_detected",
            Self::Internal => "proxy_internal_error",
        }
    }

    /// What went wrong with the cell, for the log: the same word as in `Proxy-Status`. `None` where
    /// [`label`](Self::label) says all there is.
    pub const fn cell_error(self) -> Option<&'static str> {
        match self {
            Self::CellUnreachable(_) | Self::CellBroken(_) | Self::CellTimeout(_) => Some(self.proxy_error()),
            _ => None,
        }
    }

    /// One sentence for the client: what happened and what to do next, which is [`Outcome::advice`]'s to say where it
    /// [`depends_on_outcome`](Self::depends_on_outcome). Names no cell, no address and no account.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::BadRequest(detail) => detail.advice(),
            Self::NoAccount => {
                "This address serves many accounts and the request names none. Call your account's own \
                 address, or a path that names the account."
            }
            Self::UnmappedAccount => {
                "The account in this request is not served at this address. Check the account id and \
                 call your account's own address."
            }
            Self::CredentialRequired => {
                "This route needs a credential and the request carries none. Send your API token in \
                 the Authorization header."
            }
            Self::ConflictingAccounts => {
                "Path, query and headers of this request name different accounts. Name one account."
            }
            Self::Misdirected => {
                "This host name is not served on this connection. Check the host name and open a new \
                 connection to it."
            }
            Self::MethodNotAllowed => "This method is not allowed here. Use a standard HTTP method.",
            Self::ExpectationFailed => "Only `Expect: 100-continue` is understood. Drop the header.",
            Self::TargetTooLong => "The request target is too long. Shorten the path or the query.",
            Self::HeadersTooLarge => {
                "The header fields are too many or too large. Send fewer or shorter ones."
            }
            Self::ClientTimeout => "The request did not arrive in time. Send it again.",
            Self::NotImplemented => {
                "This transfer coding or protocol upgrade is not supported. Send the body plain or chunked."
            }
            Self::CellUnreachable(_) => "The account's environment could not be reached.",
            Self::CellBroken(_) => {
                "The account's environment gave no complete HTTP answer: it broke the connection, or what it \
                 sent cannot be read."
            }
            Self::CellTimeout(_) => "The account's environment did not answer in time.",
            Self::Shed(why) => why.advice(),
            Self::AccountMoving => {
                "The account is being moved to another environment, which takes some seconds. Nothing was sent: \
                 repeat the request after the time in Retry-After."
            }
            Self::CutByMove => {
                "The account is being moved to another environment, and its present one had not answered in full \
                 in time."
            }
            Self::Drain => "The proxy was stopped before the account's environment had answered in full.",
            Self::BrownoutSoft => {
                "This address is being retired, and is switched off for a while to show who still calls it. Repeat the \
                 request after the time in Retry-After, and call your account's own address."
            }
            Self::BrownoutHard => {
                "This address is being retired, and is switched off for a while to show who still calls it. Call your \
                 account's own address."
            }
            Self::Sunset | Self::Gone => "This address was retired. Call your account's own address.",
            Self::Loop => {
                "This request has passed the same proxy before. Correct the address of the environment."
            }
            Self::Internal => "cellgate failed on this request. Report the request id to its operators.",
        }
    }

    /// Whether a client that knows what happened does not know yet if the cell has acted on its request: an earlier
    /// attempt may have ended in another way than the last.
    pub const fn depends_on_outcome(self) -> bool {
        matches!(
            self,
            Self::CellUnreachable(_)
                | Self::CellBroken(_)
                | Self::CellTimeout(_)
                | Self::CutByMove
                | Self::Drain
        )
    }

    /// How long a client should wait before it repeats the request; `None` where repeating is no cure.
    /// Jitter is added by the caller, who owns the random source.
    ///
    /// None for [`CellUnreachable`](Self::CellUnreachable) and the other failures of a cell, although RFC 9110 section 10.2.3
    /// allows it on any answer: one such answer says nothing of how long it will last. Where it lasts, health finds the cell
    /// down within seconds, and what is refused then is [`Shed`], with a time that is computed from how long it has lasted.
    /// Until then any number would be made up, shorter than the pauses that clients make by themselves after 502, and
    /// unheeded by most: urllib3 and what is built on it reads the field on 413, 429 and 503 alone.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            // Permits come free within a response time; a second is the shortest value that
            // delta-seconds can say.
            Self::Shed(_) => Some(Duration::from_secs(1)),
            // Whoever comes back waits for a budget again, so that most of the time it is here.
            Self::AccountMoving => Some(Duration::from_secs(2)),
            // Of a soft brownout its window says it (`Planned::retry_after_s`).
            _ => None,
        }
    }

    /// Whether the client connection must be closed: its framing can no longer be trusted, or nobody will read it.
    pub const fn closes_connection(self) -> bool {
        match self {
            Self::BadRequest(_)
            | Self::TargetTooLong
            | Self::HeadersTooLarge
            | Self::ClientTimeout
            | Self::NotImplemented
            | Self::Drain
            | Self::Internal => true,
            Self::NoAccount
            | Self::UnmappedAccount
            | Self::CredentialRequired
            | Self::ConflictingAccounts
            | Self::Misdirected
            | Self::MethodNotAllowed
            | Self::ExpectationFailed
            | Self::CellUnreachable(_)
            | Self::CellBroken(_)
            | Self::CellTimeout(_)
            | Self::Shed(_)
            | Self::AccountMoving
            | Self::CutByMove
            | Self::BrownoutSoft
            | Self::BrownoutHard
            | Self::Sunset
            | Self::Gone
            | Self::Loop => false,
        }
    }
}

impl From<BadRequest> for Refusal {
    fn from(detail: BadRequest) -> Self {
        Self::BadRequest(detail)
    }
}
