//! The verdict on a request: everything the shell needs to act, and everything a log line, a metric
//! or `explain` says about why.

use super::accounts::ScheduleIndex;
use super::credential::Fingerprint;
use super::hosts::Role;
use super::ids::{AccountId, CellIndex, SurfaceIndex};
use super::refusal::Refusal;

/// Which source named the account (or the cell).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The prefix of the host.
    HostPrefix,
    /// A path template.
    Path,
    /// A query key.
    Query,
    /// A header that names an account or an environment.
    Header,
    /// The fingerprint of a credential, static or learned.
    Credential,
    /// A cookie.
    Cookie,
    /// An id range: a cell and no account.
    IdRange,
    /// Nothing.
    None,
}

/// Two sources that name different accounts: the one that was followed and the one that was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conflict {
    /// Followed (or first in the identify order, where the request was refused).
    pub followed: Source,
    /// Disagrees with it.
    pub against: Source,
}

/// Why a cell was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// A row of the account table.
    Mapped,
    /// An id-range rule.
    IdRange,
    /// The host's `no_account` or `unmapped_account` cell.
    Fallback,
}

/// What happens to the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Forward to this cell and no other.
    Forward {
        /// The cell.
        cell: CellIndex,
        /// Why this one.
        why: Why,
    },
    /// Answer a browser navigation with 302 to the account's own address.
    Redirect {
        /// Absolute URL on a configured host.
        location: String,
    },
    /// Answer it ourselves.
    Refuse(Refusal),
}

/// The whole decision. A value: the same request under the same snapshot gives an equal one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub verdict: Verdict,
    /// The account, where one with a number was named; also when it has no row.
    pub account: Option<AccountId>,
    /// Who named it.
    pub source: Source,
    /// Disagreements seen; never silently obeyed.
    pub conflicts: Vec<Conflict>,
    /// Role of the host; `None` when the host is not served.
    pub role: Option<Role>,
    /// Surface of the host.
    pub surface: Option<SurfaceIndex>,
    /// The labels of the host stood in the wrong order.
    pub misordered_host: bool,
    /// The deprecation schedule in force: the account's own, else the host's. `None` on cell hosts.
    pub schedule: Option<ScheduleIndex>,
    /// The fingerprint of the credential under the newest key, where one of a known shape was sent.
    pub fingerprint: Option<Fingerprint>,
    /// The credential tables know this credential for exactly this account, so the account's own
    /// address may be shown even where the cell does not answer 2xx.
    pub credential_known: bool,
    /// A 2xx answer may teach the credential: path or host named the account, no conflict, the route is
    /// marked `authenticated`, the cell is the account's own by row.
    pub may_learn: bool,
    /// Position in `Snapshot::clients`; `None` is an unknown client.
    pub client: Option<u16>,
}
