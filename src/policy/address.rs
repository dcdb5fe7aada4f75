//! An account's own address: the host under which its cell serves it.

use std::fmt;

use super::accounts::Account;
use super::hosts::Labels;
use super::ids::{Label, SurfaceIndex};
use super::snapshot::Snapshot;

/// `ab123.us1.dbt.com` or `ab123.metadata.us1.dbt.com`: always a host of the configuration, never
/// anything that a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnAddress<'a> {
    /// The account's first prefix.
    pub prefix: &'a str,
    /// The surface's label, where the address has one.
    pub surface: Option<&'a Label>,
    /// The cell's domain.
    pub domain: &'a str,
}

/// The address of an account on a surface; `None` for an account without a prefix, and where no host
/// rule serves that surface in the domain of its cell.
pub fn own_address<'a>(
    snapshot: &'a Snapshot,
    account: Account<'a>,
    surface: SurfaceIndex,
) -> Option<OwnAddress<'a>> {
    let prefix = account.prefixes.first()?;
    let domain = &*snapshot.cell(account.cell).domain;
    let surface = match snapshot.hosts.own_address_labels(domain, surface)? {
        Labels::PrefixSurface => Some(&snapshot.surface(surface).name),
        Labels::Prefix | Labels::Exact => None,
    };
    Some(OwnAddress { prefix, surface, domain })
}

impl OwnAddress<'_> {
    /// A target there, as a URL.
    pub fn url(&self, target: &str) -> String {
        let [prefix, dot, surface, before_domain, domain] = self.parts();
        ["https://", prefix, dot, surface, before_domain, domain, target].concat()
    }

    fn parts(&self) -> [&str; 5] {
        let (surface, dot) = self.surface.map_or(("", ""), |surface| (surface.as_str(), "."));
        [self.prefix, dot, surface, ".", self.domain]
    }
}

impl fmt::Display for OwnAddress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().iter().try_for_each(|part| f.write_str(part))
    }
}
