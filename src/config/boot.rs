//! `boot.yaml` as cellgate uses it: what cannot be swapped. A change here needs a restart, and
//! [`changes`] says of which fields.

pub mod access_log;
pub mod admin;
pub mod books;
mod changes;
pub mod default;
mod doors;
mod listeners;
mod place;
pub mod status;
pub mod traces;
mod web_address;

pub use changes::changes;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use super::apply::{self, Apply};
use super::guard::{self, Guards};
use super::networks::any_networks;
use super::raw;
use super::slot::{At, Parsed, Slot};
use crate::policy::code::Code;
use crate::policy::facts::Scheme;
use crate::policy::http2::ClientHttp2;
use crate::policy::ids::Label;
pub use access_log::{AccessLog, LogTarget};
use admin::Admin;
use books::Books;
use status::Status;
use traces::Traces;

/// Most that `limits.max_config_bytes` may allow: eight times its default, and still in memory twice while a
/// reload compiles.
pub const MAX_CONFIG_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// What cannot be changed while cellgate runs. Paths are complete: relative ones were joined to the
/// configuration folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Folder for what cellgate writes.
    pub state_dir: PathBuf,
    /// Age of the last good configuration beyond which readiness fails; `None` serves at any age.
    pub max_last_good_age: Option<Duration>,
    /// Threads that serve requests; `None` is one for each core.
    pub workers: Option<NonZeroUsize>,
    /// Where clients connect; never empty.
    pub listeners: Vec<Listener>,
    /// Where operators connect.
    pub admin: Admin,
    /// Where the access log goes, and what is in it.
    pub access_log: AccessLog,
    /// Where traces of requests go; `None` is nowhere.
    pub traces: Option<Traces>,
    /// How the books are kept.
    pub books: Books,
    /// Bounds on connections.
    pub limits: Limits,
    /// How to stop.
    pub drain: Drain,
    /// What a change must pass before it serves.
    pub guards: Guards,
    /// In which steps a reload comes in force; `None` is whole, at once.
    pub apply: Option<Apply>,
    /// Where people outside see how the service stands.
    pub status: Status,
}

/// One address on which clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Unique name, as metrics and logs show it.
    pub name: Label,
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// What is spoken there.
    pub protocol: ListenerProtocol,
    /// Answer everything with a redirect to https on this port.
    pub redirect_to_https: Option<u16>,
    /// Networks that may, and must, send a PROXY protocol header. `None`: nobody sends one.
    pub proxy_protocol: Option<Vec<IpNet>>,
    /// How the client spoke, to us or to the balancer in front.
    pub scheme: Scheme,
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListenerProtocol {
    /// HTTP/1.1 without TLS. Never HTTP/2 on the same port: telling them apart hangs short requests.
    Http,
    /// TLS, then HTTP/1.1 or HTTP/2 by ALPN.
    Https,
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
}

/// Bounds on connections and on the configuration itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most client connections at once.
    pub connections: NonZeroU32,
    /// Most client connections from one address.
    pub connections_per_address: NonZeroU32,
    /// Most requests in flight at once.
    pub requests: NonZeroU32,
    /// Networks for which that does not count.
    pub shared_addresses: Vec<IpNet>,
    /// Most handshakes in progress at once.
    pub handshakes: NonZeroU32,
    /// From accept to the end of the TLS handshake, PROXY header included.
    pub handshake_timeout: Duration,
    /// From the first byte of a request head to its last; on a new connection, from its start.
    pub head_timeout: Duration,
    /// To the preface of an HTTP/2 connection.
    pub preface_timeout: Duration,
    /// Silence of a client that owes bytes of its request body.
    pub body_timeout: Duration,
    /// Silence of a client that does not read its response.
    pub idle_timeout: Duration,
    /// Silence between two HTTP/1 requests.
    pub keep_alive_timeout: Duration,
    /// How long an HTTP/2 connection may be without a stream.
    pub h2_idle_timeout: Duration,
    /// Age at which a connection is closed after the request in progress.
    pub connection_lifetime: Duration,
    /// Requests after which a connection is closed.
    pub requests_per_connection: NonZeroU32,
    /// HTTP/2 streams open at once on a connection.
    pub streams_per_connection: NonZeroU32,
    /// Most bytes of all files of the routing configuration together.
    pub max_config_bytes: u64,
    /// What HTTP/2 clients are allowed on each connection.
    pub http2: ClientHttp2,
}

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// From failing readiness to closing the listeners.
    pub grace: Duration,
    /// From closing the listeners to cutting what is still in flight.
    pub deadline: Duration,
    /// How long a new process may take to be ready in an upgrade.
    pub upgrade_timeout: Duration,
}

/// Shortest and longest time limits on connections. Below the first nothing works over a real network,
/// above the second it is no limit any more.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(86_400);

/// Longest drain: a day, for those who wait for the last tunnel.
const DRAINS: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(86_400);

/// Shortest and longest wait for a new process. Whoever asks for an upgrade waits on an admin connection, which
/// lives a little longer than the second.
const UPGRADES: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// Shortest and longest age of a last good configuration. Within the first nobody has read the alert, and
/// beyond the second, ten years, no certificate in it would hold.
const LAST_GOOD_AGES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(3_650 * 86_400);

/// Reads `boot.yaml`. What it makes of a wrong file is worth nothing, and the report says so.
/// `folder` is the one that the file lies in, and `pushed` the configuration folder.
pub(super) fn read(raw: raw::Boot, at: &At<'_>, folder: &Path, pushed: &Path) -> Boot {
    let mut raw = at.open(raw);
    super::version(raw.version(at));
    let state_dir = raw
        .state_dir(at)
        .parse(Code::FilePath, PATH, |path| path_in(folder, &path))
        .or(folder.join(default::STATE_DIR));
    let max_last_good_age = raw.max_last_good_age(at).duration(LAST_GOOD_AGES).optional();
    let workers = raw.workers(at).number(0..=MAX_WORKERS).or(default::WORKERS);
    let (listeners, listeners_at) = listeners::listeners(raw.listeners(at));
    let admin_at = at.key("admin");
    let admin = admin::read(raw.admin(at).or(raw::Admin::default()), &admin_at, folder, &state_dir);
    let log_at = at.key("access_log");
    let access_log = access_log::read(raw.access_log(at).or(raw::AccessLog::default()), &log_at, folder);
    let traces = raw.traces(at).optional().and_then(|raw| traces::read(raw, &at.key("traces"), folder));
    let books = books::read(raw.books(at).or(raw::Books::default()), &at.key("books"), folder);
    let limits_at = at.key("limits");
    let limits = limits(raw.limits(at).or(raw::BootLimits::default()), &limits_at);
    let drain_at = at.key("drain");
    let drain = drain(raw.drain(at).or(raw::Drain::default()), &drain_at);
    let guards_at = at.key("guards");
    let mut guards = guard::read(raw.guards(at).or(raw::Guards::default()), &guards_at, folder, pushed);
    let apply = apply::read(raw.apply(at));
    guards.steps = apply.is_some();
    let workers = NonZeroUsize::new(workers);
    let status_at = at.key("status");
    let status = raw.status(at).or(raw::Status::default());
    let status = status::read(status, &status_at, folder);
    let boot = Boot {
        state_dir,
        max_last_good_age,
        workers,
        listeners,
        admin,
        access_log,
        traces,
        books,
        limits,
        drain,
        guards,
        apply,
        status,
    };
    doors::compare(&boot, at, listeners_at);
    boot
}

/// More threads than any machine of today has cores.
const MAX_WORKERS: usize = 1_024;

/// What a path is, for problems.
const PATH: &str = "a path, relative to the configuration folder or absolute";

fn path_in(folder: &Path, path: &str) -> Option<PathBuf> {
    (!path.is_empty() && !path.contains('\0')).then(|| folder.join(path))
}

fn limits(raw: raw::BootLimits, at: &At<'_>) -> Limits {
    let mut raw = at.open(raw);
    let known = |n: u32| NonZeroU32::new(n).expect("no default is 0");
    Limits {
        connections: positive(raw.connections(at)).or(known(default::CONNECTIONS)),
        connections_per_address: positive(raw.connections_per_address(at))
            .or(known(default::CONNECTIONS_PER_ADDRESS)),
        requests: positive(raw.requests(at)).or(known(default::REQUESTS)),
        shared_addresses: any_networks(raw.shared_addresses(at)),
        handshakes: positive(raw.handshakes(at)).or(known(default::HANDSHAKES)),
        handshake_timeout: raw.handshake_timeout(at).duration(TIMEOUTS).or(default::HANDSHAKE_TIMEOUT),
        head_timeout: raw.head_timeout(at).duration(TIMEOUTS).or(default::HEAD_TIMEOUT),
        preface_timeout: raw.preface_timeout(at).duration(TIMEOUTS).or(default::PREFACE_TIMEOUT),
        body_timeout: raw.body_timeout(at).duration(TIMEOUTS).or(default::BODY_TIMEOUT),
        idle_timeout: raw.idle_timeout(at).duration(TIMEOUTS).or(default::IDLE_TIMEOUT),
        keep_alive_timeout: raw.keep_alive_timeout(at).duration(TIMEOUTS).or(default::KEEP_ALIVE_TIMEOUT),
        h2_idle_timeout: raw.h2_idle_timeout(at).duration(TIMEOUTS).or(default::H2_IDLE_TIMEOUT),
        connection_lifetime: raw.connection_lifetime(at).duration(TIMEOUTS).or(default::CONNECTION_LIFETIME),
        requests_per_connection: positive(raw.requests_per_connection(at))
            .or(known(default::REQUESTS_PER_CONNECTION)),
        streams_per_connection: positive(raw.streams_per_connection(at))
            .or(known(default::STREAMS_PER_CONNECTION)),
        max_config_bytes: raw.max_config_bytes(at).number(1..=MAX_CONFIG_BYTES).or(default::MAX_CONFIG_BYTES),
        http2: super::http2::client(raw.http2(at).or(raw::ClientHttp2::default()), &at.key("http2")),
    }
}

fn positive(slot: Slot<'_, u64>) -> Parsed<'_, NonZeroU32> {
    slot.parse(Code::Number, "a whole number from 1 to 4294967295", |n| {
        u32::try_from(n).ok().and_then(NonZeroU32::new)
    })
}

fn drain(raw: raw::Drain, at: &At<'_>) -> Drain {
    let mut raw = at.open(raw);
    Drain {
        grace: raw.grace(at).duration(DRAINS).or(default::DRAIN_GRACE),
        deadline: raw.deadline(at).duration(DRAINS).or(default::DRAIN_DEADLINE),
        upgrade_timeout: raw.upgrade_timeout(at).duration(UPGRADES).or(default::UPGRADE_TIMEOUT),
    }
}
