//! `cells:` of `cellgate.yaml`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::files::Sources;
use super::names::{DNS_NAME, dns_name};
use super::problem::quoted;
use super::raw::{self, Field};
use super::secret;
use super::slot::{At, LABEL, Slot};
use super::tls::{ClientTls, MinVersion, Tls, Towards};
use crate::policy::admit::Bound;
use crate::policy::code::Code;
use crate::policy::ids::Label;
use crate::policy::snapshot::{
    Cell, CellProtocol, CellTimeouts, Endpoint, EndpointAddress, EndpointKey, Group, SealKey, UpstreamHost,
};

/// The values of keys that are absent, each with its reason.
pub mod default {
    use std::time::Duration;

    /// A thousand requests of 64 KiB buffers each way are 128 MiB; a cell that has more in flight is slow,
    /// not busy.
    pub const MAX_IN_FLIGHT: u32 = 1_000;
    /// One of many cells never holds more of a process, so that a black hole leaves three quarters to the others
    /// (facts: no cell above 25 %); of fewer than four, each has its part.
    pub const SHARE_PERCENT: u8 = 25;
    /// For cells in one zone.
    pub const ZONE: &str = "default";
    /// Used first.
    pub const PRIORITY: u8 = 0;
    /// A lost SYN is repeated after 1 s and again 2 s later: both fit.
    pub const CONNECT: Duration = Duration::from_secs(5);
    /// As long as the longest timeout of the clients we know (semantic layer SDK, 60 s).
    pub const RESPONSE_HEAD: Duration = Duration::from_secs(60);
    /// Streams of queries send nothing for minutes.
    pub const IDLE: Duration = Duration::from_secs(300);
    /// An editor left open over lunch; a client that has gone without a word costs two descriptors this long.
    pub const TUNNEL_IDLE: Duration = Duration::from_secs(3_600);
    /// Below the 75 s (nginx) and 60 s (load balancers) after which the other side closes, so that we rarely
    /// send into a closing connection.
    pub const KEEP_ALIVE: Duration = Duration::from_secs(50);
}

/// Most cells; their names are metric labels.
pub(super) const MAX_CELLS: usize = 1_000;

/// Most groups of a cell and endpoints of a group; each endpoint is probed.
const MAX_GROUPS: usize = 64;
const MAX_ENDPOINTS: usize = 256;

/// Below a millisecond nothing connects; above a day it is no limit any more.
const TIMES: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(86_400);

/// Reads the cells, none of which has served yet; names that stand twice were reported before.
pub(super) fn read(slots: Vec<Slot<'_, raw::Cell>>, sources: &Sources, tls: &Tls) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    let mut shared: Option<u32> = None;
    let part = u8::try_from(100_usize.div_ceil(slots.len().max(1))).expect("at most 100");
    let share_percent = default::SHARE_PERCENT.max(part);
    for slot in slots {
        let at = slot.at.clone();
        let Some(cell) = slot.required().and_then(|raw| cell(raw, share_percent, &at, sources, tls)) else {
            continue;
        };
        if cell.shared {
            let at = at.key("shared");
            if let Some(first) = shared {
                at.refuse(
                    Code::SharedCellTwice,
                    format!("the cell in line {first} is the shared one already"),
                    "at most one shared cell",
                );
            }
            shared.get_or_insert(at.line());
        }
        cells.push(cell);
    }
    cells
}

fn cell(raw: raw::Cell, share: u8, at: &At<'_>, sources: &Sources, tls: &Tls) -> Option<Cell> {
    let mut raw = at.open(raw);
    let name = raw.name(at).label().required();
    let shared = raw.shared(at).or(false);
    let domain = raw.domain(at).parse(Code::HostName, DNS_NAME, |text| dns_name(&text)).required();
    let words =
        [("http1", CellProtocol::Http1), ("http2", CellProtocol::Http2), ("auto", CellProtocol::Auto)];
    let protocol = raw.protocol(at).word(&words).or(CellProtocol::Http1);
    let tls_slot = raw.tls(at);
    let tls_at = tls_slot.at.clone();
    let client = tls_slot.optional().and_then(|raw| cell_tls(raw, &tls_at, sources, tls));
    let identity = client.as_ref().map_or("plain", |client| &*client.identity);
    // Without a readable name the key would be wrong, and the report is not empty.
    let owner = name.as_ref().map_or("", Label::as_str).to_owned();
    let key = |address: &str| EndpointKey(format!("{owner}|{address}|{}|{identity}", word(protocol)).into());
    let max_in_flight = raw.max_in_flight(at).number(1..=u32::MAX).or(default::MAX_IN_FLIGHT);
    let share_percent = raw.share_percent(at).number(1..=100).or(share);
    let groups = groups(raw.groups(at), max_in_flight, &key);
    let protection = super::protection::of_cell(raw.modes(at), raw.check(at), protocol);
    let timeouts_at = at.key("timeouts");
    let timeouts = timeouts(raw.timeouts(at).or(raw::CellTimeouts::default()), &timeouts_at);
    let http2 = super::http2::cell(raw.http2(at).or(raw::CellHttp2::default()), &at.key("http2"));
    let words = [("preserve", UpstreamHost::Preserve), ("account", UpstreamHost::Account)];
    let host = raw.host(at).word(&words).or(UpstreamHost::Preserve);
    let seal_slot = raw.seal(at);
    let seal_at = seal_slot.at.clone();
    let seal = seal_slot.optional().and_then(|raw| seal(raw, &seal_at, sources));
    let tls = client.map(|client| client.tls);
    Some(Cell {
        name: name?,
        shared,
        domain: domain?,
        groups,
        max_in_flight,
        share_percent,
        protection,
        timeouts,
        http2,
        protocol,
        tls,
        host,
        seal,
        load: Arc::default(),
    })
}

const fn word(protocol: CellProtocol) -> &'static str {
    match protocol {
        CellProtocol::Http1 => "http1",
        CellProtocol::Http2 => "http2",
        CellProtocol::Auto => "auto",
    }
}

fn groups(
    slot: Slot<'_, Vec<Field<raw::Group>>>,
    of_cell: u32,
    key: &dyn Fn(&str) -> EndpointKey,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut lines: HashMap<Box<str>, u32> = HashMap::new();
    for slot in slot.some_items(MAX_GROUPS) {
        let at = slot.at.clone();
        let Some(raw) = slot.required() else { continue };
        let mut raw = at.open(raw);
        let zone_at = at.key("zone");
        let zone =
            raw.zone(&at).label().or(Label::parse(default::ZONE).expect("the default zone is a label"));
        if groups.iter().any(|group| group.zone == zone) {
            zone_at.refuse(
                Code::ZoneTwice,
                format!("two groups have the zone {zone}"),
                "one group for a zone",
            );
        }
        let priority = raw.priority(&at).number(0..=u8::MAX).or(default::PRIORITY);
        let capacity_rps = raw.capacity_rps(&at).number(1..=u32::MAX).optional();
        let most = raw.max_in_flight(&at).number(1..=of_cell).or(of_cell);
        let connections = Bound::new(raw.max_connections(&at).number(1..=u32::MAX).or(most));
        let mut endpoints = Vec::new();
        for slot in raw.endpoints(&at).some_items(MAX_ENDPOINTS) {
            let at = slot.at.clone();
            let read = |text: String| endpoint(&text).map(|address| (address, text));
            let Some((address, text)) = slot.parse(Code::EndpointAddress, ENDPOINT, read).required() else {
                continue;
            };
            if let Some(first) = lines.insert(text.as_str().into(), at.line()) {
                at.refuse(
                    Code::EndpointTwice,
                    format!("{} is already in line {first}", quoted(&text)),
                    "each endpoint once in a cell",
                );
            }
            endpoints.push(Endpoint {
                address,
                key: key(&text),
                connections: connections.clone(),
                load: Arc::default(),
            });
        }
        let requests = Bound::new(most);
        groups.push(Group { zone, priority, capacity_rps, requests, load: Arc::default(), endpoints });
    }
    groups.sort_by_key(|group| group.priority);
    groups
}

const ENDPOINT: &str = "an address such as 127.0.0.1:7101, \"[::1]:7101\" or name:port";

fn endpoint(text: &str) -> Option<EndpointAddress> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return (address.port() != 0 && !address.ip().is_unspecified())
            .then_some(EndpointAddress::Socket(address));
    }
    let (name, port) = text.rsplit_once(':')?;
    // The last label of a name is never all digits (RFC 1123 section 2.1): `10.0.0.256` is a slip.
    let numeric = name.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
    if numeric { None } else { Some(EndpointAddress::Name(dns_name(name)?, port)) }
}

fn timeouts(raw: raw::CellTimeouts, at: &At<'_>) -> CellTimeouts {
    let mut raw = at.open(raw);
    CellTimeouts {
        connect: raw.connect(at).duration(TIMES).or(default::CONNECT),
        response_head: raw.response_head(at).duration(TIMES).or(default::RESPONSE_HEAD),
        idle: raw.idle(at).duration(TIMES).or(default::IDLE),
        tunnel_idle: raw.tunnel_idle(at).duration(TIMES).or(default::TUNNEL_IDLE),
        keep_alive: raw.keep_alive(at).duration(TIMES).or(default::KEEP_ALIVE),
    }
}

fn cell_tls(raw: raw::CellTls, at: &At<'_>, sources: &Sources, tls: &Tls) -> Option<ClientTls> {
    let mut raw = at.open(raw);
    raw.allow_readable(at).or(false);
    let ca = raw.ca(at);
    if !ca.is_there() {
        ca.at.refuse(
            Code::Missing,
            "missing",
            "a PEM file of the authorities that sign the cell's certificate",
        );
    }
    let ca = named_file(ca, sources);
    let sni = raw.sni(at).parse(Code::HostName, "a DNS name or an IP address", |text| {
        rustls::pki_types::ServerName::try_from(text).ok()
    });
    let sni = sni.required();
    let (cert, key) = (raw.client_cert(at), raw.client_key(at));
    if cert.is_there() != key.is_there() {
        let absent = if cert.is_there() { &key.at } else { &cert.at };
        absent.refuse(Code::HalfAPair, "missing", "client_cert and client_key together, or neither");
    }
    let client = match (named_file(cert, sources), named_file(key, sources)) {
        (Some((cert, at)), Some((key, _))) => Some((cert?, key?, at)),
        _ => None,
    };
    let versions = [("1.2", MinVersion::Tls12), ("1.3", MinVersion::Tls13)];
    let min_version = raw.min_version(at).parse(Code::NotAWord, "\"1.2\" or \"1.3\", in quotes", |text| {
        versions.iter().find(|(name, _)| *name == text).map(|(_, version)| *version)
    });
    let min_version = min_version.or(MinVersion::Tls12);
    let crl = named_file(raw.crl(at), sources);
    let (ca, ca_at) = ca?;
    let roots = tls.roots(ca?, &ca_at)?;
    let crls = match crl {
        None => None,
        Some((crl, at)) => Some(tls.crls(crl?, &at)?),
    };
    let pair = match client {
        None => None,
        Some((cert, key, at)) => Some(tls.pair(cert, key, &at)?),
    };
    tls.client(Towards { roots, crls, sni: sni?, pair, min_version }, at)
}

/// The bytes of the file that a slot names, where it names one, and the slot's place.
pub(super) fn named_file<'a, 's>(
    slot: Slot<'a, String>,
    sources: &'s Sources,
) -> Option<(Option<&'s [u8]>, At<'a>)> {
    let at = slot.at.clone();
    slot.optional().map(|path| (sources.file(&at, &path), at))
}

fn seal(raw: raw::Seal, at: &At<'_>, sources: &Sources) -> Option<SealKey> {
    let mut raw = at.open(raw);
    raw.allow_readable(at).or(false);
    let id = raw
        .key_id(at)
        .parse(Code::Label, LABEL, |text| Label::parse(&text).ok().map(|label| label.as_str().into()))
        .required();
    let file = raw.key_file(at);
    let key = secret::read(file, sources);
    Some(SealKey { id: id?, key: key? })
}
