//! In which keys two boots differ: what a restart would change.

use super::{Boot, access_log, admin, books, place, status, traces};
use crate::policy::ids::Label;

/// The fields in which two boots differ, by their path in the file; `listeners` by name.
pub fn changes(before: &Boot, after: &Boot) -> Vec<String> {
    let mut changed = Vec::new();
    let mut note = |differs: bool, path: &str| {
        if differs {
            changed.push(path.to_owned());
        }
    };
    note(place::differ(&before.state_dir, &after.state_dir), "state_dir");
    note(before.max_last_good_age != after.max_last_good_age, "max_last_good_age");
    note(before.workers != after.workers, "workers");
    let listener = |boot: &Boot, name: &Label| boot.listeners.iter().find(|l| l.name == *name).cloned();
    let added = after.listeners.iter().filter(|l| listener(before, &l.name).is_none());
    for name in before.listeners.iter().chain(added).map(|l| &l.name) {
        note(listener(before, name) != listener(after, name), &format!("listeners[{name}]"));
    }
    admin::note_changes(&before.admin, &after.admin, &mut note);
    access_log::note_changes(&before.access_log, &after.access_log, &mut note);
    traces::note_changes(before.traces.as_ref(), after.traces.as_ref(), &mut note);
    books::note_changes(&before.books, &after.books, &mut note);
    let (b, a) = (&before.limits, &after.limits);
    note(b.connections != a.connections, "limits.connections");
    note(b.connections_per_address != a.connections_per_address, "limits.connections_per_address");
    note(b.requests != a.requests, "limits.requests");
    note(b.shared_addresses != a.shared_addresses, "limits.shared_addresses");
    note(b.handshakes != a.handshakes, "limits.handshakes");
    note(b.handshake_timeout != a.handshake_timeout, "limits.handshake_timeout");
    note(b.head_timeout != a.head_timeout, "limits.head_timeout");
    note(b.preface_timeout != a.preface_timeout, "limits.preface_timeout");
    note(b.body_timeout != a.body_timeout, "limits.body_timeout");
    note(b.idle_timeout != a.idle_timeout, "limits.idle_timeout");
    note(b.keep_alive_timeout != a.keep_alive_timeout, "limits.keep_alive_timeout");
    note(b.h2_idle_timeout != a.h2_idle_timeout, "limits.h2_idle_timeout");
    note(b.connection_lifetime != a.connection_lifetime, "limits.connection_lifetime");
    note(b.requests_per_connection != a.requests_per_connection, "limits.requests_per_connection");
    note(b.streams_per_connection != a.streams_per_connection, "limits.streams_per_connection");
    note(b.http2 != a.http2, "limits.http2");
    note(b.max_config_bytes != a.max_config_bytes, "limits.max_config_bytes");
    note(before.drain.grace != after.drain.grace, "drain.grace");
    note(before.drain.deadline != after.drain.deadline, "drain.deadline");
    note(before.drain.upgrade_timeout != after.drain.upgrade_timeout, "drain.upgrade_timeout");
    note(before.guards != after.guards, "guards");
    note(before.apply != after.apply, "apply");
    status::note_changes(&before.status, &after.status, &mut note);
    changed
}
