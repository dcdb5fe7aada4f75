//! How a request names its account: the rules of the identify order, as they are configured.

use http::HeaderName;

use super::super::credential::CredentialRules;
use super::super::ids::CellIndex;
use super::super::routing_cookie::RoutingCookie;

/// The rules of the identify order.
#[derive(Debug, Default)]
pub struct IdentifyRules {
    /// Path templates, most specific first.
    pub paths: Vec<PathTemplate>,
    /// Query keys whose value is an account id.
    pub query_keys: Vec<Box<str>>,
    /// Headers that name an account or an environment.
    pub headers: Vec<(HeaderName, Names)>,
    /// Cookies that name an account or carry a credential.
    pub cookies: Vec<(Box<str>, Names)>,
    /// Our own cookie, where browsers are given one.
    pub routing_cookie: Option<RoutingCookie>,
    /// How credentials look and how they are fingerprinted.
    pub credentials: CredentialRules,
    /// Ids made in a cell carry the cell.
    pub id_ranges: Vec<IdRange>,
}

/// What a header's or cookie's value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Names {
    /// An account id.
    Account,
    /// An environment id, through [`Snapshot::environments`](super::Snapshot::environments).
    Environment,
    /// A credential, through the credential tables.
    Credential,
}

/// One path template: `/api/v2/accounts/{account}` also matches everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    /// Segments after the leading slash.
    pub segments: Vec<Segment>,
    /// A 2xx here proves the credential: needed for learning, and asked for on legacy hosts.
    pub authenticated: bool,
}

/// One segment of a path template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// This text.
    Literal(Box<str>),
    /// An account id.
    Account,
    /// The id of something made in a cell; names at most a cell, by [`IdRange`].
    Entity,
    /// Anything but empty.
    Any,
}

/// Ids from `first` to `last` were made in `cell`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// First id, inclusive.
    pub first: u64,
    /// Last id, inclusive.
    pub last: u64,
    /// The cell that made them.
    pub cell: CellIndex,
    /// Off as soon as an account born in the range lives elsewhere (set at compile).
    pub enabled: bool,
}
