//! `admin` of `boot.yaml`: the doors of the admin plane, and which files say who may do what there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{PATH, default, path_in};
use crate::config::raw;
use crate::config::slot::{At, Parsed, Slot, short_line};
use crate::policy::access::Role;
use crate::policy::code::Code;

/// Where operators connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Unix socket for everything, changes included.
    pub unix: PathBuf,
    /// Mode of the socket file.
    pub unix_mode: u32,
    /// Loopback address.
    pub loopback: Option<SocketAddr>,
    /// Host names, without port and in lower case, that requests to the loopback address may carry.
    pub allowed_hosts: Vec<Box<str>>,
    /// Whether the loopback address shows reports.
    pub loopback_report: bool,
    /// Whether it changes things, by token.
    pub loopback_operate: bool,
    /// File of bearer tokens.
    pub tokens: Option<PathBuf>,
    /// Others may read that and the key of the TLS door.
    pub allow_readable: bool,
    /// The door for other machines.
    pub tls: Option<AdminTls>,
}

/// The door for other machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminTls {
    /// Where.
    pub address: SocketAddr,
    /// Its certificate.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
    /// Who signs for operators.
    pub client_ca: Option<PathBuf>,
    /// And what they have taken back.
    pub crl: Option<PathBuf>,
    /// Names in client certificates.
    pub clients: Arc<[(Box<str>, Role)]>,
}

/// Names with a role: people and their programs; more are given tokens.
const MAX_CLIENTS: usize = 1_000;

/// Longest name in a certificate (RFC 5280 allows a mail address 254 and a DNS name 253).
const MAX_CLIENT_NAME: usize = 256;

/// The roles as they are written.
pub(in crate::config) const ROLES: [(&str, Role); 3] =
    [("read", Role::Read), ("operate", Role::Operate), ("approve", Role::Approve)];

/// `folder` is the one that the file lies in.
pub(super) fn read(raw: raw::Admin, at: &At<'_>, folder: &Path, state_dir: &Path) -> Admin {
    let mut raw = at.open(raw);
    let unix = raw.unix(at).parse(Code::FilePath, PATH, |path| path_in(folder, &path)).optional();
    let mode = raw.unix_mode(at).parse(
        Code::FileMode,
        "a file mode in octal and in quotes, such as \"0660\"",
        |text| {
            let octal = text.len() <= 4 && !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
            // Execution means nothing on a socket, and everybody must not reach what can change routes.
            octal.then(|| u32::from_str_radix(&text, 8).ok()).flatten().filter(|mode| mode & !0o660 == 0)
        },
    );
    let unix_mode = mode.or(default::ADMIN_SOCKET_MODE);
    let loopback = raw.loopback(at).parse(
        Code::LoopbackAddress,
        "a loopback address and port such as 127.0.0.1:9900",
        |text| text.parse::<SocketAddr>().ok().filter(|address| address.ip().is_loopback()),
    );
    let loopback = loopback.optional();
    let allowed_hosts = allowed_hosts(raw.allowed_hosts(at));
    let unix = unix.unwrap_or_else(|| state_dir.join(default::ADMIN_SOCKET));
    let loopback_report = raw.loopback_report(at).or(false);
    let operate = raw.loopback_operate(at);
    let operate_at = operate.at.clone();
    let loopback_operate = operate.or(false);
    let tokens = raw.tokens(at);
    let has_tokens = tokens.is_there();
    let tokens = tokens.parse(Code::FilePath, PATH, |path| path_in(folder, &path)).optional();
    if loopback_operate && !has_tokens {
        operate_at.refuse(
            Code::DoorForNobody,
            "nobody can use it without tokens",
            "tokens, a file of them; or no loopback_operate",
        );
    }
    if loopback_operate && loopback.is_none() {
        operate_at.refuse(
            Code::KeyWithoutEffect,
            "there is no loopback address",
            "loopback; or no loopback_operate",
        );
    }
    let allow_readable = raw.allow_readable(at).or(false);
    let tls_at = at.key("tls");
    let tls = raw.tls(at).optional().and_then(|raw| tls(raw, &tls_at, folder, has_tokens));
    Admin {
        unix,
        unix_mode,
        loopback,
        allowed_hosts,
        loopback_report,
        loopback_operate,
        tokens,
        allow_readable,
        tls,
    }
}

fn allowed_hosts(hosts: Slot<'_, Vec<raw::Field<String>>>) -> Vec<Box<str>> {
    if !hosts.is_there() {
        return default::ADMIN_HOSTS.map(Into::into).to_vec();
    }
    let name = |text: String| {
        (!text.is_empty() && !text.contains(['/', ' '])).then(|| text.to_ascii_lowercase().into())
    };
    let items = hosts.items().into_iter();
    items.filter_map(|slot| slot.parse(Code::HostName, "a host name without port", name).required()).collect()
}

fn tls(raw: raw::AdminTls, at: &At<'_>, folder: &Path, has_tokens: bool) -> Option<AdminTls> {
    let mut raw = at.open(raw);
    let address =
        raw.address(at).parse(Code::AddressAndPort, "an IP address and port such as 10.0.0.5:9901", |text| {
            text.parse().ok()
        });
    let address = address.required();
    let (cert, key) = (file(raw.cert(at), folder).required(), file(raw.key(at), folder).required());
    let (client_ca, crl) = (raw.client_ca(at), raw.crl(at));
    let (has_ca, has_crl) = (client_ca.is_there(), crl.is_there());
    let (client_ca, crl) = (file(client_ca, folder).optional(), file(crl, folder).optional());
    let rows = raw.clients(at);
    let has_clients = rows.is_there();
    let clients = clients(rows);
    if has_clients != has_ca {
        let missing = if has_ca { "clients" } else { "client_ca" };
        at.key(missing).refuse(Code::Missing, "missing", "client_ca and clients together, or neither");
    }
    if has_crl && !has_ca {
        at.key("crl").refuse(
            Code::KeyWithoutEffect,
            "it has no effect without client_ca",
            "client_ca, or no crl",
        );
    }
    if !has_tokens && !has_ca {
        at.refuse(
            Code::DoorForNobody,
            "nobody can use this port",
            "tokens of admin, or client_ca and clients",
        );
    }
    Some(AdminTls { address: address?, cert: cert?, key: key?, client_ca, crl, clients: clients.into() })
}

fn file<'a>(slot: Slot<'a, String>, folder: &Path) -> Parsed<'a, PathBuf> {
    slot.parse(Code::FilePath, PATH, |path| path_in(folder, &path))
}

fn clients(rows: Slot<'_, Vec<raw::Field<raw::AdminClient>>>) -> Vec<(Box<str>, Role)> {
    let at = rows.at.clone();
    let mut clients: Vec<(Box<str>, Role)> = Vec::new();
    for slot in at.at_most(rows.items(), MAX_CLIENTS) {
        let at = slot.at.clone();
        let Some(raw) = slot.required() else { continue };
        let mut raw = at.open(raw);
        let name = raw.name(&at).parse(Code::Text, "a name as it stands in the certificate", |name| {
            short_line(&name, MAX_CLIENT_NAME)
        });
        let (name, role) = (name.required(), raw.role(&at).word(&ROLES).required());
        let Some((name, role)) = name.zip(role) else { continue };
        if clients.iter().any(|(other, _)| *other == name) {
            at.key("name").refuse(Code::NameTwice, format!("{name} stands here twice"), "each name once");
        }
        clients.push((name, role));
    }
    clients
}

pub(super) fn note_changes(before: &Admin, after: &Admin, note: &mut impl FnMut(bool, &str)) {
    note(super::place::differ(&before.unix, &after.unix), "admin.unix");
    note(before.unix_mode != after.unix_mode, "admin.unix_mode");
    note(before.loopback != after.loopback, "admin.loopback");
    note(before.allowed_hosts != after.allowed_hosts, "admin.allowed_hosts");
    note(before.loopback_report != after.loopback_report, "admin.loopback_report");
    note(before.loopback_operate != after.loopback_operate, "admin.loopback_operate");
    note(places_differ(before.tokens.as_deref(), after.tokens.as_deref()), "admin.tokens");
    note(before.allow_readable != after.allow_readable, "admin.allow_readable");
    note(tls_differs(before.tls.as_ref(), after.tls.as_ref()), "admin.tls");
}

fn places_differ(one: Option<&Path>, other: Option<&Path>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => super::place::differ(one, other),
        _ => one != other,
    }
}

fn tls_differs(one: Option<&AdminTls>, other: Option<&AdminTls>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one.is_some() != other.is_some() };
    let files = |tls: &AdminTls| {
        [Some(tls.cert.clone()), Some(tls.key.clone()), tls.client_ca.clone(), tls.crl.clone()]
    };
    let moved = files(one).iter().zip(&files(other)).any(|(a, b)| places_differ(a.as_deref(), b.as_deref()));
    moved || one.address != other.address || one.clients != other.clients
}
