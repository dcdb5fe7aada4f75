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
        /// Traces of requests, for a collector of OpenTelemetry (docs/traces.md). Absent: none, and `traceparent` passes as it is.
        traces: Traces = NONE;
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
        /// Where people outside see how the service stands (docs/status.md).
        status: Status = NONE;
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
        /// Whether the loopback address also changes things, for whoever sends a token whose role may (docs/access.md).
        loopback_operate: bool = false;
        /// File of bearer tokens: CSV with the columns name, role, sha256 and, where wanted, expires and note. `cellgate token
        /// new` makes a row. Read again when it changes. Nobody else may be able to read it.
        tokens: String = NONE;
        /// The group or others may read that file and the key of `tls`.
        allow_readable: bool = false;
        /// A port for other machines, where every call needs a role. Its files are read again when they change.
        tls: AdminTls = NONE;
    }
}

mapping! {
    /// The admin port for other machines: TLS 1.3.
    AdminTls {
        /// IP address and port.
        address: String = REQUIRED;
        /// PEM file with its certificate, and those up to the authority.
        cert: String = REQUIRED;
        /// PEM file with the private key. Nobody else may be able to read it.
        key: String = REQUIRED;
        /// PEM file of the authorities that sign client certificates of operators, and of nobody else. Absent: tokens only.
        client_ca: String = NONE;
        /// PEM file of revocation lists for client certificates.
        crl: String = NONE;
        /// Which names in client certificates have which role; the first that fits counts.
        clients: Vec<Field<AdminClient>> = NONE;
    }
}

mapping! {
    /// A name with a role.
    AdminClient {
        /// A DNS name, mail address or URI of the certificate, or its common name; whole, as it stands there.
        name: String = REQUIRED;
        /// `read`, `operate` or `approve`.
        role: String = REQUIRED;
    }
}

mapping! {
    /// The access log.
    AccessLog {
        /// A file, `"-"` (or `/dev/stdout`) for the standard output, or `/dev/stderr`. A file that somebody moves or deletes is
        /// noticed within a second and made anew; one that is truncated goes on at its end.
        path: String = default::ACCESS_LOG_SHOWN;
        /// What a line says: `standard`, `minimal`, `full` or `ecs` (docs/access-log.md).
        profile: String = "standard";
        /// Which share of the requests has a line. Where one is below 100%, each line says in `requests` how many it stands for.
        sample: Sample = NONE;
        /// Paths such as `/healthz` or `/probes/*` of which requests that went well have no line.
        exclude_paths: Vec<Field<String>> = NONE;
    }
}

mapping! {
    /// Which share of the requests has a line.
    Sample {
        /// Of those that went well: `1%`, `0.5%`, `0%` for none.
        ok: String = "100%";
        /// Of all others: status 400 and above, refused here, or cut off.
        failures: String = "100%";
    }
}

mapping! {
    /// Traces of requests, for a collector of OpenTelemetry.
    Traces {
        /// Where spans are posted (OTLP over HTTP, protobuf): `http://127.0.0.1:4318`, `https://otlp.example.com/v1/traces`. Without
        /// a path it is `/v1/traces`.
        endpoint: String = REQUIRED;
        /// File with fields that are sent along, one `name: value` a line, such as an API key. Not everybody may be able to read it. Needs https,
        /// or a collector on this machine.
        headers_file: String = NONE;
        /// File with the certificates in PEM that sign the collector's. Absent: those that this machine trusts.
        ca_file: String = NONE;
        /// How long the collector may take for a batch (100ms to 1m).
        timeout: String = show_duration(default::TRACES_TIMEOUT);
        /// Share of the traces that begin here and are kept: `1%`, `0.5%`, `0%` for none.
        ratio: String = default::TRACES_RATIO;
        /// Whether requests that failed because of a cell or of cellgate are kept whatever the share says, at most 100 a second.
        failures: bool = true;
        /// Networks of clients whose `traceparent` is continued, and whose word counts whether a trace is kept. What others send is replaced
        /// by a trace of our own, which links to it.
        trust_from: Vec<Field<String>> = NONE;
        /// `service.name` of the spans.
        service_name: String = default::TRACES_SERVICE;
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
    /// Where people outside see how the service stands.
    Status {
        /// The heading of the page.
        title: String = default::STATUS_TITLE;
        /// IP address and port of a door that serves `/status`, `/status.json`, `/status/events` and nothing else, to anybody who
        /// reaches it. Plain HTTP: put it behind what terminates TLS. None when absent.
        address: String = NONE;
        /// Page and JSON as files, for another web server.
        publish: StatusPublish = NONE;
        /// Who is told of each change.
        webhook: StatusWebhook = NONE;
        /// What has no public name below is shown by its own; else by a number.
        internal_names: bool = false;
        /// How cells are called in public.
        cells: Vec<Field<StatusName>> = NONE;
        /// How surfaces are called in public.
        surfaces: Vec<Field<StatusName>> = NONE;
    }
}

mapping! {
    /// Page and JSON as files.
    StatusPublish {
        /// The folder for `index.html` and `status.json`; it is made where it is not there. One for each replica.
        folder: String = REQUIRED;
    }
}

mapping! {
    /// Who is told of each change of the status, as Standard Webhooks has it.
    StatusWebhook {
        /// Where to; `https`, or `http` on this machine.
        url: String = REQUIRED;
        /// File with the secret (`whsec_...`) that the receiver has, which nobody else may read. Read anew for each change.
        secret_file: String = REQUIRED;
        /// File with authorities (PEM) to trust in place of those of the system.
        ca_file: String = NONE;
    }
}

mapping! {
    /// How one is called in public.
    StatusName {
        /// Its own name.
        name: String = REQUIRED;
        /// What people see: one line of at most 60 characters.
        shown_as: String = REQUIRED;
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
