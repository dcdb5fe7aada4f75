//! `hosts:` and `schedules:` of `cellgate.yaml`.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::brownouts::AFTER;
use super::client_certificate;
use super::files::Sources;
use super::names::{Names, URL, dns_name, url};
use super::problem::quoted;
use super::raw;
use super::slot::{At, Slot};
use super::time::{parse_moment, show_moment};
use super::tls::Tls;
use crate::policy::accounts::ScheduleIndex;
use crate::policy::brownout::AfterSunset;
use crate::policy::client_certificate::ClientPolicy;
use crate::policy::code::Code;
use crate::policy::envelope::ErrorShape;
use crate::policy::hosts::{Fallback, HostRule, Labels, Role};
use crate::policy::ids::{CellIndex, SurfaceIndex};
use crate::policy::snapshot::{Merge, Schedule, Surface};

/// Most host rules, far below the 2^16 that the table can number.
pub(super) const MAX_HOSTS: usize = 4_096;

/// Most schedules; every host and account can point at one.
pub(super) const MAX_SCHEDULES: usize = 4_096;

/// Most surfaces; [`SurfaceIndex`] is a byte, and every one is probed for certificates.
pub(super) const MAX_SURFACES: usize = 64;

/// Zero takes an earlier promise back (RFC 6797 section 6.1.1); two years is what preload lists ask for.
const HSTS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(730 * 86_400);

/// One `hosts:` rule, ready for the host table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEntry {
    /// What stands before the fixed part.
    pub labels: Labels,
    /// The fixed part: `us1.dbt.com`.
    pub name: Box<str>,
    /// The rule.
    pub rule: HostRule,
}

/// The names that hosts point at.
pub(super) struct Targets<'a> {
    pub(super) surfaces: &'a Names,
    pub(super) schedules: &'a Names,
    pub(super) cells: &'a Names,
    /// Domains of all cells as written.
    pub(super) domains: &'a [String],
}

/// Reads the surfaces.
pub(super) fn surfaces(slots: Vec<Slot<'_, raw::Surface>>) -> Vec<Surface> {
    let read = |slot: Slot<'_, raw::Surface>| {
        let at = slot.at.clone();
        let mut raw = at.open(slot.required()?);
        let name = raw.name(&at).label().required();
        let words = [
            ("problem", ErrorShape::Problem),
            ("status", ErrorShape::Status),
            ("graphql", ErrorShape::GraphQl),
        ];
        let errors = raw.errors(&at).word(&words).or(ErrorShape::default());
        Some(Surface { name: name?, errors })
    };
    slots.into_iter().filter_map(read).collect()
}

/// Reads the hosts, each with the place of its pattern.
pub(super) fn hosts<'a>(
    slots: Vec<Slot<'a, raw::Host>>,
    targets: &Targets<'_>,
    sources: &Sources,
    tls: &Tls,
) -> Vec<(At<'a>, HostEntry)> {
    let mut patterns: Vec<(At<'a>, Labels, Box<str>)> = Vec::new();
    let mut hosts = Vec::new();
    for slot in slots {
        let at = slot.at.clone();
        let pattern_at = at.key("pattern");
        if let Some(raw::Field::Given(text)) = slot.peek().map(|raw| &raw.pattern)
            && let Some((labels, name)) = pattern(text)
        {
            let overlaps = |other: &&(At<'_>, Labels, Box<str>)| {
                (other.1 == labels && other.2 == name)
                    || covers((labels, &name), (other.1, &other.2), targets.surfaces)
                    || covers((other.1, &other.2), (labels, &name), targets.surfaces)
            };
            if let Some((first, ..)) = patterns.iter().find(overlaps) {
                let what = format!("it matches hosts that the pattern in line {} matches too", first.line());
                pattern_at.refuse(Code::HostsOverlap, what, "each host under one pattern");
            }
            patterns.push((pattern_at.clone(), labels, name));
        }
        let host = slot.required().and_then(|mut raw| {
            let asked = client_certificate::read(raw.client_certificate(&at), sources, tls);
            host(raw, &at, targets, asked)
        });
        hosts.extend(host.map(|host| (pattern_at, host)));
    }
    hosts
}

/// Whether `{prefix}.{surface}.us1.dbt.com` is one and `{prefix}.metadata.us1.dbt.com` the other.
fn covers(one: (Labels, &str), other: (Labels, &str), surfaces: &Names) -> bool {
    let inner = other.1.split_once('.').filter(|(label, _)| surfaces.find(label).is_some());
    one.0 == Labels::PrefixSurface
        && other.0 == Labels::Prefix
        && inner.is_some_and(|(_, rest)| *rest == *one.1)
}

fn host(
    raw: raw::Host,
    at: &At<'_>,
    targets: &Targets<'_>,
    client_certificate: Option<Arc<ClientPolicy>>,
) -> Option<HostEntry> {
    let mut raw = at.open(raw);
    let written = raw.pattern(at);
    let pattern = written
        .parse(Code::HostPattern, PATTERN, |text| {
            pattern(&text).map(|(labels, name)| (labels, name, text.into()))
        })
        .required();
    let role = raw.role(at).word(&[("legacy", Role::Legacy), ("cell", Role::Cell)]).required();
    let surface = raw.surface(at);
    let schedule = raw.schedule(at);
    if let (Some(role), Some((labels, name, _))) = (role, &pattern) {
        role_fits(role, *labels, name, at, &schedule, targets);
    }
    if let Some((Labels::PrefixSurface, ..)) = pattern
        && surface.is_there()
    {
        surface.at.refuse(
            Code::SurfaceTwice,
            "the pattern carries the surface",
            "no surface here, or no {surface} in the pattern",
        );
    }
    let surface = find(surface, targets.surfaces).map_or(0, |index| u8::try_from(index).unwrap_or(0));
    let schedule = find(schedule, targets.schedules).map(|index| ScheduleIndex(narrow(index)));
    let no_account = fallback(raw.no_account(at), targets.cells);
    let unmapped_account = fallback(raw.unmapped_account(at), targets.cells);
    let hsts = raw.hsts(at).duration(HSTS).optional().map(|age| age.as_secs());
    let (labels, name, pattern) = pattern?;
    let rule = HostRule {
        role: role?,
        pattern,
        surface: SurfaceIndex(surface),
        schedule,
        no_account,
        unmapped_account,
        client_certificate,
        hsts,
    };
    Some(HostEntry { labels, name, rule })
}

/// What the role asks of the pattern and the schedule.
fn role_fits(
    role: Role,
    labels: Labels,
    name: &str,
    at: &At<'_>,
    schedule: &Slot<'_, String>,
    targets: &Targets<'_>,
) {
    match role {
        Role::Legacy => {
            if !schedule.is_there() {
                schedule.at.refuse(
                    Code::LegacyHostWithoutSchedule,
                    "a legacy host has no schedule",
                    "the name of a schedule",
                );
            }
        }
        Role::Cell => {
            if schedule.is_there() {
                schedule.at.refuse(
                    Code::CellHostWithSchedule,
                    "a cell host is not deprecated",
                    "no schedule, or role: legacy",
                );
            }
            if labels == Labels::Exact {
                at.key("pattern").refuse(
                    Code::CellHostWithoutPrefix,
                    "a cell host carries no account",
                    "a pattern that begins with {prefix}",
                );
            }
            // `policy::hosts` compares the fixed part with the domain of the account's cell.
            if !targets.domains.iter().any(|known| known == name) {
                let hint = super::problem::did_you_mean(name, targets.domains.iter().map(String::as_str));
                let what = format!("no cell has the domain {}", quoted(name));
                at.key("pattern").refuse_with(
                    Code::NoSuchDomain,
                    what,
                    "the domain of a cell after {prefix} and {surface}",
                    hint,
                );
            }
        }
    }
}

fn find(slot: Slot<'_, String>, names: &Names) -> Option<usize> {
    let at = slot.at.clone();
    let name = slot.optional()?;
    names.resolve(&at, &name)
}

fn fallback(slot: Slot<'_, raw::Fallback>, cells: &Names) -> Fallback {
    let at = slot.at.clone();
    match slot.or(raw::Fallback::Word(String::new())) {
        raw::Fallback::Word(_) => Fallback::Refuse,
        raw::Fallback::Cell(raw) => {
            let mut raw = at.open(raw);
            let name = raw.cell(&at);
            let name_at = name.at.clone();
            let cell = name.required().and_then(|name| cells.resolve(&name_at, &name));
            cell.map_or(Fallback::Refuse, |index| Fallback::Cell(CellIndex(narrow(index))))
        }
    }
}

/// What a pattern is, for problems.
const PATTERN: &str =
    "a host name, {prefix}. and a host name, or {prefix}.{surface}. and a host name, in lower case";

fn pattern(text: &str) -> Option<(Labels, Box<str>)> {
    let (labels, name) = match text.strip_prefix("{prefix}.") {
        None => (Labels::Exact, text),
        Some(rest) => match rest.strip_prefix("{surface}.") {
            None => (Labels::Prefix, rest),
            Some(rest) => (Labels::PrefixSurface, rest),
        },
    };
    dns_name(name).map(|name| (labels, name))
}

/// Reads the schedules; `guide` is the one of the whole file.
pub(super) fn schedules(slots: Vec<Slot<'_, raw::Schedule>>, guide: &str) -> Vec<Schedule> {
    let read = |slot: Slot<'_, raw::Schedule>| {
        let at = slot.at.clone();
        slot.required().and_then(|raw| schedule(raw, &at, guide))
    };
    slots.into_iter().filter_map(read).collect()
}

fn schedule(raw: raw::Schedule, at: &At<'_>, guide: &str) -> Option<Schedule> {
    let mut raw = at.open(raw);
    let moment =
        |slot: Slot<'_, String>| slot.parse(Code::Moment, MOMENT, |text| parse_moment(&text)).required();
    let name = raw.name(at).label().required();
    let deprecated_since = moment(raw.deprecated_since(at));
    let sunset_at = moment(raw.sunset_at(at));
    if let (Some(since), Some(sunset)) = (deprecated_since, sunset_at)
        && sunset < since
    {
        let what = format!("{} is before deprecated_since", show_moment(sunset));
        let expected = format!("{} or later (RFC 9745 section 4)", show_moment(since));
        at.key("sunset_at").refuse(Code::SunsetBeforeDeprecation, what, expected);
    }
    let guide = raw.guide(at).parse(Code::Url, URL, |text| url(&text)).or(guide.into());
    let policy = raw.policy(at).parse(Code::Url, URL, |text| url(&text)).optional();
    let words = [("earliest", Merge::Earliest), ("ours", Merge::Ours), ("upstream", Merge::Upstream)];
    let merge = raw.merge(at).word(&words).or(Merge::Earliest);
    let after_sunset = raw.after_sunset(at).word(&AFTER).or(AfterSunset::Keep);
    let schedule = Schedule::new(name?, deprecated_since?, sunset_at?, guide, policy, merge);
    Some(Schedule { after_sunset, ..schedule })
}

pub(super) const MOMENT: &str = "a moment in UTC such as 2026-11-01T00:00:00Z";

/// Positions in lists that were bounded before fit into their index types.
pub(super) fn narrow(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}
