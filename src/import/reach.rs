//! Whom a line that is left may lead all the same. What cannot be told is everybody: an account that such a line may lead is
//! given no cell by `--rest`.

use std::collections::{BTreeSet, HashMap};

use super::list::Listed;
use super::{Left, Named, Place};
use crate::policy::ids::{AccountId, Label};

/// Which accounts a line may lead.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Any of them, for all that is known.
    Anybody,
    /// These and no others.
    Only(Vec<Named>),
}

impl Reach {
    /// None.
    pub(super) const NOBODY: Self = Self::Only(Vec::new());

    /// Either's.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Only(mut one), Self::Only(other)) => {
                one.extend(other);
                Self::Only(one)
            }
            _ => Self::Anybody,
        }
    }

    /// Whom a host may be: an account that has one of its labels as prefix.
    pub(super) fn of_host(host: &str) -> Self {
        let labels = host.split('.').filter_map(|label| Label::parse(&label.to_ascii_lowercase()).ok());
        Self::Only(labels.map(Named::Prefix).collect())
    }

    /// Whom a path may be that is written out: an account whose id is one of its segments.
    pub(super) fn of_segments<'s>(segments: impl Iterator<Item = &'s str>) -> Self {
        let ids = segments.filter_map(|segment| AccountId::parse(segment.as_bytes()).ok());
        Self::Only(ids.map(Named::Account).collect())
    }
}

/// Why a key is not taken over, and whom it may lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unnamed {
    pub(super) why: String,
    pub(super) reach: Reach,
}

/// Whom a key names, or why nobody.
pub(super) type Naming = Result<Vec<Named>, Unnamed>;

impl Unnamed {
    pub(super) fn nobody(why: impl Into<String>) -> Self {
        Self { why: why.into(), reach: Reach::NOBODY }
    }

    pub(super) fn only(named: Vec<Named>, why: impl Into<String>) -> Self {
        Self { why: why.into(), reach: Reach::Only(named) }
    }

    /// For another reason, what would have named these.
    pub(super) fn instead(naming: Naming, why: impl Into<String>) -> Self {
        let reach = naming.map_or_else(|unnamed| unnamed.reach, Reach::Only);
        Self { why: why.into(), reach }
    }
}

/// A reason alone: nobody knows whom the line leads.
impl<T: Into<String>> From<T> for Unnamed {
    fn from(why: T) -> Self {
        Self { why: why.into(), reach: Reach::Anybody }
    }
}

/// Accounts of a list that lines which are left may lead, each with the first such line.
pub(super) struct Elsewhere<'a> {
    anybody: Option<&'a Place>,
    accounts: HashMap<AccountId, &'a Place>,
    prefixes: HashMap<&'a Label, &'a Place>,
    /// A prefix that no listed account has may be that of one whose prefixes are not listed.
    stranger: Option<&'a Place>,
}

impl<'a> Elsewhere<'a> {
    pub(super) fn of(left: &'a [Left], listed: &[Listed]) -> Self {
        let owned: BTreeSet<&Label> = listed.iter().flat_map(|one| &one.prefixes).collect();
        let mut found =
            Self { anybody: None, accounts: HashMap::new(), prefixes: HashMap::new(), stranger: None };
        for Left { place, reach, .. } in left {
            let Reach::Only(named) = reach else {
                found.anybody.get_or_insert(place);
                continue;
            };
            for named in named {
                match named {
                    Named::Account(id) => {
                        found.accounts.entry(*id).or_insert(place);
                    }
                    Named::Prefix(prefix) if owned.contains(prefix) => {
                        found.prefixes.entry(prefix).or_insert(place);
                    }
                    Named::Prefix(_) => {
                        found.stranger.get_or_insert(place);
                    }
                }
            }
        }
        found
    }

    /// The line that may lead this account.
    pub(super) fn leads(&self, one: &Listed) -> Option<&'a Place> {
        let by_prefix = || one.prefixes.iter().find_map(|prefix| self.prefixes.get(prefix));
        let by_name = self.accounts.get(&one.id).or_else(by_prefix).copied();
        by_name.or(self.anybody).or_else(|| self.stranger.filter(|_| one.prefixes.is_empty()))
    }
}
