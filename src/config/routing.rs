//! `cellgate.yaml` and the files it names as one value: everything that a reload can change, with nothing
//! left that could fail.

use std::collections::HashMap;

use ipnet::IpNet;

use super::boot::{Boot, ListenerProtocol};
use super::brownouts::{self, origins, path_beginnings};
use super::cells;
use super::compiled::Compiled;
use super::coverage::check_coverage;
use super::endpoint_classes;
use super::files::{Sources, hash, hash_beside};
use super::hosts::{self, HostEntry, Targets};
use super::identify;
use super::moves;
use super::names::{Names, URL, url};
use super::networks::{MAX_NETWORKS, any_networks, networks};
use super::protection;
use super::raw::{self, Field};
use super::settings::Settings;
use super::slot::{At, Slot, short_line};
use super::table_files::{Tables, client_families};
use super::tables::{Lookup, RESERVED_PREFIXES};
use super::tickets::{self, ClientTls};
use super::tls::{Tls, certificates};
use crate::policy::accounts::AccountTable;
use crate::policy::brownout::Brownouts;
use crate::policy::certificates::ServerCertificate;
use crate::policy::client::ClientFamily;
use crate::policy::code::Code;
use crate::policy::endpoint_class::EndpointClasses;
use crate::policy::extension::Extension;
use crate::policy::hosts::Labels;
use crate::policy::ids::EntityId;
use crate::policy::keyed::KeyTable;
use crate::policy::moves::Moves;
use crate::policy::protection::Protection;
use crate::policy::server_timing::ServerTiming;
use crate::policy::snapshot::{Cell, IdentifyRules, RequestLimits, Schedule, Surface};

/// Everything that a reload can change. Only [`parse`](super::parse) makes one.
#[derive(Debug)]
pub struct Config {
    /// SHA-256 over the routing configuration and the files it names, lower-case hex.
    pub hash: Box<str>,
    /// See [`Snapshot::rest`](crate::policy::snapshot::Snapshot::rest).
    pub rest: Box<str>,
    /// What is written, by where it stands.
    pub settings: Settings,
    /// Who has made it what it is, and why.
    pub change: Change,
    /// Products with a host label of their own.
    pub surfaces: Vec<Surface>,
    /// Which hosts are served.
    pub hosts: Vec<HostEntry>,
    /// Every cell, its counters at zero; `compile` carries over those of its predecessor.
    pub cells: Vec<Cell>,
    /// Who lives where; never empty.
    pub accounts: AccountTable,
    /// Environment id to account.
    pub environments: KeyTable<EntityId>,
    /// Accounts on their way from one cell to another.
    pub moves: Moves,
    /// Deprecation schedules.
    pub schedules: Vec<Schedule>,
    /// Accounts that were promised more time; none stands twice.
    pub extensions: Vec<Extension>,
    /// Planned refusals of legacy traffic.
    pub brownouts: Brownouts,
    /// The identify order's rules; `compile` decides which id ranges are enabled.
    pub identify: IdentifyRules,
    /// How client programs are told apart.
    pub clients: Vec<ClientFamily>,
    /// What a request head may be.
    pub limits: RequestLimits,
    /// What keeps cells standing.
    pub protection: Protection,
    /// How long requests may take, by path.
    pub endpoint_classes: EndpointClasses,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Who is told where the time of a request went.
    pub server_timing: ServerTiming,
    /// Where humans are sent.
    pub guide: Box<str>,
    /// Path prefixes that are never redirected.
    pub redirect_exceptions: Vec<Box<str>>,
    /// Origins whose scripts may read answers of our own.
    pub cors_origins: Vec<Box<str>>,
    /// Server certificates; the first also serves clients that ask for no name.
    pub certificates: Vec<ServerCertificate>,
    /// Session tickets, and when certificates are warned about.
    pub client_tls: ClientTls,
}

/// Who has made a configuration what it is, and why, as far as that is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The author.
    pub author: Option<Box<str>>,
    /// The reason.
    pub reason: Option<Box<str>>,
}

/// Longest author or reason, in bytes: a line of a log.
const MAX_CHANGE: usize = 500;

/// What is known beside the files.
pub(super) struct Beside<'a> {
    /// Says whether certificates are needed.
    pub(super) boot: Option<&'a Boot>,
    /// Tables that need not be read if they are of these files.
    pub(super) compiled: Option<&'a Compiled>,
    /// What the file says.
    pub(super) settings: Settings,
    /// Seconds since the Unix epoch.
    pub(super) now: i64,
}

/// Reads the routing configuration. `None` only together with a report.
pub(super) fn read(
    raw: raw::Routing,
    at: &At<'_>,
    sources: &Sources,
    Beside { boot, compiled, mut settings, now }: Beside<'_>,
) -> Option<Config> {
    let (rest, hash, mut raw, report) = (rest(&raw, sources), hash(sources), at.open(raw), at.report());
    super::version(raw.version(at));
    let (tls, guide) = (Tls::new(now), raw.guide(at).parse(Code::Url, URL, |text| url(&text)).required());
    let surfaces = raw.surfaces(at).some_items(hosts::MAX_SURFACES);
    let schedules = at.key("schedules").at_most(raw.schedules(at).items(), hosts::MAX_SCHEDULES);
    let cells = raw.cells(at).some_items(cells::MAX_CELLS);
    // Names come before what they name: a cell with a mistake in it is no unknown cell.
    let schedule_names = &Names::of("schedule", "name", &schedules, |schedule| &schedule.name);
    let cell_names = &Names::of("cell", "name", &cells, |cell| &cell.name);
    let surface_names = &Names::of("surface", "name", &surfaces, |surface| &surface.name);
    let (domains, surfaces) = (domains(&cells), hosts::surfaces(surfaces));
    let targets =
        Targets { surfaces: surface_names, schedules: schedule_names, cells: cell_names, domains: &domains };
    let written = raw.hosts(at).some_items(hosts::MAX_HOSTS);
    let (count, hosts) = (written.len(), hosts::hosts(written, &targets, sources, &tls));
    let schedules = hosts::schedules(schedules, guide.as_deref().unwrap_or_default());
    let cells = cells::read(cells, sources, &tls);
    let (mut identify, table) = identify::read(raw.identify(at), cell_names, sources);
    let reserved = reserved(surface_names, &domains, &hosts);
    let lookup = Lookup { cells: cell_names, schedules: schedule_names, reserved: &reserved };
    let written =
        Tables { accounts: raw.accounts(at), environments: raw.environments(at), credentials: table };
    let is_of = |tables: &&Compiled| tables.is_of(&hash, cells.len(), schedules.len());
    let (accounts, environments, credentials) =
        written.read(compiled.filter(is_of), sources, &lookup, report);
    identify.credentials.table = credentials;
    let clients = client_families(raw.clients(at), sources, &mut settings, report);
    let certificates = certificates(raw.certificates(at), sources, &tls);
    // Held against half of the hosts, every certificate would look useless.
    let whole_hosts = (hosts.len() == count).then_some(hosts.as_slice());
    check_certificates(certificates.as_deref(), whole_hosts, surface_names, boot, &at.key("certificates"));
    let endpoint_classes = endpoint_classes::read(raw.endpoint_classes(at));
    let (brownouts, extensions) = brownouts::read(&mut raw, at, &targets, &endpoint_classes, &accounts);
    Some(Config {
        hash,
        rest,
        settings,
        change: change(raw.change(at)),
        surfaces,
        hosts: hosts.into_iter().map(|(_, host)| host).collect(),
        cells,
        environments,
        moves: moves::read(raw.moves(at), sources, cell_names, &accounts, report),
        extensions,
        brownouts,
        schedules,
        identify,
        clients,
        protection: protection::read(raw.protection(at)),
        limits: limits(raw.limits(at)),
        client_tls: tickets::read(raw.tls(at), sources),
        endpoint_classes,
        trusted_proxies: any_networks(raw.trusted_proxies(at)),
        server_timing: server_timing(raw.server_timing(at)),
        redirect_exceptions: path_beginnings(raw.redirect_exceptions(at)),
        cors_origins: origins(raw.cors_origins(at)),
        // Missing ones are in the report; `parse_for_deciding` can do without.
        certificates: certificates.into_iter().flatten().map(|(_, certificate)| certificate).collect(),
        // Last, because they may end this function, and all of the above has something to report.
        guide: guide?,
        accounts: accounts.whole()?,
    })
}

/// The hash of everything but where accounts live and what a change says of itself.
fn rest(raw: &raw::Routing, sources: &Sources) -> Box<str> {
    let mut tables = Vec::new();
    raw.accounts.look(|table| table.file.look(|file| tables.push(file.clone())));
    raw.moves.look(|moves| moves.file.look(|file| tables.push(file.clone())));
    let mut routing = raw.clone();
    routing.change = Field::Missing;
    hash_beside(&tables, &format!("{routing:?}"), sources)
}

/// Holds the certificates against hosts and listeners, as far as each could be read.
fn check_certificates(
    certificates: Option<&[(At<'_>, ServerCertificate)]>,
    hosts: Option<&[(At<'_>, HostEntry)]>,
    surfaces: &Names,
    boot: Option<&Boot>,
    at: &At<'_>,
) {
    let https = boot.is_some_and(|boot| boot.listeners.iter().any(|l| l.protocol == ListenerProtocol::Https));
    match (certificates, hosts) {
        (Some([]), _) if https => {
            let what = "a listener serves https and there are no certificates";
            at.refuse(Code::NoCertificates, what, "at least one certificate");
        }
        (Some(certificates), Some(hosts)) => check_coverage(certificates, hosts, surfaces, https),
        (Some(_), None) | (None, _) => {}
    }
}

/// The domains of the cells as they are written.
fn domains(cells: &[Slot<'_, raw::Cell>]) -> Vec<String> {
    let domain = |slot: &Slot<'_, raw::Cell>| match &slot.peek()?.domain {
        Field::Given(domain) => Some(domain.clone()),
        Field::Missing | Field::Bad(_) | Field::Reported => None,
    };
    cells.iter().filter_map(domain).collect()
}

/// Labels that cannot be an account's prefix, and why.
fn reserved(
    surfaces: &Names,
    domains: &[String],
    hosts: &[(At<'_>, HostEntry)],
) -> HashMap<String, &'static str> {
    let mut reserved = HashMap::new();
    let first = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    reserved.extend(RESERVED_PREFIXES.map(|label| (label.to_owned(), "a reserved label")));
    // The first label of a served name: a region (`us1`), or a host that an account would hide (`cloud`).
    reserved.extend(hosts.iter().map(|(_, host)| {
        let why =
            if host.labels == Labels::Exact { "the first label of a host" } else { "the name of a region" };
        (first(&host.name), why)
    }));
    reserved.extend(domains.iter().map(|domain| (first(domain), "the name of a region")));
    reserved.extend(surfaces.iter().map(|surface| (surface.to_owned(), "a surface")));
    reserved
}

fn change(slot: Slot<'_, raw::Change>) -> Change {
    let at = slot.at.clone();
    let mut raw = at.open(slot.or(raw::Change::default()));
    let line = |text: String| short_line(&text, MAX_CHANGE);
    let expected = "one line of at most 500 bytes";
    Change {
        author: raw.author(&at).parse(Code::Text, expected, line).optional(),
        reason: raw.reason(&at).parse(Code::Text, expected, line).optional(),
    }
}

fn server_timing(slot: Slot<'_, raw::ServerTiming>) -> ServerTiming {
    let at = slot.at.clone();
    let Some(raw) = slot.optional() else { return ServerTiming::default() };
    let mut raw = at.open(raw);
    let names_cell = raw.cell_name(&at).or(false);
    ServerTiming { networks: networks(raw.networks(&at).some_items(MAX_NETWORKS)), names_cell }
}

fn limits(slot: Slot<'_, raw::RoutingLimits>) -> RequestLimits {
    let at = slot.at.clone();
    let mut raw = at.open(slot.or(raw::RoutingLimits::default()));
    let default = RequestLimits::default();
    // No client needs less than the first; beyond the last, memory for heads alone is the attack.
    let limits = RequestLimits {
        target_bytes: raw.target_bytes(&at).number(256..=256 * 1024).or(default.target_bytes),
        head_bytes: raw.head_bytes(&at).number(1_024..=1024 * 1024).or(default.head_bytes),
        header_fields: raw.header_fields(&at).number(16..=1_000).or(default.header_fields),
    };
    if limits.head_bytes < limits.target_bytes {
        at.key("target_bytes").refuse(
            Code::TargetLargerThanHead,
            format!("{} is more than the whole head may have", limits.target_bytes),
            format!("at most head_bytes, which is {}", limits.head_bytes),
        );
    }
    limits
}
