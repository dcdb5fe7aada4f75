//! Host names: which role a host has, which surface it is, and which account prefix it carries.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use memchr::memchr;

use super::accounts::ScheduleIndex;
use super::client_certificate::ClientPolicy;
use super::ids::{CellIndex, Label, SurfaceIndex};

/// What a host name is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A deprecated address; its responses carry the deprecation headers.
    Legacy,
    /// An account's own address; nothing but its prefix may name the account.
    Cell,
}

/// What to do with a request that the identify order leaves without a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fallback {
    /// Answer with guidance. The default.
    Refuse,
    /// Forward to a named cell: an explicit choice of the operator, counted.
    Cell(CellIndex),
}

/// One `hosts:` rule of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRule {
    /// Legacy or cell.
    pub role: Role,
    /// The pattern as written, for messages: `cloud.getdbt.com`, `{prefix}.{surface}.us1.dbt.com`.
    pub pattern: Box<str>,
    /// The surface, where the pattern has no `{surface}` label of its own.
    pub surface: SurfaceIndex,
    /// The deprecation schedule; always there for a legacy host, never for a cell host.
    pub schedule: Option<ScheduleIndex>,
    /// For requests in which nothing names an account.
    pub no_account: Fallback,
    /// For requests that name an account without a row.
    pub unmapped_account: Fallback,
    /// What its clients must show, where they are asked.
    pub client_certificate: Option<Arc<ClientPolicy>>,
    /// `max-age` of `Strict-Transport-Security` in seconds, where browsers are told (RFC 6797).
    pub hsts: Option<u64>,
}

/// How many variable labels stand before the fixed part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Labels {
    /// The whole name is fixed.
    Exact,
    /// `{prefix}.` before it.
    Prefix,
    /// `{prefix}.{surface}.` before it.
    PrefixSurface,
}

/// The rule that a host name falls under and what its labels say.
#[derive(Clone, Copy, Debug)]
pub struct HostMatch<'a> {
    /// The rule.
    pub rule: &'a HostRule,
    /// The surface, from the label or the rule.
    pub surface: SurfaceIndex,
    /// The account prefix, where the pattern has one. Not looked up yet.
    pub prefix: Option<&'a str>,
    /// `metadata.ab123.us1.dbt.com` instead of `ab123.metadata.us1.dbt.com`, or the same below a legacy host:
    /// served, and reported.
    pub misordered: bool,
    /// The fixed part: `us1.dbt.com`. A cell host serves only accounts whose cell has this domain.
    pub domain: &'a str,
}

/// Every host that this proxy serves. A look-up costs at most seven hash probes.
#[derive(Clone, Debug, Default)]
pub struct HostTable {
    rules: Vec<HostRule>,
    exact: Names<u16>,
    after_prefix: Names<u16>,
    after_prefix_surface: Names<u16>,
    /// What stands after `{surface}.{prefix}.` where somebody has exchanged the labels of a pattern that names
    /// its surface itself: `cloud.getdbt.com`, for `{prefix}.metadata.cloud.getdbt.com`.
    exchanged: Names<Vec<Exchanged>>,
    surfaces: HashMap<Label, SurfaceIndex, FixedState>,
    ask_for_certificates: bool,
}

/// By name. The names are those of the configuration, and clients only ask for them: nobody can choose names that meet, so
/// the hash needs no secret, and each request asks several times.
type Names<V> = HashMap<Box<str>, V, FixedState>;

/// A pattern that names its surface itself, found by the rest of its name.
#[derive(Clone, Debug)]
struct Exchanged {
    /// The label that belongs after the prefix.
    surface: SurfaceIndex,
    /// The fixed part with that label.
    name: Box<str>,
    rule: u16,
}

impl Role {
    /// Metric label and log value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Cell => "cell",
        }
    }
}

impl HostTable {
    /// `rules` with the fixed part of their pattern and what stands before it; `surfaces` by label.
    /// A later rule with the same pattern replaces the earlier one; `config` reports that before.
    pub fn new(
        rules: impl IntoIterator<Item = (Labels, Box<str>, HostRule)>,
        surfaces: HashMap<Label, SurfaceIndex>,
    ) -> Self {
        let mut table = Self { surfaces: surfaces.into_iter().collect(), ..Self::default() };
        for (labels, name, rule) in rules {
            let position = u16::try_from(table.rules.len()).expect("config limits host rules below 2^16");
            table.ask_for_certificates |= rule.client_certificate.is_some();
            table.rules.push(rule);
            let names = match labels {
                Labels::Exact => &mut table.exact,
                Labels::Prefix => &mut table.after_prefix,
                Labels::PrefixSurface => &mut table.after_prefix_surface,
            };
            if labels == Labels::Prefix
                && let Some((label, rest)) = name.split_once('.')
                && let Some(surface) = table.surfaces.get(label)
            {
                let exchanged = Exchanged { surface: *surface, name: name.clone(), rule: position };
                table.exchanged.entry(rest.into()).or_default().push(exchanged);
            }
            names.insert(name, position);
        }
        table
    }

    /// The rule for a lower-case host name without port.
    pub fn find<'a>(&'a self, host: &'a str) -> Option<HostMatch<'a>> {
        if let Some((rule, domain)) = self.rule(&self.exact, host) {
            return Some(HostMatch { rule, surface: rule.surface, prefix: None, misordered: false, domain });
        }
        let (first, rest) = split_label(host)?;
        if let Some((rule, domain)) = self.rule(&self.after_prefix, rest)
            && !self.surfaces.contains_key(first)
        {
            let prefix = Some(first);
            return Some(HostMatch { rule, surface: rule.surface, prefix, misordered: false, domain });
        }
        let (second, rest) = split_label(rest)?;
        let (prefix, surface, misordered) = match (self.surfaces.get(first), self.surfaces.get(second)) {
            (None, Some(surface)) => (first, *surface, false),
            (Some(surface), None) => (second, *surface, true),
            (Some(_), Some(_)) | (None, None) => return None,
        };
        let prefix = Some(prefix);
        if let Some((rule, domain)) = self.rule(&self.after_prefix_surface, rest) {
            return Some(HostMatch { rule, surface, prefix, misordered, domain });
        }
        let exchanged = self.exchanged.get(rest).filter(|_| misordered)?;
        let meant = exchanged.iter().rev().find(|meant| meant.surface == surface)?;
        let rule = &self.rules[usize::from(meant.rule)];
        Some(HostMatch { rule, surface: rule.surface, prefix, misordered, domain: &meant.name })
    }

    /// How the own address of an account on a surface is formed under a domain; `None` where no cell
    /// host rule serves it.
    pub fn own_address_labels(&self, domain: &str, surface: SurfaceIndex) -> Option<Labels> {
        let cell_rule = |names| self.rule(names, domain).filter(|(rule, _)| rule.role == Role::Cell);
        match cell_rule(&self.after_prefix) {
            Some((rule, _)) if rule.surface == surface => Some(Labels::Prefix),
            _ => cell_rule(&self.after_prefix_surface).map(|_| Labels::PrefixSurface),
        }
    }

    /// Whether there is a host that asks its clients for certificates.
    pub const fn ask_for_certificates(&self) -> bool {
        self.ask_for_certificates
    }

    /// All rules, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &HostRule> {
        self.rules.iter()
    }

    fn rule<'a>(&'a self, names: &Names<u16>, name: &'a str) -> Option<(&'a HostRule, &'a str)> {
        let position = names.get(name)?;
        Some((&self.rules[usize::from(*position)], name))
    }
}

/// The first label of a name, and what is behind its dot.
fn split_label(name: &str) -> Option<(&str, &str)> {
    let dot = memchr(b'.', name.as_bytes())?;
    Some((&name[..dot], &name[dot + 1..]))
}
