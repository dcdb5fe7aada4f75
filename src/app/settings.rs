//! From the boot configuration to what each part of the shell calls its settings. Nothing is decided here.

use std::num::NonZeroU32;

use super::beginning::{folder_digits, replica};
use crate::admin::{AdminSettings, SocketMode};
use crate::audit::books::BooksSettings;
use crate::audit::database::{DatabaseSettings, Shipping};
use crate::config::Boot;
use crate::config::boot::books::BooksDatabase;
use crate::config::boot::traces::Traces;
use crate::config::boot::{Listener, ListenerProtocol};
use crate::listen::spec::{Alpn, ConnectionLimits, ListenerSpec, Protocol};
use crate::proxy::service::ClientLimits;
use crate::traces::TracesSettings;

pub(super) fn listener_spec(listener: &Listener, boot: &Boot) -> ListenerSpec {
    let protocol = match listener.protocol {
        ListenerProtocol::Http => Protocol::Http,
        ListenerProtocol::Https => Protocol::Https(Alpn::H2AndHttp1),
        ListenerProtocol::H2c => Protocol::H2c,
    };
    ListenerSpec {
        name: listener.name.as_str().into(),
        address: listener.address,
        protocol,
        proxy_protocol: listener.proxy_protocol.clone(),
        redirect_to_https: listener.redirect_to_https,
        forwarded_scheme: Some(listener.scheme),
        handshake_deadline: boot.limits.handshake_timeout,
    }
}

pub(super) fn connection_limits(boot: &Boot) -> ConnectionLimits {
    let count = |limit: NonZeroU32| usize::try_from(limit.get()).unwrap_or(usize::MAX);
    ConnectionLimits {
        total: count(boot.limits.connections),
        per_source: count(boot.limits.connections_per_address),
        exempt: boot.limits.shared_addresses.clone(),
        handshakes: count(boot.limits.handshakes),
    }
}

pub(super) fn client_limits(boot: &Boot) -> ClientLimits {
    ClientLimits {
        head_timeout: boot.limits.head_timeout,
        preface_timeout: boot.limits.preface_timeout,
        body_timeout: boot.limits.body_timeout,
        h2_idle_timeout: boot.limits.h2_idle_timeout,
        keep_alive_timeout: boot.limits.keep_alive_timeout,
        idle_timeout: boot.limits.idle_timeout,
        connection_lifetime: boot.limits.connection_lifetime,
        requests_per_connection: boot.limits.requests_per_connection.get(),
        streams_per_connection: boot.limits.streams_per_connection.get(),
        http2: boot.limits.http2,
        requests: boot.limits.requests.get(),
    }
}

pub(super) fn books_settings(boot: &Boot, writer: String) -> BooksSettings {
    let (window, spool_bytes) = (boot.books.window, boot.books.spool_bytes);
    let shipping = boot.books.database.as_ref().map(|database| Shipping {
        to: database_settings(database),
        every: database.every,
        phase: database.every.mul_f64(fastrand::f64()),
    });
    let replica = boot.books.database.as_ref().map_or_else(String::new, |database| {
        let name = database.replica.as_deref().map_or_else(|| replica(boot), str::to_owned);
        format!("{name}.{}", folder_digits(&boot.state_dir))
    });
    BooksSettings { folder: boot.state_dir.clone(), window, spool_bytes, writer, replica, shipping }
}

pub(super) fn database_settings(database: &BooksDatabase) -> DatabaseSettings {
    let (connection_file, ca_file) = (database.connection_file.clone(), database.ca_file.clone());
    DatabaseSettings { connection_file, ca_file }
}

pub(super) fn traces_settings(traces: &Traces, boot: &Boot) -> TracesSettings {
    TracesSettings {
        endpoint: traces.endpoint.clone(),
        headers_file: traces.headers_file.clone(),
        ca_file: traces.ca_file.clone(),
        timeout: traces.timeout,
        service_name: traces.service_name.to_string(),
        replica: replica(boot),
        failures: traces.rules.failures,
    }
}

pub(super) fn admin_settings(boot: &Boot) -> AdminSettings {
    AdminSettings {
        loopback: boot.admin.loopback,
        allowed_hosts: boot.admin.allowed_hosts.iter().map(ToString::to_string).collect(),
        loopback_report: boot.admin.loopback_report,
        loopback_operate: boot.admin.loopback_operate,
        tls: boot.admin.tls.as_ref().map(|tls| tls.address),
        socket: Some(boot.admin.unix.clone()),
        socket_mode: SocketMode(boot.admin.unix_mode),
        status: boot.status.address,
    }
}
