//! `boot.yaml`: what cannot be changed while cellgate runs.

use super::super::boot::default;
use super::super::http2::default as http2;
use super::super::time::show_duration;
use super::{Apply, Field, Guards, NONE, REQUIRED, mapping};

mapping! {
    /// The whole of `boot.yaml`.
    Boot {
        /// Version of the format; only `1` exists.
        version: u64 = REQUIRED;
        /// Folder for what cellgate writes: last good configuration, books, learned credentials. Nobody else may
        /// be able to write there. `--state-dir` replaces it; what else of this file lies below it moves along.
        state_dir: String = default::STATE_DIR;
        /// Age beyond which a replica that serves the last good configuration, because the files are bad, fails readiness.
        /// Absent: it serves at any age. All replicas with the same bad files reach it together.
        max_last_good_age: String = NONE;
        /// Threads that serve requests; 0 is one for each core.
        workers: u64 = default::WORKERS;
        /// Where clients connect; at least one.
        listeners: Vec<Field<Listener>> = REQUIRED;
        /// Where operators connect.
        admin: Admin = NONE;
        /// One line of JSON for each request.
        access_log: AccessLog = NONE;
        /// The books: who used the legacy hosts.
        books: Books = NONE;
        /// Bounds on connections and on the configuration itself.
        limits: BootLimits = NONE;
        /// How cellgate stops.
        drain: Drain = NONE;
        /// What a change must pass before it serves. All guards are on where nothing is said.
        guards: Guards = NONE;
        /// How a reload comes in force (docs/steps.md). Absent: whole, at once.
        apply: Apply = NONE;
    }
}

mapping! {
    /// One address on which clients connect.
    Listener {
        /// Unique label, as metrics and logs show it.
        name: String = REQUIRED;
        /// IP address and port: `127.0.0.1:8080`, `"[::]:443"`. Port 0 takes a free one, which is reported.
        address: String = REQUIRED;
        /// `http` (HTTP/1.1), `https` (TLS; HTTP/1.1 and HTTP/2 by ALPN) or `h2c` (HTTP/2 without TLS by prior knowledge).
        protocol: String = REQUIRED;
        /// Answer every request with a redirect to https instead of forwarding it; only with protocol `http`.
        redirect_to_https: bool = false;
        /// The port in that redirect.
        https_port: u64 = default::HTTPS_PORT;
        /// Every connection begins with a PROXY protocol header (v1 or v2); without one it is closed.
        proxy_protocol: ProxyProtocol = NONE;
        /// What clients spoke to the balancer in front: `https` where it terminates TLS. Only without TLS of our own.
        forwarded_scheme: String = "http";
    }
}

mapping! {
    /// Who may say for whom it connects.
    ProxyProtocol {
        /// Networks of the balancers, such as `10.0.0.0/8`; connections from elsewhere are closed.
        trusted: Vec<Field<String>> = REQUIRED;
    }
}

mapping! {
    /// Where operators connect.
    Admin {
        /// Unix socket for everything, changes included.
        unix: String = default::ADMIN_SOCKET_SHOWN;
        /// File mode of the socket in octal, in quotes.
        unix_mode: String = format!("\"{:04o}\"", default::ADMIN_SOCKET_MODE);
        /// Loopback address and port for reading only; none when absent.
        loopback: String = NONE;
        /// Host names that requests to the loopback address may carry, against DNS rebinding.
        allowed_hosts: Vec<Field<String>> = default::ADMIN_HOSTS.join(", ");
        /// Whether the loopback address shows `/report` too: everybody on the machine can then read which accounts still
        /// use the legacy hosts, and with what.
        loopback_report: bool = false;
    }
}

mapping! {
    /// The access log.
    AccessLog {
        /// A file, or `"-"` for the standard output.
        path: String = default::ACCESS_LOG_SHOWN;
    }
}

mapping! {
    /// The books: who used the legacy hosts.
    Books {
        /// How often what was counted goes to the disk: a killed process loses no more (1s to 5m).
        window: String = show_duration(default::BOOKS_WINDOW);
        /// Space in the state folder that is taken beforehand for what its files cannot take, such as on a full disk (4 MiB to
        /// 16 GiB). With a database 268435456: a day of windows of a thousand integrations.
        spool_bytes: u64 = default::SPOOL_BYTES;
        /// The database of a fleet, into which each replica ships its books, too. Absent: each has its own only.
        database: BooksDatabase = NONE;
    }
}

mapping! {
    /// PostgreSQL, 14 or later.
    BooksDatabase {
        /// File with a connection string, such as `host=db.example.com dbname=cellgate user=cellgate password=...`. Not
        /// everybody may be able to read it. Read anew for each connection. TLS is required where the host is not this machine, if the string does not say otherwise.
        connection_file: String = REQUIRED;
        /// File with the certificates in PEM that sign the database's. Absent: those that this machine trusts.
        ca_file: String = NONE;
        /// The name of this replica, unlike that of any other of the fleet. Absent: `apply.replica`, or the name of its host.
        replica: String = NONE;
        /// How often what waits is shipped (1s to 1h). Longer is less work for the database: what comes in between is added up.
        every: String = show_duration(default::SHIP_EVERY);
    }
}

mapping! {
    /// Bounds on connections and on the configuration itself.
    BootLimits {
        /// Most client connections at once, over all listeners; more are closed.
        connections: u64 = default::CONNECTIONS;
        /// Most client connections from one address (of IPv6: from one /64): the one in the PROXY header, where there is one.
        connections_per_address: u64 = default::CONNECTIONS_PER_ADDRESS;
        /// Most requests in flight at once, over all cells; more are answered with 503. Each cell has a share of them.
        requests: u64 = default::REQUESTS;
        /// Networks of balancers without PROXY protocol and of gateways, for whom `connections_per_address` does not count.
        shared_addresses: Vec<Field<String>> = NONE;
        /// Most PROXY headers and TLS handshakes in progress at once, over all listeners; more connections are closed.
        handshakes: u64 = default::HANDSHAKES;
        /// From accept to the end of the TLS handshake, PROXY header included.
        handshake_timeout: String = show_duration(default::HANDSHAKE_TIMEOUT);
        /// From the first byte of a request head to its last; on a new connection, from its start.
        head_timeout: String = show_duration(default::HEAD_TIMEOUT);
        /// From the end of the handshake to the preface of an HTTP/2 connection.
        preface_timeout: String = show_duration(default::PREFACE_TIMEOUT);
        /// Silence of a client that owes bytes of its request body; answered with 408.
        body_timeout: String = show_duration(default::BODY_TIMEOUT);
        /// Silence of a client that does not read its response.
        idle_timeout: String = show_duration(default::IDLE_TIMEOUT);
        /// Silence between two HTTP/1 requests before a connection is closed.
        keep_alive_timeout: String = show_duration(default::KEEP_ALIVE_TIMEOUT);
        /// How long an HTTP/2 connection may be without a stream.
        h2_idle_timeout: String = show_duration(default::H2_IDLE_TIMEOUT);
        /// Age at which a connection is closed after the request in progress; tunnels are not cut.
        connection_lifetime: String = show_duration(default::CONNECTION_LIFETIME);
        /// Requests after which a connection is closed.
        requests_per_connection: u64 = default::REQUESTS_PER_CONNECTION;
        /// HTTP/2 streams that a client may have open at once on a connection.
        streams_per_connection: u64 = default::STREAMS_PER_CONNECTION;
        /// Most bytes of all files of the routing configuration together.
        max_config_bytes: u64 = default::MAX_CONFIG_BYTES;
        /// What HTTP/2 clients are allowed on each connection.
        http2: ClientHttp2 = NONE;
    }
}

mapping! {
    /// What HTTP/2 clients are allowed on each connection.
    ClientHttp2 {
        /// Frames without a request (SETTINGS, PING, WINDOW_UPDATE, PRIORITY, RST_STREAM, unknown ones and the like) within `control_window`, beyond those that requests and received data call for; every RST_STREAM counts. More close the connection.
        control_frames: u64 = http2::CONTROL_FRAMES;
        /// The time for `control_frames`.
        control_window: String = show_duration(http2::CONTROL_WINDOW);
        /// Bytes that a client may have under way on one stream; bounds an upload's speed by this over the round trip.
        stream_window_bytes: u64 = http2::STREAM_WINDOW;
        /// The same for all streams of a connection together.
        connection_window_bytes: u64 = http2::CONNECTION_WINDOW;
        /// Bytes that the windows of all connections may add up to. When three quarters of it are taken, new connections get smaller windows, down to the 64 KiB that every connection has.
        window_memory_bytes: u64 = http2::WINDOW_MEMORY;
    }
}

mapping! {
    /// How cellgate stops.
    Drain {
        /// From failing readiness to closing the listeners, so that balancers stop sending new connections.
        grace: String = show_duration(default::DRAIN_GRACE);
        /// From closing the listeners to cutting what is still in flight.
        deadline: String = show_duration(default::DRAIN_DEADLINE);
        /// In an upgrade: how long the new process may take to be ready; then it is ended, and the old one goes on.
        upgrade_timeout: String = show_duration(default::UPGRADE_TIMEOUT);
    }
}
