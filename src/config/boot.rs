//! `boot.yaml` as cellgate uses it: what cannot be swapped. A change here needs a restart, and
//! [`changes`] says of which fields.

pub mod books;
mod changes;
pub mod default;
mod place;

pub use changes::changes;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use super::apply::{self, Apply};
use super::guard::{self, Guards};
use super::networks::{MAX_NETWORKS, networks};
use super::raw;
use super::slot::{At, Parsed, Slot};
use crate::policy::facts::Scheme;
use crate::policy::http2::ClientHttp2;
use crate::policy::ids::Label;
use books::Books;

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
    /// Where the access log goes.
    pub access_log: AccessLog,
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

/// Where operators connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Unix socket for everything, changes included.
    pub unix: PathBuf,
    /// Mode of the socket file.
    pub unix_mode: u32,
    /// Loopback address for reading only.
    pub loopback: Option<SocketAddr>,
    /// Host names, without port and in lower case, that requests to the loopback address may carry.
    pub allowed_hosts: Vec<Box<str>>,
    /// Whether the loopback address shows reports.
    pub loopback_report: bool,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// To the standard output.
    Stdout,
    /// To a file, appended.
    File(PathBuf),
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

/// Most listeners; each has its accept loop.
const MAX_LISTENERS: usize = 64;

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
    let state_dir =
        raw.state_dir(at).parse(PATH, |path| path_in(folder, &path)).or(folder.join(default::STATE_DIR));
    let max_last_good_age = raw.max_last_good_age(at).duration(LAST_GOOD_AGES).optional();
    let workers = raw.workers(at).number(0..=MAX_WORKERS).or(default::WORKERS);
    let listeners = listeners(raw.listeners(at));
    let admin_at = at.key("admin");
    let admin = admin(raw.admin(at).or(raw::Admin::default()), &admin_at, folder, &state_dir);
    let log_at = at.key("access_log");
    let access_log = access_log(raw.access_log(at).or(raw::AccessLog::default()), &log_at, folder);
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
    Boot {
        state_dir,
        max_last_good_age,
        workers,
        listeners,
        admin,
        access_log,
        books,
        limits,
        drain,
        guards,
        apply,
    }
}

/// More threads than any machine of today has cores.
const MAX_WORKERS: usize = 1_024;

/// What a path is, for problems.
const PATH: &str = "a path, relative to the configuration folder or absolute";

fn path_in(folder: &Path, path: &str) -> Option<PathBuf> {
    (!path.is_empty() && !path.contains('\0')).then(|| folder.join(path))
}

fn listeners(slot: Slot<'_, Vec<raw::Field<raw::Listener>>>) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    for slot in slot.some_items(MAX_LISTENERS) {
        let at = slot.at.clone();
        let Some(listener) = slot.required().and_then(|raw| listener(raw, &at)) else { continue };
        if listeners.iter().any(|other| other.name == listener.name) {
            at.key("name").refuse(format!("two listeners are called {}", listener.name), "a name of its own");
        }
        let port = listener.address.port();
        if port != 0 && listeners.iter().any(|other| other.address == listener.address) {
            at.key("address")
                .refuse(format!("two listeners have {}", listener.address), "an address of its own");
        }
        listeners.push(listener);
    }
    listeners
}

fn listener(raw: raw::Listener, at: &At<'_>) -> Option<Listener> {
    let mut raw = at.open(raw);
    let name = raw.name(at).label().required();
    let address = raw
        .address(at)
        .parse("an address and port such as 127.0.0.1:8080 or \"[::]:443\"", |text| text.parse().ok());
    let address = address.required();
    let words = [
        ("http", ListenerProtocol::Http),
        ("https", ListenerProtocol::Https),
        ("h2c", ListenerProtocol::H2c),
    ];
    let protocol = raw.protocol(at).word(&words).required();
    let redirect = raw.redirect_to_https(at).or(false);
    let https_port = raw.https_port(at);
    if https_port.is_there() && !redirect {
        https_port.at.refuse(
            "it has no effect without redirect_to_https",
            "redirect_to_https: true, or no https_port",
        );
    }
    let https_port = https_port.number(1..=u16::MAX).or(default::HTTPS_PORT);
    let proxy_protocol = raw.proxy_protocol(at);
    let proxy_at = proxy_protocol.at.clone();
    let proxy_protocol = proxy_protocol.optional().map(|raw| {
        let mut raw = proxy_at.open(raw);
        networks(raw.trusted(&proxy_at).some_items(MAX_NETWORKS))
    });
    let forwarded = raw.forwarded_scheme(at);
    let (forwarded_at, forwarded_there) = (forwarded.at.clone(), forwarded.is_there());
    let forwarded = forwarded.word(&[("http", Scheme::Http), ("https", Scheme::Https)]).or(Scheme::Http);
    let protocol = protocol?;
    if redirect && protocol != ListenerProtocol::Http {
        at.key("redirect_to_https")
            .refuse("only a listener with protocol http can redirect", "protocol: http");
    }
    if forwarded_there && protocol == ListenerProtocol::Https {
        forwarded_at.refuse("this listener terminates TLS itself", "no forwarded_scheme");
    }
    let scheme = if protocol == ListenerProtocol::Https { Scheme::Https } else { forwarded };
    let redirect_to_https = redirect.then_some(https_port);
    Some(Listener { name: name?, address: address?, protocol, redirect_to_https, proxy_protocol, scheme })
}

fn admin(raw: raw::Admin, at: &At<'_>, folder: &Path, state_dir: &Path) -> Admin {
    let mut raw = at.open(raw);
    let unix = raw.unix(at).parse(PATH, |path| path_in(folder, &path)).optional();
    let mode = raw.unix_mode(at).parse("a file mode in octal and in quotes, such as \"0660\"", |text| {
        let octal = text.len() <= 4 && !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
        // Execution means nothing on a socket, and everybody must not reach what can change routes.
        octal.then(|| u32::from_str_radix(&text, 8).ok()).flatten().filter(|mode| mode & !0o660 == 0)
    });
    let unix_mode = mode.or(default::ADMIN_SOCKET_MODE);
    let loopback = raw.loopback(at).parse("a loopback address and port such as 127.0.0.1:9900", |text| {
        text.parse::<SocketAddr>().ok().filter(|address| address.ip().is_loopback())
    });
    let loopback = loopback.optional();
    let hosts = raw.allowed_hosts(at);
    let allowed_hosts = if hosts.is_there() {
        let name = |text: String| {
            (!text.is_empty() && !text.contains(['/', ' '])).then(|| text.to_ascii_lowercase().into())
        };
        let items = hosts.items().into_iter();
        items.filter_map(|slot| slot.parse("a host name without port", name).required()).collect()
    } else {
        default::ADMIN_HOSTS.map(Into::into).to_vec()
    };
    let unix = unix.unwrap_or_else(|| state_dir.join(default::ADMIN_SOCKET));
    let loopback_report = raw.loopback_report(at).or(false);
    Admin { unix, unix_mode, loopback, allowed_hosts, loopback_report }
}

fn access_log(raw: raw::AccessLog, at: &At<'_>, folder: &Path) -> AccessLog {
    let mut raw = at.open(raw);
    let path = raw.path(at).parse("a path, or \"-\" for the standard output", |path| match path.as_str() {
        default::ACCESS_LOG => Some(AccessLog::Stdout),
        _ => path_in(folder, &path).map(AccessLog::File),
    });
    path.or(AccessLog::Stdout)
}

fn limits(raw: raw::BootLimits, at: &At<'_>) -> Limits {
    let mut raw = at.open(raw);
    let known = |n: u32| NonZeroU32::new(n).expect("no default is 0");
    Limits {
        connections: positive(raw.connections(at)).or(known(default::CONNECTIONS)),
        connections_per_address: positive(raw.connections_per_address(at))
            .or(known(default::CONNECTIONS_PER_ADDRESS)),
        requests: positive(raw.requests(at)).or(known(default::REQUESTS)),
        shared_addresses: shared_addresses(raw.shared_addresses(at)),
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

fn shared_addresses(slot: Slot<'_, Vec<raw::Field<String>>>) -> Vec<IpNet> {
    let at = slot.at.clone();
    networks(at.at_most(slot.items(), MAX_NETWORKS))
}

fn positive(slot: Slot<'_, u64>) -> Parsed<'_, NonZeroU32> {
    slot.parse("a whole number from 1 to 4294967295", |n| u32::try_from(n).ok().and_then(NonZeroU32::new))
}

fn drain(raw: raw::Drain, at: &At<'_>) -> Drain {
    let mut raw = at.open(raw);
    Drain {
        grace: raw.grace(at).duration(DRAINS).or(default::DRAIN_GRACE),
        deadline: raw.deadline(at).duration(DRAINS).or(default::DRAIN_DEADLINE),
        upgrade_timeout: raw.upgrade_timeout(at).duration(UPGRADES).or(default::UPGRADE_TIMEOUT),
    }
}
