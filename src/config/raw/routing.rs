//! `cellgate.yaml`: everything that a reload can change.

use super::super::cells::default as cell;
use super::super::http2::default as http2;
use super::super::identify::default as identify;
use super::super::problem::quoted;
use super::super::time::show_duration;
use super::tls::{CellTls, Certificate, ClientCertificate, ClientTls};
use super::{
    Brownout, CellCheck, CellModes, Change, EndpointClass, Exemption, Extension, Field, Keys, Moves, NONE,
    Outline, Protection, REQUIRED, RoutingLimits, Shape, Tree, mapping,
};

mapping! {
    /// The whole of `cellgate.yaml`.
    Routing {
        /// Version of the format; only `1` exists.
        version: u64 = REQUIRED;
        /// Who has made this configuration what it is, and why.
        change: Change = NONE;
        /// Products with a host label of their own. The first is the one meant by hosts that do not say.
        surfaces: Vec<Field<Surface>> = REQUIRED;
        /// Host names that are served; everything else is answered with 421.
        hosts: Vec<Field<Host>> = REQUIRED;
        /// Dates of deprecated addresses.
        schedules: Vec<Field<Schedule>> = NONE;
        /// Accounts that were promised a later sunset.
        extensions: Vec<Field<Extension>> = NONE;
        /// Planned refusals of legacy traffic (docs/brownouts.md).
        brownouts: Vec<Field<Brownout>> = NONE;
        /// Accounts that brownouts leave alone.
        exemptions: Vec<Field<Exemption>> = NONE;
        /// Paths that are served in every brownout and after the sunset, with all below them: health checks. `/a` is not `/ab`.
        brownout_exceptions: Vec<Field<String>> = NONE;
        /// The deployments that hold accounts.
        cells: Vec<Field<Cell>> = REQUIRED;
        /// What keeps cells standing.
        protection: Protection = NONE;
        /// How a request names its account.
        identify: Identify = NONE;
        /// The account table.
        accounts: Table = REQUIRED;
        /// The table of environments, for headers that name one.
        environments: Table = NONE;
        /// Accounts on their way from one cell to another (docs/moves.md).
        moves: Moves = NONE;
        /// How client programs are told apart in reports.
        clients: Table = NONE;
        /// Server certificates, chosen by the name that a client asks for (SNI). The first also serves clients that ask for none.
        certificates: Vec<Field<Certificate>> = NONE;
        /// TLS with clients, apart from certificates.
        tls: ClientTls = NONE;
        /// Networks whose `X-Forwarded-For` is believed, such as `10.0.0.0/8`.
        trusted_proxies: Vec<Field<String>> = NONE;
        /// Who is told, in `Server-Timing`, where the time of a request went. Nobody when absent.
        server_timing: ServerTiming = NONE;
        /// What a request head may be.
        limits: RoutingLimits = NONE;
        /// How long requests may take as a whole, by path: clicks, long polls, streams.
        endpoint_classes: Vec<Field<EndpointClass>> = NONE;
        /// Page that tells a human what to do; refusals and `rel="deprecation"` link to it.
        guide: String = REQUIRED;
        /// Path prefixes that are never redirected, for browsers neither: OAuth and SAML callbacks. Brownouts leave them alone.
        redirect_exceptions: Vec<Field<String>> = NONE;
        /// Origins, such as `https://app.example.com`, whose scripts may read answers of our own (CORS).
        cors_origins: Vec<Field<String>> = NONE;
    }
}

mapping! {
    /// Who is told where the time of a request went.
    ServerTiming {
        /// Networks of clients, such as `10.0.0.0/8`, by the address behind trusted proxies.
        networks: Vec<Field<String>> = REQUIRED;
        /// Whether the name of the cell stands there, too.
        cell_name: bool = false;
    }
}

mapping! {
    /// A product with a host label of its own.
    Surface {
        /// Unique label, as it stands in hosts.
        name: String = REQUIRED;
        /// How its clients expect an error: `problem` (RFC 9457), `status` (dbt's REST envelope) or `graphql`.
        errors: String = "problem";
    }
}

mapping! {
    /// One kind of host name.
    Host {
        /// `cloud.getdbt.com`, `{prefix}.us1.dbt.com` or `{prefix}.{surface}.us1.dbt.com`. A placeholder is one label.
        pattern: String = REQUIRED;
        /// `legacy` (a deprecated address) or `cell` (the account's own address: its prefix alone names the account).
        role: String = REQUIRED;
        /// The surface, where the pattern does not carry it.
        surface: String = "the first of surfaces";
        /// Deprecation schedule: required for legacy hosts, refused for cell hosts.
        schedule: String = NONE;
        /// What happens when nothing names an account: `refuse`, or a cell.
        no_account: Fallback = "refuse";
        /// What happens when the account that is named has no row: `refuse`, or a cell.
        unmapped_account: Fallback = "refuse";
        /// Ask clients for a certificate (mTLS); not asked when absent.
        client_certificate: ClientCertificate = NONE;
        /// `max-age` of `Strict-Transport-Security` (RFC 6797) on answers over https that carry none of the cell's.
        hsts: String = NONE;
    }
}

mapping! {
    /// A cell in place of a refusal.
    FallbackCell {
        /// Name of the cell.
        cell: String = REQUIRED;
    }
}

/// `refuse`, or a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Fallback {
    /// A word; only `refuse` is one.
    Word(String),
    /// A cell.
    Cell(FallbackCell),
}

impl Shape for Fallback {
    const OUTLINE: Outline = Outline::WordOr("refuse", <FallbackCell as Keys>::KEYS);

    fn read(tree: Tree) -> Result<Self, String> {
        match tree {
            Tree::Text(word) if word == "refuse" => Ok(Self::Word(word)),
            Tree::Text(word) => Err(quoted(&word)),
            other => FallbackCell::read(other).map(Self::Cell),
        }
    }
}

mapping! {
    /// The dates of a deprecated address.
    Schedule {
        /// Unique label.
        name: String = REQUIRED;
        /// When use became discouraged: the `Deprecation` header (RFC 9745). UTC, as `2026-02-01T00:00:00Z`.
        deprecated_since: String = REQUIRED;
        /// When it stops: the `Sunset` header (RFC 8594); what product pages often call the deprecation date.
        sunset_at: String = REQUIRED;
        /// Page that tells a human what to do.
        guide: String = "the guide of the whole file";
        /// Page with the retirement policy, `rel="sunset"`.
        policy: String = NONE;
        /// Whose dates win when the cell sends its own: `earliest`, `ours` or `upstream`.
        merge: String = "earliest";
        /// What is done once the sunset has passed: `keep` (serve), `refuse` (410 to requests that name an account) or `gone` (410 to all).
        after_sunset: String = "keep";
    }
}

mapping! {
    /// A deployment that holds accounts.
    Cell {
        /// Unique label, as metrics, logs and the account table name it.
        name: String = REQUIRED;
        /// The old shared environment; at most one cell is.
        shared: bool = false;
        /// Domain of its accounts' own addresses: `us1.dbt.com`.
        domain: String = REQUIRED;
        /// What it speaks: `http1`, `http2`, or `auto` (HTTP/2 for gRPC, HTTP/1.1 otherwise).
        protocol: String = "http1";
        /// Its endpoints by zone.
        groups: Vec<Field<Group>> = REQUIRED;
        /// TLS towards it; plain text when absent.
        tls: CellTls = NONE;
        /// Most requests in flight; more are answered with 503.
        max_in_flight: u64 = cell::MAX_IN_FLIGHT;
        /// Most of the process's `limits.requests` that it may hold, in percent, whatever `max_in_flight` says.
        share_percent: u64 = format!("{}, or what there is for each of fewer than four cells", cell::SHARE_PERCENT);
        /// What the parts that keep it standing do to its requests.
        modes: CellModes = NONE;
        /// Whether its endpoints are asked if they are well; not when absent.
        check: CellCheck = NONE;
        /// How long its connections may take.
        timeouts: CellTimeouts = NONE;
        /// How its HTTP/2 connections are used; new values hold for new connections.
        http2: CellHttp2 = NONE;
        /// Which Host it is sent: `preserve` (the client's) or `account` (the account's own address).
        host: String = "preserve";
        /// The key that signs routing verdicts for it.
        seal: Seal = NONE;
    }
}

mapping! {
    /// How HTTP/2 connections to a cell are used.
    CellHttp2 {
        /// Most streams that are opened on one connection; the cell's own SETTINGS may allow fewer. More requests open another connection.
        max_streams_per_connection: u64 = http2::CELL_STREAMS;
        /// Frames that carry no answer (PING, SETTINGS, 1xx heads, resets of what is over, ...) that the cell may send on one connection in `control_window`, beyond those that requests and their bodies call for; above that the connection is closed.
        control_frames: u64 = http2::CELL_CONTROL_FRAMES;
        /// The time for `control_frames`.
        control_window: String = show_duration(http2::CELL_CONTROL_WINDOW);
        /// Bytes of one response that may be under way; bounds its speed by this over the round trip, and what a slow client makes us hold.
        stream_window_bytes: u64 = http2::CELL_STREAM_WINDOW;
        /// The same for all streams of a connection together.
        connection_window_bytes: u64 = http2::CELL_CONNECTION_WINDOW;
    }
}

mapping! {
    /// The endpoints of a cell in one zone.
    Group {
        /// Label of the zone or cluster, unique in the cell.
        zone: String = cell::ZONE;
        /// 0 is used first; a higher number only when every lower one is down.
        priority: u64 = cell::PRIORITY;
        /// Declared capacity in requests per second, where known.
        capacity_rps: u64 = NONE;
        /// Most requests in flight at the group.
        max_in_flight: u64 = "max_in_flight of the cell";
        /// Most open connections to the group, idle ones included.
        max_connections: u64 = "max_in_flight of the group";
        /// `127.0.0.1:7101`, `"[::1]:7101"` or `name:port`; names are resolved again and again.
        endpoints: Vec<Field<String>> = REQUIRED;
    }
}

mapping! {
    /// How long the connections to a cell may take.
    CellTimeouts {
        /// TCP connect and TLS handshake together.
        connect: String = show_duration(cell::CONNECT);
        /// From the end of the request to the head of the response.
        response_head: String = show_duration(cell::RESPONSE_HEAD);
        /// Silence in the middle of a response.
        idle: String = show_duration(cell::IDLE);
        /// Silence in both directions of a WebSocket.
        tunnel_idle: String = show_duration(cell::TUNNEL_IDLE);
        /// How long an unused connection is kept.
        keep_alive: String = show_duration(cell::KEEP_ALIVE);
    }
}

mapping! {
    /// The key that signs routing verdicts for a cell.
    Seal {
        /// Names the key to the cell.
        key_id: String = REQUIRED;
        /// File with the key; see "Key files".
        key_file: String = REQUIRED;
        /// Accept a key file that its group or others can read.
        allow_readable: bool = false;
    }
}

mapping! {
    /// How a request names its account, apart from the host.
    Identify {
        /// Path templates. The most specific one that matches a path, or the beginning of it, counts.
        paths: Vec<Field<PathTemplate>> = NONE;
        /// Query keys whose value is an account id.
        query_keys: Vec<Field<String>> = NONE;
        /// Headers that name an account or an environment.
        headers: Vec<Field<NamingField>> = NONE;
        /// Cookies that name an account or carry a credential.
        cookies: Vec<Field<NamingField>> = NONE;
        /// A cookie of our own for browsers on legacy hosts, so that a replica knows a session that another one has seen.
        routing_cookie: RoutingCookie = NONE;
        /// Credentials as routing keys.
        credentials: Credentials = NONE;
        /// Ids made in a cell carry the cell.
        id_ranges: Vec<Field<IdRange>> = NONE;
    }
}

mapping! {
    /// One path template.
    PathTemplate {
        /// `/api/v2/accounts/{account}`: `{account}` is an account id, `{entity}` the id of something made in a cell, `*` any segment.
        path: String = REQUIRED;
        /// A 2xx here proves the credential; on legacy hosts a request without one is refused before the account is looked up.
        authenticated: bool = false;
    }
}

mapping! {
    /// A header or a cookie that names an account.
    NamingField {
        /// Its name. Of a cookie, upper and lower case differ.
        name: String = REQUIRED;
        /// `account`; also `environment` of a header, or `credential` of a cookie.
        names: String = REQUIRED;
    }
}

mapping! {
    /// A signed cookie that names an account to every replica. A browser gets it with an answer that proves whose its session
    /// is, as for learning; cells never see it.
    RoutingCookie {
        /// Its name; begins with `__Host-`.
        name: String = identify::ROUTING_COOKIE;
        /// Signing keys, equal on all replicas: the first signs, all verify.
        keys: Vec<Field<CookieKey>> = REQUIRED;
        /// How long one holds; a browser in use gets a new one after half of it.
        max_age: String = show_duration(identify::ROUTING_COOKIE_AGE);
    }
}

mapping! {
    /// One signing key.
    CookieKey {
        /// Names the key in the cookie.
        id: String = REQUIRED;
        /// File with the key; see "Key files".
        file: String = REQUIRED;
        /// Accept a key file that its group or others can read.
        allow_readable: bool = false;
    }
}

mapping! {
    /// Credentials as routing keys: only a keyed fingerprint of a token is ever compared or kept.
    Credentials {
        /// Authorization schemes that carry a token, in any case.
        schemes: Vec<Field<String>> = identify::SCHEMES.join(", ");
        /// What tokens look like; anything else is never a routing key.
        shapes: Vec<Field<TokenShape>> = REQUIRED;
        /// Fingerprint keys, newest first, equal on all replicas.
        keys: Vec<Field<FingerprintKey>> = REQUIRED;
        /// The table of known fingerprints: a CSV file.
        table: String = NONE;
        /// Learn fingerprints from answered requests; off when absent.
        learn: Learn = NONE;
    }
}

mapping! {
    /// What tokens of one kind look like.
    TokenShape {
        /// Text they begin with; `""` for none.
        prefix: String = REQUIRED;
        /// Fewest bytes of a token, prefix included.
        min: u64 = REQUIRED;
        /// Most bytes of a token, prefix included.
        max: u64 = REQUIRED;
    }
}

mapping! {
    /// One fingerprint key.
    FingerprintKey {
        /// Names the key in the table and in exports.
        id: String = REQUIRED;
        /// File with the key; see "Key files".
        file: String = REQUIRED;
        /// Accept a key file that its group or others can read.
        allow_readable: bool = false;
    }
}

mapping! {
    /// Bounds of the learned table.
    Learn {
        /// Most entries in all.
        entries: u64 = identify::LEARNED_ENTRIES;
        /// Most entries of one account, so that no account pushes out the others.
        per_account: u64 = identify::LEARNED_PER_ACCOUNT;
    }
}

mapping! {
    /// Ids that were made in one cell. They name a cell, never an account, and never against the account table.
    IdRange {
        /// The cell.
        cell: String = REQUIRED;
        /// First id.
        first: u64 = REQUIRED;
        /// Last id.
        last: u64 = REQUIRED;
    }
}

mapping! {
    /// A table in a file of its own.
    Table {
        /// Its name in the configuration folder.
        file: String = REQUIRED;
    }
}
