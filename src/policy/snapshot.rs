//! The snapshot: everything compiled from the configuration files, immutable, swapped whole.
//!
//! Plain data only. What must outlive a reload (counters, learned credentials) hangs on it as a shared
//! handle that `config::compile` carries over by name. Opaque TLS values (`rustls`) are held, not used.

mod rules;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::accounts::{AccountTable, ScheduleIndex};
use super::admit::{Bound, CellLoad};
use super::annotate::Written;
use super::brownout::{AfterSunset, Brownouts};
use super::client::ClientFamily;
use super::endpoint_class::EndpointClasses;
use super::envelope::ErrorShape;
use super::extension::Extensions;
use super::hosts::{HostTable, Role};
use super::http2::CellHttp2;
use super::ids::{CellIndex, EntityId, Generation, Label, SurfaceIndex};
use super::keyed::KeyTable;
use super::moves::Moves;
use super::protection::endpoint_load::EndpointLoad;
use super::protection::group_load::GroupLoad;
use super::protection::{CellProtection, Protection};
use super::routing_cookie::RoutingCookie;
use super::server_timing::ServerTiming;
use super::tickets::TicketRules;

pub use rules::{IdRange, IdentifyRules, Names, PathTemplate, Segment};

/// One immutable generation of the routing configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up with every applied reload.
    pub generation: Generation,
    /// SHA-256 over the configuration files, lower-case hex: equal on replicas with equal files.
    pub hash: Box<str>,
    /// The same over all of it but the account table: where this is equal, only rows differ.
    pub rest: Box<str>,
    /// What is written in the files that people write by hand, by where it stands: to tell what another says instead.
    pub settings: BTreeMap<Box<str>, Box<str>>,
    /// Products with a host label of their own; [`SurfaceIndex`] counts in it.
    pub surfaces: Vec<Surface>,
    /// Which hosts are served.
    pub hosts: HostTable,
    /// Every cell; [`CellIndex`] counts in it.
    pub cells: Vec<Cell>,
    /// What keeps them standing, as far as it is one for all.
    pub protection: Protection,
    /// Who lives where.
    pub accounts: AccountTable,
    /// Environment id to account, for headers that name an environment.
    pub environments: KeyTable<EntityId>,
    /// Accounts on their way from one cell to another.
    pub moves: Moves,
    /// Deprecation schedules that hosts and accounts point at.
    pub schedules: Vec<Schedule>,
    /// Accounts that were promised more time.
    pub extensions: Extensions,
    /// Planned refusals of legacy traffic.
    pub brownouts: Brownouts,
    /// The identify order's rules.
    pub identify: IdentifyRules,
    /// Path beginnings under which no browser is redirected: sign-in callbacks (`/complete/`), whose
    /// state and cookies belong to the host that they began on.
    pub redirect_exceptions: Vec<Box<str>>,
    /// Origins whose scripts may read answers of our own.
    pub cors_origins: Vec<Box<str>>,
    /// How client programs are told apart in the books; the first match wins.
    pub clients: Vec<ClientFamily>,
    /// What a request head may be.
    pub limits: RequestLimits,
    /// How long requests may take, by path.
    pub endpoint_classes: EndpointClasses,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Who is told where the time of a request went.
    pub server_timing: ServerTiming,
    /// Where refusals and `rel="deprecation"` send a human when no schedule says otherwise.
    pub guide: Box<str>,
    /// Server certificates by name, for SNI and for the 421 rule.
    pub certificates: super::certificates::CertificateTable,
    /// Keys and lifetime of session tickets.
    pub tickets: TicketRules,
    /// How long before its end a certificate is warned about.
    pub warn_before: Duration,
}

/// A product with its own host label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surface {
    /// The label: `app`, `metadata`, `semantic-layer`.
    pub name: Label,
    /// How its API's clients expect an error.
    pub errors: ErrorShape,
}

/// An isolated deployment that holds accounts.
#[derive(Debug)]
pub struct Cell {
    /// Unique name, as metrics and logs show it.
    pub name: Label,
    /// The old multi-tenant environment.
    pub shared: bool,
    /// The domain of its accounts' own addresses: `us1.dbt.com`.
    pub domain: Box<str>,
    /// Endpoints by zone; lower priority first.
    pub groups: Vec<Group>,
    /// Most requests in flight before new ones are refused with 503.
    pub max_in_flight: u32,
    /// Most of the process's permits that it may hold, in percent.
    pub share_percent: u8,
    /// What keeps it standing.
    pub protection: CellProtection,
    /// How long its connections may take.
    pub timeouts: CellTimeouts,
    /// How its HTTP/2 connections are used.
    pub http2: CellHttp2,
    /// What it speaks.
    pub protocol: CellProtocol,
    /// TLS towards it; `None` is plain text.
    pub tls: Option<CellTls>,
    /// Which Host it is sent.
    pub host: UpstreamHost,
    /// The key that signs verdicts for it, where one is configured.
    pub seal: Option<SealKey>,
    /// Live counters; outlive reloads.
    pub load: Arc<CellLoad>,
}

/// Endpoints of one cell in one zone.
#[derive(Clone, Debug)]
pub struct Group {
    /// Zone or cluster name.
    pub zone: Label,
    /// 0 is used first; a higher number only when every lower one is down.
    pub priority: u8,
    /// Declared capacity in requests per second, where known.
    pub capacity_rps: Option<u32>,
    /// Its requests in flight; live counters, which outlive reloads.
    pub requests: Bound,
    /// The ordinary ones among them, and how many of those it takes; live, and outlives reloads.
    pub load: Arc<GroupLoad>,
    /// Where it listens.
    pub endpoints: Vec<Endpoint>,
}

/// One address of a group.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Socket address or DNS name.
    pub address: EndpointAddress,
    /// Identity for connection pools: cell, address and everything that decides whom TLS trusts. Two
    /// endpoints with different trust can never share a connection.
    pub key: EndpointKey,
    /// Open connections to its group, idle ones too; a live counter, which outlives reloads.
    pub connections: Bound,
    /// What is known of it; live, and outlives reloads.
    pub load: Arc<EndpointLoad>,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    /// A literal address.
    Socket(SocketAddr),
    /// A DNS name and port, resolved in the background; the last good answer is kept.
    Name(Box<str>, u16),
}

impl std::fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// See [`Endpoint::key`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointKey(pub Arc<str>);

/// Time limits of the connections to a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellTimeouts {
    /// TCP connect and TLS handshake together.
    pub connect: Duration,
    /// From the last byte of the request head to the first of the answer's; restarts while a request body flows.
    pub response_head: Duration,
    /// Silence in the middle of a response.
    pub idle: Duration,
    /// Silence in both directions of a WebSocket.
    pub tunnel_idle: Duration,
    /// How long an unused connection is kept.
    pub keep_alive: Duration,
}

/// What a cell speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CellProtocol {
    /// HTTP/1.1; gRPC requests cannot be served.
    Http1,
    /// HTTP/2, by ALPN under TLS and by prior knowledge without; WebSocket goes over HTTP/1.1.
    Http2,
    /// HTTP/1.1 for ordinary requests and HTTP/2 for gRPC, on the same address.
    Auto,
}

/// Which authority a cell is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamHost {
    /// The client's, byte for byte.
    Preserve,
    /// The account's own address on the surface (`ab123.metadata.us1.dbt.com`); the client's without an account.
    Account,
}

/// TLS towards a cell, built once at compile, so that sessions resume.
#[derive(Clone, Debug)]
pub struct CellTls {
    /// The name to send and to verify.
    pub sni: rustls::pki_types::ServerName<'static>,
    /// Roots and client certificate, offering ALPN `http/1.1` only.
    pub http1: Arc<rustls::ClientConfig>,
    /// The same, offering ALPN `h2` only.
    pub http2: Arc<rustls::ClientConfig>,
    /// Digests of the authorities that its certificate may come from, lower-case hex, sorted.
    pub authorities: Arc<[Box<str>]>,
    /// End of validity of our own certificate, seconds since the Unix epoch, where we show one.
    pub not_after: Option<i64>,
    /// When the first of the revocation lists is past its next update, where there are any.
    pub crl_until: Option<i64>,
}

/// A key that signs routing verdicts for one cell.
#[derive(Clone)]
pub struct SealKey {
    /// Names the key to the verifier; rotates.
    pub id: Box<str>,
    /// HMAC-SHA-256 key.
    pub key: Arc<aws_lc_rs::hmac::Key>,
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The dates of one deprecated address. `deprecated_since` is RFC 9745's Deprecation, `sunset_at` is
/// RFC 8594's Sunset (what most product pages call "the deprecation date").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Unique name in the configuration.
    pub name: Label,
    /// Seconds since the Unix epoch.
    pub deprecated_since: i64,
    /// Seconds since the Unix epoch; never before `deprecated_since` (RFC 9745 section 4).
    pub sunset_at: i64,
    /// Human documentation, `rel="deprecation"`.
    pub guide: Box<str>,
    /// Retirement policy, `rel="sunset"`, where there is one.
    pub policy: Option<Box<str>>,
    /// What to do when the cell sends dates of its own.
    pub merge: Merge,
    /// What is done once the sunset has passed.
    pub after_sunset: AfterSunset,
    /// The dates and links as fields, ready to be sent.
    pub written: Written,
}

impl Schedule {
    /// With its fields written; it goes on being served after its sunset.
    pub fn new(
        name: Label,
        deprecated_since: i64,
        sunset_at: i64,
        guide: Box<str>,
        policy: Option<Box<str>>,
        merge: Merge,
    ) -> Self {
        let written = Written::new(deprecated_since, sunset_at, &guide, policy.as_deref());
        let after_sunset = AfterSunset::Keep;
        Self { name, deprecated_since, sunset_at, guide, policy, merge, after_sunset, written }
    }
}

/// Whose dates win when the cell sends Deprecation or Sunset itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Merge {
    /// The earlier of both.
    Earliest,
    /// Ours.
    Ours,
    /// The cell's.
    Upstream,
}

/// What a request head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Most bytes of the request target; more is 414.
    pub target_bytes: usize,
    /// Most bytes of the whole head; more is 431.
    pub head_bytes: usize,
    /// Most header fields; more is 431.
    pub header_fields: usize,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            // Longer than any target in the request shapes by a factor of 40, and what nginx and
            // HAProxy accept in one buffer.
            target_bytes: 8 * 1024,
            // Cookies and tokens of large single-sign-on set-ups reach 16 KiB; twice that.
            head_bytes: 32 * 1024,
            // What Apache httpd accepts by default (LimitRequestFields).
            header_fields: 100,
        }
    }
}

impl Cell {
    /// Whether gRPC can be passed on: over HTTP/1.1 its status, which stands behind the body, would be lost.
    pub fn speaks_grpc(&self) -> bool {
        self.protocol != CellProtocol::Http1
    }

    /// The endpoints of all groups.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.groups.iter().flat_map(|group| &group.endpoints)
    }
}

impl Snapshot {
    /// Our own cookie, on hosts where a browser may have been given it: on a cell host it means nothing.
    pub fn routing_cookie(&self, role: Option<Role>) -> Option<&RoutingCookie> {
        self.identify.routing_cookie.as_ref().filter(|_| role == Some(Role::Legacy))
    }

    /// The cell at an index that this snapshot made.
    pub fn cell(&self, index: CellIndex) -> &Cell {
        &self.cells[usize::from(index.0)]
    }

    /// The schedule at an index that this snapshot made.
    pub fn schedule(&self, index: ScheduleIndex) -> &Schedule {
        let index = usize::from(index.0);
        self.schedules.get(index).unwrap_or_else(|| self.extensions.made(index - self.schedules.len()))
    }

    /// The surface at an index that this snapshot made.
    pub fn surface(&self, index: SurfaceIndex) -> &Surface {
        &self.surfaces[usize::from(index.0)]
    }
}
