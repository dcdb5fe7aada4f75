//! The values of keys of `boot.yaml` that are absent, each with its reason.

use std::time::Duration;

/// What it says where nobody has given it a name.
pub const STATUS_TITLE: &str = "Service status";

/// Beside the configuration folder: what cellgate writes never triggers a reload.
pub const STATE_DIR: &str = "../state";
/// One thread for each core.
pub const WORKERS: usize = 0;
/// The port of https (RFC 9110 section 4.2.2).
pub const HTTPS_PORT: u16 = 443;
/// Beside what the socket's owner may read anyway.
pub const ADMIN_SOCKET: &str = "admin.sock";
/// [`ADMIN_SOCKET`] as the reference shows it.
pub const ADMIN_SOCKET_SHOWN: &str = "admin.sock in state_dir";
/// Only the user that runs cellgate; widening it is a decision.
pub const ADMIN_SOCKET_MODE: u32 = 0o600;
/// The names of the loopback interface; any other name got here by DNS rebinding.
pub const ADMIN_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
/// What container platforms collect.
pub const ACCESS_LOG: &str = "-";
/// [`ACCESS_LOG`] as the reference shows it.
pub const ACCESS_LOG_SHOWN: &str = "\"-\"";
/// What the OTLP specification waits for one batch.
pub const TRACES_TIMEOUT: Duration = Duration::from_secs(10);
/// Enough to see the usual; what failed comes along anyway.
pub const TRACES_RATIO: &str = "1%";
/// The name of the program.
pub const TRACES_SERVICE: &str = "cellgate";
/// What a killed process loses at most, against one small write.
pub const BOOKS_WINDOW: Duration = Duration::from_secs(10);
/// Some thousand windows of a quiet process, most of a day; an hour of a busy one.
pub const SPOOL_BYTES: u64 = 16 * 1024 * 1024;
/// Where they are shipped to a database: a day of windows of a thousand integrations, packed to some 30 bytes each.
pub const SHIPPING_SPOOL_BYTES: u64 = 256 * 1024 * 1024;
/// Six windows are added up to one; a report of the fleet is a minute behind.
pub const SHIP_EVERY: Duration = Duration::from_secs(60);
/// 640 MB at 32 KiB a slow connection, and two descriptors for each stay below the usual hard limit of 65,536
/// with room for the files.
pub const CONNECTIONS: u32 = 20_000;
/// A tenth of all: ten sources must work together to shut others out. More than any office behind one address
/// needs; balancers that hide their clients are named in `shared_addresses`.
pub const CONNECTIONS_PER_ADDRESS: u32 = 2_000;
/// As many as connections: of HTTP/1 no connection has more than one. Of HTTP/2 one connection could have a hundred, and
/// each may hold 64 KiB in both directions: 2.6 GB at most.
pub const REQUESTS: u32 = 20_000;
/// Twice what one address may have, so that no single one can hold all of them. At 2,000 full handshakes a second
/// on two cores, what is in progress beyond this could not be done before its deadline anyway.
pub const HANDSHAKES: u32 = 4_000;
/// HAProxy and Envoy cut slow heads at 10 s; enough for three round trips over the slowest satellite link
/// with two retransmissions.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// As above: a whole head is smaller than one TCP window.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// As a head: 24 bytes, which clients send together with the end of their handshake.
pub const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// As nginx has it: a client that uploads and says nothing for a minute has lost its network.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longer than any pause of the clients we know in the middle of a download; a lost peer costs a descriptor this long.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Above the 60 s after which most clients and balancers drop a connection themselves, so that the race
/// between their request and our close is theirs to avoid.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);
/// Browsers and gRPC channels keep one connection for everything and pay a whole handshake for the next: longer
/// than HTTP/1's, below the 240 s and 350 s after which the balancers of the clouds forget a silent connection.
pub const H2_IDLE_TIMEOUT: Duration = Duration::from_secs(180);
/// Clients learn of new addresses within an hour, and a rolling restart drains by itself.
pub const CONNECTION_LIFETIME: Duration = Duration::from_secs(3_600);
/// A bound on what one connection can make us keep; at 100 requests a second it is reached in 100 s.
pub const REQUESTS_PER_CONNECTION: u32 = 10_000;
/// RFC 9113 section 6.5.2 asks for no fewer; more only helps floods.
pub const STREAMS_PER_CONNECTION: u32 = 100;
/// Ten million accounts of 40 bytes a row, and a little more.
pub const MAX_CONFIG_BYTES: u64 = 512 * 1024 * 1024;
/// Two rounds of a balancer's usual health check of 2 s, and one second for their jitter.
pub const DRAIN_GRACE: Duration = Duration::from_secs(5);
/// With the grace 25 s, inside the 30 s that Kubernetes waits before it kills.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(20);
/// Ten times what a start with a million accounts takes.
pub const UPGRADE_TIMEOUT: Duration = Duration::from_secs(30);
