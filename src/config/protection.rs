//! `protection:` of `cellgate.yaml`, and the modes and checks of a cell.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::uri::PathAndQuery;

use super::raw;
use super::slot::{At, Slot};
use super::time::{parse_moment, show_duration, show_moment};
use crate::policy::code::Code;
use crate::policy::guard::Mode;
use crate::policy::protection::health::checks::{Check, CheckKind, CheckRules, HTTP_PASSES, MOST_SERVICE};
use crate::policy::protection::modes::Modes;
use crate::policy::protection::policies::Policy;
use crate::policy::protection::{CellProtection, Protection};
use crate::policy::snapshot::{Cell, CellProtocol, Group};

/// More replicas than any load balancer has targets.
const MAX_REPLICAS: u32 = 10_000;

/// Below, the prober's own steps of a tenth of a second show; above, an endpoint that has gone is found by requests.
const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(300);

/// Below ten milliseconds a busy machine is a sick one. The interval bounds it as well: one check at a time.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

/// A hundred checks of the usual interval are eight minutes, after which nobody waits for a check any more.
const IN_A_ROW: RangeInclusive<u32> = 1..=100;

/// An informational answer is followed by another one.
const STATUSES: RangeInclusive<u16> = 200..=599;

/// More are a range that somebody has written out.
const MOST_STATUSES: usize = 32;

/// Longer than any page that says whether a server is well.
const MOST_PATH: usize = 1024;

const MOMENT: &str = "a moment in UTC such as 2026-12-24T00:00:00Z";

/// Reads what is one for all cells.
pub(super) fn read(slot: Slot<'_, raw::Protection>) -> Protection {
    let at = slot.at.clone();
    let mut raw = at.open(slot.or(raw::Protection::default()));
    let replicas = raw.replicas(&at).number(1..=MAX_REPLICAS).or(1);
    let verdict = mode(raw.verdict(&at));
    let observe_until = until(raw.observe_until(&at), verdict == Mode::Observe);
    Protection { replicas: NonZeroU32::new(replicas).unwrap_or(NonZeroU32::MIN), verdict, observe_until }
}

/// Reads what a cell says, which speaks this protocol.
pub(super) fn of_cell(
    modes: Slot<'_, raw::CellModes>,
    check: Slot<'_, raw::CellCheck>,
    protocol: CellProtocol,
) -> CellProtection {
    let (modes, observe_until) = self::modes(modes);
    let at = check.at.clone();
    let check = check.optional().and_then(|raw| self::check(raw, &at, protocol));
    CellProtection { modes, observe_until, check }
}

fn modes(slot: Slot<'_, raw::CellModes>) -> (Modes, Option<i64>) {
    let at = slot.at.clone();
    let mut raw = at.open(slot.or(raw::CellModes::default()));
    let limit_at = at.key("limit");
    let written = [
        (Policy::Bulkhead, mode(raw.bulkhead(&at))),
        (Policy::Health, mode(raw.health(&at))),
        (Policy::Limit, mode(raw.limit(&at))),
        (Policy::Queue, mode(raw.queue(&at))),
        (Policy::Failover, mode(raw.failover(&at))),
        (Policy::Recovery, mode(raw.recovery(&at))),
    ];
    let modes = written.into_iter().fold(Modes::default(), |modes, (policy, mode)| modes.with(policy, mode));
    if modes.of(Policy::Limit) == Mode::Off {
        limit_at.refuse(
            Code::LimiterOff,
            "a cell without a limiter takes whatever comes until it falls",
            "observe or enforce",
        );
    }
    let observe_until = until(raw.observe_until(&at), modes.observed().next().is_some());
    (modes, observe_until)
}

/// What is asked, before it is known of what.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Tcp,
    Http,
    Grpc,
}

fn check(raw: raw::CellCheck, at: &At<'_>, protocol: CellProtocol) -> Option<Check> {
    let mut raw = at.open(raw);
    let words = [("tcp", Asked::Tcp), ("http", Asked::Http), ("grpc", Asked::Grpc)];
    let kind_at = at.key("kind");
    let asked = raw.kind(at).word(&words).required();
    let (path, statuses, service) = (raw.path(at), raw.statuses(at), raw.service(at));
    of_kind(&path, asked, Asked::Http);
    of_kind(&statuses, asked, Asked::Http);
    of_kind(&service, asked, Asked::Grpc);
    let path = path.parse(Code::UrlPath, PATH, |text| is_path(&text).then_some(text));
    let path = if asked == Some(Asked::Http) { path.required() } else { path.optional() };
    let passes = passes(statuses);
    let service = service.parse(Code::Text, SERVICE, |text| is_service(&text).then_some(text)).optional();
    if asked == Some(Asked::Grpc) && protocol == CellProtocol::Http1 {
        kind_at.refuse(
            Code::GrpcOnHttp1,
            "the cell speaks http1, and gRPC is HTTP/2",
            "protocol http2 or auto, or another kind",
        );
    }
    let default = Check::default();
    let timeout_at = at.key("timeout");
    let interval = raw.interval(at).duration(INTERVALS).or(default.rules.interval);
    let timeout = raw.timeout(at).duration(TIMEOUTS).or(default.rules.timeout);
    if timeout > interval {
        timeout_at.refuse(
            Code::CheckTimeout,
            format!("{} in an interval of {}", show_duration(timeout), show_duration(interval)),
            "no longer than the interval, because one check is made at a time",
        );
    }
    let fall = raw.fall(at).number(IN_A_ROW).or(default.fall);
    let rise = raw.rise(at).number(IN_A_ROW).or(default.rise);
    let kind = match asked? {
        Asked::Tcp => CheckKind::Tcp,
        Asked::Http => CheckKind::Http { path: path?, passes: passes.unwrap_or_else(|| vec![HTTP_PASSES]) },
        Asked::Grpc => CheckKind::Grpc { service: service.unwrap_or_default() },
    };
    Some(Check { rules: CheckRules { interval, timeout, kind }, fall, rise })
}

const PATH: &str = "a path such as /healthz, of visible ASCII without #, at most 1024 bytes";

fn is_path(text: &str) -> bool {
    let fits = text.starts_with('/') && text.len() <= MOST_PATH && !text.contains('#');
    fits && text.bytes().all(|byte| byte.is_ascii_graphic()) && PathAndQuery::try_from(text).is_ok()
}

const SERVICE: &str = "the name of a gRPC service such as shop.v1.Cart, at most 127 bytes";

fn is_service(text: &str) -> bool {
    let fits = (1..=MOST_SERVICE).contains(&text.len());
    fits && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Reports a key that says nothing about this kind of check.
fn of_kind<T>(slot: &Slot<'_, T>, asked: Option<Asked>, needs: Asked) {
    if slot.is_there() && asked.is_some_and(|asked| asked != needs) {
        let kind = if needs == Asked::Http { "http" } else { "grpc" };
        slot.at.refuse(
            Code::CheckKeyWithoutEffect,
            "has no effect on this kind of check",
            format!("kind {kind}, or no such key"),
        );
    }
}

fn passes(slot: Slot<'_, Vec<raw::Field<u64>>>) -> Option<Vec<RangeInclusive<u16>>> {
    if !slot.is_there() {
        return None;
    }
    let statuses = slot.some_items(MOST_STATUSES).into_iter();
    Some(statuses.filter_map(|slot| slot.number(STATUSES).required()).map(|status| status..=status).collect())
}

/// What is to be said of protections that are well formed and may be no protection. `now` is in seconds since the Unix
/// epoch.
pub fn remarks<'a>(
    protection: &Protection,
    cells: impl Iterator<Item = &'a Cell> + Clone,
    now: i64,
) -> Vec<Remark> {
    let mut remarks = Vec::new();
    if protection.verdict == Mode::Observe {
        remarks.push(watched("protection.verdict".into(), protection.observe_until, now));
    }
    for cell in cells {
        let modes = cell.protection.modes;
        let names: Vec<&str> = modes.observed().map(Policy::as_str).collect();
        if !names.is_empty() {
            let what = format!("cell {}: {}", cell.name, names.join(", "));
            remarks.push(watched(what, cell.protection.observe_until, now));
        }
        let off: Vec<&str> = Policy::ALL
            .into_iter()
            .filter(|policy| modes.of(*policy) == Mode::Off)
            .map(Policy::as_str)
            .collect();
        if !off.is_empty() {
            remarks.push(Remark::note(format!("cell {}: off: {}", cell.name, off.join(", "))));
        }
        if cell.protection.check.is_some() && !cell.protection.is_checked() {
            remarks.push(Remark::note(format!("cell {}: no checks are made while health is off", cell.name)));
        }
        let silent: Vec<&str> = undeclared(&cell.groups).map(|group| group.zone.as_str()).collect();
        if cell.groups.len() > 1 && !silent.is_empty() {
            remarks.push(Remark::note(format!(
                "cell {}: no failover to {}, which declares no capacity_rps",
                cell.name,
                silent.join(", ")
            )));
        }
    }
    remarks
}

/// One thing that is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// What.
    pub what: String,
    /// Whether `check --strict` fails for it.
    pub is_overdue: bool,
}

impl Remark {
    fn note(what: String) -> Self {
        Self { what, is_overdue: false }
    }
}

fn watched(what: String, until: Option<i64>, now: i64) -> Remark {
    let is_overdue = until.is_none_or(|until| until <= now);
    let until = until.map_or_else(|| "no end".into(), show_moment);
    let meant = if is_overdue { "was meant until" } else { "is meant until" };
    Remark { what: format!("{what}: in observe, which protects nothing and {meant} {until}"), is_overdue }
}

/// Groups that can take no load of others.
fn undeclared(groups: &[Group]) -> impl Iterator<Item = &Group> {
    groups.iter().filter(|group| group.capacity_rps.is_none())
}

fn mode(slot: Slot<'_, String>) -> Mode {
    let words = [Mode::Off, Mode::Observe, Mode::Enforce].map(|mode| (mode.as_str(), mode));
    slot.word(&words).or(Mode::Enforce)
}

/// Until when; required where something is observed, and without meaning where nothing is.
fn until(slot: Slot<'_, String>, is_observed: bool) -> Option<i64> {
    let (at, is_there): (At<'_>, bool) = (slot.at.clone(), slot.is_there());
    if is_observed && !is_there {
        at.refuse(
            Code::ObserveWithoutEnd,
            "missing",
            "until when observe is meant, because it protects nothing",
        );
    }
    if !is_observed && is_there {
        at.refuse(Code::EndWithoutObserve, "nothing is in observe", "no observe_until");
    }
    slot.parse(Code::Moment, MOMENT, |text| parse_moment(&text)).optional()
}
