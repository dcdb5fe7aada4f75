//! Every metric family: its name, its kind and the help text of the exposition page. Names are part of
//! the operator's interface: dashboards and alerts break when one changes.

use std::time::Duration;

/// One metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Name on the page; `_total` ends counters, base units end the others.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// `# HELP`.
    pub help: &'static str,
}

/// The kind of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; starts at 0 with the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts in buckets.
    Histogram,
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, help }
}

const fn histogram(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Histogram, help }
}

macro_rules! families {
    ($($constant:ident = $kind:ident $name:literal $help:literal;)+) => {
        $(#[doc = $help] pub const $constant: Family = $kind($name, $help);)+

        /// All of them, in the order of the documentation.
        pub const ALL: &[Family] = &[$($constant),+];
    };
}

families! {
    REQUESTS = counter "cellgate_requests_total"
        "Requests finished, by cell (none: answered here), surface and status class.";
    REQUESTS_BY_METHOD = counter "cellgate_requests_by_method_total"
        "Requests finished, by role of the host, method and client wire version.";
    REQUEST_DURATION = histogram "cellgate_request_duration_seconds"
        "From the complete request head to the end of the response, by cell; tunnels are left out.";
    UPSTREAM_FIRST_BYTE = histogram "cellgate_upstream_first_byte_seconds"
        "From the complete request head to the first byte of the cell's response head, by cell.";
    REQUEST_ENDS = counter "cellgate_request_ends_total"
        "How exchanges ended: complete, client_gone, cell_gone, timed_out, drain, moved.";
    REQUEST_BYTES = counter "cellgate_request_body_bytes_total"
        "Body bytes from clients, by cell.";
    RESPONSE_BYTES = counter "cellgate_response_body_bytes_total"
        "Body bytes to clients, by cell.";
    REFUSALS = counter "cellgate_refusals_total"
        "Requests that cellgate answered itself with a refusal, by reason.";
    REDIRECTS = counter "cellgate_redirects_total"
        "Browser navigations redirected to the account's own address.";
    RESOLUTIONS = counter "cellgate_resolutions_total"
        "Requests forwarded, by cell and by why that cell: a row, an id range, a configured fallback.";
    IDENTIFY = counter "cellgate_identify_total"
        "Requests by the source that named the account, and role of the host.";
    CONFLICTS = counter "cellgate_conflicts_total"
        "Requests in which two sources named different accounts: the one followed, the one not.";
    MISORDERED_HOSTS = counter "cellgate_misordered_hosts_total"
        "Requests to a host whose labels stood in the wrong order; served nevertheless.";
    LEGACY_REQUESTS = counter "cellgate_legacy_requests_total"
        "Requests to legacy hosts, by cell, surface and client family. Who they are stands in the report.";
    UPSTREAM_DEPRECATED = counter "cellgate_upstream_deprecated_total"
        "Responses in which the cell itself announced a deprecation, by cell.";
    IN_FLIGHT = gauge "cellgate_in_flight_requests"
        "Requests that hold a permit of the cell now.";
    IN_FLIGHT_LIMIT = gauge "cellgate_in_flight_limit"
        "Permits of the cell; at this number new requests get 503.";
    CELL_LIMIT = gauge "cellgate_cell_limit"
        "Requests at once that the cell takes, as learned; at most its permits.";
    CELL_QUEUED = gauge "cellgate_cell_queued_requests"
        "Requests that wait for a permit of the cell now.";
    CELL_PHASE = gauge "cellgate_cell_phase"
        "Where the cell is on its way back: 1 for its phase, 0 for the others.";
    CELL_ADMITTED_RATE = gauge "cellgate_cell_admitted_rate"
        "Requests a second that are let through to the cell while it comes back; +Inf where nothing is limited.";
    CELL_DEMAND = gauge "cellgate_cell_demand_rate"
        "Requests a second that ask for the cell, by class.";
    CELL_NO_HEADROOM = gauge "cellgate_cell_no_headroom_rate"
        "Requests a second whose group is lost and for which the others have no room.";
    REPLICAS_DECLARED = gauge "cellgate_replicas_declared"
        "Replicas that this one believes to serve the cells, itself included (protection.replicas): its part of what is declared is 1 of so many.";
    GROUP_MOVED = gauge "cellgate_group_moved_rate"
        "Requests a second that a group is given of others, by cell and zone.";
    GROUP_LIMIT = gauge "cellgate_group_limit"
        "Requests at once that a group takes, as learned, by cell and zone; +Inf where the cell's limit is the only one.";
    GROUP_OVERFLOW = gauge "cellgate_group_overflow_rate"
        "Requests a second that a group takes of others that are full, by cell and zone.";
    ENDPOINTS = gauge "cellgate_endpoints"
        "Endpoints by cell, zone and what health says of them.";
    VERDICTS = gauge "cellgate_verdicts"
        "Verdicts that stand, by kind: a sick endpoint, cell, zone, path, this proxy itself, or nobody can tell.";
    PROTECTION_CHANGES = counter "cellgate_protection_changes_total"
        "Changes of endpoints, groups, cells and verdicts, by what they changed to.";
    OBSERVE_ALARM = gauge "cellgate_observe_alarm"
        "1 where a policy of the cell is in observe past its time, or would have acted for a minute.";
    WOULD_HAVE = counter "cellgate_would_have_refused_total"
        "Requests that a policy in observe would have refused, by cell and reason.";
    WOULD_HAVE_ACTED = counter "cellgate_would_have_acted_total"
        "What a policy in observe would have done, by cell, policy and act: requests refused, sent elsewhere or queued, endpoints ejected.";
    VERDICT_OBSERVE_ALARM = gauge "cellgate_verdict_observe_alarm"
        "1 where verdicts are in observe past their time, or one would have been heeded for a minute.";
    UPSTREAM_CONNECTIONS = counter "cellgate_upstream_connections_total"
        "Attempts to connect to a cell, by cell and result.";
    ENDPOINT_CHECKS = counter "cellgate_endpoint_checks_total"
        "Active checks of endpoints that have ended, by cell and result; ours: they say nothing of the endpoint (no name, no port).";
    UPSTREAM_CUT = counter "cellgate_upstream_connections_cut_total"
        "HTTP/2 connections to a cell that cellgate ended for what the cell sent, by cell and reason.";
    UPSTREAM_REUSE = counter "cellgate_upstream_requests_total"
        "Requests sent to a cell, by cell and whether their connection was reused or new.";
    UPSTREAM_RETRIES = counter "cellgate_upstream_retries_total"
        "Requests sent to a cell a second time, by cell.";
    UPSTREAM_RETRIES_DENIED = counter "cellgate_upstream_retries_denied_total"
        "Requests not sent a second time because the retry budget was used up, by cell.";
    CONNECTIONS = counter "cellgate_connections_total"
        "Client connections accepted.";
    CONNECTIONS_OPEN = gauge "cellgate_connections_open"
        "Client connections open now.";
    CONNECTIONS_REFUSED = counter "cellgate_connections_refused_total"
        "Client connections closed before a request was read, by reason.";
    CONNECTIONS_CUT = counter "cellgate_http2_connections_cut_total"
        "HTTP/2 connections of clients that cellgate ended for what was sent on them, by reason.";
    HANDSHAKES = counter "cellgate_tls_handshakes_total"
        "TLS handshakes with clients, by result.";
    UNKNOWN_SNI = counter "cellgate_unknown_sni_total"
        "ClientHellos whose server name no certificate covers, by kind of name.";
    RELOADS = counter "cellgate_reloads_total"
        "Reloads, by outcome.";
    GUARD_OBJECTIONS = counter "cellgate_guard_objections_total"
        "Objections of guards to changes, by guard; mode enforce refuses the change unless it is approved, observe lets it through.";
    GUARD_MODE = gauge "cellgate_guard_mode"
        "What a guard does: 0 off, 1 observe (it protects nothing), 2 enforce.";
    ACCOUNTS_LIMIT = gauge "cellgate_accounts_limit"
        "Rows that the account table may have (guards.table_size.rows).";
    SUNSET = gauge "cellgate_sunset_timestamp_seconds"
        "When a legacy host ends, Unix time, by host, surface and what comes then; own dates of accounts left out; NaN when gone.";
    BROWNOUT_IN_FORCE = gauge "cellgate_brownout_in_force"
        "1 while a window of the brownout is in force and no operator has cancelled it, by its id and mode; mode observe refuses nobody.";
    BROWNOUT_REQUESTS = counter "cellgate_brownout_requests_total"
        "Requests that met a brownout, by its id and mode: refused, or in mode observe served although they would have been.";
    HELD_REQUESTS = counter "cellgate_held_requests_total"
        "Requests that waited because their account moves, by outcome.";
    WAITING = gauge "cellgate_waiting_requests"
        "Requests that wait now because their account moves away from the cell.";
    MOVES_OPEN = gauge "cellgate_moves_open"
        "Moves of accounts that are not flipped, by state.";
    MOVES_CUT_WRITES = counter "cellgate_moves_cut_writes_total"
        "Writes cut at the old cell of their account; their clients do not know whether they were done.";
    MOVES_CLOSED_TUNNELS = counter "cellgate_moves_closed_tunnels_total"
        "WebSockets and gRPC streams that were told to end because their account moves.";
    MOVES_WARM_CONNECTIONS = counter "cellgate_moves_warm_connections_total"
        "Attempts to have a connection to the new cell ready before an account is there, by result.";
    UPGRADES = counter "cellgate_upgrades_total"
        "Upgrades: this process took over from another (taken_over), or a successor did not start (failed).";
    CONFIG_GENERATION = gauge "cellgate_config_generation"
        "Number of the configuration generation in force.";
    CONFIG_LAST_SUCCESS = gauge "cellgate_config_last_success_timestamp_seconds"
        "When the files were last taken, at a start or a reload, or found unchanged, Unix time.";
    CONFIG_LAST_OK = gauge "cellgate_config_last_reload_successful"
        "1 when the last start or reload took the files, or found nothing to change; 0 when it turned them down.";
    CANDIDATE_SHARE = gauge "cellgate_config_candidate_share"
        "Share of the accounts, of 1, that a new configuration serves on trial; 0 when none does.";
    CANDIDATE_STEP = gauge "cellgate_config_candidate_step"
        "Step of that trial, from 1; 0 when there is none.";
    LAST_GOOD_AGE = gauge "cellgate_last_good_age_seconds"
        "Age of the last good configuration while it is served in place of the files; 0 otherwise.";
    BREAK_GLASS = gauge "cellgate_break_glass_until_timestamp_seconds"
        "Until when an operator has broken the glass, Unix time; 0 otherwise.";
    ACCOUNTS = gauge "cellgate_accounts"
        "Rows of the account table in force.";
    CERTIFICATE_NOT_AFTER = gauge "cellgate_certificate_not_after_seconds"
        "End of validity of a server certificate, Unix time, by its first name; NaN when no longer used.";
    TRUST_UNTIL = gauge "cellgate_trust_until_seconds"
        "End of stapled responses, revocation lists and certificates towards cells, Unix time, by kind and name.";
    LEARNED_CREDENTIALS = gauge "cellgate_learned_credentials"
        "Entries of the learned credential table, by state.";
    LEARNED_EVICTIONS = counter "cellgate_learned_credential_evictions_total"
        "Learned credentials pushed out by a limit of the table.";
    ACCESS_LOG_LINES = counter "cellgate_access_log_lines_total"
        "Access log lines written.";
    ACCESS_LOG_DROPPED = counter "cellgate_access_log_dropped_total"
        "Access log lines lost: the queue was full, or the file could not be written.";
    ACCESS_LOG_LEFT_OUT = counter "cellgate_access_log_left_out_total"
        "Requests without a line in the access log on purpose: because of their path, or by the sample.";
    SPANS_EXPORTED = counter "cellgate_spans_exported_total"
        "Spans that the collector of traces has taken.";
    SPANS_DROPPED = counter "cellgate_spans_dropped_total"
        "Spans that the collector did not take (collector); requests whose spans found the queue full (queue), or were too many failures in a second (rate).";
    BOOKS_DROPPED = counter "cellgate_books_dropped_total"
        "Legacy requests that the books miss (lost) or count for their account without detail (detail); requests that no account's weight has (cell_hosts).";
    BOOKS_FLUSHES = counter "cellgate_books_flushes_total"
        "Attempts to write a window of the books to disk, by result.";
    BOOKS_LAST_FLUSH = gauge "cellgate_books_last_flush_timestamp_seconds"
        "When the books were last written to disk, Unix time.";
    BOOKS_WAITING = gauge "cellgate_books_waiting_windows"
        "Windows of the books that are counted and wait to be written.";
    SHIPMENTS_WINDOWS = counter "cellgate_books_fleet_windows_total"
        "Windows of the books that the database of the fleet has taken (shipped), or will never get because it was away for too long (given_up).";
    SHIPMENTS_FAILED = counter "cellgate_books_fleet_failures_total"
        "Attempts to ship windows of the books to the database of the fleet that failed; they are tried again.";
    SHIPMENTS_WAITING = gauge "cellgate_books_fleet_waiting_windows"
        "Windows of the books that wait for the database of the fleet.";
    SHIPMENTS_LAST = gauge "cellgate_books_fleet_last_shipment_timestamp_seconds"
        "Up to when the database of the fleet has the books of this replica, Unix time.";
    STATE_EPHEMERAL = gauge "cellgate_state_ephemeral"
        "1 where the state folder does not outlive the container, the pod or the machine, as far as the system knows; 0 otherwise.";
    TRAIL_HEAD = gauge "cellgate_audit_trail_head"
        "Number of the last line of the audit trail. It only grows; where it falls, lines were taken away. 0: there is none.";
    TRAIL_LAST_ENTRY = gauge "cellgate_audit_trail_last_entry_timestamp_seconds"
        "When that line was written, Unix time; 0: there is none.";
    ADMIN_REFUSED = counter "cellgate_admin_refused_total"
        "Calls that the admin plane refused because of who called, from where or how often, by door and reason.";
    PANICS = counter "cellgate_panics_total"
        "Defects of cellgate that ended a task. Always worth a report.";
    BUILD_INFO = gauge "cellgate_build_info"
        "1, with the version as label.";
}

/// Bound of the first bucket of durations: what the proxy adds itself is seen in the first two.
pub const SHORTEST: Duration = Duration::from_micros(500);

/// How often that bound is doubled: the last, 0.5 ms * 2^18 = 131 s, lies just above the two minutes of a long poll or a large
/// upload.
pub const DOUBLINGS: u32 = 18;

/// Bucket bounds of both duration histograms, in seconds.
pub fn duration_buckets() -> Vec<f64> {
    (0..=DOUBLINGS).map(|doubling| SHORTEST.as_secs_f64() * f64::from(1u32 << doubling)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let mut seen = HashSet::new();
        for family in ALL {
            assert!(seen.insert(family.name), "{} stands twice", family.name);
            assert!(family.name.starts_with("cellgate_"), "{}", family.name);
            assert_eq!(family.name.ends_with("_total"), family.kind == Kind::Counter, "{}", family.name);
            assert!(family.help.ends_with('.'), "{}", family.name);
        }
        assert!(seen.len() > 30);
    }

    #[test]
    fn the_last_bucket_is_above_two_minutes() {
        let buckets = duration_buckets();
        assert_eq!(buckets.len(), 19);
        assert_eq!(buckets[1], 0.001);
        assert_eq!(buckets.last(), Some(&131.072));
    }
}
